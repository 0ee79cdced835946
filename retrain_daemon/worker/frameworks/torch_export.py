"""A pt2 export taken up again: the policy's own code builds the network, the export gives the weights."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import nn

from retrain_daemon.errors import Refused
from retrain_daemon.worker.cards import capital, first_line
from retrain_daemon.worker.custom import build
from retrain_daemon.worker.frameworks.torch_errors import said_by
from retrain_daemon.worker.frameworks.torch_files import EXPORT_REASON, EXPORT_REMEDY, export_path
from retrain_daemon.worker.model_files import ModelFiles, does_not_load
from retrain_daemon.worker.schema import Tensor
from retrain_daemon.worker.trainable import Meaning

_TRIED_ROWS = 8
_TOLERANCE = 1e-4


def rebuilt(files: ModelFiles, meaning: Meaning) -> nn.Module:
    """The network of `train.model` with the export's weights, in eval mode.

    It must predict what the export predicts. Raises Refused without `train.model`, for weights that do not fit, and
    for a network that predicts otherwise: also one that was exported in training mode.
    """
    if not meaning.network:
        raise Refused(f"{capital(files.card.label)} cannot be trained further: {EXPORT_REASON}.", EXPORT_REMEDY)
    module = build(meaning.network, meaning.code_folder)
    if not isinstance(module, nn.Module):
        raise Refused(f"{meaning.network} gives a {type(module).__name__}, which is no PyTorch module.")
    export = _export(files)
    try:
        module.load_state_dict(export.state_dict)
    except RuntimeError as problem:
        said = " ".join(str(problem).split("\n\t")[1:2]) or first_line(problem)
        raise Refused(
            f"The weights of {files.card.label} do not fit the network of {meaning.network}: {said.strip()}",
            "Name what builds the very network that was exported.",
        ) from problem
    module.eval()
    _refuse_other_network(module, export, files, meaning)
    return module


def _export(files: ModelFiles) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.load(export_path(files))
    except Exception as problem:
        # A damaged archive makes torch raise whatever its parts raise.
        raise does_not_load(files.card, problem) from problem


def _tried_rows(tensor: Tensor) -> torch.Tensor:
    """Drawn values; of whole numbers 0 and 1, which most networks have words for."""
    drawn = np.random.default_rng(0)
    shape = (_TRIED_ROWS, *tensor.shape)
    values = drawn.normal(size=shape) if np.dtype(tensor.dtype).kind == "f" else drawn.integers(0, 2, size=shape)
    return torch.from_numpy(values.astype(tensor.dtype))


def _refuse_other_network(module: nn.Module, export: Any, files: ModelFiles, meaning: Meaning) -> None:
    """Same weights need not mean the same network: both predict the same rows."""
    tensor = meaning.schema.tensor
    assert tensor is not None
    rows = _tried_rows(tensor)
    try:
        with torch.no_grad():
            ours, theirs = module(rows), export.module()(rows)
    except Exception as problem:
        # An export checks its input by itself, with errors of several kinds.
        raise Refused(
            f"{meaning.network} could not be tried against {files.card.label}: {said_by(problem)}.",
            "The export must take any number of rows: log it with a dynamic batch.",
        ) from problem
    given = [getattr(outputs, "shape", type(outputs).__name__) for outputs in (ours, theirs)]
    if given[0] != given[1]:
        raise Refused(
            f"{meaning.network} gives {given[0]} for {_TRIED_ROWS} rows, and {files.card.label} gives {given[1]}.",
            "Name what builds the very network that was exported.",
        )
    if not torch.allclose(ours, theirs, atol=_TOLERANCE, rtol=_TOLERANCE, equal_nan=True):
        raise Refused(
            f"The network of {meaning.network} with the weights of {files.card.label} predicts other values than the "
            f"export (by up to {float((ours - theirs).abs().max()):.3g}).",
            "It is another network, or it was exported in training mode: call model.eval() before it is exported.",
        )
