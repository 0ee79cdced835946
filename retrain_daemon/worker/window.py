"""The rows of one training job: read once, labels nobody can learn set aside, split, and what `incremental` trains on.

How files become rows is for `dataset.py`; models are for `training.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from retrain_daemon.core.policy import Mode, Scalar
from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.dataset import Split, is_unlearned, read_each_once, replayed, split, too_young, windowed
from retrain_daemon.worker.evaluate import canonical
from retrain_daemon.worker.job import Train
from retrain_daemon.worker.labelled import LabelledRows, Mask, Times
from retrain_daemon.worker.rows import Keys, load_keys
from retrain_daemon.worker.schema import Schema, unit_name
from retrain_daemon.worker.trainable import Trainable

_MOST_NAMED = 8


@dataclass(frozen=True)
class Waiting:
    """Rows that are not used yet: how many, and at what time the first of them is old enough."""

    rows: int
    until: np.datetime64


@dataclass(frozen=True, kw_only=True)
class JobRows:
    """The rows of a job: how many of which drop are in the window, which side each is on, and which are trained on.

    Of `training`, `replayed` rows were learned before. `unit` names what the keys of the leak check stand for here;
    `notes` are sentences for a reviewer.
    """

    counts: Mapping[int, int]
    sides: Split
    training: LabelledRows
    unit: str
    replayed: int = 0
    waiting: Waiting | None = None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many rows are in the window."""
        return sum(self.counts.values())


def read_job_rows(job: Train, schema: Schema, champion: Trainable, scratch: Path) -> JobRows:
    """Read the window and split it; rows that a challenger to be judged again learned do not judge either.

    `scratch` takes rows that are too many for memory. Raises Refused for labels the champion does not know.
    """
    every = read_each_once(job.drops, job.data, schema, job.now, scratch)
    waiting = _waiting(job, every)
    rows = windowed(every, job.data, [drop.drop for drop in job.drops], job.now)
    rows, notes = _without_unknown_classes(job, rows, champion)
    learned, early = load_keys(job.learned), load_keys(job.early)
    sides = split(rows, job.data, _judged_before(job, learned), job.unknown_until, early)
    training, older, said = _trained_on(job, sides.training, (learned, early))
    return JobRows(
        counts=_counted(rows), sides=sides, training=training, unit=unit_name(job.data, schema), replayed=older,
        waiting=waiting, notes=(*notes, *said),
    )  # fmt: skip


def refuse_too_few(job: Train, window: JobRows) -> None:
    """Raise TrainingFailed, with the numbers, when there is nothing to train on, or when too few rows are old enough
    by the policy's `label_delay` to judge.
    """
    sides, young = window.sides, _said_of(job, window.waiting)
    if len(window.training) == window.replayed and len(sides.training):
        raise TrainingFailed(
            f"The champion has learned all {len(sides.training):,} training rows in the window already.{young}",
            "Mode incremental trains on rows it has not learned: wait for new ones, or use another mode.",
        )
    if not len(window.training):
        raise TrainingFailed(
            f"There are no rows to train on: of {len(window):,} in the window {len(sides.judging):,} judge.{young}",
            "Widen data.window, lower data.holdout, or wait for more rows.",
        )
    if window.waiting and len(sides.judging) < job.min_rows:
        raise TrainingFailed(
            f"Of {len(window):,} rows in the window {len(sides.judging):,} can judge, and promote.min_rows is "
            f"{job.min_rows:,}.{young}",
            "Wait until more rows are old enough, widen data.window, or ask for fewer with promote.min_rows.",
        )


def manifest(job: Train, window: JobRows) -> tuple[Mapping[str, Scalar], ...]:
    """The files of the job with their fingerprints and how many rows of each are in the window."""
    return tuple(
        {"drop": file.drop, "path": file.path, "fingerprint": file.fingerprint, "rows": window.counts.get(file.drop, 0)}
        for file in job.drops
    )


def _counted(rows: LabelledRows) -> Mapping[int, int]:
    counts: Counter[int] = Counter()
    for piece in rows.pieces():
        drops, times = np.unique(piece.drop, return_counts=True)
        counts.update(dict(zip(drops.tolist(), times.tolist(), strict=True)))
    return counts


def _waiting(job: Train, every: LabelledRows) -> Waiting | None:
    young = too_young(every, job.data, job.now)
    if job.data.label_delay is None or not young.any():
        return None
    first = every.event_time[young].min() + np.timedelta64(job.data.label_delay)
    return Waiting(int(young.sum()), first)


