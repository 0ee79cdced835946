"""What both models predict of the same rows, and the evidence from it; without a champion that of one version alone.

How two models are compared in a metric is for `compare.py`; what is left here is which of it is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain_daemon.core.evidence import MetricEvidence
from retrain_daemon.worker.compare import RESAMPLES, compare, pair_of
from retrain_daemon.worker.evaluate import Predictions, Scored, align, count_not_a_number, rows_about
from retrain_daemon.worker.job import Train
from retrain_daemon.worker.model_metrics import FLIPPED, flipped
from retrain_daemon.worker.paired.estimate import Unknown
from retrain_daemon.worker.paired.methods import estimates
from retrain_daemon.worker.paired.pair import trial_of


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """The truth of rows (n,) or (n, outputs), what both models predict of them, and the rows' groups where they have
    some. `champion` is None where there is none.
    """

    truth: NDArray[Any]
    champion: Predictions | None
    challenger: Predictions
    groups: NDArray[np.uint64] | None


@dataclass(frozen=True)
class Aligned:
    """A both as metrics are computed from it."""

    champion: Scored | None
    challenger: Scored
    groups: NDArray[np.uint64] | None

    def take(self, rows: NDArray[np.intp]) -> Aligned:
        """The same of some rows."""
        champion = None if self.champion is None else self.champion.take(rows)
        groups = None if self.groups is None else self.groups[rows]
        return Aligned(champion, self.challenger.take(rows), groups)


def aligned(job: Train, both: SideBySide) -> Aligned | str:
    """The both with one list of classes; or why nothing can be computed from it."""
    given = [each for each in (both.champion, both.challenger) if each is not None]
    if any(count_not_a_number(each) for each in given):
        return "a model predicts no number on some rows"
    try:
        scored = align(both.truth, given, job.data.target.positive)
    except ValueError as error:
        return str(error)
    return Aligned(None if both.champion is None else scored[0], scored[-1], both.groups)


def measure_rows(job: Train, names: Sequence[str], both: SideBySide) -> tuple[MetricEvidence, ...]:
    """Evidence for metrics of predictions, in the order of `names`."""
    compared = [name for name in names if name != FLIPPED]
    if both.champion is None:
        found = _each_alone(job, compared, both)
    else:
        found = compare(
            both.truth,
            both.champion,
            both.challenger,
            metrics=compared,
            positive=job.data.target.positive,
            confidence=job.confidence,
            groups=both.groups,
            seed=job.seed,
            strict_confidence=job.strict_confidence,
        )
    known = {each.metric: each for each in found}
    if FLIPPED in names:
        known[FLIPPED] = _flipped(job, both)
    return tuple(known[name] for name in names)


def measure_alone(job: Train, metric: str, models: Aligned) -> MetricEvidence:
    """The metric of one version, as "challenger": of a champion and of a gain nothing is known."""
    one, groups = models.challenger, models.groups
    pair = pair_of(metric, one, one, trial_of(len(one.truth), groups, job.seed, RESAMPLES))
    if isinstance(pair, MetricEvidence):
        return replace(pair, champion=None, problem=pair.problem.partition("; challenger: ")[2] or pair.problem)
    known = MetricEvidence(metric=metric, challenger=pair.values[1], rows=int(rows_about(metric, one, one).sum()))
    own = estimates(pair)[1]
    if isinstance(own, Unknown):
        return replace(known, problem=f"{metric} has no bounds: {own.problem}")
    low, high = own.low(job.confidence), own.high(job.confidence)
    return replace(known, challenger_low=low, challenger_high=high, method=own.method)


def _each_alone(job: Train, names: Sequence[str], both: SideBySide) -> tuple[MetricEvidence, ...]:
    models = aligned(job, both)
    if isinstance(models, str):
        return tuple(MetricEvidence(metric=name, problem=f"{name} is unknown: {models}") for name in names)
    return tuple(measure_alone(job, name, models) for name in names)


def _flipped(job: Train, both: SideBySide) -> MetricEvidence:
    models = aligned(job, both)
    if isinstance(models, str):
        return MetricEvidence(metric=FLIPPED, problem=f"{FLIPPED} is unknown: {models}")
    return flipped(job, models.champion, models.challenger, models.groups)
