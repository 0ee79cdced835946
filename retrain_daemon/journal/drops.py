"""The table `drops`: every revision of every file seen, and what became of it. Sums of rows are in `row_counts`."""

from __future__ import annotations

import json
from datetime import datetime

from retrain_daemon.core.attempts import JUDGED_ENDS
from retrain_daemon.journal.database import Database, to_moment, to_text
from retrain_daemon.journal.drop_rows import AWAITED, SKIPPED, DropRow, Inspected, drop_of

__all__ = ["AWAITED", "IS_JUDGED", "JUDGED_STATES", "SKIPPED", "TRAINED_ONE", "DropRow", "Drops", "Inspected"]

#: The states of an attempt that came to a verdict, as SQL.
JUDGED_STATES = ", ".join(f"'{state.value}'" for state in sorted(JUDGED_ENDS))
#: Whether an attempt was to train, as SQL: not of one that judges what a person put up, or what an earlier one trained.
TRAINED_ONE = "attempt.offered IS NULL AND attempt.again_of IS NULL"
#: Whether a judged attempt had the drop, whatever its verdict. Asked drop by drop, which ends at the first attempt that
#: is found: each has most of the drops that there are.
IS_JUDGED = (
    "EXISTS (SELECT 1 FROM attempt_drop JOIN attempt ON attempt.id = attempt_drop.attempt"
    f" WHERE drop_id = drops.id AND {TRAINED_ONE} AND attempt.state IN ({JUDGED_STATES}))"
)


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

    def quarantined(self, model: str) -> dict[str, tuple[int, int, int]]:
        """The stamp of each file that was refused and not yet dealt with."""
        rows = self._database.rows(
            "SELECT path, size, mtime_ns, inode FROM drops WHERE model = ? AND current = 1 AND state = 'quarantined'",
            model,
        )
        return {row["path"]: (row["size"], row["mtime_ns"], row["inode"]) for row in rows}

    def add(
        self, model: str, path: str, stamp: tuple[int, int, int], now: datetime, *,
        arrived_at: datetime | None = None, reason: str = "", hint: str = "",
    ) -> None:  # fmt: skip
        """A complete file was seen: it waits for inspection, or, with a `reason`, is quarantined at sight.

        `arrived_at` is when it came to lie there, which may be before a daemon was there to see it. An older revision
        of the path that is recorded stays so until the new one is inspected.
        """
        if not self._replace_uninspected(model, path, stamp, now):
            self._database.run("UPDATE drops SET current = 0 WHERE model = ? AND path = ? AND current = 1", model, path)
            self._database.run(
                "INSERT INTO drops (model, path, size, mtime_ns, inode, arrived_at, state, changed_at)"
                " VALUES (?, ?, ?, ?, ?, ?, 'found', ?)",
                model, path, *stamp, to_text(arrived_at or now), to_text(now),
            )  # fmt: skip
        if reason:
            (drop,) = self._select("model = ? AND path = ? AND current = 1", model, path)
            self.set_aside(drop, "quarantined", "", reason, hint, now)

    def _replace_uninspected(self, model: str, path: str, stamp: tuple[int, int, int], now: datetime) -> bool:
        """Whether the path's newest revision was never inspected, so that the new one takes its place."""
        changed = self._database.run(
            "UPDATE drops SET size = ?, mtime_ns = ?, inode = ?, changed_at = ?"
            " WHERE model = ? AND path = ? AND current = 1 AND state = 'found' AND fingerprint = ''",
            *stamp, to_text(now), model, path,
        )  # fmt: skip
        return changed.rowcount > 0

    def to_inspect(self, model: str) -> tuple[DropRow, ...]:
        """Drops that wait for inspection, in order of arrival."""
        return self._select("model = ? AND state = 'found' AND current = 1 ORDER BY id", model)

    def in_use(self, model: str) -> tuple[DropRow, ...]:
        """Drops whose rows count, in order of arrival."""
        return self._select("model = ? AND state = 'recorded' ORDER BY id", model)

    def not_judged(self, model: str) -> tuple[DropRow, ...]:
        """Of these, those that no judged attempt had, in order of arrival; without those that are gone and left out."""
        return self._select(
            f"model = ? AND state = 'recorded' AND missing <> {SKIPPED} AND NOT {IS_JUDGED} ORDER BY id", model
        )

    def reference(self, model: str) -> str:
        """The path of the oldest file whose rows count, by which others are compared; "" where there is none."""
        return next((drop.path for drop in self.in_use(model) if not drop.missing), "")

    def listing(self, model: str | None) -> tuple[DropRow, ...]:
        """Every revision, of one model or of all, oldest first."""
        return self._select("model = ?1 OR ?1 IS NULL ORDER BY model, id", model)

    def by_id(self, number: int) -> DropRow | None:
        """One revision."""
        found = self._select("id = ?", number)
        return found[0] if found else None

    def with_fingerprint(self, model: str, fingerprint: str, state: str) -> DropRow | None:
        """A drop with these bytes in this state."""
        found = self._select("model = ? AND fingerprint = ? AND state = ? ORDER BY id", model, fingerprint, state)
        return found[0] if found else None

    def attempts_with(self, drop: DropRow) -> tuple[str, ...]:
        """Attempts that had this drop in their frozen list."""
        rows = self._database.rows("SELECT attempt FROM attempt_drop WHERE drop_id = ? ORDER BY attempt", drop.id)
        return tuple(row["attempt"] for row in rows)

    def known_rows(self, model: str, since: int = 0) -> tuple[str, ...]:
        """Records of rows that are not new any more, oldest first: of drops in use and of those judged attempts had.
        Only those from the drop `since` on. Not of files that are gone and left out: what came with them may count in
        another.
        """
        rows = self._database.rows(
            "SELECT rows_file FROM drops WHERE model = ?1 AND rows_file <> ''"
            f" AND (state = 'recorded' AND current = 1 AND missing <> {SKIPPED} OR {IS_JUDGED})"
            " GROUP BY rows_file HAVING max(id) >= ?2 ORDER BY max(id)",
            model, since,
        )  # fmt: skip
        return tuple(row["rows_file"] for row in rows)

    def key_files(self, model: str) -> tuple[str, ...]:
        """The records of rows and the keys for the leak check of drops in use."""
        rows = self._database.rows(
            "SELECT rows_file, units_file FROM drops WHERE model = ? AND state = 'recorded' ORDER BY id", model
        )
        return tuple(file for row in rows for file in dict.fromkeys(tuple(row)) if file)

    def units_until(self, model: str, moment: datetime) -> tuple[str, ...]:
        """Key files of what was seen up to a moment, also of revisions whose bytes are gone."""
        rows = self._database.rows(
            "SELECT DISTINCT units_file FROM drops WHERE model = ? AND units_file <> '' AND arrived_at <= ?",
            model, to_text(moment),
        )  # fmt: skip
        return tuple(row["units_file"] for row in rows)

    def incomparable_until(self, model: str, moment: datetime) -> datetime | None:
        """Until when rows may have come back unrecognised from revisions that were seen up to `moment`: their keys are
        of other features than now, as they were not inspected since. None where there are no such revisions.
        """
        row = self._database.row(
            "SELECT inspected_since FROM model WHERE name = ?1 AND EXISTS (SELECT 1 FROM drops WHERE drops.model = ?1"
            " AND units_file <> '' AND arrived_at <= ?2"
            " AND substr(drops.inspected_as, instr(drops.inspected_as, ' '))"
            " <> substr(model.inspected_as, instr(model.inspected_as, ' ')))",
            model, to_text(moment),
        )  # fmt: skip
        return to_moment(row["inspected_since"]) if row and row["inspected_since"] else None

    def first_seen(self, drop: DropRow) -> datetime:
        """When its rows may have been there first: since its path was, where older keys cannot be compared."""
        row = self._database.row(
            "SELECT min(older.arrived_at) AS seen FROM drops AS older JOIN drops AS this ON this.id = ?"
            " WHERE older.model = this.model AND older.path = this.path AND older.id <= this.id"
            " AND (older.id = this.id OR older.inspected_as <> this.inspected_as)", drop.id,
        )  # fmt: skip
        return to_moment(row["seen"]) if row and row["seen"] else drop.arrived_at

    def record(self, drop: DropRow, found: Inspected, purpose: str, now: datetime) -> None:
        """The drop is usable and counts from now on; an older revision of its path is superseded."""
        self._supersede(drop, now)
        self._database.change_one(
            "UPDATE drops SET state = 'recorded', fingerprint = ?, rows = ?, usable = ?, new = ?, training = ?,"
            " judging = ?, rows_file = ?, units_file = ?, profile_file = ?, corrected = ?, notes = ?, inspected_as = ?,"
            " own_rows = max(own_rows, ?), events_by = ?, suspect = 0, reason = '', hint = '', changed_at = ?"
            " WHERE id = ?",
            found.fingerprint, found.rows, found.usable, found.new, found.training, found.judging,
            found.rows_file, found.units_file, found.profile_file, found.corrected,
            json.dumps(found.notes, ensure_ascii=False), purpose,
            found.new + found.corrected, to_text(found.events_by) if found.events_by else None, to_text(now), drop.id,
        )  # fmt: skip

    def renew(self, drop: DropRow, older: DropRow, now: datetime) -> None:
        """The path was written again with the bytes it had: its old row goes on under the new stamp."""
        self._go_on(drop, older, "written again with the same bytes", now)

    def move(self, drop: DropRow, older: DropRow, now: datetime) -> None:
        """The bytes of a recorded file that is gone lie at another path: its old row goes on there."""
        self._go_on(drop, older, f"it was {older.path}", now)

    def _go_on(self, drop: DropRow, older: DropRow, reason: str, now: datetime) -> None:
        self._database.change_one(
            "UPDATE drops SET state = 'duplicate', current = 0, fingerprint = ?, reason = ?, changed_at = ?"
            " WHERE id = ?", older.fingerprint, reason, to_text(now), drop.id,
        )  # fmt: skip
        self._database.change_one(
            "UPDATE drops SET current = 1, missing = 0, path = ?, size = ?, mtime_ns = ?, inode = ? WHERE id = ?",
            drop.path, *drop.stamp, older.id,
        )  # fmt: skip
        self._take_back(older, now)

    def set_aside(
        self, drop: DropRow, state: str, fingerprint: str, reason: str, hint: str, now: datetime, *,
        suspect: bool = False,
    ) -> None:  # fmt: skip
        """The drop is a duplicate or quarantined; an older revision of its path is superseded. `suspect`: a person may
        let it pass.
        """
        self._supersede(drop, now)
        self._database.change_one(
            "UPDATE drops SET state = ?, fingerprint = ?, reason = ?, hint = ?, suspect = ?, notes = '[]', usable = 0,"
            " changed_at = ? WHERE id = ?",
            state, fingerprint, reason, hint, int(suspect), to_text(now), drop.id,
        )  # fmt: skip

    def note_units(self, drop: DropRow, units_file: str, purpose: str) -> None:
        """Which units were seen in a drop that does not count."""
        self._database.run(
            "UPDATE drops SET units_file = ?, inspected_as = ? WHERE id = ?", units_file, purpose, drop.id
        )

    def release(self, drop: DropRow, by: str, why: str, now: datetime) -> None:
        """A person lets its bytes pass: it is inspected again, and what is suspect about it does not count any more."""
        self._database.change_one(
            "UPDATE drops SET released_at = ?, released_by = ?, released_why = ?, changed_at = ? WHERE id = ?",
            to_text(now), by, why, to_text(now), drop.id,
        )  # fmt: skip
        self.look_again(drop, "released", now)

    def release_like(self, drop: DropRow, released: DropRow, now: datetime) -> None:
        """It has bytes that a person let pass before, under this name or another."""
        self._database.change_one("UPDATE drops SET fingerprint = ? WHERE id = ?", released.fingerprint, drop.id)
        self.release(drop, released.released_by, released.released_why, now)

    def released_with(self, model: str, fingerprint: str) -> DropRow | None:
        """A drop with these bytes that a person let pass."""
        found = self._select(
            "model = ? AND fingerprint = ? AND released_at IS NOT NULL ORDER BY id", model, fingerprint
        )
        return found[0] if fingerprint and found else None

    def look_again(self, drop: DropRow, reason: str, now: datetime) -> None:
        """The drop is inspected again."""
        self._change(drop.id, "found", reason, now)
        self._database.run("UPDATE drops SET hint = '', suspect = 0 WHERE id = ?", drop.id)

    def retract(self, drop: DropRow, reason: str, now: datetime) -> None:
        """Take a drop out of training, judging and counts; later drops that nothing was judged on count again."""
        self._change(drop.id, "retracted", reason, now)
        self._database.run("UPDATE drops SET hint = '' WHERE id = ?", drop.id)
        self._count_again(drop, now)

    def inspect_again(self, model: str, now: datetime) -> None:
        """Inspections rest on other data settings or another signature than before: every file is looked at again."""
        self._database.run(
            "UPDATE drops SET state = 'found', reason = 'inspected again', hint = '', suspect = 0, changed_at = ?"
            " WHERE model = ? AND current = 1 AND missing = 0 AND fingerprint <> ''"
            " AND state IN ('recorded', 'duplicate', 'quarantined')",
            to_text(now), model,
        )  # fmt: skip

    def leave(self, drop: DropRow, reason: str, now: datetime) -> None:
        """The policy's path does not cover the file any more, or it was set aside and is gone: it no longer counts."""
        self._database.run("UPDATE drops SET current = 0 WHERE id = ?", drop.id)
        self._change(drop.id, "superseded", reason, now)

    def mark_missing(self, model: str, gone: frozenset[str], now: datetime, *, skip: bool = False) -> tuple[str, ...]:
        """Note which recorded files are gone; returns those newly gone. With `skip` their rows do not count until they
        are back. Others that are gone need no care any more.
        """
        newly, value = [], SKIPPED if skip else AWAITED
        states = "'recorded', 'found', 'quarantined', 'duplicate'"
        for drop in self._select(f"model = ? AND current = 1 AND state IN ({states})", model):
            here = drop.path not in gone
            if drop.state in ("quarantined", "duplicate"):
                if not here:
                    self.leave(drop, f"removed; it was {drop.state}: {drop.reason}", now)
                continue
            if here and drop.missing:
                self._miss(drop, 0, now)
            elif not here and drop.state == "found":
                self._vanish(drop, value, now)
            elif not here and drop.missing and drop.skipped is not skip:
                self._miss(drop, value, now)
            elif not here and not drop.missing and not self._take_duplicate(drop, gone, now):
                self._miss(drop, value, now)
                newly.append(drop.path)
        return tuple(newly)

    def _miss(self, drop: DropRow, value: int, now: datetime) -> None:
        """The file is gone, in one of two ways, or back. Rows that cease to count with it may be new in later ones."""
        self._database.run("UPDATE drops SET missing = ? WHERE id = ?", value, drop.id)
        if value == SKIPPED:
            self._count_again(drop, now)
        else:
            self._take_back(drop, now)

    def _take_back(self, drop: DropRow, now: datetime) -> None:
        """Others may have brought its rows while they did not count, or the policy come to mean other rows."""
        if drop.skipped:
            self._count_again(drop, now, itself=True)
        self._database.run(
            "UPDATE drops SET state = 'found', reason = 'inspected again', changed_at = ? WHERE id = ? AND missing = 0"
            " AND state = 'recorded' AND inspected_as <> (SELECT inspected_as FROM model WHERE name = drops.model)",
            to_text(now), drop.id,
        )  # fmt: skip

    def _vanish(self, drop: DropRow, value: int, now: datetime) -> None:
        """Gone before it could be inspected. What was recorded of the path before is missing, not forgotten."""
        if drop.usable:
            self._change(drop.id, "recorded", "", now)
            self._miss(drop, value, now)
            return
        self._database.run("UPDATE drops SET current = 0 WHERE id = ?", drop.id)
        self._change(drop.id, "vanished", "gone before it could be inspected", now)
        self._database.run(
            "UPDATE drops SET current = 1, missing = ?, state = 'recorded' WHERE id = (SELECT max(id) FROM drops"
            " WHERE model = ? AND path = ? AND id < ? AND state IN ('recorded', 'found') AND usable > 0)",
            value, drop.model, drop.path, drop.id,
        )  # fmt: skip

    def _take_duplicate(self, drop: DropRow, gone: frozenset[str], now: datetime) -> bool:
        """Whether the same bytes lie at another path, where the row goes on."""
        for other in self._select(
            "model = ? AND fingerprint = ? AND state = 'duplicate' AND current = 1", drop.model, drop.fingerprint
        ):
            if other.path not in gone:
                self.move(other, drop, now)
                return True
        return False

    def _supersede(self, drop: DropRow, now: datetime) -> None:
        """Older revisions of the path have lost their bytes; what was a duplicate of them is looked at again."""
        for revision in self._select(
            "model = ? AND path = ? AND id < ? AND state IN ('recorded', 'found')", drop.model, drop.path, drop.id
        ):
            self._change(revision.id, "superseded", "the path has newer bytes", now)
            self._database.run(
                "UPDATE drops SET state = 'found', reason = 'no duplicate any more', changed_at = ? WHERE model = ?"
                " AND fingerprint = ? AND fingerprint <> '' AND state = 'duplicate' AND current = 1 AND id <> ?",
                to_text(now), drop.model, revision.fingerprint, drop.id,
            )  # fmt: skip
            self._count_again(revision, now, except_for=drop.id)

    def _count_again(self, drop: DropRow, now: datetime, except_for: int = -1, *, itself: bool = False) -> None:
        """Rows counted as known because `drop` had them may be new now: later unused drops, and with `itself` also this
        one, are inspected again.
        """
        self._database.run(
            "UPDATE drops SET state = 'found', reason = 'counted again', changed_at = ?4 WHERE model = ?1 AND id > ?2"
            f" AND id <> ?3 AND state = 'recorded' AND current = 1 AND missing = 0 AND NOT {IS_JUDGED}",
            drop.model, drop.id - itself, except_for, to_text(now),
        )  # fmt: skip

    def _change(self, number: int, state: str, reason: str, now: datetime) -> None:
        self._database.change_one(
            "UPDATE drops SET state = ?, reason = ?, changed_at = ? WHERE id = ?", state, reason, to_text(now), number
        )

    def _select(self, condition: str, *values: str | int | None) -> tuple[DropRow, ...]:
        return tuple(drop_of(row) for row in self._database.rows(f"SELECT * FROM drops WHERE {condition}", *values))
