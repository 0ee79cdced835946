"""PyTorch modules as teams make them: scripted, traced, tied, masked, half frozen, with files and code of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.models import infer_signature
from torch import nn

from retrain_daemon.core.policy import Mode
from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.frameworks import torch as framework
from retrain_daemon.worker.frameworks.hyperparameters import EarlyStopping
from retrain_daemon.worker.frameworks.network import stopping_split
from retrain_daemon.worker.frameworks.torch import TorchModel
from retrain_daemon.worker.schema import Column, Schema, Tensor
from tests.worker.network_lessons import Shelf, features, lesson, meaning, points, rows_of
from tests.worker.test_torch import ROWS, logged, network, shelf, weights

pytestmark = pytest.mark.slow
__all__ = ["shelf"]


@pytest.fixture
def taken_up(shelf: Shelf, tmp_path: Path) -> Callable[..., TorchModel]:
    """Registers a module and loads it as a champion."""

    def take_up(module: Any, said: Any = None, **how: Any) -> TorchModel:
        return framework.load(shelf.files(logged(shelf, module, **how), tmp_path / "m"), said or meaning())

    return take_up


def simple(norm: bool = False) -> nn.Module:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(4, 8), *([nn.LayerNorm(8)] if norm else []), nn.ReLU(), nn.Linear(8, 3)).eval()


ROW = torch.ones(2, 4)
COMPILED = {
    "scripted": lambda: torch.jit.script(simple()),
    "scripted with layer norm": lambda: torch.jit.script(simple(norm=True)),
    "traced": lambda: torch.jit.trace(simple(), ROW),
    "traced with layer norm": lambda: torch.jit.trace(simple(norm=True), ROW),
    "scripted with batch norm": lambda: torch.jit.script(network().eval()),
}


@pytest.mark.parametrize("kind", COMPILED)
def test_torchscript_learns_after_it_has_predicted(taken_up: Any, kind: str) -> None:
    model = taken_up(COMPILED[kind]())
    model.predict(features(40))
    challenger, record = model.continue_training(lesson(ROWS, epochs=2, learning_rate=0.01))
    assert record.epochs[1].metrics["loss"] < record.epochs[0].metrics["loss"]
    assert challenger.predict(features(40)).labels is not None


def test_a_trace_with_a_frozen_mode_is_refused_by_name(taken_up: Any) -> None:
    with pytest.raises(Refused, match=r"it is a trace, and 1 \(BatchNorm1d\) has one mode for ever") as refused:
        taken_up(torch.jit.trace(network().eval(), ROW))
    assert "torch.jit.script(model)" in refused.value.hint


class AlwaysDropping(nn.Module):
    """Forgets to say when it is training."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, rows: torch.Tensor) -> Any:
        return nn.functional.dropout(self.head(rows), 0.5)


def test_a_module_that_predicts_differently_each_time_is_refused(taken_up: Any) -> None:
    with pytest.raises(Refused, match="predicts the same rows differently each time"):
        taken_up(AlwaysDropping())


# refit


@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.spectral_norm])
def test_weights_that_are_computed_from_others_cannot_be_made_fresh(taken_up: Any, norm: Any) -> None:
    model = taken_up(nn.Sequential(norm(nn.Linear(4, 3))).eval())
    with pytest.raises(Refused, match="computes its weights from others, which reset_parameters does not reach"):
        model.continue_training(lesson(ROWS, Mode.REFIT, epochs=1))


def test_refit_leaves_what_was_registered_as_frozen(taken_up: Any) -> None:
    module = network().eval()
    for parameter in module[:2].parameters():
        parameter.requires_grad_(False)
    module[1].running_mean.fill_(0.5)
    model = taken_up(module)
    anew, record = model.continue_training(lesson(ROWS, Mode.REFIT, epochs=1))
    before, after = weights(model.estimator), weights(anew.estimator)
    assert all(np.array_equal(before[name], after[name]) for name in ("0.weight", "0.bias", "1.weight"))
    assert not np.allclose(before["4.weight"], after["4.weight"], atol=0.05)
    assert record.notes[0].startswith("0.weight, 0.bias, 1.weight, 1.bias: registered with requires_grad=False")


