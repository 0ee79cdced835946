"""What a training gets and gives: the contract of every framework here, and of a team's own training function.

A policy's `train.with` names a function that follows `TrainingFunction`. No framework is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.core.policy import Hyperparameter, Mode
from retrain_daemon.worker.job import Progress
from retrain_daemon.worker.labelled import LabelledRows

Tell = Callable[[Progress], None]


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """The rows to train on, and how. `rows` are those of the training side; for `incremental` the unlearned ones.

    `seed` makes it repeatable; `tell` takes how far it is.
    """

    mode: Mode
    hyperparameters: Mapping[str, Hyperparameter]
    rows: LabelledRows
    seed: int
    tell: Tell

    def __len__(self) -> int:
        """How many rows."""
        return len(self.rows)

    def frame(self) -> pd.DataFrame:
        """The features of all rows, in memory."""
        return self.rows.features.frame()

    @property
    def target(self) -> pd.Series | pd.DataFrame:
        """What is to be predicted: one value a row or, of a regression with several outputs, one column each."""
        return self.rows.target

    @property
    def weight(self) -> NDArray[np.float64] | None:
        """The weight of each row (the policy's `data.weight`), None where all count the same."""
        return self.rows.weight

    def batches(self, size: int, dtype: str = "float32") -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        """Features of `size` rows at a time, (rows, columns), in an order drawn from `seed`, with their positions."""
        order = np.random.default_rng(self.seed).permutation(len(self.rows))
        for start in range(0, len(order), size):
            positions = order[start : start + size]
            yield self.rows.features.array(positions, dtype), positions


@dataclass(frozen=True)
class Epoch:
    """One pass over the training rows, counted from 1, with its metrics by name, such as `loss`."""

    number: int
    metrics: Mapping[str, float]


class TrainingFunction(Protocol):
    """A team's own training: gets the loaded champion, gives the challenger, a model of the same framework.

    The champion is a scikit-learn estimator, a Keras model or a PyTorch module; it may be changed and returned. What
    it raises ends the attempt with its first line.
    """

    def __call__(self, champion: Any, lesson: Lesson) -> Any:
        """Train on `lesson` and return the challenger."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a training leaves beside the model: sentences for a reviewer, its epochs, and pairs for the MLflow run."""

    notes: tuple[str, ...] = ()
    epochs: tuple[Epoch, ...] = ()
    parameters: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
