"""How the daemon stands: written by the loop, read by threads that must touch nothing else of it.

The loop replaces one reference at the end of a turn; a reader takes what the reference shows and keeps no lock. Kept
from what a turn has found out anyway: nothing is asked for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from retrain_daemon.core.decide import Decision
from retrain_daemon.core.facts import Facts
from retrain_daemon.news import News

#: Upper bounds of the histogram of turns, seconds.
TURN_BOUNDS = (0.01, 0.1, 1.0, 10.0, 60.0)
_ENDS = frozenset({"promoted", "rejected", "inconclusive", "abandoned"})


@dataclass(frozen=True, kw_only=True)
class ModelStanding:
    """One model when it was last looked at: `state` is the code of its decision, `scores` pairs each metric with the
    champion's score on the newest file. None: not known.
    """

    state: str
    champion: int | None = None
    new_rows: int | None = None
    waiting_since: datetime | None = None
    quarantined: int | None = None
    scores: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Turns:
    """Turns since the daemon began: how many, when the last one ended, their seconds, and how many were within each
    of TURN_BOUNDS.
    """

    count: int = 0
    seconds: float = 0.0
    last_at: datetime | None = None
    within: tuple[int, ...] = (0,) * len(TURN_BOUNDS)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """Everything that is shown, at the end of one turn. `attempts` counts ends by (model, outcome)."""

    begun_at: datetime
    turns: Turns = Turns()
    models: Mapping[str, ModelStanding] = field(default_factory=dict)
    attempts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    workers: int = 0
    outage_since: datetime | None = None
    registry_problem: str = ""
    unusable: str = ""


class Standing:
    """The loop's own notes, and the snapshot that others see."""

    def __init__(self, now: datetime, attempts: Mapping[tuple[str, str], int] = MappingProxyType({})) -> None:
        """`attempts`: those that ended in earlier lives, so that no counter falls at a restart."""
        self._models: dict[str, ModelStanding] = {}
        self._attempts = Counter(dict(attempts))
        self._seen = Snapshot(begun_at=now, attempts=dict(attempts))
        self._changed = False

    @property
    def snapshot(self) -> Snapshot:
        """What was published last; may be read by any thread."""
        return self._seen

    def note(self, facts: Facts, decision: Decision, now: datetime) -> None:
        """A model was looked at."""
        waiting = facts.data.waiting
        seen = ModelStanding(
            state=decision.code,
            champion=facts.champion.version,
            new_rows=facts.data.new_rows,
            waiting_since=now - waiting if waiting else None,
            quarantined=facts.data.quarantined,
            scores=tuple((metric, known.latest[-1]) for metric, known in facts.scores.items() if known.latest),
        )
        if self._models.get(facts.model) != seen:
            self._models[facts.model] = seen
            self._changed = True

    def forget(self, models: Collection[str]) -> None:
        """These models are not watched any more."""
        for model in models:
            self._models.pop(model, None)
            self._changed = True

    def tell(self, news: News) -> None:
        """Ends of attempts are counted."""
        if news.occasion in _ENDS and news.attempt:
            self._attempts[news.model, news.occasion] += 1
            self._changed = True

    def publish(self, now: datetime, seconds: float, workers: int, outage_since: datetime | None, problem: str) -> None:
        """A turn has ended after so many seconds."""
        before, turns = self._seen, self._seen.turns
        self._seen = Snapshot(
            begun_at=before.begun_at,
            turns=Turns(
                count=turns.count + 1,
                seconds=turns.seconds + seconds,
                last_at=now,
                within=tuple(n + (seconds <= most) for n, most in zip(turns.within, TURN_BOUNDS, strict=True)),
            ),
            models=dict(self._models) if self._changed else before.models,
            attempts=dict(self._attempts) if self._changed else before.attempts,
            workers=workers,
            outage_since=outage_since,
            registry_problem=problem,
        )
        self._changed = False

    def give_up(self, reason: str) -> None:
        """The state folder cannot be used: the loop is about to end."""
        self._seen = Snapshot(begun_at=self._seen.begun_at, turns=self._seen.turns, unusable=reason)
