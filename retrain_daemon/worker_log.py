"""The log of a worker: kept short while it is written, and its last line quoted.

A worker writes to its log directly, so it can grow between two looks; what it may grow to is cut at the next one.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from retrain_daemon.limits import in_bytes
from retrain_daemon.secrets import secrets_of

_TAIL = 4096
_LONGEST = 300


def cut(log: Path, limit: int) -> None:
    """Keep the first half of a log that has grown too long; what follows is appended after a note."""
    if size(log) <= limit:
        return
    with contextlib.suppress(OSError):
        os.truncate(log, limit // 2)
        with log.open("a") as stream:
            stream.write(f"\n[the log had grown to {in_bytes(limit)}: lines are missing here]\n")


def size(log: Path) -> int:
    """Bytes it has; 0 where there is none."""
    try:
        return log.stat().st_size
    except OSError:
        return 0


def last_line(log: Path, start: int) -> str:
    """The last line with text that was logged from byte `start` on, without secrets."""
    try:
        with log.open("rb") as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(end - _TAIL, min(start, end)))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    hide = secrets_of(os.environ).hide
    return next((one_line(hide(line)) for line in reversed(lines) if line.strip()), "")


def one_line(text: str) -> str:
    """Text for a sentence: no line breaks or control characters, and not too long."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(plain.split())[:_LONGEST]
