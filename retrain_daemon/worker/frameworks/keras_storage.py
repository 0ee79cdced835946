"""Keras models out of MLflow and into it: in the champion's flavour and format, and read back before one counts.

TensorFlow is imported only when a model is loaded.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import mlflow
import numpy as np

from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.cards import capital
from retrain_daemon.worker.frameworks.keras_errors import said_by
from retrain_daemon.worker.frameworks.keras_files import H5, kept_variables, model_path, read_stored
from retrain_daemon.worker.model_code import refuse_unloadable
from retrain_daemon.worker.model_files import LOAD_OPTIONS, ModelFiles, code_entries, does_not_load, extra_files
from retrain_daemon.worker.requirements import as_installed

#: Classes and functions that the tensorflow flavour stores: given by hand, and registered with Keras.
_CARRIED_OBJECTS = ("global_custom_objects.cloudpickle", "custom_objects.cloudpickle")


def load_keras(files: ModelFiles) -> Any:
    """The model by its flavour's own loader: one does not read what the other wrote. Raises Refused."""
    _prepare_tensorflow()
    flavor = mlflow.keras if files.card.flavor == "keras" else mlflow.tensorflow
    try:
        with warnings.catch_warnings():
            # Of state that Keras leaves out the caller finds out by itself.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            model = flavor.load_model(str(files.folder), **LOAD_OPTIONS[files.card.flavor])
    except Exception as problem:
        # What a stored object raises while it comes to life is up to its author.
        raise _does_not_load(files, problem) from problem
    import keras

    if not isinstance(model, keras.Model):
        raise Refused(f"The files of {files.card.label} hold a {type(model).__name__}, which is no Keras model.")
    return model


def _does_not_load(files: ModelFiles, problem: Exception) -> Refused:
    said = said_by(problem)
    if "Could not locate" in said or "custom_objects" in str(problem):
        return Refused(
            f"{capital(files.card.label)} does not load: {type(problem).__name__}: {said}.",
            "Log it with mlflow.tensorflow.log_model(model, custom_objects={...}), which carries its own classes; "
            "mlflow.keras does not.",
        )
    return does_not_load(files.card, problem, said)


def _prepare_tensorflow() -> None:
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow

    for device in tensorflow.config.list_physical_devices("GPU"):
        tensorflow.config.experimental.set_memory_growth(device, True)


def store_keras(model: Any, target: Path, like: ModelFiles, format: str) -> tuple[str, ...]:
    """Store a model as `like` was stored. Raises TrainingFailed when it cannot be stored, or was stored without the
    optimizer's state: an h5 file that was loaded or saved earlier in a process can spoil a later file.
    """
    requirements = as_installed(like.requirements, ["mlflow", "tensorflow", "keras"])
    given: dict[str, Any] = {
        "path": str(target),
        "signature": like.card.info.signature,
        "pip_requirements": list(requirements.lines),
        "metadata": like.card.info.metadata,
    }
    try:
        _save(model, like, format, given)
    except (TypeError, ValueError, AttributeError, NotImplementedError) as problem:
        raise TrainingFailed(f"The challenger cannot be stored: {said_by(problem)}.") from problem
    _refuse_spoiled(model, target, like)
    return requirements.notes


def custom_objects(like: ModelFiles) -> dict[str, Any]:
    """The classes and functions the tensorflow flavour carries beside the model, by name."""
    folder = like.folder / str(like.card.settings.get("data", "data"))
    found: dict[str, Any] = {}
    for path in (folder / name for name in _CARRIED_OBJECTS):
        found |= cloudpickle.loads(path.read_bytes()) if path.exists() else {}
    return found


def _save(model: Any, like: ModelFiles, format: str, given: dict[str, Any]) -> None:
    if like.card.flavor == "keras":
        mlflow.keras.save_model(model, **given)
        return
    mlflow.tensorflow.save_model(
        model,
        **given,
        custom_objects=custom_objects(like) or None,
        keras_model_kwargs={"save_format": "h5"} if format == H5 else None,
        code_paths=code_entries(like),
        extra_files=extra_files(like),
    )


def _refuse_spoiled(model: Any, target: Path, like: ModelFiles) -> None:
    """What was stored must load, with the weights and, but for h5, the optimizer that the model in memory has."""
    stored = replace(like, folder=target)
    if custom_objects(like):
        # Here its classes are known already; whoever loads it later has only what was stored.
        refuse_unloadable(stored.folder, like.card.flavor)
    try:
        again = load_keras(stored)
    except Refused as refusal:
        raise TrainingFailed(f"The stored challenger does not load: {refusal.message}", refusal.hint) from refusal
    if not _alike(model.weights, [weight.numpy() for weight in again.weights]):
        raise TrainingFailed("The stored challenger does not have the weights that were trained.")
    path = model_path(stored)
    kept = path.suffix == f".{H5}" or _alike(model.optimizer.variables, kept_variables(path) or [])
    if not kept or read_stored(path, "the challenger").optimizer is None:
        raise TrainingFailed(
            f"The stored challenger lacks the state of its optimizer ({type(model.optimizer).__name__}): its training "
            "could not go on later.",
            "Register the champion as a .keras file, with mlflow.keras.log_model.",
        )


def _alike(variables: Sequence[Any], stored: Sequence[Any]) -> bool:
    """Whether variables and stored values are the same to the bit."""
    return len(variables) == len(stored) and all(
        np.array_equal(variable.numpy(), value) for variable, value in zip(variables, stored, strict=True)
    )
