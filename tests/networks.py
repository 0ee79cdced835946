"""Networks as teams register them, one for each flavour and format, each having learned the old world of `buyers`.

Imports a framework only when one of its models is registered.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature

from retrain_daemon.worker.store import artifact_root
from tests.box import Box, buyers

FEATURES = ["visits", "basket", "age"]
OLD = buyers(1, 300, old_world=True)

POLICY = """\
model: {model}
data:
  path: {folder}/drops/all/*.csv
  complete: {{settle: 1s}}
  features: [visits, basket, age]
  target: {{column: bought, positive: "yes", classes: ["no", "yes"]}}
  model_outputs: logits
  holdout: 30%
train:
  mode: incremental
  hyperparameters: {{epochs: 4, batch_size: 32, learning_rate: 0.01}}
retrain:
  - name: enough fresh rows
    when: data.new_rows >= 500
promote:
  require:
    - {{metric: accuracy, better_by: 0.02}}
"""


def old_rows() -> tuple[Any, Any]:
    """Features (rows, 3) and codes 0 and 1 of the old world."""
    return OLD[FEATURES].to_numpy("float32"), (OLD["bought"] == "yes").to_numpy("int64")


def a_keras_model() -> Any:
    """A compiled Keras model with dropout and batch normalisation, two logits."""
    import keras

    features, labels = old_rows()
    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(16, activation="relu", name="first"),
            layers.BatchNormalization(name="norm"),
            layers.Dropout(0.1),
            layers.Dense(2, name="last"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss=loss)
    model.fit(features, labels, epochs=5, verbose=0)
    return model


def a_torch_module() -> Any:
    """A PyTorch module with dropout and batch normalisation, two logits, in eval mode."""
    import torch

    from tests import torch_networks

    features, labels = (torch.from_numpy(part) for part in old_rows())
    torch.manual_seed(3)
    module = torch_networks.buyer_network()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(features), labels).backward()
        optimizer.step()
    return module.eval()


def log_keras(**how: Any) -> Any:
    """With the flavour `keras`."""
    return mlflow.keras.log_model(
        a_keras_model(), name="model", signature=signature(), pip_requirements=["mlflow", "keras"], **how
    )


def log_tensorflow(**how: Any) -> Any:
    """With the flavour `tensorflow`, in the format .keras or, by `keras_model_kwargs`, h5."""
    return mlflow.tensorflow.log_model(
        a_keras_model(), name="model", signature=signature(), pip_requirements=["mlflow", "tensorflow"], **how
    )


def log_torch(**how: Any) -> Any:
    """A pickled module."""
    how.setdefault("serialization_format", "pickle")
    return mlflow.pytorch.log_model(
        a_torch_module(), name="model", signature=signature(), pip_requirements=["mlflow", "torch"], **how
    )


def log_torchscript() -> Any:
    """A scripted module."""
    import torch

    return mlflow.pytorch.log_model(
        torch.jit.script(a_torch_module()),
        name="model",
        serialization_format="pickle",
        signature=signature(),
        pip_requirements=["mlflow", "torch"],
    )


def signature() -> Any:
    """Of a tensor of three columns, two outputs."""
    features, _ = old_rows()
    return infer_signature(features, np.zeros((len(features), 2), dtype="float32"))


def register(box: Box, model: str, log: Callable[[], Any]) -> int:
    """Log a model into this box's MLflow and make it champion."""
    with box.as_default_mlflow():
        if mlflow.get_experiment_by_name(model) is None:
            mlflow.create_experiment(model, artifact_location=artifact_root(box.uri))
        mlflow.set_experiment(model)
        with mlflow.start_run():
            logged = log()
        version = int(mlflow.register_model(logged.model_uri, model).version)
    box.client.set_registered_model_alias(model, "champion", str(version))
    return version


def drop_for_all(box: Box, name: str, rows: pd.DataFrame) -> Path:
    """Drop a file into the folder that every network's policy watches."""
    (box.folder / "drops" / "all").mkdir(exist_ok=True)
    return box.drop(name, rows, model="all")
