"""What Keras and PyTorch models share: hyperparameters of a policy, classes, outputs, weights, batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain_daemon.core.policy import DataSpec, Hyperparameter, Mode, Outputs, Target
from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.frameworks.hyperparameters import EarlyStopping, read_hyperparameters
from retrain_daemon.worker.frameworks.network import (
    as_classes,
    batches,
    class_codes,
    declared_classes,
    frozen_names,
    note_missing_classes,
    predictions_of,
    refuse_bad_loss,
    row_weights,
    stopping_split,
)
from retrain_daemon.worker.rows import judges
from retrain_daemon.worker.schema import Column, Schema, Tensor
from retrain_daemon.worker.trainable import Meaning

SCHEMA = Schema((Column("a", "float"), Column("b", "float")), tensor=Tensor((2,)))


def meaning(outputs: Outputs | None, target: Target) -> Meaning:
    return Meaning(data=DataSpec(folder="/", pattern="*", target=target, model_outputs=outputs), schema=SCHEMA)


def test_hyperparameters_not_given_are_those_of_the_model_or_the_fields_defaults() -> None:
    read = read_hyperparameters({}, Mode.INCREMENTAL)
    assert (read.epochs, read.batch_size, read.optimizer, read.learning_rate, read.loss) == (1, 32, None, None, None)


def test_every_hyperparameter_is_read_as_written() -> None:
    given: dict[str, Hyperparameter] = {
        "epochs": 3, "batch_size": 8, "optimizer": "adam", "learning_rate": 0.001, "weight_decay": 0, "loss": "mse",
        "freeze": ("conv_*", "norm"), "early_stopping": {"patience": 2, "share": "15%", "min_delta": 0.01}, "seed": 0,
        "class_weight": {"yes": 2}, "gradient_clip": 1,
    }  # fmt: skip
    read = read_hyperparameters(given, Mode.WARM_START)
    assert read.freeze == ("conv_*", "norm")
    assert read.early_stopping == EarlyStopping(patience=2, share=0.15, min_delta=0.01)
    assert (read.weight_decay, read.seed, read.class_weight) == (0.0, 0, {"yes": 2.0})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epoch": 3}, "'epoch' is no hyperparameter of a network. Did you mean 'epochs'?"),
        ({"momentum": 3}, "There are epochs, batch_size"),
        ({"epochs": 0}, "'epochs' is 0. Write a whole number from 1"),
        ({"epochs": True}, "'epochs' is True"),
        ({"epochs": 2.5}, "'epochs' is 2.5"),
        ({"learning_rate": "1e-3"}, "'learning_rate' is '1e-3'. Write a number"),
        ({"learning_rate": 0}, "Write a number above 0"),
        ({"learning_rate": float("nan")}, "'learning_rate' is nan"),
        ({"weight_decay": -1}, "not negative"),
        ({"freeze": ("a", 3)}, "Write a list of names or patterns"),
        ({"early_stopping": {"share": "10%"}}, "'early_stopping.patience' is None"),
        ({"early_stopping": {"patience": 2, "share": "90%"}}, "Write a share from 1% to 50%"),
        ({"early_stopping": {"patience": 2, "of": "10%"}}, "'of' is no part of early_stopping"),
        ({"class_weight": "even"}, "Write balanced, or a factor for each class"),
    ],
)
def test_a_hyperparameter_that_cannot_be_is_refused_with_what_to_write(
    given: dict[str, Hyperparameter], said: str
) -> None:
    with pytest.raises(Refused) as refused:
        read_hyperparameters(given, Mode.INCREMENTAL)
    assert said in str(refused.value)


def test_refit_must_be_told_how_long_to_train() -> None:
    with pytest.raises(Refused, match="`epochs` is not given"):
        read_hyperparameters({}, Mode.REFIT)
    assert read_hyperparameters({"epochs": 4}, Mode.REFIT).epochs == 4


def test_a_freeze_pattern_that_matches_nothing_is_an_error_that_lists_the_names() -> None:
    names = ["conv_1", "conv_2", "head"]
    assert frozen_names(("conv_*",), names, "layers") == {"conv_1", "conv_2"}
    with pytest.raises(Refused, match=r"'dense_\*' matches none of the model's layers. There are conv_1, conv_2, head"):
        frozen_names(("conv_*", "dense_*"), names, "layers")
    with pytest.raises(Refused, match="nothing would be trained"):
        frozen_names(("*",), names, "layers")


@pytest.mark.parametrize(
    ("outputs", "target", "count", "said"),
    [
        (None, Target("y"), 3, "does not say what the model's outputs are"),
        (Outputs.LOGITS, Target("y"), 3, "which class each of the model's outputs is"),
        (Outputs.LOGITS, Target("y", classes=("a", "b")), 3, "gives 3 outputs a row and data.target.classes names 2"),
        (Outputs.PROBABILITIES, Target("y", classes=("a", "b", "c")), 1, "gives 1 outputs a row"),
        (Outputs.VALUE, Target("y"), 2, "gives 2 values a row and the policy names 1 target columns"),
        (Outputs.VALUE, Target("y", classes=("a", "b")), 1, "names 2 classes"),
        (Outputs.LOGITS, Target("y", more=("z",), classes=("a", "b")), 2, "one target column"),
    ],
)
def test_what_outputs_mean_is_declared_and_never_guessed(
    outputs: Outputs | None, target: Target, count: int, said: str
) -> None:
    with pytest.raises(Refused, match=said):
        declared_classes(meaning(outputs, target), count)


def test_labels_are_the_same_class_whether_a_file_writes_numbers_or_text() -> None:
    classes = np.array([0, 1, 2])
    assert class_codes(np.array(["2", "0", "1"], dtype=object), classes).tolist() == [2, 0, 1]
    assert class_codes(np.array([2.0, 0.0]), classes).tolist() == [2, 0]
    assert as_classes(np.array(["2", "0"], dtype=object), classes).tolist() == [2, 0]
    with pytest.raises(Refused, match="does not name: 7"):
        class_codes(np.array([0, 7]), classes)


def test_two_logits_one_logit_and_a_probability_say_the_same() -> None:
    target = Target("y", classes=("no", "yes"))
    logit = np.array([[2.0], [-1.0]])
    one = predictions_of(logit, meaning(Outputs.LOGITS, target), np.array(["no", "yes"]))
    two = predictions_of(np.hstack([0 * logit, logit]), meaning(Outputs.LOGITS, target), np.array(["no", "yes"]))
    sure = predictions_of(1 / (1 + np.exp(-logit)), meaning(Outputs.PROBABILITIES, target), np.array(["no", "yes"]))
    assert one.labels is not None
    assert one.labels.tolist() == ["yes", "no"]
    for other in (two, sure):
        assert np.allclose(one.probabilities, other.probabilities)  # type: ignore[arg-type]


def test_a_value_is_one_number_a_row_and_several_stay_beside_one_another() -> None:
    single = predictions_of(np.array([[1.0], [2.0]]), meaning(Outputs.VALUE, Target("y")), None)
    several = predictions_of(np.ones((2, 3)), meaning(Outputs.VALUE, Target("y", more=("z", "w"))), None)
    assert single.values is not None
    assert several.values is not None
    assert (single.values.shape, several.values.shape) == ((2,), (2, 3))


def test_balanced_weights_give_every_present_class_the_same_sum() -> None:
    codes = np.array([0, 0, 0, 1])
    weights = row_weights(None, "balanced", codes, np.array(["a", "b", "never seen"]))
    assert weights is not None
    assert np.isclose(weights[:3].sum(), weights[3])
    assert np.isclose(weights.sum(), 4)


def test_class_weights_multiply_the_rows_own_and_unknown_classes_are_refused() -> None:
    codes, classes = np.array([0, 1]), np.array([0, 1])
    assert row_weights(np.array([2.0, 3.0]), {"1": 10.0}, codes, classes).tolist() == [2.0, 30.0]  # type: ignore[union-attr]
    with pytest.raises(Refused, match=r"class_weight names the class '7'\. The classes are 0, 1"):
        row_weights(None, {"7": 1.0}, codes, classes)
    with pytest.raises(Refused, match="predicts values"):
        row_weights(None, "balanced", None, None)


@given(st.integers(2, 200), st.integers(1, 40), st.integers(0, 5))
def test_batches_have_each_row_once_and_never_a_single_one_at_the_end(rows: int, size: int, seed: int) -> None:
    parts = list(batches(np.arange(rows), size, np.random.default_rng(seed)))
    assert sorted(np.concatenate(parts).tolist()) == list(range(rows))
    assert size == 1 or all(len(part) > 1 for part in parts)


def test_rows_that_early_stopping_watches_are_chosen_apart_from_those_that_judge() -> None:
    units = np.random.default_rng(0).integers(0, 2**63, 20_000).astype(np.uint64)
    training, watched = stopping_split(units, EarlyStopping(patience=1, share=0.2))
    assert sorted([*training, *watched]) == list(range(20_000))
    assert 0.18 < len(watched) / 20_000 < 0.22
    assert 0.18 < judges(units, 0.2)[watched].mean() < 0.22
    unwatched = units[~np.isin(np.arange(20_000), watched)][:5]
    with pytest.raises(TrainingFailed, match="a share of 20% of 5 training rows leaves nothing to watch"):
        stopping_split(unwatched, EarlyStopping(patience=1, share=0.2))


def test_a_loss_that_is_no_number_ends_the_training_with_its_place() -> None:
    refuse_bad_loss(0.5, 1, 1, np.ones((2, 1)))
    with pytest.raises(TrainingFailed, match="The loss is NaN in epoch 2, batch 31") as failed:
        refuse_bad_loss(float("nan"), 2, 31, np.ones((2, 1)))
    assert "smaller learning_rate" in failed.value.hint


def test_a_feature_that_is_missing_is_named_when_the_loss_is_no_number() -> None:
    rows = np.array([[1.0, np.nan], [2.0, 3.0]])
    with pytest.raises(TrainingFailed, match="where column income of the data has no number"):
        refuse_bad_loss(float("nan"), 1, 9, rows, ("age", "income"))


def test_labels_that_begin_like_a_class_are_not_taken_for_it() -> None:
    labels = np.array(["yes", "yes?", "yesterday", "no"], dtype=object)
    assert as_classes(labels, np.array(["no", "yes"])).tolist() == labels.tolist()


def test_outputs_that_cannot_be_probabilities_are_told() -> None:
    said = meaning(Outputs.PROBABILITIES, Target("colour", classes=("a", "b", "c")))
    classes = np.array(["a", "b", "c"])
    with pytest.raises(TrainingFailed, match=r"The outputs reach from -2 to 3, and data.model_outputs says prob"):
        predictions_of(np.array([[-2.0, 3.0, 0.0]]), said, classes)
    assert predictions_of(np.array([[0.2, 0.8, np.nan]]), said, classes).probabilities is not None


def test_classes_without_rows_are_told() -> None:
    classes = np.array(["a", "b", "c"])
    assert note_missing_classes(np.array([0, 2]), classes) == ("The training rows have no row of class 'b'.",)
    assert note_missing_classes(np.array([0, 1, 2]), classes) == ()
