"""What becomes of a file that was inspected: it counts, or is set aside with a reason.

When files are found and inspected is in `intake.py`; what is wrong with one is found by the worker.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

from retrain_daemon.journal import Journal
from retrain_daemon.journal.drops import DropRow, Inspected
from retrain_daemon.log import get_logger
from retrain_daemon.news import Announcer, News
from retrain_daemon.worker.job import DropReport

_log = get_logger()


class Settling:
    """Takes reports into the journal, one file at a time, inside the caller's transaction."""

    def __init__(self, journal: Journal, announcer: Announcer) -> None:
        self._journal = journal
        self._announcer = announcer

    def settle(self, drop: DropRow, report: DropReport, purpose: str, now: datetime) -> None:
        """Quarantined, duplicate, renewed, moved or recorded. Bytes in use, or let pass before, are not suspect."""
        drops = self._journal.drops
        same = drops.with_fingerprint(drop.model, report.fingerprint, "recorded")
        retracted = drops.with_fingerprint(drop.model, report.fingerprint, "retracted")
        released = drops.released_with(drop.model, report.fingerprint) if _may_pass(drop, report) else None
        if report.problem and not (report.suspect and (same or retracted or released)):
            self._quarantine(drop, report, report.problem, report.hint, purpose, now)
        elif retracted is not None:
            reason = f"the same bytes as {Path(retracted.path).name}, which was retracted: {retracted.reason}"
            hint = "Drop corrected rows instead."
            self._quarantine(drop, replace(report, suspect=False), reason, hint, purpose, now)
        elif same is not None and same.path == drop.path:
            drops.renew(drop, same, now)
        elif same is not None and same.missing:
            drops.move(drop, same, now)
            _log.info("drop.moved", model=drop.model, file=Path(drop.path).name, was=Path(same.path).name)
        elif same is not None:
            reason = f"the same bytes as {Path(same.path).name}"
            drops.set_aside(drop, "duplicate", report.fingerprint, reason, "", now)
            _log.warning("drop.duplicate", model=drop.model, file=Path(drop.path).name, reason=reason)
        elif released is not None:
            drops.release_like(drop, released, now)
        else:
            self._record(drop, report, purpose, now)

    def tell_quarantined(self, model: str, path: str, reason: str, now: datetime) -> None:
        """Let those know who want to be told of refused files."""
        news = News(occasion="quarantined", at=now, model=model, file=Path(path).name, reason=reason)
        self._announcer.tell(news)

    def _record(self, drop: DropRow, report: DropReport, purpose: str, now: datetime) -> None:
        self._journal.drops.record(drop, _inspected(report), purpose, now)
        name = Path(drop.path).name
        _log.info(
            "drop.recorded",
            model=drop.model,
            file=name,
            rows=report.rows,
            new=report.new,
            corrected=report.corrected,
            fingerprint=report.fingerprint[:6],
        )
        for note in report.notes:
            _log.info("drop.noticed", model=drop.model, file=name, note=note)

    def _quarantine(
        self, drop: DropRow, report: DropReport, reason: str, hint: str, purpose: str, now: datetime
    ) -> None:
        drops, fingerprint = self._journal.drops, report.fingerprint
        drops.set_aside(drop, "quarantined", fingerprint, reason, hint, now, suspect=report.suspect)
        if report.units_file:
            drops.note_units(drop, report.units_file, purpose)
        _log.warning("drop.quarantined", model=drop.model, file=Path(drop.path).name, reason=reason)
        self.tell_quarantined(drop.model, drop.path, reason, now)


def _may_pass(drop: DropRow, report: DropReport) -> bool:
    """Whether it counts that a person let these bytes pass: not where the inspection knew that and refuses all the
    same.
    """
    return report.suspect and drop.released_at is None


def _inspected(report: DropReport) -> Inspected:
    return Inspected(
        fingerprint=report.fingerprint,
        rows=report.rows,
        usable=report.usable,
        new=report.new,
        training=report.training,
        judging=report.judging,
        rows_file=report.rows_file,
        units_file=report.units_file,
        profile_file=report.profile_file,
        corrected=report.corrected,
        notes=report.notes,
        events_by=report.events_by,
    )
