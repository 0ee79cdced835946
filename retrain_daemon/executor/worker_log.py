"""The log of a worker: kept short while it is written, and its last line quoted.

A worker writes to its log directly, so it can grow between two looks; what it may grow to is cut at the next one.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from retrain_daemon.executor.limits import in_bytes
from retrain_daemon.secrets import secrets_of

_TAIL = 4096
_LONGEST = 300


def cut(log: Path, limit: int) -> None:
    """Keep the first half of a log that has grown too long, and its last lines; what follows is appended."""
    if size(log) <= limit:
        return
    with contextlib.suppress(OSError):
        last = _last_lines(log, min(_TAIL, limit // 4))
        os.truncate(log, limit // 2)
        with log.open("ab") as stream:
            note = f"\n[the log had grown to {in_bytes(limit)}: lines are missing here]\n"
            stream.write(note.encode() + last)


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


def _last_lines(log: Path, most: int) -> bytes:
    with log.open("rb") as stream:
        stream.seek(-most, os.SEEK_END)
        return stream.read().partition(b"\n")[2]


def one_line(text: str) -> str:
    """Text for a sentence: no line breaks or control characters, and not too long."""
    plain = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(plain.split())[:_LONGEST]
