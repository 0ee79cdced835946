"""The demo's story, once for each model: a promotion, a rejected challenger, a quarantined file and a rollback.

Everything shown is read from the journal, as any command would; people's part is played by running `retraind` verbs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from retrain_daemon.cli.output import console, print_table
from retrain_daemon.core.attempts import Attempt, State
from retrain_daemon.errors import RetrainError
from retrain_daemon.journal import Journal
from retrain_daemon.journal.drops import DropRow
from retrain_daemon.lock import holder
from retrain_daemon.worker.job import read_progress

#: No act takes longer than this on two cores.
ACT_SECONDS = 180


@dataclass
class Stage:
    """Where the demo happens, and what came of it so far."""

    folder: Path
    config: Path
    models: tuple[str, ...]
    promoted: str = ""
    rows: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def prepared(self) -> Path:
        """Files that will be dropped."""
        return self.folder / "prepared"

    @property
    def tracking_uri(self) -> str:
        """The embedded MLflow: one SQLite file."""
        return f"sqlite:///{self.folder}/mlflow.db"

    def environment(self) -> dict[str, str]:
        """The environment of the demo's processes: nothing of the person's own MLflow or daemon leaks in."""
        return {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "RETRAIND_"))}


def tell(stage: Stage, daemon: subprocess.Popen[bytes]) -> bool:
    """Play the acts; returns whether each ended as it should for every model."""
    _until(daemon, lambda: holder(stage.folder / "state") is not None)
    _say("people adopt version 1 of each model and say what it learned from")
    for model in stage.models:
        _retraind(stage, "adopt", model, "--version", "1", "--learned-from", str(stage.prepared / "early.csv"))
    journal = _journal(stage, daemon)
    _say("Monday: 1,000 labelled digits are dropped")
    first = _await_attempts(stage, journal, daemon, "monday.csv", number=1)
    stage.promoted = first[0].id
    expected = [attempt.state is State.PROMOTED for attempt in first]
    _say("Tuesday: 697 digits whose labels got scrambled are dropped")
    second = _await_attempts(stage, journal, daemon, "tuesday.csv", number=2)
    expected += [attempt.state is State.REJECTED for attempt in second]
    _say("a person notices and retracts the file")
    for model in stage.models:
        _retraind(stage, "drop", "retract", "tuesday.csv", "--model", model, "--why", "labels were scrambled")
    _say("Wednesday: a file that lacks a column is dropped")
    expected += _set_aside(stage, journal, daemon, "wednesday.csv")
    _say("the promoted versions are rolled back by hand")
    expected += [_rolled_back(stage, journal, model) for model in stage.models]
    print()
    titles = ("model", "what happened", "version", "accuracy gain", "verdict", "seconds")
    print_table(titles, sorted(stage.rows, key=lambda row: stage.models.index(row[0])))
    return all(expected)


def _say(sentence: str) -> None:
    console().print(f"• {sentence}", markup=False)


def _retraind(stage: Stage, *words: str) -> None:
    command = [sys.executable, "-m", "retrain_daemon", *words, "--config", str(stage.config)]
    ended = subprocess.run(command, env=stage.environment(), capture_output=True, text=True, check=False)
    console().print(f"  $ retraind {' '.join(words)}", markup=False)
    for line in (ended.stdout + ended.stderr).splitlines():
        console().print(f"    {line}", markup=False)
    if ended.returncode != 0:
        raise RetrainError(f"`retraind {' '.join(words)}` ended with {ended.returncode}.")


def _journal(stage: Stage, daemon: subprocess.Popen[bytes]) -> Journal:
    path = stage.folder / "state" / "journal.db"
    _until(daemon, path.exists)
    return Journal.open(stage.folder / "state", read_only=True)


def _until(daemon: subprocess.Popen[bytes], done: Callable[[], object]) -> None:
    deadline = time.monotonic() + ACT_SECONDS
    while not done():
        if daemon.poll() is not None:
            raise RetrainError(f"the daemon ended with {daemon.returncode}.", "See daemon.log in the demo's folder.")
        if time.monotonic() > deadline:
            raise RetrainError(f"nothing came of it in {ACT_SECONDS} s.", "See daemon.log in the demo's folder.")
        time.sleep(0.1)


def _drop(stage: Stage, name: str) -> None:
    """Written elsewhere and renamed into place, so it is complete at once."""
    hidden = stage.folder / "drops" / f".{name}"
    hidden.write_bytes((stage.prepared / name).read_bytes())
    hidden.rename(stage.folder / "drops" / name)


def _set_aside(stage: Stage, journal: Journal, daemon: subprocess.Popen[bytes], name: str) -> list[bool]:
    """Drop a file that no model can use; whether each set it aside."""
    _drop(stage, name)
    found = {}
    for model in stage.models:
        _until(daemon, partial(_settled, journal, model, name))
        found[model] = _settled(journal, model, name)
    rows = [row for row in found.values() if row is not None]
    for model, row in zip(found, rows, strict=True):
        _say(f"{model} sets it aside: {row.reason}")
        stage.rows.append((model, f"file {name}", "-", "-", row.state, "-"))
    return [row.state == "quarantined" for row in rows]


def _settled(journal: Journal, model: str, name: str) -> DropRow | None:
    listed = (row for row in journal.drops.listing(model) if Path(row.path).name == name and row.state != "found")
    return next(listed, None)


def _await_attempts(
    stage: Stage, journal: Journal, daemon: subprocess.Popen[bytes], name: str, number: int
) -> list[Attempt]:  # fmt: skip
    """Drop a file and wait until each model has that many attempts behind it; returns the newest of each."""
    _drop(stage, name)
    with _progress() as show:

        def ended() -> bool:
            attempts = [_newest(journal, model, number) for model in stage.models]
            waiting = [(model, each) for model, each in zip(stage.models, attempts, strict=True) if not _over(each)]
            if waiting:
                at_work = next((pair for pair in waiting if pair[1] is not None and pair[1].starts), waiting[0])
                show(*_where(stage, journal, *at_work))
            return not waiting

        _until(daemon, ended)
    attempts = [journal.attempts.of_model(model, 1)[0] for model in stage.models]
    for attempt in attempts:
        _say(f"{attempt.id} {attempt.state.value}: {attempt.reason}")
        stage.rows.append(_row(attempt))
    return attempts


def _newest(journal: Journal, model: str, number: int) -> Attempt | None:
    attempts = journal.attempts.of_model(model, number)
    return attempts[0] if len(attempts) >= number else None


def _over(attempt: Attempt | None) -> bool:
    return attempt is not None and attempt.ended_at is not None


def _where(stage: Stage, journal: Journal, model: str, attempt: Attempt | None) -> tuple[str, int, int]:
    """Which model, the phase in plain words, and how far it is."""
    if attempt is None:
        return (f"{model}: inspecting the file" if journal.drops.to_inspect(model) else "looking at the file", 0, 0)
    folders = sorted((stage.folder / "state" / "jobs").glob(f"{attempt.id}.*"))
    try:
        progress = read_progress(folders[-1]) if folders else None
    except (OSError, ValueError):
        progress = None
    if progress is None:
        return (f"{model}: {attempt.state.value}", 0, 0)
    return (f"{model}: {progress.phase}", progress.done, progress.total)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on a terminal, a plain line for each new phase otherwise."""
    if not sys.stdout.isatty():
        yield _PlainLines().show
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, transient=True) as bars:
        task = bars.add_task("", total=None)

        def show(phase: str, done: int, total: int) -> None:
            bars.update(task, description=phase, completed=done, total=total or None)

        yield show


