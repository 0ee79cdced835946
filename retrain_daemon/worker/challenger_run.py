"""The MLflow run a challenger leaves: parameters, metrics, policy, data manifest, evidence, and the model itself.

Begins with a kept challenger and needs neither its framework nor its rows. Registers nothing and moves no alias; that
is the daemon's.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput, Metric, Run, RunStatus, ViewType
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from retrain_daemon.core.evidence import Evidence, MetricEvidence
from retrain_daemon.core.policy import Scalar
from retrain_daemon.worker.durable import write_whole
from retrain_daemon.worker.environment import read_environment
from retrain_daemon.worker.job import ATTEMPT_TAG, KEY_TAG, Train
from retrain_daemon.worker.kept import MODEL_FOLDER, Kept, stored_digest
from retrain_daemon.worker.lesson import Epoch
from retrain_daemon.worker.mlflow_errors import understood, unreachable
from retrain_daemon.worker.mlflow_story import NOTE_TAG, datasets, first_note
from retrain_daemon.worker.store import ensure_experiment
from retrain_daemon.worker.study import STUDY_FILE, Study, searched, study_text

MODEL_NAME = "model"
#: On the run: which training's result it holds, so that none is stored twice.
RESULT_TAG = "retraind.result"
_METRICS_AT_ONCE = 500


@dataclass(frozen=True)
class LoggedRun:
    """Where a challenger is in MLflow."""

    run_id: str
    model_uri: str


def log_challenger(job: Train, kept: Kept, folder: Path) -> LoggedRun:
    """Put a kept challenger into MLflow as one finished run, unless it is there; open runs of the attempt are ended.

    `folder` takes temporary files. Raises RegistryUnreachable, also when MLflow does not give back what it was given.
    """
    uri = job.source.tracking_uri
    with understood(uri):
        experiment = _experiment_of(kept.champion_run)
    experiment = experiment or ensure_experiment(uri, job.experiment)
    with understood(uri):
        found = _finished(experiment, kept.token)
        if found is not None and _given_back(found, kept, folder / "found"):
            return found
        logged = _log(experiment, job, kept)
        whole = _given_back(logged, kept, folder / "logged")
    if not whole:
        raise unreachable(uri, "the model it gives back is not the one that was stored")
    return logged


def _finished(experiment: str, token: str) -> LoggedRun | None:
    """Where an earlier worker put it whose end nobody saw."""
    wanted = f"tags.`{RESULT_TAG}` = '{token}' and attributes.status = 'FINISHED'"
    for run in MlflowClient().search_runs([experiment], wanted, ViewType.ACTIVE_ONLY):
        for output in run.outputs.model_outputs if run.outputs else ():
            return LoggedRun(run.info.run_id, f"models:/{output.model_id}")
    return None


def _log(experiment: str, job: Train, kept: Kept) -> LoggedRun:
    _end_open_runs(experiment, job.key)
    note = first_note(job.attempt, job.source.model, job.tags.get("retraind.rule", ""), job.source.version)
    tags = {**job.tags, ATTEMPT_TAG: job.attempt, KEY_TAG: job.key, RESULT_TAG: kept.token, NOTE_TAG: note}
    with mlflow.start_run(experiment_id=experiment, run_name=job.attempt, tags=tags) as run:
        return _fill(run, job, kept)


def _fill(run: Run, job: Train, kept: Kept) -> LoggedRun:
    run_id = run.info.run_id
    mlflow.log_params(dict(kept.parameters))
    mlflow.log_text(job.policy_text, "policy.yaml")
    mlflow.log_text(json.dumps(kept.manifest, indent=1), "data_manifest.json")
    mlflow.log_text(json.dumps(asdict(read_environment()), indent=1), "environment.json")
    _log_epochs(run_id, kept.epochs)
    _log_study(kept.study)
    model_id = log_stored(run_id, Path(job.kept_folder) / MODEL_FOLDER, kept.parameters)
    _log_measured(run_id, model_id, job, kept)
    mlflow.log_text(json.dumps(asdict(kept.evidence), indent=1), "evidence.json")
    return LoggedRun(run_id, f"models:/{model_id}")


def _log_study(study: Study | None) -> None:
    """The best score has a name of its own, and no model and no rows: it is not what anything is judged by."""
    if study is not None:
        mlflow.log_text(study_text(study), STUDY_FILE)
        mlflow.log_metric(f"search_best_{study.metric}", searched(study).score)


def _log_measured(run_id: str, model_id: str, job: Train, kept: Kept) -> None:
    """Metrics, linked to the model and to the rows they were measured on; which rows trained it is an input too."""
    rows = {"training": kept.training_rows, "judging": kept.evidence.rows}
    inputs = datasets(job.data, job.source.model, kept.manifest, rows)
    judging, at = inputs["judging"].dataset, int(time.time() * 1000)
    client = MlflowClient()
    client.log_inputs(run_id, list(inputs.values()))
    metrics = [
        Metric(name, value, at, 0, model_id=model_id, dataset_name=judging.name, dataset_digest=judging.digest,
               run_id=run_id)
        for name, value in metrics_of(kept.evidence).items()
    ]  # fmt: skip
    client.log_batch(run_id, metrics=metrics)


def log_stored(run_id: str, stored: Path, parameters: Mapping[str, Scalar]) -> str:
    """Log a stored model as one of a run, under the ids that MLflow gives, which are written to its MLmodel file.

    Returns its id; for MLflow it counts once it is finalized.
    """
    shown = {name: str(value) for name, value in parameters.items()}
    model = mlflow.initialize_logged_model(name=MODEL_NAME, source_run_id=run_id, params=shown)
    description = Model.load(str(stored))
    description.run_id, description.model_id, description.model_uuid = run_id, model.model_id, model.model_id
    description.artifact_path = model.artifact_location
    write_whole(stored / "MLmodel", description.to_yaml().encode())
    client = MlflowClient()
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    client.log_model_artifacts(model.model_id, str(stored))
    client.finalize_logged_model(model.model_id, "READY")
    return model.model_id


def _log_epochs(run_id: str, epochs: Sequence[Epoch]) -> None:
    """Each epoch's metrics at its number; MLflow takes a thousand at a time."""
    at = int(time.time() * 1000)
    metrics = [
        Metric(f"epoch_{name}", value, at, epoch.number) for epoch in epochs for name, value in epoch.metrics.items()
    ]
    for start in range(0, len(metrics), _METRICS_AT_ONCE):
        MlflowClient().log_batch(run_id, metrics=metrics[start : start + _METRICS_AT_ONCE])


