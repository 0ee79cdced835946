"""Starts, watches, limits and stops worker processes, each with a job folder of its own.

A job folder holds the files of `worker/job.py`, the worker's log, and `process.json`, by which a later life of the
daemon recognises a worker of an earlier one. Nothing here knows the journal, the registry, or what a job is for.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from retrain_daemon import processes
from retrain_daemon.errors import Refused
from retrain_daemon.executor.guard import Guard
from retrain_daemon.executor.holding import WATCHED, Means
from retrain_daemon.executor.launch import PROCESS_FILE
from retrain_daemon.executor.limits import Limits, can_be_forked
from retrain_daemon.executor.scratch import remove_scratch
from retrain_daemon.executor.supervisor import Ended, Running, Supervisor, Watch, unreadable
from retrain_daemon.executor.templates import Templates
from retrain_daemon.shortage import unusable
from retrain_daemon.worker import job as files
from retrain_daemon.worker.job import Job
from retrain_daemon.worker.marks import JOB_MARK

WORKER = (sys.executable, "-m", "retrain_daemon.worker")
LOG_LIMIT = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What workers may take where their own limits say nothing: bytes of memory, and processes. `gpus` are the names of
    devices to hand out; None leaves to workers what the daemon itself sees.
    """

    memory: int | None = None
    processes: int | None = None
    gpus: tuple[str, ...] | None = None


UNLIMITED = Allowance()


class Executor(Protocol):
    """Runs jobs beside the daemon. A `key` names one job and its folder; it is a plain file name."""

    def start(self, key: str, job: Job, limits: Limits, now: datetime, python: str = "") -> None:
        """Start a job, by another interpreter where one is named; one that has ended, or was cut short, may be started
        again under its key.
        """

    def waits_for(self, limits: Limits) -> str:
        """What a job with these limits would have to wait for, as a sentence; "" when it can start. Raises Refused when
        it never can.
        """

    def look(self, key: str) -> Running | Ended | None:
        """How a job is doing. None: never started, or cut short by a stop or by the end of an earlier daemon."""

    def stop(self, key: str) -> None:
        """End a job and everything it started; returns when all is gone. A result it had written still counts."""

    def discard(self, key: str) -> None:
        """Forget a job and remove its folder."""

    def running(self) -> tuple[str, ...]:
        """Keys of the jobs at work."""

    def kept(self) -> tuple[str, ...]:
        """Keys of all jobs that have a folder, also of an earlier life, whatever became of them."""

    def expect(self, model: str, now: datetime) -> None:
        """Prepare for a job of this model, which is likely soon."""

    def close_unused(self, now: datetime) -> datetime | None:
        """Give back what was prepared and not used for a while; returns when there could be more of it."""

    def close(self) -> None:
        """Stop every job."""


