"""The job that writes an attempt's report, as values: everything the page and decision.json tell, from the journal.

Part of the contract that `job.py` writes and reads; imports no framework and nothing of the daemon.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from retrain_daemon.core.attempts import Attempt
from retrain_daemon.core.decide import RuleReport
from retrain_daemon.core.evidence import Evidence
from retrain_daemon.worker.data_jobs import Source


@dataclass(frozen=True, kw_only=True)
class Decided:
    """The decision that began an attempt, with how each rule stood and the values in it."""

    at: datetime
    action: str
    code: str
    sentence: str
    rules: tuple[RuleReport, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReportedDrop:
    """A file the attempt had. `state` is that of today; `fingerprint` is the sha256 of its bytes."""

    name: str
    path: str
    fingerprint: str
    state: str
    rows: int
    usable: int
    arrived_at: datetime
    reason: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EarlierVerdict:
    """A promotion of the same model before this attempt, with what was measured then, on the rows of then."""

    attempt: str
    version: int
    ended_at: datetime
    evidence: Evidence


@dataclass(frozen=True, kw_only=True)
class ScoreSeen:
    """What a version scored on one file, on rows that it had not learned from."""

    version: int
    file: str
    metric: str
    value: float
    rows: int


@dataclass(frozen=True, kw_only=True)
class DriftSeen:
    """How far the new rows were from what was learned before, by column: the last measurement before the attempt."""

    at: datetime
    new_rows: int
    reference_rows: int
    columns: Mapping[str, float | None]
    worst: str
    value: float | None


@dataclass(frozen=True, kw_only=True)
class ApprovalSeen:
    """A person's approval: asked when and until when, answered (approve, reject, or nothing yet), by whom and why."""

    asked_at: datetime
    expires_at: datetime
    answer: str = ""
    by: str = ""
    why: str = ""
    answered_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    """One line of the attempt's history."""

    at: datetime
    event: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class WriteReport:
    """Render the report of `attempt` and put it, with decision.json, into its challenger's run; a version that a person
    brought gets a run of its own, in `experiment`. Registers nothing and moves no alias.

    `key` names the attempt as in `Train`; `data_file` holds what its worker kept for the report, and may be gone.
    `left_out` are files that were set aside at the time of the attempt, with the reason in each.
    """

    kind: Literal["write_report"] = "write_report"
    source: Source
    attempt: Attempt
    key: str
    experiment: str
    data_file: str
    now: datetime
    decided: Decided | None = None
    drops: tuple[ReportedDrop, ...] = ()
    left_out: tuple[ReportedDrop, ...] = ()
    earlier: tuple[EarlierVerdict, ...] = ()
    scores: tuple[ScoreSeen, ...] = ()
    drift: DriftSeen | None = None
    approval: ApprovalSeen | None = None
    history: tuple[HistoryEntry, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ReportWritten:
    """Result of `WriteReport`: the run that holds it."""

    kind: Literal["report_written"] = "report_written"
    run_id: str
