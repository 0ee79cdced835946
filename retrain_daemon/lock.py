"""The lock of a state folder (law 7): whoever holds it may move aliases. It names its holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from datetime import datetime
from pathlib import Path
from types import TracebackType

from retrain_daemon.errors import StateLocked, StateUnusable
from retrain_daemon.shortage import unusable

LOCK_FILE = "lock"
#: The purpose a daemon gives. It keeps the lock; everyone else has it for moments only, and is waited for.
DAEMON = "retraind run"
PATIENCE_SECONDS = 20.0


class StateLock:
    """Held from `acquire` until `release`, or the end of the process, however it ends."""

    def __init__(self, state: Path, purpose: str, now: datetime) -> None:
        self._path = state / LOCK_FILE
        self._text = f"{purpose}, process {os.getpid()}, since {now:%Y-%m-%d %H:%M:%S} UTC"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock; raises StateLocked with the holder's name, StateUnusable if the folder cannot be used."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise StateUnusable(
                f"the state folder {self._path.parent} cannot be written: {error.strerror}.",
                "Give the daemon's user write access to it, or name another with --state or RETRAIND_STATE.",
            ) from error
        self._lock(descriptor)
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, self._text.encode())
        except OSError as error:
            os.close(descriptor)
            raise unusable(error, self._path.parent) from error
        self._descriptor = descriptor

    def _lock(self, descriptor: int) -> None:
        """A stale text of a daemon that was killed may still stand there while someone only looks: hence a second."""
        begun = time.monotonic()
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                named = self._path.read_text("utf-8", errors="replace").strip()
                waited = time.monotonic() - begun
                if waited > (1.0 if named.startswith(DAEMON) else PATIENCE_SECONDS):
                    os.close(descriptor)
                    raise StateLocked(
                        f"the state folder {self._path.parent} is in use by {named or 'another process'}.",
                        "Stop that process, or name another state folder with --state.",
                    ) from error
                time.sleep(0.05)
            else:
                return

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # a text that stays names nobody once the lock is free
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> StateLock:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def holder(state: Path) -> str | None:
    """Who holds the lock of a state folder now, as it named itself; None if nobody does."""
    path = state / LOCK_FILE
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return path.read_text("utf-8", errors="replace").strip() or "a process that is just starting"
    finally:
        os.close(descriptor)
    return None
