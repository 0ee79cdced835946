"""Optimizers by name, and their state: kept beside a version, taken up again by the next training."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from retrain_daemon.core.policy import Mode
from retrain_daemon.errors import Refused
from retrain_daemon.worker.cards import first_line
from retrain_daemon.worker.frameworks.hyperparameters import Hyperparameters

DEFAULT = "adamw"
#: By name; sgd has the momentum that most recipes for it have.
OPTIMIZERS: Mapping[str, tuple[type[torch.optim.Optimizer], Mapping[str, Any]]] = {
    "sgd": (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "adagrad": (torch.optim.Adagrad, {}),
}


@dataclass(frozen=True)
class Kept:
    """An optimizer as it was after a training: its name, names and shapes of the parameters, and its state."""

    name: str
    parameters: tuple[tuple[str, tuple[int, ...]], ...]
    state: Mapping[str, Any]


def read_kept(path: Path) -> Kept:
    """Read the state kept with a version, as tensors only. Raises Refused when the file is damaged."""
    try:
        content = torch.load(path, weights_only=True)
        parameters = tuple((str(name), tuple(shape)) for name, shape in content["parameters"])
        return Kept(str(content["optimizer"]), parameters, content["state"])
    except Exception as problem:
        # A damaged file makes torch raise whatever its parts raise.
        raise Refused(
            f"The optimizer state kept with the model cannot be read: {type(problem).__name__}: {first_line(problem)}.",
            "Use mode refit, or go on from a version whose files are whole.",
        ) from problem


def settings_of(kept: Kept) -> Mapping[str, str | float]:
    """The optimizer by the words of a policy."""
    group = (kept.state.get("param_groups") or [{}])[0]
    words = {"learning_rate": "lr", "weight_decay": "weight_decay"}
    found = {word: float(group[name]) for word, name in words.items() if isinstance(group.get(name), int | float)}
    return {"optimizer": kept.name, **found}


def write_kept(path: Path, kept: Kept) -> None:
    """Write the state for the next training."""
    torch.save({"optimizer": kept.name, "parameters": list(kept.parameters), "state": dict(kept.state)}, path)


def keep(name: str, optimizer: torch.optim.Optimizer, module: nn.Module) -> Kept:
    """The optimizer's state on the CPU, with the parameters it belongs to."""
    return Kept(name, _shapes(module), _on_cpu(optimizer.state_dict()))


def build(
    module: nn.Module, kept: Kept | None, mode: Mode, wanted: Hyperparameters
) -> tuple[str, torch.optim.Optimizer, tuple[str, ...]]:
    """The optimizer of a training, over all parameters in order, its name and notes.

    The kept state is taken up unless the training starts from fresh weights or the policy names another optimizer;
    the policy's learning rate and weight decay replace the kept ones, moments stay. Raises Refused for a name that is
    none.
    """
    name = (wanted.optimizer or (kept.name if kept else DEFAULT)).lower()
    if name not in OPTIMIZERS:
        raise Refused(f"There is no optimizer {name!r} for PyTorch models.", f"There are {', '.join(OPTIMIZERS)}.")
    kind, options = OPTIMIZERS[name]
    optimizer = kind(list(module.parameters()), **options)
    note = _against_taking_up(module, kept, mode, name)
    if kept is not None and not note:
        optimizer.load_state_dict(copy.deepcopy(dict(kept.state)))  # it would go on with the very same tensors
    _set(optimizer, "lr", wanted.learning_rate)
    _set(optimizer, "weight_decay", wanted.weight_decay)
    return name, optimizer, (note,) if note and mode is not Mode.REFIT else ()


def _against_taking_up(module: nn.Module, kept: Kept | None, mode: Mode, name: str) -> str:
    if mode is Mode.REFIT:
        return "fresh weights"
    if kept is None:
        return f"No optimizer state is kept with the champion: {name} starts anew."
    if kept.name != name:
        return f"The optimizer starts anew: the policy names {name}, and {kept.name} is kept with the champion."
    if kept.parameters != _shapes(module):
        return f"The optimizer starts anew: the state kept with the champion is of other parameters ({name})."
    return ""


def _set(optimizer: torch.optim.Optimizer, option: str, value: float | None) -> None:
    if value is not None:
        for group in optimizer.param_groups:
            group[option] = value


def _shapes(module: nn.Module) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple((name, tuple(parameter.shape)) for name, parameter in module.named_parameters())


def _on_cpu(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {key: _on_cpu(part) for key, part in value.items()}
    return [_on_cpu(part) for part in value] if isinstance(value, list) else value
