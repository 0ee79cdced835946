"""The MLflow run a challenger leaves: parameters, metrics, policy, data manifest, evidence, and the model itself.

Registers nothing and moves no alias; that is the daemon's.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, RunStatus, ViewType
from mlflow.exceptions import MlflowException

from retrain_daemon.core.evidence import Evidence, MetricEvidence
from retrain_daemon.core.policy import Scalar
from retrain_daemon.worker.environment import read_environment
from retrain_daemon.worker.job import ATTEMPT_TAG, KEY_TAG, Train
from retrain_daemon.worker.lesson import Epoch
from retrain_daemon.worker.mlflow_errors import understood
from retrain_daemon.worker.model_code import refuse_unloadable
from retrain_daemon.worker.model_files import ModelFiles, payload_digest
from retrain_daemon.worker.store import ensure_experiment
from retrain_daemon.worker.trainable import Trainable

MODEL_NAME = "model"
_METRICS_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What is written beside the model: parameters by name, the rows of each drop as JSON-ready entries, epochs."""

    parameters: Mapping[str, Scalar]
    manifest: tuple[Mapping[str, Scalar], ...]
    evidence: Evidence
    epochs: tuple[Epoch, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """A challenger in MLflow: where, its evidence with the digest filled in, and sentences for a reviewer."""

    run_id: str
    model_uri: str
    evidence: Evidence
    notes: tuple[str, ...]


def log_challenger(job: Train, champion: ModelFiles, model: Trainable, record: RunRecord, folder: Path) -> LoggedRun:
    """Log the challenger `model` and its `record` as one finished run; older open runs of the attempt are ended.

    Format, signature, code and metadata are the champion's. Evidence comes without a challenger's digest and is
    returned with it. `folder` takes temporary files. Raises TrainingFailed when the model cannot be stored.
    """
    uri = job.source.tracking_uri
    with understood(uri):
        experiment = _experiment_of(champion)
    experiment = experiment or ensure_experiment(uri, job.experiment)
    with understood(uri):
        _end_open_runs(experiment, job.key)
        tags = {**job.tags, ATTEMPT_TAG: job.attempt, KEY_TAG: job.key}
        with mlflow.start_run(experiment_id=experiment, run_name=job.attempt, tags=tags) as run:
            return _fill(run.info.run_id, job, champion, model, record, folder)


def _fill(
    run_id: str, job: Train, champion: ModelFiles, model: Trainable, record: RunRecord, folder: Path
) -> LoggedRun:
    mlflow.log_params(dict(record.parameters))
    mlflow.log_text(job.policy_text, "policy.yaml")
    mlflow.log_text(json.dumps(record.manifest, indent=1), "data_manifest.json")
    mlflow.log_text(json.dumps(asdict(read_environment()), indent=1), "environment.json")
    _log_epochs(run_id, record.epochs)
    logged = model.log(MODEL_NAME, champion, folder, job.code_folder)
    stored = _read_back(logged.uri, folder)
    if job.recipe.trainer or job.recipe.network:
        refuse_unloadable(stored, champion.card.flavor)
    evidence = replace(record.evidence, challenger_digest=_digest(stored, champion.card.flavor))
    mlflow.log_metrics(metrics_of(evidence), model_id=logged.model_id)
    mlflow.log_text(json.dumps(asdict(evidence), indent=1), "evidence.json")
    return LoggedRun(run_id=run_id, model_uri=logged.uri, evidence=evidence, notes=logged.notes)


def _log_epochs(run_id: str, epochs: Sequence[Epoch]) -> None:
    """Each epoch's metrics at its number; MLflow takes a thousand at a time. What is no number is left out."""
    at = int(time.time() * 1000)
    metrics = [
        Metric(f"epoch_{name}", value, at, epoch.number)
        for epoch in epochs
        for name, value in epoch.metrics.items()
        if math.isfinite(value)
    ]
    for start in range(0, len(metrics), _METRICS_AT_ONCE):
        MlflowClient().log_batch(run_id, metrics=metrics[start : start + _METRICS_AT_ONCE])


def _read_back(uri: str, folder: Path) -> Path:
    """What was stored, as a later load will get it."""
    copy = folder / "stored"
    copy.mkdir()
    return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(copy)))


def _digest(stored: Path, flavor: str) -> str:
    return payload_digest(stored, mlflow.models.get_model_info(str(stored)).flavors[flavor])


def metrics_of(evidence: Evidence) -> dict[str, float]:
    """The evidence as MLflow metrics, such as `gain_low_roc_auc`; what could not be computed is left out."""
    shown = ("champion", "challenger", "gain", "gain_low", "gain_high")
    values = {f"{part}_{metric.metric}": _value(metric, part) for metric in evidence.metrics for part in shown}
    return {name: value for name, value in values.items() if value is not None}


def _value(metric: MetricEvidence, part: str) -> float | None:
    value: float | None = getattr(metric, part)
    return value


def _experiment_of(champion: ModelFiles) -> str | None:
    """The experiment of the run the champion came from; None when run or experiment is gone or was deleted."""
    run_id = champion.card.info.run_id
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
