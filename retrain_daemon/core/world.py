"""The world of a test: what events do to it, what the daemon would see of it, and how attempts go on in it.

It stands in for drop folders, workers, registry and journal together. The facts of it are in `world_facts.py`; what is
decided is `decide`'s.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from retrain_daemon.core.decide import Action, Decision
from retrain_daemon.core.facts import ChampionState, Hold, LastAttempt
from retrain_daemon.core.given import (
    AliasMoved,
    Answered,
    Back,
    Course,
    Drifted,
    Ends,
    Event,
    File,
    Gone,
    Paused,
    PolicyEdited,
    PutUp,
    RegistryDown,
    Release,
    Requested,
    Resumed,
    Retract,
    RolledBack,
    Scored,
    Setting,
    Stopped,
    UpstreamMoved,
)
from retrain_daemon.core.policy import Approval, Mode, Policy, Recipe, Then
from retrain_daemon.core.steps import LONGEST_BACKOFF
from retrain_daemon.core.world_files import Cut, Files, Lying, Stands

#: The folder was adopted so long before a test begins.
ADOPTED_BEFORE = timedelta(days=1)
#: Fewer rows, new or learned from: how far they are apart is not known.
FEWEST_DRIFT_ROWS = 1000
_BACKOFF = timedelta(minutes=1)
_NO_FILES: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Version:
    """A version and what it learned. `own` are the files that judged it or trained it, None of one that no attempt
    made.
    """

    number: int
    created_at: datetime
    cut: Cut
    own: frozenset[int] | None = None


@dataclass
class Try:
    """An attempt. `first` trained the challenger, which is itself unless it is judged once more."""

    number: int
    id: str
    action: Action
    decision: Decision
    rule: str
    recipe: Recipe
    started: datetime
    files: frozenset[int]
    champion: int
    course: Course
    ends: Ends
    due: datetime
    upstream: Mapping[str, int]
    reason: str = ""
    look: int = 1
    offered: int | None = None
    first: Try | None = None
    asked_until: datetime | None = None
    answer: Answered | None = None
    ended: datetime | None = None
    digest: str = ""
    judged_on: int = 0

    @property
    def trains(self) -> bool:
        """Whether it is one that is to train."""
        return self.action is Action.TRAIN


@dataclass(frozen=True)
class ScoreNote:
    """The champion's scores at a moment: on file `number`, or by themselves."""

    at: datetime
    number: int | None
    rows: int
    scores: Mapping[str, float]


