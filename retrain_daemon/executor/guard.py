"""The guard: a small process that ends all workers of a daemon as soon as the daemon is gone, also after `kill -9`.

The kernel ends the workers themselves, but not what they started. The daemon holds one end of a pipe and tells the
guard which workers run; when the other end closes, nobody else is left to end their processes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from itertools import chain

from retrain_daemon import processes
from retrain_daemon.worker.marks import DAEMON_MARK

_FAREWELL = "end\n"


class Guard:
    """The daemon's side. It is started with the first worker, and ends with the daemon."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._running: set[int] = set()
        self._lock = threading.Lock()

    def start(self) -> None:
        """Have it running; one that was killed is started again. Raises OSError."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                return
            self._process = subprocess.Popen(
                (sys.executable, "-m", "retrain_daemon.executor.guard", str(os.getpid())),
                stdin=subprocess.PIPE,
                cwd="/",
                start_new_session=True,
                text=True,
                bufsize=1,
            )
            for pid in self._running:
                self._say(f"+{pid}\n")

    def tell(self, pid: int, runs: bool) -> None:
        """A worker runs, or all of it is gone."""
        with self._lock:
            (self._running.add if runs else self._running.discard)(pid)
            self._say(f"{'+' if runs else '-'}{pid}\n")

    def close(self) -> None:
        """Let it end, as there is nothing to end any more; returns when it is gone."""
        with self._lock:
            if self._process is None:
                return
            self._say(_FAREWELL)
            with contextlib.suppress(OSError):
                self._process.communicate()
            self._process = None

    def _say(self, line: str) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it was killed: the next worker has it started again
                self._process.stdin.write(line)


def watch(daemon: int) -> None:
    """Read which workers run. Unless the daemon takes its leave, end what they and all they started left behind it."""
    running: set[int] = set()
    for line in sys.stdin:
        if line == _FAREWELL:
            return
        (running.add if line.startswith("+") else running.discard)(int(line[1:]))
    mark = os.fsencode(f"{DAEMON_MARK}={daemon}")
    families = [processes.Family(pid, mark) for pid in running]
    processes.kill(lambda: (*processes.bearers(mark), *chain.from_iterable(each.members() for each in families)))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the daemon's end is its end, not a signal to all
    watch(int(sys.argv[1]))
