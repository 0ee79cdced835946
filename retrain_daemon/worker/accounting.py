"""What became of each row of the drops: counted once or not, on which side, learned by which versions.

Reads, cuts the window and splits by the same functions as a training, so that the account is what training and judging
see. Changes nothing; no model is loaded.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.core.policy import DataSpec
from retrain_daemon.worker.dataset import in_window, split
from retrain_daemon.worker.features import Chosen
from retrain_daemon.worker.files import FileUnsettled, read_pieces, stamp
from retrain_daemon.worker.formats import shown
from retrain_daemon.worker.job import (
    AccountRows,
    DropFile,
    Progress,
    RowsAccounted,
    RowsOfDrop,
    RowsOfVersion,
    VersionRecord,
)
from retrain_daemon.worker.known_rows import label_keys
from retrain_daemon.worker.labelled import LabelledRows, Mask, Positions, Rows, joined
from retrain_daemon.worker.row_reading import read_rows
from retrain_daemon.worker.rows import Keys, contains, load_keys
from retrain_daemon.worker.signature import read_schema

Tell = Callable[[Progress], None]


def account_rows(job: AccountRows, progress: Tell) -> RowsAccounted:
    """The account of all drops and versions of a job, and the listing of a side where one is asked for.

    Some 400 bytes a row are in memory at the peak, as in a training. Raises what reading files or the signature may
    raise.
    """
    if not job.drops:
        return RowsAccounted(drops=())
    progress(Progress(phase=f"reading the signature of {job.source.model}"))
    stamps = [stamp(drop.path) for drop in job.drops]
    read = _read(job, progress)
    progress(Progress(phase="counting"))
    sides = _sides(read.every, job)
    learned = [(record.version, _learned(read.every, record)) for record in job.versions]
    if job.side:
        progress(Progress(phase="writing the rows"))
        _list(job, read, sides.training if job.side == "train" else sides.judging)
    for drop, before in zip(job.drops, stamps, strict=True):
        if stamp(drop.path) != before:
            raise FileUnsettled(f"{shown(drop.path)} changed while it was read.", "Run the command again.")
    return RowsAccounted(
        drops=tuple(_of_drop(drop, read, sides, learned) for drop in job.drops),
        versions=tuple(_of_version(record, sides, mask, job.data)
                       for record, (_, mask) in zip(job.versions, learned, strict=True)),
        units=len(np.unique(sides.window.unit_keys)),
    )  # fmt: skip


class Places:
    """In the place of features: which of all rows read these are."""

    def __init__(self, positions: Positions) -> None:
        self.positions = positions
        self.columns: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.positions)

    def take(self, chosen: Chosen) -> Places:
        """Some of the rows."""
        return Places(self.positions[chosen])

    def frame(self) -> pd.DataFrame:
        """Nothing was kept; asking is a bug."""
        raise AssertionError("these features were not kept")

    def array(self, positions: Positions | slice, dtype: str) -> NDArray[Any]:
        """Nothing was kept; asking is a bug."""
        raise AssertionError("these features were not kept")

    @classmethod
    def joined(cls, parts: Sequence[Places]) -> Places:
        """Parts in order as one."""
        return cls(np.concatenate([part.positions for part in parts]))


class _Numbering:
    """Numbers all rows through as they are read, and remembers the place of each in its file, from 1."""

    def __init__(self) -> None:
        self._pieces: list[Positions] = []
        self._rows = 0

    def keep(self, frame: pd.DataFrame) -> Places:
        """Take the next rows; their index is their place in the file, from 0."""
        self._pieces.append(frame.index.to_numpy(dtype=np.int64) + 1)
        positions = np.arange(self._rows, self._rows + len(frame), dtype=np.int64)
        self._rows += len(frame)
        return Places(positions)

    @property
    def numbers(self) -> Positions:
        """The place in its file of each row kept."""
        return np.concatenate(self._pieces) if self._pieces else np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class _Read:
    """All usable rows, the place of each in its file, and how many rows each drop has in all."""

    every: Rows
    numbers: Positions
    totals: dict[int, int]


@dataclass(frozen=True)
class _Sides:
    """What each of all rows is, as masks, and the rows in the window."""

    repeated: Mask
    corrected: Mask
    training: Mask
    judging: Mask
    window: LabelledRows

    @property
    def outside(self) -> Mask:
        """Rows that count once but are not in the window."""
        return ~(self.repeated | self.training | self.judging)


def _read(job: AccountRows, progress: Tell) -> _Read:
    schema = read_schema(job.source, job.data, job.drops[0].path)
    numbering = _Numbering()
    parts, totals = [], {}
    for done, drop in enumerate(job.drops):
        progress(Progress(phase=f"reading {shown(drop.path)}", done=done, total=len(job.drops)))
        found = read_rows(drop, job.data, schema, numbering.keep)
        parts.append(found.rows)
        totals[drop.drop] = found.total
    return _Read(joined(parts), numbering.numbers, totals)


def _sides(every: Rows, job: AccountRows) -> _Sides:
    """A copy of a row counts unless a later one does; in the window it is the one that training and judging see."""
    window = in_window(every, job.data, [drop.drop for drop in job.drops], job.now)
    inside = _positions(window)
    _, row = np.unique(every.row_keys, return_inverse=True)
    counts = np.empty(int(row.max(initial=-1)) + 1, dtype=np.int64)
    counts[row] = np.arange(len(every))  # of equal rows the last is written last
    counts[row[inside]] = inside
    counting = counts[row]
    repeated = np.arange(len(every)) < counting
    labels = label_keys(every.target)
    training = _mask(every, _positions(split(window, job.data, _NONE, None).training))
    return _Sides(
        repeated=repeated,
        corrected=repeated & (labels != labels[counting]),
        training=training,
        judging=_mask(every, inside) & ~training,
        window=window,
    )


_NONE: Keys = np.empty(0, dtype=np.uint64)


def _positions(rows: LabelledRows) -> Positions:
    assert isinstance(rows.features, Places)  # all rows here are read by `_Numbering`
    return rows.features.positions


def _mask(every: Rows, positions: Positions) -> Mask:
    mask = np.zeros(len(every), dtype=np.bool_)
    mask[positions] = True
    return mask


def _learned(every: Rows, record: VersionRecord) -> Mask:
    """Of a group that was learned, later rows were not: there rows are told apart by their own keys."""
    return contains(load_keys(record.learned), every.unit_keys if every.groups is None else every.row_keys)


def _of_drop(drop: DropFile, read: _Read, sides: _Sides, learned: Sequence[tuple[int, Mask]]) -> RowsOfDrop:
    here = read.every.drop == drop.drop
    return RowsOfDrop(
        drop=drop.drop,
        rows=read.totals[drop.drop],
        usable=int(here.sum()),
        repeated=int((here & sides.repeated).sum()),
        corrected=int((here & sides.corrected).sum()),
        training=int((here & sides.training).sum()),
        judging=int((here & sides.judging).sum()),
        outside=int((here & sides.outside).sum()),
        learned=tuple((version, int((here & mask).sum())) for version, mask in learned),
    )


def _of_version(record: VersionRecord, sides: _Sides, learned: Mask, spec: DataSpec) -> RowsOfVersion:
    found = split(sides.window, spec, load_keys(record.learned), record.unknown_until, load_keys(record.early))
    return RowsOfVersion(
        version=record.version,
        learned=int((learned & ~sides.repeated).sum()),
        judging=len(found.judging),
        excluded=found.excluded,
        too_early=found.too_early,
    )


def _list(job: AccountRows, read: _Read, side: Mask) -> None:
    """Write the rows of one side, file by file and piece by piece; a name that is no UTF-8 is written as it is."""
    columns = list(job.data.row_id or ((job.data.group,) if job.data.group else ()))
    with Path(job.listing).open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["file", "row", *columns])
        for drop in job.drops:
            numbers = read.numbers[side & (read.every.drop == drop.drop)]
            for first, values in _values(drop.path, columns, numbers):
                name = Path(drop.path).name
                writer.writerows([name, number, *row] for number, row in zip(first, values, strict=True))


def _values(path: str, columns: Sequence[str], numbers: Positions) -> Iterator[tuple[list[int], list[list[object]]]]:
    """The rows of a file with these numbers, which ascend, and what they hold in `columns`."""
    if not columns:
        yield numbers.tolist(), [[]] * len(numbers)
        return
    for piece in read_pieces(path, list(columns)):
        within = numbers[(numbers > piece.index[0]) & (numbers <= piece.index[-1] + 1)]
        chosen = piece.loc[within - 1, list(columns)]
        filled = [chosen[name].astype(object).where(chosen[name].notna(), "").tolist() for name in columns]
        yield within.tolist(), [list(row) for row in zip(*filled, strict=True)]
