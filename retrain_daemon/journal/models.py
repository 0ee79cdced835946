"""The tables `model` and `lineage`: what is remembered of each watched model, and what its versions learned from."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from retrain_daemon.core.facts import Hold
from retrain_daemon.journal.database import Database, to_moment, to_moment_or_none, to_text

#: Later than any row, and still within the range of nanosecond timestamps.
FOREVER = datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class ModelRow:
    """One watched model. `champion_seen` is the champion when last seen; `adopted_at` ends its history. `unloadable` is
    the champion where a worker could not load it, with what it said. `retired_at`: since when no policy is about it.
    """

    name: str
    policy_file: str
    adopted_at: datetime | None
    champion_seen: int | None
    hold: Hold | None
    resumed_at: datetime | None
    tag_request_taken: bool
    trouble: str
    trouble_code: str
    settling_at_first: tuple[str, ...]
    inspected_as: str
    unloadable: int | None = None
    unloadable_why: str = ""
    retired_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """What one version learned. Without `learned_file` nobody knows: rows seen up to `unknown_until` may be in it.

    `created_at` is when MLflow made the version, None where that was not written down.
    """

    version: int
    continues: int | None
    learned_file: str | None
    unknown_until: datetime | None
    attempt: str | None
    fingerprints: tuple[str, ...] = ()
    unit: str = ""
    created_at: datetime | None = None
    recorded_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What a version and the ancestors it continued from learned, together; `recorded_at` is the newest record."""

    files: tuple[str, ...]
    unknown_until: datetime | None
    attempts: tuple[str, ...]
    fingerprints: frozenset[str]
    recorded_at: datetime | None = None


