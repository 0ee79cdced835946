"""Copies of the journal: made whole or not at all, checked, and found again; what a restored one must not go on with.

When a copy is due, and who asks for one, is not known here.
"""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from retrain_daemon.errors import StateUnusable

BACKUP_FOLDER = "backups"
#: In the header of every journal, so that `file` and this project tell it from other SQLite files ("RTRD").
APPLICATION_ID = 0x52545244

# Every statement works on each schema there has been. What was under way when a copy was made may have come to any end
# since, and a person may have acted on it: it is not taken up again. Files that are there at the first look after a
# restore are history, and who was champion is not known.
_SET_APART = (
    "UPDATE attempt SET state = 'abandoned', reason = 'the journal is a backup made while it was under way',"
    " ended_at = ?1, changed_at = ?1 WHERE ended_at IS NULL",
    "UPDATE model SET hold_since = ?1, hold_by = 'retraind', hold_why = 'the journal is a backup made while a rollback"
    " was under way', changed_at = ?1 WHERE hold_since IS NULL AND name IN"
    " (SELECT model FROM rollback WHERE ended_at IS NULL)",
    "UPDATE rollback SET ended_at = ?1, outcome = 'the journal is a backup made while it was under way',"
    " changed_at = ?1 WHERE ended_at IS NULL",
    "UPDATE request SET code = 5, answer = 'the journal is a backup made before it was answered: ask again',"
    " answered_at = ?1, changed_at = ?1 WHERE code IS NULL",
    "UPDATE model SET adopted_at = NULL, champion_seen = NULL, changed_at = ?1",
)


def copy_whole(source: Path, target: Path, now: datetime) -> None:
    """Copy a journal, also one in use, to `target`: checked and synced under another name, then renamed.

    The copy can be put in the journal's place as it is. Raises OSError or sqlite3.Error; nothing is left then.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        _room_for(source, target.parent)
        with closing(_reader(source)) as origin, closing(sqlite3.connect(temporary)) as copy:
            origin.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, that can be read without another beside it
            with copy:
                for statement in _SET_APART:
                    copy.execute(statement, (now.astimezone(UTC).isoformat(timespec="microseconds"),))
            if said := _check(copy):
                raise sqlite3.DatabaseError(said)
        _sync(temporary)
        temporary.replace(target)
        _sync(target.parent)
    finally:
        for left in (temporary, temporary.with_name(temporary.name + "-journal")):
            left.unlink(missing_ok=True)


def flaw(path: Path) -> str:
    """What is wrong with a copy, in a few words; "" for a good one."""
    try:
        with closing(_reader(path)) as copy:
            named = copy.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('identity', 'attempt')").fetchone()
            return _check(copy) if named[0] == 2 else "it is no journal of this project"
    except sqlite3.Error as error:
        return str(error)


def copies(folder: Path) -> tuple[Path, ...]:
    """The copies in a folder, newest first by the time they were written."""
    try:
        found = [(path.stat().st_mtime_ns, path) for path in folder.glob("*.db") if path.is_file()]
    except OSError:
        return ()
    return tuple(path for _, path in sorted(found, reverse=True))


def newest_good(folder: Path) -> Path | None:
    """The newest copy that can be restored."""
    return next((path for path in copies(folder) if not flaw(path)), None)


def how_to_restore(journal: Path) -> str:
    """What a person can do for a journal that is lost or damaged, with the backup that would be taken."""
    folder = journal.parent / BACKUP_FOLDER
    if (good := newest_good(folder)) is not None:
        return (
            f"Run `retraind restore {good}` with the daemon stopped: it puts {journal.name} aside and this backup in"
            " its place."
        )
    return (
        f"There is no good backup in {folder}: put one from elsewhere there and run `retraind restore`, or move"
        f" {journal.parent} away to start anew."
    )


def refuse_newer(path: Path, known: int) -> None:
    """Raise StateUnusable for a copy that a later version of this project wrote."""
    with closing(_reader(path)) as copy:
        found = int(copy.execute("PRAGMA user_version").fetchone()[0])
    if found > known:
        raise StateUnusable(f"{path} has schema {found}, this version knows up to {known}.", "Use the newer retraind.")


def _reader(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)


def _check(connection: sqlite3.Connection) -> str:
    said = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    return "" if said == "ok" else said


def _room_for(source: Path, folder: Path) -> None:
    """A copy must not take the last room, which the journal itself needs."""
    folder.mkdir(exist_ok=True)
    needed, free = 2 * source.stat().st_size, shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"a copy needs {needed} bytes of room and {free} are free", str(folder))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
