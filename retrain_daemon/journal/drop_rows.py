"""A row of the table `drops` as a value, and what an inspection found in one file. Statements are in `drops.py`."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime, timedelta

from retrain_daemon.journal.database import to_moment, to_moment_or_none

#: Values of `missing`: the file is gone, and the model waits for it, or goes on without its rows.
AWAITED, SKIPPED = 1, 2


@dataclass(frozen=True, kw_only=True)
class DropRow:
    """One revision of one file; `stamp` is (size, mtime_ns, inode). One that is `skipped` is missing, and its rows do
    not count meanwhile.

    `suspect`: it is quarantined for something that a person may let pass. `released_at`: a person did, or not (None).
    `inspected_as`: by which settings its rows were counted last. `corrected`: rows that came with another label than
    before. `notes` are sentences about what was noticed. `events_by`: when nine tenths of its rows had happened, None
    where no column says so.
    """

    id: int
    model: str
    path: str
    stamp: tuple[int, int, int]
    arrived_at: datetime
    state: str
    current: bool
    missing: bool
    skipped: bool
    fingerprint: str
    rows: int
    usable: int
    new: int
    rows_file: str
    reason: str
    hint: str
    changed_at: datetime
    suspect: bool
    released_at: datetime | None
    released_by: str
    released_why: str
    corrected: int
    profile_file: str
    inspected_as: str
    notes: tuple[str, ...]
    events_by: datetime | None

    def final_from(self, delay: timedelta) -> datetime:
        """From when on its labels count, with a policy's `label_delay`."""
        return (self.events_by or self.arrived_at) + delay


@dataclass(frozen=True, kw_only=True)
class Inspected:
    """What an inspection found in one usable file."""

    fingerprint: str
    rows: int
    usable: int
    new: int
    training: int
    judging: int
    rows_file: str
    units_file: str
    profile_file: str = ""
    corrected: int = 0
    notes: tuple[str, ...] = ()
    events_by: datetime | None = None


def drop_of(row: sqlite3.Row) -> DropRow:
    """Given a whole row of `drops`, its value."""
    return DropRow(
        id=row["id"],
        model=row["model"],
        path=row["path"],
        stamp=(row["size"], row["mtime_ns"], row["inode"]),
        arrived_at=to_moment(row["arrived_at"]),
        state=row["state"],
        current=bool(row["current"]),
        missing=bool(row["missing"]),
        skipped=row["missing"] == SKIPPED,
        fingerprint=row["fingerprint"],
        rows=row["rows"],
        usable=row["usable"],
        new=row["new"],
        rows_file=row["rows_file"],
        reason=row["reason"],
        hint=row["hint"],
        changed_at=to_moment(row["changed_at"]),
        suspect=bool(row["suspect"]),
        released_at=to_moment_or_none(row["released_at"]),
        released_by=row["released_by"],
        released_why=row["released_why"],
        corrected=row["corrected"],
        profile_file=row["profile_file"],
        inspected_as=row["inspected_as"],
        notes=tuple(json.loads(row["notes"])),
        events_by=to_moment_or_none(row["events_by"]),
    )
