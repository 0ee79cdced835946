"""Sums of rows over the drops in use, as facts need them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from retrain_daemon.journal.database import Database, to_moment
from retrain_daemon.journal.drop_rows import SKIPPED
from retrain_daemon.journal.drops import IS_JUDGED
from retrain_daemon.journal.models import Learned


@dataclass(frozen=True, kw_only=True)
class RowCounts:
    """`new`: rows no judged attempt had; `since_last`: of those, rows the last ended attempt did not have. At most
    `unlearned` rows can train that the champion has not learned, at most `judging` can judge it, of which at most
    `judging_since` are in files that the last attempt did not have. Rows of `skipped` files, which are gone and left
    out, are in none of these; `skipped_since`: the last ended attempt had one of them.
    """

    new: int
    since_last: int
    unlearned: int
    judging: int
    judging_since: int
    retracted_since: bool
    waiting_since: datetime | None
    recorded: int
    uninspected: int
    quarantined: int
    missing: tuple[str, ...]
    skipped: tuple[str, ...]
    skipped_since: bool


def count_rows(
    database: Database, model: str, learned: Learned | None, last_attempt: str | None, now: datetime | None = None
) -> RowCounts:
    """Given what the champion learned (None: not known) and the last ended attempt, return the sums. Rows of a time
    after `now` were dated by a clock that was wrong: whether they came after a version was made is not known.
    """
    judged = {row["id"] for row in database.rows(f"SELECT id FROM drops WHERE model = ? AND {IS_JUDGED}", model)}
    last = _drops_of(database, (last_attempt,) if last_attempt else ())
    learned_drops = _drops_of(database, learned.attempts if learned else ())
    totals = {"new": 0, "since_last": 0, "unlearned": 0, "judging": 0, "judging_since": 0}
    waiting: list[datetime] = []
    recorded = database.rows("SELECT * FROM drops WHERE model = ? AND state = 'recorded'", model)
    rows = [row for row in recorded if row["missing"] != SKIPPED]
    skipped = [row for row in recorded if row["missing"] == SKIPPED]
    for row in rows:
        arrived = to_moment(row["arrived_at"])
        unused = row["id"] not in judged
        totals["new"] += row["new"] if unused else 0
        totals["since_last"] += row["new"] if unused and row["id"] not in last else 0
        waiting += [arrived] if unused and row["new"] else []
        if learned is None or row["fingerprint"] in learned.fingerprints:
            continue
        after = learned.unknown_until is None or learned.unknown_until < arrived <= (now or arrived)
        totals["judging"] += row["judging"] if after else 0
        totals["judging_since"] += row["judging"] if after and row["id"] not in last else 0
        totals["unlearned"] += row["training"] if after and row["id"] not in learned_drops else 0
    return RowCounts(
        **totals,
        retracted_since=_any_retracted(database, last),
        waiting_since=min(waiting, default=None),
        recorded=sum(1 for row in rows if row["usable"]),
        uninspected=_number(database, "state = 'found'", model),
        quarantined=_number(database, "state = 'quarantined' AND current = 1", model),
        missing=tuple(row["path"] for row in rows if row["missing"]),
        skipped=tuple(row["path"] for row in skipped),
        skipped_since=any(row["id"] in last for row in skipped),
    )


def _drops_of(database: Database, attempts: tuple[str, ...]) -> set[int]:
    found: set[int] = set()
    for attempt in attempts:
        rows = database.rows("SELECT drop_id FROM attempt_drop WHERE attempt = ?", attempt)
        found |= {row["drop_id"] for row in rows}
    return found


def _any_retracted(database: Database, drops: set[int]) -> bool:
    rows = database.rows("SELECT id FROM drops WHERE state = 'retracted'")
    return any(row["id"] in drops for row in rows)


def _number(database: Database, condition: str, model: str) -> int:
    row = database.row(f"SELECT count(*) FROM drops WHERE model = ? AND {condition}", model)
    return int(row[0]) if row else 0
