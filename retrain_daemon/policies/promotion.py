"""The `promote` section of a policy: what must hold before the alias moves, and what follows a verdict.

Single lines of `require` are read by `requirements.py`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

from retrain_daemon.core.metrics import METRICS, Metric, Task
from retrain_daemon.core.policy import (
    DEFAULT_MIN_ROWS,
    Approval,
    DataSpec,
    IfWorse,
    Outputs,
    Promotion,
    Register,
    Requirement,
    Rule,
    SecondLooks,
    Then,
    Watch,
)
from retrain_daemon.core.watch import terms_of
from retrain_daemon.policies.nodes import MappingNode, Node, Scalar, Sequence, Wrong
from retrain_daemon.policies.requirements import read_requirements
from retrain_daemon.policies.units import choice, count, duration, mapping, share, shown_text, text

_KEYS = ("require", "confidence", "min_rows", "inconclusive", "approval", "after_promotion", "register")
_INCONCLUSIVE = ("judge_again_every", "at_most", "then")
_ROWS = re.compile(r"([0-9]{1,12}) ?rows?")
#: Each look spends error budget, and the twentieth has next to nothing left.
_MOST_LOOKS = 20
_LOOKS = 2


def read_promotion(node: Node) -> Promotion:
    """Given the `promote` mapping, its value; what is wrong is noted."""
    section = mapping(node).expect(_KEYS)
    section.require(require="Write `require:` with lines such as `- {metric: accuracy, better_by: 0}`.")
    return Promotion(
        require=section.take("require", read_requirements, ()),
        confidence=section.take("confidence", share(0.5, 0.999), 0.95),
        min_rows=section.take("min_rows", count(1), DEFAULT_MIN_ROWS),
        inconclusive=section.take("inconclusive", _second_looks, SecondLooks()),
        approval=section.take("approval", _approval, None),
        watch=section.take("after_promotion", _watch, None),
        register=section.take("register", choice(Register), Register.WINNERS),
    )


def _second_looks(node: Node) -> SecondLooks:
    if not isinstance(node, MappingNode):
        return SecondLooks(then=choice(Then)(node))
    section = _filled(node, _INCONCLUSIVE, "{judge_again_every: 2000 rows, at_most: 2, then: keep}")
    then = section.take("then", choice(Then), Then.KEEP)
    if "judge_again_every" in section.entries:
        at_most = section.take("at_most", count(1, _MOST_LOOKS), _LOOKS)
        return SecondLooks(section.take("judge_again_every", _rows, 0), at_most, then)
    if "at_most" in section.entries:
        section.entries["at_most"].problem(
            f"`{section.name}.at_most` says how often a challenger is judged again, and nothing says when.",
            "Write `judge_again_every: 2000 rows` beside it, or leave it out.",
        )
    return SecondLooks(then=then)


def _approval(node: Node) -> Approval | None:
    if isinstance(node, MappingNode):
        section = _filled(node, ("within",), "{within: 3d}")
        return Approval(section.take("within", duration, timedelta(days=7)))
    said = text(node)
    if said not in ("automatic", "required"):
        hint = "Write automatic, required, or {within: 3d}."
        raise Wrong(f"`{node.name}` cannot be `{shown_text(said)}`.", hint)
    return Approval() if said == "required" else None


def _watch(node: Node) -> Watch:
    if isinstance(node, Scalar):
        hint = "Write {watch: 5000 rows, if_worse: rollback}."
        raise Wrong(f"`{node.name}` must say on how many rows a promotion is watched.", hint)
    section = _filled(node, ("watch", "if_worse"), "{watch: 5000 rows}")
    section.require(watch="Write on how many rows, such as `watch: 5000 rows`.")
    if_worse = section.take("if_worse", choice(IfWorse), IfWorse.ROLLBACK)
    return Watch(section.take("watch", _rows, 0), if_worse)


def check_watch(node: Node, promote: Promotion, rules: tuple[Rule, ...]) -> None:
    """Note a watch that could never show anything: no line compares two models on all rows."""
    promotions = [promote, *(replace(promote, require=rule.require) for rule in rules if rule.require)]
    readable = all(line.metric for each in promotions for line in each.require)
    if promote.watch is None or not readable or not isinstance(node, MappingNode) or any(map(terms_of, promotions)):
        return
    node.entries["after_promotion"].problem(
        "`promote.after_promotion` watches nothing: no line of `require` compares the two models on all rows.",
        "Write one with better_by, not_worse_by or unless_worse_by, without slices, by a metric of predictions.",
    )


def _filled(node: Node, keys: tuple[str, ...], such: str) -> MappingNode:
    section = mapping(node)
    if not section.entries:
        raise Wrong(f"`{node.name}` is empty.", f"Write {such}, or leave it out.")
    return section.expect(keys)


def _rows(node: Node) -> int:
    value = text(node)
    found = _ROWS.fullmatch(value)
    if found and int(found[1]) >= 2:
        return int(found[1])
    hint = f"Write {value} rows." if re.fullmatch("[0-9]{1,12}", value) and int(value) >= 2 else "Write 2000 rows."
    raise Wrong(f"`{node.name}` must be a number of rows, at least 2, not `{shown_text(value)}`.", hint)


def check_metrics(node: Node, promote: Promotion, data: DataSpec) -> None:
    """Note lines of `promote.require` that contradict each other, the target, or what the model's outputs are."""
    _check_lines(_entries(node), promote.require, _first(promote.require), data)