class Attending(nn.Module):
    """torch's own attention resets itself under another name; and a mask that holds minus infinity."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, 3)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(1))

    def forward(self, rows: torch.Tensor) -> Any:
        steps = rows[:, None, :]
        found, _ = self.attention(steps, steps, steps, attn_mask=self.mask)
        return self.head(found[:, 0])


@pytest.mark.parametrize("mode", [Mode.REFIT, Mode.INCREMENTAL])
def test_masks_of_infinity_and_attention_do_not_stand_in_the_way(taken_up: Any, mode: Mode) -> None:
    module = Attending().eval()
    module.mask.fill_(float("-inf"))
    module.mask[0, 0] = 0.0
    module.register_buffer("unused", torch.full((2,), float("-inf")))
    _, record = taken_up(module).continue_training(lesson(ROWS, mode, epochs=2, learning_rate=0.01))
    assert record.epochs[1].metrics["loss"] < record.epochs[0].metrics["loss"]


def test_what_builds_other_outputs_is_told_before_anything_is_trained(
    taken_up: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "our_five.py").write_text("from torch import nn\ndef build():\n    return nn.Linear(4, 5)\n")
    monkeypatch.setattr(sys, "path", sys.path.copy())
    model = taken_up(network().eval(), meaning(network="our_five:build", code_folder=str(tmp_path)))
    with pytest.raises(TrainingFailed, match="What our_five:build gives has 5 outputs a row, and the champion has 3"):
        model.continue_training(lesson(ROWS, Mode.REFIT, epochs=1))


def test_a_misspelled_network_is_told_when_the_champion_is_loaded(taken_up: Any, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="there is no module 'our_nowhere'"):
        taken_up(network().eval(), meaning(network="our_nowhere:build", code_folder=str(tmp_path)))


# freezing


class Tied(nn.Module):
    """Two names for one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.decoder.weight = self.encoder.weight

    def forward(self, rows: torch.Tensor) -> Any:
        return self.head(self.decoder(torch.tanh(self.encoder(rows))))


@pytest.mark.parametrize("pattern", ["decoder", "decoder.weight", "encoder.weight"])
def test_a_weight_of_two_names_is_frozen_by_either(taken_up: Any, pattern: str) -> None:
    model = taken_up(Tied().eval())
    challenger, _ = model.continue_training(lesson(ROWS, freeze=(pattern,)))
    before, after = weights(model.estimator), weights(challenger.estimator)
    assert np.array_equal(before["encoder.weight"], after["encoder.weight"])
    assert not np.array_equal(before["head.weight"], after["head.weight"])


def test_statistics_stay_when_all_parameters_of_a_normalisation_are_named(taken_up: Any) -> None:
    model = taken_up(network().eval())
    challenger, _ = model.continue_training(lesson(ROWS, freeze=("1.*",)))
    before, after = weights(model.estimator), weights(challenger.estimator)
    assert all(np.array_equal(before[name], after[name]) for name in before if name.startswith("1."))


def test_a_module_registered_without_anything_to_train_is_told(shelf: Shelf, taken_up: Any, tmp_path: Path) -> None:
    module = network().eval().requires_grad_(False)
    with pytest.raises(Refused, match="was registered with requires_grad=False; nothing would be trained"):
        taken_up(module).continue_training(lesson(ROWS))
    described = framework.describe(shelf.files(logged(shelf, module), tmp_path / "again"))
    assert [mode.possible for mode in described.modes] == [False] * 3


# what goes astray


def test_a_watched_row_that_is_no_number_ends_the_training(taken_up: Any) -> None:
    table, colour = points(600)
    watched = stopping_split(rows_of(table, colour).unit_keys, EarlyStopping(patience=2))[1]
    table.loc[watched[0], "a"] = np.nan
    with pytest.raises(TrainingFailed, match="rows that early stopping watches is NaN after epoch 1"):
        taken_up(simple()).continue_training(lesson(rows_of(table, colour), epochs=3, early_stopping=2))


