"""The table `policy_file`: which version of each policy file is in force, and why the file as it is now is not."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from retrain_daemon.journal.database import Database, to_moment, to_moment_or_none, to_text


@dataclass(frozen=True, kw_only=True)
class PolicyFileRow:
    """The version of one file that is in force `since` then; `wrong` is why the file as it is now, and has been
    `wrong_since`, is not. `model` is the one it is about, or the pattern of its models.
    """

    file: str
    model: str
    digest: str
    since: datetime
    wrong: str = ""
    wrong_since: datetime | None = None


class PolicyFileTable:
    """Statements on `policy_file`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> tuple[PolicyFileRow, ...]:
        """Every file of which a version is in force, by its path."""
        rows = self._database.rows(
            "SELECT file, model, digest, since, wrong, wrong_since FROM policy_file ORDER BY file"
        )
        return tuple(_row(row) for row in rows)

    def contents(self) -> dict[str, str]:
        """The text of the version that is in force, by the path of its file."""
        rows = self._database.rows("SELECT file, content FROM policy_file ORDER BY file")
        return {row["file"]: row["content"] for row in rows}

    def keep(self, file: str, model: str, content: str, digest: str, now: datetime) -> None:
        """A version of a file is in force from now on, or still."""
        self._database.run(
            "INSERT INTO policy_file (file, model, content, digest, since, changed_at) VALUES (?1, ?2, ?3, ?4, ?5, ?5)"
            " ON CONFLICT (file) DO UPDATE SET model = excluded.model, content = excluded.content,"
            " digest = excluded.digest, since = excluded.since, changed_at = excluded.changed_at"
            " WHERE digest <> excluded.digest",
            file, model, content, digest, to_text(now),
        )  # fmt: skip

    def note_wrong(self, file: str, wrong: str, now: datetime) -> None:
        """Why the file as it is now is not in force; "" where it is."""
        self._database.run(
            "UPDATE policy_file SET wrong_since = CASE WHEN ?2 = '' THEN NULL ELSE coalesce(wrong_since, ?3) END,"
            " wrong = ?2, changed_at = ?3 WHERE file = ?1 AND wrong <> ?2",
            file, wrong, to_text(now),
        )  # fmt: skip

    def forget_others(self, files: Collection[str]) -> None:
        """No version of any other file is in force."""
        for row in self.all():
            if row.file not in files:
                self._database.run("DELETE FROM policy_file WHERE file = ?", row.file)


def _row(row: sqlite3.Row) -> PolicyFileRow:
    return PolicyFileRow(
        file=row["file"],
        model=row["model"],
        digest=row["digest"],
        since=to_moment(row["since"]),
        wrong=row["wrong"],
        wrong_since=to_moment_or_none(row["wrong_since"]),
    )
