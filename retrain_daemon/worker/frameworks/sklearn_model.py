"""scikit-learn models for training and judging: the door that `trainable.py` describes.

Training lives in `sklearn.py`, storing in `sklearn_storage.py`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from retrain_daemon.core.metrics import Task
from retrain_daemon.core.policy import Hyperparameter, Mode, Scalar
from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.cards import capital, first_line
from retrain_daemon.worker.evaluate import Predictions, canonical, following
from retrain_daemon.worker.features import Features
from retrain_daemon.worker.frameworks import sklearn, sklearn_rehearsal, sklearn_storage
from retrain_daemon.worker.frameworks.sklearn_parts import name_of, single_values
from retrain_daemon.worker.job import ModeReport, Progress
from retrain_daemon.worker.lesson import Lesson, Record
from retrain_daemon.worker.model_files import ModelFiles, does_not_load
from retrain_daemon.worker.trainable import Described, Meaning

_PREDICTED_ROWS = 10_000


def load(files: ModelFiles, meaning: Meaning) -> SklearnModel:
    """Load a fitted classifier or regressor; raises Refused when it does not load or is of another kind."""
    estimator = _loaded(files)
    task = sklearn.task_of(estimator)
    _refuse_foreign_words(files, meaning)
    _refuse_other_outputs(files, estimator, task, meaning)
    model = SklearnModel(estimator, task, meaning.schema.names)
    _check_declared_classes(files, model, meaning)
    return model


def describe(files: ModelFiles) -> Described:
    """Which modes the stored estimator can do; raises Refused when it does not load."""
    estimator = _loaded(files)
    described = Described(
        estimator=" ".join(repr(estimator).split()),
        modes=sklearn.describe_modes(estimator),
        hyperparameters=sklearn.hyperparameter_texts(estimator),
    )
    try:
        task = sklearn.task_of(estimator)
    except Refused as refusal:
        reason = refusal.message.rstrip(".")
        modes = tuple(ModeReport(mode=mode.value, possible=False, reason=reason, remedy=refusal.hint) for mode in Mode)
        return Described(estimator=described.estimator, modes=modes, hyperparameters=described.hyperparameters)
    classes = sklearn.classes_of(estimator)
    return Described(
        estimator=described.estimator,
        modes=described.modes,
        task=task.value,
        classes=() if classes is None else tuple(str(name) for name in classes.tolist()),
        hyperparameters=described.hyperparameters,
    )


@dataclass(frozen=True)
class SklearnModel:
    """A fitted estimator or Pipeline, and the columns it takes in their order; empty where it takes any."""

    estimator: Any
    task: Task
    columns: tuple[str, ...] = ()

    @property
    def classes(self) -> NDArray[Any] | None:
        """The classes it knows; None for a regression."""
        return sklearn.classes_of(self.estimator)

    @property
    def settings(self) -> Mapping[str, Scalar]:
        """What `get_params` says, where it is one text, number or truth value."""
        return single_values(self.estimator)

    def truth(self, target: pd.Series | pd.DataFrame) -> NDArray[Any]:
        """Labels of the type of its classes, or numbers."""
        return sklearn.target_array(self.estimator, target)

    def predict(self, features: Features) -> Predictions:
        """Predict some rows at a time, in its own order of columns; raises TrainingFailed with the cause."""
        parts = []
        for start in range(0, max(len(features), 1), _PREDICTED_ROWS):
            rows = features.take(np.arange(start, min(start + _PREDICTED_ROWS, len(features)))).frame()
            parts.append(self._predicted(rows[list(self.columns)] if self.columns else rows))
        return following(parts)

    def predict_example(self, example: Any) -> Predictions | None:
        """Predict a table, or an array of rows; None for anything else."""
        if isinstance(example, pd.DataFrame):
            return self._predicted(example)
        if isinstance(example, np.ndarray) and example.ndim == 2:
            return self._predicted(pd.DataFrame(example))
        return None

    def copied(self) -> SklearnModel:
        """The same model around a copy of the estimator."""
        return replace(self, estimator=copy.deepcopy(self.estimator))

    def continue_training(self, lesson: Lesson) -> tuple[SklearnModel, Record]:
        """Train a copy further by refit, warm_start or partial_fit (see `sklearn.continue_training`)."""
        continued = sklearn.continue_training(
            self.estimator,
            lesson.mode,
            lesson.hyperparameters,
            lesson.rows.features,
            lesson.target,
            weight=lesson.weight,
            seed=lesson.seed,
            progress=lambda done, total: lesson.tell(Progress(phase="training", done=done, total=total)),
        )
        return replace(self, estimator=continued.estimator), Record(notes=continued.notes)

    def rehearse(self, mode: Mode, hyperparameters: Mapping[str, Hyperparameter], weighted: bool) -> None:
        """Set and check hyperparameters on a copy that learns nothing (see `sklearn_rehearsal.rehearse`)."""
        sklearn_rehearsal.rehearse(self.estimator, mode, hyperparameters, weighted=weighted)

    def holding(self, estimator: Any) -> SklearnModel:
        """Around another fitted estimator of the same task; raises TrainingFailed for anything else."""
        if not isinstance(estimator, BaseEstimator):
            raise TrainingFailed(f"The training function gave a {name_of(estimator)}, which is no scikit-learn model.")
        try:
            task = sklearn.task_of(estimator)
        except Refused as refusal:
            raise TrainingFailed(refusal.message, refusal.hint) from refusal
        if task is not self.task:
            raise TrainingFailed(f"The training function gave a model for {task}, the champion's is {self.task}.")
        return replace(self, estimator=estimator)

    def store(self, target: Path, like: ModelFiles, folder: Path, code_folder: str = "") -> tuple[str, ...]:
        """Store it in the champion's format (see `sklearn_storage.store_estimator`)."""
        return sklearn_storage.store_estimator(self.estimator, target, like, code_folder)

    def _predicted(self, frame: pd.DataFrame) -> Predictions:
        try:
            return sklearn.predict(self.estimator, frame)
        except sklearn.ESTIMATOR_ERRORS as problem:
            raise TrainingFailed(f"{first_line(problem)}.") from problem


