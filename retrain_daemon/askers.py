"""The kinds of measurements there are, in the order in which they are asked for."""

from __future__ import annotations

from datetime import datetime

from retrain_daemon.core.policy import Policy
from retrain_daemon.drift_watch import DriftAsker
from retrain_daemon.journal import Journal
from retrain_daemon.measuring import Asker
from retrain_daemon.news import NOBODY, Announcer
from retrain_daemon.scores import ScoreAsker
from retrain_daemon.watch_asker import WatchAsker
from retrain_daemon.worker.job import Source


def due_facts(policy: Policy, journal: Journal, version: int, now: datetime) -> tuple[str, ...]:
    """How the names of the facts begin that are to be measured for this champion before they are known."""
    source = Source(tracking_uri="", registry_uri="", model=policy.model, version=version)
    due = (asker for asker in askers_of(journal) if asker.question(policy, source, now) is not None)
    return tuple(fact for asker in due for fact in asker.facts)


def askers_of(journal: Journal, announcer: Announcer = NOBODY) -> tuple[Asker, ...]:
    """All askers, on one journal."""
    return (DriftAsker(journal), ScoreAsker(journal), WatchAsker(journal, announcer))
