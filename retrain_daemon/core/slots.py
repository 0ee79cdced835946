"""Slots of schedules: when a cron line fires, on the wall clock of its zone, told in UTC.

Pure: no clock. A wall-clock time that comes twice in autumn is one slot, the first time; one that is left out in spring
is that much later, as the clock was set forward. Two such slots may be one moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim

from retrain_daemon.core.policy import Schedule

#: No clock was ever set forward by more: a zone that changed its side of the date line left out a day.
_LOOK_BACK = timedelta(hours=25)
_NONE = timedelta(0)


def next_slot(schedule: Schedule, now: datetime) -> datetime | None:
    """The first slot after `now` (aware), in UTC; None where none comes in 50 years."""
    zone = ZoneInfo(schedule.timezone)
    # A time that was left out just now may fire later than now, though the clock is past it.
    begin = _wall(now, zone) - _set_forward(now, zone)
    for slot in CronSim(schedule.cron, begin):
        moment = _moment(slot, zone)
        if moment > now:
            between = _before_where_put(schedule, slot, moment, zone)
            return min((moment, *(each for each in between if each > now)))
    return None


def newest_slot(schedule: Schedule, now: datetime) -> datetime | None:
    """The last slot that has come, `now` (aware) included, in UTC; None where there was none in 50 years."""
    zone = ZoneInfo(schedule.timezone)
    # Where the clock reads a time for the second time, later ones of that hour have come already.
    for slot in _backwards(schedule, _wall(now, zone) + _comes_again(now, zone)):
        moment = _moment(slot, zone)
        if moment <= now:
            left_out = _left_out_before(schedule, slot, moment, zone)
            return max((moment, *(each for each in left_out if each <= now)))
    return None


def is_due(schedule: Schedule, last_start: datetime | None, now: datetime) -> bool:
    """Whether a slot has come after which no attempt started yet, and not longer ago than `within`."""
    slot = newest_slot(schedule, now)
    if slot is None or now - slot >= schedule.within:
        return False
    return last_start is None or last_start < slot


def next_change(schedule: Schedule, last_start: datetime | None, now: datetime) -> datetime | None:
    """When `is_due` may next say something else while nothing starts: a slot comes, or `within` has passed."""
    coming = next_slot(schedule, now)
    if not is_due(schedule, last_start, now):
        return coming
    slot = newest_slot(schedule, now)
    assert slot is not None
    passed = slot + schedule.within
    return passed if coming is None else min(passed, coming)


def first_change(
    schedules: Mapping[str, Schedule], last_start: datetime | None, now: datetime
) -> datetime | None:  # fmt: skip
    """The earliest of `next_change` of all of them."""
    changes = (next_change(each, last_start, now) for each in schedules.values())
    return min((change for change in changes if change is not None), default=None)


def _wall(now: datetime, zone: ZoneInfo) -> datetime:
    return now.astimezone(zone).replace(tzinfo=None, fold=0)


def _moment(slot: datetime, zone: ZoneInfo) -> datetime:
    """The first time that the clock reads this, or would have read it had it not been set forward."""
    return slot.replace(tzinfo=zone).astimezone(UTC)


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    found = moment.astimezone(zone).utcoffset()
    assert found is not None
    return found


def _comes_again(now: datetime, zone: ZoneInfo) -> timedelta:
    """By how much the clock was set back, if it reads this time for the second time."""
    local = now.astimezone(zone)
    first, second = local.replace(fold=0).utcoffset(), local.utcoffset()
    return first - second if local.fold and first is not None and second is not None else _NONE


def _set_forward(moment: datetime, zone: ZoneInfo) -> timedelta:
    """By how much the clock was set forward, if that was not longer ago than so much."""
    here = _offset(moment, zone)
    ahead = here - _offset(moment - _LOOK_BACK, zone)
    return ahead if ahead > _NONE and _offset(moment - ahead, zone) != here else _NONE


def _before_where_put(schedule: Schedule, slot: datetime, moment: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Slots that the clock reads before it gets to where a slot that was left out is put."""
    put = _wall(moment, zone)
    if put <= slot:
        return
    for later in CronSim(schedule.cron, slot):
        if later >= put:
            return
        yield _moment(later, zone)


def _left_out_before(schedule: Schedule, slot: datetime, moment: datetime, zone: ZoneInfo) -> Iterator[datetime]:
    """Slots that were left out shortly before, some of which are put after this one."""
    ahead = _set_forward(moment, zone)
    for earlier in _backwards(schedule, slot) if ahead else ():
        if earlier <= slot - 2 * ahead:
            return
        yield _moment(earlier, zone)


def _backwards(schedule: Schedule, wall: datetime) -> Iterator[datetime]:
    """From this time of the clock, included, to earlier ones."""
    return CronSim(schedule.cron, wall + timedelta(microseconds=1), reverse=True)
