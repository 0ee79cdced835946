"""Optimizer and loss of a Keras model: kept as compiled, or replaced where the policy names others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from retrain_daemon.core.policy import Mode, Outputs
from retrain_daemon.errors import Refused
from retrain_daemon.worker.frameworks.network import Hyperparameters

DEFAULT = "adam"
OPTIMIZERS = {
    "sgd": keras.optimizers.SGD,
    "adam": keras.optimizers.Adam,
    "adamw": keras.optimizers.AdamW,
    "rmsprop": keras.optimizers.RMSprop,
    "adagrad": keras.optimizers.Adagrad,
    "nadam": keras.optimizers.Nadam,
}
CROSS_ENTROPY = "cross_entropy"
_SPARSE, _CATEGORICAL, _BINARY = (
    "sparse_categorical_crossentropy", "categorical_crossentropy", "binary_crossentropy",
)  # fmt: skip
_OF_CLASSES = {
    _SPARSE: keras.losses.SparseCategoricalCrossentropy,
    _CATEGORICAL: keras.losses.CategoricalCrossentropy,
    _BINARY: keras.losses.BinaryCrossentropy,
}
_OF_VALUES = {
    "mse": keras.losses.MeanSquaredError,
    "mae": keras.losses.MeanAbsoluteError,
    "huber": keras.losses.Huber,
}
_SPELLED = {"mean_squared_error": "mse", "mean_absolute_error": "mae"}


@dataclass(frozen=True)
class Compiled:
    """A model ready to learn: names of its optimizer and loss, and what a reviewer should know."""

    optimizer: str
    loss: str
    notes: tuple[str, ...]


def compile_as_wanted(
    model: Any, wanted: Hyperparameters, kind: Outputs, outputs: int, mode: Mode, recompile: bool
) -> Compiled:
    """Compile `model` where it must be: not compiled, another optimizer or loss, fresh weights, or `recompile` (h5).

    Otherwise the optimizer keeps its state; a learning rate or weight decay is set on it. Raises Refused for a name
    that is none, and for a loss that does not fit the outputs.
    """
    loss_name, loss = _loss(model, wanted.loss, kind, outputs)
    compiled = bool(model.compiled and model.optimizer is not None)
    own = type(model.optimizer).__name__.lower() if compiled else ""
    name = _known(wanted.optimizer.lower()) if wanted.optimizer else own or DEFAULT
    notes = []
    if not compiled or recompile or wanted.loss is not None or name != own or mode is Mode.REFIT:
        optimizer = _fresh(model.optimizer) if compiled and name == own else OPTIMIZERS[name]()
        metrics = (model.get_compile_config() or {}).get("metrics") if compiled else None
        model.compile(optimizer=optimizer, loss=loss, metrics=_plain(metrics))
        model.optimizer.build(model.trainable_variables)
        if mode is not Mode.REFIT:
            notes.append(f"The optimizer starts anew ({name}): {_why(compiled, recompile, name, own)}.")
    _set_rate(model.optimizer, wanted)
    return Compiled(name, loss_name, tuple(notes))


def targets_for(loss: str, codes: NDArray[np.int64], classes: int, outputs: int) -> NDArray[Any]:
    """Class codes in the form a loss takes: codes, one column of 0 and 1, or a column a class."""
    if loss == _SPARSE:
        return codes
    if outputs == 1:
        return codes.astype(np.float32).reshape(-1, 1)
    return np.eye(classes, dtype=np.float32)[codes]


def _why(compiled: bool, recompile: bool, name: str, own: str) -> str:
    if not compiled:
        return "the champion is not compiled"
    if recompile:
        return "an h5 file's optimizer cannot go on"
    return f"the policy names it, and the champion has {own}" if name != own else "the policy names another loss"


def _known(name: str) -> str:
    if name not in OPTIMIZERS:
        raise Refused(f"There is no optimizer {name!r} for Keras models.", f"There are {', '.join(OPTIMIZERS)}.")
    return name


def _fresh(optimizer: Any) -> Any:
    """The same optimizer with its settings, without its state."""
    return type(optimizer).from_config(optimizer.get_config())


def _plain(metrics: Any) -> Any:
    """Metrics by name are carried over; others belong to the team's own code and are left to it."""
    return [each for each in metrics if isinstance(each, str)] or None if isinstance(metrics, list) else None


def _set_rate(optimizer: Any, wanted: Hyperparameters) -> None:
    if wanted.weight_decay is not None:
        optimizer.weight_decay = wanted.weight_decay or None
    if wanted.learning_rate is None:
        return
    try:
        optimizer.learning_rate = wanted.learning_rate
    except TypeError as problem:
        raise Refused(
            "The champion's optimizer has a schedule for its learning rate, which one number cannot replace.",
            "Name `optimizer` too: then it starts anew with this learning rate.",
        ) from problem


def _loss(model: Any, wanted: str | None, kind: Outputs, outputs: int) -> tuple[str, Any]:
    """The loss by name, or as compiled, or the usual one."""
    if wanted is None and model.compiled and model.loss is not None:
        return _compiled_loss(model.loss, kind, outputs)
    usual = "mse" if kind is Outputs.VALUE else CROSS_ENTROPY
    name = _SPELLED.get(wanted or usual, wanted or usual)
    if name == CROSS_ENTROPY:
        name = _BINARY if outputs == 1 else _SPARSE
    _refuse_unfitting(name, kind, outputs)
    return name, _OF_VALUES[name]() if kind is Outputs.VALUE else _OF_CLASSES[name](from_logits=kind is Outputs.LOGITS)


def _compiled_loss(loss: Any, kind: Outputs, outputs: int) -> tuple[str, Any]:
    """The champion's own loss; raises Refused where it contradicts the policy or its targets are not known."""
    name = loss if isinstance(loss, str) else str(getattr(loss, "name", "") or type(loss).__name__)
    name = _SPELLED.get(name, name)
    _refuse_unfitting(name, kind, outputs)
    if kind is Outputs.VALUE:
        return name, loss
    from_logits = bool(loss.get_config().get("from_logits")) if hasattr(loss, "get_config") else False
    if from_logits != (kind is Outputs.LOGITS):
        raise Refused(
            f"The champion was compiled with from_logits={from_logits}, and data.model_outputs says {kind.value}.",
            "Correct data.model_outputs, or name `loss` to have it compiled anew.",
        )
    return name, loss


def _refuse_unfitting(name: str, kind: Outputs, outputs: int) -> None:
    fitting = list(_OF_VALUES) if kind is Outputs.VALUE else [_BINARY] if outputs == 1 else list(_OF_CLASSES)
    if name not in fitting:
        what = "predicts values" if kind is Outputs.VALUE else f"gives {kind.value} of classes in {outputs} outputs"
        raise Refused(
            f"The loss {name!r} does not fit: the model {what}.",
            f"For these outputs there is {', '.join(fitting)}; for a loss of your own use train.with.",
        )
