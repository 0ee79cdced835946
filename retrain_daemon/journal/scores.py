"""The table `score`: what each version scored on each drop, on rows that it had not learned from."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from retrain_daemon.journal.database import Database, to_text
from retrain_daemon.journal.drop_rows import DropRow, drop_of
from retrain_daemon.journal.models import Lineage


@dataclass(frozen=True, kw_only=True)
class ScoreRow:
    """One metric of one version on one drop over `rows` rows; without a `value` the `problem` says why."""

    drop: int
    metric: str
    rows: int
    value: float | None
    problem: str = ""


class Scores:
    """Statements on `score`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, model: str, version: int, scores: Iterable[ScoreRow], now: datetime) -> None:
        """Write scores; one that is there stays as it is. A value that is no number is not known."""
        for score in scores:
            value = score.value if score.value is not None and math.isfinite(score.value) else None
            self._database.run(
                "INSERT OR IGNORE INTO score (model, version, drop_id, metric, value, rows, problem, at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                model, version, score.drop, score.metric, value, score.rows, score.problem, to_text(now),
            )  # fmt: skip

    def of_version(self, model: str, version: int) -> Mapping[tuple[int, str], ScoreRow]:
        """Every score of a version, by drop and metric."""
        rows = self._database.rows("SELECT * FROM score WHERE model = ? AND version = ?", model, version)
        return {(row["drop_id"], row["metric"]): _score(row) for row in rows}

    def newest(self, model: str, version: int) -> tuple[ScoreRow, ...]:
        """Each metric of a version on the newest drop in use that it has a value on."""
        rows = self._database.rows(
            "SELECT score.* FROM score JOIN drops ON drops.id = score.drop_id WHERE score.model = ?1"
            " AND score.version = ?2 AND value IS NOT NULL AND drops.state = 'recorded' AND drop_id = (SELECT"
            " max(drop_id) FROM score JOIN drops ON drops.id = drop_id WHERE score.model = ?1 AND version = ?2"
            " AND value IS NOT NULL AND drops.state = 'recorded') ORDER BY metric", model, version,
        )  # fmt: skip
        return tuple(_score(row) for row in rows)

    def drops_since(self, model: str, lineage: Lineage) -> tuple[DropRow, ...]:
        """Drops in use that came since a version was cut, oldest first: which neither the attempt that made it had nor
        one that looked at it again; of a version that no attempt made, those that arrived after it was made. One that
        only repeats rows of other drops tells nothing that their scores do not.
        """
        rows = self._database.rows(
            "SELECT * FROM drops WHERE model = ?1 AND state = 'recorded' AND missing = 0 AND usable > 0"
            " AND own_rows > 0 AND id NOT IN (SELECT drop_id FROM attempt_drop WHERE attempt = ?2"
            " OR attempt IN (SELECT attempt.id FROM attempt WHERE again_of = ?2)) ORDER BY id",
            model, lineage.attempt,
        )  # fmt: skip
        drops = tuple(drop_of(row) for row in rows)
        if lineage.attempt is not None:
            return drops
        made = [moment for moment in (lineage.created_at, lineage.unknown_until) if moment is not None]
        if not made:
            return ()
        return tuple(
            drop for drop in drops if drop.arrived_at > max(made) and drop.fingerprint not in lineage.fingerprints
        )


def _score(row: sqlite3.Row) -> ScoreRow:
    return ScoreRow(
        drop=row["drop_id"], metric=row["metric"], rows=row["rows"], value=row["value"], problem=row["problem"]
    )
