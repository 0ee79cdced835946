"""The composition root: real gateways from settings. The only place that makes them."""

from __future__ import annotations

import getpass
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from retrain_daemon.act import Pacing
from retrain_daemon.core.names import NO_MODELS, Listing
from retrain_daemon.core.policy import Policy
from retrain_daemon.core.trust import Trust
from retrain_daemon.daemon import Daemon, Gateways, Rhythm
from retrain_daemon.drops import DropFolders
from retrain_daemon.errors import NotFound, PolicyProblems, RegistryUnreachable, StateUnusable
from retrain_daemon.executor.holding import Means, find_means
from retrain_daemon.executor.jobs import Allowance, ProcessExecutor
from retrain_daemon.executor.templates import OWN_STORES, Templates
from retrain_daemon.journal import JOURNAL_FILE, Journal
from retrain_daemon.journal.backups import Backups
from retrain_daemon.journal.soundness import was_there
from retrain_daemon.log import get_logger
from retrain_daemon.notify import Hook, Notifier
from retrain_daemon.policies import PolicyFolder, Problem, read_files, read_policies
from retrain_daemon.policy_watch import PolicyWatch
from retrain_daemon.registry import MlflowRegistry
from retrain_daemon.schedule import WakeUps
from retrain_daemon.service_manager import ServiceManager
from retrain_daemon.settings import Settings
from retrain_daemon.web import Answers, Web, patience
from retrain_daemon.worker.credentials import USERNAME

_log = get_logger()


def clock() -> datetime:
    """Now. The only clock there is."""
    return datetime.now(UTC)


@contextmanager
def compose_daemon(settings: Settings, wake: threading.Event, *, pages: bool) -> Iterator[Daemon]:
    """A daemon on the real world; everything it started is ended on leaving. The caller holds the lock.

    With `pages` it can be asked over HTTP how it stands.
    """
    journal = Journal.open(settings.state, thorough=True)
    means = find_means(settings.nice)
    _log.info("workers.limits", **means.words())
    executor = executor_of(settings, settings.state / "jobs", wake.set, means, templates_of(settings))
    folders = DropFolders(wake.set)
    policy_watch = PolicyWatch(settings.policies)
    alarms = WakeUps(wake.set)
    notifier = notifier_of(settings)
    backups = Backups(settings.state, settings.backups)
    gateways = Gateways(
        journal=journal,
        registry=registry_of(settings),
        executor=executor,
        folders=folders,
        policies=PolicyFolder(settings.policies),
        policy_watch=policy_watch,
        alarms=alarms,
        backups=backups,
    )
    rhythm = Rhythm(
        poll_registry=settings.poll_registry,
        rescan=settings.rescan,
        pacing=Pacing(backoff=settings.retry_backoff, slots=settings.slots),
        inspections=settings.inspections,
    )
    with ExitStack() as ending:
        ending.callback(journal.close)
        ending.callback(lambda: backups.close(clock()))
        for part in (executor, folders, policy_watch, alarms, notifier):
            ending.callback(part.close)
        manager = ServiceManager(os.environ)
        daemon = Daemon(gateways, settings.state, rhythm, clock, wake, trust_of(settings), notifier, manager)
        if pages and (web := web_of(settings, daemon, notifier)) is not None:
            ending.callback(web.close)
        yield daemon


def web_of(settings: Settings, daemon: Daemon, notifier: Notifier) -> Web | None:
    """The daemon's pages, where the settings name an address."""
    if settings.web_listen is None:
        return None
    allowed = patience(settings.poll_registry, settings.rescan)
    return Web(settings.web_listen, lambda: Answers(daemon.standing, lambda: notifier.tally, clock, allowed))


def notifier_of(settings: Settings) -> Notifier:
    """Who runs the command of the settings; without one there are no occasions."""
    occasions = settings.notify_on if settings.notify_command else ()
    return Notifier(Hook(settings.notify_command, occasions, settings.notify_timeout))


