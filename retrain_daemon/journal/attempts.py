"""The tables `attempt`, `attempt_drop` and `effect`: what was begun, done and concluded."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime

from pydantic import TypeAdapter

from retrain_daemon.core.attempts import CALLED_OFF, Attempt, Effect, State
from retrain_daemon.core.decide import Decision
from retrain_daemon.core.evidence import Challenger, Evidence
from retrain_daemon.core.facts import LastAttempt
from retrain_daemon.core.judge import Verdict
from retrain_daemon.core.policy import Policy, Recipe, Scalar
from retrain_daemon.journal.approvals import asked_in
from retrain_daemon.journal.database import Database, to_moment, to_moment_or_none, to_text
from retrain_daemon.journal.decisions import Decisions
from retrain_daemon.journal.drops import JUDGED_STATES, TRAINED_ONE

_POLICY: TypeAdapter[Policy] = TypeAdapter(Policy)
_RECIPE: TypeAdapter[Recipe] = TypeAdapter(Recipe)
_CHALLENGER: TypeAdapter[Challenger] = TypeAdapter(Challenger)
_EVIDENCE: TypeAdapter[Evidence] = TypeAdapter(Evidence)
_VERDICT: TypeAdapter[Verdict] = TypeAdapter(Verdict)
#: So many earlier searches tell a new one where to begin.
_KNOWN_SEARCHES = 5
_NOTES: TypeAdapter[tuple[str, ...]] = TypeAdapter(tuple[str, ...])
_UPSTREAM: TypeAdapter[dict[str, int]] = TypeAdapter(dict[str, int])


class Attempts:
    """Statements on attempts. Each method is one transaction, or part of the caller's."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._decisions = Decisions(database)

    def plan(
        self, policy: Policy, decision: Decision, champion: int, continues: int | None, drops: Sequence[int],
        now: datetime, challenger: Challenger | None = None, again: Attempt | None = None,
        upstream: Mapping[str, int] | None = None,
    ) -> Attempt:  # fmt: skip
        """Decision, attempt, frozen champion and frozen drops: one transaction. With a `challenger` that a person
        offered, or that was judged in the attempt `again`, only that is judged. `upstream`: the champion of each
        upstream model, by name.
        """
        assert decision.recipe is not None
        with self._database.transaction():
            number = self._next_number()
            name = f"{re.sub('[^A-Za-z0-9_.-]+', '-', policy.model).strip('-.') or 'model'}-{number}"
            standing = self._decisions.note(policy.model, decision, now)
            self._database.run(
                "INSERT INTO attempt (id, number, model, state, rule, decision, policy, recipe, champion_version,"
                " continues, upstream, started_at, changed_at) VALUES (?, ?, ?, 'planned', ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                name, number, policy.model, decision.rule, standing, _POLICY.dump_json(policy).decode(),
                _RECIPE.dump_json(decision.recipe).decode(), champion, continues,
                _UPSTREAM.dump_json(dict(upstream or {})).decode(), to_text(now), to_text(now),
            )  # fmt: skip
            if challenger is not None:
                self._database.run(
                    "UPDATE attempt SET challenger = ?, version = ?, offered = ? WHERE id = ?",
                    _CHALLENGER.dump_json(challenger).decode(), challenger.offered, challenger.offered, name,
                )  # fmt: skip
            if again is not None:
                self._database.run(
                    "UPDATE attempt SET version = ?, again_of = ?, look = ? WHERE id = ?",
                    again.version, again.again_of or again.id, again.look + 1, name,
                )  # fmt: skip
            for drop in drops:
                self._database.run("INSERT INTO attempt_drop (attempt, drop_id) VALUES (?, ?)", name, drop)
        return self.get(name)

    def get(self, name: str) -> Attempt:
        """One attempt that is known to exist."""
        found = self.find(name)
        assert found is not None, name
        return found

    def find(self, name: str) -> Attempt | None:
        """One attempt, if there is one of this name."""
        row = self._database.row("SELECT * FROM attempt WHERE id = ?", name)
        return None if row is None else self._attempt(row)

    def open(self, model: str | None = None) -> tuple[Attempt, ...]:
        """Attempts that have not ended, oldest first."""
        rows = self._database.rows(
            "SELECT * FROM attempt WHERE ended_at IS NULL AND (model = ?1 OR ?1 IS NULL) ORDER BY number", model
        )
        return tuple(self._attempt(row) for row in rows)

    def of_model(self, model: str | None, limit: int) -> tuple[Attempt, ...]:
        """The newest attempts of one model or of all, newest first."""
        rows = self._database.rows(
            "SELECT * FROM attempt WHERE model = ?1 OR ?1 IS NULL ORDER BY number DESC LIMIT ?2", model, limit
        )
        return tuple(self._attempt(row) for row in rows)

    def drops_of(self, name: str) -> tuple[int, ...]:
        """The frozen drops of an attempt, in order of arrival."""
        rows = self._database.rows("SELECT drop_id FROM attempt_drop WHERE attempt = ? ORDER BY drop_id", name)
        return tuple(row["drop_id"] for row in rows)

    def leave_out(self, name: str, drop: int) -> None:
        """A frozen drop was retracted, or its bytes are gone, before a worker could read it."""
        self._database.run("DELETE FROM attempt_drop WHERE attempt = ? AND drop_id = ?", name, drop)

    def ends(self) -> dict[tuple[str, str], int]:
        """How many attempts have ended, by model and outcome."""
        rows = self._database.rows(
            "SELECT model, state, count(*) AS n FROM attempt WHERE ended_at IS NOT NULL GROUP BY model, state"
        )
        return {(row["model"], row["state"]): row["n"] for row in rows}

    def last_ended(self, model: str) -> LastAttempt | None:
        """The newest attempt of a model that was to train and has ended."""
        row = self._database.row(
            f"SELECT * FROM attempt WHERE model = ? AND ended_at IS NOT NULL AND {TRAINED_ONE}"
            " ORDER BY number DESC LIMIT 1",
            model,
        )
        if row is None:
            return None
        return LastAttempt(
            id=row["id"],
            outcome=row["state"],
            started_at=to_moment(row["started_at"]),
            ended_at=to_moment(row["ended_at"]),
            policy_digest=_POLICY.validate_json(row["policy"]).digest,
            champion_after=row["champion_after"],
            reason=row["reason"],
        )

    def last_left_champion(self, model: str) -> tuple[int, datetime] | None:
        """Which version was champion, and when, at the end of the newest attempt, or of the newest promotion where
        nothing was trained; None before the first.
        """
        row = self._database.row(
            "SELECT champion_after, ended_at FROM attempt WHERE model = ? AND champion_after IS NOT NULL"
            f" AND ended_at IS NOT NULL AND ({TRAINED_ONE} OR state = 'promoted') ORDER BY number DESC LIMIT 1",
            model,
        )
        return (row["champion_after"], to_moment(row["ended_at"])) if row else None

    def last_refused_offer(
        self, model: str, version: int, champion: int, policy_digest: str, since: datetime | None
    ) -> str:
        """Why the last judging of a version that a person offered gave no verdict, against the same champion, under
        the same policy and since the model was resumed; "" when it was not tried so. One that was called off says
        nothing of the version.
        """
        row = self._database.row(
            "SELECT reason FROM attempt WHERE model = ?1 AND offered = ?2 AND champion_version = ?3"
            " AND state = 'abandoned' AND json_extract(policy, '$.digest') = ?4 AND (?5 IS NULL OR ended_at > ?5)"
            " AND substr(reason, 1, length(?6)) <> ?6 ORDER BY number DESC LIMIT 1",
            model, version, champion, policy_digest, to_text(since) if since else None, CALLED_OFF,
        )  # fmt: skip
        return row["reason"] if row else ""

    def last_look(self, model: str, version: int, champion: int, policy_digest: str) -> Attempt | None:
        """The newest judging of a version that a person offered whose verdict took effect, against the same champion
        and under the same policy.
        """
        row = self._database.row(
            "SELECT * FROM attempt WHERE model = ? AND offered = ? AND champion_version = ?"
            f" AND json_extract(policy, '$.digest') = ? AND state IN ({JUDGED_STATES})"
            " AND NOT (state = 'rejected' AND json_extract(verdict, '$.outcome') = 'promote')"
            " ORDER BY number DESC LIMIT 1",
            model, version, champion, policy_digest,
        )  # fmt: skip
        return None if row is None else self._attempt(row)

    def last_of_ours(self, model: str) -> Attempt | None:
        """The newest attempt of a model that has ended and was about a challenger of ours, however often it was looked
        at.
        """
        row = self._database.row(
            "SELECT * FROM attempt WHERE model = ? AND ended_at IS NOT NULL AND offered IS NULL"
            " ORDER BY number DESC LIMIT 1", model,
        )  # fmt: skip
        return None if row is None else self._attempt(row)

    def searched(self, model: str) -> tuple[Mapping[str, Scalar], ...]:
        """The values that the newest searches for a model chose, by name, those that were promoted first."""
        rows = self._database.rows(
            "SELECT challenger FROM attempt WHERE model = ? AND again_of IS NULL"
            " AND json_extract(challenger, '$.searched') IS NOT NULL"
            " ORDER BY state = 'promoted' DESC, number DESC LIMIT ?", model, _KNOWN_SEARCHES,
        )  # fmt: skip
        found = (_CHALLENGER.validate_json(row["challenger"]).searched for row in rows)
        return tuple(each.chosen for each in found if each is not None)

    def had_retracted(self, name: str) -> bool:
        """Whether a file of this attempt was retracted since."""
        row = self._database.row(
            "SELECT 1 FROM attempt_drop JOIN drops ON drops.id = drop_id WHERE attempt = ? AND state = 'retracted'"
            " LIMIT 1", name,
        )  # fmt: skip
        return row is not None

    def starts_since(self, model: str, since: datetime) -> tuple[datetime, ...]:
        """When attempts of a model were decided since then, and in any case the newest."""
        rows = self._database.rows(
            f"SELECT started_at FROM attempt WHERE model = ?1 AND {TRAINED_ONE} AND (started_at >= ?2 OR number ="
            f" (SELECT max(number) FROM attempt WHERE model = ?1 AND {TRAINED_ONE})) ORDER BY number",
            model, to_text(since),
        )  # fmt: skip
        return tuple(to_moment(row["started_at"]) for row in rows)

    def abandoned_in_a_row(self, model: str, since: datetime | None) -> int:
        """How many of the newest ended attempts were abandoned one after another, not counting before `since`."""
        rows = self._database.rows(
            f"SELECT state FROM attempt WHERE model = ?1 AND {TRAINED_ONE} AND ended_at IS NOT NULL"
            " AND (?2 IS NULL OR ended_at > ?2)"
            " ORDER BY number DESC", model, to_text(since) if since else None,
        )  # fmt: skip
        states = [row["state"] for row in rows]
        return next((index for index, state in enumerate(states) if state != State.ABANDONED), len(states))

    def start(self, attempt: Attempt, now: datetime) -> None:
        """A worker is about to be started; one that was at work before it was cut short."""
        champion = attempt.champion_version
        how = f"compared with version {champion}" if champion else "measured by itself, as there is no champion"
        compared = f"{how}; nothing is trained" if not champion else f"{how}, nothing is trained"
        self._change(
            attempt, State.TRAINING, now,
            "starts = starts + 1, cuts = cuts + (state = 'training'), due_at = NULL, reason = ?",
            compared if attempt.challenger else "",
        )  # fmt: skip

    def wait(self, attempt: Attempt, reason: str, now: datetime) -> None:
        """A worker cannot be started yet."""
        self._change(attempt, attempt.state, now, "reason = ?", reason)

    def take_back_start(self, started: Attempt, before: Attempt, now: datetime) -> None:
        """The worker could not be started for want of room or the like: the attempt is as it was before."""
        self._change(
            started, before.state, now, "starts = ?, cuts = ?, due_at = ?, reason = ?",
            before.starts, before.cuts, to_text(before.due_at) if before.due_at else None, before.reason,
        )  # fmt: skip

    def accept(self, attempt: Attempt, challenger: Challenger, evidence: Evidence, notes: tuple[str, ...],
               now: datetime) -> None:  # fmt: skip
        """The one training result of this attempt."""
        self._change(
            attempt, State.TRAINED, now, "challenger = ?, evidence = ?, notes = ?, reason = ''",
            _CHALLENGER.dump_json(challenger).decode(), _EVIDENCE.dump_json(evidence).decode(),
            _NOTES.dump_json(notes).decode(),
        )  # fmt: skip

    def retry(self, attempt: Attempt, due_at: datetime, reason: str, counts: bool, now: datetime) -> None:
        """A worker failed; another is started when due."""
        self._change(
            attempt, State.FAILED, now, "failures = failures + ?, due_at = ?, reason = ?",
            int(counts), to_text(due_at), reason,
        )  # fmt: skip

    def judged(self, attempt: Attempt, verdict: Verdict, now: datetime) -> None:
        """The verdict."""
        self._change(
            attempt, State.JUDGED, now, "verdict = ?, reason = ?", _VERDICT.dump_json(verdict).decode(), verdict.summary
        )

    def judge_again(self, attempt: Attempt, champion: int, now: datetime) -> None:
        """The same challenger is to be compared with another champion, in a new round of effects."""
        self._change(
            attempt, State.PLANNED, now,
            "round = round + 1, champion_version = ?, evidence = NULL, verdict = NULL, failures = 0, starts = 0,"
            " cuts = 0, reason = ?", champion,
            f"to be judged against version {champion}, to which someone moved the alias"
            if champion else "to be judged by itself, as there is no champion any more",
        )  # fmt: skip

    def set_version(self, attempt: Attempt, version: int) -> None:
        """The challenger became a registered version."""
        self._database.change_one("UPDATE attempt SET version = ? WHERE id = ?", version, attempt.id)

    def conclude(self, attempt: Attempt, state: State, reason: str, champion_after: int | None, now: datetime) -> None:
        """The attempt has ended."""
        self._change(
            attempt, state, now, "reason = ?, champion_after = ?, ended_at = ?", reason, champion_after, to_text(now)
        )

    def begin_effect(self, attempt: Attempt, effect: Effect, detail: str, now: datetime) -> None:
        """The effect is about to be done; after a crash it may be begun again."""
        self._database.run(
            "INSERT INTO effect (subject, round, name, model, detail, begun_at, changed_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            attempt.id, attempt.round, effect.value, attempt.model, detail, to_text(now), to_text(now),
        )  # fmt: skip

    def undo_effect(self, attempt: Attempt, effect: Effect) -> None:
        """The effect was not done after all, and it is known that it was not."""
        self._database.change_one(
            "DELETE FROM effect WHERE subject = ? AND round = ? AND name = ? AND done_at IS NULL",
            attempt.id, attempt.round, effect.value,
        )  # fmt: skip

    def begin_again(self, attempt: Attempt, champion: int, reason: str, now: datetime) -> None:
        """What was trained does not count any more: a new worker, from this champion, on the drops that are left."""
        self._change(
            attempt, State.PLANNED, now,
            "round = round + 1, challenger = CASE WHEN offered IS NULL THEN NULL ELSE challenger END,"
            " evidence = NULL, verdict = NULL, version = offered, notes = '[]',"
            " failures = 0, starts = 0, cuts = 0, due_at = NULL, champion_version = ?,"
            " continues = CASE WHEN continues IS NULL THEN NULL ELSE ? END, reason = ?", champion, champion, reason,
        )  # fmt: skip

    def end_effect(self, attempt: Attempt, effect: Effect, now: datetime) -> None:
        """The effect is done."""
        self._database.change_one(
            "UPDATE effect SET done_at = ?, changed_at = ? WHERE subject = ? AND round = ? AND name = ?",
            to_text(now), to_text(now), attempt.id, attempt.round, effect.value,
        )  # fmt: skip

    def _change(self, attempt: Attempt, state: State, now: datetime, columns: str, *values: str | int | None) -> None:
        """Move an attempt on; it must still be in the state it was read in."""
        numbered = [columns, "state = ?", "changed_at = ?"]
        self._database.change_one(
            f"UPDATE attempt SET {', '.join(numbered)} WHERE id = ? AND state = ? AND round = ?",
            *values, state.value, to_text(now), attempt.id, attempt.state.value, attempt.round,
        )  # fmt: skip

    def _next_number(self) -> int:
        row = self._database.row("SELECT coalesce(max(number), 0) + 1 FROM attempt")
        assert row is not None
        return int(row[0])

    def _attempt(self, row: sqlite3.Row) -> Attempt:
        effects = self._database.rows(
            "SELECT name, done_at FROM effect WHERE subject = ? AND round = ?", row["id"], row["round"]
        )
        return Attempt(
            id=row["id"],
            number=row["number"],
            model=row["model"],
            state=State(row["state"]),
            policy=_POLICY.validate_json(row["policy"]),
            recipe=_RECIPE.validate_json(row["recipe"]),
            rule=row["rule"],
            champion_version=row["champion_version"],
            started_at=to_moment(row["started_at"]),
            continues=row["continues"],
            round=row["round"],
            starts=row["starts"],
            failures=row["failures"],
            cuts=row["cuts"],
            due_at=to_moment_or_none(row["due_at"]),
            challenger=_CHALLENGER.validate_json(row["challenger"]) if row["challenger"] else None,
            evidence=_EVIDENCE.validate_json(row["evidence"]) if row["evidence"] else None,
            verdict=_VERDICT.validate_json(row["verdict"]) if row["verdict"] else None,
            notes=_NOTES.validate_json(row["notes"]),
            version=row["version"],
            reason=row["reason"],
            ended_at=to_moment_or_none(row["ended_at"]),
            begun=frozenset(Effect(effect["name"]) for effect in effects),
            done=frozenset(Effect(effect["name"]) for effect in effects if effect["done_at"]),
            offered=row["offered"],
            again_of=row["again_of"],
            look=row["look"],
            reported=row["reported"],
            upstream=_UPSTREAM.validate_json(row["upstream"]),
            asked=asked_in(self._database, row["id"], row["round"]),
        )
