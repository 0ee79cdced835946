"""PyTorch models: training goes on from where it was, modes are set rightly, and what cannot be is a sentence."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from retrain_daemon.core.policy import Mode, Outputs, Target
from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.frameworks import torch as framework
from retrain_daemon.worker.frameworks import torch_training
from retrain_daemon.worker.frameworks.torch import TorchModel
from retrain_daemon.worker.job import Progress
from tests.worker.network_lessons import Shelf, features, lesson, meaning, points, rows_of, signature

pytestmark = pytest.mark.slow

ROWS = rows_of(*points(600))


class Scaled(nn.Module):
    """Owns a parameter and cannot reset it."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, 3)

    def forward(self, rows: torch.Tensor) -> Any:
        return self.head(rows * self.scale)


class Pair(nn.Module):
    """Gives two tensors."""

    def forward(self, rows: torch.Tensor) -> Any:
        return rows, rows


def network(outputs: int = 3) -> nn.Module:
    torch.manual_seed(1)
    layers = [nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, outputs)]
    return nn.Sequential(*layers)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    yield Shelf(tmp_path_factory.mktemp("shelf"))
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


def logged(shelf: Shelf, module: Any, outputs: int = 3, **how: Any) -> str:
    how.setdefault("serialization_format", "pickle")
    how.setdefault("signature", signature(outputs))
    return shelf.log(lambda: mlflow.pytorch.log_model(module, name="model", pip_requirements=["torch"], **how))


@pytest.fixture(scope="module")
def uri(shelf: Shelf) -> str:
    """A module registered by a person, without optimizer state."""
    return logged(shelf, network().eval())


@pytest.fixture
def model(shelf: Shelf, uri: str, tmp_path: Path) -> TorchModel:
    return framework.load(shelf.files(uri, tmp_path / "champion"), meaning())


def weights(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.detach().numpy().copy() for name, value in module.state_dict().items()}


def steps(model: TorchModel) -> set[float]:
    assert model.kept is not None
    return {float(state["step"]) for state in model.kept.state["state"].values()}


def test_training_moves_a_copy_and_leaves_the_champion_as_it_was(model: TorchModel) -> None:
    before = weights(model.estimator)
    challenger, record = model.continue_training(lesson(ROWS, epochs=2, learning_rate=0.01))
    assert all(np.array_equal(before[name], value) for name, value in weights(model.estimator).items())
    assert any(not np.array_equal(before[name], value) for name, value in weights(challenger.estimator).items())
    assert [epoch.number for epoch in record.epochs] == [1, 2]
    assert record.epochs[1].metrics["loss"] < record.epochs[0].metrics["loss"]


def test_the_optimizer_state_is_kept_with_the_version_and_taken_up_again(
    shelf: Shelf, model: TorchModel, uri: str, tmp_path: Path
) -> None:
    first, record = model.continue_training(lesson(ROWS, epochs=1, batch_size=60, optimizer="adam"))
    assert "No optimizer state is kept with the champion: adam starts anew." in record.notes
    assert steps(first) == {10.0}
    stored = shelf.put(first, shelf.files(uri, tmp_path / "like"), tmp_path)
    again = framework.load(shelf.files(stored, tmp_path / "again"), meaning())
    assert first.kept is not None
    assert again.kept is not None
    for key, state in first.kept.state["state"].items():
        assert torch.equal(state["exp_avg"], again.kept.state["state"][key]["exp_avg"])
    second, record = again.continue_training(lesson(ROWS, epochs=1, batch_size=60))
    assert record.notes == ()
    assert record.parameters["framework_optimizer"] == "adam"
    assert steps(second) == {20.0}


def test_another_optimizer_starts_anew_and_a_learning_rate_does_not(model: TorchModel) -> None:
    first, _ = model.continue_training(lesson(ROWS, epochs=1, batch_size=60, optimizer="adam"))
    other, record = first.continue_training(lesson(ROWS, epochs=1, batch_size=60, optimizer="adamw"))
    assert "The optimizer starts anew: the policy names adamw, and adam is kept with the champion." in record.notes
    assert steps(other) == {10.0}
    slower, record = first.continue_training(lesson(ROWS, epochs=1, batch_size=60, learning_rate=0.5))
    assert record.notes == ()
    assert steps(slower) == {20.0}
    assert slower.kept is not None
    assert slower.kept.state["param_groups"][0]["lr"] == 0.5


