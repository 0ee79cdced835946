"""An attempt as it is journaled: where it is, what it has, and which effects of it were begun and done.

What comes next is said in `steps.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from retrain_daemon.core.approval import Asked
from retrain_daemon.core.evidence import Challenger, Evidence
from retrain_daemon.core.judge import Verdict
from retrain_daemon.core.policy import Policy, Recipe

#: How the reason of an attempt begins whose challenger was taken back, or is not trusted any more.
CALLED_OFF = "called off: "


class State(StrEnum):
    """Where an attempt is. The last four are ends."""

    PLANNED = "planned"  #: decided; its worker is not started yet
    TRAINING = "training"  #: a worker was started
    TRAINED = "trained"  #: one training result is accepted, with its evidence
    JUDGED = "judged"  #: the verdict is known
    FAILED = "failed"  #: a worker ended without result; tried again when due
    PROMOTED = "promoted"  #: the alias moved to the challenger
    REJECTED = "rejected"  #: the champion stays
    INCONCLUSIVE = "inconclusive"  #: the champion stays, as nothing was shown
    ABANDONED = "abandoned"  #: no result, and no further try


ENDED = frozenset({State.PROMOTED, State.REJECTED, State.INCONCLUSIVE, State.ABANDONED})
JUDGED_ENDS = frozenset({State.PROMOTED, State.REJECTED, State.INCONCLUSIVE})


class Effect(StrEnum):
    """An effect in the registry, in the order of a promotion. Each can be done twice without harm."""

    VERDICT = "tag run with verdict"
    REGISTER = "register version"
    WAITING = "tag version as waiting for approval"
    ANSWERED = "tag version with the answer"
    REPLACES = "tag version with what it replaces"
    ALIAS = "move alias"
    PREVIOUS = "set previous_champion"
    UNOFFER = "remove alias challenger"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The journaled attempt. `begun` and `done` are the effects of the present round. Of the workers started in it,
    `failures` ended with a reason that counts, and `cuts` were cut short by the end of a daemon.

    `champion_version` is the one it is judged against, 0 where there was none; `continues` the version whose learned
    state it took up. `offered` is the version a person put up as challenger: it is judged, and nothing is trained. So
    it is with the challenger of the attempt `again_of`, which this one judges on more rows, the `look`-th time.
    `reported`: what its report tells about. `asked`: what a person was asked in the present round. `upstream`: which
    version was champion of each upstream model when it was decided, by the name that the policy gives it.
    """

    id: str
    number: int
    model: str
    state: State
    policy: Policy
    recipe: Recipe
    rule: str
    champion_version: int
    started_at: datetime
    continues: int | None = None
    round: int = 0
    starts: int = 0
    failures: int = 0
    cuts: int = 0
    due_at: datetime | None = None
    challenger: Challenger | None = None
    evidence: Evidence | None = None
    verdict: Verdict | None = None
    notes: tuple[str, ...] = ()
    version: int | None = None
    reason: str = ""
    ended_at: datetime | None = None
    begun: frozenset[Effect] = frozenset()
    done: frozenset[Effect] = frozenset()
    offered: int | None = None
    again_of: str | None = None
    look: int = 1
    reported: str = ""
    asked: Asked | None = None
    upstream: Mapping[str, int] = field(default_factory=dict)

    @property
    def awaits_approval(self) -> bool:
        """Whether a person was asked and has not answered."""
        return self.state is State.JUDGED and self.asked is not None and self.asked.is_open
