"""Points in time as tests of policies write them: so long after the start, or absolute with a time zone."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from retrain_daemon.policies.nodes import Node, Wrong
from retrain_daemon.policies.units import shown_text, text

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_SPAN = re.compile(r"(?:[0-9]{1,6} ?[smhdw])(?: ?[0-9]{1,6} ?[smhdw])*")
_PART = re.compile(r"([0-9]+) ?([smhdw])")
_ABSOLUTE = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:[T ]([0-9]{2}:[0-9]{2}(?::[0-9]{2})?))? ?(Z|[+-][0-9]{2}:?[0-9]{2}|[A-Za-z][A-Za-z0-9_+/-]+)?")  # fmt: skip  # noqa: E501
_EXAMPLE = "2026-03-29T02:30:00+01:00 or 2026-03-29 12:00 Europe/Berlin"
_LONGEST = timedelta(days=3660)


def span(node: Node) -> timedelta:
    """A length of time in one or several units, such as `3d 4h`; 0 for none."""
    value = text(node).strip()
    if value == "0":
        return timedelta(0)
    if not _SPAN.fullmatch(value):
        hint = "Write whole numbers with units: 90s, 75m, 2h, 3d 4h or 2w."
        raise Wrong(f"`{node.name}` must be a length of time, not `{shown_text(value)}`.", hint)
    found = sum((timedelta(**{_UNITS[unit]: int(count)}) for count, unit in _PART.findall(value)), timedelta(0))
    if found > _LONGEST:
        raise Wrong(f"`{node.name}` is {shown_text(value)}; a timeline has at most ten years.")
    return found


def absolute(node: Node) -> datetime:
    """A point in time with a time zone, in UTC."""
    value = text(node).strip()
    found = _ABSOLUTE.fullmatch(value)
    if found is None:
        raise Wrong(
            f"`{node.name}` must be a point in time, not `{shown_text(value)}`.", f"Write one such as {_EXAMPLE}."
        )
    if found[3] is None:
        raise Wrong(f"`{node.name}` has no time zone: `{shown_text(value)}`.", f"Write one such as {_EXAMPLE}.")
    return _in_zone(node, found[1], found[2] or "00:00", found[3])


def moment(start: datetime) -> Callable[[Node], datetime]:
    """A reader of a point in time that is not before `start`: how long after it, or absolute."""

    def read(node: Node) -> datetime:
        value = text(node).strip()
        if re.match(r"[0-9]{4}-", value) is None:
            return start + span(node)
        found = absolute(node)
        if found < start:
            raise Wrong(f"`{node.name}` is {shown_text(value)}, before the start ({start:%Y-%m-%d %H:%M} UTC).")
        if found - start > _LONGEST:
            raise Wrong(f"`{node.name}` is {shown_text(value)}; a timeline has at most ten years.")
        return found

    return read


def _in_zone(node: Node, day: str, time: str, zone: str) -> datetime:
    """A wall-clock time that there is not, or twice, in its zone needs an offset instead."""
    if zone == "Z" or zone[0] in "+-":
        return _iso(node, f"{day}T{time}{'+00:00' if zone == 'Z' else zone}").astimezone(UTC)
    wall = _iso(node, f"{day}T{time}")
    try:
        there = ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        raise Wrong(
            f"`{node.name}`: there is no time zone `{shown_text(zone)}`.", "Write one such as Europe/Berlin."
        ) from None
    first, second = (wall.replace(tzinfo=there, fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        message = f"`{node.name}`: {day} {time} is there twice, or not at all, in {zone}, where clocks are set."
        raise Wrong(message, f"Write it with an offset, such as {_EXAMPLE.split(' ')[0]}.")
    return first.astimezone(UTC)


def _iso(node: Node, written: str) -> datetime:
    try:
        return datetime.fromisoformat(written)
    except ValueError as error:
        raise Wrong(f"`{node.name}` is no point in time: {error}.", f"Write one such as {_EXAMPLE}.") from None
