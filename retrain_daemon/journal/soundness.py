"""Whether a journal's files may be opened at all, and what an error of SQLite means for the person who reads it.

Nothing here changes a file: a damaged or missing journal is refused, never repaired and never begun anew.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

from retrain_daemon.errors import StateUnusable
from retrain_daemon.journal.copies import BACKUP_FOLDER, copies, how_to_restore
from retrain_daemon.shortage import free_room

_WAL_BEGINS = (b"\x37\x7f\x06\x82", b"\x37\x7f\x06\x83")


def refuse_unsound(path: Path, *, to_write: bool) -> None:
    """Raise StateUnusable when the files at `path` are no journal that can be opened, or one was there and is lost."""
    found = _state(path)
    if found is not None and not stat.S_ISREG(found.st_mode):
        raise StateUnusable(f"the journal {path} is not a file.", f"Move it away. {how_to_restore(path)}")
    if found is not None and to_write and os.statvfs(path).f_flag & os.ST_RDONLY:
        raise StateUnusable(f"the journal {path} is on a file system that is mounted read-only.", "Mount it writable.")
    if found is not None and not os.access(path, (os.R_OK | os.W_OK) if to_write else os.R_OK, effective_ids=True):
        may = "read and written" if to_write else "read"
        raise StateUnusable(
            f"the journal {path} may not be {may} by this user.",
            f"Give it to the daemon's user: chown {path}, and {path.name}-wal and {path.name}-shm beside it.",
        )
    if found is None or found.st_size == 0:
        refuse_lost(path, "is missing" if found is None else "is empty")
    _refuse_unsound_wal(path)


def refuse_lost(path: Path, how: str) -> None:
    """Raise StateUnusable where a journal without content, as `how` says, is not the first one here."""
    if was_there(path):
        raise StateUnusable(
            f"the journal {path} {how}, but backups or learned rows of one are beside it.",
            f"{how_to_restore(path)} Check first that the disk with the state folder is mounted.",
        )


def was_there(path: Path) -> bool:
    """Whether what only a journal's daemon makes is beside its place."""
    learned = path.parent / "learned"
    return bool(copies(path.parent / BACKUP_FOLDER)) or any(learned.glob("*.npy"))


def refuse_damaged(connection: sqlite3.Connection, path: Path) -> None:
    """Read every page (a quarter of a second for a hundred thousand drops); raise StateUnusable for a damaged one."""
    said = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if said != "ok":
        raise StateUnusable(f"the journal {path} is damaged: {said}.", how_to_restore(path))


def refuse_foreign(path: Path, why: str) -> StateUnusable:
    """The error for a SQLite file that is not a journal."""
    return StateUnusable(
        f"{path} is no journal of this project: {why}.", f"Move it away, or name another state folder with --state. "
        f"{how_to_restore(path)}"
    )  # fmt: skip


def unusable(path: Path, error: sqlite3.Error) -> StateUnusable:
    """What an error of SQLite means: the disk, permissions, or a damaged file."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    message = f"the journal {path} cannot be used: {error}."
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StateUnusable(message, how_to_restore(path))
    if code == sqlite3.SQLITE_FULL:
        return StateUnusable(f"{message[:-1]}, {free_room(path.parent)}.", "Make room on that disk; nothing is lost.")
    if code == sqlite3.SQLITE_READONLY:
        return StateUnusable(
            message, f"Give the daemon's user write access to the state folder {path.parent}, and mount it writable."
        )
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return StateUnusable(
            f"{message[:-1]}, {free_room(path.parent)}.",
            f"Check that the state folder {path.parent} is there, writable, its disk sound and not full, and that files"
            " can still be opened.",
        )
    return StateUnusable(message, f"Check that the state folder {path.parent} is writable and its disk not full.")


def _state(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except PermissionError as error:
        raise StateUnusable(
            f"the state folder {path.parent} may not be searched by this user.",
            "Give it to the daemon's user: chown -R.",
        ) from error
    except OSError:
        return None  # not there, or its folder is not: opening it says which


def _refuse_unsound_wal(path: Path) -> None:
    """SQLite passes over a log it cannot make sense of: what was committed last would be gone without a word."""
    wal = path.with_name(path.name + "-wal")
    try:
        with wal.open("rb") as stream:
            begin = stream.read(4)
    except OSError:
        return
    if begin and begin not in _WAL_BEGINS:
        raise StateUnusable(
            f"{wal}, which holds what was written last, is damaged.",
            f"{how_to_restore(path)} Or move {wal.name} away to go on without what was in it.",
        )
