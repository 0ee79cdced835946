"""The entry point: arguments in, exit code out. An expected error is one sentence; a traceback is a bug of ours."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.parser import parse
from retrain_daemon.errors import RetrainError
from retrain_daemon.secrets import secrets_of
from retrain_daemon.settings import Overrides, Settings, read_settings
from retrain_daemon.worker.credentials import lend

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (the table is in docs/architecture.md)."""
    arguments = parse(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A name that the terminal's letters cannot show is no reason to end.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        settings = settings_of(arguments)
        if arguments.logs:
            _configure_log()
        return arguments.verb(arguments, settings)
    except RetrainError as error:
        _complain(f"retraind: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # noqa: BLE001  a bug of ours, told as Python would, but for secrets
        _complain(traceback.format_exc().rstrip())
        return RetrainError.exit_code


def _configure_log() -> None:
    # A command that logs nothing does not wait for the package that does it.
    from retrain_daemon import log

    log.configure("auto", sys.stderr, level=logging.ERROR)


def _complain(text: str) -> None:
    print(secrets_of(os.environ).hide(text), file=sys.stderr)


def settings_of(arguments: Arguments) -> Settings:
    """Settings as file, environment and command line give them together.

    Credentials of MLflow's URIs move to the environment of this process: past this point no URI holds any.
    """
    overrides = Overrides(
        tracking_uri=arguments.tracking_uri,
        state=arguments.state,
        policies=arguments.policies,
        log_format=arguments.log_format,
    )
    settings = read_settings(Path(arguments.config) if arguments.config else None, os.environ, overrides)
    tracking_uri, registry_uri = lend(settings.tracking_uri, settings.registry_uri, os.environ)
    return replace(settings, tracking_uri=tracking_uri, registry_uri=registry_uri)
