"""What Keras and PyTorch models have in common: hyperparameters by the field's own words, classes, outputs, batches.

Plain numpy; neither framework is imported.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.core.policy import Hyperparameter, Mode, Outputs, Scalar
from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.evaluate import Predictions, canonical
from retrain_daemon.worker.rows import Keys, stops
from retrain_daemon.worker.signature import refuse_undeclared_outputs
from retrain_daemon.worker.trainable import Meaning

#: Rows predicted at a time.
PREDICTED_AT_ONCE = 1024

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
            raise Refused(f"{name!r} is no hyperparameter of a network.", hint)
    if mode is Mode.REFIT and "epochs" not in given:
        raise Refused("Mode refit starts from fresh weights, and `epochs` is not given.", "Say how long, in epochs.")
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


def frozen_names(patterns: Sequence[str], names: Sequence[str], what: str) -> frozenset[str]:
    """The names that any pattern matches; raises Refused for a pattern that matches none, and when nothing is left."""
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            listed = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            raise Refused(f"freeze: {pattern!r} matches none of the model's {what}.", f"There are {listed}.")
    found = frozenset(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))
    if patterns and len(found) == len(set(names)):
        raise Refused(f"freeze: the patterns match all {len(found)} {what}; nothing would be trained.", "Name fewer.")
    return found


def declared_classes(meaning: Meaning, outputs: int) -> NDArray[Any] | None:
    """The classes the policy names for a model with so many outputs a row; None for a regression.

    Raises Refused where the policy does not say what the outputs are, or says what does not fit their number.
    """
    target, kind = meaning.data.target, meaning.data.model_outputs
    refuse_undeclared_outputs(meaning.data)
    if kind is Outputs.VALUE:
        if target.classes or outputs != len(target.columns):
            said = f"{len(target.classes)} classes" if target.classes else f"{len(target.columns)} target columns"
            raise Refused(
                f"The model gives {outputs} values a row and the policy names {said}.",
                "For a regression data.target names one column for each output; for classes write data.model_outputs: "
                "logits or probabilities.",
            )
        return None
    if target.more:
        raise Refused("A classification has one target column.", "Write data.model_outputs: value for a regression.")
    if outputs != len(target.classes) and not (outputs == 1 and len(target.classes) == 2):
        raise Refused(
            f"The model gives {outputs} outputs a row and data.target.classes names {len(target.classes)} classes.",
            "Name one class for each output; for one output name two, the second being the one it is about.",
        )
    return np.array(target.classes, dtype=_common(target.classes))


def _common(classes: Sequence[Scalar]) -> Any:
    kinds = {type(value) for value in classes}
    return None if len(kinds) == 1 else object


def class_codes(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """The place of each label among the classes; raises Refused for a label that is none of them."""
    places = {canonical(value): place for place, value in enumerate(classes.tolist())}
    codes, distinct = pd.factorize(labels, use_na_sentinel=False)
    names = [canonical(value) for value in distinct]
    if strange := sorted(name for name in names if name not in places):
        raise Refused(
            f"The training rows have classes that data.target.classes does not name: {', '.join(strange[:8])}.",
            "A network cannot add a class; name it, or retract the rows.",
        )
    return np.array([places[name] for name in names], dtype=np.int64)[codes]


def note_missing_classes(codes: NDArray[np.int64], classes: NDArray[Any]) -> tuple[str, ...]:
    """A sentence when classes have no row to train on: what the model knew of them may fade."""
    absent = [repr(value) for place, value in enumerate(classes.tolist()) if not (codes == place).any()]
    if not absent:
        return ()
    shown = ", ".join(absent[:8]) + (f" and {len(absent) - 8} more" if len(absent) > 8 else "")
    return (f"The training rows have no row of class {shown}.",)


def as_classes(labels: NDArray[Any], classes: NDArray[Any]) -> NDArray[Any]:
    """Labels of a file as the classes of the policy where they are the same by text, else as they are."""
    known = {canonical(value): value for value in classes.tolist()}
    codes, distinct = pd.factorize(labels, use_na_sentinel=False)
    same = [known.get(canonical(value), value) for value in distinct]
    return np.array(same, dtype=classes.dtype if len(known) and set(map(type, same)) == {type(same[0])} else object)[
        codes
    ]


def predictions_of(outputs: NDArray[Any], meaning: Meaning, classes: NDArray[Any] | None) -> Predictions:
    """What a model's raw outputs, (rows, outputs), say: probabilities and labels of `classes`, or values."""
    numbers = np.asarray(outputs, dtype=np.float64).reshape(len(outputs), -1)
    if classes is None:
        return Predictions(values=numbers[:, 0] if numbers.shape[1] == 1 else numbers)
    logits = meaning.data.model_outputs is Outputs.LOGITS
    if numbers.shape[1] == 1:
        second = _sigmoid(numbers[:, 0]) if logits else numbers[:, 0]
        probabilities = np.stack([1 - second, second], axis=1)
    else:
        probabilities = _softmax(numbers) if logits else numbers
    return Predictions(labels=classes[probabilities.argmax(axis=1)], probabilities=probabilities, classes=classes)


