"""How commands print a rule: its parts with their values, when it could hold, and the recipe that it trains by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from retrain_daemon.cli.output import span
from retrain_daemon.core.anatomy import Joint
from retrain_daemon.core.decide import RuleReport
from retrain_daemon.core.forecast import Forecast
from retrain_daemon.core.parts import Part
from retrain_daemon.core.policy import Hyperparameter, Recipe, Search, Space

_MARKS: Mapping[bool | None, str] = {True: "yes", False: "no ", None: "?  "}
_STATES: Mapping[bool | None, str] = {True: "holds", False: "does not hold", None: "unknown"}
_JOINED = {Joint.ANY: "one of these", Joint.ALL: "all of these"}
_NO_REASONS: Mapping[str, str] = {}


def rule_lines(rule: RuleReport, reasons: Mapping[str, str] = _NO_REASONS, *, observed: bool = False) -> Iterator[str]:
    """One rule with its parts. `reasons` say by fact why it is not known."""
    yield f"{rule_headline(rule, observed=observed)}{'' if rule.parts else f': {rule.when}'}"
    for part in rule.parts:
        yield from _part_lines(part, reasons, "  ")
    if not rule.parts:
        yield from _without_parts(rule)


def rule_headline(rule: RuleReport, *, observed: bool = False) -> str:
    """One rule and whether it holds."""
    return f"rule “{rule.name}”: {_STATES[rule.holds]}{' (observed only: it starts nothing)' if observed else ''}"


def _without_parts(rule: RuleReport) -> Iterator[str]:
    """As journals of before parts have it."""
    told = tuple(text.split(" ", 1)[0] for text in rule.shortfalls)
    yield from (f"  {name} is {value}" for name, value in rule.values if name not in told)
    yield from (f"  {text}" for text in rule.shortfalls)
    if rule.problem:
        yield f"  {rule.problem}"


def _part_lines(part: Part, reasons: Mapping[str, str], margin: str) -> Iterator[str]:
    text = _JOINED.get(part.joint) or " ".join(part.text.split())
    said = _said(part, reasons)
    yield f"{margin}{_MARKS[part.holds]}  {text}{f': {said}' if said else ''}"
    for each in part.parts:
        yield from _part_lines(each, reasons, f"{margin}  ")


def _said(part: Part, reasons: Mapping[str, str]) -> str:
    """What a part looks at, or why it is not known."""
    if part.parts:
        return ""
    if part.holds is None:
        return "not known: " + ("; ".join(_missing(part.missing, reasons)) or part.problem)
    value = f"{part.value} against {part.against}" if part.against else part.value
    compared = ", ".join(filter(None, (value, part.gap)))
    return f"{compared} ({part.detail})" if compared and part.detail else compared or part.detail


def _missing(names: tuple[str, ...], reasons: Mapping[str, str]) -> Iterator[str]:
    """Each reason once, after the facts that it is the reason for."""
    told: dict[str, list[str]] = {}
    for name in names:
        told.setdefault(reasons.get(name, ""), []).append(name)
    for reason, same in told.items():
        yield f"{', '.join(same)}{f' ({reason})' if reason else ''}"


def forecast_line(expected: Forecast) -> str:
    """When a rule that does not hold could."""
    if expected.at is not None:
        return f"time alone makes it hold from {weekday(expected.at)}"
    before = f"not before {weekday(expected.not_before)}" if expected.not_before else ""
    if not expected.waits_for:
        return f"{before}, and by time alone not in what can be foreseen" if before else "no fact can make it hold"
    waits = f"time alone does not make it hold: it waits for {', '.join(expected.waits_for)}"
    return f"{waits}, and {before}" if before else waits


def weekday(moment: datetime) -> str:
    """A moment in UTC with its day of the week."""
    return f"{moment:%A %Y-%m-%d %H:%M} UTC"


def recipe_lines(recipe: Recipe) -> Iterator[str]:
    """How would be trained, and within which limits."""
    given = "".join(f", {name}={_value(value)}" for name, value in recipe.hyperparameters.items())
    replayed = f", {recipe.replay:,} older rows replayed" if recipe.replay else ""
    own = "".join(
        f", {word} {name}"
        for word, name in (("by", recipe.trainer), ("network", recipe.network), ("in", recipe.python))
        if name
    )
    yield f"recipe: {recipe.mode.value}{given}{replayed}{own}"
    if recipe.search is not None:
        yield f"  {_search(recipe.search)}"
    for name, space in recipe.spaces.items():
        yield f"  {name}: {_space(space)}"
    yield f"  limits: {', '.join(_limits(recipe))}"


def _search(search: Search) -> str:
    stop = f", none is started after {span(search.stop_after)}" if search.stop_after else ""
    return f"searches with {search.trials:,} trials by {search.metric}{stop}:"


def _space(space: Space) -> str:
    if space.choices:
        return f"one of {', '.join(map(str, space.choices))}"
    scale = " on a logarithmic scale" if space.log else ""
    step = f" in steps of {space.step:g}" if space.step else ""
    return f"{space.low:g} to {space.high:g}{scale}{step}"


def _value(value: Hyperparameter) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return (
        f"{{{', '.join(f'{key}: {each}' for key, each in value.items())}}}"
        if isinstance(value, Mapping)
        else str(value)
    )


def _limits(recipe: Recipe) -> Iterator[str]:
    yield f"{span(recipe.run_for)}"
    if recipe.memory is not None:
        yield f"{recipe.memory / 2**30:.3g} GiB of memory"
    if recipe.processes is not None:
        yield f"{recipe.processes:,} processes"
    if recipe.cpus is not None:
        yield f"{recipe.cpus:g} CPUs"
    if recipe.gpus:
        yield f"{recipe.gpus} GPUs"
    yield f"{recipe.retries} more tries after a failure"
