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
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from retrain_daemon import processes
from retrain_daemon.launch import CutShort, Launched, Warm, launch
from retrain_daemon.worker import job as files
from retrain_daemon.worker.job import Failed, Progress, Result

_UNREADABLE_JOB = 2  # the worker's exit code for a job of another contract
_LOOK_EVERY_MS = 250
_TAIL = 4096
_LONGEST = 300
_UNITS = ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))


@dataclass(frozen=True)
class Limits:
    """How long a worker may run, and how many bytes of memory it and all it started may hold together."""

    run_for: timedelta
    memory: int | None = None


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
    """How a worker is watched: `grace` seconds from asked to made to end, and bytes its log may grow to."""

    grace: float
    log_limit: int


class Supervisor:
    """One worker in its job folder. `wake` is called, from the watching thread, when it has ended."""

    def __init__(self, folder: Path, limits: Limits, watch: Watch, since: datetime, wake: Callable[[], None]) -> None:
        self._folder = folder
        self._limits = limits
        self._watch = watch
        self._since = since
        self._wake = wake
        self._log = folder / files.LOG_FILE
        self._log_start = _size(self._log)
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

    def start(self, command: tuple[str, ...], *, foreign: bool = False, warm: Warm | None = None) -> None:
        """Start the process from the calling thread. That this cannot be done is an end like a crash. A `foreign`
        interpreter is not told where the daemon's own modules are.

        From something `warm` a worker is forked, if it gives one, which may take a while and is waited for elsewhere.
        """
        self._interpreter = command[0] if foreign else ""
        if warm is not None:
            self._run(lambda: self._start_warm(command, warm))
        elif worker := self._start_cold(command, foreign):
            self._run(lambda: self._supervise(worker))

    def _run(self, target: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=target, name="worker", daemon=True)
        self._thread.start()

    def _start_cold(self, command: tuple[str, ...], foreign: bool) -> Launched | None:
        try:
            return launch(self._folder, command, foreign=foreign)
        except OSError as error:
            self._conclude(
                Failed(message=f"the worker {command[0]} could not be started: {error}", temporary=True, lost=True)
            )
            return None

    def _start_warm(self, command: tuple[str, ...], warm: Warm) -> None:
        """This thread lives as long as the worker, so a worker may be started from it."""
        worker = warm.fork(self._folder, self._stopping, self._limits.run_for.total_seconds())
        if worker is None and self._stopping.is_set():
            self._conclude(None)
        elif worker := worker or self._start_cold(command, foreign=False):
            self._supervise(worker)

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

    def _supervise(self, worker: Launched) -> None:
        try:
            cause = self._wait(worker)
            # The worker is not waited for before its session is empty: as a zombie it keeps its number its own.
            processes.end_session(worker.pid, 0)
        except OSError as error:  # such as no file descriptors left: what cannot be watched must not go on
            cause = f"the worker could not be watched: {error}"
            os.killpg(worker.pid, signal.SIGKILL)
        try:
            code = worker.wait()
        except CutShort:
            if not cause:
                self._conclude(self._left())
                return
            code = -signal.SIGKILL
        self._conclude(self._outcome(cause, code))

    def _wait(self, worker: Launched) -> str:
        """Return when the worker has ended: "" by itself, else why it was ended."""
        pid = worker.pid
        ends = select.poll()
        ends.register(worker.handle, select.POLLIN)
        while not ends.poll(_LOOK_EVERY_MS):
            _cut(self._log, self._watch.log_limit)
            if excess := self._excess(pid):
                # Over its memory limit a worker gets no grace, in which it could take the rest of the machine's.
                processes.end_session(pid, 0)
                return excess
            if late := self._late():
                processes.end_session(pid, self._watch.grace)
                return late
        return ""

    def _excess(self, pid: int) -> str:
        limit = self._limits.memory
        if limit is None or (used := processes.memory(processes.members(pid), limit)) <= limit:
            return ""
        return f"the worker used {_bytes(used)} of memory, its limit is {_bytes(limit)}"

    def _late(self) -> str:
        if self._stopping.is_set():
            return "the worker was stopped"
        if time.monotonic() - self._started < self._limits.run_for.total_seconds():
            return ""
        return f"the worker ran past its time limit of {_duration(self._limits.run_for)}"

    def _left(self) -> Result | None:
        """What the worker wrote."""
        try:
            return files.read_result(self._folder)
        except (ValueError, OSError) as error:
            return unreadable(error)

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

    def _failure(self, cause: str, code: int) -> Failed:
        said = _last_line(self._log, self._log_start)
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
        return Failed(message=(cause or self._exit(code)) + self._last_said(), temporary=True, lost=True)

    def _last_said(self) -> str:
        line = _last_line(self._log, self._log_start)
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
    return Failed(message=f"the worker's result does not follow the contract: {_one_line(str(error))}")


def _progress(folder: Path) -> Progress | None:
    try:
        return files.read_progress(folder)
    except (ValueError, OSError):
        return None  # shown to people only; the result is what counts


def _cut(log: Path, limit: int) -> None:
    """Keep the first half of a log that has grown too long; what follows is appended after a note."""
    if _size(log) <= limit:
        return
    with contextlib.suppress(OSError):
        os.truncate(log, limit // 2)
        with log.open("a") as stream:
            stream.write(f"\n[the log had grown to {_bytes(limit)}: lines are missing here]\n")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _last_line(log: Path, start: int) -> str:
    """The last line with text that was logged from byte `start` on."""
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(size - _TAIL, min(start, size)))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((_one_line(line) for line in reversed(lines) if line.strip()), "")


def _one_line(text: str) -> str:
    """Text for a sentence: no line breaks or control characters, and not too long."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(plain.split())[:_LONGEST]


def _signal_name(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)


def _bytes(count: int) -> str:
    for exponent, unit in ((30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 2**exponent:
            return f"{count / 2**exponent:.1f}".removesuffix(".0") + f" {unit}"
    return f"{count} bytes"


def _duration(span: timedelta) -> str:
    """Such as "1h30m"; below a minute in seconds with their fraction."""
    seconds = span.total_seconds()
    if seconds < _UNITS[2][0]:
        return f"{seconds:g}s"
    parts, rest = [], round(seconds)
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        parts.append(f"{count}{unit}" if count else "")
    return "".join(parts)
