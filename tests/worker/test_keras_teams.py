"""Keras models as teams make them: nested, in short numbers, with losses, optimizers and classes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from retrain_daemon.core.policy import Mode, Outputs, Target
from retrain_daemon.errors import Refused, RetrainError, TrainingFailed
from retrain_daemon.worker.frameworks import keras as framework
from retrain_daemon.worker.frameworks.keras import KerasModel
from retrain_daemon.worker.lesson import Record
from tests.worker.network_lessons import Shelf, lesson, meaning, points, rows_of
from tests.worker.test_keras import ROWS, iterations, logged, network, shelf, stored_again

pytestmark = pytest.mark.slow
__all__ = ["shelf"]

TABLE, COLOUR = points(300, seed=9)
FEATURES = TABLE.to_numpy("float32")
CODES = COLOUR.map({"blue": 0, "green": 1, "red": 2}).to_numpy()


def compiled(layers: Any, optimizer: Any = "adam", loss: Any = None, epochs: int = 2, **how: Any) -> Any:
    """A model of these layers, compiled and fitted a little by a person."""
    import keras

    model = keras.Sequential([keras.Input((4,)), *layers]) if isinstance(layers, list) else layers
    model.compile(optimizer, loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True), **how)
    model.fit(FEATURES, CODES, epochs=epochs, batch_size=30, verbose=0)
    return model


def dense(units: int, name: str, **how: Any) -> Any:
    import keras

    return keras.layers.Dense(units, name=name, **how)


@pytest.fixture
def taken_up(shelf: Shelf, tmp_path: Path) -> Callable[..., KerasModel]:
    """Registers a model and loads it as a champion."""

    def take_up(model: Any, flavor: str = "keras", **how: Any) -> KerasModel:
        said = how.pop("said", None) or meaning()
        return framework.load(shelf.files(logged(shelf, model, flavor, **how), tmp_path / "m"), said)

    return take_up


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    import keras

    keras.utils.set_random_seed(1)
    before = dict(keras.saving.get_custom_objects())
    yield
    keras.saving.get_custom_objects().clear()
    keras.saving.get_custom_objects().update(before)


def values(layer: Any) -> list[np.ndarray]:
    return [variable.numpy() for variable in layer.weights]


def same(first: Any, second: Any) -> bool:
    return all(np.array_equal(one, other) for one, other in zip(values(first), values(second), strict=True))


def going_on(model: KerasModel, mode: Mode = Mode.INCREMENTAL, **words: Any) -> tuple[KerasModel, Record]:
    words.setdefault("batch_size", 60)
    return model.continue_training(lesson(ROWS, mode, **words))


# optimizers


def test_losses_that_are_scaled_go_on_being_scaled(shelf: Shelf, taken_up: Any, tmp_path: Path) -> None:
    import keras

    made = compiled([dense(8, "first"), dense(3, "last")], keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()))
    model = taken_up(made)
    challenger, record = going_on(model, weight_decay=0.0)
    assert (iterations(challenger), record.notes) == (30, ())
    again = stored_again(shelf, challenger, logged(shelf, made), tmp_path)
    assert type(again.estimator.optimizer).__name__ == "LossScaleOptimizer"
    assert iterations(going_on(again)[0]) == 40


def test_a_model_of_short_numbers_keeps_the_optimizers_state(taken_up: Any) -> None:
    import keras

    keras.config.set_dtype_policy("mixed_float16")
    try:
        made = compiled([dense(8, "first"), dense(3, "last", dtype="float32")])
    finally:
        keras.config.set_dtype_policy("float32")
    challenger, record = going_on(taken_up(made))
    assert (iterations(challenger), record.notes) == (30, ())


def test_state_of_other_weights_than_those_that_can_be_trained_is_told_to_be_lost(taken_up: Any) -> None:
    made = network(fitted=0)
    made.get_layer("first").trainable = False
    compiled(made)
    made.get_layer("first").trainable = True
    challenger, record = going_on(taken_up(made))
    assert iterations(challenger) == 10
    assert record.notes[0].startswith("The optimizer starts anew: its state in the champion's file is of other weights")


def test_a_model_with_weight_decay_turned_off_can_be_loaded_again(shelf: Shelf, tmp_path: Path, taken_up: Any) -> None:
    made = compiled([dense(3, "last")], "adamw")
    challenger, _ = going_on(taken_up(made), weight_decay=0.0)
    again = stored_again(shelf, challenger, logged(shelf, made), tmp_path)
    assert again.estimator.optimizer.weight_decay == 0


def test_gradients_are_held_whatever_the_optimizer_clips_itself(taken_up: Any) -> None:
    import keras

    made = compiled([dense(3, "last")], keras.optimizers.SGD(0.1, clipnorm=5.0))
    model = taken_up(made)
    challenger, _ = going_on(model, gradient_clip=1e-6)
    moved = np.abs(values(challenger.estimator)[0] - values(model.estimator)[0]).max()
    assert 0 < moved < 1e-5
    assert (challenger.estimator.optimizer.clipnorm, challenger.estimator.optimizer.global_clipnorm) == (5.0, None)


def test_averaged_weights_are_what_is_stored(taken_up: Any) -> None:
    import keras

    made = compiled([dense(3, "last")], keras.optimizers.Adam(0.01, use_ema=True, ema_overwrite_frequency=None))
    challenger, _ = going_on(taken_up(made))
    averages = challenger.estimator.optimizer._model_variables_moving_average
    assert all(
        np.array_equal(one, other.numpy()) for one, other in zip(values(challenger.estimator), averages, strict=True)
    )


def test_averages_do_not_go_with_frozen_layers(taken_up: Any) -> None:
    import keras

    made = compiled([dense(8, "first"), dense(3, "last")], keras.optimizers.Adam(0.01, use_ema=True))
    with pytest.raises(Refused, match="keeps averages of the weights"):
        going_on(taken_up(made), freeze=("first",))


def test_a_schedule_gives_way_when_the_policy_names_optimizer_and_rate(taken_up: Any) -> None:
    import keras

    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.5)
    model = taken_up(compiled([dense(3, "last")], keras.optimizers.Adam(schedule)))
    with pytest.raises(Refused, match="has a schedule") as refused:
        going_on(model, learning_rate=0.1)
    assert "Name `optimizer` and `learning_rate`" in refused.value.hint
    challenger, record = going_on(model, learning_rate=0.1, optimizer="adam")
    assert float(challenger.estimator.optimizer.learning_rate) == pytest.approx(0.1)
    assert record.notes == (
        "The optimizer starts anew (adam): the policy's learning rate takes the place of a schedule.",
    )


def test_a_schedule_that_has_come_to_its_end_is_refused(taken_up: Any) -> None:
    import keras

    schedule = keras.optimizers.schedules.CosineDecay(0.01, 10)
    with pytest.raises(Refused, match="has come to 0 at step 20: nothing would be learned"):
        going_on(taken_up(compiled([dense(3, "last")], keras.optimizers.Adam(schedule))))


# losses and metrics


@pytest.mark.parametrize("words", [{"loss": "cross_entropy"}, {"loss": "sparse_categorical_crossentropy"}])
def test_naming_the_loss_it_has_keeps_the_optimizers_state(taken_up: Any, words: dict[str, Any]) -> None:
    challenger, record = going_on(taken_up(network()), **words)
    assert (iterations(challenger), record.notes) == (30, ())


def own_error(truth: Any, predicted: Any) -> Any:
    """A team's own loss."""
    import keras

    return keras.ops.mean(keras.ops.abs(truth - predicted) ** 1.5, axis=-1)


