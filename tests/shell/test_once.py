"""`retraind run --once` comes to an end, whatever is open, and not before what it can bring to an end has ended."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from retrain_daemon.core.attempts import State
from retrain_daemon.errors import RegistryUnreachable
from retrain_daemon.worker.job import Failed, InspectDrops, Job, Result
from tests.fake_box import MODEL, FakeBox
from tests.made import CHAMPION


@pytest.fixture
def box(tmp_path: Path) -> FakeBox:
    (tmp_path / "box").mkdir()
    made = FakeBox(tmp_path / "box")
    made.record_champion()
    return made


def run_once(box: FakeBox) -> str:
    """The registry's problem at the end of a single pass, which must come by itself."""
    with box.life() as daemon:
        return daemon.run_once()


def test_a_single_pass_waits_for_a_file_that_settles_and_for_all_that_follows(box: FakeBox) -> None:
    box.drop()
    assert run_once(box) == ""
    assert box.attempts()[0].state is State.PROMOTED
    assert box.aliases()["champion"] == CHAMPION + 1


def test_a_single_pass_does_not_wait_for_a_file_that_goes_on_growing(box: FakeBox) -> None:
    reached: list[str] = []

    def grow(point: str) -> None:
        reached.append(point)
        box.drop(text="1" * len(reached))

    box.drop()
    box.reached = grow
    assert run_once(box) == ""


def test_a_single_pass_ends_while_a_failed_attempt_is_paused(box: FakeBox) -> None:
    box.failure = Failed(message="signal 9", temporary=True)
    box.drop()
    box.live(turns=3)
    assert box.attempts()[0].state is State.FAILED
    box.order("pause", "look into it")
    assert run_once(box) == ""
    assert box.attempts()[0].state is State.FAILED


def test_a_single_pass_tries_a_failed_attempt_to_its_end(box: FakeBox) -> None:
    box.failure = Failed(message="signal 9", temporary=True)
    box.drop()
    assert run_once(box) == ""
    assert box.attempts()[0].state is State.ABANDONED


def test_a_single_pass_ends_although_the_champion_was_lost_before_the_promotion(box: FakeBox) -> None:
    def lose(name: str) -> None:
        if name == "create_version":
            box.registry.delete_alias_by_hand(MODEL, "champion")

    box.registry.before = lose
    box.drop()
    assert run_once(box) == ""
    assert box.attempts()[0].state is State.JUDGED
    assert "champion" not in box.aliases()


def test_a_single_pass_ends_although_a_policy_was_taken_away_during_its_inspection(box: FakeBox) -> None:
    def at_work(job: Job) -> Result | None:
        return None if isinstance(job, InspectDrops) else FakeBox.work(box, job)

    box.work = at_work  # type: ignore[method-assign]
    box.drop()
    with box.life() as daemon:
        daemon.turn()
        box.clock.now += timedelta(minutes=5)
        daemon.turn()
        assert box.inspections() == 1
        (box.root / "policies" / "churn.yaml").unlink()
        assert daemon.run_once() == ""


def test_a_single_pass_ends_although_the_champion_is_lost_during_an_inspection(box: FakeBox) -> None:
    lost_at: list[datetime] = []

    def at_work(job: Job) -> Result | None:
        if isinstance(job, InspectDrops) and not lost_at:
            lost_at.append(box.clock.now)
            box.registry.delete_alias_by_hand(MODEL, "champion")
        return None if box.clock.now < lost_at[0] + timedelta(minutes=1) else FakeBox.work(box, job)

    box.work = at_work  # type: ignore[method-assign]
    box.drop()
    assert run_once(box) == ""
    assert box.drops() == [("a.csv", "recorded")]


def test_a_single_pass_ends_although_the_registry_goes_away_before_the_promotion(box: FakeBox) -> None:
    def go_away(name: str) -> None:
        if name == "create_version":
            box.registry.fail_with = RegistryUnreachable("connection refused")
            raise box.registry.fail_with

    box.registry.before = go_away
    box.drop()
    run_once(box)
    assert box.attempts()[0].state is State.JUDGED


def test_a_single_pass_says_that_the_registry_is_away(box: FakeBox) -> None:
    box.registry.fail_with = RegistryUnreachable("connection refused")
    box.drop()
    assert run_once(box) == "connection refused"
    assert box.drops() == [("a.csv", "found")]


def test_a_single_pass_that_lost_the_registry_between_two_polls_says_so(box: FakeBox) -> None:
    def go_away(name: str) -> None:
        if name == "create_version":
            box.registry.fail_with = RegistryUnreachable("connection refused")
            raise box.registry.fail_with

    box.registry.before = go_away
    box.drop()
    with box.life() as daemon:
        assert daemon.run_once() == "connection refused"


def test_a_single_pass_says_that_only_its_workers_are_not_answered_and_does_not_wait_for_ever(box: FakeBox) -> None:
    box.failure = Failed(message="MLflow did not answer.", temporary=True, unreachable=True)
    box.drop()
    assert run_once(box) == "MLflow did not answer."
    [attempt] = box.attempts()
    assert (attempt.state, attempt.failures) == (State.FAILED, 0)
    assert attempt.starts == attempt.recipe.retries + 1


def test_a_single_pass_ends_when_the_champion_is_lost_before_anything_was_trained(box: FakeBox) -> None:
    box.failure = Failed(message="ended by signal 9", temporary=True)
    box.drop()
    box.live(turns=2)
    box.registry.delete_alias_by_hand(MODEL, "champion")
    assert run_once(box) == ""
    assert box.attempts()[0].state is State.FAILED


def test_an_attempt_of_a_retired_policy_finishes_under_the_policy_it_began_with(box: FakeBox) -> None:
    box.failure = Failed(message="ended by signal 9", temporary=True)
    box.drop()
    box.live(turns=2)
    box.failure = None
    (box.root / "policies" / "churn.yaml").unlink()
    run_once(box)
    assert box.attempts()[0].state is State.PROMOTED
