"""The table `drops`: every revision of every file seen, what became of it, and the counts of rows that follow."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from datetime import datetime

from retrain_daemon.core.attempts import JUDGED_ENDS
from retrain_daemon.journal.database import Database, to_moment, to_text
from retrain_daemon.journal.models import Learned

_JUDGED = ", ".join(f"'{state.value}'" for state in sorted(JUDGED_ENDS))
#: Drops that a judged attempt had, whatever its verdict.
_HAD = (
    "SELECT drop_id FROM attempt_drop JOIN attempt ON attempt.id = attempt_drop.attempt"
    f" WHERE attempt.model = :model AND attempt.state IN ({_JUDGED})"
)


@dataclass(frozen=True, kw_only=True)
class DropRow:
    """One revision of one file; `stamp` is (size, mtime_ns, inode)."""

    id: int
    model: str
    path: str
    stamp: tuple[int, int, int]
    arrived_at: datetime
    state: str
    current: bool
    missing: bool
    fingerprint: str
    rows: int
    usable: int
    new: int
    rows_file: str
    reason: str
    hint: str
    changed_at: datetime


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """What an inspection found in one usable file."""

    fingerprint: str
    rows: int
    usable: int
    new: int
    new_training: int
    new_judging: int
    rows_file: str


@dataclass(frozen=True, kw_only=True)
class RowCounts:
    """Sums over the drops in use, as facts need them."""

    new: int
    since_last: int
    unlearned: int
    judging: int
    waiting_since: datetime | None
    recorded: int
    uninspected: int
    quarantined: int
    missing: tuple[str, ...]


class Drops:
    """Statements on `drops`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def known(self, model: str) -> dict[str, tuple[int, int, int]]:
        """The stamp of the newest revision of each path."""
        rows = self._database.rows(
            "SELECT path, size, mtime_ns, inode FROM drops WHERE model = ? AND current = 1", model
        )
        return {row["path"]: (row["size"], row["mtime_ns"], row["inode"]) for row in rows}

    def add(
        self, model: str, path: str, stamp: tuple[int, int, int], now: datetime, *,
        arrived_at: datetime | None = None, reason: str = "", hint: str = "",
    ) -> None:  # fmt: skip
        """A complete file was seen: it waits for inspection, or, with a `reason`, is quarantined at sight.

        `arrived_at` is when it came to lie there, which may be before a daemon was there to see it.

        An older revision of the path stays in use until the new one is inspected.
        """
        waiting = self._database.row(
            "SELECT id FROM drops WHERE model = ? AND path = ? AND current = 1 AND state = 'found'", model, path
        )
        state = "quarantined" if reason else "found"
        if waiting is not None:
            self._database.run(
                "UPDATE drops SET size = ?, mtime_ns = ?, inode = ?, state = ?, reason = ?, hint = ?, changed_at = ?"
                " WHERE id = ?", *stamp, state, reason, hint, to_text(now), waiting["id"],
            )  # fmt: skip
            return
        self._database.run("UPDATE drops SET current = 0 WHERE model = ? AND path = ? AND current = 1", model, path)
        self._database.run(
            "INSERT INTO drops (model, path, size, mtime_ns, inode, arrived_at, state, reason, hint, changed_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            model, path, *stamp, to_text(arrived_at or now), state, reason, hint, to_text(now),
        )  # fmt: skip

    def to_inspect(self, model: str) -> tuple[DropRow, ...]:
        """Drops that wait for inspection, in order of arrival."""
        return self._select("model = ? AND state = 'found' ORDER BY id", model)

    def in_use(self, model: str) -> tuple[DropRow, ...]:
        """Drops whose rows count, in order of arrival."""
        return self._select("model = ? AND state = 'recorded' ORDER BY id", model)

    def listing(self, model: str | None) -> tuple[DropRow, ...]:
        """Every revision, of one model or of all, oldest first."""
        return self._select("model = ?1 OR ?1 IS NULL ORDER BY model, id", model)

    def known_rows(self, model: str) -> tuple[str, ...]:
        """Row-key files of rows that are not new any more: of drops in use, and of those a judged attempt had."""
        rows = self._database.run(
            f"SELECT DISTINCT rows_file FROM drops WHERE model = :model AND rows_file <> ''"
            f" AND (state = 'recorded' OR id IN ({_HAD}))".replace(":model", "?1"), model,
        )  # fmt: skip
        return tuple(row["rows_file"] for row in rows.fetchall())

    def with_fingerprint(self, model: str, fingerprint: str, state: str) -> DropRow | None:
        """A drop with these bytes in this state."""
        found = self._select("model = ? AND fingerprint = ? AND state = ? ORDER BY id", model, fingerprint, state)
        return found[0] if found else None

    def record(self, drop: DropRow, found: Inspected, now: datetime) -> None:
        """The drop is usable and counts from now on; an older revision of its path is superseded."""
        self._supersede(drop, now)
        self._database.change_one(
            "UPDATE drops SET state = 'recorded', fingerprint = ?, rows = ?, usable = ?, new = ?, new_training = ?,"
            " new_judging = ?, rows_file = ?, reason = '', hint = '', changed_at = ? WHERE id = ?",
            found.fingerprint, found.rows, found.usable, found.new, found.new_training, found.new_judging,
            found.rows_file, to_text(now), drop.id,
        )  # fmt: skip

    def renew(self, drop: DropRow, older: DropRow, now: datetime) -> None:
        """The path was written again with the bytes it had: its old row goes on under the new stamp."""
        self._database.change_one(
            "UPDATE drops SET state = 'duplicate', current = 0, fingerprint = ?, changed_at = ?,"
            " reason = 'written again with the same bytes' WHERE id = ?", older.fingerprint, to_text(now), drop.id,
        )  # fmt: skip
        self._database.change_one(
            "UPDATE drops SET current = 1, missing = 0, size = ?, mtime_ns = ?, inode = ? WHERE id = ?",
            *drop.stamp, older.id,
        )  # fmt: skip

    def set_aside(self, drop: DropRow, state: str, fingerprint: str, reason: str, hint: str, now: datetime) -> None:
        """The drop is a duplicate, or quarantined, or vanished; an older revision of a changed path is superseded."""
        if state != "vanished":
            self._supersede(drop, now)
        self._database.change_one(
            "UPDATE drops SET state = ?, current = ?, fingerprint = ?, reason = ?, hint = ?, changed_at = ?"
            " WHERE id = ?",
            state, int(state != "vanished"), fingerprint, reason, hint, to_text(now), drop.id,
        )  # fmt: skip

    def retract(self, drop: DropRow, reason: str, now: datetime) -> None:
        """Take a drop out of training, judging and counts; later drops that nothing was judged on count again."""
        self._database.change_one(
            "UPDATE drops SET state = 'retracted', reason = ?, changed_at = ? WHERE id = ?",
            reason, to_text(now), drop.id,
        )  # fmt: skip
        self._count_again(drop, now)

    def by_id(self, number: int) -> DropRow | None:
        """One revision."""
        found = self._select("id = ?", number)
        return found[0] if found else None

    def attempts_with(self, drop: DropRow) -> tuple[str, ...]:
        """Attempts that had this drop in their frozen list."""
        rows = self._database.rows("SELECT attempt FROM attempt_drop WHERE drop_id = ? ORDER BY attempt", drop.id)
        return tuple(row["attempt"] for row in rows)

    def mark_missing(self, model: str, gone: frozenset[str], now: datetime) -> tuple[str, ...]:
        """Note which recorded files are gone; returns those newly gone. Files gone before inspection vanish."""
        newly = []
        for drop in self._select("model = ? AND current = 1 AND state IN ('recorded', 'found')", model):
            if drop.state == "found" and drop.path in gone:
                self.set_aside(drop, "vanished", "", "gone before it could be inspected", "", now)
            elif drop.missing != (drop.path in gone):
                self._database.run("UPDATE drops SET missing = ? WHERE id = ?", int(drop.path in gone), drop.id)
                newly += [drop.path] if drop.path in gone else []
        return tuple(newly)

    def counts(self, model: str, learned: Learned | None, last_attempt: str | None) -> RowCounts:
        """The sums facts are made of, given what the champion learned (None: not known) and the last ended attempt."""
        used = {row["drop_id"] for row in self._database.run(_HAD.replace(":model", "?1"), model).fetchall()}
        last = self._of_attempts((last_attempt,) if last_attempt else ())
        learned_drops = self._of_attempts(learned.attempts if learned else ())
        totals = {"new": 0, "since_last": 0, "unlearned": 0, "judging": 0}
        waiting: list[datetime] = []
        rows = self._database.rows("SELECT * FROM drops WHERE model = ? AND state = 'recorded'", model)
        for row in rows:
            arrived = to_moment(row["arrived_at"])
            unused = row["id"] not in used
            totals["new"] += row["new"] if unused else 0
            totals["since_last"] += row["new"] if unused and row["id"] not in last else 0
            waiting += [arrived] if unused and row["new"] else []
            if learned is None or row["fingerprint"] in learned.fingerprints:
                continue
            after = learned.unknown_until is None or arrived > learned.unknown_until
            totals["judging"] += row["new_judging"] if after else 0
            totals["unlearned"] += row["new_training"] if after and row["id"] not in learned_drops else 0
        return RowCounts(
            **totals,
            waiting_since=min(waiting, default=None),
            recorded=sum(1 for row in rows if row["usable"]),
            uninspected=self._number("state = 'found'", model),
            quarantined=self._number("state = 'quarantined' AND current = 1", model),
            missing=tuple(row["path"] for row in rows if row["missing"]),
        )

    def _of_attempts(self, attempts: tuple[str, ...]) -> set[int]:
        found: set[int] = set()
        for attempt in attempts:
            rows = self._database.rows("SELECT drop_id FROM attempt_drop WHERE attempt = ?", attempt)
            found |= {row["drop_id"] for row in rows}
        return found

    def _number(self, condition: str, model: str) -> int:
        row = self._database.row(f"SELECT count(*) FROM drops WHERE model = ? AND {condition}", model)
        return int(row[0]) if row else 0

    def _supersede(self, drop: DropRow, now: datetime) -> None:
        older = self._select("model = ? AND path = ? AND id < ? AND state = 'recorded'", drop.model, drop.path, drop.id)
        for revision in older:
            self._database.run(
                "UPDATE drops SET state = 'superseded', reason = 'the path has newer bytes', changed_at = ?"
                " WHERE id = ?",
                to_text(now), revision.id,
            )  # fmt: skip
            self._count_again(revision, now, except_for=drop.id)

    def _count_again(self, drop: DropRow, now: datetime, except_for: int = -1) -> None:
        """Rows counted as known because `drop` had them may be new now: later unused drops are inspected again."""
        used = _HAD.replace(":model", "?1")
        self._database.run(
            f"UPDATE drops SET state = 'found', reason = 'counted again', changed_at = ?4 WHERE model = ?1 AND id > ?2"
            f" AND id <> ?3 AND state = 'recorded' AND id NOT IN ({used})",
            drop.model, drop.id, except_for, to_text(now),
        )  # fmt: skip

    def _select(self, condition: str, *values: str | int | None) -> tuple[DropRow, ...]:
        return tuple(_drop(row) for row in self._database.rows(f"SELECT * FROM drops WHERE {condition}", *values))


def _drop(row: sqlite3.Row) -> DropRow:
    return DropRow(
        id=row["id"],
        model=row["model"],
        path=row["path"],
        stamp=(row["size"], row["mtime_ns"], row["inode"]),
        arrived_at=to_moment(row["arrived_at"]),
        state=row["state"],
        current=bool(row["current"]),
        missing=bool(row["missing"]),
        fingerprint=row["fingerprint"],
        rows=row["rows"],
        usable=row["usable"],
        new=row["new"],
        rows_file=row["rows_file"],
        reason=row["reason"],
        hint=row["hint"],
        changed_at=to_moment(row["changed_at"]),
    )
