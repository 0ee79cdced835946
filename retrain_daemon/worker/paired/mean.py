"""Means over rows, or over groups of rows: how sure a mean is, by Student's t, prudent where tails are heavy.

Values a row come in, of one model or differences of two; what they mean is not known here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from retrain_daemon.worker.paired.estimate import Student, Unknown, student_share
from retrain_daemon.worker.resample import Array, Codes

#: A spread below this share of the mean is rounding.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Mean(Student):
    """A mean of `units` independent values whose standardised third moment is `skewness`.

    Each bound is the wider of two: Student's t, and t after Hall's (1992) transformation, which corrects for skewness.
    The degrees of freedom are those of the variance: 2 units / (kurtosis - 1), at most units - 1, so that a mean that
    hangs on few rows is no surer than those few would make it.
    """

    units: int
    skewness: float

    def low(self, confidence: float) -> float:
        return self.point - max(self.reach(confidence), self._corrected(confidence))

    def high(self, confidence: float) -> float:
        return self.point + max(self.reach(confidence), -self._corrected(1 - confidence))

    def p_at_least(self, least: float) -> float:
        t = (self.point - least) / self.standard_error
        return max(student_share(t, self.freedom), student_share(self._transformed(t), self.freedom))

    def _corrected(self, confidence: float) -> float:
        """How far the corrected bound is below the point: the inverse of the transformation."""
        a = self._bend()
        t = super().reach(confidence)
        if abs(a) < _ROUNDING:
            return t
        inner = 1 + 3 * a * (t / self.standard_error - a / 2)
        return float(np.cbrt(inner) - 1) / a * self.standard_error

    def _transformed(self, t: float) -> float:
        a = self._bend()
        return t + a * t**2 + a**2 * t**3 / 3 + a / 2

    def _bend(self) -> float:
        return self.skewness / (3 * math.sqrt(self.units))


def mean_of_rows(values: Array, groups: Codes | None) -> Mean | Unknown:
    """The mean of a value a row (n,), over rows or over whole groups (codes from 0 without a gap).

    Groups: the mean over all their rows, its spread by leaving out one group at a time (jackknife).
    """
    if groups is None:
        return _of_units(float(values.mean()), values, "paired t", "row")
    sums, sizes = np.bincount(groups, weights=values), np.bincount(groups).astype(np.float64)
    count, total, rows = len(sizes), sums.sum(), sizes.sum()
    if sizes.max() >= rows:
        return Unknown("all rows are of one group")
    mean = total / rows
    pseudo = count * mean - (count - 1) * (total - sums) / (rows - sizes)
    return _of_units(float(mean), pseudo, f"paired t over {count:,} groups, each left out in turn", "group")


def _of_units(mean: float, values: Array, method: str, unit: str) -> Mean | Unknown:
    units = len(values)
    away = values - values.mean()
    deviation = math.sqrt(float(away @ away) / (units - 1))
    if not math.isfinite(deviation) or not math.isfinite(mean):
        return Unknown(f"it is not finite in some {unit}")
    if deviation <= _ROUNDING * float(np.abs(values).max()):
        return Unknown(f"it is the same in every {unit}, which says nothing of the spread")
    scaled = away / deviation
    squares = scaled**2
    variance = float(squares.mean())
    return Mean(
        point=mean,
        standard_error=deviation / math.sqrt(units),
        freedom=freedom(units, float((squares**2).mean()) / variance**2),
        method=method,
        units=units,
        skewness=float((squares * scaled).mean()) / variance**1.5,
    )


def freedom(units: int, kurtosis: float) -> float:
    """Degrees of freedom of a variance of so many values: n - 1 of normal ones, fewer where tails are heavier."""
    return max(1.0, min(units - 1.0, 2 * units / max(kurtosis - 1, _ROUNDING)))
