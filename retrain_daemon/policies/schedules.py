"""What a policy says about time: its schedules, its quiet hours, and the zones whose clocks they go by.

When they come is computed in `core/`. Cron lines themselves are read in `cron.py`.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache

from retrain_daemon.core.policy import DEFAULT_WITHIN, QuietHours, Schedule
from retrain_daemon.core.quiet import quiet_until
from retrain_daemon.policies.cron import read_cron
from retrain_daemon.policies.names import read_named
from retrain_daemon.policies.nodes import Node, Scalar, Sequence, Wrong, closest
from retrain_daemon.policies.units import duration, mapping, sequence, shown_text, text

_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*")
_MOST_QUIET_HOURS = 20


def read_schedules(node: Node) -> Mapping[str, Schedule]:
    """Schedules by the name that rules use."""
    return read_named(node, "weekly", _schedule)


def read_quiet_hours(node: Node) -> tuple[QuietHours, ...]:
    """One span of the day, or a list of such."""
    if not isinstance(node, Sequence):
        found = node.read(_quiet, None)
        return () if found is None else (found,)
    items = sequence(node)
    if len(items) > _MOST_QUIET_HOURS:
        raise Wrong(f"`{node.name}` has more than {_MOST_QUIET_HOURS} entries.")
    read = [item.read(_quiet, None) for item in items]
    hours = tuple(each for each in read if each is not None)
    if hours and _is_always_quiet(hours):
        raise Wrong(f"`{node.name}` leaves no time of the day.", "Pause the model instead: `retraind pause MODEL`.")
    return hours


def _schedule(node: Node) -> Schedule | None:
    if isinstance(node, Scalar):
        return Schedule(read_cron(node))
    section = mapping(node).expect(("cron", "timezone", "within"))
    section.require("cron")
    cron = section.take("cron", read_cron, "")
    zone = section.take("timezone", read_zone, "UTC")
    within = section.take("within", duration, DEFAULT_WITHIN)
    return Schedule(cron, zone, within) if cron else None


def _quiet(node: Node) -> QuietHours | None:
    section = mapping(node).expect(("from", "to", "timezone"))
    section.require("from", "to")
    begin, end = section.take("from", _time_of_day, None), section.take("to", _time_of_day, None)
    zone = section.take("timezone", read_zone, "UTC")
    if begin is None or end is None:
        return None
    if begin == end:
        raise Wrong(f"`{node.name}` begins and ends at {begin:%H:%M}.", "Write two times of the day.")
    return QuietHours(begin, end, zone)


def _time_of_day(node: Node) -> time:
    value = text(node)
    found = _CLOCK.fullmatch(value)
    if found and int(found[1]) < 24 and int(found[2]) < 60:
        return time(int(found[1]), int(found[2]))
    hint = 'Midnight is "00:00".' if value == "24:00" else 'Write hours and minutes from "00:00" to "23:59".'
    raise Wrong(f"`{node.name}` is no time of the day: `{shown_text(value)}`.", hint)


def _is_always_quiet(hours: tuple[QuietHours, ...]) -> bool:
    """On a day in winter: what ends does so within a day."""
    day = datetime(2026, 1, 14, tzinfo=UTC)
    end = quiet_until(hours, day)
    return end is not None and end > day + timedelta(days=1)


def read_zone(node: Node) -> str:
    """The name of a time zone as the zone database has it."""
    value = text(node)
    if _ZONE.fullmatch(value) and _is_known(value):
        return value
    message = f"`{node.name}` is no time zone: `{shown_text(value)}`."
    raise Wrong(message, _zone_hint(value))


def _is_known(zone: str) -> bool:
    try:
        zoneinfo.ZoneInfo(zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _zone_hint(value: str) -> str:
    names = _zones()
    close = names.get(value.lower())
    if close is None and "/" in value:
        close = names.get(closest(value, tuple(names)))
    if close is not None:
        return f"Did you mean `{close}`?"
    return "Write one such as UTC or Europe/Berlin; abbreviations and offsets do not know of summer."


@lru_cache(maxsize=1)
def _zones() -> Mapping[str, str]:
    """Every zone by its name in lower case; also by its place alone."""
    names = sorted(zoneinfo.available_timezones())
    return {name.rsplit("/", 1)[-1].lower(): name for name in names} | {name.lower(): name for name in names}
