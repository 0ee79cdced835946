"""`retraind run`: the daemon in the foreground, as a service manager wants it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING

from retrain_daemon import __version__, log
from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.composition import clock, compose_daemon
from retrain_daemon.errors import RegistryUnreachable
from retrain_daemon.lock import DAEMON, StateLock
from retrain_daemon.settings import Settings, read_credentials

if TYPE_CHECKING:
    from retrain_daemon.daemon import Daemon


def run(arguments: Arguments, settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; with --once, until nothing is left to do."""
    os.environ.update(read_credentials(os.environ))  # for MLflow here and in the workers; never to be logged
    log.configure(settings.log_format, sys.stderr)
    wake = threading.Event()
    pages = not arguments.once
    with StateLock(settings.state, DAEMON, clock()), compose_daemon(settings, wake, pages=pages) as daemon:
        _obey_signals(daemon)
        logger = log.get_logger()
        logger.info("daemon.started", version=__version__, state=str(settings.state), policies=str(settings.policies),
                    mlflow=settings.tracking_uri)  # fmt: skip
        problem = ""
        if arguments.once:
            problem = daemon.run_once()
        else:
            daemon.run()
        logger.info("daemon.stopped")
    if problem:
        raise RegistryUnreachable(problem)
    return 0


def _obey_signals(daemon: Daemon) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        daemon.stop()

    def reload(_number: int, _frame: FrameType | None) -> None:
        daemon.reload()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, reload)
