"""One line of requirements against what was measured on all judging rows: does it hold, and in which words.

Pure. The line's metric is compared with the champion, and for not_worse_by with an earlier champion too. Lines about
slices are for `slices.py`; which lines there are and what follows from them is for `judge.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from retrain_daemon.core.budget import alpha_of
from retrain_daemon.core.evidence import AnchorEvidence, Evidence, MetricEvidence
from retrain_daemon.core.findings import (
    REQUIREMENT,
    Finding,
    asked,
    counted,
    digits_of,
    finite,
    numbers_of,
    percent,
    shown,
    told,
)
from retrain_daemon.core.metrics import FLIPPED, MODEL_METRICS
from retrain_daemon.core.policy import RELATIVE, Claim, Promotion, Requirement


@dataclass(frozen=True, kw_only=True)
class _Case:
    """A line and what it is held against; `least` rows must be those the metric is about, None where none are asked."""

    line: Requirement
    metric: MetricEvidence
    confidence: float
    rows: int
    groups: int | None = None
    least: int | None = None
    comparison: int | None = None
    strict_confidence: float | None = None
    strict_needed: float | None = None
    champion: int = 0
    anchor: int | None = None


def against_champion(line: Requirement, promotion: Promotion, evidence: Evidence) -> Finding:
    """Whether a line holds on all judging rows."""
    metric, problem = _only(line, evidence.metrics)
    case = _Case(
        line=line,
        metric=metric,
        confidence=evidence.confidence,
        rows=evidence.rows,
        groups=evidence.groups,
        least=_least(line, promotion),
        comparison=evidence.comparison,
        strict_confidence=evidence.strict_confidence,
        strict_needed=_strict_needed(evidence.comparison, promotion.confidence),
        champion=evidence.champion_version,
    )
    return _finding(case, problem)


def against_anchor(line: Requirement, promotion: Promotion, anchor: AnchorEvidence, confidence: float) -> Finding:
    """Whether a line of not_worse_by holds against an earlier champion, on the rows which that has not learned."""
    metric, problem = _only(line, anchor.metrics)
    case = _Case(
        line=line,
        metric=metric,
        confidence=confidence,
        rows=anchor.rows,
        least=_least(line, promotion),
        anchor=anchor.version,
    )
    if not anchor.rows >= max(promotion.min_rows, 1):
        problem = f"{counted(anchor.rows)} can be judged, and at least {promotion.min_rows:,} are asked"
    return _finding(case, anchor.problem or problem)


def is_anchored(line: Requirement) -> bool:
    """Whether small losses by this line could add up unseen; what a stored model takes is limited by at_most."""
    return line.claim is Claim.NOT_WORSE_BY and line.metric not in MODEL_METRICS


def _only(line: Requirement, metrics: tuple[MetricEvidence, ...]) -> tuple[MetricEvidence, str]:
    """What was measured of the line's metric, or why it is not known."""
    found = [one for one in metrics if one.metric == line.metric]
    if len(found) == 1:
        return found[0], ""
    how = "not in the evidence" if not found else f"in the evidence {len(found)} times"
    return MetricEvidence(metric=line.metric), f"it is {how}"


def _least(line: Requirement, promotion: Promotion) -> int | None:
    """On few rows nothing is shown: what asks to be shown does not pass then, but harm that has to be shown does."""
    if line.metric in MODEL_METRICS:
        return None
    unseen = promotion.min_rows if line.claim is Claim.UNLESS_WORSE_BY else None
    return unseen if line.min_rows is None else line.min_rows


def _strict_needed(comparison: int | None, confidence: float) -> float | None:
    """The confidence of the k-th comparison with one champion: all of them together err at most as often as one may."""
    if comparison is None or comparison < 1:
        return None
    return 1 - alpha_of(1 - confidence, comparison)


def _finding(case: _Case, problem: str) -> Finding:
    why = problem or _missing(case)
    holds = None if why else _holds(case)
    value, low, high = numbers_of(case.line, case.metric)
    budgeted = _is_budgeted(case.line)
    return Finding(
        code=REQUIREMENT,
        holds=holds,
        sentence=_sentence(case, holds, why),
        metric=case.line.metric,
        claim=case.line.claim.value,
        threshold=case.line.threshold,
        value=value,
        low=low,
        high=high,
        rows=case.rows,
        strict=case.metric.gain_strict if budgeted else None,
        strict_confidence=case.strict_confidence if budgeted else None,
        comparison=case.comparison if budgeted else None,
        against=case.anchor,
    )


