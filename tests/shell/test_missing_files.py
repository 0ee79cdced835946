"""Recorded files that are gone: what waits for them, what goes on without them, and what counts when they are back."""

from __future__ import annotations

from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from retrain_daemon.cli.main import main
from retrain_daemon.core.attempts import State
from retrain_daemon.worker.job import DropFile, DropReport, Failed, InspectDrops, Job, Result, Train
from tests.fake_box import MODEL, FakeBox
from tests.made import a_metric, some_evidence

WORSE = some_evidence(a_metric(low=-0.09, gain=-0.08, high=-0.07))


@pytest.fixture
def box(tmp_path: Path) -> FakeBox:
    """A box whose policy goes on without files that are gone, and whose workers count lines."""
    (tmp_path / "box").mkdir()
    box = FakeBox(tmp_path / "box")
    box.edit_policy("  target:", "  missing: skip\n  target:")
    box.record_champion()
    box.report = counted
    return box


@pytest.fixture
def waiting(box: FakeBox) -> FakeBox:
    """One whose policy waits for more rows than any test drops."""
    box.edit_policy(">= 1000", ">= 1000000")
    return box


def counted(job: InspectDrops, file: DropFile) -> DropReport | None:
    """Each line is a row, new if no known file of rows has it, nor one before it in the same job."""
    if not Path(file.path).exists():
        return None
    content = Path(file.path).read_bytes()
    rows_file = Path(job.rows_folder) / f"{sha256(content).hexdigest()}.npy"
    rows_file.write_bytes(content)
    before = (earlier.path for earlier in job.files[: job.files.index(file)])
    known = {line for path in (*job.known_rows, *before) for line in Path(path).read_text().splitlines()}
    found = content.decode().splitlines()
    return DropReport(
        drop=file.drop, fingerprint=sha256(content).hexdigest(), rows=len(found), usable=len(found),
        new=len(set(found) - known), training=len(found), judging=len(found), rows_file=str(rows_file),
        units_file=str(rows_file),
    )  # fmt: skip


def lines(first: int, end: int) -> str:
    return "\n".join(f"{number},yes" for number in range(first, end))


def away(box: FakeBox, name: str) -> Path:
    """Move a dropped file out of the folder."""
    return (box.root / "drops" / name).rename(box.root / name)


def back(box: FakeBox, name: str) -> None:
    (box.root / name).rename(box.root / "drops" / name)


def counts(box: FakeBox) -> tuple[int, int, int]:
    """New rows, usable drops, and files left out."""
    with box.journal() as journal:
        found = journal.count_rows(MODEL, None, None)
    return found.new, found.recorded, len(found.skipped)


def test_rows_of_a_file_that_is_gone_do_not_count_until_it_is_back(
    waiting: FakeBox, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting.drop("a.csv", lines(0, 300))
    waiting.drop("b.csv", lines(300, 700))
    waiting.live()
    assert counts(waiting) == (700, 2, 0)
    away(waiting, "a.csv")
    waiting.live()
    assert counts(waiting) == (400, 1, 1)
    assert waiting.standing()[0] == "no_rule_holds"
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "drop.missing" in line]
    assert ("a.csv" in line, "skipped" in line) == (True, True)
    back(waiting, "a.csv")
    waiting.live()
    assert counts(waiting) == (700, 2, 0)
    assert waiting.drops() == [("a.csv", "recorded"), ("b.csv", "recorded")]


def test_training_goes_on_without_the_file_and_says_so(box: FakeBox) -> None:
    box.drop("keep.csv", lines(0, 500))
    box.drop("a.csv", lines(500, 900))
    box.live()
    away(box, "a.csv")
    box.drop("b.csv", lines(1000, 1600))
    box.live()
    assert box.trained_on() == [["keep.csv", "b.csv"]]
    with box.journal() as journal:
        decision = journal.decisions.of_attempt(box.attempts()[0].id)
    assert decision is not None
    assert decision.sentence.endswith("a.csv, which is gone")
    assert "goes on without" in decision.sentence


def test_nothing_is_left_to_train_on_when_every_file_is_gone_and_the_reason_names_one(box: FakeBox) -> None:
    box.drop("a.csv", lines(0, 500))
    box.live()
    away(box, "a.csv")
    (box.root / "drops" / "README").touch()
    box.live()
    code, sentence = box.standing()
    assert code == "no_rows"
    assert sentence.endswith("a.csv, which is gone")


