"""A file that only looked wrong is let in by a person, and by nothing else."""

from __future__ import annotations

import os
import stat
from hashlib import sha256
from pathlib import Path

import pytest

from retrain_daemon.cli.main import main
from retrain_daemon.journal.drops import DropRow
from retrain_daemon.worker.job import DropFile, DropReport, Failed, InspectDrops
from tests.fake_box import MODEL, FakeBox
from tests.made import CHAMPION

ODD = "Column 'age' of it has no value in any of 5,000 rows."


def report(_job: InspectDrops, file: DropFile) -> DropReport | None:
    """A file that begins with `odd` is suspect until it is released, one that begins with `bad` cannot be used."""
    content = Path(file.path).read_bytes() if Path(file.path).exists() else b""
    if content.startswith(b"odd") and not file.released:
        return DropReport(drop=file.drop, fingerprint=sha256(content).hexdigest(), problem=ODD, suspect=True)
    if content.startswith(b"bad"):
        return DropReport(drop=file.drop, fingerprint=sha256(content).hexdigest(), problem="It lacks 'x'.", hint="Add.")
    return None


@pytest.fixture
def box(tmp_path: Path) -> FakeBox:
    """A box whose policy waits for more rows than any test drops."""
    (tmp_path / "box").mkdir()
    made = FakeBox(tmp_path / "box", report=report)
    made.record_champion()
    made.edit_policy(">= 1000", ">= 1000000")
    return made


def release(box: FakeBox, name: str, why: str = "the source had an outage") -> tuple[int | None, str]:
    """Ask for it while a daemon runs; returns exit code and answer."""
    number = box.order("release", why, {"file": name})
    box.live()
    return box.answer(number)


def the_drop(box: FakeBox, name: str) -> DropRow:
    with box.journal() as journal:
        return next(d for d in journal.drops.listing(MODEL) if d.current and Path(d.path).name == name)


def retraind(box: FakeBox, *words: str) -> int:
    where = ["--state", str(box.root / "state"), "--policies", str(box.root / "policies")]
    return main([*words, *where, "--tracking-uri", "sqlite:////nowhere/mlflow.db"])


def test_a_suspect_file_does_not_count_before_a_person_let_it_in(box: FakeBox) -> None:
    box.drop("odd.csv", "odd")
    box.live()
    assert the_drop(box, "odd.csv").suspect
    code, answer = release(box, "odd.csv")
    assert code == 0
    assert "odd.csv is released" in answer
    drop = the_drop(box, "odd.csv")
    assert (drop.state, drop.suspect, drop.usable) == ("recorded", False, 5000)
    assert (drop.released_by, drop.released_why) == ("ada", "the source had an outage")
    with box.journal() as journal:
        lines = {line.event: line.detail for line in journal.history(MODEL, 100)}
    assert lines["drop.released"] == f"by ada: the source had an outage; it was quarantined: {ODD}"


def test_rows_of_a_suspect_file_were_seen_when_it_came(box: FakeBox) -> None:
    box.report = lambda _job, file: DropReport(
        drop=file.drop, fingerprint="f", problem=ODD, suspect=True, units_file="/rows/odd.npy"
    )
    box.drop("odd.csv", "odd")
    box.live()
    with box.journal() as journal:
        assert journal.barred(MODEL, (CHAMPION - 1,), "all").early == ("/rows/odd.npy",)
        assert journal.drops.incomparable_until(MODEL, box.clock()) is None


def test_a_released_file_stays_in_when_everything_is_inspected_again(box: FakeBox) -> None:
    box.drop("odd.csv", "odd")
    box.live()
    release(box, "odd.csv")
    box.edit_policy("retrain:", "  expect: {x: {at_least: 0}}\nretrain:")
    before = box.inspections()
    box.live()
    assert box.inspections() > before
    assert box.drops() == [("odd.csv", "recorded")]


def test_changed_expectations_have_a_quarantined_file_looked_at_again(box: FakeBox) -> None:
    box.drop("odd.csv", "odd")
    box.live()
    box.report = lambda _job, _file: None  # what it was refused for is not asked any more
    box.edit_policy("retrain:", "  expect: {x: {at_least: 0}}\nretrain:")
    box.live()
    assert box.drops() == [("odd.csv", "recorded")]
    assert not the_drop(box, "odd.csv").reason


