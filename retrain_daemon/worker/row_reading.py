"""One file of a drop folder as labelled rows: columns cast, rows without a label left out, keys computed.

Where the kind of every column is known, piece by piece, so that a large file need not fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.core.policy import DataSpec
from retrain_daemon.errors import DataProblem
from retrain_daemon.worker.columns import cast_column, cast_target, cast_times, missing
from retrain_daemon.worker.feature_names import expanded, has_patterns
from retrain_daemon.worker.features import Joinable, Table
from retrain_daemon.worker.files import FileUnsettled, fingerprint, read_file, read_pieces, stamp
from retrain_daemon.worker.formats import shown
from retrain_daemon.worker.job import DropFile
from retrain_daemon.worker.labelled import Mask, Rows, joined, moment
from retrain_daemon.worker.rows import Keys, cast, unit_keys
from retrain_daemon.worker.schema import Column, Schema


@dataclass(frozen=True)
class FileRows:
    """The usable rows of one file and how many rows the file has in all; `beside`: other columns of these rows, as the
    file has them, where they were asked for.
    """

    rows: Rows
    total: int
    beside: pd.DataFrame | None = None


def read_rows(
    drop: DropFile, spec: DataSpec, schema: Schema, keep: Callable[[pd.DataFrame], Joinable] = Table
) -> FileRows:
    """The rows of one drop that have a target (and an event time, where the policy names one).

    Rows without, or with an infinite target, are set aside and only counted. `keep` takes the features of each piece,
    whose index is the place of each row in the file, from 0.
    Raises DataProblem when the file cannot be used; `temporary` when it may be later, as when it is not the file that
    was recorded.
    """
    parts = list(read_row_pieces(drop, spec, schema, keep))
    usable = [part.rows for part in parts if len(part.rows)]
    return FileRows(joined(usable or [parts[0].rows]), sum(part.total for part in parts))


def read_row_pieces(
    drop: DropFile,
    spec: DataSpec,
    schema: Schema,
    keep: Callable[[pd.DataFrame], Joinable],
    beside: Sequence[str] = (),
) -> Iterator[FileRows]:
    """The same, some rows after others; what is wrong late in a file is raised late. `beside` names other columns."""
    before = stamp(drop.path)
    if drop.fingerprint and fingerprint(drop.path) != drop.fingerprint:
        raise FileUnsettled(
            f"{shown(drop.path)} changed since it was recorded: its bytes are not those of {drop.fingerprint[:12]}.",
            "Put the recorded file back, or wait until the new one is recorded in its place.",
        )
    _refuse_other_columns(drop.path, spec, schema)
    usable = 0
    for frame in _pieces(drop.path, spec, schema, beside):
        some, target = _usable(frame, spec, schema)
        rows = _rows(some, target, drop, spec, schema, keep)
        usable += len(rows)
        yield FileRows(rows, len(frame), some[list(beside)] if beside else None)
    if not usable:
        _refuse_empty_columns(drop, spec, schema)
    if stamp(drop.path) != before:
        raise FileUnsettled(
            f"{shown(drop.path)} changed while it was read.", "Rename files into the folder when complete."
        )


def read_units(path: str, spec: DataSpec, schema: Schema) -> Keys:
    """The unit key of every row of a file, which needs no target. Raises DataProblem like `read_rows`."""
    columns = (spec.group,) if spec.group else schema.names
    _refuse_other_columns(path, spec, schema)
    known = spec.group is not None or all(column.kind for column in schema.features)
    pieces = read_pieces(path, columns) if known else iter((read_file(path, columns),))
    keys = [_unit_keys(piece if spec.group else cast(piece, schema), spec, schema) for piece in pieces]
    return np.concatenate(keys)


def kinds_known(spec: DataSpec, schema: Schema) -> bool:
    """Whether it is said of every column what it holds, so that no file has to be in memory to tell."""
    return all(column.kind for column in (*schema.features, *target_columns(spec, schema)))


def _pieces(path: str, spec: DataSpec, schema: Schema, beside: Sequence[str]) -> Iterator[pd.DataFrame]:
    """What a column holds is decided over the whole file where nobody says it."""
    columns = list(dict.fromkeys([*_read_columns(spec, schema), *beside]))
    return read_pieces(path, columns) if kinds_known(spec, schema) else iter((read_file(path, columns),))


def target_columns(spec: DataSpec, schema: Schema) -> tuple[Column, ...]:
    """The columns to predict, each with its kind; several are always numbers."""
    kind = "double" if spec.target.more else schema.target_kind
    return tuple(Column(name, kind) for name in spec.target.columns)


def _refuse_other_columns(path: str, spec: DataSpec, schema: Schema) -> None:
    """Patterns that stand for other columns in this file would fill the tensor in another order."""
    if not schema.read_from or not has_patterns(spec):
        return
    names = expanded(spec, path)
    if names != schema.names:
        differing = sorted(set(names) ^ set(schema.names))
        listed = ", ".join(differing[:5]) + (f" and {len(differing) - 5} more" if len(differing) > 5 else "")
        raise DataProblem(
            f"The patterns in data.features stand for {len(names)} columns in {shown(path)} and for "
            f"{len(schema.names)} in {schema.read_from}: {listed} differ.",
            "Write the same columns into every file, or name them in data.features.",
        )


def _read_columns(spec: DataSpec, schema: Schema) -> list[str]:
    return list(dict.fromkeys([*_identity(spec, schema), *([spec.weight] if spec.weight else [])]))


def _identity(spec: DataSpec, schema: Schema) -> list[str]:
    """All columns but the weight, which is not what makes a row another row."""
    extra = [*spec.target.columns, spec.group, spec.event_time, *spec.row_id]
    return list(dict.fromkeys([*schema.names, *(name for name in extra if name)]))


def _usable(frame: pd.DataFrame, spec: DataSpec, schema: Schema) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows that count, and their target."""
    labels = target_columns(spec, schema)
    frame = frame[present(frame, needed_columns(spec, schema))]
    target = pd.DataFrame({label.name: cast_target(frame[label.name], label) for label in labels})
    finite = np.isfinite(target.select_dtypes("float").to_numpy()).all(axis=1)
    return frame.iloc[finite], target.iloc[finite]


