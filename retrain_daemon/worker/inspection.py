"""What is in dropped files, before anything is trained: one report a file, and the record of what a champion learned.

Reads data and signatures only; no model is loaded here.
"""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from retrain_daemon.core.policy import DataSpec, Holdout
from retrain_daemon.errors import DataProblem, NotFound
from retrain_daemon.worker.feature_names import has_patterns
from retrain_daemon.worker.features import Counted
from retrain_daemon.worker.files import FileUnsettled, available, fingerprint, stamp
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
from retrain_daemon.worker.labelled import Rows
from retrain_daemon.worker.row_reading import read_rows, read_units
from retrain_daemon.worker.rows import Keys, judges, save_keys
from retrain_daemon.worker.schema import Schema
from retrain_daemon.worker.signature import read_schema

Tell = Callable[[Progress], None]


def inspect_drops(job: InspectDrops, progress: Tell) -> DropsInspected:
    """One report for each file, in order; a file that cannot be used is a report with a problem, never an error.

    Writes the record of usable rows as `<fingerprint>.rows.npy` to `job.rows_folder`. Raises Refused, NotFound or
    RegistryUnreachable when it is not known what the model's columns are.
    """
    progress(Progress(phase=f"reading the signature of {job.source.model}"))
    flavor = _installed(job.source) if job.needs_framework and job.source.version is not None else ""
    schema = _schema(job.source, job.data, (job.reference, *(file.path for file in job.files)))
    known = KnownRows(job.known_rows)
    reports = []
    for done, file in enumerate(job.files):
        progress(Progress(phase=f"reading {shown(file.path)}", done=done, total=len(job.files)))
        reports.append(_report(file, job, schema, known))
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


def _report(file: DropFile, job: InspectDrops, schema: Schema | None, known: KnownRows) -> DropReport:
    found = ""
    try:
        before = stamp(file.path)
        found = fingerprint(file.path)
        if file.fingerprint and found != file.fingerprint:
            raise FileUnsettled(f"{shown(file.path)} has other bytes than were recorded.", "It is recorded anew.")
        schema = schema or read_schema(job.source, job.data, file.path)
        read = read_rows(replace(file, fingerprint=""), job.data, schema, Counted)
        if stamp(file.path) != before:
            raise FileUnsettled(f"{shown(file.path)} changed while it was read.", "Rename files into the folder.")
    except DataProblem as problem:
        return DropReport(
            drop=file.drop,
            fingerprint=found,
            problem=problem.message,
            hint=problem.hint,
            temporary=problem.temporary,
        )
    rows_file = Path(job.rows_folder) / f"{found}{SUFFIX}"
    units_file = Path(job.rows_folder) / f"{found}.units.npy"
    record = record_rows(read.rows, job.data)
    save_keys(rows_file, record.words)
    save_keys(units_file, read.rows.seen_keys)
    counted = DropReport(
        drop=file.drop,
        fingerprint=found,
        rows=read.total,
        usable=len(read.rows),
        rows_file=str(rows_file),
        units_file=str(units_file),
    )
    return _counted(counted, read.rows, record, job.data.holdout, known)


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
