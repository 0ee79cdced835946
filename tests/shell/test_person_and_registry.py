"""People and the registry interfere: rollbacks, moved aliases, refusals, lost state; an alias never moves wrongly."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from retrain_daemon.core.attempts import Effect, State
from retrain_daemon.errors import Refused, RegistryUnreachable, RetrainError
from retrain_daemon.registry import Version
from retrain_daemon.worker.job import DropReport, Failed, Train
from tests.fake_box import MODEL, POLICY, Cut, FakeBox
from tests.fakes import FakeRegistry
from tests.made import CHAMPION, NOW, a_metric, some_evidence

OURS = CHAMPION + 1
THEIRS = OURS + 1


@pytest.fixture
def box(tmp_path: Path) -> FakeBox:
    (tmp_path / "box").mkdir()
    made = FakeBox(tmp_path / "box")
    made.record_champion()
    return made


@pytest.fixture
def promoted(box: FakeBox) -> FakeBox:
    """Version 8 is ours and champion, 7 was before it."""
    box.drop()
    box.live()
    assert box.aliases() == {"champion": OURS, "previous_champion": CHAMPION}
    return box


def refuse(box: FakeBox, call: str, from_number: int = 1) -> list[str]:
    """The registry refuses this changing call from its `from_number`-th time on; returns what it was asked."""
    seen: list[str] = []

    def before(name: str) -> None:
        if name == call:
            seen.append(name)
            if len(seen) >= from_number:
                raise Refused("PERMISSION_DENIED")

    box.registry.before = before
    return seen


def held(box: FakeBox) -> bool:
    return box.standing()[0] == "held"


def test_a_rollback_of_a_champion_that_someone_replaced_meanwhile_is_refused(promoted: FakeBox) -> None:
    theirs = promoted.registry.create_version_by_hand(MODEL).number
    promoted.registry.move_alias_by_hand(MODEL, "champion", theirs)
    number = promoted.order("rollback", "8 is bad", {"champion": str(OURS)})
    promoted.live()
    code, sentence = promoted.answer(number)
    assert code == Refused.exit_code
    assert f"version {theirs}, not {OURS}" in sentence
    assert promoted.aliases()["champion"] == theirs
    assert not held(promoted)


def test_the_same_rollback_asked_for_twice_goes_back_once(promoted: FakeBox) -> None:
    promoted.drop("b.csv", "2")
    promoted.live()
    assert promoted.aliases()["champion"] == THEIRS
    numbers = [promoted.order("rollback", "bad", {"champion": str(THEIRS)}) for _ in range(2)]
    promoted.live()
    assert [promoted.answer(number)[0] for number in numbers] == [0, Refused.exit_code]
    assert promoted.aliases() == {"champion": OURS, "previous_champion": THEIRS}


def test_a_rollback_right_after_a_persons_move_goes_back_to_the_champion_before_that_move(promoted: FakeBox) -> None:
    theirs = promoted.registry.create_version_by_hand(MODEL).number
    with promoted.life() as daemon:
        daemon.turn()
        promoted.registry.move_alias_by_hand(MODEL, "champion", theirs)
        number = promoted.order("rollback", "9 is bad", {"champion": str(theirs)})
        daemon.turn()
    assert promoted.answer(number)[0] == 0
    assert promoted.aliases() == {"champion": OURS, "previous_champion": theirs}


def test_a_rollback_that_mlflow_refuses_is_answered_once_pauses_and_can_be_asked_for_again(promoted: FakeBox) -> None:
    asked = refuse(promoted, "set_alias")
    number = promoted.order("rollback", "bad", {"champion": str(OURS)})
    promoted.live(turns=10)
    assert promoted.answer(number)[0] == Refused.exit_code
    assert "PERMISSION_DENIED" in promoted.answer(number)[1]
    assert asked == ["set_alias"]
    assert held(promoted)
    promoted.registry.before = None
    again = promoted.order("rollback", "bad", {"champion": str(OURS)})
    promoted.live()
    assert promoted.answer(again)[0] == 0
    assert promoted.aliases()["champion"] == CHAMPION


def test_a_persons_move_is_accepted_although_mlflow_refuses_to_follow_it(promoted: FakeBox) -> None:
    refuse(promoted, "set_alias")
    promoted.registry.move_alias_by_hand(MODEL, "champion", 3)
    promoted.live()
    with promoted.journal() as journal:
        row = journal.models.find(MODEL)
        assert row is not None
        assert row.champion_seen == 3


def test_a_promotion_stands_although_previous_champion_is_refused(box: FakeBox) -> None:
    refuse(box, "set_alias", from_number=2)
    box.drop()
    box.live()
    assert box.attempts()[0].state is State.PROMOTED
    assert box.aliases() == {"champion": OURS}
    one_row = DropReport(drop=2, fingerprint="f", rows=1, usable=1, new=1, training=1)
    box.report = lambda _job, _file: one_row
    box.drop("one.csv", "2")
    box.live()
    assert box.standing()[0] == "no_rule_holds"
    number = box.order("rollback", "bad", {"champion": str(OURS)})
    box.registry.before = None
    box.live()
    assert box.answer(number)[0] == 0
    assert box.aliases()["champion"] == CHAMPION


def test_an_attempt_is_abandoned_although_its_runs_may_not_be_ended(box: FakeBox) -> None:
    box.failure = Failed(message="no partial_fit")
    refuse(box, "end_runs_of")
    box.drop()
    box.live()
    (attempt,) = box.attempts()
    assert (attempt.state, attempt.reason) == (State.ABANDONED, "no partial_fit")


def test_a_registry_that_refuses_to_be_read_is_waited_for(box: FakeBox) -> None:
    box.registry.fail_with = Refused("UNAUTHENTICATED")
    box.drop()
    box.live()
    assert box.standing()[0] == "registry_unknown"
    assert "UNAUTHENTICATED" in box.standing()[1]
    box.registry.fail_with = None
    box.live()
    assert box.aliases()["champion"] == OURS


class HalfAway(FakeRegistry):
    """Answers every registration of one model with an error of the server."""

    def create_version(
        self, model: str, *, source: str, run_id: str, tags: Mapping[str, str], description: str
    ) -> Version:
        if model == MODEL:
            raise RegistryUnreachable("HTTP status 500")
        return super().create_version(model, source=source, run_id=run_id, tags=tags, description=description)


def with_zeta(tmp_path: Path, registry: FakeRegistry) -> FakeBox:
    """Two models: churn, and zeta, whose champion is version 1; a file for each is dropped long after."""
    (tmp_path / "zeta").mkdir()
    (tmp_path / "box").mkdir()
    box = FakeBox(tmp_path / "box", registry=registry)
    box.registry.create_version_by_hand("zeta")
    box.registry.move_alias_by_hand("zeta", "champion", 1)
    policy = POLICY.format(folder=tmp_path / "zeta").replace("model: churn", "model: zeta")
    (box.root / "policies" / "zeta.yaml").write_text(policy, "utf-8")
    box.record_champion()
    box.clock.now += timedelta(days=3000)
    box.drop()
    box.live()
    (tmp_path / "zeta" / "z.csv").write_text("5", "utf-8")
    return box


def test_a_model_whose_registration_fails_for_ever_does_not_keep_another_from_its_promotion(tmp_path: Path) -> None:
    box = with_zeta(tmp_path, HalfAway(NOW - timedelta(days=30)))
    box.live(turns=10)
    assert box.attempts()[0].state is State.JUDGED
    assert box.registry.models(["zeta"])["zeta"].aliases["champion"] == 2


class Broken(FakeRegistry):
    """Cannot say who made a version of one model."""

    def author(self, version: Version) -> str:
        if version.model == MODEL:
            raise RetrainError("nobody thought of this")
        return super().author(version)


def test_an_error_that_nobody_thought_of_is_said_once_and_does_not_end_the_daemon_for_the_others(
    tmp_path: Path,
) -> None:
    with capture_logs() as lines:
        box = with_zeta(tmp_path, Broken(NOW - timedelta(days=30)))
        box.registry.move_alias_by_hand(MODEL, "challenger", 6)
        box.live(turns=10)
    assert box.registry.models(["zeta"])["zeta"].aliases["champion"] == 2
    said = [(line["model"], line["reason"]) for line in lines if line["event"] == "model.trouble"]
    assert said == [(MODEL, "nobody thought of this")]


def test_another_alias_in_the_policy_is_not_a_persons_move(promoted: FakeBox) -> None:
    promoted.registry.move_alias_by_hand(MODEL, "production", 3)
    promoted.edit_policy("model: churn", "model: churn\nalias: production")
    promoted.live()
    assert promoted.aliases() == {"champion": OURS, "previous_champion": CHAMPION, "production": 3}


def test_after_the_state_folder_was_lost_no_old_version_is_promoted_for_a_new_challenger(promoted: FakeBox) -> None:
    promoted.registry.move_alias_by_hand(MODEL, "champion", CHAMPION)
    shutil.rmtree(promoted.root / "state")
    (promoted.root / "state").mkdir()
    promoted.results.clear()
    promoted.record_champion()
    promoted.drop("new.csv", "2")
    promoted.live()
    (attempt,) = promoted.attempts()
    assert (attempt.id, attempt.state) == ("churn-1", State.PROMOTED)
    assert attempt.challenger is not None
    assert promoted.aliases()["champion"] == THEIRS
    assert promoted.registry.version(MODEL, THEIRS).run_id == attempt.challenger.run_id


def test_what_our_own_version_learned_is_not_overwritten_by_adopt(promoted: FakeBox) -> None:
    arguments = {"champion": str(OURS), "learned_file": "/state/other.npy", "rows": "10", "fingerprints": "f"}
    number = promoted.order("adopt", arguments=arguments)
    promoted.live()
    assert promoted.answer(number)[0] == Refused.exit_code
    with promoted.journal() as journal:
        learned = journal.models.learned(MODEL, OURS, "features of the signature")
    assert [Path(file).name.partition(".")[0] for file in learned.files] == ["churn-1", "adopted"]


def test_a_file_retracted_before_the_promotion_has_the_attempt_begin_again_without_it(box: FakeBox) -> None:
    def away(name: str) -> None:
        if name == "create_version":
            raise RegistryUnreachable("HTTP status 500")

    box.registry.before = away
    box.drop("good.csv", "1")
    box.drop("bad.csv", "2")
    box.live()
    first = box.attempts()[0].challenger
    number = box.order("retract", "scrambled labels", {"file": "bad.csv"})
    box.live(turns=1)
    assert "attempt churn-1 begins again without it" in box.answer(number)[1]
    box.registry.before = None
    box.live()
    assert box.attempts()[0].state is State.PROMOTED
    assert box.trained_on() == [["good.csv", "bad.csv"], ["good.csv"]]
    assert first is not None
    assert box.registry.version(MODEL, OURS).run_id != first.run_id


def test_a_file_retracted_after_its_version_was_registered_does_not_promote_that_version(box: FakeBox) -> None:
    def away(name: str) -> None:
        if name == "tag_version":
            raise RegistryUnreachable("HTTP status 500")

    box.registry.before = away
    box.drop("good.csv", "1")
    box.drop("bad.csv", "2")
    box.live()
    assert box.attempts()[0].version == OURS
    box.order("retract", "scrambled labels", {"file": "bad.csv"})
    box.registry.before = None
    box.live()
    assert box.attempts()[0].state is State.PROMOTED
    assert box.aliases()["champion"] == THEIRS


def test_a_person_who_moves_the_alias_right_before_ours_has_the_challenger_judged_against_theirs(box: FakeBox) -> None:
    theirs = box.registry.create_version_by_hand(MODEL).number
    moved: list[str] = []

    def move_once(point: str) -> None:
        if not moved and point.startswith("after") and Effect.ALIAS in box.attempts()[0].begun:
            moved.append(point)
            box.registry.move_alias_by_hand(MODEL, "champion", theirs)

    box.reached = lambda point: move_once(point) if box.attempts() else None
    box.drop()
    box.live()
    (attempt,) = box.attempts()
    assert (attempt.state, attempt.champion_version) == (State.PROMOTED, theirs)
    assert [job.source.version for job in box.trainings()] == [CHAMPION, theirs]
    assert box.aliases() == {"champion": theirs + 1, "previous_champion": theirs}


def test_a_second_rollback_while_paused_by_the_first_does_not_go_back_further(promoted: FakeBox) -> None:
    promoted.order("rollback", "bad", {"champion": str(OURS)})
    promoted.live()
    number = promoted.order("rollback", "bad", {"champion": str(CHAMPION)})
    promoted.live()
    assert promoted.answer(number)[0] == Refused.exit_code
    assert "resume" in promoted.answer(number)[1]
    assert promoted.aliases()["champion"] == CHAMPION


def test_a_losing_challenger_is_judged_against_the_champion_a_person_chose_meanwhile(box: FakeBox) -> None:
    worse = a_metric(low=-0.09, gain=-0.08, high=-0.07)
    box.evidence = some_evidence(worse)
    box.worker_outlives_daemon = False

    def move(name: str) -> None:
        if name == "after start" and any(isinstance(job, Train) for job in box.jobs):
            box.reached = lambda _point: None
            box.registry.move_alias_by_hand(MODEL, "champion", 6)

    box.reached = move
    box.drop()
    box.live(turns=10)
    (attempt,) = box.attempts()
    assert (attempt.state, attempt.champion_version) == (State.REJECTED, 6)
    assert attempt.evidence is not None
    assert attempt.evidence.champion_version == 6
    assert box.aliases()["champion"] == 6


def test_an_outage_during_training_does_not_use_up_the_tries(box: FakeBox) -> None:
    box.failure = Failed(message="MLflow did not answer", temporary=True, unreachable=True)
    box.drop()
    box.live(turns=30)
    (attempt,) = box.attempts()
    assert attempt.state is State.FAILED
    assert attempt.failures == 0
    box.failure = None
    box.live()
    assert box.attempts()[0].state is State.PROMOTED


def test_no_worker_is_started_while_the_registry_does_not_answer(box: FakeBox) -> None:
    box.failure = Failed(message="ended by signal 9", temporary=True)
    box.drop()
    box.live(turns=2)
    started = len(box.trainings())
    box.registry.fail_with = RegistryUnreachable("MLflow does not answer.")
    box.live(turns=10)
    assert len(box.trainings()) == started


def test_an_attempt_that_was_open_when_its_champion_was_rolled_back_begins_again_from_the_target(
    promoted: FakeBox,
) -> None:
    promoted.failure = Failed(message="ended by signal 9", temporary=True)
    promoted.drop("b.csv", "x,churned\n2,no\n")
    promoted.live(turns=2)
    assert promoted.attempts()[-1].champion_version == OURS
    promoted.order("rollback", "bad", {"champion": str(OURS)})
    promoted.live()
    promoted.failure = None
    promoted.order("resume")
    promoted.live()
    attempt = promoted.attempts()[-1]
    assert (attempt.champion_version, attempt.continues) == (CHAMPION, CHAMPION)


def test_another_spelling_set_after_the_alias_was_lost_is_named(box: FakeBox) -> None:
    box.live()
    box.registry.delete_alias_by_hand(MODEL, "champion")
    box.registry.move_alias_by_hand(MODEL, "Champion", CHAMPION)
    box.live()
    assert box.standing()[0] == "champion_lost"
    assert "alias Champion" in box.standing()[1]


def test_a_version_that_was_rolled_back_is_no_target_of_the_next_rollback(promoted: FakeBox) -> None:
    promoted.order("rollback", "bad", {"champion": str(OURS)})
    promoted.order("resume")
    promoted.live()
    number = promoted.order("rollback", "bad", {"champion": str(CHAMPION)})
    promoted.live()
    assert f"version {OURS} of churn was itself rolled back" in promoted.answer(number)[1]
    assert promoted.aliases()["champion"] == CHAMPION


def test_in_a_model_made_anew_previous_champion_never_points_to_a_version_that_only_has_the_old_number(
    box: FakeBox,
) -> None:
    box.live()
    box.registry.delete_model_by_hand(MODEL)
    box.registry.now = box.clock.now
    for _ in range(CHAMPION + 2):
        box.registry.create_version_by_hand(MODEL)
    box.registry.move_alias_by_hand(MODEL, "champion", CHAMPION + 2)
    box.live()
    assert box.aliases() == {"champion": CHAMPION + 2}


@pytest.mark.parametrize("cut_at", ["before set_alias", "after set_alias"])
def test_a_version_that_only_has_the_number_of_a_registered_winner_of_a_deleted_model_is_not_taken_for_it(
    box: FakeBox, cut_at: str
) -> None:
    def cut(call: str) -> None:
        if call == cut_at.partition(" ")[2]:
            raise Cut(call)

    setattr(box.registry, cut_at.partition(" ")[0], cut)
    box.drop()
    with pytest.raises(Cut):
        box.live()
    box.registry.before = box.registry.after = lambda _call: None
    box.registry.delete_model_by_hand(MODEL)
    box.registry.now = box.clock.now
    for _ in range(OURS):
        box.registry.create_version_by_hand(MODEL)
    box.registry.move_alias_by_hand(MODEL, "champion", OURS)
    box.live()
    (attempt,) = box.attempts()
    assert (attempt.champion_version, attempt.version) == (OURS, THEIRS)
    assert [job.source.version for job in box.trainings()] == [CHAMPION, OURS]
    assert box.aliases()["champion"] == THEIRS


def test_a_promotion_whose_model_was_deleted_before_it_was_concluded_stays_one(box: FakeBox) -> None:
    def cut(call: str) -> None:
        if call == "set_alias" and "previous_champion" not in box.aliases() and box.aliases()["champion"] == OURS:
            raise Cut(call)

    box.registry.before = cut
    box.drop()
    with pytest.raises(Cut):
        box.live()
    box.registry.before = lambda _call: None
    box.registry.delete_model_by_hand(MODEL)
    box.registry.now = box.clock.now
    for _ in range(OURS):
        box.registry.create_version_by_hand(MODEL)
    box.registry.move_alias_by_hand(MODEL, "champion", OURS)
    box.live(turns=3)
    attempt = box.attempts()[-1]
    assert attempt.state is State.PROMOTED
    assert "deleted" in attempt.reason
    assert box.aliases() == {"champion": OURS}


def test_a_rollback_in_a_model_made_anew_twice_does_not_go_to_a_challenger_with_the_number_of_a_champion(
    box: FakeBox,
) -> None:
    box.live()
    for versions in (2, 1):
        box.registry.delete_model_by_hand(MODEL)
        box.clock.now += timedelta(minutes=1)
        box.registry.now = box.clock.now
        for _ in range(versions):
            box.registry.create_version_by_hand(MODEL)
        box.registry.move_alias_by_hand(MODEL, "champion", versions)
        if versions == 2:
            box.live()
    theirs = box.registry.create_version_by_hand(MODEL).number
    box.registry.move_alias_by_hand(MODEL, "challenger", theirs)
    box.live()
    number = box.order("rollback", "it is worse", {"champion": "1"})
    box.live()
    assert box.answer(number)[0] == Refused.exit_code
    assert box.aliases()["champion"] == 1


def test_a_rollback_in_a_model_made_anew_goes_to_no_version_of_the_deleted_one(promoted: FakeBox) -> None:
    promoted.registry.delete_model_by_hand(MODEL)
    promoted.registry.now = promoted.clock.now
    for _ in range(OURS):
        promoted.registry.create_version_by_hand(MODEL)
    promoted.registry.move_alias_by_hand(MODEL, "champion", OURS)
    promoted.live()
    number = promoted.order("rollback", "it is worse", {"champion": str(OURS)})
    promoted.live()
    assert promoted.answer(number)[0] == Refused.exit_code
    assert promoted.aliases()["champion"] == OURS
