"""Which models are to be looked at now, so that a thousand of which nothing changed cost nothing.

Only bookkeeping over names and times: what changed is told by the loop, what to do about it is decided elsewhere. What
nobody told of is found at the latest when everyone is looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from retrain_daemon.core.decide import Decision
from retrain_daemon.core.facts import Champion, ChampionState
from retrain_daemon.core.rules.vocabulary import passes_with_time
from retrain_daemon.schedule import is_due

#: Everyone is looked at after so long at the latest, whatever was told.
EVERYONE_EVERY = timedelta(minutes=30)
#: What the registry says of these is in the answer to a poll. Of others more was asked, which may be otherwise now.
_TOLD_BY_POLL = frozenset({ChampionState.FOUND, ChampionState.NONE, ChampionState.MISSPELLED, ChampionState.NO_MODEL})


class Attention:
    """Models that are called, by name; those that time alone may call; those that are called at each poll."""

    def __init__(self) -> None:
        self._called: set[str] = set()
        self._everyone_at: datetime | None = None  # at once
        self._at: dict[str, datetime] = {}
        self._at_polls: set[str] = set()
        self._resting: set[str] = set()

    def call(self, models: Iterable[str]) -> None:
        """Something of these may have changed."""
        self._called.update(models)

    def stir(self, model: str) -> None:
        """A step of this model changed something, also in the journal, or is to be tried again."""
        self._called.add(model)
        self._resting.discard(model)

    def call_everyone(self) -> None:
        """Anything may have changed, also in the journal."""
        self._everyone_at = None
        self._resting.clear()

    def is_everyone_due(self, now: datetime) -> bool:
        """Whether the next look is at all models."""
        return self._everyone_at is None or is_due(self._everyone_at, EVERYONE_EVERY, now)

    def polled(self) -> None:
        """The registry answered: whoever is called at each poll is called now."""
        self._called.update(self._at_polls)

    def settle(self, model: str, champion: Champion, decision: Decision) -> None:
        """What was decided for a model stands until it is called, or until time alone may change it."""
        if decision.until is None:
            self._at.pop(model, None)
        else:
            self._at[model] = decision.until
        asked_more = champion.state not in _TOLD_BY_POLL or decision.offered_code in ("not_found", "untrusted")
        (self._at_polls.add if asked_more or _ages(decision) else self._at_polls.discard)(model)

    def take(self, models: Collection[str], more: Iterable[str], now: datetime) -> frozenset[str]:
        """Which of these models are to be looked at now, `more` of them included; none is called any more."""
        due = {model for model, moment in self._at.items() if now >= moment}
        if self.is_everyone_due(now):
            self._everyone_at = now + EVERYONE_EVERY
            due.update(models)
        taken = frozenset(self._called.union(due, more).intersection(models))
        self._called.clear()
        self._at = {model: moment for model, moment in self._at.items() if model not in due}
        return taken

    def rest(self, model: str) -> None:
        """Its folder was looked into and compared with the journal."""
        self._resting.add(model)

    def is_resting(self, model: str) -> bool:
        """Whether the journal says the same of the model's files as then."""
        return model in self._resting


def _ages(decision: Decision) -> bool:
    """Whether a rule mentions a fact that changes while nothing happens."""
    return any(passes_with_time(name) for rule in decision.rules for name, _ in rule.values)