def test_going_on_needs_fewer_epochs_to_the_same_loss_than_starting_from_scratch(model: TorchModel) -> None:
    learned, _ = model.continue_training(lesson(ROWS, epochs=15, optimizer="adam", learning_rate=0.01))
    _, on = learned.continue_training(lesson(ROWS, Mode.WARM_START, epochs=3))
    _, anew = learned.continue_training(lesson(ROWS, Mode.REFIT, epochs=3))
    assert on.epochs[0].metrics["loss"] < anew.epochs[-1].metrics["loss"]


@pytest.mark.parametrize("short", [torch.bfloat16, torch.float16])
def test_in_mixed_precision_it_learns_and_the_weights_stay_32_bits(
    model: TorchModel, monkeypatch: pytest.MonkeyPatch, short: torch.dtype
) -> None:
    monkeypatch.setattr(torch_training, "half_type", lambda device: short)
    seen: list[torch.dtype] = []
    model.estimator[0].register_forward_hook(lambda part, given, got: seen.append(got.dtype))
    challenger, record = model.continue_training(lesson(ROWS, epochs=5, learning_rate=0.01))
    assert set(seen) == {short}
    assert record.epochs[-1].metrics["loss"] < record.epochs[0].metrics["loss"]
    assert {value.dtype for value in challenger.estimator.parameters()} == {torch.float32}


def test_what_is_frozen_stays_the_same_to_the_bit_statistics_included(model: TorchModel) -> None:
    before = weights(model.estimator)
    challenger, _ = model.continue_training(lesson(ROWS, epochs=2, freeze=("0", "1"), learning_rate=0.05))
    after = weights(challenger.estimator)
    frozen = {name for name in before if name.startswith(("0.", "1."))}
    assert "1.running_mean" in frozen
    assert all(np.array_equal(before[name], after[name]) for name in frozen)
    assert not np.array_equal(before["4.weight"], after["4.weight"])
    assert all(parameter.requires_grad for parameter in challenger.estimator.parameters())


def test_a_freeze_pattern_that_matches_nothing_or_everything_is_refused(model: TorchModel) -> None:
    with pytest.raises(Refused, match=r"'conv\*' matches none of the model's modules and parameters"):
        model.continue_training(lesson(ROWS, freeze=("conv*",)))
    with pytest.raises(Refused, match="Every parameter of the model is frozen"):
        model.continue_training(lesson(ROWS, freeze=("?.weight", "?.bias", "0")))


def test_dropout_and_batch_normalisation_are_live_in_training_only(model: TorchModel) -> None:
    rows = features(300)
    first, second = model.predict(rows), model.predict(rows)
    assert np.array_equal(first.probabilities, second.probabilities)  # type: ignore[arg-type]
    challenger, _ = model.continue_training(lesson(ROWS, epochs=1))
    moved = challenger.estimator.state_dict()["1.running_mean"]
    assert not torch.equal(moved, model.estimator.state_dict()["1.running_mean"])
    assert not any(part.training for part in challenger.estimator.modules())
    again = challenger.predict(rows), challenger.predict(rows)
    assert np.array_equal(again[0].probabilities, again[1].probabilities)  # type: ignore[arg-type]


