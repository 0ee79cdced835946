"""Sums of rows over the drops in use, as facts need them."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta

from retrain_daemon.journal.database import Database, to_moment
from retrain_daemon.journal.drop_rows import SKIPPED, drop_of
from retrain_daemon.journal.drops import IS_JUDGED
from retrain_daemon.journal.models import Learned


@dataclass(frozen=True, kw_only=True)
class RowCounts:
    """`new`: rows no judged attempt had; `since_last`: of those, rows the last ended attempt did not have. At most
    `unlearned` rows can train that the champion has not learned, at most `judging` can judge it, of which at most
    `judging_since` came first with files that the last attempt did not have. Rows of `skipped` files, which are gone
    and left out, are in none of these; `skipped_since`: the last ended attempt had one of them. Nor are those of
    `young` files, whose labels are not final; the next of them is at `young_until`.
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
    young: int
    young_until: datetime | None


def count_rows(
    database: Database, model: str, learned: Learned | None, last_attempt: str | None, now: datetime | None = None,
    delay: timedelta | None = None,
) -> RowCounts:  # fmt: skip
    """Given what the champion learned (None: not known) and the last ended attempt, return the sums. Rows of a time
    after `now` were dated by a clock that was wrong: whether they came after a version was made is not known. With a
    `delay`, files of which fewer than nine tenths of the rows happened so long before `now` do not count yet.
    """
    judged = {row["id"] for row in database.rows(f"SELECT id FROM drops WHERE model = ? AND {IS_JUDGED}", model)}
    last = _drops_of(database, (last_attempt,) if last_attempt else ())
    learned_drops = _drops_of(database, learned.attempts if learned else ())
    totals = {"new": 0, "since_last": 0, "unlearned": 0, "judging": 0, "judging_since": 0}
    waiting: list[datetime] = []
    recorded = database.rows("SELECT * FROM drops WHERE model = ? AND state = 'recorded'", model)
    there = [row for row in recorded if row["missing"] != SKIPPED]
    young = _young(there, delay, now)
    rows = [row for row in there if row["id"] not in young]
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
        totals["judging_since"] += min(row["judging"], row["new"]) if after and row["id"] not in last else 0
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
        young=len(young),
        young_until=min(young.values(), default=None),
    )


def _young(rows: list[sqlite3.Row], delay: timedelta | None, now: datetime | None) -> dict[int, datetime]:
    """By drop, from when on the labels of those count that do not yet."""
    if delay is None or now is None:
        return {}
    final = {row["id"]: drop_of(row).final_from(delay) for row in rows}
    return {drop: moment for drop, moment in final.items() if moment > now}


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
