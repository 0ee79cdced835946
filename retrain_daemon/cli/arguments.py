"""A command line as a value. Which verbs there are, and how they are read, lives in `parser.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from retrain_daemon.settings import Settings

if TYPE_CHECKING:
    # Its module takes longer to import than a short command to run.
    from retrain_daemon.worker.job import Side


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """A command line, read. Which fields count depends on the verb; one that `logs` may write log lines."""

    verb: Callable[[Arguments, Settings], int]
    logs: bool = True
    config: str | None = None
    state: str | None = None
    policies: str | None = None
    tracking_uri: str | None = None
    log_format: str | None = None
    json: bool = False
    github: bool = False
    strict: bool = False
    verbose: bool = False
    registry: bool = False
    once: bool = False
    model: str | None = None
    attempt: str = ""
    path: str | None = None
    file: str = ""
    version: int | None = None
    learned_from: list[str] = field(default_factory=list)
    why: str = ""
    evidence: str = ""
    limit: int = 50
    folder: str = "demo"
    data: str | None = None
    target: str = ""
    classes: list[str] = field(default_factory=list)
    output: str | None = None
    backup: str | None = None
    yes: bool = False
    side: Side = ""
    quarantined: bool = False
    all: bool = False
