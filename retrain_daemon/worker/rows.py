"""Which row is which: stable keys of rows and units, who judges, and the files that say which were learned (law 5).

**Canonical form.** A key depends on values only, never on how a file wrote them. A missing value (None, NaN, NaT, an
empty text or a word such as NA) is one value. A whole number is its 64-bit integer, exactly, whether it was int,
float or a text in plain decimal notation ("17", "17.0", "1e3", not "017"); another number is its float64 bits. True
and "true" are one, as are a moment and its ISO 8601 text (UTC when it names no zone). Any other text is the first
eight bytes of its blake2b. Where different values share a form, they merge into one unit: that can cost a judging
row and can never let a learned row judge.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from retrain_daemon.errors import StateUnusable
from retrain_daemon.worker.columns import MISSING_WORDS, as_written, cast, is_text, to_arrow
from retrain_daemon.worker.durable import write_whole

__all__ = ["Keys", "cast", "contains", "each_once", "judges", "load_keys", "save_keys", "stops", "tries", "unit_keys"]

Keys = NDArray[np.uint64]

# Domains keep the integer 1, the float with the same bits, a moment and a text apart.
_MISSING, _WHOLE, _FRACTION, _MOMENT, _TEXT, _TRUTH = (np.uint64(salt) for salt in range(1, 7))
_MISSING_TEXTS, _MISSING_INT, _TEXT_INT = frozenset(MISSING_WORDS), int(_MISSING), int(_TEXT)
_NUMBER_STARTS = frozenset("+-0123456789")
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_SEED = np.uint64(0x5EED0F0F0F0F5EED)
_JUDGING = np.uint64(0x0DD5B0A7D5EED5A1)
_STOPPING = np.uint64(0x57095A7E12C4B9D3)
_TRYING = np.uint64(0x7A1D5EA2C48F03B7)
#: Keys looked up at a time: places take as much memory as keys, several times over.
_LOOKED_UP = 2**16
_NUMBER = re.compile(r"[-+]?(?:0|[1-9]\d*)(?:\.\d*)?(?:[eE][-+]?\d+)?", re.ASCII)
_MOMENT_TEXT = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:Z|[+-]\d\d(?::?\d\d)?)?)?", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def unit_keys(frame: pd.DataFrame, columns: Sequence[str]) -> Keys:
    """A 64-bit key for each row over `columns` in the given order; equal values give equal keys, always.

    Stable across files, file formats, processes, platforms and library versions. Mixing is the finaliser of
    splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014), chained.
    """
    keys = np.full(len(frame), _SEED, dtype=np.uint64)
    for name in columns:
        keys = _mixed((keys ^ _value_keys(frame[name])) + _GOLDEN)
    return keys


def judges(keys: Keys, share: float) -> NDArray[np.bool_]:
    """Whether each key is on the judging side when `share` (0 to 1) of all judge; who judges at 0.1 judges at 0.2."""
    return _mixed(keys ^ _JUDGING) < np.uint64(min(int(share * 2.0**64), 2**64 - 1))


def stops(keys: Keys, share: float) -> NDArray[np.bool_]:
    """Whether each key is among the `share` (0 to 1) that early stopping watches; independent of who judges."""
    return _mixed(keys ^ _STOPPING) < np.uint64(min(int(share * 2.0**64), 2**64 - 1))


def tries(keys: Keys, share: float) -> NDArray[np.bool_]:
    """Whether each key is among the `share` (0 to 1) that judge the trials of a search; independent of the others."""
    return _mixed(keys ^ _TRYING) < np.uint64(min(int(share * 2.0**64), 2**64 - 1))


def load_keys(paths: Iterable[str | Path]) -> Keys:
    """All keys of the files, sorted, each once. Raises StateUnusable if one is not there or no key file."""
    return each_once([_load(Path(path)) for path in paths])


def each_once(parts: Sequence[Keys]) -> Keys:
    """All keys of the parts, sorted, each once; in memory at most twice, as they may be many."""
    keys = np.concatenate(parts) if parts else np.empty(0, dtype=np.uint64)
    keys.sort()
    other = np.empty(len(keys), dtype=np.bool_)
    other[:1] = True
    np.not_equal(keys[1:], keys[:-1], out=other[1:])
    return keys if other.all() else keys[other]


def save_keys(path: str | Path, keys: Keys) -> None:
    """Write keys as a .npy file that is whole or not there, and survives a crash once this returned."""
    plain = np.ascontiguousarray(keys, dtype="<u8")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, np.lib.format.header_data_from_array_1_0(plain))
    write_whole(Path(path), header.getvalue(), plain.data)


def contains(sorted_keys: Keys, keys: Keys) -> NDArray[np.bool_]:
    """Whether each of `keys` is among `sorted_keys`, which are sorted."""
    found = np.zeros(len(keys), dtype=np.bool_)
    for start in range(0, len(keys) if len(sorted_keys) else 0, _LOOKED_UP):
        some = keys[start : start + _LOOKED_UP]
        places = np.minimum(np.searchsorted(sorted_keys, some), len(sorted_keys) - 1)
        found[start : start + _LOOKED_UP] = sorted_keys[places] == some
    return found


def _load(path: Path) -> Keys:
    hint = "The file belongs to the state folder: restore it from a backup, or adopt the model again."
    try:
        keys = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise StateUnusable(f"Key file {path} cannot be read: {error}", hint) from error
    if not isinstance(keys, np.ndarray) or keys.dtype != np.uint64 or keys.ndim != 1:
        raise StateUnusable(f"Key file {path} does not hold row keys.", hint)
    return keys


def _mixed(keys: Keys) -> Keys:
    """The finaliser of splitmix64: a bijection of 64-bit integers in which every input bit moves every output bit."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def _tagged(bits: Keys, domain: np.uint64 | Keys) -> Keys:
    return _mixed(bits ^ _mixed(np.atleast_1d(domain) * _GOLDEN))


