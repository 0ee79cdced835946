"""What is in dropped files, before anything is trained: one report a file, and the record of what a champion learned.

Reads data and signatures only; no model is loaded here.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from retrain_daemon.core.policy import DataSpec, Holdout
from retrain_daemon.errors import DataProblem, NotFound, SuspectData
from retrain_daemon.worker.checks import Opened, look_at, wrong_columns
from retrain_daemon.worker.complaints import Complaint, rate, together
from retrain_daemon.worker.dataset import FUTURE_ALLOWED
from retrain_daemon.worker.earlier import Earlier
from retrain_daemon.worker.expected import unexpected
from retrain_daemon.worker.feature_names import has_patterns
from retrain_daemon.worker.features import Counted
from retrain_daemon.worker.files import FileUnsettled, available, fingerprint, refuse_cut_short, stamp
from retrain_daemon.worker.formats import shown
from retrain_daemon.worker.job import (
    DropFile,
    DropReport,
    DropsInspected,
    InspectDrops,
    LearnedRecorded,
    Progress,
    RecordLearned,
    Source,
)
from retrain_daemon.worker.known_rows import SUFFIX, KnownRows, RowRecord, record_rows
from retrain_daemon.worker.labelled import Rows, moment
from retrain_daemon.worker.profile import Profile, Profiler, save_profile
from retrain_daemon.worker.row_reading import FileRows, read_rows, read_units
from retrain_daemon.worker.rows import Keys, judges, save_keys, unit_keys
from retrain_daemon.worker.schema import Schema
from retrain_daemon.worker.signature import read_schema

Tell = Callable[[Progress], None]
#: Of more than so many notes on one file the first are kept.
MOST_NOTES = 20


def inspect_drops(job: InspectDrops, progress: Tell) -> DropsInspected:
    """One report for each file, in order; a file that cannot be used is a report with a problem, never an error.

    Writes the record of usable rows as `<fingerprint>.rows.npy` to `job.rows_folder`, and the distribution of each
    column as `<fingerprint>.profile.npz`. Raises Refused, NotFound or
    RegistryUnreachable when it is not known what the model's columns are.
    """
    progress(Progress(phase=f"reading the signature of {job.source.model}"))
    flavor = _installed(job.source) if job.needs_framework and job.source.version is not None else ""
    schema = _schema(job.source, job.data, (job.reference, *(file.path for file in job.files)))
    known = KnownRows(job.known_rows, frozenset(job.newer_rows))
    earlier = Earlier(job.profiles, job.data.target.columns)
    reports = []
    for done, file in enumerate(job.files):
        progress(Progress(phase=f"reading {shown(file.path)}", done=done, total=len(job.files)))
        reports.append(_report(file, job, schema, known, earlier))
    return DropsInspected(reports=tuple(reports), flavor=flavor)


def _installed(source: Source) -> str:
    """The version's flavour; raises FrameworkMissing where what it needs is not installed."""
    from retrain_daemon.worker.cards import connect, read_version  # MLflow takes a second to import
    from retrain_daemon.worker.flavors import refuse_missing

    connect(source)
    card = read_version(source)
    refuse_missing(card)
    return card.flavor


def _schema(source: Source, data: DataSpec, paths: Sequence[str]) -> Schema | None:
    """The model's columns; where patterns leave them to a file, by the first that fits. None: no file does."""
    if not has_patterns(data):
        return read_schema(source, data)
    for path in filter(None, paths):
        try:
            return read_schema(source, data, path)
        except DataProblem:
            continue  # this file's own report says what is wrong with it
    return None


