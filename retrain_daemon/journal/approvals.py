"""The table `approval`: verdicts that a person was asked about, and the answers. What follows is `core.approval`'s."""

from __future__ import annotations

from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from retrain_daemon.core.approval import Answer, Asked
from retrain_daemon.journal.database import Database, to_moment, to_moment_or_none, to_text

if TYPE_CHECKING:
    from retrain_daemon.core.attempts import Attempt


class Approvals:
    """Statements on `approval`. There is one row for each round that a person was asked in."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def evidence_of(self, attempt: str) -> str:
        """The sha256 of an attempt's evidence as it is journaled now; "" where there is none."""
        row = self._database.row("SELECT evidence FROM attempt WHERE id = ?", attempt)
        text = row["evidence"] if row is not None else None
        return sha256(text.encode()).hexdigest() if text else ""

    def ask(self, attempt: Attempt, expires_at: datetime, now: datetime) -> None:
        """A person is asked about the evidence of the attempt's present round."""
        self._database.run(
            "INSERT INTO approval (attempt, round, model, evidence, asked_at, expires_at, changed_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            attempt.id, attempt.round, attempt.model, self.evidence_of(attempt.id), to_text(now), to_text(expires_at),
            to_text(now),
        )  # fmt: skip

    def answer(self, attempt: Attempt, answer: Answer, by: str, why: str, now: datetime) -> None:
        """The first answer of a round stands."""
        self._database.change_one(
            "UPDATE approval SET answer = ?, by = ?, why = ?, answered_at = ?, changed_at = ?"
            " WHERE attempt = ? AND round = ? AND answer IS NULL",
            answer.value, by, why, to_text(now), to_text(now), attempt.id, attempt.round,
        )  # fmt: skip


def asked_in(database: Database, attempt: str, number: int) -> Asked | None:
    """What was asked in one round of an attempt."""
    row = database.row("SELECT * FROM approval WHERE attempt = ? AND round = ?", attempt, number)
    if row is None:
        return None
    return Asked(
        evidence=row["evidence"],
        asked_at=to_moment(row["asked_at"]),
        expires_at=to_moment(row["expires_at"]),
        answer=Answer(row["answer"]) if row["answer"] else None,
        by=row["by"],
        why=row["why"],
        answered_at=to_moment_or_none(row["answered_at"]),
    )
