"""Right before two models are compared it is looked at once more that no row judges what either of them learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from retrain_daemon.core.policy import DataSpec, Recipe, Target
from retrain_daemon.errors import Refused
from retrain_daemon.worker.dataset import read_window, split
from retrain_daemon.worker.job import DropFile, Source, Train
from retrain_daemon.worker.labelled import Rows
from retrain_daemon.worker.rows import load_keys, save_keys
from retrain_daemon.worker.schema import Column, Schema, Tensor
from retrain_daemon.worker.verification import verify_unlearned

NOW = datetime(2026, 11, 22, tzinfo=UTC)
NONE = np.empty(0, dtype=np.uint64)
SPEC = DataSpec(folder="/drops", pattern="*", target=Target("y"), features=("n", "x"))
TABLE = Schema((Column("n", "long"), Column("x", "double")), "long")
TENSOR = replace(TABLE, tensor=Tensor((2,)))
#: How rows are read: as a table, for a network (features on disk, as 32-bit numbers), by groups.
WAYS = [(SPEC, TABLE), (SPEC, TENSOR), (replace(SPEC, group="g"), TABLE), (replace(SPEC, row_id=("id",)), TENSOR)]
Make = Callable[..., tuple[Train, Rows]]


def write(path: Path, number: int, ids: range, days_ago: int) -> DropFile:
    frame = pd.DataFrame({"id": list(ids), "n": list(ids)}).assign(x=lambda f: f["n"] / 7, y=0, g=lambda f: f["n"] // 3)
    frame.to_csv(path, index=False)
    return DropFile(drop=number, path=str(path), first_seen=NOW - timedelta(days=days_ago))


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A job over two files that share rows, and the rows of its judging side."""

    def made(spec: DataSpec, schema: Schema, **changes: Any) -> tuple[Train, Rows]:
        drops = (write(tmp_path / "a.csv", 1, range(400), 9), write(tmp_path / "b.csv", 2, range(200, 900), 2))
        rows = read_window(drops, spec, schema, NOW, tmp_path)
        sides = split(rows, spec, NONE, None)
        save_keys(tmp_path / "challenger.npy", sides.training.learned_keys)
        job = Train(
            attempt="churn-1", key="test/churn-1",
            source=Source(tracking_uri="sqlite://", registry_uri="sqlite://", model="churn", version=1), data=spec,
            recipe=Recipe(), drops=drops, learned=(), unknown_until=None,
            learned_file=str(tmp_path / "challenger.npy"), metrics=("accuracy",), confidence=0.95, min_rows=20, now=NOW,
            seed=1, policy_text="", experiment="e", kept_folder=str(tmp_path / "kept"),
        )  # fmt: skip
        return replace(job, **changes), sides.judging

    return made


@pytest.mark.parametrize(("spec", "schema"), WAYS)
def test_rows_that_nobody_learned_are_let_through_with_how_much_was_looked_for(
    make: Make, spec: DataSpec, schema: Schema
) -> None:
    job, judging = make(spec, schema)
    assert len(judging) > 100
    assert verify_unlearned(job, schema, judging, job.learned_file) == len(load_keys([job.learned_file])) > 500


@pytest.mark.parametrize(("spec", "schema"), WAYS)
@pytest.mark.parametrize("whose", ["champion", "challenger"])
def test_a_learned_row_among_those_that_judge_is_refused_with_numbers(
    tmp_path: Path, make: Make, spec: DataSpec, schema: Schema, whose: str
) -> None:
    job, judging = make(spec, schema)
    save_keys(tmp_path / f"{whose}.npy", np.append(load_keys([job.learned_file]), judging.unit_keys[:1]))
    job = replace(job, learned=(str(tmp_path / "champion.npy"),) if whose == "champion" else ())
    hits = int((judging.unit_keys == judging.unit_keys[0]).sum())
    with pytest.raises(Refused, match=f"{hits} of {len(judging)} judging rows .* learned: {hits} by {whose}.npy"):
        verify_unlearned(job, schema, judging, job.learned_file)


@pytest.mark.parametrize(("spec", "schema"), WAYS)
def test_a_split_that_lost_track_of_which_row_is_which_is_found_out(
    tmp_path: Path, make: Make, spec: DataSpec, schema: Schema
) -> None:
    """The rows are learned ones, and the keys beside them those of others."""
    job, judging = make(spec, schema)
    learned = split(read_window(job.drops, spec, schema, NOW), spec, NONE, None).training
    learned = learned.take(np.arange(len(judging)))
    wrong = replace(learned, unit_keys=judging.unit_keys)
    with pytest.raises(Refused, match=f"{len(judging)} of {len(judging)} judging rows"):
        verify_unlearned(job, schema, wrong, job.learned_file)


@pytest.mark.parametrize(("spec", "schema"), WAYS)
def test_rows_that_were_there_before_the_record_are_refused(
    tmp_path: Path, make: Make, spec: DataSpec, schema: Schema
) -> None:
    job, judging = make(spec, schema)
    old = int((judging.drop == 1).sum())
    with pytest.raises(Refused, match=f"{old} of {len(judging)} judging rows may have been learned"):
        verify_unlearned(replace(job, unknown_until=NOW - timedelta(days=5)), schema, judging, job.learned_file)
    save_keys(tmp_path / "early.npy", np.unique(judging.unit_keys[judging.drop == 2]))
    early = replace(job, unknown_until=NOW - timedelta(days=30), early=(str(tmp_path / "early.npy"),))
    with pytest.raises(Refused, match="may have been learned"):
        verify_unlearned(early, schema, judging, job.learned_file)


def test_columns_of_no_known_kind_are_compared_by_what_the_files_say(tmp_path: Path, make: Make) -> None:
    """Put together, a column of whole numbers beyond 2**53 and one of fractions lose digits."""
    schema = Schema((Column("n", ""),))
    spec = replace(SPEC, features=("n",))
    large = tmp_path / "large.csv"
    pd.DataFrame({"n": [2**53 + 1 + 2 * each for each in range(300)], "y": 0}).to_csv(large, index=False)
    small = tmp_path / "small.csv"
    pd.DataFrame({"n": [each + 0.5 for each in range(300)], "y": 0}).to_csv(small, index=False)
    drops = tuple(
        DropFile(drop=number, path=str(path), first_seen=NOW) for number, path in enumerate((large, small), 1)
    )
    judging = split(read_window(drops, spec, schema, NOW), spec, NONE, None).judging
    job, _ = make(SPEC, TABLE)
    job = replace(job, data=spec, drops=drops)
    save_keys(tmp_path / "learned.npy", judging.unit_keys[:1])
    assert verify_unlearned(job, schema, judging, "") == 0
    with pytest.raises(Refused, match="1 by learned"):
        verify_unlearned(job, schema, judging, str(tmp_path / "learned.npy"))