@pytest.mark.parametrize("loss", ["MSE", "MeanSquaredError", ["mse"], "huber", "log_cosh", "mape", own_error])
def test_a_regression_goes_on_with_any_loss_it_was_compiled_with(taken_up: Any, loss: Any) -> None:
    import keras

    keras.saving.get_custom_objects()["own_error"] = own_error
    made = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    made.compile("adam", loss)
    made.fit(FEATURES, FEATURES[:, :1], verbose=0)
    table = points(400)[0]
    model = taken_up(made, outputs=1, said=meaning(Outputs.VALUE, Target("a")))
    _, record = model.continue_training(lesson(rows_of(table, table["a"]), epochs=1))
    assert record.notes == ()


@pytest.mark.parametrize("loss", ["SparseCategoricalCrossentropy", "sparse_categorical_crossentropy", "focal"])
def test_a_classifier_goes_on_with_its_loss_however_it_is_spelled(taken_up: Any, loss: str) -> None:
    import keras

    made = keras.Sequential([keras.Input((4,)), dense(3, "last", activation="softmax")])
    focal = keras.losses.CategoricalFocalCrossentropy(name="ours")
    made.compile("adam", focal if loss == "focal" else loss)
    made.fit(FEATURES, np.eye(3)[CODES] if loss == "focal" else CODES, verbose=0)
    _, record = going_on(taken_up(made, said=meaning(Outputs.PROBABILITIES)), epochs=2)
    assert record.notes == ()
    assert record.epochs[1].metrics["loss"] < record.epochs[0].metrics["loss"]


