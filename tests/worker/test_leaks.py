"""Ways in which a row that was learned, or may have been, could come to judge; none of them may."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.linear_model import SGDClassifier

from retrain_daemon.core.evidence import Challenger
from retrain_daemon.core.policy import DataSpec, Holdout, Mode, Recipe, Target
from retrain_daemon.errors import Refused
from retrain_daemon.worker.dataset import read_window, split
from retrain_daemon.worker.inspection import inspect_drops
from retrain_daemon.worker.job import DropFile, DropReport, InspectDrops, Progress, Source, Train
from retrain_daemon.worker.rows import load_keys, save_keys
from retrain_daemon.worker.schema import Column, Schema
from retrain_daemon.worker.store import initialise
from retrain_daemon.worker.training import train

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FIRST_LOOK = NOW - timedelta(days=10)
SPEC = DataSpec(folder="/drops", pattern="*.csv", target=Target("y"), features=("a",))
SCHEMA = Schema((Column("a", "double"),), "long")
NOWHERE = Source(tracking_uri="sqlite://", registry_uri="sqlite://", model="churn", version=None)
NONE_LEARNED = np.empty(0, dtype=np.uint64)


def ignore(_: Progress) -> None:
    """Nobody watches."""


def write(path: Path, count: int, **columns: object) -> DropFile:
    """A file first seen today."""
    numbers = range(count)
    pd.DataFrame({"a": numbers, "b": 0.5, "y": [n % 2 for n in numbers]} | columns).to_csv(path, index=False)
    return DropFile(drop=1, path=str(path), first_seen=NOW - timedelta(hours=1))


def inspect(file: DropFile, folder: Path, source: Source = NOWHERE, spec: DataSpec = SPEC) -> DropReport:
    job = InspectDrops(source=source, data=spec, files=(file,), known_rows=(), rows_folder=str(folder))
    [report] = inspect_drops(job, ignore).reports
    assert not report.problem
    return report


def test_rows_of_history_do_not_judge_although_their_file_was_rewritten_with_more(tmp_path: Path) -> None:
    report = inspect(replace(write(tmp_path / "history.csv", 2000), first_seen=FIRST_LOOK), tmp_path)
    rewritten = write(tmp_path / "history.csv", 3000)
    rows = read_window([rewritten], SPEC, SCHEMA, NOW)
    sides = split(rows, SPEC, NONE_LEARNED, FIRST_LOOK, load_keys([report.units_file]))
    assert (sides.judging.features.frame()["a"] >= 2000).all()
    assert len(sides.judging) > 150
    assert sides.too_early > 300


def test_rows_of_history_do_not_judge_although_their_columns_are_in_another_order(tmp_path: Path) -> None:
    report = inspect(replace(write(tmp_path / "history.csv", 2000), first_seen=FIRST_LOOK), tmp_path)
    shuffled = write(tmp_path / "other.csv", 2000)
    frame = pd.read_csv(shuffled.path).sample(frac=1, random_state=0)
    frame[["y", "b", "a"]].to_csv(shuffled.path, index=False)
    rows = read_window([shuffled], SPEC, SCHEMA, NOW)
    sides = split(rows, SPEC, NONE_LEARNED, FIRST_LOOK, load_keys([report.units_file]))
    assert len(sides.judging) == 0
    assert sides.too_early > 300


def test_rows_of_history_that_only_looked_wrong_do_not_judge_from_another_file(tmp_path: Path) -> None:
    history = replace(write(tmp_path / "history.csv", 2000), first_seen=FIRST_LOOK)
    Path(history.path).write_text(Path(history.path).read_text("utf-8").rstrip("\n"), "utf-8")
    job = InspectDrops(source=NOWHERE, data=SPEC, files=(history,), known_rows=(), rows_folder=str(tmp_path))
    [report] = inspect_drops(job, ignore).reports
    assert report.suspect
    sides = split(
        read_window([write(tmp_path / "whole.csv", 2500)], SPEC, SCHEMA, NOW), SPEC, NONE_LEARNED, FIRST_LOOK,
        load_keys([report.units_file]),
    )  # fmt: skip
    assert (sides.judging.features.frame()["a"] >= 2000).all()
    assert len(sides.judging) > 50


@pytest.mark.parametrize(("before", "after"), [(None, "b"), ("b", None), ("c", "b")])
def test_rows_of_history_do_not_judge_from_another_file_although_the_group_of_the_policy_changed(
    tmp_path: Path, before: str | None, after: str | None
) -> None:
    numbers = [f"n{number}" for number in range(2000)]
    history = write(tmp_path / "history.csv", 2000, b=numbers, c=numbers)
    report = inspect(history, tmp_path, spec=replace(SPEC, group=before))
    corrected = write(tmp_path / "corrected.csv", 2500, b=[f"m{number}" for number in range(2500)], y=0)
    spec = replace(SPEC, group=after)
    rows = read_window([corrected], spec, SCHEMA, NOW)
    sides = split(rows, spec, NONE_LEARNED, FIRST_LOOK, load_keys([report.units_file]))
    assert (sides.judging.features.frame()["a"] >= 2000).all()
    assert len(sides.judging) > 50


def test_a_wrong_year_in_one_row_does_not_move_the_newest_holdout(tmp_path: Path) -> None:
    times = pd.date_range(NOW.replace(tzinfo=None) - timedelta(days=50), periods=1200, freq="h").astype(str).tolist()
    spec = replace(SPEC, event_time="t", holdout=Holdout(newest=timedelta(days=14)))
    right = write(tmp_path / "right.csv", 1200, t=times)
    wrong = write(tmp_path / "wrong.csv", 1200, t=["2062-01-01 00:00:00", *times[1:]])
    sides = [split(read_window([file], spec, SCHEMA, NOW), spec, NONE_LEARNED, None) for file in (right, wrong)]
    assert [len(side.judging) for side in sides] == [14 * 24 + 1, 14 * 24 + 1]
    assert [len(side.training) for side in sides] == [36 * 24 - 1, 36 * 24 - 2]


class Store:
    """A SQLite registry whose model `churn` takes the columns a and b."""

    def __init__(self, root: Path) -> None:
        self.root = root
        uri = f"sqlite:///{root}/mlflow.db"
        initialise(uri)
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        experiment = mlflow.create_experiment("by hand", artifact_location=str(root / "by-hand"))
        features = pd.DataFrame({"a": np.arange(60.0), "b": 0.5})
        estimator = SGDClassifier(random_state=0).fit(features, np.arange(60) % 2)
        signature = infer_signature(features, estimator.predict(features))
        with mlflow.start_run(experiment_id=experiment):
            logged = mlflow.sklearn.log_model(estimator, name="model", signature=signature, pip_requirements=["mlflow"])
            mlflow.register_model(logged.model_uri, "churn")
        self.source = Source(tracking_uri=uri, registry_uri=uri, model="churn", version=1)

    def job(self, file: DropFile, **changes: object) -> Train:
        job = Train(
            attempt="churn-1", key="journal/churn-1", source=self.source, data=replace(SPEC, features=()),
            recipe=Recipe(mode=Mode.WARM_START), drops=(file,), learned=(), unknown_until=FIRST_LOOK,
            learned_file=str(self.root / "learned.npy"), metrics=("accuracy",), confidence=0.95, min_rows=20, now=NOW,
            seed=1, policy_text="model: churn\n", experiment="retraind/churn", kept_folder=str(self.root / "kept"),
        )  # fmt: skip
        return replace(job, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    yield Store(tmp_path_factory.mktemp("store"))
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


@pytest.mark.slow
def test_a_whole_training_leaves_out_rewritten_history_and_says_how_much(store: Store, tmp_path: Path) -> None:
    spec = replace(SPEC, features=())
    history = replace(write(tmp_path / "history.csv", 2000), first_seen=FIRST_LOOK)
    units = inspect(history, tmp_path, store.source, spec).units_file
    job = store.job(write(tmp_path / "history.csv", 3000), early=(units,))
    evidence = train(job, tmp_path, ignore).evidence
    assert 150 < evidence.rows < 250
    assert 350 < evidence.too_early < 450


@pytest.mark.slow
def test_a_challenger_of_other_columns_is_not_judged_again_on_rows_it_may_have_learned(
    store: Store, tmp_path: Path
) -> None:
    learned = str(tmp_path / "learned.npy")
    file = write(tmp_path / "a.csv", 2000)
    save_keys(learned, read_window([file], SPEC, SCHEMA, NOW).learned_keys)
    challenger = Challenger(
        run_id="r", model_uri="models:/m-1", digest="d", learned_file=learned, training_rows=1600, unit="features a"
    )
    with pytest.raises(Refused, match="features a, version 1 asks for features a, b"):
        train(store.job(file, challenger=challenger), tmp_path, ignore)
