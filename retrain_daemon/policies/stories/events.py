"""What a test of a policy is given, event by event, as `*.test.yaml` files write it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from retrain_daemon.core.policy import Policy
from retrain_daemon.core.scores import wanted_metrics
from retrain_daemon.core.timeline.files import ANY_COLUMN
from retrain_daemon.core.timeline.given import (
    AliasMoved,
    Answered,
    Back,
    Course,
    Drifted,
    Ends,
    Event,
    File,
    Given,
    Gone,
    Paused,
    PolicyEdited,
    PutUp,
    RegistryDown,
    Release,
    Requested,
    Resumed,
    Retract,
    RolledBack,
    Scored,
    Stopped,
    UpstreamMoved,
)
from retrain_daemon.policies.nodes import MappingNode, Node, Scalar, Sequence, Wrong, closest
from retrain_daemon.policies.stories.moments import moment, span
from retrain_daemon.policies.units import choice, count, mapping, number, sequence, switch, word

_MOST_TIMES = 10_000
_FILE_KEYS = ("name", "rows", "new", "judging", "grows_for", "age", "same_as", "broken", "history", "scores", "drift")
_COURSE_KEYS = ("takes", "verdict", "failures", "reason")


@dataclass
class Names:
    """What events and expectations may name: rules, metrics and upstream models of the policy, and a test's files.
    None: the policy cannot be read, so that no name is wrong.
    """

    rules: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None
    upstream: tuple[str, ...] | None = None
    files: list[str] = field(default_factory=list)

    @staticmethod
    def of(policy: Policy | None) -> Names:
        """Those of a policy."""
        if policy is None:
            return Names()
        rules = tuple(rule.name for rule in policy.rules)
        return Names(rules=rules, metrics=wanted_metrics(policy), upstream=tuple(policy.upstream))

    def for_a_test(self) -> Names:
        """The same, with no file yet."""
        return replace(self, files=[])


def known(what: str, names: tuple[str, ...] | None, node: Node) -> str:
    """A name that must be one of `names`."""
    value = word(node)
    if names is None or value in names:
        return value
    close = closest(value, names)
    others = f"Write one of: {', '.join(names[:12])}." if names else ""
    raise Wrong(f"`{node.name}`: there is no {what} `{value}`.", f"Did you mean `{close}`?" if close else others)


def read_given(section: MappingNode, start: datetime, names: Names) -> tuple[Given, ...]:
    """One entry of `given`: an event, or a series of them."""
    section.expect(("at", "every", "times", *_EVENTS)).require("at")
    events = [key for key in section.entries if key in _EVENTS]
    if len(events) != 1:
        told = f"says {' and '.join(f'`{key}`' for key in events)}" if events else "says nothing that happens"
        section.problem(f"An entry of `given` {told}.", f"Write one of: {', '.join(_EVENTS)}.")
        return ()
    at = section.take("at", moment(start), start)
    times = section.take("times", count(1, _MOST_TIMES), 1)
    every = section.take("every", span, None)
    if (every is None) != ("times" not in section.entries):
        section.problem("`every` and `times` go together.", "Write both, such as `every: 1d, times: 30`.")
    found: list[Event] = section.take(events[0], lambda node: _EVENTS[events[0]](node, times, names), [])
    step = every or timedelta(0)
    return tuple(Given(at + step * index, event) for index, event in enumerate(found))


_Reader = Callable[[Node, int, Names], "list[Event]"]


def _each(reader: Callable[[Node, Names], Event]) -> _Reader:
    """The same event each time."""
    return lambda node, times, names: [reader(node, names)] * times


def _file(node: Node, times: int, names: Names) -> list[Event]:
    """A number of rows, or more about the file."""
    if isinstance(node, Scalar):
        each = count(0)(node)
        return [File(name=_name(names, "", index, times), rows=each, new=each) for index in range(times)]
    section = mapping(node).expect(_FILE_KEYS)
    if "same_as" not in section.entries:
        section.require("rows")
    same_as = section.take("same_as", lambda entry: known("file", tuple(names.files), entry), "")
    name = section.take("name", lambda entry: _new_name(entry, names), "")
    nothing: list[Mapping[str, float]] = [{} for _ in range(times)]
    none: list[int] = [0] * times
    rows: list[int] = section.take("rows", _one_or_each(count(0), times), none)
    new: list[int] = section.take("new", _one_or_each(count(0), times), rows)
    scores = section.take("scores", lambda entry: _scores(entry, times, names), nothing)
    drift = section.take("drift", lambda entry: _drift(entry, times), nothing)
    common = File(
        name="",
        rows=0,
        new=0,
        judging=section.take("judging", count(0), None),
        grows_for=section.take("grows_for", span, timedelta(0)),
        age=section.take("age", span, timedelta(0)),
        same_as=same_as,
        broken=section.take("broken", word, ""),
        history="history" in section.entries and section.take("history", switch, False),
    )
    if any(more > most for more, most in zip(new, rows, strict=True)):
        section.entries["new"].problem("More rows are new than there are rows.")
    return [
        replace(common, name=_name(names, name, index, times), rows=rows[index], new=new[index],
                scores=scores[index], drift=drift[index])
        for index in range(times)
    ]  # fmt: skip


def _new_name(node: Node, names: Names) -> str:
    value = word(node)
    if value in names.files:
        raise Wrong(f"Two files have the name `{value}`.", "Name them differently; the same bytes are `same_as`.")
    return value


def _name(names: Names, given: str, index: int, times: int) -> str:
    name = given or f"number {len(names.files) + 1}"
    if given and times > 1:
        name = f"{given} {index + 1}"
    names.files.append(name)
    return name


def _one_or_each(reader: Callable[[Node], int], times: int) -> Callable[[Node], list[int]]:
    """A value, or a list with one for each time."""

    def read(node: Node) -> list[int]:
        return [reader(item) for item in _items(node, times)]

    return read


def _items(node: Node, times: int) -> list[Node]:
    if not isinstance(node, Sequence):
        return [node] * times
    items = sequence(node)
    if len(items) != times:
        raise Wrong(f"`{node.name}` has {len(items)} values for {times} times.", "Write one for each, or one for all.")
    return items


def _scores(node: Node, times: int, names: Names) -> list[Mapping[str, float]]:
    """By metric a score, or one for each time."""
    found: list[dict[str, float]] = [{} for _ in range(times)]
    for metric, values in _metrics(mapping(node), names).items():
        for each, item in zip(found, _items(values, times), strict=True):
            each[metric] = number(item)
    return list(found)


def _metrics(section: MappingNode, names: Names) -> dict[str, Node]:
    """Scores that neither a rule nor a requirement asks for change nothing."""
    for metric, key in section.keys.items():
        key.called(section.name).read(lambda node: known("metric of this policy", names.metrics, node), metric)
    return {metric: value.called(f"{section.name}.{metric}") for metric, value in section.entries.items()}


def _drift(node: Node, times: int) -> list[Mapping[str, float]]:
    """A distance of the column that is farthest, or by column; each may be one for each time."""
    if not isinstance(node, MappingNode):
        return [{ANY_COLUMN: _distance(item)} for item in _items(node, times)]
    found: list[dict[str, float]] = [{} for _ in range(times)]
    for column, values in node.entries.items():
        for each, item in zip(found, _items(values.called(f"{node.name}.{column}"), times), strict=True):
            each[column] = _distance(item)
    return list(found)


def _distance(node: Node) -> float:
    value = number(node)
    if value < 0:
        raise Wrong(f"`{node.name}` is {value:g}; a distance is not negative.")
    return value


def _series_of_scores(node: Node, times: int, names: Names) -> list[Event]:
    return [Scored(scores) for scores in _scores(node, times, names)]


def _series_of_drift(node: Node, times: int, _names: Names) -> list[Event]:
    return [Drifted(columns) for columns in _drift(node, times)]


def _moved(node: Node, _names: Names) -> Event:
    """A version, `gone`, or a mapping that names who moved the alias."""
    if isinstance(node, Scalar):
        return AliasMoved(None if node.value == "gone" else count(1)(node), "someone")
    section = mapping(node).expect(("version", "by"))
    section.require("version")
    return AliasMoved(section.take("version", count(1), 1), section.take("by", word, "someone"))


def read_course(node: Node, before: Course = Course()) -> Course:  # noqa: B008  a value
    """How attempts go; what is left out stays as it was."""
    return _course(mapping(node).expect(_COURSE_KEYS), before)


def _course(section: MappingNode, before: Course) -> Course:
    return Course(
        takes=section.take("takes", _above_zero, before.takes),
        ends=section.take("verdict", choice(Ends), before.ends),
        failures=section.take("failures", count(0, 100), before.failures),
        reason=section.take("reason", word, before.reason),
    )


def _above_zero(node: Node) -> timedelta:
    value = span(node)
    if not value:
        raise Wrong(f"`{node.name}` is nothing.", "Write at least 1s.")
    return value


def _course_event(node: Node, _names: Names) -> Event:
    section = mapping(node).expect((*_COURSE_KEYS, "next"))
    return replace(_course(section, Course()), next=section.take("next", count(1, _MOST_TIMES), None))


def _truth(event: Event) -> Callable[[Node, Names], Event]:
    def read(node: Node, _names: Names) -> Event:
        if not switch(node):
            raise Wrong(f"`{node.name}` can only be true.", "Leave it out where it does not happen.")
        return event

    return read


def _by(kind: Callable[[str], Event]) -> Callable[[Node, Names], Event]:
    return lambda node, _names: kind(word(node))


def _named(kind: Callable[[str], Event]) -> Callable[[Node, Names], Event]:
    return lambda node, names: kind(known("file", tuple(names.files), node))


_EVENTS: Mapping[str, _Reader] = {
    "drop": _file,
    "retract": _each(_named(Retract)),
    "release": _each(_named(Release)),
    "gone": _each(_named(Gone)),
    "back": _each(_named(Back)),
    "scores": _series_of_scores,
    "drift": _series_of_drift,
    "champion": _each(_moved),
    "challenger": _each(lambda node, _names: PutUp(count(1)(node))),
    "upstream": _each(lambda node, names: UpstreamMoved(known("upstream model", names.upstream, node))),
    "attempts": _each(_course_event),
    "request": _each(_by(Requested)),
    "approve": _each(_by(lambda by: Answered(True, by))),
    "reject": _each(_by(lambda by: Answered(False, by))),
    "pause": _each(_by(Paused)),
    "resume": _each(_by(Resumed)),
    "rollback": _each(_by(RolledBack)),
    "policy_edited": _each(_truth(PolicyEdited())),
    "restart": _each(_truth(Stopped())),
    "stopped": _each(lambda node, _names: Stopped(_above_zero(node))),
    "registry_down": _each(lambda node, _names: RegistryDown(_above_zero(node))),
}
#: What may happen, as a test writes it.
EVENTS = tuple(_EVENTS)