def record_learned(job: RecordLearned, progress: Tell) -> LearnedRecorded:
    """Write the unit keys of all rows in `job.paths` (files, folders or file name patterns) to `job.learned_file`.

    The files need no target. Raises NotFound for a path without files and DataProblem for a file that cannot be
    read whole: a record with gaps would let learned rows judge.
    """
    progress(Progress(phase=f"reading the signature of {job.source.model}"))
    paths = list(dict.fromkeys(path for named in job.paths for path in _files_of(named)))
    schema = read_schema(job.source, job.data, job.reference or paths[0])
    keys: list[Keys] = []
    fingerprints = []
    for done, path in enumerate(paths):
        progress(Progress(phase=f"reading {shown(path)}", done=done, total=len(paths)))
        found, units = _units(path, job.data, schema)
        fingerprints.append(found)
        keys.append(units)
    learned = np.unique(np.concatenate(keys))
    save_keys(job.learned_file, learned)
    rows = sum(len(part) for part in keys)
    return LearnedRecorded(rows=rows, keys=len(learned), fingerprints=tuple(fingerprints))


@dataclass(frozen=True)
class _Found:
    """What one file that can be used holds."""

    read: FileRows
    profile: Profile
    suspect: tuple[Complaint, ...]
    notes: tuple[str, ...]


def _report(file: DropFile, job: InspectDrops, schema: Schema | None, known: KnownRows, earlier: Earlier) -> DropReport:
    found, before = "", None
    try:
        before = stamp(file.path)
        found = fingerprint(file.path)
        if file.fingerprint and found != file.fingerprint:
            raise FileUnsettled(f"{shown(file.path)} has other bytes than were recorded.", "It is recorded anew.")
        seen = _looked_into(file, job.data, schema or read_schema(job.source, job.data, file.path), earlier)
        if stamp(file.path) != before:
            raise FileUnsettled(f"{shown(file.path)} changed while it was read.", "Rename files into the folder.")
    except DataProblem as problem:
        return DropReport(
            drop=file.drop,
            fingerprint=found,
            problem=problem.message,
            hint=problem.hint,
            temporary=problem.temporary or _changed(file.path, before),
        )
    if seen.suspect and not file.released:
        return _refused(file.drop, found, seen, job)
    earlier.add(file.drop, seen.profile)
    return _used(file.drop, found, seen, job, known)


