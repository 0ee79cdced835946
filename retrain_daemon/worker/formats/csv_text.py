"""Comma-separated UTF-8 text with a header, plain or in a gzip archive; an empty unquoted field is no value."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv

from retrain_daemon.errors import DataProblem, SuspectData
from retrain_daemon.worker.formats.choosing import choose
from retrain_daemon.worker.formats.disguises import GZIP, refuse_disguise
from retrain_daemon.worker.formats.limits import ROW_BYTES, Limits, limits_of
from retrain_daemon.worker.formats.naming import DROP_AGAIN, shown
from retrain_daemon.worker.formats.pieces import Pieces

_HEADER_BYTES = 8 * 2**20
_READ_BYTES = 2**20


def names(path: str) -> tuple[str, ...]:
    """The columns that the header names. Raises DataProblem."""
    with _text(path) as stream:
        return tuple(_header(path, _start(path, stream)))


def read(path: str, columns: Collection[str]) -> Iterator[Any]:
    """Tables of the columns as texts. Raises DataProblem."""
    with _text(path) as stream:
        start = _start(path, stream)
        wanted = choose(path, _header(path, start), columns)
        pieces = Pieces(limits_of(path), len(wanted), checked=True)
        try:
            for batch in _batches(pa.PythonFile(_Joined(start, stream), mode="r"), wanted):
                yield from pieces.of(pa.Table.from_batches([batch]))
        except pa.ArrowInvalid as error:
            raise _broken(path, str(error)) from error


def refuse_cut_short(path: str) -> None:
    """Raise SuspectData where the text ends within a row: without a line end, or within quotes."""
    last, quotes = b"", 0
    with _text(path) as stream:
        while piece := bytes(stream.read(_READ_BYTES)):
            last, quotes = piece[-1:], quotes + piece.count(b'"')
    release = f"End it with a line end; or, if it is whole, run: retraind drop release {shown(path)} --why TEXT"
    if last not in (b"\n", b"\r"):
        raise SuspectData(f"{shown(path)} may be cut inside its last row: it does not end with a line end.", release)
    if quotes % 2:
        raise SuspectData(
            f"{shown(path)} may be cut inside a quoted cell: it has an odd number of quotes.",
            f"Close each quote; or, if it is whole, run: retraind drop release {shown(path)} --why TEXT",
        )


@contextmanager
def _text(path: str) -> Iterator[Any]:
    """The text of a file as a stream of bytes, unpacked if its name ends in .gz."""
    with Path(path).open("rb") as raw:
        if not path.lower().endswith(".gz"):
            yield raw
            return
        start = raw.read(8)
        raw.seek(0)
        if not start.startswith(GZIP):
            refuse_disguise(path, start, "gzip-compressed csv")
            raise DataProblem(f"{shown(path)} is not gzip-compressed.", "Compress it with gzip, or name it .csv.")
        try:
            with pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "gzip") as stream:
                yield _Counted(stream, limits_of(path))
        except OSError as error:
            if error.errno is not None:
                raise
            raise DataProblem(f"{shown(path)} is a gzip archive cut short or damaged.", DROP_AGAIN) from error


class _Counted:
    """An unpacked stream that ends with DataProblem where it unfolds to more than its archive may."""

    def __init__(self, stream: Any, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._bytes = 0

    def read(self, size: int | None = None) -> bytes:
        """The next bytes, at most `size`; none at the end."""
        found = bytes(self._stream.read(size))
        self._bytes += len(found)
        self._limits.refuse_bytes(self._bytes)
        return found


def _start(path: str, stream: Any) -> bytes:
    start = _full_read(stream, _HEADER_BYTES)
    refuse_disguise(path, start[:4096], "csv")
    return start


def _batches(source: Any, wanted: list[str]) -> Any:
    return pa.csv.open_csv(
        source,
        read_options=pa.csv.ReadOptions(use_threads=False, block_size=ROW_BYTES),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            include_columns=wanted,
            column_types={name: pa.large_string() for name in wanted},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def _broken(path: str, said: str) -> DataProblem:
    if "UTF8" in said:
        return DataProblem(f"{shown(path)} is not UTF-8 text throughout.", "Save it as UTF-8.")
    if "block" in said:
        return DataProblem(
            f"{shown(path)} has a row of more than {ROW_BYTES:,} bytes.", "Look for a quote never closed."
        )
    where = said.splitlines()[0].removeprefix("CSV parse error: ")[:160]
    return DataProblem(f"{shown(path)} is not well-formed csv: {where}", "Correct the row, or quote its commas.")


class _Joined(io.RawIOBase):
    """What was read ahead, followed by the rest of the stream."""

    def __init__(self, start: bytes, rest: Any) -> None:
        super().__init__()
        self._start = io.BytesIO(start)
        self._rest = rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._start.read(size) or bytes(self._rest.read(None if size < 0 else size))


def _full_read(stream: Any, size: int) -> bytes:
    pieces: list[bytes] = []
    while size > 0 and (piece := bytes(stream.read(size))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _header(path: str, start: bytes) -> list[str]:
    whole = len(start) < _HEADER_BYTES
    line = start if whole else start[: start.rfind(b"\n") + 1]
    try:
        errors = "strict" if b"\n" not in line else "replace"
        text = io.TextIOWrapper(io.BytesIO(line), "utf-8-sig", errors, newline="")  # decodes no more than is needed
        header = next(csv.reader(text, strict=True), [])
    except UnicodeDecodeError as error:
        raise DataProblem(f"{shown(path)} is not UTF-8 text.", "Save it as UTF-8.") from error
    except csv.Error as error:
        raise DataProblem(f"{shown(path)} has a header that is not csv: {error}", DROP_AGAIN) from error
    if any("�" in name for name in header):
        raise DataProblem(f"The header of {shown(path)} is not UTF-8 text.", "Save it as UTF-8.")
    if not any(header):
        raise DataProblem(f"{shown(path)} has no header line.", "The first line must name the columns.")
    return header