class Models:
    """Statements on `model` and `lineage`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ensure(self, name: str, policy_file: str, alias: str, now: datetime) -> ModelRow:
        """The model's row, made if there is none. With another alias it is not known who was champion."""
        row = self._database.row("SELECT * FROM model WHERE name = ?", name)
        if row is not None and (row["policy_file"], row["alias"]) == (policy_file, alias):
            return _model(row)
        self._database.run(
            "INSERT INTO model (name, policy_file, alias, changed_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET policy_file = excluded.policy_file, alias = excluded.alias,"
            " champion_seen = CASE WHEN alias = excluded.alias THEN champion_seen ELSE NULL END",
            name, policy_file, alias, to_text(now),
        )  # fmt: skip
        made = self.find(name)
        assert made is not None
        return made

    def find(self, name: str) -> ModelRow | None:
        """The model's row, if it was ever watched."""
        row = self._database.row("SELECT * FROM model WHERE name = ?", name)
        return None if row is None else _model(row)

    def all(self) -> tuple[ModelRow, ...]:
        """Every model that was ever watched, by name."""
        return tuple(_model(row) for row in self._database.rows("SELECT * FROM model ORDER BY name"))

    def note_policies(self, names: Collection[str], now: datetime) -> None:
        """Policies are about these models and no others."""
        for row in self.all():
            if (row.retired_at is None) != (row.name in names):
                self._database.run(
                    "UPDATE model SET retired_at = ?, changed_at = ? WHERE name = ?",
                    None if row.name in names else to_text(now), to_text(now), row.name,
                )  # fmt: skip

    def adopt(self, name: str, settling: Sequence[str], now: datetime) -> None:
        """Its drop folder was looked into for the first time: what is there, complete or `settling`, is history."""
        self._database.run(
            "UPDATE model SET adopted_at = ?, settling_at_first = ?, changed_at = ? WHERE name = ?",
            to_text(now), json.dumps(settling), to_text(now), name,
        )  # fmt: skip

    def note_inspected_as(self, name: str, purpose: str, now: datetime) -> None:
        """What the model's drops are inspected for from now on. A score is of the data settings, which are the first
        word, and of a version's own signature.
        """
        before = self.find(name)
        known = before.inspected_as if before is not None else ""
        if known and known.split(" ", 1)[0] != purpose.split(" ", 1)[0]:
            self._database.run("DELETE FROM score WHERE model = ?", name)
        self._database.run(
            "UPDATE model SET inspected_as = ?, inspected_since = ?, changed_at = ? WHERE name = ?",
            purpose, to_text(now), to_text(now), name,
        )  # fmt: skip

    def signature_root(self, name: str, version: int) -> int:
        """The version whose signature this one carries: our versions carry that of the champion they came from."""
        seen: set[int] = set()
        while version not in seen:
            seen.add(version)
            row = self._database.row(
                "SELECT coalesce(attempt.continues, attempt.champion_version) AS origin FROM lineage"
                " JOIN attempt ON attempt.id = lineage.attempt WHERE lineage.model = ? AND lineage.version = ?",
                name, version,
            )  # fmt: skip
            if row is None:
                break
            version = row["origin"]
        return version

    def see_champion(self, name: str, version: int | None, now: datetime) -> None:
        """Remember the champion."""
        self._database.run(
            "UPDATE model SET champion_seen = ?, unloadable = NULL, unloadable_why = '', changed_at = ?"
            " WHERE name = ? AND champion_seen IS NOT ?",
            version, to_text(now), name, version,
        )  # fmt: skip

    def lose(self, name: str, why: str, now: datetime) -> None:
        """The champion cannot be loaded: so it stays until another one is seen, or it is to be tried again."""
        self._database.run(
            "UPDATE model SET unloadable = champion_seen, unloadable_why = ?, changed_at = ?"
            " WHERE name = ? AND unloadable IS NOT champion_seen",
            why, to_text(now), name,
        )  # fmt: skip

    def try_again(self, name: str, now: datetime) -> None:
        """The champion may load by now."""
        self._database.run(
            "UPDATE model SET unloadable = NULL, unloadable_why = '', changed_at = ?"
            " WHERE name = ? AND unloadable IS NOT NULL",
            to_text(now), name,
        )  # fmt: skip

    def hold(self, name: str, by: str, why: str, now: datetime) -> None:
        """Nothing starts for this model until it is resumed; an earlier hold keeps its reason."""
        self._database.run(
            "UPDATE model SET hold_since = ?, hold_by = ?, hold_why = ?, changed_at = ?"
            " WHERE name = ? AND hold_since IS NULL",
            to_text(now), by, why, to_text(now), name,
        )  # fmt: skip

    def resume(self, name: str, now: datetime) -> None:
        """Lift the hold, and forget earlier failures."""
        self._database.run(
            "UPDATE model SET hold_since = NULL, hold_by = NULL, hold_why = NULL, resumed_at = ?, trouble = '',"
            " trouble_code = '', unloadable = NULL, unloadable_why = '', changed_at = ? WHERE name = ?",
            to_text(now), to_text(now), name,
        )  # fmt: skip

    def mark_tag_request(self, name: str, taken: bool, now: datetime) -> None:
        """Whether the tag retrain=now was taken up."""
        self._database.run(
            "UPDATE model SET tag_request_taken = ?, changed_at = ? WHERE name = ?", int(taken), to_text(now), name
        )

    def with_tag_request_taken(self) -> tuple[str, ...]:
        """Models whose tag retrain=now was taken up and not seen absent since."""
        rows = self._database.rows("SELECT name FROM model WHERE tag_request_taken = 1 ORDER BY name")
        return tuple(row["name"] for row in rows)

    def set_trouble(self, name: str, trouble: str, now: datetime, code: str = "") -> None:
        """Why the model's drops cannot be inspected, and its code; empty when they can."""
        self._database.run(
            "UPDATE model SET trouble = ?, trouble_code = ?, changed_at = ? WHERE name = ? AND trouble <> ?",
            trouble, code, to_text(now), name, trouble,
        )  # fmt: skip

    def lineage(self, name: str, version: int) -> Lineage | None:
        """What is recorded of one version."""
        row = self._database.row("SELECT * FROM lineage WHERE model = ? AND version = ?", name, version)
        return None if row is None else _lineage(row)

    def lineages(self, name: str) -> tuple[Lineage, ...]:
        """What is recorded of every version, by number."""
        rows = self._database.rows("SELECT * FROM lineage WHERE model = ? ORDER BY version", name)
        return tuple(_lineage(row) for row in rows)

    def record_lineage(self, name: str, lineage: Lineage, now: datetime) -> None:
        """Write what a version learned; a record replaces an assumption, and it is scored again without these rows."""
        if self.lineage(name, lineage.version) is not None:
            self._database.run("DELETE FROM score WHERE model = ? AND version = ?", name, lineage.version)
        self._database.run(
            "INSERT OR REPLACE INTO lineage (model, version, continues, learned_file, unknown_until, unit, attempt,"
            " fingerprints, created_at, changed_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            name, lineage.version, lineage.continues, lineage.learned_file,
            to_text(lineage.unknown_until) if lineage.unknown_until else None,
            lineage.unit, lineage.attempt, json.dumps(lineage.fingerprints),
            to_text(lineage.created_at) if lineage.created_at else None, to_text(now),
        )  # fmt: skip

    def forget_if_made_anew(self, name: str, version: int, created_at: datetime) -> bool:
        """Whether what is recorded belongs to another version that had this number, and so is forgotten: MLflow counts
        from 1 again in a model that was deleted and registered anew. A record without a time is this version's.
        """
        known = self.lineage(name, version)
        if known is None or known.created_at == created_at:
            return False
        where = (name, version)
        if known.created_at is None:
            self._database.run(
                "UPDATE lineage SET created_at = ? WHERE model = ? AND version = ?", to_text(created_at), *where
            )
            return False
        self._database.run("DELETE FROM lineage WHERE model = ? AND version = ?", *where)
        self._database.run("DELETE FROM score WHERE model = ? AND version = ?", *where)
        self._database.run(
            "UPDATE model SET unloadable = NULL, unloadable_why = '' WHERE name = ? AND unloadable = ?", *where
        )
        return True

    def learned(self, name: str, version: int, unit: str) -> Learned:
        """What a version and every ancestor it continued from learned, as keys of `unit`; a version without any row
        counts as unknown for all time.
        """
        chain: list[Lineage] = []
        current: int | None = version
        while current is not None and current not in {link.version for link in chain}:
            link = self.lineage(name, current)
            if link is None:
                link = _unrecorded(current)
            chain.append(_comparable(link, unit))
            current = link.continues
        unknown = [link.unknown_until for link in chain if link.unknown_until is not None]
        return Learned(
            files=tuple(link.learned_file for link in chain if link.learned_file),
            unknown_until=max(unknown, default=None),
            attempts=tuple(link.attempt for link in chain if link.attempt),
            fingerprints=frozenset(mark for link in chain for mark in link.fingerprints),
            recorded_at=max((link.recorded_at for link in chain if link.recorded_at), default=None),
        )

    def learned_by_either(self, name: str, first: int, second: int, unit: str) -> Learned:
        """What two versions and their ancestors learned, together."""
        one, other = (self.learned(name, version, unit) for version in (first, second))
        unknown = [each.unknown_until for each in (one, other) if each.unknown_until is not None]
        return Learned(
            files=tuple(dict.fromkeys((*one.files, *other.files))),
            unknown_until=max(unknown, default=None),
            attempts=tuple(dict.fromkeys((*one.attempts, *other.attempts))),
            fingerprints=one.fingerprints | other.fingerprints,
            recorded_at=max((each.recorded_at for each in (one, other) if each.recorded_at), default=None),
        )

    def versions_of_attempts(self, name: str, attempts: tuple[str, ...]) -> tuple[int, ...]:
        """Versions that came from these attempts, or continue from one that did."""
        links = self.lineages(name)
        found = {link.version for link in links if link.attempt in attempts}
        grown = True
        while grown:
            more = {link.version for link in links if link.continues in found} - found
            found |= more
            grown = bool(more)
        return tuple(sorted(found))


