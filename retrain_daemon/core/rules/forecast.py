"""When a rule that does not hold could next hold: by time alone, or what it waits for besides.

Nothing is foreseen but the clock: slots of schedules, ages, and what a rule asks of `now`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from retrain_daemon.core.facts import Facts
from retrain_daemon.core.pace import last_start
from retrain_daemon.core.policy import Policy, Rule
from retrain_daemon.core.rules.anatomy import Anatomy, Joint, Sides, anatomy_of
from retrain_daemon.core.rules.programs import is_known, program_of
from retrain_daemon.core.rules.vocabulary import Kind, Value, fact_values, facts_of
from retrain_daemon.core.slots import is_due, newest_slot, next_slot

#: What a rule asks of the clock itself is tried hour by hour, and then day by day.
_HOURS, _DAYS = 8 * 24, 366
_HOUR, _SECOND, _INSTANT = timedelta(hours=1), timedelta(seconds=1), timedelta(microseconds=1)
_World = Callable[[datetime], Mapping[str, Value]]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """`at`: when the rule holds if nothing happens but that time passes; None where it does not for as far as is seen.
    Then it waits for other values of the facts in `waits_for`, and cannot hold before `not_before` even with them.
    """

    at: datetime | None = None
    waits_for: tuple[str, ...] = ()
    not_before: datetime | None = None


def forecast(rule: Rule, policy: Policy, facts: Facts, now: datetime) -> Forecast:
    """Given a rule that does not hold now, when it could."""
    names, present = _facts(rule.when, policy), values_now(policy, facts, now)

    def world(moment: datetime) -> Mapping[str, Value]:
        return later(names, present, policy, facts, moment)

    whole = anatomy_of(rule.when, policy.names)
    at = _first(whole, policy, world, now)
    if at is not None:
        return Forecast(at=at)
    conditions = whole.parts if whole.joint is Joint.ALL else (whole,)
    open_ones = [each for each in conditions if not _holds(each.text, policy, world(now))]
    times = {each: _first(each, policy, world, now) for each in open_ones}
    waits_for = (name for each in open_ones if times[each] is None for name in _facts(each.text, policy))
    return Forecast(
        waits_for=tuple(dict.fromkeys(name for name in waits_for if name != "now")),
        not_before=max((each for each in times.values() if each is not None), default=None),
    )


def values_now(policy: Policy, facts: Facts, now: datetime) -> Mapping[str, Value]:
    """The values that count as known for rules. What is being measured is not known, whatever was measured before."""
    values = fact_values(policy, facts, now)
    measuring = facts.data.measuring
    return {name: value for name, value in values.items() if is_known(value) and not name.startswith(measuring)}


def later(
    names: Iterable[str], present: Mapping[str, Value], policy: Policy, facts: Facts, moment: datetime
) -> Mapping[str, Value]:
    """Of the named facts, the values that count as known at a moment if only time passes from the `present` ones."""
    now = present["now"]
    assert isinstance(now, datetime)
    started = last_start(facts.starts, moment)
    values: dict[str, Value] = {}
    for name in names:
        value = present.get(name)
        if name == "now":
            values[name] = moment
        elif name.startswith("schedule."):
            values[name] = is_due(policy.schedules[name.removeprefix("schedule.")], started, moment)
        elif isinstance(value, timedelta) and (name != "data.waiting" or present.get("data.new_rows")):
            values[name] = value + (moment - now)
        elif value is not None:
            values[name] = value
    return values


def _first(condition: Anatomy, policy: Policy, world: _World, now: datetime) -> datetime | None:
    """The first moment after now at which a condition holds."""
    before = now
    for candidate in sorted(set(_moments(condition, policy, world, now))):
        for moment in (candidate, candidate + _SECOND):
            if moment > now and _holds(condition.text, policy, world(moment)):
                return _turn(condition.text, policy, world, before, moment)
        before = max(before, candidate)
    return None


def _turn(text: str, policy: Policy, world: _World, before: datetime, after: datetime) -> datetime:
    """Between a moment at which it does not hold and one at which it does, where that changes, to the second."""
    if not _holds(text, policy, world(after - _INSTANT)):
        return after
    while after - before > _SECOND:
        middle = before + (after - before) / 2
        before, after = (before, middle) if _holds(text, policy, world(middle)) else (middle, after)
    return after


def _moments(condition: Anatomy, policy: Policy, world: _World, now: datetime) -> Iterator[datetime]:
    """When time may change a condition."""
    names = _facts(condition.text, policy)
    for name in names:
        if name.startswith("schedule."):
            yield from _slots(name.removeprefix("schedule."), policy, now)
    if any(facts_of(policy.names)[name].kind in (Kind.SPAN, Kind.MOMENT) for name in names):
        for leaf in condition.leaves():
            yield from _crossing(leaf.sides, world, now)
    if "now" in names:
        yield from _probes(now)


def _slots(name: str, policy: Policy, now: datetime) -> Iterator[datetime]:
    """When its fact turns true or false."""
    schedule = policy.schedules[name]
    newest, following = newest_slot(schedule, now), next_slot(schedule, now)
    if newest is not None:
        yield newest + schedule.within
    if following is not None:
        yield following
        yield following + schedule.within


def _crossing(sides: Sides | None, world: _World, now: datetime) -> Iterator[datetime]:
    """When the two sides of a comparison of durations or moments are equal: each changes as time passes, or stays."""
    gap, later = (_gap(sides, world(moment)) if sides else None for moment in (now, now + _HOUR))
    if gap is None or later is None or gap == later:
        return
    try:
        yield now + gap / ((gap - later) / _HOUR)
    except OverflowError:
        return


def _gap(sides: Sides, known: Mapping[str, Value]) -> timedelta | None:
    left, right = (side.compute(known).value for side in (sides.left, sides.right))
    if isinstance(left, timedelta) and isinstance(right, timedelta):
        return right - left
    if isinstance(left, datetime) and isinstance(right, datetime):
        return right - left
    return None


def _probes(now: datetime) -> Iterator[datetime]:
    hour = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    yield from (hour + _HOUR * count for count in range(1, _HOURS + 1))
    yield from (day + timedelta(days=count) for count in range(_HOURS // 24 + 1, _DAYS + 1))


def _facts(text: str, policy: Policy) -> list[str]:
    return sorted(program_of(text, policy.names).names & facts_of(policy.names).keys())


def _holds(text: str, policy: Policy, known: Mapping[str, Value]) -> bool:
    return program_of(text, policy.names).compute(known).truth is True
