"""Warnings about policies: what is legal and surely not meant, each with what to write.

Pure over the policy as read. A warning keeps nothing out of force; what a file may not say is a problem, found where
its key is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from retrain_daemon.core.metrics import METRICS
from retrain_daemon.core.policy import Claim, Policy, QuietHours, Requirement, Rule, Schedule
from retrain_daemon.core.quiet import quiet_until
from retrain_daemon.core.rules.conditions import (
    Alternative,
    Fault,
    alternatives_of,
    faults_of,
    implies,
    shares_in_percent,
)
from retrain_daemon.core.rules.expression import compile_rule
from retrain_daemon.core.rules.tokens import line_and_column
from retrain_daemon.core.slots import next_slot
from retrain_daemon.policies.nodes import Problem, plain
from retrain_daemon.policies.places import find

_DAY = timedelta(days=1)
#: Clocks of two zones may be set apart in summer only.
_SEASONS = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC))
_SOME = 60


@dataclass(frozen=True)
class _Warning:
    """What is not meant, at a key; with a `rule` at the `offset` inside its text, which is what the key says."""

    key: str
    message: str
    hint: str
    rule: Rule | None = None
    offset: int = 0


def warnings_of(policy: Policy) -> tuple[Problem, ...]:
    """Given a policy without problems, what in it is surely not meant, in the order of its lines."""
    found = (
        *_of_rules(policy),
        *_of_data(policy),
        *_of_window(policy),
        *_of_pace(policy),
        *_of_quiet_hours(policy),
        *_of_names(policy),
        *_of_promotion(policy),
    )
    placed = (_placed(policy, warning) for warning in found)
    return tuple(sorted(placed, key=lambda problem: (problem.line, problem.column)))


def _placed(policy: Policy, warning: _Warning) -> Problem:
    found, line, column = find(policy.text, warning.key), 1, 1
    if found and warning.rule is not None:
        line, column = found.value.place_of(*line_and_column(warning.rule.when, warning.offset))
    elif found:
        place = found.key or found.value
        line, column = place.line, place.column
    return Problem(policy.source, line, column, plain(warning.message), plain(warning.hint), warning=True)


def _of_rules(policy: Policy) -> Iterator[_Warning]:
    read = [alternatives_of(rule.when) for rule in policy.rules]
    for index, rule in enumerate(policy.rules):
        key = f"retrain[{index}].when"
        faults = list(faults_of(read[index]))
        for fault in faults:
            yield _Warning(key, *_said(fault, read[index]), rule, fault.part.start)
        for number, metric in shares_in_percent(rule.when):
            share = f"{float(number.text.rstrip('uU')) / 100:g}"
            message = f"{metric} lies between 0 and 1, and is compared with {number.text}."
            yield _Warning(key, message, f"Write {share}." if float(share) <= 1 else "", rule, number.start)
        never = all(any(not fault.holds and fault.part in one for fault in faults) for one in read[index])
        if not never and not rule.observe and (before := _hidden_by(policy.rules, read, index)):
            yield _Warning(key, *_unreachable(rule, before), rule)


def _said(fault: Fault, alternatives: tuple[Alternative, ...]) -> tuple[str, str]:
    if not fault.holds:
        return f"`{fault.part.written}` is never true: {fault.why}.", "Write what can be true, or take it out."
    message = f"`{fault.part.written}` is always true: {fault.why}."
    alone = any(one == (fault.part,) for one in alternatives)
    return message, "Write data.new_rows > 0 if any new row will do." if alone else "Take it out, or ask for less."


def _hidden_by(rules: tuple[Rule, ...], read: list[tuple[Alternative, ...]], index: int) -> Rule | None:
    """The first earlier rule that holds whenever this one does, and so is taken in its place."""
    earlier = zip(rules[:index], read[:index], strict=True)
    return next((rule for rule, ways in earlier if not rule.observe and implies(read[index], ways)), None)


def _unreachable(rule: Rule, before: Rule) -> tuple[str, str]:
    message = f"The rule `{rule.name}` is never reached: `{before.name}` before it holds whenever it does."
    return message, "Put it before that one, or take it out."


def _of_data(policy: Policy) -> Iterator[_Warning]:
    """Rows of all times judge, though the policy says that times differ."""
    data = policy.data
    if data.event_time is None or data.holdout.share is None or data.group is not None:
        return
    drifts = any(
        name.startswith("drift.") for rule in policy.rules for name in compile_rule(rule.when, policy.names).names
    )
    if data.window.age is not None or drifts:
        yield _Warning(
            "data.holdout",
            "The rows that judge are drawn from all times, old ones too, though `data.event_time` is known and the "
            f"policy asks for {'drift' if drifts else 'a window by age'}: how a model does on new rows is not seen.",
            "Write `holdout: {newest: 14d}`: the newest rows judge first and train afterwards.",
        )


def _of_pace(policy: Policy) -> Iterator[_Warning]:
    cooldown, per_day = policy.pace.cooldown, policy.pace.per_day
    if cooldown is None or per_day is None:
        return
    most = math.ceil(_DAY / cooldown)
    if per_day > most:
        message = f"`pace.per_day` is {per_day}, and with this `cooldown` there are at most {most} starts in 24 hours."
        yield _Warning("pace.per_day", message, "Take one of them out.")


def _of_quiet_hours(policy: Policy) -> Iterator[_Warning]:
    """Schedules of which every slot begins and ends to count within quiet hours."""
    hours = policy.pace.quiet_hours
    for name, schedule in policy.schedules.items() if hours else ():
        slots = (slot for begin in _SEASONS for slot in _slots(schedule, begin))
        if all(_is_within(hours, slot, slot + schedule.within) for slot in slots):
            message = f"Each slot of `{name}` counts within quiet hours only, in which nothing starts by itself."
            yield _Warning(f"schedules.{name}", message, "Write a longer `within`, or another time of the day.")


def _is_within(hours: Sequence[QuietHours], begin: datetime, end: datetime) -> bool:
    over = quiet_until(hours, begin)
    return over is not None and over >= end


def _slots(schedule: Schedule, begin: datetime) -> Iterator[datetime]:
    """Those of two days, and some in any case."""
    slot, count = next_slot(schedule, begin), 0
    while slot is not None and (count < _SOME or slot < begin + 2 * _DAY):
        yield slot
        slot, count = next_slot(schedule, slot), count + 1


def _of_names(policy: Policy) -> Iterator[_Warning]:
    """Schedules and models that no rule asks about."""
    asked = {name for rule in policy.rules for name in compile_rule(rule.when, policy.names).names}
    for name in policy.schedules:
        if f"schedule.{name}" not in asked:
            hint = f"Write a rule such as `when: schedule.{name} && data.new_rows > 0`, or take it out."
            yield _Warning(
                f"schedules.{name}", f"No rule asks about the schedule `{name}`, so it starts nothing.", hint
            )
    for name in policy.upstream:
        if f"upstream.{name}.changed" not in asked:
            hint = f"Write a rule such as `when: upstream.{name}.changed`, or take it out."
            yield _Warning(f"upstream.{name}", f"No rule asks about `{name}`, so it starts nothing.", hint)


def _of_promotion(policy: Policy) -> Iterator[_Warning]:
    sections = [("promote.require", policy.promote.require)]
    sections += [(f"retrain[{index}].require", rule.require) for index, rule in enumerate(policy.rules)]
    for section, lines in sections:
        for index, line in enumerate(lines):
            for found in (_of_rows(policy, line), _of_bound(line)):
                if found is not None:
                    yield _Warning(f"{section}[{index}]{found[0]}", found[1], found[2])


def _of_rows(policy: Policy, line: Requirement) -> tuple[str, str, str] | None:
    """A window of so many rows holds out fewer than a line asks for, so that it is never judged."""
    held_out = _held_out(policy, line.min_rows or 0)
    if held_out is None:
        return None
    message = f"The line asks for {line.min_rows:,} rows{' in each slice' if line.slices else ''}, and {held_out[0]}"
    return ".min_rows", f"{message}: it is never settled.", held_out[1]


def _of_window(policy: Policy) -> Iterator[_Warning]:
    """A window of so many rows holds out fewer than any verdict takes, so that each training is for nothing."""
    needed = policy.promote.min_rows
    held_out = _held_out(policy, needed)
    if held_out is not None:
        message = f"`promote.min_rows` is {needed:,}, and {held_out[0]}: no verdict is ever reached."
        yield _Warning("data.window", message, held_out[1])


def _held_out(policy: Policy, needed: int) -> tuple[str, str] | None:
    """Where a window of so many rows holds out fewer than are needed: how many, as a clause, and what to write."""
    rows, share = policy.data.window.rows, policy.data.holdout.share
    if rows is None or share is None:
        return None
    expected = rows * share
    # A hash holds out a few more at times; five standard deviations are surely enough.
    if needed <= expected + 5 * math.sqrt(expected):
        return None
    hint = f"Write `window: {math.ceil(needed / share)} rows` or more, a larger holdout, or a smaller min_rows."
    return f"of a window of {rows:,} rows about {expected:,.0f} judge", hint


def _of_bound(line: Requirement) -> tuple[str, str, str] | None:
    """A bound that every model keeps."""
    metric = METRICS.get(line.metric)
    if metric is None or metric.name == "r2":
        return None
    low = line.claim is Claim.AT_LEAST and line.threshold <= 0
    high = line.claim is Claim.AT_MOST and metric.is_share and line.threshold >= 1
    if not (low or high):
        return None
    where = "lies between 0 and 1" if metric.is_share else "is never negative"
    message = f"The line asks for nothing: {line.metric} {where}."
    return f".{line.claim.value}", message, "Write a number that a bad model does not reach, or take the line out."