def test_training_leaves_the_champions_optimizer_state_as_it_was(taken_up: Any) -> None:
    model, _ = taken_up(network().eval()).continue_training(lesson(ROWS))
    first, second = (weights(model.continue_training(lesson(ROWS))[0].estimator) for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


class Twofold(nn.Module):
    """Gives more in training, as networks with auxiliary heads do."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, rows: torch.Tensor) -> Any:
        found = self.head(rows)
        return (found, found) if self.training else found


def test_a_module_that_gives_more_in_training_is_told(taken_up: Any) -> None:
    with pytest.raises(TrainingFailed, match="In training mode the module gives a tuple; it must give one tensor"):
        taken_up(Twofold()).continue_training(lesson(ROWS))


class Squeezing(nn.Module):
    """Drops every dimension of size one, that of the rows as well."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, rows: torch.Tensor) -> Any:
        return self.head(rows).squeeze()


def test_a_last_row_alone_is_predicted_too(taken_up: Any) -> None:
    predicted = taken_up(Squeezing()).predict(features(1025))
    assert predicted.labels is not None
    assert len(predicted.labels) == 1025


# words, files and exports


class Words(nn.Module):
    """An embedding of whole numbers, with sparse gradients."""

    def __init__(self, sparse: bool = True) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(7, 5, sparse=sparse), nn.Linear(20, 3)

    def forward(self, rows: torch.Tensor) -> Any:
        return self.head(self.words(rows).reshape(-1, 20))


WHOLE = replace(
    meaning(), schema=Schema(tuple(Column(name, "long") for name in "abcd"), "string", Tensor((4,), "int64"))
)
NUMBERS = pd.DataFrame(np.random.default_rng(0).integers(0, 7, (300, 4)), columns=list("abcd"))
OF_WORDS = infer_signature(NUMBERS.to_numpy(), np.zeros((2, 3), "float32"))
WORD_ROWS = rows_of(NUMBERS, pd.Series(np.array(["blue", "green", "red"])[NUMBERS["a"].to_numpy() % 3], dtype=object))


def test_sparse_gradients_are_no_obstacle(taken_up: Any) -> None:
    model = taken_up(Words(), WHOLE, signature=OF_WORDS)
    _, record = model.continue_training(lesson(WORD_ROWS, epochs=5, optimizer="sgd", learning_rate=0.1))
    assert record.epochs[-1].metrics["loss"] < record.epochs[0].metrics["loss"]


def test_an_export_of_whole_numbers_is_taken_up(taken_up: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "our_words.py").write_text(
        "from tests.worker.test_torch_teams import Words\ndef build():\n    return Words(sparse=False)\n"
    )
    monkeypatch.setattr(sys, "path", sys.path.copy())
    said = replace(WHOLE, network="our_words:build", code_folder=str(tmp_path))
    how = {"serialization_format": "pt2", "input_example": NUMBERS.to_numpy()[:4], "signature": OF_WORDS}
    _, record = taken_up(Words(sparse=False).eval(), said, **how).continue_training(lesson(WORD_ROWS, epochs=2))
    assert record.epochs[1].metrics["loss"] < record.epochs[0].metrics["loss"]


def test_a_teams_own_optimizer_file_is_left_alone(shelf: Shelf, tmp_path: Path) -> None:
    own = tmp_path / "optimizer.pt"
    torch.save({"ours": 1}, own)
    files = shelf.files(logged(shelf, network().eval(), extra_files=[str(own)]), tmp_path / "m")
    challenger, record = framework.load(files, meaning()).continue_training(lesson(ROWS))
    assert record.notes == ("No optimizer state is kept with the champion: adamw starts anew.",)
    stored = shelf.files(shelf.put(challenger, files, tmp_path), tmp_path / "again").folder
    assert {path.name for path in stored.rglob("*optimizer.pt")} == {"optimizer.pt", "retraind_optimizer.pt"}
