"""The table `rollback`: going back to an earlier champion, written down before the alias moves."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from retrain_daemon.journal.database import Database, to_moment, to_moment_or_none, to_text


@dataclass(frozen=True, kw_only=True)
class Rollback:
    """One rollback, from version `was` to version `target`."""

    id: str
    model: str
    alias: str
    was: int
    target: int
    by: str
    why: str
    begun_at: datetime
    ended_at: datetime | None
    outcome: str


class Rollbacks:
    """Statements on `rollback`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self, model: str, alias: str, was: int, target: int, by: str, why: str, now: datetime
    ) -> Rollback:  # fmt: skip
        """The alias is about to be moved back."""
        row = self._database.row("SELECT count(*) + 1 FROM rollback")
        name = f"rollback-{row[0] if row else 1}"
        self._database.run(
            "INSERT INTO rollback (id, model, alias, was, target, by, why, begun_at, changed_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            name, model, alias, was, target, by, why, to_text(now), to_text(now),
        )  # fmt: skip
        found = self.open(model)
        assert found is not None
        return found

    def open(self, model: str) -> Rollback | None:
        """The rollback that was begun and has not ended."""
        row = self._database.row("SELECT * FROM rollback WHERE model = ? AND ended_at IS NULL", model)
        return None if row is None else _rollback(row)

    def end(self, rollback: Rollback, outcome: str, now: datetime) -> None:
        """It has ended."""
        self._database.change_one(
            "UPDATE rollback SET ended_at = ?, outcome = ?, changed_at = ? WHERE id = ? AND ended_at IS NULL",
            to_text(now), outcome, to_text(now), rollback.id,
        )  # fmt: skip

    def of_model(self, model: str) -> tuple[Rollback, ...]:
        """All rollbacks of a model, oldest first."""
        rows = self._database.rows("SELECT * FROM rollback WHERE model = ? ORDER BY begun_at", model)
        return tuple(_rollback(row) for row in rows)


def _rollback(row: sqlite3.Row) -> Rollback:
    return Rollback(
        id=row["id"],
        model=row["model"],
        alias=row["alias"],
        was=row["was"],
        target=row["target"],
        by=row["by"],
        why=row["why"],
        begun_at=to_moment(row["begun_at"]),
        ended_at=to_moment_or_none(row["ended_at"]),
        outcome=row["outcome"],
    )
