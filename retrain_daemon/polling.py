"""When the registry is asked for all watched models, and what is said when it stops or begins to answer.

What it answers is kept by `observe.RegistryView`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from retrain_daemon.log import get_logger
from retrain_daemon.news import Announcer, News
from retrain_daemon.observe import RegistryView
from retrain_daemon.outage import LONGEST_PAUSE, Outage
from retrain_daemon.schedule import WakeUps, is_due

_log = get_logger()


class Polling:
    """Polls at an interval, in an outage ever more rarely; `problem` is why the registry is of no use, "" if it is."""

    def __init__(
        self, view: RegistryView, news: Announcer, alarms: WakeUps, interval: timedelta, scatter: Callable[[], float]
    ) -> None:
        self._view = view
        self._news = news
        self._alarms = alarms
        self._interval = interval
        self._scatter = scatter
        self._next: datetime | None = None
        self._outage = Outage()
        self.problem = ""

    @property
    def outage_since(self) -> datetime | None:
        """Since when it does not answer, None while it does."""
        return self._outage.since

    def hurry(self) -> None:
        """Ask at the next turn."""
        self._next = None

    def is_due(self, now: datetime) -> bool:
        """Whether it is to be asked now."""
        return self._next is None or is_due(self._next, max(self._interval, LONGEST_PAUSE), now)

    def poll(self, models: Collection[str], clock: Callable[[], datetime]) -> bool:
        """Ask; returns whether it is otherwise than at the last poll in that it answers, or why it does not."""
        before = self.problem
        self._view.poll(sorted(models))
        self._note(self._view.problem, clock())
        return self.problem != before

    def lost(self, problem: str, now: datetime) -> None:
        """It did not answer between two polls; it is asked again at the next one."""
        if not self.problem:
            self._note(problem, now)

    def _note(self, problem: str, now: datetime) -> None:
        """Whether it answered, and when it is asked again."""
        self.problem = problem
        if problem and self._outage.since is None:
            _log.error("registry.unreachable", problem=problem)
            self._news.tell(News(occasion="registry_lost", at=now, reason=problem))
        elif not problem and self._outage.since is not None:
            _log.info("registry.recovered", seconds=round(self._outage.lasted(now).total_seconds(), 1))
            self._news.tell(News(occasion="registry_back", at=now))
        self._outage = self._outage.goes_on(now) if problem else Outage()
        self._next = self._outage.next_poll(now, self._interval, self._scatter())
        self._alarms.at("registry", self._next)
