"""One column of a drop as the type the model's signature names, whatever kind of file it came from.

Values go through Arrow, so a number read from text is the same number that parquet holds. A value that does not
fit is refused with its column and row; nothing is coerced to missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from retrain_daemon.errors import DataProblem
from retrain_daemon.worker.schema import NARROW_KINDS, Column, Schema

#: Texts that mean "no value" in a column of numbers, truth values or times (what spreadsheets and pandas write).
MISSING_WORDS = ("", "NA", "N/A", "#N/A", "<NA>", "NaN", "nan", "-nan", "-NaN", "null", "NULL", "None", "NaT")
#: What a column of truth values may hold besides, in any case; where no kind is known only true and false count.
TRUE_WORDS = ("true", "1", "1.0", "t", "yes", "y", "on")
FALSE_WORDS = ("false", "0", "0.0", "f", "no", "n", "off")
_INT32 = (-(2**31), 2**31 - 1)

Values = NDArray[Any]


class _Unfit(Exception):
    """The value at `position` is not what the column must hold, which `expected` names with its article."""

    def __init__(self, position: int, expected: str) -> None:
        super().__init__(expected)
        self.position = position
        self.expected = expected


def cast(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """The feature columns of `frame` in the schema's order and types, with the index of `frame`.

    Types by kind: integer and long int64 (no value may be missing), float the nearest 32-bit number as float64,
    double float64, boolean bool, string str objects with None for missing, datetime naive datetime64[ns] in UTC;
    without a kind a column of numbers is float64, of true and false bool, and anything else text.
    Raises DataProblem naming column, value and row (`index` + 1).
    """
    return pd.DataFrame({column.name: cast_column(frame[column.name], column) for column in schema.features})


def cast_column(values: pd.Series, column: Column) -> pd.Series:
    """One column as its kind says (see `cast`); raises DataProblem naming column, value and row."""
    return _checked(values, column, lambda data: _BY_KIND[column.kind](data))


def cast_target(values: pd.Series, column: Column) -> pd.Series:
    """The target without its missing values: like a feature, but numbers of no known kind are int64 if all are whole.

    So class labels 0 and 1 are the same labels in csv, where they are text, as in parquet.
    """
    if column.kind:
        return cast_column(values, column)
    return _checked(values, column, lambda data: _whole(_as_found(data)))


def cast_times(values: pd.Series, name: str) -> pd.Series:
    """A column of moments as naive datetime64[ns] in UTC; raises DataProblem naming column, value and row."""
    return cast_column(values, Column(name, "datetime"))


def missing(values: pd.Series, kind: str) -> NDArray[np.bool_]:
    """Which values are none: null and, unless the column is of texts, the words that stand for it."""
    data = to_arrow(values)
    if not is_text(data):
        return np.asarray(data.is_null(nan_is_null=True), dtype=np.bool_)
    words = _without_missing_words(data)
    if kind == "string" or (kind == "" and not _all_numbers(words)):
        words = pc.if_else(pc.equal(data, ""), None, data)
    return np.asarray(words.is_null(), dtype=np.bool_)


def _all_numbers(text: Any) -> bool:
    try:
        _numbers_from_text(text, "", {})
    except _Unfit:
        return False
    return True


def to_arrow(values: pd.Series) -> Any:
    """One Arrow array of `values`, texts as large_string; values of several types become their texts."""
    try:
        data = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        data = pa.array([None if _missing(value) else str(value) for value in values], pa.large_string())
    return _plain(data.combine_chunks() if isinstance(data, pa.ChunkedArray) else data)


def as_written(data: Any) -> Any:
    """Numbers of 32 bits as the number that their shortest text says, as 64 bits; anything else as it is.

    So 0.1 of 32 bits is the 0.1 that a csv of the same rows holds.
    """
    if pa.types.is_float32(data.type):
        return data.cast(pa.large_string()).cast(pa.float64())
    return data


def is_text(data: Any) -> bool:
    """Whether an Arrow array holds texts."""
    return bool(pa.types.is_large_string(data.type) or pa.types.is_string(data.type))


def _plain(data: Any) -> Any:
    """Dictionary, decimal and 16-bit float columns, and times of day, as the plain type with the same written value.

    Decimals are texts, as whole ones may have more digits than a float holds.
    """
    if pa.types.is_dictionary(data.type):
        data = data.dictionary_decode()
    if pa.types.is_float16(data.type):
        return _halves(data)
    texts = (pa.types.is_string, pa.types.is_decimal, pa.types.is_time, pa.types.is_duration)
    return data.cast(pa.large_string()) if any(test(data.type) for test in texts) else data


def _halves(data: Any) -> Any:
    """Numbers of 16 bits, of which there are few, as the number that their shortest text says."""
    halves, places = np.unique(data.to_numpy(zero_copy_only=False).astype(np.float16), return_inverse=True)
    written = np.array([float(str(half)) for half in halves], dtype=np.float64)
    return pa.array(written[places], mask=np.asarray(data.is_null()))


def _missing(value: object) -> bool:
    return value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and value != value)


def _checked(values: pd.Series, column: Column, convert: Callable[[Any], Values]) -> pd.Series:
    data = to_arrow(values)
    try:
        converted = convert(data)
    except _Unfit as unfit:
        row = int(values.index[unfit.position]) + 1
        value = data[unfit.position].as_py()
        said = "has no value" if value is None else f"holds {shortened(value)}"
        raise DataProblem(
            f"Column {column.name!r} {said} in row {row}, where {unfit.expected} is expected.",
            "Correct the file and drop it again; rows are counted from 1, without the header.",
        ) from None
    dtype = object if converted.dtype == object else None
    return pd.Series(converted, index=values.index, name=column.name, dtype=dtype)


def shortened(value: object) -> str:
    """A value for a message: at most 40 characters, on one line."""
    text = str(value)
    return repr(text if len(text) <= 40 else text[:37] + "...") if isinstance(value, str) else text[:40]


def _first(mask: Any) -> int:
    return int(np.argmax(np.asarray(mask)))


def _without_missing_words(text: Any) -> Any:
    trimmed = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.is_in(trimmed, pa.array(MISSING_WORDS, trimmed.type)), None, trimmed)


def _numbers(data: Any, expected: str = "a number") -> Values:
    """Float64 with NaN for missing; true is 1 and false 0, as in files that know truth values."""
    if is_text(data):
        return _numbers_from_text(data, expected, {"true": 1.0, "false": 0.0})
    if pa.types.is_null(data.type):
        return np.full(len(data), np.nan)
    if pa.types.is_boolean(data.type):
        data = data.cast(pa.int8())
    if not (pa.types.is_integer(data.type) or pa.types.is_floating(data.type)):
        raise _Unfit(_first(data.is_valid()), expected)
    data = as_written(data)
    return np.asarray(data.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64).copy()


def _numbers_from_text(text: Any, expected: str, words: Mapping[str, float]) -> Values:
    """As Arrow reads them; words for missing values and other spellings are looked for only where it cannot."""
    for spelled in _spellings(text):
        try:
            return np.asarray(spelled.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64).copy()
        except pa.ArrowInvalid:
            continue  # the next one takes more spellings
    values = _without_missing_words(text).to_pylist()
    return np.array([_number(value, at, expected, words) for at, value in enumerate(values)], dtype=np.float64)


def _spellings(text: Any) -> Iterator[Any]:
    yield text
    yield _without_missing_words(text)


def _number(value: str | None, position: int, expected: str, words: Mapping[str, float]) -> float:
    if value is None:
        return np.nan
    try:
        if "_" not in value:  # Python's digit grouping is no number in a data file
            return float(value)
    except ValueError:
        pass
    if (number := words.get(value.lower())) is not None:
        return number
    raise _Unfit(position, expected)


def _integers(data: Any, low: int = -(2**63), high: int = 2**63 - 1) -> Values:
    expected = "a whole number" if low == -(2**63) else f"a whole number from {low} to {high}"
    whole = None if data.null_count else _exact_integers(data)
    if whole is None and is_text(data):
        data = _without_missing_words(data)
        whole = None if data.null_count else _exact_integers(data)
    if data.null_count:
        raise _Unfit(_first(data.is_null()), expected)
    if whole is None:
        numbers = _numbers(data, expected)
        fits = np.isfinite(numbers) & (np.floor(numbers) == numbers) & (np.abs(numbers) < 2.0**63)
        if not fits.all():
            raise _Unfit(_first(~fits), expected)
        whole = numbers.astype(np.int64)
    outside = (whole < low) | (whole > high)
    if outside.any():
        raise _Unfit(_first(outside), expected)
    return whole


def _exact_integers(data: Any) -> Values | None:
    """Integers without a way through float64, exact only below 2^53; None if one is written otherwise."""
    if not (is_text(data) or pa.types.is_integer(data.type)):
        return None
    try:
        return np.asarray(data.cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)
    except pa.ArrowInvalid:
        return None


def _singles(data: Any) -> Values:
    if pa.types.is_float32(data.type):
        return np.asarray(data.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64).copy()
    numbers = _numbers(data)
    with np.errstate(over="ignore"):
        singles = numbers.astype(np.float32).astype(np.float64)
    overflown = np.isinf(singles) & ~np.isinf(numbers)
    if overflown.any():
        raise _Unfit(_first(overflown), "a number of 32 bits")
    return singles


def _booleans(data: Any, spellings: int | None = None) -> Values:
    """Truth values, of whose words the first few or all count."""
    expected = "true or false"
    if is_text(data):
        words = pc.utf8_lower(_without_missing_words(data))
        known = (TRUE_WORDS[:spellings], FALSE_WORDS[:spellings])
        yes, no = (np.asarray(pc.is_in(words, pa.array(some, words.type))) for some in known)
    else:
        numbers = _numbers(data, expected)
        yes, no = numbers == 1, numbers == 0
    if not (yes | no).all():
        raise _Unfit(_first(~(yes | no)), expected)
    return np.asarray(yes, dtype=np.bool_)


def _texts(data: Any) -> Values:
    if pa.types.is_temporal(data.type):
        raise _Unfit(_first(data.is_valid()), "text")
    if is_text(data):
        return np.array(data.to_pylist(), dtype=object)
    data = as_written(data)
    return np.array([None if value is None else str(value) for value in data.to_pylist()], dtype=object)


def _times(data: Any) -> Values:
    expected = "a date or time such as 2026-11-22T08:30:00+01:00 (UTC when it names no zone)"
    if is_text(data):
        return _times_from_text(_without_missing_words(data), expected)
    if pa.types.is_null(data.type):
        return np.full(len(data), np.datetime64("NaT"), dtype="datetime64[ns]")
    if not (pa.types.is_timestamp(data.type) or pa.types.is_date(data.type)):
        raise _Unfit(_first(data.is_valid()), expected)
    try:
        # Arrow keeps a moment with a zone as its UTC time, so only the zone's name is dropped here.
        return np.asarray(
            data.cast(pa.timestamp("ns", tz=getattr(data.type, "tz", None)))
            .cast(pa.int64())
            .fill_null(np.iinfo(np.int64).min)
            .to_numpy(),
            dtype=np.int64,
        ).view("datetime64[ns]")
    except pa.ArrowInvalid:
        raise _Unfit(_first(data.is_valid()), expected + " between the years 1678 and 2261") from None


def _times_from_text(text: Any, expected: str) -> Values:
    words = pd.Series(text.to_pylist(), dtype=object)
    moments = pd.to_datetime(words, utc=True, format="ISO8601", errors="coerce")
    unread = moments.isna().to_numpy() & words.notna().to_numpy()
    if unread.any():
        raise _Unfit(_first(unread), expected)
    return moments.dt.tz_localize(None).to_numpy().astype("datetime64[ns]")


def _as_found(data: Any) -> Values:
    """What a column without a kind holds: numbers, truth values, times, else text."""
    if pa.types.is_temporal(data.type):
        return _times(data)
    if pa.types.is_boolean(data.type):
        converts: tuple[Callable[[Any], Values], ...] = (_booleans,)
    else:
        converts = (_plain_numbers, _plain_booleans) if is_text(data) else (_numbers,)
    for convert in converts:
        try:
            return convert(data)
        except _Unfit:
            continue  # not a column of this type; the next one decides
    return _texts(data)


def _plain_numbers(text: Any) -> Values:
    """A column of texts that are numbers, every one."""
    return _numbers_from_text(text, "a number", {})


def _plain_booleans(data: Any) -> Values:
    """A column of yes and no whose kind nobody named may be meant as text: labels are."""
    return _booleans(data, 2)


def _whole(values: Values) -> Values:
    if values.dtype != np.float64:
        return values
    fits = np.isfinite(values) & (np.floor(values) == values) & (np.abs(values) < 2.0**53)
    return values.astype(np.int64) if fits.all() else values


def _narrow(kind: str) -> Callable[[Any], Values]:
    bounds = np.iinfo(kind)
    return lambda data: _integers(data, int(bounds.min), int(bounds.max))


_BY_KIND: dict[str, Callable[[Any], Values]] = {
    "boolean": _booleans,
    "integer": lambda data: _integers(data, *_INT32),
    "long": _integers,
    "float": _singles,
    "double": _numbers,
    "string": _texts,
    "datetime": _times,
    "": _as_found,
    **{kind: _narrow(kind) for kind in NARROW_KINDS},
}
