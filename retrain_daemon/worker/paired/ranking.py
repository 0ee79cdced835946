"""ROC AUC of two classes: how sure one is, and the difference of two on the same rows, after DeLong et al. (1988).

By ranks, as Sun and Xu (2014) compute it: sorting, no pair is looked at. Scores come in, models are not known here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from scipy import special

from retrain_daemon.worker.measures import Flags, placements
from retrain_daemon.worker.paired.estimate import (
    Estimate,
    NotAbove,
    Student,
    Unknown,
    Within,
    number_carrying,
    share_at_most,
)
from retrain_daemon.worker.paired.mean import freedom
from retrain_daemon.worker.resample import Array

_METHOD = "paired DeLong"
#: A variance of shares below this is rounding.
_ROUNDING = 1e-24


@dataclass(frozen=True)
class Area:
    """The components of one area, or of the difference of two: for each positive row, the share of negatives that it
    is above, and for each negative row, the share of positives that are above it.
    """

    of_positives: Array
    of_negatives: Array

    @property
    def point(self) -> float:
        return float(self.of_positives.mean())

    @property
    def pairs(self) -> int:
        """So many independent pairs of a positive and a negative row there are."""
        return min(len(self.of_positives), len(self.of_negatives))

    def pairs_apart(self, plain: float) -> int:
        """At most so many of them are not as `plain`: pairs that share no row need a row of each class."""
        return min(int((part != plain).sum()) for part in (self.of_positives, self.of_negatives))

    def spread(self) -> Student | None:
        """The area with its variance, and degrees of freedom after Welch; None without variance."""
        shares, freedoms = [], []
        for part in (self.of_positives, self.of_negatives):
            away = part - part.mean()
            squares = away**2
            variance = float(squares.sum()) / (len(part) - 1)
            kurtosis = float((squares**2).mean() / squares.mean() ** 2) if variance > 0 else 1.0
            shares.append(variance / len(part))
            freedoms.append(freedom(len(part), kurtosis))
        total = sum(shares)
        if not total > _ROUNDING:
            return None
        welch = total**2 / sum(share**2 / free for share, free in zip(shares, freedoms, strict=True))
        return Student(self.point, math.sqrt(total), welch, _METHOD)


def area_of(scores: Array, positive: Flags) -> Area:
    """The area of one model: scores (n,) of the positive class. Both classes must have rows."""
    placed = placements(scores, positive)
    return Area(placed[positive], placed[~positive])


def difference(champion: Area, challenger: Area, fewest: int) -> Estimate | Unknown:
    """The gain in area of two models on the same rows. With fewer than `fewest` rows of a class ranked differently,
    only its size is bounded.

    That bound is exact: of pairs that share no row, so many at the most are ranked differently as were seen to be, and
    no pair changes the area by more than its share.
    """
    apart = Area(
        challenger.of_positives - champion.of_positives, challenger.of_negatives - champion.of_negatives
    )  # fmt: skip
    differing, pairs = apart.pairs_apart(0.0), apart.pairs
    if differing < fewest:
        how = f"exact bound on the share of pairs ranked differently, at most {differing} of {pairs:,} apart"
        return Within(apart.point, lambda confidence: share_at_most(differing, pairs, confidence), how)
    known = apart.spread()
    if known is None:
        return Unknown("every row is ranked differently by the same amount, which says nothing of the spread")
    if min(number_carrying(part) for part in (apart.of_positives, apart.of_negatives)) < fewest:
        return NotAbove(known, f"{_METHOD}, carried by fewer than {fewest} rows, so no gain is shown")
    return known


@dataclass(frozen=True)
class OneArea:
    """One model's own area: bounds of DeLong's variance on the logit scale, never narrower than the exact bound on
    pairs ranked wrongly where fewer than `fewest` can be seen.
    """

    known: Student | None
    point: float
    wrong: int
    pairs: int
    fewest: int
    method: str = "DeLong, logit"

    @property
    def standard_error(self) -> float | None:
        return None if self.known is None else self.known.standard_error

    def low(self, confidence: float) -> float:
        low = self._logit(-1, confidence)
        return low if self.wrong >= self.fewest else min(low, 1 - share_at_most(self.wrong, self.pairs, confidence))

    def high(self, confidence: float) -> float:
        return self._logit(1, confidence) if self.wrong >= self.fewest else 1.0

    def p_at_least(self, least: float) -> float:
        return 1.0

    def note(self, confidence: float) -> str:
        return ""

    def _logit(self, side: int, confidence: float) -> float:
        if self.known is None or not 0 < self.point < 1:
            return self.point
        on_logit = replace(self.known, standard_error=self.known.standard_error / (self.point * (1 - self.point)))
        return float(special.expit(special.logit(self.point) + side * on_logit.reach(confidence)))


def own(area: Area, fewest: int) -> Estimate | Unknown:
    """How sure one model's area is."""
    wrong = area.pairs_apart(1.0)
    known = area.spread()
    if known is None and wrong >= fewest:
        return Unknown("every row is ranked alike, which says nothing of the spread")
    return OneArea(known, area.point, wrong, area.pairs, fewest)
