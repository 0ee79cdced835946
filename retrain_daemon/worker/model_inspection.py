"""What `retraind inspect` says of a registered model: how it can be trained further, why not, what would help.

Reads the MLmodel file first and loads weights only of models that can be trained here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from retrain_daemon.core.policy import DataSpec, Mode, Target
from retrain_daemon.errors import Refused
from retrain_daemon.worker.job import InspectModel, ModelInspected, ModeReport, Progress, Source
from retrain_daemon.worker.model_store import (
    SKLEARN,
    LoadedModel,
    ModelCard,
    connect,
    load,
    read_version,
    requirements_alone,
    spelled,
)
from retrain_daemon.worker.signature import read_schema

#: A policy that leaves the features to the signature.
_BY_SIGNATURE = DataSpec(folder="/", pattern="*", target=Target(column=""))


def inspect_model(job: InspectModel, progress: Callable[[Progress], None]) -> ModelInspected:
    """Describe one registered version; raises NotFound when it is not there, Refused when it does not load."""
    connect(job.source)
    progress(Progress(phase="reading the model's description"))
    card = read_version(job.source)
    with tempfile.TemporaryDirectory(prefix="retraind-inspect-") as scratch:
        if card.flavor != SKLEARN:
            return _of_other_flavor(card, Path(scratch))
        progress(Progress(phase="loading the model"))
        return _of_sklearn(job.source, load(card, Path(scratch)))


def _of_other_flavor(card: ModelCard, folder: Path) -> ModelInspected:
    reason = f"training {spelled(card.flavor)} models is not built yet"
    return ModelInspected(
        flavor=card.flavor,
        storage=card.storage,
        estimator="",
        task="",
        classes=(),
        features=_features(card),
        modes=_impossible(reason, "Models logged with mlflow.sklearn.log_model can be trained further."),
        hyperparameters=(),
        trained_with=requirements_alone(card, folder),
    )


def _of_sklearn(source: Source, model: LoadedModel) -> ModelInspected:
    from retrain_daemon.worker.frameworks import sklearn  # a second of imports that other flavours do not need

    shown = ModelInspected(
        flavor=model.card.flavor,
        storage=model.card.storage,
        estimator=_text(model.estimator),
        task="",
        classes=(),
        features=_features(model.card),
        modes=(),
        hyperparameters=sklearn.hyperparameter_texts(model.estimator),
        trained_with=model.requirements,
    )
    try:
        task = sklearn.task_of(model.estimator)
    except Refused as refusal:
        return replace(shown, modes=_impossible(_clause(refusal.message), refusal.hint))
    classes = sklearn.classes_of(model.estimator)
    names = () if classes is None else tuple(str(name) for name in classes.tolist())
    modes = sklearn.describe_modes(model.estimator)
    try:
        read_schema(source, _BY_SIGNATURE)
    except Refused as refusal:
        modes = _impossible(_clause(refusal.message), refusal.hint)
    return replace(shown, task=task.value, classes=names, modes=modes)


def _features(card: ModelCard) -> tuple[tuple[str, str], ...]:
    """Input names and types of the signature; a tensor has no name."""
    signature = card.info.signature
    if signature is None or signature.inputs is None:
        return ()
    return tuple(
        (str(entry.name or ""), str(getattr(entry.type, "name", entry.type))) for entry in signature.inputs.inputs
    )


def _impossible(reason: str, remedy: str) -> tuple[ModeReport, ...]:
    return tuple(ModeReport(mode=mode.value, possible=False, reason=reason, remedy=remedy) for mode in Mode)


def _clause(sentence: str) -> str:
    return sentence.rstrip(".")


def _text(estimator: Any) -> str:
    """The estimator as scikit-learn writes it, on one line."""
    return " ".join(repr(estimator).split())
