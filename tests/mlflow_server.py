"""A real MLflow server on loopback for tests: one process, one SQLite file, artifacts beside it, gone at the end."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HOST = "127.0.0.1"
STARTS_WITHIN = 120.0


@contextmanager
def running_server(folder: Path) -> Iterator[str]:
    """Start `mlflow server` with its database, artifacts and log in `folder`; yield its URI; end it with its children.

    Raises RuntimeError, with the end of the server's log, when it does not come up.
    """
    port = free_port()
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(_command(folder, port), env=_environment(), cwd=folder, stdout=log, stderr=log,
                                  start_new_session=True)  # fmt: skip
        try:
            _wait_until_healthy(server, port, folder / "server.log")
            yield f"http://{HOST}:{port}"
        finally:
            _end(server)


def _command(folder: Path, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]


def _environment() -> dict[str, str]:
    """Without the job runner, which costs seven more processes, and without calling home."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return ours | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline and server.poll() is None:
        if _healthy(port):
            return
        time.sleep(0.2)
    raise RuntimeError(f"mlflow server did not come up on port {port}:\n{log.read_text(errors='replace')[-2000:]}")


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=2)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server's own process group: its worker is a child that would outlive it."""
    for sign, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        try:
            os.killpg(server.pid, sign)
            server.wait(patience)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    server.wait(10)
