"""The demo's people and data: registers `digits` as a person would, and writes the files that will be dropped.

Run as a process of its own, since it needs scikit-learn: `python -m retrain_daemon.worker.digits FOLDER TRACKING_URI`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from retrain_daemon.worker.store import artifact_root, initialise

MODEL, TARGET = "digits", "digit"
#: Rows of the shuffled set: the early part people trained on, then what is dropped, one file after another.
EARLY, GOOD, SCRAMBLED = slice(0, 100), slice(100, 1100), slice(1100, 1797)
SEED = 7


def prepare(folder: Path, tracking_uri: str) -> int:
    """Write `early.csv`, `monday.csv`, `tuesday.csv` (scrambled labels) and `wednesday.csv` (cut off) to `folder`,
    and register version 1 of `digits`, trained on the early part. Returns the version.
    """
    rows = load_digits(as_frame=True).frame.rename(columns={"target": TARGET})
    rows = rows.sample(frac=1, random_state=SEED).reset_index(drop=True)
    folder.mkdir(parents=True, exist_ok=True)
    early = rows[EARLY]
    early.to_csv(folder / "early.csv", index=False)
    rows[GOOD].to_csv(folder / "monday.csv", index=False)
    _scramble(rows[SCRAMBLED]).to_csv(folder / "tuesday.csv", index=False)
    rows[GOOD].drop(columns=["pixel_3_3"]).head(300).to_csv(folder / "wednesday.csv", index=False)
    return _register(early.drop(columns=TARGET), early[TARGET], tracking_uri)


def _scramble(rows: pd.DataFrame) -> pd.DataFrame:
    labels = np.random.default_rng(SEED).permutation(rows[TARGET].to_numpy())
    return rows.assign(**{TARGET: labels})


def _register(features: pd.DataFrame, target: pd.Series[int], tracking_uri: str) -> int:
    initialise(tracking_uri)
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.create_experiment(MODEL, artifact_location=artifact_root(tracking_uri))
    mlflow.set_experiment(MODEL)
    model = make_pipeline(
        StandardScaler(),
        SGDClassifier(loss="log_loss", alpha=0.001, learning_rate="constant", eta0=0.03, random_state=SEED),
    )
    model.fit(features, target)
    with mlflow.start_run(run_name="first digits model"):
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            signature=infer_signature(features, model.predict(features)),
            pip_requirements=["mlflow", "scikit-learn", "skops"],
            registered_model_name=MODEL,
        )
    return int(logged.registered_model_version)


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), sys.argv[2])