def _rows(
    frame: pd.DataFrame,
    target: pd.DataFrame,
    drop: DropFile,
    spec: DataSpec,
    schema: Schema,
    keep: Callable[[pd.DataFrame], Joinable],
) -> Rows:
    features = cast(frame, schema)
    seen = np.full(len(frame), moment(drop.first_seen))
    times = cast_times(frame[spec.event_time], spec.event_time).to_numpy() if spec.event_time else seen
    canonical = frame.copy(deep=False)
    for column in (*(features[name] for name in features), *(target[name] for name in target)):
        canonical[str(column.name)] = column
    if spec.event_time:
        canonical[spec.event_time] = times
    units = _unit_keys(canonical, spec, schema)
    several = target.reset_index(drop=True)
    return Rows(
        features=keep(features),
        target=several if spec.target.more else several[spec.target.column],
        unit_keys=units,
        row_keys=unit_keys(canonical, spec.row_id or sorted(_identity(spec, schema))),
        groups=units if spec.group else None,
        drop=np.full(len(frame), drop.drop, dtype=np.int64),
        first_seen=seen,
        event_time=times,
        weight=_weights(frame[spec.weight], spec.weight) if spec.weight else None,
        feature_keys=unit_keys(canonical, sorted(schema.names)) if spec.group else None,
    )


def needed_columns(spec: DataSpec, schema: Schema) -> tuple[Column, ...]:
    """What a row must have to count: a label and, where the policy names one, an event time."""
    return (*target_columns(spec, schema), *([Column(spec.event_time, "datetime")] if spec.event_time else []))


def present(frame: pd.DataFrame, needed: Sequence[Column]) -> Mask:
    """Which rows have a value in each of these columns."""
    absent = [missing(frame[column.name], column.kind) for column in needed]
    return np.asarray(~np.logical_or.reduce(absent), dtype=np.bool_)


def _refuse_empty_columns(drop: DropFile, spec: DataSpec, schema: Schema) -> None:
    """Raise DataProblem when a column that every row needs has no value in any."""
    for column in needed_columns(spec, schema):
        if missing(read_file(drop.path, [column.name])[column.name], column.kind).all():
            raise DataProblem(
                f"Column {column.name!r} of {shown(drop.path)} has no value in any row.", "Fill it and drop it again."
            )


def _weights(values: pd.Series, name: str) -> NDArray[np.float64]:
    weights = cast_column(values, Column(name, "double"))
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        row = int(weights.index[int(np.argmax(bad.to_numpy()))]) + 1
        raise DataProblem(
            f"Column {name!r}, the weight of a row, holds {weights.loc[row - 1]:g} in row {row}.",
            "A weight is a number that is not negative; write 1 for a row that counts as any other.",
        )
    return weights.to_numpy(dtype=np.float64)


def _unit_keys(frame: pd.DataFrame, spec: DataSpec, schema: Schema) -> Keys:
    """By name, so that a model whose signature lists the same columns in another order has the same units."""
    return unit_keys(frame, [spec.group] if spec.group else sorted(schema.names))
