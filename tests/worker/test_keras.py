"""Keras models: training goes on from where it was, formats and flavours stay, and what cannot be is a sentence."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from retrain_daemon.core.policy import Mode, Outputs, Target
from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.flavors import framework_of
from retrain_daemon.worker.frameworks import keras as framework
from retrain_daemon.worker.frameworks import keras_storage
from retrain_daemon.worker.frameworks.keras import KerasModel
from retrain_daemon.worker.job import Progress
from tests.worker.network_lessons import Shelf, features, lesson, meaning, points, rows_of, signature

pytestmark = pytest.mark.slow

ROWS = rows_of(*points(600))


def network(outputs: int = 3, loss: Any = None, compiled: bool = True, fitted: int = 2) -> Any:
    """Dense layers with batch normalisation and dropout, compiled with Adam and fitted a little by a person."""
    import keras

    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(16, activation="relu", name="first"),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(0.3, name="drop"),
            layers.Dense(outputs, name="last"),
        ]
    )
    if compiled:
        loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=keras.optimizers.Adam(0.01), loss=loss)
        table, colour = points(300, seed=9)
        codes = colour.map({"blue": 0, "green": 1, "red": 2}).to_numpy()
        target = codes if outputs == 3 else table.to_numpy()[:, :outputs]
        model.fit(table.to_numpy("float32"), target, epochs=fitted, batch_size=30, verbose=0)
    return model


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    yield Shelf(tmp_path_factory.mktemp("shelf"))
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


def logged(shelf: Shelf, model: Any, flavor: str = "keras", outputs: int = 3, **how: Any) -> str:
    log: Callable[..., Any] = mlflow.keras.log_model if flavor == "keras" else mlflow.tensorflow.log_model
    how.setdefault("signature", signature(outputs))
    return shelf.log(lambda: log(model, name="model", pip_requirements=["keras"], **how))


@pytest.fixture(scope="module")
def uri(shelf: Shelf) -> str:
    return logged(shelf, network())


@pytest.fixture
def model(shelf: Shelf, uri: str, tmp_path: Path) -> KerasModel:
    return framework.load(shelf.files(uri, tmp_path / "champion"), meaning())


def weights(model: KerasModel) -> dict[str, np.ndarray]:
    variables = {"/".join(each.path.split("/")[-2:]): np.array(each) for each in model.estimator.variables}
    return {name: value for name, value in variables.items() if "seed" not in name}


def iterations(model: KerasModel) -> int:
    return int(model.estimator.optimizer.iterations)


def stored_again(shelf: Shelf, model: KerasModel, like: str, folder: Path) -> KerasModel:
    files = shelf.files(like, folder / "like")
    stored = shelf.put(model, files, folder)
    return framework.load(shelf.files(stored, folder / "again"), meaning())


def test_training_moves_a_copy_and_leaves_the_champion_as_it_was(model: KerasModel) -> None:
    before = weights(model)
    challenger, record = model.continue_training(lesson(ROWS, epochs=2))
    assert all(np.array_equal(before[name], value) for name, value in weights(model).items())
    assert any(not np.array_equal(before[name], value) for name, value in weights(challenger).items())
    assert [epoch.number for epoch in record.epochs] == [1, 2]
    assert record.epochs[1].metrics["loss"] < record.epochs[0].metrics["loss"]
    assert record.notes == ()


@pytest.mark.parametrize("flavor", ["keras", "tensorflow"])
def test_optimizer_steps_and_moments_go_on_over_storing_and_loading(shelf: Shelf, flavor: str, tmp_path: Path) -> None:
    like = logged(shelf, network(), flavor)
    first = framework.load(shelf.files(like, tmp_path / "m"), meaning())
    assert iterations(first) == 20
    second, _ = first.continue_training(lesson(ROWS, epochs=1, batch_size=60))
    assert iterations(second) == 30
    again = stored_again(shelf, second, like, tmp_path)
    assert again.files.card.flavor == flavor
    for mine, theirs in zip(second.estimator.optimizer.variables, again.estimator.optimizer.variables, strict=True):
        assert np.array_equal(np.array(mine), np.array(theirs))
    third, record = again.continue_training(lesson(ROWS, epochs=1, batch_size=60))
    assert iterations(third) == 40
    assert record.notes == ()


def test_a_learning_rate_keeps_the_moments_and_another_optimizer_or_loss_does_not(model: KerasModel) -> None:
    slower, record = model.continue_training(lesson(ROWS, epochs=1, batch_size=60, learning_rate=0.001))
    assert (iterations(slower), record.notes) == (30, ())
    assert float(slower.estimator.optimizer.learning_rate) == pytest.approx(0.001)
    other, record = model.continue_training(lesson(ROWS, epochs=1, batch_size=60, optimizer="sgd"))
    assert iterations(other) == 10
    assert record.notes == ("The optimizer starts anew (sgd): the policy names it, and the champion has adam.",)
    renamed, record = model.continue_training(lesson(ROWS, batch_size=60, loss="categorical_crossentropy"))
    assert iterations(renamed) == 10
    assert record.parameters["framework_loss"] == "categorical_crossentropy"
    assert record.notes == ("The optimizer starts anew (adam): the policy names another loss.",)


def test_an_h5_model_goes_on_recompiled_and_stays_h5(shelf: Shelf, tmp_path: Path) -> None:
    like = logged(shelf, network(), "tensorflow", keras_model_kwargs={"save_format": "h5"})
    model = framework.load(shelf.files(like, tmp_path / "m"), meaning())
    challenger, record = model.continue_training(lesson(ROWS, epochs=2))
    assert record.notes == ("The optimizer starts anew (adam): an h5 file's optimizer cannot go on.",)
    assert record.epochs[1].metrics["loss"] < record.epochs[0].metrics["loss"]
    again = stored_again(shelf, challenger, like, tmp_path)
    assert again.files.card.settings["save_format"] == "h5"
    assert np.allclose(again.predict(features(50)).probabilities, challenger.predict(features(50)).probabilities)  # type: ignore[arg-type]


CHECK = """
import sys, mlflow
model = mlflow.keras.load_model(sys.argv[1])
print(type(model.optimizer).__name__, int(model.optimizer.iterations))
"""


def test_an_h5_load_does_not_spoil_what_is_saved_later_in_the_same_process(
    shelf: Shelf, uri: str, model: KerasModel, tmp_path: Path
) -> None:
    h5 = logged(shelf, network(), "tensorflow", keras_model_kwargs={"save_format": "h5"})
    framework.load(shelf.files(h5, tmp_path / "h5"), meaning()).continue_training(lesson(ROWS))
    challenger, _ = model.continue_training(lesson(ROWS, epochs=1, batch_size=60))
    files = shelf.files(uri, tmp_path / "like")
    stored = shelf.put(challenger, files, tmp_path)
    folder = shelf.files(stored, tmp_path / "stored").folder
    said = subprocess.run([sys.executable, "-c", CHECK, str(folder)], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["Adam", "30"]


def test_a_file_that_was_stored_without_its_optimizer_state_is_not_accepted(
    shelf: Shelf, uri: str, model: KerasModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    challenger, _ = model.continue_training(lesson(ROWS))
    files = shelf.files(uri, tmp_path / "like")
    spoiled = network()
    spoiled.set_weights(challenger.estimator.get_weights())

    def save(_model: Any, _like: Any, _format: str, given: dict[str, Any]) -> None:
        mlflow.keras.save_model(spoiled, given["path"], pip_requirements=["keras"])

    monkeypatch.setattr(keras_storage, "_save", save)
    with pytest.raises(TrainingFailed, match=r"lacks the state of its optimizer \(Adam\)"):
        shelf.put(challenger, files, tmp_path)


def test_what_is_frozen_stays_the_same_to_the_bit_statistics_included(model: KerasModel) -> None:
    before = weights(model)
    challenger, _ = model.continue_training(lesson(ROWS, epochs=2, freeze=("first", "norm")))
    after = weights(challenger)
    frozen = {name for name in before if "first/" in name or "norm/" in name}
    assert any("moving_mean" in name for name in frozen)
    assert all(np.array_equal(before[name], after[name]) for name in frozen)
    assert any(not np.array_equal(before[name], after[name]) for name in after if "last/" in name)
    assert all(layer.trainable for layer in challenger.estimator.layers)


def test_frozen_layers_do_not_stop_later_trainings_from_going_on(shelf: Shelf, uri: str, tmp_path: Path) -> None:
    model = framework.load(shelf.files(uri, tmp_path / "m"), meaning())
    first, _ = model.continue_training(lesson(ROWS, freeze=("first",), batch_size=60))
    again = stored_again(shelf, first, uri, tmp_path)
    second, record = again.continue_training(lesson(ROWS, batch_size=60))
    assert (iterations(second), record.notes) == (40, ())
    assert any(
        not np.array_equal(weights(again)[name], value) for name, value in weights(second).items() if "first" in name
    )


def test_a_freeze_pattern_that_matches_nothing_is_refused(model: KerasModel) -> None:
    with pytest.raises(Refused, match=r"'conv\*' matches none of the model's layers. There are first, norm"):
        model.continue_training(lesson(ROWS, freeze=("conv*",)))


def test_dropout_and_batch_normalisation_are_live_in_training_only(model: KerasModel) -> None:
    rows = features(300)
    first, second = model.predict(rows), model.predict(rows)
    assert np.array_equal(first.probabilities, second.probabilities)  # type: ignore[arg-type]
    challenger, _ = model.continue_training(lesson(ROWS))
    moved = {name: value for name, value in weights(challenger).items() if "moving_mean" in name}
    assert all(not np.array_equal(weights(model)[name], value) for name, value in moved.items())


def test_going_on_needs_fewer_epochs_to_the_same_loss_than_starting_from_scratch(model: KerasModel) -> None:
    learned, _ = model.continue_training(lesson(ROWS, epochs=10))
    _, on = learned.continue_training(lesson(ROWS, Mode.WARM_START, epochs=2))
    _, anew = learned.continue_training(lesson(ROWS, Mode.REFIT, epochs=2))
    assert on.epochs[0].metrics["loss"] < anew.epochs[-1].metrics["loss"]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(model: KerasModel) -> None:
    one, two, other = (weights(model.continue_training(lesson(ROWS, seed=seed))[0]) for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert any(not np.array_equal(one[name], other[name]) for name in one)


def test_early_stopping_watches_rows_apart_and_takes_the_best_weights(model: KerasModel) -> None:
    told: list[Progress] = []
    stopping = {"patience": 2, "share": "20%"}
    words: dict[str, Any] = {"epochs": 30, "learning_rate": 0.3, "early_stopping": stopping}
    _, record = model.continue_training(lesson(ROWS, told=told, **words))
    losses = [epoch.metrics["stopping_loss"] for epoch in record.epochs]
    assert len(losses) < 30
    assert record.notes == (f"Stopped after {len(losses)} of 30 epochs; the best one was taken.",)
    assert losses.index(min(losses)) == len(losses) - 3
    assert told[-1].phase.startswith(f"training, epoch {len(losses)} of 30, loss ")


def test_weights_of_rows_and_classes_change_what_is_learned(model: KerasModel) -> None:
    mixed = ROWS.target.sample(frac=1, random_state=0).reset_index(drop=True)
    table = ROWS.features.frame()
    only_blue = rows_of(table, mixed, np.where(mixed == "blue", 1.0, 0.0))
    by_row, _ = model.continue_training(lesson(only_blue, epochs=8, learning_rate=0.05))
    weighed = lesson(rows_of(table, mixed), epochs=8, learning_rate=0.05, class_weight={"green": 0, "red": 0})
    by_class, _ = model.continue_training(weighed)
    for challenger in (by_row, by_class):
        labels = challenger.predict(features(200)).labels
        assert labels is not None
        assert (labels == "blue").mean() > 0.95


@pytest.mark.parametrize("outputs", [1, 2])
def test_regressions_learn_one_value_and_several(shelf: Shelf, outputs: int, tmp_path: Path) -> None:
    target = Target("a", more=("b",)[: outputs - 1])
    like = logged(shelf, network(outputs, "mean_squared_error"), outputs=outputs)
    model = framework.load(shelf.files(like, tmp_path / "m"), meaning(Outputs.VALUE, target))
    table = points(400)[0]
    truth = table["a"] if outputs == 1 else table[["a", "b"]]
    challenger, record = model.continue_training(lesson(rows_of(table, truth), epochs=6))
    assert record.parameters["framework_loss"] == "mse"
    assert record.epochs[-1].metrics["loss"] < record.epochs[0].metrics["loss"]
    values = challenger.predict(features(50)).values
    assert values is not None
    assert values.shape == ((50,) if outputs == 1 else (50, 2))


def test_a_model_that_was_never_compiled_learns_with_the_policys_words(shelf: Shelf, tmp_path: Path) -> None:
    like = logged(shelf, network(compiled=False))
    model = framework.load(shelf.files(like, tmp_path / "m"), meaning())
    challenger, record = model.continue_training(lesson(ROWS, epochs=3, optimizer="adamw", learning_rate=0.01))
    assert record.notes == ("The optimizer starts anew (adamw): the champion is not compiled.",)
    assert record.epochs[-1].metrics["loss"] < record.epochs[0].metrics["loss"]
    assert iterations(stored_again(shelf, challenger, like, tmp_path)) == iterations(challenger)


def test_a_network_of_images_learns_from_rows_of_a_file(shelf: Shelf, tmp_path: Path) -> None:
    import keras

    keras.utils.set_random_seed(1)
    layers = [keras.Input((2, 2, 1)), keras.layers.Conv2D(8, 2, activation="relu"), keras.layers.Flatten()]
    images = keras.Sequential([*layers, keras.layers.Dense(3, activation="softmax")])
    images.compile(optimizer="adam", loss="sparse_categorical_crossentropy")
    like = logged(shelf, images)
    said = meaning(Outputs.PROBABILITIES, shape=(2, 2, 1))
    model = framework.load(shelf.files(like, tmp_path / "m"), said)
    challenger, _ = model.continue_training(lesson(ROWS, epochs=12, learning_rate=0.01))
    labels = challenger.predict(ROWS.features).labels
    assert (labels == ROWS.target.to_numpy()).mean() > 0.8


def test_outputs_that_contradict_the_policy_are_refused(shelf: Shelf, model: KerasModel, tmp_path: Path) -> None:
    said = framework.load(model.files, meaning(Outputs.PROBABILITIES))
    with pytest.raises(Refused, match=r"compiled with from_logits=True, and data.model_outputs says probabilities"):
        said.continue_training(lesson(ROWS))
    with pytest.raises(Refused, match=r"gives 3 outputs a row and data.target.classes names 2"):
        framework.load(model.files, meaning(target=Target("colour", classes=("a", "b"))))
    with pytest.raises(Refused, match=r"does not take rows of shape \[2, 2\], it takes \[4\]"):
        framework.load(model.files, meaning(shape=(2, 2)))
    assert tmp_path.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"loss": "mse"}, "The loss 'mse' does not fit: the model gives logits of classes in 3 outputs"),
        ({"optimizer": "lion"}, "There is no optimizer 'lion' for Keras models"),
        ({"epoch": 3}, "Did you mean 'epochs'"),
    ],
)
def test_words_that_do_not_fit_are_refused(model: KerasModel, words: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused) as refused:
        model.continue_training(lesson(ROWS, **words))
    assert said in str(refused.value)


def test_a_training_that_goes_astray_ends_with_its_place_and_what_to_do(model: KerasModel) -> None:
    with pytest.raises(TrainingFailed, match=r"The (loss is|training diverged)") as failed:
        model.continue_training(lesson(ROWS, epochs=30, optimizer="sgd", learning_rate=1e30))
    assert "smaller learning_rate" in failed.value.hint
    table, colour = points(100)
    table.loc[7, "a"] = np.nan
    with pytest.raises(TrainingFailed, match=r"The (loss is NaN in epoch 1|training diverged)"):
        model.continue_training(lesson(rows_of(table, colour)))


def test_gradients_are_clipped_in_a_training_and_not_for_ever(model: KerasModel) -> None:
    table, colour = points(200)
    wild = rows_of(table * 1e5, colour)
    challenger, _ = model.continue_training(lesson(wild, gradient_clip=0.1, optimizer="sgd"))
    assert all(np.isfinite(value).all() for value in weights(challenger).values())
    assert challenger.estimator.optimizer.global_clipnorm is None


def test_a_class_without_rows_is_told_and_a_strange_one_refused(model: KerasModel) -> None:
    table, colour = points(300)
    without = colour != "red"
    _, record = model.continue_training(lesson(rows_of(table[without].reset_index(drop=True), colour[without])))
    assert record.notes == ("The training rows have no row of class 'red'.",)
    with pytest.raises(Refused, match="does not name: purple"):
        model.continue_training(lesson(rows_of(table, colour.replace("red", "purple"))))


def test_refit_keeps_the_architecture_and_starts_from_fresh_weights(model: KerasModel) -> None:
    anew, record = model.continue_training(lesson(ROWS, Mode.REFIT, epochs=1, batch_size=60, learning_rate=1e-9))
    assert iterations(anew) == 10
    assert record.notes == ()
    first = next(name for name in weights(anew) if "first/kernel" in name)
    assert not np.allclose(weights(anew)[first], weights(model)[first], atol=1e-3)


def test_refit_keeps_what_a_layer_learned_by_adapt(shelf: Shelf, tmp_path: Path) -> None:
    import keras

    scale = keras.layers.Normalization(name="scale")
    scale.adapt(points(200)[0].to_numpy("float32") * 7 + 3)
    scaled = keras.Sequential([keras.Input((4,)), scale, keras.layers.Dense(3)])
    scaled.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model = framework.load(shelf.files(logged(shelf, scaled), tmp_path / "m"), meaning())
    anew, record = model.continue_training(lesson(ROWS, Mode.REFIT, epochs=1))
    assert record.notes == ("What scale learned by adapt() was kept.",)
    assert np.allclose(np.array(anew.estimator.get_layer("scale").mean), np.array(scale.mean))


def test_custom_objects_go_with_the_tensorflow_flavour_and_not_with_keras(shelf: Shelf, tmp_path: Path) -> None:
    import keras

    class Doubled(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    def doubled() -> Any:
        model = keras.Sequential([keras.Input((4,)), Doubled(), keras.layers.Dense(3, name="last")])
        model.compile(optimizer="adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    like = logged(shelf, doubled(), "tensorflow", custom_objects={"Doubled": Doubled})
    model = framework.load(shelf.files(like, tmp_path / "m"), meaning())
    challenger, _ = model.continue_training(lesson(ROWS))
    again = stored_again(shelf, challenger, like, tmp_path)
    assert np.allclose(again.predict(features(20)).probabilities, challenger.predict(features(20)).probabilities)  # type: ignore[arg-type]
    bare = logged(shelf, doubled())
    with pytest.raises(Refused, match=r"Version 1 of points does not load") as refused:
        framework.load(shelf.files(bare, tmp_path / "bare"), meaning())
    assert "custom_objects" in refused.value.hint


def test_savedmodel_exports_are_refused_without_fetching_them_and_with_the_line_that_helps(
    shelf: Shelf, tmp_path: Path
) -> None:
    card = shelf.files(logged(shelf, network(), save_exported_model=True), tmp_path / "m").card
    with pytest.raises(Refused, match="is a SavedModel export") as refused:
        framework_of(card)
    assert "mlflow.keras.log_model(model" in refused.value.hint


def test_inspecting_needs_no_tensorflow(shelf: Shelf, uri: str, tmp_path: Path) -> None:
    files = shelf.files(uri, tmp_path / "m")
    described = framework.describe(files)
    assert (described.estimator, described.storage) == ("Sequential, 4 layers", "keras")
    assert [mode.possible for mode in described.modes] == [True] * 3
    assert ("optimizer", "Adam") in described.hyperparameters
    assert ("freeze", "first") in described.hyperparameters
    code = "import sys, retrain_daemon.worker.frameworks.keras; assert not {'tensorflow', 'keras'} & sys.modules.keys()"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_h5_file_says_what_is_lost(shelf: Shelf, tmp_path: Path) -> None:
    uri = logged(shelf, network(), "tensorflow", keras_model_kwargs={"save_format": "h5"})
    described = framework.describe(shelf.files(uri, tmp_path / "m"))
    assert described.storage == "h5"
    assert described.notes[0].startswith("h5: the optimizer's state is lost whenever training goes on.")


def test_what_a_teams_own_function_gives_must_be_a_compiled_model(model: KerasModel) -> None:
    with pytest.raises(TrainingFailed, match="gave a list, which is no Keras model"):
        model.holding([])
    with pytest.raises(TrainingFailed, match="not compiled"):
        model.holding(network(compiled=False))
    assert model.holding(network()).predict(features(5)).labels is not None


def test_an_input_example_is_tried_as_mlflow_stores_it(model: KerasModel) -> None:
    array = np.zeros((3, 4), dtype="float32")
    for example in (array, pd.DataFrame(array, columns=list("abcd"))):
        predicted = model.predict_example(example)
        assert predicted is not None
        assert predicted.labels is not None
        assert len(predicted.labels) == 3
    assert model.predict_example({"a": "text"}) is None


def test_a_schedule_for_the_learning_rate_is_not_replaced_by_a_number(shelf: Shelf, tmp_path: Path) -> None:
    import keras

    scheduled = network()
    rate = keras.optimizers.schedules.ExponentialDecay(0.01, 100, 0.9)
    scheduled.compile(optimizer=keras.optimizers.Adam(rate), loss=scheduled.loss)
    model = framework.load(shelf.files(logged(shelf, scheduled), tmp_path / "m"), meaning())
    model.continue_training(lesson(ROWS))
    with pytest.raises(Refused, match="has a schedule for its learning rate"):
        model.continue_training(lesson(ROWS, learning_rate=0.1))
    model.continue_training(lesson(ROWS, learning_rate=0.1, optimizer="adamw"))
