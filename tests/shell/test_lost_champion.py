"""Champions that were lost: the alias or the version is gone, or its files do not load. Nothing takes their place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from retrain_daemon.core.attempts import State
from retrain_daemon.worker.job import Failed, InspectDrops, Train
from tests.fake_box import MODEL, POLICY, FakeBox, scored
from tests.made import CHAMPION
from tests.shell.test_news import Listener

OURS = CHAMPION + 1
NEXT = "x,churned\n2,no\n"


def broken(version: int = CHAMPION) -> Failed:
    """What a worker says that could not load a version."""
    return Failed(
        message=f"Version {version} of {MODEL} does not load: BadZipFile: File is not a zip file.",
        hint="Register a version that loads.",
        unloadable=f"models:/{MODEL}/{version}",
    )


def in_training(box: FakeBox, version: int) -> None:
    box.failure = broken(version)


def in_inspection(box: FakeBox, version: int) -> None:
    box.inspection_failure = lambda _job: broken(version)


def in_scoring(box: FakeBox, version: int) -> None:
    """No training is due that would find it out as well."""
    box.score = lambda _job: broken(version)
    box.edit_policy("data.new_rows >= 1000", "data.new_rows >= 1000000")


def mend(box: FakeBox) -> None:
    box.failure, box.inspection_failure, box.score = None, lambda _job: None, scored


def train_again(box: FakeBox) -> None:
    box.write_policy(POLICY.format(folder=box.root / "drops"))


@pytest.fixture
def box(tmp_path: Path) -> FakeBox:
    made = FakeBox(tmp_path)
    made.record_champion()
    return made


@pytest.fixture
def promoted(box: FakeBox) -> FakeBox:
    """Version 8 was promoted over 7."""
    box.drop()
    box.live()
    assert box.aliases() == {"champion": OURS, "previous_champion": CHAMPION}
    return box


WAYS = pytest.mark.parametrize("way", [in_training, in_inspection, in_scoring])


@WAYS
def test_a_champion_that_does_not_load_is_one_state_with_ways_out_and_nothing_starts(
    box: FakeBox, way: Callable[[FakeBox, int], None]
) -> None:
    way(box, CHAMPION)
    box.drop()
    box.live()
    code, said = box.standing()
    assert code == "champion_lost"
    assert said.startswith(f"version {CHAMPION} does not load: BadZipFile: File is not a zip file. Nothing starts")
    for way_out in ("rollback churn", "adopt churn --version N", "move the alias", "resume churn"):
        assert way_out in said
    jobs = len(box.jobs)
    box.drop("b.csv", NEXT)
    box.order("retrain", "now")
    box.live(turns=10)
    assert len(box.jobs) == jobs
    assert len(box.attempts()) <= 1
    assert box.aliases() == {"champion": CHAMPION}


@WAYS
def test_it_is_told_once_also_over_restarts(box: FakeBox, way: Callable[[FakeBox, int], None]) -> None:
    listener = Listener()
    box.announcer = listener
    way(box, CHAMPION)
    box.drop()
    box.live()
    box.live()
    assert listener.occasions.count("champion_lost") == 1


@WAYS
def test_resuming_the_model_tries_it_again(box: FakeBox, way: Callable[[FakeBox, int], None]) -> None:
    way(box, CHAMPION)
    box.drop()
    box.live()
    mend(box)
    train_again(box)
    box.order("resume")
    box.live()
    assert [attempt.state for attempt in box.attempts()][-1] is State.PROMOTED
    assert box.aliases()["champion"] == OURS


def test_resuming_it_too_early_ends_in_the_same_state(box: FakeBox) -> None:
    in_training(box, CHAMPION)
    box.drop()
    box.live()
    box.order("resume")
    box.live()
    assert box.standing()[0] == "champion_lost"


@WAYS
def test_another_champion_ends_it(box: FakeBox, way: Callable[[FakeBox, int], None]) -> None:
    way(box, CHAMPION)
    box.drop()
    box.live()
    mend(box)
    box.registry.move_alias_by_hand(MODEL, "champion", 3)
    box.live()
    assert box.standing()[0] != "champion_lost"
    assert box.drops() == [("a.csv", "recorded")]
    box.registry.move_alias_by_hand(MODEL, "champion", CHAMPION)
    box.live()
    assert box.standing()[0] != "champion_lost"


def test_rolling_back_leads_out_of_it(promoted: FakeBox) -> None:
    in_scoring(promoted, OURS)
    promoted.drop("b.csv", NEXT)
    promoted.live()
    assert promoted.standing()[0] == "champion_lost"
    mend(promoted)
    number = promoted.order("rollback", "it does not load", {"champion": str(OURS)})
    promoted.live()
    assert promoted.answer(number)[0] == 0
    assert promoted.aliases() == {"champion": CHAMPION, "previous_champion": OURS}
    assert promoted.standing()[0] == "held"
    promoted.order("resume")
    promoted.live()
    assert promoted.standing()[0] != "champion_lost"


def test_adopting_another_version_leads_out_of_it(box: FakeBox) -> None:
    in_scoring(box, CHAMPION)
    box.drop()
    box.live()
    mend(box)
    number = box.order("adopt", "", {"version": "3"})
    box.live()
    assert box.answer(number) == (0, f"alias champion of {MODEL} points to version 3")
    assert box.aliases()["champion"] == 3
    assert box.aliases()["previous_champion"] == CHAMPION
    assert box.standing()[0] != "champion_lost"


def test_a_challenger_that_does_not_load_is_no_lost_champion(box: FakeBox) -> None:
    in_training(box, OURS)
    box.drop()
    box.live()
    assert box.standing()[0] != "champion_lost"
    assert [attempt.state for attempt in box.attempts()] == [State.ABANDONED]


def test_what_may_pass_or_lacks_a_framework_is_no_lost_champion(box: FakeBox) -> None:
    box.inspection_failure = lambda _job: Failed(message="sklearn is not installed", framework_missing=True)
    box.drop()
    box.live()
    assert box.standing()[0] == "framework_missing"
    box.inspection_failure = lambda _job: Failed(message="MLflow did not answer", temporary=True, unreachable=True)
    box.order("resume")
    box.live()
    assert box.standing()[0] == "inspection_trouble"


def test_an_attempt_that_waited_for_its_next_try_ends_when_its_champion_turns_out_not_to_load(box: FakeBox) -> None:
    box.failure = Failed(message="ended by signal 9", temporary=True, unreachable=True)
    box.drop()
    box.live(turns=2)
    assert [attempt.state for attempt in box.attempts()] == [State.FAILED]
    in_scoring(box, CHAMPION)
    box.registry.set_model_tag_by_hand(MODEL, "note", "look again")
    box.drop("b.csv", NEXT)
    box.live(turns=10)
    (attempt,) = box.attempts()
    assert attempt.state is State.ABANDONED
    assert box.standing()[0] == "champion_lost"


def test_a_champion_whose_version_was_deleted_is_named_with_what_to_do(box: FakeBox) -> None:
    box.live()
    box.registry.delete_version_by_hand(MODEL, CHAMPION)
    box.drop()
    box.live()
    code, said = box.standing()
    assert code == "champion_lost"
    assert said.startswith(f"version {CHAMPION}, the champion of {MODEL}, was deleted")
    assert "with another version" in said
    assert not box.trainings()


def test_an_alias_that_is_gone_is_named_with_the_version_it_was_on(box: FakeBox) -> None:
    box.live()
    box.registry.delete_alias_by_hand(MODEL, "champion")
    box.registry.move_alias_by_hand(MODEL, "challenger", 3)
    box.drop()
    box.live()
    code, said = box.standing()
    assert code == "champion_lost"
    assert f"it was version {CHAMPION}" in said
    assert box.aliases() == {"challenger": 3}
    assert not any(isinstance(job, (Train, InspectDrops)) for job in box.jobs)


def test_a_rollback_to_a_version_that_was_deleted_is_refused_by_name(promoted: FakeBox) -> None:
    promoted.registry.delete_version_by_hand(MODEL, CHAMPION)
    number = promoted.order("rollback", "bad", {"champion": str(OURS)})
    promoted.live()
    code, said = promoted.answer(number)
    assert code == 5
    assert f"version {CHAMPION} of {MODEL}, which was champion before version {OURS}, was deleted" in said
    assert "Move the alias in MLflow" in said
    assert promoted.aliases()["champion"] == OURS
