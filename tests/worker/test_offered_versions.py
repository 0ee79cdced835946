"""A version that a person put up as challenger beside the champion: its own columns, classes and kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression, LogisticRegression

from retrain_daemon.errors import Refused
from retrain_daemon.worker.job import Trained
from tests.worker.test_model_code import given
from tests.worker.test_training import Store, run, store, table

pytestmark = pytest.mark.slow
__all__ = ["store"]

PAST = table(200, seed=0)
COLUMNS = ["a", "b", "c"]


def registered(store: Store, name: str, estimator: Any, columns: list[str], labels: Any) -> None:
    """A version that learned arrays, whose columns only its signature names."""
    estimator.fit(PAST[columns].to_numpy(), labels)
    signature = infer_signature(PAST[columns], estimator.predict(PAST[columns].to_numpy()))
    with mlflow.start_run(experiment_id=store.experiment):
        logged = mlflow.sklearn.log_model(estimator, name="model", signature=signature, pip_requirements=["skops"])
        mlflow.register_model(logged.model_uri, name)


def judged(store: Store, name: str, folder: Path) -> Trained:
    registered_before = mlflow.MlflowClient().search_model_versions(f"name = '{name}'")
    return run(store.job(name, challenger=given(store, name, len(registered_before))), folder)


@pytest.fixture
def champion(store: Store, request: pytest.FixtureRequest) -> str:
    name = request.node.originalname
    registered(store, name, LogisticRegression(), COLUMNS, PAST["churned"])
    return name


def test_a_version_with_the_columns_in_another_order_is_judged_on_its_own(
    store: Store, champion: str, tmp_path: Path
) -> None:
    registered(store, champion, LogisticRegression(), ["c", "a", "b"], PAST["churned"])
    [accuracy] = judged(store, champion, tmp_path).evidence.metrics
    assert accuracy.champion == accuracy.challenger
    assert accuracy.champion is not None
    assert accuracy.champion > 0.9


def test_a_version_whose_classes_are_others_is_refused_with_them(store: Store, champion: str, tmp_path: Path) -> None:
    registered(store, champion, LogisticRegression(), COLUMNS, (PAST["churned"] == "yes").astype(int))
    with pytest.raises(Refused, match="knows the classes 0, 1, and the champion no, yes: they have none in common"):
        judged(store, champion, tmp_path)


def test_a_class_that_only_one_of_them_knows_is_told(store: Store, champion: str, tmp_path: Path) -> None:
    registered(store, champion, LogisticRegression(), COLUMNS, np.where(PAST["c"] > 1, "perhaps", PAST["churned"]))
    notes = judged(store, champion, tmp_path).notes
    assert notes[-1].endswith("also knows perhaps, other than the champion.")


def test_a_regression_beside_a_classifier_is_refused(store: Store, champion: str, tmp_path: Path) -> None:
    registered(store, champion, LinearRegression(), COLUMNS, PAST["price"])
    with pytest.raises(Refused, match="is for regression, and the champion for classification"):
        judged(store, champion, tmp_path)


def test_a_network_beside_a_model_that_takes_a_table_is_refused_by_name(
    store: Store, champion: str, tmp_path: Path
) -> None:
    from torch import nn

    rows = PAST[COLUMNS].to_numpy("float32")
    with mlflow.start_run(experiment_id=store.experiment):
        logged = mlflow.pytorch.log_model(
            nn.Linear(3, 2), name="model", serialization_format="pickle", pip_requirements=["torch"],
            signature=infer_signature(rows, rows[:, :2]),
        )  # fmt: skip
        mlflow.register_model(logged.model_uri, champion)
    with pytest.raises(Refused, match=r"is a PyTorch model and the champion, version 1 of .*, a scikit-learn model"):
        judged(store, champion, tmp_path)
