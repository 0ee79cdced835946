"""A file measured by what its policy expects of single columns (`data.expect`): the whole file, piece by piece, with
exact counts.

A value that is none is missing, whatever kind of file it came from (see `columns.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from fnmatch import fnmatchcase

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.core.policy import Bound, DataSpec, Expectation
from retrain_daemon.errors import DataProblem, Refused
from retrain_daemon.worker.columns import FALSE_WORDS, TRUE_WORDS, cast_column, missing, shortened
from retrain_daemon.worker.complaints import Complaint, listed, rate
from retrain_daemon.worker.evaluate import canonical
from retrain_daemon.worker.feature_names import is_pattern
from retrain_daemon.worker.files import column_names, read_pieces
from retrain_daemon.worker.formats import shown
from retrain_daemon.worker.labelled import Mask, moment
from retrain_daemon.worker.row_reading import target_columns
from retrain_daemon.worker.schema import Column, Schema


def unexpected(path: str, spec: DataSpec, schema: Schema) -> tuple[Complaint, ...]:
    """What the policy expects otherwise. Raises DataProblem for a column the file lacks, and Refused where bounds do
    not go with the type of a column.
    """
    watches = [_Watch(each, column) for each, column in watched_columns(path, spec, schema)]
    if not watches:
        return ()
    try:
        for frame in read_pieces(path, list(dict.fromkeys(watch.column.name for watch in watches))):
            for watch in watches:
                watch.add(frame[watch.column.name])
    except DataProblem as problem:
        if problem.temporary:
            raise
        raise DataProblem(problem.message, f"{problem.hint} The policy names its columns in data.expect.") from problem
    return tuple(complaint for watch in watches for complaint in watch.complaints(path))


def watched_columns(path: str, spec: DataSpec, schema: Schema) -> Iterator[tuple[Expectation, Column]]:
    """Each expectation with each column it is about, of the kind that the signature or the bounds say.

    Raises DataProblem for a pattern that stands for no column, Refused where bounds do not go with a type.
    """
    names = column_names(path) if any(is_pattern(each.column) for each in spec.expect) else ()
    kinds = {column.name: column.kind for column in (*schema.features, *target_columns(spec, schema))}
    if spec.event_time:
        kinds[spec.event_time] = "datetime"
    for each in spec.expect:
        meant = [each.column]
        if is_pattern(each.column) and each.column not in names:
            meant = [name for name in names if fnmatchcase(name, each.column)]
        if not meant:
            raise DataProblem(f"data.expect: the pattern {each.column!r} stands for no column of {shown(path)}.")
        for name in meant:
            yield each, Column(name, _kind(each, name, kinds.get(name, "")))


def _kind(expected: Expectation, name: str, known: str) -> str:
    """The kind of a column that an expectation is about; raises Refused where the two do not go together."""
    bounds = [bound for bound in (expected.at_least, expected.at_most) if bound is not None]
    dates = any(isinstance(bound, datetime) for bound in bounds)
    if dates and known not in ("", "datetime"):
        raise _unfit(expected, name, "dates as bounds", known, "Write numbers, or leave the bounds out.")
    if bounds and not dates and known in ("string", "datetime"):
        hint = "Write dates such as 2026-01-31." if known == "datetime" else "Write `values`, or leave the bounds out."
        raise _unfit(expected, name, "numbers as bounds", known, hint)
    if expected.values and known == "datetime":
        raise _unfit(expected, name, "values", known, "Write at_least and at_most.")
    return known or ("datetime" if dates else "double" if bounds else "")


def _unfit(expected: Expectation, name: str, what: str, kind: str, hint: str) -> Refused:
    return Refused(f"data.expect.{expected.column} has {what}, and column {name!r} is of type {kind}.", hint)


class _Watch:
    """One expectation of one column, counted over the pieces of a file."""

    def __init__(self, expected: Expectation, column: Column) -> None:
        self.column = column
        self._expected = expected
        self._rows = self._missing = self._empty = self._outside = 0
        self._first = ""
        self._numbers = True

    def add(self, values: pd.Series) -> None:
        """Take the column of a piece."""
        self._rows += len(values)
        absent = missing(values, self.column.kind or "double")
        self._missing += int(absent.sum())
        if not self.column.kind:
            absent = self._add_unknown(values, absent)
        present = values[~absent]
        outside = self._outside_of(present)
        if outside.any():
            self._outside += int(outside.sum())
            self._first = self._first or _told(present[outside])

    def _add_unknown(self, values: pd.Series, absent: Mask) -> Mask:
        """In a column of numbers words such as NA stand for no value, in one of texts they are texts; which it is, the
        whole file says.
        """
        empty = missing(values, "string")
        self._empty += int(empty.sum())
        self._numbers = self._numbers and not _unread(values[~absent]).any()
        return absent if self._numbers else empty

    def _outside_of(self, present: pd.Series) -> Mask:
        expected = self._expected
        if expected.values:
            return _not_among(present, expected.values)
        if expected.at_least is None and expected.at_most is None:
            return np.zeros(len(present), dtype=np.bool_)
        numbers = _moments(present) if self.column.kind == "datetime" else _numbers(present)
        low, high = _comparable(expected.at_least, -np.inf), _comparable(expected.at_most, np.inf)
        return np.asarray(~((numbers >= low) & (numbers <= high)), dtype=np.bool_)

    def complaints(self, path: str) -> Iterator[Complaint]:
        """What the file shows otherwise than expected."""
        expected, name = self._expected, self.column.name
        hint = f"Correct the file, or change data.expect.{expected.column}."
        if self._outside:
            what = "holds other values than" if expected.values else "is outside of"
            found = rate(self._outside, self._rows)
            yield Complaint(
                f"Column {name!r} of {shown(path)} {what} {_asked(expected)} in {found}, first {self._first}.", hint
            )
        absent = self._missing if self.column.kind or self._numbers else self._empty
        if expected.missing is not None and absent > expected.missing * self._rows:
            found, allowed = rate(absent, self._rows), f"{100 * expected.missing:.3g}%"
            yield Complaint(f"Column {name!r} of {shown(path)} has no value in {found}; {allowed} may have none.", hint)


def _asked(expected: Expectation) -> str:
    """What values should be, in a sentence."""
    if expected.values:
        return listed(canonical(value) for value in expected.values)
    low, high = _written(expected.at_least), _written(expected.at_most)
    return f"{low or 'anything'} to {high or 'anything'}"


def _written(bound: Bound | None) -> str:
    if isinstance(bound, datetime):
        return (
            f"{bound:%Y-%m-%d}" if bound == bound.replace(hour=0, minute=0, second=0) else f"{bound:%Y-%m-%dT%H:%M:%SZ}"
        )
    return "" if bound is None else f"{bound:.12g}"


def _comparable(bound: Bound | None, otherwise: float) -> float:
    """A bound as `_numbers` and `_moments` give values."""
    if isinstance(bound, datetime):
        return float(moment(bound).astype(np.int64))
    return otherwise if bound is None else bound


def _told(values: pd.Series) -> str:
    row = int(values.index[0]) + 1
    return f"{shortened(values.iloc[0])} in row {row}"


def _numbers(present: pd.Series) -> NDArray[np.float64]:
    """Values as numbers, NaN for one that is none."""
    try:
        return cast_column(present, Column(str(present.name), "double")).to_numpy(dtype=np.float64)
    except DataProblem:
        texts = present.astype(object).map(str).str.strip()
        return np.asarray(pd.to_numeric(texts, errors="coerce"), dtype=np.float64)


def _moments(present: pd.Series) -> NDArray[np.float64]:
    """Values as nanoseconds since 1970 in UTC, NaN for one that is no moment."""
    try:
        times = cast_column(present, Column(str(present.name), "datetime"))
    except DataProblem:
        texts = present.astype(object).map(str)
        times = pd.to_datetime(texts, utc=True, format="ISO8601", errors="coerce").dt.tz_localize(None)
    stamps = times.to_numpy().astype("datetime64[ns]")
    return np.where(np.isnat(stamps), np.nan, stamps.view(np.int64).astype(np.float64))


def _unread(present: pd.Series) -> Mask:
    """Which values are no numbers."""
    return np.isnan(_numbers(present))


def _not_among(present: pd.Series, allowed: Sequence[str | int | float | bool]) -> Mask:
    """Which values are none of the allowed ones; each distinct value is looked at once."""
    words = {canonical(value) for value in allowed}
    if all(isinstance(value, bool) for value in allowed):
        words = {word for yes in words for word in (TRUE_WORDS if yes == "true" else FALSE_WORDS)}
    numbers = any(not isinstance(value, str) for value in allowed)
    distinct = present.astype(object)
    strange = [value for value in distinct.unique() if _word(value, numbers) not in words]
    return np.asarray(distinct.isin(strange), dtype=np.bool_)


def _word(value: object, numbers: bool) -> str:
    """A value by its text; where numbers or truth values are allowed too, a text that is written as one is one."""
    text = canonical(value)
    if not numbers or not isinstance(value, str):
        return text
    try:
        return canonical(float(text))
    except ValueError:
        return text.strip().lower() if text.strip().lower() in ("true", "false") else text
