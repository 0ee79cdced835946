"""Which attempts a report is still to be written about, and what it tells beside them: the column `attempt.reported`,
and earlier promotions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from retrain_daemon.core.attempts import Attempt
from retrain_daemon.core.evidence import Evidence
from retrain_daemon.journal.database import Database, to_moment, to_text

_EVIDENCE: TypeAdapter[Evidence] = TypeAdapter(Evidence)
_TOLD = "round || ' ' || state"
_NOT_WRITTEN = "not written: "


@dataclass(frozen=True, kw_only=True)
class Promoted:
    """A promotion, with what was measured then."""

    attempt: str
    version: int
    ended_at: datetime
    evidence: Evidence


@dataclass(frozen=True)
class Reported:
    """What became of an attempt's last report: the run that holds it, or why there is none."""

    run_id: str = ""
    problem: str = ""


class Reports:
    """Statements about reports."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def due(self) -> tuple[str, ...]:
        """Attempts that have evidence and no report of the state they are in, oldest first: they have ended, or a
        person is asked about them.
        """
        rows = self._database.rows(
            f"SELECT id FROM attempt WHERE evidence IS NOT NULL AND substr(reported, 1, length({_TOLD})) <> {_TOLD}"
            " AND (ended_at IS NOT NULL OR state = 'judged' AND EXISTS (SELECT 1 FROM approval WHERE attempt ="
            " attempt.id AND approval.round = attempt.round AND answer IS NULL)) ORDER BY number"
        )
        return tuple(row["id"] for row in rows)

    def note_written(self, attempt: Attempt, run_id: str, now: datetime) -> None:
        """The report about this round and state is in MLflow, in this run."""
        self._note(attempt, run_id, now)

    def note_given_up(self, attempt: Attempt, reason: str, now: datetime) -> None:
        """There will be none about this round and state."""
        self._note(attempt, f"{_NOT_WRITTEN}{reason}", now)

    def _note(self, attempt: Attempt, what: str, now: datetime) -> None:
        self._database.change_one(
            "UPDATE attempt SET reported = ?, changed_at = ? WHERE id = ?",
            f"{attempt.round} {attempt.state.value} {what}", to_text(now), attempt.id,
        )  # fmt: skip

    def promoted_before(self, attempt: Attempt, limit: int = 20) -> tuple[Promoted, ...]:
        """The newest promotions of the model before an attempt, oldest first."""
        rows = self._database.rows(
            "SELECT id, version, ended_at, evidence FROM attempt WHERE model = ? AND number < ? AND state = 'promoted'"
            " AND version IS NOT NULL AND evidence IS NOT NULL ORDER BY number DESC LIMIT ?",
            attempt.model, attempt.number, limit,
        )  # fmt: skip
        return tuple(
            Promoted(attempt=row["id"], version=row["version"], ended_at=to_moment(row["ended_at"]),
                     evidence=_EVIDENCE.validate_json(row["evidence"]))
            for row in reversed(rows)
        )  # fmt: skip


def reported(attempt: Attempt) -> Reported | None:
    """What became of the last report about an attempt; None before the first."""
    parts = attempt.reported.split(" ", 2)
    if len(parts) < 3:
        return None
    if parts[2].startswith(_NOT_WRITTEN):
        return Reported(problem=parts[2].removeprefix(_NOT_WRITTEN))
    return Reported(run_id=parts[2])
