"""One line of requirements on each slice of the judging rows: is harm shown in any of them.

Pure. Holm's step-down correction (1979) keeps the chance at the policy's level that a line blocks a challenger which
harms no slice, however many slices there are. What happens on all rows together is for `lines.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from retrain_daemon.core.evidence import Evidence, SliceEvidence
from retrain_daemon.core.findings import REQUIREMENT, Finding, asked, counted, finite, percent, told
from retrain_daemon.core.policy import Claim, Promotion, Requirement

#: So many slices are named in a sentence, each with so many letters.
_NAMED, _LONGEST = 5, 60


@dataclass(frozen=True)
class _Sorted:
    """The slices of a line: those judged, with enough rows, and those that are too thin."""

    judged: tuple[SliceEvidence, ...]
    thin: tuple[SliceEvidence, ...]


def in_slices(line: Requirement, promotion: Promotion, evidence: Evidence) -> Finding:
    """Whether a line holds: no harm shown in any slice that has rows enough, and each of these known."""
    least = max(promotion.min_rows if line.min_rows is None else line.min_rows, 1)
    slices = [each for each in evidence.slices if _is_of(each, line)]
    kinds = _Sorted(tuple(each for each in slices if not _is_thin(each, least)),
                    tuple(each for each in slices if _is_thin(each, least)))  # fmt: skip
    said = _asked_of(line)
    problem = _unreadable(line, slices)
    if problem:
        return _finding(line, None, f"{said}, not known: {problem}")
    if not kinds.judged:
        fewer = f"{_thin(line, kinds.thin)}, and at least {least:,} are asked"
        return _finding(line, None, f"{said}, not known: no slice could be judged: {fewer}")
    left = f"; not judged for fewer than {least:,} rows: {_thin(line, kinds.thin)}" if kinds.thin else ""
    return _judged(line, kinds.judged, 1 - promotion.confidence, evidence.confidence, left)


def holm(p_values: Sequence[float], alpha: float) -> tuple[tuple[int, float], ...]:
    """Given p-values, in order from the smallest those that are shown, each by its position and the bound it keeps.

    The i-th smallest of m is compared with alpha / (m - i + 1); the first that is above its bound ends it.
    """
    shown: list[tuple[int, float]] = []
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        bound = alpha / (len(p_values) - rank)
        if not p_values[place] <= bound:
            break
        shown.append((place, bound))
    return tuple(shown)


def _judged(
    line: Requirement, judged: tuple[SliceEvidence, ...], alpha: float, confidence: float, left: str
) -> Finding:
    """A slice of which nothing is known counts among those that the correction is for, and shows nothing."""
    known = [_p_of(each, line) for each in judged]
    p_values = [1.0 if p is None else p for p in known]
    harmed = holm(p_values, alpha)
    if harmed:
        (worst, bound), others = harmed[0], [_value(judged[place]) for place, _ in harmed[1:]]
        said = _harm(line, judged[worst], bound, len(judged), alpha, confidence)
        also = f"; and in {_listed(others)}" if others else ""
        return _finding(line, False, f"{said}{also}{left}", judged[worst], bound)
    unknown = [each for each, p in zip(judged, known, strict=True) if p is None or each.measured.rows is None]
    if unknown:
        return _finding(line, None, f"{_asked_of(line)}, not known {_unknown(line, unknown)}{left}", unknown[0])
    nearest = min(range(len(judged)), key=p_values.__getitem__)
    bound = alpha / len(judged)
    said = f"none is shown in {_slices(len(judged))}; nearest to it is {_name(judged[nearest])} with p = "
    said += f"{p_values[nearest]:.2g}, where {bound:.2g} or less would show it"
    return _finding(line, True, f"{_asked_of(line)}: {said}{left}", judged[nearest], bound)


def _p_of(each: SliceEvidence, line: Requirement) -> float | None:
    """The p-value of "no harm beyond the threshold"; 1 where there is none and the lower bound rules harm out."""
    if each.p_harm is not None:
        return each.p_harm if 0 <= each.p_harm <= 1 else None
    low, high = each.measured.gain_low, each.measured.gain_high
    ruled_out = low is not None and high is not None and finite(low, high) and -line.threshold < low <= high
    return 1.0 if ruled_out else None


def _is_of(each: SliceEvidence, line: Requirement) -> bool:
    return (each.column, each.measured.metric, each.threshold) == (line.slices, line.metric, line.threshold)


def _is_thin(each: SliceEvidence, least: int) -> bool:
    return each.measured.rows is not None and each.measured.rows < least


def _unreadable(line: Requirement, slices: list[SliceEvidence]) -> str:
    """Why nothing can be said about any slice, if so."""
    if line.claim is not Claim.UNLESS_WORSE_BY:
        return "only unless_worse_by can be judged in slices"
    if not finite(line.threshold):
        return f"the threshold is {line.threshold}"
    if not slices:
        return f"no slice of {line.slices} is in the evidence"
    value, times = Counter(each.value for each in slices).most_common(1)[0]
    return f"{line.slices}={value} is in the evidence {times} times" if times > 1 else ""


def _finding(
    line: Requirement, holds: bool | None, sentence: str, each: SliceEvidence | None = None, bound: float | None = None
) -> Finding:
    measured = None if each is None else each.measured
    return Finding(
        code=REQUIREMENT,
        holds=holds,
        sentence=sentence,
        metric=line.metric,
        claim=line.claim.value,
        threshold=line.threshold,
        value=measured.gain if measured else None,
        low=measured.gain_low if measured else None,
        high=measured.gain_high if measured else None,
        rows=(measured.rows or 0) if measured else 0,
        slices=line.slices,
        slice=each.value if each else "",
        p=each.p_harm if each else None,
        alpha=bound,
    )


def _asked_of(line: Requirement) -> str:
    return f"{line.metric}: {asked(line)} in each slice of {line.slices}"


def _harm(line: Requirement, each: SliceEvidence, bound: float, slices: int, alpha: float, confidence: float) -> str:
    rows = each.measured.rows
    on = "" if rows is None else f" on {counted(rows)}"
    return (
        f"{line.metric} where {_name(each)}: {told(each.measured, line, confidence)}{on}; {asked(line)}: harm is "
        f"shown, p = {each.p_harm:.2g}, where {bound:.2g} or less shows it (Holm, {percent(alpha)} for "
        f"{_slices(slices)} together)"
    )


def _unknown(line: Requirement, unknown: list[SliceEvidence]) -> str:
    first = unknown[0]
    rows = first.measured.rows
    missing = "its p-value is missing" if first.p_harm is None else f"its p-value is {first.p_harm:g}"
    on = "of an unknown number of rows" if rows is None else f"on {counted(rows)}"
    others = [_value(each) for each in unknown[1:]]
    also = f"; nor in {_listed(others)}" if others else ""
    return f"where {_name(first)}, {on}: {first.measured.problem or missing}{also}"


def _thin(line: Requirement, thin: tuple[SliceEvidence, ...]) -> str:
    most = sorted(thin, key=lambda each: -(each.measured.rows or 0))
    return _listed([f"{_value(each)} ({counted(each.measured.rows or 0)})" for each in most])


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _name(each: SliceEvidence) -> str:
    """Evidence without a value is about the column as a whole: why it has no slices."""
    return f"{each.column}={_value(each)}" if each.value else each.column


def _value(each: SliceEvidence) -> str:
    """Values come from data: one must not fill a sentence, nor turn its letters around."""
    plain = each.value if each.value.isprintable() else ascii(each.value)[1:-1]
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"


def _slices(number: int) -> str:
    return "1 slice" if number == 1 else f"{number:,} slices"