def test_metrics_of_several_values_do_not_stand_in_the_way(taken_up: Any) -> None:
    import keras

    made = keras.Sequential([keras.Input((4,)), dense(3, "last", activation="softmax")])
    made.compile("adam", "categorical_crossentropy", metrics=[keras.metrics.F1Score()])
    made.fit(FEATURES, np.eye(3)[CODES], verbose=0)
    _, record = going_on(taken_up(made, said=meaning(Outputs.PROBABILITIES)))
    assert set(record.epochs[0].metrics) == {"loss"}


def test_metrics_that_take_other_targets_go_when_the_loss_changes(taken_up: Any) -> None:
    model = taken_up(compiled([dense(3, "last")], metrics=["sparse_categorical_accuracy"]))
    _, record = going_on(model, loss="categorical_crossentropy")
    assert set(record.epochs[0].metrics) == {"loss"}


def test_what_was_compiled_beside_optimizer_and_loss_stays(taken_up: Any) -> None:
    model = taken_up(compiled([dense(3, "last")], run_eagerly=True))
    challenger, _ = going_on(model, optimizer="sgd")
    assert challenger.estimator.run_eagerly


def test_a_watched_row_that_is_no_number_ends_the_training(taken_up: Any) -> None:
    table, colour = points(600)
    from retrain_daemon.worker.frameworks.hyperparameters import EarlyStopping
    from retrain_daemon.worker.frameworks.network import stopping_split

    watched = stopping_split(rows_of(table, colour).unit_keys, EarlyStopping(patience=2))[1]
    table.loc[watched[0], "a"] = np.nan
    with pytest.raises(TrainingFailed, match="rows that early stopping watches is NaN after epoch 1"):
        # without an activation, as that of TensorFlow makes 0 of NaN
        taken_up(compiled([dense(3, "last")])).continue_training(
            lesson(rows_of(table, colour), epochs=3, early_stopping=2)
        )


def test_a_feature_without_a_number_is_named_as_the_cause(taken_up: Any) -> None:
    table, colour = points(300)
    table.loc[7, "b"] = np.nan
    with pytest.raises(TrainingFailed, match="column b of the data has no number"):
        taken_up(network()).continue_training(lesson(rows_of(table, colour)))


# layers


def two_backbones(trainable: bool = True) -> Any:
    """Two nested models whose layers have the same names; with `trainable` false one of their layers is frozen."""
    import keras

    def backbone(name: str) -> Any:
        inside = [
            keras.Input((4,)),
            dense(8, "hidden", activation="relu"),
            keras.layers.BatchNormalization(name="norm"),
        ]
        made = keras.Sequential(inside, name=name)
        made.get_layer("norm").trainable = trainable
        return made

    given = keras.Input((4,))
    joined = keras.layers.Concatenate()([backbone("left")(given), backbone("right")(given)])
    return compiled(keras.Model(given, dense(3, "last")(joined)))


@pytest.mark.parametrize(
    ("pattern", "still"),
    [("hidden", {"left", "right"}), ("left", {"left"}), ("left/hidden", {"left"}), ("*/hidden", {"left", "right"})],
)
def test_layers_of_nested_models_are_frozen_by_path_and_by_name(taken_up: Any, pattern: str, still: set[str]) -> None:
    model = taken_up(two_backbones())
    challenger, _ = going_on(model, freeze=(pattern,))
    parts = {
        name: (model.estimator.get_layer(name), challenger.estimator.get_layer(name)) for name in ("left", "right")
    }
    assert {
        name for name, (old, new) in parts.items() if same(old.get_layer("hidden"), new.get_layer("hidden"))
    } == still
    assert not same(model.estimator.get_layer("last"), challenger.estimator.get_layer("last"))


