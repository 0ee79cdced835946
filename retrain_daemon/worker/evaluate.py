"""Metrics of one model's predictions, by their usual scikit-learn meaning, and why one cannot be computed.

The arithmetic lives in `measures.py`, the comparison of two models in `compare.py`. No framework is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.core.metrics import METRICS, Metric, Needs, Task
from retrain_daemon.core.policy import Scalar
from retrain_daemon.worker.measures import (
    Flags,
    Ranking,
    Sums,
    Table,
    about,
    auc,
    average_precision,
    balanced_accuracy,
    explained,
    f1_macro,
    mean_of,
    root_mean_of,
)
from retrain_daemon.worker.resample import Array, Codes, whole

Measure = Sums | Table | Ranking

_LEAST = float(np.finfo(np.float64).eps)  # probabilities are clipped here in log_loss, as scikit-learn does
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Predictions:
    """What a model says of n rows: `labels` (n,), `probabilities` (n, k) in the column order of `classes` (k,), or
    `values` (n,), of a regression with several outputs (n, outputs). What the model does not give is None.
    """

    labels: NDArray[Any] | None = None
    probabilities: Array | None = None
    values: Array | None = None
    classes: NDArray[Any] | None = None


@dataclass(frozen=True)
class Scored:
    """One model's predictions beside the truth, in codes of one list of `classes`, which all models judged share.

    `truth` and `labels` (n,) are codes; `probabilities` (n, k) has zeros for classes the model does not know;
    `numbers` and `values` (n, outputs) are a regression's truth and prediction. `positive` is a code, None where none
    is named; `positive_problem` says why the one that is named cannot be used.
    """

    classes: tuple[str, ...]
    truth: Codes
    numbers: Array | None
    labels: Codes | None
    probabilities: Array | None
    values: Array | None
    positive: int | None
    positive_problem: str

    def take(self, rows: Flags | Codes) -> Scored:
        """The same of some rows only, with the same classes."""
        return replace(
            self,
            truth=self.truth[rows],
            numbers=None if self.numbers is None else self.numbers[rows],
            labels=None if self.labels is None else self.labels[rows],
            probabilities=None if self.probabilities is None else self.probabilities[rows],
            values=None if self.values is None else self.values[rows],
        )


def following(parts: Sequence[Predictions]) -> Predictions:
    """Predictions of one model for some rows after others, at least once, as one."""

    def together(arrays: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
        given = [array for array in arrays if array is not None]
        return np.concatenate(given) if given else None

    return Predictions(
        labels=together([part.labels for part in parts]),
        probabilities=together([part.probabilities for part in parts]),
        values=together([part.values for part in parts]),
        classes=parts[0].classes,
    )


def count_not_a_number(predictions: Predictions) -> int:
    """How many rows have a prediction that is missing, NaN or infinite."""
    bad = [_not_a_number(array) for array in _outputs(predictions)]
    return int(np.logical_or.reduce(bad).sum()) if bad else 0


def rows_about(name: str, champion: Scored, challenger: Scored) -> Flags:
    """The rows that a metric is about (n,): of recall the positive ones, of precision those that either model predicts
    as positive, else all.
    """
    models = (champion, challenger)
    if name == "recall" and champion.positive is not None:
        return np.asarray(champion.truth == champion.positive)
    if name == "precision" and champion.positive is not None:
        said = [model.labels == model.positive for model in models if model.labels is not None]
        return np.logical_or.reduce(said) if said else np.zeros(len(champion.truth), dtype=np.bool_)
    return np.ones(len(champion.truth), dtype=np.bool_)


def identical(first: Predictions, second: Predictions) -> bool:
    """Whether both say the same on every row: by probabilities where both have them, else by values or labels."""
    if first.probabilities is not None and second.probabilities is not None:
        names = _texts(first.classes), _texts(second.classes)
        if sorted(names[0]) != sorted(names[1]):
            return False
        return np.array_equal(
            first.probabilities[:, np.argsort(names[0])], second.probabilities[:, np.argsort(names[1])]
        )
    if first.values is not None and second.values is not None:
        return np.array_equal(first.values, second.values)
    if first.labels is not None and second.labels is not None:
        return _texts(first.labels) == _texts(second.labels)
    return False


def canonical(value: object) -> str:
    """A class by its text: 1, 1.0 and numpy's 1 are "1"; True is "true"."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def align(truth: NDArray[Any], models: Sequence[Predictions], positive: Scalar) -> tuple[Scored, ...]:
    """Put the models' outputs beside the truth; classes are those of the rows and of all models together.

    Raises ValueError when lengths or numbers of outputs differ, or probabilities come without their classes.
    """
    for output in (output for model in models for output in _outputs(model)):
        if len(output) != len(truth):
            raise ValueError(f"{len(output)} predictions do not belong to {len(truth)} rows")
    if any(model.values is not None for model in models):
        numbers = _columns(truth)
        return tuple(_regression(numbers, model) for model in models)
    known = _classes([truth, *(array for model in models for array in (model.labels, model.classes))])
    code, problem = positive_code(known, positive)
    return tuple(_classification(truth, model, known, code, problem) for model in models)


