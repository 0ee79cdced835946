"""Which modes a PyTorch module can do, and how it is copied and starts from fresh weights."""

from __future__ import annotations

import copy
import io

import torch
from torch import nn

from retrain_daemon.core.policy import Mode
from retrain_daemon.errors import Refused
from retrain_daemon.worker.job import ModeReport

_REMEDY = 'Name what builds the network in train.model: "package.module:factory", or give its modules reset_parameters.'


def describe_modes(module: nn.Module) -> tuple[ModeReport, ...]:
    """Any module can go on; fresh weights need a way to make them."""
    reason = against_refit(module)
    refit = ModeReport(mode=Mode.REFIT.value, possible=not reason, reason=reason, remedy=_REMEDY if reason else "")
    others = (Mode.WARM_START, Mode.INCREMENTAL)
    if any(True for _ in module.parameters()):
        return (refit, *(ModeReport(mode=mode.value, possible=True) for mode in others))
    none = "it has no parameters"
    return tuple(ModeReport(mode=mode.value, possible=False, reason=none) for mode in Mode)


def against_refit(module: nn.Module) -> str:
    """What stands against fresh weights, as a clause; "" when nothing does."""
    if isinstance(module, torch.jit.ScriptModule):
        return "a TorchScript module does not know how its weights were made"
    for name, part in module.named_modules():
        owns = any(True for _ in part.parameters(recurse=False))
        if owns and not callable(getattr(part, "reset_parameters", None)):
            what = f"{name!r} ({type(part).__name__})" if name else type(part).__name__
            return f"{what} owns parameters and has no reset_parameters"
    return ""


def duplicated(module: nn.Module) -> nn.Module:
    """A copy with weights of its own. Deep copies of TorchScript have weights that no optimizer takes."""
    if not isinstance(module, torch.jit.ScriptModule):
        return copy.deepcopy(module)
    stream = io.BytesIO()
    torch.jit.save(module, stream)
    stream.seek(0)
    loaded: nn.Module = torch.jit.load(stream, map_location="cpu")  # type: ignore[no-untyped-call]  # without types
    return loaded


def fresh(module: nn.Module) -> nn.Module:
    """The module with fresh weights and statistics; raises Refused for one that cannot be reset."""
    if reason := against_refit(module):
        raise Refused(f"Mode refit is not possible: {reason}.", _REMEDY)
    for part in module.modules():
        reset = getattr(part, "reset_parameters", None)
        if callable(reset):
            reset()
        elif callable(statistics := getattr(part, "reset_running_stats", None)):
            statistics()
    return module
