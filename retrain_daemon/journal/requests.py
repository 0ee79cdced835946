"""The table `request`: what people asked for through the command line, and the answer the holder of the lock gave."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from retrain_daemon.errors import Refused
from retrain_daemon.journal.database import Database, to_moment, to_moment_or_none, to_text

#: The argument of the daemon's own orders that names the attempt whose watched promotion asks for it.
WATCH = "watch"


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request. `code`, the exit code of the command that asked, is None until it is answered."""

    id: int
    model: str
    verb: str
    arguments: Mapping[str, str]
    by: str
    why: str
    asked_at: datetime
    answered_at: datetime | None
    code: int | None
    answer: str

    def argument(self, name: str) -> str:
        """What the order says; raises Refused where it does not, as one of an earlier version may."""
        if name not in self.arguments:
            raise Refused(f"request {self.id}, {self.verb} {self.model}, does not say which {name}.", "Ask again.")
        return self.arguments[name]


class Requests:
    """Statements on `request`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(
        self, model: str, verb: str, by: str, why: str, now: datetime, arguments: Mapping[str, str] | None = None
    ) -> int:
        """Write a request down; returns its number."""
        cursor = self._database.run(
            "INSERT INTO request (model, verb, argument, by, why, asked_at, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            model, verb, json.dumps(dict(arguments or {})), by, why, to_text(now), to_text(now),
        )  # fmt: skip
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def open(self) -> tuple[Request, ...]:
        """Requests nobody has answered yet, oldest first."""
        return tuple(
            _request(row) for row in self._database.rows("SELECT * FROM request WHERE code IS NULL ORDER BY id")
        )

    def find(self, number: int) -> Request | None:
        """One request."""
        row = self._database.row("SELECT * FROM request WHERE id = ?", number)
        return None if row is None else _request(row)

    def withdraw(self, number: int, why: str, now: datetime) -> None:
        """The one who asked does not wait any longer; an answer that came in the same moment stands."""
        self._database.run(
            "UPDATE request SET code = 7, answer = ?, answered_at = ?, changed_at = ? WHERE id = ? AND code IS NULL",
            why, to_text(now), to_text(now), number,
        )  # fmt: skip

    def answer(self, number: int, code: int, answer: str, now: datetime) -> None:
        """Write the answer down: 0 for done, else the exit code that the reason stands for."""
        self._database.change_one(
            "UPDATE request SET code = ?, answer = ?, answered_at = ?, changed_at = ? WHERE id = ? AND code IS NULL",
            code, answer, to_text(now), to_text(now), number,
        )  # fmt: skip


def _request(row: sqlite3.Row) -> Request:
    return Request(
        id=row["id"],
        model=row["model"],
        verb=row["verb"],
        arguments=json.loads(row["argument"]),
        by=row["by"],
        why=row["why"],
        asked_at=to_moment(row["asked_at"]),
        answered_at=to_moment_or_none(row["answered_at"]),
        code=row["code"],
        answer=row["answer"] or "",
    )