_MISSING_KEY = _tagged(np.zeros(1, dtype=np.uint64), _MISSING)[0]


def _value_keys(values: pd.Series) -> Keys:
    """One key for each value, by the canonical form of this module."""
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "fiubM" and values.dtype != np.float32:
        return _array_keys(values.to_numpy())
    data = to_arrow(values)
    if is_text(data):
        return _distinct_keys(data)
    filled, missing = _numpy(data)
    keys = _array_keys(filled)
    keys[missing] = _MISSING_KEY
    return keys


def _numpy(data: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Values of an Arrow array of numbers, truth values or times with something in place of missing, and which are."""
    missing = np.asarray(data.is_null())
    if pa.types.is_null(data.type):
        return np.zeros(len(data), dtype=np.int64), missing
    if pa.types.is_date(data.type):
        data = data.cast(pa.timestamp("ms"))
    if pa.types.is_timestamp(data.type):
        unit = data.type.unit
        return np.asarray(data.cast(pa.int64()).fill_null(0)).view(f"datetime64[{unit}]"), missing
    data = as_written(data)
    return np.asarray(data.fill_null(False if pa.types.is_boolean(data.type) else 0)), missing


def _array_keys(values: NDArray[Any]) -> Keys:
    if values.dtype.kind == "f":
        return _float_keys(values.astype(np.float64))
    if values.dtype.kind == "b":
        return _tagged(values.astype(np.uint64), _TRUTH)
    if values.dtype.kind == "M":
        keys = _tagged(values.astype("datetime64[ns]").view(np.uint64), _MOMENT)
        return np.where(np.isnat(values), _MISSING_KEY, keys)
    wide = values.astype(np.uint64 if values.dtype.kind == "u" else np.int64)
    return _tagged(wide.view(np.uint64), _WHOLE)


def _float_keys(values: NDArray[np.float64]) -> Keys:
    whole = (np.floor(values) == values) & (values >= -(2.0**63)) & (values < 2.0**63)
    integers = np.where(whole, values, 0.0).astype(np.int64).view(np.uint64)
    bits = np.where(whole, integers, values.view(np.uint64))
    keys = _tagged(bits, np.where(whole, _WHOLE, _FRACTION))
    return np.where(np.isnan(values), _MISSING_KEY, keys)


def _distinct_keys(data: Any) -> Keys:
    """Keys of texts, each distinct text looked at once."""
    encoded = data.dictionary_encode()
    bits_and_domains = [_text_form(text) for text in encoded.dictionary.to_pylist()]
    table = np.array(bits_and_domains, dtype=np.uint64).reshape(-1, 2)
    keys = np.append(_tagged(table[:, 0], table[:, 1]), _MISSING_KEY)
    places: NDArray[np.int64] = np.asarray(encoded.indices.fill_null(len(table)), dtype=np.int64)
    return keys[places]


def _text_form(text: str) -> tuple[int, int]:
    """Bits and domain of a text's canonical form."""
    if text in _MISSING_TEXTS:
        return 0, _MISSING_INT
    if text[0] in _NUMBER_STARTS:
        if _NUMBER.fullmatch(text):
            return _number_form(text)
        if _MOMENT_TEXT.fullmatch(text) and (moment := _nanoseconds(text)) is not None:
            return moment & (2**64 - 1), int(_MOMENT)
    elif len(text) < 6 and text.lower() in ("true", "false"):
        return int(text.lower() == "true"), int(_TRUTH)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little"), _TEXT_INT


def _number_form(text: str) -> tuple[int, int]:
    """As an integer where it is written as one; through float64, as a column of floats would hold it, otherwise."""
    if text.lstrip("+-").isdigit() and len(text) <= 20 and -(2**63) <= int(text) < 2**64:
        return int(text) & (2**64 - 1), int(_WHOLE)
    number = float(text)
    if number.is_integer() and -(2.0**63) <= number < 2.0**63:
        return int(number) & (2**64 - 1), int(_WHOLE)
    return int(struct.unpack("<Q", struct.pack("<d", number))[0]), int(_FRACTION)


def _nanoseconds(text: str) -> int | None:
    """Nanoseconds since 1970 in UTC of an ISO 8601 text, None if no such moment exists."""
    seconds, dot, rest = text.partition(".")
    digits = re.match(r"\d*", rest)
    fraction = digits.group() if digits and dot else ""
    try:
        moment = datetime.fromisoformat(seconds + rest[len(fraction) :])
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    elapsed = moment - _EPOCH
    return (elapsed.days * 86400 + elapsed.seconds) * 10**9 + int(fraction.ljust(9, "0") or 0)
