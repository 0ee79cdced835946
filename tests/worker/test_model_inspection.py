"""`inspect` on real MLflow: what is said of a scikit-learn model, of another framework's, and of a broken one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.cluster import KMeans
from sklearn.linear_model import LinearRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from retrain_daemon.errors import NotFound, Refused
from retrain_daemon.worker.job import InspectModel, ModelInspected, Progress, Source
from retrain_daemon.worker.model_inspection import inspect_model
from retrain_daemon.worker.store import initialise

pytestmark = pytest.mark.slow

FEATURES = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 2)), columns=["age", "income"])
LABELS = np.where(FEATURES["age"] > 0, "yes", "no")


class Echo(mlflow.pyfunc.PythonModel):
    """A model of no framework."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return model_input


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    root = tmp_path_factory.mktemp("store")
    address = f"sqlite:///{root}/mlflow.db"
    initialise(address)
    mlflow.set_tracking_uri(address)
    mlflow.set_registry_uri(address)
    mlflow.set_experiment(experiment_id=mlflow.create_experiment("e", artifact_location=str(root / "artifacts")))
    yield address
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


def register(name: str, estimator: Any, **log: Any) -> None:
    log.setdefault("signature", infer_signature(FEATURES, np.asarray(LABELS)))
    mlflow.sklearn.log_model(
        estimator, name="model", registered_model_name=name, pip_requirements=["scikit-learn==1.2.3"], **log
    )


def inspect(uri: str, name: str, version: int | None = 1) -> ModelInspected:
    phases: list[Progress] = []
    source = Source(tracking_uri=uri, registry_uri=uri, model=name, version=version)
    found = inspect_model(InspectModel(source=source), phases.append)
    assert phases[0].phase == "reading the model's description"
    return found


def test_a_pipeline_is_described_as_a_policy_author_needs_it(uri: str) -> None:
    register("churn", make_pipeline(StandardScaler(), SGDClassifier(alpha=0.25)).fit(FEATURES, LABELS))
    found = inspect(uri, "churn")
    assert (found.flavor, found.storage, found.task) == ("sklearn", "skops", "classification")
    assert found.classes == ("no", "yes")
    assert found.features == (("age", "double"), ("income", "double"))
    assert [(mode.mode, mode.possible) for mode in found.modes] == [
        ("refit", True),
        ("warm_start", True),
        ("incremental", True),
    ]
    assert ("sgdclassifier__alpha", "0.25") in found.hyperparameters
    assert not any(name == "sgdclassifier" for name, _ in found.hyperparameters)
    assert "scikit-learn==1.2.3" in found.trained_with
    assert "SGDClassifier(alpha=0.25)" in found.estimator


def test_a_regression_says_which_mode_it_cannot_do_and_why(uri: str) -> None:
    register("price", LinearRegression().fit(FEATURES, FEATURES["age"]))
    found = inspect(uri, "price")
    assert found.task == "regression"
    assert found.classes == ()
    assert [mode.possible for mode in found.modes] == [True, False, False]
    assert found.modes[1].reason == "LinearRegression has no parameter warm_start, its fit always starts anew"


def test_a_model_without_signature_is_told_the_line_that_helps(uri: str) -> None:
    register("bare", SGDClassifier().fit(FEATURES, LABELS), signature=False)
    found = inspect(uri, "bare")
    assert found.features == ()
    assert not any(mode.possible for mode in found.modes)
    assert "has no signature" in found.modes[0].reason
    assert "mlflow.sklearn.log_model(model, signature=mlflow.models.infer_signature(X, y))" in found.modes[0].remedy


def test_a_clusterer_can_do_nothing_and_its_kind_is_the_reason(uri: str) -> None:
    register("segments", KMeans(2, n_init=1).fit(FEATURES))
    found = inspect(uri, "segments")
    assert found.task == ""
    assert "clusterers such as this KMeans is not built yet" in found.modes[0].reason


def test_another_frameworks_model_is_described_without_loading_it(uri: str) -> None:
    mlflow.pyfunc.log_model(
        name="model", python_model=Echo(), pip_requirements=["a-package==1"], registered_model_name="echo"
    )
    folder = Path(mlflow.artifacts.download_artifacts("models:/echo/1"))
    (folder / "python_model.pkl").write_bytes(b"nothing that could be loaded")
    found = inspect(uri, "echo")
    assert found.flavor == "python_function"
    assert [mode.possible for mode in found.modes] == [False] * 3
    assert "training plain python_function models is not built yet" in found.modes[0].reason
    assert "a-package==1" in found.trained_with


def test_a_savedmodel_export_is_described_without_its_files(uri: str) -> None:
    import keras

    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    signature = infer_signature(FEATURES.to_numpy(), model.predict(FEATURES.to_numpy()))
    mlflow.keras.log_model(
        model, name="model", save_exported_model=True, signature=signature, registered_model_name="exported",
        pip_requirements=["keras==3.1"],
    )  # fmt: skip
    shutil.rmtree(Path(mlflow.artifacts.download_artifacts("models:/exported/1")) / "data")
    found = inspect(uri, "exported")
    assert [mode.possible for mode in found.modes] == [False] * 3
    assert "is a SavedModel export: a fixed graph" in found.modes[0].reason
    assert "mlflow.keras.log_model(model, name=..., signature=...)" in found.modes[0].remedy
    assert found.features == (("", "float64 [-1, 2]"),)


def test_a_version_that_is_not_there_or_does_not_load_is_an_error(uri: str) -> None:
    with pytest.raises(NotFound):
        inspect(uri, "no such model")
    with pytest.raises(Refused, match="has no version"):
        inspect(uri, "no such model", None)
    register("broken", SGDClassifier().fit(FEATURES, LABELS), serialization_format="pickle")
    folder = Path(mlflow.artifacts.download_artifacts("models:/broken/1"))
    (folder / "model.pkl").write_bytes(b"not a pickle")
    with pytest.raises(Refused, match="Version 1 of broken does not load: UnpicklingError"):
        inspect(uri, "broken")
