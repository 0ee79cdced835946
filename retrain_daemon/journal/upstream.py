"""The table `upstream_seen` and the column `attempt.upstream`: who was champion of the models that one depends on, when
they were first seen and when attempts were decided.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from retrain_daemon.core.policy import Upstream
from retrain_daemon.journal.database import Database, to_text
from retrain_daemon.journal.drops import TRAINED_ONE


@dataclass(frozen=True)
class ChampionsThen:
    """By the policy's name for each: which model it was, and the version that was its champion."""

    models: Mapping[str, Upstream] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)

    def version(self, name: str, upstream: Upstream) -> int | None:
        """The version, if it is known and the name stood for the same model and alias."""
        return self.versions.get(name) if self.models.get(name) == upstream else None


class UpstreamTable:
    """Statements on both."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def first_seen(self, model: str) -> ChampionsThen:
        """When the policy of this model was first seen with each of them."""
        rows = self._database.rows("SELECT * FROM upstream_seen WHERE model = ?", model)
        return ChampionsThen(
            {row["name"]: Upstream(row["upstream"], row["alias"]) for row in rows},
            {row["name"]: row["version"] for row in rows},
        )

    def note_first_seen(self, model: str, name: str, upstream: Upstream, version: int, now: datetime) -> None:
        """The first sight of a model under this name; another one that had the name is forgotten."""
        self._database.run(
            "INSERT OR REPLACE INTO upstream_seen (model, name, upstream, alias, version, at)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            model, name, upstream.model, upstream.alias, version, to_text(now),
        )  # fmt: skip

    def forget_others(self, model: str, names: Collection[str]) -> None:
        """The policy of this model has only these names any more."""
        for name in self.first_seen(model).models.keys() - set(names):
            self._database.run("DELETE FROM upstream_seen WHERE model = ? AND name = ?", model, name)

    def at_last_start(self, model: str) -> ChampionsThen:
        """When the newest attempt that trains was decided, leaving out those that were abandoned."""
        return self._at_newest(model, "state <> 'abandoned'")

    def at_last_ended(self, model: str) -> ChampionsThen:
        """When the newest attempt that trained and has ended was decided."""
        return self._at_newest(model, "ended_at IS NOT NULL")

    def _at_newest(self, model: str, condition: str) -> ChampionsThen:
        row = self._database.row(
            "SELECT upstream, json_extract(policy, '$.upstream') AS models FROM attempt"
            f" WHERE model = ? AND {TRAINED_ONE} AND {condition} ORDER BY number DESC LIMIT 1", model,
        )  # fmt: skip
        return ChampionsThen() if row is None else _then(row)


def _then(row: sqlite3.Row) -> ChampionsThen:
    """Attempts that were decided before policies could name upstream models have none."""
    named = json.loads(row["models"] or "{}")
    models = {name: Upstream(each["model"], each["alias"]) for name, each in named.items()}
    return ChampionsThen(models, json.loads(row["upstream"]))
