"""Rows of drops as training and judging see them: each row once, windowed, split (law 5).

How one file becomes rows is in `row_reading.py`, what identifies a row in `rows.py`; nothing here knows a model.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from retrain_daemon.core.policy import DataSpec, Window
from retrain_daemon.errors import TrainingFailed
from retrain_daemon.worker.job import DropFile
from retrain_daemon.worker.labelled import LabelledRows, Mask, Positions, Times, joined, moment
from retrain_daemon.worker.row_files import RowFiles
from retrain_daemon.worker.row_reading import kinds_known, read_row_pieces, read_rows
from retrain_daemon.worker.rows import Keys, contains, judges
from retrain_daemon.worker.schema import Schema

#: A clock may be wrong by so much before a row's event time is taken for a mistake.
FUTURE_ALLOWED = np.timedelta64(1, "D")

#: So many rows, and at most one in so many, may have a wrong date ahead of all others and not move the newest span.
_STRAY_ROWS, _STRAY_SHARE = 10, 1000
#: Rows that were learned before are drawn evenly from so many stretches of time; the number fits into a byte.
_STRETCHES = 100
#: Keys are looked at in so many parts, one after another, so that sorting them does not take many times their size.
_PARTS = 16


@dataclass(frozen=True)
class Split:
    """Two sides that share no unit. Left out of `judging`: `excluded` rows whose unit was learned or trains now, and
    `too_early` rows seen before the time from which on it is recorded what was learned.
    """

    training: LabelledRows
    judging: LabelledRows
    excluded: int
    too_early: int


def read_window(
    drops: Sequence[DropFile], spec: DataSpec, schema: Schema, now: datetime, scratch: Path | None = None
) -> LabelledRows:
    """All rows of `drops` (oldest first) inside the policy's window, as `windowed` and `read_each_once` say."""
    rows = read_each_once(drops, spec, schema, now, scratch)
    return windowed(rows, spec, [drop.drop for drop in drops], now)


def read_each_once(
    drops: Sequence[DropFile], spec: DataSpec, schema: Schema, now: datetime, scratch: Path | None = None
) -> LabelledRows:
    """All rows of `drops` (oldest first), each once: the newest drop's copy of a row wins.

    Rows of the future, by their event time, are left out: one wrong year would else move every window. With `scratch`,
    a folder, rows lie there on disk where what every column holds is known. Raises like `read_rows`, and
    TrainingFailed when drops disagree about what a column without a known kind holds.
    """
    if not drops:
        raise TrainingFailed("There are no drops to read.", "Drop a file with labelled rows.")
    return _each_once(_read(drops, spec, schema, scratch), spec, now)


def in_window(every: LabelledRows, spec: DataSpec, drops: Sequence[int], now: datetime) -> LabelledRows:
    """Of all usable rows of `drops` (oldest first) those that training and judging see, each once."""
    return windowed(_each_once(every, spec, now), spec, drops, now)


def _each_once(every: LabelledRows, spec: DataSpec, now: datetime) -> LabelledRows:
    if spec.event_time is not None:
        every = every.take(every.event_time <= moment(now) + FUTURE_ALLOWED)
    return _distinct(every)


def _read(drops: Sequence[DropFile], spec: DataSpec, schema: Schema, scratch: Path | None) -> LabelledRows:
    if scratch is None or not kinds_known(spec, schema):
        return joined([read_rows(drop, spec, schema).rows for drop in drops])
    files = RowFiles(Path(tempfile.mkdtemp(dir=scratch, prefix="rows-")), schema)
    for drop in drops:
        for piece in read_row_pieces(drop, spec, schema, files.features.keep):
            files.add(piece.rows)
        pa.default_memory_pool().release_unused()  # a reader's buffers, megabytes for each column
    return files.rows()


def too_young(rows: LabelledRows, spec: DataSpec, now: datetime) -> Mask:
    """Rows that happened less than the policy's `label_delay` ago: their labels may still change."""
    if spec.label_delay is None:
        return np.zeros(len(rows), dtype=np.bool_)
    return np.asarray(rows.event_time > moment(now) - np.timedelta64(spec.label_delay))


