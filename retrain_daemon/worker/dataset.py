"""Rows of drops as training and judging see them: each row once, windowed, split (law 5).

How one file becomes rows is in `row_reading.py`, what identifies a row in `rows.py`; nothing here knows a model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from retrain_daemon.core.policy import DataSpec, Window
from retrain_daemon.errors import TrainingFailed
from retrain_daemon.worker.features import Features, Table
from retrain_daemon.worker.job import DropFile
from retrain_daemon.worker.labelled import Mask, Rows, Times, joined, moment
from retrain_daemon.worker.row_reading import read_rows
from retrain_daemon.worker.rows import Keys, contains, judges
from retrain_daemon.worker.schema import Schema
from retrain_daemon.worker.stored import FeatureFile

#: A clock may be wrong by so much before a row's event time is taken for a mistake.
FUTURE_ALLOWED = np.timedelta64(1, "D")


@dataclass(frozen=True)
class Split:
    """Two sides that share no unit. Left out of `judging`: `excluded` rows whose unit was learned or trains now, and
    `too_early` rows seen before the time from which on it is recorded what was learned.
    """

    training: Rows
    judging: Rows
    excluded: int
    too_early: int


def read_window(
    drops: Sequence[DropFile], spec: DataSpec, schema: Schema, now: datetime, scratch: Path | None = None
) -> Rows:
    """All rows of `drops` (oldest first) inside the policy's window, each once: the newest drop's copy of a row wins.

    Rows of the future, by their event time, are left out: one wrong year would else move every window. With `scratch`,
    a folder, the features of a model that takes tensors stay there on disk; some 60 bytes a row are in memory. Raises
    like `read_rows`, and TrainingFailed when drops disagree about what a column without a known kind holds.
    """
    if not drops:
        raise TrainingFailed("There are no drops to read.", "Drop a file with labelled rows.")
    keep: Callable[[pd.DataFrame], Features] = Table
    if scratch is not None and schema.tensor is not None:
        keep = FeatureFile(scratch / "features", schema.tensor.dtype).keep
    every = joined([read_rows(drop, spec, schema, keep).rows for drop in drops])
    return in_window(every, spec, [drop.drop for drop in drops], now)


def in_window(every: Rows, spec: DataSpec, drops: Sequence[int], now: datetime) -> Rows:
    """Of all usable rows of `drops` (oldest first) those that training and judging see, each once."""
    if spec.event_time is not None:
        every = every.take(every.event_time <= moment(now) + FUTURE_ALLOWED)
    return _windowed(_distinct(every), spec.window, drops, now)


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
        early |= rows.seen_in(seen_early)
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


def _not_after(times: Times, until: datetime | None) -> Mask:
    return np.zeros(len(times), dtype=np.bool_) if until is None else times <= moment(until)


def _distinct(rows: Rows) -> Rows:
    """The last of equal rows, with the time at which the row, and its unit, was seen first."""
    backwards = rows.row_keys[::-1]
    _, newest = np.unique(backwards, return_index=True)
    kept = np.sort(len(rows) - 1 - newest)
    row_seen = _earliest(rows.row_keys, rows.first_seen)
    unit_seen = _earliest(rows.unit_keys, rows.first_seen)
    taken = rows.take(kept)
    return replace(taken, first_seen=row_seen[kept], unit_first_seen=unit_seen[kept])


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
