"""Which modes a PyTorch module can do, and how it is copied and starts from fresh weights."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from retrain_daemon.core.policy import Mode
from retrain_daemon.errors import Refused
from retrain_daemon.worker.job import ModeReport

_NOTHING_TO_TRAIN = "it has no parameter that is registered with requires_grad=True"
_DERIVING = (WeightNorm, SpectralNorm)
_OF_TWO_MODES = ("BatchNorm", "SyncBatchNorm", "InstanceNorm", "Dropout", "AlphaDropout", "FeatureAlphaDropout")
_REMEDY = 'Name what builds the network in train.model: "package.module:factory", or give its modules reset_parameters.'


def describe_modes(module: nn.Module) -> tuple[ModeReport, ...]:
    """Any module can go on; fresh weights need a way to make them."""
    reason = against_refit(module)
    refit = ModeReport(mode=Mode.REFIT.value, possible=not reason, reason=reason, remedy=_REMEDY if reason else "")
    others = (Mode.WARM_START, Mode.INCREMENTAL)
    if any(value.requires_grad for value in module.parameters()):
        return (refit, *(ModeReport(mode=mode.value, possible=True) for mode in others))
    none = _NOTHING_TO_TRAIN
    return tuple(ModeReport(mode=mode.value, possible=False, reason=none) for mode in Mode)


def against_refit(module: nn.Module) -> str:
    """What stands against fresh weights, as a clause; "" when nothing does."""
    if isinstance(module, torch.jit.ScriptModule):
        return "a TorchScript module does not know how its weights were made"
    for name, part in module.named_modules():
        what = f"{name!r} ({type(part).__name__})" if name else type(part).__name__
        if is_parametrized(part) or any(isinstance(hook, _DERIVING) for hook in part._forward_pre_hooks.values()):
            return f"{what} computes its weights from others, which reset_parameters does not reach"
        if any(value.requires_grad for value in part.parameters(recurse=False)) and _reset_of(part) is None:
            return f"{what} owns parameters and has no reset_parameters"
    return ""


def _reset_of(part: nn.Module) -> Callable[[], None] | None:
    """What gives a module fresh weights; torch's own attention has it under another name."""
    found = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
    return found if callable(found) else None


def duplicated(module: nn.Module) -> nn.Module:
    """A copy with weights of its own. Deep copies of TorchScript have weights that no optimizer takes."""
    if not isinstance(module, torch.jit.ScriptModule):
        return copy.deepcopy(module)
    stream = io.BytesIO()
    torch.jit.save(module, stream)
    stream.seek(0)
    loaded: nn.Module = torch.jit.load(stream, map_location="cpu")  # type: ignore[no-untyped-call]  # without types
    return loaded


def fresh(module: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """The module with fresh weights and statistics, and sentences about what was kept: what is not trained stays.

    Raises Refused for one that cannot be reset.
    """
    if reason := against_refit(module):
        raise Refused(f"Mode refit is not possible: {reason}.", _REMEDY)
    still = {name: value.clone() for name, value in module.named_parameters() if not value.requires_grad}
    buffers = {
        f"{name}.{inner}" if name else inner: value.clone()
        for name, part in module.named_modules() if _is_still(part)
        for inner, value in part.named_buffers(recurse=False)
    }  # fmt: skip
    for part in module.modules():
        reset, statistics = _reset_of(part), getattr(part, "reset_running_stats", None)
        if reset is not None:
            reset()
        elif callable(statistics):
            statistics()
    module.load_state_dict({**module.state_dict(), **still, **buffers})
    shown = ", ".join(list(still)[:8]) + (f" and {len(still) - 8} more" if len(still) > 8 else "")
    return module, (f"{shown}: registered with requires_grad=False, so these weights were kept.",) if still else ()


def _is_still(part: nn.Module) -> bool:
    own = list(part.parameters(recurse=False))
    return bool(own) and not any(value.requires_grad for value in own)


def refuse_traced(module: nn.Module, label: str) -> None:
    """Raise Refused for a trace: it has one mode for ever, in which dropout and batch normalisation were traced."""
    for name, part in module.named_modules():
        kind = str(getattr(part, "original_name", ""))
        if isinstance(part, torch.jit.ScriptModule) and kind.startswith(_OF_TWO_MODES) and "training" not in part.code:
            raise Refused(
                f"{label} cannot be trained further: it is a trace, and {name} ({kind}) has one mode for ever.",
                "Log it with torch.jit.script(model), or as the module itself.",
            )


def refuse_parametrized(module: nn.Module, what: str) -> None:
    """Raise Refused for a module that cannot be pickled, before anything is trained."""
    for name, part in module.named_modules():
        if is_parametrized(part):
            raise Refused(
                f"{what} has a parametrization ({name or type(part).__name__}), which cannot be stored.",
                "Use torch.nn.utils.parametrize.remove_parametrizations, or the older torch.nn.utils.weight_norm.",
            )
