"""The verdict: evidence about champion and challenger in, promote, reject or inconclusive out, with the reasons.

Pure. What is not known never passes: a missing, NaN or infinite number leaves its requirement undecided. How a single
line is held against the evidence lives in `lines.py` and, for slices, in `slices.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from retrain_daemon.core.evidence import Evidence
from retrain_daemon.core.findings import LEFT_ASIDE, Finding, asked
from retrain_daemon.core.lines import against_anchor, against_champion, is_anchored
from retrain_daemon.core.metrics import FLIPPED
from retrain_daemon.core.policy import RELATIVE, Promotion, Requirement
from retrain_daemon.core.slices import in_slices

__all__ = ["TOO_FEW_ROWS", "Finding", "Outcome", "Verdict", "compares", "judge"]

#: The code of the refusal for want of rows: more of them may still settle it.
TOO_FEW_ROWS = "too_few_rows"


class Outcome(StrEnum):
    """What follows for the challenger."""

    PROMOTE = "promote"  #: every requirement is shown to hold
    REJECT = "reject"  #: a requirement is shown not to hold, or the challenger is refused by name
    INCONCLUSIVE = "inconclusive"  #: neither is shown; the champion stays


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome, every finding, and one sentence with the numbers that settled it."""

    outcome: Outcome
    findings: tuple[Finding, ...]
    summary: str


def judge(promotion: Promotion, evidence: Evidence) -> Verdict:
    """Given what must hold and what was measured, return the verdict. Never raises, whatever the numbers are.

    1. A refusal by name comes first: the same model, identical predictions, NaN, too few rows.
    2. A line shown not to hold rejects, whatever else is shown. Else one that is not known leaves it inconclusive.
       Else the challenger is promoted.
    3. better_by holds where the lower bound of the gain is above the threshold at the confidence that the error budget
       of this champion's tenure leaves to this comparison. All other bounds are at the policy's confidence.
    4. not_worse_by must also hold against the anchor, where there is one.
    5. unless_worse_by holds unless harm beyond the threshold is shown; in slices with Holm's correction. As few rows
       show nothing, each needs its `min_rows`; thinner slices are named and left out, and one at least must be judged.
    6. Without a champion, lines that compare are left aside by name, and one must be left that is about the challenger
       alone.
    7. Lines that are only observed are measured and told like the others, and nothing follows from them; a better_by
       among them is held to plain confidence, as it spends no error budget.
    """
    refusal = _refusal(promotion, evidence)
    if refusal is not None:
        outcome = Outcome.REJECT if refusal.holds is False else Outcome.INCONCLUSIVE
        return Verdict(outcome=outcome, findings=(refusal,), summary=refusal.sentence)
    return _verdict(tuple(one for line in promotion.require for one in _told(line, promotion, evidence)))


def _told(line: Requirement, promotion: Promotion, evidence: Evidence) -> tuple[Finding, ...]:
    found = _findings(line, promotion, evidence)
    if not line.observe:
        return found
    return tuple(replace(each, observed=True, sentence=f"{each.sentence} (only observed)") for each in found)


def _findings(line: Requirement, promotion: Promotion, evidence: Evidence) -> tuple[Finding, ...]:
    """What a line says: one finding, and one more against the anchor."""
    if compares(line) and not evidence.champion_version:
        return (_left_aside(line),)
    if line.slices:
        return (in_slices(line, promotion, evidence),)
    found = against_champion(line, promotion, evidence)
    if evidence.anchor is None or not is_anchored(line):
        return (found,)
    return (found, against_anchor(line, promotion, evidence.anchor, evidence.confidence))


def compares(line: Requirement) -> bool:
    """Whether a line is about challenger and champion, so that nothing can be said of it without a champion."""
    return line.claim in RELATIVE or line.metric == FLIPPED


def _left_aside(line: Requirement) -> Finding:
    where = f" in each slice of {line.slices}" if line.slices else ""
    return Finding(
        code=LEFT_ASIDE,
        holds=None,
        sentence=f"{line.metric}: {asked(line)}{where}; left aside: no champion to compare with",
        metric=line.metric,
        claim=line.claim.value,
        threshold=line.threshold,
        slices=line.slices,
    )


def _verdict(findings: tuple[Finding, ...]) -> Verdict:
    """`findings` are of a policy that requires something; without a champion that may all be left aside."""
    counting = [finding for finding in findings if not finding.observed]
    lines = [finding for finding in counting if finding.code != LEFT_ASIDE]
    if not lines:
        summary = "no champion to compare with, and no line is about the challenger alone, so nothing can be shown"
        return Verdict(outcome=Outcome.INCONCLUSIVE, findings=findings, summary=summary)
    failed = [finding for finding in lines if finding.holds is False]
    unknown = [finding for finding in lines if finding.holds is None]
    for outcome, settling in ((Outcome.REJECT, failed), (Outcome.INCONCLUSIVE, unknown)):
        if settling:
            return Verdict(outcome=outcome, findings=findings, summary=settling[0].sentence)
    summary = lines[0].sentence + _also(len(lines) - 1, len(counting) - len(lines))
    return Verdict(outcome=Outcome.PROMOTE, findings=findings, summary=summary)


def _also(more: int, left_aside: int) -> str:
    said = [f"{more} more hold" if more > 1 else "1 more holds"] if more else []
    said += [f"{left_aside} left aside, as there is no champion"] if left_aside else []
    return f" (and {'; '.join(said)})" if said else ""


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
    """Without a champion there are no two models to be the same."""
    if not evidence.champion_version:
        return ()
    champion, challenger = evidence.champion_digest, evidence.challenger_digest
    version = evidence.champion_version
    return (
        ("unknown_digest", not champion or not challenger, None, "the stored files of a model have no digest, so it is "
         "not known whether the two models are different"),
        ("same_model", champion == challenger, False, f"the challenger is the champion: its stored files are those of "
         f"version {version} (digest {champion[:12]})"),
    )  # fmt: skip


def _refused_predictions(evidence: Evidence) -> _Refusals:
    rows, there = evidence.rows, bool(evidence.champion_version)
    return (
        ("identical", there and evidence.identical_predictions and rows > 0, False, f"the challenger predicts the same "
         f"as version {evidence.champion_version} on every one of {rows:,} judging rows"),
        ("challenger_nan", evidence.challenger_not_a_number > 0, False, f"the challenger predicts no number (NaN or "
         f"infinite) on {evidence.challenger_not_a_number:,} of {rows:,} judging rows"),
        ("champion_nan", there and evidence.champion_not_a_number > 0, None, f"the champion, version "
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
        ("nothing_required", all(line.observe for line in promotion.require), None, "the policy requires nothing, so "
         "nothing can be shown"),
    )  # fmt: skip


def _too_few(promotion: Promotion, evidence: Evidence) -> str:
    sentence = f"{evidence.rows:,} judging rows, and at least {promotion.min_rows:,} are asked"
    left_out = []
    if evidence.excluded:
        left_out.append(f"{evidence.excluded:,} were left out because a model or its ancestor learned from them")
    if evidence.too_early:
        left_out.append(f"{evidence.too_early:,} are too early: an ancestor without a record may have learned them")
    return "; ".join([sentence, *left_out])
