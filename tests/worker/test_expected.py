"""What a policy expects of columns, measured on whole files: exact, also where a file is read in pieces."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retrain_daemon.core.policy import DataSpec, Expectation, Target
from retrain_daemon.errors import DataProblem, Refused
from retrain_daemon.worker.expected import unexpected
from retrain_daemon.worker.schema import Column, Schema

SCHEMA = Schema((Column("age", "double"), Column("land", "string"), Column("seen", "datetime")), "long")
LOOSE = Schema((Column("age", ""), Column("land", ""), Column("seen", "")))
HINT = "Correct the file, or change data.expect."


def said(path: Path, *expected: Expectation, schema: Schema = SCHEMA, event_time: str | None = None) -> list[str]:
    spec = DataSpec(folder="/drops", pattern="*", target=Target("y"), expect=expected, event_time=event_time)
    complaints = unexpected(str(path), spec, schema)
    assert all(complaint.hint.startswith(HINT) for complaint in complaints)
    return [complaint.sentence for complaint in complaints]


def table(folder: Path, kind: str = "csv", **columns: object) -> Path:
    path = folder / f"a.{kind}"
    frame = pd.DataFrame(columns)
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_counts_are_exact_over_all_pieces_of_a_file(tmp_path: Path, kind: str) -> None:
    age = np.arange(50_000) % 100.0
    age[[8_500, 30_000, 49_999]] = [-1, np.inf, 120.5]
    age[:400] = np.nan
    path = table(tmp_path, kind, age=age)
    first = "'-1.0'" if kind == "csv" else "-1.0"
    assert said(path, Expectation(column="age", at_least=0.0, at_most=120.0, missing=0.008)) == [
        f"Column 'age' of a.{kind} is outside of 0 to 120 in 3 of 50,000 rows (0.006%), first {first} in row 8501."
    ]
    assert said(path, Expectation(column="age", missing=0.0079)) == [
        f"Column 'age' of a.{kind} has no value in 400 of 50,000 rows (0.8%); 0.79% may have none."
    ]


def test_bounds_include_their_ends_and_may_be_one(tmp_path: Path) -> None:
    path = table(tmp_path, age=[0, 120])
    assert said(path, Expectation(column="age", at_least=0.0, at_most=120.0)) == []
    assert said(path, Expectation(column="age", at_least=1.0)) == [
        "Column 'age' of a.csv is outside of 1 to anything in 1 of 2 rows (50%), first '0' in row 1."
    ]


def test_dates_are_compared_as_moments(tmp_path: Path) -> None:
    bounds = Expectation(
        column="seen", at_least=datetime(2026, 1, 1, tzinfo=UTC), at_most=datetime(2026, 2, 1, tzinfo=UTC)
    )
    path = table(tmp_path, seen=["2026-01-01", "2026-02-01T01:00:00+01:00", None, "2026-02-01T00:00:01"])
    expected = ["Column 'seen' of a.csv is outside of 2026-01-01 to 2026-02-01 in 1 of 4 rows (25%), first "
                "'2026-02-01T00:00:01' in row 4."]  # fmt: skip
    assert said(path, bounds) == expected
    assert said(path, bounds, schema=LOOSE) == expected
    assert said(path, bounds, schema=LOOSE, event_time="seen") == expected


def test_a_value_of_another_type_is_outside_of_bounds(tmp_path: Path) -> None:
    path = table(tmp_path, extra=["1", "old", "3"], day=["2026-01-01", "soon", "2026-01-02"])
    assert said(path, Expectation(column="extra", at_least=0.0)) == [
        "Column 'extra' of a.csv is outside of 0 to anything in 1 of 3 rows (33.3%), first 'old' in row 2."
    ]
    assert "first 'soon' in row 2" in said(path, Expectation(column="day", at_most=datetime(2027, 1, 1, tzinfo=UTC)))[0]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_values_are_compared_by_what_they_mean_in_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    path = table(tmp_path, kind, land=["DE", "AT", None], age=[1.0, 2.0, np.nan], on=[True, False, True])
    assert said(path, Expectation(column="land", values=("DE", "AT"))) == []
    assert said(path, Expectation(column="age", values=(1, 2))) == []
    assert said(path, Expectation(column="on", values=(True, False))) == []
    [one] = said(path, Expectation(column="land", values=("DE",)))
    assert one == f"Column 'land' of a.{kind} holds other values than DE in 1 of 3 rows (33.3%), first 'AT' in row 2."
    assert len(said(path, Expectation(column="age", values=(1,)))) == 1
    assert len(said(path, Expectation(column="on", values=(True,)))) == 1


def test_what_counts_as_missing_in_a_column_that_nobody_types_is_said_by_the_whole_file(tmp_path: Path) -> None:
    numbers = table(tmp_path, extra=[*range(20_000), *["NA"] * 5_000])
    assert len(said(numbers, Expectation(column="extra", missing=0.19))) == 1
    texts = table(tmp_path, extra=["a", *["NA"] * 3])
    assert said(texts, Expectation(column="extra", missing=0.0)) == []


def test_any_column_of_the_file_can_be_named_and_patterns_stand_for_several(tmp_path: Path) -> None:
    path = table(tmp_path, age=[1], sensor_a=[5], sensor_b=[2000], y=[3])
    found = said(path, Expectation(column="sensor_*", at_most=1000.0), Expectation(column="y", values=(0, 1)))
    assert [sentence.split(" of a.csv")[0] for sentence in found] == ["Column 'sensor_b'", "Column 'y'"]


def test_a_column_that_is_not_there_is_said_with_who_asks_for_it(tmp_path: Path) -> None:
    path = table(tmp_path, age=[1])
    with pytest.raises(DataProblem, match=r"lacks the column 'wage'.*The policy names its columns in data\.expect"):
        said(path, Expectation(column="wage", missing=0.0))
    with pytest.raises(DataProblem, match=r"the pattern 'sensor_\*' stands for no column of a\.csv"):
        said(path, Expectation(column="sensor_*", missing=0.0))


@pytest.mark.parametrize(
    ("expected", "sentence"),
    [
        (Expectation(column="age", at_least=datetime(2026, 1, 1, tzinfo=UTC)), "dates as bounds.*of type double"),
        (Expectation(column="seen", at_least=1.0), "numbers as bounds.*of type datetime"),
        (Expectation(column="land", at_most=1.0), "numbers as bounds.*of type string"),
        (Expectation(column="seen", values=("2026-01-01",)), "values.*of type datetime"),
    ],
)
def test_what_does_not_go_with_the_signature_is_refused(tmp_path: Path, expected: Expectation, sentence: str) -> None:
    with pytest.raises(Refused, match=sentence):
        said(table(tmp_path, age=[1], land=["DE"], seen=["2026-01-01"]), expected)
