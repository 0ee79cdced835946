"""The training loop of Keras models: batches, epochs, early stopping. What stays frozen is in `keras_layers.py`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain_daemon.errors import Refused
from retrain_daemon.worker.features import Features, Positions
from retrain_daemon.worker.frameworks.hyperparameters import Hyperparameters
from retrain_daemon.worker.frameworks.keras_compile import inner
from retrain_daemon.worker.frameworks.network import (
    batches,
    count_batches,
    diverged,
    phase_of,
    predicted_at_once,
    refuse_bad_loss,
    refuse_bad_stopping_loss,
)
from retrain_daemon.worker.job import Progress
from retrain_daemon.worker.lesson import Epoch, Tell
from retrain_daemon.worker.schema import Tensor


@dataclass(frozen=True)
class Material:
    """What is learned: features (n rows), targets (n, ...), which `as_taken` makes what the loss takes, and weights
    (n,) or None.
    """

    features: Features
    targets: NDArray[Any]
    weights: NDArray[np.float32] | None
    tensor: Tensor
    as_taken: Callable[[NDArray[Any]], NDArray[Any]]

    def batch(self, positions: Positions | slice) -> NDArray[Any]:
        """The rows at `positions` in the shape the model takes."""
        rows = self.features.array(positions, self.tensor.dtype)
        return rows.reshape(len(rows), *self.tensor.shape)

    def targets_of(self, positions: Positions) -> NDArray[Any]:
        """Their targets."""
        return self.as_taken(self.targets[positions])

    def weights_of(self, positions: Positions) -> NDArray[np.float32] | None:
        """Their weights."""
        return None if self.weights is None else self.weights[positions]


@dataclass
class Course:
    """One training under way, and what was measured."""

    model: Any
    wanted: Hyperparameters
    tell: Tell
    epochs: list[Epoch] = field(default_factory=list)


def run(course: Course, material: Material, training: Positions, watched: Positions, seed: int) -> None:
    """Train for the wanted epochs, or until the loss on the `watched` rows has stopped falling; then weights and
    optimizer of the best epoch are put back. Raises TrainingFailed when a loss is no number.
    """
    generator = np.random.default_rng(seed)
    best, best_state, waited = math.inf, None, 0
    stopping = course.wanted.early_stopping
    for number in range(1, course.wanted.epochs + 1):
        metrics = _epoch(course, material, training, number, generator)
        if stopping is not None:
            metrics["stopping_loss"] = mean_loss(course.model, material, watched)
            refuse_bad_stopping_loss(metrics["stopping_loss"], number)
        course.epochs.append(Epoch(number, metrics))
        if stopping is None:
            continue
        if metrics["stopping_loss"] < best - stopping.min_delta:
            best, best_state, waited = metrics["stopping_loss"], _state(course.model), 0
        else:
            waited += 1
        if waited >= stopping.patience:
            break
    if best_state is not None:
        for variable, value in best_state:
            variable.assign(value)
    elif inner(course.model.optimizer).use_ema:
        course.model.optimizer.finalize_variable_values(course.model.trainable_variables)


def _state(model: Any) -> list[tuple[Any, NDArray[Any]]]:
    return [(variable, variable.numpy()) for variable in (*model.weights, *model.optimizer.variables)]


def _epoch(
    course: Course, material: Material, training: Positions, number: int, generator: np.random.Generator
) -> dict[str, float]:
    count = count_batches(len(training), course.wanted.batch_size)
    sums: dict[str, float] = {}
    rows = 0
    for place, positions in enumerate(batches(training, course.wanted.batch_size, generator), start=1):
        batch = material.batch(positions)
        measured = _numbers(
            course.model.train_on_batch(
                batch,
                material.targets_of(positions),
                sample_weight=material.weights_of(positions),
                return_dict=True,
            )
        )
        refuse_bad_loss(measured["loss"], number, place, batch, material.features.columns)
        rows += len(positions)
        for name, value in measured.items():
            sums[name] = sums.get(name, 0.0) + value * len(positions)
        course.tell(Progress(phase=phase_of(number, course.wanted.epochs, course.epochs), done=place, total=count))
    return {name: value / rows for name, value in sums.items()}


def _numbers(measured: Any) -> dict[str, float]:
    """What a step measured, without metrics of several values; raises Refused where a loss is missing."""
    found = {name: float(value) for name, value in measured.items() if np.ndim(value) == 0}
    if "loss" not in found:
        raise Refused(
            "The model has a train_step of its own, which gives no `loss`.",
            "Have it return {'loss': ...}, or use train.with.",
        )
    return found


def mean_loss(model: Any, material: Material, positions: Positions) -> float:
    """The mean loss over rows, without training; as in training, weights multiply it and rows are counted."""
    total = 0.0
    size = predicted_at_once(material.tensor)
    for start in range(0, len(positions), size):
        chosen = positions[start : start + size]
        measured = _numbers(
            model.test_on_batch(
                material.batch(chosen),
                material.targets_of(chosen),
                sample_weight=material.weights_of(chosen),
                return_dict=True,
            )
        )
        total += measured["loss"] * len(chosen)
    return total / len(positions)


def refuse_diverged(model: Any, material: Material | None = None) -> None:
    """Raise TrainingFailed when a weight is no number; `material` is what it learned from."""
    for variable in model.variables:
        values = variable.numpy()
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            learned = None if material is None else material.features
            raise diverged(variable.path, learned, "float32" if material is None else material.tensor.dtype)
