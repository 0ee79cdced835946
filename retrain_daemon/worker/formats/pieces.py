"""Arrow tables of any size cut into pieces that fit into memory whatever their values unfold to.

Texts that are written once and pointed at from many rows are the danger: they are measured before they are copied.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from retrain_daemon.errors import DataProblem
from retrain_daemon.worker.formats.limits import Limits
from retrain_daemon.worker.formats.naming import shown

PIECE_BYTES = 32 * 2**20
_MOST_ROWS = 65_536
_FEWEST_ROWS = 512


def piece_rows(columns: int) -> int:
    """How many rows of so many columns are read at a time: about 32 MiB of numbers."""
    return max(_FEWEST_ROWS, min(_MOST_ROWS, PIECE_BYTES // 8 // max(columns, 1)))


class Pieces:
    """Cuts the tables of one file and counts what it unfolds to; raises DataProblem above the file's limits.

    Values that the reader `checked` are not looked at again.
    """

    def __init__(self, limits: Limits, columns: int, checked: bool = False) -> None:
        self._limits = limits
        self._checked = checked
        self._rows = 0
        self._bytes = 0
        self._at_once = piece_rows(columns)

    def of(self, table: Any) -> Iterator[Any]:
        """Pieces of `table` with plain columns: what was a dictionary, or a view, is written out."""
        self._rows += table.num_rows
        self._limits.refuse_rows(self._rows)
        if not self._checked:
            self._refuse_broken(table)
        sizes = _unfolded(table)
        self._bytes += int(sizes.sum())
        self._limits.refuse_bytes(self._bytes)
        for start, stop in _cuts(sizes, self._at_once):
            yield _plain(table.slice(start, stop - start))

    def _refuse_broken(self, table: Any) -> None:
        """Texts that are not UTF-8, and offsets that point nowhere."""
        for name, column in zip(table.column_names, table.columns, strict=True):
            try:
                column.validate(full=True)
            except pa.ArrowInvalid as error:
                what = "text that is not UTF-8" if "UTF8" in str(error) else "values that are damaged"
                raise DataProblem(
                    f"Column {name!r} of {shown(self._limits.path)} holds {what}.", "Write the file again as UTF-8."
                ) from error


def _cuts(sizes: NDArray[np.int64], rows: int) -> Iterator[tuple[int, int]]:
    """Where pieces begin and end: at most `rows` rows, and no more bytes than a piece may have, or one row."""
    total = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = int(total[start - 1]) if start else 0
        fits = int(np.searchsorted(total, before + PIECE_BYTES, side="right"))
        stop = max(start + 1, min(fits, start + rows))
        yield start, stop
        start = stop


def _unfolded(table: Any) -> NDArray[np.int64]:
    """Bytes of text that each row unfolds to, of texts that are not written out in the table."""
    sizes = np.zeros(table.num_rows, dtype=np.int64)
    for column in table.columns:
        if not _shares_texts(column.type):
            continue
        start = 0
        for chunk in column.chunks:
            sizes[start : start + len(chunk)] += _lengths(chunk)
            start += len(chunk)
    return sizes


def _shares_texts(kind: Any) -> bool:
    return bool(pa.types.is_dictionary(kind) and _is_text(kind.value_type)) or bool(pa.types.is_string_view(kind))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _lengths(chunk: Any) -> NDArray[np.int64]:
    """Bytes of each text; a missing one has none."""
    if pa.types.is_dictionary(chunk.type):
        if not len(chunk.dictionary):
            return np.zeros(len(chunk), dtype=np.int64)
        places = np.asarray(chunk.indices.fill_null(0), dtype=np.int64)
        return np.where(np.asarray(chunk.is_null()), 0, _lengths(chunk.dictionary)[places])
    if pa.types.is_string_view(chunk.type):
        views = np.frombuffer(chunk.buffers()[1], dtype=np.int32).reshape(-1, 4)
        lengths = views[chunk.offset : chunk.offset + len(chunk), 0].astype(np.int64)
        return np.where(np.asarray(chunk.is_null()), 0, lengths)
    return np.asarray(pc.binary_length(chunk).fill_null(0), dtype=np.int64)


def _plain(table: Any) -> Any:
    columns = [_written_out(column) for column in table.columns]
    return pa.table(columns, names=table.column_names)


def _written_out(column: Any) -> Any:
    kind = column.type
    if pa.types.is_dictionary(kind):
        value = kind.value_type
        return column.cast(pa.large_string() if _is_text(value) else value)
    return column.cast(pa.large_string()) if _is_text(kind) else column
