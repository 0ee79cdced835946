"""Two models on the same rows: predictions, checks that a model can predict at all, and the evidence for the judge.

What follows from the evidence is for the core. How each part of it is made is for `side_by_side.py`, `slices.py` and
`anchor.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from retrain_daemon.core.evidence import AnchorEvidence, Evidence, MetricEvidence
from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.anchor import AnchorSeen, measure_anchor
from retrain_daemon.worker.dataset import Split
from retrain_daemon.worker.evaluate import Predictions, count_not_a_number, identical
from retrain_daemon.worker.features import Features
from retrain_daemon.worker.job import Train
from retrain_daemon.worker.labelled import LabelledRows
from retrain_daemon.worker.loaded import Loaded
from retrain_daemon.worker.model_files import input_example
from retrain_daemon.worker.model_metrics import OF_FILES
from retrain_daemon.worker.report_measures import keep_report_data
from retrain_daemon.worker.side_by_side import SideBySide, measure_rows
from retrain_daemon.worker.slices import Sliced, measure_slices, without_slices
from retrain_daemon.worker.trainable import Trainable

CHECKED_ROWS = 100


def check_predicts(champion: Loaded, challenger: Trainable, rows: LabelledRows) -> tuple[str, ...]:
    """The challenger must predict before it is logged: some rows, and the champion's example where there is one.

    Returns sentences for a reviewer; raises TrainingFailed when it does not.
    """
    some = rows.features.take(np.arange(min(len(rows), CHECKED_ROWS)))
    _refuse_unsound(predict(challenger, some, "challenger"), len(some), "rows of the window")
    example = input_example(champion.files)
    if example is None:
        return ()
    try:
        ours = champion.model.predict_example(example)
    except (TrainingFailed, Refused) as problem:
        return (f"The champion cannot predict its own input example: {problem.message}",)
    if ours is None:
        kind = type(example).__name__
        return (f"The champion's input example is not of rows alone ({kind}), so it was not tried.",)
    theirs = _predicted_example(challenger, example)
    _refuse_unsound(theirs, len(example), "rows of the champion's input example")
    return ()


def _predicted_example(challenger: Trainable, example: object) -> Predictions:
    try:
        predictions = challenger.predict_example(example)
    except TrainingFailed as problem:
        raise TrainingFailed(f"The challenger cannot predict the champion's input example: {problem.message}") from None
    assert predictions is not None  # of the same framework as the champion, which could
    return predictions


def _refuse_unsound(predictions: Predictions, rows: int, what: str) -> None:
    given = [part for part in (predictions.labels, predictions.values, predictions.probabilities) if part is not None]
    if any(len(part) != rows for part in given):
        raise TrainingFailed(f"The challenger does not give one prediction for each of {rows} {what}.")
    if bad := count_not_a_number(predictions):
        raise TrainingFailed(
            f"The challenger predicts NaN or infinity for {bad} of {rows} {what}.",
            "The training went astray: look at the hyperparameters and at extreme values in the data.",
        )


def predict(model: Trainable, features: Features, who: str) -> Predictions:
    """Predict rows; raises TrainingFailed saying which of the two cannot."""
    try:
        return model.predict(features)
    except TrainingFailed as problem:
        said = f"The {who} cannot predict {len(features)} rows: {problem.message}"
        raise TrainingFailed(said, problem.hint) from problem


@dataclass(frozen=True)
class Judging:
    """The rows that judge, which slices they are in, and what an earlier champion says of them, where one is asked."""

    sides: Split
    sliced: Mapping[str, Sliced]
    anchor: AnchorSeen | None = None

    @property
    def rows(self) -> LabelledRows:
        """The judging rows."""
        return self.sides.judging


def measure(job: Train, champion: Loaded | None, challenger: Trainable, digest: str, judging: Judging) -> Evidence:
    """Measure both models on the same judging rows; without any row each metric says so. `digest`: challenger's.

    Without a `champion` only the challenger's own values are measured. Metrics of stored files are not measured here.
    """
    problem = "there are no judging rows"
    known = Evidence(
        champion_version=job.source.version or 0,
        champion_digest=champion.files.digest if champion else "",
        challenger_digest=digest,
        rows=len(judging.rows),
        confidence=job.confidence,
        metrics=tuple(MetricEvidence(metric=metric, problem=problem) for metric in _of_rows(job)),
        excluded=judging.sides.excluded,
        too_early=judging.sides.too_early,
        comparison=job.comparison,
        strict_confidence=job.strict_confidence,
        slices=without_slices(job.require, problem),
        anchor=AnchorEvidence(version=judging.anchor.version, problem=problem) if judging.anchor else None,
    )
    return _measured(job, known, champion.model if champion else None, challenger, judging) if known.rows else known


def _of_rows(job: Train) -> tuple[str, ...]:
    return tuple(name for name in job.metrics if name not in OF_FILES)


def _measured(
    job: Train, known: Evidence, champion: Trainable | None, challenger: Trainable, judging: Judging
) -> Evidence:
    rows = judging.rows
    ours = None if champion is None else predict(champion, rows.features, "champion")
    theirs = predict(challenger, rows.features, "challenger")
    both = SideBySide(
        truth=(champion or challenger).truth(rows.target), champion=ours, challenger=theirs, groups=rows.groups
    )
    if ours is not None:
        keep_report_data(job, rows, both.truth, ours, theirs)
    known = replace(
        known,
        groups=None if both.groups is None else len(np.unique(both.groups)),
        classes=None if theirs.values is not None else len(set(both.truth.tolist())),
        identical_predictions=ours is not None and identical(ours, theirs),
        champion_not_a_number=0 if ours is None else count_not_a_number(ours),
        challenger_not_a_number=count_not_a_number(theirs),
    )
    return replace(
        known,
        metrics=measure_rows(job, _of_rows(job), both),
        slices=measure_slices(job, both, judging.sliced),
        anchor=None if judging.anchor is None else measure_anchor(job, judging.anchor, both),
    )
