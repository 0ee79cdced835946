"""Scores of one version on single drops: on what rows, and what is said where there is no score."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from retrain_daemon.core.policy import DataSpec, Outputs, Target
from retrain_daemon.errors import Refused
from retrain_daemon.worker.formats.pieces import _MOST_ROWS as _PIECE_ROWS
from retrain_daemon.worker.job import DropFile, DropScore, DropsScored, ScoreDrops, Source
from retrain_daemon.worker.row_reading import read_rows
from retrain_daemon.worker.rows import save_keys
from retrain_daemon.worker.schema import Column, Schema
from retrain_daemon.worker.scoring import LEAST_ROWS, score_drops
from retrain_daemon.worker.store import initialise
from tests.box import buyers
from tests.networks import FEATURES, OLD, log_keras, log_torch

pytestmark = pytest.mark.slow

SEEN = datetime(2026, 1, 5, tzinfo=UTC)
NEW = buyers(7, 400, old_world=True)[[*FEATURES, "bought"]]


def log_sklearn() -> Any:
    estimator = LogisticRegression(max_iter=500).fit(OLD[FEATURES], OLD["bought"])
    signature = mlflow.models.infer_signature(OLD[FEATURES], OLD["bought"])
    return mlflow.sklearn.log_model(estimator, name="model", signature=signature, pip_requirements=["scikit-learn"])


class Shelf:
    """An MLflow with registered versions, and jobs about files beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = f"sqlite:///{root}/mlflow.db"
        initialise(self.uri)
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        self.experiment = mlflow.create_experiment("shelf", artifact_location=str(root / "artifacts"))

    def register(self, name: str, log: Callable[[], Any]) -> None:
        with mlflow.start_run(experiment_id=self.experiment):
            logged = log()
        mlflow.register_model(logged.model_uri, name)

    def job(self, *drops: DropFile, name: str = "sklearn", metrics: tuple[str, ...] = ("accuracy",)) -> ScoreDrops:
        target = Target("bought", positive="yes")
        data = DataSpec(folder=str(self.root), pattern="*.csv", target=target)
        if name != "sklearn":
            target = replace(target, classes=("no", "yes"))
            data = replace(data, target=target, features=tuple(FEATURES), model_outputs=Outputs.LOGITS)
        source = Source(tracking_uri=self.uri, registry_uri=self.uri, model=name, version=1)
        return ScoreDrops(source=source, data=data, drops=drops, learned=(), unknown_until=None, metrics=metrics)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    shelf.register("sklearn", log_sklearn)
    yield shelf
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


def a_drop(folder: Path, rows: pd.DataFrame = NEW, number: int = 1, **changes: Any) -> DropFile:
    path = folder / f"{number}.csv"
    rows.to_csv(path, index=False)
    mark = sha256(path.read_bytes()).hexdigest()
    return replace(DropFile(drop=number, path=str(path), first_seen=SEEN, fingerprint=mark), **changes)


def score(job: ScoreDrops, folder: Path) -> DropsScored:
    return score_drops(job, folder, lambda _progress: None)


def only(job: ScoreDrops, folder: Path) -> DropScore:
    [found] = score(job, folder).scores
    return found


def units(path: Path, job: ScoreDrops, drop: DropFile, rows: slice) -> str:
    """A key file of some rows of a drop, as a version that learned them has it."""
    schema = Schema(tuple(Column(name, "double") for name in FEATURES), "string", None)
    save_keys(path, np.sort(read_rows(drop, job.data, schema).rows.unit_keys[rows]))
    return str(path)


def test_a_drop_is_scored_by_each_metric_as_scikit_learn_would(shelf: Shelf, tmp_path: Path) -> None:
    metrics = ("accuracy", "roc_auc", "log_loss")
    found = score(shelf.job(a_drop(tmp_path), metrics=metrics), tmp_path).scores
    model = mlflow.sklearn.load_model("models:/sklearn/1")
    given = model.predict_proba(NEW[FEATURES])
    assert [each.metric for each in found] == list(metrics)
    assert [each.value for each in found] == pytest.approx([
        accuracy_score(NEW["bought"], model.predict(NEW[FEATURES])),
        roc_auc_score(NEW["bought"] == "yes", given[:, 1]),
        log_loss(NEW["bought"], given),
    ])  # fmt: skip
    assert {(each.drop, each.rows, each.problem) for each in found} == {(1, 400, "")}
    assert [path.name for path in tmp_path.iterdir()] == ["1.csv"]


@pytest.mark.parametrize(("name", "log"), [("keras", log_keras), ("torch", log_torch)])
def test_networks_are_scored_too(shelf: Shelf, tmp_path: Path, name: str, log: Callable[[], Any]) -> None:
    shelf.register(name, log)
    found = score(shelf.job(a_drop(tmp_path), name=name, metrics=("accuracy", "log_loss")), tmp_path).scores
    assert [each.problem for each in found] == ["", ""]
    assert found[0].value is not None
    assert found[0].value > 0.7


