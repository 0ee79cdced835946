"""What the bytes of csv, csv.gz, parquet and jsonl files mean, and one clear sentence for each way they can be wrong.

Every reader takes a path and the wanted columns (None: all) and gives Arrow tables of columns as written, one after
another; where a file has no row, one table without rows. What is wrong late in a file is raised late.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Collection, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from retrain_daemon.errors import DataProblem
from retrain_daemon.worker.columns import to_arrow

MAX_COLUMNS = 5_000
_HEADER_BYTES = 8 * 2**20
_BLOCK_BYTES = 16 * 2**20
_PIECE_ROWS = 8_192
#: Read at a time from each column of a parquet file; without it Arrow takes in the columns of a whole row group.
_BUFFER_BYTES = 64 * 1024
_DISGUISES = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "a gzip archive",
    b"PAR1": "a parquet file",
    b"ARROW1": "an Arrow file",
    b"SQLite": "an SQLite database",
    b"%PDF": "a PDF document",
    b"7z\xbc\xaf": "a 7z archive",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}
DROP_AGAIN = "Write the file again and drop it; rename it into the folder when it is complete."


def shown(path: str) -> str:
    """A file's name for a message, on one line whatever characters it has."""
    name = Path(path).name
    return name if name.isprintable() else ascii(name)


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def _refuse_disguise(path: str, start: bytes, expected: str) -> None:
    for magic, kind in _DISGUISES.items():
        if start.startswith(magic):
            hint = "Save it as UTF-8." if kind == "UTF-16 text" else "Unpack it, or give it the name of what it is."
            raise DataProblem(f"{shown(path)} is {kind}, not {expected}.", hint)
    if b"\x00" in start:
        raise DataProblem(f"{shown(path)} is binary, not {expected}.", DROP_AGAIN)


def _choose(path: str, found: Sequence[str], columns: Collection[str] | None) -> list[str]:
    """The columns to read, all of them in the file and each once; raises DataProblem otherwise."""
    if columns is None and len(found) > MAX_COLUMNS:
        raise DataProblem(
            f"{shown(path)} has {len(found)} columns, more than {MAX_COLUMNS}.",
            "Name the needed ones in data.features.",
        )
    wanted = list(dict.fromkeys(found if columns is None else columns))
    counts = dict.fromkeys(wanted, 0)
    for name in found:
        if name in counts:
            counts[name] += 1
    if missing := [name for name, count in counts.items() if count == 0]:
        raise _missing_columns(path, found, missing, wanted)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise DataProblem(
            f"{shown(path)} has the column {repeated[0]!r} {counts[repeated[0]]} times.",
            "Give each column its own name.",
        )
    return wanted


def _missing_columns(path: str, found: Sequence[str], missing: Sequence[str], wanted: Sequence[str]) -> DataProblem:
    """A column that is wanted under its own name is not taken for a misspelling of another."""
    if len(found) == 1:
        for delimiter, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars"), (",", "commas")):
            if delimiter in found[0]:
                return DataProblem(
                    f"{shown(path)} has one column only; its header is separated by {name}.", "Separate with commas."
                )
    named = ", ".join(repr(name) for name in missing[:5]) + (
        f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    )
    others = sorted(set(found) - set(wanted))
    close = [(name, match[0]) for name in missing[:5] if (match := get_close_matches(name, others, n=1))]
    meant = "; ".join(f"is {other!r} meant to be {name!r}?" for name, other in close)
    listed = ", ".join(name[:40] for name in found[:8]) + (", ..." if len(found) > 8 else "")
    plural, header = (
        ("s" if len(missing) > 1 else ""),
        " The first line must name the columns." * (".csv" in path.lower()),
    )
    return DataProblem(
        f"{shown(path)} lacks the column{plural} {named}.",
        f"{meant[:1].upper()}{meant[1:]} " * bool(meant) + f"It has {len(found)} columns: {listed}.{header}",
    )


def read_csv(path: str, columns: Collection[str] | None) -> Iterator[Any]:
    """Comma-separated UTF-8 text with a header; an empty unquoted field is no value. Raises DataProblem."""
    with Path(path).open("rb") as stream:
        yield from _csv_stream(path, stream, columns)


def read_csv_gz(path: str, columns: Collection[str] | None) -> Iterator[Any]:
    """A csv in one gzip archive. Raises DataProblem."""
    with Path(path).open("rb") as raw:
        start = raw.read(8)
        raw.seek(0)
        if not start.startswith(b"\x1f\x8b"):
            _refuse_disguise(path, start, "gzip-compressed csv")
            raise DataProblem(f"{shown(path)} is not gzip-compressed.", "Compress it with gzip, or name it .csv.")
        try:
            with pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), "gzip") as stream:
                yield from _csv_stream(path, stream, columns)
        except OSError as error:
            if error.errno is not None:
                raise
            raise DataProblem(f"{shown(path)} is a gzip archive cut short or damaged.", DROP_AGAIN) from error