def _missing(case: _Case) -> str:
    """Why it is not known, if it is not."""
    metric, least = case.metric, case.least
    if least is not None and metric.rows is not None and metric.rows < least:
        return f"it is about {counted(metric.rows)} of {case.rows:,}, and at least {least:,} are asked"
    value, low, high = numbers_of(case.line, metric)
    what = "gain" if case.line.claim in RELATIVE else "challenger's value"
    named = ((what, value), (f"lower bound of the {what}", low), (f"upper bound of the {what}", high))
    for name, number in (*named, ("threshold", case.line.threshold)):
        if not finite(number):
            return metric.problem or f"the {name} is {'missing' if number is None else number}"
    if low is not None and high is not None and low > high:
        return f"its bounds contradict each other ({low:g} to {high:g})"
    if least is not None and metric.rows is None:
        return f"how many rows it is about is missing, and at least {least:,} are asked"
    return _unaccounted(case) if _is_budgeted(case.line) else ""


def _is_budgeted(line: Requirement) -> bool:
    """Whether a line is held to what the error budget leaves; what is only observed spends nothing of it."""
    return line.claim is Claim.BETTER_BY and not line.observe


def _unaccounted(case: _Case) -> str:
    """Why an improvement cannot be shown, whatever its plain bounds are; one that cannot be met needs no budget."""
    if _cannot_be_met(case):
        return ""
    needed, given = case.strict_needed, case.strict_confidence
    if needed is None or given is None:
        return "the evidence does not say which comparison with this champion it is, so no error budget accounts for it"
    # The two are computed apart from each other: the last digit may differ.
    if not needed - 1e-9 <= given < 1:
        return (
            f"comparison {case.comparison} with this champion needs a bound at {percent(needed)} confidence, and the "
            f"evidence has {percent(given)}"
        )
    strict = case.metric.gain_strict
    if not finite(strict):
        said = "missing" if strict is None else str(strict)
        return case.metric.problem or f"the lower bound of the gain at {percent(given)} confidence is {said}"
    return ""


def _holds(case: _Case) -> bool | None:
    """True where the line is shown to hold, False where it is shown that it cannot, else None."""
    threshold = case.line.threshold
    low, high = _bounds(case)
    strict = case.metric.gain_strict if _is_budgeted(case.line) else low
    if _cannot_be_met(case):
        return False
    holds = {
        Claim.AT_LEAST: low >= threshold,
        Claim.AT_MOST: high <= threshold,
        Claim.BETTER_BY: strict is not None and min(strict, low) > threshold,
        Claim.NOT_WORSE_BY: low > -threshold,
        Claim.UNLESS_WORSE_BY: True,
    }[case.line.claim]
    return True if holds else None


def _cannot_be_met(case: _Case) -> bool:
    threshold = case.line.threshold
    low, high = _bounds(case)
    return {
        Claim.AT_LEAST: high < threshold,
        Claim.AT_MOST: low > threshold,
        Claim.BETTER_BY: high <= threshold,
        Claim.NOT_WORSE_BY: high <= -threshold,
        Claim.UNLESS_WORSE_BY: high < -threshold,
    }[case.line.claim]


def _bounds(case: _Case) -> tuple[float, float]:
    """The bounds of what the line is about; what is not known is NaN, which no comparison holds for."""
    _, low, high = numbers_of(case.line, case.metric)
    return math.nan if low is None else low, math.nan if high is None else high


def _sentence(case: _Case, holds: bool | None, why: str) -> str:
    name, wanted = case.line.metric, asked(case.line)
    if case.anchor is not None:
        why_asked = "small losses add up: " if holds is False else ""
        name = f"{name}: {why_asked}against version {case.anchor}, an earlier champion"
    if why:
        return f"{name}: {wanted}, not known: {why}"
    versus = "champion" if case.anchor is None else f"version {case.anchor}"
    measured = told(case.metric, case.line, case.confidence, versus)
    of_rows = case.line.metric not in MODEL_METRICS or case.line.metric == FLIPPED
    on = f" on {counted(case.rows, case.groups)}" if of_rows else ""
    return f"{name}: {measured}{on}; {wanted}{_ending(case, holds)}"


def _ending(case: _Case, holds: bool | None) -> str:
    line = case.line
    if line.claim is Claim.UNLESS_WORSE_BY:
        return ": harm is shown" if holds is False else ": none is shown"
    said = {True: "shown", False: "shown not to hold", None: "not shown"}[holds]
    if not _is_budgeted(line) or holds is False or case.strict_confidence is None:
        return f": {said}"
    _, low, high = numbers_of(line, case.metric)
    bound = shown(case.metric.gain_strict, digits_of(low, high))
    return (
        f": {said} by the lower bound {bound} at {percent(case.strict_confidence)}, which comparison "
        f"{case.comparison} with version {case.champion} takes"
    )