def executor_of(
    settings: Settings,
    folder: Path,
    wake: Callable[[], None],
    means: Means | None = None,
    templates: Templates | None = None,
) -> ProcessExecutor:
    """An executor that gives workers what the settings allow."""
    allowance = Allowance(memory=settings.memory, processes=settings.processes, gpus=settings.gpus)
    means = means or Means(nice=settings.nice)
    return ProcessExecutor(folder, wake, means=means, allowance=allowance, templates=templates)


def templates_of(settings: Settings) -> Templates:
    """What the daemon's workers are forked from. What an earlier life left of such is ended."""
    served = settings.tracking_uri.startswith("http") and settings.registry_uri.startswith("http")
    templates = Templates(settings.state / "jobs", settings.keep_warm, also=() if served else OWN_STORES)
    templates.sweep()
    return templates


def trust_of(settings: Settings) -> Trust:
    """Whose versions are loaded, by the settings and this process's own user, also as MLflow knows it."""
    own = {getpass.getuser(), os.environ.get(USERNAME, "")} - {""}
    return Trust(users=frozenset(settings.trust_users), own=frozenset(own))


def registry_of(settings: Settings) -> MlflowRegistry:
    """The registry the settings name."""
    return MlflowRegistry(settings.tracking_uri, settings.registry_uri)


def journal_to_read(settings: Settings) -> Journal:
    """The journal, opened for reading only; raises NotFound where no daemon ever ran."""
    path = settings.state / JOURNAL_FILE
    if not path.exists() and not was_there(path):
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


def readable_policies(path: Path, model: str | None) -> tuple[dict[str, Policy], tuple[Problem, ...]]:
    """Policies without problems by model, and all problems; raises PolicyProblems if `model` has no policy for them.

    Of fleets that of `model` only, if it matches, whether it is registered or not.
    """
    reading = read_policies(path, NO_MODELS if model is None else Listing(names=frozenset({model})))
    policies = {policy.model: policy for policy in reading.policies}
    if reading.problems and model not in policies:
        raise PolicyProblems("\n".join(str(problem) for problem in reading.problems))
    return policies, reading.problems


def policies_in_force(settings: Settings, model: str | None = None) -> dict[str, Policy]:
    """Every policy by model, those of fleets by the models that the registry has; if it does not answer, by those that
    the journal knows. With `model` the registry is not asked, and a fleet has that one. Of a wrong file the version
    counts that is in force by the journal. Problems, and warnings about fleets, are told on standard error.

    Raises PolicyProblems if there are any and no policy that was asked for.
    """
    files = read_files(settings.policies, _last_good(settings))
    wanted = frozenset(pattern for fleet in files.fleets for pattern in fleet.models.match)
    named = NO_MODELS if model is None else Listing(names=frozenset({model}))
    reading = files.reading(_registered(settings, wanted) if model is None and wanted else named)
    policies = {policy.model: policy for policy in reading.policies}
    if reading.problems and not (policies if model is None else model in policies):
        raise PolicyProblems("\n".join(str(problem) for problem in reading.problems))
    for said in (*reading.problems, *reading.about_models):
        print(f"retraind: {said}", file=sys.stderr)
    return policies


def _last_good(settings: Settings) -> Mapping[str, str]:
    """What the policy files said that the daemon has in force; nothing where there is no journal yet."""
    try:
        return journal_to_read(settings).policy_files.contents()
    except NotFound:
        return {}


def _registered(settings: Settings, patterns: frozenset[str]) -> Listing:
    try:
        return Listing(patterns, frozenset(registry_of(settings).matching(patterns)))
    except RegistryUnreachable as error:
        print(f"retraind: fleets are shown as the journal knows them: {error}", file=sys.stderr)
        return known_models(settings)


def known_models(settings: Settings) -> Listing:
    """The models that the journal knows; none where there is no journal yet."""
    try:
        return Listing(names=frozenset(row.name for row in journal_to_read(settings).models.all()))
    except NotFound:
        return NO_MODELS
