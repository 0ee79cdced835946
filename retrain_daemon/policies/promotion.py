"""The `promote` section of a policy: what must hold before the alias moves."""

from __future__ import annotations

from collections.abc import Callable

from retrain_daemon.core.metrics import METRICS, Metric, Task
from retrain_daemon.core.policy import DEFAULT_MIN_ROWS, RELATIVE, Claim, DataSpec, Outputs, Promotion, Requirement
from retrain_daemon.policies.nodes import MappingNode, Node, Sequence, Wrong, closest
from retrain_daemon.policies.units import count, mapping, number, sequence, share, text, word

_CLAIMS = tuple(claim.value for claim in Claim)
_KEYS = ("require", "confidence", "min_rows", "inconclusive", "approval")
_LATER = {
    "after_promotion": "Roll back by hand with `retraind rollback MODEL`.",
    "register": "Only winners become versions.",
}
_REQUIREMENT_LATER = {
    "unless_worse_by": "Write not_worse_by.",
    "slices": "Requirements are about all judging rows.",
    "min_rows": "Write it once, under `promote`.",
}
_METRICS_LATER = ("latency_ms", "model_mb", "flipped")


def read_promotion(node: Node) -> Promotion:
    """Given the `promote` mapping, its value; what is wrong is noted."""
    section = mapping(node).expect(_KEYS, _LATER)
    section.require("require")
    section.take("inconclusive", _only("keep"), None)
    section.take("approval", _only("automatic"), None)
    return Promotion(
        require=section.take("require", _requirements, ()),
        confidence=section.take("confidence", share(0.5, 0.999), 0.95),
        min_rows=section.take("min_rows", count(1), DEFAULT_MIN_ROWS),
    )


def check_metrics(node: Node, promote: Promotion, data: DataSpec) -> None:
    """Note requirements that contradict each other, the target, or what the model's outputs are."""
    entries, target = _entries(node), data.target
    found = [
        (METRICS[line.metric], entry) for line, entry in zip(promote.require, entries, strict=False) if line.metric
    ]
    for metric, entry in found:
        if metric.task is not found[0][0].task:
            message = f"`{metric.name}` is for {metric.task}, `{found[0][0].name}` above it for {found[0][0].task}."
            entry.problem(message, "A model does one of the two.")
        if metric.binary_only and target.positive is None and target.column:
            message = f"`{metric.name}` is about one class of two, and the policy does not say which."
            entry.problem(
                message, f"Write `target: {{column: {target.column}, positive: ...}}`, or use another metric."
            )
        if metric.task is Task.REGRESSION and target.positive is not None:
            entry.problem(
                f"`{metric.name}` is for regression, but `data.target` has a positive class.", "Leave one out."
            )
        _check_outputs(entry, metric, data)


def check_scores(node: Node, named: tuple[str, ...], promote: Promotion, data: DataSpec) -> None:
    """Note metrics of a rule that no version of this model can have a score by."""
    required = next((METRICS[line.metric] for line in promote.require if line.metric), None)
    for metric in map(METRICS.__getitem__, named):
        if required is not None and metric.task is not required.task:
            message = f"`{metric.name}` is for {metric.task}, and `promote.require` names {required.name}."
            node.problem(message, f"A rule asks for scores by metrics for {required.task}.")
        elif metric.binary_only and data.target.positive is None:
            message = f"`{metric.name}` is about one class of two, and the policy does not say which."
            node.problem(message, "Name `positive` under `data.target`, or use another metric.")


def _check_outputs(entry: Node, metric: Metric, data: DataSpec) -> None:
    """Classes and values have metrics of their own."""
    values = bool(data.target.more) or data.model_outputs is Outputs.VALUE
    classes = bool(data.target.classes) or data.model_outputs in (Outputs.LOGITS, Outputs.PROBABILITIES)
    if metric.task is Task.CLASSIFICATION and values:
        entry.problem(f"`{metric.name}` is for classes, and the model predicts values.", "Write rmse, mae, mape or r2.")
    if metric.task is Task.REGRESSION and classes:
        entry.problem(f"`{metric.name}` is for values, and the model predicts classes.", "Write one such as accuracy.")
    if metric.binary_only and len(data.target.classes) > 2:
        message = f"`{metric.name}` is about one class of two, and `data.target` has {len(data.target.classes)}."
        entry.problem(message, "Write one such as f1_macro, accuracy or roc_auc.")


def _entries(node: Node) -> list[Node]:
    require = node.entries.get("require") if isinstance(node, MappingNode) else None
    return require.items if isinstance(require, Sequence) else []


def _only(value: str) -> Callable[[Node], None]:
    """A reader that takes one word and says of all else that it is not built yet."""

    def read(node: Node) -> None:
        if isinstance(node, MappingNode) or text(node) != value:
            raise Wrong(
                f"`{node.name}` other than `{value}` is not built yet.", f"Write {value}, or leave the key out."
            )

    return read


def _requirements(node: Node) -> tuple[Requirement, ...]:
    lines: list[Requirement] = []
    for item in sequence(node):
        line = item.read(_requirement, _UNREADABLE)
        if line.metric and (line.metric, line.claim) in [(earlier.metric, earlier.claim) for earlier in lines]:
            item.problem(f"`{line.metric}` with {line.claim} is required twice.", "Keep one of them.")
        lines.append(line)
    return tuple(lines)


_UNREADABLE = Requirement("", Claim.BETTER_BY, 0.0)


def _requirement(node: Node) -> Requirement:
    section = mapping(node).expect(("metric", *_CLAIMS), _REQUIREMENT_LATER)
    section.require("metric")
    metric = section.take("metric", _metric, "")
    claims = [claim for claim in Claim if claim in section.entries]
    if len(claims) != 1:
        if not section.entries.keys() & _REQUIREMENT_LATER.keys():
            section.problem(f"A requirement needs exactly one of {', '.join(_CLAIMS)}.", "Write one line for each.")
        return _UNREADABLE
    threshold = section.take(claims[0], number, 0.0)
    _check_threshold(section.entries[claims[0]], metric, claims[0], threshold)
    return Requirement(metric, claims[0], threshold)


def _metric(node: Node) -> str:
    value = word(node)
    if value in METRICS:
        return value
    if value.startswith(_METRICS_LATER):
        raise Wrong(f"The metric `{value}` is not built yet.", f"The metrics are: {', '.join(METRICS)}.")
    close = closest(value, tuple(METRICS))
    hint = f"Did you mean `{close}`?" if close else f"The metrics are: {', '.join(METRICS)}."
    raise Wrong(f"There is no metric `{value}`.", hint)


def _check_threshold(node: Node, metric: str, claim: Claim, threshold: float) -> None:
    known = METRICS.get(metric)
    if claim in RELATIVE and threshold < 0:
        other = Claim.NOT_WORSE_BY if claim is Claim.BETTER_BY else Claim.BETTER_BY
        node.problem(f"`{claim}` is {threshold:g}; it cannot be negative.", f"Write {other}: {-threshold:g}.")
    # All of these lie between 0 and 1, so that 95 for 95 % could never be met, or always.
    elif known and known.task is Task.CLASSIFICATION and known.higher_is_better and threshold > 1:
        hint = f"Write {threshold / 100:g}." if threshold <= 100 else ""
        node.problem(f"`{claim}` is {threshold:g}, but {metric} lies between 0 and 1.", hint)
