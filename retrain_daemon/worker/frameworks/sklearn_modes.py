"""Which modes of continued training a scikit-learn model can do, and why not the others.

Looks only; training itself lives in `sklearn.py`.
"""

from __future__ import annotations

from typing import Any

from sklearn.base import MetaEstimatorMixin, clone
from sklearn.ensemble import BaseEnsemble

from retrain_daemon.core.policy import Mode
from retrain_daemon.worker.frameworks.sklearn_growth import reason_against_growing
from retrain_daemon.worker.frameworks.sklearn_parts import Parts, name_of, parts_of
from retrain_daemon.worker.job import ModeReport

_USE_REFIT = "Use mode refit."


def describe_modes(estimator: Any) -> tuple[ModeReport, ...]:
    """Say for refit, warm_start and incremental, in this order, whether `estimator` can be trained further so."""
    parts = parts_of(estimator)
    if parts.predictor is None:
        reason = f"the last step of this {name_of(estimator)} is a passthrough, which predicts nothing"
        remedy = "Register a Pipeline whose last step is a classifier or a regressor."
        return tuple(_report(mode, reason, remedy) for mode in Mode)
    return (
        _report(Mode.REFIT, _against_refit(estimator), "Give its __init__ one keyword argument for each attribute."),
        _report(Mode.WARM_START, _against_warm_start(parts), _alternative(parts, Mode.INCREMENTAL)),
        _report(Mode.INCREMENTAL, *_against_incremental(parts)),
    )


def _report(mode: Mode, reason: str, remedy: str) -> ModeReport:
    return ModeReport(mode=mode.value, possible=not reason, reason=reason, remedy=remedy if reason else "")


def _against_refit(estimator: Any) -> str:
    try:
        clone(estimator)
    except (TypeError, ValueError, RuntimeError) as problem:
        return f"{name_of(estimator)} cannot be cloned: {str(problem).splitlines()[0]}"
    return ""


def _against_warm_start(parts: Parts) -> str:
    name = name_of(parts.predictor)
    if reason := _against_continuing(parts):
        return reason
    if "warm_start" not in parts.predictor.get_params(deep=False):
        return f"{name} has no parameter warm_start, its fit always starts anew"
    return reason_against_growing(parts.predictor)


def _against_incremental(parts: Parts) -> tuple[str, str]:
    name, predictor = name_of(parts.predictor), parts.predictor
    if reason := _against_continuing(parts):
        return reason, _USE_REFIT
    if not hasattr(predictor, "partial_fit"):
        return f"{name} has no partial_fit", _alternative(parts, Mode.WARM_START)
    if getattr(predictor, "early_stopping", False) is True:
        return (
            f"{name} cannot do partial_fit with early_stopping=True",
            f"Set the hyperparameter {parts.prefix}early_stopping to false, or use another mode.",
        )
    return "", ""


def _against_continuing(parts: Parts) -> str:
    """What stands against going on from the learned state, whichever way."""
    if isinstance(parts.predictor, MetaEstimatorMixin) and not isinstance(parts.predictor, BaseEnsemble):
        return f"{name_of(parts.predictor)} trains the estimators it wraps as a whole only"
    for name, step in parts.transformers:
        if not hasattr(step, "transform"):
            return f"step {name!r} ({name_of(step)}) has no transform, so rows cannot pass it without training it"
    return ""


def _alternative(parts: Parts, other: Mode) -> str:
    """The remedy that names the modes left."""
    reason = _against_warm_start(parts) if other is Mode.WARM_START else _against_incremental(parts)[0]
    return _USE_REFIT if reason else f"Use mode refit or {other.value}."