@pytest.mark.parametrize("how", ["touched", "renamed", "copied", "put back"])
def test_the_same_bytes_need_no_second_release(box: FakeBox, how: str) -> None:
    path = box.root / "drops" / "odd.csv"
    box.drop("odd.csv", "odd")
    box.live()
    release(box, "odd.csv")
    if how == "touched":
        os.utime(path, (1, 1))
    elif how == "renamed":
        path.rename(path.with_name("b.csv"))
    elif how == "copied":
        box.drop("b.csv", "odd")
    else:
        box.drop("odd.csv", "odd other")
        box.live()
        box.drop("odd.csv", "odd")
    box.live()
    states = {state for _, state in box.drops()}
    assert states == {"recorded", "duplicate"} if how == "copied" else states == {"recorded"}


def test_new_bytes_under_a_released_name_are_suspect_again(box: FakeBox) -> None:
    box.drop("odd.csv", "odd")
    box.live()
    release(box, "odd.csv")
    box.drop("odd.csv", "odd and other")
    box.live()
    assert box.drops() == [("odd.csv", "quarantined")]


def test_what_cannot_be_used_is_not_released_and_is_inspected_again(box: FakeBox) -> None:
    box.drop("bad.csv", "bad")
    box.live()
    code, answer = release(box, "bad.csv")
    assert code == 5
    assert answer == (
        f"{box.root / 'drops' / 'bad.csv'} cannot be used as it is, so it cannot be released: It lacks 'x'. Add."
        " It is inspected again now, in case that has changed."
    )
    assert box.drops() == [("bad.csv", "quarantined")]
    box.report = lambda _job, _file: None
    release(box, "bad.csv")
    assert box.drops() == [("bad.csv", "recorded")]


def test_a_file_in_use_that_is_found_wrong_and_removed_is_not_waited_for(box: FakeBox) -> None:
    box.drop("a.csv", "bad")
    box.report = lambda _job, _file: None
    box.live()
    box.report = report
    box.edit_policy("retrain:", "  expect: {x: {at_least: 0}}\nretrain:")
    box.live()
    box.inspection_failure = lambda _job: Failed(message="no memory", temporary=True)
    release(box, "a.csv")
    (box.root / "drops" / "a.csv").unlink()
    box.drop("b.csv", "1")
    box.live()
    assert box.drops() == [("b.csv", "found")]
    assert box.standing()[0] != "files_missing"


def test_what_was_refused_unread_is_not_read_because_someone_asks(box: FakeBox) -> None:
    (box.root / "drops" / "folder.csv").mkdir()
    box.live()
    before = box.inspections()
    code, answer = release(box, "folder.csv")
    assert code == 5
    assert "cannot be released" in answer
    assert box.inspections() == before


def test_a_retracted_file_is_not_let_in_through_a_copy(box: FakeBox) -> None:
    box.drop("odd.csv", "odd")
    box.live()
    box.order("retract", "wrong labels", {"file": "odd.csv"})
    box.live()
    box.drop("copy.csv", "odd")
    box.live()
    assert not the_drop(box, "copy.csv").suspect
    assert "which was retracted" in release(box, "copy.csv")[1]
    assert box.drops() == [("odd.csv", "retracted"), ("copy.csv", "quarantined")]


def test_there_is_a_sentence_for_each_file_that_cannot_be_released(box: FakeBox) -> None:
    box.drop("a.csv", "1")
    box.live()
    box.drop("again.csv", "1")
    box.drop("out.csv", "2")
    box.live()
    box.order("retract", "wrong labels", {"file": "out.csv"})
    box.live()
    folder = box.root / "drops"
    assert release(box, "a.csv") == (5, f"{folder}/a.csv is not quarantined: its rows count already.")
    assert release(box, "again.csv") == (
        5, f"{folder}/again.csv is not quarantined: it is duplicate: the same bytes as a.csv.",
    )  # fmt: skip
    assert release(box, "out.csv") == (
        5, f"{folder}/out.csv is not quarantined: it is retracted: ada: wrong labels. Drop corrected rows instead.",
    )  # fmt: skip
    assert release(box, "none.csv") == (
        4, "churn has no drop none.csv. `retraind drop list churn` shows them.",
    )  # fmt: skip


