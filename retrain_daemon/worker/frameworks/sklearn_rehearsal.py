"""A training of a scikit-learn model without its rows: hyperparameters set and checked on a copy that learns nothing.

What is refused here is refused by `sklearn.py` too, or by scikit-learn itself once rows are there.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.base import clone

from retrain_daemon.core.policy import Hyperparameter, Mode
from retrain_daemon.errors import Refused
from retrain_daemon.worker.cards import first_line
from retrain_daemon.worker.frameworks.sklearn import classes_of, refuse_impossible, weighing_of
from retrain_daemon.worker.frameworks.sklearn_growth import grow
from retrain_daemon.worker.frameworks.sklearn_parts import (
    by_class,
    parts_of,
    refuse_preprocessing_names,
    set_hyperparameters,
)


def rehearse(
    estimator: Any, mode: Mode, hyperparameters: Mapping[str, Hyperparameter], *, weighted: bool
) -> None:  # fmt: skip
    """Raise Refused for what the model cannot do, a name that is none, or a value its own checks do not take."""
    candidate = clone(estimator) if mode is Mode.REFIT else copy.deepcopy(estimator)
    wanted = by_class(hyperparameters, classes_of(estimator))
    set_hyperparameters(candidate, wanted)
    _refuse_values(candidate, wanted)
    refuse_impossible(candidate, mode)
    weighing_of(candidate, mode, np.ones(1) if weighted else None)
    if mode is not Mode.REFIT:
        parts = parts_of(candidate)
        refuse_preprocessing_names(parts, mode.value, wanted)
        if mode is Mode.WARM_START:
            grow(parts, wanted)


def _refuse_values(candidate: Any, hyperparameters: Mapping[str, Hyperparameter]) -> None:
    """What scikit-learn checks at the beginning of each fit; estimators of others may not have it."""
    for prefix, owner in _owners(candidate, hyperparameters):
        validate = getattr(owner, "_validate_params", None)
        if not callable(validate):
            continue
        try:
            validate()
        except ValueError as problem:
            named = f"{prefix}: " if prefix else ""
            raise Refused(f"{named}{first_line(problem)}.", "Write a value that it takes.") from problem


def _owners(candidate: Any, hyperparameters: Mapping[str, Hyperparameter]) -> Iterator[tuple[str, Any]]:
    """The estimators whose own parameters are set, with the names that lead to them."""
    present = candidate.get_params(deep=True)
    for prefix in dict.fromkeys(name.rpartition("__")[0] for name in hyperparameters):
        yield prefix, present[prefix] if prefix else candidate
