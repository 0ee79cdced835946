"""One worker process: started, watched, held to its limits, ended, and its end put into a sentence.

The thread that starts a worker is the caller's; another one waits for its end. What a job is for is not known here.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from retrain_daemon import processes, worker_log
from retrain_daemon.cgroups import Group
from retrain_daemon.guard import Guard
from retrain_daemon.holding import Held, Means
from retrain_daemon.launch import JOB_MARK, Launched, launch
from retrain_daemon.limits import Limits, in_time, thread_variables
from retrain_daemon.scratch import make_scratch, remove_scratch
from retrain_daemon.shortage import free_room, is_shortage, sentence
from retrain_daemon.worker import job as files
from retrain_daemon.worker.job import Failed, Progress, Result

T = TypeVar("T")

_UNREADABLE_JOB = 2  # the worker's exit code for a job of another contract
_LOOK_EVERY_MS = 250


@dataclass(frozen=True)
class Running:
    """A worker at work since `since`, and how far it says it is."""

    since: datetime
    progress: Progress | None


@dataclass(frozen=True)
class Ended:
    """A worker's result, or why there is none: a crash, a kill or a limit is `Failed`. `seconds` of wall time."""

    result: Result
    seconds: float


@dataclass(frozen=True)
class Watch:
    """How a worker is watched: `grace` seconds from asked to made to end, bytes its log may grow to, by which means
    its limits hold, and who ends it if the daemon does not.
    """

    grace: float
    log_limit: int
    means: Means
    guard: Guard


