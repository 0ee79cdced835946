"""The first digits model of a scikit-learn team: a Pipeline with a linear classifier."""

from __future__ import annotations

import mlflow
import mlflow.sklearn
from mlflow.models import infer_signature
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from retrain_daemon.worker.digits.data import SEED, early, open_experiment


def register(name: str, tracking_uri: str) -> None:
    """Train on the early rows and register version 1."""
    features, labels = early()
    model = make_pipeline(
        StandardScaler(),
        SGDClassifier(loss="log_loss", alpha=0.001, learning_rate="constant", eta0=0.03, random_state=SEED),
    )
    model.fit(features, labels)
    open_experiment(name, tracking_uri)
    with mlflow.start_run(run_name="first model"):
        mlflow.sklearn.log_model(
            model,
            name="model",
            signature=infer_signature(features, model.predict(features)),
            pip_requirements=["mlflow", "scikit-learn", "skops"],
            registered_model_name=name,
        )