def _given_back(run: LoggedRun, kept: Kept, folder: Path) -> bool:
    """Whether a later load will get what was stored; `folder`, which is made, takes a copy."""
    folder.mkdir()
    copy = Path(mlflow.artifacts.download_artifacts(run.model_uri, dst_path=str(folder)))
    return stored_digest(copy, kept.flavor) == kept.evidence.challenger_digest


def metrics_of(evidence: Evidence) -> dict[str, float]:
    """The evidence as MLflow metrics, such as `gain_low_roc_auc`; what could not be computed is left out."""
    shown = ("champion", "challenger", "gain", "gain_low", "gain_high")
    values = {f"{part}_{metric.metric}": _value(metric, part) for metric in evidence.metrics for part in shown}
    return {name: value for name, value in values.items() if value is not None}


def _value(metric: MetricEvidence, part: str) -> float | None:
    value: float | None = getattr(metric, part)
    return value


def _experiment_of(run_id: str) -> str | None:
    """The experiment of the run the champion came from; None when run or experiment is gone or was deleted."""
    if not run_id:
        return None
    client = MlflowClient()
    try:
        run = client.get_run(run_id)
        experiment = client.get_experiment(run.info.experiment_id)
    except MlflowException as problem:
        if problem.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    active = run.info.lifecycle_stage == experiment.lifecycle_stage == "active"
    return str(run.info.experiment_id) if active else None


def _end_open_runs(experiment: str, key: str) -> None:
    """A worker that was killed leaves its run RUNNING for ever."""
    client = MlflowClient()
    wanted = f"tags.`{KEY_TAG}` = '{key}' and attributes.status = 'RUNNING'"
    for run in client.search_runs([experiment], wanted, ViewType.ACTIVE_ONLY):
        client.set_terminated(run.info.run_id, RunStatus.to_string(RunStatus.KILLED))