def windowed(rows: LabelledRows, spec: DataSpec, drops: Sequence[int], now: datetime) -> LabelledRows:
    """Of `rows`, each there once, those that are old enough and inside the policy's window; `drops`: oldest first.

    A row that is too young is not replaced by an older copy of it. A drop counts as a file of the window only where a
    row of it is old enough.
    """
    young = too_young(rows, spec, now)
    if young.any():
        waiting = set(rows.drop[young].tolist()) - set(rows.drop[~young].tolist())
        drops = [drop for drop in drops if drop not in waiting]
        rows = rows.take(~young)
    return _in_window(rows, spec.window, drops, now)


def split(
    rows: LabelledRows, spec: DataSpec, learned: Keys, unknown_until: datetime | None, seen_early: Keys | None = None
) -> Split:
    """Training and judging rows by the policy's holdout; then no judging row's unit is one that a model has learned.

    `learned`: sorted keys of both models' and their ancestors' learned units. `seen_early`: sorted keys of
    units that were seen up to `unknown_until` in files that are not among the drops any more. The training side is
    never thinned.
    """
    return parted(rows, _judging_side(rows, spec), learned, unknown_until, seen_early)


def parted(
    rows: LabelledRows, side: Mask, learned: Keys, unknown_until: datetime | None, seen_early: Keys | None = None
) -> Split:
    """The same for a `side` of the rows that is to judge, whoever chose it."""
    training, held_out = rows.take(~side), rows.take(side)
    units = held_out.unit_keys
    known = contains(learned, units) | _also_in(training, units)
    early = _not_after(held_out.first_seen if held_out.unit_first_seen is None else held_out.unit_first_seen,
                       unknown_until)  # fmt: skip
    if seen_early is not None:
        early |= held_out.seen_in(seen_early)
    return Split(
        training=training,
        judging=held_out.take(~known & ~early),
        excluded=int(known.sum()),
        too_early=int((~known & early).sum()),
    )


def is_unlearned(training: LabelledRows, learned: Sequence[Keys], unknown_until: datetime | None) -> Mask:
    """Which training rows, by the record, no model of the lineage has learned: what `incremental` trains on.

    `learned`: sorted keys, in as many parts as they come, of what was, or may have been, learned.
    """
    keys = training.unit_keys if training.groups is None else training.row_keys
    known = _not_after(training.first_seen, unknown_until)
    for part in learned:
        known |= contains(part, keys)
    return ~known


def replayed(training: LabelledRows, unlearned: Mask, count: int, seed: int) -> Positions:
    """Places of `count` training rows that were learned before, ascending; of all there are, where they are fewer.

    As many from each of equal stretches of time, by event time, as far as a stretch has so many; which of them is
    drawn from `seed`.
    """
    older = np.flatnonzero(~unlearned)
    if len(older) <= count:
        return older
    stretch_of = _stretches(training.event_time[older])
    generator = np.random.default_rng(seed)
    drawn = [
        generator.choice(np.flatnonzero(stretch_of == stretch), quota, replace=False, shuffle=False)
        for stretch, quota in enumerate(_quotas(np.bincount(stretch_of), count))
        if quota
    ]
    return np.sort(older[np.concatenate(drawn)])


def _stretches(times: Times) -> Positions:
    """Which of `_STRETCHES` equal parts of their whole time each time is in."""
    since = (times - times.min()).astype(np.float64)
    width = max(float(since.max()) / _STRETCHES, 1.0)
    stretch_of: Positions = np.minimum(since / width, _STRETCHES - 1).astype(np.int8)
    return stretch_of


def _quotas(available: Positions, count: int) -> Positions:
    """How many to take of each so that they are `count` together and as equal as `available` allows."""
    quotas = np.zeros(len(available), dtype=np.int64)
    while missing := count - int(quotas.sum()):
        open_to_more = np.flatnonzero(quotas < available)
        more, rest = divmod(missing, len(open_to_more))
        quotas[open_to_more] += more
        quotas[open_to_more[:rest]] += 1
        quotas = np.minimum(quotas, available)
    return quotas


