"""What happens to a file after it was dropped: rewritten, renamed, deleted, copied, judged by an edited policy."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from retrain_daemon.core.attempts import State
from retrain_daemon.errors import RegistryUnreachable
from retrain_daemon.worker.job import (
    KEPT_FILE,
    DropFile,
    DropReport,
    Failed,
    InspectDrops,
    Job,
    Result,
    Train,
)
from tests.fake_box import MODEL, POLICY, FakeBox
from tests.made import CHAMPION, a_metric, some_evidence

OURS = CHAMPION + 1
WORSE = some_evidence(a_metric(low=-0.09, gain=-0.08, high=-0.07))
KILLED = Failed(message="ended by signal 9", temporary=True, lost=True)


@pytest.fixture
def empty(tmp_path: Path) -> FakeBox:
    """A box whose drop folder nobody has looked into yet."""
    (tmp_path / "box").mkdir()
    return FakeBox(tmp_path / "box")


@pytest.fixture
def box(empty: FakeBox) -> FakeBox:
    empty.record_champion()
    return empty


@pytest.fixture
def waiting(box: FakeBox) -> FakeBox:
    """A box whose policy waits for more rows than any test drops."""
    box.edit_policy(">= 1000", ">= 1000000")
    return box


def broken(job: InspectDrops, file: DropFile) -> DropReport | None:
    return refused(file) if Path(file.path).read_bytes().startswith(b"BROKEN") else None


def refused(file: DropFile) -> DropReport:
    fingerprint = sha256(Path(file.path).read_bytes()).hexdigest()
    return DropReport(drop=file.drop, fingerprint=fingerprint, problem="there is no column churned")


def counted(job: InspectDrops, file: DropFile) -> DropReport:
    """Each line is a row, new if no known file of rows has it."""
    lines = Path(file.path).read_text().splitlines()
    fingerprint = sha256(Path(file.path).read_bytes()).hexdigest()
    rows_file = Path(job.rows_folder) / f"{fingerprint}.npy"
    rows_file.write_text("\n".join(lines))
    known = {line for path in job.known_rows for line in Path(path).read_text().splitlines()}
    return DropReport(
        drop=file.drop, fingerprint=fingerprint, rows=len(lines), usable=len(lines), new=len(set(lines) - known),
        training=len(lines), judging=len(lines), rows_file=str(rows_file), units_file=str(rows_file),
    )  # fmt: skip


def lines(count: int) -> str:
    return "\n".join(f"{number},yes" for number in range(count))


def delete(box: FakeBox, name: str) -> None:
    (box.root / "drops" / name).unlink()


def new_rows(box: FakeBox) -> int:
    with box.journal() as journal:
        return journal.count_rows(MODEL, None, None).new


def test_of_two_files_rewritten_at_once_the_good_one_counts_although_the_other_is_broken(waiting: FakeBox) -> None:
    waiting.report = broken
    waiting.drop("x.csv", "1")
    waiting.drop("y.csv", "2")
    waiting.live()
    waiting.drop("x.csv", "1 more")
    waiting.drop("y.csv", "BROKEN")
    waiting.live()
    assert waiting.drops() == [("x.csv", "recorded"), ("y.csv", "quarantined")]
    assert new_rows(waiting) == 5000


def test_a_used_file_emptied_by_accident_stops_training_without_stopping_the_others(box: FakeBox) -> None:
    box.drop("a.csv", "1")
    box.live()
    box.drop("a.csv", "")
    box.live()
    assert box.standing()[0] == "no_rows"
    box.drop("b.csv", "2")
    box.live()
    assert box.drops() == [("a.csv", "quarantined"), ("b.csv", "recorded")]
    assert box.trained_on()[-1] == ["b.csv"]


def test_a_file_rewritten_and_deleted_before_its_inspection_is_missed_by_name(box: FakeBox) -> None:
    box.drop("keep.csv", "0")
    box.drop("a.csv", "1")
    box.live()
    box.inspection_failure = lambda _job: Failed(message="no memory", temporary=True)
    box.drop("a.csv", "1 more")
    box.live()
    delete(box, "a.csv")
    box.inspection_failure = lambda _job: None
    box.live()
    assert box.drops() == [("keep.csv", "recorded"), ("a.csv", "recorded, missing")]
    assert box.standing()[0] == "files_missing"
    number = box.order("retract", "deleted on purpose", {"file": "a.csv"})
    box.live()
    assert f"learned from it: {OURS}" in box.answer(number)[1]


def test_a_copy_takes_over_when_its_original_is_rewritten(waiting: FakeBox) -> None:
    waiting.drop("latest.csv", "1")
    waiting.live()
    waiting.drop("day1.csv", "1")
    waiting.live()
    assert waiting.drops() == [("latest.csv", "recorded"), ("day1.csv", "duplicate")]
    waiting.drop("latest.csv", "2")
    waiting.live()
    assert waiting.drops() == [("day1.csv", "recorded"), ("latest.csv", "recorded")]
    assert new_rows(waiting) == 10_000


def test_a_copy_takes_over_when_its_original_is_deleted(waiting: FakeBox) -> None:
    waiting.drop("a.csv", "1")
    waiting.live()
    waiting.drop("copy.csv", "1")
    waiting.live()
    delete(waiting, "a.csv")
    waiting.live()
    assert ("copy.csv", "recorded") in waiting.drops()
    assert waiting.standing()[0] == "no_rule_holds"


def test_a_renamed_file_goes_on_under_its_new_name(waiting: FakeBox) -> None:
    waiting.drop("a.csv", "1")
    waiting.drop("other.csv", "2")
    waiting.live()
    (waiting.root / "drops" / "a.csv").rename(waiting.root / "drops" / "b.csv")
    waiting.live()
    assert waiting.drops() == [("b.csv", "recorded"), ("other.csv", "recorded")]
    assert waiting.standing()[0] == "no_rule_holds"
    assert new_rows(waiting) == 10_000


def test_files_that_an_edited_path_does_not_cover_no_longer_train(waiting: FakeBox) -> None:
    waiting.drop("old.csv", "1")
    waiting.drop("new_1.csv", "2")
    waiting.live()
    waiting.write_policy(POLICY.format(folder=waiting.root / "drops").replace("*.csv", "new_*.csv"))
    waiting.live()
    assert waiting.trained_on() == [["new_1.csv"]]


def test_files_set_aside_for_a_wrong_target_are_inspected_again_once_the_policy_is_mended(box: FakeBox) -> None:
    def lacking(job: InspectDrops, file: DropFile) -> DropReport | None:
        return None if job.data.target.column == "label" else refused(file)

    box.report = lacking
    box.drop("a.csv", "1")
    box.live()
    assert box.drops() == [("a.csv", "quarantined")]
    box.edit_policy("column: churned", "column: label")
    box.live()
    assert box.drops() == [("a.csv", "recorded")]
    assert box.attempts()[-1].state is State.PROMOTED


def test_a_larger_holdout_has_every_file_counted_again_once(waiting: FakeBox) -> None:
    waiting.drop("a.csv", "1")
    waiting.live()
    assert waiting.inspections() == 1
    waiting.edit_policy("  target:", "  holdout: 50%\n  target:")
    waiting.live(turns=10)
    assert waiting.inspections() == 2
    waiting.edit_policy("model: churn", "model: churn\ndescription: nothing about data")
    waiting.live(turns=10)
    assert waiting.inspections() == 2


def test_a_file_that_kills_its_inspection_is_set_aside_and_the_others_are_used(box: FakeBox) -> None:
    box.inspection_failure = lambda job: KILLED if any("poison" in file.path for file in job.files) else None
    for name in ("a.csv", "poison.csv", "z.csv"):
        box.drop(name, name)
    box.live(turns=12)
    assert box.drops() == [("a.csv", "recorded"), ("poison.csv", "quarantined"), ("z.csv", "recorded")]
    before = box.inspections()
    box.drop("later.csv", "later")
    box.live()
    assert box.inspections() == before + 1
    assert box.trained_on()[-1] == ["a.csv", "z.csv", "later.csv"]


def test_a_worker_without_memory_sets_no_file_aside(box: FakeBox) -> None:
    box.inspection_failure = lambda _job: Failed(message="MLflow does not answer", temporary=True)
    box.drop("a.csv", "1")
    box.live(turns=20)
    assert box.drops() == [("a.csv", "found")]
    assert box.standing()[0] == "inspection_trouble"


def test_inspections_refused_for_good_are_tried_again_after_resume_and_not_before(box: FakeBox) -> None:
    box.inspection_failure = lambda _job: Failed(message="the signature cannot be read", hint="Log it again.")
    box.drop("a.csv", "1")
    with box.life() as daemon:
        for _ in range(5):
            daemon.turn()
            box.clock.now += timedelta(minutes=5)
        assert box.inspections() == 1
        box.inspection_failure = lambda _job: None
        box.order("resume")
        for _ in range(5):
            daemon.turn()
            box.clock.now += timedelta(minutes=5)
    assert box.attempts()[-1].state is State.PROMOTED


def test_rows_appended_to_a_judged_file_are_the_only_new_ones(box: FakeBox) -> None:
    box.report, box.evidence = counted, WORSE
    box.drop("all.csv", lines(3000))
    box.live()
    box.drop("all.csv", lines(3999))
    box.live()
    assert new_rows(box) == 999
    assert len(box.attempts()) == 1
    box.drop("day2.csv", "one more")
    box.live()
    assert len(box.attempts()) == 2


def test_rows_of_a_retracted_file_count_again_in_a_later_file_that_has_them_too(waiting: FakeBox) -> None:
    waiting.report = counted
    waiting.drop("bad.csv", lines(300))
    waiting.live()
    waiting.drop("good.csv", lines(400))
    waiting.live()
    assert new_rows(waiting) == 400
    waiting.order("retract", "wrong name", {"file": "bad.csv"})
    waiting.live()
    assert waiting.drops() == [("bad.csv", "retracted"), ("good.csv", "recorded")]
    assert new_rows(waiting) == 400


def test_rows_once_judged_are_not_new_in_another_file_after_theirs_was_rewritten(box: FakeBox) -> None:
    box.report, box.evidence = counted, WORSE
    box.drop("a.csv", lines(3000))
    box.live()
    box.drop("a.csv", "other")
    box.live()
    box.drop("b.csv", lines(3100))
    box.live()
    assert new_rows(box) == 1 + 100


def test_a_frozen_file_rewritten_before_its_training_is_left_out_and_then_trained_on_anew(box: FakeBox) -> None:
    box.drop("a.csv", "1")
    box.live()
    box.drop("b.csv", "2")
    with box.life() as daemon:
        daemon.turn()
        box.clock.now += timedelta(seconds=2)
        box.drop("a.csv", "1 more")  # b.csv has settled by then, a.csv has not
        daemon.turn()
        assert "a.csv changed" in box.attempts()[-1].reason
        for _ in range(6):
            box.clock.now += timedelta(minutes=5)
            daemon.turn()
    assert [attempt.state for attempt in box.attempts()] == [State.PROMOTED] * 3
    assert box.trained_on()[-2:] == [["b.csv"], ["b.csv", "a.csv"]]


def test_history_that_is_rewritten_later_is_still_told_to_the_training_as_seen_early(empty: FakeBox) -> None:
    empty.report = counted
    empty.edit_policy("{settle: 1s}", '{marker: "{name}.done"}')
    drop_marked(empty, "history.csv", lines(3000))
    empty.record_champion(rows_known=False)
    (history,) = unit_files(empty)
    empty.clock.now += timedelta(days=3000)
    drop_marked(empty, "history.csv", lines(6000))
    empty.live()
    (job,) = empty.trainings()
    assert job.unknown_until is not None
    assert [drop.first_seen > job.unknown_until for drop in job.drops] == [True]
    assert job.early == (history,)


def drop_marked(box: FakeBox, name: str, text: str) -> None:
    box.drop(name, text)
    box.drop(f"{name}.done", "")


def unit_files(box: FakeBox) -> list[str]:
    """Of what was inspected; `counted` writes keys of units and of rows to one file."""
    with box.journal() as journal:
        return [drop.rows_file for drop in journal.drops.listing(MODEL)]


def test_a_file_that_was_settling_at_the_first_look_is_history(empty: FakeBox) -> None:
    empty.drop("history.csv", "1")
    empty.record_champion(rows_known=False)
    empty.clock.now += timedelta(days=3000)
    empty.live()
    assert empty.drops() == [("history.csv", "recorded")]
    assert empty.standing()[0] == "too_few_judging_rows"
    empty.drop("fresh.csv", "2")
    empty.live()
    assert empty.attempts()[0].state is State.PROMOTED


def test_a_stray_file_that_is_never_marked_complete_does_not_keep_the_model_from_starting(empty: FakeBox) -> None:
    empty.edit_policy("{settle: 1s}", '{marker: "{name}.done"}')
    empty.drop("stray.csv", "0")
    empty.record_champion(rows_known=False)
    empty.clock.now += timedelta(days=3000)
    drop_marked(empty, "a.csv", "1")
    empty.live()
    assert empty.attempts()[0].state is State.PROMOTED


def test_a_champion_of_another_lineage_has_the_files_inspected_for_its_signature(waiting: FakeBox) -> None:
    waiting.drop("a.csv", "1")
    waiting.live()
    waiting.registry.move_alias_by_hand(MODEL, "champion", 3)
    waiting.live()
    asked = [job.source.version for job in waiting.jobs if isinstance(job, InspectDrops)]
    assert asked == [CHAMPION, 3]


def test_our_own_promotion_has_no_file_inspected_again(box: FakeBox) -> None:
    box.drop("a.csv", "1")
    box.live(turns=10)
    assert box.aliases()["champion"] == OURS
    assert box.inspections() == 1


def test_all_unused_rows_of_a_growing_file_count_as_new(box: FakeBox) -> None:
    box.report, box.evidence = counted, WORSE
    box.drop("all.csv", lines(3000))
    box.live()
    for count in (3900, 4100):
        box.drop("all.csv", lines(count))
        box.live()
    assert len(box.attempts()) == 2


def test_a_quarantined_file_deleted_before_a_policy_edit_is_not_waited_for(waiting: FakeBox) -> None:
    waiting.report = lambda _job, file: broken(_job, file) if Path(file.path).exists() else None
    waiting.drop("ok.csv", "1")
    waiting.drop("bad.csv", "BROKEN")
    waiting.live()
    delete(waiting, "bad.csv")
    waiting.live()
    waiting.edit_policy("  target:", "  holdout: 50%\n  target:")
    waiting.live()
    assert waiting.standing()[0] == "no_rule_holds"


def test_a_retract_names_what_learned_from_earlier_bytes_of_the_file(box: FakeBox) -> None:
    box.drop("bad.csv", "1")
    box.live()
    box.drop("bad.csv", "")
    box.live()
    number = box.order("retract", "wrong labels", {"file": "bad.csv"})
    box.live()
    assert f"learned from it: {OURS}" in box.answer(number)[1]


def test_a_challenger_that_learned_from_earlier_bytes_of_a_retracted_file_is_not_promoted(box: FakeBox) -> None:
    def away(name: str) -> None:
        if name == "create_version":
            raise RegistryUnreachable("HTTP status 500")

    box.registry.before = away
    box.drop("good.csv", "1")
    box.drop("bad.csv", "2")
    box.live()
    box.drop("bad.csv", "2 mended")
    box.live()
    box.order("retract", "wrong labels", {"file": "bad.csv"})
    box.registry.before = None
    box.live()
    assert box.trained_on()[-1] == ["good.csv"]


def test_a_retract_names_what_learned_from_bytes_that_were_rewritten_before_mlflow_had_the_challenger(
    box: FakeBox,
) -> None:
    away = [True]

    def keep(job: Job) -> Result | None:
        if not isinstance(job, Train):
            return FakeBox.work(box, job)
        if not away[0]:
            return FakeBox._trained(box, job)
        Path(job.kept_folder).mkdir(exist_ok=True)
        Path(job.kept_folder, KEPT_FILE).write_text("{}")
        return Failed(message="MLflow did not answer.", temporary=True, unreachable=True)

    box.work = keep  # type: ignore[method-assign]
    box.drop()
    with box.life() as daemon:
        for _ in range(10):
            daemon.turn()
            box.clock.now += timedelta(minutes=5)
        daemon.turn()
        box.edit_policy(">= 1000", ">= 1000000")
        box.drop(text="x,churned\n2,yes\n")
        for _ in range(4):
            box.clock.now += timedelta(seconds=61)
            daemon.turn()
        assert (box.attempts()[0].state, box.drops()) == (State.FAILED, [("a.csv", "recorded")])
        away[0] = False
        box.clock.now += timedelta(minutes=11)
        daemon.turn()
    assert box.attempts()[0].state is State.PROMOTED
    number = box.order("retract", "wrong labels", {"file": "a.csv"})
    box.live(turns=1)
    assert f"versions that learned from it: {OURS}" in box.answer(number)[1]


def test_a_retract_says_so_when_what_learned_from_the_file_is_being_promoted(box: FakeBox) -> None:
    def away(name: str) -> None:
        if name == "set_alias":
            raise RegistryUnreachable("MLflow did not answer.")

    box.registry.before = away
    box.drop()
    box.live(turns=4)
    number = box.order("retract", "wrong labels", {"file": "a.csv"})
    box.live(turns=1)
    said = box.answer(number)[1]
    assert f"attempt churn-1 is making version {OURS} champion already: roll it back" in said
    box.registry.before = None
    box.live(turns=3)
    assert box.attempts()[0].state is State.PROMOTED


def test_files_wait_no_longer_than_the_poison_beside_a_file_that_is_counted_again(waiting: FakeBox) -> None:
    waiting.report = lambda job, file: counted(job, file) if not file.fingerprint else None
    waiting.inspection_failure = lambda job: KILLED if any("poison" in file.path for file in job.files) else None
    waiting.drop("x.csv", lines(10))
    waiting.drop("y.csv", lines(20))
    waiting.live()
    waiting.order("retract", "bad", {"file": "x.csv"})
    waiting.drop("poison.csv", "p")
    waiting.drop("y.csv", lines(25))
    waiting.live(turns=30)
    assert waiting.drops() == [("x.csv", "retracted"), ("poison.csv", "quarantined"), ("y.csv", "recorded")]


def test_a_file_settling_at_the_first_look_may_judge_with_the_rows_that_came_later(empty: FakeBox) -> None:
    empty.drop("all.csv", "1")
    empty.record_champion(rows_known=False)
    empty.clock.now += timedelta(days=3000)
    empty.live()
    empty.drop("all.csv", "1 and more")
    empty.live()
    assert empty.attempts() != ()


def test_a_retract_during_training_starts_it_anew_at_once(box: FakeBox) -> None:
    box.work = lambda job: None if isinstance(job, Train) and len(job.drops) == 2 else FakeBox.work(box, job)  # type: ignore[method-assign]
    box.drop("good.csv", "1")
    box.drop("bad.csv", "2")
    with box.life() as daemon:
        for turn in range(8):
            daemon.turn()
            box.clock.now += timedelta(minutes=5)
            if turn == 3:
                box.order("retract", "wrong labels", {"file": "bad.csv"})
    assert box.trained_on()[-1] == ["good.csv"]


def test_a_file_that_was_set_aside_and_is_removed_is_dealt_with(waiting: FakeBox) -> None:
    waiting.report = broken
    waiting.drop("ok.csv", "1")
    waiting.drop("bad.csv", "BROKEN")
    waiting.live()
    with waiting.journal() as journal:
        assert journal.count_rows(MODEL, None, None).quarantined == 1
    delete(waiting, "bad.csv")
    waiting.live()
    with waiting.journal() as journal:
        assert journal.count_rows(MODEL, None, None).quarantined == 0


def test_retracting_the_file_that_made_an_attempt_fail_lets_the_next_one_start(box: FakeBox) -> None:
    box.failure = Failed(message="unknown class 'maybe'", temporary=False)
    box.drop("good.csv", "1")
    box.drop("bad.csv", "2")
    box.live()
    assert box.standing()[0] == "nothing_new"
    assert "unknown class" in box.standing()[1]
    box.failure = None
    box.order("retract", "typo", {"file": "bad.csv"})
    box.live()
    assert box.trained_on()[-1] == ["good.csv"]
    assert box.attempts()[-1].state is State.PROMOTED


@pytest.mark.parametrize("how", ["retracted", "gone and left out", "set aside", "there"])
def test_rows_may_have_come_back_from_a_file_that_went_until_the_policy_changed_its_features(
    tmp_path: Path, how: str
) -> None:
    (tmp_path / "box").mkdir()
    box = FakeBox(tmp_path / "box")
    box.report = lambda _job, file: DropReport(
        drop=file.drop, fingerprint=file.path, rows=9000, usable=9000, new=9000, training=8000, judging=1000,
        units_file=f"/state/{file.drop}.npy",
    )  # fmt: skip
    box.edit_policy("data.new_rows >= 1000", "data.new_rows >= 26000")
    box.edit_policy("target: {column: churned", "missing: skip\n  target: {column: churned")
    box.drop("a.csv")
    box.record_champion(rows_known=False)
    box.live()
    if how == "retracted":
        box.order("retract", "wrong labels", {"file": "a.csv"})
        box.live()
    elif how == "gone and left out":
        delete(box, "a.csv")
        box.live()
    elif how == "set aside":
        usual = box.report
        box.report = lambda job, file: refused(file) if file.path.endswith("a.csv") else usual(job, file)
    box.drop("b.csv", "2")
    box.live()
    changed = box.clock.now
    box.edit_policy("target: {column: churned", "features: [x]\n  target: {column: churned")
    box.live()
    box.drop("c.csv", "3")
    box.drop("d.csv", "4")
    box.live()
    until = box.trainings()[0].unknown_until
    assert until is not None
    assert (until > changed) is (how != "there")
