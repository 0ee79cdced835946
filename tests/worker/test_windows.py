"""Which rows a training may use at a time: labels that settle, edges of windows, older rows mixed in; over weeks."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import SGDClassifier

from retrain_daemon.core.policy import DataSpec, Holdout, Mode, Recipe, Target, Window
from retrain_daemon.errors import TrainingFailed
from retrain_daemon.worker.dataset import is_unlearned, read_each_once, read_window, replayed, split, windowed
from retrain_daemon.worker.features import Features, Table
from retrain_daemon.worker.frameworks.sklearn import continue_training
from retrain_daemon.worker.job import DropFile, Source, Train
from retrain_daemon.worker.labelled import LabelledRows, Rows
from retrain_daemon.worker.row_files import StoredRows
from retrain_daemon.worker.rows import Keys, each_once, save_keys
from retrain_daemon.worker.schema import Column, Schema
from retrain_daemon.worker.training import _parameters
from retrain_daemon.worker.window import JobRows, read_job_rows, refuse_too_few

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TODAY = np.datetime64("2026-03-01", "ns")
HOUR, DAY = np.timedelta64(1, "h"), np.timedelta64(1, "D")
SPEC = DataSpec(
    folder="/drops", pattern="*.csv", target=Target("y"), features=("a",), event_time="at",
    label_delay=timedelta(days=7), holdout=Holdout(newest=timedelta(days=14)),
)  # fmt: skip
SCHEMA = Schema((Column("a", "double"),), "long")
NONE = np.empty(0, dtype=np.uint64)


def at(*ages: np.timedelta64, drops: tuple[int, ...] = ()) -> Rows:
    """Rows of these ages, each its own unit, of one drop or of these."""
    count = len(ages)
    keys = np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return Rows(
        features=Table(pd.DataFrame({"a": np.arange(float(count))})), target=pd.Series(np.zeros(count)), unit_keys=keys,
        row_keys=keys, groups=None, drop=np.array(drops or (1,) * count), first_seen=np.full(count, TODAY),
        event_time=TODAY - np.array(ages, dtype="timedelta64[ns]"),
    )  # fmt: skip


def ages(rows: LabelledRows) -> list[float]:
    return sorted(((TODAY - rows.event_time) / DAY).tolist())


def write(path: Path, times: list[Any], **columns: Any) -> DropFile:
    number = int(path.stem)
    count = len(times)
    frame = pd.DataFrame({"a": np.arange(count) + 1000.0 * number, "at": times, "y": np.arange(count) % 2} | columns)
    frame.to_csv(path, index=False)
    return DropFile(drop=number, path=str(path), first_seen=NOW - timedelta(hours=1))


def test_rows_whose_labels_may_still_change_are_on_neither_side_and_the_newest_before_them_judge() -> None:
    rows = windowed(at(0 * DAY, 7 * DAY - HOUR, 7 * DAY, 20 * DAY, 21 * DAY, 22 * DAY), SPEC, [1], NOW)
    sides = split(rows, SPEC, NONE, None)
    assert ages(sides.judging) == [7, 20]
    assert ages(sides.training) == [21, 22]


def test_the_age_of_a_label_counts_in_utc_whatever_the_zone_of_the_file(tmp_path: Path) -> None:
    times = ["2026-02-22T01:30:00+02:00", "2026-02-21T22:30:00-02:00", "2026-02-22T00:00:00", None]
    rows = read_window([write(tmp_path / "1.csv", times)], SPEC, SCHEMA, NOW)
    assert rows.event_time.astype("datetime64[m]").astype(str).tolist() == ["2026-02-21T23:30", "2026-02-22T00:00"]


def test_an_older_copy_does_not_stand_in_for_a_row_whose_label_may_still_change(tmp_path: Path) -> None:
    spec = replace(SPEC, row_id=("a",))
    drops = [
        write(tmp_path / "1.csv", ["2026-01-01", "2026-01-02"], a=[1, 2]),
        write(tmp_path / "2.csv", ["2026-02-28"], a=[1], y=[1]),
    ]
    assert read_window(drops, spec, SCHEMA, NOW).features.frame()["a"].tolist() == [2]
    later = read_window(drops, spec, SCHEMA, NOW + timedelta(days=8))
    assert sorted(zip(later.features.frame()["a"], later.target, strict=True)) == [(1, 1), (2, 1)]


def test_a_copy_with_a_date_that_cannot_be_does_not_supersede_a_row(tmp_path: Path) -> None:
    drops = [
        write(tmp_path / "1.csv", ["2026-01-01"], a=[1]),
        write(tmp_path / "2.csv", ["2062-01-01"], a=[1]),
    ]
    rows = read_window(drops, replace(SPEC, row_id=("a",)), SCHEMA, NOW)
    assert rows.drop.tolist() == [1]


def test_files_of_which_every_row_is_too_young_do_not_fill_the_window() -> None:
    spec = replace(SPEC, window=Window(files=2))
    rows = at(30 * DAY, 20 * DAY, 10 * DAY, 9 * DAY, 2 * DAY, 1 * DAY, drops=(1, 2, 3, 3, 3, 4))
    assert ages(windowed(rows, spec, [1, 2, 3, 4], NOW)) == [9, 10, 20]
    assert ages(windowed(rows, replace(spec, label_delay=None), [1, 2, 3, 4], NOW)) == [1, 2, 9, 10]


def test_a_window_of_rows_counts_those_that_are_old_enough_and_cuts_equal_times_to_the_number() -> None:
    spec = replace(SPEC, window=Window(rows=3))
    assert ages(windowed(at(1 * DAY, 8 * DAY, 9 * DAY, 9 * DAY, 9 * DAY, 30 * DAY), spec, [1], NOW)) == [8, 9, 9]


def test_equal_times_at_the_edge_of_the_holdout_are_on_one_side() -> None:
    rows = at(*[8 * DAY] * 3, *[22 * DAY] * 4, *[22 * DAY - HOUR] * 2)
    sides = split(windowed(rows, SPEC, [1], NOW), SPEC, NONE, None)
    assert (len(sides.judging), len(sides.training)) == (5, 4)


def test_a_few_rows_with_a_wrong_date_do_not_move_the_newest_holdout() -> None:
    spec = replace(SPEC, label_delay=None)
    hours = [(10 * 24 + hour) * HOUR for hour in range(2000)]
    right = split(at(*hours), spec, NONE, None)
    wrong = split(at(*hours, -20 * HOUR, -20 * HOUR), spec, NONE, None)
    assert abs(len(wrong.judging) - len(right.judging)) <= 2


def test_rows_of_one_unit_inside_and_outside_the_newest_span_do_not_judge() -> None:
    rows = at(*[8 * DAY] * 4, *[40 * DAY] * 4)
    twice = replace(rows, unit_keys=np.concatenate([rows.unit_keys[:4]] * 2))
    sides = split(windowed(twice, SPEC, [1], NOW), SPEC, NONE, None)
    assert (len(sides.training), len(sides.judging), sides.excluded) == (4, 0, 4)


# Over weeks


@dataclass
class Version:
    """What a version and all it continued from learned."""

    learned: Keys = field(default_factory=lambda: NONE)


HOLDOUTS = st.one_of(
    st.integers(1, 15).map(lambda days: Holdout(newest=timedelta(days=days))), st.just(Holdout(share=0.3))
)
WINDOWS = st.sampled_from([Window(), Window(age=timedelta(days=40)), Window(rows=60), Window(files=3)])
MODES = st.sampled_from([Mode.REFIT, Mode.WARM_START, Mode.INCREMENTAL])


def arriving(week: int, chance: random.Random) -> list[tuple[int, int, int]]:
    """Rows of one week as (customer, hour it happened, label): late, repeated and misdated ones among them."""
    hours = [week * 168 - chance.randrange(0, 168 * 3) for _ in range(chance.randrange(5, 30))]
    hours += [week * 168 + chance.choice([-4000, 20])] * chance.randrange(0, 2)
    return [(chance.randrange(60), hour, chance.randrange(2)) for hour in hours]


def collected(weeks: list[list[tuple[int, int, int]]], start: np.datetime64) -> Rows:
    """All rows so far; a customer and an hour are a row, a customer's features are a unit."""
    flat = [(*row, week) for week, rows in enumerate(weeks) for row in rows]
    customer, hour, label, week = (np.array(column, dtype=np.int64) for column in zip(*flat, strict=True))
    mixed = np.uint64(0x9E3779B97F4A7C15)
    return Rows(
        features=Table(pd.DataFrame({"a": customer})), target=pd.Series(label),
        unit_keys=customer.astype(np.uint64) * mixed,
        row_keys=(customer * 100_000 + hour).astype(np.uint64) * mixed, groups=None, drop=week,
        first_seen=start + week * 7 * DAY, event_time=start + hour * HOUR,
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), HOLDOUTS, WINDOWS, MODES, st.integers(0, 20), st.integers(1, 50))
def test_over_many_weeks_no_row_judges_a_model_that_learned_it_and_none_is_used_before_its_time(
    seed: int, holdout: Holdout, window: Window, mode: Mode, delay: int, replay: int
) -> None:
    chance, start = random.Random(seed), np.datetime64("2026-01-01", "ns")
    spec = replace(SPEC, holdout=holdout, window=window, label_delay=timedelta(days=delay) if delay else None)
    champion, weeks = Version(), []
    for week in range(1, 9):
        weeks.append(arriving(week, chance))
        now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=7 * week)
        drops = list(range(len(weeks)))
        rows = windowed(_each_once(collected(weeks, start)), spec, drops, now)
        sides = split(rows, spec, champion.learned, None)
        training = sides.training
        if mode is Mode.INCREMENTAL:
            fresh = is_unlearned(training, (champion.learned,), None)
            older = replayed(training, fresh, replay, seed)
            assert not fresh[older].any()
            fresh[older] = True
            training = training.take(fresh)
        judging = set(sides.judging.unit_keys.tolist())
        assert not judging & set(champion.learned.tolist())
        assert not judging & set(training.unit_keys.tolist())
        limit = np.datetime64(now.replace(tzinfo=None)) - np.timedelta64(timedelta(days=delay))
        for side in (sides.judging, training):
            assert not delay or (side.event_time <= limit).all()
        if holdout.newest and len(sides.judging) and len(training):
            assert training.event_time.max() < sides.judging.event_time.min()
        before = NONE if mode is Mode.REFIT else champion.learned
        if chance.random() < 0.6:
            champion = Version(each_once([before, training.learned_keys]))


