"""Drops, edits, moved aliases, orders, outages, failures, clock steps and crashes in any order: the box stays sound.

The journal, the loop and the drop folders are the real ones; registry and workers are fakes. What must hold is said in
`tests/checker.py`, which reads the journal by itself.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from retrain_daemon.core.attempts import Effect
from retrain_daemon.errors import RegistryUnreachable
from retrain_daemon.worker.job import (
    CompareVersions,
    DropFile,
    DropReport,
    Failed,
    InspectDrops,
    Job,
    Result,
    ScoreDrops,
    Train,
    VersionsCompared,
)
from tests.checker import KEY_TAG, SeenRegistry, SeenVersion, World, check
from tests.fake_box import MODEL, Cut, FakeBox, compared
from tests.made import CHAMPION, a_metric, some_evidence

EVIDENCE = {
    "better": some_evidence(),
    "worse": some_evidence(a_metric(-0.03, -0.02, -0.01)),
    "unclear": some_evidence(a_metric(-0.01, 0.01, 0.03)),
}
FAILURES = {
    "works": None,
    "temporary": Failed(message="The disk was full.", temporary=True),
    "crash": Failed(message="The worker was killed.", temporary=True, lost=True),
    "permanent": Failed(message="It cannot be trained.", hint="Log another one."),
}
FILES = ("a.csv", "b.csv", "c.csv", "d.csv")
#: Turns, half an hour apart, in which everything that was begun must come to its end.
LEAST_TURNS, MOST_TURNS = 6, 60


@dataclass
class Moody(FakeBox):
    """A box whose workers may hang, with a run begun, and that knows a bad or an odd file by its first word."""

    hangs: bool = False

    def work(self, job: Job) -> Result | None:
        if self.hangs and isinstance(job, Train):
            if job.challenger is None:
                self.registry.start_run_by_hand({**job.tags, KEY_TAG: job.key})
            return None
        if isinstance(job, ScoreDrops | CompareVersions) and self.failure is not None:
            return self.failure
        done = super().work(job)
        if isinstance(job, Train) and isinstance(done, Failed) and job.challenger is None and done.lost:
            self.registry.start_run_by_hand({**job.tags, KEY_TAG: job.key})
        if isinstance(job, Train) and job.challenger is None:
            self._end_open_runs(job.key, done)
        return done

    def _end_open_runs(self, key: str, done: Result) -> None:
        """As the worker does before it logs."""
        if not isinstance(done, Failed):
            self.registry.end_runs_by_hand(KEY_TAG, key)


def report(_job: InspectDrops, file: DropFile) -> DropReport | None:
    """A bad file cannot be used, an odd one is suspect until a person lets it pass."""
    content = Path(file.path).read_bytes() if Path(file.path).exists() else b""
    if content.startswith(b"bad"):
        return DropReport(drop=file.drop, problem="It has no column churned.")
    found = sha256(content).hexdigest()
    if content.startswith(b"odd") and not file.released and file.fingerprint in ("", found):
        return DropReport(drop=file.drop, fingerprint=found, problem="Column x stands still.", suspect=True)
    return None


class Story(RuleBasedStateMachine):
    """One box and what happens to it."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="story-"))
        self.box = Moody(self.root, report=report)
        self.box.edit_policy("promote:", "promote:\n  after_promotion: {watch: 2000 rows, if_worse: rollback}")
        self.box.reached = self.passed
        self.persons = {CHAMPION}
        #: Attempts that a deleted model had: the round they were in, None where they were through.
        self.deleted: dict[str, int | None] = {}
        self.deleted_at = 0
        self.written = 0
        self.odd: set[str] = set()
        self.point, self.happens = 0, dict[int, Callable[[str], None]]()
        self.box.record_champion()
        self.box.live(turns=1)
        self.box.registry.before = lambda call: self.passed(f"before {call}")
        self.box.registry.after = lambda call: self.passed(f"after {call}")
        self.life = ExitStack()
        self.daemon = self.life.enter_context(self.box.life())

    # what happens at a gateway

    def passed(self, name: str) -> None:
        self.point += 1
        if happens := self.happens.pop(self.point, None):
            happens(name)

    def cut(self, name: str) -> None:
        raise Cut(name)

    def begin_life(self) -> None:
        self.happens.clear()
        self.life.close()
        self.life = ExitStack()
        self.daemon = self.life.enter_context(self.box.life())

    def live(self) -> None:
        """One turn; a daemon that is cut off begins a new life."""
        self.point = 0
        try:
            self.daemon.turn()
        except Cut:
            self.begin_life()
        self.happens.clear()

    # the daemon's part

    @rule(outlives=st.booleans())
    def restarts(self, outlives: bool) -> None:
        self.box.worker_outlives_daemon = outlives
        self.begin_life()

    @rule()
    def turns(self) -> None:
        self.live()

    @rule(point=st.integers(1, 70))
    def turns_and_is_cut_off(self, point: int) -> None:
        self.happens = {point: self.cut}
        self.live()

    @rule(point=st.integers(1, 40), again=st.integers(1, 8))
    def is_cut_off_twice(self, point: int, again: int) -> None:
        self.happens = {point: self.cut}
        self.live()
        self.happens = {again: self.cut}
        self.live()

    @rule(point=st.integers(1, 70), cut=st.integers(0, 3))
    def a_person_moves_the_alias_meanwhile(self, point: int, cut: int) -> None:
        """Not in the very call that moves it, for which MLflow offers no compare-and-set."""

        def move(name: str) -> None:
            if name != "before set_alias":
                self.move_to_a_new_version()

        self.happens = {point: move} | ({point + cut: self.cut} if cut else {})
        self.live()

    @rule(minutes=st.sampled_from([-120, -1, 1, 10, 60, 60 * 24]))
    def the_clock_steps(self, minutes: int) -> None:
        self.box.clock.now += timedelta(minutes=minutes)

    # files

    @rule(name=st.sampled_from(FILES))
    def a_file_is_dropped(self, name: str) -> None:
        self.written += 1
        self.put(name, f"x,churned\n{self.written},yes\n")

    @rule(name=st.sampled_from(FILES))
    def a_bad_file_is_dropped(self, name: str) -> None:
        self.written += 1
        self.put(name, f"bad {self.written}\n")

    @rule(name=st.sampled_from(FILES))
    def a_file_that_looks_wrong_is_dropped(self, name: str) -> None:
        self.written += 1
        text = f"odd {self.written}\n"
        self.odd.add(sha256(text.encode()).hexdigest())
        self.put(name, text)

    @rule(name=st.sampled_from(FILES), other=st.sampled_from(FILES))
    def a_file_is_copied(self, name: str, other: str) -> None:
        if (self.folder / other).exists() and name != other:
            self.put(name, (self.folder / other).read_text("utf-8"))

    @rule(name=st.sampled_from(FILES), other=st.sampled_from(FILES))
    def a_file_is_renamed(self, name: str, other: str) -> None:
        if (self.folder / name).exists():
            (self.folder / name).rename(self.folder / other)

    @rule(name=st.sampled_from(FILES))
    def a_file_is_removed(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    @property
    def folder(self) -> Path:
        return self.root / "drops"

    def put(self, name: str, text: str) -> None:
        """Renamed into place: complete at once."""
        prepared = self.root / "prepared"
        prepared.write_text(text, "utf-8")
        prepared.rename(self.folder / name)

    # policies

    @rule(
        least=st.sampled_from([1, 1000, 6000]), group=st.booleans(), skip=st.booleans(), looks=st.booleans(),
        asks=st.booleans(),
    )  # fmt: skip
    def the_policy_is_edited(self, least: int, group: bool, skip: bool, looks: bool, asks: bool) -> None:
        path = self.root / "policies" / "churn.yaml"
        lines = path.read_text("utf-8").splitlines()
        lines = [
            line for line in lines if not line.startswith(("  group:", "  missing:", "  inconclusive:", "  approval:"))
        ]
        at = next(number for number, line in enumerate(lines) if "enough fresh rows" in line)
        lines[at] = f"  - {{name: enough fresh rows, when: data.new_rows >= {least}}}"
        if group:
            lines.insert(lines.index("retrain:"), "  group: customer")
        if skip:
            lines.insert(lines.index("retrain:"), "  missing: skip")
        if looks:
            lines.insert(lines.index("promote:") + 1, "  inconclusive: {judge_again_every: 500 rows, at_most: 3}")
        if asks:
            lines.insert(lines.index("promote:") + 1, "  approval: required")
        path.write_text("\n".join(lines) + "\n", "utf-8")

    # people and MLflow

    @rule()
    def a_person_makes_a_new_version_champion(self) -> None:
        self.move_to_a_new_version()

    @rule(back=st.integers(1, 3))
    def a_person_makes_an_older_version_champion(self, back: int) -> None:
        versions = [version.number for version in self.box.registry.every_version(MODEL)]
        self.move_to(versions[max(len(versions) - back, 0)])

    @rule()
    def a_person_puts_up_a_challenger(self) -> None:
        self.tick()
        version = self.box.registry.create_version_by_hand(MODEL)
        self.box.registry.move_alias_by_hand(MODEL, "challenger", version.number)

    @rule()
    def a_person_takes_the_challenger_back(self) -> None:
        self.box.registry.delete_alias_by_hand(MODEL, "challenger")

    @rule(versions=st.integers(1, 9), seen=st.booleans())
    def a_person_deletes_the_model_and_makes_it_anew(self, versions: int, seen: bool) -> None:
        through = {each.id for each in self.box.attempts() if each.ended_at is not None or Effect.ALIAS in each.done}
        self.deleted = {each.id: None if each.id in through else each.round for each in self.box.attempts()}
        self.box.registry.delete_model_by_hand(MODEL)
        if seen:
            self.live()
        self.tick()
        for _ in range(versions):
            self.box.registry.create_version_by_hand(MODEL)
        self.persons.clear()
        self.move_to(versions)
        with self.box.journal() as journal:
            self.deleted_at = max((line.id for line in journal.history(None, 1)), default=0)

    @rule(down=st.booleans())
    def mlflow_goes_or_comes(self, down: bool) -> None:
        self.box.registry.fail_with = RegistryUnreachable("MLflow does not answer.") if down else None

    @rule(verb=st.sampled_from(["retrain", "pause", "resume", "rollback"]))
    def an_order_is_given(self, verb: str) -> None:
        champion = self.champion()
        self.box.order(verb, "so it is", {"champion": str(champion)} if verb == "rollback" else None)

    @rule(verb=st.sampled_from(["approve", "reject"]))
    def a_person_answers(self, verb: str) -> None:
        for attempt in self.box.attempts():
            if attempt.awaits_approval and attempt.asked is not None:
                self.box.order(verb, "so it is", {"attempt": attempt.id, "evidence": attempt.asked.evidence})

    @rule(name=st.sampled_from(FILES))
    def a_drop_is_retracted(self, name: str) -> None:
        self.box.order("retract", "mislabelled", {"file": name})

    @rule(name=st.sampled_from(FILES))
    def a_drop_is_released(self, name: str) -> None:
        self.box.order("release", "it is right", {"file": name})

    def move_to_a_new_version(self) -> None:
        self.tick()
        self.move_to(self.box.registry.create_version_by_hand(MODEL).number)

    def move_to(self, version: int) -> None:
        self.persons.add(version)
        self.box.registry.move_alias_by_hand(MODEL, "champion", version)

    def tick(self) -> None:
        """No two versions are made in the same instant."""
        self.box.registry.now = max(self.box.clock.now, self.box.registry.now) + timedelta(milliseconds=1)

    def champion(self) -> int:
        failing, self.box.registry.fail_with = self.box.registry.fail_with, None
        found = self.box.aliases()["champion"]
        self.box.registry.fail_with = failing
        return found

    # workers

    @rule(how=st.sampled_from(sorted(FAILURES)), hangs=st.booleans())
    def workers_fare(self, how: str, hangs: bool) -> None:
        self.box.failure, self.box.hangs = FAILURES[how], hangs

    @rule()
    def the_champion_does_not_load(self) -> None:
        uri = f"models:/{MODEL}/{self.champion()}"
        self.box.failure = Failed(message="The version does not load: it is damaged.", unloadable=uri)

    @rule(found=st.sampled_from(sorted(EVIDENCE)))
    def challengers_are(self, found: str) -> None:
        self.box.evidence = EVIDENCE[found]

    @rule(turns=st.integers(2, 5), name=st.sampled_from(FILES))
    def a_challenger_wins(self, turns: int, name: str) -> None:
        """What any story may come to, so that what follows a promotion is not left to chance."""
        self.box.evidence, self.box.failure, self.box.hangs = EVIDENCE["better"], None, False
        self.box.order("resume")
        self.box.order("retrain")
        self.a_file_is_dropped(name)
        for _ in range(turns):
            self.live()
            self.box.clock.now += timedelta(minutes=2)

    @rule(gain=st.sampled_from([0.0, -0.05, None]), point=st.integers(0, 40))
    def later_files_show(self, gain: float | None, point: int) -> None:
        """How the champion does beside the version before it, which may not load any more."""
        lost = VersionsCompared(obstacle="The version before does not load.")
        self.box.compare = lambda job: lost if gain is None else compared(job, gain)
        self.box.evidence = EVIDENCE["unclear"]
        self.a_file_is_dropped("b.csv")
        self.a_file_is_dropped("c.csv")
        for turn in range(3):
            self.happens = {point: self.cut} if turn and point else {}
            self.live()
            self.box.clock.now += timedelta(minutes=2)

    # what holds

    def world(self, at_rest: bool) -> World:
        registry = self.box.registry
        failing, registry.fail_with = registry.fail_with, None
        versions = {
            each.number: SeenVersion(number=each.number, run_id=each.run_id or "", tags=each.tags)
            for each in registry.every_version(MODEL)
        }
        runs = tuple((registry.run_tags(run).get(KEY_TAG, ""), status) for run, status in registry.runs.items())
        seen = SeenRegistry(aliases=self.box.aliases(), versions=versions, runs=runs)
        registry.fail_with = failing
        gone = {
            each.id for each in self.box.attempts()
            if each.id in self.deleted
            and (self.deleted[each.id] is None or (each.state != "promoted" and self.deleted[each.id] == each.round))
        }  # fmt: skip
        return World(
            journal=self.root / "state" / "journal.db",
            model=MODEL,
            registry=seen,
            files=sorted(self.folder.iterdir()),
            persons=frozenset(self.persons),
            forgotten=gone,
            deleted_at=self.deleted_at,
            jobs=tuple(self.box.results),
            at_rest=at_rest,
        )

    @invariant()
    def it_is_sound(self) -> None:
        violations = check(self.world(at_rest=False))
        assert not violations, "\n".join(map(str, violations))

    @invariant()
    def what_looked_wrong_counts_only_where_a_person_let_it_pass(self) -> None:
        with self.box.journal() as journal:
            drops = journal.drops.listing(MODEL)
        released = {drop.fingerprint for drop in drops if drop.released_at is not None}
        counted = {drop.fingerprint for drop in drops if drop.state == "recorded"}
        assert counted & self.odd <= released

    def teardown(self) -> None:
        try:
            self.come_to_rest()
        finally:
            self.life.close()
            shutil.rmtree(self.root)

    def come_to_rest(self) -> None:
        """Everything works again and nobody does anything any more."""
        self.box.registry.fail_with, self.box.failure, self.box.hangs = None, None, False
        self.box.compare = compared
        self.box.order("resume")
        self.begin_life()
        for turn in range(MOST_TURNS):
            self.live()
            self.a_person_answers("approve")
            if turn == 2:
                self.box.order("resume")  # a version that was found worse before went back, which pauses
            self.box.clock.now += timedelta(minutes=30)
            if turn >= LEAST_TURNS and all(attempt.ended_at for attempt in self.box.attempts()):
                break
        self.begin_life()
        self.live()
        violations = check(self.world(at_rest=True))
        assert not violations, "\n".join(map(str, violations))


def play(examples: int, steps: int, *, same_each_time: bool) -> None:
    run_state_machine_as_test(
        Story,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=same_each_time,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_whatever_happens_in_a_short_story_the_box_stays_sound() -> None:
    play(examples=15, steps=25, same_each_time=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_whatever_happens_in_long_stories_the_box_stays_sound() -> None:
    play(examples=60, steps=50, same_each_time=False)
