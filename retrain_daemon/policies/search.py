"""Search in a policy: spaces of values that a hyperparameter may take, and how long and by what a search chooses.

What a `train` mapping says besides is read in `training.py`, which merges it over what was said before.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace

from retrain_daemon.core.metrics import METRICS, MODEL_METRICS
from retrain_daemon.core.policy import DataSpec, Promotion, Recipe, Search, Space
from retrain_daemon.core.policy import Scalar as PolicyScalar
from retrain_daemon.policies.nodes import MappingNode, Node, Scalar, Sequence, Wrong, closest
from retrain_daemon.policies.promotion import check_fits
from retrain_daemon.policies.units import anything, count, duration, mapping, number, sequence, switch, word

SPACE_KEYS = ("low", "high", "log", "step", "choices")
SEARCH_KEYS = ("trials", "stop_after", "metric")
MOST_TRIALS = 1000
#: Up to here every whole number is a float of its own.
MOST_BOUND = 2.0**53
_WHOLE = re.compile(r"[-+]?[0-9]+")
_SUCH = "Write one such as {low: 0.01, high: 0.3, log: true} or {choices: [15, 31, 63]}."
_SUCH_SEARCH = "Write {trials: 40, metric: log_loss}."
UNREADABLE = Space()
UNREADABLE_SEARCH = Search(trials=1, metric="")


def is_space(node: Node) -> bool:
    """Whether a mapping is a space of values; a mapping by class may have such words as names of classes."""
    if not isinstance(node, MappingNode) or not node.entries:
        return False
    if node.name.endswith("class_weight"):
        return isinstance(node.entries.get("choices"), Sequence)
    strange = node.entries.keys() - set(SPACE_KEYS)
    return len(strange) < len(node.entries) and all(closest(key, SPACE_KEYS) for key in strange)  # slips in a key


def read_space(node: MappingNode) -> Space:
    """The space that a mapping is; what is wrong in it is noted."""
    name = node.name.rpartition(".")[2]
    if name == "seed" or name.endswith("random_state"):
        raise Wrong(f"`{node.name}`: the best of several seeds is luck, which does not come again.", "Write one seed.")
    section = node.expect(SPACE_KEYS)
    bounds = [key for key in SPACE_KEYS[:-1] if key in section.entries]
    if "choices" not in section.entries:
        section.require("low", "high")
        return _between(section)
    if bounds:
        raise Wrong(f"`{node.name}` has both choices and {bounds[0]}.", _SUCH)
    return Space(choices=section.take("choices", _choices, ()))


def refuse_space_within(node: Node, whole: str) -> None:
    """Raise Wrong for a space inside a value: a search chooses whole hyperparameters."""
    if is_space(node):
        raise Wrong(
            f"`{node.name}`: a search cannot choose a part of `{whole}`.",
            "Write a single value; a search chooses whole hyperparameters that are one value each.",
        )


def read_search(node: Node, before: Search | None) -> Search | None:
    """What `search` makes of the one `before`, merged key by key; null unsets it. What is wrong is noted."""
    if isinstance(node, Scalar) and node.plain and node.value == "null":
        return None
    if not isinstance(node, MappingNode):
        raise Wrong(f"`{node.name}` must say how many trials there are, and by which metric.", _SUCH_SEARCH)
    section = mapping(node).expect(SEARCH_KEYS)
    if before is None:
        section.require("trials", "metric")
    start = before or UNREADABLE_SEARCH
    return replace(
        start,
        trials=section.take("trials", count(1, MOST_TRIALS), start.trials),
        metric=section.take("metric", _metric, start.metric),
        stop_after=section.take("stop_after", duration, start.stop_after),
    )


def check_search(section: MappingNode, recipe: Recipe, before: Recipe) -> None:
    """Note, where this `train` mapping makes it so, spaces that nothing searches and a search without a space."""
    place = section.entries.get("hyperparameters", section)
    if recipe.spaces and recipe.search is None and not (before.spaces and before.search is None):
        name = next(iter(recipe.spaces))
        entry = place.entries.get(name, place) if isinstance(place, MappingNode) else place
        entry.problem(
            f"`{section.name}.hyperparameters.{name}` is a space of values, and nothing searches it.",
            f"Write `search: {{trials: 40, metric: log_loss}}` under `{section.name}`, or a single value.",
        )
    if recipe.search is not None and not recipe.spaces and not (before.search and not before.spaces):
        section.entries.get("search", place).problem(
            f"`{section.name}.search` has nothing to choose: no hyperparameter is a space of values.",
            "Write `hyperparameters: {NAME: {low: 0.01, high: 0.3}}` with it, or `search: null`.",
        )


def check_time(section: MappingNode, recipe: Recipe) -> None:
    """Note, where this `train` mapping says one of the two, a search that is cut off before it stops by itself."""
    stop = recipe.search.stop_after if recipe.search else None
    if stop is None or stop < recipe.run_for or not {"search", "limits"} & section.entries.keys():
        return
    section.entries.get("search", section.entries.get("limits", section)).problem(
        f"`{section.name}.search.stop_after` is {stop}, and `limits.run_for` ends search and training after "
        f"{recipe.run_for}.",
        "Stop the search earlier, or write a longer run_for: the best values are trained after it.",
    )


def check_search_metrics(root: MappingNode, promote: Promotion, data: DataSpec) -> None:
    """Note metrics of searches, at the top and in rules, that do not fit the task, the target or the outputs."""
    rules = root.entries.get("retrain")
    for owner in (root, *(rules.items if isinstance(rules, Sequence) else ())):
        node: Node | None = owner
        for key in ("train", "search", "metric"):
            node = node.entries.get(key) if isinstance(node, MappingNode) else None
        if isinstance(node, Scalar) and node.value in METRICS:
            check_fits(node, node.value, promote, data)


def _between(section: MappingNode) -> Space:
    low, high = section.take("low", number, None), section.take("high", number, None)
    log, step = section.take("log", switch, False), section.take("step", number, None)
    if low is None or high is None:
        return UNREADABLE
    _check_bounds(section, low, high, log)
    if step is not None and low < high:
        _check_step(section, low, high, log, step)
    written = [section.entries[key] for key in ("low", "high", "step") if key in section.entries]
    whole = all(isinstance(each, Scalar) and bool(_WHOLE.fullmatch(each.value)) for each in written)
    return Space(low=low, high=high, log=log, step=step, whole=whole)


def _check_bounds(section: MappingNode, low: float, high: float, log: bool) -> None:
    if low >= high:
        message = f"`{section.name}`: low is {low:g}, which is not below high, {high:g}."
        hint = "Write a single value." if low == high else f"Write {{low: {high:g}, high: {low:g}}}."
        section.entries["low"].problem(message, hint)
    elif log and low <= 0:
        message = f"`{section.name}`: with log, low must be above 0, and it is {low:g}."
        section.entries["low"].problem(message, "Write a small number such as 1e-4, or leave log out.")
    elif max(abs(low), abs(high)) > MOST_BOUND:
        message = f"`{section.name}`: {low:g} to {high:g} is too wide to be searched."
        section.entries["high"].problem(message, f"Write bounds up to {MOST_BOUND:g}.")


def _check_step(section: MappingNode, low: float, high: float, log: bool, step: float) -> None:
    place = section.entries["step"]
    if log:
        place.problem(f"`{section.name}` has both log and step, which contradict each other.", "Leave one out.")
    elif step <= 0:
        place.problem(f"`{section.name}.step` is {step:g}; it must be above 0.")
    elif step > high - low:
        place.problem(f"`{section.name}.step` is {step:g}, more than there is from {low:g} to {high:g}.", _SUCH)
    elif abs((high - low) / step - round((high - low) / step)) > 1e-9:
        last = low + math.floor((high - low) / step) * step
        message = f"`{section.name}`: steps of {step:g} from {low:g} do not reach {high:g}."
        place.problem(message, f"Write high: {last:g}, or another step.")


def _choices(node: Node) -> tuple[PolicyScalar, ...]:
    if isinstance(node, Sequence) and len(node.items) < 2:
        few = "has one value only" if node.items else "is an empty list"
        raise Wrong(f"`{node.name}` {few}.", "Write two or more values, or a single value without choices.")
    values = tuple(anything(item) for item in sequence(node))
    seen: set[tuple[type, PolicyScalar]] = set()
    for value, item in zip(values, sequence(node), strict=True):
        if (type(value), value) in seen:
            item.problem(f"`{node.name}` names `{value}` twice.", "Name it once.")
        seen.add((type(value), value))
    return values


def _metric(node: Node) -> str:
    value = word(node)
    if value in METRICS:
        return value
    if value in MODEL_METRICS:
        message = f"`{value}` is about a stored model, and a search compares predictions."
        raise Wrong(message, f"Write one of: {', '.join(METRICS)}.")
    close = closest(value, tuple(METRICS))
    hint = f"Did you mean `{close}`?" if close else f"The metrics are: {', '.join(METRICS)}."
    raise Wrong(f"There is no metric `{value}`.", hint)