def _csv_stream(path: str, stream: Any, columns: Collection[str] | None) -> Iterator[Any]:
    start = _full_read(stream, _HEADER_BYTES)
    _refuse_disguise(path, start[:4096], "csv")
    header = _header(path, start)
    wanted = _choose(path, header, columns)
    options = pa.csv.ConvertOptions(
        include_columns=wanted,
        column_types={name: pa.large_string() for name in wanted},
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    source = pa.PythonFile(_Joined(start, stream), mode="r")
    try:
        batches = pa.csv.open_csv(
            source,
            read_options=pa.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=options,
        )
        yield batches.schema.empty_table()
        for batch in batches:
            yield pa.Table.from_batches([batch])
    except pa.ArrowInvalid as error:
        raise _broken_csv(path, str(error)) from error


def _broken_csv(path: str, said: str) -> DataProblem:
    if "UTF8" in said:
        return DataProblem(f"{shown(path)} is not UTF-8 text throughout.", "Save it as UTF-8.")
    if "block" in said:
        return DataProblem(
            f"{shown(path)} has a row of more than {_BLOCK_BYTES} bytes.", "Look for a quote never closed."
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
        text = line.decode("utf-8-sig", errors="strict" if b"\n" not in line else "replace")
        header = next(csv.reader(io.StringIO(text, newline=""), strict=True), [])
    except UnicodeDecodeError as error:
        raise DataProblem(f"{shown(path)} is not UTF-8 text.", "Save it as UTF-8.") from error
    except csv.Error as error:
        raise DataProblem(f"{shown(path)} has a header that is not csv: {error}", DROP_AGAIN) from error
    if any("�" in name for name in header):
        raise DataProblem(f"The header of {shown(path)} is not UTF-8 text.", "Save it as UTF-8.")
    if not any(header):
        raise DataProblem(f"{shown(path)} has no header line.", "The first line must name the columns.")
    return header


def read_parquet(path: str, columns: Collection[str] | None) -> Iterator[Any]:
    """A parquet file of flat columns. Raises DataProblem."""
    with Path(path).open("rb") as stream:
        start = stream.read(8)
    if not start.startswith(b"PAR1"):
        _refuse_disguise(path, start, "parquet")
        raise DataProblem(f"{shown(path)} is not a parquet file.", "Give it the name of what it is.")
    try:
        with pa.parquet.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
            schema = file.schema_arrow
            wanted = _choose(path, schema.names, columns)
            _refuse_nested(path, schema, wanted)
            yield schema.empty_table().select(wanted)
            for batch in file.iter_batches(_PIECE_ROWS, columns=wanted, use_threads=False):
                yield pa.Table.from_batches([batch]).select(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataProblem(f"{shown(path)} is a parquet file cut short or damaged.", DROP_AGAIN) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise DataProblem(f"{shown(path)} is a damaged parquet file: {_line(error)}", DROP_AGAIN) from error


def _refuse_nested(path: str, schema: Any, wanted: Collection[str]) -> None:
    for name in wanted:
        kind = schema.field(name).type
        if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            raise DataProblem(
                f"Column {name!r} of {shown(path)} holds {kind}, not single values.",
                "Write one value a row and column.",
            )


def read_jsonl(path: str, columns: Collection[str] | None) -> Iterator[Any]:
    """One JSON object a line; a name that a line lacks has no value there. Raises DataProblem.

    Without `columns` all lines are one table, as any may bring a new name.
    """
    with Path(path).open("rb") as stream:
        start = stream.read(4096)
    _refuse_disguise(path, start, "JSON lines")
    wanted = None if columns is None else set(columns)
    names: dict[str, None] = {}
    total = 0
    with Path(path).open("rb") as stream:
        found: dict[str, list[object]] = {}
        rows = 0
        for number, line in enumerate(stream, 1):
            if line.strip():
                _take_line(path, number, line, found, rows, wanted)
                rows += 1
            if rows == _PIECE_ROWS and columns is not None:
                names.update(dict.fromkeys(found))
                yield _piece(found, rows, list(dict.fromkeys(columns)))
                total, rows, found = total + rows, 0, {}
    names.update(dict.fromkeys(found))
    if total + rows == 0:
        raise DataProblem(f"{shown(path)} has not one row.", DROP_AGAIN)
    chosen = _choose(path, list(names), columns)
    if rows:
        yield _piece(found, rows, chosen)


def _piece(found: dict[str, list[object]], rows: int, columns: Sequence[str]) -> Any:
    values = {name: [*found.get(name, []), *[None] * (rows - len(found.get(name, [])))] for name in columns}
    return pa.table({name: to_arrow(pd.Series(column, dtype=object)) for name, column in values.items()})


def _take_line(
    path: str, number: int, line: bytes, found: dict[str, list[object]], row: int, wanted: set[str] | None
) -> None:
    """Put one JSON object's values at `row` of the wanted columns; other columns are known by name only."""
    for name, value in _object(path, number, line).items():
        if isinstance(value, dict | list):
            if wanted is None or name in wanted:
                raise DataProblem(
                    f"Line {number} of {shown(path)} holds no single value for {name!r}.", "Write one value a name."
                )
            value = None
        values = found.setdefault(name, [])
        if wanted is None or name in wanted:
            values.extend([None] * (row - len(values)))
            values.append(value)


def _object(path: str, number: int, line: bytes) -> dict[str, object]:
    try:
        value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise DataProblem(f"Line {number} of {shown(path)} is not UTF-8 text.", "Save it as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise DataProblem(f"Line {number} of {shown(path)} is not JSON: {_line(error)}", DROP_AGAIN) from error
    if not isinstance(value, dict):
        raise DataProblem(
            f"Line {number} of {shown(path)} is not a JSON object.", 'Write {"column": value, ...} a line.'
        )
    return value