def test_what_learned_from_a_file_is_known_while_it_is_gone(box: FakeBox) -> None:
    box.drop("a.csv", lines(0, 2000))
    box.live()
    assert box.attempts()[-1].state is State.PROMOTED
    away(box, "a.csv")
    box.live()
    back(box, "a.csv")
    box.drop("b.csv", lines(2000, 2001))
    box.live(turns=8)
    assert counts(box)[0] == 1, "rows that were judged are not new again"
    number = box.order("retract", "wrong", {"file": "a.csv"})
    box.live()
    assert f"learned from it: {box.aliases()['champion']}" in box.answer(number)[1]


def test_rows_that_another_file_brought_meanwhile_are_counted_once(waiting: FakeBox) -> None:
    waiting.drop("a.csv", lines(0, 300))
    waiting.live()
    waiting.drop("b.csv", lines(200, 500))
    waiting.live()
    assert counts(waiting) == (500, 2, 0)
    away(waiting, "a.csv")
    waiting.live(turns=8)
    assert counts(waiting) == (300, 1, 1), "all of b.csv: no other file has its rows now"
    waiting.drop("c.csv", lines(0, 100))
    waiting.live(turns=8)
    assert counts(waiting) == (400, 2, 1)
    back(waiting, "a.csv")
    waiting.live(turns=8)
    assert counts(waiting) == (500, 3, 0)


def test_rows_that_were_judged_in_another_file_meanwhile_are_not_new_when_theirs_is_back(box: FakeBox) -> None:
    box.evidence = WORSE
    box.drop("a.csv", lines(0, 900))
    box.live()
    away(box, "a.csv")
    box.drop("b.csv", lines(0, 2000))
    box.live(turns=8)
    assert box.trained_on() == [["b.csv"]]
    back(box, "a.csv")
    box.live(turns=8)
    assert counts(box) == (0, 2, 0)


def test_a_file_that_comes_back_under_another_name_counts_there(waiting: FakeBox) -> None:
    waiting.drop("a.csv", lines(0, 300))
    waiting.live()
    away(waiting, "a.csv")
    waiting.live()
    (waiting.root / "a.csv").rename(waiting.root / "drops" / "z.csv")
    waiting.live(turns=8)
    assert waiting.drops() == [("z.csv", "recorded")]
    assert counts(waiting) == (300, 1, 0)


def test_a_file_that_comes_back_with_other_bytes_counts_with_these(waiting: FakeBox) -> None:
    waiting.drop("a.csv", lines(0, 300))
    waiting.live()
    away(waiting, "a.csv")
    waiting.live()
    waiting.drop("a.csv", lines(0, 200))
    waiting.live(turns=8)
    assert waiting.drops() == [("a.csv", "recorded")]
    assert counts(waiting) == (200, 1, 0)


def test_what_to_do_about_a_file_that_is_gone_may_be_changed_while_it_is(waiting: FakeBox) -> None:
    waiting.drop("a.csv", lines(0, 300))
    waiting.drop("b.csv", lines(200, 500))
    waiting.live()
    away(waiting, "a.csv")
    waiting.live()
    waiting.edit_policy("missing: skip", "missing: refuse")
    waiting.live()
    assert waiting.standing()[0] == "files_missing"
    waiting.edit_policy("missing: refuse", "missing: skip")
    waiting.live(turns=8)
    assert waiting.standing()[0] == "no_rule_holds"
    assert counts(waiting) == (300, 1, 1)


def test_status_and_the_list_of_drops_say_that_a_file_is_left_out(
    waiting: FakeBox, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting.drop("a.csv", lines(0, 300))
    waiting.drop("b.csv", lines(300, 700))
    waiting.live()
    away(waiting, "a.csv")
    waiting.live()
    places = ["--state", str(waiting.root / "state"), "--policies", str(waiting.root / "policies")]
    capsys.readouterr()
    assert main(["status", "--json", *places]) == 0
    assert "; 1 recorded file is gone and left out" in capsys.readouterr().out
    assert main(["drop", "list", "--json", *places]) == 0
    assert "a.csv --why TEXT`; its rows do not count meanwhile" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["refuse", "skip"])
def test_a_file_that_was_away_when_the_policy_changed_what_rows_mean_is_inspected_again_when_it_is_back(
    waiting: FakeBox, missing: str
) -> None:
    waiting.edit_policy("missing: skip", f"missing: {missing}")
    waiting.drop("a.csv", lines(0, 300))
    waiting.drop("b.csv", lines(300, 700))
    waiting.live()
    away(waiting, "a.csv")
    waiting.live()
    waiting.edit_policy("  target:", "  holdout: 50%\n  target:")
    waiting.live()
    back(waiting, "a.csv")
    waiting.live()
    anew = [job for job in waiting.jobs if isinstance(job, InspectDrops) and job.data.holdout.share == 0.5]
    read = [Path(file.path).name for job in anew for file in job.files]
    assert set(read) == {"a.csv", "b.csv"}
    assert waiting.drops() == [("a.csv", "recorded"), ("b.csv", "recorded")]