def test_predictions_do_not_depend_on_which_rows_are_predicted_together(model: TorchModel) -> None:
    whole = model.predict(features(2500)).probabilities
    assert whole is not None
    alone = model.predict(features(2500).take(np.arange(2000, 2100))).probabilities
    assert np.allclose(whole[2000:2100], alone, atol=1e-6)  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_weights_and_another_does_not(model: TorchModel) -> None:
    one, two, other = (
        model.continue_training(lesson(ROWS, seed=seed, epochs=1))[0].estimator for seed in (1, 1, 2)
    )  # fmt: skip
    assert all(torch.equal(first, second) for first, second in zip(one.parameters(), two.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_early_stopping_watches_rows_apart_and_takes_the_best_weights(model: TorchModel) -> None:
    told: list[Progress] = []
    words = {"epochs": 40, "learning_rate": 0.5, "early_stopping": {"patience": 2, "share": "20%"}}
    challenger, record = model.continue_training(lesson(ROWS, told=told, **words))  # type: ignore[arg-type]
    losses = [epoch.metrics["stopping_loss"] for epoch in record.epochs]
    assert len(losses) < 40
    assert any(note.startswith(f"Stopped after {len(losses)} of 40 epochs") for note in record.notes)
    assert losses.index(min(losses)) == len(losses) - 3
    assert told[-1].phase.startswith(f"training, epoch {len(losses)} of 40, loss ")
    assert challenger.predict(features(10)).labels is not None


def test_weights_of_rows_and_classes_change_what_is_learned(model: TorchModel) -> None:
    blue = (ROWS.target == "blue").to_numpy()
    only_blue = rows_of(ROWS.features.frame(), ROWS.target, np.where(blue, 1.0, 0.0))
    by_row, _ = model.continue_training(lesson(only_blue, epochs=5, learning_rate=0.02))
    by_class, _ = model.continue_training(
        lesson(ROWS, epochs=5, learning_rate=0.02, class_weight={"green": 0, "red": 0})
    )
    for challenger in (by_row, by_class):
        labels = challenger.predict(features(200)).labels
        assert labels is not None
        assert (labels == "blue").mean() > 0.95


def test_regressions_learn_one_value_and_several(shelf: Shelf, tmp_path: Path) -> None:
    table = points(400)[0]
    one = framework.load(
        shelf.files(logged(shelf, network(1).eval(), 1), tmp_path / "one"), meaning(Outputs.VALUE, Target("a"))
    )
    two = framework.load(
        shelf.files(logged(shelf, network(2).eval(), 2), tmp_path / "two"),
        meaning(Outputs.VALUE, Target("a", more=("b",))),
    )
    for model, target in ((one, table["a"]), (two, table[["a", "b"]])):
        challenger, record = model.continue_training(lesson(rows_of(table, target), epochs=8, learning_rate=0.01))
        assert record.parameters["framework_loss"] == "mse"
        assert record.epochs[-1].metrics["loss"] < record.epochs[0].metrics["loss"] / 2
        values = challenger.predict(features(50)).values
        assert values is not None
        assert values.shape == (50, *target.shape[1:])


def test_a_single_output_is_the_probability_of_the_second_class(shelf: Shelf, tmp_path: Path) -> None:
    target = Target("colour", classes=("other", "red"))
    model = framework.load(shelf.files(logged(shelf, network(1).eval(), 1), tmp_path / "m"), meaning(target=target))
    table, colour = points(500)
    rows = rows_of(table, colour.where(colour == "red", "other"))
    challenger, _ = model.continue_training(lesson(rows, epochs=10, learning_rate=0.02))
    predicted = challenger.predict(rows.features)
    assert predicted.labels is not None
    assert (predicted.labels == rows.target.to_numpy()).mean() > 0.9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"loss": "mse"}, "The loss 'mse' does not fit: the model gives logits of classes"),
        ({"optimizer": "lion"}, "There is no optimizer 'lion' for PyTorch models"),
        ({"epoch": 3}, "Did you mean 'epochs'"),
    ],
)
def test_words_that_do_not_fit_are_refused(model: TorchModel, words: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused) as refused:
        model.continue_training(lesson(ROWS, **words))
    assert said in str(refused.value)


def test_a_training_that_goes_astray_ends_with_its_place_and_what_to_do(model: TorchModel) -> None:
    with pytest.raises(TrainingFailed, match=r"The (loss|gradients|training)") as failed:
        model.continue_training(lesson(ROWS, epochs=30, optimizer="sgd", learning_rate=1e30))
    assert "smaller learning_rate" in failed.value.hint
    table, colour = points(100)
    table.loc[7, "a"] = np.nan
    with pytest.raises(TrainingFailed, match="The loss is NaN in epoch 1"):
        model.continue_training(lesson(rows_of(table, colour)))


def test_clipped_gradients_survive_what_others_do_not(model: TorchModel) -> None:
    table, colour = points(200)
    wild = rows_of(table * 1e6, colour)
    challenger, _ = model.continue_training(lesson(wild, epochs=1, gradient_clip=0.1, optimizer="sgd"))
    assert all(torch.isfinite(parameter).all() for parameter in challenger.estimator.parameters())


