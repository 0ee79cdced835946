"""What an operator sees of the loop: the real daemon and journal, with a fake registry and fake workers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from retrain_daemon.core.attempts import State
from retrain_daemon.core.policy import Mode
from retrain_daemon.daemon import Daemon
from retrain_daemon.errors import RegistryUnreachable
from retrain_daemon.journal import Journal
from retrain_daemon.worker.job import Failed, InspectDrops, Job, Result, Train, is_kept
from tests.fake_box import MODEL, POLICY, Cut, FakeBox
from tests.made import CHAMPION, a_metric, some_evidence

OURS = CHAMPION + 1
WORSE = some_evidence(a_metric(low=-0.09, gain=-0.08, high=-0.07))


@pytest.fixture
def box(tmp_path: Path) -> FakeBox:
    made = FakeBox(tmp_path / "box") if (tmp_path / "box").mkdir() is None else None
    assert made is not None
    made.record_champion()
    return made


def order(box: FakeBox, verb: str, why: str = "", arguments: Mapping[str, str] | None = None) -> int:
    journal = Journal.open(box.root / "state")
    try:
        return journal.requests.ask(MODEL, verb, "ada", why, box.clock(), arguments)
    finally:
        journal.close()


def answer(box: FakeBox, number: int) -> tuple[bool | None, str]:
    with box.journal() as journal:
        found = journal.requests.find(number)
        assert found is not None
        return None if found.code is None else found.code == 0, found.answer


def standing(box: FakeBox) -> tuple[str, str]:
    with box.journal() as journal:
        decision = journal.decisions.standing(MODEL)
        assert decision is not None
        return decision.code, decision.sentence


def drop_states(box: FakeBox) -> dict[str, str]:
    with box.journal() as journal:
        return {Path(drop.path).name: drop.state for drop in journal.drops.listing(MODEL) if drop.current}


def turns(box: FakeBox, daemon: Daemon) -> None:
    for _ in range(5):
        daemon.turn()
        box.clock.now += timedelta(minutes=5)


def trainings(box: FakeBox) -> list[Train]:
    return [job for job in box.jobs if isinstance(job, Train)]


def test_a_result_that_the_registry_was_away_for_is_not_trained_again_though_the_champion_moved(box: FakeBox) -> None:
    box.record_champion()
    box.drop()
    box.work = keeping(box, box.work)  # type: ignore[method-assign]
    with box.life() as daemon:
        while not box.attempts() or box.attempts()[0].state is not State.FAILED:
            daemon.turn()
            box.clock.now += timedelta(seconds=0.3)
        moved = box.registry.create_version_by_hand(MODEL).number
        box.registry.move_alias_by_hand(MODEL, "champion", moved)
    box.live()
    [attempt] = box.attempts()
    trained = [job for job in box.trainings() if job.challenger is None]
    assert [is_kept(Path(job.kept_folder)) for job in trained] == [False, False]
    assert len({job.kept_folder for job in trained}) == 1
    assert attempt.state is State.PROMOTED
    assert attempt.champion_version == moved
    assert list((box.root / "state" / "kept").iterdir()) == []


def keeping(box: FakeBox, work: Callable[[Job], Result | None]) -> Callable[[Job], Result | None]:
    """The first training ends with its challenger on disk, as MLflow does not answer."""

    def kept(job: Job) -> Result | None:
        if not isinstance(job, Train) or job.challenger is not None or is_kept(Path(job.kept_folder)):
            return work(job)
        Path(job.kept_folder).mkdir()
        Path(job.kept_folder, "challenger.json").write_text("{}")
        return Failed(message="MLflow did not answer.", temporary=True, unreachable=True)

    return kept


def test_the_standing_reason_has_the_numbers_of_today_and_is_history_once(box: FakeBox) -> None:
    box.record_champion()
    box.edit_policy("data.new_rows >= 1000", "data.new_rows >= 1000000")
    for name, rows in (("a.csv", "5,000, short by 995,000"), ("b.csv", "10,000, short by 990,000")):
        box.drop(name, f"x,churned\n{name},no\n")
        box.live()
        assert standing(box)[0] == "no_rule_holds"
        assert rows in standing(box)[1]
    with box.journal() as journal:
        waits = [line for line in journal.history(MODEL, 1000) if line.event == "decision.wait"]
    assert len([line for line in waits if "no rule holds" in line.detail]) == 1


def test_after_its_own_promotion_it_does_not_start_again(box: FakeBox) -> None:
    box.drop()
    box.live(turns=20)
    assert [attempt.state for attempt in box.attempts()] == [State.PROMOTED]
    assert standing(box)[0] in ("nothing_new", "no_rule_holds")


@pytest.mark.parametrize("evidence", [WORSE, some_evidence(rows=20)], ids=["rejected", "inconclusive"])
def test_a_challenger_that_did_not_win_is_not_trained_again_on_the_same_rows(box: FakeBox, evidence: object) -> None:
    box.evidence = evidence  # type: ignore[assignment]
    box.drop()
    box.live(turns=20)
    assert len(box.attempts()) == 1
    assert box.aliases() == {"champion": CHAMPION}
    assert standing(box)[0] == "nothing_new"


def test_new_rows_after_a_rejection_start_the_next_attempt(box: FakeBox) -> None:
    box.evidence = WORSE
    box.drop()
    box.live()
    box.drop("b.csv", "x,churned\n2,no\n")
    box.live()
    assert [attempt.state for attempt in box.attempts()] == [State.REJECTED, State.REJECTED]


def test_files_there_at_the_first_look_do_not_judge_a_champion_nobody_recorded(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    box = FakeBox(tmp_path / "box")
    box.drop("history.csv")
    box.record_champion(rows_known=False)
    box.live()
    assert box.attempts() == ()
    assert standing(box)[0] == "too_few_judging_rows"
    box.clock.now += timedelta(days=3000)
    box.drop("fresh.csv", "x,churned\n2,no\n")
    box.live()
    (job,) = trainings(box)
    assert job.unknown_until is not None
    fresh = {Path(drop.path).name: drop.first_seen > job.unknown_until for drop in job.drops}
    assert fresh == {"history.csv": False, "fresh.csv": True}


def test_a_failed_training_is_tried_again_later_and_then_abandoned(box: FakeBox) -> None:
    box.failure = Failed(message="ended by signal 9", temporary=True)
    box.drop()
    box.live(turns=20)
    (attempt,) = box.attempts()
    assert (attempt.state, attempt.starts) == (State.ABANDONED, 3)
    assert "signal 9" in attempt.reason


def test_a_failure_that_passes_is_forgotten(box: FakeBox) -> None:
    box.failure = Failed(message="ended by signal 9", temporary=True)
    box.drop()
    box.live(turns=3)
    box.failure = None
    box.live()
    assert [attempt.state for attempt in box.attempts()] == [State.PROMOTED]


def test_three_abandoned_attempts_hold_the_model_until_someone_resumes_it(box: FakeBox) -> None:
    box.failure = Failed(message="no partial_fit", temporary=False)
    for number in range(5):
        box.drop(f"{number}.csv", f"x,churned\n{number},no\n")
        box.live()
    assert [attempt.state for attempt in box.attempts()] == [State.ABANDONED] * 3
    assert standing(box)[0] == "too_many_failures"
    box.failure = None
    order(box, "resume")
    box.live()
    assert box.attempts()[-1].state is State.PROMOTED


def test_an_abandoned_attempt_is_tried_once_more_for_each_resume(box: FakeBox) -> None:
    box.failure = Failed(message="Keras is not installed.", framework_missing=True)
    box.drop()
    box.live()
    box.live()
    assert [attempt.state for attempt in box.attempts()] == [State.ABANDONED]
    order(box, "resume")
    box.live()
    box.live()
    assert [attempt.state for attempt in box.attempts()] == [State.ABANDONED] * 2
    box.failure = None
    order(box, "resume")
    box.live()
    assert box.attempts()[-1].state is State.PROMOTED


def test_a_paused_model_starts_nothing_and_moves_no_alias(box: FakeBox) -> None:
    order(box, "pause", "audit")
    box.drop()
    box.live()
    assert box.attempts() == ()
    assert standing(box)[0] == "held"
    order(box, "resume")
    box.live()
    assert box.aliases()["champion"] == OURS


def test_a_pause_between_verdict_and_promotion_keeps_the_alias_until_resumed(box: FakeBox) -> None:
    box.drop()

    def pause_once(call: str) -> None:
        if call.startswith("create_version"):
            box.registry.before = None
            journal = Journal.open(box.root / "state")
            journal.models.hold(MODEL, "ada", "audit", box.clock())
            journal.close()

    box.registry.before = pause_once
    box.live()
    assert box.aliases() == {"champion": CHAMPION}
    order(box, "resume")
    box.live()
    assert box.aliases()["champion"] == OURS


def test_a_rollback_brings_the_old_champion_back_and_pauses(box: FakeBox) -> None:
    box.drop()
    box.live()
    number = order(box, "rollback", "complaints", {"champion": str(OURS)})
    box.live()
    assert answer(box, number)[0] is True
    assert box.aliases() == {"champion": CHAMPION, "previous_champion": OURS}
    assert standing(box)[0] == "held"
    assert "rolled_back" in str(box.registry.version(MODEL, OURS).tags)


def test_a_rollback_cut_off_at_any_effect_is_finished_after_a_restart(tmp_path: Path) -> None:
    number = 0
    while True:
        number += 1
        (tmp_path / str(number)).mkdir()
        box = FakeBox(tmp_path / str(number))
        box.record_champion()
        box.drop()
        box.live()
        order(box, "rollback", "complaints", {"champion": str(OURS)})
        reached: list[str] = []

        def count(name: str, reached: list[str] = reached, number: int = number) -> None:
            reached.append(name)
            if len(reached) == number:
                raise Cut(name)

        box.reached, box.registry.before, box.registry.after = count, count, count
        with contextlib.suppress(Cut):
            box.live()
        box.reached, box.registry.before, box.registry.after = (lambda _point: None), None, None
        box.live()
        where = f"cut {number} at {reached[-1]}"
        assert box.aliases() == {"champion": CHAMPION, "previous_champion": OURS}, where
        with box.journal() as journal:
            row = journal.models.find(MODEL)
            assert row is not None, where
            assert row.hold is not None, where
            assert len(journal.rollbacks.of_model(MODEL)) == 1, where
        if len(reached) < number:
            break
    assert number > 10


def test_a_rollback_with_nothing_before_it_is_refused_with_what_to_do(box: FakeBox) -> None:
    number = order(box, "rollback", arguments={"champion": str(CHAMPION)})
    box.live()
    ok, sentence = answer(box, number)
    assert ok is False
    assert f"before version {CHAMPION}" in sentence
    assert box.aliases() == {"champion": CHAMPION}


def test_a_request_is_honoured_once_although_no_rule_holds(box: FakeBox) -> None:
    box.evidence = WORSE
    box.drop()
    box.live()
    number = order(box, "retrain", "new labels guide")
    box.live(turns=10)
    assert answer(box, number) == (True, f"attempt {box.attempts()[-1].id}")
    assert len(box.attempts()) == 2


def test_the_tag_retrain_now_is_honoured_once_until_it_was_seen_absent(box: FakeBox) -> None:
    box.evidence = WORSE
    box.drop()
    box.live()
    box.registry.set_model_tag_by_hand(MODEL, "retrain", "now")
    box.live(turns=10)
    box.live(turns=10)
    assert len(box.attempts()) == 2
    box.registry.delete_model_tag_by_hand(MODEL, "retrain")
    box.live()
    box.registry.set_model_tag_by_hand(MODEL, "retrain", "now")
    box.live()
    assert len(box.attempts()) == 3


def test_a_persons_move_is_followed_by_previous_champion_and_not_taken_for_ours(box: FakeBox) -> None:
    box.live()
    box.registry.move_alias_by_hand(MODEL, "champion", 5)
    box.live()
    assert box.aliases() == {"champion": 5, "previous_champion": CHAMPION}


def test_a_lost_champion_is_never_replaced_automatically(box: FakeBox) -> None:
    box.live()
    box.registry.delete_alias_by_hand(MODEL, "champion")
    box.drop()
    box.live()
    assert box.attempts() == ()
    code, sentence = standing(box)
    assert code == "champion_lost"
    assert f"--version {CHAMPION}" in sentence
    number = order(box, "adopt", arguments={"version": str(CHAMPION)})
    box.live()
    assert answer(box, number)[0] is True
    assert box.attempts()[0].state is State.PROMOTED


def test_the_alias_in_another_spelling_is_said(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    box = FakeBox(tmp_path / "box")
    box.registry.delete_alias_by_hand(MODEL, "champion")
    box.registry.move_alias_by_hand(MODEL, "Champion", 3)
    box.live()
    code, sentence = standing(box)
    assert code == "champion_misspelled"
    assert "Champion" in sentence
    assert "case-sensitive" in sentence


def test_drops_are_recorded_while_the_registry_is_away_and_used_when_it_is_back(box: FakeBox) -> None:
    box.registry.fail_with = RegistryUnreachable("MLflow does not answer.")
    box.drop()
    box.live()
    assert drop_states(box) == {"a.csv": "found"}
    assert standing(box)[0] == "registry_unknown"
    box.registry.fail_with = None
    box.live()
    assert box.aliases()["champion"] == OURS


def test_a_registry_that_goes_away_between_training_and_promoting_costs_no_second_training(box: FakeBox) -> None:
    def go_away(call: str) -> None:
        if call.startswith("create_version"):
            box.registry.fail_with = RegistryUnreachable("MLflow does not answer.")
            raise box.registry.fail_with

    box.drop()
    box.registry.before = go_away
    box.live()
    assert box.attempts()[0].state is State.JUDGED
    box.registry.before = box.registry.fail_with = None
    box.live()
    assert box.attempts()[0].state is State.PROMOTED
    assert len(trainings(box)) == 1


def test_the_same_bytes_under_another_name_are_a_duplicate(box: FakeBox) -> None:
    box.drop("a.csv")
    box.live()
    box.drop("copy.csv")
    box.live()
    assert drop_states(box) == {"a.csv": "recorded", "copy.csv": "duplicate"}
    assert len(box.attempts()) == 1


def test_new_bytes_under_an_old_name_supersede_the_old_ones(box: FakeBox) -> None:
    box.drop("a.csv")
    box.live()
    box.drop("a.csv", "x,churned\n9,no\n")
    box.live()
    with box.journal() as journal:
        assert [drop.state for drop in journal.drops.listing(MODEL)] == ["superseded", "recorded"]
    assert [drop.fingerprint for drop in trainings(box)[-1].drops] == [trainings(box)[-1].drops[0].fingerprint]
    assert len(trainings(box)[-1].drops) == 1


def test_a_file_written_again_with_its_own_bytes_changes_nothing(box: FakeBox) -> None:
    box.drop("a.csv")
    box.live()
    box.drop("a.csv")
    box.live()
    assert drop_states(box) == {"a.csv": "recorded"}
    assert len(box.attempts()) == 1


def test_a_retracted_file_no_longer_trains_and_the_versions_that_learned_from_it_are_named(box: FakeBox) -> None:
    box.drop("bad.csv")
    box.live()
    number = order(box, "retract", "wrong labels", {"file": "bad.csv"})
    box.live()
    ok, sentence = answer(box, number)
    assert ok is True
    assert f"learned from it: {OURS}" in sentence
    box.drop("good.csv", "x,churned\n2,no\n")
    box.live()
    assert [Path(drop.path).name for drop in trainings(box)[-1].drops] == ["good.csv"]


def test_the_bytes_of_a_retracted_file_stay_out_under_another_name(box: FakeBox) -> None:
    box.drop("bad.csv")
    box.live()
    order(box, "retract", "wrong labels", {"file": "bad.csv"})
    box.live()
    box.drop("again.csv")
    box.live()
    assert drop_states(box)["again.csv"] == "quarantined"


def test_a_recorded_file_that_is_gone_keeps_the_model_waiting_by_name(box: FakeBox) -> None:
    box.evidence = WORSE
    box.drop("a.csv")
    box.live()
    (box.root / "drops" / "a.csv").unlink()
    box.drop("b.csv", "x,churned\n2,no\n")
    box.live()
    code, sentence = standing(box)
    assert code == "files_missing"
    assert "a.csv" in sentence


def test_a_missing_folder_is_said_and_recovers(box: FakeBox) -> None:
    (box.root / "drops").rmdir()
    box.live()
    assert standing(box)[0] == "folder_problem"
    (box.root / "drops").mkdir()
    box.drop()
    box.live()
    assert box.aliases()["champion"] == OURS


def test_files_are_inspected_in_batches_and_not_again(box: FakeBox) -> None:
    for number in range(5):
        box.drop(f"{number}.csv", f"x,churned\n{number},yes\n")
    box.live(turns=10)
    inspected = [file.path for job in box.jobs if isinstance(job, InspectDrops) for file in job.files]
    assert len(inspected) == len(set(inspected)) == 5


def test_a_bad_edit_keeps_the_last_good_policy_and_a_good_one_takes_effect(box: FakeBox) -> None:
    better = POLICY.format(folder=box.root / "drops").replace("retrain:", "train: {mode: refit}\nretrain:")
    with box.life() as daemon:
        turns(box, daemon)
        box.write_policy("model: churn\nretrian: []\n")
        box.drop()
        turns(box, daemon)
        assert box.attempts()[0].state is State.PROMOTED
        box.write_policy(better)
        box.drop("b.csv", "x,churned\n2,no\n")
        turns(box, daemon)
    assert box.attempts()[-1].recipe.mode is Mode.REFIT


def test_the_history_tells_the_whole_story_in_order(box: FakeBox) -> None:
    box.drop()
    box.live()
    with box.journal() as journal:
        events = [line.event for line in journal.history(MODEL, 100)]
    story = ["drop.found", "drop.recorded", "decision.train", "attempt.planned", "attempt.training", "attempt.trained",
             "attempt.judged", "attempt.promoted"]  # fmt: skip
    assert [event for event in events if event in story] == story
    assert events.count("effect.begun") == events.count("effect.done") == 5


def test_an_attempt_that_was_tried_again_leaves_no_job_folder(box: FakeBox) -> None:
    box.failure = Failed(message="The disk was full.", temporary=True)
    box.drop()
    box.live(turns=2)
    box.failure = None
    box.live()
    assert box.attempts()[0].state is State.PROMOTED
    assert box.attempts()[0].starts == 2
    assert box.results == {}


def test_job_folders_that_a_crash_left_are_removed_at_the_next_start(box: FakeBox) -> None:
    cuts: list[str] = []

    def cut_first_and_when_all_has_ended(point: str) -> None:
        if point == "before discard" and (not cuts or any(attempt.ended_at for attempt in box.attempts())):
            cuts.append(point)
            raise Cut(point)

    box.reached = cut_first_and_when_all_has_ended
    box.failure = Failed(message="It cannot be trained.")
    box.drop()
    with pytest.raises(Cut):
        box.live()
    assert list(box.results) == ["inspect-1"]
    with pytest.raises(Cut):
        box.live()
    [left] = box.results
    assert left.startswith("churn-1.")
    box.reached = lambda _point: None
    box.results["adopt-1"] = Failed(message="This is a command's own.")
    box.live()
    assert list(box.results) == ["adopt-1"]


def test_a_worker_is_prepared_when_a_file_is_first_seen_while_it_settles(box: FakeBox) -> None:
    with box.life() as daemon:
        daemon.turn()
        assert box.expected == []
        box.clock.now += timedelta(minutes=5)
        box.drop()
        daemon.turn()
        assert box.expected == [MODEL]
        assert not box.jobs


def test_a_file_that_waits_for_its_marker_prepares_a_worker_once_only(box: FakeBox) -> None:
    box.edit_policy("{settle: 1s}", '{marker: "{name}.done"}')
    box.drop()
    box.live(turns=10)
    assert box.expected == [MODEL]
    assert not box.jobs
