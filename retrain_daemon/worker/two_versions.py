"""A promoted version and the one before it on the same later rows, which by the record neither has learned from.

When a look is due, and what it may err, is said by `core/watch.py`; intervals by `compare.py`. Nothing is trained.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.core.evidence import MetricEvidence
from retrain_daemon.core.watch import confidence_of, next_look
from retrain_daemon.errors import DataProblem, FrameworkMissing, NotFound, Refused
from retrain_daemon.worker.cards import connect, read_version
from retrain_daemon.worker.compare import compare
from retrain_daemon.worker.evaluate import Predictions, canonical
from retrain_daemon.worker.features import Chosen, Positions, Table
from retrain_daemon.worker.flavors import refuse_missing
from retrain_daemon.worker.formats import shown
from retrain_daemon.worker.job import CompareVersions, DropFile, Progress, Source, VersionsCompared
from retrain_daemon.worker.judging import predict
from retrain_daemon.worker.labelled import Mask, Rows, joined, moment
from retrain_daemon.worker.lesson import Tell
from retrain_daemon.worker.loaded import Loaded, load
from retrain_daemon.worker.row_reading import read_rows
from retrain_daemon.worker.rows import contains, load_keys
from retrain_daemon.worker.schema import Schema
from retrain_daemon.worker.scoring import Predicted
from retrain_daemon.worker.signature import read_schema
from retrain_daemon.worker.trainable import Meaning, Trainable
from retrain_daemon.worker.verification import verify_later_rows


class PredictedByBoth:
    """Features that two models predicted when they were read: of each piece of a file only the predictions stay."""

    def __init__(self, previous: Predicted, promoted: Predicted) -> None:
        self.previous = previous
        self.promoted = promoted

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self.promoted.columns

    def __len__(self) -> int:
        return len(self.promoted)

    def take(self, chosen: Chosen) -> PredictedByBoth:
        """The predictions of some of the rows."""
        return PredictedByBoth(self.previous.take(chosen), self.promoted.take(chosen))

    def frame(self) -> pd.DataFrame:
        """Nothing was kept; asking is a bug."""
        return self.promoted.frame()

    def array(self, positions: Positions | slice, dtype: str) -> NDArray[Any]:
        """Nothing was kept; asking is a bug."""
        return self.promoted.array(positions, dtype)

    @classmethod
    def joined(cls, parts: Sequence[PredictedByBoth]) -> PredictedByBoth:
        """The predictions of all parts, in order."""
        previous = Predicted.joined([part.previous for part in parts])
        return cls(previous, Predicted.joined([part.promoted for part in parts]))


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """Both versions, loaded, and the columns that rows are read by."""

    schema: Schema
    previous: Trainable
    promoted: Trainable

    def predicted(self, frame: pd.DataFrame) -> PredictedByBoth:
        """What both say of some rows; raises TrainingFailed saying which of the two cannot."""
        columns, features = tuple(str(name) for name in frame.columns), Table(frame)
        previous, promoted = (
            Predicted(columns, predict(model, features, who) if len(frame) else Predictions())
            for model, who in ((self.previous, "version before"), (self.promoted, "promoted version"))
        )
        return PredictedByBoth(previous, promoted)


def compare_versions(job: CompareVersions, folder: Path, progress: Tell) -> VersionsCompared:
    """Compare the promoted version with the one before it, where the rows suffice for a look.

    `folder` takes temporary files. Each row counts once, by its newest copy; files that cannot be used are left out.
    What stands in the way of loading the version before is part of the result. Raises Refused where the promoted
    version does not load or a row turns out to be learned, DataProblem while a file cannot be read just now,
    TrainingFailed where a version cannot predict, and what reading the registry may raise.
    """
    progress(Progress(phase="loading both versions"))
    connect(job.source)
    with tempfile.TemporaryDirectory(dir=folder, prefix="models-") as scratch:
        schema = read_schema(job.source, job.data, job.reference)
        promoted = _loaded(job, job.source, Path(scratch))
        try:
            previous = _loaded(job, replace(job.source, version=job.previous), Path(scratch))
        except FrameworkMissing:
            raise
        except (NotFound, Refused) as gone:
            return VersionsCompared(obstacle=str(gone))
        pair = _Pair(schema=schema, previous=previous.model, promoted=promoted.model)
        rows = _rows(job, pair, progress)
        return VersionsCompared() if rows is None else _compared(job, pair, rows, progress)


def _loaded(job: CompareVersions, source: Source, folder: Path) -> Loaded:
    card = read_version(source)
    refuse_missing(card)
    schema = read_schema(source, job.data, job.reference)
    meaning = Meaning(data=job.data, schema=schema, network=job.network, code_folder=job.code_folder)
    return load(card, meaning, Path(tempfile.mkdtemp(dir=folder)))


def _rows(job: CompareVersions, pair: _Pair, progress: Tell) -> Rows | None:
    """All rows that can be compared, each once; None where there is none."""
    parts = []
    for done, drop in enumerate(job.drops):
        progress(Progress(phase=f"predicting {shown(drop.path)}", done=done, total=len(job.drops)))
        parts += _read(job, pair, drop)
    if not parts:
        return None
    rows = joined(parts)
    left = _of_known_classes(pair, rows.take(_compared_rows(job, rows)))
    return left if len(left) else None


def _read(job: CompareVersions, pair: _Pair, drop: DropFile) -> list[Rows]:
    try:
        rows = read_rows(drop, job.data, pair.schema, pair.predicted).rows
    except DataProblem as problem:
        if problem.temporary:
            raise
        return []
    return [rows] if len(rows) else []


def _compared_rows(job: CompareVersions, rows: Rows) -> Mask:
    """Each row once, the last copy of it; without rows whose unit either version, or an ancestor, learned or may have
    learned.
    """
    _, last = np.unique(rows.row_keys[::-1], return_index=True)
    once = np.zeros(len(rows), dtype=np.bool_)
    once[len(rows) - 1 - last] = True
    early = rows.seen_in(load_keys(job.early))
    if job.unknown_until is not None:
        early |= rows.first_seen <= moment(job.unknown_until)
    return np.asarray(once & ~early & ~contains(load_keys(job.learned), rows.unit_keys), dtype=np.bool_)


def _of_known_classes(pair: _Pair, rows: Rows) -> Rows:
    """Of a row of a class that neither version knows nothing can be said."""
    if pair.promoted.classes is None or pair.previous.classes is None or not len(rows):
        return rows
    known = {canonical(value) for model in (pair.previous, pair.promoted) for value in _classes(model)}
    truth = pair.promoted.truth(rows.target).tolist()
    return rows.take(np.array([canonical(value) in known for value in truth], np.bool_))


def _classes(model: Trainable) -> list[Any]:
    return [] if model.classes is None else list(model.classes.tolist())


def _compared(job: CompareVersions, pair: _Pair, rows: Rows, progress: Tell) -> VersionsCompared:
    look = next_look(job.terms, job.taken, len(rows))
    if look is None:
        return VersionsCompared(rows=len(rows))
    progress(Progress(phase="comparing"))
    checked = verify_later_rows(job, pair.schema, rows)
    metrics = _measured(job, pair, rows, confidence_of(job.terms, look))
    return VersionsCompared(rows=len(rows), look=look, metrics=metrics, checked_keys=checked)


def _measured(job: CompareVersions, pair: _Pair, rows: Rows, confidence: float) -> tuple[MetricEvidence, ...]:
    assert isinstance(rows.features, PredictedByBoth)
    return compare(
        pair.promoted.truth(rows.target),
        rows.features.previous.predictions,
        rows.features.promoted.predictions,
        metrics=tuple(dict.fromkeys(line.metric for line in job.terms.lines)),
        positive=job.data.target.positive,
        confidence=confidence,
        groups=rows.groups,
        seed=job.seed,
    )
