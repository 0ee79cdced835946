"""Rows that come again, with the label they had or with another one: what is counted as new and what is reported."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retrain_daemon.core.policy import DataSpec, Target
from retrain_daemon.worker.dataset import read_window, split
from retrain_daemon.worker.inspection import inspect_drops
from retrain_daemon.worker.job import DropFile, DropReport, InspectDrops, Progress, Source
from retrain_daemon.worker.row_reading import read_rows
from retrain_daemon.worker.rows import load_keys, save_keys
from retrain_daemon.worker.schema import Column, Schema

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SOURCE = Source(tracking_uri="sqlite://", registry_uri="sqlite://", model="churn", version=None)
NAMED = DataSpec(folder="/drops", pattern="*", target=Target("y"), features=("n",), row_id=("id",))
SCHEMA = Schema((Column("n", ""),))


def ignore(_: Progress) -> None:
    """Nobody watches."""


def write(path: Path, ids: list[int], labels: list[object], **columns: object) -> str:
    pd.DataFrame({"id": ids, "n": ids, "y": labels} | columns).to_csv(path, index=False)
    return str(path)


def inspect(
    folder: Path, *paths: str, known: tuple[str, ...] = (), newer: tuple[str, ...] = (), spec: DataSpec = NAMED
) -> tuple[DropReport, ...]:
    files = tuple(DropFile(drop=number, path=path, first_seen=NOW) for number, path in enumerate(paths, 1))
    job = InspectDrops(
        source=SOURCE, data=spec, files=files, known_rows=known, newer_rows=newer, rows_folder=str(folder)
    )
    return inspect_drops(job, ignore).reports


def counted(reports: tuple[DropReport, ...]) -> list[tuple[int, int]]:
    return [(report.new, report.corrected) for report in reports]


def test_a_known_row_with_another_label_is_reported_and_no_new_row(tmp_path: Path) -> None:
    first = write(tmp_path / "a.csv", [1, 2, 3], [0, 0, 1])
    second = write(tmp_path / "b.csv", [2, 3, 4], [1, 1, 1])
    assert counted(inspect(tmp_path, first, second)) == [(3, 0), (1, 1)]


def test_a_label_is_compared_with_the_newest_one_known(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"{at}.csv", [1, 2], labels) for at, labels in enumerate(([0, 0], [1, 0], [1, 0], [0, 0]))
    ]
    assert counted(inspect(tmp_path, *paths)) == [(2, 0), (0, 1), (0, 0), (0, 1)]
    [first] = inspect(tmp_path, paths[0])
    [second] = inspect(tmp_path, paths[1], known=(first.rows_file,))
    assert counted(inspect(tmp_path, paths[2], known=(first.rows_file, second.rows_file))) == [(0, 0)]
    assert counted(inspect(tmp_path, paths[2], known=(first.rows_file,))) == [(0, 1)]


def test_a_file_that_is_inspected_again_is_not_taken_for_a_correction_of_what_came_after_it(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{at}.csv", [1, 2], labels) for at, labels in enumerate(([0, 0], [1, 0], [1, 1]))]
    known = tuple(report.rows_file for report in inspect(tmp_path, *paths))
    assert counted(inspect(tmp_path, *paths, known=known, newer=known)) == [(0, 0), (0, 1), (0, 1)]
    assert counted(inspect(tmp_path, *paths[1:], known=known, newer=known[1:])) == [(0, 1), (0, 1)]


def test_a_row_that_one_file_has_twice_with_different_labels_is_reported(tmp_path: Path) -> None:
    report = inspect(tmp_path, write(tmp_path / "a.csv", [1, 1, 2, 2], [0, 1, 1, 1]))
    assert counted(report) == [(2, 1)]
    again = write(tmp_path / "b.csv", [1, 1], [0, 1])
    assert counted(inspect(tmp_path, again, known=(report[0].rows_file,))) == [(0, 0)]


@pytest.mark.parametrize("labels", [["no", "yes"], ["a", "b"], [0.5, 0.25], [True, False], [0, 1000000]])
def test_labels_of_every_kind_are_told_apart(tmp_path: Path, labels: list[object]) -> None:
    first = write(tmp_path / "a.csv", [1, 2], labels)
    second = write(tmp_path / "b.csv", [1, 2], labels[::-1])
    assert counted(inspect(tmp_path, first, second, first)) == [(2, 0), (0, 2), (0, 2)]


def test_one_of_several_targets_that_changed_is_a_correction(tmp_path: Path) -> None:
    spec = replace(NAMED, target=Target("y", more=("z",)))
    first = write(tmp_path / "a.csv", [1, 2], [0.5, 0.5], z=[1.5, 1.5])
    second = write(tmp_path / "b.csv", [1, 2], [0.5, 0.5], z=[1.5, 2.5])
    assert counted(inspect(tmp_path, first, second, spec=spec)) == [(2, 0), (0, 1)]


def test_where_the_label_is_part_of_what_a_row_is_another_label_is_another_row(tmp_path: Path) -> None:
    first = write(tmp_path / "a.csv", [1, 2], [0, 0])
    second = write(tmp_path / "b.csv", [1, 2], [0, 1])
    for row_id in ((), ("id", "y")):
        assert counted(inspect(tmp_path, first, second, spec=replace(NAMED, row_id=row_id))) == [(2, 0), (1, 0)]


def test_rows_recorded_by_an_earlier_version_are_known_without_their_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [1, 2], [0, 0])
    rows = read_rows(DropFile(drop=1, path=path, first_seen=NOW), NAMED, SCHEMA).rows
    save_keys(tmp_path / "old.npy", rows.row_keys)
    second = write(tmp_path / "b.csv", [2, 3], [1, 1])
    assert counted(inspect(tmp_path, second, known=(str(tmp_path / "old.npy"),))) == [(1, 0)]


def test_rows_are_split_by_the_copy_that_counts(tmp_path: Path) -> None:
    """The side of a row follows its features, and the last copy's features count."""
    ids = [*range(500), *range(500)]
    path = write(tmp_path / "a.csv", ids, [0] * 1000, n=[*range(500), *range(1000, 1500)])
    [report] = inspect(tmp_path, path)
    sides = split(read_window([DropFile(drop=1, path=path, first_seen=NOW)], NAMED, SCHEMA, NOW), NAMED,
                  np.empty(0, dtype=np.uint64), None)  # fmt: skip
    assert (report.training, report.judging) == (len(sides.training), len(sides.judging))


