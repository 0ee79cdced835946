"""What a test of a policy expects, as `*.test.yaml` files write it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from retrain_daemon.core.codes import CODES
from retrain_daemon.core.decide import OFFER_RULE, REQUEST_RULE, Action
from retrain_daemon.core.policy import Hyperparameter, Mode
from retrain_daemon.core.timeline.expectations import STANDS, At, Between, Expectation, Wanted
from retrain_daemon.policies.nodes import MappingNode, Node, Sequence, Wrong, closest
from retrain_daemon.policies.stories.events import Names, known
from retrain_daemon.policies.stories.moments import moment
from retrain_daemon.policies.units import anything, choice, count, mapping, sequence, text

_WANTED_KEYS = ("rule", "code", "mode", "hyperparameters")
_KEYS = ("at", "between", "quiet_until", "decision", "starts", *_WANTED_KEYS, "rules")
_PLACES = ("at", "between", "quiet_until")


def read_expectation(section: MappingNode, start: datetime, names: Names) -> Expectation | None:
    """One entry of `expect`."""
    section.expect(_KEYS)
    places = [key for key in _PLACES if key in section.entries]
    if len(places) != 1:
        told = f"says {' and '.join(f'`{key}`' for key in places)}" if places else "says no time"
        section.problem(f"An entry of `expect` {told}.", f"Write one of: {', '.join(_PLACES)}.")
        return None
    if places == ["at"]:
        return _at(section, start, names)
    if places == ["quiet_until"]:
        return _quiet(section, start)
    return _between(section, start, names)


def _at(section: MappingNode, start: datetime, names: Names) -> At | None:
    _refuse(section, ("starts",), "counts attempts in a span", "Write `between: [BEGIN, END]` with it.")
    if not any(key in section.entries for key in ("decision", *_WANTED_KEYS, "rules")):
        section.problem("This expects nothing.", "Write a `decision`, with `code` or `rule`, or how `rules` stand.")
        return None
    action = _action(section)
    wanted = _wanted(section, names, action)
    waits = action is Action.WAIT
    if waits:
        beyond = ("rule", "mode", "hyperparameters")
        _refuse(section, beyond, "is about an attempt", "Write `decision: train`, or `rules` for how rules stand.")
    asks = action is not None or any(key in section.entries for key in _WANTED_KEYS)
    return At(
        line=section.line,
        at=section.take("at", moment(start), start),
        waits=waits,
        code=wanted.code if waits else "",
        wanted=wanted if asks and not waits else None,
        rules=section.take("rules", lambda node: _rules(mapping(node), names), {}),
    )


def _action(section: MappingNode) -> Action | None:
    """What is said, else what the code is about."""
    if "decision" in section.entries:
        return section.take("decision", choice(Action), None)
    code = section.take("code", text, "")
    return next((action for action, codes in CODES.items() if code in codes), None)


def _quiet(section: MappingNode, start: datetime) -> Between:
    beyond = tuple(key for key in _KEYS if key != "quiet_until")
    _refuse(section, beyond, "does not go with `quiet_until`", "Write `between` with it.")
    end = section.take("quiet_until", moment(start), start)
    return Between(line=section.line, begin=start, end=end, starts=0)


def _between(section: MappingNode, start: datetime, names: Names) -> Between | None:
    _refuse(section, ("rules",), "is about one moment", "Write `at` with it.")
    span = section.take("between", lambda node: _span(node, start), None)
    action = _action(section)
    starts = section.take("starts", count(0, 100_000), None)
    wanted = _wanted(section, names, action)
    if action is Action.WAIT:
        section.problem("That nothing starts in a span is `starts: 0`.", "Leave `decision` and `code` out.")
        return None
    if starts is None and wanted == Wanted():
        section.problem("This expects nothing.", "Write how many attempts start: `starts: 0`, or `decision: train`.")
        return None
    if span is None:
        return None
    return Between(line=section.line, begin=span[0], end=span[1], starts=starts, wanted=wanted)


def _span(node: Node, start: datetime) -> tuple[datetime, datetime]:
    items = sequence(node)
    if len(items) != 2:
        raise Wrong(f"`{node.name}` has {len(items)} times.", "Write two: [BEGIN, END].")
    begin, end = (moment(start)(item) for item in items)
    if end <= begin:
        raise Wrong(f"`{node.name}` ends before it begins.", "Write the earlier time first.")
    return begin, end


def _wanted(section: MappingNode, names: Names, action: Action | None) -> Wanted:
    return Wanted(
        action=action,
        rule=section.take("rule", lambda node: _rule(node, names), ""),
        code=section.take("code", lambda node: _code(node, action), ""),
        mode=section.take("mode", choice(Mode), None),
        hyperparameters=section.take("hyperparameters", lambda node: _hyperparameters(mapping(node)), {}),
    )


def _rule(node: Node, names: Names) -> str:
    rules = None if names.rules is None else (*names.rules, REQUEST_RULE, OFFER_RULE)
    return known("rule", rules, node)


def _code(node: Node, action: Action | None) -> str:
    codes = tuple(code for each, some in CODES.items() if action in (None, each) for code in some)
    value = text(node)
    if value in codes:
        return value
    close = closest(value, codes)
    what = f"of `decision: {action.value}`" if action else "of decisions"
    raise Wrong(
        f"`{node.name}`: `{value}` is no code {what}.",
        f"Did you mean `{close}`?" if close else f"They are: {', '.join(codes)}.",
    )


def _rules(section: MappingNode, names: Names) -> Mapping[str, bool | None]:
    """By rule, how it stands."""
    found: dict[str, bool | None] = {}
    for name, node in section.entries.items():
        key = section.keys[name].called(section.name)
        key.read(lambda each: known("rule", names.rules, each), "")
        found[name] = node.called(f"{section.name}.{name}").read(_stands, None)
    return found


def _stands(node: Node) -> bool | None:
    value = text(node)
    if value not in STANDS:
        close = closest(value, tuple(STANDS))
        hint = f"Did you mean `{close}`?" if close else f"Write one of: {', '.join(STANDS)}."
        raise Wrong(f"`{node.name}` cannot be `{value}`.", hint)
    return STANDS[value]


def _hyperparameters(section: MappingNode) -> Mapping[str, Hyperparameter]:
    return {name: _value(node.called(f"{section.name}.{name}")) for name, node in section.entries.items()}


def _value(node: Node) -> Hyperparameter:
    if isinstance(node, MappingNode):
        return {name: anything(each.called(f"{node.name}.{name}")) for name, each in node.entries.items()}
    return tuple(anything(item) for item in sequence(node)) if isinstance(node, Sequence) else anything(node)


def _refuse(section: MappingNode, keys: tuple[str, ...], why: str, hint: str) -> None:
    for key in keys:
        if key in section.keys:
            section.keys[key].problem(f"`{key}` {why}.", hint)
