"""PyTorch models for training and judging: the door that `trainable.py` describes.

The loop is in `torch_training.py`, optimizers in `torch_optimizer.py`, storing in `torch_storage.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from retrain_daemon.core.metrics import Task
from retrain_daemon.core.policy import Hyperparameter, Mode, Scalar
from retrain_daemon.errors import Refused, RetrainError, TrainingFailed
from retrain_daemon.worker.cards import capital
from retrain_daemon.worker.custom import build, find
from retrain_daemon.worker.evaluate import Predictions
from retrain_daemon.worker.features import Features, Table
from retrain_daemon.worker.frameworks import torch_export, torch_files, torch_optimizer, torch_storage
from retrain_daemon.worker.frameworks.hyperparameters import Hyperparameters, read_hyperparameters
from retrain_daemon.worker.frameworks.network import (
    as_classes,
    codes_of,
    declared_classes,
    note_early_stop,
    note_missing_classes,
    predicted_at_once,
    predictions_of,
    refuse_class_weight,
    row_weights,
    training_sides,
)
from retrain_daemon.worker.frameworks.torch_errors import said_by
from retrain_daemon.worker.frameworks.torch_losses import loss_of
from retrain_daemon.worker.frameworks.torch_modes import (
    describe_modes,
    duplicated,
    fresh,
    refuse_parametrized,
    refuse_traced,
)
from retrain_daemon.worker.frameworks.torch_training import (
    Course,
    Material,
    half_type,
    learning,
    pick_device,
    refuse_diverged,
    run,
)
from retrain_daemon.worker.lesson import Lesson, Record
from retrain_daemon.worker.model_files import ModelFiles, does_not_load
from retrain_daemon.worker.schema import Tensor
from retrain_daemon.worker.trainable import Described, Meaning

#: What a module, also a team's own, raises on input it cannot take.
_MODULE_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, AssertionError)


def load(files: ModelFiles, meaning: Meaning) -> TorchModel:
    """Load a module in eval mode, with the optimizer state kept beside it.

    Raises Refused for a pt2 export without `train.model`, a module that cannot be imported, and outputs that are not
    what the policy says.
    """
    label = capital(files.card.label)
    if torch_files.is_export(files):
        module = torch_export.rebuilt(files, meaning)
    else:
        module = _loaded(files)
        if meaning.network:
            find(meaning.network, meaning.code_folder)  # before anything is trained
    refuse_traced(module, label)
    module.eval()
    tensor = meaning.schema.tensor
    assert tensor is not None  # a network's schema always has one
    outputs = _count_outputs(module, tensor, label)
    return TorchModel(
        estimator=module,
        meaning=meaning,
        outputs=outputs,
        classes=declared_classes(meaning, outputs),
        state=torch_files.optimizer_path(files),
    )


def describe(files: ModelFiles) -> Described:
    """Modes by format; a pickled module must be loaded to tell whether it can start from fresh weights."""
    if torch_files.is_export(files):
        return Described(estimator="an exported graph", modes=torch_files.export_modes(), storage="pt2")
    module = _loaded(files)
    parameters = dict(module.named_parameters())
    count = sum(parameter.numel() for parameter in parameters.values())
    path = torch_files.optimizer_path(files)
    kept = "none"
    notes: tuple[str, ...] = ("No optimizer state is kept with this version; the first training starts one.",)
    if path is not None:
        try:
            kept, notes = torch_optimizer.read_kept(path).name, ()
        except Refused as damaged:
            kept, notes = "damaged", (f"{damaged.message} {damaged.hint}",)
    return Described(
        estimator=f"{type(module).__name__}, {len(parameters)} parameters with {count:,} numbers",
        storage="TorchScript" if isinstance(module, torch.jit.ScriptModule) else "pickle",
        modes=describe_modes(module),
        hyperparameters=(("optimizer", kept), *(("freeze", name) for name in list(parameters)[:20])),
        notes=notes,
    )


@dataclass(frozen=True)
class TorchModel:
    """A module in eval mode, what its outputs mean, and its optimizer state or where that lies."""

    estimator: Any
    meaning: Meaning
    outputs: int
    classes: NDArray[Any] | None
    state: torch_optimizer.Kept | Path | None = None

    @property
    def kept(self) -> torch_optimizer.Kept | None:
        """The optimizer state; raises Refused when its file is damaged, which not every use of a model has to know."""
        return torch_optimizer.read_kept(self.state) if isinstance(self.state, Path) else self.state

    @property
    def task(self) -> Task:
        """Classification where the policy names classes."""
        return Task.REGRESSION if self.classes is None else Task.CLASSIFICATION

    @property
    def settings(self) -> Mapping[str, Scalar]:
        """Name, rate and decay of the optimizer kept beside it."""
        return {} if self.kept is None else torch_optimizer.settings_of(self.kept)

    def truth(self, target: pd.Series | pd.DataFrame) -> NDArray[Any]:
        """Labels as the policy's classes, or numbers."""
        values = np.asarray(target.to_numpy())
        return values.astype(np.float64) if self.classes is None else as_classes(values, self.classes)

    def predict(self, features: Features) -> Predictions:
        """Predict in eval mode, some rows at a time; raises TrainingFailed with the cause."""
        tensor = self._tensor
        device = pick_device()
        material = Material(features, np.empty(0), None, tensor)
        found = []
        size = predicted_at_once(tensor)
        # Not inference_mode: TorchScript keeps what it has seen there, and could not be trained afterwards.
        with _told(), _on(self.estimator, device), torch.no_grad():
            for start in range(0, len(features), size):
                batch = material.batch(slice(start, start + size))
                outputs = self.estimator(batch.to(device))
                found.append(outputs.float().cpu().numpy().reshape(len(batch), -1))
        rows = np.concatenate(found) if found else np.empty((0, self.outputs))
        return predictions_of(rows, self.meaning, self.classes)

    def predict_example(self, example: Any) -> Predictions | None:
        """Predict an array or a table of numbers; None for anything else."""
        try:
            rows = np.asarray(example, dtype=self._tensor.dtype).reshape(len(example), -1)
        except (ValueError, TypeError):
            return None
        return self.predict(Table(pd.DataFrame(rows)))

    def copied(self) -> TorchModel:
        """The same model around a copy of the module."""
        return replace(self, estimator=duplicated(self.estimator))

    def continue_training(self, lesson: Lesson) -> tuple[TorchModel, Record]:
        """Train a copy by the loop of `torch_training.py`; refit starts from fresh weights."""
        wanted = read_hyperparameters(lesson.hyperparameters, lesson.mode)
        seed = lesson.seed if wanted.seed is None else wanted.seed
        torch.manual_seed(seed)
        module, stayed = self._start(lesson.mode)
        device = pick_device()
        module.to(device)
        kept = None if lesson.mode is Mode.REFIT else self.kept
        name, optimizer, notes = torch_optimizer.build(module, kept, lesson.mode, wanted)
        kind = self.meaning.data.model_outputs
        assert kind is not None  # declared_classes has refused otherwise
        loss_name, loss = loss_of(wanted.loss, kind, self.outputs)
        material, found = self._material(lesson, wanted)
        training, watched = training_sides(lesson.rows, wanted.early_stopping)
        course = Course(module, optimizer, loss, wanted, device, lesson.tell)
        with _told(), learning(module, wanted.freeze):
            run(course, material, training, watched, seed)
        module.to("cpu")
        refuse_diverged(module, self.estimator, material)
        record = Record(
            notes=(*stayed, *notes, *found, *note_early_stop(len(course.epochs), wanted.epochs)),
            epochs=tuple(course.epochs),
            parameters={
                "framework_optimizer": name,
                "framework_loss": loss_name,
                "device": device.type,
                "mixed_precision": half_type(device) is not None,
                "epochs_trained": len(course.epochs),
            },
        )
        return replace(self, estimator=module, state=torch_optimizer.keep(name, optimizer, module)), record

    def rehearse(self, mode: Mode, hyperparameters: Mapping[str, Hyperparameter], weighted: bool) -> None:
        """Make optimizer and loss for a copy as for a training; raises Refused."""
        wanted = read_hyperparameters(hyperparameters, mode)
        module, _ = self._start(mode)
        torch_optimizer.build(module, None if mode is Mode.REFIT else self.kept, mode, wanted)
        kind = self.meaning.data.model_outputs
        assert kind is not None  # declared_classes has refused otherwise
        loss_of(wanted.loss, kind, self.outputs)
        refuse_class_weight(wanted.class_weight, self.classes)
        with learning(module, wanted.freeze):
            pass

    def holding(self, estimator: Any) -> TorchModel:
        """Around another module; its optimizer is not known, so none is kept."""
        if not isinstance(estimator, nn.Module):
            raise TrainingFailed(
                f"The training function gave a {type(estimator).__name__}, which is no PyTorch module."
            )
        estimator.to("cpu").eval()
        refuse_parametrized(estimator, "What the training function gave")
        refuse_diverged(estimator, self.estimator)
        self._refuse_other_outputs(estimator, "The model that the training function gave")
        return replace(self, estimator=estimator, state=None)

    def _refuse_other_outputs(self, module: nn.Module, label: str) -> None:
        outputs = _count_outputs(module, self._tensor, label)
        if outputs != self.outputs:
            raise TrainingFailed(f"{label} has {outputs} outputs a row, and the champion has {self.outputs}.")

    def store(self, target: Path, like: ModelFiles, folder: Path, code_folder: str = "") -> tuple[str, ...]:
        """Store module and optimizer state (see `torch_storage.store_module`)."""
        return torch_storage.store_module(self.estimator, self.kept, target, like, folder, code_folder)

    @property
    def _tensor(self) -> Tensor:
        assert self.meaning.schema.tensor is not None
        return self.meaning.schema.tensor

    def _start(self, mode: Mode) -> tuple[nn.Module, tuple[str, ...]]:
        """The module a training begins with, in eval mode, and what was kept although the weights are fresh."""
        if mode is not Mode.REFIT:
            return duplicated(self.estimator), ()
        if not self.meaning.network:
            return fresh(duplicated(self.estimator))
        built = build(self.meaning.network, self.meaning.code_folder)
        if not isinstance(built, nn.Module):
            raise Refused(f"{self.meaning.network} gives a {type(built).__name__}, which is no PyTorch module.")
        built.eval()
        refuse_parametrized(built, f"What {self.meaning.network} gives")
        self._refuse_other_outputs(built, f"What {self.meaning.network} gives")
        return built, ()

    def _material(self, lesson: Lesson, wanted: Hyperparameters) -> tuple[Material, tuple[str, ...]]:
        if self.classes is None:
            weights = row_weights(lesson.weight, wanted.class_weight, None, None)
            values = np.asarray(lesson.target.to_numpy(), dtype=np.float32)
            targets = values.reshape(len(values), -1)
            return Material(lesson.rows.features, targets, weights, self._tensor), ()
        codes = codes_of(lesson.rows, self.classes)
        weights = row_weights(lesson.weight, wanted.class_weight, codes, self.classes)
        return Material(lesson.rows.features, codes, weights, self._tensor), note_missing_classes(codes, self.classes)


