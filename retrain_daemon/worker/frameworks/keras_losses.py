"""Losses of Keras models: the policy's by name, the champion's as compiled, and the form of targets each takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from retrain_daemon.core.policy import Outputs
from retrain_daemon.errors import Refused
from retrain_daemon.worker.features import Positions

CROSS_ENTROPY = "cross_entropy"
_SPARSE, _CATEGORICAL, _BINARY = (
    "sparse_categorical_crossentropy", "categorical_crossentropy", "binary_crossentropy",
)  # fmt: skip


class Form(StrEnum):
    """How a loss takes its targets."""

    VALUES = "values"  #: numbers, as many as outputs
    CODES = "codes"  #: the place of the class
    COLUMNS = "columns"  #: 0 and 1, a column an output


@dataclass(frozen=True)
class Goal:
    """A loss by its name, as Keras takes it, and the form of its targets. `logits`: whether it takes logits."""

    name: str
    loss: Any
    form: Form
    logits: bool = False

    def same_as(self, other: Goal) -> bool:
        """Whether both mean the same, whatever else either is set to."""
        return (self.name, self.form, self.logits) == (other.name, other.form, other.logits)


_MADE: Mapping[str, Callable[..., Any]] = {
    "mse": keras.losses.MeanSquaredError,
    "mae": keras.losses.MeanAbsoluteError,
    "huber": keras.losses.Huber,
    _SPARSE: keras.losses.SparseCategoricalCrossentropy,
    _CATEGORICAL: keras.losses.CategoricalCrossentropy,
    _BINARY: keras.losses.BinaryCrossentropy,
}
_OF_VALUES = ("mse", "mae", "huber")
_OF_CLASSES = (_SPARSE, _CATEGORICAL, _BINARY)
_SPELLED = {"mean_squared_error": "mse", "mean_absolute_error": "mae"}
_FORMS = {
    _SPARSE: Form.CODES,
    _CATEGORICAL: Form.COLUMNS,
    _BINARY: Form.COLUMNS,
    "categorical_focal_crossentropy": Form.COLUMNS,
    "binary_focal_crossentropy": Form.COLUMNS,
}


def wanted_goal(name: str | None, kind: Outputs, outputs: int) -> Goal:
    """The loss of this name, the usual one for None; raises Refused for one that does not fit the outputs."""
    usual = "mse" if kind is Outputs.VALUE else CROSS_ENTROPY
    name = _SPELLED.get(name or usual, name or usual)
    if name == CROSS_ENTROPY:
        name = _BINARY if outputs == 1 else _SPARSE
    fitting = _OF_VALUES if kind is Outputs.VALUE else (_BINARY,) if outputs == 1 else _OF_CLASSES
    if name not in fitting:
        raise _unfitting(name, kind, outputs, fitting)
    if kind is Outputs.VALUE:
        return Goal(name, _MADE[name](), Form.VALUES)
    logits = kind is Outputs.LOGITS
    return Goal(name, _MADE[name](from_logits=logits), _FORMS[name], logits)


def compiled_goal(loss: Any, kind: Outputs, outputs: int) -> Goal:
    """The champion's own loss; raises Refused where it contradicts the policy, or how it takes classes is not known."""
    loss = _only(loss)
    found = keras.losses.get(loss)
    name = _name(found)
    form = _FORMS.get(name)
    if kind is Outputs.VALUE:
        if form is not None:
            raise _unfitting(name, kind, outputs, _OF_VALUES)
        return Goal(name, loss, Form.VALUES)
    if form is None:
        raise Refused(
            f"The champion was compiled with the loss {name!r}, and how it takes classes is not known here.",
            "Name `loss` to have it compiled anew, or use train.with.",
        )
    if outputs == 1 and form is not Form.COLUMNS:
        raise _unfitting(name, kind, outputs, (_BINARY,))
    logits = bool(found.get_config().get("from_logits")) if hasattr(found, "get_config") else False
    if logits != (kind is Outputs.LOGITS):
        raise Refused(
            f"The champion was compiled with from_logits={logits}, and data.model_outputs says {kind.value}.",
            "Correct data.model_outputs, or name `loss` to have it compiled anew.",
        )
    return Goal(name, loss, form, logits)


def targets_for(form: Form, codes: Positions, classes: int, outputs: int) -> NDArray[Any]:
    """Class codes as a loss takes them: codes, one column of 0 and 1, or a column a class."""
    if form is Form.CODES:
        return codes.astype(np.int64)
    if outputs == 1:
        return codes.astype(np.float32).reshape(-1, 1)
    return np.eye(classes, dtype=np.float32)[codes]


def _only(loss: Any) -> Any:
    """The loss of a model with one output, which may stand in a list or a dict."""
    if isinstance(loss, dict):
        loss = list(loss.values())
    return loss[0] if isinstance(loss, list | tuple) and len(loss) == 1 else loss


def _name(loss: Any) -> str:
    """By the function it wraps, as a loss may have any name of its own."""
    function = getattr(loss, "fn", loss)
    name = str(getattr(function, "__name__", "") or type(function).__name__)
    return _SPELLED.get(name, name)


def _unfitting(name: str, kind: Outputs, outputs: int, fitting: tuple[str, ...]) -> Refused:
    what = "predicts values" if kind is Outputs.VALUE else f"gives {kind.value} of classes in {outputs} outputs"
    return Refused(
        f"The loss {name!r} does not fit: the model {what}.",
        f"For these outputs there is {', '.join(fitting)}; for a loss of your own use train.with.",
    )