def test_what_a_team_had_frozen_is_frozen_afterwards_and_nothing_else(
    shelf: Shelf, taken_up: Any, tmp_path: Path
) -> None:
    made = two_backbones(trainable=False)
    challenger, _ = going_on(taken_up(made), freeze=("left",))
    flags = [challenger.estimator.get_layer(side).get_layer(name).trainable for side in ("left", "right")
             for name in ("hidden", "norm")]  # fmt: skip
    assert flags == [True, False, True, False]
    again = stored_again(shelf, challenger, logged(shelf, made), tmp_path)
    assert iterations(again) == iterations(challenger)
    assert going_on(again)[1].notes == ()


def test_layers_that_change_in_every_call_stay_the_same_when_frozen(taken_up: Any) -> None:
    import keras

    spectral = keras.layers.SpectralNormalization(dense(8, "inside"), name="spectral")
    model = taken_up(compiled([spectral, dense(3, "last")]))
    challenger, _ = going_on(model, freeze=("spectral",))
    assert same(model.estimator.get_layer("spectral"), challenger.estimator.get_layer("spectral"))


def test_freezing_everything_that_has_weights_is_refused(taken_up: Any) -> None:
    with pytest.raises(Refused, match="Every weight of the model is frozen"):
        going_on(taken_up(network()), freeze=("first", "norm", "last"))


def test_refit_keeps_what_was_frozen_and_what_was_adapted_also_inside_nested_models(taken_up: Any) -> None:
    import keras

    scale = keras.layers.Normalization(name="scale")
    scale.adapt(FEATURES * 7 + 3)
    prepared = keras.Sequential([keras.Input((4,)), scale], name="prepared")
    backbone = keras.Sequential([keras.Input((4,)), dense(8, "hidden")], name="backbone")
    backbone.trainable = False
    model = taken_up(compiled([prepared, backbone, dense(3, "last")]))
    anew, record = going_on(model, Mode.REFIT, epochs=1)
    old, new = (each.estimator for each in (model, anew))
    assert same(old.get_layer("prepared"), new.get_layer("prepared"))
    assert same(old.get_layer("backbone"), new.get_layer("backbone"))
    assert not np.allclose(values(old.get_layer("last"))[0], values(new.get_layer("last"))[0], atol=0.05)
    assert record.notes == (
        "What prepared/scale learned by adapt() was kept.",
        "backbone/hidden is frozen in the champion: their weights were kept.",
    )


def test_refit_keeps_the_words_that_a_lookup_learned(shelf: Shelf, tmp_path: Path) -> None:
    import keras

    lookup = keras.layers.IntegerLookup(name="lookup")
    lookup.adapt(np.array([[3], [5], [7]]))
    given = keras.Input((1,), dtype="int64")
    body = keras.layers.Flatten()(keras.layers.Embedding(5, 4)(lookup(given)))
    made = keras.Model(given, dense(3, "last")(body))
    made.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    numbers = pd.DataFrame({"a": np.array([3, 5, 7] * 50)})
    made.fit(numbers.to_numpy(), np.array([0, 1, 2] * 50), verbose=0)
    from dataclasses import replace

    from retrain_daemon.worker.schema import Column, Schema, Tensor

    said = replace(meaning(), schema=Schema((Column("a", "long"),), "string", Tensor((1,), "int64")))
    how = {"signature": mlflow.models.infer_signature(numbers.to_numpy(), np.zeros((2, 3), "float32"))}
    model = framework.load(shelf.files(logged(shelf, made, **how), tmp_path / "m"), said)
    rows = rows_of(numbers, pd.Series(["blue", "green", "red"] * 50))
    anew, record = model.continue_training(lesson(rows, Mode.REFIT, epochs=30, learning_rate=0.05))
    assert anew.estimator.get_layer("lookup").get_vocabulary() == lookup.get_vocabulary()
    assert record.epochs[-1].metrics["loss"] < 0.1