def _also_in(training: LabelledRows, units: Keys) -> Mask:
    """Which of `units` a training row has as well."""
    wanted = np.unique(units)
    found = np.zeros(len(wanted), dtype=np.bool_)
    if len(wanted):
        for piece in training.pieces():
            places = np.minimum(np.searchsorted(wanted, piece.unit_keys), len(wanted) - 1)
            found[places[wanted[places] == piece.unit_keys]] = True
    return contains(wanted[found], units)


def _not_after(times: Times, until: datetime | None) -> Mask:
    return np.zeros(len(times), dtype=np.bool_) if until is None else np.asarray(times <= moment(until))


def _distinct(rows: LabelledRows) -> LabelledRows:
    """The last of equal rows, with the time at which the row, and its unit, was seen first."""
    newest = np.zeros(len(rows), dtype=np.bool_)
    seen = np.empty(len(rows), dtype="datetime64[ns]")
    for at in _parts(rows, "row_keys"):
        part = rows.take(at)
        _, equal = np.unique(part.row_keys, return_inverse=True)
        last = np.empty(int(equal.max()) + 1, dtype=np.int64)
        last[equal] = at  # where one is named several times, the last value stays
        newest[last] = True
        seen[at] = _earliest(equal, part.first_seen)
    distinct = rows.seen_first("first_seen", seen)
    seen = np.empty(len(rows), dtype="datetime64[ns]")
    for at in _parts(rows, "unit_keys"):
        part = rows.take(at)
        seen[at] = _earliest(np.unique(part.unit_keys, return_inverse=True)[1], part.first_seen)
    return distinct.seen_first("unit_first_seen", seen).take(newest)


def _parts(rows: LabelledRows, keys: Literal["row_keys", "unit_keys"]) -> Iterator[Positions]:
    """Positions by the first bits of keys, so that equal keys are in one part; keys are hashes, so parts are alike."""
    shift = np.uint64(64 - (_PARTS - 1).bit_length())
    found = [(getattr(piece, keys) >> shift).astype(np.uint8) for piece in rows.pieces()]
    part_of = np.concatenate(found) if found else np.empty(0, dtype=np.uint8)
    for part in range(_PARTS):
        at = np.flatnonzero(part_of == part)
        if len(at):
            yield at


def _earliest(equal: Positions, times: Times) -> Times:
    """For each row the earliest time among rows of the same number."""
    first = np.full(int(equal.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, equal, times.view(np.int64))
    return first[equal].view("datetime64[ns]")


def _in_window(rows: LabelledRows, window: Window, drops: Sequence[int], now: datetime) -> LabelledRows:
    if window.age is not None:
        return rows.take(np.asarray(rows.event_time > moment(now) - np.timedelta64(window.age)))
    if window.files is not None:
        return rows.take(np.isin(rows.drop, drops[-window.files :]))
    if window.rows is not None:
        newest = np.argsort(rows.event_time, kind="stable")[-window.rows :]
        return rows.take(np.sort(newest))
    return rows


def _judging_side(rows: LabelledRows, spec: DataSpec) -> Mask:
    if spec.holdout.share is not None:
        return judges(rows.unit_keys, spec.holdout.share)
    if spec.holdout.newest is None or not len(rows):
        return np.zeros(len(rows), dtype=np.bool_)
    times = rows.event_time
    return np.asarray(times > _newest(times) - np.timedelta64(spec.holdout.newest))


def _newest(times: Times) -> np.datetime64:
    """Where the rows end, by their times; a few strays with a wrong date do not count."""
    strays = min(len(times) // _STRAY_SHARE, _STRAY_ROWS)
    newest: np.datetime64 = np.partition(times, len(times) - 1 - strays)[len(times) - 1 - strays]
    return newest
