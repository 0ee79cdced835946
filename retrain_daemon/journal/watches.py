"""The tables `watch` and `watch_look`: promotions after which the version before goes on being compared."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from retrain_daemon.core.evidence import MetricEvidence
from retrain_daemon.core.watch import Look
from retrain_daemon.journal.database import Database, to_moment, to_moment_or_none, to_text

_EVIDENCE: TypeAdapter[tuple[MetricEvidence, ...]] = TypeAdapter(tuple[MetricEvidence, ...])


@dataclass(frozen=True, kw_only=True)
class WatchRow:
    """The watch over the promotion by one attempt, of `version` over `previous`. When last counted, `rows` could be
    compared, in the drops `counted`, by the settings and records `counted_as`.
    """

    attempt: str
    model: str
    version: int
    previous: int
    begun_at: datetime
    rows: int
    counted: frozenset[int]
    counted_as: str
    ended_at: datetime | None
    outcome: str


@dataclass(frozen=True, kw_only=True)
class LookRow:
    """A look that was taken: what was measured and what it said."""

    look: Look
    evidence: tuple[MetricEvidence, ...]
    worse: bool
    sentence: str
    at: datetime


class Watches:
    """Statements on `watch` and `watch_look`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, attempt: str, model: str, version: int, previous: int, now: datetime) -> None:
        """A promotion is watched from now on; one by the same attempt in a model since made anew is forgotten."""
        self._database.run("DELETE FROM watch_look WHERE attempt = ?", attempt)
        self._database.run("DELETE FROM watch WHERE attempt = ?", attempt)
        self._database.run(
            "INSERT INTO watch (attempt, model, version, previous, begun_at, changed_at) VALUES (?, ?, ?, ?, ?, ?)",
            attempt, model, version, previous, to_text(now), to_text(now),
        )  # fmt: skip

    def open(self, model: str) -> WatchRow | None:
        """The watch that goes on, if any."""
        row = self._database.row("SELECT * FROM watch WHERE model = ? AND ended_at IS NULL", model)
        return None if row is None else _watch(row)

    def of_attempt(self, attempt: str) -> WatchRow | None:
        """The watch over an attempt's promotion, if there is one."""
        row = self._database.row("SELECT * FROM watch WHERE attempt = ?", attempt)
        return None if row is None else _watch(row)

    def looks(self, attempt: str) -> tuple[LookRow, ...]:
        """The looks that were taken, in order."""
        rows = self._database.rows("SELECT * FROM watch_look WHERE attempt = ? ORDER BY look", attempt)
        return tuple(_look(row) for row in rows)

    def count(self, attempt: str, rows: int, drops: Collection[int], counted_as: str, now: datetime) -> None:
        """So many rows of these drops can be compared."""
        self._database.change_one(
            "UPDATE watch SET rows = ?, counted = ?, counted_as = ?, changed_at = ? WHERE attempt = ?"
            " AND ended_at IS NULL",
            rows, json.dumps(sorted(drops)), counted_as, to_text(now), attempt,
        )  # fmt: skip

    def take_look(
        self, attempt: str, look: Look, evidence: Sequence[MetricEvidence], worse: bool, sentence: str, now: datetime
    ) -> None:
        """A look was taken."""
        self._database.run(
            "INSERT INTO watch_look (attempt, look, rows, alpha, evidence, worse, sentence, at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            attempt, look.number, look.rows, look.alpha, _EVIDENCE.dump_json(tuple(evidence)).decode(), int(worse),
            sentence, to_text(now),
        )  # fmt: skip

    def end(self, attempt: str, outcome: str, now: datetime) -> None:
        """The watch has ended."""
        self._database.change_one(
            "UPDATE watch SET ended_at = ?, outcome = ?, changed_at = ? WHERE attempt = ? AND ended_at IS NULL",
            to_text(now), outcome, to_text(now), attempt,
        )  # fmt: skip


def _watch(row: sqlite3.Row) -> WatchRow:
    return WatchRow(
        attempt=row["attempt"],
        model=row["model"],
        version=row["version"],
        previous=row["previous"],
        begun_at=to_moment(row["begun_at"]),
        rows=row["rows"],
        counted=frozenset(json.loads(row["counted"])),
        counted_as=row["counted_as"],
        ended_at=to_moment_or_none(row["ended_at"]),
        outcome=row["outcome"],
    )


def _look(row: sqlite3.Row) -> LookRow:
    return LookRow(
        look=Look(number=row["look"], rows=row["rows"], alpha=row["alpha"]),
        evidence=_EVIDENCE.validate_json(row["evidence"]),
        worse=bool(row["worse"]),
        sentence=row["sentence"],
        at=to_moment(row["at"]),
    )
