"""One drop folder under the eyes of the real gateway, with times that tests choose."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from retrain_daemon.core.policy import Completion
from retrain_daemon.drops import DropFolders, Found, Scan, Stamp, Watched

DEADLINE = 10.0
SETTLE = timedelta(seconds=30)


def later(seconds: float = 0) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def known(scan: Scan) -> dict[str, Stamp]:
    return {one.path: one.stamp for one in (*scan.found, *scan.unusable)}


def names(found: tuple[Found, ...]) -> list[str]:
    return [Path(one.path).name for one in found]


class Watching:
    """One drop folder, watched for one model, and what woke the loop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.woken = threading.Event()
        self.drops = DropFolders(self.woken.set)
        self.watched = Watched("churn", str(folder), "*.csv", Completion(SETTLE))

    def start(self, watched: Watched | None = None) -> None:
        self.watched = watched or self.watched
        self.drops.watch([self.watched])
        self.drops.changed()
        self.woken.clear()

    def scan(self, known: dict[str, Stamp] | None = None, now: datetime | None = None) -> Scan:
        return self.drops.scan(self.watched, known or {}, now or later())

    def await_change(self) -> frozenset[str]:
        assert self.woken.wait(DEADLINE)
        self.woken.clear()
        return self.drops.changed()

    def await_scan(self, good: Callable[[Scan], bool]) -> Scan:
        """Scan at each wake until the result is as awaited: one act may raise several events."""
        until = time.monotonic() + DEADLINE
        while not good(scan := self.scan()):
            assert self.woken.wait(until - time.monotonic()), scan
            self.woken.clear()
        return scan


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may read everything, so act as somebody else for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)