def _each_once(rows: Rows) -> LabelledRows:
    from retrain_daemon.worker.dataset import _distinct

    return _distinct(rows)


# Older rows mixed in


def test_older_rows_are_drawn_evenly_over_time_although_there_are_more_of_the_later_ones() -> None:
    hours = [hour * HOUR for hour in range(2400)] + [HOUR * hour / 100 for hour in range(24000)]
    rows = at(*hours)
    fresh = np.zeros(len(rows), dtype=np.bool_)
    found = replayed(rows, fresh, 1000, seed=3)
    counts = np.histogram((TODAY - rows.event_time[found]) / HOUR, bins=10, range=(0, 2400))[0]
    assert len(set(found.tolist())) == 1000
    assert counts.tolist() == [100] * 10
    assert found.tolist() == replayed(rows, fresh, 1000, seed=3).tolist()
    assert found.tolist() != replayed(rows, fresh, 1000, seed=4).tolist()


@given(st.lists(st.tuples(st.integers(0, 400), st.booleans()), min_size=1, max_size=60), st.integers(1, 80))
def test_as_many_older_rows_are_drawn_as_asked_for_or_as_there_are(rows: list[tuple[int, bool]], count: int) -> None:
    some = at(*[days * DAY for days, _ in rows])
    fresh = np.array([new for _, new in rows])
    found = replayed(some, fresh, count, seed=0)
    assert len(found) == len(set(found.tolist())) == min(count, int((~fresh).sum()))
    assert not fresh[found].any()