def test_rows_that_the_version_learned_from_are_left_out(shelf: Shelf, tmp_path: Path) -> None:
    drop = a_drop(tmp_path)
    job = shelf.job(drop)
    learned = units(tmp_path / "learned.npy", job, drop, slice(0, 150))
    whole = only(shelf.job(a_drop(tmp_path, NEW.iloc[150:], 2)), tmp_path)
    assert only(replace(job, learned=(learned,)), tmp_path) == replace(whole, drop=1)


def test_rows_that_the_version_may_have_learned_from_are_left_out(shelf: Shelf, tmp_path: Path) -> None:
    drop = a_drop(tmp_path)
    job = shelf.job(drop)
    early = units(tmp_path / "early.npy", job, drop, slice(0, 150))
    assert only(replace(job, early=(early,), unknown_until=SEEN - timedelta(days=1)), tmp_path).rows == 250
    late = only(replace(job, unknown_until=SEEN), tmp_path)
    assert (late.value, late.rows) == (None, 0)
    assert late.problem == f"0 of 400 rows can be scored, and {LEAST_ROWS} are needed."


def test_a_score_is_the_same_with_and_without_what_the_version_learned_in_between(shelf: Shelf, tmp_path: Path) -> None:
    """What was learned since can only be in other versions' records: this one's keys, and so its rows, are the same."""
    drop = a_drop(tmp_path)
    job = shelf.job(drop)
    learned = units(tmp_path / "learned.npy", job, drop, slice(0, 100))
    first = score(replace(job, learned=(learned,)), tmp_path)
    assert score(replace(job, drops=(a_drop(tmp_path, NEW.iloc[:80], 3), drop), learned=(learned,)), tmp_path).scores[
        1:
    ] == (first.scores)


def test_a_row_that_stands_twice_in_a_drop_counts_once(shelf: Shelf, tmp_path: Path) -> None:
    assert only(shelf.job(a_drop(tmp_path, pd.concat([NEW, NEW]))), tmp_path).rows == 400


def test_a_class_that_the_version_does_not_know_is_left_out(shelf: Shelf, tmp_path: Path) -> None:
    rows = NEW.copy()
    rows.loc[rows.index[:30], "bought"] = "maybe"
    found = only(shelf.job(a_drop(tmp_path, rows)), tmp_path)
    assert (found.rows, found.problem) == (370, "")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (NEW.iloc[:49], "49 of 49 rows can be scored, and 50 are needed."),
        (NEW[NEW["bought"] == "yes"], "All rows are of one class."),
        (NEW.assign(bought="maybe"), "0 of 400 rows can be scored"),
        (NEW.drop(columns="age"), "age"),
    ],
)
def test_where_there_is_no_score_a_sentence_says_why(
    shelf: Shelf, tmp_path: Path, rows: pd.DataFrame, said: str
) -> None:
    found = only(shelf.job(a_drop(tmp_path, rows)), tmp_path)
    assert found.value is None
    assert said in found.problem


def test_a_metric_that_is_not_of_this_task_has_no_value_and_the_others_have(shelf: Shelf, tmp_path: Path) -> None:
    accuracy, rmse = score(shelf.job(a_drop(tmp_path), metrics=("accuracy", "rmse")), tmp_path).scores
    assert accuracy.value is not None
    assert rmse.value is None
    assert "rmse" in rmse.problem


def test_nothing_is_said_of_a_drop_that_is_not_the_recorded_file_now(shelf: Shelf, tmp_path: Path) -> None:
    changed, sound = a_drop(tmp_path), a_drop(tmp_path, number=2)
    Path(changed.path).write_text("visits,basket,age,bought\n1,1,1,yes\n", "utf-8")
    gone = replace(sound, drop=3, path=str(tmp_path / "gone.csv"))
    assert [each.drop for each in score(shelf.job(changed, gone, sound), tmp_path).scores] == [2]


def test_a_file_is_predicted_piece_by_piece(shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from retrain_daemon.worker.frameworks.sklearn_model import SklearnModel

    predict, sizes = SklearnModel.predict, []

    def watched(self: SklearnModel, features: Any) -> Any:
        sizes.append(len(features))
        return predict(self, features)

    monkeypatch.setattr(SklearnModel, "predict", watched)
    rows = buyers(3, 3 * _PIECE_ROWS, old_world=True)[[*FEATURES, "bought"]]
    path = tmp_path / "1.parquet"
    rows.to_parquet(path, index=False)
    drop = DropFile(drop=1, path=str(path), first_seen=SEEN)
    assert only(shelf.job(drop), tmp_path).problem == ""
    assert len(sizes) >= 3
    assert max(sizes) <= _PIECE_ROWS


def test_a_version_that_cannot_be_loaded_is_refused(shelf: Shelf, tmp_path: Path) -> None:
    job = shelf.job(a_drop(tmp_path))
    with pytest.raises(Refused, match="has no version"):
        score(replace(job, source=replace(job.source, version=None)), tmp_path)
