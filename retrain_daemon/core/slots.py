"""Slots of schedules: when a cron line fires, on the wall clock of its zone, told in UTC.

Pure: no clock. A wall-clock time that comes twice in autumn is one slot, the first time; one that is left out in spring
is that much later, as the clock was set forward.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from retrain_daemon.core.policy import Schedule

#: By no zone's change of clocks is an hour of the day moved by more.
_SHIFT = timedelta(hours=3)


def next_slot(schedule: Schedule, now: datetime) -> datetime | None:
    """The first slot after `now` (aware), in UTC; None where none comes in 50 years."""
    return min(_around(schedule, now, reverse=False), default=None)


def newest_slot(schedule: Schedule, now: datetime) -> datetime | None:
    """The last slot that has come, `now` (aware) included, in UTC; None where there was none in 50 years."""
    return max(_around(schedule, now, reverse=True), default=None)


def is_due(schedule: Schedule, last_start: datetime | None, now: datetime) -> bool:
    """Whether a slot has come after which no attempt started yet, and not longer ago than `within`."""
    slot = newest_slot(schedule, now)
    if slot is None or now - slot >= schedule.within:
        return False
    return last_start is None or last_start < slot


def _around(schedule: Schedule, now: datetime, *, reverse: bool) -> Iterator[datetime]:
    """Slots on the wanted side of `now`: the nearest is among them. Looked for on the wall clock, which is not in the
    order of time where clocks are changed; so some on the other side are passed by first.
    """
    zone = ZoneInfo(schedule.timezone)
    wall = now.astimezone(zone).replace(tzinfo=None, fold=0)
    found: datetime | None = None
    for slot in CronSim(schedule.cron, wall + _SHIFT if reverse else wall - _SHIFT, reverse=reverse):
        if found is not None and abs(slot - found) > _SHIFT:
            return
        moment = slot.replace(tzinfo=zone).astimezone(UTC)
        if moment <= now if reverse else moment > now:
            found = found or slot
            yield moment
