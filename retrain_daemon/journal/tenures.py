"""The tables `tenure` and `comparison`: how long each version was champion, and what was spent meanwhile of the error
budget. When a tenure begins is said by whoever notes a champion; what may be spent, by `core.budget`.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from retrain_daemon.journal.database import Database, to_moment, to_moment_or_none, to_text


class How(StrEnum):
    """How a version became champion."""

    FOUND = "found"  #: it was champion when the model was first seen, or the first to be adopted or judged by itself
    BETTER = "better"  #: promoted, as improvement was shown
    NOT_WORSE = "not_worse"  #: promoted, and no improvement was shown
    MOVED = "moved"  #: a person moved the alias
    ROLLED_BACK = "rolled_back"  #: champion again after a rollback


@dataclass(frozen=True, kw_only=True)
class Tenure:
    """One version's time as champion. No challenger may be worse than version `anchor` either."""

    id: int
    model: str
    version: int
    how: How
    anchor: int
    opened_at: datetime
    closed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The `number`-th comparison of a tenure that claimed improvement; it could err with the chance `alpha`."""

    number: int
    attempt: str
    round: int
    alpha: float
    at: datetime


class Tenures:
    """Statements on `tenure` and `comparison`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self, model: str) -> Tenure | None:
        """The tenure of the present champion, as far as one was noted."""
        row = self._database.row("SELECT * FROM tenure WHERE model = ? AND closed_at IS NULL", model)
        return None if row is None else _tenure(row)

    def of_model(self, model: str) -> tuple[Tenure, ...]:
        """All tenures of a model, oldest first."""
        return tuple(map(_tenure, self._database.rows("SELECT * FROM tenure WHERE model = ? ORDER BY id", model)))

    def see(self, model: str, version: int, how: How, now: datetime) -> None:
        """This version is champion: another one's tenure ends with it, its own goes on."""
        before = self.open(model)
        if before is None or before.version != version:
            self.begin(model, version, how, now)

    def begin(self, model: str, version: int, how: How, now: datetime) -> None:
        """A tenure begins, also of a version that has the number of the one before."""
        with self._database.transaction():
            anchor = self._anchor(model, version, how)
            self._database.run(
                "UPDATE tenure SET closed_at = ?, changed_at = ? WHERE model = ? AND closed_at IS NULL",
                to_text(now), to_text(now), model,
            )  # fmt: skip
            self._database.run(
                "INSERT INTO tenure (model, version, how, anchor, opened_at, changed_at) VALUES (?, ?, ?, ?, ?, ?)",
                model, version, how.value, anchor, to_text(now), to_text(now),
            )  # fmt: skip

    def _anchor(self, model: str, version: int, how: How) -> int:
        """A champion that was shown to be better, or that a person chose, is measured by itself."""
        row = None
        if how is How.NOT_WORSE:
            row = self._database.row("SELECT anchor FROM tenure WHERE model = ? AND closed_at IS NULL", model)
        elif how is How.ROLLED_BACK:
            row = self._database.row(
                "SELECT anchor FROM tenure WHERE model = ? AND version = ? ORDER BY id DESC LIMIT 1", model, version
            )
        return version if row is None else int(row["anchor"])

    def made(self, model: str) -> tuple[Comparison, ...]:
        """The comparisons of the open tenure, in their order."""
        tenure = self.open(model)
        return () if tenure is None else self.comparisons(tenure)

    def comparisons(self, tenure: Tenure) -> tuple[Comparison, ...]:
        """The comparisons of one tenure, in their order."""
        rows = self._database.rows("SELECT * FROM comparison WHERE tenure = ? ORDER BY number", tenure.id)
        return tuple(map(_comparison, rows))

    def of_attempt(self, attempt: str) -> tuple[Comparison, ...]:
        """The comparisons that an attempt was, in their order; more than one where it was judged again."""
        return tuple(map(_comparison, self._database.rows("SELECT * FROM comparison WHERE attempt = ? ORDER BY round",
                                                          attempt)))  # fmt: skip

    def newest_of(self, model: str, version: int) -> Tenure | None:
        """The newest tenure of a version, whether or not it has ended."""
        row = self._database.row(
            "SELECT * FROM tenure WHERE model = ? AND version = ? ORDER BY id DESC LIMIT 1", model, version
        )
        return None if row is None else _tenure(row)

    def spend(self, tenure: Tenure, number: int, attempt: str, round_: int, alpha: float, now: datetime) -> None:
        """Count a comparison of a tenure; part of the caller's transaction."""
        self._database.run(
            "INSERT INTO comparison (tenure, number, attempt, round, alpha, at) VALUES (?, ?, ?, ?, ?, ?)",
            tenure.id, number, attempt, round_, alpha, to_text(now),
        )  # fmt: skip

    def opened_after(self, model: str, attempt: str) -> bool:
        """Whether a tenure began after this attempt had come to where it is; by the order in which it was written down,
        whatever the clock said.
        """
        row = self._database.row(
            "SELECT 1 FROM history WHERE model = ?1 AND event = 'tenure.opened' AND id >"
            " (SELECT max(id) FROM history WHERE subject = ?2 AND event LIKE 'attempt.%') LIMIT 1",
            model, attempt,
        )  # fmt: skip
        return row is not None


def _tenure(row: sqlite3.Row) -> Tenure:
    return Tenure(
        id=row["id"],
        model=row["model"],
        version=row["version"],
        how=How(row["how"]),
        anchor=row["anchor"],
        opened_at=to_moment(row["opened_at"]),
        closed_at=to_moment_or_none(row["closed_at"]),
    )


def _comparison(row: sqlite3.Row) -> Comparison:
    return Comparison(
        number=row["number"],
        attempt=row["attempt"],
        round=row["round"],
        alpha=row["alpha"],
        at=to_moment(row["at"]),
    )
