"""Profiles: what a file's columns hold, in bounded size; ranks as exact as promised; files whole or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain_daemon.errors import StateUnusable
from retrain_daemon.worker.profile import (
    DISTINCT_LIMIT,
    MAX_CATEGORIES,
    MAX_POINTS,
    MIN_POINTS,
    ColumnProfile,
    Profile,
    Profiler,
    load_profile,
    save_profile,
)
from retrain_daemon.worker.schema import Column, Schema


def profiled(frame: pd.DataFrame, piece: int = 10**9) -> Profile:
    profiler = Profiler(Schema(tuple(Column(str(name), "") for name in frame)))
    for start in range(0, len(frame), piece):
        profiler.add(frame.iloc[start : start + piece])
    return profiler.result()


def column(values: object, piece: int = 10**9) -> ColumnProfile:
    return profiled(pd.DataFrame({"a": values}), piece).columns["a"]


def worst_rank_error(found: ColumnProfile, values: np.ndarray) -> float:
    """How far, as a share of the rows, the summary's count of values up to any value is from the true one."""
    values = np.sort(values)
    claimed = np.concatenate([[0.0], np.cumsum(found.weights)])[np.searchsorted(found.points, values, side="right")]
    true = np.searchsorted(values, values, side="right")
    return float(np.abs(claimed - true).max()) / len(values)


def test_few_distinct_numbers_are_counted_exactly() -> None:
    found = column([3.0, 1.0, np.nan, 3.0, -0.0, 0.0, 3.0])
    assert (found.kind, found.rows, found.missing, found.distinct) == ("number", 7, 1, 3)
    assert found.points.tolist() == [0.0, 1.0, 3.0]
    assert found.weights.tolist() == [2, 1, 3]
    assert (found.minimum, found.maximum) == (0.0, 3.0)


def test_a_column_of_many_rows_and_few_values_stays_exact() -> None:
    values = np.tile(np.arange(DISTINCT_LIMIT), 100)
    found = column(values, piece=1000)
    assert found.points.tolist() == list(range(DISTINCT_LIMIT))
    assert set(found.weights) == {100.0}
    assert found.distinct == DISTINCT_LIMIT


def test_more_distinct_values_than_the_limit_are_said_to_be_more() -> None:
    found = column(np.arange(DISTINCT_LIMIT + 1))
    assert found.distinct == DISTINCT_LIMIT + 1
    assert len(found.points) == MAX_POINTS
    assert found.weights.sum() == DISTINCT_LIMIT + 1


def test_truth_values_are_numbers_and_times_are_seconds() -> None:
    found = profiled(pd.DataFrame({"b": [True, False, True], "t": pd.to_datetime(["1970-01-01 00:01", None, None])}))
    assert found.columns["b"].points.tolist() == [0, 1]
    assert found.columns["b"].weights.tolist() == [1, 2]
    assert (found.columns["t"].kind, found.columns["t"].missing) == ("time", 2)
    assert found.columns["t"].points.tolist() == [60.0]


def test_infinities_are_values_beyond_all_others() -> None:
    found = column([np.inf, -np.inf, 1.0, np.inf])
    assert found.points.tolist() == [-np.inf, 1.0, np.inf]
    assert (found.minimum, found.maximum, found.missing) == (-np.inf, np.inf, 0)


def test_a_column_without_a_value_has_a_profile() -> None:
    found = profiled(pd.DataFrame({"n": [np.nan, np.nan], "s": pd.Series([None, None], dtype=object)}))
    assert (found.columns["n"].missing, found.columns["n"].distinct, len(found.columns["n"].points)) == (2, 0, 0)
    assert np.isnan(found.columns["n"].minimum)
    assert (found.columns["s"].missing, found.columns["s"].categories) == (2, ())


def test_texts_are_counted_with_the_most_frequent_first() -> None:
    found = column(pd.Series(["b", "a", None, "b", "c", "a", "b"], dtype=object), piece=2)
    assert found.categories == (("b", 3), ("a", 2), ("c", 1))
    assert (found.kind, found.missing, found.distinct, found.others) == ("category", 1, 3, 0)


def test_rows_of_texts_beyond_the_most_frequent_are_counted_as_others() -> None:
    values = [f"t{number}" for number in range(MAX_CATEGORIES + 100)] + ["often"] * 50
    found = column(pd.Series(values, dtype=object))
    assert found.categories[0] == ("often", 50)
    assert len(found.categories) == MAX_CATEGORIES
    assert found.others == 101
    assert found.distinct == DISTINCT_LIMIT + 1


