"""JSON lines: one object a line; a name that a line lacks has no value there."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from retrain_daemon.errors import DataProblem
from retrain_daemon.worker.columns import to_arrow
from retrain_daemon.worker.formats.choosing import choose
from retrain_daemon.worker.formats.disguises import refuse_disguise
from retrain_daemon.worker.formats.limits import ROW_BYTES, limits_of
from retrain_daemon.worker.formats.naming import DROP_AGAIN, first_line, shown
from retrain_daemon.worker.formats.pieces import PIECE_BYTES, piece_rows


def names(path: str) -> tuple[str, ...]:
    """The names of all lines, which any may add to. Raises DataProblem."""
    found: dict[str, None] = {}
    for _, value in _objects(path):
        found.update(dict.fromkeys(value))
    return tuple(found)


def read(path: str, columns: Collection[str]) -> Iterator[Any]:
    """Tables of the columns. Raises DataProblem."""
    wanted = list(dict.fromkeys(columns))
    limits, most = limits_of(path), piece_rows(len(wanted))
    known: dict[str, None] = {}
    lines: list[dict[str, object]] = []
    rows = size = 0
    for number, length, value in _sized(path):
        known.update(dict.fromkeys(value))
        lines.append(_single_values(path, number, value, wanted))
        rows, size = rows + 1, size + length
        limits.refuse_rows(rows)
        if len(lines) == most or size > PIECE_BYTES:
            yield _piece(lines, wanted)
            lines, size = [], 0
    choose(path, list(known), wanted)
    if lines:
        yield _piece(lines, wanted)


def _piece(lines: Sequence[dict[str, object]], columns: Sequence[str]) -> Any:
    values = {name: [line.get(name) for line in lines] for name in columns}
    return pa.table({name: to_arrow(pd.Series(column, dtype=object)) for name, column in values.items()})


def _objects(path: str) -> Iterator[tuple[int, dict[str, object]]]:
    for number, _, value in _sized(path):
        yield number, value


def _sized(path: str) -> Iterator[tuple[int, int, dict[str, object]]]:
    """The number of each line that is not blank, its bytes, and what it says."""
    empty = True
    with Path(path).open("rb") as stream:
        refuse_disguise(path, stream.read(4096), "JSON lines")
        stream.seek(0)
        number = 0
        while line := stream.readline(ROW_BYTES + 1):
            number += 1
            if len(line) > ROW_BYTES:
                raise DataProblem(
                    f"Line {number} of {shown(path)} has more than {ROW_BYTES:,} bytes.", "Write one object a line."
                )
            if line.strip():
                empty = False
                yield number, len(line), _object(path, number, line)
    if empty:
        raise DataProblem(f"{shown(path)} has not one row.", DROP_AGAIN)


def _single_values(path: str, number: int, value: dict[str, object], wanted: Sequence[str]) -> dict[str, object]:
    """The wanted values of one line; raises DataProblem where one is a list or an object."""
    chosen = {name: value[name] for name in wanted if name in value}
    for name, found in chosen.items():
        if isinstance(found, dict | list):
            raise DataProblem(
                f"Line {number} of {shown(path)} holds no single value for {name!r}.", "Write one value a name."
            )
    return chosen


def _object(path: str, number: int, line: bytes) -> dict[str, object]:
    try:
        value = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise DataProblem(f"Line {number} of {shown(path)} is not UTF-8 text.", "Save it as UTF-8.") from error
    except (ValueError, RecursionError) as error:
        raise DataProblem(f"Line {number} of {shown(path)} is not JSON: {first_line(error)}", DROP_AGAIN) from error
    if not isinstance(value, dict):
        raise DataProblem(
            f"Line {number} of {shown(path)} is not a JSON object.", 'Write {"column": value, ...} a line.'
        )
    return value
