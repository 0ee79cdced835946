"""The digits that come with scikit-learn (1,797 of 8 x 8 pixels), as the files of the demo's week."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from retrain_daemon.worker.store import artifact_root, initialise

TARGET = "digit"
#: Rows of the shuffled set: the early part people trained on, then what is dropped, one file after another.
EARLY, GOOD, SCRAMBLED = slice(0, 100), slice(100, 1100), slice(1100, 1797)
SEED = 7


def write_files(folder: Path) -> None:
    """Write `early.csv`, `monday.csv`, `tuesday.csv` (scrambled labels) and `wednesday.csv` (lacks a column)."""
    rows = digits()
    folder.mkdir(parents=True, exist_ok=True)
    rows[EARLY].to_csv(folder / "early.csv", index=False)
    rows[GOOD].to_csv(folder / "monday.csv", index=False)
    _scramble(rows[SCRAMBLED]).to_csv(folder / "tuesday.csv", index=False)
    rows[GOOD].drop(columns=["pixel_3_3"]).head(300).to_csv(folder / "wednesday.csv", index=False)


def digits() -> pd.DataFrame:
    """All rows, shuffled: 64 columns of pixels row by row, values 0 to 16, and the digit."""
    rows: pd.DataFrame = load_digits(as_frame=True).frame.rename(columns={"target": TARGET})
    return rows.sample(frac=1, random_state=SEED).reset_index(drop=True)


def early() -> tuple[pd.DataFrame, pd.Series[int]]:
    """Features and labels of the rows that the first models learned."""
    rows = digits()[EARLY]
    return rows.drop(columns=TARGET), rows[TARGET]


def open_experiment(model: str, tracking_uri: str) -> None:
    """Point MLflow of this process at the store, with an experiment for the model."""
    initialise(tracking_uri)
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.create_experiment(model, artifact_location=artifact_root(tracking_uri))
    mlflow.set_experiment(model)


def _scramble(rows: pd.DataFrame) -> pd.DataFrame:
    labels = np.random.default_rng(SEED).permutation(rows[TARGET].to_numpy())
    return rows.assign(**{TARGET: labels})
