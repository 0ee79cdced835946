"""Peak memory of one incremental training as the data grow: real workers on 1, 4 and 16 times the rows.

`.venv/bin/python benchmarks/memory.py [--rows 25000] [--models sklearn torch keras]`. Everything lies in a temporary
folder.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature

from retrain_daemon.core.policy import DataSpec, Mode, Outputs, Recipe, Target
from retrain_daemon.worker.job import DropFile, Source, Train, read_result, write_job
from retrain_daemon.worker.store import artifact_root, initialise

COLUMNS = 64
#: New rows come in files of this many; a larger parquet file takes more memory while it is read, see the README.
FILE_ROWS = 6_250
MODELS = ("sklearn", "torch", "keras")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=25_000, help="rows of the smallest data")
    parser.add_argument("--file-rows", type=int, default=FILE_ROWS, help="rows of a file")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="retraind-memory-") as name:
        folder = Path(name)
        uri = f"sqlite:///{folder}/mlflow.db"
        for model in asked.models:
            subprocess.run([sys.executable, __file__, "register", model, uri], check=True, capture_output=True)
        print(f"{'model':8} {'rows':>9} {'features MB':>12} {'peak MB':>9} {'ratio':>6} {'seconds':>8}")
        for model in asked.models:
            first = 0.0
            for times in (1, 4, 16):
                peak, seconds = _trained(folder, uri, model, asked.rows * times, asked.file_rows)
                first = first or peak
                size = asked.rows * times * COLUMNS * 4 / 1e6
                shown = f"{size:12.0f} {peak:9.0f} {peak / first:6.2f} {seconds:8.1f}"
                print(f"{model:8} {asked.rows * times:9,} {shown}", flush=True)
    return 0


def _trained(folder: Path, uri: str, model: str, rows: int, file_rows: int) -> tuple[float, float]:
    """Peak resident memory in MB, of a worker alone, and its seconds."""
    job = folder / f"{model}-{rows}"
    job.mkdir()
    drops = _dropped(job, model, rows, file_rows)
    write_job(job, _job(job, uri, model, drops))
    started = time.monotonic()
    worker = subprocess.Popen([sys.executable, "-m", "retrain_daemon.worker", str(job)], stderr=subprocess.DEVNULL)
    _, _, used = os.wait4(worker.pid, 0)
    result = read_result(job)
    if result is None or result.kind != "trained":
        raise SystemExit(f"the training of {model} on {rows:,} rows gave {result}")
    return used.ru_maxrss / 1024, time.monotonic() - started


def _dropped(folder: Path, model: str, rows: int, file_rows: int) -> tuple[DropFile, ...]:
    drops = []
    for number, start in enumerate(range(0, rows, file_rows), 1):
        path = folder / f"{number}.parquet"
        made = _rows(min(file_rows, rows - start), number)
        (made.astype("float64") if model == "sklearn" else made).to_parquet(path)
        drops.append(DropFile(drop=number, path=str(path), first_seen=NOW))
    return tuple(drops)


def _job(folder: Path, uri: str, model: str, drops: tuple[DropFile, ...]) -> Train:
    network = model != "sklearn"
    data = DataSpec(
        folder=str(folder), pattern="*.parquet", target=Target("label", classes=(0, 1)), features=("x_*",),
        model_outputs=Outputs.LOGITS if network else None,
    )  # fmt: skip
    hyperparameters = {"epochs": 1, "batch_size": 256} if network else {}
    return Train(
        attempt=folder.name, key=f"benchmark/{folder.name}",
        source=Source(tracking_uri=uri, registry_uri=uri, model=model, version=1), data=data,
        recipe=Recipe(mode=Mode.INCREMENTAL, hyperparameters=hyperparameters), drops=drops,
        learned=(), unknown_until=None, learned_file=str(folder / "learned.npy"), metrics=("accuracy",),
        confidence=0.95, min_rows=200, now=NOW, seed=1, policy_text="", experiment=f"retraind/{model}",
        kept_folder=str(folder / "kept"),
    )  # fmt: skip


def _rows(rows: int, seed: int) -> pd.DataFrame:
    values = np.random.default_rng(seed).normal(size=(rows, COLUMNS)).astype("float32")
    frame = pd.DataFrame(values, columns=[f"x_{place}" for place in range(COLUMNS)])
    return frame.assign(label=(values[:, 0] + values[:, 1] > 0).astype("int64"))


def register(model: str, uri: str) -> None:
    """A small model, hardly trained, in a process of its own."""
    initialise(uri)
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment(model, artifact_location=artifact_root(uri)))
    example = np.zeros((2, COLUMNS), dtype="float32")
    how: dict[str, Any] = {
        "name": "model", "signature": infer_signature(example, example[:, :2]), "registered_model_name": model,
        "pip_requirements": ["mlflow"],
    }  # fmt: skip
    with mlflow.start_run():
        if model == "sklearn":
            from sklearn.linear_model import SGDClassifier
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler

            some = _rows(1000, 0)
            features, label = some.drop(columns="label").astype("float64"), some["label"]
            estimator = make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=0))
            estimator.fit(features, label)
            how |= {"signature": infer_signature(features, label), "serialization_format": "cloudpickle"}
            mlflow.sklearn.log_model(estimator, **how)
        elif model == "torch":
            from torch import nn

            network = nn.Sequential(nn.Linear(COLUMNS, 32), nn.ReLU(), nn.Linear(32, 2))
            mlflow.pytorch.log_model(network.eval(), serialization_format="pickle", **how)
        else:
            import keras

            dense = keras.layers.Dense
            network = keras.Sequential([keras.Input((COLUMNS,)), dense(32, activation="relu"), dense(2)])
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            network.compile(optimizer="adam", loss=loss)
            mlflow.keras.log_model(network, **how)


if __name__ == "__main__":
    if sys.argv[1:2] == ["register"]:
        register(*sys.argv[2:4])
    else:
        sys.exit(main())
