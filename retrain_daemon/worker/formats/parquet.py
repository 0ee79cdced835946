"""Parquet files of flat columns, read some thousand rows at a time with the needed columns alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from retrain_daemon.errors import DataProblem
from retrain_daemon.worker.formats.choosing import choose, refuse_nested
from retrain_daemon.worker.formats.disguises import PARQUET, refuse_other
from retrain_daemon.worker.formats.limits import EXPANSION, Limits, limits_of
from retrain_daemon.worker.formats.naming import DROP_AGAIN, first_line, shown
from retrain_daemon.worker.formats.pieces import PIECE_BYTES, Pieces, piece_rows

#: Read at a time from each column; without it Arrow takes in the columns of a whole row group.
_BUFFER_BYTES = 64 * 1024
#: A chunk of a column, which may be one page, may unfold in memory to so much whatever it is packed to.
_CHUNK_BYTES = 256 * 2**20
_SHARING = "DELTA_BYTE_ARRAY"


def names(path: str) -> tuple[str, ...]:
    """The columns of a parquet file. Raises DataProblem."""
    with _opened(path) as file:
        return tuple(file.schema_arrow.names)


def read(path: str, columns: Collection[str]) -> Iterator[Any]:
    """Tables of the columns. Raises DataProblem."""
    limits = limits_of(path)
    with _opened(path) as file:
        wanted = choose(path, file.schema_arrow.names, columns)
        refuse_nested(path, file.schema_arrow, wanted)
        texts = [name for name in wanted if _is_text(file.schema_arrow.field(name).type)]
        chunks = _chunks(file.metadata, wanted)
        _refuse_bombs(path, limits, file.metadata, chunks)
        texts = _by_dictionary(texts, chunks)
        rows = _rows_at_once(file.metadata.num_rows, chunks, texts, len(wanted))
    pieces = Pieces(limits, len(wanted))
    with _opened(path, texts) as file:
        for batch in file.iter_batches(rows, columns=wanted, use_threads=False):
            yield from pieces.of(pa.Table.from_batches([batch]).select(wanted))


@contextmanager
def _opened(path: str, dictionaries: Sequence[str] = ()) -> Iterator[Any]:
    with Path(path).open("rb") as stream:
        start = stream.read(8)
        if not start.startswith(PARQUET):
            refuse_other(path, start, "a parquet file")
        try:
            with pa.parquet.ParquetFile(
                stream, pre_buffer=False, buffer_size=_BUFFER_BYTES, read_dictionary=list(dictionaries)
            ) as file:
                yield file
        except MemoryError:
            raise
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise DataProblem(f"{shown(path)} is a parquet file cut short or damaged.", DROP_AGAIN) from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise DataProblem(f"{shown(path)} is a damaged parquet file: {first_line(error)}", DROP_AGAIN) from error


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _chunks(metadata: Any, wanted: Sequence[str]) -> list[tuple[int, Any]]:
    """Each wanted column's chunk in each row group, and how many rows that has."""
    needed = set(wanted)
    places = [place for place in range(metadata.num_columns) if metadata.schema.column(place).path in needed]
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    return [(group.num_rows, group.column(place)) for group in groups for place in places]


def _refuse_bombs(path: str, limits: Limits, metadata: Any, chunks: Sequence[tuple[int, Any]]) -> None:
    limits.refuse_rows(metadata.num_rows)
    limits.refuse_bytes(sum(chunk.total_uncompressed_size for _, chunk in chunks))
    for rows, chunk in chunks:
        limits.refuse_row(chunk.total_uncompressed_size / max(rows, 1))
        allowed = max(_CHUNK_BYTES, EXPANSION * chunk.total_compressed_size)
        if chunk.total_uncompressed_size > allowed:
            raise DataProblem(
                f"Column {chunk.path_in_schema!r} of {shown(path)} unfolds to more than {allowed:,} bytes at once.",
                "Write smaller row groups.",
            )


def _by_dictionary(texts: Sequence[str], chunks: Sequence[tuple[int, Any]]) -> list[str]:
    """The columns of texts that Arrow can leave as they are packed: each text once."""
    other = {chunk.path_in_schema for _, chunk in chunks if not chunk.has_dictionary_page or _is_delta(chunk)}
    return [name for name in texts if name not in other]


def _is_delta(chunk: Any) -> bool:
    return any(encoding.startswith("DELTA_") for encoding in chunk.encodings)


def _rows_at_once(rows: int, chunks: Sequence[tuple[int, Any]], dictionaries: Collection[str], columns: int) -> int:
    """Fewer where rows are long, or where texts share bytes, so that any of them may be as long as all together."""
    each = sum(chunk.total_uncompressed_size for _, chunk in chunks) / max(rows, 1)
    shared = [
        int(chunk.total_uncompressed_size)
        for _, chunk in chunks
        if chunk.physical_type == "BYTE_ARRAY"
        and chunk.path_in_schema not in dictionaries
        and (chunk.has_dictionary_page or _SHARING in chunk.encodings)
    ]
    fitting = min(piece_rows(columns), int(PIECE_BYTES / max(each, 1)))
    return max(1, min([fitting, *(max(64, PIECE_BYTES // max(size, 1)) for size in shared)]))
