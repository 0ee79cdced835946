"""Arrow files and streams, feather files (version 2) among them: one record batch in memory, needed columns alone."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from retrain_daemon.errors import DataProblem, SuspectData
from retrain_daemon.worker.formats.arrow_sizes import Damaged, sizes_in_file, sizes_in_stream
from retrain_daemon.worker.formats.choosing import choose, refuse_nested
from retrain_daemon.worker.formats.disguises import ARROW, FEATHER_1, refuse_disguise
from retrain_daemon.worker.formats.limits import BATCH_BYTES, Limits, limits_of
from retrain_daemon.worker.formats.naming import DROP_AGAIN, shown
from retrain_daemon.worker.formats.pieces import Pieces

_STREAM = b"\xff\xff\xff\xff"
_END = _STREAM + b"\x00\x00\x00\x00"


def names(path: str) -> tuple[str, ...]:
    """The columns of an Arrow file or stream. Raises DataProblem."""
    with _opened(path) as stream:
        return tuple(_schema(stream).names)


def read(path: str, columns: Collection[str]) -> Iterator[Any]:
    """Tables of the columns. Raises DataProblem."""
    limits = limits_of(path)
    with _opened(path) as stream:
        schema = _schema(stream)
        wanted = choose(path, schema.names, columns)
        refuse_nested(path, schema, wanted)
        _refuse_bombs(stream, limits)
        pieces = Pieces(limits, len(wanted))
        for batch in _batches(stream, [schema.names.index(name) for name in wanted]):
            yield from pieces.of(pa.Table.from_batches([batch]).select(wanted))


def refuse_cut_short(path: str) -> None:
    """Raise SuspectData where a stream lacks the mark of its end, as one does that was cut after a batch."""
    with Path(path).open("rb") as stream:
        if stream.read(4) != _STREAM:
            return
        stream.seek(-min(len(_END), limits_of(path).size), os.SEEK_END)
        if stream.read() != _END:
            raise SuspectData(
                f"{shown(path)} may be cut after one of its batches: the mark of the stream's end is missing.",
                f"Close the writer; or, if it is whole, run: retraind drop release {shown(path)}",
            )


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    with Path(path).open("rb") as stream:
        _refuse_others(path, stream.read(8))
        try:
            yield stream
        except MemoryError:
            raise
        except (pa.ArrowException, Damaged, UnicodeDecodeError) as error:
            raise DataProblem(f"{shown(path)} is an Arrow file cut short or damaged.", DROP_AGAIN) from error
        except OSError as error:
            if error.errno is not None:
                raise
            raise DataProblem(f"{shown(path)} is an Arrow file cut short or damaged.", DROP_AGAIN) from error


def _refuse_others(path: str, start: bytes) -> None:
    if start.startswith((ARROW, _STREAM)):
        return
    if start.startswith(FEATHER_1):
        raise DataProblem(
            f"{shown(path)} is a feather file of version 1, which is not read.",
            "Write it with version 2, such as pyarrow.feather.write_feather(table, path).",
        )
    if start[:4].endswith(b"\x00\x00"):  # how streams began before Arrow 0.15
        return
    refuse_disguise(path, start, "an Arrow file")
    raise DataProblem(f"{shown(path)} is not an Arrow file.", "Give it the name of what it is.")


def _is_file(stream: BinaryIO) -> bool:
    stream.seek(0)
    begins = stream.read(6) == ARROW
    stream.seek(0)
    return begins


def _reader(stream: BinaryIO, fields: list[int] | None = None) -> Any:
    """A reader from the beginning; one of a stream that is no more than its schema has no batch."""
    options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=fields)
    is_file = _is_file(stream)
    source = pa.PythonFile(stream, mode="r")
    return pa.ipc.open_file(source, options=options) if is_file else pa.ipc.open_stream(source, options=options)


def _schema(stream: BinaryIO) -> Any:
    return _reader(stream).schema


def _batches(stream: BinaryIO, fields: list[int]) -> Iterator[Any]:
    reader = _reader(stream, fields)
    if not hasattr(reader, "get_batch"):
        yield from reader
        return
    for number in range(reader.num_record_batches):
        yield reader.get_batch(number)


def _refuse_bombs(stream: BinaryIO, limits: Limits) -> None:
    rows = unfolded = 0
    for size in sizes_in_file(stream) if _is_file(stream) else sizes_in_stream(stream):
        rows, unfolded = rows + (0 if size.dictionary else size.rows), unfolded + size.unfolded
        limits.refuse_rows(max(rows, size.rows))
        limits.refuse_bytes(unfolded)
        if size.unfolded > BATCH_BYTES:
            raise DataProblem(
                f"{shown(limits.path)} has a record batch of more than {BATCH_BYTES:,} bytes.",
                "Write smaller ones, such as writer.write_table(table, max_chunksize=65536).",
            )
