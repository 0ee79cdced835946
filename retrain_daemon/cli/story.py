"""The demo's story: a promotion, a rejected challenger, a quarantined file and a rollback, by the real daemon.

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
from pathlib import Path

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from retrain_daemon.cli.output import console, print_table
from retrain_daemon.core.attempts import Attempt, State
from retrain_daemon.errors import RetrainError
from retrain_daemon.journal import Journal
from retrain_daemon.journal.drops import DropRow
from retrain_daemon.lock import holder
from retrain_daemon.worker.job import read_progress

MODEL = "digits"
#: No act takes longer than this on two cores.
ACT_SECONDS = 120


@dataclass
class Stage:
    """Where the demo happens, and what came of it so far."""

    folder: Path
    config: Path
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
    """Play the acts; returns whether each ended as it should."""
    _until(daemon, lambda: holder(stage.folder / "state") is not None)
    _say("a person adopts version 1 and says what it learned from")
    _retraind(stage, "adopt", MODEL, "--version", "1", "--learned-from", str(stage.prepared / "early.csv"))
    journal = _journal(stage, daemon)
    expected = []
    _say("Monday: 1,000 labelled digits are dropped")
    first = _await_attempt(stage, journal, daemon, "monday.csv", number=1)
    stage.promoted = first.id
    expected.append(first.state is State.PROMOTED)
    _say("Tuesday: 697 digits whose labels got scrambled are dropped")
    second = _await_attempt(stage, journal, daemon, "tuesday.csv", number=2)
    expected.append(second.state is State.REJECTED)
    _say("a person notices and retracts the file")
    _retraind(stage, "drop", "retract", "tuesday.csv", "--why", "labels were scrambled")
    _say("Wednesday: a file that lacks a column is dropped")
    broken = _await_drop(stage, journal, daemon, "wednesday.csv")
    _say(f"set aside: {broken.reason}")
    expected.append(broken.state == "quarantined")
    _say("the promoted version is rolled back by hand")
    started = time.monotonic()
    _retraind(stage, "rollback", MODEL, "--why", "to show it")
    expected.append(_add_other_rows(stage, journal, broken, time.monotonic() - started))
    print()
    titles = ("model", "what happened", "version", "accuracy gain", "verdict", "seconds")
    print_table(titles, stage.rows)
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


def _until(daemon: subprocess.Popen[bytes], done: Callable[[], bool]) -> None:
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


def _await_drop(stage: Stage, journal: Journal, daemon: subprocess.Popen[bytes], name: str) -> DropRow:
    _drop(stage, name)

    def found() -> list[DropRow]:
        return [row for row in journal.drops.listing(MODEL) if Path(row.path).name == name and row.state != "found"]

    _until(daemon, lambda: bool(found()))
    return found()[0]


def _await_attempt(
    stage: Stage, journal: Journal, daemon: subprocess.Popen[bytes], name: str, number: int
) -> Attempt:  # fmt: skip
    started = time.monotonic()
    _drop(stage, name)
    with _progress() as show:

        def ended() -> bool:
            newest = next((each for each in journal.attempts.of_model(MODEL, 1) if each.number == number), None)
            show(*_where(stage, journal, newest))
            return newest is not None and newest.ended_at is not None

        _until(daemon, ended)
    attempt = journal.attempts.of_model(MODEL, 1)[0]
    _say(f"{attempt.id} {attempt.state.value}: {attempt.reason}")
    stage.rows.append(_row(attempt, time.monotonic() - started))
    return attempt


def _where(stage: Stage, journal: Journal, attempt: Attempt | None) -> tuple[str, int, int]:
    """The phase in plain words, and how far it is."""
    if attempt is None:
        return ("inspecting the file" if journal.drops.to_inspect(MODEL) else "looking at the file", 0, 0)
    folders = sorted((stage.folder / "state" / "jobs").glob(f"{attempt.id}.*"))
    try:
        progress = read_progress(folders[-1]) if folders else None
    except (OSError, ValueError):
        progress = None
    if progress is None:
        return (attempt.state.value, 0, 0)
    return (progress.phase, progress.done, progress.total)


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


def _row(attempt: Attempt, seconds: float) -> tuple[str, ...]:
    gain = (
        next((each for each in attempt.evidence.metrics if each.metric == "accuracy"), None)
        if attempt.evidence
        else None
    )
    shown = "-"
    if gain is not None and gain.gain is not None and gain.gain_low is not None and gain.gain_high is not None:
        shown = f"{gain.gain:+.4f} ({gain.gain_low:+.4f} to {gain.gain_high:+.4f})"
    versions = (
        f"{attempt.champion_version} → {attempt.version}" if attempt.version else f"{attempt.champion_version} stays"
    )
    return (MODEL, f"rule “{attempt.rule}”", versions, shown, attempt.state.value, f"{seconds:.1f}")


def _add_other_rows(stage: Stage, journal: Journal, broken: DropRow, seconds: float) -> bool:
    """Rows for the quarantined file and the rollback; whether the first champion is back."""
    stage.rows.append((MODEL, f"file {Path(broken.path).name}", "-", "-", broken.state, "-"))
    back = journal.rollbacks.of_model(MODEL)
    row = journal.models.find(MODEL)
    done = bool(back) and row is not None and row.champion_seen == back[-1].target and row.hold is not None
    versions = f"{back[-1].was} → {back[-1].target}" if back else "-"
    stage.rows.append(
        (MODEL, "rollback by hand", versions, "-", "rolled back, paused" if done else "failed", f"{seconds:.1f}")
    )
    return done
