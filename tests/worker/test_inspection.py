"""What an operator is told about dropped files, and the record of what a champion was trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retrain_daemon.core.policy import DataSpec, Holdout, Target
from retrain_daemon.errors import DataProblem, NotFound, Refused
from retrain_daemon.worker.files import fingerprint
from retrain_daemon.worker.inspection import inspect_drops, record_learned
from retrain_daemon.worker.job import DropFile, DropReport, InspectDrops, Progress, RecordLearned, Source
from retrain_daemon.worker.row_reading import read_rows
from retrain_daemon.worker.rows import load_keys
from retrain_daemon.worker.schema import Column, Schema

SEEN = datetime(2026, 11, 22, tzinfo=UTC)
SOURCE = Source(tracking_uri="sqlite://", registry_uri="sqlite://", model="churn", version=None)
SPEC = DataSpec(folder="/drops", pattern="*", target=Target("y"), features=("n",))
SCHEMA = Schema((Column("n", ""),))


def write(path: Path, numbers: range | list[int], **columns: object) -> str:
    pd.DataFrame({"n": numbers, "y": 1} | columns).to_csv(path, index=False)
    return str(path)


def ignore(_: Progress) -> None:
    """Nobody watches."""


def job(folder: Path, *paths: str, known: tuple[str, ...] = (), spec: DataSpec = SPEC) -> InspectDrops:
    files = tuple(DropFile(drop=number, path=path, first_seen=SEEN) for number, path in enumerate(paths, 1))
    return InspectDrops(source=SOURCE, data=spec, files=files, known_rows=known, rows_folder=str(folder))


def inspect(folder: Path, *paths: str, known: tuple[str, ...] = (), spec: DataSpec = SPEC) -> tuple[DropReport, ...]:
    return inspect_drops(job(folder, *paths, known=known, spec=spec), ignore).reports


def test_new_rows_are_counted_once_over_files_and_against_what_is_known(tmp_path: Path) -> None:
    first = inspect(tmp_path, write(tmp_path / "a.csv", [1, 2, 3, 3]))[0]
    assert (first.rows, first.usable, first.new) == (4, 4, 3)
    assert first.rows_file == str(tmp_path / f"{first.fingerprint}.rows.npy")
    assert len(load_keys([first.rows_file])) == 3
    paths = [write(tmp_path / f"{name}.csv", numbers) for name, numbers in (("b", [3, 4, 5]), ("c", [5, 1, 6]))]
    reports = inspect(tmp_path, *paths, known=(first.rows_file,))
    assert [report.new for report in reports] == [2, 1]
    assert [report.drop for report in reports] == [1, 2]


def test_many_files_after_one_another_are_counted_as_one_pile_would_be(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    piles = [random.integers(0, 120, size).tolist() for size in (40, 3, 3, 1, 25, 2, 60, 9)]
    reports = inspect(tmp_path, *(write(tmp_path / f"{at}.csv", pile) for at, pile in enumerate(piles)))
    seen: set[int] = set()
    for report, pile in zip(reports, piles, strict=True):
        assert report.new == len(set(pile) - seen)
        seen |= set(pile)


def test_new_rows_are_split_as_the_holdout_will_split_them(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", range(1000))
    [shared] = inspect(tmp_path, path)
    assert shared.training + shared.judging == shared.new == 1000
    assert 150 < shared.judging < 250
    [newest] = inspect(tmp_path, path, spec=replace(SPEC, holdout=Holdout(newest=timedelta(days=7))))
    assert (newest.new, newest.training, newest.judging) == (1000, 1000, 1000)


def test_a_bad_file_is_a_report_and_does_not_block_the_rest(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_bytes(b"")
    gone, good = str(tmp_path / "gone.csv"), write(tmp_path / "good.csv", [1])
    empty, missing, fine = inspect(tmp_path, str(tmp_path / "empty.csv"), gone, good)
    assert "empty.csv is empty" in empty.problem
    assert empty.fingerprint == fingerprint(str(tmp_path / "empty.csv"))
    assert not empty.temporary
    assert "gone.csv is gone" in missing.problem
    assert missing.temporary
    assert (fine.problem, fine.new) == ("", 1)


def test_a_file_with_other_bytes_than_recorded_is_looked_at_again(tmp_path: Path) -> None:
    asked = job(tmp_path, write(tmp_path / "a.csv", [1]))
    [report] = inspect_drops(replace(asked, files=(replace(asked.files[0], fingerprint="0" * 64),)), ignore).reports
    assert report.temporary
    assert "other bytes" in report.problem


def test_rows_without_target_are_not_usable_and_progress_names_the_file(tmp_path: Path) -> None:
    told: list[Progress] = []
    path = write(tmp_path / "a.csv", [1, 2, 3], y=[1, None, 0])
    [report] = inspect_drops(job(tmp_path, path), told.append).reports
    assert (report.rows, report.usable, report.new) == (3, 2, 2)
    assert told[-1] == Progress(phase="reading a.csv", done=0, total=1)


def test_rows_of_the_future_and_rows_without_a_group_are_noticed(tmp_path: Path) -> None:
    spec = replace(SPEC, event_time="at", group="who")
    at = ["2026-11-21", "2126-11-21", "2026-11-22T20:00:00", "2027-01-01"]
    path = write(tmp_path / "a.csv", [1, 2, 3, 4], at=at, who=["ann", "bob", None, None])
    [report] = inspect(tmp_path, path, spec=spec)
    assert report.notes == (
        "2 of 4 rows (50%) of a.csv are dated more than a day ahead and are not used before that day.",
        "2 of 4 rows (50%) of a.csv have no who and count as one group.",
    )
    numbered = write(tmp_path / "b.csv", [5, 6], at="2026-11-21", who=[7, None])
    [report] = inspect(tmp_path, numbered, spec=spec)
    assert report.notes == ("1 of 2 rows (50%) of b.csv have no who and count as one group.",)


def test_a_file_says_by_when_nine_tenths_of_its_rows_had_happened(tmp_path: Path) -> None:
    """One row with a late or a wrong date does not make a file of older rows a young one."""
    days = [f"2026-01-{day:02}T12:00:00" for day in range(1, 10)] + ["2026-03-01T00:00:00"]
    path = write(tmp_path / "a.csv", range(10), at=days)
    (report,) = inspect(tmp_path, path, spec=replace(SPEC, event_time="at"))
    assert report.events_by == datetime(2026, 1, 9, 12, tzinfo=UTC)
    (report,) = inspect(tmp_path, path)
    assert report.events_by is None


def test_without_version_and_features_nothing_is_inspected(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no version"):
        inspect(tmp_path, write(tmp_path / "a.csv", [1]), spec=replace(SPEC, features=()))


@pytest.fixture
def learned(tmp_path: Path) -> Callable[..., RecordLearned]:
    """A job that records the named paths."""

    def make(*paths: str) -> RecordLearned:
        return RecordLearned(source=SOURCE, data=SPEC, paths=paths, learned_file=str(tmp_path / "learned.npy"))

    return make


@pytest.mark.parametrize("named", ["", "/*.csv", "/a.csv"])
def test_what_was_learned_is_recorded_from_files_folders_and_patterns(
    tmp_path: Path, learned: Callable[..., RecordLearned], named: str
) -> None:
    folder = tmp_path / "history"
    folder.mkdir()
    path = write(folder / "a.csv", [1, 2, 2])
    (folder / "notes.txt").write_text("not rows")
    result = record_learned(learned(f"{folder}{named}"), ignore)
    assert (result.rows, result.keys, result.fingerprints) == (3, 2, (fingerprint(path),))
    rows = read_rows(DropFile(drop=1, path=path, first_seen=SEEN), SPEC, SCHEMA).rows
    assert load_keys([tmp_path / "learned.npy"]).tolist() == np.unique(rows.unit_keys).tolist()


def test_a_record_of_features_alone_still_bars_their_rows(
    tmp_path: Path, learned: Callable[..., RecordLearned]
) -> None:
    (tmp_path / "x.csv").write_text("n\n1\n2\n")
    assert record_learned(learned(str(tmp_path / "x.csv")), ignore).keys == 2


def test_a_record_with_a_gap_is_not_written(tmp_path: Path, learned: Callable[..., RecordLearned]) -> None:
    with pytest.raises(NotFound, match=r"none\*\.csv"):
        record_learned(learned(str(tmp_path / "none*.csv")), ignore)
    (tmp_path / "broken.csv").write_text("other\n1\n")
    with pytest.raises(DataProblem, match=r"broken\.csv lacks the column 'n'"):
        record_learned(learned(write(tmp_path / "a.csv", [1]), str(tmp_path / "broken.csv")), ignore)
    assert not (tmp_path / "learned.npy").exists()