def test_a_record_takes_eight_bytes_a_row(tmp_path: Path) -> None:
    [report] = inspect(tmp_path, write(tmp_path / "a.csv", [*range(2000), 7, 8], [0] * 2002))
    assert Path(report.rows_file).stat().st_size == 128 + 8 * 2000


def test_a_corrected_row_counts_once_with_the_new_label_and_never_judges_who_learned_the_old_one(
    tmp_path: Path,
) -> None:
    ids = list(range(1000))
    old = DropFile(drop=1, path=write(tmp_path / "old.csv", ids, [0] * 1000), first_seen=NOW - timedelta(days=9))
    learned = read_window([old], NAMED, SCHEMA, NOW).learned_keys
    save_keys(tmp_path / "learned.npy", learned)
    corrected = DropFile(drop=2, path=write(tmp_path / "new.csv", ids[:600], [1] * 600), first_seen=NOW)
    rows = read_window([old, corrected], NAMED, SCHEMA, NOW)
    assert len(rows) == 1000
    assert rows.target.sum() == 600
    sides = split(rows, NAMED, load_keys([tmp_path / "learned.npy"]), None)
    assert len(sides.judging) == 0
    assert sides.excluded == sum(split(rows, NAMED, np.empty(0, dtype=np.uint64), None).judging.target >= 0)
