"""An executor without processes: a job ends at once, with what a function makes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from retrain_daemon.executor.limits import Limits
from retrain_daemon.executor.supervisor import Ended, Running
from retrain_daemon.worker.job import Job, Result


@dataclass
class FakeExecutor:
    """Keeps to the contract of `Executor`. `work` makes the result of a job; None: the job runs until it is stopped.

    Instances that share `folders` are lives of one daemon: results outlive them, as job folders do. With
    `outlives_daemon` a result is there as soon as the job was started; else it is made at the first look, and a job
    that a restart comes in between of is cut short. `calls` lists (verb, key) in order, looks left out; `expected`
    the models that jobs were expected for.
    """

    work: Callable[[Job], Result | None]
    folders: dict[str, Result] = field(default_factory=dict)
    outlives_daemon: bool = True
    wake: Callable[[], None] = lambda: None
    obstacle: Callable[[Limits], str] = lambda _limits: ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    _waiting: dict[str, tuple[Job, datetime]] = field(default_factory=dict)

    def start(self, key: str, job: Job, limits: Limits, now: datetime, python: str = "") -> None:
        _plain(key)
        if key in self.running():
            raise ValueError(f"job {key!r} is running already")
        self.calls.append(("start", key))
        self.jobs.append(job)
        self.folders.pop(key, None)
        self._waiting[key] = (job, now)
        if self.outlives_daemon:
            self._finish(key)
        self.wake()

    def waits_for(self, limits: Limits) -> str:
        return self.obstacle(limits)

    def look(self, key: str) -> Running | Ended | None:
        _plain(key)
        if key in self._waiting:
            self._finish(key)
        if key in self._waiting:
            return Running(self._waiting[key][1], None)
        return Ended(self.folders[key], 0.0) if key in self.folders else None

    def stop(self, key: str) -> None:
        self.calls.append(("stop", key))
        self._waiting.pop(key, None)

    def discard(self, key: str) -> None:
        self.calls.append(("discard", key))
        self._waiting.pop(key, None)
        self.folders.pop(key, None)

    def running(self) -> tuple[str, ...]:
        return tuple(self._waiting)

    def kept(self) -> tuple[str, ...]:
        return tuple(sorted({*self._waiting, *self.folders}))

    def expect(self, model: str, now: datetime) -> None:
        self.expected.append(model)

    def close_unused(self, now: datetime) -> datetime | None:
        return None

    def close(self) -> None:
        self._waiting.clear()

    def _finish(self, key: str) -> None:
        if (result := self.work(self._waiting[key][0])) is not None:
            self.folders[key] = result
            del self._waiting[key]


def _plain(key: str) -> None:
    if not key or key.startswith(".") or "/" in key or "\0" in key:
        raise ValueError(f"{key!r} is no name for a job: a plain file name is needed")
