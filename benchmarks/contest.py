"""The same retrain by hand and by the daemon, in turns: wall time, CPU, memory, and what the MLflow server spent."""

from __future__ import annotations

import resource
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from subprocess import Popen

from benchmarks.box import HERE, Box, Watcher, started, until
from benchmarks.consumption import cpu_seconds, tree, watched
from retrain_daemon.core.attempts import ENDED
from retrain_daemon.journal import Journal

BARE, GIVEN = "bare script", "bare script, requirements given"
FIRST, DAEMON = "daemon, nothing warm", "daemon, warm"
CONTESTANTS = (BARE, GIVEN, FIRST, DAEMON)
#: A daemon that keeps nothing for long, so that each retrain is like the first one after a quiet time.
FORGETFUL = '[workers]\nkeep_warm = "2s"\n'

#: What the daemon spends so long after the attempt has ended still counts as the retrain's.
SETTLE_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One retrain: seconds until the alias had moved, CPU seconds, bytes of the largest process, the server's CPU."""

    wall: float
    cpu: float
    peak: int
    server_cpu: float


@dataclass(frozen=True)
class _Up:
    """A daemon that runs, and its journal."""

    watcher: Watcher
    process: Popen[bytes]
    journal: Journal


@dataclass(frozen=True)
class Contest:
    """Retrains on one box, whose MLflow server is process `server`. Each has a model of its own, so that every
    repetition starts from the same champion and sees the same number of rows.
    """

    box: Box
    server: int
    repetitions: int

    @property
    def scripted_models(self) -> list[str]:
        """Models the scripts retrain."""
        return [self._model(who, number) for who in (BARE, GIVEN) for number in self._numbers]

    @property
    def watched_models(self) -> list[str]:
        """Models the daemon retrains; their first champion is yet to be adopted."""
        return [self._model(who, number) for who in (FIRST, DAEMON) for number in self._numbers]

    @property
    def _numbers(self) -> range:
        return range(1, self.repetitions + 1)

    @staticmethod
    def _model(who: str, number: int) -> str:
        return f"model-{CONTESTANTS.index(who)}-{number}"

    def hold(self) -> Iterator[tuple[str, Measured]]:
        """Each contestant once in every repetition, in turns; the daemons are up all the time."""
        with self._daemon(FIRST, FORGETFUL) as first, self._daemon(DAEMON) as warm:
            for number in self._numbers:
                yield BARE, self._by_script(BARE, number)
                yield GIVEN, self._by_script(GIVEN, number, "--given")
                until(lambda: len(tree(first.process.pid)) == 1, first.process, first.watcher.log)
                yield FIRST, self._by_daemon(FIRST, number, first)
                yield DAEMON, self._by_daemon(DAEMON, number, warm)

    @contextmanager
    def _daemon(self, who: str, more: str = "") -> Iterator[_Up]:
        """A daemon that has taken in the base files of its models."""
        watcher = Watcher(self.box, self.box.folder / f"retraining-{CONTESTANTS.index(who)}", more)
        models = [self._model(who, number) for number in self._numbers]
        watcher.watch(models)
        for model in models:
            base = watcher.drops(model) / "base.parquet"
            shutil.copy(self.box.base, base)
            watcher.adopt(model, base)
        with watcher.daemon() as process, closing(watcher.journal()) as journal:
            until(lambda: _base_is_known(journal, models), process, watcher.log)
            time.sleep(SETTLE_SECONDS)
            yield _Up(watcher, process, journal)

    def _by_script(self, who: str, number: int, *words: str) -> Measured:
        """Seconds from starting the interpreter; CPU of the script and all it started."""
        model, log = self._model(who, number), self.box.folder / "script.log"
        files = (str(self.box.base), str(self.box.dropped(number)))
        command = [sys.executable, str(HERE / "cold_script.py"), model, *files, *words]
        server, cpu, begun = cpu_seconds(self.server), _cpu_of_ended_children(), time.monotonic()
        with (
            log.open("wb") as stream,
            started(command, self.box.environment(), stream) as process,
            watched(process.pid) as peak,
        ):
            moved = self.box.await_alias(model, 2, process, log)
            process.wait()
        return Measured(
            wall=moved - begun,
            cpu=_cpu_of_ended_children() - cpu,
            peak=peak.resident,
            server_cpu=cpu_seconds(self.server) - server,
        )

    def _by_daemon(self, who: str, number: int, daemon: _Up) -> Measured:
        """Seconds from just before the rename; CPU of the daemon and its workers until all is done and a bit more."""
        model, process, log = self._model(who, number), daemon.process, daemon.watcher.log
        hidden = daemon.watcher.drops(model) / ".dropped.parquet"
        shutil.copy(self.box.dropped(number), hidden)
        with watched(process.pid) as peak:
            server, cpu, begun = cpu_seconds(self.server), cpu_seconds(process.pid), time.monotonic()
            hidden.rename(hidden.with_name("dropped.parquet"))
            moved = self.box.await_alias(model, 2, process, log)
            until(lambda: _has_ended(daemon.journal, model), process, log)
            time.sleep(SETTLE_SECONDS)
        return Measured(
            wall=moved - begun,
            cpu=cpu_seconds(process.pid) - cpu,
            peak=peak.resident,
            server_cpu=cpu_seconds(self.server) - server,
        )


def _base_is_known(journal: Journal, models: Sequence[str]) -> bool:
    """Whether every base file was inspected."""
    drops = [drop for model in models for drop in journal.drops.listing(model)]
    return len(drops) == len(models) and all(drop.state == "recorded" for drop in drops)


def _has_ended(journal: Journal, model: str) -> bool:
    attempts = journal.attempts.of_model(model, 1)
    return bool(attempts) and attempts[0].state in ENDED


def _cpu_of_ended_children() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime
