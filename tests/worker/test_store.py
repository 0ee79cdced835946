"""One store means the same in every folder, and keeps its artifacts in one place."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrain_daemon.errors import Refused
from retrain_daemon.worker.mlflow_errors import shown
from retrain_daemon.worker.store import absolute_uri, artifact_root, ensure_experiment


def test_a_relative_database_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path}/mlflow.db"
    assert absolute_uri("sqlite:///sub/../a b.db?timeout=5") == f"sqlite:///{tmp_path}/sub/../a b.db?timeout=5"


@pytest.mark.parametrize("uri", ["sqlite:////srv/mlflow.db", "https://host:5000/mlflow", "postgresql+psycopg2://h/db"])
def test_an_absolute_uri_stays_as_it_is(uri: str) -> None:
    assert absolute_uri(uri) == uri


def test_a_message_shows_a_uri_without_secrets_and_otherwise_as_it_is() -> None:
    assert shown("https://me:p@ss@host:5000/mlflow?token=x") == "https://host:5000/mlflow"
    assert shown("sqlite:////a@b/mlflow.db") == "sqlite:////a@b/mlflow.db"


def test_artifacts_lie_beside_the_database_and_elsewhere_where_the_server_says() -> None:
    assert artifact_root("sqlite:////srv/mlflow.db") == "/srv/mlartifacts"
    assert artifact_root("http://host:5000") is None
    assert artifact_root("postgresql://host/db") is None


def test_artifacts_do_not_depend_on_the_folder_of_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    experiment = ensure_experiment(uri, "retraind/churn rate")
    assert ensure_experiment(uri, "retraind/churn rate") == experiment
    client = MlflowClient(tracking_uri=uri)
    run = client.create_run(experiment)
    client.log_text(run.info.run_id, "hello", "note.txt")
    assert [path.read_text() for path in (tmp_path / "mlartifacts").rglob("note.txt")] == ["hello"]
    assert list(elsewhere.iterdir()) == []
    note = client.download_artifacts(run.info.run_id, "note.txt", str(tmp_path))
    assert Path(note).read_text() == "hello"


def test_a_deleted_experiment_says_how_to_bring_it_back(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    experiment = ensure_experiment(uri, "churn")
    MlflowClient(tracking_uri=uri).delete_experiment(experiment)
    with pytest.raises(Refused, match="deleted") as refused:
        ensure_experiment(uri, "churn")
    assert f"restore --experiment-id {experiment}" in refused.value.hint


def test_an_experiment_that_mlflow_will_not_make_is_refused_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="maximum length of 500"):
        ensure_experiment(f"sqlite:///{tmp_path}/mlflow.db", "x" * 600)
