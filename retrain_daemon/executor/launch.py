"""How a worker process comes to be: its environment, its own session, its log, and the record of which process it is.

What it is for, how long it may run and what becomes of its end is not known here.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from retrain_daemon import processes, service_manager
from retrain_daemon.worker import job as files
from retrain_daemon.worker.lifeline import PARENT_VARIABLE
from retrain_daemon.worker.marks import DAEMON_MARK, JOB_MARK
from retrain_daemon.worker.mlflow_process import patience_of_workers

PROCESS_FILE = "process.json"

#: What tells an interpreter where to find modules: that of the daemon does not hold for another.
_FOREIGN_LEAVES = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


class CutShort(Exception):
    """A worker ended only because what it was forked from did."""


class Launched(Protocol):
    """A process that was started, leader of its own session. `handle` becomes readable at its end."""

    pid: int
    handle: int

    def let_go(self) -> None:
        """Have it begin, now that it is held in. To be called once."""

    def wait(self) -> int:
        """Wait for the end, give the handle back, and return the exit code; that of a signal is negative.

        Raises CutShort when the end says nothing of the job.
        """


class Warm(Protocol):
    """Something that workers can be forked from, lent for one job. Any thread may use it."""

    def fork(
        self, folder: Path, told: Mapping[str, str], stopping: threading.Event, patience: float
    ) -> Launched | None:
        """A worker in a job folder, with the variables that a started one gets, which waits to be let go. It is waited
        for `patience` seconds at most, and not once `stopping` is set; None when there is none. To be called once.
        """

    def give_back(self) -> None:
        """The job is over."""


class Spawned:
    """A child of this process."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        """Raises OSError when there is no descriptor left to watch it by."""
        self._process = process
        self.pid = process.pid
        self.handle = os.pidfd_open(process.pid)

    def let_go(self) -> None:
        """It began by itself: an interpreter takes longer to start than it takes to hold it in."""

    def wait(self) -> int:
        try:
            return self._process.wait()
        finally:
            os.close(self.handle)


def launch(folder: Path, command: tuple[str, ...], told: Mapping[str, str], *, foreign: bool = False) -> Launched:
    """Start `command` in a job folder, from the calling thread, with the variables `told` beside those all workers get.
    Raises OSError when that cannot be done.

    A `foreign` interpreter is not told where the daemon's own modules are.
    """
    with (folder / files.LOG_FILE).open("ab") as log:
        worker = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env=worker_environment(folder, told, foreign=foreign),
            start_new_session=True,
        )
    try:
        record(folder, worker.pid)
        return Spawned(worker)
    except OSError:
        worker.kill()  # needs no descriptor, as looking for what it started would; it has not started anything yet
        worker.wait()
        raise


def worker_environment(folder: Path, told: Mapping[str, str], *, foreign: bool = False) -> dict[str, str]:
    """A worker's variables: those of the daemon, those that all workers get, and those `told`, which go before."""
    left_out = (*service_manager.VARIABLES, *(_FOREIGN_LEAVES if foreign else ()))
    ours = {name: value for name, value in os.environ.items() if name not in left_out}
    daemon = str(os.getpid())
    own = {PARENT_VARIABLE: daemon, DAEMON_MARK: daemon, JOB_MARK: str(folder), "PYTHONUNBUFFERED": "1"}
    return ours | own | patience_of_workers() | dict(told)


def record(folder: Path, pid: int) -> None:
    """Write down which process works in a folder."""
    if identity := processes.identify(pid):
        temporary = folder / f".{PROCESS_FILE}"
        temporary.write_text(json.dumps(asdict(identity)))
        temporary.replace(folder / PROCESS_FILE)
