"""A team's own modules that stored models need: which ones, where they lie, and two models with modules of one name.

Finding what a policy names is in `custom.py`. No framework is imported.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import cloudpickle

from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.model_files import LOAD_OPTIONS, ModelFiles, code_entries

_LOADING = (
    "import importlib, json, sys; "
    "importlib.import_module('mlflow.' + sys.argv[1]).load_model(sys.argv[2], **json.loads(sys.argv[3]))"
)


class _Nowhere(io.RawIOBase):
    """Takes bytes and keeps none."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


class _Listening(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle ships no types
    """Pickles into nowhere, and notes which modules the classes and functions it meets are of."""

    def __init__(self) -> None:
        super().__init__(_Nowhere())
        self.heard: set[str] = set()

    def reducer_override(self, part: Any) -> Any:
        owner = part if isinstance(part, type | FunctionType) else type(part)
        self.heard.add(str(owner.__module__).partition(".")[0])
        return super().reducer_override(part)


def code_to_store(model: Any, like: ModelFiles, code_folder: str) -> list[str] | None:
    """Paths of the modules that go with `model`, as MLflow's `code_paths` takes them: those stored with `like`, and
    those beside the policy, in `code_folder`, that its classes and functions are of. None for none.
    """
    stored = code_entries(like) or []
    known = {Path(entry).name for entry in stored}
    beside = _beside(model, Path(code_folder)) if code_folder else []
    return stored + [str(entry) for entry in beside if entry.name not in known] or None


def _beside(model: Any, folder: Path) -> list[Path]:
    """What of a folder a model's classes are of: files or packages."""
    listening = _Listening()
    with contextlib.suppress(Exception):  # whether it can be pickled is for the storing to say
        listening.dump(model)
    found: dict[str, Path] = {}
    to_see = sorted(listening.heard)
    while to_see:
        name = to_see.pop()
        module = sys.modules.get(name)
        entry = _entry(module) if module is not None else None
        if name not in found and entry is not None and entry.parent == folder:
            found[name] = entry
            to_see += _used_by(name)
    return sorted(found.values())


def _used_by(name: str) -> set[str]:
    """The top-level modules whose classes, functions and modules a top-level module uses, in all its parts."""
    parts = [module for other, module in sys.modules.items() if other == name or other.startswith(f"{name}.")]
    values = [value for module in parts for value in vars(module).values()]
    owners = (
        value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) for value in values
    )
    return {owner.partition(".")[0] for owner in owners if isinstance(owner, str)}


def _entry(module: ModuleType) -> Path | None:
    """The file or the folder of a top-level module, None for one without."""
    file = getattr(module, "__file__", None)
    if file is not None:
        return Path(file).parent if Path(file).name == "__init__.py" else Path(file)
    folders = list(getattr(module, "__path__", ()))  # a package without __init__.py
    return Path(folders[0]) if len(folders) == 1 else None


def make_way(files: ModelFiles) -> None:
    """Forget modules that came with a model loaded before, where this one has its own of the same name.

    Objects made of them go on working; without this the second model would be given the classes of the first.
    """
    for entry in map(Path, code_entries(files) or ()):
        name = entry.stem
        before = sys.modules.get(name)
        known = _entry(before) if before is not None else None
        if known is None or not _came_with_a_model(known) or _same(known, entry):
            continue
        for loaded in [other for other in sys.modules if other == name or other.startswith(f"{name}.")]:
            del sys.modules[loaded]


@contextlib.contextmanager
def modules_put_back() -> Iterator[None]:
    """Load another model meanwhile: modules that had to make way for its own are found again afterwards, as what is
    stored later is looked up by their names.
    """
    path = list(sys.path)
    known = {name: module for name, module in sys.modules.items() if _is_of_a_model(name)}
    try:
        yield
    finally:
        sys.path[:] = path
        sys.modules.update(known)


def _is_of_a_model(name: str) -> bool:
    module = sys.modules.get(name.partition(".")[0])
    entry = _entry(module) if module is not None else None
    return entry is not None and _came_with_a_model(entry)


def refuse_stale(module: ModuleType, code_folder: str) -> None:
    """Raise Refused where a module named by the policy came with the champion and is another beside the policy: in
    one process only one of them can have the name.
    """
    top = sys.modules[module.__name__.partition(".")[0]]
    found = _entry(top)
    if found is None or not code_folder or not _came_with_a_model(found):
        return
    beside = Path(code_folder) / found.name
    if beside.exists() and not _same(found, beside):
        raise Refused(
            f"The champion carries another {found.name} than the one in {code_folder}, and only one of them can be "
            "loaded.",
            f"Give the new one another name, or put back the {found.name} the champion was stored with.",
        )


def refuse_unloadable(stored: Path, flavor: str) -> None:
    """Raise TrainingFailed where a stored model does not load in a process that has imported nothing of this training.

    Needed where a team's own code trained or built it; that may have left classes in it which only exist here.
    """
    options = json.dumps(LOAD_OPTIONS.get(flavor, {}))
    command = [sys.executable, "-P", "-c", _LOADING, flavor, str(stored), options]
    ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if ended.returncode != 0:
        said = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
        raise TrainingFailed(
            f"The stored challenger does not load in another process: {said.rstrip('.')}.",
            "Put the module of its classes beside the policy or install it; for Keras, register the champion with "
            "mlflow.tensorflow.log_model(model, custom_objects={...}).",
        )


def _came_with_a_model(path: Path) -> bool:
    return any((parent / "MLmodel").exists() for parent in path.parents)


def _same(first: Path, second: Path) -> bool:
    """Whether two files, or all Python files of two packages, have the same bytes."""
    return _sources(first) == _sources(second)


def _sources(entry: Path) -> dict[str, bytes]:
    files = [entry] if entry.is_file() else sorted(entry.rglob("*.py"))
    return {str(file.relative_to(entry.parent)): file.read_bytes() for file in files}
