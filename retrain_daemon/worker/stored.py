"""Features on disk: records of rows one after another in a file, of which only those asked for are in memory.

The files are a job's own and go with its folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.worker.features import Chosen, Counted, Positions

_BLOCK_BYTES = 2**20
#: Asking the kernel once takes about as long as copying so many bytes.
_BYTES_A_CALL = 4096


class RecordFile:
    """Records of one type, one a row, appended once and read at any places. An array type gives rows of an array."""

    def __init__(self, path: Path, dtype: np.dtype[Any]) -> None:
        self._path = path
        self._dtype = dtype

    def append(self, records: NDArray[Any]) -> None:
        """Add records at the end."""
        with self._path.open("ab") as stream:
            records.tofile(stream)

    def read(self, places: Positions) -> NDArray[Any]:
        """The records at `places`, in that order. Read, not mapped: a map can bring in megabytes around each row."""
        records = np.empty(len(places), dtype=self._dtype)
        if records.size:
            with self._path.open("rb", buffering=0) as stream:
                if self._close_together(places):
                    self._read_across(stream.fileno(), places, records)
                else:
                    self._read_each(stream.fileno(), places, records)
        return records

    def _close_together(self, places: Positions) -> bool:
        span = (int(places[-1]) - int(places[0]) + 1) * self._dtype.itemsize
        return 0 < span <= len(places) * _BYTES_A_CALL and bool((places[1:] > places[:-1]).all())

    def _read_across(self, file: int, places: Positions, records: NDArray[Any]) -> None:
        """Ascending places: everything between the first and the last, block by block."""
        size = max(1, _BLOCK_BYTES // self._dtype.itemsize)
        first, last = int(places[0]), int(places[-1])
        for start in range(first, last + 1, size):
            block = np.empty(min(size, last + 1 - start), dtype=self._dtype)
            begin, end = np.searchsorted(places, (start, start + size))
            _fill(_bytes(block), file, start * self._dtype.itemsize)
            records[begin:end] = block[places[begin:end] - start]

    def _read_each(self, file: int, places: Positions, records: NDArray[Any]) -> None:
        size, into = self._dtype.itemsize, _bytes(records)
        for first, after in _runs(places):
            _fill(into[first * size : after * size], file, int(places[first]) * size)


class Stored:
    """Rows of numbers of one type, in a feature file at `places`, in that order."""

    def __init__(self, file: RecordFile, columns: tuple[str, ...], places: Positions) -> None:
        self._file = file
        self._columns = columns
        self._places = places

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self._columns

    def __len__(self) -> int:
        return len(self._places)

    def take(self, chosen: Chosen) -> Stored:
        """Some of the rows; nothing is read."""
        return Stored(self._file, self._columns, self._places[chosen])

    def frame(self) -> pd.DataFrame:
        """All rows, in memory."""
        return pd.DataFrame(self._file.read(self._places), columns=list(self._columns))

    def array(self, positions: Positions | slice, dtype: str) -> NDArray[Any]:
        """Rows at `positions`, (rows, columns)."""
        return self._file.read(self._places[positions]).astype(dtype, copy=False)


class StoredTable:
    """Rows of columns of any known types, as records at `places`, in that order; texts are numbered in `words`."""

    def __init__(self, file: RecordFile, words: dict[str, Words], places: Positions) -> None:
        self._file = file
        self._words = words
        self._places = places

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self._words)

    def __len__(self) -> int:
        return len(self._places)

    def take(self, chosen: Chosen) -> StoredTable:
        """Some of the rows; nothing is read."""
        return StoredTable(self._file, self._words, self._places[chosen])

    def frame(self) -> pd.DataFrame:
        """All rows, in memory."""
        records = self._file.read(self._places)
        return pd.DataFrame(
            {name: words.values(records[f"f{place}"]) for place, (name, words) in enumerate(self._words.items())}
        )

    def array(self, positions: Positions | slice, dtype: str) -> NDArray[Any]:
        """Rows at `positions` as numbers, (rows, columns); raises ValueError where a column holds none."""
        return StoredTable(self._file, self._words, self._places[positions]).frame().to_numpy(dtype=dtype)


class Words:
    """The different texts of a column, numbered as they come, -1 for none; without texts the column stays as it is."""

    def __init__(self, texts: bool) -> None:
        self._numbers: dict[Any, int] | None = {} if texts else None

    def codes(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values as they are stored."""
        if self._numbers is None:
            return values
        codes, distinct = pd.factorize(values)
        numbers = [self._numbers.setdefault(value, len(self._numbers)) for value in distinct.tolist()]
        return np.array([*numbers, -1], dtype=np.int32)[codes]

    def values(self, codes: NDArray[Any]) -> pd.Series:
        """Stored values as they were."""
        if self._numbers is None:
            return pd.Series(np.ascontiguousarray(codes))
        known = np.empty(len(self._numbers) + 1, dtype=object)
        known[:-1] = list(self._numbers)
        return pd.Series(known[codes], dtype=object)


class FeatureFile:
    """Takes features of one type of numbers piece by piece; `at` gives rows of what was taken."""

    def __init__(self, path: Path, dtype: str) -> None:
        self._path = path
        self._dtype = dtype
        self._columns: tuple[str, ...] = ()

    def keep(self, frame: pd.DataFrame) -> Counted:
        """Append rows to the file."""
        self._columns = tuple(str(name) for name in frame.columns)
        self._file().append(np.ascontiguousarray(frame.to_numpy(dtype=self._dtype)))
        return Counted(frame)

    def at(self, places: Positions) -> Stored:
        """The rows at `places`."""
        return Stored(self._file(), self._columns, places)

    def _file(self) -> RecordFile:
        return RecordFile(self._path, np.dtype((self._dtype, (len(self._columns),))))


class TableFile:
    """Takes rows of columns piece by piece, each piece of the same types; `at` gives rows of what was taken."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._words: dict[str, Words] = {}
        self._dtype = np.dtype([])

    def keep(self, frame: pd.DataFrame) -> Counted:
        """Append rows to the file."""
        if not self._words:
            kinds = [np.dtype(kind) for kind in frame.dtypes]
            self._words = {str(name): Words(kind.kind == "O") for name, kind in zip(frame, kinds, strict=True)}
            self._dtype = np.dtype(
                [(f"f{place}", "int32" if kind.kind == "O" else kind) for place, kind in enumerate(kinds)]
            )
        records = np.empty(len(frame), dtype=self._dtype)
        for place, (name, words) in enumerate(self._words.items()):
            records[f"f{place}"] = words.codes(frame[name].to_numpy())
        RecordFile(self._path, self._dtype).append(records)
        return Counted(frame)

    def at(self, places: Positions) -> StoredTable:
        """The rows at `places`."""
        return StoredTable(RecordFile(self._path, self._dtype), self._words, places)


def _bytes(records: NDArray[Any]) -> memoryview:
    return records.view(np.uint8).reshape(-1).data


def _runs(places: Positions) -> Iterator[tuple[int, int]]:
    """Where rows that lie one after another in the file begin and end."""
    breaks = np.flatnonzero(np.diff(places) != 1) + 1
    return pairwise((0, *breaks.tolist(), len(places)))


def _fill(into: memoryview, file: int, offset: int) -> None:
    """One read may give less than was asked for: the kernel stops at two gigabytes."""
    while into:
        read = os.preadv(file, [into], offset)
        assert read  # the file is this job's own, and whole
        into, offset = into[read:], offset + read
