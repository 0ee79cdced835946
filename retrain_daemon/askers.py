"""The kinds of measurements there are, in the order in which they are asked for."""

from __future__ import annotations

from retrain_daemon.drift_watch import DriftAsker
from retrain_daemon.journal import Journal
from retrain_daemon.measuring import Asker


def askers_of(journal: Journal) -> tuple[Asker, ...]:
    """All askers, on one journal."""
    return (DriftAsker(journal),)
