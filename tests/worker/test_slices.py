"""Judging rows by the values of a column: which row is where, and the evidence in each slice, checked with pandas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from retrain_daemon.core.policy import Claim, Requirement
from retrain_daemon.errors import DataProblem
from retrain_daemon.worker.dataset import read_window, split
from retrain_daemon.worker.evaluate import Predictions
from retrain_daemon.worker.job import DropFile, Source, Train
from retrain_daemon.worker.labelled import LabelledRows
from retrain_daemon.worker.schema import Column, Schema
from retrain_daemon.worker.side_by_side import SideBySide
from retrain_daemon.worker.slices import MOST_SLICES, measure_slices, read_slices
from tests.worker.test_verification import NONE, NOW, SPEC, TABLE, WAYS

REGIONS = ["north", "south", "", "5", "5.0"]
LINE = Requirement("accuracy", Claim.NOT_WORSE_BY, 0.02, slices="region")


def frame(ids: range) -> pd.DataFrame:
    made = pd.DataFrame({"id": list(ids), "n": list(ids)})
    made = made.assign(x=lambda f: f["n"] / 7, y=lambda f: f["n"] % 2, g=lambda f: f["n"] // 3)
    return made.assign(region=[REGIONS[each % 5] for each in made["id"]], city=[f"city {each}" for each in made["id"]])


def judging(tmp_path: Path, spec: Any = SPEC, schema: Schema = TABLE, **job: Any) -> tuple[Train, LabelledRows]:
    """Two files that share rows; of the later one the shared rows are in another region."""
    first, second = frame(range(400)), frame(range(200, 900))
    second.loc[second["id"] < 400, "region"] = "moved"
    first.to_csv(tmp_path / "a.csv", index=False)
    second.to_parquet(tmp_path / "b.parquet")
    drops = (
        DropFile(drop=1, path=str(tmp_path / "a.csv"), first_seen=NOW),
        DropFile(drop=2, path=str(tmp_path / "b.parquet"), first_seen=NOW),
    )
    rows = split(read_window(drops, spec, schema, NOW, tmp_path), spec, NONE, None).judging
    made: dict[str, Any] = {"require": (LINE,), "metrics": ("accuracy",), **job}
    return Train(
        attempt="churn-1", key="test/churn-1",
        source=Source(tracking_uri="sqlite://", registry_uri="sqlite://", model="churn", version=1), data=spec,
        recipe=None, drops=drops, learned=(), unknown_until=None, learned_file="", confidence=0.95, min_rows=20,  # type: ignore[arg-type]
        now=NOW, seed=1, policy_text="", experiment="e", kept_folder="", **made,
    ), rows  # fmt: skip


def both_of(truth: Any, ours: Any, theirs: Any) -> SideBySide:
    champion, challenger = Predictions(labels=ours), Predictions(labels=theirs)
    return SideBySide(truth=truth, champion=champion, challenger=challenger, groups=None)


def expected(rows: LabelledRows) -> pd.Series:
    """The region of each row, told by pandas from its number alone."""
    numbers = rows.features.frame()["n"].round().astype(int)
    names = np.array(["north", "south", "(missing)", "5", "5"])
    of = pd.Series(names[numbers % 5])
    of[((numbers >= 200) & (numbers < 400)).to_numpy()] = "moved"
    return of


@pytest.mark.parametrize(("spec", "schema"), WAYS)
def test_each_judging_row_is_in_the_slice_that_the_newest_file_says(tmp_path: Path, spec: Any, schema: Schema) -> None:
    job, rows = judging(tmp_path, spec, schema)
    sliced = read_slices(job, schema, rows)["region"]
    assert sliced.codes is not None
    assert len(rows) > 100
    assert sliced.values == ("5", "moved", "north", "south", "(missing)")
    assert [sliced.values[code] for code in sliced.codes] == expected(rows).tolist()


def test_the_evidence_of_a_slice_is_that_of_its_rows_alone(tmp_path: Path) -> None:
    job, rows = judging(tmp_path)
    truth = rows.target.to_numpy()
    number = np.arange(len(rows))
    ours = np.where(number % 5 == 0, 1 - truth, truth)
    theirs = np.where((number % 4 == 0) | (expected(rows) == "moved").to_numpy(), 1 - truth, truth)
    both = SideBySide(
        truth=truth, champion=Predictions(labels=ours), challenger=Predictions(labels=theirs), groups=None
    )
    found = measure_slices(job, both, read_slices(job, TABLE, rows))
    table = pd.DataFrame({"region": expected(rows), "ours": ours == truth, "theirs": theirs == truth})
    means = table.groupby("region").mean()
    for each in found:
        assert each.measured.rows == (table["region"] == each.value).sum()
        assert each.measured.champion == pytest.approx(means.loc[each.value, "ours"])
        assert each.measured.challenger == pytest.approx(means.loc[each.value, "theirs"])
    harm = {each.value: each.p_harm for each in found}
    assert harm["moved"] is not None
    assert harm["moved"] < 0.001
    assert all(p is not None and p > 0.01 for value, p in harm.items() if value != "moved")
    assert {each.threshold for each in found} == {0.02}


def test_a_metric_that_is_undefined_in_a_slice_says_so(tmp_path: Path) -> None:
    line = Requirement("recall", Claim.NOT_WORSE_BY, 0.02, slices="region")
    spec = replace(SPEC, target=replace(SPEC.target, positive=1))
    job, rows = judging(tmp_path, spec, require=(line,), metrics=("recall",))
    truth = rows.target.to_numpy() * (expected(rows) != "north").to_numpy()
    both = SideBySide(
        truth=truth, champion=Predictions(labels=truth), challenger=Predictions(labels=truth), groups=None
    )
    [north] = [each for each in measure_slices(job, both, read_slices(job, TABLE, rows)) if each.value == "north"]
    assert north.measured.problem == "champion: recall is undefined: no row is of the positive class; " \
        "challenger: recall is undefined: no row is of the positive class"  # fmt: skip
    assert north.p_harm is None


def test_more_values_than_anyone_reads_are_a_problem_that_names_the_column(tmp_path: Path) -> None:
    line = replace(LINE, slices="city")
    job, rows = judging(tmp_path, require=(line,))
    sliced = read_slices(job, TABLE, rows)
    truth = rows.target.to_numpy()
    both = SideBySide(
        truth=truth, champion=Predictions(labels=truth), challenger=Predictions(labels=truth), groups=None
    )
    [only] = measure_slices(job, both, sliced)
    assert only.measured.problem.startswith(f"column 'city' has more than {MOST_SLICES} values")
    assert (only.value, only.p_harm) == ("", None)


def test_a_column_the_files_lack_is_refused_with_the_line_and_those_they_have(tmp_path: Path) -> None:
    job, rows = judging(tmp_path, require=(replace(LINE, slices="regoin"),))
    with pytest.raises(DataProblem, match=r"asks for accuracy in slices of 'regoin', .*a\.csv lacks") as refused:
        read_slices(job, TABLE, rows)
    assert "It has id, n, x, y, g, region, city" in refused.value.hint


def test_a_column_the_files_lack_stops_no_attempt_where_the_line_only_observes(tmp_path: Path) -> None:
    observed = replace(LINE, slices="regoin", observe=True)
    job, rows = judging(tmp_path, require=(observed, LINE))
    sliced, truth = read_slices(job, TABLE, rows), rows.target.to_numpy()
    told, *others = measure_slices(job, both_of(truth, truth, truth), sliced)
    assert (told.column, told.measured.problem) == ("regoin", "a.csv has no column 'regoin'")
    assert {each.column for each in others} == {"region"}
    with pytest.raises(DataProblem, match="in slices of 'regoin'"):
        read_slices(replace(job, require=(observed, replace(observed, observe=False))), TABLE, rows)


def test_a_feature_can_be_what_rows_are_sliced_by(tmp_path: Path) -> None:
    schema = Schema((Column("n", "long"), Column("region", "string")), "long")
    job, rows = judging(tmp_path, replace(SPEC, features=("n", "region")), schema)
    sliced = read_slices(job, schema, rows)["region"]
    assert sliced.codes is not None
    told = [None if value == "(missing)" else value for value in np.array(sliced.values)[sliced.codes]]
    assert [None if pd.isna(each) or each == "" else str(each).removesuffix(".0")
            for each in rows.features.frame()["region"]] == told  # fmt: skip
