"""Numpy archives (.npz): arrays with the same first axis, whose entries are the rows; nothing is ever unpickled.

An array of one dimension is a column of its own name. One of more dimensions, `pixel` of shape (rows, 8, 8), is the
columns `pixel_0` to `pixel_63`: the entries of a row in C order. Arrays are read side by side, some rows at a time.
"""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.lib import format as npy
from numpy.typing import NDArray

from retrain_daemon.errors import DataProblem
from retrain_daemon.worker.formats.choosing import choose
from retrain_daemon.worker.formats.disguises import ZIP, refuse_other
from retrain_daemon.worker.formats.limits import Limits, limits_of
from retrain_daemon.worker.formats.naming import DROP_AGAIN, shown
from retrain_daemon.worker.formats.pieces import PIECE_BYTES, Pieces, piece_rows

_HEADER_BYTES = 64 * 1024
#: Columns of one array, and arrays that are read at once, each of which takes memory of its own.
_MOST_COLUMNS = 100_000
_MOST_ARRAYS = 1_000
_SKIPPED_BYTES = 2**20
_UNITS = ("s", "ms", "us", "ns", "D")
_ENCRYPTED = 0x1


@dataclass(frozen=True)
class _Array:
    """One array of the archive: its member, what its header says, and where its values begin."""

    name: str
    member: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    start: int

    @property
    def width(self) -> int:
        """How many values a row has."""
        return math.prod(self.shape[1:])

    @property
    def columns(self) -> list[str]:
        """The names of its columns."""
        if len(self.shape) == 1:
            return [self.name]
        return [f"{self.name}_{place}" for place in range(self.width)]


def names(path: str) -> tuple[str, ...]:
    """The columns of an archive, array by array. Raises DataProblem."""
    with _opened(path) as archive:
        return tuple(name for array in _arrays(path, archive) for name in array.columns)


def read(path: str, columns: Collection[str]) -> Iterator[Any]:
    """Tables of the columns. Raises DataProblem."""
    with _opened(path) as archive, ExitStack() as stack:
        arrays = _arrays(path, archive)
        wanted = choose(path, [name for array in arrays for name in array.columns], columns)
        chosen = _needed(path, arrays, wanted)
        limits, rows = limits_of(path), arrays[0].shape[0]
        limits.refuse_rows(rows)
        limits.refuse_bytes(sum(array.member.file_size for array in chosen))
        pieces, most, needed = Pieces(limits, len(wanted)), _rows_at_once(limits, chosen), set(wanted)
        sources = [_source(path, archive, array, stack) for array in chosen]
        for start in range(0, rows, most):
            taken = min(most, rows - start)
            found = dict(pair for source in sources for pair in source.columns(taken, needed))
            yield from pieces.of(pa.table([found[name] for name in wanted], names=wanted))
        for source in sources:
            source.finish()


