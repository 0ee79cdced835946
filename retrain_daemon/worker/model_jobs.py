"""The job about one model alone, as values: how it can be trained further. Part of the contract that `job.py` writes
and reads; imports no framework and nothing of the daemon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from retrain_daemon.worker.data_jobs import Source


@dataclass(frozen=True, kw_only=True)
class InspectModel:
    """Say how one registered version can be trained further, and why not otherwise.

    With a reason in `untrusted` only its description is read, and nothing of it is loaded.
    """

    kind: Literal["inspect_model"] = "inspect_model"
    source: Source
    untrusted: str = ""


@dataclass(frozen=True, kw_only=True)
class ModeReport:
    """One mode: whether the model can do it, else the reason and what would make it possible."""

    mode: str
    possible: bool
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelInspected:
    """Result of `InspectModel`. `flavor` such as "sklearn", `storage` such as "skops"; `features` as the signature
    names them with their types; `hyperparameters` are the names a policy may set with their present values as text.
    """

    kind: Literal["model_inspected"] = "model_inspected"
    flavor: str
    storage: str
    estimator: str
    task: str
    classes: tuple[str, ...]
    features: tuple[tuple[str, str], ...]
    modes: tuple[ModeReport, ...]
    hyperparameters: tuple[tuple[str, str], ...]
    trained_with: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
