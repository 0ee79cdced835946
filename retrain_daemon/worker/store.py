"""Where an MLflow store is, how it is opened safely, and where it keeps artifacts.

Shared by daemon and worker, so that both name one store the same whatever folder they run in. MLflow is imported only
when a store is opened. Reading and changing the registry lives in the daemon's `registry.py`.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from retrain_daemon.errors import Refused, RegistryUnreachable
from retrain_daemon.worker.mlflow_errors import shown, understood, unreachable
from retrain_daemon.worker.mlflow_process import quiet

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

ARTIFACT_FOLDER = "mlartifacts"
SERVERS = ("http", "https")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")  # those MLflow itself supports

#: Seconds to wait for another process that opens a fresh database; its migrations take a few.
_INITIALISED_WITHIN = 60.0

_WRITE = "Write sqlite:////absolute/path/mlflow.db, or http://host:5000 of an MLflow server."


def absolute_uri(uri: str) -> str:
    """Given a tracking or registry URI, return it so that it means the same in every folder.

    Raises Refused, naming the URI without credentials, when no store of that kind can be served.
    """
    scheme = urlsplit(uri).scheme
    if scheme in SERVERS:
        return _server(uri)
    if _database(uri) == "sqlite":
        return _absolute_sqlite(uri)
    if _database(uri):
        return uri
    if scheme in ("", "file"):
        raise Refused(
            f"{uri!r} is a plain folder; MLflow keeps file stores only for maintenance, without safe writes.",
            f"{_WRITE} `mlflow migrate-filestore` brings an old store over.",
        )
    raise Refused(f"Stores of the kind {scheme!r} are not built yet ({shown(uri)}).", _WRITE)


def artifact_root(tracking_uri: str) -> str | None:
    """The absolute folder for artifacts of a SQLite store, beside its file; None where a server decides.

    MLflow's own default is ./mlruns of whichever process opens the store first.
    """
    path = _sqlite_path(tracking_uri)
    return str(path.absolute().parent / ARTIFACT_FOLDER) if path else None


def initialise(uri: str) -> None:
    """Open the store once, so that its database and tables exist; harmless when they do.

    Processes that open a fresh SQLite file at the same time take turns, as MLflow's migrations otherwise collide and
    leave a half-made database. Raises RegistryUnreachable when the file cannot be opened, Refused when its schema is
    of another MLflow.
    """
    path = _sqlite_path(uri)
    if path is None:
        if _database(uri):
            _check_database(uri)
        return
    _check_folder(path, uri)
    with _turn(path, uri):
        _check_file(path, uri)
        _first_call(uri)


def ensure_experiment(tracking_uri: str, name: str) -> str:
    """Return the id of the experiment, made where it is missing, its artifacts at `artifact_root`.

    Raises Refused when it was deleted: MLflow keeps the name taken until it is restored or purged.
    """
    from mlflow import MlflowClient

    initialise(tracking_uri)
    with understood(tracking_uri):
        client = MlflowClient(tracking_uri=tracking_uri)
        found = client.get_experiment_by_name(name) or _make(client, name, _artifact_folder(tracking_uri, name))
    if found.lifecycle_stage != "active":
        raise Refused(
            f"The experiment {name!r} at {shown(tracking_uri)} is deleted.",
            f"Bring it back with `mlflow experiments restore --experiment-id {found.experiment_id}`.",
        )
    return str(found.experiment_id)


def _make(client: MlflowClient, name: str, artifacts: str | None) -> Experiment:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_experiment(client.create_experiment(name, artifact_location=artifacts))
    except MlflowException:
        # Another process may have been first.
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return found


def _server(uri: str) -> str:
    try:
        complete = bool(urlsplit(uri).hostname) and urlsplit(uri).port != 0
    except ValueError:  # the port is no number, or not one of TCP
        complete = False
    if not complete:
        raise Refused(f"The URI {shown(uri)!r} names no host, or not a port.", _WRITE)
    return uri.rstrip("/")


def _database(uri: str) -> str:
    """The kind of database a SQLAlchemy URI names, without its driver; empty when it names none."""
    kind = uri.partition("://")[0].partition("+")[0]
    return kind if kind in DATABASES and "://" in uri else ""


def _absolute_sqlite(uri: str) -> str:
    path = _sqlite_path(uri)
    if path is None:
        raise Refused(f"{uri!r} keeps the registry in the memory of one process; workers would not see it.", _WRITE)
    query = uri.partition("?")[2]
    return f"sqlite:///{path.absolute()}" + (f"?{query}" if query else "")


def _sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite URI as it is written, None for an in-memory database and for other stores."""
    path = uri.partition("://")[2].partition("?")[0].removeprefix("/")
    return Path(path) if _database(uri) == "sqlite" and path not in ("", ":memory:") else None


def _check_folder(path: Path, uri: str) -> None:
    if not path.parent.is_dir():
        raise RegistryUnreachable(
            f"The folder {str(path.parent)!r} of the registry {shown(uri)} does not exist.",
            "Make it, or correct the URI.",
        )


def _check_file(path: Path, uri: str) -> None:
    """Ask SQLite itself first: MLflow tries an unusable file again and again for more than a minute."""
    if not path.exists():
        if not os.access(path.parent, os.W_OK):
            raise unreachable(uri, f"the folder {str(path.parent)!r} is not writable and holds no such file")
        return
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error as error:
        raise unreachable(uri, str(error)) from None


@contextmanager
def _turn(path: Path, uri: str) -> Iterator[None]:
    """Hold the lock file beside the database; where none can be made nobody can make a database either."""
    try:
        lock = os.open(path.with_name(f"{path.name}.init.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        yield
        return
    try:
        _wait_for(lock, uri)
        yield
    finally:
        os.close(lock)


def _wait_for(lock: int, uri: str) -> None:
    deadline = time.monotonic() + _INITIALISED_WITHIN
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > deadline:
                reason = f"another process has been opening it for {_INITIALISED_WITHIN:.0f} s"
                raise unreachable(uri, reason) from None
            time.sleep(0.05)


def _first_call(uri: str) -> None:
    """One request to each of the two stores behind a database, tracking and registry: they make their tables."""
    from mlflow import MlflowClient

    quiet()
    with understood(uri):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.search_experiments(max_results=1)
        client.search_registered_models(max_results=1)


def _check_database(uri: str) -> None:
    """Connect once: MLflow would try a database server that is down for more than a minute."""
    from sqlalchemy import create_engine

    with understood(uri):
        try:
            create_engine(uri).connect().close()
        except ImportError as error:
            raise Refused(
                f"The database driver {error.name!r} for {shown(uri)} is not installed.", "Install it with pip."
            ) from None


def _artifact_folder(tracking_uri: str, name: str) -> str | None:
    """Each experiment in a folder of its own that a person recognises; its name may hold slashes."""
    root = artifact_root(tracking_uri)
    return f"{root}/{quote(name, safe='')}" if root else None