def _events_by(rows: Rows, spec: DataSpec) -> datetime | None:
    """When nine tenths of the rows had happened; None where nothing says when rows happen."""
    if spec.event_time is None or not len(rows):
        return None
    place = -(-9 * len(rows) // 10) - 1
    happened = np.partition(rows.event_time, place)[place]
    return pd.Timestamp(happened, tz="UTC").to_pydatetime().replace(tzinfo=UTC)


def _changed(path: str, before: tuple[int, ...] | None) -> bool:
    """Whether a file is another one than it was, so that what was found wrong may be wrong no more."""
    try:
        return before is not None and stamp(path) != before
    except DataProblem:
        return True


def _looked_into(file: DropFile, spec: DataSpec, schema: Schema, earlier: Earlier) -> _Found:
    """Read one file, check it, profile it. Raises DataProblem with all that keeps it from being used."""
    suspect = _cut_short(file, spec)
    profiler = Profiler(schema)

    def keep(features: pd.DataFrame) -> Counted:
        profiler.add(features)
        return Counted(features)

    try:
        read = read_rows(replace(file, fingerprint=""), spec, schema, keep)
    except DataProblem as problem:
        if problem.temporary:
            raise
        wrong = dict.fromkeys([Complaint(problem.message, problem.hint), *wrong_columns(file.path, spec, schema)])
        raise _problem((*wrong, *(Complaint(each.sentence) for each in suspect))) from problem
    profiler.add(pd.DataFrame(), read.rows.target)
    profile = profiler.result()
    looked = look_at(Opened(file.path, read, profile, earlier.before(file.drop), spec, schema))
    suspect = (*suspect, *looked.suspect, *unexpected(file.path, spec, schema))
    if looked.wrong:
        raise _problem((*looked.wrong, *(Complaint(each.sentence) for each in suspect)))
    passed = [f"Let pass: {each.sentence}" for each in suspect if file.released]
    return _Found(read, profile, suspect, (*passed, *_unused(file, read, spec), *looked.notes))


def _cut_short(file: DropFile, spec: DataSpec) -> tuple[Complaint, ...]:
    """A marker says that the file is whole."""
    try:
        if spec.complete.marker is None:
            refuse_cut_short(file.path)
    except SuspectData as suspect:
        return (Complaint(suspect.message, suspect.hint),)
    return ()


def _problem(complaints: Sequence[Complaint]) -> DataProblem:
    said = together(complaints)
    return DataProblem(said.sentence, said.hint)


def _unused(file: DropFile, read: FileRows, spec: DataSpec) -> tuple[str, ...]:
    """Rows that do not count, or not as those who wrote them may think, as notes."""
    rows = read.rows
    ahead = rows.event_time > moment(file.first_seen) + FUTURE_ALLOWED if spec.event_time else np.zeros(0)
    alone = rows.unit_keys == unit_keys(pd.DataFrame({spec.group: [None]}), [spec.group]) if spec.group else np.zeros(0)
    said = (
        (read.total - len(rows), "lack a finite target or an event time and are not used"),
        (len(rows) - len(np.unique(rows.row_keys)), "repeat another row of the file"),
        (int(ahead.sum()), "are dated more than a day ahead and are not used before that day"),
        (int(alone.sum()), f"have no {spec.group} and count as one group"),
    )
    return tuple(f"{rate(count, read.total)} of {shown(file.path)} {what}." for count, what in said if count)


def _refused(drop: int, found: str, seen: _Found, job: InspectDrops) -> DropReport:
    """A file that looks wrong. Its rows do not count, but they were seen: they may come back in another file."""
    said = together(seen.suspect)
    return DropReport(
        drop=drop, fingerprint=found, problem=said.sentence, hint=said.hint, suspect=True,
        units_file=_kept_units(found, seen, job),
    )  # fmt: skip


def _kept_units(found: str, seen: _Found, job: InspectDrops) -> str:
    path = Path(job.rows_folder) / f"{found}.units.npy"
    save_keys(path, seen.read.rows.seen_keys)
    return str(path)


def _used(drop: int, found: str, seen: _Found, job: InspectDrops, known: KnownRows) -> DropReport:
    """Write what is kept of a file's rows, and count them."""
    rows = seen.read.rows
    folder = Path(job.rows_folder)
    rows_file, profile_file = folder / f"{found}{SUFFIX}", folder / f"{found}.profile.npz"
    record = record_rows(rows, job.data)
    save_keys(rows_file, record.words)
    save_profile(profile_file, seen.profile)
    report = DropReport(
        drop=drop,
        fingerprint=found,
        rows=seen.read.total,
        usable=len(rows),
        rows_file=str(rows_file),
        units_file=_kept_units(found, seen, job),
        profile_file=str(profile_file),
        notes=seen.notes[:MOST_NOTES],
        events_by=_events_by(rows, job.data),
    )
    return _counted(report, rows, record, job.data.holdout, known)


def _counted(report: DropReport, rows: Rows, record: RowRecord, holdout: Holdout, known: KnownRows) -> DropReport:
    """Count distinct rows, those of each side, those not known before and those with another label than before; they
    are known from then on.
    """
    new, corrected = known.compare(record)
    known.add(record)
    found = replace(report, new=int(new.sum()), corrected=int(corrected.sum()))
    if holdout.share is None:
        return replace(found, training=len(record), judging=len(record))
    judging = int(judges(rows.unit_keys[record.last], holdout.share).sum())
    return replace(found, training=len(record) - judging, judging=judging)


def _units(path: str, spec: DataSpec, schema: Schema) -> tuple[str, Keys]:
    before = stamp(path)
    found, keys = fingerprint(path), read_units(path, spec, schema)
    if stamp(path) != before:
        raise FileUnsettled(f"{shown(path)} changed while it was read.", "Run the command again when it is complete.")
    return found, keys


def _files_of(named: str) -> Sequence[str]:
    path = Path(named)
    if path.is_dir():
        found = available(path)
    elif path.exists():
        found = [named]
    else:
        found = sorted(glob.glob(named, recursive=True))  # noqa: PTH207  Path.glob takes no absolute pattern
    if not found:
        raise NotFound(f"There is no file of rows at {named!r}.", "Name files, a folder that has them, or a pattern.")
    return found
