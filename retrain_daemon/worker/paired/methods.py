"""Which method each metric gets, and what is said where none would be honest.

Two estimates come out for a pair: of the gain, and of the challenger's own value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from retrain_daemon.worker.measures import Flags, Ranking, Sums, Table
from retrain_daemon.worker.paired.bootstrap import Drawn, drawn, varied
from retrain_daemon.worker.paired.estimate import (
    AtLeastAsWide,
    Estimate,
    NotAbove,
    Student,
    Unknown,
    Within,
    number_carrying,
    share_at_most,
)
from retrain_daemon.worker.paired.mean import mean_of_rows
from retrain_daemon.worker.paired.pair import FEWEST, Pair, Trial
from retrain_daemon.worker.paired.proportion import PairedShare, Share
from retrain_daemon.worker.paired.ranking import area_of, difference, own
from retrain_daemon.worker.resample import Array

Both = tuple[Estimate | Unknown, Estimate | Unknown]

_MEANS = {"log_loss", "brier", "mae", "mape"}
_BY_CLASS = {"balanced_accuracy", "f1", "f1_macro", "precision", "roc_auc", "average_precision"}
_MOST_CLASSES = 100


def estimates(pair: Pair) -> Both:
    """The gain and the challenger's own value, each with how sure it is, or why that is not known."""
    problem = _too_thin(pair)
    if problem:
        return Unknown(problem), Unknown(problem)
    if pair.name in {"accuracy", "recall"}:
        return _shares(pair)
    if pair.name in _MEANS:
        return _means(pair)
    if pair.name == "roc_auc" and pair.trial.groups is None and len(pair.champion.classes) == 2:
        return _areas(pair)
    return _resampled(pair)


def _too_thin(pair: Pair) -> str:
    """Why these rows cannot bound this metric at all, if they cannot."""
    trial, truth = pair.trial, pair.champion.truth
    if trial.units < FEWEST:
        return _only(f"{trial.units} {trial.unit}")
    for code, label in enumerate(pair.champion.classes):
        asked = pair.name in _BY_CLASS or (pair.name == "recall" and code == pair.champion.positive)
        rows = trial.count(truth == code) if asked else 0
        if 0 < rows < FEWEST:
            return _only(f"{rows} {trial.unit} of class {label!r}")
    if pair.name != "precision":
        return ""
    models = (pair.champion, pair.challenger)
    least = min(trial.count(np.asarray(model.labels == model.positive)) for model in models)
    return f"a model predicts only {least} {trial.unit} as positive" if least < FEWEST else ""


def _only(what: str) -> str:
    return f"only {what}, and {FEWEST} are the least"


def _shares(pair: Pair) -> Both:
    """Accuracy, and recall, which is accuracy on the positive rows."""
    if pair.name == "recall":
        return _shares_of(_on_positives(pair))
    return _shares_of(pair)


def _on_positives(pair: Pair) -> Pair:
    chosen = np.flatnonzero(pair.champion.truth == pair.champion.positive)
    groups = pair.trial.groups
    codes = None if groups is None else np.unique(groups[chosen], return_inverse=True)[1]
    trial = replace(pair.trial, rows=len(chosen), groups=codes)
    return replace(pair, champion=pair.champion.take(chosen), challenger=pair.challenger.take(chosen), trial=trial)


def _shares_of(pair: Pair) -> Both:
    trial = pair.trial
    old, new = (np.asarray(model.labels == model.truth) for model in (pair.champion, pair.challenger))
    if trial.groups is None:
        shares = PairedShare(int((new & ~old).sum()), int((old & ~new).sum()), trial.rows)
        return _carried(shares, shares.better + shares.worse), Share(int(new.sum()), trial.rows)
    differing, step = trial.count(old != new), 1 / trial.rows
    gain = _carried_mean(new.astype(np.float64) - old, trial) if differing >= FEWEST else None
    return gain or _within(pair, differing, step), _share_of_groups(new, trial, step)


def _share_of_groups(right: Flags, trial: Trial, step: float) -> Estimate | Unknown:
    if right.all() or not right.any():
        value: Estimate | Unknown = Student(float(right.mean()), 0.0, math.inf, "exact")
    else:
        value = mean_of_rows(right.astype(np.float64), trial.groups)
    return _not_narrower(value, min(trial.count(right), trial.count(~right)), trial, step)


