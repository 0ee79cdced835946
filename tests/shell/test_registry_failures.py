"""Stores that are down, broken, not MLflow, not there yet, or of a kind that cannot be served."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread

import pytest

from retrain_daemon.errors import NotFound, Refused, RegistryUnreachable, RetrainError
from retrain_daemon.patience import MOST_LEFT_ALONE
from retrain_daemon.registry import MlflowRegistry

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waits that the daemon chooses, taken back after each test."""
    for name in ("TIMEOUT", "MAX_RETRIES", "BACKOFF_FACTOR"):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", "1")


@contextmanager
def answering(status: int, body: str, length: int | None = None, pause: float = 0) -> Iterator[tuple[str, list[str]]]:
    """A server with one answer to everything, status 0 meaning none; yields its URI and what it was asked."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(f"{self.command} {self.path.partition('?')[0]}")
            time.sleep(pause)
            if status:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                self.end_headers()
                self.wfile.write(body.encode())
            self.close_connection = True

        do_POST = do_GET  # noqa: N815 -- the name is http.server's

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def failure(uri: str) -> RetrainError:
    with pytest.raises(RetrainError) as raised:
        MlflowRegistry(uri).models(["churn"])
    return raised.value


def test_a_server_that_is_down_is_told_soon_and_without_its_password() -> None:
    started = time.monotonic()
    error = failure(f"http://daemon:{SECRET}@127.0.0.1:9?token={SECRET}")
    assert time.monotonic() - started < 15
    assert isinstance(error, RegistryUnreachable)
    assert "MLflow at http://127.0.0.1:9 did not answer: connection refused." in error.message
    assert SECRET not in str(error)


@pytest.mark.slow
def test_a_server_that_hangs_is_told_soon() -> None:
    with answering(200, "{}", pause=4) as (uri, _):
        error = failure(uri)
    assert isinstance(error, RegistryUnreachable)
    assert "no answer in time" in error.message


@pytest.mark.parametrize(
    ("status", "body", "length", "says"),
    [
        (200, "<html>a login page</html>", None, "not one of MLflow"),
        (200, '{"registered_models": [{"na', None, "not one of MLflow"),
        (200, '{"registered_models": "none"}', None, ""),
        (200, '{"registered_models": [{"name": "churn"', 4000, "the connection broke"),
        (502, "<html>Bad Gateway</html>", None, "HTTP status 502"),
        (503, "", None, "HTTP status 503"),
        (429, "slow down", None, "HTTP status 429"),
        (404, "<html>nothing here</html>", None, "HTTP status 404"),
        (0, "", None, "the connection broke"),
    ],
)
def test_what_is_no_answer_of_mlflow_may_pass(status: int, body: str, length: int | None, says: str) -> None:
    with answering(status, body, length) as (uri, _):
        error = failure(uri)
        assert isinstance(error, RegistryUnreachable)
        assert uri in error.message
    assert says in error.message


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, "You are not authenticated.", "not authenticated"),
        (403, '{"error_code": "PERMISSION_DENIED", "message": "Permission denied"}', "Permission denied"),
        (400, '{"error_code": "INVALID_PARAMETER_VALUE", "message": "no such key"}', "no such key"),
    ],
)
def test_a_no_of_the_server_is_a_refusal_in_its_words(status: int, body: str, says: str) -> None:
    with answering(status, body) as (uri, _):
        error = failure(uri)
    assert isinstance(error, Refused)
    assert says in error.message


def test_a_wrong_host_name_says_how_to_allow_it() -> None:
    with answering(403, "Invalid Host header - possible DNS rebinding attack detected") as (uri, _):
        assert "--allowed-hosts" in failure(uri).hint


def test_words_of_a_server_are_short_and_hold_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "s3cr3t-token")
    body = f'{{"error_code": "BAD_REQUEST", "message": "s3cr3t-token {SECRET} {"x" * 5000}"}}'
    with answering(400, body) as (uri, _):
        error = failure(uri.replace("//", f"//me:{SECRET}@"))
    assert isinstance(error, Refused)
    assert SECRET not in str(error)
    assert "s3cr3t-token" not in str(error)
    assert len(error.message) < 400


def test_after_one_request_without_an_answer_the_next_ones_are_not_sent_for_a_moment() -> None:
    with answering(500, "down") as (uri, asked):
        registry = MlflowRegistry(uri, rest=60)
        for _ in range(5):
            with pytest.raises(RegistryUnreachable, match="HTTP status 500"):
                registry.version("churn", 1)
        few = len(asked)
        impatient = MlflowRegistry(uri, rest=0)
        for _ in range(5):
            with pytest.raises(RegistryUnreachable):
                impatient.version("churn", 1)
        assert len(asked) == 6 * few


def test_an_answer_that_drips_in_is_not_waited_for_and_what_is_left_alone_has_a_limit() -> None:
    with dripping() as uri:
        registry = MlflowRegistry(uri, rest=0, longest=0.3)
        for _ in range(MOST_LEFT_ALONE):
            with pytest.raises(RegistryUnreachable, match="no answer in time"):
                registry.version("churn", 1)
        running = threading.active_count()
        with pytest.raises(RegistryUnreachable, match="no answer in time"):
            registry.version("churn", 1)
        assert threading.active_count() == running


@contextmanager
def dripping() -> Iterator[str]:
    """A server whose answers come in a byte at a time, until the end of the test."""
    over = threading.Event()

    class Drip(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "10000")
            self.end_headers()
            while not over.wait(0.1):
                self.wfile.write(b" ")
            self.close_connection = True

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Drip) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        over.set()
        server.shutdown()


def test_a_registration_whose_answer_is_lost_is_not_sent_twice() -> None:
    with answering(0, "") as (uri, asked):
        registry = MlflowRegistry(uri)
        with pytest.raises(RegistryUnreachable):
            registry.create_version("churn", source="runs:/r/model", run_id="r", tags={}, description="")
    assert asked == ["POST /api/2.0/mlflow/model-versions/create"]


def test_a_proxy_that_limits_requests_says_what_to_raise() -> None:
    with answering(414, "<html>URI too long</html>") as (uri, _):
        assert "large_client_header_buffers" in failure(uri).hint


def test_waits_set_by_a_person_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    MlflowRegistry("http://127.0.0.1:9")
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"


def test_a_database_in_a_missing_folder_names_the_folder(tmp_path: Path) -> None:
    error = failure(f"sqlite:///{tmp_path}/missing/mlflow.db")
    assert isinstance(error, RegistryUnreachable)
    assert f"'{tmp_path}/missing'" in error.message
    assert not (tmp_path / "missing").exists()


def test_a_file_that_is_no_database_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("these are not rows" * 100)
    started = time.monotonic()
    error = failure(f"sqlite:///{tmp_path}/mlflow.db")
    assert isinstance(error, RegistryUnreachable)
    assert "file is not a database" in error.message
    assert time.monotonic() - started < 15


def test_a_folder_in_place_of_the_database_is_told(tmp_path: Path) -> None:
    assert isinstance(failure(f"sqlite:///{tmp_path}"), RegistryUnreachable)


@pytest.mark.slow
def test_a_locked_database_may_be_free_later(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    MlflowRegistry(uri).models(["churn"])
    registry = MlflowRegistry(uri, rest=0)
    with closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RegistryUnreachable, match="database is locked"):
            registry.models(["churn"])
    assert registry.models(["churn"]) == {}


@pytest.mark.slow
def test_a_database_of_another_mlflow_is_refused(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    MlflowRegistry(uri).models(["churn"])
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as other:
        other.execute("UPDATE alembic_version SET version_num = 'cf3f4e8f1c4d'")
        other.commit()
    run = subprocess.run([sys.executable, "-c", FIRST_LOOK, uri], capture_output=True, text=True, timeout=120)
    assert run.stdout.startswith("Refused: ")
    assert "mlflow db upgrade" in run.stdout


def test_a_logged_model_that_is_not_there_cannot_be_registered(tmp_path: Path) -> None:
    registry = MlflowRegistry(f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(NotFound, match="m-unknown"):
        registry.create_version("churn", source="models:/m-unknown", run_id="r", tags={}, description="")


def test_registering_works_whatever_global_uri_the_process_has(tmp_path: Path) -> None:
    import mlflow

    uri, elsewhere = f"sqlite:///{tmp_path}/mlflow.db", f"sqlite:///{tmp_path}/elsewhere.db"
    registry = MlflowRegistry(uri)
    registry.models(["churn"])
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    client.create_registered_model("churn")
    run_id = client.create_run("0").info.run_id
    source = f"models:/{client.create_logged_model('0', name='model', source_run_id=run_id).model_id}"
    mlflow.set_tracking_uri(elsewhere)
    try:
        made = registry.create_version("churn", source=source, run_id=run_id, tags={}, description="")
        assert (made.number, mlflow.get_tracking_uri()) == (1, elsewhere)
        assert os.environ["MLFLOW_TRACKING_URI"] == elsewhere
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # MLflow's way to unset it


FIRST_LOOK = """
import sys
from retrain_daemon.errors import RetrainError
from retrain_daemon.patience import MOST_LEFT_ALONE
from retrain_daemon.registry import MlflowRegistry
try:
    print(dict(MlflowRegistry(sys.argv[1]).models(["churn"])))
