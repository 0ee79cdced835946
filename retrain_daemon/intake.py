"""Intake: files of a drop folder become drops in the journal, inspected by a worker.

What a file's rows are worth is found by the worker, what becomes of a file then is in `settling.py`; whether to train
on them is decided elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path

from retrain_daemon.champions import note_unloadable
from retrain_daemon.core.decide import FRAMEWORK_MISSING
from retrain_daemon.core.policy import MissingFiles, Policy
from retrain_daemon.drops import DropFolders, Scan, Stamp, Watched
from retrain_daemon.executor.jobs import Executor
from retrain_daemon.executor.limits import Limits
from retrain_daemon.executor.supervisor import Ended, Running
from retrain_daemon.journal import Journal
from retrain_daemon.journal.drops import DropRow
from retrain_daemon.log import get_logger
from retrain_daemon.news import NOBODY, Announcer
from retrain_daemon.settling import Settling
from retrain_daemon.shortage import made
from retrain_daemon.turns import Turns
from retrain_daemon.worker.data_jobs import COMPARED_WITH
from retrain_daemon.worker.job import (
    DropFile,
    DropReport,
    DropsInspected,
    Failed,
    InspectDrops,
    ProfiledDrop,
    Source,
)

#: A file that could not be read just now is looked at again after so long.
LOOK_AGAIN = timedelta(seconds=20)
#: A file that brings its worker down so often, inspected alone, is set aside.
LOSSES_TO_SET_ASIDE = 3
#: Reading and hashing files may take so long.
INSPECTION_LIMITS = Limits(run_for=timedelta(hours=1), memory=None)
#: How the names of inspections' jobs begin.
_JOB = "inspect-"

_log = get_logger()


@dataclass(frozen=True)
class _Inspection:
    """An inspection under way: the drops as they were when it began, and what it was asked with."""

    key: str
    drops: tuple[DropRow, ...]
    purpose: str


class Intake:
    """Scans folders and runs inspections; remembers only what a restart may forget."""

    def __init__(
        self, journal: Journal, folders: DropFolders, executor: Executor, state: Path, at_most: int = 2,
        announcer: Announcer = NOBODY,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._folders = folders
        self._executor = executor
        self._settling = Settling(journal, announcer)
        self._rows = state / "rows"
        self._turns = Turns(at_most)
        self._running: dict[str, _Inspection] = {}
        self._not_before: dict[str, datetime] = {}
        self._refused_for: dict[str, str] = {}
        self._losses: dict[str, int] = {}
        self._unsettled: dict[str, frozenset[str]] = {}
        self.problems: dict[str, str] = {}

    def scan(self, policy: Policy, now: datetime) -> datetime | None:
        """Bring the journal up to date with the folder; returns when a file that settles could be complete."""
        watched = watched_folder(policy)
        known = {path: Stamp(*stamp) for path, stamp in self._journal.drops.known(policy.model).items()}
        scan = self._folders.scan(watched, known, now)
        self._note_problem(policy.model, scan.problem)
        if scan.problem:
            return scan.next_look
        self._prepare(policy.model, scan, now)
        with self._journal.transaction():
            row = self._journal.models.find(policy.model)
            history = row.settling_at_first if row is not None else ()
            self._record(policy.model, scan, history, now)
            self._note_missing(policy, scan, now)
            if row is not None and row.adopted_at is None:
                self._journal.models.adopt(policy.model, scan.settling, now)
            self._leave_outside(policy, now)
        return scan.next_look

    def _prepare(self, model: str, scan: Scan, now: datetime) -> None:
        """At a file's first sight; one that waits for its marker for weeks keeps nothing warm."""
        settling = frozenset(scan.settling)
        if scan.found or settling - self._unsettled.get(model, frozenset()):
            self._executor.expect(model, now)
        self._unsettled[model] = settling

    def _leave_outside(self, policy: Policy, now: datetime) -> None:
        """Files that an edited `data.path` does not cover any more stop counting."""
        for drop in self._journal.drops.listing(policy.model):
            folder, name = os.path.split(drop.path)
            covered = folder == policy.data.folder and fnmatchcase(name, policy.data.pattern)
            if drop.current and drop.state != "vanished" and not covered:
                self._journal.drops.leave(drop, "the policy's data.path no longer covers it", now)
                _log.warning("drop.left", model=policy.model, file=name)

    def _record(self, model: str, scan: Scan, history: tuple[str, ...], now: datetime) -> None:
        """A file that was settling at the first look was there then: its rows are history."""
        row = self._journal.models.find(model)
        known = self._journal.drops.known(model)
        for found in scan.found:
            arrived = found.arrived_at
            if row is not None and row.adopted_at is not None and found.path in history and found.path not in known:
                arrived = min(arrived, row.adopted_at)
            self._journal.drops.add(model, found.path, _triple(found.stamp), now, arrived_at=arrived)
            _log.info("drop.seen", model=model, file=Path(found.path).name, bytes=found.stamp.size)
        for unusable in scan.unusable:
            stamp = _triple(unusable.stamp)
            self._journal.drops.add(model, unusable.path, stamp, now, reason=unusable.reason, hint=unusable.hint)
            _log.warning("drop.quarantined", model=model, file=Path(unusable.path).name, reason=unusable.reason)
            self._settling.tell_quarantined(model, unusable.path, unusable.reason, now)

    def _note_missing(self, policy: Policy, scan: Scan, now: datetime) -> None:
        skip = policy.data.missing is MissingFiles.SKIP
        for path in self._journal.drops.mark_missing(policy.model, frozenset(scan.gone), now, skip=skip):
            _log.warning("drop.missing", model=policy.model, file=Path(path).name, skipped=skip)

    def _note_problem(self, model: str, problem: str) -> None:
        if problem and self.problems.get(model) != problem:
            _log.warning("folder.problem", model=model, problem=problem)
        if not problem and self.problems.get(model):
            _log.info("folder.recovered", model=model)
        self.problems[model] = problem

    def inspect(self, policy: Policy, source: Source, now: datetime) -> bool:
        """Start, or take in, the inspection of a model's waiting drops; returns whether anything changed."""
        running = self._running.get(policy.model)
        if running is not None:
            return self._collect(policy.model, running, now)
        purpose = self._purpose(policy, source, now)
        waiting = self._journal.drops.to_inspect(policy.model)
        row = self._journal.models.find(policy.model)
        if not waiting or row is None or not row.trouble:
            self._refused_for.pop(policy.model, None)
        if not waiting:
            self._journal.models.set_trouble(policy.model, "", now)
            self._not_before.pop(policy.model, None)
        wait = self._not_before.get(policy.model, now) - now
        early = timedelta(0) < wait <= LOOK_AGAIN  # a longer one is of a clock that was set back since
        if not waiting or early or self._refused_for.get(policy.model) == purpose:
            self._turns.leave(policy.model)
            return False
        if not self._turns.may_start(policy.model, len(self._running)):
            return self._turns.idle_places(len(self._running))
        alone = self._losses.get(policy.model, 0) > 0
        self._start(policy, source, waiting[:1] if alone else waiting, purpose, now)
        return True

    def _purpose(self, policy: Policy, source: Source, now: datetime) -> str:
        """What inspections rest on. When that changes, every file is inspected again."""
        assert source.version is not None
        root = self._journal.models.signature_root(policy.model, source.version)
        data = policy.data
        settings = (data.target, data.features, data.group, data.row_id, data.event_time, data.holdout, data.shape,
                    data.weight, data.model_outputs, data.expect)  # fmt: skip
        # What stands after the first blank says whether keys of features can be compared.
        features = f"features {sha256(repr(data.features).encode()).hexdigest()[:16]}" if data.features else "all"
        purpose = f"{sha256(repr(settings).encode()).hexdigest()[:16]} {features} of the signature of version {root}"
        row = self._journal.models.find(policy.model)
        if row is not None and row.inspected_as != purpose:
            with self._journal.transaction():
                if row.inspected_as:
                    self._journal.drops.inspect_again(policy.model, now)
                    _log.info("drops.inspected_again", model=policy.model, reason="data settings or signature changed")
                self._journal.models.note_inspected_as(policy.model, purpose, now)
        return purpose

    def _start(self, policy: Policy, source: Source, waiting: tuple[DropRow, ...], purpose: str, now: datetime) -> None:
        rows = self._rows / sha256(policy.model.encode()).hexdigest()[:16]
        made(rows)
        files = tuple(
            DropFile(
                drop=drop.id,
                path=drop.path,
                first_seen=drop.arrived_at,
                fingerprint=drop.fingerprint,
                released=drop.released_at is not None or _has_passed(drop, purpose),
            )
            for drop in waiting
        )
        job = InspectDrops(
            source=source,
            data=policy.data,
            files=files,
            known_rows=self._journal.drops.known_rows(policy.model),
            newer_rows=self._journal.drops.known_rows(policy.model, since=waiting[0].id),
            rows_folder=str(rows),
            reference=self._journal.drops.reference(policy.model),
            needs_framework=_needs_framework(policy),
            profiles=self._earlier(policy.model, waiting),
        )
        key = f"{_JOB}{waiting[0].id}"
        self._executor.start(key, job, INSPECTION_LIMITS, now)
        self._running[policy.model] = _Inspection(key, waiting, purpose)

    def _earlier(self, model: str, waiting: tuple[DropRow, ...]) -> tuple[ProfiledDrop, ...]:
        """The newest drops in use before the first and before the last that waits: what each is compared with."""
        profiled = [drop for drop in self._journal.drops.in_use(model) if drop.profile_file]
        before_first = [drop for drop in profiled if drop.id < waiting[0].id][-COMPARED_WITH:]
        before_last = [drop for drop in profiled if waiting[0].id < drop.id < waiting[-1].id][-COMPARED_WITH:]
        return tuple(
            ProfiledDrop(drop=drop.id, profile_file=drop.profile_file) for drop in (*before_first, *before_last)
        )

    def waiting(self, now: datetime) -> frozenset[str]:
        """Models with an inspection under way or whose turn it is to begin one, or with a file that is to be looked at
        again by now.
        """
        due = (model for model, moment in self._not_before.items() if now >= moment)
        return frozenset((*self._running, *self._turns.next(len(self._running)), *due))

    def give_way(self, model: str, now: datetime) -> bool:
        """It cannot begin an inspection for now: others need not wait for it, nor for one of it that has ended. Returns
        whether anything changed.
        """
        self._turns.leave(model)
        running = self._running.get(model)
        return running is not None and self._collect(model, running, now)

    def clear_away(self) -> None:
        """Remove inspections of an earlier life: what they had not told is found out anew."""
        for key in self._executor.kept():
            if key.startswith(_JOB) and key.removeprefix(_JOB).isdecimal():
                self._executor.discard(key)

    def is_inspecting(self, model: str) -> bool:
        """Whether an inspection of this model is under way."""
        return model in self._running

    def busy(self) -> bool:
        """Whether an inspection is under way."""
        return bool(self._running)

    def forget(self, models: Collection[str]) -> None:
        """These models are watched no more: what was under way for them is stopped."""
        for model in models:
            self._turns.leave(model)
            running = self._running.pop(model, None)
            if running is not None:
                self._executor.discard(running.key)
            for remembered in (
                self._not_before, self._refused_for, self._losses, self._unsettled, self.problems,
            ):  # fmt: skip
                remembered.pop(model, None)

    def next_due(self) -> datetime | None:
        """When a file is to be looked at again."""
        return min(self._not_before.values(), default=None)

    def _collect(self, model: str, running: _Inspection, now: datetime) -> bool:
        seen = self._executor.look(running.key)
        if isinstance(seen, Running):
            return False
        del self._running[model]
        self._not_before.pop(model, None)
        match seen:
            case Ended(result=DropsInspected(reports=reports)):
                self._take_in(model, running, {report.drop: report for report in reports}, now)
            case Ended(result=Failed() as failed):
                self._note_failure(model, running, failed, now)
            case _:
                self._not_before[model] = now + LOOK_AGAIN
        self._executor.discard(running.key)
        return True

    def _note_failure(self, model: str, running: _Inspection, failed: Failed, now: datetime) -> None:
        if note_unloadable(model, failed, self._journal, now):
            return
        sentence = f"drops cannot be inspected: {failed.message} {failed.hint}".strip()
        _log.warning("inspection.failed", model=model, reason=sentence, temporary=failed.temporary)
        code = FRAMEWORK_MISSING if failed.framework_missing else ""
        self._journal.models.set_trouble(model, sentence, now, code)
        if failed.lost:
            self._note_loss(model, running, failed, now)
        if failed.temporary:
            self._not_before[model] = now + LOOK_AGAIN
        else:
            self._refused_for[model] = running.purpose

    def _note_loss(self, model: str, running: _Inspection, failed: Failed, now: datetime) -> None:
        """A file that brings the worker down is found by inspecting one at a time, and set aside after some tries."""
        alone = len(running.drops) == 1
        self._losses[model] = self._losses.get(model, 0) + 1 if alone else 1
        if alone and self._losses[model] > LOSSES_TO_SET_ASIDE:
            reason = f"its inspection did not come to an end {LOSSES_TO_SET_ASIDE} times: {failed.message}"
            self._journal.drops.set_aside(running.drops[0], "quarantined", "", reason, "Drop it in smaller parts.", now)
            self._settling.tell_quarantined(model, running.drops[0].path, reason, now)
            self._losses[model] = 1

    def _take_in(self, model: str, running: _Inspection, reports: dict[int, DropReport], now: datetime) -> None:
        with self._journal.transaction():
            self._journal.models.set_trouble(model, "", now)
            if len(running.drops) > 1 or len(self._journal.drops.to_inspect(model)) <= 1:
                self._losses.pop(model, None)
            elif model in self._losses:
                self._losses[model] = 1
            current = {drop.id: drop for drop in self._journal.drops.to_inspect(model)}
            for before in running.drops:
                drop, report = current.get(before.id), reports.get(before.id)
                if drop is None or report is None or drop.stamp != before.stamp:
                    continue
                if report.temporary:
                    self._not_before[model] = now + LOOK_AGAIN
                    _log.warning("drop.unreadable", model=model, file=Path(drop.path).name, reason=report.problem)
                else:
                    self._settling.settle(drop, report, running.purpose, now)


def _has_passed(drop: DropRow, purpose: str) -> bool:
    """Whether these bytes count, and would by the same settings look wrong only beside other files than they were let
    in beside, or were let in before a file was compared with others at all.
    """
    return drop.usable > 0 and (drop.inspected_as == purpose or not drop.profile_file)


def _needs_framework(policy: Policy) -> bool:
    """Whether any training of the model runs in the daemon's own environment."""
    return any(not recipe.python for recipe in (policy.requested, *(rule.recipe for rule in policy.rules)))


def watched_folder(policy: Policy) -> Watched:
    """What the gateway to drop folders has to know of a policy."""
    data = policy.data
    return Watched(
        model=policy.model, folder=data.folder, pattern=data.pattern, complete=data.complete, polling=data.polling,
        follow_links=data.follow_links,
    )  # fmt: skip


def _triple(stamp: Stamp) -> tuple[int, int, int]:
    return (stamp.size, stamp.mtime_ns, stamp.inode)
