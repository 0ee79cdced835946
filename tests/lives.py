"""Many lives of one daemon, each forked from a process that has imported everything and used nothing.

So a life costs its own work and not the seconds of its imports. It is a process of its own: what it opens, starts and
holds it does by itself, and it dies by SIGKILL like any other. `python -m tests.lives CONFIG LOG` takes words on
standard input: "begin" answers with a process id, "look" with the exit code of the last life, or "alive".
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

ALIVE = "alive"


class Lives:
    """The process that lives are forked from. One life at a time."""

    def __init__(self, config: Path, log: Path, environment: Mapping[str, str], folder: Path) -> None:
        command = (sys.executable, "-m", "tests.lives", str(config), str(log))
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=folder
        )

    def begin(self) -> Life:
        return Life(self, int(self._ask("begin")))

    def look(self) -> int | None:
        answer = self._ask("look")
        return None if answer == ALIVE else int(answer)

    def close(self) -> None:
        """End the process; a life that is still there is killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def _ask(self, word: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


class Life:
    """One life, to be handled like a `subprocess.Popen`."""

    def __init__(self, lives: Lives, pid: int) -> None:
        self._lives = lives
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None as long as it lives."""
        if self.returncode is None:
            self.returncode = self._lives.look()
        return self.returncode

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for its end. Raises subprocess.TimeoutExpired."""
        deadline = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("a life of the daemon", timeout)
            time.sleep(0.01)
        return code

    def send_signal(self, number: int) -> None:
        """Its process id is its own until its end was seen."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def main(config: str, log: str) -> None:
    """Fork a life at each "begin", until standard input ends."""
    import mlflow  # noqa: F401  what takes seconds

    import retrain_daemon.cli.running  # noqa: F401
    from retrain_daemon.cli.main import main as command

    pid = code = 0
    for line in sys.stdin:
        if line.strip() == "begin":
            pid, code = os.fork(), 0
            if not pid:
                _turn_to(log)
                sys.exit(command(["run", "--config", config]))
            print(pid, flush=True)
        else:
            ended, status = os.waitpid(pid, os.WNOHANG) if pid else (0, 0)
            if ended:
                pid, code = 0, os.waitstatus_to_exitcode(status)
            print(code if not pid else ALIVE, flush=True)
    if pid:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _turn_to(log: str) -> None:
    """What a life prints goes to the log; the words are not for it."""
    stream = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(stream, 1)
    os.dup2(stream, 2)


if __name__ == "__main__":
    main(*sys.argv[1:])
