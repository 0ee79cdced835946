"""Registered models as the worker sees them: what their MLmodel file says, and their loaded estimator.

Reads only. What the worker writes to MLflow lives in `challenger_run.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow import MlflowClient
from mlflow.models import Model, get_model_info
from mlflow.models.model import ModelInfo

from retrain_daemon.errors import NotFound, Refused
from retrain_daemon.worker.job import Source
from retrain_daemon.worker.mlflow_errors import understood
from retrain_daemon.worker.store import initialise

SKLEARN = "sklearn"
SKOPS = "skops"

_REGISTER = "Register a version that loads; `mlflow artifacts download -u models:/NAME/VERSION` shows what is stored."
_GENERIC = "python_function"
_SPELLED = {
    SKLEARN: "scikit-learn",
    "keras": "Keras",
    "tensorflow": "TensorFlow",
    "pytorch": "PyTorch",
    "xgboost": "XGBoost",
    "lightgbm": "LightGBM",
    "catboost": "CatBoost",
    "onnx": "ONNX",
    _GENERIC: "plain python_function",
}


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """A stored model as its MLmodel file describes it. `label` names it in messages: "version 3 of churn"."""

    label: str
    uri: str
    flavor: str
    info: ModelInfo

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the flavour wrote into the MLmodel file."""
        settings: Mapping[str, Any] = self.info.flavors.get(self.flavor, {})
        return settings

    @property
    def storage(self) -> str:
        """The format of the stored estimator, "" where the flavour does not say."""
        older = "pickle" if self.flavor == SKLEARN else ""
        return str(self.settings.get("serialization_format") or self.settings.get("save_format") or older)


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model in memory and its files in `folder`. `digest` is over the stored estimator and the code beside it."""

    card: ModelCard
    folder: Path
    estimator: Any
    digest: str
    requirements: tuple[str, ...]


def connect(source: Source) -> None:
    """Point MLflow of this process at the stores of `source` and open them safely."""
    initialise(source.tracking_uri)
    if source.registry_uri != source.tracking_uri:
        initialise(source.registry_uri)
    mlflow.set_tracking_uri(source.tracking_uri)
    mlflow.set_registry_uri(source.registry_uri)


def read_version(source: Source) -> ModelCard:
    """Describe the registered version of `source`; raises Refused when it names none, NotFound when it is not there."""
    if source.version is None:
        raise Refused(f"Model {source.model} has no version to train from.", "Register one first.")
    with understood(source.registry_uri):
        MlflowClient().get_model_version(source.model, str(source.version))
    uri = f"models:/{source.model}/{source.version}"
    return read_card(source, uri, f"version {source.version} of {source.model}")


def read_card(source: Source, uri: str, label: str) -> ModelCard:
    """Describe the model at `uri` from its MLmodel file alone; raises Refused when that cannot be read."""
    try:
        with understood(source.registry_uri):
            info = get_model_info(uri)
    except NotFound as missing:
        raise Refused(f"The files of {label} are gone: {missing.message}", _REGISTER) from None
    except (yaml.YAMLError, AttributeError, LookupError, TypeError) as problem:
        raise Refused(f"The MLmodel file of {label} cannot be read: {first_line(problem)}.", _REGISTER) from problem
    named = [flavor for flavor in info.flavors if flavor != _GENERIC]
    flavor = SKLEARN if SKLEARN in named else (named or [_GENERIC])[0]
    return ModelCard(label=label, uri=uri, flavor=flavor, info=info)


def spelled(flavor: str) -> str:
    """The name of a flavour as its makers spell it."""
    return _SPELLED.get(flavor, flavor)


def refuse_other_flavors(card: ModelCard) -> None:
    """Raise Refused unless the model can be trained here."""
    if card.flavor != SKLEARN:
        kind = spelled(card.flavor)
        raise Refused(
            f"{_capital(card.label)} is a {kind} model; training {kind} models is not built yet.",
            "Models logged with mlflow.sklearn.log_model can be trained further.",
        )


def load(card: ModelCard, folder: Path) -> LoadedModel:
    """Copy the model's files into a new folder in `folder` and load its estimator.

    Raises Refused when the model is of another framework, or does not load, with the first line of the cause.
    """
    refuse_other_flavors(card)
    copy = Path(folder, hashlib.sha256(card.uri.encode()).hexdigest()[:16])
    copy.mkdir()
    path = _downloaded(card, copy)
    try:
        estimator = mlflow.sklearn.load_model(str(path))
        digest = payload_digest(path, card.settings)
    except Exception as problem:
        # What a stored object raises while it comes to life is up to its author.
        raise _does_not_load(card, problem) from problem
    requirements = read_requirements(path / "requirements.txt")
    return LoadedModel(card=card, folder=path, estimator=estimator, digest=digest, requirements=requirements)


def _downloaded(card: ModelCard, folder: Path) -> Path:
    try:
        with understood(mlflow.get_registry_uri()):
            return Path(mlflow.artifacts.download_artifacts(card.uri, dst_path=str(folder)))
    except NotFound as missing:
        raise Refused(f"The files of {card.label} are gone: {missing.message}", _REGISTER) from None


def payload_digest(folder: Path, settings: Mapping[str, Any]) -> str:
    """sha256, hex, over names and bytes of the stored estimator and of code stored with it.

    Not over MLmodel and the files about the environment: these hold ids and times and differ for the same model.
    """
    digest = hashlib.sha256()
    for root in (settings["pickled_model"], settings.get("code")):
        if root is None:
            continue
        start = folder / root
        for path in sorted(path for path in (start, *start.rglob("*")) if path.is_file()):
            digest.update(str(path.relative_to(folder)).encode() + b"\0")
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def read_requirements(path: Path) -> tuple[str, ...]:
    """The lines of a requirements file without comments; empty where there is no such file."""
    if not path.exists():
        return ()
    lines = (line.split(" #")[0].strip() for line in path.read_text().splitlines())
    return tuple(line for line in lines if line and not line.startswith("#"))


def requirements_alone(card: ModelCard, folder: Path) -> tuple[str, ...]:
    """The requirements of a model whose other files are not wanted; empty where it has none."""
    try:
        path = mlflow.artifacts.download_artifacts(f"{card.uri}/requirements.txt", dst_path=str(folder))
    except (mlflow.MlflowException, OSError):
        return ()
    return read_requirements(Path(path))


def input_example(model: LoadedModel) -> Any | None:
    """The example of input stored with the model, None where there is none."""
    if model.card.info.saved_input_example_info is None:
        return None
    try:
        return Model.load(str(model.folder)).load_input_example(str(model.folder))
    except (mlflow.MlflowException, OSError, ValueError) as problem:
        raise Refused(f"The input example of {model.card.label} cannot be read: {first_line(problem)}.") from problem


def first_line(problem: BaseException) -> str:
    """The first line of what an exception says, or its name where it says nothing."""
    return str(problem).strip().split("\n")[0].rstrip(". ") or type(problem).__name__


def _does_not_load(card: ModelCard, problem: Exception) -> Refused:
    hint = _REGISTER
    if type(problem).__name__ == "UntrustedTypesFoundException":
        hint = "Log it again with skops_trusted_types=[...] naming these types, if they are to be trusted."
    elif isinstance(problem, ModuleNotFoundError):
        hint = "Install that module into the environment of the worker, or log the model with code_paths."
    return Refused(f"{_capital(card.label)} does not load: {type(problem).__name__}: {first_line(problem)}.", hint)


def _capital(label: str) -> str:
    return label[:1].upper() + label[1:]
