"""A search for hyperparameters: trials that train and are judged as the policy's training would, and the best of them.

All trials see the same rows of the training side (`trial_rows.py`); what to try is proposed by `proposals.py`. What was
tried is on disk after each trial, so that a worker that is started again goes on after the last one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from retrain_daemon import __version__
from retrain_daemon.core.metrics import METRICS
from retrain_daemon.core.policy import Hyperparameter, Recipe, Search
from retrain_daemon.errors import FrameworkMissing, Refused, TrainingFailed, UnknownHyperparameter, Unloadable
from retrain_daemon.worker.custom import find, source_of
from retrain_daemon.worker.evaluate import align, count_not_a_number, measure_of, value_of
from retrain_daemon.worker.job import Progress, Train
from retrain_daemon.worker.judging import predict
from retrain_daemon.worker.labelled import LabelledRows
from retrain_daemon.worker.proposals import Plan, Values, known_values, propose
from retrain_daemon.worker.stage import Stage
from retrain_daemon.worker.study import MOST_CUTS, Study, Trial, TrialState, read_study, write_study
from retrain_daemon.worker.trainable import Trainable
from retrain_daemon.worker.trial_rows import TrialRows, read_trial_rows

Teach = Callable[[LabelledRows, Mapping[str, Hyperparameter]], Trainable]
"""Trains as the job says, on these rows with these hyperparameters."""

_RECIPE: TypeAdapter[Recipe] = TypeAdapter(Recipe)
_CUT_SHORT = "The worker ended in it without a word, twice: it may need more memory or time than train.limits give."


def search(stage: Stage, wanted: Search, teach: Teach, clock: Callable[[], float] = time.monotonic) -> Study:
    """Carry out the search of `stage.job`, or what is left of it; `clock` counts seconds.

    Raises UnknownHyperparameter at the first trial, and TrainingFailed when no trial has a score.
    """
    job, folder = stage.job, _folder(stage.job)
    rows = read_trial_rows(job, stage.window.training)
    plan = _plan(stage, wanted)
    study = _begun(job, wanted, rows, _inputs(stage, plan, rows))
    before, began = sum(trial.seconds for trial in study.trials), clock()
    while len(study.trials) < wanted.trials and not (study.trials and _over(wanted, before + clock() - began)):
        stage.tell(Progress(phase="searching", done=len(study.trials), total=wanted.trials))
        study = replace(study, cuts=study.cuts + 1)
        write_study(folder, study)
        study = study.and_then(_tried(stage, study, propose(plan, study.trials), rows, teach, clock))
        write_study(folder, study)
    if study.best is None:
        first = study.trials[0].problem
        raise TrainingFailed(f"All {len(study.trials)} trials of the search failed; the first: {first}")
    return study


def _over(wanted: Search, seconds: float) -> bool:
    return wanted.stop_after is not None and seconds >= wanted.stop_after.total_seconds()


def _plan(stage: Stage, wanted: Search) -> Plan:
    """The champion's own values come first, then those that earlier searches chose; half of the trials are for new."""
    job = stage.job
    found: tuple[Values, ...] = (stage.champion.model.settings, *job.starts)
    return Plan(
        spaces=job.recipe.spaces,
        trials=wanted.trials,
        higher_is_better=METRICS[wanted.metric].higher_is_better,
        seed=job.seed,
        starts=known_values(job.recipe.spaces, found, (wanted.trials + 1) // 2),
    )


def _begun(job: Train, wanted: Search, rows: TrialRows, inputs: str) -> Study:
    new = Study(
        metric=wanted.metric,
        wanted=wanted.trials,
        training_rows=len(rows.training),
        judging_rows=len(rows.judging),
        seed=job.seed,
        inputs=inputs,
        notes=rows.notes,
    )
    return read_study(_folder(job), inputs) or new


def _folder(job: Train) -> Path | None:
    return Path(job.study_folder) if job.study_folder else None


def _tried(
    stage: Stage, study: Study, values: Values, rows: TrialRows, teach: Teach, clock: Callable[[], float]
) -> Trial:
    number, began = len(study.trials) + 1, clock()
    same = next((trial for trial in study.trials if trial.values == values), None)
    if same is not None:
        state = TrialState.FAILED if same.score is None else TrialState.REPEATED
        return replace(same, number=number, state=state, seconds=0.0)
    failed = Trial(number=number, state=TrialState.FAILED, score=None, values=values, seconds=0.0)
    if study.cuts > MOST_CUTS:
        return replace(failed, problem=_CUT_SHORT)
    try:
        score = _score(stage, study.metric, teach(_own(rows.training), values), rows.judging)
    except (UnknownHyperparameter, Unloadable, FrameworkMissing):
        raise
    except (TrainingFailed, Refused) as problem:
        return replace(failed, problem=str(problem), seconds=clock() - began)
    return replace(failed, state=TrialState.COMPLETE, score=score, seconds=clock() - began)


def _own(rows: LabelledRows) -> LabelledRows:
    """The same rows for one trial alone: a model, or a team's function, may change them in place."""
    return rows.take(np.arange(len(rows)))


def _score(stage: Stage, metric: str, model: Trainable, rows: LabelledRows) -> float:
    """The metric over the rows that judge trials; raises TrainingFailed where it is none."""
    predictions = predict(model, _own(rows).features, "model of the trial")
    if bad := count_not_a_number(predictions):
        raise TrainingFailed(f"It predicts NaN or infinity for {bad} of {len(rows)} rows.")
    truth = stage.champion.model.truth(rows.target)
    [scored] = align(truth, [predictions], stage.job.data.target.positive)
    measure = measure_of(metric, scored)
    if isinstance(measure, str):
        raise TrainingFailed(f"{measure}.")
    value = value_of(measure)
    if value is None:
        raise TrainingFailed(f"Its {metric} is no number.")
    return value


def _inputs(stage: Stage, plan: Plan, rows: TrialRows) -> str:
    """A digest of all that trials depend on: only then the trials of an earlier worker count."""
    job = stage.job
    said = blake2b(digest_size=16)
    recipe = replace(job.recipe, retries=0)
    files = [drop.fingerprint for drop in job.drops]
    for part in (__version__, _RECIPE.dump_json(recipe).decode(), plan, stage.champion.files.digest, files, job.data):
        said.update(repr(part).encode())
    for reference in filter(None, (job.recipe.trainer, job.recipe.network)):
        source = source_of(find(reference, job.code_folder))
        said.update(source.read_bytes() if source else b"")
    for side in (rows.training, rows.judging):
        said.update(side.row_keys.tobytes())
    return said.hexdigest()
