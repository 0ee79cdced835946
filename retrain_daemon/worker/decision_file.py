"""decision.json: a verdict and everything it rests on, for programs; documented in docs/decision.md.

Its schema is docs/decision.schema.json, which `python -m retrain_daemon.worker.decision_file` prints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import TypeAdapter

from retrain_daemon.core.attempts import State
from retrain_daemon.core.evidence import Evidence, Searched
from retrain_daemon.core.judge import Finding, Outcome
from retrain_daemon.core.policy import Recipe, Requirement, promotion_of
from retrain_daemon.worker.report_job import ApprovalSeen, Decided, ReportedDrop, WriteReport


@dataclass(frozen=True, kw_only=True)
class PolicyNamed:
    """The policy by its file and sha256, the alias it moves, and the lines the challenger was judged by."""

    source: str
    digest: str
    alias: str
    require: tuple[Requirement, ...]
    confidence: float
    min_rows: int


@dataclass(frozen=True, kw_only=True)
class Versions:
    """Registered versions: the champion judged against, the challenger's own if it became one, the one whose learned
    state it took up, and the one that a person put up. `upstream`: who was champion of each model that it depends on
    when the attempt was decided, by the policy's name for it.
    """

    champion: int
    challenger: int | None
    continues: int | None
    offered: int | None
    upstream: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Where the challenger is in MLflow, the digest of its stored files, how many rows trained it, and what a search
    chose for it.
    """

    run_id: str
    model_uri: str
    digest: str
    training_rows: int
    searched: Searched | None


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What of the error budget the attempt used: the how manieth comparison with this champion it was, the confidence
    that claims of improvement were held to, and the how manieth look at the challenger of the attempt `again_of`.
    """

    comparison: int | None
    strict_confidence: float | None
    look: int
    again_of: str | None


@dataclass(frozen=True, kw_only=True)
class Times:
    """When the attempt was decided, when it ended (null: it waits for a person), when this was written, in UTC.
    `seconds` is from decision to end, waiting included.
    """

    decided_at: datetime
    ended_at: datetime | None
    written_at: datetime
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class DecisionFile:
    """One attempt: what was decided, measured and concluded. A newer `format` may mean something else by a field."""

    format: Literal[1] = 1
    attempt: str
    model: str
    state: State
    verdict: Outcome | None
    summary: str
    reason: str
    rule: str
    versions: Versions
    challenger: Trained | None
    findings: tuple[Finding, ...]
    evidence: Evidence | None
    policy: PolicyNamed
    recipe: Recipe
    decision: Decided | None
    drops: tuple[ReportedDrop, ...]
    budget: Budget
    approval: ApprovalSeen | None
    times: Times
    notes: tuple[str, ...]


_FILE: TypeAdapter[DecisionFile] = TypeAdapter(DecisionFile)


def decision_json(job: WriteReport) -> str:
    """The file's text."""
    return _FILE.dump_json(decision_of(job), indent=1).decode()


def decision_of(job: WriteReport) -> DecisionFile:
    """What the file says of an attempt."""
    attempt, verdict = job.attempt, job.attempt.verdict
    return DecisionFile(
        attempt=attempt.id,
        model=attempt.model,
        state=attempt.state,
        verdict=verdict.outcome if verdict else None,
        summary=verdict.summary if verdict else "",
        reason=attempt.reason,
        rule=attempt.rule,
        versions=Versions(
            champion=attempt.champion_version,
            challenger=attempt.version,
            continues=attempt.continues,
            offered=attempt.offered,
            upstream=attempt.upstream,
        ),
        challenger=_challenger(job),
        findings=verdict.findings if verdict else (),
        evidence=attempt.evidence,
        policy=_policy(job),
        recipe=attempt.recipe,
        decision=job.decided,
        drops=job.drops,
        budget=_budget(job),
        approval=job.approval,
        times=_times(job),
        notes=attempt.notes,
    )


def _challenger(job: WriteReport) -> Trained | None:
    made = job.attempt.challenger
    if made is None:
        return None
    return Trained(
        run_id=made.run_id, model_uri=made.model_uri, digest=made.digest, training_rows=made.training_rows,
        searched=made.searched,
    )  # fmt: skip


def _policy(job: WriteReport) -> PolicyNamed:
    policy = job.attempt.policy
    promotion = promotion_of(policy, job.attempt.rule)
    return PolicyNamed(
        source=policy.source,
        digest=policy.digest,
        alias=policy.alias,
        require=promotion.require,
        confidence=promotion.confidence,
        min_rows=promotion.min_rows,
    )


def _budget(job: WriteReport) -> Budget:
    evidence = job.attempt.evidence
    return Budget(
        comparison=evidence.comparison if evidence else None,
        strict_confidence=evidence.strict_confidence if evidence else None,
        look=job.attempt.look,
        again_of=job.attempt.again_of,
    )


def _times(job: WriteReport) -> Times:
    began, ended = job.attempt.started_at, job.attempt.ended_at
    seconds = round((ended - began).total_seconds(), 3) if ended else None
    return Times(decided_at=began, ended_at=ended, written_at=job.now, seconds=seconds)


def schema_text() -> str:
    """The JSON Schema of the file."""
    schema = _FILE.json_schema(mode="serialization")
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=1) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")  # noqa: T201  what it is run for
