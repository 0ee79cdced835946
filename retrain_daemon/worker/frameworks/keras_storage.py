"""How a trained Keras model is stored in MLflow: flavour and format of the champion, and read back before it counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cloudpickle
import mlflow

from retrain_daemon.errors import TrainingFailed
from retrain_daemon.worker.cards import first_line
from retrain_daemon.worker.frameworks.keras_files import H5, kept_iterations, read_stored
from retrain_daemon.worker.model_files import ModelFiles, code_entries, extra_files
from retrain_daemon.worker.requirements import as_installed
from retrain_daemon.worker.trainable import Logged

_CUSTOM_OBJECTS = "custom_objects.cloudpickle"


def log_keras(model: Any, name: str, like: ModelFiles, format: str, folder: Path) -> Logged:
    """Log a model as `like` was logged. Raises TrainingFailed when it cannot be stored, or was stored without the
    optimizer's state: an h5 file that was loaded or saved earlier in a process can spoil a later file.
    """
    requirements = as_installed(like.requirements, ["mlflow", "tensorflow", "keras"])
    given: dict[str, Any] = {
        "name": name,
        "signature": like.card.info.signature,
        "pip_requirements": list(requirements.lines),
        "metadata": like.card.info.metadata,
    }
    try:
        logged = _log(model, like, format, given)
    except (TypeError, ValueError, AttributeError, NotImplementedError) as problem:
        raise TrainingFailed(f"The challenger cannot be stored: {first_line(problem)}.") from problem
    _refuse_spoiled(model, logged.model_uri, like, format, folder)
    return Logged(logged.model_uri, logged.model_id, requirements.notes)


def custom_objects(like: ModelFiles) -> Any:
    """The classes and functions the tensorflow flavour carries beside the model; None where there are none."""
    path = like.folder / str(like.card.settings.get("data", "data")) / _CUSTOM_OBJECTS
    return cloudpickle.loads(path.read_bytes()) if path.exists() else None


def _log(model: Any, like: ModelFiles, format: str, given: dict[str, Any]) -> Any:
    if like.card.flavor == "keras":
        return mlflow.keras.log_model(model, **given)
    return mlflow.tensorflow.log_model(
        model,
        **given,
        custom_objects=custom_objects(like),
        keras_model_kwargs={"save_format": "h5"} if format == H5 else None,
        code_paths=code_entries(like),
        extra_files=extra_files(like),
    )


def _refuse_spoiled(model: Any, uri: str, like: ModelFiles, format: str, folder: Path) -> None:
    """What lies in MLflow must have the optimizer that the model in memory has."""
    data = str(like.card.settings.get("data", "data"))
    copy = folder / "read-back"
    copy.mkdir()
    stored = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(copy)))
    path = stored / data / ("model.h5" if format == H5 else "model.keras")
    found = read_stored(path, "the challenger").optimizer
    wanted = type(model.optimizer).__name__
    kept = found is not None and found.get("class_name") == wanted
    if kept and format != H5:
        kept = kept_iterations(path) == int(model.optimizer.iterations)
    if not kept:
        raise TrainingFailed(
            f"The stored challenger lacks the state of its optimizer ({wanted}): its training could not go on later.",
            "Register the champion as a .keras file, with mlflow.keras.log_model.",
        )