def test_a_frequent_text_among_countless_others_keeps_its_count_nearly() -> None:
    values = [f"id{number}" if number % 10 else "often" for number in range(60_000)]
    found = column(pd.Series(values, dtype=object), piece=5000)
    assert found.categories[0][0] == "often"
    assert 6000 - 60_000 / 4096 <= found.categories[0][1] <= 6000


def test_huge_texts_are_shortened_and_stay_different() -> None:
    found = column(pd.Series(["x" * 10**6, "x" * 10**6 + "y", "x" * 10**6], dtype=object))
    assert [count for _, count in found.categories] == [2, 1]
    assert max(len(text) for text, _ in found.categories) <= 100


def test_target_columns_stand_beside_the_features() -> None:
    profiler = Profiler(Schema((Column("a", "double"),)))
    profiler.add(pd.DataFrame({"a": [1.0, 2.0]}), pd.Series(["yes", "no"], name="churned", dtype=object))
    assert list(profiler.result().columns) == ["a", "churned"]
    assert profiler.result().columns["churned"].kind == "category"


def test_models_of_thousands_of_columns_keep_fewer_points_a_column() -> None:
    frame = pd.DataFrame(np.arange(200.0)[:, None] + np.zeros(5000), columns=[str(n) for n in range(5000)])
    assert {len(each.points) for each in profiled(frame).columns.values()} == {MIN_POINTS}


@given(
    st.integers(1, 40_000),
    st.sampled_from(["normal", "heavy", "sorted", "falling", "tied", "zeros", "regime"]),
    st.sampled_from([700, 4096, 10_000, 10**6]),
    st.integers(0, 2**32 - 1),
)
def test_ranks_are_as_exact_as_promised_whatever_the_order_of_rows(
    rows: int, shape: str, piece: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    normal = random.normal(size=rows)
    values = {
        "normal": normal,
        "heavy": random.standard_cauchy(size=rows),
        "sorted": np.sort(normal),
        "falling": -np.sort(normal),
        "tied": np.round(normal * 400),
        "zeros": np.where(random.random(rows) < 0.7, 0, normal),
        "regime": np.where(np.arange(rows) < rows / 3, normal, normal + 9),
    }[shape]
    found = column(values, piece)
    halvings = max(0, np.ceil(np.log2(rows / 4096))) + 1
    assert found.weights.sum() == pytest.approx(rows)
    assert worst_rank_error(found, values) <= 1 / MAX_POINTS + halvings / (2 * 4096)


@given(
    st.lists(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True, width=64)), min_size=1, max_size=60)
)
def test_whatever_numbers_come_rows_add_up(values: list[float | None]) -> None:
    found = column(np.array(values, dtype=np.float64), piece=7)
    assert found.missing + found.weights.sum() == found.rows == len(values)
    assert np.all(found.points[1:] > found.points[:-1])


def test_a_profile_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    frame = pd.DataFrame({
        "n": [1.0, np.inf, np.nan], "s": pd.Series(["ä\n", None, '"'], dtype=object), "e": [np.nan] * 3,
    })  # fmt: skip
    profile = profiled(frame)
    save_profile(tmp_path / "p.profile.npz", profile)
    again = load_profile(tmp_path / "p.profile.npz")
    assert again.rows == 3
    for name, each in profile.columns.items():
        back = again.columns[name]
        assert back.points.tolist() == each.points.tolist()
        assert back.weights.tolist() == each.weights.tolist()
        assert (back.kind, back.rows, back.missing, back.categories, back.distinct) == (
            each.kind, each.rows, each.missing, each.categories, each.distinct,
        )  # fmt: skip
        assert (str(back.minimum), str(back.maximum)) == (str(each.minimum), str(each.maximum))


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": np.random.default_rng(5).normal(size=9000)})
    for name in ("one", "two"):
        save_profile(tmp_path / name, profiled(frame, piece=1000))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("content", [b"", b"not a profile", b"PK\x03\x04cut short"])
def test_a_broken_profile_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(StateUnusable, match=r"p\.npz"):
        load_profile(tmp_path / "p.npz")


def test_a_lost_profile_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(StateUnusable, match=r"gone\.npz"):
        load_profile(tmp_path / "gone.npz")
