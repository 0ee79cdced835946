"""How a trained PyTorch module is stored in MLflow: pickled or as TorchScript, with the optimizer state beside it."""

from __future__ import annotations

import logging
import pickle
import sys
from pathlib import Path

import mlflow
import torch
from torch import nn

from retrain_daemon.errors import TrainingFailed
from retrain_daemon.worker.cards import first_line
from retrain_daemon.worker.custom import find, source_of
from retrain_daemon.worker.frameworks.torch_files import OPTIMIZER_FILE, is_export
from retrain_daemon.worker.frameworks.torch_optimizer import Kept, write_kept
from retrain_daemon.worker.model_files import ModelFiles, code_entries, extra_files
from retrain_daemon.worker.requirements import as_installed
from retrain_daemon.worker.trainable import Logged, Meaning


def log_module(
    module: nn.Module, kept: Kept | None, name: str, like: ModelFiles, meaning: Meaning, folder: Path
) -> Logged:
    """Log a module as `like` was logged; a network rebuilt from an export is pickled, with the code that builds it.

    Raises TrainingFailed when it cannot be stored.
    """
    requirements = as_installed(like.requirements, ["mlflow", "torch"])
    notes = requirements.notes
    code = code_entries(like) or []
    if is_export(like):
        notes += (f"The champion is a pt2 export; the challenger is pickled, with the code of {meaning.network}.",)
    if meaning.network and not isinstance(module, torch.jit.ScriptModule):
        code += _own_code(meaning, code)
    try:
        model = mlflow.pytorch.log_model(
            module,
            name=name,
            serialization_format="pickle",
            signature=like.card.info.signature,
            pip_requirements=list(requirements.lines),
            code_paths=code or None,
            extra_files=[*_others(like), *_optimizer(kept, folder)] or None,
            metadata=like.card.info.metadata,
        )
    except (TypeError, AttributeError, pickle.PicklingError, RuntimeError) as problem:
        raise TrainingFailed(f"The challenger cannot be stored: {first_line(problem)}.") from problem
    return Logged(model.model_uri, model.model_id, notes)


def _others(like: ModelFiles) -> list[str]:
    return [path for path in extra_files(like) or [] if Path(path).name != OPTIMIZER_FILE]


def _optimizer(kept: Kept | None, folder: Path) -> list[str]:
    if kept is None:
        return []
    path = folder / OPTIMIZER_FILE
    write_kept(path, kept)
    return [str(path)]


def _own_code(meaning: Meaning, stored: list[str]) -> list[str]:
    """The module of `train.model`, where it lies beside the policy: whoever serves the version needs it."""
    source = source_of(find(meaning.network, meaning.code_folder))
    top = meaning.network.partition(":")[0].split(".")[0]
    package = getattr(sys.modules.get(top), "__file__", None)
    if source is None or package is None or not Path(package).is_relative_to(meaning.code_folder or "/dev/null"):
        return []
    path = Path(package).parent if Path(package).name == "__init__.py" else Path(package)
    return [] if path.name in {Path(each).name for each in stored} else [str(path)]


logging.getLogger("mlflow.pytorch").setLevel(logging.ERROR)  # it warns of pickling, the format the team chose
