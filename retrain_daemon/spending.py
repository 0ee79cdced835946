"""What attempts spend of the error budget: which comparison against its champion one is, and that it was made.

How much each may err is `core.budget`'s; tenures begin where champions are noted.
"""

from __future__ import annotations

from datetime import datetime

from retrain_daemon.core.attempts import Attempt
from retrain_daemon.core.budget import alpha_of, spends
from retrain_daemon.core.policy import promotion_of
from retrain_daemon.journal import Journal
from retrain_daemon.journal.tenures import How, Tenure


def next_comparison(attempt: Attempt, journal: Journal) -> int | None:
    """The how manieth claim of improvement against its champion an attempt makes; None where it makes none. The same
    until a result was accepted.
    """
    tenure = _tenure(attempt, journal)
    if tenure is None or not spends(promotion_of(attempt.policy, attempt.rule)):
        return None
    return len(journal.tenures.comparisons(tenure)) + 1


def alpha_at(attempt: Attempt, number: int) -> float:
    """The one-sided error that the attempt's claim may make as the `number`-th."""
    return alpha_of(1 - promotion_of(attempt.policy, attempt.rule).confidence, number)


def spend(attempt: Attempt, journal: Journal, now: datetime) -> None:
    """Count the comparison whose result is accepted, whatever the verdict will be; part of the caller's transaction."""
    tenure, number = _tenure(attempt, journal), next_comparison(attempt, journal)
    if tenure is not None and number is not None:
        journal.tenures.spend(tenure, number, attempt.id, attempt.round, alpha_at(attempt, number), now)


def note_tenure(attempt: Attempt, journal: Journal, now: datetime) -> None:
    """Of a model that no policy names any more nobody notes champions, and its attempt goes on."""
    if _tenure(attempt, journal) is None:
        journal.tenures.see(attempt.model, attempt.champion_version, How.MOVED, now)


def _tenure(attempt: Attempt, journal: Journal) -> Tenure | None:
    return journal.tenures.newest_of(attempt.model, attempt.champion_version)
