"""The journal as one thing: its tables, opened together, and the history its triggers write."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from retrain_daemon.journal.approvals import Approvals
from retrain_daemon.journal.attempts import Attempts
from retrain_daemon.journal.database import Database, open_database, to_moment
from retrain_daemon.journal.decisions import Decisions
from retrain_daemon.journal.drift import DriftTable
from retrain_daemon.journal.drops import Drops
from retrain_daemon.journal.models import Learned, Models
from retrain_daemon.journal.policy_files import PolicyFileTable
from retrain_daemon.journal.reports import Reports
from retrain_daemon.journal.requests import Requests
from retrain_daemon.journal.rollbacks import Rollbacks
from retrain_daemon.journal.row_counts import RowCounts, count_rows
from retrain_daemon.journal.scores import Scores
from retrain_daemon.journal.tenures import How, Tenures
from retrain_daemon.journal.upstream import UpstreamTable
from retrain_daemon.journal.watches import Watches

JOURNAL_FILE = "journal.db"


@dataclass(frozen=True, kw_only=True)
class HistoryLine:
    """One thing that happened. `subject` is a drop's path, an attempt, a rollback or the model itself."""

    id: int
    at: datetime
    model: str
    subject: str
    event: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Barred:
    """What may not judge versions: units in the key files `learned`, rows first seen up to `unknown_until`, and units
    in the key files `early`, which were seen by then.
    """

    learned: tuple[str, ...]
    unknown_until: datetime | None
    early: tuple[str, ...]


class Journal:
    """Everything the daemon knows, decided and did."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.models = Models(database)
        self.drops = Drops(database)
        self.drift = DriftTable(database)
        self.upstream = UpstreamTable(database)
        self.attempts = Attempts(database)
        self.approvals = Approvals(database)
        self.rollbacks = Rollbacks(database)
        self.requests = Requests(database)
        self.decisions = Decisions(database)
        self.scores = Scores(database)
        self.tenures = Tenures(database)
        self.watches = Watches(database)
        self.reports = Reports(database)
        self.policy_files = PolicyFileTable(database)

    @classmethod
    def open(cls, state: Path, *, read_only: bool = False, thorough: bool = False) -> Journal:
        """The journal of a state folder, every page of it read if `thorough`; raises StateUnusable."""
        return cls(open_database(state / JOURNAL_FILE, read_only=read_only, thorough=thorough))

    def transaction(self) -> AbstractContextManager[None]:
        """All changes within are committed together or not at all."""
        return self._database.transaction()

    def see_champion(self, model: str, version: int | None, how: How, now: datetime) -> None:
        """Remember who is champion; where it is another one than before, its tenure begins."""
        with self.transaction():
            self.models.see_champion(model, version, now)
            if version is not None:
                self.tenures.see(model, version, how, now)

    def count_rows(
        self, model: str, learned: Learned | None, last_attempt: str | None, now: datetime | None = None,
        delay: timedelta | None = None,
    ) -> RowCounts:  # fmt: skip
        """Sums of rows over the drops in use, given what the champion learned and the last ended attempt."""
        return count_rows(self._database, model, learned, last_attempt, now, delay)

    def barred(self, model: str, versions: Sequence[int], unit: str) -> Barred:
        """What may not judge these versions, as they or an ancestor learned it or may have."""
        learned = [self.models.learned(model, version, unit) for version in versions]
        unknown_until = max((each.unknown_until for each in learned if each.unknown_until), default=None)
        unlike = self.drops.incomparable_until(model, unknown_until) if unknown_until else None
        return Barred(
            learned=tuple(dict.fromkeys(file for each in learned for file in each.files)),
            unknown_until=max(unknown_until, unlike) if unknown_until and unlike else unknown_until,
            early=self.drops.units_until(model, unknown_until) if unknown_until else (),
        )

    def integrity(self) -> str:
        """What is wrong with the file, every page and index looked at; "" for a sound one."""
        said = self._database.rows("PRAGMA integrity_check(3)")
        return "" if [row[0] for row in said] == ["ok"] else "; ".join(str(row[0]) for row in said)

    def schema(self) -> int:
        """The number of its schema."""
        row = self._database.row("PRAGMA user_version")
        return int(row[0]) if row else 0

    def identity(self) -> str:
        """What tells this journal from every other."""
        row = self._database.row("SELECT id FROM identity")
        assert row is not None
        return str(row["id"])

    def changed_elsewhere(self) -> int:
        """A number that grows when another process wrote to the journal."""
        return self._database.version()

    def history(self, model: str | None, limit: int) -> tuple[HistoryLine, ...]:
        """The newest `limit` lines of one model or of all, oldest first."""
        rows = self._database.rows(
            "SELECT * FROM history WHERE model = ?1 OR ?1 IS NULL ORDER BY id DESC LIMIT ?2", model, limit
        )
        return tuple(_line(row) for row in reversed(rows))

    def history_of(self, subject: str) -> tuple[HistoryLine, ...]:
        """Every line about one attempt, rollback or drop."""
        rows = self._database.rows("SELECT * FROM history WHERE subject = ? ORDER BY id", subject)
        return tuple(_line(row) for row in rows)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _line(row: sqlite3.Row) -> HistoryLine:
    return HistoryLine(
        id=row["id"],
        at=to_moment(row["at"]),
        model=row["model"],
        subject=row["subject"],
        event=row["event"],
        detail=row["detail"],
    )
