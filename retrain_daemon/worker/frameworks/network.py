"""What Keras and PyTorch models have in common: classes, outputs, weights of rows, batches, and what goes astray.

Plain numpy; neither framework is imported. Hyperparameters are in `hyperparameters.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from math import prod
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.core.policy import Outputs, Scalar
from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.evaluate import Predictions, canonical
from retrain_daemon.worker.features import Features, Positions, numbered
from retrain_daemon.worker.frameworks.hyperparameters import BALANCED, EarlyStopping
from retrain_daemon.worker.labelled import LabelledRows
from retrain_daemon.worker.lesson import Epoch
from retrain_daemon.worker.rows import Keys, stops
from retrain_daemon.worker.schema import Tensor
from retrain_daemon.worker.signature import refuse_undeclared_outputs
from retrain_daemon.worker.trainable import Meaning

_FILL = "Fill missing values before the rows are dropped, or name other features."
_SEEN_AT_ONCE = 8192
#: Probabilities may lie so far outside 0 and 1, by rounding.
_CLOSE = 1e-3
#: Rows predicted at a time, and as bytes of their features: images take many times their size on their way through.
_MOST_ROWS, _LEAST_ROWS, _MOST_BYTES = 1024, 16, 4 * 2**20


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


def note_missing_classes(codes: Positions, classes: NDArray[Any]) -> tuple[str, ...]:
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
    found = np.empty(len(same), dtype=object)  # text of a fixed width would cut longer labels to known ones
    found[:] = same
    numbers = classes.dtype.kind in "iufb" and set(map(type, same)) == {type(value) for value in known.values()}
    return (found.astype(classes.dtype) if numbers and same else found)[codes]


def predictions_of(outputs: NDArray[Any], meaning: Meaning, classes: NDArray[Any] | None) -> Predictions:
    """What a model's raw outputs, (rows, outputs), say: probabilities and labels of `classes`, or values."""
    numbers = np.asarray(outputs, dtype=np.float64).reshape(len(outputs), -1)
    if classes is None:
        return Predictions(values=numbers[:, 0] if numbers.shape[1] == 1 else numbers)
    logits = meaning.data.model_outputs is Outputs.LOGITS
    if not logits and numbers.size and (np.nanmin(numbers) < -_CLOSE or np.nanmax(numbers) > 1 + _CLOSE):
        raise TrainingFailed(
            f"The outputs reach from {np.nanmin(numbers):.3g} to {np.nanmax(numbers):.3g}, and data.model_outputs says "
            "probabilities.",
            "Write data.model_outputs: logits for outputs before the softmax or the sigmoid.",
        )
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
    codes: Positions | None,
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


def refuse_class_weight(class_weight: str | Mapping[str, float] | None, classes: NDArray[Any] | None) -> None:
    """Raise Refused for weights of classes that there are not, as `row_weights` does once rows are there."""
    row_weights(None, class_weight, None if classes is None else np.arange(len(classes)), classes)


def _balanced(codes: Positions, classes: int) -> NDArray[np.float64]:
    counts = np.bincount(codes, minlength=classes)
    return len(codes) / (np.maximum(counts, 1) * max(int((counts > 0).sum()), 1))


def _factors(given: str | Mapping[str, float], classes: NDArray[Any]) -> NDArray[np.float64]:
    assert isinstance(given, Mapping)
    names = [canonical(value) for value in classes.tolist()]
    for label in given:
        if label not in names:
            raise Refused(f"class_weight names the class {label!r}.", f"The classes are {', '.join(names)}.")
    return np.array([given.get(name, 1.0) for name in names])


def codes_of(rows: LabelledRows, classes: NDArray[Any]) -> Positions:
    """The place of each row's label among the classes, in as few bytes as hold it; raises like `class_codes`."""
    small = np.min_scalar_type(len(classes))
    parts = [class_codes(np.asarray(piece.target.to_numpy()), classes).astype(small) for piece in rows.pieces()]
    return np.concatenate(parts) if parts else np.empty(0, dtype=small)


def training_sides(rows: LabelledRows, stopping: EarlyStopping | None) -> tuple[Positions, Positions]:
    """Positions to train on, and those that early stopping watches, if it is asked for."""
    if stopping is None:
        return numbered(len(rows)), numbered(0)
    return stopping_split(rows.unit_keys, stopping)


