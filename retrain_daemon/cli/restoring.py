"""`retraind restore`: a backup in the journal's place, with what was there put aside. No daemon may be running."""

from __future__ import annotations

import os
import sqlite3
from datetime import datetime
from pathlib import Path

from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.composition import clock
from retrain_daemon.errors import NotFound, StateUnusable
from retrain_daemon.journal import JOURNAL_FILE
from retrain_daemon.journal.copies import BACKUP_FOLDER, copy_whole, flaw, newest_good, refuse_newer
from retrain_daemon.journal.database import SCHEMA_VERSION
from retrain_daemon.lock import StateLock
from retrain_daemon.settings import Settings

SET_ASIDE = "set-aside"
_FOR_ITS_OWNER = 0o600


def restore(arguments: Arguments, settings: Settings) -> int:
    """Put a backup in the journal's place."""
    now = clock()
    with StateLock(settings.state, "retraind restore", now):
        backup = _chosen(settings.state, arguments.backup)
        aside = _exchange(settings.state, backup, now)
    print(f"{backup} is the journal now." + (f" What was there is in {aside}." if aside else ""))
    print(
        "What was decided, promoted, paused or rolled back after the backup is not in it. Champions stay as MLflow has"
        " them; one that the journal does not know is judged only on rows that come from now on. Look at"
        " `retraind status` after the next start, and pause again what was paused."
    )
    return 0


def _chosen(state: Path, named: str | None) -> Path:
    newest = newest_good(state / BACKUP_FOLDER) if named is None else None
    if named is None and newest is None:
        raise NotFound(f"there is no good backup in {state / BACKUP_FOLDER}.", "Name one from elsewhere.")
    backup = newest or Path(named or "").absolute()
    if not backup.is_file():
        raise NotFound(f"there is no backup {backup}.", f"Those there are lie in {state / BACKUP_FOLDER}.")
    if problem := flaw(backup):
        raise StateUnusable(f"the backup {backup} is damaged: {problem}.", "Name another; the journal is untouched.")
    refuse_newer(backup, SCHEMA_VERSION)
    return backup


def _exchange(state: Path, backup: Path, now: datetime) -> Path | None:
    """Copy first, then move the old files away, then rename: a cut leaves either journal, or a refusal that says how
    to restore.
    """
    ready = state / f".{JOURNAL_FILE}.restored"
    try:
        copy_whole(backup, ready, now)
        ready.chmod(_FOR_ITS_OWNER)
        _hand_over(ready, state)
        aside = _put_aside(state, now)
        ready.replace(state / JOURNAL_FILE)
    except (OSError, sqlite3.Error) as error:
        raise StateUnusable(
            f"{backup} cannot be restored in {state}: {error}.", "Make room, or write access."
        ) from error
    return aside


def _put_aside(state: Path, now: datetime) -> Path | None:
    there = [path for suffix in ("-wal", "-shm", "") if (path := state / f"{JOURNAL_FILE}{suffix}").exists()]
    if not there:
        return None
    aside = state / SET_ASIDE / f"{now:%Y%m%dT%H%M%S%f}"
    for folder in (aside.parent, aside):
        folder.mkdir(mode=0o700, exist_ok=True)
        _hand_over(folder, state)
    for path in there:
        path.rename(aside / path.name)
    return aside


def _hand_over(path: Path, state: Path) -> None:
    """Root restores for whoever owns the state folder: the daemon must be able to write what is put there."""
    if os.geteuid() == 0:
        owner = state.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