def test_a_second_release_changes_nothing_and_is_no_failure(box: FakeBox) -> None:
    box.drop("odd.csv", "odd")
    box.live()
    release(box, "odd.csv")
    code, answer = release(box, "odd.csv", "again")
    assert code == 0
    assert "was released by ada already: the source had an outage" in answer
    assert the_drop(box, "odd.csv").released_why == "the source had an outage"


def test_without_a_daemon_the_command_releases_and_the_next_daemon_inspects(
    box: FakeBox, capsys: pytest.CaptureFixture[str]
) -> None:
    box.drop("odd.csv", "odd")
    box.live()
    assert retraind(box, "drop", "list", "--quarantined") == 0
    listed = " ".join(capsys.readouterr().out.split())
    assert "`retraind drop release" in listed
    assert retraind(box, "drop", "release", "odd.csv", "--why", "checked") == 0
    assert "is released" in capsys.readouterr().out
    box.live()
    assert box.drops() == [("odd.csv", "recorded")]
    assert retraind(box, "drop", "release", "none.csv", "--why", "checked") == 4


@pytest.mark.parametrize("order", ["release", "retract"])
def test_an_empty_reason_is_none(box: FakeBox, capsys: pytest.CaptureFixture[str], order: str) -> None:
    with pytest.raises(SystemExit):
        retraind(box, "drop", order, "odd.csv", "--why", " ")
    assert "--why: it is empty" in capsys.readouterr().err


def photograph(folder: Path) -> dict[str, tuple[str, int, int, int]]:
    """What is in a folder: bytes, time of change, mode and inode by name."""
    found = {}
    for path in [folder, *sorted(folder.iterdir())]:
        seen = path.stat()
        content = path.read_bytes() if stat.S_ISREG(seen.st_mode) else b""
        found[path.name] = (sha256(content).hexdigest(), seen.st_mtime_ns, seen.st_mode, seen.st_ino)
    return found


def test_nothing_in_a_drop_folder_is_ever_changed_or_removed(box: FakeBox) -> None:
    box.edit_policy(">= 1000000", ">= 1000")
    for name, text in (("a.csv", "1"), ("b.csv", "2"), ("again.csv", "1"), ("odd.csv", "odd"), ("bad.csv", "bad")):
        box.drop(name, text)
    (box.root / "drops" / "folder.csv").mkdir()
    (box.root / "drops" / "notes.txt").write_text("not data")
    before = photograph(box.root / "drops")
    box.live()
    release(box, "odd.csv")
    release(box, "bad.csv")
    box.order("retract", "wrong labels", {"file": "b.csv"})
    box.live()
    box.edit_policy("retrain:", "  expect: {x: {at_least: 0}}\nretrain:")
    box.live()
    assert {state for _, state in box.drops()} == {"recorded", "duplicate", "quarantined", "retracted"}
    assert len(box.trainings()) > 1
    assert photograph(box.root / "drops") == before


def fine(_job: InspectDrops, file: DropFile) -> DropReport:
    """What an inspection with checks says of a file that nothing is wrong with."""
    fingerprint = sha256(Path(file.path).read_bytes()).hexdigest()
    return DropReport(drop=file.drop, fingerprint=fingerprint, rows=9, usable=9, new=9, profile_file="/rows/p.npz")


def test_a_file_in_use_does_not_look_wrong_because_another_one_went(box: FakeBox) -> None:
    box.report = fine
    for name in ("a.csv", "odd.csv"):
        box.drop(name, name)
        box.live()
    box.report = report  # beside what is left, it would look wrong
    box.order("retract", "wrong labels", {"file": "a.csv"})
    box.live()
    assert box.drops() == [("a.csv", "retracted"), ("odd.csv", "recorded")]


def test_a_file_in_use_stays_in_use_when_checks_come_that_were_not_there_before(box: FakeBox) -> None:
    box.report = lambda _job, _file: None  # without a profile, as before there were checks
    box.drop("odd.csv", "odd")
    box.live()
    box.report = report
    box.edit_policy('positive: "yes"', 'positive: "no"')  # everything is inspected again
    box.live()
    assert box.drops() == [("odd.csv", "recorded")]


def test_a_file_in_use_can_look_wrong_by_new_settings(box: FakeBox) -> None:
    box.report = fine
    box.drop("odd.csv", "odd")
    box.live()
    box.report = report
    box.edit_policy("retrain:", "  expect: {x: {at_least: 0}}\nretrain:")
    box.live()
    assert box.drops() == [("odd.csv", "quarantined")]
