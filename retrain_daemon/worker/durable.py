"""Files and folders that are whole or not there: made beside their place, synced, and renamed into it.

Imports no framework.
"""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(path: Path, *content: bytes | memoryview) -> None:
    """Write `content`; once this returned it survives a crash and a loss of power."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as stream:
        stream.writelines(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)
    _sync(path.parent)


def put_whole(made: Path, target: Path) -> None:
    """Move the folder `made`, with all in it synced, to `target` beside it, where nothing must be yet."""
    for entry in made.rglob("*"):
        if not entry.is_symlink():
            _sync(entry)
    _sync(made)
    made.rename(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