except RetrainError as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.mark.slow
def test_three_processes_may_open_one_fresh_database_at_once(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    command = [sys.executable, "-c", FIRST_LOOK, uri]
    looks = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path.cwd())
        for _ in range(3)
    ]
    assert [look.communicate(timeout=150)[0] for look in looks] == ["{}\n"] * 3


def test_the_door_is_cheap_until_it_is_used() -> None:
    code = "import sys, retrain_daemon.registry as r; r.MlflowRegistry('http://127.0.0.1:9'); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"mlflow", "pandas", "numpy", "sklearn", "sqlalchemy"} & set(run.stdout.split())


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("mlruns", "plain folder"),
        ("/srv/mlruns", "plain folder"),
        ("file:///srv/mlruns", "plain folder"),
        ("databricks://profile", "'databricks' are not built yet"),
        (f"s3://me:{SECRET}@bucket/x", "'s3' are not built yet"),
        ("sqlite://", "memory of one process"),
        ("sqlite:///:memory:", "memory of one process"),
        (f"http://me:{SECRET}@host:port", "no host, or not a port"),
        ("http://", "no host"),
    ],
)
def test_a_store_that_cannot_be_served_is_refused_with_what_to_write(uri: str, says: str) -> None:
    with pytest.raises(Refused, match=says) as refused:
        MlflowRegistry(uri)
    assert "sqlite:////" in refused.value.hint
    assert SECRET not in str(refused.value)


@pytest.mark.skipif(find_spec("psycopg") is not None, reason="the driver is installed here")
def test_a_database_without_its_driver_names_the_driver() -> None:
    error = failure(f"postgresql://me:{SECRET}@127.0.0.1:9/mlflow")
    assert isinstance(error, Refused)
    assert "driver 'psycopg'" in error.message
    assert SECRET not in str(error)
