"""One training job: load the champion, train it further, check and log the challenger, compare both on the same rows.

The order of an attempt's work in the worker; each step's own knowledge lives in the module it calls. What follows from
the evidence is the daemon's to judge.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from retrain_daemon.core.evidence import Evidence, MetricEvidence
from retrain_daemon.core.policy import Mode, Scalar
from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.challenger_run import RunRecord, log_challenger
from retrain_daemon.worker.compare import compare
from retrain_daemon.worker.dataset import Rows, Split, read_window, split, unlearned
from retrain_daemon.worker.evaluate import Predictions, count_not_a_number, identical
from retrain_daemon.worker.frameworks import sklearn
from retrain_daemon.worker.job import Challenger, Progress, Train, Trained
from retrain_daemon.worker.model_store import (
    LoadedModel,
    connect,
    first_line,
    input_example,
    load,
    read_card,
    read_version,
)
from retrain_daemon.worker.rows import load_keys, save_keys
from retrain_daemon.worker.signature import read_schema, unit_name

CHECKED_ROWS = 100

Tell = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class _Window:
    """The rows of a job: all of them, which side each is on, and which of the training side are trained on.

    `unit` names what the keys of the leak check stand for here.
    """

    rows: Rows
    sides: Split
    training: Rows
    unit: str


def train(job: Train, folder: Path, progress: Tell) -> Trained:
    """Carry out `job`: train and log a challenger, or take the one it names, and measure it against the champion.

    `folder` takes temporary files. Everything about rows comes from one split, so that nothing that trained judges.
    Raises Refused for what the model cannot do, TrainingFailed when the training gives nothing usable, and what
    reading rows or the registry may raise. Registers nothing and moves no alias.
    """
    started = time.monotonic()
    connect(job.source)
    with tempfile.TemporaryDirectory(dir=folder, prefix="models-") as scratch:
        champion = load(read_version(job.source), Path(scratch))
        sklearn.task_of(champion.estimator)
        progress(Progress(phase="reading rows"))
        window = _read(job)
        if job.challenger is not None:
            challenger, evidence, notes = _judge_again(job, job.challenger, champion, window, Path(scratch), progress)
        else:
            challenger, evidence, notes = _train_and_log(job, champion, window, Path(scratch), progress)
    return Trained(challenger=challenger, evidence=evidence, seconds=time.monotonic() - started, notes=notes)


def _read(job: Train) -> _Window:
    """Read the window and split it; rows the given challenger learned do not judge either."""
    schema = read_schema(job.source, job.data)
    rows = read_window(job.drops, job.data, schema, job.now)
    learned = load_keys(job.learned)
    judged_before = (job.challenger.learned_file,) if job.challenger else ()
    early = load_keys(job.early)
    sides = split(rows, job.data, load_keys((*job.learned, *judged_before)), job.unknown_until, early)
    incremental = job.recipe.mode is Mode.INCREMENTAL
    known = np.union1d(learned, early)
    training = unlearned(sides.training, known, job.unknown_until) if incremental else sides.training
    return _Window(rows=rows, sides=sides, training=training, unit=unit_name(job.data, schema))


def _train_and_log(
    job: Train, champion: LoadedModel, window: _Window, folder: Path, progress: Tell
) -> tuple[Challenger, Evidence, tuple[str, ...]]:
    _refuse_no_training_rows(job, window)
    strangers = _unknown_classes(job, champion, window.rows)
    progress(Progress(phase="training"))
    continued = sklearn.continue_training(
        champion.estimator,
        job.recipe.mode,
        job.recipe.hyperparameters,
        window.training.features,
        window.training.target,
        seed=job.seed,
        progress=lambda done, total: progress(Progress(phase="training", done=done, total=total)),
    )
    progress(Progress(phase="checking"))
    notes = (*strangers, *continued.notes, *_check_predicts(champion, continued.estimator, window))
    progress(Progress(phase="comparing"))
    evidence = _evidence(job, champion, continued.estimator, "", window.sides)
    progress(Progress(phase="logging"))
    save_keys(job.learned_file, window.training.learned_keys)
    record = RunRecord(parameters=_parameters(job, window), manifest=_manifest(job, window.rows), evidence=evidence)
    logged = log_challenger(job, champion, continued.estimator, record, folder)
    challenger = Challenger(
        run_id=logged.run_id,
        model_uri=logged.model_uri,
        digest=logged.evidence.challenger_digest,
        learned_file=job.learned_file,
        training_rows=len(window.training),
        unit=window.unit,
    )
    return challenger, logged.evidence, (*notes, *logged.notes)


def _judge_again(
    job: Train, challenger: Challenger, champion: LoadedModel, window: _Window, folder: Path, progress: Tell
) -> tuple[Challenger, Evidence, tuple[str, ...]]:
    if challenger.unit != window.unit:
        raise Refused(
            f"The challenger's record is of {challenger.unit}, version {job.source.version} asks for {window.unit}: "
            "which rows it learned cannot be told.",
            "Start another attempt.",
        )
    progress(Progress(phase="comparing"))
    card = read_card(job.source, challenger.model_uri, f"the challenger of attempt {job.attempt}")
    loaded = load(card, folder)
    if loaded.digest != challenger.digest:
        raise TrainingFailed(
            f"The files of {card.label} at {challenger.model_uri} are not those that were logged.",
            "Someone changed them; start another attempt.",
        )
    return challenger, _evidence(job, champion, loaded.estimator, loaded.digest, window.sides), ()


def _refuse_no_training_rows(job: Train, window: _Window) -> None:
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


def _check_predicts(champion: LoadedModel, challenger: Any, window: _Window) -> tuple[str, ...]:
    """The challenger must predict before it is logged: some rows, and the champion's example where there is one."""
    rows = window.sides.judging if len(window.sides.judging) else window.training
    _check_on(challenger, rows.features.iloc[:CHECKED_ROWS], "rows of the window")
    example = input_example(champion)
    if example is None:
        return ()
    if not isinstance(example, pd.DataFrame):
        return (f"The champion's input example is no table ({type(example).__name__}), so it was not tried.",)
    try:
        sklearn.predict(champion.estimator, example)
    except (*sklearn.ESTIMATOR_ERRORS, Refused) as problem:
        return (f"The champion cannot predict its own input example: {first_line(problem)}.",)
    _check_on(challenger, example, "rows of the champion's input example")
    return ()