def test_refit_with_something_frozen_is_refused(taken_up: Any) -> None:
    with pytest.raises(Refused, match="starts from fresh weights, and what `freeze` names would stay at them"):
        going_on(taken_up(network()), Mode.REFIT, epochs=1, freeze=("first",))


def test_inspect_names_the_layers_of_nested_models_as_freeze_takes_them(shelf: Shelf, tmp_path: Path) -> None:
    described = framework.describe(shelf.files(logged(shelf, two_backbones()), tmp_path / "m"))
    freezable = [value for name, value in described.hyperparameters if name == "freeze"]
    assert {"left", "left/hidden", "left/norm", "right/hidden", "last"} <= set(freezable)


# classes of their own


def test_classes_registered_with_keras_go_with_the_challenger(shelf: Shelf, tmp_path: Path, taken_up: Any) -> None:
    import keras

    @keras.saving.register_keras_serializable("ours")
    class Twice(keras.layers.Layer):  # type: ignore[misc]
        def call(self, rows: Any) -> Any:
            return rows * 2

    made = compiled([Twice(), dense(3, "last")])
    like = logged(shelf, made, "tensorflow")
    model = taken_up(made, "tensorflow")
    del keras.saving.get_custom_objects()["ours>Twice"]
    challenger, _ = going_on(model)
    files = shelf.files(like, tmp_path / "like")
    again = shelf.files(shelf.put(challenger, files, tmp_path), tmp_path / "again")
    assert framework.load(again, meaning()).estimator.layers[0].__class__.__name__ == "Twice"
    anew, _ = going_on(model, Mode.REFIT, epochs=1)
    assert anew.estimator.layers[0].__class__.__name__ == "Twice"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "raise RuntimeError('weights file not found')",
            "our_net:build raised RuntimeError: weights file not found (in",
        ),
        ("return 5", "our_net:build gives a int, which is no Keras model"),
    ],
)
def test_what_builds_the_network_may_go_wrong_in_a_sentence(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    import sys

    (tmp_path / "our_net.py").write_text(f"def build():\n    {code}\n")
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.delitem(sys.modules, "our_net", raising=False)
    network_of = meaning(network="our_net:build", code_folder=str(tmp_path))
    model = framework.load(shelf.files(logged(shelf, network()), tmp_path / "m"), network_of)
    with pytest.raises(RetrainError) as wrong:
        going_on(model, Mode.REFIT, epochs=1)
    assert said in str(wrong.value)


def test_a_function_that_gives_other_outputs_is_told(taken_up: Any) -> None:
    with pytest.raises(TrainingFailed, match="gave a model of 5 outputs a row, and the champion has 3"):
        taken_up(network()).holding(compiled([dense(5, "last")]))


def test_several_inputs_are_refused_by_name(shelf: Shelf, tmp_path: Path, taken_up: Any) -> None:
    import keras

    one, two = keras.Input((4,), name="one"), keras.Input((4,), name="two")
    made = keras.Model([one, two], dense(3, "last")(keras.layers.Add()([one, two])))
    with pytest.raises(Refused, match=r"takes 2 inputs \(one, two\)"):
        taken_up(made)
    described = framework.describe(shelf.files(logged(shelf, made), tmp_path / "again"))
    assert [mode.possible for mode in described.modes] == [False] * 3
    assert described.modes[0].reason.startswith("it takes 2 and gives 1 tensors")


def test_tensorflows_errors_are_told_by_the_line_that_says_something(shelf: Shelf, tmp_path: Path) -> None:
    import keras

    made = keras.Sequential(
        [keras.Input((4,)), keras.layers.Embedding(12, 4), keras.layers.Flatten(), dense(3, "last")]
    )
    made.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model = framework.load(shelf.files(logged(shelf, made), tmp_path / "m"), meaning())
    table, colour = points(100)
    with pytest.raises(TrainingFailed, match=r"Keras says: indices\[.* is not in \[0, 12\)"):
        model.continue_training(lesson(rows_of(table.abs() * 100, colour)))
    with pytest.raises(Refused, match="expected axis -1 of input shape to have value 4"):
        framework.load(shelf.files(logged(shelf, network()), tmp_path / "n"), meaning(shape=(7,)))
