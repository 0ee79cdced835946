"""Stored models as their MLmodel file describes them: flavour, format, signature. No weights are read.

Their files live in `model_files.py`; which module loads a flavour in `flavors.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlflow
import yaml
from mlflow import MlflowClient
from mlflow.models import get_model_info
from mlflow.models.model import ModelInfo

from retrain_daemon.errors import NotFound, Refused, Unloadable
from retrain_daemon.worker.job import Source
from retrain_daemon.worker.mlflow_errors import understood
from retrain_daemon.worker.schema import NETWORKS
from retrain_daemon.worker.store import initialise

SKLEARN = "sklearn"
SKOPS = "skops"

LOG_KERAS = "Log it as it can be trained further: mlflow.keras.log_model(model, name=..., signature=...)."
REGISTER = "Register a version that loads; `mlflow artifacts download -u models:/NAME/VERSION` shows what is stored."
_GENERIC = "python_function"
_FLAVORS = (SKLEARN, *NETWORKS)
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


def connect(source: Source) -> None:
    """Point MLflow of this process at the stores of `source` and open them safely."""
    initialise(source.tracking_uri)
    if source.registry_uri != source.tracking_uri:
        initialise(source.registry_uri)
    mlflow.set_tracking_uri(source.tracking_uri)
    mlflow.set_registry_uri(source.registry_uri)


def read_version(source: Source) -> ModelCard:
    """Describe the registered version of `source`; raises Refused when it names none, NotFound when it is not there,
    Unloadable when its files are not.
    """
    if source.version is None:
        raise Refused(f"Model {source.model} has no version to train from.", "Register one first.")
    with understood(source.registry_uri):
        MlflowClient().get_model_version(source.model, str(source.version))
    uri = f"models:/{source.model}/{source.version}"
    return read_card(source, uri, f"version {source.version} of {source.model}")


def read_card(source: Source, uri: str, label: str) -> ModelCard:
    """Describe the model at `uri` from its MLmodel file alone; raises Unloadable when that cannot be read."""
    try:
        with understood(source.registry_uri):
            info = get_model_info(uri)
    except NotFound as missing:
        raise Unloadable(f"The files of {label} are gone: {missing.message}", REGISTER, uri=uri) from None
    except (yaml.YAMLError, AttributeError, LookupError, TypeError) as problem:
        message = f"The MLmodel file of {label} cannot be read: {first_line(problem)}."
        raise Unloadable(message, REGISTER, uri=uri) from problem
    named = [flavor for flavor in info.flavors if flavor != _GENERIC]
    flavor = next((flavor for flavor in _FLAVORS if flavor in named), (named or [_GENERIC])[0])
    return ModelCard(label=label, uri=uri, flavor=flavor, info=info)


def refuse_exports(card: ModelCard) -> None:
    """Raise Refused for a SavedModel export: its graph is fixed, and holds no layers to train."""
    exported = card.flavor == "keras" and card.settings.get("save_exported_model")
    if exported or (card.flavor == "tensorflow" and card.settings.get("model_type") != "keras"):
        raise Refused(
            f"{capital(card.label)} is a SavedModel export: a fixed graph for predicting, which cannot be trained "
            "further.",
            LOG_KERAS,
        )


def spelled(flavor: str) -> str:
    """The name of a flavour as its makers spell it."""
    return _SPELLED.get(flavor, flavor)


def first_line(problem: BaseException) -> str:
    """The first line of what an exception says, or its name where it says nothing."""
    return str(problem).strip().split("\n")[0].rstrip(". ") or type(problem).__name__


def capital(label: str) -> str:
    """A label at the beginning of a sentence."""
    return label[:1].upper() + label[1:]