class Numbers:
    """A champion that predicts numbers: it has no classes."""

    classes = None


def job(tmp_path: Path, drops: tuple[DropFile, ...], **changes: Any) -> Train:
    nowhere = Source(tracking_uri="sqlite://", registry_uri="sqlite://", model="churn", version=1)
    made = Train(
        attempt="churn-1", key="t/churn-1", source=nowhere, data=SPEC, recipe=Recipe(mode=Mode.INCREMENTAL),
        drops=drops, learned=(), unknown_until=None, learned_file=str(tmp_path / "new.npy"), metrics=("rmse",),
        confidence=0.95, min_rows=20, now=NOW, seed=1, policy_text="", experiment="e", kept_folder=str(tmp_path / "k"),
    )  # fmt: skip
    return replace(made, **changes)


def rows_of(job: Train, folder: Path) -> JobRows:
    return read_job_rows(job, SCHEMA, Numbers(), folder)  # type: ignore[arg-type]


def times(first: str, count: int) -> list[str]:
    return [str(day) for day in pd.date_range(first, periods=count, freq="h")]


def test_a_training_mixes_older_rows_in_notes_them_and_counts_them_as_learned_again(tmp_path: Path) -> None:
    old = write(tmp_path / "1.csv", times("2026-01-01", 500))
    learned = str(tmp_path / "learned.npy")
    save_keys(learned, read_each_once([old], SPEC, SCHEMA, NOW).learned_keys)
    drops = (old, write(tmp_path / "2.csv", times("2026-01-25", 500)))
    asked = job(tmp_path, drops, learned=(learned,), recipe=Recipe(mode=Mode.INCREMENTAL, replay=100))
    window = rows_of(asked, tmp_path)
    assert (window.replayed, len(window.training)) == (100, 100 + 163)
    said = r"100 of 500 rows that were learned before, from 2026-01-0\d .* to 2026-01-2\d .* UTC, were mixed in"
    assert re.match(said, window.notes[0])
    assert _parameters(asked, window, None)["replayed_rows"] == 100
    drop_of = window.training.drop
    assert np.isin(window.training.unit_keys[drop_of == 1], window.training.learned_keys).all()
    plenty = rows_of(replace(asked, recipe=Recipe(mode=Mode.INCREMENTAL, replay=9000)), tmp_path)
    assert plenty.replayed == 500
    assert "asks for 9,000 rows; the training side has 500 that were learned before" in plenty.notes[0]
    nothing = rows_of(replace(asked, drops=drops[1:]), tmp_path)
    assert "the training side has none that was learned before" in nothing.notes[0]


