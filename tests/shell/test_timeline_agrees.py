"""The timeline of `retraind test` and the daemon agree: the same story lived by the real loop with a real journal and
real drop folders, and played in values, has the same attempts by the same rules, and waits for the same reasons.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from retrain_daemon.core.evidence import Evidence
from retrain_daemon.core.timeline.given import (
    AliasMoved,
    Answered,
    Back,
    Course,
    Ends,
    Event,
    File,
    Given,
    Gone,
    Paused,
    PutUp,
    RegistryDown,
    Release,
    Requested,
    Resumed,
    Retract,
    RolledBack,
    Setting,
    Stopped,
    UpstreamMoved,
)
from retrain_daemon.core.timeline.playing import play
from retrain_daemon.errors import RegistryUnreachable
from retrain_daemon.policies import read_policies
from retrain_daemon.worker.job import DropFile, DropReport, DropScore, DropsScored, Failed, InspectDrops, ScoreDrops
from tests.fake_box import MODEL, FakeBox
from tests.made import CHAMPION, NOW, a_metric, some_evidence

BEST, WORST, UNCLEAR = (
    some_evidence(),
    some_evidence(a_metric(-0.03, -0.02, -0.01)),
    some_evidence(a_metric(-0.01, 0.01, 0.03)),
)
EVIDENCE: dict[Ends, Evidence] = {Ends.PROMOTED: BEST, Ends.REJECTED: WORST, Ends.INCONCLUSIVE: UNCLEAR}
ORDERS: dict[type, str] = {Paused: "pause", Resumed: "resume", Requested: "retrain"}
STOPPED = "stopped"
TOOK = timedelta(seconds=1)
LOOK_AFTER = timedelta(minutes=2)


Told = list[tuple[str, list[tuple[str, str]]]]


@dataclass
class Lived:
    """A box in which events happen."""

    box: FakeBox
    files: dict[str, File] = field(default_factory=dict)
    registry_until: datetime = NOW
    down_until: datetime = NOW

    def __post_init__(self) -> None:
        self.box.report = self.report
        self.box.score = self.score

    def report(self, _job: InspectDrops, file: DropFile) -> DropReport:
        path = Path(file.path)
        known = self.files[path.name]
        fingerprint = sha256(path.read_bytes()).hexdigest()
        if known.broken:
            return DropReport(drop=file.drop, fingerprint=fingerprint, problem=known.broken, suspect=True)
        judging = round(known.rows * 0.2)
        return DropReport(
            drop=file.drop, fingerprint=fingerprint, rows=known.rows, usable=known.rows, new=known.new,
            training=known.rows - judging, judging=judging,
        )  # fmt: skip

    def score(self, job: ScoreDrops) -> DropsScored:
        """Each drop has the score that the story says."""
        known = {drop.drop: self.files[Path(drop.path).name].scores for drop in job.drops}
        scores = (
            DropScore(drop=drop, metric=metric, rows=1000, value=told.get(metric))
            for drop, told in known.items()
            for metric in job.metrics
        )
        return DropsScored(scores=tuple(scores))

    def happen(self, event: Event) -> None:
        match event:
            case File() | Gone() | Back() | Release() | Retract():
                self._handle(event)
            case Course():
                failed = event.ends is Ends.ABANDONED
                self.box.failure = Failed(message="it cannot be trained") if failed else None
                self.box.evidence = EVIDENCE.get(event.ends, self.box.evidence)
            case AliasMoved(None):
                self.box.registry.delete_alias_by_hand(MODEL, "champion")
            case AliasMoved(version) | PutUp(version):
                self._point("challenger" if isinstance(event, PutUp) else "champion", version)
            case Answered(approved):
                asked = self.box.attempts()[-1]
                assert asked.asked is not None
                named = {"attempt": asked.id, "evidence": asked.asked.evidence}
                self.box.order("approve" if approved else "reject", "because", named)
            case UpstreamMoved(name):
                self.box.registry.create_version_by_hand(name)
                newest = max(each.number for each in self.box.registry.every_version(name))
                self.box.registry.move_alias_by_hand(name, "champion", newest)
            case RegistryDown(span):
                self.registry_until = self.box.clock.now + span
            case Stopped(span):
                self.down_until = self.box.clock.now + span
            case RolledBack():
                self.box.order("rollback", "", {"champion": str(self.box.aliases()["champion"])})
            case _:
                self.box.order(ORDERS[type(event)])

    def _handle(self, event: File | Gone | Back | Release | Retract) -> None:
        """Something happens to a file."""
        name = event.name
        match event:
            case File():
                self.files[name] = event
                self.box.drop(name, f"x,churned\n{event.same_as or name},yes\n")
            case Gone():
                (self.box.root / "drops" / name).unlink()
            case Back():
                self.box.drop(name, f"x,churned\n{name},yes\n")
            case Release():
                self.files[name] = replace(self.files[name], broken="")
                self.box.order("release", "because", {"file": name})
            case Retract():
                self.box.order("retract", "because", {"file": name})

    def _point(self, alias: str, version: int) -> None:
        registry = self.box.registry
        registry.now = self.box.clock.now
        while max(each.number for each in registry.every_version(MODEL)) < version:
            registry.create_version_by_hand(MODEL)
        registry.move_alias_by_hand(MODEL, alias, version)

    def look(self) -> str:
        """A few turns of a daemon, each a moment after the other; the reason that stands then."""
        if self.box.clock.now < self.down_until:
            return STOPPED
        answers = self.box.clock.now >= self.registry_until
        self.box.registry.fail_with = None if answers else RegistryUnreachable("MLflow does not answer.")
        with self.box.life() as daemon:
            for _ in range(12):
                daemon.turn()
                self.box.clock.now += timedelta(seconds=5)
        attempts = self.box.attempts()
        if attempts and attempts[-1].ended_at is None:
            return "awaiting_approval" if attempts[-1].awaits_approval else "attempt_open"
        return self.box.standing()[0]


def lived(box: FakeBox, steps: Steps) -> Told:
    """After each step why the daemon waits, and all attempts so far: by which rule, and their ends."""
    life, begin, told = Lived(box), box.clock.now, []
    for after, event in steps:
        box.clock.now = max(box.clock.now, begin + after)
        life.happen(event)
        code = life.look()
        told.append((code, [(each.rule, "" if each.ended_at is None else each.state.value) for each in box.attempts()]))
    return told


def played(box: FakeBox, steps: Steps) -> Told:
    """The same on a timeline."""
    (policy,) = read_policies(box.root / "policies").policies
    start = box.clock.now
    looks = [start + after + LOOK_AFTER for after, _ in steps]
    given = [Given(start + after, _quick(event)) for after, event in steps]
    setting = Setting(version=CHAMPION, course=Course(takes=TOOK))
    timeline = play(policy, setting, given, looks, start, looks[-1])
    told: Told = []
    for at in looks:
        decision = timeline.looks[at].decision
        ends = [
            (each.decision.rule, each.ends.value if each.ends and each.ended and each.ended <= at else "")
            for each in timeline.starts
            if each.at <= at
        ]
        told.append((decision.code if decision else STOPPED, ends))
    return told


def _quick(event: Event) -> Event:
    """Nobody waits for a training in a box."""
    return replace(event, takes=TOOK) if isinstance(event, Course) else event


def at(hours: float, event: Event) -> tuple[timedelta, Event]:
    return timedelta(hours=hours), event


def drop(name: str, rows: int = 5000, **more: object) -> File:
    return File(**{"name": name, "rows": rows, "new": rows, **more})  # type: ignore[arg-type]


REJECTS, FAILS, UNSURE = Course(ends=Ends.REJECTED), Course(ends=Ends.ABANDONED), Course(ends=Ends.INCONCLUSIVE)

Steps = tuple[tuple[timedelta, Event], ...]
FRESH = "data.new_rows >= 1000"

#: By what they are about: what is changed in the policy, and what happens.
STORIES: dict[str, tuple[dict[str, str], Steps]] = {
    "new rows are those that no judged attempt had": (
        {},
        (
            at(1, drop("a.csv")),
            at(2, drop("b.csv", same_as="a.csv")),
            at(3, drop("c.csv", 400)),
            at(4, drop("d.csv", 700)),
        ),
    ),
    "rows that came before are not new": (
        {},
        (at(1, drop("a.csv")), at(2, drop("b.csv", 5000, new=300)), at(3, drop("c.csv", 5000, new=900))),
    ),
    "the same rows start nothing after a rejection": (
        {},
        (at(1, REJECTS), at(2, drop("a.csv")), at(3, drop("b.csv", 300)), at(4, drop("c.csv", 2000))),
    ),
    "rows of an abandoned attempt are still new, and three in a row hold the model": (
        {},
        (
            at(1, FAILS),
            at(2, drop("a.csv")),
            at(3, drop("b.csv", 10)),
            at(4, drop("c.csv", 10)),
            at(5, drop("d.csv", 10)),
            at(6, REJECTS),
            at(7, Resumed("ada")),
        ),
    ),
    "a pause and a request": (
        {},
        (
            at(1, Paused("ada")),
            at(2, drop("a.csv")),
            at(3, Requested("bob")),
            at(4, Resumed("ada")),
            at(5, Requested("bob")),
        ),
    ),
    "a person moves the alias to a version of which nobody knows what it learned": (
        {FRESH: f"{FRESH} || registry.champion_moved"},
        (
            at(1, REJECTS),
            at(2, drop("a.csv")),
            at(3, AliasMoved(9, "ada")),
            at(4, drop("b.csv", 500)),
            at(5, drop("c.csv", 700)),
            at(6, AliasMoved(CHAMPION, "ada")),
        ),
    ),
    "the alias is gone and comes back": (
        {},
        (at(1, AliasMoved(None, "ada")), at(2, drop("a.csv")), at(3, AliasMoved(CHAMPION, "ada"))),
    ),
    "a broken file, let in by a person, then retracted": (
        {FRESH: "data.quarantined == 0 && data.new_rows > 6000"},
        (
            at(1, REJECTS),
            at(2, drop("a.csv", broken="half of it is missing")),
            at(3, drop("b.csv")),
            at(4, Release("a.csv")),
            at(5, Retract("b.csv")),
            at(6, drop("c.csv", same_as="b.csv")),
        ),
    ),
    "a recorded file is gone, and back": (
        {},
        (
            at(1, drop("a.csv", 900)),
            at(2, drop("b.csv", 10)),
            at(3, Gone("a.csv")),
            at(4, drop("c.csv", 900)),
            at(5, Back("a.csv")),
        ),
    ),
    "a recorded file is gone, and back under another name": (
        {},
        (
            at(1, drop("a.csv", 900)),
            at(2, drop("b.csv", 10)),
            at(3, Gone("a.csv")),
            at(4, drop("c.csv", 50)),
            at(5, drop("d.csv", 900, same_as="a.csv")),
            at(6, drop("e.csv", 50)),
        ),
    ),
    "one goes on without a file that is gone": (
        {"  target:": "  missing: skip\n  target:"},
        (
            at(1, drop("a.csv", 900)),
            at(2, drop("b.csv", 10)),
            at(3, Gone("a.csv")),
            at(4, drop("c.csv", 900)),
            at(5, Back("a.csv")),
        ),
    ),
    "cooldown and starts a day": (
        {"promote:\n": "pace: {cooldown: 6h, per_day: 2}\npromote:\n"},
        (
            at(1, drop("a.csv")),
            at(2, drop("b.csv")),
            at(3, REJECTS),
            at(7.5, drop("c.csv", 10)),
            at(8, drop("d.csv")),
            at(14, drop("e.csv")),
            at(25.5, drop("f.csv", 1)),
        ),
    ),
    "approval is given, and another is refused": (
        {"promote:\n": "promote:\n  approval: required\n"},
        (
            at(1, drop("a.csv")),
            at(2, drop("b.csv")),
            at(3, Answered(True, "ada")),
            at(4, Answered(False, "ada")),
            at(5, drop("c.csv", 10)),
        ),
    ),
    "the alias is put where it is, away and back, while a challenger awaits approval": (
        {"promote:\n": "promote:\n  approval: {within: 3d}\n"},
        (
            at(1, drop("a.csv")),
            at(2, Paused("ada")),
            at(3, AliasMoved(CHAMPION, "ada")),
            at(4, AliasMoved(None, "ada")),
            at(5, AliasMoved(CHAMPION, "ada")),
            at(6, Resumed("ada")),
            at(74, drop("b.csv", 10)),
        ),
    ),
    "nobody approves in time": (
        {"promote:\n": "promote:\n  approval: {within: 3d}\n"},
        (at(1, drop("a.csv")), at(24, drop("b.csv", 10)), at(74, drop("c.csv", 10))),
    ),
    "a challenger of which nothing is shown is judged once more": (
        {
            "promote:\n": "promote:\n  inconclusive: {judge_again_every: 300 rows, at_most: 2}\n",
            FRESH: "data.new_rows >= 5000",
        },
        (
            at(1, UNSURE),
            at(2, drop("a.csv")),
            at(3, drop("b.csv", 900)),
            at(4, drop("c.csv", 900)),
            at(5, drop("d.csv", 2000)),
            at(6, drop("e.csv", 2000)),
        ),
    ),
    "a rollback pauses the model": (
        {},
        (at(1, drop("a.csv")), at(2, RolledBack("ada")), at(3, drop("b.csv")), at(4, Resumed("ada"))),
    ),
    "scores of the champion, file by file since it was cut": (
        {FRESH: "'champion.scores.accuracy.last(3).filter(s, s < 0.8).size() >= 2'"},
        (
            at(1, drop("a.csv", 1500, scores={"accuracy": 0.9})),
            at(2, drop("b.csv", 1500, scores={"accuracy": 0.7})),
            at(3, drop("c.csv", 1500, scores={"accuracy": 0.75})),
            at(4, drop("d.csv", 1500, scores={"accuracy": 0.7})),
            at(5, drop("e.csv", 1500, scores={"accuracy": 0.7})),
        ),
    ),
    "rows the champion has not learned": (
        {FRESH: "data.unlearned_rows >= 5000"},
        (
            at(1, REJECTS),
            at(2, drop("a.csv")),
            at(3, drop("b.csv")),
            at(4, Course()),
            at(5, drop("c.csv", 10)),
            at(6, drop("d.csv", 6000)),
            at(7, drop("e.csv", 6500)),
        ),
    ),
    "too few rows may judge": (
        {"  require:": "  min_rows: 900\n  require:"},
        (at(1, drop("a.csv", 4000)), at(2, drop("b.csv", 400)), at(3, drop("c.csv", 200)), at(4, drop("d.csv", 700))),
    ),
    "a person's challenger waits for rows and is judged": (
        {},
        (
            at(1, PutUp(8)),
            at(2, drop("a.csv", 500)),
            at(3, REJECTS),
            at(4, drop("b.csv", 600)),
            at(5, drop("c.csv", 10)),
        ),
    ),
    "a slot of a schedule, caught up and missed": (
        {
            "retrain:\n": "schedules: {weekly: {cron: '0 3 * * sun', timezone: Europe/Berlin, within: 6h}}\nretrain:\n",
            FRESH: "schedule.weekly && data.new_rows > 0",
        },
        (at(1, drop("a.csv")), at(24 * 6.6, drop("b.csv", 10)), at(24 * 7, drop("c.csv", 10))),
    ),
    "a model that this one depends on has another champion": (
        {"retrain:\n": "upstream: {words: words}\nretrain:\n", FRESH: f"{FRESH} || upstream.words.changed"},
        (
            at(1, drop("a.csv")),
            at(2, UpstreamMoved("words")),
            at(3, FAILS),
            at(4, UpstreamMoved("words")),
            at(5, REJECTS),
            at(6, drop("b.csv", 10)),
            at(7, drop("c.csv", 10)),
        ),
    ),
    "quiet hours": (
        {"promote:\n": "pace: {quiet_hours: [{from: '13:00', to: '15:30'}]}\npromote:\n"},
        (at(1, drop("a.csv")), at(2, drop("b.csv", 10)), at(4, drop("c.csv", 10))),
    ),
    "a rule that only observes": (
        {"promote:\n": "  - {name: watched, when: data.new_rows >= 10, observe: true}\npromote:\n"},
        (at(1, drop("a.csv", 900)), at(2, drop("b.csv", 200))),
    ),
    "an outage of the registry": (
        {},
        (
            at(1, REJECTS),
            at(2, RegistryDown(timedelta(hours=2))),
            at(3, drop("a.csv")),
            at(5, drop("b.csv")),
            at(6, RegistryDown(timedelta(hours=2))),
            at(9, drop("c.csv", 10)),
        ),
    ),
    "the daemon stands still for a day": (
        {},
        (
            at(1, Stopped(timedelta(hours=24))),
            at(2, drop("a.csv")),
            at(3, Paused("ada")),
            at(26, drop("b.csv", 10)),
            at(27, Stopped(timedelta(hours=3))),
            at(28, Resumed("ada")),
            at(31, drop("c.csv", 10)),
        ),
    ),
    "rows have waited long enough": (
        {FRESH: "data.waiting > days(2) && data.new_rows > 5000"},
        (at(1, drop("a.csv")), at(40, drop("b.csv", 10)), at(50, drop("c.csv", 10)), at(51, drop("d.csv", 5001))),
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_a_story_played_is_the_story_lived(story: str, tmp_path: Path) -> None:
    changes, steps = STORIES[story]
    box = FakeBox(tmp_path)
    for old, new in changes.items():
        box.edit_policy(old, new)
    box.registry.add_model_by_hand("words")
    box.registry.create_version_by_hand("words")
    box.registry.move_alias_by_hand("words", "champion", 1)
    box.record_champion()
    assert played(box, steps) == lived(box, steps)
