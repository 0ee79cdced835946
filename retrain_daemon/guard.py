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
from itertools import chain

from retrain_daemon import processes

#: In the environment of every worker and of all it starts: the process id of the daemon.
PARENT_MARK = "RETRAIND_PARENT"


class Guard:
    """The daemon's side. It is started with the first worker, and ends with the daemon."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Have it running; one that was killed is started again. Raises OSError."""
        if self._process is None or self._process.poll() is not None:
            self.close()
            self._process = subprocess.Popen(
                (sys.executable, "-m", "retrain_daemon.guard", str(os.getpid())),
                stdin=subprocess.PIPE,
                start_new_session=True,
                text=True,
                bufsize=1,
            )

    def tell(self, pid: int, runs: bool) -> None:
        """A worker runs, or all of it is gone."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):  # it was killed: the next worker has it started again
                self._process.stdin.write(f"{'+' if runs else '-'}{pid}\n")

    def close(self) -> None:
        """Let it end; returns when it is gone."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            self._process.wait()
        self._process = None


def watch(daemon: int) -> None:
    """Read which workers run until the daemon is gone; then end what is left of them and of all they started."""
    running: set[int] = set()
    for line in sys.stdin:
        (running.add if line.startswith("+") else running.discard)(int(line[1:]))
    mark = os.fsencode(f"{PARENT_MARK}={daemon}")
    families = [processes.Family(pid, mark) for pid in running]
    processes.kill(lambda: (*processes.bearers(mark), *chain.from_iterable(each.members() for each in families)))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the daemon's end is its end, not a signal to all
    watch(int(sys.argv[1]))
