"""The tables `drift` and `drop_drift`: how far new rows are from what was learned, and which drops that compares."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from pydantic import TypeAdapter

from retrain_daemon.journal.database import Database, to_moment, to_text
from retrain_daemon.journal.drop_rows import SKIPPED
from retrain_daemon.journal.drops import IS_JUDGED, JUDGED_STATES, TRAINED_ONE

#: Fewer rows on one of the sides: the distance is not known.
FEWEST_ROWS = 1000
#: New rows are compared with as many, but at least so many where there are so many.
REFERENCE_ROWS = 5000

_COLUMNS: TypeAdapter[dict[str, float]] = TypeAdapter(dict[str, float])


@dataclass(frozen=True, kw_only=True)
class Profiled:
    """A drop by its profile file; `rows` with a label."""

    drop: int
    profile_file: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class Sides:
    """What is compared now: drops that no judged attempt had with the newest that the last one learned from. `key` is
    another one when the drops are, or when they were inspected anew. Where nothing can be compared an `obstacle` says
    why, a clause.
    """

    new: tuple[Profiled, ...] = ()
    reference: tuple[Profiled, ...] = ()
    key: str = ""
    obstacle: str = ""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Distances (PSI) by column, measured of the drops that `key` stands for; `value` is that of the `worst` column,
    None where no column could be compared. Older measurements have no `columns` any more.
    """

    at: datetime
    key: str
    new_rows: int
    reference_rows: int
    columns: Mapping[str, float]
    worst: str
    value: float | None


@dataclass(frozen=True, kw_only=True)
class DropDistance:
    """One drop's distance from what it was compared with when it was new, by the column that was farthest."""

    drop: int
    at: datetime
    worst: str
    value: float


class DriftTable:
    """Statements on `drift` and `drop_drift`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def sides(self, model: str) -> Sides:
        """What would be compared now."""
        last = self._database.row(
            f"SELECT id FROM attempt WHERE model = ? AND {TRAINED_ONE} AND state IN ({JUDGED_STATES})"
            " ORDER BY number DESC LIMIT 1", model,
        )  # fmt: skip
        if last is None:
            return Sides(obstacle="no attempt was judged yet, so there is nothing to compare new rows with")
        new = self._new(model)
        count = sum(row["new"] for row in new)
        if count < FEWEST_ROWS:
            return Sides(obstacle=f"{count:,} new rows, {FEWEST_ROWS:,} are needed")
        reference = self._reference(last["id"], max(REFERENCE_ROWS, sum(row["usable"] for row in new)))
        learned = sum(row["usable"] for row in reference)
        if learned < FEWEST_ROWS:
            there = f"{learned:,} rows of what attempt {last['id']} learned from can be compared with"
            return Sides(obstacle=f"{there}, {FEWEST_ROWS:,} are needed")
        return Sides(new=_profiled(new), reference=_profiled(reference), key=_key(new, reference))

    def _new(self, model: str) -> list[sqlite3.Row]:
        return self._database.rows(
            "SELECT * FROM drops WHERE model = ? AND state = 'recorded' AND new > 0 AND profile_file <> ''"
            f" AND missing <> {SKIPPED} AND NOT {IS_JUDGED} ORDER BY id", model,
        )  # fmt: skip

    def _reference(self, attempt: str, enough: int) -> list[sqlite3.Row]:
        """Whole drops, newest first, until there are enough rows."""
        taken: list[sqlite3.Row] = []
        rows = 0
        for row in self._database.rows(
            "SELECT drops.id, profile_file, usable, inspected_as FROM drops JOIN attempt_drop ON drops.id = drop_id"
            " WHERE attempt = ? AND profile_file <> '' ORDER BY arrived_at DESC, id DESC", attempt,
        ):  # fmt: skip
            if rows >= enough:
                break
            taken.append(row)
            rows += row["usable"]
        return taken

    def measured(self, model: str) -> Measurement | None:
        """The newest measurement of a model, of whatever drops."""
        row = self._database.row("SELECT * FROM drift WHERE model = ? ORDER BY id DESC LIMIT 1", model)
        return None if row is None else _measurement(row)

    def history(self, model: str, limit: int) -> tuple[Measurement, ...]:
        """The newest measurements, oldest first."""
        rows = self._database.rows("SELECT * FROM drift WHERE model = ? ORDER BY id DESC LIMIT ?", model, limit)
        return tuple(_measurement(row) for row in reversed(rows))

    def of_drops(self, model: str | None) -> dict[int, DropDistance]:
        """By drop, how far each was when it was new."""
        rows = self._database.rows("SELECT * FROM drop_drift WHERE model = ?1 OR ?1 IS NULL", model)
        return {
            row["drop_id"]: DropDistance(
                drop=row["drop_id"], at=to_moment(row["at"]), worst=row["worst"], value=row["value"]
            )
            for row in rows
        }

    def keep(self, model: str, measurement: Measurement, drops: Sequence[DropDistance]) -> None:
        """Write a measurement, and what it says of single drops. Columns are kept of the newest one."""
        with self._database.transaction():
            self._database.run("UPDATE drift SET columns = '{}' WHERE model = ? AND columns <> '{}'", model)
            self._database.run(
                "INSERT INTO drift (model, at, key, new_rows, reference_rows, columns, worst, value)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                model, to_text(measurement.at), measurement.key, measurement.new_rows, measurement.reference_rows,
                _COLUMNS.dump_json(dict(measurement.columns)).decode(), measurement.worst, measurement.value,
            )  # fmt: skip
            for drop in drops:
                self._database.run(
                    "INSERT OR REPLACE INTO drop_drift (drop_id, model, at, worst, value) VALUES (?, ?, ?, ?, ?)",
                    drop.drop, model, to_text(drop.at), drop.worst, drop.value,
                )  # fmt: skip


def _profiled(rows: list[sqlite3.Row]) -> tuple[Profiled, ...]:
    return tuple(Profiled(drop=row["id"], profile_file=row["profile_file"], rows=row["usable"]) for row in rows)


def _key(*sides: list[sqlite3.Row]) -> str:
    named = [[(row["id"], row["profile_file"], row["inspected_as"]) for row in side] for side in sides]
    return sha256(repr(named).encode()).hexdigest()[:32]


def _measurement(row: sqlite3.Row) -> Measurement:
    return Measurement(
        at=to_moment(row["at"]),
        key=row["key"],
        new_rows=row["new_rows"],
        reference_rows=row["reference_rows"],
        columns=_COLUMNS.validate_json(row["columns"]),
        worst=row["worst"],
        value=row["value"],
    )
