"""Drift: known distances, what counts as a bin, and that the same distribution is near and another one far."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain_daemon.errors import StateUnusable
from retrain_daemon.worker.drift import make_bins, measure_drift, population_stability
from retrain_daemon.worker.job import DriftMeasured, MeasureDrift, ProfiledDrop, Progress, Source
from retrain_daemon.worker.profile import ColumnProfile, Profile, Profiler, save_profile
from retrain_daemon.worker.profile_joining import joined
from retrain_daemon.worker.schema import Column, Schema

SOURCE = Source(tracking_uri="", registry_uri="", model="churn", version=1)


def profiled(frame: pd.DataFrame) -> Profile:
    profiler = Profiler(Schema(tuple(Column(str(name), "") for name in frame)))
    profiler.add(frame)
    return profiler.result()


def numbers(values: object) -> ColumnProfile:
    return profiled(pd.DataFrame({"a": np.asarray(values)})).columns["a"]


def texts(values: list[str | None]) -> ColumnProfile:
    return profiled(pd.DataFrame({"a": pd.Series(values, dtype=object)})).columns["a"]


def distance(reference: ColumnProfile, new: ColumnProfile) -> float:
    return make_bins(reference, new).distance(new)


def measured(
    folder: Path, reference: list[pd.DataFrame], new: list[pd.DataFrame], alone: tuple[int, ...] = ()
) -> DriftMeasured:
    drops = []
    for number, frame in enumerate([*reference, *new]):
        save_profile(folder / f"{number}.npz", profiled(frame))
        drops.append(ProfiledDrop(drop=number, profile_file=str(folder / f"{number}.npz")))
    told: list[Progress] = []
    cut = len(reference)
    return measure_drift(
        MeasureDrift(source=SOURCE, new=tuple(drops[cut:]), reference=tuple(drops[:cut]), alone=alone), told.append
    )


def test_the_index_of_two_known_distributions_is_the_one_of_the_textbook() -> None:
    reference, new = np.array([500_000.0, 500_000.0]), np.array([250_000.0, 750_000.0])
    assert population_stability(reference, new) == pytest.approx(0.25 * np.log(3), rel=1e-4)


def test_equal_shares_are_no_distance_whatever_the_sizes() -> None:
    assert population_stability(np.array([100.0, 300.0]), np.array([100.0, 300.0])) == 0
    assert population_stability(np.array([1e5, 3e5]), np.array([1e6, 3e6])) == pytest.approx(0, abs=1e-9)


def test_bins_empty_on_both_sides_do_not_count_and_one_empty_side_is_far_but_finite() -> None:
    assert population_stability(np.array([10.0, 0, 30]), np.array([10.0, 0, 30])) == 0
    assert population_stability(np.zeros(3), np.zeros(3)) == 0
    assert 5 < population_stability(np.array([5000.0, 0]), np.array([0, 1000.0])) < 20


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3])
def test_the_same_distribution_is_near(share: float) -> None:
    random = np.random.default_rng(1)
    for draw in (random.normal, random.standard_cauchy, lambda size: random.poisson(0.3, size)):
        reference, new = draw(size=5000).astype(float), draw(size=1000).astype(float)
        for side in (reference, new):
            side[random.random(len(side)) < share] = np.nan
        assert distance(numbers(reference), numbers(new)) < 0.05


def test_a_shifted_column_is_far() -> None:
    random = np.random.default_rng(2)
    assert distance(numbers(random.normal(size=5000)), numbers(random.normal(1, size=1000))) > 0.8


def test_a_constant_column_that_stays_is_near_and_one_that_changes_is_far_in_both_directions() -> None:
    assert distance(numbers([5.0] * 5000), numbers([5.0] * 1000)) < 0.001
    for other in (4.0, 6.0):
        assert distance(numbers([5.0] * 5000), numbers([5.0] * 800 + [other] * 200)) > 0.25


def test_a_frequent_value_is_told_from_its_neighbours() -> None:
    random = np.random.default_rng(3)
    amounts = np.where(random.random(5000) < 0.6, 0.0, random.exponential(size=5000))
    moved = np.where(random.random(2000) < 0.2, 0.0, random.exponential(size=2000))
    below = np.where(amounts[:2000] == 0, -1.0, amounts[:2000])
    assert distance(numbers(amounts), numbers(moved)) > 0.5
    assert distance(numbers(amounts), numbers(below)) > 0.5


def test_the_share_of_missing_values_counts() -> None:
    values = np.random.default_rng(4).normal(size=6000)
    gaps = np.where(np.arange(6000) % 3 == 0, np.nan, values)
    assert distance(numbers(values), numbers(gaps)) > 0.5
    assert distance(texts(["a", None] * 1000), texts(["a"] * 2000)) > 0.5


def test_a_column_without_a_value_on_one_side_is_far_and_on_both_sides_near() -> None:
    nothing = numbers([np.nan] * 1000)
    assert distance(nothing, nothing) == 0
    for filled in (numbers(np.arange(1000.0)), texts(["a", "b"] * 500)):
        assert distance(nothing, filled) > 5
        assert distance(filled, nothing) > 5


def test_infinities_count_and_give_a_finite_distance() -> None:
    found = distance(numbers([1.0, 2.0] * 1000), numbers([np.inf, -np.inf] * 1000))
    assert np.isfinite(found)
    assert found > 5
    assert distance(numbers([np.inf] * 1000), numbers([np.inf] * 1000)) < 0.01


@pytest.mark.parametrize("kinds", [2, 20, 300, 500, 2000, 100_000])
def test_texts_of_the_same_distribution_are_near_however_many_there_are(kinds: int) -> None:
    random = np.random.default_rng(5)
    reference, new = ([f"t{kind}" for kind in random.integers(0, kinds, rows)] for rows in (5000, 1000))
    assert distance(texts(reference), texts(new)) < 0.08


def test_texts_of_a_long_tail_are_near() -> None:
    random = np.random.default_rng(6)
    reference, new = ([f"t{kind}" for kind in random.zipf(1.5, rows)] for rows in (5000, 1000))
    assert distance(texts(reference), texts(new)) < 0.08


@pytest.mark.parametrize("kinds", [2, 20, 400])
def test_texts_that_were_never_there_are_far(kinds: int) -> None:
    reference, new = ([f"{word}{row % kinds}" for row in range(rows)] for word, rows in (("old", 5000), ("new", 1000)))
    assert distance(texts(reference), texts(new)) > 5


def test_a_text_that_takes_over_is_far() -> None:
    reference = [f"t{row % 300}" for row in range(6000)]
    assert distance(texts(reference), texts(["t7" if row % 2 else text for row, text in enumerate(reference)])) > 0.25


@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.5, np.nan, np.inf, -np.inf, 1e300, -1e-300]), min_size=1, max_size=50),
    st.lists(st.sampled_from([0.0, 1.0, 7.5, np.nan, np.inf, -np.inf, 1e-300]), min_size=1, max_size=50),
)
def test_a_distance_is_finite_and_never_negative(reference: list[float], new: list[float]) -> None:
    found = distance(numbers(reference), numbers(new))
    assert np.isfinite(found)
    assert found >= 0


def test_many_small_files_are_the_same_as_one_large() -> None:
    random = np.random.default_rng(7)
    frame = pd.DataFrame({
        "n": random.normal(size=40_000), "s": pd.Series(random.choice(list("abcdefghi"), 40_000), dtype=object),
    })  # fmt: skip
    parts = joined(profiled(frame.iloc[start : start + 200]) for start in range(0, 40_000, 200))
    whole = profiled(frame)
    assert parts.rows == whole.rows
    assert dict(parts.columns["s"].categories) == dict(whole.columns["s"].categories)
    assert (parts.columns["n"].minimum, parts.columns["n"].maximum) == (frame["n"].min(), frame["n"].max())
    assert distance(whole.columns["n"], parts.columns["n"]) < 0.0005


def test_all_columns_of_both_sides_are_measured_and_single_drops_by_their_worst(tmp_path: Path) -> None:
    random = np.random.default_rng(8)

    def rows(count: int, age: float = 0) -> pd.DataFrame:
        region = pd.Series(random.choice(["n", "s"], count), dtype=object)
        return pd.DataFrame(
            {"age": random.normal(age, size=count), "income": random.exponential(size=count), "region": region}
        )

    found = measured(tmp_path, [rows(3000), rows(3000)], [rows(1000), rows(1000, age=2), rows(100, age=9)], (2, 3, 4))
    assert (found.new_rows, found.reference_rows) == (2100, 6000)
    columns = dict(found.columns)
    assert list(columns) == ["age", "income", "region"]
    assert columns["age"] > 0.25 > 0.05 > max(columns["income"], columns["region"])
    assert [drop.drop for drop in found.drops] == [2, 3]
    assert found.drops[0].value < 0.1 < 1 < found.drops[1].value
    assert found.drops[1].worst == "age"


def test_times_are_not_measured_for_the_newest_are_always_new(tmp_path: Path) -> None:
    def rows(day: str) -> pd.DataFrame:
        return pd.DataFrame({"at": pd.to_datetime([day] * 600), "n": np.arange(600.0)})

    assert [name for name, _ in measured(tmp_path, [rows("2026-01-01")], [rows("2026-01-02")]).columns] == ["n"]


def test_a_column_of_another_kind_or_of_one_side_only_is_left_out(tmp_path: Path) -> None:
    reference = pd.DataFrame({"mixed": np.arange(600.0), "gone": np.arange(600.0), "kept": np.arange(600.0)})
    new = pd.DataFrame(
        {"mixed": pd.Series(["x"] * 600, dtype=object), "come": np.arange(600.0), "kept": np.arange(600.0)}
    )
    assert [name for name, _ in measured(tmp_path, [reference], [new]).columns] == ["kept"]
    assert [name for name, _ in measured(tmp_path, [reference, new], [new]).columns] == ["kept", "come"]


def test_a_file_without_values_in_a_column_does_not_make_it_another_kind(tmp_path: Path) -> None:
    words = pd.DataFrame({"a": pd.Series(["x", "y"] * 300, dtype=object)})
    empty = pd.DataFrame({"a": np.full(600, np.nan)})
    found = measured(tmp_path, [words, empty], [words, empty])
    assert dict(found.columns)["a"] == 0


def test_a_lost_profile_is_named(tmp_path: Path) -> None:
    lost = ProfiledDrop(drop=1, profile_file=str(tmp_path / "lost.npz"))
    with pytest.raises(StateUnusable, match=r"lost\.npz"):
        measure_drift(MeasureDrift(source=SOURCE, new=(lost,), reference=(lost,)), lambda progress: None)
