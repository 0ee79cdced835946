"""How an ensemble goes on from where it is: by more members, the old ones kept.

One framework defect is made good here: histogram boosting on rows other than those of its first fit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from retrain_daemon.core.policy import Hyperparameter
from retrain_daemon.errors import Refused
from retrain_daemon.worker.frameworks.sklearn_parts import Parts, name_of

GROWTH_SHARE = 0.2
GROWTH_AT_LEAST = 10


def grow(parts: Parts, hyperparameters: Mapping[str, Hyperparameter]) -> str:
    """Give an ensemble room for more members and say so in a sentence; other predictors are left alone ("").

    It grows by a fifth of the members it has, at least ten: enough to matter, few enough that a model retrained
    weekly stays servable. A policy that names the size itself (`n_estimators`, `max_iter`) decides instead, and
    must name more than there are; raises Refused otherwise. The size stays in the model's hyperparameters, so a
    later `refit` builds that many.
    """
    size = _size(parts.predictor)
    if size is None:
        return ""
    parameter, present = size
    name = parts.prefix + parameter
    wanted = hyperparameters.get(name, present + max(GROWTH_AT_LEAST, math.ceil(GROWTH_SHARE * present)))
    if not isinstance(wanted, int) or wanted <= present:
        raise Refused(
            f"{name}: {wanted} asks for no more than the {present} members this {name_of(parts.predictor)} has.",
            f"warm_start keeps the old members: name more than {present}, leave {name} out, or use mode refit.",
        )
    parts.predictor.set_params(**{parameter: wanted})
    return f"{name_of(parts.predictor)} grows from {present} to {wanted} members ({name})."


def grows(predictor: Any) -> bool:
    """Whether it goes on by more members, so that it is larger after each training."""
    return _size(predictor) is not None


def reason_against_growing(predictor: Any) -> str:
    """Why an ensemble cannot take more members, "" if it can (or is no ensemble)."""
    if not _is_histogram_boosting(predictor):
        return ""
    name = name_of(predictor)
    if not hasattr(predictor, "_bin_mapper") or not hasattr(predictor, "_bin_data"):
        return f"this scikit-learn hides the bins of {name}, which its old trees need to go on"
    if getattr(predictor, "is_categorical_", None) is not None:
        return f"{name} with categorical features numbers the categories anew at each fit, against its old trees"
    if predictor._bin_mapper.n_bins != predictor.max_bins + 1:
        return f"max_bins of {name} changed from {predictor._bin_mapper.n_bins - 1} to {predictor.max_bins}"
    return ""


@contextmanager
def old_bins_kept(predictor: Any) -> Iterator[None]:
    """While a histogram boosting is fitted further, cut values with the bins its old trees were grown on.

    scikit-learn computes new bins from the rows at hand but lets the old trees read them by bin number, so on other
    rows the new trees correct errors that the old ones do not make (its documentation: warm_start results are
    valid on the same data only). Scores of earlier rows are forgotten, so that early stopping compares like with
    like. Other predictors are left alone.
    """
    if not _is_histogram_boosting(predictor):
        yield
        return
    bins = predictor._bin_mapper

    def bin_data(features: Any, sample_weight: Any, is_training_data: bool) -> Any:
        predictor._bin_mapper = bins
        binned = bins.transform(features)
        return binned if is_training_data else np.ascontiguousarray(binned)

    predictor.train_score_ = predictor.validation_score_ = np.empty(0)
    predictor._bin_data = bin_data
    try:
        yield
    finally:
        del predictor._bin_data


def _size(predictor: Any) -> tuple[str, int] | None:
    """The parameter that says how many members an ensemble has, and how many there are."""
    if _is_histogram_boosting(predictor):
        return "max_iter", int(predictor.n_iter_)
    if "n_estimators" in predictor.get_params(deep=False) and hasattr(predictor, "estimators_"):
        return "n_estimators", len(predictor.estimators_)
    return None


def _is_histogram_boosting(predictor: Any) -> bool:
    return isinstance(predictor, HistGradientBoostingClassifier | HistGradientBoostingRegressor)
