"""The first digits model of a PyTorch team: a small convolutional network over images of 8 x 8 pixels."""

from __future__ import annotations

import mlflow
import mlflow.pytorch
import torch
from mlflow.models import infer_signature
from torch import nn

from retrain_daemon.worker.digits.data import SEED, early, open_experiment

STEPS = 60


def register(name: str, tracking_uri: str) -> None:
    """Train on the early rows and register version 1."""
    features, labels = early()
    images = torch.from_numpy(features.to_numpy("float32").reshape(-1, 1, 8, 8))
    targets = torch.from_numpy(labels.to_numpy())
    torch.manual_seed(SEED)
    model = nn.Sequential(
        nn.BatchNorm2d(1), nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2), nn.Linear(16 * 6 * 6, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images), targets)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without types
        optimizer.step()
    model.eval()
    open_experiment(name, tracking_uri)
    with mlflow.start_run(run_name="first model"):
        mlflow.pytorch.log_model(
            model,
            name="model",
            serialization_format="pickle",
            signature=infer_signature(images.numpy(), model(images).detach().numpy()),
            pip_requirements=["mlflow", "torch"],
            registered_model_name=name,
        )
