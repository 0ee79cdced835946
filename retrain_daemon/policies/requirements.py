"""Lines of `require` in a policy: each names a metric, what is asked of it, and of which rows.

What the policy as a whole says of task, target and outputs is held against them in `promotion.py`.
"""

from __future__ import annotations

from retrain_daemon.core.metrics import FLIPPED, LOADABLE, METRICS, MODEL_METRICS
from retrain_daemon.core.policy import RELATIVE, Claim, Requirement
from retrain_daemon.policies.nodes import MappingNode, Node, Wrong, closest
from retrain_daemon.policies.units import at_most, count, mapping, number, sequence, switch, word

_CLAIMS = tuple(claim.value for claim in Claim)
_KEYS = ("metric", *_CLAIMS, "slices", "min_rows", "observe")
_TAKEN_BY = {LOADABLE: (Claim.AT_LEAST,), FLIPPED: (Claim.AT_MOST,)}
_OF_FILES = (Claim.BETTER_BY, Claim.NOT_WORSE_BY, Claim.UNLESS_WORSE_BY, Claim.AT_MOST)
_MOST_LINES = 200
#: Of the metrics of values only this one may be negative.
_SIGNED = ("r2",)

UNREADABLE = Requirement("", Claim.BETTER_BY, 0.0)


def read_requirements(node: Node) -> tuple[Requirement, ...]:
    """Given the list `require`, its lines; what is wrong in them, or between them, is noted."""
    lines: list[Requirement] = []
    for item in at_most(_MOST_LINES, sequence(node)):
        line = item.read(_requirement, UNREADABLE)
        if line.metric:
            _check_against(lines, line, item)
        lines.append(line)
    if all(line.observe for line in lines):
        message = f"Every line of `{node.name}` only observes, so that nothing would settle a verdict."
        node.problem(message, "Leave `observe` out of one, or add a line such as {metric: accuracy, better_by: 0}.")
    return tuple(lines)


def _requirement(node: Node) -> Requirement:
    section = _line(node).expect(_KEYS)
    section.require(metric="Write one such as `metric: accuracy`.")
    metric = section.take("metric", _metric, "")
    claims = [claim for claim in Claim if claim in section.entries]
    if len(claims) != 1:
        hint = "Write one line for each." if claims else "Write one, such as better_by: 0."
        section.problem(f"A requirement needs exactly one of {', '.join(_CLAIMS)}.", hint)
        return UNREADABLE
    claim = claims[0]
    threshold = section.take(claim, number, None)
    _check_claim(section, metric, claim, threshold)
    min_rows = section.take("min_rows", count(1), None)
    slices, observe = section.take("slices", word, ""), section.take("observe", switch, False)
    return Requirement(metric, claim, threshold or 0.0, slices, min_rows, observe)


def _line(node: Node) -> MappingNode:
    try:
        return mapping(node)
    except Wrong as wrong:
        raise Wrong(wrong.message, "Write lines such as `- {metric: accuracy, better_by: 0}`.") from None


def _check_claim(section: MappingNode, metric: str, claim: Claim, threshold: float | None) -> None:
    """Of a number that cannot be read (None), enough was said."""
    if metric not in MODEL_METRICS:
        _check_slices(section, claim)
        if threshold is not None:
            _check_threshold(section.entries[claim], metric, claim, threshold)
    elif threshold is not None:
        _check_of_model(section, metric, claim, threshold)


def _check_against(earlier: list[Requirement], line: Requirement, item: Node) -> None:
    """Note a line that says again, or the opposite of, what one above it says; what is only observed may be another
    threshold that is tried beside.
    """
    earlier = [other for other in earlier if other.observe is line.observe]
    for other in earlier:
        if (other.metric, other.claim, other.slices) == (line.metric, line.claim, line.slices):
            where = f" in slices of {line.slices}" if line.slices else ""
            item.problem(f"`{line.metric}` with {line.claim}{where} is required twice.", "Keep one of them.")
    bounds = {each.claim: each.threshold for each in (*earlier, line) if each.metric == line.metric}
    low, high = bounds.get(Claim.AT_LEAST), bounds.get(Claim.AT_MOST)
    if line.claim in (Claim.AT_LEAST, Claim.AT_MOST) and low is not None and high is not None and low > high:
        item.problem(f"`{line.metric}` must be at least {low:g} and at most {high:g}.", "No value is both.")


