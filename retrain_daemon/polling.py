"""When the registry is asked for all watched models, and what is said when it stops or begins to answer.

What it answers is kept by `observe.RegistryView`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from retrain_daemon.log import get_logger
from retrain_daemon.news import Announcer, News
from retrain_daemon.outage import LONGEST_PAUSE, Outage
from retrain_daemon.registry_view import RegistryView
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
        self._answers_polls = False  # in an outage that is over if the next round is answered as well
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

    def poll(self, models: Collection[str], patterns: Collection[str], clock: Callable[[], datetime]) -> bool:
        """Ask for these models and for those that match; returns whether it is otherwise than before in that it
        answers, or why it does not.

        One poll that is answered ends no outage by itself: a registry may still answer questions and take nothing in.
        """
        before = self._view.problem
        self._view.poll(sorted(models), patterns)
        problem = self._view.problem
        self._answers_polls = not problem and self._outage.since is not None
        if self._answers_polls:
            self._outage = self._outage.answered()
            self._ask_again(clock())
        else:
            self._note(problem, clock())
        return problem != before or self._answers_polls

    def round_is_over(self, now: datetime) -> None:
        """Whatever was asked in a round after a poll was answered, too."""
        if self._answers_polls:
            self._answers_polls = False
            self._note("", now)

    def lost(self, problem: str, now: datetime) -> None:
        """It did not answer between two polls; it is asked again at the next one."""
        self._answers_polls = False
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
        self._ask_again(now)

    def _ask_again(self, now: datetime) -> None:
        self._next = self._outage.next_poll(now, self._interval, self._scatter())
        self._alarms.at("registry", self._next)