def test_a_class_without_rows_is_told_and_a_strange_one_refused(model: TorchModel) -> None:
    table, colour = points(300)
    without = colour != "red"
    _, record = model.continue_training(lesson(rows_of(table[without].reset_index(drop=True), colour[without])))
    assert "The training rows have no row of class 'red'." in record.notes
    with pytest.raises(Refused, match="does not name: purple"):
        model.continue_training(lesson(rows_of(table, colour.replace("red", "purple"))))


def test_wrong_shapes_and_outputs_are_told_when_the_model_is_loaded(shelf: Shelf, uri: str, tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"does not take rows of shape \[2, 2\]"):
        framework.load(shelf.files(uri, tmp_path / "a"), meaning(shape=(2, 2)))
    with pytest.raises(Refused, match=r"gives 3 outputs a row and data.target.classes names 2"):
        framework.load(shelf.files(uri, tmp_path / "b"), meaning(target=Target("colour", classes=("a", "b"))))
    pair = logged(shelf, Pair())
    with pytest.raises(Refused, match="gives a tuple; a module must give one tensor"):
        framework.load(shelf.files(pair, tmp_path / "c"), meaning())


def test_torchscript_goes_on_learning_and_stays_torchscript(shelf: Shelf, tmp_path: Path) -> None:
    script = logged(shelf, torch.jit.script(network().eval()))
    files = shelf.files(script, tmp_path / "script")
    model = framework.load(files, meaning())
    challenger, record = model.continue_training(lesson(ROWS, epochs=3, learning_rate=0.01))
    assert record.epochs[-1].metrics["loss"] < record.epochs[0].metrics["loss"]
    stored = shelf.put(challenger, files, tmp_path)
    again = framework.load(shelf.files(stored, tmp_path / "again"), meaning())
    assert isinstance(again.estimator, torch.jit.ScriptModule)
    assert again.kept is not None
    assert np.array_equal(again.predict(features(50)).labels, challenger.predict(features(50)).labels)  # type: ignore[arg-type]
    with pytest.raises(Refused, match="TorchScript module does not know how its weights were made"):
        model.continue_training(lesson(ROWS, Mode.REFIT, epochs=1))


FACTORY = """
import torch
from torch import nn

def build():
    layers = [nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)]
    return nn.Sequential(*layers)

def other():
    layers = [nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Sigmoid(), nn.Dropout(0.3), nn.Linear(16, 3)]
    return nn.Sequential(*layers)

def smaller():
    return nn.Linear(4, 3)

def broken():
    return "a network"
"""


@pytest.fixture(scope="module")
def export(shelf: Shelf) -> str:
    example = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    return logged(shelf, network().eval(), serialization_format="pt2", input_example=example)


def test_an_export_is_refused_with_the_reason_and_the_line_that_helps(
    shelf: Shelf, export: str, tmp_path: Path
) -> None:
    files = shelf.files(export, tmp_path / "m")
    with pytest.raises(Refused, match="cannot be trained further: it is stored as a pt2 export") as refused:
        framework.load(files, meaning())
    assert 'serialization_format="pickle"' in refused.value.hint
    assert "train.model" in refused.value.hint
    assert [mode.possible for mode in framework.describe(files).modes] == [False] * 3


def test_an_exports_weights_go_on_learning_in_the_network_the_policy_names(
    shelf: Shelf, export: str, tmp_path: Path
) -> None:
    (tmp_path / "our_points_net.py").write_text(FACTORY)
    said = meaning(network="our_points_net:build", code_folder=str(tmp_path))
    files = shelf.files(export, tmp_path / "m")
    model = framework.load(files, said)
    assert np.allclose(model.predict(features(20)).probabilities, softmax(network().eval()))  # type: ignore[arg-type]
    challenger, _ = model.continue_training(lesson(ROWS, epochs=2))
    stored = shelf.put(challenger, files, tmp_path)
    again = shelf.files(stored, tmp_path / "again")
    assert np.array_equal(
        framework.load(again, said).predict(features(20)).labels, challenger.predict(features(20)).labels
    )  # type: ignore[arg-type]