def measure_of(name: str, scored: Scored) -> Measure | str:
    """The measure of a metric, ready to be computed under any weights; or a sentence that says why there is none."""
    metric = METRICS.get(name)
    if metric is None:
        return f"{name} is not a metric known here"
    problem = _problem(metric, scored)
    return problem or _MEASURES[name](name, scored)


def value_of(measure: Measure) -> float | None:
    """The metric's value on the rows as they are; None where it is undefined."""
    rows = measure.scores.shape[1] if isinstance(measure, Ranking) else _rows(measure)
    value = float(measure.on(whole(rows))(np.ones((1, 1)))[0]) if rows else float("nan")
    return value if np.isfinite(value) else None


def _rows(measure: Sums | Table) -> int:
    return len(measure.truth) if isinstance(measure, Table) else len(measure.columns[0])


def _outputs(predictions: Predictions) -> list[NDArray[Any]]:
    given = (predictions.labels, predictions.probabilities, predictions.values)
    return [array for array in given if array is not None]


def _not_a_number(array: NDArray[Any]) -> Flags:
    bad: Flags = np.asarray(~np.isfinite(array) if array.dtype.kind in "fc" else pd.isna(array))
    return np.asarray(bad.any(axis=1)) if bad.ndim > 1 else bad


def _texts(values: NDArray[Any] | None) -> list[str]:
    if values is None:
        return []
    codes, distinct = pd.factorize(values, use_na_sentinel=False)
    names = [canonical(value) for value in distinct]
    return [names[code] for code in codes]


def _classes(arrays: Sequence[NDArray[Any] | None]) -> tuple[str, ...]:
    distinct = {canonical(value) for array in arrays if array is not None for value in pd.unique(array)}
    return tuple(sorted(distinct))


def _codes(values: NDArray[Any], classes: tuple[str, ...]) -> Codes:
    places = {name: place for place, name in enumerate(classes)}
    codes, distinct = pd.factorize(values, use_na_sentinel=False)
    return np.array([places[canonical(value)] for value in distinct], dtype=np.intp)[codes]


def positive_code(classes: tuple[str, ...], positive: Scalar) -> tuple[int | None, str]:
    """Which of the classes a policy's `positive` is; None with a reason where it is none of them."""
    if positive is None:
        return None, ""
    # A policy may say 1 for true and true for 1, as long as only one of the two spellings is a class.
    also = {"true": "1", "false": "0", "1": "true", "0": "false"}.get(canonical(positive), "")
    for name in (canonical(positive), also if not isinstance(positive, str) else ""):
        if name in classes:
            return classes.index(name), ""
    return None, f"the positive class {positive!r} is not among the classes {_listed(classes)}"


def _listed(names: Sequence[str], most: int = 10) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _columns(values: NDArray[Any]) -> Array:
    """Numbers with one column an output."""
    return np.asarray(values, dtype=np.float64).reshape(len(values), -1)


def _regression(numbers: Array, model: Predictions) -> Scored:
    values = None if model.values is None else _columns(model.values)
    if values is not None and values.shape != numbers.shape:
        raise ValueError(f"{values.shape[1]} predicted values a row do not belong to {numbers.shape[1]} true ones")
    return Scored((), np.zeros(len(numbers), dtype=np.intp), numbers, None, None, values, None, "")


def _classification(
    truth: NDArray[Any], model: Predictions, classes: tuple[str, ...], positive: int | None, problem: str
) -> Scored:
    labels = None if model.labels is None else _codes(model.labels, classes)
    probabilities = None
    if model.probabilities is not None:
        if model.classes is None or len(model.classes) != model.probabilities.shape[1]:
            raise ValueError("probabilities must come with the class of each column")
        probabilities = np.zeros((len(truth), len(classes)))
        probabilities[:, _codes(model.classes, classes)] = model.probabilities
    return Scored(classes, _codes(truth, classes), None, labels, probabilities, None, positive, problem)


def _problem(metric: Metric, scored: Scored) -> str:
    if (metric.task is Task.REGRESSION) != (scored.numbers is not None):
        return f"{metric.name} is about {metric.task}, which is not what these models predict"
    given = {Needs.LABELS: scored.labels, Needs.PROBABILITIES: scored.probabilities, Needs.VALUES: scored.values}
    if given[metric.needs] is None:
        return f"{metric.name} is computed from {metric.needs}, which the model does not give"
    return (_class_problem(metric, scored) if scored.numbers is None else "") or _number_problem(metric, scored)


