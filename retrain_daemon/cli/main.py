"""The entry point: arguments in, exit code out. An expected error is one sentence; a traceback is a bug of ours."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from retrain_daemon import log
from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.parser import parse
from retrain_daemon.errors import RetrainError
from retrain_daemon.settings import Overrides, Settings, read_settings

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (the table is in docs/architecture.md)."""
    arguments = parse(argv)
    log.configure("auto", sys.stderr, level=logging.ERROR)
    try:
        return arguments.verb(arguments, settings_of(arguments))
    except RetrainError as error:
        print(f"retraind: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def settings_of(arguments: Arguments) -> Settings:
    """Settings as file, environment and command line give them together."""
    overrides = Overrides(
        tracking_uri=arguments.tracking_uri,
        state=arguments.state,
        policies=arguments.policies,
        log_format=arguments.log_format,
    )
    return read_settings(Path(arguments.config) if arguments.config else None, os.environ, overrides)