def gone_under_the_worker(box: FakeBox) -> None:
    """The first training finds that a.csv was moved away just before it was to read it."""

    def work(job: Job) -> Result | None:
        if isinstance(job, Train) and (box.root / "drops" / "a.csv").exists():
            away(box, "a.csv")
        return FakeBox.work(box, job)

    box.work = work  # type: ignore[method-assign]


@pytest.mark.parametrize("retries", [0, 2])
def test_an_attempt_whose_file_was_seen_to_go_while_it_trained_begins_again_without_it(
    box: FakeBox, retries: int
) -> None:
    box.edit_policy("retrain:", f"train: {{retries: {retries}}}\nretrain:")
    ended = [False]

    def work(job: Job) -> Result | None:
        return None if isinstance(job, Train) and not ended[0] else FakeBox.work(box, job)

    box.work = work  # type: ignore[method-assign]
    box.drop("a.csv", lines(0, 900))
    box.drop("b.csv", lines(900, 2000))
    with box.life() as daemon:
        for turn in range(10):
            daemon.turn()
            box.clock.now += timedelta(minutes=5)
            if turn == 4:
                away(box, "a.csv")
            if turn == 6:
                assert box.attempts()[-1].state is State.TRAINING, "a worker may have read it before"
                ended[0] = True
    (attempt,) = box.attempts()
    assert attempt.state is State.PROMOTED
    assert (attempt.round, attempt.failures) == (1, 0)
    assert box.trained_on() == [["a.csv", "b.csv"], ["b.csv"]]
    assert frozen(box, attempt.id) == ["b.csv"]


def test_an_attempt_whose_file_went_unseen_is_tried_again_without_it(box: FakeBox) -> None:
    gone_under_the_worker(box)
    box.drop("a.csv", lines(0, 900))
    box.drop("b.csv", lines(900, 2000))
    box.live(turns=8)
    (attempt,) = box.attempts()
    assert attempt.state is State.PROMOTED
    assert box.trained_on() == [["a.csv", "b.csv"], ["b.csv"]]
    assert frozen(box, attempt.id) == ["b.csv"]


def frozen(box: FakeBox, attempt: str) -> list[str]:
    with box.journal() as journal:
        drops = map(journal.drops.by_id, journal.attempts.drops_of(attempt))
        return [Path(drop.path).name for drop in drops if drop]


def test_an_attempt_that_lost_all_its_files_ends_and_the_next_starts_with_new_ones(box: FakeBox) -> None:
    gone_under_the_worker(box)
    empty = Failed(message="there are no rows to train on", hint="", temporary=False)
    work = box.work
    box.work = lambda job: empty if isinstance(job, Train) and not job.drops else work(job)  # type: ignore[method-assign]
    box.drop("a.csv", lines(0, 2000))
    box.live(turns=8)
    assert [attempt.state for attempt in box.attempts()] == [State.ABANDONED]
    box.drop("b.csv", lines(2000, 4000))
    box.live(turns=8)
    assert [attempt.state for attempt in box.attempts()] == [State.ABANDONED, State.PROMOTED]


def test_a_training_that_read_the_file_before_it_went_counts(box: FakeBox) -> None:
    def work(job: Job) -> Result | None:
        done = FakeBox.work(box, job)
        if isinstance(job, Train):
            away(box, "a.csv")
        return done

    box.work = work  # type: ignore[method-assign]
    box.drop("a.csv", lines(0, 2000))
    box.live(turns=8)
    (attempt,) = box.attempts()
    assert attempt.state is State.PROMOTED
    assert frozen(box, attempt.id) == ["a.csv"]


def test_an_attempt_abandoned_for_want_of_a_file_is_followed_by_one_without_it(box: FakeBox) -> None:
    """The file went while nobody could see it, so that all tries failed."""
    box.edit_policy("missing: skip", "missing: refuse")
    gone_under_the_worker(box)
    box.drop("a.csv", lines(0, 900))
    box.drop("b.csv", lines(900, 2000))
    box.live(turns=12)
    assert [attempt.state for attempt in box.attempts()] == [State.ABANDONED]
    assert box.standing()[0] == "files_missing"
    box.edit_policy("missing: refuse", "missing: skip")
    box.clock.now += timedelta(hours=1)
    box.live(turns=8)
    assert box.trained_on()[-1] == ["b.csv"]
    assert box.attempts()[-1].state is State.PROMOTED
