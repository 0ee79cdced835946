"""What a policy names, looked for in the newest file of its drop folder: columns and their types, by its first rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

import pandas as pd

from retrain_daemon.core.policy import DataSpec
from retrain_daemon.errors import DataProblem, RetrainError
from retrain_daemon.worker.columns import cast_column, cast_target, missing
from retrain_daemon.worker.expected import watched_columns
from retrain_daemon.worker.feature_names import is_pattern
from retrain_daemon.worker.files import column_names, read_pieces
from retrain_daemon.worker.findings import about
from retrain_daemon.worker.formats import shown
from retrain_daemon.worker.job import CheckPolicy, Finding
from retrain_daemon.worker.row_reading import target_columns
from retrain_daemon.worker.schema import Column, Schema

#: So many rows are enough to see what a column holds.
ROWS = 1000
_SHOWN = 12


@dataclass(frozen=True)
class Head:
    """The names of all columns of a file, and its first rows."""

    path: str
    columns: tuple[str, ...]
    rows: pd.DataFrame


def read_head(job: CheckPolicy) -> tuple[Head | None, tuple[Finding, ...]]:
    """The first rows of the file; a file that cannot be read is no fault of the policy, and a warning."""
    if not job.reference:
        return None, ()
    try:
        return first_rows(job.reference), ()
    except DataProblem as problem:
        found = Finding(key="data.path", message=problem.message, hint=problem.hint, warning=True)
        return None, (found,)


def first_rows(path: str) -> Head:
    """Names and first rows of a file; raises DataProblem like `read_pieces`."""
    columns = column_names(path)
    return Head(path, columns, next(read_pieces(path, columns)).head(ROWS))


def against_file(job: CheckPolicy, head: Head, schema: Schema | None) -> Iterator[Finding]:
    """Columns that are not there, and such whose first values are not what they must be."""
    known = set(head.columns)
    for key, name in (*_named(job.data), *((each.key, each.name) for each in job.slices)):
        if name not in known:
            yield _lacking(key, f"names {name!r}, which", name, head)
    for each in job.data.expect:
        yield from _against_expectation(job.data, each.column, head, schema)
    if schema is None:
        return
    yield from _against_features(job.data, head, schema)
    for column, key in _typed(job.data, schema):
        if column.name in known:
            yield from _misfit(head, column, key, target=column.name in job.data.target.columns)


def _named(data: DataSpec) -> Iterator[tuple[str, str]]:
    """Every column that a policy names, with its key."""
    if data.target.more:
        yield from ((f"data.target.columns[{place}]", name) for place, name in enumerate(data.target.columns))
    else:
        yield "data.target.column", data.target.column
    for key, name in (("group", data.group), ("event_time", data.event_time), ("weight", data.weight)):
        if name is not None:
            yield f"data.{key}", name
    yield from ((f"data.row_id[{place}]", name) for place, name in enumerate(data.row_id))
    yield from ((f"data.features[{place}]", name) for place, name in enumerate(data.features) if not is_pattern(name))


def _lacking(key: str, what: str, name: str, head: Head) -> Finding:
    close = get_close_matches(name, head.columns, n=1) or [
        other for other in head.columns if other.casefold() == name.casefold()
    ]
    listed = ", ".join(head.columns[:_SHOWN]) + (", ..." if len(head.columns) > _SHOWN else "")
    hint = f"Did you mean {close[0]!r}?" if close else f"It has {listed}."
    shown_key = key.removesuffix(".column")
    return Finding(key=key, message=f"`{shown_key}` {what} {shown(head.path)} does not have.", hint=hint)


def _against_features(data: DataSpec, head: Head, schema: Schema) -> Iterator[Finding]:
    """What the model takes by its signature and the file lacks; and an answer among the questions."""
    named = {name for name in data.features if not is_pattern(name)}
    for column in schema.features:
        if column.name not in head.columns and column.name not in named:
            yield _lacking("data.features", f"is left to the signature, which names {column.name!r}, which",
                           column.name, head)  # fmt: skip
        if column.name in data.target.columns:
            message = f"`data.target` names {column.name!r}, which the model takes as a feature."
            yield Finding(key="data.target", message=message, hint="Name the column to predict.")


def _typed(data: DataSpec, schema: Schema) -> Iterator[tuple[Column, str]]:
    """Columns with what they must hold, and the key of each."""
    for column in schema.features:
        place = data.features.index(column.name) if column.name in data.features else None
        yield column, "data.features" if place is None else f"data.features[{place}]"
    yield from ((column, "data.target") for column in target_columns(data, schema))
    if data.event_time:
        yield Column(data.event_time, "datetime"), "data.event_time"
    if data.weight:
        yield Column(data.weight, "double"), "data.weight"


def _misfit(head: Head, column: Column, key: str, *, target: bool) -> Iterator[Finding]:
    values = head.rows[column.name]
    try:
        if target:
            cast_target(values[~missing(values, column.kind)], column)
        else:
            cast_column(values, column)
    except DataProblem as problem:
        hint = "Name another column, or correct the files."
        yield Finding(key=key, message=f"In {shown(head.path)}: {problem.message}", hint=hint)


def _against_expectation(
    data: DataSpec, column: str, head: Head, schema: Schema | None
) -> Iterator[Finding]:  # fmt: skip
    key = f"data.expect.{column}"
    meant = [name for name in head.columns if name == column or (is_pattern(column) and fnmatchcase(name, column))]
    if not meant:
        yield _lacking(key, f"names {column!r}, which", column, head)
        return
    alone = replace(data, expect=tuple(each for each in data.expect if each.column == column))
    try:
        list(watched_columns(head.path, alone, schema or Schema(())))
    except RetrainError as refusal:
        yield replace(about(refusal, key), key=key)


def labels_of(head: Head, data: DataSpec, *, every: bool = False) -> Sequence[object]:
    """The labels in the first rows, distinct ones or of `every` row that has one; none where the target is not one
    column that is there.
    """
    name = data.target.column
    if data.target.more or name not in head.columns:
        return ()
    values = head.rows[name]
    present = cast_target(values[~missing(values, "")], Column(name, ""))
    labels: list[object] = (present if every else present.drop_duplicates()).tolist()
    return labels