class ProcessExecutor:
    """Runs each job as a process of its own, with its folder under `folder` as last argument.

    `wake` is called, from another thread, whenever a job has ended. The thread that calls `start` must live as long
    as the worker: the worker asks the kernel to be killed when that thread ends (environment: RETRAIND_PARENT). With
    `templates` workers are forked from these where that can be done.
    """

    def __init__(
        self,
        folder: Path,
        wake: Callable[[], None],
        command: Sequence[str] = WORKER,
        grace: float = 10.0,
        log_limit: int = LOG_LIMIT,
        means: Means = WATCHED,
        allowance: Allowance = UNLIMITED,
        templates: Templates | None = None,
    ) -> None:
        self._folder = folder.absolute()
        self._wake = wake
        self._command = tuple(command)
        self._guard = Guard()
        self._watch = Watch(grace, log_limit, means, self._guard)
        self._allowance = allowance
        self._gpus: dict[str, tuple[str, ...]] = {}
        self._templates = templates or Templates(folder, keep=None)
        self._jobs: dict[str, Supervisor] = {}
        self._models: dict[str, str] = {}

    def start(self, key: str, job: Job, limits: Limits, now: datetime, python: str = "") -> None:
        """Start a worker for `job`. That no process can be started is an end like a crash; that `python` cannot be
        used is a failure for good.

        Raises StateUnusable when the job folder cannot be written, or the machine has nothing left to start a process
        with; ValueError for a job that is running already or whose GPUs are not free.
        """
        if key in self.running():
            raise ValueError(f"job {key!r} is running already")
        folder = self._path(key)
        self._end_earlier_life(key)
        try:
            _prepare(folder, job)
            self._begin(key, job, limits, now, python)
        except OSError as error:
            self._jobs.pop(key, None)
            raise unusable(error, folder, "job folder") from error

    def _begin(self, key: str, job: Job, limits: Limits, now: datetime, python: str) -> None:
        folder = self._path(key)
        limits = limits.or_else(self._allowance.memory, self._allowance.processes)
        told = self._hand_out(key, limits.gpus)
        supervisor = self._jobs[key] = Supervisor(folder, limits, self._watch, now, self._wake)
        self._models[key] = job.source.model
        if problem := _against(python):
            supervisor.fail(problem)
        elif python:
            supervisor.start((python, *WORKER[1:], str(folder)), told, foreign=True)
        else:
            warm = self._templates.lend(job.source.model, now) if can_be_forked(limits) else None
            supervisor.start((*self._command, str(folder)), told, warm=warm)

    def waits_for(self, limits: Limits) -> str:
        """That too few GPUs are free. Raises Refused when the box has too few at all."""
        if limits.gpus == 0:
            return ""
        if limits.gpus > (count := len(self._allowance.gpus or ())):
            raise Refused(
                f"train.limits.gpus asks for {limits.gpus}, and the daemon has {count or 'none'} to hand out.",
                "Name the devices of this box in the settings ([workers] gpus), or ask for fewer.",
            )
        free = len(self._free())
        return f"waits for a GPU: {limits.gpus} asked, {free} of {count} free" if free < limits.gpus else ""

    def look(self, key: str) -> Running | Ended | None:
        """How a job is doing; a worker that outlived an earlier daemon is ended first."""
        folder = self._path(key)
        if key in self._jobs:
            seen = self._jobs[key].look()
            if isinstance(seen, Ended):
                self._templates.note(self._models[key], seen.result)
            return seen
        self._end_earlier_life(key)
        return _ended_earlier(folder)

    def stop(self, key: str) -> None:
        """Ask the worker and all it started to end, after the grace make them; returns when all is gone."""
        if key in self._jobs:
            self._jobs[key].ask_to_stop()
            self._jobs[key].join()
        else:
            self._end_earlier_life(key)

    def discard(self, key: str) -> None:
        """Stop the job if it runs, then remove its folder. Raises StateUnusable when that cannot be done."""
        self.stop(key)
        self._jobs.pop(key, None)
        remove_scratch(self._path(key))
        self._models.pop(key, None)
        try:
            shutil.rmtree(self._path(key))
        except FileNotFoundError:
            return
        except OSError as error:
            raise unusable(error, self._path(key), "job folder") from error

    def running(self) -> tuple[str, ...]:
        """Keys of the jobs at work."""
        return tuple(key for key, job in self._jobs.items() if job.running)

    def kept(self) -> tuple[str, ...]:
        """Keys of all jobs that have a folder, by name."""
        try:
            return tuple(sorted(path.name for path in self._folder.iterdir() if path.is_dir()))
        except FileNotFoundError:
            return ()

    def expect(self, model: str, now: datetime) -> None:
        """Have a template import what a job of this model will need, if templates are kept."""
        self._templates.expect(model, now)

    def close_unused(self, now: datetime) -> datetime | None:
        """Close templates that no job has used for a while; returns when the next could be closed."""
        return self._templates.close_unused(now)

    def close(self) -> None:
        """Stop every job, all at the same time."""
        for job in self._jobs.values():
            job.ask_to_stop()
        for job in self._jobs.values():
            job.join()
        self._templates.close()
        self._guard.close()

    def _free(self) -> list[str]:
        taken = {device for key in self.running() for device in self._gpus.get(key, ())}
        return [device for device in self._allowance.gpus or () if device not in taken]

    def _hand_out(self, key: str, count: int) -> dict[str, str]:
        """The variable that shows a worker its devices, and no other's."""
        if self._allowance.gpus is None and count == 0:
            return {}
        free = self._free()
        if len(free) < count:
            raise ValueError(f"job {key!r} needs {count} GPUs, {len(free)} are free")
        self._gpus[key] = tuple(free[:count])
        return {"CUDA_VISIBLE_DEVICES": ",".join(self._gpus[key])}

    def _path(self, key: str) -> Path:
        if not key or key.startswith(".") or "/" in key or "\0" in key:
            raise ValueError(f"{key!r} is no name for a job: a plain file name is needed")
        return self._folder / key

    def _end_earlier_life(self, key: str) -> None:
        """End what an earlier daemon started under this key and what is still there of it."""
        if key in self._jobs or (worker := _recorded(self._path(key))) is None:
            return
        if processes.lives(worker):
            processes.end_session(worker.pid, self._watch.grace)
        processes.end_left_behind(worker, os.fsencode(f"{JOB_MARK}={self._path(key)}"))
        remove_scratch(self._path(key))


def _against(python: str) -> str:
    """What stands against an interpreter that a policy names, as a sentence; "" when nothing does."""
    if not python or (Path(python).is_file() and os.access(python, os.X_OK)):
        return ""
    return f"train.python names {python}, which {_no_interpreter(Path(python))}."


def _no_interpreter(path: Path) -> str:
    if path.is_dir():
        return "is a folder"
    return "may not be executed by this user" if path.is_file() else "does not exist"


def _prepare(folder: Path, job: Job) -> None:
    """A folder with `job` in it and nothing of an earlier try but its log, to which more is appended.

    For its owner only: a job quotes the policy, and a log what a team's own code prints.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (files.RESULT_FILE, files.PROGRESS_FILE, PROCESS_FILE, files.JOB_FILE):
        (folder / name).unlink(missing_ok=True)
    files.write_job(folder, job)


def _recorded(folder: Path) -> processes.Identity | None:
    """The process that was started in a folder, None where none is recorded."""
    try:
        fields = json.loads((folder / PROCESS_FILE).read_text())
        return processes.Identity(int(fields["pid"]), int(fields["started"]), str(fields["boot"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    except OSError as error:  # not knowing whether one lives is no reason to start another
        raise unusable(error, folder, "job folder") from error


def left_alive(folder: Path) -> bool:
    """Whether the worker that was started in a job folder lives, whoever started it."""
    worker = _recorded(folder)
    return worker is not None and processes.lives(worker)


def _ended_earlier(folder: Path) -> Ended | None:
    """The result that an earlier life's worker left, its seconds from the times of the files."""
    try:
        result = files.read_result(folder)
    except ValueError as error:
        result = unreadable(error)
    except OSError as error:
        raise unusable(error, folder, "job folder") from error
    if result is None:
        return None
    return Ended(result, _seconds_between(folder / PROCESS_FILE, folder / files.RESULT_FILE))


def _seconds_between(first: Path, second: Path) -> float:
    try:
        return max(second.stat().st_mtime - first.stat().st_mtime, 0.0)
    except OSError:
        return 0.0
