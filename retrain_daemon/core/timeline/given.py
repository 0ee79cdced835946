"""What a test of a policy is given: the world it begins in, and what happens at which moment. Values only.

How such a world goes on is in `world.py`; how tests are written in files, in `policies/stories/reading.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

DEFAULT_TAKES = timedelta(minutes=10)


class Ends(StrEnum):
    """How attempts end in a test."""

    PROMOTED = "promoted"
    REJECTED = "rejected"
    INCONCLUSIVE = "inconclusive"
    ABANDONED = "abandoned"


@dataclass(frozen=True, kw_only=True)
class Course:
    """How attempts go that begin from now on: each `takes` so long a try, fails `failures` times before, and ends so,
    with a `reason`. With `next` only so many of them; afterwards they go as they did before.
    """

    takes: timedelta = DEFAULT_TAKES
    ends: Ends = Ends.PROMOTED
    failures: int = 0
    reason: str = ""
    next: int | None = None


@dataclass(frozen=True)
class Was:
    """An attempt before the test begins: how it ended, and how long ago."""

    ended: Ends
    age: timedelta


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The world at the start: the champion's `version` (None: there is none), made `age` ago, how attempts go, and the
    `last` one before.
    """

    version: int | None = 1
    age: timedelta = timedelta(days=30)
    course: Course = Course()
    last: Was | None = None


@dataclass(frozen=True, kw_only=True)
class File:
    """A file begins to arrive. It grows for so long, then is complete as the policy says. `new` of its `rows` came in
    no file before; at most `judging` of these may judge, None: as many as the policy holds out. Its rows happened `age`
    before. `same_as` names an earlier file with the same bytes. One that is `broken`, for that reason, is quarantined.
    `history`: it was there before anyone looked, so that it trains and never judges. `scores` of the champion on it,
    and how far the new rows are with it, by column.
    """

    name: str
    rows: int
    new: int
    judging: int | None = None
    grows_for: timedelta = timedelta(0)
    age: timedelta = timedelta(0)
    same_as: str = ""
    broken: str = ""
    history: bool = False
    scores: Mapping[str, float] = field(default_factory=dict)
    drift: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Retract:
    """A person takes a file out of training, judging and counts."""

    name: str


@dataclass(frozen=True)
class Release:
    """A person lets a quarantined file in."""

    name: str


@dataclass(frozen=True)
class Gone:
    """A recorded file is gone from its folder."""

    name: str


@dataclass(frozen=True)
class Back:
    """It is there again."""

    name: str


@dataclass(frozen=True)
class Scored:
    """The champion is scored on a file that tells nothing else."""

    scores: Mapping[str, float]


@dataclass(frozen=True)
class Drifted:
    """The new rows are so far from what was learned, by column."""

    columns: Mapping[str, float]


@dataclass(frozen=True)
class AliasMoved:
    """A person points the champion's alias to a version, made now where it is not known; None: takes it away."""

    version: int | None
    by: str


@dataclass(frozen=True)
class PutUp:
    """A person puts a version up as challenger."""

    version: int


@dataclass(frozen=True)
class UpstreamMoved:
    """A model this one depends on, by the policy's name for it, has another champion."""

    name: str


@dataclass(frozen=True)
class PolicyEdited:
    """The policy's text changes, and means the same."""


@dataclass(frozen=True)
class Paused:
    """A person pauses the model."""

    by: str


@dataclass(frozen=True)
class Resumed:
    """A person resumes it."""

    by: str


@dataclass(frozen=True)
class Requested:
    """A person asks for a retrain."""

    by: str


@dataclass(frozen=True)
class Answered:
    """A person approves or rejects what awaits their answer."""

    approved: bool
    by: str


@dataclass(frozen=True)
class RolledBack:
    """A person makes the champion before champion again, which pauses the model."""

    by: str


@dataclass(frozen=True)
class Stopped:
    """The daemon does not run for so long; nothing: it is restarted at once."""

    span: timedelta = timedelta(0)


@dataclass(frozen=True)
class RegistryDown:
    """The registry does not answer for so long."""

    span: timedelta


Event = (
    File | Retract | Release | Gone | Back | Scored | Drifted | AliasMoved | PutUp | UpstreamMoved | PolicyEdited
    | Paused | Resumed | Requested | Answered | RolledBack | Stopped | RegistryDown | Course
)  # fmt: skip


@dataclass(frozen=True)
class Given:
    """Something happens."""

    at: datetime
    event: Event