@dataclass
class World:
    """Where a test's policy decides. Every change is made with its time."""

    policy: Policy
    setting: Setting
    start: datetime
    champion: int | None = None
    lost: bool = False
    versions: dict[int, Version] = field(default_factory=dict)
    open: Try | None = None
    last: LastAttempt | None = None
    last_files: frozenset[int] = _NO_FILES
    last_upstream: Mapping[str, int] = field(default_factory=dict)
    ended_upstream: Mapping[str, int] = field(default_factory=dict)
    last_of_ours: Try | None = None
    learned_rows: int | None = None
    hold: Hold | None = None
    resumed_at: datetime | None = None
    failures: int = 0
    request: Requested | None = None
    requests: int = 0
    starts: list[datetime] = field(default_factory=list)
    left: int | None = None
    previous: int | None = None
    retracted: set[int] = field(default_factory=set)
    upstream: dict[str, int] = field(default_factory=dict)
    drift: Mapping[str, float] | None = None
    scored: list[ScoreNote] = field(default_factory=list)
    live: list[ScoreNote] = field(default_factory=list)
    offered: int | None = None
    offered_refused: str = ""
    down_until: datetime | None = None
    registry_until: datetime | None = None
    edits: int = 0
    tries: int = 0

    def __post_init__(self) -> None:
        self.files = Files(self.policy.data, self.start - ADOPTED_BEFORE)
        self._course = self.setting.course
        self._next_course: Course | None = None
        self._next_left = 0
        self._moments: list[datetime] = []
        if self.setting.version is not None:
            self._make(self.setting.version, self.start - self.setting.age)
            self.champion = self.setting.version
        if self.setting.last is not None:
            self._remember(self.setting.last.ended, self.start - self.setting.last.age)

    def _remember(self, ended: Ends, at: datetime) -> None:
        """An attempt before the test begins; of what it had nothing is asked any more."""
        started = at - self._course.takes
        self.tries += 1
        self.last = LastAttempt(
            id=f"{self.policy.model}-{self.tries}", outcome=ended.value, started_at=started, ended_at=at,
            policy_digest=self.policy.digest, champion_after=self.champion,
        )  # fmt: skip
        self.starts.append(started)
        self.left, self.failures = self.champion, int(ended is Ends.ABANDONED)
        self.learned_rows = None if ended is Ends.ABANDONED else FEWEST_DRIFT_ROWS

    # What is seen of it.

    def runs(self, now: datetime) -> bool:
        """Whether the daemon runs."""
        return self.down_until is None or now >= self.down_until

    def answers(self, now: datetime) -> bool:
        """Whether the registry does."""
        return self.registry_until is None or now >= self.registry_until

    def state(self, now: datetime) -> ChampionState:
        """What the registry says of the champion's alias."""
        if not self.answers(now):
            return ChampionState.UNKNOWN
        if self.champion is None:
            return ChampionState.LOST if self.lost else ChampionState.NONE
        return ChampionState.FOUND

    def changed_upstream(self, name: str) -> bool:
        """Whether that model's champion changed since the last attempt that was not abandoned began."""
        return self.upstream.get(name, 0) != self.last_upstream.get(name, 0)

    def upstream_since_last(self) -> bool:
        """Whether one of them changed since the last attempt that ended began, whatever its end."""
        names = self.policy.upstream
        return self.last is not None and any(self.upstream.get(n, 0) != self.ended_upstream.get(n, 0) for n in names)

    def cut(self) -> Cut:
        """What the champion learned."""
        return self.versions[self.champion].cut if self.champion is not None else Cut()

    def next_moment(self) -> datetime | None:
        """When something comes to an end by itself that is under way now."""
        return self._moments[0] if self._moments else None

    def _at(self, moment: datetime) -> None:
        heapq.heappush(self._moments, moment)

    # What happens in it.

    def happen(self, event: Event, now: datetime) -> None:
        """An event changes the world, whether the daemon sees it or not."""
        match event:
            case File():
                self._at(self.files.arrive(event, now).complete_at)
            case Retract() | Release() | Gone() | Back():
                self._handle(event, now)
            case Scored(scores):
                self._score(ScoreNote(now, None, self.policy.promote.min_rows, scores))
            case Drifted(columns):
                self.drift = columns
            case UpstreamMoved(name):
                self.upstream[name] = self.upstream.get(name, 0) + 1
            case PolicyEdited():
                self.edits += 1
                self.policy = replace(self.policy, digest=f"{self.policy.digest}, edited {self.edits} times")
            case Course():
                self._take_course(event)
            case Stopped(span):
                self.down_until = now + span
                self._at(self.down_until)
            case RegistryDown(span):
                self.registry_until = now + span
                self._at(self.registry_until)
            case _:
                self._person(event, now)

    def _handle(self, event: Retract | Release | Gone | Back, now: datetime) -> None:
        """A person does something with a file."""
        if isinstance(event, Retract):
            self.retracted.add(self.files.retract(event.name).number)
        elif isinstance(event, Release):
            self.files.release(event.name, now)
        else:
            self.files.go(event.name, gone=isinstance(event, Gone))

    def _person(self, event: Event, now: datetime) -> None:
        match event:
            case AliasMoved(version):
                self._move_alias(version, now)
            case PutUp(version):
                self._put_up(version, now)
            case Paused(by):
                self.hold = self.hold or Hold(now, by, "paused by the test")
            case Resumed():
                self.hold, self.resumed_at, self.failures, self.offered_refused = None, now, 0, ""
            case Requested():
                self.request, self.requests = event, self.requests + 1
            case Answered():
                if self.open is not None and self.open.asked_until is not None:
                    self.open.answer = event
            case RolledBack(by):
                self._roll_back(by, now)

    def _take_course(self, course: Course) -> None:
        if course.next is None:
            self._course = course
        else:
            self._next_course, self._next_left = course, course.next

    def _make(self, version: int, created_at: datetime) -> None:
        """A version that no attempt made: what it learned is not known."""
        if version not in self.versions:
            unknown = max(created_at, self.start - ADOPTED_BEFORE)
            self.versions[version] = Version(version, created_at, Cut(unknown_until=unknown))

    def _move_alias(self, version: int | None, now: datetime) -> None:
        if version is not None:
            self._make(version, now)
        self.lost = version is None and (self.champion is not None or self.lost)
        self._crown(version)
        if self.open is not None and self.open.asked_until is not None and version is not None:
            self.open.asked_until, self.open.answer = None, None
            self._ends_at(self.open, now + self.open.course.takes)

    def _put_up(self, version: int, now: datetime) -> None:
        self._make(version, now)
        self.offered, self.offered_refused = version, ""

    def _roll_back(self, by: str, now: datetime) -> None:
        """To the champion before; every rollback pauses the model."""
        if self.previous is None:
            return
        self._crown(self.previous)
        self.left = self.champion if self.left is not None else None
        self.hold = self.hold or Hold(now, by, "rolled back")

    # What the daemon does in it.

    def go_on(self, now: datetime) -> list[Lying | Try]:
        """What comes to an end by now, as the daemon sees it; returns the files taken in and the attempts moved on."""
        while self._moments and self._moments[0] <= now:
            heapq.heappop(self._moments)
        self.files.settle(now)
        if not self.runs(now):
            return []
        looked: list[Lying | Try] = []
        if self.state(now) is ChampionState.FOUND or (self.state(now) is ChampionState.NONE and self.offered):
            looked += self._inspect(now)
        opened = self.open
        if opened is not None and self._move_on(opened, now):
            looked.append(opened)
        return looked

    def _inspect(self, now: datetime) -> list[Lying]:
        taken = self.files.inspect(now)
        for file in taken:
            if file.stands is not Stands.RECORDED:
                continue
            if file.final_at > now:
                self._at(file.final_at)
            if file.new:
                self._score(ScoreNote(file.arrived, file.number, file.given.rows, file.given.scores))
            self.drift = file.given.drift or self.drift
        return taken

    def _score(self, note: ScoreNote) -> None:
        self.scored.append(note)
        if self._since_cut(note):
            self.live.append(note)

    def _since_cut(self, note: ScoreNote) -> bool:
        """Whether it came since the champion was cut."""
        if self.champion is None:
            return False
        version = self.versions[self.champion]
        if note.number is None:
            return note.at >= version.created_at
        if version.own is not None:
            return note.number not in version.own
        return version.cut.may_judge(self.files.all[note.number])

    def _crown(self, version: int | None) -> None:
        """Another champion, or none; scores are of those files that came since it was cut."""
        self.previous, self.champion = self.champion or self.previous, version
        self.live = [note for note in self.scored if self._since_cut(note)]

    def begin(self, decision: Decision, now: datetime) -> Try:
        """What was decided begins."""
        assert decision.recipe is not None
        self.tries += 1
        course = self._course_of_next()
        again = self.last_of_ours if decision.again else None
        begun = Try(
            number=self.tries,
            id=f"{self.policy.model}-{self.tries}",
            action=decision.action,
            decision=decision,
            rule=decision.rule,
            recipe=decision.recipe,
            started=now,
            files=self.files.to_use(now),
            champion=self.champion or 0,
            course=course,
            ends=course.ends,
            due=now,
            upstream=dict(self.upstream),
            reason=course.reason,
            look=again.look + 1 if again else 1,
            offered=self.offered if decision.action is Action.JUDGE and not again else None,
            first=(again.first or again) if again else None,
            digest=self.policy.digest,
            judged_on=self.files.sums(self.cut(), self.last_files, now).judging,
        )
        self.open = begun
        self._ends_at(begun, now + _span_of(begun))
        if begun.trains:
            self.starts.append(now)
        if decision.request is not None:
            self.request = None
        return begun

    def _course_of_next(self) -> Course:
        if self._next_course is None or not self._next_left:
            return self._course
        self._next_left -= 1
        return self._next_course

    def _ends_at(self, attempt: Try, moment: datetime) -> None:
        attempt.due = moment
        self._at(moment)

    def _move_on(self, attempt: Try, now: datetime) -> bool:
        """Whether an attempt ends now, or a person is asked."""
        if attempt.asked_until is not None:
            return self._after_asking(attempt, attempt.asked_until, now)
        if now < attempt.due:
            return False
        if attempt.ends is Ends.ABANDONED:
            return self._end(attempt, Ends.ABANDONED, now)
        asking = _asking(self.policy, attempt)
        effects = attempt.ends is Ends.PROMOTED or asking is not None
        if not self.answers(now) or (
            effects and (self.hold is not None or (self.champion is None and not attempt.offered))
        ):
            return False
        if asking is not None:
            attempt.asked_until = now + asking.within
            self._at(attempt.asked_until)
            return True
        return self._end(attempt, attempt.ends, now)

    def _after_asking(self, attempt: Try, until: datetime, now: datetime) -> bool:
        """Approved, rejected, or not answered in time. While the model is paused no alias moves."""
        if attempt.digest != self.policy.digest or (attempt.answer is None and now >= until):
            attempt.reason = "another policy came into force" if now < until else "nobody approved it in time"
        elif attempt.answer is None:
            return False
        elif attempt.answer.approved:
            return self.hold is None and self.answers(now) and self._end(attempt, Ends.PROMOTED, now)
        else:
            attempt.reason = f"rejected by {attempt.answer.by}"
        shown = attempt.ends is Ends.PROMOTED or (attempt.answer is not None and not attempt.answer.approved)
        return self._end(attempt, Ends.REJECTED if shown else Ends.INCONCLUSIVE, now)

    def _end(self, attempt: Try, ends: Ends, now: datetime) -> bool:
        attempt.ends, attempt.ended, self.open = ends, now, None
        if ends is Ends.PROMOTED:
            self._promote(attempt, now)
        if attempt.trains or ends is Ends.PROMOTED:
            self.left = self.champion
        if attempt.offered is not None:
            self._end_offer(attempt, ends)
        else:
            self.last_of_ours = attempt
        if attempt.trains:
            self._end_training(attempt, ends, now)
        self.files.recount()
        return True

    def _end_training(self, attempt: Try, ends: Ends, now: datetime) -> None:
        self.failures = self.failures + 1 if ends is Ends.ABANDONED else 0
        self.last = LastAttempt(
            id=attempt.id, outcome=ends.value, started_at=attempt.started, ended_at=now, policy_digest=attempt.digest,
            champion_after=self.champion, reason=attempt.reason,
        )  # fmt: skip
        self.last_files, self.ended_upstream = attempt.files, attempt.upstream
        if ends is not Ends.ABANDONED:
            self.last_upstream = attempt.upstream
            had = self.files.numbered(attempt.files)
            self.learned_rows, self.drift = sum(file.given.rows for file in had), None
            for file in had:
                file.judged = True

    def _end_offer(self, attempt: Try, ends: Ends) -> None:
        """A person's challenger that was judged is none any more."""
        if attempt.offered != self.offered:
            return
        if ends is Ends.ABANDONED:
            self.offered_refused = attempt.reason or "it could not be judged"
        else:
            self.offered = None

    def _promote(self, attempt: Try, now: datetime) -> None:
        """The challenger becomes a version and the champion."""
        if attempt.offered is not None:
            self._crown(attempt.offered)
            return
        trained = attempt.first or attempt
        cut = Cut(trained.files)
        if trained.recipe.mode is not Mode.REFIT and trained.champion in self.versions:
            cut = cut.joined(self.versions[trained.champion].cut)
        number = max(self.versions, default=0) + 1
        self.versions[number] = Version(number, now, cut, own=trained.files | attempt.files)
        self._crown(number)


def _asking(policy: Policy, attempt: Try) -> Approval | None:
    """What a person must be asked for, by the rule of `core.approval`."""
    promote = policy.promote
    if attempt.ends is Ends.PROMOTED:
        return promote.approval
    last = attempt.offered is not None or attempt.look > promote.inconclusive.at_most
    if attempt.ends is Ends.INCONCLUSIVE and promote.inconclusive.then is Then.ASK and last:
        return promote.approval or Approval()
    return None


def _span_of(attempt: Try) -> timedelta:
    """How long it takes with the tries that fail; one that fails too often is abandoned."""
    course, retries = attempt.course, attempt.recipe.retries
    failed = min(course.failures, retries + 1)
    if course.failures > retries:
        attempt.ends = Ends.ABANDONED
        attempt.reason = f"gave up after {failed} tries: {course.reason or 'the training failed'}"
        waits, tries = failed - 1, failed
    else:
        waits, tries = failed, failed + 1
    backoff = sum((min(_BACKOFF * 2**count, LONGEST_BACKOFF) for count in range(waits)), timedelta(0))
    return course.takes * tries + backoff
