"""A loaded model as training and judging use it, whatever its framework; each module in `frameworks/` fulfils this.

Protocols and the values they exchange, nothing else. No framework is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.core.metrics import Task
from retrain_daemon.core.policy import DataSpec, Hyperparameter, Mode, Scalar
from retrain_daemon.worker.evaluate import Predictions
from retrain_daemon.worker.features import Features
from retrain_daemon.worker.job import ModeReport
from retrain_daemon.worker.lesson import Lesson, Record
from retrain_daemon.worker.model_files import ModelFiles
from retrain_daemon.worker.schema import Schema


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What the policy says of rows and outputs: columns, tensors, classes. `network` ("package.module:name") builds a
    model without weights; modules are looked for in `code_folder`, too.
    """

    data: DataSpec
    schema: Schema
    network: str = ""
    code_folder: str = ""


@dataclass(frozen=True, kw_only=True)
class Described:
    """What can be said of a model without a policy: its make, what it predicts, and which modes it can do.

    `task` and `classes` are empty where only a policy can say them, `storage` where the MLmodel file says the format.
    """

    estimator: str
    modes: tuple[ModeReport, ...]
    storage: str = ""
    task: str = ""
    classes: tuple[str, ...] = ()
    hyperparameters: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


class Trainable(Protocol):
    """A model in memory. Nothing here changes it: training gives a new one."""

    @property
    def estimator(self) -> Any:
        """The framework's own object."""

    @property
    def task(self) -> Task:
        """What it predicts."""

    @property
    def classes(self) -> NDArray[Any] | None:
        """The classes in the order of its outputs; None for a regression."""

    @property
    def settings(self) -> Mapping[str, Scalar]:
        """Its present hyperparameters by the policy's names, as far as the model tells them and they are one value."""

    def truth(self, target: pd.Series | pd.DataFrame) -> NDArray[Any]:
        """The target beside which its predictions are judged: labels (n,), or numbers (n,) or (n, outputs)."""

    def predict(self, features: Features) -> Predictions:
        """Predict every row, batch by batch where they are many; the same rows give the same predictions.

        Raises TrainingFailed, with the first line of the cause, when the model cannot predict them.
        """

    def predict_example(self, example: Any) -> Predictions | None:
        """Predict an input example as MLflow stores it; None for a kind that cannot be tried. Raises like `predict`."""

    def copied(self) -> Trainable:
        """The same model around a copy of the framework's object."""

    def continue_training(self, lesson: Lesson) -> tuple[Trainable, Record]:
        """Train a copy further as the lesson says.

        Raises Refused for what this model cannot do or a hyperparameter that is none, TrainingFailed when it fails.
        """

    def rehearse(self, mode: Mode, hyperparameters: Mapping[str, Hyperparameter], weighted: bool) -> None:
        """Try on a copy what comes before the first row of a training; with `weighted` rows it takes weights.

        Raises Refused, as `continue_training` does, for what this model cannot do or a hyperparameter that is none.
        """

    def holding(self, estimator: Any) -> Trainable:
        """The same meaning around another object, trained by a team's own function.

        Raises TrainingFailed when it is no model of this framework.
        """

    def store(self, target: Path, like: ModelFiles, folder: Path, code_folder: str = "") -> tuple[str, ...]:
        """Store it in the new folder `target` the way `like` was stored; returns sentences for a reviewer.

        Signature, code and metadata are carried over, and what its classes need of `code_folder` goes with it.
        `folder` takes temporary files. Asks nothing of MLflow's server. Raises TrainingFailed when it cannot be stored
        so.
        """


class Framework(Protocol):
    """One module of `frameworks/`: how its models are loaded and described."""

    def load(self, files: ModelFiles, meaning: Meaning) -> Trainable:
        """Load a model. Raises Refused, with the reason and what would help, for one that does not load or cannot be
        trained further in any mode, and where the policy does not say what its outputs mean.
        """

    def describe(self, files: ModelFiles) -> Described:
        """Say how a model can be trained further, loading it only where its files do not say so. Raises Refused."""
