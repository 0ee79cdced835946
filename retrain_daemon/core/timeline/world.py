"""The world of a test: champion and versions, attempts, people's wishes, and what the daemon would see of them.

It stands in for drop folders, workers, registry and journal together. What events do to it is in `happenings.py`, how
it goes on in `going_on.py`, the facts of it in `facts.py`.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from retrain_daemon.core.decide import Action, Decision
from retrain_daemon.core.facts import ChampionState, Hold, LastAttempt
from retrain_daemon.core.policy import Policy, Recipe
from retrain_daemon.core.timeline.files import Cut, Files
from retrain_daemon.core.timeline.given import Answered, Course, Ends, Requested, Setting

#: The folder was adopted so long before a test begins.
ADOPTED_BEFORE = timedelta(days=1)
#: Fewer rows, new or learned from: how far they are apart is not known.
FEWEST_DRIFT_ROWS = 1000
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
            self.make(self.setting.version, self.start - self.setting.age)
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

    def moments_pass(self, now: datetime) -> None:
        """What was to come until now has come."""
        while self._moments and self._moments[0] <= now:
            heapq.heappop(self._moments)

    def wake_at(self, moment: datetime) -> None:
        """Something comes to an end by itself then."""
        heapq.heappush(self._moments, moment)

    # What changes in it.

    def take_course(self, course: Course) -> None:
        """Attempts go so from now on, or only the next ones."""
        if course.next is None:
            self._course = course
        else:
            self._next_course, self._next_left = course, course.next

    def make(self, version: int, created_at: datetime) -> None:
        """A version that no attempt made: what it learned is not known."""
        if version not in self.versions:
            unknown = max(created_at, self.start - ADOPTED_BEFORE)
            self.versions[version] = Version(version, created_at, Cut(unknown_until=unknown))

    def note_score(self, note: ScoreNote) -> None:
        """The champion was scored."""
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

    def crown(self, version: int | None) -> None:
        """Another champion, or none; scores are of those files that came since it was cut."""
        self.previous, self.champion = self.champion or self.previous, version
        self.live = [note for note in self.scored if self._since_cut(note)]

    def course_of_next(self) -> Course:
        """How the attempt goes that begins now."""
        if self._next_course is None or not self._next_left:
            return self._course
        self._next_left -= 1
        return self._next_course

    def ends_at(self, attempt: Try, moment: datetime) -> None:
        """An attempt is through with its work then."""
        attempt.due = moment
        self.wake_at(moment)
