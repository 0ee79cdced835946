"""Reports: a worker writes one about each verdict, after the attempt has ended or while a person is asked about it.

Never in the way of anything: one at a time, beside the slots of trainings, tried again later when MLflow is away. What
a report tells is gathered in `report_facts.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from retrain_daemon.core.attempts import Attempt
from retrain_daemon.executor.jobs import Executor
from retrain_daemon.executor.limits import Limits
from retrain_daemon.executor.supervisor import Ended, Running
from retrain_daemon.journal import Journal
from retrain_daemon.labels import unique_name
from retrain_daemon.log import get_logger
from retrain_daemon.report_facts import report_job
from retrain_daemon.worker.job import Failed, ReportWritten, Source

#: One that failed is written again after so long, then after twice that, and so on.
WRITE_AGAIN = timedelta(seconds=20)
LONGEST = timedelta(minutes=10)
#: One that failed so often, MLflow's absence not counted, is given up.
FAILURES_TO_GIVE_UP = 3
REPORT_LIMITS = Limits(run_for=timedelta(minutes=10), memory=None)
#: How the names of these jobs begin; no attempt is called like it.
_JOB = "report~"
_FOLDER = "reports"

_log = get_logger()


def data_file(state: Path, attempt: Attempt) -> Path:
    """Where the worker of an attempt's present round keeps what its report shows."""
    return state / _FOLDER / f"{unique_name(attempt)}.{attempt.round}.json"


@dataclass
class _Tries:
    """What is remembered of a report that failed."""

    failures: int = 0
    waits: int = 0
    not_before: datetime | None = None


class Reporting:
    """Has reports written, oldest first. Remembers only what a restart may forget."""

    def __init__(
        self, journal: Journal, executor: Executor, state: Path, source: Callable[[str, int | None], Source],
        key: Callable[[Attempt], str], clock: Callable[[], datetime],
    ) -> None:  # fmt: skip
        self._journal = journal
        self._executor = executor
        self._state = state
        self._source = source
        self._key = key
        self._clock = clock
        self._under_way: tuple[str, Attempt] | None = None
        self._tries: dict[str, _Tries] = {}
        self._started = 0

    def step(self) -> bool:
        """Take in the report under way, or begin the next one; returns whether anything changed."""
        if self._under_way is not None:
            return self._collect(*self._under_way)
        now = self._clock()
        ready = (name for name in self._journal.reports.due() if self._may_start(name, now))
        name = next(ready, None)
        if name is None:
            return False
        self._start(self._journal.attempts.get(name), now)
        return True

    def busy(self) -> bool:
        """Whether one is being written."""
        return self._under_way is not None

    def next_due(self) -> datetime | None:
        """When one that failed is written again."""
        return min((tries.not_before for tries in self._tries.values() if tries.not_before), default=None)

    def clear_away(self) -> None:
        """Remove jobs of an earlier life, whose reports are written again, and what no report will ask for."""
        for key in self._executor.kept():
            if key.startswith(_JOB):
                self._executor.discard(key)
        self._sweep()

    def _may_start(self, name: str, now: datetime) -> bool:
        tries = self._tries.get(name)
        if tries is None or tries.not_before is None:
            return True
        return not timedelta(0) < tries.not_before - now <= LONGEST  # a longer wait is of a clock that was set back

    def _start(self, attempt: Attempt, now: datetime) -> None:
        self._started += 1
        key = f"{_JOB}{self._started}"
        source = self._source(attempt.model, attempt.champion_version)
        job = report_job(
            self._journal, attempt, source, self._key(attempt), data_file(self._state, attempt), now
        )  # fmt: skip
        self._executor.start(key, job, REPORT_LIMITS, now)
        self._under_way = (key, attempt)

    def _collect(self, key: str, attempt: Attempt) -> bool:
        seen = self._executor.look(key)
        if isinstance(seen, Running):
            return False
        match seen:
            case Ended(result=ReportWritten(run_id=run)):
                self._journal.reports.note_written(attempt, run, self._clock())
                self._tries.pop(attempt.id, None)
                _log.info("report.written", attempt=attempt.id, model=attempt.model, run=run)
            case Ended(result=Failed() as failed):
                self._note_failure(attempt, failed)
            case _:  # cut short, or an answer to something else
                self._note_failure(attempt, Failed(message="Its worker gave no report.", temporary=True))
        self._under_way = None
        self._executor.discard(key)
        self._sweep()
        return True

    def _note_failure(self, attempt: Attempt, failed: Failed) -> None:
        """That MLflow or the machine is at fault does not count."""
        tries = self._tries.setdefault(attempt.id, _Tries())
        tries.waits += 1
        tries.failures += 0 if failed.unreachable else 1
        reason, now = f"{failed.message} {failed.hint}".strip(), self._clock()
        given_up = not failed.unreachable and (not failed.temporary or tries.failures >= FAILURES_TO_GIVE_UP)
        if given_up:
            self._journal.reports.note_given_up(attempt, reason, now)
            del self._tries[attempt.id]
        else:
            tries.not_before = now + min(WRITE_AGAIN * 2 ** min(tries.waits - 1, 10), LONGEST)
        if given_up or tries.waits == 1:
            _log.warning("report.failed", attempt=attempt.id, model=attempt.model, reason=reason,
                         temporary=not given_up)  # fmt: skip

    def _sweep(self) -> None:
        """Remove what was kept for reports of attempts that have ended and are reported, or never will be."""
        folder = self._state / _FOLDER
        if not folder.is_dir():
            return
        attempts = self._journal.attempts
        wanted = (*attempts.open(), *map(attempts.get, self._journal.reports.due()))
        kept = {unique_name(attempt) for attempt in wanted}
        for file in folder.iterdir():
            if file.name.removesuffix(".json").rpartition(".")[0] not in kept:
                file.unlink(missing_ok=True)
