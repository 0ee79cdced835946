"""When the state folder cannot be used: said once, tried again ever more seldom, and said when it is over.

A daemon that stands still takes no work, starts nothing and moves no alias; its journal can still be read.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from retrain_daemon.errors import StateUnusable
from retrain_daemon.log import get_logger
from retrain_daemon.shortage import probe, unusable

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0

_log = get_logger()


class Standstill:
    """Whether the daemon stands still; `problem` is the reason, "" while it does not."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._since: datetime | None = None
        self._waits = 0
        self.problem = ""

    def begin(self, error: StateUnusable, now: datetime) -> float:
        """It cannot go on, or still cannot; returns for how many seconds to wait before it is tried again."""
        self.problem = str(error)
        if self._since is None:
            self._since = now
            _log.error("state.unusable", folder=str(self._state), problem=self.problem)
        self._waits += 1
        return float(min(FIRST_WAIT_SECONDS * 2 ** min(self._waits - 1, 10), LONGEST_WAIT_SECONDS))

    def check(self) -> None:
        """Before another try: raises StateUnusable as long as not even a small file can be written."""
        if self._since is None:
            return
        try:
            probe(self._state)
        except OSError as error:
            raise unusable(error, self._state, "the state folder") from error

    def end(self, now: datetime) -> bool:
        """A whole turn went well; returns whether the daemon stood still before."""
        if self._since is None:
            return False
        _log.info("state.recovered", folder=str(self._state), seconds=round((now - self._since).total_seconds(), 1))
        self._since, self._waits, self.problem = None, 0, ""
        return True
