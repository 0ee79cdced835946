"""Rows of drops as training and judging see them: read against the signature, each row once, windowed, split (law 5).

What identifies a row is decided in `rows.py`; nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.core.policy import DataSpec, Window
from retrain_daemon.errors import DataProblem, TrainingFailed
from retrain_daemon.worker.columns import cast_target, cast_times, missing
from retrain_daemon.worker.files import FileUnsettled, fingerprint, read_file, stamp
from retrain_daemon.worker.formats import shown
from retrain_daemon.worker.job import DropFile
from retrain_daemon.worker.rows import Keys, cast, contains, judges, unit_keys
from retrain_daemon.worker.signature import Column, Schema

__all__ = [
    "FileRows",
    "Rows",
    "Split",
    "fingerprint",
    "read_file",
    "read_rows",
    "read_units",
    "read_window",
    "split",
    "unlearned",
]

Times = NDArray[np.datetime64]
Mask = NDArray[np.bool_]

#: A clock may be wrong by so much before a row's event time is taken for a mistake.
FUTURE_ALLOWED = np.timedelta64(1, "D")


@dataclass(frozen=True)
class Rows:
    """Usable rows, one entry of each field a row; times are datetime64[ns] in UTC.

    `unit_keys`: the group's or, without groups, the features' key; `row_keys`: what makes a row the same row again;
    `groups`: the unit keys where rows are grouped; `drop`: the id of the drop; `first_seen`: of the earliest drop
    that had the row, `unit_first_seen` (None: the same) that had any row of its unit.
    """

    features: pd.DataFrame
    target: pd.Series
    unit_keys: Keys
    row_keys: Keys
    groups: Keys | None
    drop: NDArray[np.int64]
    first_seen: Times
    event_time: Times
    unit_first_seen: Times | None = None

    def __len__(self) -> int:
        return len(self.row_keys)

    def take(self, mask: Mask | NDArray[np.int64]) -> Rows:
        """The rows where a mask is true, or at positions, in that order."""
        return Rows(
            features=self.features.iloc[mask].reset_index(drop=True),
            target=self.target.iloc[mask].reset_index(drop=True),
            unit_keys=self.unit_keys[mask],
            row_keys=self.row_keys[mask],
            groups=None if self.groups is None else self.groups[mask],
            drop=self.drop[mask],
            first_seen=self.first_seen[mask],
            event_time=self.event_time[mask],
            unit_first_seen=None if self.unit_first_seen is None else self.unit_first_seen[mask],
        )

    @property
    def learned_keys(self) -> Keys:
        """What to save for a model trained on these rows: sorted unit keys and, where grouped, row keys as well.

        Units bar rows from judging; a known group's later rows are still unlearned, which row keys tell.
        """
        return np.unique(self.unit_keys if self.groups is None else np.concatenate([self.unit_keys, self.row_keys]))


@dataclass(frozen=True)
class FileRows:
    """The usable rows of one file and how many rows the file has in all."""

    rows: Rows
    total: int


@dataclass(frozen=True)
class Split:
    """Two sides that share no unit. Left out of `judging`: `excluded` rows whose unit was learned or trains now, and
    `too_early` rows seen before the time from which on it is recorded what was learned.
    """

    training: Rows
    judging: Rows
    excluded: int
    too_early: int


def read_rows(drop: DropFile, spec: DataSpec, schema: Schema) -> FileRows:
    """The rows of one drop that have a target (and an event time, where the policy names one).

    Rows without, or with an infinite target, are set aside and only counted. Raises DataProblem when the file
    cannot be used; `temporary` when it may be later, as when it is not the file that was recorded.
    """
    before = stamp(drop.path)
    if drop.fingerprint and fingerprint(drop.path) != drop.fingerprint:
        raise FileUnsettled(
            f"{shown(drop.path)} changed since it was recorded: its bytes are not those of {drop.fingerprint[:12]}.",
            "Put the recorded file back, or wait until the new one is recorded in its place.",
        )
    frame = read_file(drop.path, _columns(spec, schema))
    if stamp(drop.path) != before:
        raise FileUnsettled(
            f"{shown(drop.path)} changed while it was read.", "Rename files into the folder when complete."
        )
    return FileRows(_rows(frame, drop, spec, schema), total=len(frame))


def read_units(path: str, spec: DataSpec, schema: Schema) -> Keys:
    """The unit key of every row of a file, which needs no target. Raises DataProblem like `read_rows`."""
    columns = (spec.group,) if spec.group else schema.names
    frame = read_file(path, columns)
    return _unit_keys(frame if spec.group else cast(frame, schema), spec, schema)


def read_window(drops: Sequence[DropFile], spec: DataSpec, schema: Schema, now: datetime) -> Rows:
    """All rows of `drops` (oldest first) inside the policy's window, each once: the newest drop's copy of a row wins.

    Rows of the future, by their event time, are left out: one wrong year would else move every window. Raises like
    `read_rows`, and TrainingFailed when drops disagree about what a column without a known kind holds.
    """
    if not drops:
        raise TrainingFailed("There are no drops to read.", "Drop a file with labelled rows.")
    every = _joined([read_rows(drop, spec, schema).rows for drop in drops])
    if spec.event_time is not None:
        every = every.take(every.event_time <= moment(now) + FUTURE_ALLOWED)
    return _windowed(_distinct(every), spec.window, [drop.drop for drop in drops], now)


def split(
    rows: Rows, spec: DataSpec, learned: Keys, unknown_until: datetime | None, seen_early: Keys | None = None
) -> Split:
    """Training and judging rows by the policy's holdout; then no judging row's unit is one that a model has learned.

    `learned`: sorted keys of both models' and their ancestors' learned units. `seen_early`: sorted keys of
    units that were seen up to `unknown_until` in files that are not among the drops any more. The training side is
    never thinned.
    """
    judging_side = _judging_side(rows, spec)
    training = rows.take(~judging_side)
    known = contains(learned, rows.unit_keys) | contains(np.unique(training.unit_keys), rows.unit_keys)
    early = _not_after(rows.first_seen if rows.unit_first_seen is None else rows.unit_first_seen, unknown_until)
    if seen_early is not None:
        early |= contains(seen_early, rows.unit_keys)
    return Split(
        training=training,
        judging=rows.take(judging_side & ~known & ~early),
        excluded=int((judging_side & known).sum()),
        too_early=int((judging_side & ~known & early).sum()),
    )


def unlearned(training: Rows, learned: Keys, unknown_until: datetime | None) -> Rows:
    """The training rows that, by the record, no model of the lineage has learned: what `incremental` trains on."""
    keys = training.unit_keys if training.groups is None else training.row_keys
    return training.take(~contains(learned, keys) & ~_not_after(training.first_seen, unknown_until))


def _columns(spec: DataSpec, schema: Schema) -> list[str]:
    extra = [spec.target.column, spec.group, spec.event_time, *spec.row_id]
    return list(dict.fromkeys([*schema.names, *(name for name in extra if name)]))


def _rows(frame: pd.DataFrame, drop: DropFile, spec: DataSpec, schema: Schema) -> Rows:
    label = Column(spec.target.column, schema.target_kind)
    frame = _present(frame, label.name, label.kind, drop)
    if spec.event_time:
        frame = _present(frame, spec.event_time, "datetime", drop)
    target = cast_target(frame[label.name], label)
    if target.dtype == np.float64:
        target = target[np.isfinite(target.to_numpy())]
        frame = frame.loc[target.index]
    features = cast(frame, schema)
    seen = np.full(len(frame), moment(drop.first_seen))
    times = cast_times(frame[spec.event_time], spec.event_time).to_numpy() if spec.event_time else seen
    canonical = frame.copy(deep=False)
    for column in (*(features[name] for name in features), target):
        canonical[str(column.name)] = column
    if spec.event_time:
        canonical[spec.event_time] = times
    units = _unit_keys(canonical, spec, schema)
    return Rows(
        features=features.reset_index(drop=True),
        target=target.reset_index(drop=True),
        unit_keys=units,
        row_keys=unit_keys(canonical, spec.row_id or sorted(_columns(spec, schema))),
        groups=units if spec.group else None,
        drop=np.full(len(frame), drop.drop, dtype=np.int64),
        first_seen=seen,
        event_time=times,
    )


def _present(frame: pd.DataFrame, name: str, kind: str, drop: DropFile) -> pd.DataFrame:
    kept = frame[~missing(frame[name], kind)]
    if kept.empty:
        raise DataProblem(
            f"Column {name!r} of {shown(drop.path)} has no value in any row.", "Fill it and drop it again."
        )
    return kept


def _unit_keys(frame: pd.DataFrame, spec: DataSpec, schema: Schema) -> Keys:
    """By name, so that a model whose signature lists the same columns in another order has the same units."""
    return unit_keys(frame, [spec.group] if spec.group else sorted(schema.names))


def moment(time: datetime) -> np.datetime64:
    """A moment as datetime64[ns] in UTC."""
    return np.datetime64(time.astimezone(UTC).replace(tzinfo=None), "ns")


def _not_after(times: Times, until: datetime | None) -> Mask:
    return np.zeros(len(times), dtype=np.bool_) if until is None else times <= moment(until)


def _joined(parts: Sequence[Rows]) -> Rows:
    features = [part.features for part in parts]
    return Rows(
        features=pd.DataFrame({name: _stacked([frame[name] for frame in features]) for name in features[0]}),
        target=_stacked([part.target for part in parts]),
        unit_keys=np.concatenate([part.unit_keys for part in parts]),
        row_keys=np.concatenate([part.row_keys for part in parts]),
        groups=None if parts[0].groups is None else np.concatenate([part.unit_keys for part in parts]),
        drop=np.concatenate([part.drop for part in parts]),
        first_seen=np.concatenate([part.first_seen for part in parts]),
        event_time=np.concatenate([part.event_time for part in parts]),
    )


def _stacked(parts: Sequence[pd.Series]) -> pd.Series:
    """One column of all drops; raises TrainingFailed when some hold numbers and some text."""
    filled = [part for part in parts if not part.isna().all()]
    kinds = {"text" if part.dtype == object else "times" if part.dtype.kind == "M" else "numbers" for part in filled}
    if len(kinds) > 1:
        raise TrainingFailed(
            f"Column {parts[0].name!r} holds {' in some drops and '.join(sorted(kinds))} in others.",
            "Log the model with a signature, which says what the column holds, or correct the drops.",
        )
    if "text" in kinds:  # a drop without one value of this column does not know that it is text
        parts = [part.astype(object).where(part.notna(), None) for part in parts]
    return pd.concat(parts, ignore_index=True)


def _distinct(rows: Rows) -> Rows:
    """The last of equal rows, with the time at which the row, and its unit, was seen first."""
    backwards = rows.row_keys[::-1]
    _, newest = np.unique(backwards, return_index=True)
    kept = np.sort(len(rows) - 1 - newest)
    row_seen = _earliest(rows.row_keys, rows.first_seen)
    unit_seen = _earliest(rows.unit_keys, rows.first_seen)
    taken = rows.take(kept)
    return Rows(**{**vars(taken), "first_seen": row_seen[kept], "unit_first_seen": unit_seen[kept]})


def _earliest(keys: Keys, times: Times) -> Times:
    """For each row the earliest time among rows with its key."""
    distinct, places = np.unique(keys, return_inverse=True)
    first = np.full(len(distinct), np.iinfo(np.int64).max)
    np.minimum.at(first, places, times.view(np.int64))
    return first[places].view("datetime64[ns]")


def _windowed(rows: Rows, window: Window, drops: Sequence[int], now: datetime) -> Rows:
    if window.age is not None:
        return rows.take(rows.event_time > moment(now) - np.timedelta64(window.age))
    if window.files is not None:
        return rows.take(np.isin(rows.drop, drops[-window.files :]))
    if window.rows is not None:
        newest = np.argsort(rows.event_time, kind="stable")[-window.rows :]
        return rows.take(np.sort(newest))
    return rows


def _judging_side(rows: Rows, spec: DataSpec) -> Mask:
    if spec.holdout.share is not None:
        return judges(rows.unit_keys, spec.holdout.share)
    if spec.holdout.newest is None or not len(rows):
        return np.zeros(len(rows), dtype=np.bool_)
    return np.asarray(rows.event_time > rows.event_time.max() - np.timedelta64(spec.holdout.newest))
