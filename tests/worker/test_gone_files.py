"""Files of a version that are gone, where a server passes artifacts on: told from a server that is away."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression

from retrain_daemon.core.policy import DataSpec, Target
from retrain_daemon.errors import NotFound, RegistryUnreachable, Unloadable
from retrain_daemon.worker.cards import connect, read_version
from retrain_daemon.worker.job import Source
from retrain_daemon.worker.mlflow_errors import understood
from retrain_daemon.worker.signature import read_schema
from tests.mlflow_server import running_server

GONE = '404 Client Error: Not Found for url: http://h/a. Response text: {"error_code":"RESOURCE_DOES_NOT_EXIST"}'


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Source]:
    """Version 1 of shop, on a server that keeps its files below `tmp_path`."""
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    with running_server(tmp_path) as uri:
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        features = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0]})
        model = LogisticRegression().fit(features, [0, 1, 0, 1])
        signature = infer_signature(features, model.predict(features))
        with mlflow.start_run(experiment_id="0"):  # not the one that another test left active
            mlflow.sklearn.log_model(
                model, name="model", signature=signature, registered_model_name="shop", pip_requirements=["skops"]
            )
        source = Source(tracking_uri=uri, registry_uri=uri, model="shop", version=1)
        connect(source)
        try:
            yield source
        finally:
            mlflow.set_tracking_uri(before[0])
            mlflow.set_registry_uri(before[1])


@pytest.mark.slow
def test_files_that_a_server_says_are_not_there_are_gone_and_the_server_is_not_away(
    served: Source, tmp_path: Path
) -> None:
    assert read_version(served).flavor == "sklearn"
    (stored,) = (path.parent for path in (tmp_path / "artifacts").rglob("MLmodel"))
    shutil.rmtree(stored)
    with pytest.raises(Unloadable, match="files of version 1 of shop are gone") as card:
        read_version(served)
    with pytest.raises(Unloadable) as schema:
        read_schema(served, DataSpec(folder="/d", pattern="*", target=Target("y")))
    assert card.value.uri == schema.value.uri == "models:/shop/1"


def failing(*files: str) -> MlflowException:
    head = "The following failures occurred while downloading one or more artifacts from http://h/a:\n"
    return MlflowException(head + "\n".join(f"##### File {number} #####\n{said}" for number, said in enumerate(files)))


def test_a_download_of_which_another_file_failed_otherwise_may_work_later() -> None:
    with pytest.raises(NotFound, match="does not have 0, 1"), understood("http://h"):
        raise failing(GONE, GONE)
    with pytest.raises(RegistryUnreachable), understood("http://h"):
        raise failing(GONE, "503 Server Error: Service Unavailable")
