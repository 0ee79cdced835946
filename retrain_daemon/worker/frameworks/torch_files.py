"""What the files of a stored PyTorch model say without importing PyTorch."""

from __future__ import annotations

from pathlib import Path

from retrain_daemon.core.policy import Mode
from retrain_daemon.worker.job import ModeReport
from retrain_daemon.worker.model_files import ModelFiles

#: A name of our own: a team may store an optimizer of its own beside a model.
OPTIMIZER_FILE = "retraind_optimizer.pt"
_EXPORT = "model.pt2"

EXPORT_REASON = (
    "it is stored as a pt2 export, whose mode is frozen: dropout and batch normalisation would not train as they should"
)
EXPORT_REMEDY = (
    'Log it with mlflow.pytorch.log_model(model, serialization_format="pickle", ...), or name what builds the network '
    'in train.model: "package.module:factory", and the export\'s weights are loaded into it.'
)


def is_export(files: ModelFiles) -> bool:
    """Whether the model is a pt2 export; MLflow does not write the format down."""
    return export_path(files).exists()


def export_path(files: ModelFiles) -> Path:
    """Where a pt2 export lies."""
    return files.folder / str(files.card.settings.get("model_data", "data")) / _EXPORT


def optimizer_path(files: ModelFiles) -> Path | None:
    """The optimizer state kept with the version, None where there is none."""
    for entry in files.card.settings.get("extra_files") or ():
        path = files.folder / str(entry["path"])
        if path.name == OPTIMIZER_FILE and path.exists():
            return path
    return None


def export_modes() -> tuple[ModeReport, ...]:
    """No mode is possible for an export without the network's own code."""
    return tuple(
        ModeReport(mode=mode.value, possible=False, reason=EXPORT_REASON, remedy=EXPORT_REMEDY) for mode in Mode
    )
