"""Losses of PyTorch models by name, one number a row, and which outputs each is for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from retrain_daemon.core.policy import Outputs
from retrain_daemon.errors import Refused

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

_LEAST = 1e-7  # probabilities are clipped here before their logarithm is taken
CROSS_ENTROPY = "cross_entropy"
_OF_VALUES: dict[str, Loss] = {
    "mse": lambda outputs, target: functional.mse_loss(outputs, target, reduction="none").mean(dim=1),
    "mae": lambda outputs, target: functional.l1_loss(outputs, target, reduction="none").mean(dim=1),
    "huber": lambda outputs, target: functional.huber_loss(outputs, target, reduction="none").mean(dim=1),
}


def loss_of(name: str | None, kind: Outputs, outputs: int) -> tuple[str, Loss]:
    """The loss by its name, or the usual one for these outputs; raises Refused for one that does not fit them."""
    fitting: dict[str, Loss] = _OF_VALUES if kind is Outputs.VALUE else {CROSS_ENTROPY: _cross_entropy(kind, outputs)}
    name = name or next(iter(fitting))
    if name not in fitting:
        what = "predicts values" if kind is Outputs.VALUE else f"gives {kind.value} of classes"
        raise Refused(
            f"The loss {name!r} does not fit: the model {what}.", f"For these outputs there is {', '.join(fitting)}."
        )
    return name, fitting[name]


def _cross_entropy(kind: Outputs, outputs: int) -> Loss:
    if outputs == 1:
        return _binary_logits if kind is Outputs.LOGITS else _binary_probabilities
    return _logits if kind is Outputs.LOGITS else _probabilities


def _logits(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(outputs, target, reduction="none")


def _probabilities(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return functional.nll_loss(outputs.clamp(_LEAST).log(), target, reduction="none")


def _binary_logits(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(outputs[:, 0], target.to(outputs.dtype), reduction="none")


def _binary_probabilities(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    clipped = outputs[:, 0].clamp(_LEAST, 1 - _LEAST)
    return functional.binary_cross_entropy(clipped, target.to(outputs.dtype), reduction="none")
