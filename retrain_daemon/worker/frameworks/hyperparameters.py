"""The hyperparameters of networks by the field's own words, read from a policy and checked.

Plain values; what they do is in the modules of Keras and PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from retrain_daemon.core.policy import Hyperparameter, Mode
from retrain_daemon.errors import Refused, UnknownHyperparameter

BALANCED = "balanced"


@dataclass(frozen=True, kw_only=True)
class EarlyStopping:
    """Stop when the loss on a `share` of the training side has not fallen by `min_delta` for `patience` epochs; the
    weights of the best epoch are taken.
    """

    patience: int
    share: float = 0.1
    min_delta: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """How a network is trained. None: as the model was, or the framework's default.

    `freeze` are patterns of layer or parameter names; `class_weight` is "balanced" or a factor by class;
    `gradient_clip` bounds the norm of all gradients together.
    """

    epochs: int = 1
    batch_size: int = 32
    optimizer: str | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    loss: str | None = None
    freeze: tuple[str, ...] = ()
    early_stopping: EarlyStopping | None = None
    seed: int | None = None
    class_weight: str | Mapping[str, float] | None = None
    gradient_clip: float | None = None


NAMES = tuple(field.name for field in fields(Hyperparameters))


def read_hyperparameters(given: Mapping[str, Hyperparameter], mode: Mode) -> Hyperparameters:
    """The policy's hyperparameters, checked; raises Refused for an unknown name or a value that cannot be."""
    for name in given:
        if name not in NAMES:
            close = get_close_matches(name, NAMES, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are {', '.join(NAMES)}."
            raise UnknownHyperparameter(f"{name!r} is no hyperparameter of a network.", hint)
    if mode is Mode.REFIT and "epochs" not in given:
        raise Refused("Mode refit starts from fresh weights, and `epochs` is not given.", "Say how long, in epochs.")
    if mode is Mode.REFIT and given.get("freeze"):
        raise Refused(
            "Mode refit starts from fresh weights, and what `freeze` names would stay at them.",
            "Leave `freeze` out, or use warm_start; a rule unsets it by `freeze: null`.",
        )
    read: dict[str, Any] = {}
    for name, value in given.items():
        if value is not None:
            read[name] = _READERS[name](name, value)
    return Hyperparameters(**read)


def _whole(name: str, value: Hyperparameter, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 10**9:
        raise _wrong(name, value, f"a whole number from {least}")
    return value


def _number(name: str, value: Hyperparameter) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise _wrong(name, value, "a number that is not negative")
    return float(value)


def _positive(name: str, value: Hyperparameter) -> float:
    number = _number(name, value)
    if number == 0:
        raise _wrong(name, value, "a number above 0")
    return number


def _word(name: str, value: Hyperparameter) -> str:
    if not isinstance(value, str) or not value:
        raise _wrong(name, value, "a name")
    return value


def _patterns(name: str, value: Hyperparameter) -> tuple[str, ...]:
    listed = (value,) if isinstance(value, str) else value
    if not isinstance(listed, tuple) or not all(isinstance(each, str) and each for each in listed):
        raise _wrong(name, value, "a list of names or patterns")
    return tuple(str(each) for each in listed)


def _share(name: str, value: Hyperparameter) -> float:
    text = str(value).strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0.01 <= share <= 0.5:
        raise _wrong(name, value, "a share from 1% to 50%")
    return share


def _early_stopping(name: str, value: Hyperparameter) -> EarlyStopping:
    if not isinstance(value, Mapping):
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong(name, value, "after how many epochs, such as 3, or {patience: 3, share: 10%}")
        return EarlyStopping(patience=_whole(name, value))
    known = tuple(field.name for field in fields(EarlyStopping))
    for key in value:
        if key not in known:
            raise Refused(f"{key!r} is no part of {name}.", f"There are {', '.join(known)}.")
    return EarlyStopping(
        patience=_whole(f"{name}.patience", value.get("patience")),
        share=_share(f"{name}.share", value.get("share", 0.1)),
        min_delta=_number(f"{name}.min_delta", value.get("min_delta", 0.0)),
    )


def _class_weight(name: str, value: Hyperparameter) -> str | Mapping[str, float]:
    if value == BALANCED:
        return BALANCED
    if not isinstance(value, Mapping):
        raise _wrong(name, value, "balanced, or a factor for each class")
    return {str(label): _number(f"{name}.{label}", factor) for label, factor in value.items()}


def _wrong(name: str, value: object, expected: str) -> Refused:
    return Refused(f"The hyperparameter {name!r} is {value!r}.", f"Write {expected}.")


_READERS: Mapping[str, Any] = {
    "epochs": _whole,
    "batch_size": _whole,
    "optimizer": _word,
    "learning_rate": _positive,
    "weight_decay": _number,
    "loss": _word,
    "freeze": _patterns,
    "early_stopping": _early_stopping,
    "seed": lambda name, value: _whole(name, value, 0),
    "class_weight": _class_weight,
    "gradient_clip": _positive,
}
