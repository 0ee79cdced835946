"""Texts without secrets, URIs without credentials, and how workers get them all the same."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest

from retrain_daemon.secrets import has_credentials, is_secret_name, secrets_of, without_secrets
from retrain_daemon.worker.credentials import bare, lend, whole
from retrain_daemon.worker.output import Hiding

DATABASE = "postgresql://ann:s3cret/word@db.example:5432/mlflow?sslpassword=hush-hush&sslmode=require"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://ann:s3cret@host:5000/mlflow", "http://host:5000/mlflow"),
        ("https://me:p@ss@host:5000", "https://host:5000"),
        (DATABASE, "postgresql://db.example:5432/mlflow?sslmode=require"),
        ("sqlite:////srv/a@b/mlflow.db", "sqlite:////srv/a@b/mlflow.db"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
    ],
)
def test_a_bare_uri_has_no_credentials_and_still_names_its_store(uri: str, shown: str) -> None:
    assert bare(uri) == shown


def test_user_and_password_of_a_server_go_to_mlflows_own_variables() -> None:
    environment: dict[str, str] = {}
    uri = "http://ann:s3%2Fcret@host:5000"
    assert lend(uri, uri, environment) == ("http://host:5000", "http://host:5000")
    assert environment == {"MLFLOW_TRACKING_USERNAME": "ann", "MLFLOW_TRACKING_PASSWORD": "s3/cret"}


def test_a_worker_joins_a_bare_uri_with_what_was_lent_for_it_and_no_other() -> None:
    environment = {"RETRAIND_REGISTRY_STORE": "postgresql://left:over@from/before"}
    tracking, registry = lend(DATABASE, "http://bob:other@host", environment)
    assert whole(tracking, "RETRAIND_TRACKING_STORE", environment) == DATABASE
    assert whole(registry, "RETRAIND_REGISTRY_STORE", environment) == "http://bob:other@host"
    assert whole("http://elsewhere", "RETRAIND_REGISTRY_STORE", environment) == "http://elsewhere"
    assert lend("http://host", "http://host", environment) == ("http://host", "http://host")
    assert environment == {}


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("MLFLOW_TRACKING_PASSWORD", True), ("MLFLOW_TRACKING_TOKEN", True), ("AWS_SECRET_ACCESS_KEY", True),
        ("AZURE_STORAGE_CONNECTION_STRING", True), ("MYSQL_PWD", True), ("PGPASSWORD", True), ("PWD", False),
        ("OLDPWD", False), ("AWS_ACCESS_KEY_ID", False), ("AWS_WEB_IDENTITY_TOKEN_FILE", False),
        ("TOKENIZERS_PARALLELISM", False), ("PATH", False), ("KEYBOARD", False),
    ],
)  # fmt: skip
def test_variables_are_known_to_be_secret_by_their_name(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret


def test_a_text_shows_no_secret_in_any_form_that_it_may_be_written_in(tmp_path: Path) -> None:
    (tmp_path / "mlflow-token").write_text("from-systemd-99\n")
    secrets = secrets_of(
        {
            "MLFLOW_TRACKING_USERNAME": "ann",
            "MLFLOW_TRACKING_PASSWORD": 'pa/ss "word"',
            "HTTPS_PROXY": "http://me:proxy%2Fword@proxy:3128",
            "CREDENTIALS_DIRECTORY": str(tmp_path),
        }
    )
    basic = base64.b64encode(b'ann:pa/ss "word"').decode()
    for form in ('pa/ss "word"', "pa%2Fss%20%22word%22", 'pa/ss \\"word\\"', basic, "proxy/word", "proxy%2Fword",
                 "from-systemd-99"):  # fmt: skip
        assert secrets.hide(f"before {form} after") == "before *** after"
    assert secrets.hide("ann said http://x:y@host?token=z") == "ann said http://***@host?token=***"


def test_a_short_value_does_not_hide_half_of_every_text() -> None:
    assert secrets_of({"MLFLOW_TRACKING_PASSWORD": "a"}).hide("a champion has a name") == "a champion has a name"


def test_strangers_get_an_environment_without_secrets() -> None:
    given = {"PATH": "/bin", "API_KEY": "x", "HTTP_PROXY": "http://u:p@proxy", "NO_PROXY": "localhost"}
    assert without_secrets(given) == {"PATH": "/bin", "NO_PROXY": "localhost"}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("# from http://me:word@db/x", True), ("path: s3://b/k?X-Amz-Signature=abc", True),
        ("description: see http://wiki/~ann@2024, mail ann@example.org", False), ("when: data.new_rows >= 1", False),
    ],
)  # fmt: skip
def test_credentials_in_a_line_are_told_from_addresses_of_people(line: str, found: bool) -> None:
    assert has_credentials(line) is found


def test_what_a_worker_prints_shows_no_secrets() -> None:
    kept = io.StringIO()
    print("token", "tok-123456", "http://u:p@h", file=Hiding(kept, secrets_of({"A_TOKEN": "tok-123456"})))
    assert kept.getvalue() == "token *** http://***@h\n"
