"""What versions have learned or may have, as workers leave it out: read from the journal for a training or a score."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from retrain_daemon.journal import Journal
from retrain_daemon.worker.job import DropFile


@dataclass(frozen=True, kw_only=True)
class LearnedRows:
    """Key files of what versions and their ancestors learned. Rows first seen up to `unknown_until` may have been
    learned, and so may units of the key files `early`, which were seen then in files that have other bytes now.
    """

    files: tuple[str, ...]
    unknown_until: datetime | None
    early: tuple[str, ...]


def learned_rows(journal: Journal, model: str, versions: Collection[int], unit: str) -> LearnedRows:
    """What these versions and their ancestors learned, as keys of `unit`."""
    learned = [journal.models.learned(model, version, unit) for version in sorted(versions)]
    until = max((each.unknown_until for each in learned if each.unknown_until), default=None)
    unlike = journal.drops.incomparable_until(model, until) if until else None
    return LearnedRows(
        files=tuple(dict.fromkeys(file for each in learned for file in each.files)),
        unknown_until=max(until, unlike) if until and unlike else until,
        early=journal.drops.units_until(model, until) if until else (),
    )


def dated(drop: DropFile, until: datetime | None, now: datetime) -> DropFile:
    """A drop of a time to come was dated by a clock that was wrong: nobody knows that it came after `until`."""
    if until is None or drop.first_seen <= now:
        return drop
    return replace(drop, first_seen=min(drop.first_seen, until))
