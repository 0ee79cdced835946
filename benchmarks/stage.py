"""What `retrain.py` measures on: Parquet files of rows, and a first champion registered under many names.

Run as a process of its own, so that the measuring one stays small:
`python stage.py FOLDER TRACKING_URI FILES WITH_ALIAS WITHOUT_ALIAS`, the last two being names joined by commas.
"""

from __future__ import annotations

import sys
from pathlib import Path

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

BASE_ROWS, DROPPED_ROWS, COLUMNS = 90_000, 10_000, 20
TARGET = "label"


def main(folder: Path, tracking_uri: str, files: int, with_alias: list[str], without_alias: list[str]) -> None:
    base = _rows(BASE_ROWS, seed=0)
    base.to_parquet(folder / "base.parquet", index=False)
    for number in range(1, files + 1):
        _rows(DROPPED_ROWS, seed=number).to_parquet(folder / f"dropped-{number}.parquet", index=False)
    _register(base, tracking_uri, with_alias, without_alias)


def _rows(count: int, seed: int) -> pd.DataFrame:
    """Rows of one stream; the coefficients of later files have moved a little."""
    coefficients = np.random.default_rng(1).normal(size=COLUMNS)
    random = np.random.default_rng([2, seed])
    features = random.normal(loc=3.0, scale=2.0, size=(count, COLUMNS))
    moved = coefficients + (0.1 if seed else 0.0) * random.normal(size=COLUMNS)
    noise = random.logistic(scale=2.0, size=count)
    label = ((features - 3.0) @ moved + noise > 0).astype(np.int64)
    columns = {f"f{at:02}": features[:, at] for at in range(COLUMNS)}
    return pd.DataFrame({**columns, TARGET: label})


def _register(base: pd.DataFrame, tracking_uri: str, with_alias: list[str], without_alias: list[str]) -> None:
    """Log the champion once; each name gets it as version 1."""
    features = base.drop(columns=TARGET)
    model = make_pipeline(StandardScaler(), LogisticRegression(warm_start=True, max_iter=200))
    model.fit(features, base[TARGET])
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_experiment("champions")
    with mlflow.start_run():
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            signature=infer_signature(features, model.predict(features)),
            pip_requirements=["mlflow", "scikit-learn", "skops"],
        )
    client = mlflow.MlflowClient()
    for name in with_alias + without_alias:
        client.create_registered_model(name)
        client.create_model_version(name, logged.model_uri, logged.run_id, model_id=logged.model_id)
    for name in with_alias:
        client.set_registered_model_alias(name, "champion", "1")


if __name__ == "__main__":
    given, bare = (text.split(",") if text else [] for text in sys.argv[4:6])
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), given, bare)
