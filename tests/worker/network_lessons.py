"""Rows, lessons and meanings for tests of networks: labelled points in memory, and a job's words around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature

from retrain_daemon.core.policy import DataSpec, Hyperparameter, Mode, Outputs, Target
from retrain_daemon.worker.cards import ModelCard, read_card
from retrain_daemon.worker.challenger_run import log_stored
from retrain_daemon.worker.features import Features, Table
from retrain_daemon.worker.job import Progress, Source
from retrain_daemon.worker.labelled import Rows
from retrain_daemon.worker.lesson import Lesson
from retrain_daemon.worker.model_files import ModelFiles, fetch
from retrain_daemon.worker.schema import Column, Schema, Tensor
from retrain_daemon.worker.store import initialise
from retrain_daemon.worker.trainable import Meaning, Trainable

COLUMNS = ("a", "b", "c", "d")
CLASSES = ("blue", "green", "red")


def points(rows: int, seed: int = 0) -> tuple[pd.DataFrame, pd.Series]:
    """Points in four dimensions and which of three classes each is of."""
    drawn = np.random.default_rng(seed).normal(size=(rows, 4)).round(4)
    scores = np.stack([drawn[:, 0], drawn[:, 1] + drawn[:, 2], -drawn[:, 0] - drawn[:, 3]], axis=1)
    return pd.DataFrame(drawn, columns=list(COLUMNS)), pd.Series(np.array(CLASSES)[scores.argmax(axis=1)], dtype=object)


def rows_of(features: pd.DataFrame, target: pd.Series | pd.DataFrame, weight: Any = None) -> Rows:
    """Rows as reading would give them, each its own unit."""
    keys = np.arange(len(features), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    times = np.full(len(features), np.datetime64("2026-01-01", "ns"))
    return Rows(
        features=Table(features), target=target, unit_keys=keys, row_keys=keys, groups=None,
        drop=np.ones(len(features), dtype=np.int64), first_seen=times, event_time=times, weight=weight,
    )  # fmt: skip


def lesson(
    rows: Rows,
    mode: Mode = Mode.INCREMENTAL,
    seed: int = 5,
    told: list[Progress] | None = None,
    **words: Hyperparameter,
) -> Lesson:
    """A lesson over rows; `words` are hyperparameters."""
    hyperparameters: Mapping[str, Hyperparameter] = words
    tell = (lambda progress: None) if told is None else told.append
    return Lesson(mode=mode, hyperparameters=hyperparameters, rows=rows, seed=seed, tell=tell)


def meaning(
    outputs: Outputs = Outputs.LOGITS, target: Target | None = None, shape: tuple[int, ...] = (4,), **more: Any
) -> Meaning:
    """What the policy says: three classes by logits, four columns, unless told otherwise."""
    data = DataSpec(
        folder="/", pattern="*", target=target or Target("colour", classes=CLASSES), model_outputs=outputs
    )  # fmt: skip
    schema = Schema(tuple(Column(name, "float") for name in COLUMNS), "string", Tensor(shape))
    return Meaning(data=data, schema=schema, **more)


def features(rows: int, seed: int = 1) -> Features:
    """Features to predict."""
    return Table(points(rows, seed)[0])


def signature(outputs: int = 3) -> Any:
    """Of a tensor of four columns."""
    return infer_signature(np.zeros((2, 4), dtype="float32"), np.zeros((2, outputs), dtype="float32"))


class Shelf:
    """An MLflow of its own, where tests log models and fetch them again."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = f"sqlite:///{root}/mlflow.db"
        initialise(self.uri)
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        self.experiment = mlflow.create_experiment("shelf", artifact_location=str(root / "artifacts"))

    def log(self, log: Callable[[], Any]) -> str:
        """Log a model in a run of its own; returns its URI."""
        with mlflow.start_run(experiment_id=self.experiment):
            logged = log()
        return str(logged.model_uri)

    def put(self, model: Trainable, like: ModelFiles, folder: Path) -> str:
        """Store a challenger and log it, as a training does; returns its URI."""
        stored = folder / "to-log"
        model.store(stored, like, folder)
        with mlflow.start_run(experiment_id=self.experiment) as run:
            return f"models:/{log_stored(run.info.run_id, stored, {})}"

    def card(self, uri: str) -> ModelCard:
        source = Source(tracking_uri=self.uri, registry_uri=self.uri, model="points", version=1)
        return read_card(source, uri, "version 1 of points")

    def files(self, uri: str, folder: Path) -> ModelFiles:
        folder.mkdir(exist_ok=True)
        return fetch(self.card(uri), folder)