def _unrecorded(version: int) -> Lineage:
    return Lineage(
        version=version, continues=None, learned_file=None, unknown_until=FOREVER, attempt=None, fingerprints=()
    )


def _comparable(link: Lineage, unit: str) -> Lineage:
    """Keys of another unit cannot be compared: what was learned then is not known for rows seen before the record.

    Files a person named may be dropped later still, so of those nothing is known for ever.
    """
    if link.learned_file is None or link.unit == unit:
        return link
    until = link.recorded_at if link.attempt is not None else FOREVER
    return replace(link, learned_file=None, unknown_until=until)


def _model(row: sqlite3.Row) -> ModelRow:
    hold = Hold(to_moment(row["hold_since"]), row["hold_by"], row["hold_why"]) if row["hold_since"] else None
    return ModelRow(
        name=row["name"],
        policy_file=row["policy_file"],
        adopted_at=to_moment_or_none(row["adopted_at"]),
        champion_seen=row["champion_seen"],
        hold=hold,
        resumed_at=to_moment_or_none(row["resumed_at"]),
        tag_request_taken=bool(row["tag_request_taken"]),
        trouble=row["trouble"],
        trouble_code=row["trouble_code"],
        settling_at_first=tuple(json.loads(row["settling_at_first"])),
        inspected_as=row["inspected_as"],
        unloadable=row["unloadable"],
        unloadable_why=row["unloadable_why"],
        retired_at=to_moment_or_none(row["retired_at"]),
    )


def _lineage(row: sqlite3.Row) -> Lineage:
    return Lineage(
        version=row["version"],
        continues=row["continues"],
        learned_file=row["learned_file"],
        unknown_until=to_moment_or_none(row["unknown_until"]),
        attempt=row["attempt"],
        fingerprints=tuple(json.loads(row["fingerprints"])),
        unit=row["unit"],
        created_at=to_moment_or_none(row["created_at"]),
        recorded_at=to_moment(row["changed_at"]),
    )