def test_older_rows_alone_are_no_reason_to_train(tmp_path: Path) -> None:
    old = write(tmp_path / "1.csv", times("2026-01-01", 900))
    learned = str(tmp_path / "learned.npy")
    save_keys(learned, read_each_once([old], SPEC, SCHEMA, NOW).learned_keys)
    asked = job(tmp_path, (old,), learned=(learned,), recipe=Recipe(mode=Mode.INCREMENTAL, replay=100))
    with pytest.raises(TrainingFailed, match="has learned all"):
        refuse_too_few(asked, rows_of(asked, tmp_path))


def test_a_training_that_finds_too_few_rows_old_enough_is_refused_with_the_numbers(tmp_path: Path) -> None:
    young = job(tmp_path, (write(tmp_path / "1.csv", times("2026-02-25", 48)),))
    with pytest.raises(TrainingFailed, match="no rows to train on: of 0 in the window 0 judge") as found:
        refuse_too_few(young, rows_of(young, tmp_path))
    assert "Another 48 happened less than 7 days ago (data.label_delay)" in found.value.message
    assert "the first of them is old enough on 2026-03-04 00:00 UTC" in found.value.message
    spec = replace(SPEC, holdout=Holdout(share=0.01))
    few = job(tmp_path, (write(tmp_path / "1.csv", times("2026-02-20", 100)),), data=spec)
    with pytest.raises(TrainingFailed, match=r"Of 49 rows in the window \d can judge, and promote.min_rows is 20"):
        refuse_too_few(few, rows_of(few, tmp_path))
    enough = job(tmp_path, (write(tmp_path / "1.csv", times("2026-01-01", 1300)),))
    refuse_too_few(enough, rows_of(enough, tmp_path))


