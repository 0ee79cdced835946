"""The composition root: real gateways from settings. The only place that makes them."""

from __future__ import annotations

import getpass
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from retrain_daemon.act import Pacing
from retrain_daemon.core.policy import Policy
from retrain_daemon.core.trust import Trust
from retrain_daemon.daemon import Daemon, Gateways, Rhythm
from retrain_daemon.drops import DropFolders
from retrain_daemon.errors import NotFound, PolicyProblems, StateUnusable
from retrain_daemon.executor import ProcessExecutor
from retrain_daemon.journal import Journal
from retrain_daemon.policies import PolicyFolder, read_policies
from retrain_daemon.registry import MlflowRegistry
from retrain_daemon.schedule import WakeUps
from retrain_daemon.settings import Settings
from retrain_daemon.templates import Templates


def clock() -> datetime:
    """Now. The only clock there is."""
    return datetime.now(UTC)


@contextmanager
def compose_daemon(settings: Settings, wake: threading.Event) -> Iterator[Daemon]:
    """A daemon on the real world; everything it started is ended on leaving. The caller holds the lock."""
    journal = Journal.open(settings.state)
    jobs = settings.state / "jobs"
    executor = ProcessExecutor(jobs, wake.set, templates=Templates(jobs, settings.keep_warm))
    folders = DropFolders(wake.set)
    alarms = WakeUps(wake.set)
    gateways = Gateways(
        journal=journal,
        registry=registry_of(settings),
        executor=executor,
        folders=folders,
        policies=PolicyFolder(settings.policies),
        alarms=alarms,
    )
    rhythm = Rhythm(
        poll_registry=settings.poll_registry,
        rescan=settings.rescan,
        pacing=Pacing(backoff=settings.retry_backoff, slots=settings.slots),
    )
    closers: tuple[Callable[[], None], ...] = (alarms.close, folders.close, executor.close, journal.close)
    try:
        yield Daemon(gateways, settings.state, rhythm, clock, wake, trust_of(settings))
    finally:
        for close in closers:
            close()


def trust_of(settings: Settings) -> Trust:
    """Whose versions are loaded, by the settings and this process's own user."""
    return Trust(users=frozenset(settings.trust_users), own=getpass.getuser())


def registry_of(settings: Settings) -> MlflowRegistry:
    """The registry the settings name."""
    return MlflowRegistry(settings.tracking_uri, settings.registry_uri)


def journal_to_read(settings: Settings) -> Journal:
    """The journal, opened for reading only; raises NotFound where no daemon ever ran."""
    if not (settings.state / "journal.db").exists():
        raise NotFound(
            f"there is no journal in {settings.state}: no daemon has run with this state folder.",
            "Start one with `retraind run`, or name another folder with --state.",
        )
    return Journal.open(settings.state, read_only=True)


def journal_to_write(settings: Settings) -> Journal:
    """The journal, made if there is none."""
    try:
        settings.state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StateUnusable(
            f"the state folder {settings.state} cannot be made: {error.strerror}.", "Name another with --state."
        ) from error
    return Journal.open(settings.state)


def policies_in_force(path: Path) -> dict[str, Policy]:
    """Every policy by model; raises PolicyProblems if a file has any."""
    reading = read_policies(path)
    if reading.problems:
        raise PolicyProblems("\n".join(str(problem) for problem in reading.problems))
    return {policy.model: policy for policy in reading.policies}