def _means(pair: Pair) -> Both:
    """Metrics that are a mean of a loss a row."""
    assert isinstance(pair.old, Sums)
    assert isinstance(pair.new, Sums)
    trial, loss = pair.trial, pair.new.columns[-1]
    saved = pair.old.columns[-1] - loss
    differing = trial.count(saved != 0)
    gain: Estimate | Unknown = Unknown(_few_differ(differing, trial))
    return (gain if differing < FEWEST else _carried_mean(saved, trial)), mean_of_rows(loss, trial.groups)


def _carried_mean(values: Array, trial: Trial) -> Estimate | Unknown:
    found = mean_of_rows(values, trial.groups)
    sums = values if trial.groups is None else np.bincount(trial.groups, weights=values).astype(np.float64)
    return found if isinstance(found, Unknown) else _carried(found, number_carrying(sums), trial.unit)


def _carried(found: Estimate, units: float, unit: str = "rows") -> Estimate:
    """A gain is not shown where fewer than FEWEST units carry the difference."""
    if units >= FEWEST:
        return found
    return NotAbove(found, f"{found.method}; carried by fewer than {FEWEST} {unit}, so no gain is shown")


def _areas(pair: Pair) -> Both:
    assert isinstance(pair.old, Ranking)
    assert isinstance(pair.new, Ranking)
    champion, challenger = (area_of(one.scores[0], one.positive[0]) for one in (pair.old, pair.new))
    return difference(champion, challenger, FEWEST), own(challenger, FEWEST)


def _resampled(pair: Pair) -> Both:
    gain, value = drawn(pair)
    differing = pair.differing()
    if differing >= FEWEST:
        found = varied(gain)
        carried = found if isinstance(found, Unknown) else _carried(found, pair.carrying(), pair.trial.unit)
        return carried, _own_resampled(pair, value)
    return _within(pair, differing, _step(pair)), _own_resampled(pair, value)


def _own_resampled(pair: Pair, value: Drawn | Unknown) -> Estimate | Unknown:
    if not pair.about_labels:
        return varied(value)
    trial, model = pair.trial, pair.challenger
    right = np.asarray(model.labels == model.truth)
    if pair.name == "precision":
        said = np.asarray(model.labels == model.positive)
        if trial.groups is None:
            return Share(int((right & said).sum()), int(said.sum()))
        right, wrong = right & said, ~right & said
    else:
        wrong = ~right
    rarer = min(trial.count(right), trial.count(wrong))
    return _not_narrower(value, rarer, trial, _step(pair)) if rarer < FEWEST else varied(value)


def _step(pair: Pair) -> float | None:
    """The most that one row's predicted class can move the metric; None where it has no limit or is not known."""
    few = isinstance(pair.new, Table) and pair.new.classes <= _MOST_CLASSES
    return max(one.largest_step() for one in (pair.old, pair.new) if isinstance(one, Table)) if few else None


def _within(pair: Pair, differing: int, step: float | None) -> Within | Unknown:
    """With few units predicted differently, only the size of the gain is bounded, and only where a row's step is."""
    trial = pair.trial
    if step is None:
        return Unknown(_few_differ(differing, trial))
    how = f"exact bound on the share of {trial.unit} predicted differently, {_differ(differing, trial)}"
    return Within(pair.gain, _reach(differing, 0.0, trial, step), how)


def _reach(count: int, seen: float, trial: Trial, step: float) -> Callable[[float], float]:
    """The most a metric of classes can move by units of which `count` were seen, the share `seen` of them left out."""

    def reach(confidence: float) -> float:
        share = share_at_most(count, trial.units, confidence) - seen
        return min(1.0, share * trial.units * trial.largest * step)

    return reach


def _not_narrower(value: Estimate | Unknown, rarer: int, trial: Trial, step: float | None) -> Estimate | Unknown:
    """The challenger's own value, with wider bounds where it is wrong, or right, on few units: those that were seen are
    in the value, and only what the exact bound allows beyond them is not.
    """
    if rarer >= FEWEST or isinstance(value, Unknown):
        return value
    if step is None:
        return Unknown(f"only {rarer} {trial.unit} tell right from wrong")
    return AtLeastAsWide(value, _reach(rarer, rarer / trial.units, trial, step), f"{value.method}, not below exact")


def _few_differ(differing: int, trial: Trial) -> str:
    return f"only {_differ(differing, trial)}, and {FEWEST} are the least"


def _differ(differing: int, trial: Trial) -> str:
    return f"{differing} of {trial.units:,} {trial.unit} are predicted differently"