def _loaded(files: ModelFiles) -> nn.Module:
    try:
        module = mlflow.pytorch.load_model(str(files.folder), map_location="cpu")
    except Exception as problem:
        # What a stored object raises while it comes to life is up to its author.
        raise does_not_load(files.card, problem) from problem
    if not isinstance(module, nn.Module):
        raise Refused(f"The files of {files.card.label} hold a {type(module).__name__}, which is no PyTorch module.")
    return module


def _count_outputs(module: nn.Module, tensor: Tensor, label: str) -> int:
    """How many numbers the module gives a row, by a try on two rows; raises Refused when it does not take the shape,
    or predicts the same rows differently.
    """
    example = torch.from_numpy(np.ones((2, *tensor.shape), dtype=tensor.dtype))
    try:
        with torch.no_grad():
            outputs, again = module(example), module(example)
    except _MODULE_ERRORS as problem:
        said = said_by(problem)
        of_type = any(word in said for word in ("dtype", "scalar type", "same data type"))
        raise Refused(
            f"{label} does not take rows of shape {list(tensor.shape)} ({tensor.dtype}): {said}.",
            f"Log it with a signature of the numbers it takes, not {tensor.dtype}."
            if of_type
            else "Write the shape of one row as the module takes it in data.shape.",
        ) from problem
    if not isinstance(outputs, torch.Tensor):
        raise Refused(f"{label} gives a {type(outputs).__name__}; a module must give one tensor.")
    if outputs.ndim == 0 or len(outputs) != 2:
        raise Refused(f"{label} gives a tensor of shape {list(outputs.shape)} for 2 rows; one entry a row is needed.")
    if not torch.allclose(outputs, again, equal_nan=True):
        raise Refused(
            f"{label} predicts the same rows differently each time: something in it, such as dropout, is at work in "
            "eval mode too.",
            "Call functional.dropout with training=self.training, or trace a module after model.eval().",
        )
    return int(outputs.numel() // 2)


@contextmanager
def _told() -> Iterator[None]:
    """What a module raises, as TrainingFailed with the first line of the cause."""
    try:
        yield
    except RetrainError:
        raise
    except _MODULE_ERRORS as problem:
        raise TrainingFailed(f"PyTorch says: {said_by(problem)}.") from problem


@contextmanager
def _on(module: nn.Module, device: torch.device) -> Iterator[None]:
    """On a device for a while, in eval mode."""
    module.eval()
    module.to(device)
    try:
        yield
    finally:
        module.to("cpu")
