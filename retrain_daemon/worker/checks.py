"""What looks wrong in a file that could be read: beside earlier drops, and beside what the policy says of the target.

A check that compares asks how likely chance alone would show what is seen, so that small files and rare values raise
no alarm. What a policy expects of columns is measured in `expected.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from retrain_daemon.core.policy import DataSpec, Outputs
from retrain_daemon.errors import DataProblem
from retrain_daemon.worker.columns import cast_column, shortened
from retrain_daemon.worker.complaints import Complaint, listed, rate
from retrain_daemon.worker.earlier import FEW, MANY, Before, classes_of
from retrain_daemon.worker.evaluate import canonical
from retrain_daemon.worker.files import read_pieces
from retrain_daemon.worker.formats import shown
from retrain_daemon.worker.profile import ColumnProfile, Profile
from retrain_daemon.worker.row_reading import FileRows, needed_columns, present, target_columns
from retrain_daemon.worker.schema import Column, Schema

#: What chance alone shows so rarely is suspect.
UNLIKELY = 1e-9
_WORDS = {"number": "numbers", "time": "dates", "category": "texts"}
_AS_BEFORE = {"number": "double", "time": "datetime"}
_CORRECT = "Correct the file and drop it again."


@dataclass(frozen=True)
class Looked:
    """What was found in one file: `wrong` keeps it out, `suspect` until a person lets it pass, `notes` do not."""

    wrong: tuple[Complaint, ...]
    suspect: tuple[Complaint, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Opened:
    """One file that could be read: its usable rows, its columns, and what the drops before it showed."""

    path: str
    read: FileRows
    profile: Profile
    before: Mapping[str, Before]
    spec: DataSpec
    schema: Schema


def look_at(file: Opened) -> Looked:
    """Compare a file with the drops before it and with what the policy says of the target."""
    columns = [(column, file.before.get(column.name)) for column in file.profile.columns.values()]
    suspect = [complaint for column, before in columns for complaint in _suspect(file.path, column, before)]
    suspect.extend(_infinite(file))
    first = [column for column, before in columns if before is None]
    notes = [*_saying_nothing(file.path, first), *_new_classes(file)]
    strange = _strange(file.read, file.spec)
    if strange and sum(strange.values()) > file.spec.target.unknown_classes * len(file.read.rows):
        suspect.append(_unknown_classes(file, strange))
    elif strange:
        notes.append(f"{_unknown_classes(file, strange).sentence} They are set aside.")
    return Looked(tuple(_other_types(file)), tuple(suspect), tuple(notes))


def wrong_columns(path: str, spec: DataSpec, schema: Schema) -> tuple[Complaint, ...]:
    """Of a file that could not be read, each column with its first value that does not fit, as far as the file goes."""
    needed = needed_columns(spec, schema)
    columns = list(dict.fromkeys([*needed, *schema.features]))
    found: dict[str, Complaint] = {}
    try:
        for frame in read_pieces(path, [column.name for column in columns]):
            counts = present(frame, needed)
            for column in columns:
                if column.name not in found and (wrong := _misfit(frame[column.name][counts], column)):
                    found[column.name] = wrong
    except DataProblem:
        pass  # what ends the reading is reported by whoever read it first
    return tuple(found.values())


def _misfit(values: pd.Series, column: Column) -> Complaint | None:
    try:
        cast_column(values, column)
    except DataProblem as problem:
        return Complaint(problem.message, problem.hint)
    return None


def _suspect(path: str, column: ColumnProfile, before: Before | None) -> Iterator[Complaint]:
    """A column without values that had some, or with one value only that had several."""
    name, rows, values = column.name, column.rows, column.rows - column.missing
    if before is None or not before.drops:
        if before is None and not values and rows >= FEW:
            hint = "Fill it; or leave it out of the model's features if it is never there."
            yield Complaint(f"Column {name!r} of {shown(path)} has no value in any of {rows:,} rows.", hint)
        return
    if not values and before.absent**rows < UNLIKELY:
        had = f"{100 * (1 - before.absent):.3g}%"
        yield Complaint(
            f"Column {name!r} of {shown(path)} has no value in any of {rows:,} rows; in each earlier file at least "
            f"{had} of the rows had one.", "Fill it and drop the file again.",
        )  # fmt: skip
    if column.distinct == 1 and values >= MANY and before.top is not None and before.top**values < UNLIKELY:
        yield Complaint(
            f"Column {name!r} of {shown(path)} is {_value(column)} in all of {values:,} rows; in earlier files no "
            f"value had more than {100 * before.top:.3g}% of them.", _CORRECT,
        )  # fmt: skip


def _infinite(file: Opened) -> Iterator[Complaint]:
    """Columns of features with infinite values in rows that have a label: few models can learn from them."""
    for column in file.schema.features:
        profile = file.profile.columns.get(column.name)
        if profile is None or not np.isinf([profile.minimum, profile.maximum]).any():
            continue
        count, first = _count_infinite(file, column)
        yield Complaint(
            f"Column {column.name!r} of {shown(file.path)} is infinite, or too large for its type, in "
            f"{rate(count, len(file.read.rows))}, first in row {first}.",
            "Correct the file, and leave a cell empty where a value is not known: most models cannot learn from "
            "infinite values.",
        )


def _count_infinite(file: Opened, column: Column) -> tuple[int, int]:
    """How many rows with a label are infinite in a column, and the first of them, counted from 1."""
    needed = needed_columns(file.spec, file.schema)
    cast_as = Column(column.name, column.kind or "double")
    count = first = 0
    for frame in read_pieces(file.path, list(dict.fromkeys([column.name, *(each.name for each in needed)]))):
        values = cast_column(frame[column.name][present(frame, needed)], cast_as)
        infinite = values.index[np.isinf(values.to_numpy(dtype=np.float64))]
        count += len(infinite)
        if len(infinite):
            first = first or int(infinite[0]) + 1
    return count, first


def _saying_nothing(path: str, first: Sequence[ColumnProfile]) -> Iterator[str]:
    """Of columns that are seen for the first time, those with one value or none."""
    empty = [repr(column.name) for column in first if column.missing == column.rows and column.rows < FEW]
    constant = [
        f"{column.name!r} is {_value(column)}"
        for column in first
        if column.distinct == 1 and not column.missing and column.rows >= FEW
    ]
    if empty:
        yield f"No row of {shown(path)} has a value in {listed(empty)}."
    if constant:
        yield f"In every row of {shown(path)} {listed(constant)}."


def _value(column: ColumnProfile) -> str:
    """The one value of a constant column."""
    if column.kind == "category":
        return shortened(column.categories[0][0])
    if column.kind == "time":
        return str(np.datetime64(int(column.minimum), "s"))
    return f"{column.minimum:.12g}"


def _other_types(file: Opened) -> Iterator[Complaint]:
    """Columns whose type nobody names and that hold another one than in earlier files: no model could learn both."""
    for column in (*file.schema.features, *target_columns(file.spec, file.schema)):
        found, before = file.profile.columns.get(column.name), file.before.get(column.name)
        if column.kind or found is None or before is None or found.missing == found.rows:
            continue
        if before.kinds and found.kind not in before.kinds:
            yield _other_type(file.path, found, min(before.kinds))


def _other_type(path: str, found: ColumnProfile, kind: str) -> Complaint:
    """With the first value that is not what the column held before, where there is one."""
    hint = "Correct the file; or log the model with a signature, which says what the column holds."
    earlier = f"in earlier files {_WORDS[kind]}"
    if kind in _AS_BEFORE:
        for frame in read_pieces(path, [found.name]):
            wrong = _misfit(frame[found.name], Column(found.name, _AS_BEFORE[kind]))
            if wrong is not None:
                return Complaint(f"{wrong.sentence.rstrip('.')}: it held {earlier}.", hint)
    return Complaint(f"Column {found.name!r} of {shown(path)} holds {_WORDS[found.kind]}, and {earlier}.", hint)


def _strange(read: FileRows, spec: DataSpec) -> dict[str, int]:
    """Labels that the policy does not name as classes, with their rows."""
    known = {canonical(label) for label in spec.target.classes}
    if not known or not isinstance(read.rows.target, pd.Series):
        return {}
    counts = read.rows.target.value_counts()
    return {canonical(label): int(count) for label, count in counts.items() if canonical(label) not in known}


def _unknown_classes(file: Opened, strange: Mapping[str, int]) -> Complaint:
    target = file.spec.target
    allowed = f"{100 * target.unknown_classes:.3g}%"
    classes = listed(f"{shortened(label)} in {count:,}" for label, count in strange.items())
    return Complaint(
        f"Column {target.column!r} of {shown(file.path)} holds classes that data.target.classes does not name in "
        f"{rate(sum(strange.values()), len(file.read.rows))}: {classes}; {allowed} may have such.",
        "If they are slips, correct them, or allow a share with data.target.unknown_classes; if they are real, name "
        "them in data.target.classes and register a model that has them.",
    )


def _new_classes(file: Opened) -> Iterator[str]:
    """Labels that no earlier file had, where the policy does not say which there are."""
    target = file.spec.target
    found, before = file.profile.columns.get(target.column), file.before.get(target.column)
    values = target.more or target.classes or file.spec.model_outputs is Outputs.VALUE
    if values or found is None or before is None or not before.classes:
        return
    new = {label: rows for label, rows in (classes_of(found) or {}).items() if label not in before.classes}
    if new:
        told = listed(f"{shortened(label)} in {rows:,.0f} rows" for label, rows in new.items())
        yield f"Column {target.column!r} of {shown(file.path)} holds classes that no earlier file has: {told}."
