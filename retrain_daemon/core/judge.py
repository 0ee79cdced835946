"""The verdict: evidence about champion and challenger in, promote, reject or inconclusive out, with the reasons.

Pure. What is not known never passes: a missing, NaN or infinite number leaves its requirement undecided.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from retrain_daemon.core.evidence import Evidence, MetricEvidence
from retrain_daemon.core.policy import RELATIVE, Claim, Promotion, Requirement

#: The code of the refusal for want of rows: more of them may still settle it.
TOO_FEW_ROWS = "too_few_rows"


class Outcome(StrEnum):
    """What follows for the challenger."""

    PROMOTE = "promote"  #: every requirement is shown to hold
    REJECT = "reject"  #: a requirement is shown not to hold, or the challenger is refused by name
    INCONCLUSIVE = "inconclusive"  #: neither is shown; the champion stays


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One reason. `code` is "requirement" or the name of a refusal; `holds` is None where it is not known.

    For a requirement, `value` is the gain (for at_least and at_most the challenger's own value), `low` and `high`
    its one-sided bounds.
    """

    code: str
    holds: bool | None
    sentence: str
    metric: str = ""
    claim: str = ""
    threshold: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    rows: int = 0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome, every finding, and one sentence with the numbers that settled it."""

    outcome: Outcome
    findings: tuple[Finding, ...]
    summary: str


def judge(promotion: Promotion, evidence: Evidence) -> Verdict:
    """Given what must hold and what was measured, return the verdict. Never raises, whatever the numbers are.

    A refusal by name comes first. Then any requirement shown not to hold rejects, else any that is not known leaves
    it inconclusive, else the challenger is promoted.
    """
    refusal = _refusal(promotion, evidence)
    if refusal is not None:
        outcome = Outcome.REJECT if refusal.holds is False else Outcome.INCONCLUSIVE
        return Verdict(outcome=outcome, findings=(refusal,), summary=refusal.sentence)
    findings = tuple(_required(requirement, evidence) for requirement in promotion.require)
    return _verdict(findings)


def _verdict(findings: tuple[Finding, ...]) -> Verdict:
    failed = [finding for finding in findings if finding.holds is False]
    unknown = [finding for finding in findings if finding.holds is None]
    for outcome, settling in ((Outcome.REJECT, failed), (Outcome.INCONCLUSIVE, unknown)):
        if settling:
            return Verdict(outcome=outcome, findings=findings, summary=settling[0].sentence)
    also = f" (and {len(findings) - 1} more shown)" if len(findings) > 1 else ""
    return Verdict(outcome=Outcome.PROMOTE, findings=findings, summary=findings[0].sentence + also)


def _refusal(promotion: Promotion, evidence: Evidence) -> Finding | None:
    """The first reason not to look at any metric; `holds` False rejects, None leaves it inconclusive."""
    for code, applies, holds, sentence in (
        *_refused_models(evidence),
        *_refused_predictions(evidence),
        *_refused_rows(promotion, evidence),
    ):
        if applies:
            return Finding(code=code, holds=holds, sentence=sentence, rows=evidence.rows)
    return None


_Refusals = tuple[tuple[str, bool, bool | None, str], ...]


def _refused_models(evidence: Evidence) -> _Refusals:
    champion, challenger = evidence.champion_digest, evidence.challenger_digest
    version = evidence.champion_version
    return (
        ("unknown_digest", not champion or not challenger, None, "the stored files of a model have no digest, so it is "
         "not known whether the two models are different"),
        ("same_model", champion == challenger, False, f"the challenger is the champion: its stored files are those of "
         f"version {version} (digest {champion[:12]})"),
    )  # fmt: skip


def _refused_predictions(evidence: Evidence) -> _Refusals:
    rows = evidence.rows
    return (
        ("identical", evidence.identical_predictions and rows > 0, False, f"the challenger predicts the same as "
         f"version {evidence.champion_version} on every one of {rows:,} judging rows"),
        ("challenger_nan", evidence.challenger_not_a_number > 0, False, f"the challenger predicts no number (NaN or "
         f"infinite) on {evidence.challenger_not_a_number:,} of {rows:,} judging rows"),
        ("champion_nan", evidence.champion_not_a_number > 0, None, f"the champion, version "
         f"{evidence.champion_version}, predicts no number (NaN or infinite) on {evidence.champion_not_a_number:,} of "
         f"{rows:,} judging rows, so there is nothing to compare with"),
    )  # fmt: skip


def _refused_rows(promotion: Promotion, evidence: Evidence) -> _Refusals:
    asked, given = promotion.confidence, evidence.confidence
    groups = evidence.groups
    return (
        (TOO_FEW_ROWS, not evidence.rows >= max(promotion.min_rows, 1), None, _too_few(promotion, evidence)),
        ("too_few_groups", groups is not None and groups < 2, None, f"all {evidence.rows:,} judging rows are of "
         f"{groups} group, and at least 2 are needed"),
        ("one_class", evidence.classes is not None and evidence.classes < 2, None, f"all {evidence.rows:,} judging "
         "rows are of one class"),
        ("confidence", not asked <= given < 1, None, f"bounds at {asked * 100:g} % confidence are asked and the "
         f"evidence has {given * 100:g} %"),
        ("nothing_required", not promotion.require, None, "the policy requires nothing, so nothing can be shown"),
    )  # fmt: skip


def _too_few(promotion: Promotion, evidence: Evidence) -> str:
    sentence = f"{evidence.rows:,} judging rows, and at least {promotion.min_rows:,} are asked"
    left_out = []
    if evidence.excluded:
        left_out.append(f"{evidence.excluded:,} were left out because a model or its ancestor learned from them")
    if evidence.too_early:
        left_out.append(f"{evidence.too_early:,} are too early: an ancestor without a record may have learned them")
    return "; ".join([sentence, *left_out])


def _required(requirement: Requirement, evidence: Evidence) -> Finding:
    found = [one for one in evidence.metrics if one.metric == requirement.metric]
    if len(found) != 1:
        how = "not in the evidence" if not found else f"in the evidence {len(found)} times"
        return _finding(requirement, evidence, MetricEvidence(metric=requirement.metric), None, f"it is {how}")
    metric = found[0]
    missing = _missing(requirement, metric)
    if missing:
        return _finding(requirement, evidence, metric, None, metric.problem or missing)
    return _finding(requirement, evidence, metric, _holds(requirement, *_numbers(requirement, metric)[1:]), "")


def _numbers(requirement: Requirement, metric: MetricEvidence) -> tuple[float | None, float | None, float | None]:
    """The value the claim is about and its bounds."""
    if requirement.claim in RELATIVE:
        return metric.gain, metric.gain_low, metric.gain_high
    return metric.challenger, metric.challenger_low, metric.challenger_high


def _missing(requirement: Requirement, metric: MetricEvidence) -> str:
    """Which number is not known, if one is not."""
    value, low, high = _numbers(requirement, metric)
    what = "gain" if requirement.claim in RELATIVE else "challenger's value"
    named = ((what, value), (f"lower bound of the {what}", low), (f"upper bound of the {what}", high))
    for name, number in (*named, ("threshold", requirement.threshold)):
        if number is None or not math.isfinite(number):
            return f"the {name} is {'missing' if number is None else number}"
    if low is not None and high is not None and low > high:
        return f"its bounds contradict each other ({low:g} to {high:g})"
    return ""


def _holds(requirement: Requirement, low: float | None, high: float | None) -> bool | None:
    """True where the claim is shown, False where it is shown that it cannot be met, else None."""
    if low is None or high is None:
        return None
    threshold = requirement.threshold
    if requirement.claim is Claim.AT_LEAST:
        shown, failed = low >= threshold, high < threshold
    elif requirement.claim is Claim.AT_MOST:
        shown, failed = high <= threshold, low > threshold
    else:
        least = threshold if requirement.claim is Claim.BETTER_BY else -threshold
        shown, failed = low > least, high <= least
    return True if shown else False if failed else None


def _finding(
    requirement: Requirement, evidence: Evidence, metric: MetricEvidence, holds: bool | None, why: str
) -> Finding:
    value, low, high = _numbers(requirement, metric)
    return Finding(
        code="requirement",
        holds=holds,
        sentence=_sentence(requirement, evidence, metric, holds, why),
        metric=requirement.metric,
        claim=requirement.claim.value,
        threshold=requirement.threshold,
        value=value,
        low=low,
        high=high,
        rows=evidence.rows,
    )


_ASKED = {
    Claim.BETTER_BY: "better by more than {} was asked",
    Claim.NOT_WORSE_BY: "not worse by {} was asked",
    Claim.AT_LEAST: "at least {} was asked",
    Claim.AT_MOST: "at most {} was asked",
}


def _sentence(
    requirement: Requirement, evidence: Evidence, metric: MetricEvidence, holds: bool | None, why: str
) -> str:
    asked = _ASKED[requirement.claim].format(f"{requirement.threshold:g}")
    if why:
        return f"{requirement.metric}: {asked}, not known: {why}"
    value, low, high = _numbers(requirement, metric)
    digits = _digits(low, high)
    bounds = f"({_text(low, digits)} to {_text(high, digits)}, each end at {evidence.confidence * 100:g} %)"
    models = f"challenger {_text(metric.challenger, digits)}, champion {_text(metric.champion, digits)}"
    if requirement.claim in RELATIVE:
        measured = f"{models}, gain {_text(value, digits)} {bounds}"
    else:
        measured = f"challenger {_text(value, digits)} {bounds}"
    ending = {True: "shown", False: "shown not to hold", None: "not shown"}[holds]
    return f"{requirement.metric}: {measured} on {_units(evidence)}; {asked}: {ending}"


def _units(evidence: Evidence) -> str:
    groups = "" if evidence.groups is None else f" in {evidence.groups:,} groups"
    return f"{evidence.rows:,} rows{groups}"


def _digits(low: float | None, high: float | None) -> int:
    """Decimals that show three digits of the interval's width, at most eight; four where it has none."""
    width = 0.0 if low is None or high is None else high - low
    if not 0 < width < math.inf:
        return 4
    return max(0, min(8, 2 - math.floor(math.log10(width))))


def _text(number: float | None, digits: int) -> str:
    return "unknown" if number is None else f"{number:.{digits}f}"
