"""The training loop of PyTorch modules: batches, loss, clipping, early stopping, and what stays frozen.

Mode is set rightly on both sides: `train()` while learning, `eval()` while watching and afterwards.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.features import Features, Positions
from retrain_daemon.worker.frameworks.hyperparameters import Hyperparameters
from retrain_daemon.worker.frameworks.network import (
    batches,
    count_batches,
    diverged,
    frozen_names,
    phase_of,
    predicted_at_once,
    refuse_bad_loss,
    refuse_bad_stopping_loss,
)
from retrain_daemon.worker.frameworks.torch_losses import Loss
from retrain_daemon.worker.job import Progress
from retrain_daemon.worker.lesson import Epoch, Tell
from retrain_daemon.worker.schema import Tensor


@dataclass(frozen=True)
class Material:
    """What is learned: features (n rows), targets (n,) codes of any size or (n, k) values, weights (n,) or None."""

    features: Features
    targets: NDArray[Any]
    weights: NDArray[np.float32] | None
    tensor: Tensor

    def batch(self, positions: Positions | slice) -> torch.Tensor:
        """The rows at `positions` in the shape the module takes."""
        rows = self.features.array(positions, self.tensor.dtype)
        return torch.from_numpy(np.ascontiguousarray(rows)).reshape(len(rows), *self.tensor.shape)

    def targets_of(self, positions: Positions) -> torch.Tensor:
        """Their targets, codes as the 64-bit numbers that losses take."""
        chosen = self.targets[positions]
        return torch.from_numpy(chosen if chosen.dtype.kind == "f" else chosen.astype(np.int64))


@dataclass
class Course:
    """One training under way: the module on its device, its optimizer and loss, and what was measured."""

    module: nn.Module
    optimizer: torch.optim.Optimizer
    loss: Loss
    wanted: Hyperparameters
    device: torch.device
    tell: Tell
    epochs: list[Epoch] = field(default_factory=list)


def pick_device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half_type(device: torch.device) -> torch.dtype | None:
    """The short number type for mixed precision where the device has one."""
    if device.type != "cuda":
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def run(course: Course, material: Material, training: Positions, watched: Positions, seed: int) -> None:
    """Train for the wanted epochs, or until the loss on the `watched` rows has stopped falling; then weights and
    optimizer of the best epoch are put back. Raises TrainingFailed when loss or gradients are no numbers.
    """
    generator = np.random.default_rng(seed)
    best, best_state, waited = math.inf, None, 0
    stopping = course.wanted.early_stopping
    scaler = torch.amp.GradScaler(course.device.type, enabled=half_type(course.device) is torch.float16)
    for number in range(1, course.wanted.epochs + 1):
        metrics = {"loss": _epoch(course, material, training, number, generator, scaler)}
        if stopping is not None:
            metrics["stopping_loss"] = mean_loss(course, material, watched)
            refuse_bad_stopping_loss(metrics["stopping_loss"], number)
        course.epochs.append(Epoch(number, metrics))
        if stopping is None:
            continue
        if metrics["stopping_loss"] < best - stopping.min_delta:
            best, best_state, waited = metrics["stopping_loss"], _state(course), 0
        else:
            waited += 1
        if waited >= stopping.patience:
            break
    if best_state is not None:
        course.module.load_state_dict(best_state[0])
        course.optimizer.load_state_dict(best_state[1])


def _state(course: Course) -> tuple[dict[str, Any], dict[str, Any]]:
    return copy.deepcopy(course.module.state_dict()), copy.deepcopy(course.optimizer.state_dict())


def _epoch(
    course: Course, material: Material, training: Positions, number: int, generator: np.random.Generator,
    scaler: torch.amp.GradScaler,
) -> float:  # fmt: skip
    count = count_batches(len(training), course.wanted.batch_size)
    total = weight = 0.0
    for place, positions in enumerate(batches(training, course.wanted.batch_size, generator), start=1):
        loss, rows = _step(course, material, positions, number, place, scaler)
        total, weight = total + loss * rows, weight + rows
        phase = phase_of(number, course.wanted.epochs, course.epochs)
        course.tell(Progress(phase=phase, done=place, total=count))
    return total / max(weight, 1e-12)


def _step(
    course: Course, material: Material, positions: Positions, epoch: int, place: int,
    scaler: torch.amp.GradScaler,
) -> tuple[float, float]:  # fmt: skip
    """One batch: its mean loss and the weight it has."""
    batch = material.batch(positions)
    loss, weight = _batch_loss(course, material, batch, positions)
    if weight == 0:
        return 0.0, 0.0
    refuse_bad_loss(float(loss.detach()), epoch, place, batch.numpy(), material.features.columns)
    course.optimizer.zero_grad()
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch leaves it without types
    if course.wanted.gradient_clip is not None:
        scaler.unscale_(course.optimizer)
        norm = float(nn.utils.clip_grad_norm_(course.module.parameters(), course.wanted.gradient_clip))
        if not math.isfinite(norm) and not scaler.is_enabled():  # the scaler skips such a step itself
            raise TrainingFailed(
                f"The gradients exploded in epoch {epoch}, batch {place}: their norm is {norm}, beyond what "
                "gradient_clip can hold.",
                "Use a smaller learning_rate, or look for extreme values in the data.",
            )
    scaler.step(course.optimizer)
    scaler.update()
    return float(loss.detach()), weight


def _batch_loss(
    course: Course, material: Material, batch: torch.Tensor, positions: Positions
) -> tuple[torch.Tensor, float]:
    short = half_type(course.device)
    with torch.autocast(course.device.type, dtype=short, enabled=short is not None):
        outputs = course.module(batch.to(course.device))
    if not isinstance(outputs, torch.Tensor):
        raise TrainingFailed(
            f"In training mode the module gives a {type(outputs).__name__}; it must give one tensor, as in eval mode.",
            "Train it by a function of your own, with train.with.",
        )
    target = material.targets_of(positions).to(course.device)
    by_row = course.loss(outputs.float().reshape(len(positions), -1), target)
    if material.weights is None:
        return by_row.mean(), float(len(positions))
    weights = torch.from_numpy(material.weights[positions]).to(course.device)
    total = weights.sum()
    return (by_row * weights).sum() / total.clamp(min=1e-12), float(total)


def mean_loss(course: Course, material: Material, positions: Positions) -> float:
    """The weighted mean loss over rows, in eval mode; the module is in its training mode again afterwards."""
    total = weight = 0.0
    with _evaluating(course.module), torch.no_grad():
        size = predicted_at_once(material.tensor)
        for start in range(0, len(positions), size):
            chosen = positions[start : start + size]
            loss, rows = _batch_loss(course, material, material.batch(chosen), chosen)
            total, weight = total + float(loss) * rows, weight + rows
    return total / max(weight, 1e-12)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def learning(module: nn.Module, patterns: tuple[str, ...]) -> Iterator[None]:
    """In training mode, with what the patterns name frozen to the bit, statistics of batch normalisation included.

    A tensor with several names is frozen by any of them. Afterwards in eval mode, and what could be trained before can
    be again. Raises Refused for a pattern that names nothing, or when nothing is left to train.
    """
    parameters = list(module.named_parameters(remove_duplicate=False))
    trainable = {parameter: parameter.requires_grad for _, parameter in parameters}
    if not any(trainable.values()):
        raise Refused(
            "Every parameter of the model was registered with requires_grad=False; nothing would be trained.",
            "Register it with requires_grad=True where it is to learn.",
        )
    modules = list(module.named_modules(remove_duplicate=False))
    names = [*(name for name, _ in modules if name), *(name for name, _ in parameters)]
    frozen = frozen_names(patterns, names, "modules and parameters") if patterns else frozenset()
    for name, parameter in parameters:
        if _within(name, frozen):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in trainable):
        raise Refused("Every parameter of the model is frozen; nothing would be trained.", "Freeze fewer.")
    module.train()
    for name, part in modules:
        own = list(part.parameters(recurse=False))
        if _within(name, frozen) or (patterns and own and not any(parameter.requires_grad for parameter in own)):
            part.train(False)
    try:
        yield
    finally:
        module.eval()
        for parameter, before in trainable.items():
            parameter.requires_grad_(before)


def _within(name: str, frozen: frozenset[str]) -> bool:
    """Whether a module or parameter is named, or lies in one that is."""
    parts = name.split(".")
    return any(".".join(parts[: end + 1]) in frozen for end in range(len(parts)))


def refuse_diverged(module: nn.Module, champion: nn.Module, material: Material | None = None) -> None:
    """Raise TrainingFailed when a weight is no number; what holds none in the champion as well, such as a mask, may.

    `material` is what it learned from.
    """
    masks = {name for name, value in champion.state_dict().items() if not _finite(value)}
    for name, value in module.state_dict().items():
        if name not in masks and not _finite(value):
            learned = None if material is None else material.features
            raise diverged(name, learned, "float32" if material is None else material.tensor.dtype)


def _finite(value: Any) -> bool:
    return not isinstance(value, torch.Tensor) or not value.is_floating_point() or bool(torch.isfinite(value).all())
