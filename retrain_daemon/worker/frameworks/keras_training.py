"""The training loop of Keras models: batches, early stopping, clipping, and what stays frozen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain_daemon.errors import TrainingFailed
from retrain_daemon.worker.features import Features
from retrain_daemon.worker.frameworks.network import (
    PREDICTED_AT_ONCE,
    Hyperparameters,
    batches,
    frozen_names,
    refuse_bad_loss,
)
from retrain_daemon.worker.job import Progress
from retrain_daemon.worker.lesson import Epoch, Tell
from retrain_daemon.worker.schema import Tensor


@dataclass(frozen=True)
class Material:
    """What is learned: features (n rows), targets (n, ...) as the loss takes them, weights (n,) or None."""

    features: Features
    targets: NDArray[Any]
    weights: NDArray[np.float32] | None
    tensor: Tensor

    def batch(self, positions: NDArray[np.int64] | slice) -> NDArray[Any]:
        """The rows at `positions` in the shape the model takes."""
        rows = self.features.array(positions, self.tensor.dtype)
        return rows.reshape(len(rows), *self.tensor.shape)

    def weights_of(self, positions: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """Their weights."""
        return None if self.weights is None else self.weights[positions]


@dataclass
class Course:
    """One training under way, and what was measured."""

    model: Any
    wanted: Hyperparameters
    tell: Tell
    epochs: list[Epoch] = field(default_factory=list)


def run(course: Course, material: Material, training: NDArray[np.int64], watched: NDArray[np.int64], seed: int) -> None:
    """Train for the wanted epochs, or until the loss on the `watched` rows has stopped falling; then the best weights
    are put back. Raises TrainingFailed when the loss is no number.
    """
    generator = np.random.default_rng(seed)
    best, best_weights, waited = math.inf, None, 0
    stopping = course.wanted.early_stopping
    for number in range(1, course.wanted.epochs + 1):
        metrics = _epoch(course, material, training, number, generator)
        if stopping is not None:
            metrics["stopping_loss"] = mean_loss(course.model, material, watched)
        course.epochs.append(Epoch(number, metrics))
        if stopping is None:
            continue
        if metrics["stopping_loss"] < best - stopping.min_delta:
            best, best_weights, waited = metrics["stopping_loss"], course.model.get_weights(), 0
        else:
            waited += 1
        if waited >= stopping.patience:
            break
    if best_weights is not None:
        course.model.set_weights(best_weights)


def _epoch(
    course: Course, material: Material, training: NDArray[np.int64], number: int, generator: np.random.Generator
) -> dict[str, float]:
    parts = list(batches(training, course.wanted.batch_size, generator))
    sums: dict[str, float] = {}
    rows = 0
    for place, positions in enumerate(parts, start=1):
        measured = course.model.train_on_batch(
            material.batch(positions),
            material.targets[positions],
            sample_weight=material.weights_of(positions),
            return_dict=True,
        )
        refuse_bad_loss(float(measured["loss"]), number, place)
        rows += len(positions)
        for name, value in measured.items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(positions)
        phase = f"training, epoch {number} of {course.wanted.epochs}, loss {sums['loss'] / rows:.4g}"
        course.tell(Progress(phase=phase, done=place, total=len(parts)))
    return {name: value / rows for name, value in sums.items()}


def mean_loss(model: Any, material: Material, positions: NDArray[np.int64]) -> float:
    """The mean loss over rows, without training; as in training, weights multiply it and rows are counted."""
    total = 0.0
    for start in range(0, len(positions), PREDICTED_AT_ONCE):
        chosen = positions[start : start + PREDICTED_AT_ONCE]
        measured = model.test_on_batch(
            material.batch(chosen),
            material.targets[chosen],
            sample_weight=material.weights_of(chosen),
            return_dict=True,
        )
        total += float(measured["loss"]) * len(chosen)
    return total / len(positions)


@contextmanager
def learning(model: Any, wanted: Hyperparameters) -> Iterator[None]:
    """With the named layers frozen and gradients clipped; both as before afterwards, as they belong to a training and
    not to the model. A frozen layer's statistics stay the same too. Raises Refused for a pattern that names nothing.
    """
    layers = {layer.name: layer for layer in layers_of(model)}
    flags = {name: layer.trainable for name, layer in layers.items()}
    frozen = frozen_names(wanted.freeze, list(layers), "layers") if wanted.freeze else frozenset()
    clipped = model.optimizer.global_clipnorm
    for name in frozen:
        layers[name].trainable = False
    if wanted.gradient_clip is not None:
        model.optimizer.global_clipnorm = wanted.gradient_clip
    try:
        yield
    finally:
        model.optimizer.global_clipnorm = clipped
        for name, layer in layers.items():
            layer.trainable = flags[name]


def layers_of(model: Any) -> list[Any]:
    """All layers, also those inside nested models, without the input layers, which hold nothing."""
    found = [layer for layer in model._flatten_layers(include_self=False) if type(layer).__name__ != "InputLayer"]
    names = {layer.name for layer in model.layers}
    return [layer for layer in found if layer.name in names or layer.weights]


def refuse_diverged(model: Any) -> None:
    """Raise TrainingFailed when a weight is no number."""
    for variable in model.variables:
        values = np.asarray(variable)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise TrainingFailed(
                f"The training diverged: {variable.path} holds NaN or infinity.",
                "Use a smaller learning_rate, set gradient_clip, or look for extreme values in the data.",
            )
