"""The first digits model of a Keras team: a small convolutional network over images of 8 x 8 pixels."""

from __future__ import annotations

import keras
import mlflow
import mlflow.keras
from mlflow.models import infer_signature

from retrain_daemon.worker.digits.data import SEED, early, open_experiment


def register(name: str, tracking_uri: str) -> None:
    """Train on the early rows and register version 1."""
    features, labels = early()
    images = features.to_numpy("float32").reshape(-1, 8, 8, 1)
    keras.utils.set_random_seed(SEED)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Rescaling(1 / 16),
            keras.layers.Conv2D(16, 3, activation="relu", name="strokes"),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10, name="digits"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(0.003), loss=loss)
    model.fit(images, labels.to_numpy(), epochs=15, batch_size=32, verbose=0)
    open_experiment(name, tracking_uri)
    with mlflow.start_run(run_name="first model"):
        mlflow.keras.log_model(
            model,
            name="model",
            signature=infer_signature(images, model.predict(images, verbose=0)),
            pip_requirements=["mlflow", "tensorflow", "keras"],
            registered_model_name=name,
        )
