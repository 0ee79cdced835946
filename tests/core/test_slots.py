"""Slots of schedules, against walks over every minute of the clock on the wall."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_daemon.core.policy import Schedule
from retrain_daemon.core.slots import is_due, newest_slot, next_change, next_slot

#: Zones with days on which clocks are changed: by an hour, by half of one, by two, at midnight, by a whole day.
CHANGES = [
    ("Europe/Berlin", "2026-03-29"), ("Europe/Berlin", "2026-10-25"),
    ("Australia/Lord_Howe", "2026-04-04"), ("Australia/Lord_Howe", "2026-10-03"),
    ("America/Santiago", "2026-04-05"), ("America/Santiago", "2026-09-06"),
    ("Africa/Cairo", "2026-04-24"), ("Africa/Cairo", "2026-10-29"),
    ("America/St_Johns", "2006-04-02"), ("America/St_Johns", "2006-10-29"),
    ("Antarctica/Troll", "2026-03-29"), ("Antarctica/Troll", "2026-10-25"),
    ("Pacific/Apia", "2011-12-30"), ("Asia/Kolkata", "2026-01-01"),
]  # fmt: skip
MINUTES = st.one_of(st.sampled_from(["*", "*/5", "*/16", "59"]), st.integers(0, 59).map(str))
HOURS = st.sampled_from(["*", "0", "1", "2", "3", "23", "1,2", "2,3", "23,0", "*/6"])
DAYS = st.sampled_from(["* * *", "* * sun", "* * sat,sun", "*/2 * *", "*/2 * mon", "29 * sun"])


def walked(cron: str, zone: str, begin: datetime, days: int) -> list[datetime]:
    """Every slot of these days on the wall, by looking at each minute."""
    line, wall, found = CronSim(cron, begin), begin, set()
    while wall < begin + timedelta(days=days):
        if wall.minute in line.minutes and wall.hour in line.hours and line.match_day(wall.date()):
            found.add(wall.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC))
        wall += timedelta(minutes=1)
    return sorted(found)


@settings(max_examples=60, deadline=None)
@given(
    where=st.sampled_from(CHANGES), minutes=MINUTES, hours=HOURS, days=DAYS,
    offsets=st.lists(st.integers(0, 2 * 86400 * 10**6), min_size=20, max_size=20),
)  # fmt: skip
def test_each_slot_of_the_wall_clock_comes_once_whatever_is_done_to_clocks(
    where: tuple[str, str], minutes: str, hours: str, days: str, offsets: list[int]
) -> None:
    zone, day = where[0], datetime.fromisoformat(where[1])
    schedule = Schedule(f"{minutes} {hours} {days}", zone)
    known = walked(schedule.cron, zone, day - timedelta(days=4), 9)
    begin = day.replace(tzinfo=UTC) - timedelta(days=1)
    moments = [begin + timedelta(microseconds=offset) for offset in offsets]
    moments += [slot for slot in known if abs(slot - begin) < timedelta(days=1.5)][:40]
    for now in moments:
        place = bisect_right(known, now)
        if place < len(known):
            assert next_slot(schedule, now) == known[place]
        if place > 0:
            assert newest_slot(schedule, now) == known[place - 1]


def test_a_time_that_comes_twice_in_autumn_fires_the_first_time_only() -> None:
    schedule = Schedule("30 2 * * *", "Europe/Berlin")
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert next_slot(schedule, first - timedelta(seconds=1)) == first
    assert next_slot(schedule, first) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)
    second = first + timedelta(hours=1)
    assert not is_due(schedule, first, second)


def test_a_time_that_is_left_out_in_spring_fires_when_it_would_have_come() -> None:
    schedule = Schedule("30 2 * * *", "Europe/Berlin")
    assert next_slot(schedule, datetime(2026, 3, 28, 12, tzinfo=UTC)) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize("day", ["0", "7", "sun", "SUN"])
def test_days_of_the_week_are_numbered_as_posix_does(day: str) -> None:
    found = next_slot(Schedule(f"0 3 * * {day}"), datetime(2026, 11, 25, tzinfo=UTC))
    assert found == datetime(2026, 11, 29, 3, tzinfo=UTC)
    assert found.strftime("%a") == "Sun"


def test_a_day_of_the_month_or_one_of_the_week_will_do_where_both_are_given() -> None:
    schedule, found = Schedule("0 3 13 * fri"), datetime(2026, 11, 1, tzinfo=UTC)
    days = []
    while (found := next_slot(schedule, found) or found).month == 11:
        days.append(found.day)
    assert days == [6, 13, 20, 27]
    assert next_slot(schedule, datetime(2026, 12, 12, tzinfo=UTC)) == datetime(2026, 12, 13, 3, tzinfo=UTC)


SUNDAY = datetime(2026, 11, 29, 3, tzinfo=UTC)
WEEKLY = Schedule("0 3 * * sun", within=timedelta(hours=6))


def test_a_slot_is_due_until_an_attempt_starts_or_its_time_is_over() -> None:
    hour = timedelta(hours=1)
    assert not is_due(WEEKLY, None, SUNDAY - timedelta(seconds=1))
    assert is_due(WEEKLY, None, SUNDAY)
    assert is_due(WEEKLY, SUNDAY - hour, SUNDAY + hour)
    assert not is_due(WEEKLY, SUNDAY + hour, SUNDAY + 2 * hour)
    assert not is_due(WEEKLY, None, SUNDAY + 6 * hour)


def test_what_may_change_next_is_a_slot_or_the_end_of_its_time() -> None:
    hour, week = timedelta(hours=1), timedelta(days=7)
    assert next_change(WEEKLY, None, SUNDAY - hour) == SUNDAY
    assert next_change(WEEKLY, None, SUNDAY + hour) == SUNDAY + 6 * hour
    assert next_change(WEEKLY, SUNDAY, SUNDAY + hour) == SUNDAY + week
    assert next_change(Schedule("*/5 * * * *"), None, SUNDAY) == SUNDAY + timedelta(minutes=5)
