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
from functools import partial
from pathlib import Path
from typing import TypeVar

from retrain_daemon import processes
from retrain_daemon.executor import worker_log
from retrain_daemon.executor.cgroups import Group
from retrain_daemon.executor.guard import Guard
from retrain_daemon.executor.holding import Held, Means
from retrain_daemon.executor.launch import CutShort, Launched, Warm, launch
from retrain_daemon.executor.limits import Limits, in_time, thread_variables
from retrain_daemon.executor.scratch import make_scratch, remove_scratch
from retrain_daemon.shortage import begin, free_room, is_shortage, sentence
from retrain_daemon.worker import job as files
from retrain_daemon.worker.job import Failed, Progress, Result
from retrain_daemon.worker.marks import JOB_MARK

T = TypeVar("T")

_UNREADABLE_JOB = 2  # the worker's exit code for a job of another contract
_LOOK_EVERY_MS = 250

#: Starts a worker that is told these variables; None when it was stopped before. Raises OSError.
Start = Callable[[Mapping[str, str]], Launched | None]


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
        self._program = self._interpreter = ""
        self._ended: Ended | None = None
        self._thread: threading.Thread | None = None

    def fail(self, message: str) -> None:
        """End before anything was started, for good."""
        self._conclude(Failed(message=message, hint="Correct the policy, or put it there."))

    def start(
        self, command: tuple[str, ...], told: Mapping[str, str], *, foreign: bool = False, warm: Warm | None = None
    ) -> None:
        """Start the process from the calling thread, with the variables `told`. That this cannot be done is an end like
        a crash; OSError is raised when the machine has nothing left to start it with. A `foreign` interpreter is not
        told where the daemon's own modules are.

        From something `warm` a worker is forked, if it gives one, which may take a while and is waited for elsewhere.
        """
        self._program = command[0]
        self._interpreter = command[0] if foreign else ""
        cold = partial(launch, self._folder, command, foreign=foreign)
        if warm is not None:
            self._run(lambda: self._run_warm(warm, cold, told), or_else=warm.give_back)
        elif begun := self._begin(cold, told, short_of_room=_raise):
            self._run(lambda: self._supervise(*begun), or_else=lambda: self._give_up(*begun))

    def _run(self, target: Callable[[], None], or_else: Callable[[], None]) -> None:
        """In a thread of its own; raises OSError, after `or_else`, when there is none to be had."""
        thread = threading.Thread(target=target, name="worker", daemon=True)
        try:
            begin(thread)
        except OSError:
            or_else()
            raise
        self._thread = thread

    def _run_warm(self, warm: Warm, cold: Start, told: Mapping[str, str]) -> None:
        """This thread lives as long as the worker, so a worker may be started from it."""

        def start(variables: Mapping[str, str]) -> Launched | None:
            worker = warm.fork(self._folder, variables, self._stopping, self._limits.run_for.total_seconds())
            return worker if worker is not None or self._stopping.is_set() else cold(variables)

        try:
            if begun := self._begin(start, told, short_of_room=self._end_short_of_room):
                self._supervise(*begun)
        finally:
            warm.give_back()

    def _begin(
        self, start: Start, told: Mapping[str, str], short_of_room: Callable[[OSError], None]
    ) -> tuple[Launched, Held] | None:
        """The worker at work, held in; None when the job is over already. That the machine has nothing left to start it
        with is for `short_of_room`.
        """
        try:
            begun = self._hold(start, told)
        except OSError as error:
            if is_shortage(error):
                short_of_room(error)
                return None
            message = f"the worker {self._program} could not be started: {error}"
            self._conclude(Failed(message=message, temporary=True, lost=True))
            return None
        if begun is None:
            self._conclude(None)
        return begun

    def _end_short_of_room(self, error: OSError) -> None:
        """Where nobody can be told by an exception. It is the machine's fault and does not count."""
        said = f"the worker could not be started: {sentence(error, self._folder)}."
        self._conclude(Failed(message=said, temporary=True, unreachable=True))

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

    def _hold(self, start: Start, told: Mapping[str, str]) -> tuple[Launched, Held] | None:
        """The worker, held in before it has read its job; None when it was stopped before there was one. Raises
        OSError, and then nothing is left of it.
        """
        scratch = str(make_scratch(self._folder))
        everything = {"TMPDIR": scratch, "JOBLIB_TEMP_FOLDER": scratch, **thread_variables(self._limits.cpus), **told}
        self._watch.guard.start()
        tree = self._watch.means.tree
        group = tree.make(self._folder.name, self._limits) if tree else None
        worker = None
        try:
            if worker := start(everything):
                self._watch.guard.tell(worker.pid, True)
                held = Held(worker.pid, self._mark(), self._limits, self._watch.means, group)
                worker.let_go()
                return worker, held
        except OSError:
            self._undo(worker, group)
            raise
        self._undo(None, group)
        return None

    def _undo(self, worker: Launched | None, group: Group | None) -> None:
        if worker is not None:
            processes.end_session(worker.pid, 0)
            with contextlib.suppress(CutShort):
                worker.wait()
            self._watch.guard.tell(worker.pid, False)
        remove_scratch(self._folder)
        if group is not None:
            group.remove()

    def _give_up(self, worker: Launched, held: Held) -> None:
        """Nothing is left of a worker that nobody could watch."""
        held.end(0)
        self._undo(worker, None)
        with contextlib.suppress(OSError):
            held.leave()

    def _mark(self) -> bytes:
        return os.fsencode(f"{JOB_MARK}={self._folder}")

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
        code = self._waited_for(worker)
        self._watch.guard.tell(worker.pid, False)
        remove_scratch(self._folder)
        cut_short = code is None and not cause
        self._conclude(self._left() if cut_short else self._outcome(cause, -signal.SIGKILL if code is None else code))

    def _waited_for(self, worker: Launched) -> int | None:
        """The exit code; None when the worker was cut short."""
        try:
            return worker.wait()
        except CutShort:
            return None

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

    def _left(self) -> Result | None:
        """What the worker wrote."""
        try:
            return self._patiently(lambda: files.read_result(self._folder))
        except ValueError as error:
            return unreadable(error)
        except OSError as error:
            return None if self._stopping.is_set() else self._cannot_read(error)

    def _outcome(self, cause: str, code: int) -> Result | None:
        """What the worker wrote counts, whatever it died of later; else a sentence about its end.

        A worker that was stopped has not failed: without a result it is cut short.
        """
        result = self._left()
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


def _raise(error: OSError) -> None:
    raise error


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
