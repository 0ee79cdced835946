"""Credentials that systemd hands to the daemon as files."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrain_daemon.errors import SettingsProblem
from retrain_daemon.settings import read_credentials


def test_each_file_that_is_there_becomes_mlflows_variable(tmp_path: Path) -> None:
    (tmp_path / "mlflow-username").write_text("ann\n")
    (tmp_path / "mlflow-password").write_text("two words\n")
    assert read_credentials({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == {
        "MLFLOW_TRACKING_USERNAME": "ann",
        "MLFLOW_TRACKING_PASSWORD": "two words",
    }


def test_a_variable_that_is_set_stays(tmp_path: Path) -> None:
    (tmp_path / "mlflow-token").write_text("from the file")
    assert read_credentials({"CREDENTIALS_DIRECTORY": str(tmp_path), "MLFLOW_TRACKING_TOKEN": "mine"}) == {}


@pytest.mark.parametrize("environment", [{}, {"CREDENTIALS_DIRECTORY": ""}, {"CREDENTIALS_DIRECTORY": "/not/there"}])
def test_without_credentials_nothing_is_set(environment: dict[str, str]) -> None:
    assert read_credentials(environment) == {}


def test_an_empty_file_is_no_credential(tmp_path: Path) -> None:
    (tmp_path / "mlflow-token").write_text("\n")
    assert read_credentials({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == {}


def test_a_file_that_is_no_text_is_named_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "mlflow-token").write_bytes(b"secret\xff")
    with pytest.raises(SettingsProblem, match="mlflow-token cannot be read") as raised:
        read_credentials({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert "secret" not in str(raised.value)
