"""What one version scores on single drops, on rows that by the record neither it nor an ancestor has learned from.

Nothing is trained or compared here. Metrics live in `evaluate.py`; which drops are scored is for the daemon.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.core.metrics import Task
from retrain_daemon.errors import DataProblem, TrainingFailed
from retrain_daemon.worker.cards import connect, read_version
from retrain_daemon.worker.evaluate import (
    Predictions,
    Scored,
    align,
    canonical,
    count_not_a_number,
    measure_of,
    value_of,
)
from retrain_daemon.worker.features import Chosen, Positions, Table
from retrain_daemon.worker.flavors import refuse_missing
from retrain_daemon.worker.formats import shown
from retrain_daemon.worker.job import DropFile, DropScore, DropsScored, Progress, ScoreDrops
from retrain_daemon.worker.labelled import Mask, Rows, moment
from retrain_daemon.worker.lesson import Tell
from retrain_daemon.worker.loaded import load
from retrain_daemon.worker.row_reading import read_rows
from retrain_daemon.worker.rows import Keys, contains, load_keys
from retrain_daemon.worker.schema import Schema
from retrain_daemon.worker.signature import read_schema
from retrain_daemon.worker.trainable import Meaning, Trainable

#: On fewer rows a score is mostly chance.
LEAST_ROWS = 50


class Predicted:
    """Features that were predicted when they were read: of each piece of a file only the predictions stay."""

    def __init__(self, columns: tuple[str, ...], predictions: Predictions) -> None:
        self.columns = columns
        self.predictions = predictions

    def __len__(self) -> int:
        given = (self.predictions.labels, self.predictions.probabilities, self.predictions.values)
        return next((len(each) for each in given if each is not None), 0)

    def take(self, chosen: Chosen) -> Predicted:
        """The predictions of some of the rows."""
        return Predicted(self.columns, _each(lambda arrays: arrays[0][chosen], (self.predictions,)))

    def frame(self) -> pd.DataFrame:
        """Nothing was kept; asking is a bug."""
        raise AssertionError("these features were predicted, not kept")

    def array(self, positions: Positions | slice, dtype: str) -> NDArray[Any]:
        """Nothing was kept; asking is a bug."""
        raise AssertionError("these features were predicted, not kept")

    @classmethod
    def joined(cls, parts: Sequence[Predicted]) -> Predicted:
        """The predictions of all parts, in order."""
        made = _each(np.concatenate, [part.predictions for part in parts])
        return cls(parts[0].columns, made)


def _each(of: Callable[[list[NDArray[Any]]], NDArray[Any]], predictions: Sequence[Predictions]) -> Predictions:
    """Each output of the predictions of one model made by a function of the same output of them all."""
    first = predictions[0]
    made: dict[str, Any] = {}
    for name in ("labels", "probabilities", "values"):
        arrays = [getattr(each, name) for each in predictions]
        made[name] = None if arrays[0] is None else of(arrays)
    return replace(first, **made)


@dataclass(frozen=True, kw_only=True)
class _Scorer:
    """The loaded version, and which rows it may not be scored on."""

    job: ScoreDrops
    schema: Schema
    model: Trainable
    learned: Keys
    early: Keys


def score_drops(job: ScoreDrops, folder: Path, progress: Tell) -> DropsScored:
    """Score the version on each drop, by each metric. Where there is no value a sentence says why; of a drop that
    cannot be read just now nothing is said.

    `folder` takes temporary files. One drop is read at a time, and of its features one piece. Raises Refused where the
    version cannot be loaded, and what reading the registry or key files may raise.
    """
    progress(Progress(phase="loading the champion"))
    connect(job.source)
    card = read_version(job.source)
    refuse_missing(card)
    schema = read_schema(job.source, job.data, job.reference)
    with tempfile.TemporaryDirectory(dir=folder, prefix="models-") as scratch:
        meaning = Meaning(data=job.data, schema=schema, network=job.network, code_folder=job.code_folder)
        model = load(card, meaning, Path(scratch)).model
        scorer = _Scorer(
            job=job, schema=schema, model=model, learned=load_keys(job.learned), early=load_keys(job.early)
        )
        scores: list[DropScore] = []
        for done, drop in enumerate(job.drops):
            progress(Progress(phase=f"scoring {shown(drop.path)}", done=done, total=len(job.drops)))
            scores.extend(_scores(scorer, drop))
    return DropsScored(scores=tuple(scores))


def _scores(scorer: _Scorer, drop: DropFile) -> Iterator[DropScore]:
    """One score a metric; none of a drop that may be readable later."""
    try:
        rows = read_rows(drop, scorer.job.data, scorer.schema, _predicting(scorer.model)).rows
        left = rows.take(_scored_rows(scorer, rows))
        yield from _measured(scorer, drop, _of_known_classes(scorer.model, left), len(rows))
    except DataProblem as error:
        if not error.temporary:
            yield from _without_value(scorer, drop, 0, error.message)
    except TrainingFailed as error:
        yield from _without_value(scorer, drop, 0, f"The version cannot predict its rows: {error.message}")


def _predicting(model: Trainable) -> Callable[[pd.DataFrame], Predicted]:
    def predicted(frame: pd.DataFrame) -> Predicted:
        columns = tuple(str(name) for name in frame.columns)
        return Predicted(columns, model.predict(Table(frame)) if len(frame) else Predictions())

    return predicted


def _scored_rows(scorer: _Scorer, rows: Rows) -> Mask:
    """Each row once, the last copy of it; without rows whose unit the version, or an ancestor, learned or may have."""
    _, last = np.unique(rows.row_keys[::-1], return_index=True)
    once = np.zeros(len(rows), dtype=np.bool_)
    once[len(rows) - 1 - last] = True
    early = rows.seen_in(scorer.early)
    if scorer.job.unknown_until is not None:
        early |= rows.first_seen <= moment(scorer.job.unknown_until)
    return np.asarray(once & ~early & ~contains(scorer.learned, rows.unit_keys), dtype=np.bool_)


def _of_known_classes(model: Trainable, rows: Rows) -> Rows:
    """A row of a class that the version does not know it cannot get right."""
    if model.classes is None or not len(rows):
        return rows
    names = {canonical(value) for value in model.classes.tolist()}
    return rows.take(np.array([canonical(value) in names for value in model.truth(rows.target).tolist()], np.bool_))


def _measured(scorer: _Scorer, drop: DropFile, rows: Rows, in_file: int) -> Iterator[DropScore]:
    if len(rows) < LEAST_ROWS:
        said = f"{len(rows):,} of {in_file:,} rows can be scored, and {LEAST_ROWS} are needed."
        yield from _without_value(scorer, drop, len(rows), said)
        return
    scored = _scored(scorer, rows)
    if isinstance(scored, str):
        yield from _without_value(scorer, drop, len(rows), scored)
        return
    for metric in scorer.job.metrics:
        measure = measure_of(metric, scored)
        value = None if isinstance(measure, str) else value_of(measure)
        why = f"{measure}." if isinstance(measure, str) else f"{metric} is undefined on these rows."
        problem = why if value is None else ""
        yield DropScore(drop=drop.drop, metric=metric, rows=len(rows), value=value, problem=problem)


def _scored(scorer: _Scorer, rows: Rows) -> Scored | str:
    """The predictions beside the truth; or a sentence that says why they give no score."""
    assert isinstance(rows.features, Predicted)
    predictions, truth = rows.features.predictions, scorer.model.truth(rows.target)
    if scorer.model.task is Task.CLASSIFICATION and len(set(truth.tolist())) < 2:
        return "All rows are of one class."
    if bad := count_not_a_number(predictions):
        return f"The version predicts NaN or infinity for {bad:,} of {len(rows):,} rows."
    try:
        return align(truth, (predictions,), scorer.job.data.target.positive)[0]
    except ValueError as error:
        return f"The version's outputs do not fit: {error}."


def _without_value(scorer: _Scorer, drop: DropFile, rows: int, problem: str) -> Iterator[DropScore]:
    for metric in scorer.job.metrics:
        yield DropScore(drop=drop.drop, metric=metric, rows=rows, problem=problem)
