"""How much error claims of improvement may make while one version is champion, and what a comparison can show with it.

Alpha spending over comparisons (DESIGN section 5), and the power of a one-sided test of a difference by the normal
approximation. Pure: what was spent is counted by the journal, intervals are made by workers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from statistics import NormalDist

from retrain_daemon.core.policy import Claim, Promotion, Requirement

#: The chance with which something is called detectable.
POWER = 0.8

_NORMAL = NormalDist()


def alpha_of(alpha: float, number: int) -> float:
    """The one-sided error that the `number`-th comparison against the same champion may make, counted from 1.

    Alpha spending: alpha / (k (k + 1)) over k = 1, 2, ... adds up to alpha, however many there are. So the chance that
    this champion is ever replaced on the strength of a `better_by` that was noise is at most alpha.
    """
    return alpha / (number * (number + 1))


def left_of(alpha: float, made: int) -> float:
    """What is left of alpha after so many comparisons: their sum is alpha (1 - 1 / (made + 1))."""
    return alpha / (made + 1)


def spends(promotion: Promotion) -> bool:
    """Whether being judged by these lines spends the budget: a claim of improvement is among those that count."""
    return any(line.claim is Claim.BETTER_BY and not line.observe for line in promotion.require)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A standard error of the gain by one metric as it was found on `rows` judging rows, by `attempt`, against version
    `champion`; `gain` is what that challenger gained.
    """

    metric: str
    standard_error: float
    rows: int
    gain: float
    attempt: str
    champion: int


@dataclass(frozen=True, kw_only=True)
class Prospect:
    """What one line of requirements can show, with a chance of 80 %, by `rows` judging rows at the one-sided error
    `alpha`.

    `detectable`: a challenger must truly gain so much for the line to be shown; None where nothing was measured, or the
    rows are not known. `rows_needed` are for a challenger that truly gains `gain`: of `not_worse_by`, one that is as
    good as the champion; of `better_by`, the gain of the one it was measured on, None where that would not do.
    `problem` says why something is not known.
    """

    rule: str
    metric: str
    claim: Claim
    threshold: float
    alpha: float
    rows: int | None
    detectable: float | None = None
    gain: float | None = None
    rows_needed: int | None = None
    measured: Measured | None = None
    problem: str = ""


def detectable_gain(requirement: Requirement, measured: Measured, rows: int, alpha: float) -> float:
    """The smallest true gain with which the line is shown with a chance of 80 % by so many rows, in the metric's unit;
    of a `not_worse_by` it may be negative.
    """
    return _least(requirement) + _reach(alpha) * measured.standard_error * math.sqrt(measured.rows / rows)


def rows_to_show(requirement: Requirement, measured: Measured, gain: float, alpha: float) -> int | None:
    """How many rows show the line with a chance of 80 % where the true gain is `gain`; None: no number of them."""
    beyond = gain - _least(requirement)
    if beyond <= 0:
        return None
    return max(1, math.ceil(measured.rows * (_reach(alpha) * measured.standard_error / beyond) ** 2))


def prospect(
    requirement: Requirement, measured: Measured | None, rows: int | None, alpha: float, strict_alpha: float,
    rule: str = "",
) -> Prospect:  # fmt: skip
    """What a relative line can show by so many rows: `better_by` at `strict_alpha`, `not_worse_by` at plain `alpha`."""
    better = requirement.claim is Claim.BETTER_BY
    told = Prospect(
        rule=rule, metric=requirement.metric, claim=requirement.claim, threshold=requirement.threshold,
        alpha=strict_alpha if better else alpha, rows=rows, measured=measured,
        problem="" if measured else f"{requirement.metric} was not compared yet",
    )  # fmt: skip
    if measured is None:
        return told
    gain = measured.gain if better else 0.0
    needed = rows_to_show(requirement, measured, gain, told.alpha)
    found = detectable_gain(requirement, measured, rows, told.alpha) if rows else None
    problem = "" if rows else "no rows may judge" if rows == 0 else "it is not known how many rows may judge"
    return replace(
        told, detectable=found, gain=None if needed is None else gain, rows_needed=needed, problem=problem
    )  # fmt: skip


def relative_lines(require: Iterable[Requirement]) -> tuple[Requirement, ...]:
    """The lines whose power can be told: claims that count, about the difference on all judging rows."""
    told = (Claim.BETTER_BY, Claim.NOT_WORSE_BY)
    return tuple(line for line in require if line.claim in told and not line.slices and not line.observe)


def _least(requirement: Requirement) -> float:
    """What the lower bound of the gain must exceed."""
    return requirement.threshold if requirement.claim is Claim.BETTER_BY else -requirement.threshold


def _reach(alpha: float) -> float:
    """So many standard errors the true gain must be beyond what is to be shown: z(1 - alpha) + z(power)."""
    return _NORMAL.inv_cdf(1 - alpha) + _NORMAL.inv_cdf(POWER)
