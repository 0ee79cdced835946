"""Features on disk: rows of numbers one after another in a file, of which only those asked for are in memory.

For models that take tensors. The file is a job's own and goes with its folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.worker.features import Chosen


class Stored:
    """Rows of a feature file at `positions`, in that order. Eight bytes a row stay in memory."""

    def __init__(self, path: Path, columns: tuple[str, ...], dtype: str, positions: NDArray[np.int64]) -> None:
        self._path = path
        self._columns = columns
        self._dtype = dtype
        self._positions = positions

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self._columns

    def __len__(self) -> int:
        return len(self._positions)

    def take(self, chosen: Chosen) -> Stored:
        """Some of the rows; nothing is read."""
        return Stored(self._path, self._columns, self._dtype, self._positions[chosen])

    def frame(self) -> pd.DataFrame:
        """All rows, in memory."""
        return pd.DataFrame(self.array(slice(None), self._dtype), columns=list(self._columns))

    def array(self, positions: NDArray[np.int64] | slice, dtype: str) -> NDArray[Any]:
        """Rows at `positions`, (rows, columns). Read, not mapped: a map can bring in megabytes around each row."""
        wanted = self._positions[positions]
        rows = np.empty((len(wanted), len(self._columns)), dtype=self._dtype)
        if rows.size:
            size = rows[:1].nbytes
            into = rows.view(np.uint8).reshape(-1).data
            with self._path.open("rb", buffering=0) as stream:
                for first, after in _runs(wanted):
                    _fill(into[first * size : after * size], stream.fileno(), int(wanted[first]) * size)
        return rows.astype(dtype, copy=False)

    @classmethod
    def joined(cls, parts: Sequence[Stored]) -> Stored:
        """Parts of one file as one."""
        first = parts[0]
        return cls(first._path, first._columns, first._dtype, np.concatenate([part._positions for part in parts]))


def _runs(positions: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Where rows that lie one after another in the file begin and end."""
    breaks = np.flatnonzero(np.diff(positions) != 1) + 1
    return pairwise((0, *breaks.tolist(), len(positions)))


def _fill(into: memoryview, file: int, offset: int) -> None:
    """One read may give less than was asked for: the kernel stops at two gigabytes."""
    while into:
        read = os.preadv(file, [into], offset)
        assert read  # the file is this job's own, and whole
        into, offset = into[read:], offset + read


class FeatureFile:
    """Takes features piece by piece and gives each back as stored rows."""

    def __init__(self, path: Path, dtype: str) -> None:
        self._path = path
        self._dtype = dtype
        self._rows = 0

    def keep(self, frame: pd.DataFrame) -> Stored:
        """Append rows to the file."""
        with self._path.open("ab") as stream:
            np.ascontiguousarray(frame.to_numpy(dtype=self._dtype)).tofile(stream)
        positions = np.arange(self._rows, self._rows + len(frame), dtype=np.int64)
        self._rows += len(frame)
        columns = tuple(str(name) for name in frame.columns)
        return Stored(self._path, columns, self._dtype, positions)