class _PlainLines:
    def __init__(self) -> None:
        self._last = ""

    def show(self, phase: str, done: int, total: int) -> None:
        if phase != self._last:
            print(f"    {phase}", flush=True)
        self._last = phase


def _row(attempt: Attempt) -> tuple[str, ...]:
    found = attempt.evidence.metrics if attempt.evidence else ()
    gain = next((each for each in found if each.metric == "accuracy"), None)
    shown = "-"
    if gain is not None and gain.gain is not None and gain.gain_low is not None and gain.gain_high is not None:
        shown = f"{gain.gain:+.4f} ({gain.gain_low:+.4f} to {gain.gain_high:+.4f})"
    was = attempt.champion_version
    versions = f"{was} → {attempt.version}" if attempt.version else f"{was} stays"
    seconds = (attempt.ended_at - attempt.started_at).total_seconds() if attempt.ended_at else 0.0
    return (attempt.model, f"rule “{attempt.rule}”", versions, shown, attempt.state.value, f"{seconds:.1f}")


def _rolled_back(stage: Stage, journal: Journal, model: str) -> bool:
    """Roll back by hand; whether the first champion is back and the model paused."""
    started = time.monotonic()
    _retraind(stage, "rollback", model, "--why", "to show it")
    seconds = time.monotonic() - started
    back = journal.rollbacks.of_model(model)
    row = journal.models.find(model)
    done = bool(back) and row is not None and row.champion_seen == back[-1].target and row.hold is not None
    versions = f"{back[-1].was} → {back[-1].target}" if back else "-"
    verdict = "rolled back, paused" if done else "failed"
    stage.rows.append((model, "rollback by hand", versions, "-", verdict, f"{seconds:.1f}"))
    return done
