"""After a promotion: when the version before it is looked at again, what a look may err, and what it says.

Pure: values in, values out. Who compares the two, and what follows, is decided elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from retrain_daemon.core.evidence import MetricEvidence
from retrain_daemon.core.metrics import METRICS
from retrain_daemon.core.policy import RELATIVE, Claim, IfWorse, Promotion, Requirement

#: The looks that are planned: at half of the rows, and at all of them.
LOOKS = 2


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How a promotion is watched, fixed when it is made: on so many `rows`, by these `lines`. `alpha` is the chance
    that a version is taken for worse that is not, over all looks and all lines together.
    """

    rows: int
    alpha: float
    lines: tuple[Requirement, ...]
    if_worse: IfWorse


@dataclass(frozen=True, kw_only=True)
class Look:
    """The `number`-th look, on so many rows; `alpha` is the part of the chance of an error that it spends."""

    number: int
    rows: int
    alpha: float


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a look says: whether the promoted version is shown to be worse, and one sentence with the numbers."""

    worse: bool
    sentence: str


def terms_of(promotion: Promotion) -> Terms | None:
    """Given what must hold of a challenger, how it is watched afterwards; None where the policy does not ask for it,
    or no line compares its predictions with those of the version before on all rows.
    """
    lines = tuple(
        line
        for line in promotion.require
        if line.claim in RELATIVE and not line.slices and line.metric in METRICS and not line.observe
    )
    if promotion.watch is None or not lines:
        return None
    alpha = 1 - promotion.confidence
    return Terms(rows=promotion.watch.rows, alpha=alpha, lines=lines, if_worse=promotion.watch.if_worse)


def rows_for_next(terms: Terms, taken: Sequence[Look]) -> int | None:
    """How many rows the next look waits for, given those that were taken; None when there is no further one."""
    if not taken:
        return math.ceil(terms.rows / LOOKS)
    return terms.rows if taken[-1].number < LOOKS else None


def next_look(terms: Terms, taken: Sequence[Look], rows: int) -> Look | None:
    """Given the looks that were taken and how many rows are there now, the look that is due; None while rows lack.

    The first look spends what `spent` allows at its share of the rows, the second one what is left. Where all rows come
    at once there is only the second one. The sum is the whole chance whatever dependence there is between the two
    looks (Bonferroni), which costs little: at half of the rows the first one spends 0.0056 of 0.05.
    """
    needed = rows_for_next(terms, taken)
    if needed is None or rows < needed:
        return None
    before = sum(look.alpha for look in taken)
    if rows >= terms.rows:
        return Look(number=LOOKS, rows=rows, alpha=max(terms.alpha - before, 0.0))
    return Look(number=1, rows=rows, alpha=spent(terms.alpha, rows / terms.rows))


def spent(alpha: float, share: float) -> float:
    """How much of the chance `alpha` of a one-sided error may be spent when this share of the rows is there.

    2 - 2 Φ(z(1 - alpha/2) / √share): the spending function of Lan and DeMets (Biometrika 1983) that resembles the
    bounds of O'Brien and Fleming (Biometrics 1979): early looks need much to go by.
    """
    if share <= 0:
        return 0.0
    normal = NormalDist()
    return min(alpha, 2 - 2 * normal.cdf(normal.inv_cdf(1 - alpha / 2) / math.sqrt(share)))


def confidence_of(terms: Terms, look: Look) -> float:
    """The one-sided confidence of each bound at a look: its chance of an error is shared by all lines (Bonferroni)."""
    return 1 - look.alpha / len(terms.lines)


def judge_look(terms: Terms, look: Look, version: int, previous: int, metrics: Sequence[MetricEvidence]) -> Seen:
    """Given what was measured at a look, at `confidence_of` it, say whether version `version` is worse than `previous`.

    It is as soon as one line shows it: the upper bound of its gain over the version before is below 0 for a line
    better_by, below -m for one that allows a loss of m. What could not be measured shows nothing, and is named.
    In `metrics`, "champion" is the version before and "challenger" the promoted one.
    """
    findings = [_finding(line, metrics, version, previous, confidence_of(terms, look)) for line in terms.lines]
    shown = [sentence for worse, sentence in findings if worse]
    said = shown[:1] or [sentence for _, sentence in findings]
    where = f"look {look.number} of {LOOKS}, {look.rows:,} rows"
    return Seen(worse=bool(shown), sentence=f"{where}: {'; '.join(said)}")


def _finding(
    line: Requirement, metrics: Sequence[MetricEvidence], version: int, previous: int, confidence: float
) -> tuple[bool, str]:
    allowed = 0.0 if line.claim is Claim.BETTER_BY else line.threshold
    what = "worse" if not allowed else f"worse by more than {allowed:g}"
    found = next((each for each in metrics if each.metric == line.metric), MetricEvidence(metric=line.metric))
    gain, high = found.gain, found.gain_high
    if gain is None or high is None or not (math.isfinite(gain) and math.isfinite(high)):
        why = found.problem or "it was not measured"
        return False, f"{line.metric}: not known whether version {version} is {what}: {why}"
    worse = high < -allowed
    numbers = f"version {version} {_text(found.challenger)}, version {previous} {_text(found.champion)}"
    bound = f"gain {gain:.4f}, at most {high:.4f} at {confidence * 100:.4g} %"
    ending = f"{what}: {'shown' if worse else 'not shown'}"
    return worse, f"{line.metric}: {numbers}, {bound}; {ending}"


def _text(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"
