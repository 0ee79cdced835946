"""Opening the journal's SQLite file, transactions on it, and how times and values are written in it.

WAL and synchronous FULL: a committed row survives kill -9 and power loss. BEGIN IMMEDIATE always: a read that turns
into a write would otherwise fail at once with SQLITE_BUSY_SNAPSHOT, whatever the time-out.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from retrain_daemon.errors import StateUnusable
from retrain_daemon.journal.copies import APPLICATION_ID, BACKUP_FOLDER, copy_whole
from retrain_daemon.journal.soundness import refuse_damaged, refuse_foreign, refuse_lost, refuse_unsound, unusable

SCHEMA_VERSION = 7
BUSY_SECONDS = 10

Value = str | int | float | None


class Database:
    """One connection. Every failure of the file or the disk becomes StateUnusable with the file's name."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self.path = path

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements within are committed together or not at all. Within another transaction, part of it."""
        if self._connection.in_transaction:
            yield
            return
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")  # a full disk may refuse it and leave the transaction open
        except BaseException:
            if self._connection.in_transaction:
                self.run("ROLLBACK")
            raise

    def run(self, sql: str, *values: Value) -> sqlite3.Cursor:
        """Run one statement."""
        try:
            return self._connection.execute(sql, values)
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise unusable(self.path, error) from error

    def rows(self, sql: str, *values: Value) -> list[sqlite3.Row]:
        """All rows of a query."""
        cursor = self.run(sql, *values)
        try:
            return cursor.fetchall()
        except sqlite3.Error as error:
            raise unusable(self.path, error) from error

    def row(self, sql: str, *values: Value) -> sqlite3.Row | None:
        """The first row of a query, if any."""
        cursor = self.run(sql, *values)
        try:
            found: sqlite3.Row | None = cursor.fetchone()
        except sqlite3.Error as error:
            raise unusable(self.path, error) from error
        return found

    def change_one(self, sql: str, *values: Value) -> None:
        """Run an update that must change exactly one row: anything else is a bug that must not pass silently."""
        changed = self.run(sql, *values).rowcount
        if changed != 1:
            raise AssertionError(f"{changed} rows changed instead of one: {sql} {values}")

    def version(self) -> int:
        """A number that grows when another process has committed."""
        found = self.row("PRAGMA data_version")
        return int(found[0]) if found else 0

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def open_database(path: Path, *, read_only: bool = False, thorough: bool = False) -> Database:
    """Open the journal, making it if there never was one; a `thorough` opening reads every page.

    Raises StateUnusable with what is wrong and what to do, for a lost journal how to restore it.
    """
    refuse_unsound(path, to_write=not read_only)
    try:
        database = Database(_connect(path, read_only), path)
        _refuse_foreign(database)
        if thorough:
            refuse_damaged(database._connection, path)
        if not read_only:
            _use_wal(database._connection)
            database.run("PRAGMA synchronous = FULL")
            database.run("PRAGMA foreign_keys = ON")
        _make_or_check(database, read_only)
    except sqlite3.Error as error:
        raise unusable(path, error) from error
    return database


def _connect(path: Path, read_only: bool) -> sqlite3.Connection:
    if read_only:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
    else:
        connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
    connection.isolation_level = None
    connection.row_factory = sqlite3.Row
    return connection


def _refuse_foreign(database: Database) -> None:
    """Older journals have no application id; every one has its table `identity`."""
    mark = database.row("PRAGMA application_id")
    if mark is not None and mark[0] not in (0, APPLICATION_ID):
        raise refuse_foreign(database.path, f"its application id is {mark[0]}")
    tables = {row["name"] for row in database.rows("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if tables and "identity" not in tables:
        raise refuse_foreign(database.path, f"its tables are {', '.join(sorted(tables)[:5])}")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Two processes that make a journal at once: the switch to WAL does not wait for a lock by itself."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _make_or_check(database: Database, read_only: bool) -> None:
    found = _user_version(database)
    if found == 0:  # all that was written lay in a log that is not there any more
        refuse_lost(database.path, "holds nothing")
    if found == 0 and read_only:
        raise StateUnusable(f"the journal {database.path} is just being made.", "Try again in a moment.")
    if found > SCHEMA_VERSION:
        raise StateUnusable(
            f"the journal {database.path} has schema {found}, this version knows up to {SCHEMA_VERSION}.",
            "Use the newer retraind that wrote it.",
        )
    if 0 < found < SCHEMA_VERSION and read_only:
        raise StateUnusable(
            f"the journal {database.path} has schema {found}; a daemon of this version brings it to {SCHEMA_VERSION}.",
            "Start it once.",
        )
    if found < SCHEMA_VERSION and not read_only:
        if found:
            _keep_as_it_was(database.path, found)
        database.run("PRAGMA foreign_keys = OFF")  # a table that others refer to may be made anew
        with database.transaction():
            _bring_up(database)
        database.run("PRAGMA foreign_keys = ON")


def _keep_as_it_was(path: Path, schema: int) -> None:
    """A copy before the tables are changed, for whoever has to go back to the version before."""
    target = path.parent / BACKUP_FOLDER / f"journal-schema-{schema}.db"
    try:
        copy_whole(path, target, datetime.now(UTC))
    except (OSError, sqlite3.Error) as error:
        raise StateUnusable(
            f"the journal {path} has schema {schema} and cannot be copied to {target} before it is brought to"
            f" {SCHEMA_VERSION}: {error}.",
            "Make room, or write access, there.",
        ) from error


def _bring_up(database: Database) -> None:
    """Make the tables, or change those of an older version step by step."""
    found = _user_version(database)
    scripts = ["schema.sql"] if found == 0 else [f"to_{step}.sql" for step in range(found + 1, SCHEMA_VERSION + 1)]
    for script in scripts:
        for statement in _statements(files("retrain_daemon.journal").joinpath(script).read_text("utf-8")):
            database.run(statement)
    database.run(f"PRAGMA user_version = {SCHEMA_VERSION}")
    database.run(f"PRAGMA application_id = {APPLICATION_ID}")


def _user_version(database: Database) -> int:
    row = database.row("PRAGMA user_version")
    return int(row[0]) if row else 0


def _statements(script: str) -> Iterable[str]:
    """Split a script into statements, so that they run in one transaction (executescript would commit it first)."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def to_text(moment: datetime) -> str:
    """A moment as the journal writes it: UTC with microseconds, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def to_moment(text: str) -> datetime:
    """The moment a text of the journal means."""
    return datetime.fromisoformat(text)


def to_moment_or_none(text: str | None) -> datetime | None:
    """The same, where a column may be empty."""
    return None if text is None else datetime.fromisoformat(text)
