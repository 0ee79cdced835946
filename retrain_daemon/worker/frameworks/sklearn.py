"""Trains scikit-learn estimators and Pipelines further, and predicts with them.

Knows estimators, rows and labels only; MLflow, files and verdicts are elsewhere.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier, is_clusterer, is_outlier_detector, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.multioutput import MultiOutputRegressor, RegressorChain
from sklearn.utils.validation import check_is_fitted

from retrain_daemon.core.metrics import Task
from retrain_daemon.core.policy import Hyperparameter, Mode
from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.evaluate import Predictions
from retrain_daemon.worker.features import Features, numbered
from retrain_daemon.worker.frameworks.sklearn_fitting import (
    ESTIMATOR_ERRORS,
    seeded,
    told_in_a_sentence,
    warnings_noted,
)
from retrain_daemon.worker.frameworks.sklearn_growth import grow, old_bins_kept
from retrain_daemon.worker.frameworks.sklearn_modes import describe_modes
from retrain_daemon.worker.frameworks.sklearn_parts import (
    by_class,
    hyperparameter_texts,
    name_of,
    parts_of,
    refuse_preprocessing_names,
    set_hyperparameters,
    transform,
)

__all__ = [
    "ESTIMATOR_ERRORS",
    "Continued",
    "classes_of",
    "continue_training",
    "describe_modes",
    "hyperparameter_texts",
    "outputs_of",
    "predict",
    "target_array",
    "task_of",
]

BATCH_ROWS = 1000

_Weights = Mapping[str, NDArray[np.float64]]
Steps = Callable[[int, int], None]
"""Told how many of how many steps are done."""

#: What estimators learn and predict from. Not all attributes ending in "_": some hold NaN in good health.
_LEARNED = ("coef_", "intercept_", "coefs_", "intercepts_", "theta_", "var_", "feature_log_prob_", "dual_coef_")


@dataclass(frozen=True)
class Continued:
    """A model trained further, and sentences about how it went that a reviewer should read."""

    estimator: Any
    notes: tuple[str, ...] = ()


def task_of(estimator: Any) -> Task:
    """What a fitted model predicts; raises Refused for one that is not fitted or not built for here."""
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError) as problem:
        raise Refused(f"This {name_of(estimator)} is not fitted.", "Register a model after its fit.") from problem
    if is_classifier(estimator) and not isinstance(getattr(estimator, "classes_", None), list):
        return Task.CLASSIFICATION
    if is_regressor(estimator):
        return Task.REGRESSION
    raise Refused(
        f"Training {_kind(estimator)} such as this {name_of(estimator)} is not built yet.",
        "Classifiers with one target and regressors can be trained further.",
    )


def outputs_of(estimator: Any) -> int:
    """How many values a fitted regressor predicts a row."""
    predictor = parts_of(estimator).predictor
    if isinstance(predictor, MultiOutputRegressor | RegressorChain):
        return len(predictor.estimators_)
    coefficients = getattr(predictor, "coef_", None)
    by_coefficients = coefficients.shape[0] if isinstance(coefficients, np.ndarray) and coefficients.ndim == 2 else 1
    return int(getattr(predictor, "n_outputs_", by_coefficients))


def classes_of(estimator: Any) -> NDArray[Any] | None:
    """The classes a fitted classifier knows, in the order of its probabilities; None for a regressor."""
    if task_of(estimator) is not Task.CLASSIFICATION:
        return None
    return np.asarray(estimator.classes_)


def target_array(estimator: Any, target: pd.Series | pd.DataFrame) -> NDArray[Any]:
    """The target as this model's fit takes it: numbers, or labels of the type of its classes where they are equal.

    A file may give 1.0 where the model learned 1, or text as objects; labels the model does not know keep their type.
    """
    values = np.asarray(target.to_numpy())
    classes = classes_of(estimator)
    if classes is None:
        return values.astype(np.float64)
    if values.dtype == classes.dtype and values.dtype != object:
        return values
    codes, distinct = pd.factorize(values, use_na_sentinel=False)
    for kind in (classes.dtype, np.dtype(str)):
        if (same := _as_type(distinct, kind)) is not None:
            return same[codes]
    return values


def predict(estimator: Any, features: pd.DataFrame) -> Predictions:
    """Predict rows of `features`; probabilities where the model gives them, else None.

    `labels` and `values` have one entry a row, or for several outputs (rows, outputs), `probabilities` the shape
    (rows, classes).
    """
    rows = _as_fitted(estimator, features)
    outcome = np.asarray(estimator.predict(rows))
    if outcome.ndim > 1 and outcome.shape[1] == 1:
        outcome = outcome.reshape(len(outcome))
    classes = classes_of(estimator)
    if classes is None:
        return Predictions(labels=None, probabilities=None, values=outcome.astype(np.float64), classes=None)
    gives_probabilities = hasattr(estimator, "predict_proba")
    probabilities = np.asarray(estimator.predict_proba(rows)) if gives_probabilities else None
    return Predictions(labels=outcome, probabilities=probabilities, values=None, classes=classes)


def continue_training(
    estimator: Any,
    mode: Mode,
    hyperparameters: Mapping[str, Hyperparameter],
    features: Features,
    target: pd.Series | pd.DataFrame,
    *,
    weight: NDArray[np.float64] | None = None,
    seed: int,
    progress: Steps,
) -> Continued:
    """Train a copy of a fitted `estimator` further on `features` and `target`, row by row the same; it is untouched.

    refit: a clone learns the rows anew, preprocessing included. warm_start: the predictor goes on from what it
    learned, over all rows; ensembles get more members. incremental: one pass of `partial_fit` over the rows in
    shuffled batches. In the last two the fitted preprocessing stays. `weight` (n,) goes to the predictor alone, not to
    preprocessing. `seed` makes it repeatable, also where the model's own random_state is None. Raises Refused for what
    the model cannot do, TrainingFailed when it fails.
    """
    task_of(estimator)
    candidate = clone(estimator) if mode is Mode.REFIT else copy.deepcopy(estimator)
    hyperparameters = by_class(hyperparameters, classes_of(estimator))
    set_hyperparameters(candidate, hyperparameters)
    refuse_impossible(candidate, mode)
    weighing = weighing_of(candidate, mode, weight)
    labels = target_array(estimator, target)
    notes = _check_classes(estimator, mode, labels)
    with told_in_a_sentence(estimator, len(labels)), seeded(seed), warnings_noted() as warned:
        if mode is Mode.INCREMENTAL:
            _learn_in_batches(candidate, hyperparameters, features, labels, weighing, seed, progress)
        elif mode is Mode.REFIT:
            rows = _as_fitted(estimator, features.frame())
            prefix = parts_of(candidate).prefix
            candidate.fit(rows, labels, **{f"{prefix}{name}": each for name, each in weighing.items()})
        else:
            rows = _as_fitted(estimator, features.frame())
            notes += _warm_start(candidate, hyperparameters, rows, labels, weighing)
    _refuse_diverged(candidate)
    return Continued(candidate, (*notes, *warned))


def refuse_impossible(candidate: Any, mode: Mode) -> None:
    """Raise Refused, with the reason, for a mode that an estimator cannot do as its hyperparameters are."""
    report = next(report for report in describe_modes(candidate) if report.mode == mode.value)
    if not report.possible:
        raise Refused(f"Mode {mode.value} is not possible: {report.reason}.", report.remedy)


def _warm_start(
    candidate: Any, hyperparameters: Mapping[str, Hyperparameter], rows: Any, labels: NDArray[Any], weighing: _Weights
) -> tuple[str, ...]:
    parts = parts_of(candidate)
    refuse_preprocessing_names(parts, Mode.WARM_START.value, hyperparameters)
    note = grow(parts, hyperparameters)
    as_registered = parts.predictor.get_params(deep=False)["warm_start"]
    parts.predictor.set_params(warm_start=True)
    with old_bins_kept(parts.predictor):
        parts.predictor.fit(_as_learned(parts.predictor, transform(parts, rows)), labels, **weighing)
    parts.predictor.set_params(warm_start=as_registered)
    return (note,) if note else ()


def _learn_in_batches(
    candidate: Any,
    hyperparameters: Mapping[str, Hyperparameter],
    features: Features,
    labels: NDArray[Any],
    weighing: _Weights,
    seed: int,
    progress: Steps,
) -> None:
    """One pass in shuffled batches, each read and preprocessed when its turn comes, so memory stays flat."""
    parts = parts_of(candidate)
    refuse_preprocessing_names(parts, Mode.INCREMENTAL.value, hyperparameters)
    order = np.random.default_rng(seed).permutation(numbered(len(labels)))
    batches = [order[start : start + BATCH_ROWS] for start in range(0, len(order), BATCH_ROWS)]
    for done, batch in enumerate(batches, start=1):
        weights = {name: weight[batch] for name, weight in weighing.items()}
        rows = _as_fitted(candidate, features.take(batch).frame())
        parts.predictor.partial_fit(_as_learned(parts.predictor, transform(parts, rows)), labels[batch], **weights)
        progress(done, len(batches))


def weighing_of(candidate: Any, mode: Mode, weight: NDArray[np.float64] | None) -> _Weights:
    """What goes to fit or partial_fit beside rows and labels; raises Refused for a model that takes no weights."""
    if weight is None:
        return {}
    if not weight.sum() > 0:
        raise TrainingFailed("All training rows have the weight 0.", "Look at the column that data.weight names.")
    predictor = parts_of(candidate).predictor
    method = predictor.partial_fit if mode is Mode.INCREMENTAL else predictor.fit
    if "sample_weight" not in inspect.signature(method).parameters:
        raise Refused(
            f"{name_of(predictor)} takes no weights in {method.__name__}.",
            "Leave data.weight out, or use another mode.",
        )
    return {"sample_weight": weight}


def _check_classes(estimator: Any, mode: Mode, labels: NDArray[Any]) -> tuple[str, ...]:
    """Refuse classes that this mode cannot take; for refit, which can, note what changes."""
    classes = classes_of(estimator)
    if classes is None:
        return ()
    known, found = set(classes.tolist()), set(pd.unique(labels).tolist())
    new, gone = _listed(found - known), _listed(known - found)
    if new and mode is not Mode.REFIT:
        raise Refused(
            f"The training rows have classes that the champion does not know: {new}; it knows {_listed(known)}.",
            f"Mode {mode.value} cannot add a class: use mode refit.",
        )
    if gone and mode is Mode.WARM_START:
        raise Refused(
            f"The training rows have no row of {gone}, which the champion knows.",
            "Mode warm_start needs rows of every class: use a wider window, or mode incremental or refit.",
        )
    notes = [f"The challenger knows classes the champion does not: {new}."] if new else []
    if gone and mode is Mode.REFIT:
        notes.append(f"The challenger no longer knows classes without training rows: {gone}.")
    return tuple(notes)


def _listed(labels: set[Any]) -> str:
    shown = sorted(map(repr, labels))
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")


def _refuse_diverged(candidate: Any) -> None:
    predictor = parts_of(candidate).predictor
    for name in _LEARNED:
        learned = getattr(predictor, name, None)
        for values in learned if isinstance(learned, list) else [learned]:
            if isinstance(values, np.ndarray | float) and not np.isfinite(values).all():
                raise TrainingFailed(
                    f"The training diverged: {name} of {name_of(predictor)} holds NaN or infinity.",
                    "Use a smaller learning rate, stronger regularisation, or scaled features.",
                )


def _kind(estimator: Any) -> str:
    if is_classifier(estimator):
        return "classifiers with several targets"
    if is_clusterer(estimator):
        return "clusterers"
    if is_outlier_detector(estimator):
        return "outlier detectors"
    return "estimators that are neither classifier nor regressor,"


def _as_fitted(estimator: Any, features: pd.DataFrame) -> Any:
    """Rows as the model's first fit got them: a plain array where that had no column names."""
    steps = parts_of(estimator).transformers
    first = steps[0][1] if steps else parts_of(estimator).predictor
    unnamed = hasattr(first, "n_features_in_") and not hasattr(first, "feature_names_in_")
    numeric = all(pd.api.types.is_numeric_dtype(kind) for kind in features.dtypes)
    return features.to_numpy() if unnamed and numeric else features


def _as_learned(predictor: Any, rows: Any) -> Any:
    """Numbers of as many bits as the coefficients have: some estimators learned from 32 bits take no others."""
    coefficients = getattr(predictor, "coef_", None)
    narrow = isinstance(coefficients, np.ndarray) and coefficients.dtype == np.float32
    return rows.astype(np.float32) if narrow else rows


def _as_type(values: NDArray[Any], kind: np.dtype[Any]) -> NDArray[Any] | None:
    """`values` as `kind` if every one stays equal, else None. Text may get longer than `kind` holds."""
    try:
        cast = values.astype(str if kind.kind == "U" else kind)
    except (ValueError, TypeError):
        return None
    return cast if all(new == old for new, old in zip(cast.tolist(), values.tolist(), strict=True)) else None
