"""The pace of a policy: what keeps a rule that holds from starting an attempt, and until when.

Pure. A person's request is not held by it, nor is judging what exists.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from retrain_daemon.core.policy import Pace
from retrain_daemon.core.quiet import quiet_until

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Hindrance:
    """Nothing starts by itself until then; `code` for programs, `sentence` for people."""

    code: str
    sentence: str
    until: datetime


def hindrance(pace: Pace, starts: Iterable[datetime], now: datetime) -> Hindrance | None:
    """Given when attempts started, what holds the next one the longest; None where nothing does."""
    return max(_hindrances(pace, starts, now), key=lambda each: each.until, default=None)


def last_start(starts: Iterable[datetime], now: datetime) -> datetime | None:
    """The newest start that can be believed."""
    return max(credible(starts, _DAY, now), default=None)


def credible(starts: Iterable[datetime], reach: timedelta, now: datetime) -> list[datetime]:
    """In order, without those further ahead than the pace reaches: a clock that was set back since wrote them, and they
    would hold the model until it has caught up.
    """
    return sorted(start for start in starts if start - now <= reach)


def _hindrances(pace: Pace, starts: Iterable[datetime], now: datetime) -> Iterator[Hindrance]:
    known = credible(starts, max(pace.cooldown or timedelta(0), _DAY), now)
    if pace.cooldown and known and now < known[-1] + pace.cooldown:
        until = known[-1] + pace.cooldown
        yield Hindrance("cooldown", f"cools down until {_shown(until)}", until)
    today = [start for start in known if start > now - _DAY]
    if pace.per_day and len(today) >= pace.per_day:
        until = today[-pace.per_day] + _DAY
        yield Hindrance("per_day", f"{len(today)} attempts in 24 hours, the next from {_shown(until)}", until)
    end = quiet_until(pace.quiet_hours, now)
    if end is not None:
        yield Hindrance("quiet_hours", f"quiet hours until {_shown(end)}", end)


def _shown(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