def _rows_at_once(limits: Limits, arrays: Sequence[_Array]) -> int:
    size = sum(array.width * array.dtype.itemsize for array in arrays)
    limits.refuse_row(size)
    return min(piece_rows(sum(array.width for array in arrays)), max(1, PIECE_BYTES // max(size, 1)))


@contextmanager
def _opened(path: str) -> Iterator[zipfile.ZipFile]:
    with Path(path).open("rb") as stream:
        start = stream.read(8)
        if not start.startswith(ZIP):
            refuse_other(path, start, "a numpy archive")
        try:
            with zipfile.ZipFile(stream) as archive:
                yield archive
        except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, RuntimeError, ValueError) as error:
            raise DataProblem(f"{shown(path)} is a numpy archive cut short or damaged.", DROP_AGAIN) from error


def _arrays(path: str, archive: zipfile.ZipFile) -> list[_Array]:
    """All arrays with rows, of which all have the same number. Raises DataProblem."""
    found = [array for member in archive.infolist() if (array := _array(path, archive, member)).shape]
    if not found:
        raise DataProblem(f"{shown(path)} has no array with rows.", "Write one with numpy.savez(path, name=array).")
    first = found[0]
    for array in found:
        if array.shape[0] != first.shape[0]:
            raise DataProblem(
                f"{shown(path)} has {first.shape[0]:,} rows in the array {first.name!r} and {array.shape[0]:,} in "
                f"{array.name!r}.",
                "Write arrays whose first axis is the rows, and no others.",
            )
    return found


def _array(path: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> _Array:
    said = f"The member {member.filename[:60]!r} of {shown(path)}"
    if not member.filename.endswith(".npy"):
        raise DataProblem(f"{said} is no array.", "Write the file with numpy.savez; an archive holds arrays alone.")
    if member.flag_bits & _ENCRYPTED or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataProblem(f"{said} is encrypted or packed in another way.", "Write the file with numpy.savez.")
    with archive.open(member) as stream:
        head = BytesIO(stream.read(_HEADER_BYTES))
    try:
        version = npy.read_magic(head)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version}")
        headed = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = headed(head)
    except (ValueError, TypeError, SyntaxError, RecursionError, TokenError) as error:
        raise DataProblem(f"{said} is no array that numpy wrote.", "Write the file with numpy.savez.") from error
    array = _Array(member.filename.removesuffix(".npy"), member, shape, dtype, fortran, head.tell())
    _refuse_shape(said, array)
    return array


def _refuse_shape(said: str, array: _Array) -> None:
    """Raise DataProblem where the values are not as many as the header says, or too many in a row."""
    if any(size < 0 for size in array.shape):
        raise DataProblem(f"{said} has an axis of negative length.", DROP_AGAIN)
    if array.shape and array.width > _MOST_COLUMNS:
        raise DataProblem(
            f"{said} has {array.width:,} values a row, more than {_MOST_COLUMNS:,}.", "Write smaller rows."
        )
    size = array.start + math.prod(array.shape) * array.dtype.itemsize
    if not array.dtype.hasobject and size != array.member.file_size:
        raise DataProblem(f"{said} is cut short: its header says {size:,} bytes.", DROP_AGAIN)


def _needed(path: str, arrays: Sequence[_Array], wanted: Sequence[str]) -> list[_Array]:
    """The arrays that hold wanted columns, each of a kind that can be read. Raises DataProblem."""
    chosen = [array for array in arrays if not set(wanted).isdisjoint(array.columns)]
    if len(chosen) > _MOST_ARRAYS:
        raise DataProblem(
            f"{shown(path)} has {len(chosen):,} arrays to read, more than {_MOST_ARRAYS:,}.",
            "Write several columns as one array.",
        )
    for array in chosen:
        said = f"The array {array.name!r} of {shown(path)}"
        if array.dtype.hasobject:
            raise DataProblem(f"{said} holds Python objects, which are never unpickled.", _PLAIN)
        if array.dtype.kind not in "biufUM" or array.dtype in (np.longdouble, np.dtype("M8")):
            raise DataProblem(f"{said} is of type {str(array.dtype)[:60]}.", _PLAIN)
        if array.fortran and array.member.compress_type != zipfile.ZIP_STORED:
            raise DataProblem(
                f"{said} is compressed column by column (Fortran order).", "Write numpy.ascontiguousarray(array)."
            )
    return chosen


_PLAIN = "Write numbers, truth values, text (dtype U) or moments (datetime64)."


class _ByRow:
    """The rows of an array in C order, one piece after another."""

    def __init__(self, array: _Array, stream: IO[bytes]) -> None:
        self._array = array
        self._stream = stream
        _full(stream, array.start)

    def columns(self, rows: int, wanted: set[str]) -> Iterator[tuple[str, Any]]:
        """The wanted columns of the next rows by name."""
        array = self._array
        data = _full(self._stream, rows * array.width * array.dtype.itemsize)
        values = np.frombuffer(data, array.dtype) if data else np.zeros(rows * array.width, array.dtype)
        yield from _by_name(array, values.reshape(rows, array.width), wanted)

    def finish(self) -> None:
        """Read to the end, where the archive's checksum is compared. Raises BadZipFile."""
        self._stream.read(1)


class _ByColumn:
    """The rows of an array in Fortran order that is stored unpacked: each column read at its place in the file."""

    def __init__(self, array: _Array, stream: IO[bytes]) -> None:
        self._array = array
        self._stream = stream
        self._start = _data_start(stream, array.member) + array.start
        self._row = 0
        # At which place in the file each column is, in the order of their names.
        self._places = np.arange(array.width).reshape(array.shape[1:], order="F").ravel()

    def columns(self, rows: int, wanted: set[str]) -> Iterator[tuple[str, Any]]:
        """The wanted columns of the next rows by name."""
        array, size = self._array, self._array.dtype.itemsize
        values = np.zeros((rows, array.width), array.dtype, order="F")
        for column, name in enumerate(array.columns):
            if name in wanted and size:
                self._stream.seek(self._start + (int(self._places[column]) * array.shape[0] + self._row) * size)
                values[:, column] = np.frombuffer(_full(self._stream, rows * size), array.dtype)
        self._row += rows
        yield from _by_name(array, values, wanted)

    def finish(self) -> None:
        """The checksum was compared before; nothing is left to read."""


def _source(path: str, archive: zipfile.ZipFile, array: _Array, stack: ExitStack) -> _ByRow | _ByColumn:
    stream = stack.enter_context(archive.open(array.member))
    if not array.fortran:
        return _ByRow(array, stream)
    while stream.read(_SKIPPED_BYTES):
        pass  # the checksum is compared at the end
    return _ByColumn(array, stack.enter_context(Path(path).open("rb")))


def _data_start(stream: IO[bytes], member: zipfile.ZipInfo) -> int:
    """Where the bytes of a stored member begin: after its local header, whose length is in the header itself."""
    stream.seek(member.header_offset)
    name, extra = struct.unpack("<HH", _full(stream, 30)[26:])
    return int(member.header_offset + 30 + name + extra)


def _full(stream: IO[bytes], size: int) -> bytes:
    pieces: list[bytes] = []
    while size > 0:
        piece = stream.read(size)
        if not piece:
            raise EOFError
        pieces.append(piece)
        size -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _by_name(array: _Array, values: NDArray[Any], wanted: set[str]) -> Iterator[tuple[str, Any]]:
    """Arrow arrays of the wanted columns of `values` (rows, columns)."""
    chosen = [(place, name) for place, name in enumerate(array.columns) if name in wanted]
    by_column = np.ascontiguousarray(values[:, [place for place, _ in chosen]].T)
    if array.dtype.kind == "M" and np.datetime_data(array.dtype)[0] not in _UNITS:
        by_column = by_column.astype("datetime64[s]")
    by_column = by_column.astype(by_column.dtype.newbyteorder("="), copy=False)
    for (_, name), column in zip(chosen, by_column, strict=True):
        yield name, pa.array(column)
