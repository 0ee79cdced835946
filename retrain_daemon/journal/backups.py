"""Daily copies of the journal, made beside the loop; the oldest are removed.

Days are those of the wall clock in UTC. A clock that was set back or forward changes when the next copy is made, never
how many are kept.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from retrain_daemon.journal.copies import BACKUP_FOLDER, copy_whole
from retrain_daemon.journal.record import JOURNAL_FILE
from retrain_daemon.log import get_logger

#: After a failure the next copy is tried so many seconds later.
TRY_AGAIN_SECONDS = 3600.0

_NAME = re.compile(r"journal-(\d{4}-\d{2}-\d{2})\.db")

_log = get_logger()


@dataclass(frozen=True)
class _Outcome:
    """What became of a copy: the reason of a failure, or ""."""

    target: Path
    seconds: float
    reason: str


class Backups:
    """The backups of one state folder's journal, at most `keep` of them."""

    def __init__(self, state: Path, keep: int, steady: Callable[[], float] = time.monotonic) -> None:
        self._journal = state / JOURNAL_FILE
        self._folder = state / BACKUP_FOLDER
        self._keep = keep
        self._steady = steady
        self._not_before = float("-inf")
        self._thread: threading.Thread | None = None
        self._outcome: _Outcome | None = None

    def tend(self, now: datetime) -> None:
        """Begin the copy of the day if there is none, and say what became of the last one. Waits for nothing."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._thread = None
        self._tell(now)
        target = self._folder / f"journal-{now:%Y-%m-%d}.db"
        if target.exists() or self._steady() < self._not_before:
            return
        # Set before it is known how it ends: a clock that jumps from day to day does not have one made at each turn.
        self._not_before = self._steady() + TRY_AGAIN_SECONDS
        self._thread = threading.Thread(target=self._copy, args=(target, now), name="backup", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:  # no thread to be had now
            self._thread = None

    def close(self, now: datetime) -> None:
        """Wait for a copy under way, and say what became of it."""
        if self._thread is not None:
            self._thread.join()
        self._tell(now)

    def _copy(self, target: Path, now: datetime) -> None:
        begun = time.monotonic()
        reason = ""
        try:
            for left in self._folder.glob(".journal-????-??-??.db.*"):  # of a daemon that was killed over it
                left.unlink(missing_ok=True)
            copy_whole(self._journal, target, now)
        except (OSError, sqlite3.Error) as error:
            reason = " ".join(str(error).split())
        self._outcome = _Outcome(target, time.monotonic() - begun, reason)

    def _tell(self, now: datetime) -> None:
        outcome, self._outcome = self._outcome, None
        if outcome is None:
            return
        if outcome.reason:
            _log.error("journal.backup_failed", file=str(outcome.target), reason=outcome.reason)
            return
        _log.info("journal.backed_up", file=str(outcome.target), bytes=_size(outcome.target),
                  seconds=round(outcome.seconds, 2))  # fmt: skip
        for old in superfluous(self._folder, self._keep, outcome.target, now.date()):
            old.unlink(missing_ok=True)


def superfluous(folder: Path, keep: int, newest: Path, today: date) -> tuple[Path, ...]:
    """Daily copies beyond the `keep` that count most: `newest`, then the latest up to today, then those of days to
    come, which a clock that was wrong has named.
    """
    dated = {path: found[1] for path in folder.glob("journal-*.db") if (found := _NAME.fullmatch(path.name))}
    day = today.isoformat()
    ordered = sorted(dated, key=lambda path: (path != newest, dated[path] > day, _backwards(dated[path])))
    return tuple(ordered[keep:])


def _backwards(day: str) -> int:
    return -int(day.replace("-", ""))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