def _class_problem(metric: Metric, scored: Scored) -> str:
    if metric.binary_only and len(scored.classes) > 2:
        return f"{metric.name} is about two classes and there are {len(scored.classes)}: {_listed(scored.classes)}"
    if scored.positive_problem and (metric.binary_only or len(scored.classes) <= 2):
        return f"{metric.name}: {scored.positive_problem}"
    if metric.binary_only and scored.positive is None:
        return f"{metric.name} is about a positive class and none is named: say it as `positive` of the target"
    support = np.bincount(scored.truth, minlength=len(scored.classes))
    if metric.name in {"recall", "average_precision"} and not support[scored.positive]:
        return f"{metric.name} is undefined: no row is of the positive class"
    absent = [name for name, rows in zip(scored.classes, support, strict=True) if not rows]
    if metric.name == "roc_auc" and (absent or len(scored.classes) < 2):
        return f"roc_auc is undefined: no row is of class {_listed(absent)}" if absent else "roc_auc needs two classes"
    return ""


def _number_problem(metric: Metric, scored: Scored) -> str:
    numbers, probabilities = scored.numbers, scored.probabilities
    if metric.name == "mape" and numbers is not None and (numbers == 0).any():
        # scikit-learn divides by a tiny number instead, and one such row then is the whole metric
        return f"mape is undefined: the true value is 0 in {int((numbers == 0).any(axis=1).sum()):,} rows"
    if metric.name == "r2" and numbers is not None and len(numbers) and (np.ptp(numbers, axis=0) == 0).any():
        return "r2 is undefined: the true value is the same in every row"
    if metric.name in {"log_loss", "brier"} and probabilities is not None and len(probabilities):
        off = np.abs(probabilities.sum(axis=1) - 1).max()
        if probabilities.min() < 0 or off > _SUM_TOLERANCE:
            return f"{metric.name} needs probabilities that add up to 1, and a row is off by {off:.3g}"
    return ""


def _labels(name: str, scored: Scored) -> Measure:
    assert scored.labels is not None
    if name == "accuracy":
        return mean_of((scored.labels == scored.truth).astype(np.float64))
    macro = {"balanced_accuracy": balanced_accuracy, "f1_macro": f1_macro}
    value = macro[name] if name in macro else about(scored.positive or 0, name)
    return Table(scored.truth, scored.labels, len(scored.classes), value)


def _ranking(name: str, scored: Scored) -> Measure:
    assert scored.probabilities is not None
    kind = auc if name == "roc_auc" else average_precision
    last = len(scored.classes) - 1
    one = last if scored.positive is None else scored.positive
    chosen = [one] if len(scored.classes) <= 2 else list(range(last + 1))
    positive = np.stack([scored.truth == code for code in chosen])
    return Ranking(np.ascontiguousarray(scored.probabilities[:, chosen].T), positive, kind)


def _log_loss(name: str, scored: Scored) -> Measure:
    assert scored.probabilities is not None
    given = scored.probabilities[np.arange(len(scored.truth)), scored.truth]
    return mean_of(-np.log(np.clip(given, _LEAST, 1 - _LEAST)))


def _brier(name: str, scored: Scored) -> Measure:
    """Two classes: mean (p - y)² of one class; more: mean of the sum over classes, as scikit-learn has it."""
    assert scored.probabilities is not None
    given = scored.probabilities[np.arange(len(scored.truth)), scored.truth]
    squares: Array = np.einsum("ij,ij->i", scored.probabilities, scored.probabilities) - given**2 + (1 - given) ** 2
    return mean_of(squares / 2 if len(scored.classes) <= 2 else squares)


def _error(name: str, scored: Scored) -> Measure:
    assert scored.numbers is not None
    assert scored.values is not None
    error = scored.values - scored.numbers
    if name == "r2":
        return explained(scored.numbers, scored.values)
    if name == "rmse":
        return root_mean_of(error**2)
    size = np.abs(error) if name == "mae" else np.abs(error / scored.numbers)
    return mean_of(size.mean(axis=1))


_MEASURES: dict[str, Callable[[str, Scored], Measure]] = {
    **dict.fromkeys(("accuracy", "balanced_accuracy", "f1", "f1_macro", "precision", "recall"), _labels),
    **dict.fromkeys(("roc_auc", "average_precision"), _ranking),
    **dict.fromkeys(("rmse", "mae", "mape", "r2"), _error),
    "log_loss": _log_loss,
    "brier": _brier,
}
