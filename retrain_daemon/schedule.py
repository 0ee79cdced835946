"""Wakes the loop when time has come: at intervals and at single moments. What is then due is decided elsewhere.

APScheduler keeps the times. A wake-up that comes late, or that is lost, costs latency only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.executors.debug import DebugExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler


def is_due(moment: datetime, interval: timedelta, now: datetime) -> bool:
    """Whether `moment` has come. One further ahead than the interval was written by a clock that was set back since."""
    return now >= moment or moment - now > interval


class WakeUps:
    """Named wake-ups. `wake` is called from the scheduler's one thread and must be quick."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._due: set[str] = set()
        self._moments: dict[str, datetime] = {}
        # The "debug" executor runs a job in the scheduler's own thread: setting a flag needs no pool of others.
        # However late a wake-up comes it is made, and only once.
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            daemon=True,
            executors={"default": DebugExecutor()},
            job_defaults={"misfire_grace_time": None, "coalesce": True},
        )
        self._scheduler.start()

    def at(self, name: str, when: datetime | None) -> None:
        """Wake once, at once if `when` is past; replaces an earlier wake-up of that name, None only removes it.

        The same moment given again changes nothing, also after it has passed: a loop may say at each turn what it
        waits for without waking itself for ever.
        """
        if when is not None and when.tzinfo is None:
            raise ValueError(f"wake-up {name!r} needs a time with its zone, not {when.isoformat()}")
        if when is not None and self._moments.get(name) == when:
            return
        self._remove(name)
        if when is not None:
            self._moments[name] = when
            self._scheduler.add_job(self._fire, "date", (name,), run_date=when.astimezone(UTC), id=name)

    def due(self) -> frozenset[str]:
        """Names that fired since the last call."""
        with self._lock:
            fired = frozenset(self._due)
            self._due.clear()
        return fired

    def close(self) -> None:
        """End the scheduler's thread; no wake-up comes after this."""
        self._scheduler.shutdown(wait=True)

    def _remove(self, name: str) -> None:
        self._moments.pop(name, None)
        try:
            self._scheduler.remove_job(name)
        except JobLookupError:
            return  # none was set, or it has fired

    def _fire(self, name: str) -> None:
        with self._lock:
            self._due.add(name)
        self._wake()
