"""How a trained PyTorch module is stored in MLflow: pickled or as TorchScript, with the optimizer state beside it."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import mlflow
from torch import nn

from retrain_daemon.errors import TrainingFailed
from retrain_daemon.worker.cards import first_line
from retrain_daemon.worker.frameworks.torch_files import OPTIMIZER_FILE, is_export
from retrain_daemon.worker.frameworks.torch_optimizer import Kept, write_kept
from retrain_daemon.worker.model_code import code_to_store
from retrain_daemon.worker.model_files import ModelFiles, extra_files
from retrain_daemon.worker.requirements import as_installed


def store_module(
    module: nn.Module, kept: Kept | None, target: Path, like: ModelFiles, folder: Path, code_folder: str = ""
) -> tuple[str, ...]:
    """Store a module as `like` was stored; a network rebuilt from an export is pickled, with the code of its classes.

    Raises TrainingFailed when it cannot be stored.
    """
    requirements = as_installed(like.requirements, ["mlflow", "torch"])
    notes = requirements.notes
    if is_export(like):
        notes += ("The champion is a pt2 export; the challenger is pickled, with the code of its classes.",)
    try:
        mlflow.pytorch.save_model(
            module,
            str(target),
            serialization_format="pickle",
            signature=like.card.info.signature,
            pip_requirements=list(requirements.lines),
            code_paths=code_to_store(module, like, code_folder),
            extra_files=[*_others(like), *_optimizer(kept, folder)] or None,
            metadata=like.card.info.metadata,
        )
    except (TypeError, AttributeError, pickle.PicklingError, RuntimeError) as problem:
        raise TrainingFailed(f"The challenger cannot be stored: {first_line(problem)}.") from problem
    return notes


def _others(like: ModelFiles) -> list[str]:
    return [path for path in extra_files(like) or [] if Path(path).name != OPTIMIZER_FILE]


def _optimizer(kept: Kept | None, folder: Path) -> list[str]:
    if kept is None:
        return []
    path = folder / OPTIMIZER_FILE
    write_kept(path, kept)
    return [str(path)]


logging.getLogger("mlflow.pytorch").setLevel(logging.ERROR)  # it warns of pickling, the format the team chose