def _sigmoid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-values)), dtype=np.float64)


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # an infinite output stays visible as NaN
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)


def row_weights(
    weight: NDArray[np.float64] | None,
    class_weight: str | Mapping[str, float] | None,
    codes: NDArray[np.int64] | None,
    classes: NDArray[Any] | None,
) -> NDArray[np.float32] | None:
    """One weight a row from the data's and the classes', None where all count the same.

    "balanced" gives every class that has rows the same sum: rows / (classes with rows * rows of the class), as
    scikit-learn's class_weight. Raises Refused for a class that is none.
    """
    if class_weight is None:
        return None if weight is None else weight.astype(np.float32)
    if codes is None or classes is None:
        raise Refused("class_weight is about classes, and this model predicts values.", "Leave class_weight out.")
    factors = _balanced(codes, len(classes)) if class_weight == BALANCED else _factors(class_weight, classes)
    by_row = factors[codes]
    return (by_row if weight is None else by_row * weight).astype(np.float32)


def _balanced(codes: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    counts = np.bincount(codes, minlength=classes)
    return len(codes) / (np.maximum(counts, 1) * max(int((counts > 0).sum()), 1))


def _factors(given: str | Mapping[str, float], classes: NDArray[Any]) -> NDArray[np.float64]:
    assert isinstance(given, Mapping)
    names = [canonical(value) for value in classes.tolist()]
    for label in given:
        if label not in names:
            raise Refused(f"class_weight names the class {label!r}.", f"The classes are {', '.join(names)}.")
    return np.array([given.get(name, 1.0) for name in names])


def stopping_split(units: Keys, stopping: EarlyStopping) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions to train on, and those early stopping watches: whole units, by stable hash.

    Both learn in the sense of the leak check. Raises TrainingFailed when one side would be empty.
    """
    watched = stops(units, stopping.share)
    if watched.all() or not watched.any():
        raise TrainingFailed(
            f"early_stopping: a share of {stopping.share:.0%} of {len(units):,} training rows leaves nothing to "
            f"{'train on' if watched.all() else 'watch'}.",
            "Wait for more rows, or change its share.",
        )
    return np.flatnonzero(~watched), np.flatnonzero(watched)


def batches(positions: NDArray[np.int64], size: int, generator: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """The positions in a new random order, `size` at a time; a last batch of one row joins the one before it, as
    batch normalisation cannot learn from a single row.
    """
    order = generator.permutation(positions)
    starts = list(range(0, len(order), size))
    if len(starts) > 1 and len(order) - starts[-1] == 1:
        starts.pop()
    for place, start in enumerate(starts):
        yield order[start : starts[place + 1] if place + 1 < len(starts) else len(order)]


def refuse_bad_loss(loss: float, epoch: int, batch: int) -> None:
    """Raise TrainingFailed for a loss that is no number: from then on nothing can be learned."""
    if not math.isfinite(loss):
        raise TrainingFailed(
            f"The loss is {'NaN' if math.isnan(loss) else 'infinite'} in epoch {epoch}, batch {batch}.",
            "Use a smaller learning_rate, set gradient_clip, or look for extreme values in the data.",
        )