# On disk

MIXED = Schema(
    (
        Column("n", "long"),
        Column("x", "double"),
        Column("s", "string"),
        Column("b", "boolean"),
        Column("d", "datetime"),
    ),
    "string",
)  # fmt: skip


def mixed(seed: int, count: int = 500) -> pd.DataFrame:
    chance = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "n": chance.integers(-9, 9, count), "x": np.where(chance.random(count) < 0.1, np.nan, chance.random(count)),
            "s": chance.choice(np.array(["a", "b,c", None, f"only {seed}"], dtype=object), count),
            "b": chance.random(count) < 0.5, "d": pd.Timestamp("2026-01-01") + pd.to_timedelta(range(count), unit="h"),
            "who": chance.integers(0, 40, count), "w": chance.random(count),
            "y": chance.choice(np.array(["no", "yes"]), count),
        }
    )  # fmt: skip


def test_rows_on_disk_are_those_in_memory_whatever_their_columns_hold(tmp_path: Path) -> None:
    spec = DataSpec(
        folder="/d", pattern="*", target=Target("y"), group="who", weight="w", row_id=("n", "who"), event_time="d",
        holdout=Holdout(share=0.4),
    )  # fmt: skip
    drops = []
    for number in range(3):
        path = tmp_path / f"{number}.parquet"
        mixed(number).to_parquet(path)
        drops.append(DropFile(drop=number, path=str(path), first_seen=NOW - timedelta(days=9 - number)))
    now = datetime(2026, 1, 15, tzinfo=UTC)
    here, there = read_window(drops, spec, MIXED, now), read_window(drops, spec, MIXED, now, tmp_path)
    assert isinstance(there, StoredRows)
    same(here, there)
    backwards = np.arange(len(here))[::-3]
    same(here.take(backwards), there.take(backwards))
    known = here.unit_keys[:1]
    for one, other in zip(_sides(here, spec, known), _sides(there, spec, known), strict=True):
        same(one, other)
    assert here.learned_keys.tolist() == there.learned_keys.tolist()
    assert here.seen_keys.tolist() == there.seen_keys.tolist()


def _sides(rows: LabelledRows, spec: DataSpec, known: Keys) -> tuple[LabelledRows, LabelledRows]:
    sides = split(rows, spec, known, None)
    return sides.training, sides.judging


def same(here: LabelledRows, there: LabelledRows) -> None:
    assert len(here) == len(there) > 0
    pd.testing.assert_frame_equal(here.features.frame(), there.features.frame())
    pd.testing.assert_series_equal(pd.Series(here.target), pd.Series(there.target), check_names=False)
    for name in ("unit_keys", "row_keys", "groups", "drop", "first_seen", "event_time", "unit_first_seen", "weight",
                 "feature_keys"):  # fmt: skip
        assert np.array_equal(getattr(here, name), getattr(there, name)), name


def test_a_model_learns_the_same_from_rows_on_disk_as_from_those_in_memory(tmp_path: Path) -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(3000, 3)), columns=["a", "b", "c"])
    frame.assign(y=(frame["a"] > 0).astype(int)).to_parquet(tmp_path / "1.parquet")
    schema = Schema(tuple(Column(name, "double") for name in "abc"), "long")
    drops = [DropFile(drop=1, path=str(tmp_path / "1.parquet"), first_seen=NOW)]
    spec = DataSpec(folder="/d", pattern="*", target=Target("y"))
    champion = SGDClassifier(random_state=0).fit(frame[:50], (frame["a"] > 0).astype(int)[:50])

    def learned(features: Features, target: Any) -> list[float]:
        made = continue_training(champion, Mode.INCREMENTAL, {}, features, target, seed=1, progress=lambda *_: None)
        return made.estimator.coef_.tolist()  # type: ignore[no-any-return]

    here, there = read_window(drops, spec, schema, NOW), read_window(drops, spec, schema, NOW, tmp_path)
    assert learned(here.features, here.target) == learned(there.features, there.target)
