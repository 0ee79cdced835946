"""What is said of every dropped row is what training and judging see of it."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from retrain_daemon.core.policy import DataSpec, Holdout, Target, Window
from retrain_daemon.errors import DataProblem
from retrain_daemon.worker.accounting import account_rows
from retrain_daemon.worker.dataset import is_unlearned, read_window, split
from retrain_daemon.worker.job import AccountRows, DropFile, Progress, RowsAccounted, Side, Source, VersionRecord
from retrain_daemon.worker.rows import load_keys, save_keys
from retrain_daemon.worker.schema import Column, Schema

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SOURCE = Source(tracking_uri="sqlite://", registry_uri="sqlite://", model="churn", version=None)
SPEC = DataSpec(folder="/drops", pattern="*", target=Target("y"), features=("n",), row_id=("id",), event_time="t")
SCHEMA = Schema((Column("n", ""),))
NONE = np.empty(0, dtype=np.uint64)


def ignore(_: Progress) -> None:
    """Nobody watches."""


def write(path: Path, number: int, ids: list[int], days_ago: int, **columns: Any) -> DropFile:
    """A drop whose rows happened, and came, some days ago."""
    when = NOW - timedelta(days=days_ago)
    frame = {"id": ids, "n": ids, "y": 0, "t": when.isoformat(), "customer": [each // 4 for each in ids]}
    pd.DataFrame(frame | columns).to_csv(path, index=False)
    return DropFile(drop=number, path=str(path), first_seen=when)


@pytest.fixture
def drops(tmp_path: Path) -> tuple[DropFile, ...]:
    """Three files; the second repeats 100 rows of the first, 40 with another label, and some rows have no label."""
    first = write(tmp_path / "a.csv", 1, list(range(300)), 30)
    second = write(tmp_path / "b.csv", 2, list(range(200, 500)), 20, y=[1] * 40 + [0] * 250 + [None] * 10)
    third = write(tmp_path / "c.csv", 3, list(range(500, 900)), 5)
    return first, second, third


def account(
    drops: tuple[DropFile, ...], spec: DataSpec, *versions: VersionRecord, side: Side = "", listing: str = ""
) -> RowsAccounted:
    job = AccountRows(source=SOURCE, data=spec, drops=drops, versions=versions, now=NOW, side=side, listing=listing)
    return account_rows(job, ignore)


def test_each_row_of_each_file_is_in_one_place(drops: tuple[DropFile, ...]) -> None:
    found = account(drops, SPEC).drops
    assert [(drop.rows, drop.usable, drop.repeated, drop.corrected) for drop in found] == [
        (300, 300, 100, 40), (300, 290, 0, 0), (400, 400, 0, 0)
    ]  # fmt: skip
    for drop in found:
        assert drop.usable == drop.repeated + drop.training + drop.judging + drop.outside
        assert drop.outside == 0


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"window": Window(age=timedelta(days=25))},
        {"window": Window(rows=450)},
        {"window": Window(files=2)},
        {"holdout": Holdout(newest=timedelta(days=7))},
        {"group": "customer"},
        {"row_id": ()},
    ],
)
def test_the_account_agrees_with_what_a_training_and_its_judging_see(
    tmp_path: Path, drops: tuple[DropFile, ...], change: dict[str, Any]
) -> None:
    spec = replace(SPEC, **change)
    save_keys(tmp_path / "learned.npy", read_window(drops[:1], spec, SCHEMA, NOW).learned_keys)
    learned = load_keys([tmp_path / "learned.npy"])
    record = VersionRecord(version=7, learned=(str(tmp_path / "learned.npy"),))
    found = account(drops, spec, record)
    rows = read_window(drops, spec, SCHEMA, NOW)
    sides = split(rows, spec, learned, None)
    assert sum(drop.training for drop in found.drops) == len(sides.training)
    assert sum(drop.judging for drop in found.drops) == len(sides.judging) + sides.excluded
    assert [version.judging for version in found.versions] == [len(sides.judging)]
    assert [version.excluded for version in found.versions] == [sides.excluded]
    for drop in found.drops:
        assert drop.training == int((sides.training.drop == drop.drop).sum())
        assert drop.usable == drop.repeated + drop.training + drop.judging + drop.outside
    assert found.units == len(np.unique(rows.unit_keys))
    if spec.window == Window():
        assert found.versions[0].learned == len(rows) - int(is_unlearned(rows, (learned,), None).sum())


def test_rows_a_version_learned_are_told_for_each_file(tmp_path: Path, drops: tuple[DropFile, ...]) -> None:
    save_keys(tmp_path / "first.npy", read_window(drops[:1], SPEC, SCHEMA, NOW).learned_keys)
    save_keys(tmp_path / "third.npy", read_window(drops[2:], SPEC, SCHEMA, NOW).learned_keys)
    first, third = str(tmp_path / "first.npy"), str(tmp_path / "third.npy")
    records = (VersionRecord(version=2, learned=(first, third)), VersionRecord(version=1, learned=(first,)))
    found = account(drops, SPEC, *records)
    assert [drop.learned for drop in found.drops] == [((2, 300), (1, 300)), ((2, 100), (1, 100)), ((2, 400), (1, 0))]
    assert [(version.version, version.learned) for version in found.versions] == [(2, 700), (1, 300)]


def test_rows_older_than_the_record_of_a_version_are_told(drops: tuple[DropFile, ...]) -> None:
    found = account(drops, SPEC, VersionRecord(version=1, learned=(), unknown_until=NOW - timedelta(days=25)))
    sides = split(read_window(drops, SPEC, SCHEMA, NOW), SPEC, NONE, NOW - timedelta(days=25))
    assert [(version.judging, version.too_early) for version in found.versions] == [
        (len(sides.judging), sides.too_early)
    ]
    assert sides.too_early > 30


def test_a_row_of_a_time_to_come_does_not_take_the_place_of_its_copy(tmp_path: Path) -> None:
    right = write(tmp_path / "a.csv", 1, [1, 2], 3)
    wrong = write(tmp_path / "b.csv", 2, [1, 3], 1, t="2062-01-01T00:00:00+00:00")
    found = account((right, wrong), SPEC).drops
    assert [(drop.repeated, drop.outside, drop.training + drop.judging) for drop in found] == [(0, 0, 2), (0, 2, 0)]


def listed(path: Path) -> list[list[str]]:
    with path.open(newline="") as stream:
        return list(csv.reader(stream))


@pytest.mark.parametrize("names", [("id",), ("id", "customer"), ()])
def test_both_sides_listed_are_the_rows_of_the_window_each_once(
    tmp_path: Path, drops: tuple[DropFile, ...], names: tuple[str, ...]
) -> None:
    spec = replace(SPEC, row_id=names)
    sides: dict[str, list[list[str]]] = {}
    for side in ("train", "judge"):
        found = account(drops, spec, side=side, listing=str(tmp_path / "rows.csv"))  # type: ignore[arg-type]
        head, *sides[side] = listed(tmp_path / "rows.csv")
        assert head == ["file", "row", *names]
    assert len(sides["train"]) == sum(drop.training for drop in found.drops)
    assert len(sides["judge"]) == sum(drop.judging for drop in found.drops) > 100
    frames = {Path(drop.path).name: pd.read_csv(drop.path) for drop in drops}
    both = sides["train"] + sides["judge"]
    assert len(both) == (890 if names else 990)
    ids = Counter(int(frames[file]["id"][int(row) - 1]) for file, row, *_ in both)
    assert set(ids) == {*range(490), *range(500, 900)}
    if names:
        assert all(int(identity) == frames[file]["id"][int(row) - 1] for file, row, identity, *_ in both)
        assert not any(file == "a.csv" and int(row) > 200 for file, row, *_ in both)


def test_groups_are_listed_where_there_is_no_row_id(tmp_path: Path, drops: tuple[DropFile, ...]) -> None:
    spec = replace(SPEC, row_id=(), group="customer")
    account(drops, spec, side="judge", listing=str(tmp_path / "judge.csv"))
    account(drops, spec, side="train", listing=str(tmp_path / "train.csv"))
    head, *judging = listed(tmp_path / "judge.csv")
    assert head == ["file", "row", "customer"]
    assert not {row[2] for row in judging} & {row[2] for row in listed(tmp_path / "train.csv")}


def test_a_file_of_many_pieces_is_listed_by_its_own_row_numbers(tmp_path: Path) -> None:
    ids = list(range(1_000_000, 1_200_000))
    labels = [None if each % 3 == 0 else 1 for each in ids]
    file = write(tmp_path / "big.csv", 1, ids, 3, y=labels)
    account((file,), SPEC, side="train", listing=str(tmp_path / "rows.csv"))
    _, *rows = listed(tmp_path / "rows.csv")
    assert len(rows) > 100_000
    assert all(int(identity) == int(number) - 1 + 1_000_000 for _, number, identity in rows)


def test_a_file_that_is_not_the_recorded_one_is_refused(drops: tuple[DropFile, ...]) -> None:
    with pytest.raises(DataProblem, match=r"a\.csv changed since it was recorded"):
        account((replace(drops[0], fingerprint="0" * 64),), SPEC)


def test_without_drops_there_is_nothing_to_account_for() -> None:
    assert account((), SPEC) == RowsAccounted(drops=())
