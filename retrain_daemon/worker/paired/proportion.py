"""Shares of rows: how sure one is, and the difference of two on the same rows (accuracy, recall).

Only rows on which exactly one of two models is right tell them apart. Counts come in; rows are counted elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special

from retrain_daemon.worker.paired.estimate import (
    normal_quantile,
    normal_share,
    share_at_least,
    share_at_most,
)

_HALVINGS = 60


@dataclass(frozen=True)
class PairedShare:
    """The difference of two shares of `rows`: on `better` rows only the challenger is right, on `worse` only the
    champion.

    The bounds invert the score test of Tango (1998). Two things keep them from claiming too much: where McNemar's
    mid-p value does not tell the two apart, neither bound passes 0; and where all rows that differ speak for one side,
    where the score test errs most, the bounds are at least as wide as the exact ones of that share.
    """

    better: int
    worse: int
    rows: int
    method: str = "McNemar: score interval (Tango), sides by mid-p"

    @property
    def point(self) -> float:
        return (self.better - self.worse) / self.rows

    @property
    def standard_error(self) -> float:
        """With half a row added to both counts (Agresti and Min 2005), so that no differing row is not certainty."""
        better, worse = self.better + 0.5, self.worse + 0.5
        rows = self.rows + 1
        return math.sqrt(better + worse - (better - worse) ** 2 / rows) / rows

    def low(self, confidence: float) -> float:
        low = tango_low(self.better, self.worse, self.rows, confidence)
        if not self.better:
            low = min(low, -share_at_most(self.worse, self.rows, confidence))
        elif not self.worse:
            low = min(low, share_at_least(self.better, self.rows, confidence))
        return low if mcnemar_mid_p(self.better, self.worse) < 1 - confidence else min(low, 0.0)

    def high(self, confidence: float) -> float:
        return -PairedShare(self.worse, self.better, self.rows).low(confidence)

    def p_at_least(self, least: float) -> float:
        p = max(
            normal_share(tango_z(self.better, self.worse, self.rows, least)), mcnemar_mid_p(self.worse, self.better)
        )
        return p if self.better else max(p, _at_least(self.worse, self.rows, -least))

    def note(self, confidence: float) -> str:
        return ""


@dataclass(frozen=True)
class Share:
    """One share, `count` of `rows`, with exact bounds (Clopper and Pearson 1934)."""

    count: int
    rows: int
    method: str = "Clopper-Pearson"

    @property
    def point(self) -> float:
        return self.count / self.rows

    @property
    def standard_error(self) -> float:
        return math.sqrt(self.point * (1 - self.point) / self.rows)

    def low(self, confidence: float) -> float:
        return share_at_least(self.count, self.rows, confidence)

    def high(self, confidence: float) -> float:
        return share_at_most(self.count, self.rows, confidence)

    def p_at_least(self, least: float) -> float:
        return 1.0 if least <= 0 else float(special.bdtr(self.count, self.rows, least))

    def note(self, confidence: float) -> str:
        return ""


def mcnemar_mid_p(better: int, worse: int) -> float:
    """One-sided mid-p value of "better is not more frequent than worse" (Fagerland, Lydersen and Laake 2013)."""
    differing = better + worse
    return (_at_least(better, differing, 0.5) + _at_least(better + 1, differing, 0.5)) / 2


def _at_least(count: int, total: int, share: float) -> float:
    """Binomial probability of `count` or more."""
    if count <= 0 or count > total:
        return float(count <= 0)
    return float(special.bdtrc(count - 1, total, share))


def tango_z(better: int, worse: int, rows: int, difference: float) -> float:
    """The score statistic of Tango (1998) for "the shares differ by `difference`" (-1 to 1); falls with it."""
    if difference >= 1 or difference <= -1:
        return -math.inf if difference >= 1 else math.inf
    if not difference:
        return (better - worse) / math.sqrt(better + worse) if better + worse else 0.0
    least = -better - worse + (2 * rows - better + worse) * difference
    root = math.sqrt(max(0.0, least**2 + 8 * rows * worse * difference * (1 - difference)))
    only_champion = (root - least) / (4 * rows)
    spread = rows * (2 * only_champion + difference * (1 - difference))
    away = better - worse - rows * difference
    return away / math.sqrt(spread) if spread > 0 else math.copysign(math.inf, away)


def tango_low(better: int, worse: int, rows: int, confidence: float) -> float:
    """The one-sided lower bound: where the score statistic is the normal quantile, by bisection."""
    wanted = normal_quantile(confidence)
    low, high = -1.0, (better - worse) / rows
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if tango_z(better, worse, rows, middle) > wanted else (low, middle)
    return low
