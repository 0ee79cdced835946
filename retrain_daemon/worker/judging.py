"""Two models on the same rows: predictions, checks that a model can predict at all, and the evidence for the judge.

What follows from the evidence is for the core; metrics live in `evaluate.py`, intervals in `compare.py`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from retrain_daemon.core.evidence import Evidence, MetricEvidence
from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.cards import capital
from retrain_daemon.worker.compare import compare
from retrain_daemon.worker.dataset import Split
from retrain_daemon.worker.evaluate import Predictions, canonical, count_not_a_number, identical
from retrain_daemon.worker.features import Features
from retrain_daemon.worker.job import Train
from retrain_daemon.worker.labelled import LabelledRows
from retrain_daemon.worker.loaded import Loaded
from retrain_daemon.worker.model_files import input_example
from retrain_daemon.worker.report_measures import keep_report_data
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


def compared_classes(champion: Loaded, challenger: Loaded) -> tuple[str, ...]:
    """A sentence where the two know different classes.

    Raises Refused where they predict different things, or have no class in common.
    """
    if champion.model.task is not challenger.model.task:
        raise Refused(
            f"{capital(challenger.label)} is for {challenger.model.task}, and the champion for {champion.model.task}.",
            "Only models of the same task can be compared.",
        )
    ours, theirs = (_class_names(each) for each in (champion, challenger))
    if ours == theirs:
        return ()
    if not ours & theirs:
        raise Refused(
            f"{capital(challenger.label)} knows the classes {', '.join(sorted(theirs))}, and the champion "
            f"{', '.join(sorted(ours))}: they have none in common.",
            "Register it with the labels that the files have.",
        )
    more, fewer = ", ".join(sorted(theirs - ours)), ", ".join(sorted(ours - theirs))
    said = [f"also knows {more}"] if more else []
    said += [f"does not know {fewer}"] if fewer else []
    return (f"{capital(challenger.label)} {' and '.join(said)}, other than the champion.",)


def _class_names(loaded: Loaded) -> frozenset[str]:
    classes = loaded.model.classes
    return frozenset(() if classes is None else map(canonical, classes.tolist()))


def predict(model: Trainable, features: Features, who: str) -> Predictions:
    """Predict rows; raises TrainingFailed saying which of the two cannot."""
    try:
        return model.predict(features)
    except TrainingFailed as problem:
        said = f"The {who} cannot predict {len(features)} rows: {problem.message}"
        raise TrainingFailed(said, problem.hint) from problem


def measure(job: Train, champion: Loaded, challenger: Trainable, digest: str, sides: Split) -> Evidence:
    """Measure both models on the same judging rows; without any row each metric says so. `digest`: challenger's."""
    version = job.source.version
    assert version is not None  # read_version has refused otherwise
    known = Evidence(
        champion_version=version,
        champion_digest=champion.files.digest,
        challenger_digest=digest,
        rows=len(sides.judging),
        confidence=job.confidence,
        metrics=tuple(MetricEvidence(metric=metric, problem="there are no judging rows") for metric in job.metrics),
        excluded=sides.excluded,
        too_early=sides.too_early,
    )
    return _measured(job, known, champion.model, challenger, sides.judging) if len(sides.judging) else known


def _measured(
    job: Train, known: Evidence, champion: Trainable, challenger: Trainable, judging: LabelledRows
) -> Evidence:
    ours = predict(champion, judging.features, "champion")
    theirs = predict(challenger, judging.features, "challenger")
    truth = champion.truth(judging.target)
    keep_report_data(job, judging, truth, ours, theirs)
    metrics = compare(
        truth,
        ours,
        theirs,
        metrics=job.metrics,
        positive=job.data.target.positive,
        confidence=job.confidence,
        groups=judging.groups,
        seed=job.seed,
    )
    return replace(
        known,
        metrics=metrics,
        groups=None if judging.groups is None else len(np.unique(judging.groups)),
        classes=None if ours.values is not None else len(set(truth.tolist())),
        identical_predictions=identical(ours, theirs),
        champion_not_a_number=count_not_a_number(ours),
        challenger_not_a_number=count_not_a_number(theirs),
    )
