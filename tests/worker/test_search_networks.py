"""Searches over networks: trials go on from the champion, leave it as it was, and repeat."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keras
import mlflow
import pytest
import torch
from torch import nn

from retrain_daemon.core.policy import Mode, Recipe, Search, Space
from retrain_daemon.worker.frameworks import keras as keras_models
from retrain_daemon.worker.frameworks import torch as torch_models
from retrain_daemon.worker.search import search
from retrain_daemon.worker.study import Study, searched
from retrain_daemon.worker.trainable import Trainable
from tests.worker.network_lessons import Shelf, lesson, meaning, points, rows_of, signature
from tests.worker.test_search import Teacher, a_job, a_stage

pytestmark = pytest.mark.slow

ROWS = rows_of(*points(600))
WANTED = Search(6, "log_loss")
RECIPE = Recipe(
    mode=Mode.WARM_START,
    hyperparameters={"epochs": 3},
    spaces={"learning_rate": Space(low=1e-7, high=0.1, log=True), "batch_size": Space(choices=(16, 32))},
    search=WANTED,
)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    yield Shelf(tmp_path_factory.mktemp("shelf"))
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


@pytest.fixture(params=["torch", "keras"])
def model(request: pytest.FixtureRequest, shelf: Shelf, tmp_path: Path) -> Trainable:
    uri = a_torch_model(shelf) if request.param == "torch" else a_keras_model(shelf)
    framework = torch_models if request.param == "torch" else keras_models
    found: Trainable = framework.load(shelf.files(uri, tmp_path / "champion"), meaning())
    return found


def a_torch_model(shelf: Shelf) -> str:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 3)).eval()
    how = {"serialization_format": "pickle", "signature": signature(), "pip_requirements": ["torch"]}
    return shelf.log(lambda: mlflow.pytorch.log_model(module, name="model", **how))


def a_keras_model(shelf: Shelf) -> str:
    keras.utils.set_random_seed(1)
    network = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(16, "relu"), keras.layers.Dropout(0.2), keras.layers.Dense(3)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(optimizer=keras.optimizers.Adam(0.002), loss=loss)
    how = {"signature": signature(), "pip_requirements": ["keras"]}
    return shelf.log(lambda: mlflow.keras.log_model(network, name="model", **how))


def searched_over(model: Trainable, folder: Path) -> Study:
    job = replace(a_job(folder), recipe=RECIPE, data=meaning().data)
    stage = a_stage(job, ROWS, model=model)
    return search(stage, WANTED, Teacher(stage))


def test_a_rate_with_which_a_network_learns_wins_and_a_second_search_is_the_same(
    model: Trainable, tmp_path: Path
) -> None:
    before = model.predict(ROWS.features).probabilities
    first, second = searched_over(model, tmp_path / "1"), searched_over(model, tmp_path / "2")
    assert [(trial.values, trial.score) for trial in first.trials] == [
        (trial.values, trial.score) for trial in second.trials
    ]
    assert float(str(searched(first).chosen["learning_rate"])) > 1e-4
    after = model.predict(ROWS.features).probabilities
    assert before is not None
    assert after is not None
    assert (before == after).all()


def test_a_search_begins_with_the_rate_that_the_champion_was_trained_with(model: Trainable, tmp_path: Path) -> None:
    trained, _ = model.continue_training(lesson(ROWS, epochs=1, learning_rate=0.005))
    study = searched_over(trained, tmp_path / "study") if isinstance(trained, torch_models.TorchModel) else None
    assert trained.settings["learning_rate"] == 0.005
    assert study is None or study.trials[0].values["learning_rate"] == 0.005