def check_rule_metrics(rule: Node, require: tuple[Requirement, ...], promote: Promotion, data: DataSpec) -> None:
    """The same for the lines that one rule brings: they are about the same model."""
    _check_lines(_entries(rule), require, _first(promote.require) or _first(require), data)


def check_scores(node: Node, named: tuple[str, ...], promote: Promotion, data: DataSpec) -> None:
    """Note metrics of a rule that no version of this model can have a score by."""
    required = _first(promote.require)
    for metric in map(METRICS.__getitem__, named):
        if required is not None and metric.task is not required.task:
            message = f"`{metric.name}` is for {metric.task}, and `promote.require` names {required.name}."
            node.problem(message, f"A rule asks for scores by metrics for {required.task}.")
        elif metric.binary_only and data.target.positive is None:
            message = f"`{metric.name}` is about one class of two, and the policy does not say which."
            node.problem(message, "Name `positive` under `data.target`, or use another metric.")


def check_fits(node: Node, metric: str, promote: Promotion, data: DataSpec) -> None:
    """Note a metric, asked for at `node`, that does not fit what `promote.require`, target or outputs say."""
    _check_metric(node, METRICS[metric], _first(promote.require) or METRICS[metric], data)


def _first(require: tuple[Requirement, ...]) -> Metric | None:
    """The first metric of a task: what a stored model takes says nothing of what it predicts."""
    return next((METRICS[line.metric] for line in require if line.metric in METRICS), None)


def _check_lines(entries: list[Node], require: tuple[Requirement, ...], first: Metric | None, data: DataSpec) -> None:
    for line, entry in zip(require, entries, strict=False):
        if line.slices:
            _check_slices(entry, line.slices, data)
        if line.metric in METRICS and first is not None:
            _check_metric(entry, METRICS[line.metric], first, data)


def _check_metric(entry: Node, metric: Metric, first: Metric, data: DataSpec) -> None:
    target = data.target
    if metric.task is not first.task:
        message = f"`{metric.name}` is for {metric.task}, and `{first.name}`, which is required too, for {first.task}."
        entry.problem(message, "A model does one of the two.")
    if metric.binary_only and target.positive is None and target.column:
        message = f"`{metric.name}` is about one class of two, and the policy does not say which."
        entry.problem(message, f"Write `target: {{column: {target.column}, positive: ...}}`, or use another metric.")
    if metric.task is Task.REGRESSION and target.positive is not None:
        entry.problem(f"`{metric.name}` is for regression, but `data.target` has a positive class.", "Leave one out.")
    _check_outputs(entry, metric, data)


def _check_slices(entry: Node, column: str, data: DataSpec) -> None:
    """A column whose values make no slices of rows that a model could treat differently."""
    place = entry.entries.get("slices", entry) if isinstance(entry, MappingNode) else entry
    if column in data.target.columns:
        place.problem(
            f"`slices` names the target, `{column}`: a slice would hold one answer only.",
            "Name another column; recall and precision are about one class by themselves.",
        )
    elif column == data.group:
        place.problem(
            f"`slices` names the group, `{column}`: each slice would be one group, and groups are what is counted.",
            "Name a column with few values, each for many groups.",
        )
    elif column == data.event_time or data.row_id == (column,):
        place.problem(
            f"`slices` names `{column}`, which is another value in nearly every row.",
            "Name a column with few values, such as a region.",
        )


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
