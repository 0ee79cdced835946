"""The files of a stored model: fetched, told apart by digest, with requirements and input example beside them.

Reads only. What the worker writes to MLflow lives in `challenger_run.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.models import Model

from retrain_daemon.errors import NotFound, Refused, Unloadable
from retrain_daemon.worker.cards import REGISTER, ModelCard, capital, first_line
from retrain_daemon.worker.mlflow_errors import understood

#: What the loaders of flavours are told. Loading a version runs its code in any case: whose are loaded is for trust.
LOAD_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "keras": {"load_model_kwargs": {"safe_mode": False}},
    "tensorflow": {"keras_model_kwargs": {"safe_mode": False}},
}
#: Where the flavours write what they load, relative to the model's folder.
_PAYLOADS = ("pickled_model", "data", "model_data")


@dataclass(frozen=True, kw_only=True)
class ModelFiles:
    """A stored model's files in `folder`. `digest` is over what is loaded; `requirements` are the lines it carries."""

    card: ModelCard
    folder: Path
    digest: str
    requirements: tuple[str, ...]


def fetch(card: ModelCard, folder: Path) -> ModelFiles:
    """Copy the model's files into a new folder in `folder`; raises Unloadable when they are gone."""
    copy = Path(folder, hashlib.sha256(card.uri.encode()).hexdigest()[:16])
    copy.mkdir()
    path = _downloaded(card, copy)
    requirements = read_requirements(path / "requirements.txt")
    return ModelFiles(card=card, folder=path, digest=payload_digest(path, card.settings), requirements=requirements)


def _downloaded(card: ModelCard, folder: Path) -> Path:
    try:
        with understood(mlflow.get_registry_uri()):
            return Path(mlflow.artifacts.download_artifacts(card.uri, dst_path=str(folder)))
    except NotFound as missing:
        raise Unloadable(f"The files of {card.label} are gone: {missing.message}", REGISTER, uri=card.uri) from None


def payload_digest(folder: Path, settings: Mapping[str, Any]) -> str:
    """sha256, hex, over names and bytes of the stored model and of code stored with it; "" where none is named.

    Not over MLmodel and the files about the environment: these hold ids and times and differ for the same model.
    """
    payload = next((settings[key] for key in _PAYLOADS if settings.get(key)), None)
    if payload is None:
        return ""
    digest = hashlib.sha256()
    for root in filter(None, (payload, settings.get("code"))):
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


def input_example(model: ModelFiles) -> Any | None:
    """The example of input stored with the model, None where there is none."""
    if model.card.info.saved_input_example_info is None:
        return None
    try:
        return Model.load(str(model.folder)).load_input_example(str(model.folder))
    except (mlflow.MlflowException, OSError, ValueError) as problem:
        raise Refused(f"The input example of {model.card.label} cannot be read: {first_line(problem)}.") from problem


def code_entries(files: ModelFiles) -> list[str] | None:
    """The modules stored with the model, as MLflow's `code_paths` takes them."""
    folder = files.card.settings.get("code")
    return sorted(str(entry) for entry in (files.folder / folder).iterdir()) if folder else None


def extra_files(files: ModelFiles) -> list[str] | None:
    """Further files stored with the model, as MLflow's `extra_files` takes them."""
    return [str(files.folder / entry["path"]) for entry in files.card.settings.get("extra_files") or ()] or None


def does_not_load(card: ModelCard, problem: Exception, said: str = "") -> Refused:
    """What a model raised while it was loaded, as a refusal with what it `said`, else with its first line. Unloadable,
    unless another environment or machine may load it.
    """
    hint = REGISTER
    if type(problem).__name__ == "UntrustedTypesFoundException":
        hint = "Log it again with skops_trusted_types=[...] naming these types, if they are to be trusted."
    elif isinstance(problem, ModuleNotFoundError):
        hint = "Install that module into the environment of the worker, or log the model with code_paths."
    message = f"{capital(card.label)} does not load: {type(problem).__name__}: {said or first_line(problem)}."
    elsewhere = isinstance(problem, (ImportError, MemoryError, OSError)) and not isinstance(problem, FileNotFoundError)
    return Refused(message, hint) if elsewhere else Unloadable(message, hint, uri=card.uri)
