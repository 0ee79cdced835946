"""How a trained scikit-learn model is stored in MLflow: in the champion's format, trusted types carried over."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from retrain_daemon.errors import TrainingFailed
from retrain_daemon.worker.cards import SKOPS, first_line
from retrain_daemon.worker.model_code import code_to_store
from retrain_daemon.worker.model_files import ModelFiles, extra_files
from retrain_daemon.worker.requirements import as_installed

#: Libraries whose types a challenger may bring along newly: their code has trained it in this very process.
_TRUSTED_LIBRARIES = ("sklearn.", "numpy.", "scipy.")


def store_estimator(estimator: Any, target: Path, like: ModelFiles, code_folder: str = "") -> tuple[str, ...]:
    """Store as `like` was stored; requirements are given, as guessing them costs MLflow many seconds.

    Raises TrainingFailed when the format cannot store it.
    """
    info, storage = like.card.info, like.card.storage
    trusted = trusted_types(like, estimator)
    needed = ["mlflow", "scikit-learn", *([storage] if storage in (SKOPS, "cloudpickle") else [])]
    requirements = as_installed(like.requirements, needed)
    try:
        mlflow.sklearn.save_model(
            estimator,
            str(target),
            signature=info.signature,
            serialization_format=storage,
            skops_trusted_types=trusted,
            pip_requirements=list(requirements.lines),
            pyfunc_predict_fn=info.flavors.get("python_function", {}).get("predict_fn", "predict"),
            metadata=info.metadata,
            code_paths=code_to_store(estimator, like, code_folder),
            extra_files=extra_files(like),
        )
    except (TypeError, AttributeError, pickle.PicklingError) as problem:
        raise TrainingFailed(f"{storage} cannot store the challenger: {first_line(problem)}.") from problem
    except MlflowException as problem:
        # The rest of what MLflow raises here is about the store, and has no such words.
        if "serializ" not in problem.message and "untrusted types" not in problem.message:
            raise
        raise TrainingFailed(f"MLflow cannot store the challenger: {first_line(problem)}.") from problem
    return requirements.notes


def trusted_types(champion: ModelFiles, estimator: Any) -> list[str] | None:
    """The skops types that loading the challenger must trust; None for other formats or when there are none.

    The champion's own list is carried over. A type that is not on it is added only if it belongs to scikit-learn,
    numpy or scipy (other solvers and versions bring other internal types); any other raises TrainingFailed.
    """
    if champion.card.storage != SKOPS:
        return None
    import skops.io

    carried = set(champion.card.settings.get("skops_trusted_types") or ())
    try:
        found = set(skops.io.get_untrusted_types(data=skops.io.dumps(estimator)))
    except Exception as problem:
        raise TrainingFailed(f"skops cannot store the challenger: {first_line(problem)}.") from problem
    strange = sorted(kind for kind in found - carried if not kind.startswith(_TRUSTED_LIBRARIES))
    if strange:
        raise TrainingFailed(
            f"The challenger holds types that {champion.card.label} does not declare as trusted: {', '.join(strange)}.",
            "Register a champion with these in skops_trusted_types, if they are to be trusted.",
        )
    return sorted(carried | found) or None
