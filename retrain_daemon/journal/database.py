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

SCHEMA_VERSION = 4
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
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self.run("COMMIT")

    def run(self, sql: str, *values: Value) -> sqlite3.Cursor:
        """Run one statement."""
        try:
            return self._connection.execute(sql, values)
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from error

    def rows(self, sql: str, *values: Value) -> list[sqlite3.Row]:
        """All rows of a query."""
        return self.run(sql, *values).fetchall()

    def row(self, sql: str, *values: Value) -> sqlite3.Row | None:
        """The first row of a query, if any."""
        found: sqlite3.Row | None = self.run(sql, *values).fetchone()
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


def open_database(path: Path, *, read_only: bool = False) -> Database:
    """Open the journal, making it if it is not there; raises StateUnusable with what is wrong and what to do."""
    try:
        if read_only:
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_SECONDS)
        else:
            connection = sqlite3.connect(path, timeout=BUSY_SECONDS)
        connection.isolation_level = None
        connection.row_factory = sqlite3.Row
        database = Database(connection, path)
        if not read_only:
            _use_wal(connection)
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
        _make_or_check(database, read_only)
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    return database


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
        database.run("PRAGMA foreign_keys = OFF")  # a table that others refer to may be made anew
        with database.transaction():
            _bring_up(database)
        database.run("PRAGMA foreign_keys = ON")


def _bring_up(database: Database) -> None:
    """Make the tables, or change those of an older version step by step."""
    found = _user_version(database)
    scripts = ["schema.sql"] if found == 0 else [f"to_{step}.sql" for step in range(found + 1, SCHEMA_VERSION + 1)]
    for script in scripts:
        for statement in _statements(files("retrain_daemon.journal").joinpath(script).read_text("utf-8")):
            database.run(statement)
    database.run(f"PRAGMA user_version = {SCHEMA_VERSION}")


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


def _unusable(path: Path, error: sqlite3.Error) -> StateUnusable:
    return StateUnusable(
        f"the journal {path} cannot be used: {error}.",
        "Check that the state folder is writable and its disk not full; a damaged file is restored from a backup.",
    )


def to_text(moment: datetime) -> str:
    """A moment as the journal writes it: UTC with microseconds, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def to_moment(text: str) -> datetime:
    """The moment a text of the journal means."""
    return datetime.fromisoformat(text)


def to_moment_or_none(text: str | None) -> datetime | None:
    """The same, where a column may be empty."""
    return None if text is None else datetime.fromisoformat(text)