def _metric(node: Node) -> str:
    value = word(node)
    if value in METRICS or value in MODEL_METRICS:
        return value
    known = (*METRICS, *MODEL_METRICS)
    close = closest(value, known)
    hint = f"Did you mean `{close}`?" if close else f"The metrics are: {', '.join(known)}."
    raise Wrong(f"There is no metric `{value}`.", hint)


def _check_slices(section: MappingNode, claim: Claim) -> None:
    if "slices" in section.entries and claim is not Claim.UNLESS_WORSE_BY:
        section.entries["slices"].problem(
            f"`{claim}` in slices lets next to nothing through: of 10,000 challengers as good as their champion, 3 are "
            "shown not to be worse in each of eight thin slices.",
            "Write unless_worse_by: it stops a challenger where harm is shown.",
        )


def _check_of_model(section: MappingNode, metric: str, claim: Claim, threshold: float) -> None:
    """Note what cannot be asked of a stored model."""
    for key in {"slices", "min_rows"} & section.entries.keys():
        section.entries[key].problem(f"`{metric}` is about the model, not about some of the rows.", "Leave it out.")
    node, taken = section.entries[claim], _TAKEN_BY.get(metric, _OF_FILES)
    if claim not in taken:
        hint = "Write at_least: 1." if metric == LOADABLE else f"Write {' or '.join(taken)}."
        node.problem(f"`{metric}` cannot be required by {claim}.", hint)
    elif metric == LOADABLE and threshold != 1:
        node.problem(f"`{metric}` is 1 for a model that loads, else 0; `{claim}` is {threshold:g}.", "Write 1.")
    elif metric == FLIPPED and not 0 <= threshold <= 1:
        hint = _hundredth(threshold) or "Write a share such as 0.1."
        node.problem(f"`{claim}` is {threshold:g}, but {metric} is a share between 0 and 1.", hint)
    elif claim is Claim.AT_MOST and metric != FLIPPED and threshold <= 0:
        node.problem(f"`{claim}` is {threshold:g}; no model has so little {metric}.", "Write a number above 0.")
    elif claim in RELATIVE and threshold < 0:
        _note_negative(node, claim, threshold)


def _check_threshold(node: Node, metric: str, claim: Claim, threshold: float) -> None:
    known = METRICS.get(metric)
    if claim in RELATIVE and threshold < 0:
        _note_negative(node, claim, threshold)
    elif known is None:
        return
    # All of these lie between 0 and 1, so that 95 for 95 % could never be met, or always.
    elif known.is_share and (threshold > 1 or (claim in RELATIVE and threshold >= 1)):
        node.problem(f"`{claim}` is {threshold:g}, but {metric} lies between 0 and 1.", _hundredth(threshold))
    elif claim not in RELATIVE and threshold < 0 and metric not in _SIGNED:
        never = "would never hold" if claim is Claim.AT_MOST else "would always hold"
        node.problem(f"`{claim}` is {threshold:g}, and {metric} is never negative, so the line {never}.")


def _note_negative(node: Node, claim: Claim, threshold: float) -> None:
    other = Claim.NOT_WORSE_BY if claim is Claim.BETTER_BY else Claim.BETTER_BY
    node.problem(f"`{claim}` is {threshold:g}; it cannot be negative.", f"Write {other}: {-threshold:g}.")


def _hundredth(threshold: float) -> str:
    return f"Write {threshold / 100:g}." if 1 <= threshold <= 100 else ""
