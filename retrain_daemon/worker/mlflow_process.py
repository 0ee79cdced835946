"""What MLflow keeps for a whole process instead of for one client: waits, its global URI, what its loggers print.

All of it is set through the environment or through loggers, so it lives here, away from requests.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: MLflow's own defaults (120 s, 7 retries, doubling) block its caller for minutes when a server hangs. The daemon
#: comes back at its next look anyway, so it prefers an early error. A setting in the environment wins.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
#: A worker keeps nobody waiting, and a server may take its time to pass a large model on to where it stores it.
_PATIENCE_OF_WORKERS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
_chosen_here: set[str] = set()

_ENVIRONMENT = threading.Lock()


def load_mlflow() -> None:
    """Import MLflow. One import that was cut short would spoil every later one in this process, so nothing of it is
    kept; raises OSError or whatever else cut it short.
    """
    try:
        importlib.import_module("mlflow")
    except BaseException:
        for name in [name for name in sys.modules if name.partition(".")[0] == "mlflow"]:
            del sys.modules[name]
        raise


def prefer_early_errors() -> None:
    """Have MLflow's HTTP client give up within seconds, unless the environment says how long to wait."""
    for name in _PATIENCE.keys() - os.environ.keys():
        os.environ[name] = _PATIENCE[name]
        _chosen_here.add(name)


def patience_of_workers() -> dict[str, str]:
    """The variables by which a worker waits longer than this process, as far as the environment did not say it."""
    return {name: _PATIENCE_OF_WORKERS[name] for name in sorted(_chosen_here)}


def quiet() -> None:
    """Stop what libraries print beside their exceptions and answers: tracebacks, HTTP retries, links to runs."""
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name in ("mlflow.store.db.utils", "alembic", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def registering(tracking_uri: str) -> Iterator[None]:
    """For one call: no repeated request, and MLflow's global tracking URI is ours.

    A repeat after a lost answer would make a second version. And a database store looks up `models:/m-...` through
    the global URI instead of that of its client. Both can be had only through the environment.
    """
    import mlflow

    with _environment(MLFLOW_TRACKING_URI=tracking_uri, MLFLOW_HTTP_REQUEST_MAX_RETRIES="0"):
        # What some other code of this process set with set_tracking_uri goes before the environment.
        elsewhere = mlflow.get_tracking_uri()
        if elsewhere != tracking_uri:
            mlflow.set_tracking_uri(tracking_uri)
        try:
            yield
        finally:
            if elsewhere != tracking_uri:
                mlflow.set_tracking_uri(elsewhere)


@contextmanager
def _environment(**ours: str) -> Iterator[None]:
    """Set these variables, one caller at a time, and take them back."""
    with _ENVIRONMENT:
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
