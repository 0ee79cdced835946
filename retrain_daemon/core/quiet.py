"""Quiet hours: whether a clock reads a time in them, and when it is past them.

Pure: no clock. Only what the clock on the wall reads counts, so an hour that comes twice in autumn is quiet twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from retrain_daemon.core.policy import QuietHours

_AHEAD = timedelta(days=2)


def quiet_until(hours: Sequence[QuietHours], now: datetime) -> datetime | None:
    """When all quiet hours that hold at `now` (aware) are over, in UTC; None where none hold.

    Of such that leave no time between them it is the end of one of them, some days ahead.
    """
    if not _is_quiet(hours, now):
        return None
    ends = sorted(end.astimezone(UTC) for each in hours for end in _ends(each, now) if end > now)
    return next((end for end in ends if not _is_quiet(hours, end)), ends[-1])


def _is_quiet(hours: Sequence[QuietHours], now: datetime) -> bool:
    return any(_holds(each, now) for each in hours)


def _holds(hours: QuietHours, now: datetime) -> bool:
    read = now.astimezone(ZoneInfo(hours.timezone)).time()
    if hours.begin <= hours.end:
        return hours.begin <= read < hours.end
    return read >= hours.begin or read < hours.end


def _ends(hours: QuietHours, now: datetime) -> Iterator[datetime]:
    """Moments at which the clock may get past these hours: at their end, or as it is set forward or back."""
    zone = ZoneInfo(hours.timezone)
    today = now.astimezone(zone).date()
    for days in range(_AHEAD.days + 1):
        for fold in (0, 1):
            yield datetime.combine(today + timedelta(days=days), hours.end, zone).replace(fold=fold).astimezone(UTC)
    yield from _set_anew(zone, now.astimezone(UTC))


def _set_anew(zone: ZoneInfo, now: datetime) -> Iterator[datetime]:
    """The moment within the next days at which clocks are changed, if there is one."""
    before, after = now, now + _AHEAD
    if before.astimezone(zone).utcoffset() == after.astimezone(zone).utcoffset():
        return
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        same = middle.astimezone(zone).utcoffset() == now.astimezone(zone).utcoffset()
        before, after = (middle, after) if same else (before, middle)
    yield after.replace(microsecond=0)
