"""A policy on a timeline of its own: events happen, and `decide` decides at each moment at which it could say something
else. Nothing waits: the next moment is the next thing that happens, or that time alone can change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from retrain_daemon.core.decide import Action, Decision, decide
from retrain_daemon.core.policy import Policy, Recipe
from retrain_daemon.core.rules.vocabulary import fact_values, readable
from retrain_daemon.core.timeline.facts import facts_of
from retrain_daemon.core.timeline.files import Lying
from retrain_daemon.core.timeline.given import Ends, File, Given, Setting
from retrain_daemon.core.timeline.going_on import begin, go_on
from retrain_daemon.core.timeline.happenings import happen, why_idle
from retrain_daemon.core.timeline.instants import next_instant
from retrain_daemon.core.timeline.world import Try, World


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Something on the timeline: an event, a decision that is another one than before, or what came of them. `attempt`
    names the one that a decision began.
    """

    at: datetime
    happened: str = ""
    decision: Decision | None = None
    attempt: str = ""


@dataclass(frozen=True, kw_only=True)
class Start:
    """An attempt that began: when, by which decision, with which recipe. `ended` is None where it had not ended yet."""

    at: datetime
    attempt: str
    decision: Decision
    recipe: Recipe
    ended: datetime | None = None
    ends: Ends | None = None


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was decided at a moment that a test asks about; no decision where the daemon does not run. `under_way` is
    the attempt that is open then.
    """

    decision: Decision | None
    under_way: str = ""


@dataclass(frozen=True, kw_only=True)
class Idle:
    """An event that would have changed nothing, and `why`."""

    at: datetime
    event: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """All that happened and was decided from `start` to `end`. `looks` are by the moments that were asked for; `idle`
    are the events that change nothing.
    """

    start: datetime
    end: datetime
    moments: tuple[Moment, ...]
    starts: tuple[Start, ...]
    looks: dict[datetime, Look]
    idle: tuple[Idle, ...] = ()


def play(
    policy: Policy, setting: Setting, given: Sequence[Given], wanted: Iterable[datetime], start: datetime, end: datetime
) -> Timeline:  # fmt: skip
    """Given a policy, the world at the start, what happens and the moments that are `wanted`, all that follows until
    `end`, which counts. All times are aware, and none is before the start.
    """
    playing = _Playing(policy, setting, sorted(given, key=lambda each: each.at), sorted(set(wanted)), start, end)
    now: datetime | None = start
    while now is not None and now <= end:
        now = playing.turn(now)
    return playing.told()


class _Playing:
    """One run along a timeline."""

    def __init__(
        self, policy: Policy, setting: Setting, given: Sequence[Given], wanted: Sequence[datetime], start: datetime,
        end: datetime,
    ) -> None:  # fmt: skip
        self._world = World(policy, setting, start)
        self._given, self._wanted = given, wanted
        self._next_given = self._next_wanted = 0
        self._start, self._end = start, end
        self._moments: list[Moment] = []
        self._tries: list[Try] = []
        self._looks: dict[datetime, Look] = {}
        self._before: tuple[object, ...] = ()
        self._idle: list[Idle] = []

    def turn(self, now: datetime) -> datetime | None:
        """All that happens and is decided at one moment; returns the next one."""
        while self._next_given < len(self._given) and self._given[self._next_given].at <= now:
            event = self._given[self._next_given].event
            idle = why_idle(self._world, event)
            self._tell(now, f"given {spoken(event)}{f': {idle}' if idle else ''}")
            if idle:
                self._idle.append(Idle(at=now, event=spoken(event), why=idle))
            else:
                happen(self._world, event, now)
            self._next_given += 1
        for found in go_on(self._world, now):
            self._tell(now, _came_of(found))
        asked = self._next_wanted < len(self._wanted) and self._wanted[self._next_wanted] <= now
        # What is decided while an attempt is open changes nothing, and is told only where a test asks.
        decides = self._world.runs(now) and (asked or self._world.open is None)
        decision = self._decide(now, asked) if decides else None
        if asked:
            under_way = self._world.open.id if self._world.open else ""
            self._looks[now] = Look(decision=decision, under_way=under_way)
            self._next_wanted += 1
        return self._next(now, decision)

    def _decide(self, now: datetime, asked: bool) -> Decision:
        """Until nothing more begins, or something has; then further only where it is `asked` what is decided."""
        while True:
            facts = facts_of(self._world, now)
            decision = decide(self._world.policy, facts, now)
            if decision.action is Action.WAIT:
                self._note(now, decision)
                self._values = fact_values(self._world.policy, facts, now)
                return decision
            begun = begin(self._world, decision, now)
            self._tries.append(begun)
            self._before = ()
            self._moments.append(Moment(at=now, decision=decision, attempt=begun.id))
            if not asked:
                return decision

    def _note(self, now: datetime, decision: Decision) -> None:
        """Told when the reason or a rule is another one; what an attempt under way keeps from starting is not."""
        state = (decision.code, tuple(rule.holds for rule in decision.rules))
        if state != self._before:
            self._before = state
            self._moments.append(Moment(at=now, decision=decision))

    def _tell(self, now: datetime, happened: str) -> None:
        self._moments.append(Moment(at=now, happened=happened))

    def _next(self, now: datetime, decision: Decision | None) -> datetime | None:
        moments: list[datetime | None] = [self._world.next_moment()]
        if self._next_given < len(self._given):
            moments.append(self._given[self._next_given].at)
        if self._next_wanted < len(self._wanted):
            moments.append(self._wanted[self._next_wanted])
        horizon = min((moment for moment in moments if moment is not None), default=self._end)
        if decision is not None and self._world.open is None:
            moments.append(next_instant(self._world.policy, decision, self._values, now, min(horizon, self._end)))
        return min((moment for moment in moments if moment is not None), default=None)

    def told(self) -> Timeline:
        """All of it."""
        starts = tuple(
            Start(
                at=each.started, attempt=each.id, decision=each.decision, recipe=each.recipe, ended=each.ended,
                ends=each.ends if each.ended else None,
            )
            for each in self._tries
        )  # fmt: skip
        return Timeline(
            start=self._start,
            end=self._end,
            moments=tuple(self._moments),
            starts=starts,
            looks=self._looks,
            idle=tuple(self._idle),
        )


def spoken(event: object) -> str:
    """An event as a line of the timeline says it."""
    if isinstance(event, File):
        return _spoken_file(event)
    words = re.sub(r"(?<!^)(?=[A-Z])", " ", type(event).__name__).lower()
    said = {name: value for name, value in vars(event).items() if value not in (None, "", {}, timedelta(0))}
    named = ", ".join(f"{name} {_spoken_value(value)}" for name, value in said.items())
    return f"{words}: {named}" if named else words


def _spoken_value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    return readable(value) if isinstance(value, timedelta) else str(value)


def _spoken_file(file: File) -> str:
    if file.same_as:
        return f"drop “{file.name}”, the same bytes as “{file.same_as}”"
    grows = f", grows for {readable(file.grows_for)}" if file.grows_for else ""
    new = f", {file.new:,} new" if file.new != file.rows else ""
    broken = f", broken: {file.broken}" if file.broken else ""
    return f"drop “{file.name}”, {file.rows:,} rows{new}{grows}{broken}"


def _came_of(found: Lying | Try) -> str:
    if isinstance(found, Lying):
        return f"drop “{found.given.name}” is {found.stands.value}"
    if found.ended is None:
        return f"attempt {found.id} awaits approval"
    return f"attempt {found.id} is {found.ends.value}{f': {found.reason}' if found.reason else ''}"
