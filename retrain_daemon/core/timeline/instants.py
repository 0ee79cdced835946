"""When time alone may change what is decided: the moments at which a timeline decides again though nothing happens.

Exact where a rule compares an age with a constant, and at what a decision names itself, such as slots of schedules;
rules that compute with time otherwise are looked at each quarter of an hour, or each minute where they ask for minutes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from retrain_daemon.core.decide import Decision
from retrain_daemon.core.policy import Names, Policy
from retrain_daemon.core.rules.expression import compile_rule, evaluate
from retrain_daemon.core.rules.vocabulary import HELPERS, Kind, Value, facts_of

#: `>` holds so long after what it is compared with: the smallest step of a clock.
_TICK = timedelta(microseconds=1)
_QUARTER, _MINUTE = timedelta(minutes=15), timedelta(minutes=1)
_HELPER = re.compile(rf"\b({'|'.join(HELPERS)})\(\s*(\d{{1,9}})\s*\)")
_DURATION = re.compile(r"""\bduration\(\s*["']([^"']+)["']\s*\)""")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_MOMENT = re.compile(r"""\btimestamp\(\s*["']([^"']+)["']\s*\)""")
_SIGN = r"\s*(?:>=|<=|==|!=|>|<)\s*"
_CONSTANT = rf"(?:(?:{'|'.join(HELPERS)}|duration|timestamp)\([^()]*\))"
_FINE = re.compile(r"\bget(Minutes|Seconds|Milliseconds)\b")


@lru_cache(maxsize=1024)
def _spans_in(source: str) -> tuple[timedelta, ...]:
    """The constant lengths of time that a rule mentions."""
    found = [HELPERS[unit] * int(count) for unit, count in _HELPER.findall(source)]
    for text in _DURATION.findall(source):
        parts = _PART.findall(text)
        found.append(timedelta(seconds=sum(float(count) * _UNITS[unit] for count, unit in parts)))
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=1024)
def _moments_in(source: str) -> tuple[datetime, ...]:
    """The constant points in time that a rule mentions."""
    found = []
    for text in _MOMENT.findall(source):
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        found.append(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return tuple(found)


@lru_cache(maxsize=1024)
def _passing(source: str, given: Names) -> tuple[str, ...]:
    """The facts of a rule that change while nothing happens."""
    facts = facts_of(given)
    return tuple(name for name in compile_rule(source, given).names if facts[name].kind in (Kind.SPAN, Kind.MOMENT))


@lru_cache(maxsize=1024)
def step_of(source: str, given: Names) -> timedelta | None:
    """How often a rule must be looked at that computes with time other than by comparing it with a constant; None where
    it does not.
    """
    left = source
    for name in _passing(source, given):
        fact = re.escape(name)
        left = re.sub(rf"(?<![\w.]){fact}{_SIGN}{_CONSTANT}|{_CONSTANT}{_SIGN}{fact}(?![\w.(])", " ", left)
    if not any(re.search(rf"(?<![\w.]){re.escape(name)}\b", left) for name in _passing(source, given)):
        return None
    return _MINUTE if _FINE.search(left) else _QUARTER


def next_instant(
    policy: Policy, decision: Decision, values: Mapping[str, Value], now: datetime, horizon: datetime
) -> datetime | None:
    """Given what was decided at `now` with these values of facts, the next moment at which time alone may change it;
    None where it does not until `horizon`.
    """
    moments = [decision.until] if decision.until else []
    moments += [moment for rule in policy.rules for moment in _exact(rule.when, policy.names, values, now)]
    soonest = min((moment for moment in moments if moment > now), default=horizon)
    stepped = [_stepped(rule.when, policy.names, values, now, soonest) for rule in policy.rules]
    found = min((soonest, *(moment for moment in stepped if moment is not None)))
    return found if now < found <= horizon else None


def _exact(source: str, given: Names, values: Mapping[str, Value], now: datetime) -> Iterator[datetime]:
    """When an age passes a constant, and the points in time that are mentioned."""
    for name in _passing(source, given):
        age = values.get(name)
        if isinstance(age, timedelta) and _grows(name, values):
            for span in _spans_in(source):
                yield now + span - age
                yield now + span - age + _TICK
    for moment in _moments_in(source):
        yield moment
        yield moment + _TICK


def _grows(name: str, values: Mapping[str, Value]) -> bool:
    """Whether an age is one: where no rows wait, none of them gets older."""
    return name != "data.waiting" or bool(values.get("data.new_rows"))


def _stepped(
    source: str, given: Names, values: Mapping[str, Value], now: datetime, horizon: datetime
) -> datetime | None:
    """Step by step, when a rule that computes with time first says something else, before `horizon`."""
    step = step_of(source, given)
    if step is None:
        return None
    rule = compile_rule(source, given)
    mentioned = {name: values.get(name) for name in rule.names}
    before = evaluate(rule, mentioned).holds
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    moment = midnight + ((now - midnight) // step + 1) * step
    while moment < horizon:
        if evaluate(rule, {name: _later(name, values, moment - now) for name in rule.names}).holds is not before:
            return moment
        moment += step
    return None


def _later(name: str, values: Mapping[str, Value], after: timedelta) -> Value:
    """A fact's value when nothing has happened for so long."""
    value = values.get(name)
    if isinstance(value, datetime) or (isinstance(value, timedelta) and _grows(name, values)):
        return value + after
    return value
