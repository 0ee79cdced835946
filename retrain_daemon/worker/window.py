"""The rows of one training job: read once, labels nobody can learn set aside, split, and what `incremental` trains on.

How files become rows is for `dataset.py`; models are for `training.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retrain_daemon.core.policy import Mode, Scalar
from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.dataset import Split, read_window, split, unlearned
from retrain_daemon.worker.evaluate import canonical
from retrain_daemon.worker.job import Train
from retrain_daemon.worker.labelled import Rows
from retrain_daemon.worker.rows import load_keys
from retrain_daemon.worker.schema import Schema, unit_name
from retrain_daemon.worker.trainable import Trainable

_MOST_NAMED = 8


@dataclass(frozen=True, kw_only=True)
class JobRows:
    """The rows of a job: all of them, which side each is on, and which of the training side are trained on.

    `unit` names what the keys of the leak check stand for here; `notes` are sentences for a reviewer.
    """

    rows: Rows
    sides: Split
    training: Rows
    unit: str
    notes: tuple[str, ...] = ()


def read_job_rows(job: Train, schema: Schema, champion: Trainable, scratch: Path) -> JobRows:
    """Read the window and split it; rows that a challenger to be judged again learned do not judge either.

    `scratch` takes features that are too many for memory. Raises Refused for labels the champion does not know.
    """
    rows = read_window(job.drops, job.data, schema, job.now, scratch)
    rows, notes = _without_unknown_classes(job, rows, champion)
    learned, early = load_keys(job.learned), load_keys(job.early)
    judged_before = (job.challenger.learned_file,) if job.challenger and job.challenger.learned_file else ()
    sides = split(rows, job.data, load_keys((*job.learned, *judged_before)), job.unknown_until, early)
    incremental = job.recipe.mode is Mode.INCREMENTAL
    known = np.union1d(learned, early)
    training = unlearned(sides.training, known, job.unknown_until) if incremental else sides.training
    return JobRows(rows=rows, sides=sides, training=training, unit=unit_name(job.data, schema), notes=notes)


def refuse_no_training_rows(window: JobRows) -> None:
    """Raise TrainingFailed, with the reason, when there is nothing to train on."""
    if len(window.training):
        return
    if len(window.sides.training):
        raise TrainingFailed(
            f"The champion has learned all {len(window.sides.training):,} training rows in the window already.",
            "Mode incremental trains on rows it has not learned: wait for new ones, or use another mode.",
        )
    raise TrainingFailed(
        f"There are no rows to train on: of {len(window.rows):,} in the window {len(window.sides.judging):,} judge.",
        "Widen data.window, lower data.holdout, or wait for more rows.",
    )


def manifest(job: Train, rows: Rows) -> tuple[Mapping[str, Scalar], ...]:
    """The files of the job with their fingerprints and how many rows of each are in the window."""
    counts = Counter(rows.drop.tolist())
    return tuple(
        {"drop": file.drop, "path": file.path, "fingerprint": file.fingerprint, "rows": counts[file.drop]}
        for file in job.drops
    )


def _without_unknown_classes(job: Train, rows: Rows, champion: Trainable) -> tuple[Rows, tuple[str, ...]]:
    """Rows whose label the champion does not know, often a slip, are set aside up to the share the policy allows.

    Above it a training is refused with the files they are in; refit learns them where the model itself says its
    classes; a comparison keeps them, as one of the two may know them.
    """
    classes = champion.classes
    if classes is None or not len(rows):
        return rows, ()
    labels = champion.truth(rows.target)
    known = {canonical(value) for value in classes.tolist()}
    strange = np.array([canonical(value) not in known for value in labels.tolist()], dtype=np.bool_)
    if not strange.any():
        return rows, ()
    said = _named(job, rows, labels, strange)
    allowed = job.data.target.unknown_classes
    if strange.mean() <= allowed:
        note = f"{int(strange.sum()):,} rows were set aside for their class: {'; '.join(said)}."
        return rows.take(~strange), (note,)
    if job.challenger is not None:
        return rows, ()
    if job.recipe.mode is Mode.REFIT and not job.data.target.classes and not allowed:
        return rows, tuple(f"The champion does not know {each}." for each in said)
    raise _unknown_classes(job, said, strange)


def _named(job: Train, rows: Rows, labels: np.ndarray, strange: np.ndarray) -> tuple[str, ...]:
    names = {file.drop: Path(file.path).name for file in job.drops}
    found = Counter((repr(label), names[drop]) for label, drop in
                    zip(labels[strange].tolist(), rows.drop[strange].tolist(), strict=True))  # fmt: skip
    return tuple(
        f"class {label} in {count:,} rows of {name}" for (label, name), count in sorted(found.items())[:_MOST_NAMED]
    )


def _unknown_classes(job: Train, said: tuple[str, ...], strange: np.ndarray) -> Refused:
    allowed, mode = job.data.target.unknown_classes, job.recipe.mode.value
    beyond = f" These are {strange.mean():.1%} of the rows, and {allowed:.1%} may be set aside." if allowed else ""
    add = "name them in data.target.classes and register a model that has them" if job.data.target.classes else (
        f"use mode refit, as {mode} cannot add a class"
    )  # fmt: skip
    return Refused(
        f"There are classes that the champion does not know: {'; '.join(said)}.{beyond}",
        "If they are slips, run `retraind drop retract FILE --why ...` and drop the corrected rows, or allow a share "
        f"with data.target.unknown_classes; if they are real, {add}.",
    )
