"""The table `decision`: what was decided for each model, written when it changed. Attempts are in `attempts.py`."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from retrain_daemon.core.decide import Decision, RuleReport
from retrain_daemon.journal.database import Database, to_moment, to_text

_RULES: TypeAdapter[tuple[RuleReport, ...]] = TypeAdapter(tuple[RuleReport, ...])


@dataclass(frozen=True, kw_only=True)
class DecisionRow:
    """A decision as it was journaled."""

    id: int
    model: str
    at: datetime
    action: str
    code: str
    sentence: str
    rules: tuple[RuleReport, ...]
    offered: str = ""


class Decisions:
    """Statements on `decision`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, model: str, decision: Decision, now: datetime) -> int:
        """Journal a decision when it differs in kind from the one before; returns the number of the standing one."""
        last = self._database.row("SELECT * FROM decision WHERE model = ? ORDER BY id DESC LIMIT 1", model)
        same = last is not None and (last["action"], last["code"]) == (decision.action.value, decision.code)
        same = same and last is not None and last["offered"] == decision.offered
        if last is not None and same and decision.action.value == "wait":
            return int(last["id"])
        cursor = self._database.run(
            "INSERT INTO decision (model, at, action, code, sentence, details, offered) VALUES (?, ?, ?, ?, ?, ?, ?)",
            model, to_text(now), decision.action.value, decision.code, decision.sentence,
            _RULES.dump_json(decision.rules).decode(), decision.offered,
        )  # fmt: skip
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def reword(self, model: str, decision: Decision) -> None:
        """Put the numbers of today into the standing reason to wait, if it is of the same kind."""
        self._database.run(
            "UPDATE decision SET sentence = ?1, details = ?2 WHERE id = (SELECT max(id) FROM decision WHERE model = ?3)"
            " AND action = 'wait' AND action = ?4 AND code = ?5 AND sentence <> ?1",
            decision.sentence, _RULES.dump_json(decision.rules).decode(), model, decision.action.value, decision.code,
        )  # fmt: skip

    def of_attempt(self, name: str) -> DecisionRow | None:
        """The decision that began an attempt."""
        row = self._database.row(
            "SELECT decision.* FROM decision JOIN attempt ON attempt.decision = decision.id WHERE attempt.id = ?", name
        )
        return None if row is None else _decision(row)

    def standing(self, model: str) -> DecisionRow | None:
        """The newest decision of a model."""
        row = self._database.row("SELECT * FROM decision WHERE model = ? ORDER BY id DESC LIMIT 1", model)
        return None if row is None else _decision(row)


def _decision(row: sqlite3.Row) -> DecisionRow:
    return DecisionRow(
        id=row["id"],
        model=row["model"],
        at=to_moment(row["at"]),
        action=row["action"],
        code=row["code"],
        sentence=row["sentence"],
        rules=_RULES.validate_json(row["details"]),
        offered=row["offered"],
    )
