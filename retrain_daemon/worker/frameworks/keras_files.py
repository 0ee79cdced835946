"""What the files of a stored Keras model say without importing TensorFlow: format, layers, optimizer, loss."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from retrain_daemon.core.policy import Mode
from retrain_daemon.errors import Refused
from retrain_daemon.worker.cards import LOG_KERAS
from retrain_daemon.worker.job import ModeReport
from retrain_daemon.worker.model_files import ModelFiles

NATIVE, H5 = "keras", "h5"
_BUILT_BY_KERAS = ("Sequential", "Functional")


@dataclass(frozen=True)
class StoredKeras:
    """A Keras file as it describes itself: class, paths of layers, and optimizer and loss with their settings, if any.

    `inputs` and `outputs` are how many tensors the model takes and gives.
    """

    format: str
    model_class: str
    layers: tuple[str, ...]
    inputs: int
    outputs: int
    optimizer: Mapping[str, Any] | None
    loss: str


def model_path(files: ModelFiles) -> Path:
    """The Keras file; raises Refused where there is only a SavedModel, or nothing."""
    folder = files.folder / str(files.card.settings.get("data", "data"))
    for name in ("model.keras", "model.h5"):
        if (folder / name).exists():
            return folder / name
    what = "a SavedModel export, which cannot be trained further" if any(folder.rglob("saved_model.pb")) else "no model"
    raise Refused(f"The files of {files.card.label} hold {what}.", LOG_KERAS)


def read_stored(path: Path, label: str) -> StoredKeras:
    """Describe a Keras file; raises Refused when it is damaged."""
    try:
        return _read_h5(path) if path.suffix == ".h5" else _read_native(path)
    except (OSError, ValueError, LookupError, zipfile.BadZipFile) as problem:
        raise Refused(
            f"The Keras file of {label} cannot be read: {type(problem).__name__}: {problem}.", LOG_KERAS
        ) from problem


def kept_variables(path: Path) -> list[Any] | None:
    """The variables of the optimizer in a .keras file, in its order: steps, then moments; None where there are none."""
    with zipfile.ZipFile(path) as archive:
        if not json.loads(archive.read("config.json")).get("compile_config", {}).get("optimizer"):
            return None
        with h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights:
            variables = weights.get("optimizer/vars")
            return None if variables is None else [variables[str(place)][()] for place in range(len(variables))]


def describe_modes(stored: StoredKeras) -> tuple[ModeReport, ...]:
    """A Keras model of one input and one output can go on, and be built anew."""
    reason = ""
    if max(stored.inputs, stored.outputs) > 1:
        reason = f"it takes {stored.inputs} and gives {stored.outputs} tensors; models of several are not built yet"
    return tuple(ModeReport(mode=mode.value, possible=not reason, reason=reason) for mode in Mode)


def notes_on(stored: StoredKeras) -> tuple[str, ...]:
    """What a policy's author should know of it."""
    notes = []
    if stored.model_class not in _BUILT_BY_KERAS:
        notes.append(
            f"{stored.model_class} is a class of a team's own: refit builds it by its from_config, or by train.model."
        )
    if stored.format == H5:
        notes.append(f"h5: the optimizer's state is lost whenever training goes on. {LOG_KERAS}")
    if stored.optimizer is None:
        notes.append(
            "Not compiled: training goes on with the policy's optimizer and loss, else adam and the usual loss."
        )
    return tuple(notes)


def _read_native(path: Path) -> StoredKeras:
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    compiled = config.get("compile_config") or {}
    return _stored(NATIVE, config, compiled.get("optimizer"), compiled.get("loss"))


def _read_h5(path: Path) -> StoredKeras:
    with h5py.File(path) as file:
        config = json.loads(file.attrs["model_config"])
        compiled = json.loads(file.attrs["training_config"]) if "training_config" in file.attrs else {}
    return _stored(H5, config, compiled.get("optimizer_config"), compiled.get("loss"))


def _stored(format: str, config: Mapping[str, Any], optimizer: Mapping[str, Any] | None, loss: Any) -> StoredKeras:
    parts = config.get("config") or {}
    listed = parts.get("layers") or []
    taken = sum(layer.get("class_name") == "InputLayer" for layer in listed)
    given = parts.get("output_layers") or ()
    shown = loss.get("class_name") or loss.get("config") if isinstance(loss, Mapping) else loss
    return StoredKeras(
        format=format,
        model_class=str(config.get("class_name")),
        layers=_paths(parts),
        inputs=max(taken, 1),
        outputs=1 if not given or (isinstance(given, list) and isinstance(given[0], str)) else len(given),
        optimizer=optimizer,
        loss=str(shown or ""),
    )


def _paths(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Paths of all layers, those of nested models included; input layers hold nothing."""
    found: list[str] = []
    for layer in config.get("layers") or []:
        inside = layer.get("config") or {}
        name = inside.get("name") or layer.get("name") or ""
        if name and layer.get("class_name") != "InputLayer":
            found += [name, *(f"{name}/{path}" for path in _paths(inside))]
    return tuple(found)
