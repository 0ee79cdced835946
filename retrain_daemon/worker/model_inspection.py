"""What `retraind inspect` says of a registered model: how it can be trained further, why not, what would help.

Reads the MLmodel file first and fetches the model only where its framework can do something with it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from retrain_daemon.core.policy import DataSpec, Mode, Target
from retrain_daemon.errors import Refused
from retrain_daemon.worker.cards import ModelCard, connect, read_version
from retrain_daemon.worker.flavors import framework_of
from retrain_daemon.worker.job import InspectModel, ModelInspected, ModeReport, Progress, Source
from retrain_daemon.worker.model_files import fetch, requirements_alone
from retrain_daemon.worker.requirements import differing
from retrain_daemon.worker.schema import NETWORKS
from retrain_daemon.worker.signature import read_schema

#: A policy that leaves the features to the signature.
_BY_SIGNATURE = DataSpec(folder="/", pattern="*", target=Target(column=""))


def inspect_model(job: InspectModel, progress: Callable[[Progress], None]) -> ModelInspected:
    """Describe one registered version; raises NotFound when it is not there, Refused when it does not load."""
    connect(job.source)
    progress(Progress(phase="reading the model's description"))
    card = read_version(job.source)
    with tempfile.TemporaryDirectory(prefix="retraind-inspect-") as scratch:
        if job.untrusted:
            return _by_card(card, Path(scratch), job.untrusted, "Nothing of it was loaded.")
        try:
            framework = framework_of(card)
        except Refused as refusal:
            return _by_card(card, Path(scratch), refusal.message, refusal.hint)
        progress(Progress(phase="loading the model"))
        files = fetch(card, Path(scratch))
        described = framework.describe(files)
    return ModelInspected(
        flavor=card.flavor,
        storage=described.storage or card.storage,
        estimator=described.estimator,
        task=described.task,
        classes=described.classes,
        features=_features(card),
        modes=_without_columns(job.source, card, described.modes),
        hyperparameters=described.hyperparameters,
        trained_with=files.requirements,
        notes=(*described.notes, *differing(files.requirements)),
    )


def _by_card(card: ModelCard, folder: Path, reason: str, remedy: str) -> ModelInspected:
    return ModelInspected(
        flavor=card.flavor,
        storage=card.storage,
        estimator="",
        task="",
        classes=(),
        features=_features(card),
        modes=_impossible(reason.rstrip("."), remedy),
        hyperparameters=(),
        trained_with=requirements_alone(card, folder),
    )


def _without_columns(source: Source, card: ModelCard, modes: tuple[ModeReport, ...]) -> tuple[ModeReport, ...]:
    """A table model without named columns cannot be trained from files; a network's columns are the policy's."""
    if card.flavor in NETWORKS or not any(mode.possible for mode in modes):
        return modes
    try:
        read_schema(source, _BY_SIGNATURE)
    except Refused as refusal:
        reason, remedy = refusal.message.rstrip("."), refusal.hint
        return tuple(
            replace(mode, possible=False, reason=reason, remedy=remedy) if mode.possible else mode for mode in modes
        )
    return modes


def _features(card: ModelCard) -> tuple[tuple[str, str], ...]:
    """Input names and types of the signature; a tensor has no name, and its shape belongs to its type."""
    signature = card.info.signature
    if signature is None or signature.inputs is None:
        return ()
    return tuple((str(entry.name or ""), _type(entry)) for entry in signature.inputs.inputs)


def _type(entry: object) -> str:
    kind = getattr(entry, "type", "")
    shape = getattr(entry, "shape", None)
    name = str(getattr(kind, "name", kind))
    return name if shape is None else f"{name} {list(shape)}"


def _impossible(reason: str, remedy: str) -> tuple[ModeReport, ...]:
    return tuple(ModeReport(mode=mode.value, possible=False, reason=reason, remedy=remedy) for mode in Mode)