def _check_on(challenger: Any, features: pd.DataFrame, what: str) -> None:
    predictions = _predictions(challenger, features, "challenger")
    given = [part for part in (predictions.labels, predictions.values, predictions.probabilities) if part is not None]
    if any(len(part) != len(features) for part in given):
        raise TrainingFailed(f"The challenger does not give one prediction for each of {len(features)} {what}.")
    if bad := count_not_a_number(predictions):
        raise TrainingFailed(
            f"The challenger predicts NaN or infinity for {bad} of {len(features)} {what}.",
            "The training went astray: look at the hyperparameters and at extreme values in the data.",
        )


def _predictions(estimator: Any, features: pd.DataFrame, who: str) -> Predictions:
    try:
        return sklearn.predict(estimator, features)
    except sklearn.ESTIMATOR_ERRORS as problem:
        raise TrainingFailed(f"The {who} cannot predict {len(features)} rows: {first_line(problem)}.") from problem


def _evidence(job: Train, champion: LoadedModel, challenger: Any, digest: str, sides: Split) -> Evidence:
    """Measure both models on the same judging rows; without any row each metric says so."""
    version = job.source.version
    assert version is not None  # read_version has refused otherwise
    judging = sides.judging
    known = Evidence(
        champion_version=version,
        champion_digest=champion.digest,
        challenger_digest=digest,
        rows=len(judging),
        confidence=job.confidence,
        metrics=tuple(MetricEvidence(metric=metric, problem="there are no judging rows") for metric in job.metrics),
        excluded=sides.excluded,
        too_early=sides.too_early,
    )
    return _measured(job, known, champion.estimator, challenger, judging) if len(judging) else known


def _measured(job: Train, known: Evidence, champion: Any, challenger: Any, judging: Rows) -> Evidence:
    ours = _predictions(champion, judging.features, "champion")
    theirs = _predictions(challenger, judging.features, "challenger")
    truth = sklearn.target_array(champion, judging.target)
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


def _parameters(job: Train, window: _Window) -> Mapping[str, Scalar]:
    """What the run is known by. A hyperparameter keeps its own name, so that runs compare in MLflow."""
    return {
        "mode": job.recipe.mode.value,
        "champion_version": job.source.version,
        "window_rows": len(window.rows),
        "training_rows": len(window.training),
        "judging_rows": len(window.sides.judging),
        "excluded_rows": window.sides.excluded,
        "too_early_rows": window.sides.too_early,
        "seed": job.seed,
        **job.recipe.hyperparameters,
    }


def _unknown_classes(job: Train, champion: LoadedModel, rows: Rows) -> tuple[str, ...]:
    """Classes in the window that the champion does not know, with the files they are in: often a slip in a label.

    Raises Refused where the mode cannot learn a class; for refit, which can, they are notes.
    """
    classes = sklearn.classes_of(champion.estimator)
    if classes is None or not len(rows):
        return ()
    labels = sklearn.target_array(champion.estimator, rows.target)
    known = set(classes.tolist())
    names = {file.drop: Path(file.path).name for file in job.drops}
    found = Counter((repr(label), names[drop]) for label, drop in zip(labels.tolist(), rows.drop.tolist(), strict=True)
                    if label not in known)  # fmt: skip
    said = tuple(f"class {label} in {count:,} rows of {name}" for (label, name), count in sorted(found.items())[:8])
    if said and job.recipe.mode is not Mode.REFIT:
        raise Refused(
            f"There are classes that the champion does not know: {'; '.join(said)}.",
            "If they are slips, run `retraind drop retract FILE --why ...` and drop the corrected rows; if they are"
            f" real, use mode refit, as {job.recipe.mode.value} cannot add a class.",
        )
    return tuple(f"The champion does not know {each}." for each in said)


def _manifest(job: Train, rows: Rows) -> tuple[Mapping[str, Scalar], ...]:
    """The files of the job with their fingerprints and how many rows of each are in the window."""
    counts = Counter(rows.drop.tolist())
    return tuple(
        {"drop": file.drop, "path": file.path, "fingerprint": file.fingerprint, "rows": counts[file.drop]}
        for file in job.drops
    )
