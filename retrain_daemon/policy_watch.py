"""Hints that policy files changed, so that an edit takes effect at once: file events, and one look at their folder.

The folder may be missing as yet, or be replaced as a whole; files may be links. Whether something did change is found
by reading: a hint that is lost costs time until the next turn only.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from retrain_daemon.drops.events import FolderEvents
from retrain_daemon.log import get_logger

#: Events come in bursts, as an editor or a checkout writes: files are read when it has been quiet for so long.
_QUIET_SECONDS = 0.2
#: But they are not waited out for longer than that.
_LONGEST_SECONDS = 1.0
#: So many folders that links point into are watched, beside the policies' own.
_MOST_FOLDERS = 50

_log = get_logger()
_Mark = tuple[int, int, int]


class PolicyWatch:
    """Watches where policy files lie. Asking `hears` costs one look at one folder; events arrive on another thread."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        self._events = FolderEvents(self._note)
        self._lock = threading.Lock()  # guards the next one
        self._events_at: tuple[float, float] | None = None  # the first since the last look, and the last
        self._mark: _Mark | None = None
        self._pointed_at: frozenset[str] = frozenset()
        self._problem = ""

    def look(self) -> None:
        """The files are about to be read: what happened before needs no hint."""
        with self._lock:
            self._events_at = None
        self._mark = _mark(self._path)
        self._keep_watching()

    def follow(self, files: Iterable[str]) -> None:
        """These were read: where they are links, the folders of what they point to are watched too."""
        real = (os.path.dirname(os.path.realpath(file)) for file in files if os.path.islink(file))  # noqa: PTH114, PTH120
        self._pointed_at = frozenset(sorted(set(real))[:_MOST_FOLDERS])
        self._keep_watching()

    def hears(self) -> bool:
        """Whether files may have changed since the last look, and nobody is writing just now."""
        with self._lock:
            events_at = self._events_at
        if events_at is None:
            return _mark(self._path) != self._mark
        now, (first, last) = time.monotonic(), events_at
        return now - last >= _QUIET_SECONDS or now - first >= _LONGEST_SECONDS

    def close(self) -> None:
        """Stop watching."""
        self._events.close()

    def _keep_watching(self) -> None:
        own = self._path if not os.path.isfile(self._path) else os.path.dirname(self._path) or "."  # noqa: PTH113, PTH120
        self._events.watch({folder: folder for folder in (own, *self._pointed_at)}, changed=set())
        if self._events.problem not in ("", self._problem):
            _log.warning("policy.unwatched", problem=self._events.problem)
        self._problem = self._events.problem

    def _note(self) -> None:
        now = time.monotonic()
        with self._lock:
            self._events_at = (self._events_at[0] if self._events_at else now, now)


def _mark(path: str) -> _Mark | None:
    """What changes when a folder is replaced or a name in it is, and when a single file is written."""
    try:
        found = os.stat(path)  # noqa: PTH116 (twice a second)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns
