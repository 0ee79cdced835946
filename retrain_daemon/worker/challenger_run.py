"""The MLflow run a challenger leaves: parameters, metrics, policy, data manifest, evidence, and the model itself.

Registers nothing and moves no alias; that is the daemon's.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import RunStatus, ViewType
from mlflow.exceptions import MlflowException

from retrain_daemon.core.evidence import Evidence, MetricEvidence
from retrain_daemon.core.policy import Scalar
from retrain_daemon.errors import TrainingFailed
from retrain_daemon.worker.job import ATTEMPT_TAG, KEY_TAG, Train
from retrain_daemon.worker.mlflow_errors import understood
from retrain_daemon.worker.model_store import SKOPS, LoadedModel, first_line, payload_digest
from retrain_daemon.worker.requirements import as_installed
from retrain_daemon.worker.store import ensure_experiment

MODEL_NAME = "model"

#: Libraries whose types a challenger may bring along newly: their code has trained it in this very process.
_TRUSTED_LIBRARIES = ("sklearn.", "numpy.", "scipy.")


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What is written beside the model: parameters by name, and the rows of each drop as JSON-ready entries."""

    parameters: Mapping[str, Scalar]
    manifest: tuple[Mapping[str, Scalar], ...]
    evidence: Evidence


@dataclass(frozen=True, kw_only=True)
class Logged:
    """A challenger in MLflow: where, its evidence with the digest filled in, and sentences for a reviewer."""

    run_id: str
    model_uri: str
    evidence: Evidence
    notes: tuple[str, ...]


def log_challenger(job: Train, champion: LoadedModel, estimator: Any, record: RunRecord, folder: Path) -> Logged:
    """Log the challenger `estimator` and its `record` as one finished run; older open runs of the attempt are ended.

    Format, signature, code and metadata are the champion's. Evidence comes without a challenger's digest and is
    returned with it. `folder` takes temporary files. Raises TrainingFailed when the model cannot be stored.
    """
    trusted = trusted_types(champion, estimator)
    uri = job.source.tracking_uri
    with understood(uri):
        experiment = _experiment_of(champion)
    experiment = experiment or ensure_experiment(uri, job.experiment)
    with understood(uri):
        _end_open_runs(experiment, job.key)
        tags = {**job.tags, ATTEMPT_TAG: job.attempt, KEY_TAG: job.key}
        with mlflow.start_run(experiment_id=experiment, run_name=job.attempt, tags=tags) as run:
            return _fill(run.info.run_id, job, champion, estimator, record, trusted, folder)


def trusted_types(champion: LoadedModel, estimator: Any) -> list[str] | None:
    """The skops types that loading the challenger must trust; None for other formats or when there are none.

    The champion's own list is carried over. A type that is not on it is added only if it belongs to scikit-learn,
    numpy or scipy (other solvers and versions bring other internal types); any other raises TrainingFailed.
    """
    if champion.card.storage != SKOPS:
        return None
    import skops.io

    carried = set(champion.card.settings.get("skops_trusted_types") or ())
    try:
        found = set(skops.io.get_untrusted_types(data=skops.io.dumps(estimator)))
    except Exception as problem:
        raise TrainingFailed(f"skops cannot store the challenger: {first_line(problem)}.") from problem
    strange = sorted(kind for kind in found - carried if not kind.startswith(_TRUSTED_LIBRARIES))
    if strange:
        raise TrainingFailed(
            f"The challenger holds types that {champion.card.label} does not declare as trusted: {', '.join(strange)}.",
            "Register a champion with these in skops_trusted_types, if they are to be trusted.",
        )
    return sorted(carried | found) or None


def _fill(
    run_id: str,
    job: Train,
    champion: LoadedModel,
    estimator: Any,
    record: RunRecord,
    trusted: list[str] | None,
    folder: Path,
) -> Logged:
    mlflow.log_params(dict(record.parameters))
    mlflow.log_text(job.policy_text, "policy.yaml")
    mlflow.log_text(json.dumps(record.manifest, indent=1), "data_manifest.json")
    model, notes = _log_model(champion, estimator, trusted)
    evidence = replace(record.evidence, challenger_digest=_stored_digest(model.model_uri, folder))
    mlflow.log_metrics(metrics_of(evidence), model_id=model.model_id)
    mlflow.log_text(json.dumps(asdict(evidence), indent=1), "evidence.json")
    return Logged(run_id=run_id, model_uri=model.model_uri, evidence=evidence, notes=notes)


def _log_model(champion: LoadedModel, estimator: Any, trusted: list[str] | None) -> tuple[Any, tuple[str, ...]]:
    """Log as the champion was logged; requirements are given, as guessing them costs MLflow many seconds."""
    info, settings, storage = champion.card.info, champion.card.settings, champion.card.storage
    needed = ["mlflow", "scikit-learn", *([storage] if storage in (SKOPS, "cloudpickle") else [])]
    requirements = as_installed(champion.requirements, needed)
    try:
        model = mlflow.sklearn.log_model(
            estimator,
            name=MODEL_NAME,
            signature=info.signature,
            serialization_format=storage,
            skops_trusted_types=trusted,
            pip_requirements=list(requirements.lines),
            pyfunc_predict_fn=info.flavors.get("python_function", {}).get("predict_fn", "predict"),
            metadata=info.metadata,
            code_paths=_entries(champion.folder, settings.get("code")),
            extra_files=[str(champion.folder / entry["path"]) for entry in settings.get("extra_files") or ()] or None,
        )
    except (TypeError, AttributeError, pickle.PicklingError) as problem:
        raise TrainingFailed(f"{storage} cannot store the challenger: {first_line(problem)}.") from problem
    except MlflowException as problem:
        # The rest of what MLflow raises here is about the store, and has no such words.
        if "serializ" not in problem.message and "untrusted types" not in problem.message:
            raise
        raise TrainingFailed(f"MLflow cannot store the challenger: {first_line(problem)}.") from problem
    return model, requirements.notes


def _entries(folder: Path, name: str | None) -> list[str] | None:
    return sorted(str(entry) for entry in (folder / name).iterdir()) if name else None


def _stored_digest(uri: str, folder: Path) -> str:
    """Read back what was stored: the digest is of what a later load will get."""
    copy = folder / "stored"
    copy.mkdir()
    path = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(copy)))
    return payload_digest(path, mlflow.models.get_model_info(str(path)).flavors["sklearn"])


def metrics_of(evidence: Evidence) -> dict[str, float]:
    """The evidence as MLflow metrics, such as `gain_low_roc_auc`; what could not be computed is left out."""
    shown = ("champion", "challenger", "gain", "gain_low", "gain_high")
    values = {f"{part}_{metric.metric}": _value(metric, part) for metric in evidence.metrics for part in shown}
    return {name: value for name, value in values.items() if value is not None}


def _value(metric: MetricEvidence, part: str) -> float | None:
    value: float | None = getattr(metric, part)
    return value


def _experiment_of(champion: LoadedModel) -> str | None:
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
