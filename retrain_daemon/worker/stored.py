"""Features on disk: rows of numbers one after another in a file, of which only those asked for are in memory.

For models that take tensors. The file is a job's own and goes with its folder.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        """Rows at `positions`, (rows, columns). The file is mapped for this reading only, so no page of it stays."""
        wanted = self._positions[positions]
        if not len(wanted):
            return np.empty((0, len(self._columns)), dtype=dtype)
        rows = np.memmap(self._path, dtype=self._dtype, mode="r").reshape(-1, len(self._columns))
        return np.asarray(rows[wanted], dtype=dtype)

    @classmethod
    def joined(cls, parts: Sequence[Stored]) -> Stored:
        """Parts of one file as one."""
        first = parts[0]
        return cls(first._path, first._columns, first._dtype, np.concatenate([part._positions for part in parts]))


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