def _loaded(files: ModelFiles) -> Any:
    try:
        return mlflow.sklearn.load_model(str(files.folder))
    except Exception as problem:
        # What a stored object raises while it comes to life is up to its author.
        raise does_not_load(files.card, problem) from problem


def _refuse_foreign_words(files: ModelFiles, meaning: Meaning) -> None:
    """What only a network has would be passed over in silence."""
    for key, given in (
        ("data.shape", meaning.data.shape),
        ("data.model_outputs", meaning.data.model_outputs),
        ("train.model", meaning.network),
    ):
        if given:
            raise Refused(
                f"The policy has {key}, and {files.card.label} is a scikit-learn model, which takes a table.",
                f"Leave {key} out.",
            )


def _refuse_other_outputs(files: ModelFiles, estimator: Any, task: Task, meaning: Meaning) -> None:
    columns = meaning.data.target.columns
    outputs = 1 if task is Task.CLASSIFICATION else sklearn.outputs_of(estimator)
    if outputs != len(columns):
        raise Refused(
            f"{capital(files.card.label)} predicts {outputs} value{'s' if outputs > 1 else ''} a row, and data.target "
            f"names {len(columns)} column{'s' if len(columns) > 1 else ''}.",
            "Write data.target: {columns: [...]} with one column for each output, in the model's order.",
        )


def _check_declared_classes(files: ModelFiles, model: SklearnModel, meaning: Meaning) -> None:
    declared = {canonical(value) for value in meaning.data.target.classes}
    if not declared:
        return
    classes = model.classes
    known = set() if classes is None else {canonical(value) for value in classes.tolist()}
    if declared != known:
        raise Refused(
            f"data.target.classes names {', '.join(sorted(declared))}, and {files.card.label} knows "
            f"{', '.join(sorted(known)) or 'no classes, it is a regression'}.",
            "Leave it out: a scikit-learn model says its classes itself.",
        )