def note_early_stop(trained: int, wanted: int) -> tuple[str, ...]:
    """A sentence when training ended before all epochs."""
    return (f"Stopped after {trained} of {wanted} epochs; the best one was taken.",) if trained < wanted else ()


def stopping_split(units: Keys, stopping: EarlyStopping) -> tuple[Positions, Positions]:
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
    places = numbered(len(units))
    return places[~watched], places[watched]


def count_batches(rows: int, size: int) -> int:
    """How many batches of `size` there are; a last one of one row joins the one before it, as batch normalisation
    cannot learn from a single row.
    """
    count = -(-rows // size)
    return count - 1 if count > 1 and rows - (count - 1) * size == 1 else count


def batches(positions: Positions, size: int, generator: np.random.Generator) -> Iterator[Positions]:
    """The positions in a new random order, `size` at a time (see `count_batches`)."""
    order = generator.permutation(positions)
    last = count_batches(len(order), size) - 1
    for place in range(last + 1):
        yield order[place * size : (place + 1) * size if place < last else len(order)]


def predicted_at_once(tensor: Tensor) -> int:
    """How many rows of this shape to predict at a time."""
    size = prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
    return max(_LEAST_ROWS, min(_MOST_ROWS, _MOST_BYTES // max(size, 1)))


def phase_of(number: int, wanted: int, before: Sequence[Epoch]) -> str:
    """What a training is at, in words that stay the same over an epoch."""
    loss = f", loss {before[-1].metrics['loss']:.4g} after the last" if before else ""
    return f"training, epoch {number} of {wanted}{loss}"


def refuse_bad_stopping_loss(loss: float, epoch: int) -> None:
    """Raise TrainingFailed for a loss that is no number on the rows that early stopping watches."""
    if not math.isfinite(loss):
        raise TrainingFailed(
            f"The loss on the rows that early stopping watches is {'NaN' if math.isnan(loss) else 'infinite'} after "
            f"epoch {epoch}.",
            "Use a smaller learning_rate, or look for missing and extreme values in the data.",
        )


def refuse_bad_loss(loss: float, epoch: int, batch: int, rows: NDArray[Any], columns: Sequence[str] = ()) -> None:
    """Raise TrainingFailed for a loss that is no number: from then on nothing can be learned.

    `rows` are those of the batch, (rows, columns): a value that is missing there is named.
    """
    if math.isfinite(loss):
        return
    what = f"The loss is {'NaN' if math.isnan(loss) else 'infinite'} in epoch {epoch}, batch {batch}"
    if unsound := unsound_columns(rows, columns):
        raise TrainingFailed(f"{what}, where {unsound}.", _FILL)
    raise TrainingFailed(
        f"{what}.", "Use a smaller learning_rate, set gradient_clip, or look for extreme values in the data."
    )


def diverged(what: str, features: Features | None, dtype: str) -> TrainingFailed:
    """The error for a weight that is no number; a column of the data that is none is the likely cause, and named."""
    for start in range(0, 0 if features is None else len(features), _SEEN_AT_ONCE):
        assert features is not None
        rows = features.array(slice(start, start + _SEEN_AT_ONCE), dtype)
        if unsound := unsound_columns(rows, features.columns):
            return TrainingFailed(f"The training diverged: {what} holds NaN or infinity, and {unsound}.", _FILL)
    return TrainingFailed(
        f"The training diverged: {what} holds NaN or infinity.",
        "Use a smaller learning_rate, set gradient_clip, or look for extreme values in the data.",
    )


def unsound_columns(rows: NDArray[Any], columns: Sequence[str]) -> str:
    """Which columns of features hold NaN or infinity, as a clause; "" for none."""
    flat = rows.reshape(len(rows), -1)
    if flat.dtype.kind != "f" or len(columns) != flat.shape[1]:
        return ""
    bad = [name for name, sound in zip(columns, np.isfinite(flat).all(axis=0), strict=True) if not sound]
    if not bad:
        return ""
    shown = ", ".join(bad[:5]) + (f" and {len(bad) - 5} more" if len(bad) > 5 else "")
    column, has = ("column", "has") if len(bad) == 1 else ("columns", "have")
    return f"{column} {shown} of the data {has} no number"
