"""Rows on which champion and challenger differ: how many got better and worse, and some examples with features."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrain_daemon.secrets import Secrets, secrets_of
from retrain_daemon.worker.evaluate import Scored
from retrain_daemon.worker.job import Train
from retrain_daemon.worker.labelled import LabelledRows
from retrain_daemon.worker.report_data import Example, Flipped
from retrain_daemon.worker.resample import Array

#: Examples of each kind, columns of each example, and characters of each value at most.
EXAMPLES = 20
COLUMNS = 12
LONGEST = 60

Places = NDArray[np.intp]


def named_files(job: Train) -> dict[int, str]:
    """The name of each drop's file."""
    return {file.drop: Path(file.path).name for file in job.drops}


def flipped_rows(job: Train, judging: LabelledRows, ours: Scored, theirs: Scored) -> Flipped | None:
    """Given both models' predictions beside the truth, return where they differ; None where neither says a value."""
    if ours.numbers is not None and ours.values is not None and theirs.values is not None:
        return _moved(job, judging, ours.numbers, ours.values, theirs.values)
    if ours.labels is None or theirs.labels is None:
        return None
    differ, right, now_right = ours.labels != theirs.labels, ours.labels == ours.truth, theirs.labels == ours.truth
    better, worse = np.flatnonzero(differ & now_right), np.flatnonzero(differ & right)
    names = np.array(ours.classes, dtype=object)
    said = tuple(names[codes] for codes in (ours.truth, ours.labels, theirs.labels))
    other = int(differ.sum()) - len(better) - len(worse)
    rng = np.random.default_rng(job.seed)
    picked = [np.sort(rng.permutation(places)[:EXAMPLES]) for places in (better, worse)]
    return _flipped(job, judging, (len(better), len(worse), other), picked, said)


def _moved(job: Train, judging: LabelledRows, truth: Array, ours: Array, theirs: Array) -> Flipped:
    """Of a regression: the largest improvements and deteriorations, by the distance summed over all outputs."""
    nearer = np.abs(truth - ours).sum(axis=1) - np.abs(truth - theirs).sum(axis=1)
    order = np.argsort(-nearer, kind="stable")
    better, worse = int((nearer > 0).sum()), int((nearer < 0).sum())
    picked = [order[: min(EXAMPLES, better)], order[::-1][: min(EXAMPLES, worse)]]
    needed = np.concatenate(picked)
    said = tuple(_numbers(values, needed) for values in (truth, ours, theirs))
    return _flipped(job, judging, (better, worse, len(nearer) - better - worse), picked, said)


def _numbers(values: Array, places: Places) -> NDArray[np.object_]:
    texts = np.empty(len(values), dtype=object)
    texts[places] = [", ".join(f"{value:.6g}" for value in values[place]) for place in places]
    return texts


def _flipped(
    job: Train, judging: LabelledRows, counts: tuple[int, int, int], picked: Sequence[Places],
    said: Sequence[NDArray[np.object_]],
) -> Flipped:  # fmt: skip
    examples = [_examples(job, judging, places, said) for places in picked]
    return Flipped(
        better=counts[0],
        worse=counts[1],
        other=counts[2],
        better_examples=examples[0],
        worse_examples=examples[1],
        features_left_out=max(len(judging.features.columns) - COLUMNS, 0),
    )


def _examples(
    job: Train, judging: LabelledRows, places: Places, said: Sequence[NDArray[np.object_]]
) -> tuple[Example, ...]:
    if not len(places):
        return ()
    secrets, files = secrets_of(os.environ), named_files(job)
    drops = judging.drop[places]
    frame = judging.features.take(places).frame().iloc[:, :COLUMNS]
    columns = [str(name) for name in frame.columns]
    lines = frame.to_numpy(dtype=object)
    return tuple(
        Example(
            file=files[int(drops[line])],
            truth=_text(said[0][place], secrets),
            champion=_text(said[1][place], secrets),
            challenger=_text(said[2][place], secrets),
            features=tuple((_text(name, secrets), _text(value, secrets)) for name, value in
                           zip(columns, lines[line], strict=True)),
        )
        for line, place in enumerate(places.tolist())
    )  # fmt: skip


def _text(value: object, secrets: Secrets) -> str:
    """A value for people: short, on one line, and without what is secret in the environment."""
    said = f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
    said = " ".join(secrets.hide(said).split())
    return said if len(said) <= LONGEST else f"{said[:LONGEST]}…"
