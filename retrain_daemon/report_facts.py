"""What a report tells of an attempt, gathered from the journal into the job of the worker that writes it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from retrain_daemon.core.attempts import Attempt
from retrain_daemon.journal import Journal
from retrain_daemon.journal.drops import DropRow
from retrain_daemon.labels import run_tags
from retrain_daemon.worker.job import Source
from retrain_daemon.worker.report_job import (
    ApprovalSeen,
    Decided,
    DriftSeen,
    EarlierVerdict,
    HistoryEntry,
    ReportedDrop,
    ScoreSeen,
    WriteReport,
)

_LEFT_OUT, _SCORES, _HISTORY = 50, 100, 200


def report_job(
    journal: Journal, attempt: Attempt, source: Source, key: str, data_file: Path, now: datetime
) -> WriteReport:
    """The job that writes the report of `attempt`, whose name in MLflow is `key`; reads the journal only."""
    drops = _drops(journal, attempt)
    decision = journal.decisions.of_attempt(attempt.id)
    return WriteReport(
        source=source,
        attempt=attempt,
        key=key,
        experiment=f"retraind/{attempt.model}",
        data_file=str(data_file),
        now=now,
        decided=Decided(
            at=decision.at, action=decision.action, code=decision.code, sentence=decision.sentence, rules=decision.rules
        ) if decision else None,
        drops=tuple(map(_reported, drops)),
        left_out=_left_out(journal, attempt),
        earlier=_earlier(journal, attempt),
        scores=_scores(journal, attempt),
        drift=_drift(journal, attempt),
        approval=_approval(attempt),
        history=tuple(HistoryEntry(at=line.at, event=line.event, detail=line.detail)
                      for line in journal.history_of(attempt.id)[-_HISTORY:]),
        tags=run_tags(attempt, (drop.fingerprint for drop in drops)),
    )  # fmt: skip


def _drops(journal: Journal, attempt: Attempt) -> tuple[DropRow, ...]:
    found = map(journal.drops.by_id, journal.attempts.drops_of(attempt.id))
    return tuple(drop for drop in found if drop is not None)


def _reported(drop: DropRow) -> ReportedDrop:
    return ReportedDrop(
        name=Path(drop.path).name,
        path=drop.path,
        fingerprint=drop.fingerprint,
        state=drop.state,
        rows=drop.rows,
        usable=drop.usable,
        arrived_at=drop.arrived_at,
        reason=drop.reason,
        notes=drop.notes,
    )


def _left_out(journal: Journal, attempt: Attempt) -> tuple[ReportedDrop, ...]:
    until = attempt.started_at
    aside = [drop for drop in journal.drops.listing(attempt.model)
             if drop.state == "quarantined" and drop.arrived_at <= until]  # fmt: skip
    return tuple(map(_reported, aside[-_LEFT_OUT:]))


def _earlier(journal: Journal, attempt: Attempt) -> tuple[EarlierVerdict, ...]:
    return tuple(
        EarlierVerdict(attempt=each.attempt, version=each.version, ended_at=each.ended_at, evidence=each.evidence)
        for each in journal.reports.promoted_before(attempt)
    )


def _scores(journal: Journal, attempt: Attempt) -> tuple[ScoreSeen, ...]:
    """Of the champion it was judged against, on the newest files."""
    version, seen = attempt.champion_version, []
    for (number, metric), score in sorted(journal.scores.of_version(attempt.model, version).items())[-_SCORES:]:
        drop = journal.drops.by_id(number)
        if drop is not None and score.value is not None:
            name = Path(drop.path).name
            seen.append(ScoreSeen(version=version, file=name, metric=metric, value=score.value, rows=score.rows))
    return tuple(seen)


def _drift(journal: Journal, attempt: Attempt) -> DriftSeen | None:
    """The last measurement before the attempt began."""
    before = [each for each in journal.drift.history(attempt.model, 20) if each.at <= attempt.started_at]
    if not before:
        return None
    last = before[-1]
    return DriftSeen(
        at=last.at,
        new_rows=last.new_rows,
        reference_rows=last.reference_rows,
        columns=last.columns,
        worst=last.worst,
        value=last.value,
    )


def _approval(attempt: Attempt) -> ApprovalSeen | None:
    asked = attempt.asked
    if asked is None:
        return None
    return ApprovalSeen(
        asked_at=asked.asked_at,
        expires_at=asked.expires_at,
        answer=asked.answer.value if asked.answer else "",
        by=asked.by,
        why=asked.why,
        answered_at=asked.answered_at,
    )
