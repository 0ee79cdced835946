"""The paired bootstrap: any metric, computed anew under weights, the same for both models.

Efron and Tibshirani (1993); for groups Davison and Hinkley (1997), 3.8. What is drawn lives in `resample.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from retrain_daemon.worker.evaluate import Measure
from retrain_daemon.worker.measures import Ranking, Table
from retrain_daemon.worker.paired.estimate import (
    Unknown,
    normal_quantile,
    normal_share,
    student_quantile,
    student_share,
)
from retrain_daemon.worker.paired.pair import Pair, Trial
from retrain_daemon.worker.resample import BLOCKS, Array, Codes, Units, alike, blocked, grouped, single

#: With fewer resamples than this beyond a bound, its place among them is too uncertain to be read off.
FEWEST_IN_TAIL = 20
#: There is no estimate when more than this share of resamples has no value.
MOST_UNDEFINED = 0.01

#: Rankings over more rows than this (times the number of rankings) are linearised ...
_MOST_RANKED = 40_000
#: ... unless a class has fewer rows than this, where the linear part alone would not do.
_FEWEST_RANKED = 200


@dataclass(frozen=True)
class Drawn:
    """A value and what it was in each resample of `units` independent units (b,), without those that have none.

    Expanded percentile interval (Hesterberg 2015, "What teachers should know about the bootstrap"): plain percentiles
    at a tail that makes up for the narrowness of a bootstrap with few units. Percentiles, not BCa: a paired difference
    is close to symmetric, and BCa is erratic where a difference takes few distinct values. Beyond what percentiles can
    tell (FEWEST_IN_TAIL), the bound is the estimate and so many standard errors, but never inside the last percentile.
    """

    point: float
    values: Array
    units: int
    method: str

    @property
    def standard_error(self) -> float:
        return float(np.std(self.values, ddof=1))

    def low(self, confidence: float) -> float:
        if not self._too_far(confidence):
            return self._percentile(confidence)
        low = self.point - self._reach(confidence) * self.standard_error
        return min(low, self._percentile(self._farthest)) if self._farthest > 0.5 else low

    def high(self, confidence: float) -> float:
        mirrored = Drawn(-self.point, -self.values, self.units, self.method)
        return -mirrored.low(confidence)

    def p_at_least(self, least: float) -> float:
        tail = float(np.mean(self.values >= least))
        p = student_share(self._shrunk(normal_quantile(tail)), self.units - 1) if 0 < tail < 1 else tail
        if tail * len(self.values) >= FEWEST_IN_TAIL:
            return p
        by_error = student_share(self._shrunk((self.point - least) / self.standard_error), self.units - 1)
        return min(by_error, max(p, 1 - self._farthest))

    def note(self, confidence: float) -> str:
        if not self._too_far(confidence):
            return ""
        return f"at {confidence * 100:.6g} %: estimate ± {self._reach(confidence):.3g} × bootstrap standard error"

    def _too_far(self, confidence: float) -> bool:
        return (1 - confidence) * len(self.values) < FEWEST_IN_TAIL - 1e-9

    @property
    def _farthest(self) -> float:
        """The highest confidence whose bound is read off."""
        return 1 - FEWEST_IN_TAIL / len(self.values)

    def _percentile(self, confidence: float) -> float:
        return float(np.quantile(self.values, normal_share(-self._reach(confidence)), method="lower"))

    def _reach(self, confidence: float) -> float:
        """In standard errors of the bootstrap, which are too small by the root."""
        return student_quantile(confidence, self.units - 1) * math.sqrt(self.units / (self.units - 1))

    def _shrunk(self, reach: float) -> float:
        return reach / math.sqrt(self.units / (self.units - 1))


def drawn(pair: Pair) -> tuple[Drawn | Unknown, Drawn | Unknown]:
    """The gain and the challenger's own value, from one set of resamples."""
    units, measures, how = _units(pair.old, pair.new, pair.trial)
    champion, challenger = _resampled(units, measures, pair.trial)
    method = f"paired bootstrap, {pair.trial.resamples:,} resamples of {units.name}{how}"
    gain = drawn_from(pair.sign * (challenger - champion), pair.gain, units.count, method)
    return gain, drawn_from(challenger, pair.values[1], units.count, "bootstrap")


def drawn_from(values: Array, point: float, units: int, method: str) -> Drawn | Unknown:
    """An estimate from what the value was in each resample (b,)."""
    known = values[np.isfinite(values)]
    undefined = len(values) - len(known)
    if undefined > MOST_UNDEFINED * len(values):
        return Unknown(f"it is undefined in {undefined:,} of {len(values):,} resamples")
    return Drawn(point, known, units, method)


def varied(found: Drawn | Unknown) -> Drawn | Unknown:
    """What is the same in every resample says nothing about rows that were not seen."""
    same = isinstance(found, Drawn) and found.standard_error <= 1e-12 * abs(found.point)
    return Unknown("it is the same in every resample") if same else found


def _units(old: Measure, new: Measure, trial: Trial) -> tuple[Units, tuple[Measure, Measure], str]:
    """What is drawn, the measures it is drawn for, and words for a method that is not the plain one."""
    units = single(trial.rows) if trial.groups is None else grouped(trial.groups)
    if isinstance(old, Ranking) and isinstance(new, Ranking):
        rarest = int(min(line.sum() for line in old.positive))
        rarest = min(rarest, int(min((~line).sum() for line in old.positive)))
        if old.scores.size <= _MOST_RANKED or rarest < _FEWEST_RANKED:
            return units, (old, new), ""
        return blocked(units, trial.seed), (old.first_order(), new.first_order()), ", first order in the weights"
    cells = _cells(old, new) if trial.groups is None else None
    if cells is not None:
        compact = alike(cells)
        if len(compact.sizes) <= BLOCKS:
            return compact, (old, new), ""
    return blocked(units, trial.seed), (old, new), ""


def _cells(old: Measure, new: Measure) -> Codes | None:
    """A code for each row, equal for rows that no metric of classes can tell apart; None for other metrics."""
    if not isinstance(old, Table) or not isinstance(new, Table):
        return None
    cells: Codes = (old.truth * old.classes + old.labels) * old.classes + new.labels
    return cells


def _resampled(units: Units, pair: tuple[Measure, Measure], trial: Trial) -> tuple[Array, Array]:
    champion, challenger = (measure.on(units) for measure in pair)
    values = [(champion(weights), challenger(weights)) for weights in units.weights(trial.seed, trial.resamples)]
    return np.concatenate([old for old, _ in values]), np.concatenate([new for _, new in values])