def _said_of(job: Train, waiting: Waiting | None) -> str:
    if waiting is None or job.data.label_delay is None:
        return ""
    delay = str(job.data.label_delay).removesuffix(", 0:00:00")
    until = np.datetime_as_string(waiting.until, unit="m").replace("T", " ")
    return (
        f" Another {waiting.rows:,} happened less than {delay} ago (data.label_delay); the first of them is old enough "
        f"on {until} UTC."
    )


def _judged_before(job: Train, learned: Keys) -> Keys:
    """What bars rows from judging: what was learned, also by a challenger that is to be judged again."""
    if job.challenger is None or not job.challenger.learned_file:
        return learned
    return np.union1d(learned, load_keys([job.challenger.learned_file]))


def _trained_on(
    job: Train, training: LabelledRows, learned: tuple[Keys, Keys]
) -> tuple[LabelledRows, int, tuple[str, ...]]:
    """Of the training side what this mode trains on, how many of it were learned before, and sentences about these."""
    if job.recipe.mode is not Mode.INCREMENTAL:
        return training, 0, ()
    unlearned = is_unlearned(training, learned, job.unknown_until)
    if not job.recipe.replay:
        return training.take(unlearned), 0, ()
    older = replayed(training, unlearned, job.recipe.replay, job.seed)
    note = _replay_note(job.recipe.replay, int((~unlearned).sum()), training.take(older).event_time)
    unlearned[older] = True
    return training.take(unlearned), len(older), (note,)


def _replay_note(wanted: int, available: int, times: Times) -> str:
    asked = f"train.replay asks for {wanted:,} rows"
    if not len(times):
        return f"{asked}; the training side has none that was learned before."
    first, last = (np.datetime_as_string(time, unit="m").replace("T", " ") for time in (times.min(), times.max()))
    span = f"from {first} to {last} UTC"
    if len(times) < wanted:
        return f"{asked}; the training side has {available:,} that were learned before, {span}: all were mixed in."
    return f"{len(times):,} of {available:,} rows that were learned before, {span}, were mixed in (train.replay)."


def _without_unknown_classes(
    job: Train, rows: LabelledRows, champion: Trainable
) -> tuple[LabelledRows, tuple[str, ...]]:
    """Rows whose label the champion does not know, often a slip, are set aside up to the share the policy allows.

    Above it a training is refused with the files they are in; refit learns them where the model itself says its
    classes; a comparison keeps them, as one of the two may know them.
    """
    if champion.classes is None or not len(rows):
        return rows, ()
    strange = np.concatenate([_strange(piece, champion) for piece in rows.pieces()])
    if not strange.any():
        return rows, ()
    said = _named(job, rows.take(strange), champion)
    allowed = job.data.target.unknown_classes
    if strange.mean() <= allowed:
        note = f"{int(strange.sum()):,} rows were set aside for their class: {'; '.join(said)}."
        return rows.take(~strange), (note,)
    if job.challenger is not None:
        return rows, ()
    if job.recipe.mode is Mode.REFIT and not job.data.target.classes and not allowed:
        return rows, tuple(f"The champion does not know {each}." for each in said)
    raise _unknown_classes(job, said, float(strange.mean()))


def _strange(rows: LabelledRows, champion: Trainable) -> Mask:
    """Which rows have a label that is none of the champion's classes."""
    assert champion.classes is not None
    known = {canonical(value) for value in champion.classes.tolist()}
    codes, labels = pd.factorize(champion.truth(rows.target), use_na_sentinel=False)
    return np.array([canonical(value) not in known for value in labels.tolist()], dtype=np.bool_)[codes]


def _named(job: Train, strange: LabelledRows, champion: Trainable) -> tuple[str, ...]:
    names = {file.drop: Path(file.path).name for file in job.drops}
    found = Counter((repr(label), names[drop]) for label, drop in
                    zip(champion.truth(strange.target).tolist(), strange.drop.tolist(), strict=True))  # fmt: skip
    return tuple(
        f"class {label} in {count:,} rows of {name}" for (label, name), count in sorted(found.items())[:_MOST_NAMED]
    )


def _unknown_classes(job: Train, said: tuple[str, ...], share: float) -> Refused:
    allowed, mode = job.data.target.unknown_classes, job.recipe.mode.value
    beyond = f" These are {share:.1%} of the rows, and {allowed:.1%} may be set aside." if allowed else ""
    add = "name them in data.target.classes and register a model that has them" if job.data.target.classes else (
        f"use mode refit, as {mode} cannot add a class"
    )  # fmt: skip
    return Refused(
        f"There are classes that the champion does not know: {'; '.join(said)}.{beyond}",
        "If they are slips, run `retraind drop retract FILE --why ...` and drop the corrected rows, or allow a share "
        f"with data.target.unknown_classes; if they are real, {add}.",
    )