class Supervisor:
    """One worker in its job folder. `wake` is called, from the watching thread, when it has ended."""

    def __init__(self, folder: Path, limits: Limits, watch: Watch, since: datetime, wake: Callable[[], None]) -> None:
        self._folder = folder
        self._limits = limits
        self._watch = watch
        self._since = since
        self._wake = wake
        self._log = folder / files.LOG_FILE
        self._log_start = worker_log.size(self._log)
        self._kills_before = processes.out_of_memory_kills()
        self._started = time.monotonic()
        self._stopping = threading.Event()
        self._over = threading.Event()
        self._interpreter = ""
        self._ended: Ended | None = None
        self._thread: threading.Thread | None = None

    def fail(self, message: str) -> None:
        """End before anything was started, for good."""
        self._conclude(Failed(message=message, hint="Correct the policy, or put it there."))

    def start(self, command: tuple[str, ...], told: Mapping[str, str], *, foreign: bool = False) -> None:
        """Start the process from the calling thread, with the variables `told`. That this cannot be done is an end like
        a crash; OSError is raised when the machine has nothing left to start it with. A `foreign` interpreter is not
        told where the daemon's own modules are.
        """
        self._interpreter = command[0] if foreign else ""
        try:
            worker, held = self._hold(command, told, foreign)
        except OSError as error:
            if is_shortage(error):
                raise
            self._conclude(
                Failed(message=f"the worker {command[0]} could not be started: {error}", temporary=True, lost=True)
            )
            return
        self._thread = threading.Thread(target=self._supervise, args=(worker, held), name="worker", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether anything of the worker may still be alive."""
        return not self._over.is_set()

    def look(self) -> Running | Ended | None:
        """How it is doing; None after a stop that left no result."""
        return Running(self._since, _progress(self._folder)) if self.running else self._ended

    def ask_to_stop(self) -> None:
        """Have the worker ended; `join` waits until it is gone."""
        self._stopping.set()

    def join(self) -> None:
        """Wait until the worker and all it started are gone."""
        if self._thread is not None:
            self._thread.join()

    def _hold(self, command: tuple[str, ...], told: Mapping[str, str], foreign: bool) -> tuple[Launched, Held]:
        """The started worker, held in before it has read its job. Raises OSError, and then nothing is left of it."""
        scratch = str(make_scratch(self._folder))
        everything = {"TMPDIR": scratch, "JOBLIB_TEMP_FOLDER": scratch, **thread_variables(self._limits.cpus), **told}
        self._watch.guard.start()
        tree = self._watch.means.tree
        group = tree.make(self._folder.name, self._limits) if tree else None
        try:
            worker = launch(self._folder, command, everything, foreign=foreign)
        except OSError:
            self._leave(group)
            raise
        self._watch.guard.tell(worker.pid, True)
        try:
            return worker, Held(worker.pid, self._mark(), self._limits, self._watch.means, group)
        except OSError:
            processes.end_session(worker.pid, 0)
            worker.wait()
            self._leave(group)
            raise

    def _mark(self) -> bytes:
        return os.fsencode(f"{JOB_MARK}={self._folder}")

    def _leave(self, group: Group | None) -> None:
        remove_scratch(self._folder)
        if group is not None:
            group.remove()

    def _supervise(self, worker: Launched, held: Held) -> None:
        try:
            cause = self._wait(worker, held)
            # The worker is not waited for before all it started is gone: as a zombie it keeps its number its own.
            self._patiently(lambda: held.end(0))
            cause = cause or held.lack_of_memory()
            held.leave()
        except OSError as error:  # what cannot be watched must not go on
            cause = f"the worker could not be watched: {error}"
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
        code = worker.wait()
        self._watch.guard.tell(worker.pid, False)
        remove_scratch(self._folder)
        self._conclude(self._outcome(cause, code))

    def _patiently(self, do: Callable[[], T]) -> T:
        """Do it as soon as the machine lets it be done; a daemon that is stopped does not wait for that."""
        while True:
            try:
                return do()
            except OSError as error:
                if not is_shortage(error) or self._stopping.is_set():
                    raise
                time.sleep(_LOOK_EVERY_MS / 1000)

    def _wait(self, worker: Launched, held: Held) -> str:
        """Return when the worker has ended: "" by itself, else why it was ended."""
        ends = select.poll()
        ends.register(worker.handle, select.POLLIN)
        while not ends.poll(_LOOK_EVERY_MS):
            worker_log.cut(self._log, self._watch.log_limit)
            if excess := self._excess(held):
                # Over its limits a worker gets no grace, in which it could take the rest of the machine's.
                self._patiently(lambda: held.end(0))
                return excess
            if late := self._late():
                self._patiently(lambda: held.end(self._watch.grace))
                return late
        worker_log.cut(self._log, self._watch.log_limit)
        return ""

    def _excess(self, held: Held) -> str:
        """What it took too much of; "" where that cannot be told just now: it is looked at again in a moment."""
        try:
            return held.excess()
        except OSError as error:
            if is_shortage(error):
                return ""
            raise

    def _late(self) -> str:
        if self._stopping.is_set():
            return "the worker was stopped"
        if time.monotonic() - self._started < self._limits.run_for.total_seconds():
            return ""
        return f"the worker ran past its time limit of {in_time(self._limits.run_for)}"

    def _outcome(self, cause: str, code: int) -> Result | None:
        """What the worker wrote counts, whatever it died of later; else a sentence about its end.

        A worker that was stopped has not failed: without a result it is cut short.
        """
        try:
            result = self._patiently(lambda: files.read_result(self._folder))
        except ValueError as error:
            return unreadable(error)
        except OSError as error:
            return None if self._stopping.is_set() else self._cannot_read(error)
        if result is not None or self._stopping.is_set():
            return result
        failure = self._failure(cause, code)
        # Written down for a later life of the daemon. A full disk must not hide the failure from this one.
        with contextlib.suppress(OSError):
            files.write_result(self._folder, failure)
        return failure

    def _cannot_read(self, error: OSError) -> Failed:
        return Failed(message=f"the worker's result is not known: {sentence(error, self._folder)}.", temporary=True)

    def _failure(self, cause: str, code: int) -> Failed:
        said = worker_log.last_line(self._log, self._log_start)
        if self._interpreter and not cause and "No module named" in said and "retrain_daemon" in said:
            return Failed(
                message=f"{self._interpreter}, which train.python names, has no retrain-daemon.",
                hint="Install this project there, in the daemon's version.",
            )
        if self._interpreter and not cause and code == _UNREADABLE_JOB:
            return Failed(
                message=f"The retrain-daemon of {self._interpreter}, which train.python names, cannot read the job.",
                hint="Install the daemon's version there.",
            )
        if self._interpreter and not cause and code == 0:
            return Failed(
                message=f"{self._interpreter}, which train.python names, ended with exit code 0 and left no result.",
                hint="Name a Python interpreter.",
            )
        if code == files.RESULT_NOT_WRITTEN and not cause:
            return Failed(
                message=f"the worker could not write its result to {self._folder} ({free_room(self._folder)} now)"
                f"{self._last_said()}.",
                temporary=True,
                unreachable=True,
            )  # fmt: skip
        return Failed(message=(cause or self._exit(code)) + self._last_said(), temporary=True, lost=True)

    def _last_said(self) -> str:
        line = worker_log.last_line(self._log, self._log_start)
        return f"; the last line of its log was: {line}" if line else ""

    def _exit(self, code: int) -> str:
        if code >= 0:
            return f"the worker ended with exit code {code} without a result"
        memory = " while the kernel was ending processes for lack of memory"
        short = processes.out_of_memory_kills() > self._kills_before
        return f"the worker was ended by signal {_signal_name(-code)}{memory if short else ''}"

    def _conclude(self, result: Result | None) -> None:
        self._ended = Ended(result, time.monotonic() - self._started) if result else None
        self._over.set()
        self._wake()


def unreadable(error: Exception) -> Failed:
    """What a result file that cannot be understood amounts to."""
    return Failed(message=f"the worker's result does not follow the contract: {worker_log.one_line(str(error))}")


def _progress(folder: Path) -> Progress | None:
    try:
        return files.read_progress(folder)
    except (ValueError, OSError):
        return None  # shown to people only; the result is what counts


def _signal_name(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)