def softmax(module: nn.Module) -> np.ndarray:
    rows = torch.from_numpy(features(20).frame().to_numpy("float32"))
    with torch.no_grad():
        found: np.ndarray = torch.softmax(module(rows), dim=1).numpy()
    return found


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("other", "predicts other values than the export"),
        ("smaller", "do not fit the network of our_points_net:smaller"),
        ("broken", "gives a str, which is no PyTorch module"),
        ("missing", "has no 'missing'"),
    ],
)
def test_another_network_than_the_exported_one_is_refused(
    shelf: Shelf, export: str, tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "our_points_net.py").write_text(FACTORY)
    files = shelf.files(export, tmp_path / "m")
    with pytest.raises(Refused, match=said):
        framework.load(files, meaning(network=f"our_points_net:{name}", code_folder=str(tmp_path)))


def test_refit_needs_a_way_to_make_fresh_weights(shelf: Shelf, tmp_path: Path) -> None:
    files = shelf.files(logged(shelf, Scaled().eval()), tmp_path / "m")
    refit, *others = framework.describe(files).modes
    assert (refit.possible, all(mode.possible for mode in others)) == (False, True)
    assert refit.reason == "Scaled owns parameters and has no reset_parameters"
    with pytest.raises(Refused, match="Mode refit is not possible: Scaled owns parameters"):
        framework.load(files, meaning()).continue_training(lesson(ROWS, Mode.REFIT, epochs=1))


def test_refit_starts_from_fresh_weights_and_statistics(model: TorchModel) -> None:
    learned, _ = model.continue_training(lesson(ROWS, epochs=10, learning_rate=0.05))
    anew, record = learned.continue_training(lesson(ROWS, Mode.REFIT, epochs=1, learning_rate=1e-9))
    assert not np.allclose(weights(anew.estimator)["0.weight"], weights(learned.estimator)["0.weight"])
    assert int(anew.estimator.state_dict()["1.num_batches_tracked"]) == 19
    assert record.notes == ()


def test_a_module_that_cannot_be_imported_is_a_sentence(shelf: Shelf, uri: str, tmp_path: Path) -> None:
    files = shelf.files(uri, tmp_path / "m")
    path = files.folder / "data" / "model.pth"
    torch.save(copy.deepcopy(network()), path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"torch.nn.modules.container", b"torch.nn.modules.contained"))
    with pytest.raises(Refused, match="Version 1 of points does not load: ModuleNotFoundError"):
        framework.load(files, meaning())


def test_a_damaged_optimizer_state_is_a_sentence(shelf: Shelf, model: TorchModel, uri: str, tmp_path: Path) -> None:
    trained, _ = model.continue_training(lesson(ROWS))
    stored = shelf.put(trained, shelf.files(uri, tmp_path / "like"), tmp_path)
    files = shelf.files(stored, tmp_path / "m")
    next(files.folder.rglob("retraind_optimizer.pt")).write_bytes(b"not a state")
    damaged = framework.load(files, meaning())
    assert damaged.predict(features(5)).labels is not None
    with pytest.raises(Refused, match="The optimizer state kept with the model cannot be read"):
        damaged.continue_training(lesson(ROWS))
    assert damaged.continue_training(lesson(ROWS, Mode.REFIT, epochs=1))[1].notes == ()
    assert framework.describe(files).notes[0].startswith("The optimizer state kept with the model cannot be read")


def test_what_a_teams_own_function_gives_must_be_a_module(model: TorchModel) -> None:
    assert model.holding(network().train()).estimator.training is False
    with pytest.raises(TrainingFailed, match="gave a dict, which is no PyTorch module"):
        model.holding({})
    with pytest.raises(TrainingFailed, match="has 5 outputs a row, and the champion has 3"):
        model.holding(network(outputs=5))


def test_an_input_example_is_tried_as_mlflow_stores_it(model: TorchModel) -> None:
    array = np.zeros((3, 4), dtype="float32")
    for example in (array, pd.DataFrame(array, columns=list("abcd"))):
        predicted = model.predict_example(example)
        assert predicted is not None
        assert predicted.labels is not None
        assert len(predicted.labels) == 3
    assert model.predict_example({"a": "text"}) is None
