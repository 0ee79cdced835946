"""Which models are looked at when: what changed is noticed at once, what time alone changes at the next poll."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from retrain_daemon import tending
from retrain_daemon.attention import EVERYONE_EVERY
from retrain_daemon.core.rules.vocabulary import FACTS, passes_with_time
from retrain_daemon.daemon import Daemon
from retrain_daemon.errors import RegistryUnreachable, StateUnusable
from retrain_daemon.observe import gather
from retrain_daemon.worker.job import DropReport, Job, Result
from tests.fake_box import POLICY, FakeBox

POLL = timedelta(seconds=16)
RESCAN = timedelta(seconds=61)


class Box(FakeBox):
    """Three models, each with a champion and a folder of its own; `tended` are those that were looked at."""

    tended: list[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        (self.root / "policies" / "churn.yaml").unlink()
        self.tended = []
        for model in ("one", "two", "three"):
            self.add(model)

    def add(self, model: str, when: str = "data.new_rows >= 1000") -> None:
        (self.root / "drops" / model).mkdir(exist_ok=True)
        text = POLICY.replace("model: churn", f"model: {model}").replace("data.new_rows >= 1000", when)
        path = self.root / "policies" / f"{model}.yaml"
        path.write_text(text.format(folder=self.root / "drops" / model), "utf-8")
        if not self.registry.models([model]):
            self.registry.create_version_by_hand(model)
            self.registry.create_version_by_hand(model)
            self.registry.move_alias_by_hand(model, "champion", 1)

    @contextmanager
    def settled(self) -> Iterator[Daemon]:
        with self.life() as daemon:
            self.turns(daemon)
            yield daemon

    def turns(self, daemon: Daemon, after: timedelta = timedelta(0)) -> set[str]:
        """The models looked at in a turn after so long, and in those that follow from it at once."""
        self.clock.now += after
        self.tended.clear()
        for _ in range(3):
            daemon.turn()
        return set(self.tended)

    def add_to_line(self, daemon: Daemon, model: str) -> None:
        """Have a model wait for its inspection, as if both places were taken when it asked."""
        assert not daemon._intake._turns.may_start(model, 2)

    def codes(self) -> dict[str, str]:
        with self.journal() as journal:
            decisions = {model: journal.decisions.standing(model) for model in ("one", "two", "three")}
        return {model: decision.code for model, decision in decisions.items() if decision}


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    made = Box(tmp_path)

    def watched_gather(policy: object, *rest: object) -> object:
        made.tended.append(policy.model)  # type: ignore[attr-defined]
        return gather(policy, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(tending, "gather", watched_gather)
    return made


def test_models_of_which_nothing_changed_are_not_looked_at(box: Box) -> None:
    with box.settled() as daemon:
        assert box.turns(daemon, POLL) == set()
        assert box.turns(daemon, RESCAN) == set()


def test_everyone_is_looked_at_after_half_an_hour_whatever_was_told(box: Box) -> None:
    with box.settled() as daemon:
        assert box.turns(daemon, EVERYONE_EVERY) == {"one", "two", "three"}


def test_everyone_is_looked_at_when_the_clock_was_set_far_back(box: Box) -> None:
    with box.settled() as daemon:
        box.turns(daemon, timedelta(days=400))
        assert box.turns(daemon, timedelta(days=-400)) == {"one", "two", "three"}


def test_a_file_calls_its_model_alone(box: Box) -> None:
    with box.settled() as daemon:
        (box.root / "drops" / "two" / "a.csv").write_text("x,churned\n1,yes\n")
        assert box.turns(daemon, RESCAN) == {"two"}
        assert box.turns(daemon, RESCAN) == {"two"}, "its inspection and what follows"
        assert "one" not in box.turns(daemon, RESCAN)


def test_who_waits_for_an_inspection_is_called_when_a_place_is_free(box: Box) -> None:
    with box.settled() as daemon:
        for model in ("one", "two", "three"):
            (box.root / "drops" / model / "a.csv").write_text("x,churned\n1,yes\n")
        box.turns(daemon, RESCAN)
        for _ in range(5):
            box.turns(daemon, timedelta(seconds=2))
    with box.journal() as journal:
        listed = [journal.drops.listing(model) for model in ("one", "two", "three")]
    assert [[drop.state for drop in drops] for drops in listed] == [["recorded"]] * 3


def test_who_loses_its_champion_while_it_waits_keeps_nobody_from_an_inspection(box: Box) -> None:
    with box.settled() as daemon:
        for model in ("one", "two", "three"):
            box.add_to_line(daemon, model)
        del box.registry._models["one"].aliases["champion"]
        del box.registry._models["two"].aliases["champion"]
        (box.root / "drops" / "three" / "a.csv").write_text("x,churned\n1,yes\n")
        for _ in range(3):
            box.turns(daemon, RESCAN)
    with box.journal() as journal:
        assert [drop.state for drop in journal.drops.listing("three")] == ["recorded"]


def test_who_loses_its_champion_during_its_inspection_keeps_nobody_from_theirs(box: Box) -> None:
    ends_at = box.clock.now + timedelta(minutes=1)

    def work(job: Job) -> Result | None:
        box.registry._models[job.source.model].aliases.pop("champion", None)
        return None if box.clock.now < ends_at else Box.work(box, job)

    box.work = work  # type: ignore[method-assign]
    box.worker_outlives_daemon = False
    with box.settled() as daemon:
        for model in ("one", "two", "three"):
            (box.root / "drops" / model / "a.csv").write_text("x,churned\n1,yes\n")
        for _ in range(8):
            box.turns(daemon, POLL)
    with box.journal() as journal:
        listed = [journal.drops.listing(model) for model in ("one", "two", "three")]
    assert [[drop.state for drop in drops] for drops in listed] == [["recorded"]] * 3


def test_a_model_whose_unreadable_file_was_removed_is_not_looked_at_for_ever(box: Box) -> None:
    box.report = lambda _job, file: DropReport(drop=file.drop, problem="it cannot be read", temporary=True)
    with box.settled() as daemon:
        file = box.root / "drops" / "two" / "a.csv"
        file.write_text("x,churned\n1,yes\n")
        for _ in range(3):
            box.turns(daemon, RESCAN)
        file.unlink()
        for _ in range(3):
            box.turns(daemon, RESCAN)
        assert box.turns(daemon, POLL) == set()


def test_a_file_whose_events_were_lost_is_found_at_the_next_rescan(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    with box.settled() as daemon:
        monkeypatch.setattr(daemon._to.folders, "changed", lambda **_: frozenset())
        for name in ("a.csv", "b.csv"):
            (box.root / "drops" / "two" / name).write_text(f"x,churned\n{name},yes\n")
            for _ in range(4):
                box.turns(daemon, RESCAN)
        (box.root / "drops" / "two" / "a.csv").write_text("x,churned\n7,no\n")
        for _ in range(4):
            box.turns(daemon, RESCAN)
    with box.journal() as journal:
        states = [(Path(drop.path).name, drop.state) for drop in journal.drops.listing("two")]
    assert states == [("a.csv", "superseded"), ("b.csv", "recorded"), ("a.csv", "recorded")]


def test_files_seen_while_the_journal_could_not_be_written_are_found_at_the_next_turn(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StateUnusable("the disk is full.")

    with box.settled() as daemon:
        with monkeypatch.context() as patched:
            patched.setattr(daemon._intake, "scan", refuse)
            patched.setattr(daemon._to.folders, "changed", lambda **_: frozenset({"one"}))
            (box.root / "drops" / "two" / "a.csv").write_text("x,churned\n1,yes\n")
            with pytest.raises(StateUnusable):
                daemon.turn()
        monkeypatch.setattr(daemon._to.folders, "changed", lambda **_: frozenset())
        daemon.turn()
        box.clock.now += timedelta(seconds=2)
        daemon.turn()
    with box.journal() as journal:
        assert [Path(drop.path).name for drop in journal.drops.listing("two")] == ["a.csv"]


def test_a_moved_alias_calls_its_model_alone_at_the_next_poll(box: Box) -> None:
    with box.settled() as daemon:
        box.registry.move_alias_by_hand("three", "champion", 2)
        assert box.turns(daemon, POLL) == {"three"}


def test_a_tag_that_asks_for_a_retrain_is_seen_at_the_next_poll(box: Box) -> None:
    with box.settled() as daemon:
        box.registry.set_model_tag_by_hand("one", "retrain", "now")
        assert box.turns(daemon, POLL) == {"one"}


def test_what_another_process_wrote_to_the_journal_is_taken_up_at_once(box: Box) -> None:
    with box.settled() as daemon:
        box.order("pause")
        assert box.turns(daemon) == {"one", "two", "three"}


def test_an_edited_policy_counts_at_the_next_turn(box: Box) -> None:
    with box.settled() as daemon:
        box.add("one", "data.new_rows >= 7")
        assert "one" in box.turns(daemon)


def test_a_rule_that_becomes_true_by_time_alone_holds_at_the_next_poll(box: Box) -> None:
    for model, when in (("one", "data.waiting > minutes(30)"), ("two", "champion.age > days(31)")):
        box.add(model, f"{when} && data.new_rows > 0")
    rows = "x,churned\n1,yes\n"
    with box.settled() as daemon:
        for model in ("one", "two", "three"):
            (box.root / "drops" / model / "a.csv").write_text(f"{rows}{model},no\n")
        for _ in range(3):
            box.turns(daemon, RESCAN)
        assert box.turns(daemon, POLL) == {"one", "two"}


def test_without_the_registry_nobody_is_looked_at_again_until_it_is_back(box: Box) -> None:
    with box.settled() as daemon:
        box.registry.fail_with = RegistryUnreachable("MLflow did not answer.")
        assert box.turns(daemon, POLL) == {"one", "two", "three"}
        assert set(box.codes().values()) == {"registry_unknown"}
        assert box.turns(daemon, POLL) == set()
        box.registry.fail_with = None
        assert box.turns(daemon, 2 * POLL) == {"one", "two", "three"}  # an outage is asked about more rarely
        assert set(box.codes().values()) == {"no_rows"}


def test_a_champion_that_points_to_no_version_is_asked_for_again_at_each_poll(box: Box) -> None:
    with box.settled() as daemon:
        versions = box.registry._models["two"].versions
        kept, versions[2] = versions[2], None
        box.registry._models["two"].aliases["champion"] = 2
        box.turns(daemon, POLL)
        assert box.codes()["two"] == "champion_lost"
        assert box.turns(daemon, POLL) == {"two"}
        versions[2] = kept
        assert box.turns(daemon, POLL) == {"two"}
        assert box.codes()["two"] == "no_rows"


def test_facts_that_age_are_known_as_such() -> None:
    aging = {name for name in FACTS if passes_with_time(name)}
    assert aging == {"data.waiting", "champion.age", "last.age", "now"}
    assert passes_with_time("whatever"), "a fact that is not in the table may age"
    assert not passes_with_time("upstream.a.changed"), "it changes with what the registry says"
    assert not passes_with_time("schedule.weekly"), "a decision says when the next slot comes"
