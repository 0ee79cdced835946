"""How the values of each column of a file are distributed, as a summary of bounded size, made piece by piece and kept
beside the file's row keys.

Numbers are kept as values at even ranks, texts as counts of the most frequent. How far two profiles are apart is for
`drift.py`.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.errors import StateUnusable
from retrain_daemon.worker.durable import write_whole
from retrain_daemon.worker.schema import Schema

Kind = Literal["number", "time", "category"]
Floats = NDArray[np.float64]

#: A column's points at most; with many columns fewer each, down to `MIN_POINTS`, so that a profile stays below 10 MB.
MAX_POINTS, MIN_POINTS, ALL_POINTS = 512, 64, 2**18
#: So many of the most frequent texts are named; the rows of all others are only counted.
MAX_CATEGORIES = 500
#: Distinct values are counted up to here; one more means that there are more.
DISTINCT_LIMIT = 512
_LONGEST_TEXT = 100
# While a profile is made, each column holds up to so many numbers a level, or counted texts: with many columns fewer.
_MAX_HELD, _MIN_HELD, _ALL_HELD = 4096, 256, 2**19
_FEWEST_TEXTS = 600


@dataclass(frozen=True, eq=False)
class ColumnProfile:
    """One column over `rows` rows, `missing` of them without a value (None, NaN, NaT).

    Numbers (truth values as 0 and 1, times in seconds since 1970) are `points`, sorted, each once, standing for
    `weights` rows: exact while there are at most `MAX_POINTS` distinct values, else values at even ranks. An infinity
    is a value beyond all others. `minimum` and `maximum` are exact, NaN where no value is. Texts are `categories`: the
    most frequent with their rows, most first, a long text shortened; the rows of others are `others`.
    `distinct` values were counted up to `DISTINCT_LIMIT`; one more means that there are more.
    """

    name: str
    kind: Kind
    rows: int
    missing: int
    points: Floats
    weights: Floats
    minimum: float
    maximum: float
    categories: tuple[tuple[str, int], ...]
    distinct: int

    @property
    def others(self) -> int:
        """Rows with a text that is not among `categories`; 0 in a column of numbers."""
        if self.kind != "category":
            return 0
        return self.rows - self.missing - sum(count for _, count in self.categories)


@dataclass(frozen=True, eq=False)
class Profile:
    """The columns of one file, or of several as if they were one, by name, over `rows` usable rows."""

    rows: int
    columns: Mapping[str, ColumnProfile]


class Profiler:
    """Takes the rows of a file piece by piece, in bounded memory. The same pieces always give the same profile."""

    def __init__(self, schema: Schema) -> None:
        columns = max(1, len(schema.features))
        self._points = min(MAX_POINTS, max(MIN_POINTS, ALL_POINTS // columns))
        self._held = min(_MAX_HELD, max(_MIN_HELD, _ALL_HELD // columns))
        self._columns: dict[str, _Numbers | _Texts] = {}
        self._rows = 0

    def add(self, features: pd.DataFrame, target: pd.Series | pd.DataFrame | None = None) -> None:
        """Take cast features (`columns.cast`) and, beside them, the target, whose columns are profiled as well."""
        self._rows += len(features)
        beside = pd.DataFrame() if target is None else pd.DataFrame(target)
        for frame in (features, beside):
            for name, values in frame.items():
                self._column(str(name), values).add(values.to_numpy())

    def result(self) -> Profile:
        """What was taken so far."""
        return Profile(self._rows, {name: column.profile(name) for name, column in self._columns.items()})

    def _column(self, name: str, values: pd.Series) -> _Numbers | _Texts:
        if name not in self._columns:
            kind: Kind = "time" if values.dtype.kind == "M" else "number"
            self._columns[name] = (
                _Texts(max(self._held, _FEWEST_TEXTS))
                if values.dtype.kind in "OU"
                else _Numbers(kind, self._held, self._points)
            )
        return self._columns[name]


class _Numbers:
    """Numbers of one column: exact counts while few are distinct, and always what stands at even ranks.

    Two blocks of sorted values of equal weight become one of twice the weight by leaving out every other value, in
    turn the odd and the even ones (G. Manku, S. Rajagopalan, B. Lindsay: Approximate medians and other quantiles in
    one pass and with limited memory, SIGMOD 1998). With n values and blocks of h, a rank is wrong by less than
    (log2(n / h) + 1) / 2h of n.
    """

    def __init__(self, kind: Kind, held: int, points: int) -> None:
        self._kind, self._held, self._points = kind, held, points
        self._rows = self._missing = 0
        self._minimum, self._maximum = np.inf, -np.inf
        self._pending: Floats = np.empty(0)
        self._levels: dict[int, Floats] = {}
        self._odd = False
        self._exact: tuple[Floats, Floats] | None = (np.empty(0), np.empty(0))

    def add(self, values: NDArray[Any]) -> None:
        numbers = _seconds(values) if values.dtype.kind == "M" else values.astype(np.float64)
        known = numbers[~np.isnan(numbers)]
        self._rows += len(numbers)
        self._missing += len(numbers) - len(known)
        if not len(known):
            return
        known = known + 0.0  # the negative zero is zero
        self._minimum = min(self._minimum, float(known.min()))
        self._maximum = max(self._maximum, float(known.max()))
        self._count(known)
        self._rank(np.concatenate([self._pending, known]))

    def profile(self, name: str) -> ColumnProfile:
        """The column as taken so far."""
        if self._exact is not None:
            values, weights = self._exact
        else:
            blocks = {**self._levels, 0: np.concatenate([self._pending, self._levels.get(0, np.empty(0))])}
            values = np.concatenate(list(blocks.values()))
            weights = np.concatenate([np.full(len(block), 2.0**level) for level, block in blocks.items()])
        points, weights = at_even_ranks(values, weights, self._points)
        filled = self._rows > self._missing
        return ColumnProfile(
            name=name,
            kind=self._kind,
            rows=self._rows,
            missing=self._missing,
            points=points,
            weights=weights,
            minimum=self._minimum if filled else np.nan,
            maximum=self._maximum if filled else np.nan,
            categories=(),
            distinct=len(self._exact[0]) if self._exact is not None else DISTINCT_LIMIT + 1,
        )

    def _count(self, values: Floats) -> None:
        """Keep exact counts until there are too many distinct values."""
        if self._exact is None:
            return
        if len(np.unique(values[: 2 * DISTINCT_LIMIT])) > DISTINCT_LIMIT:  # found out without sorting all of them
            self._exact = None
            return
        found, counts = np.unique(values, return_counts=True)
        both = summed(np.concatenate([self._exact[0], found]), np.concatenate([self._exact[1], counts]))
        self._exact = both if len(both[0]) <= DISTINCT_LIMIT else None

    def _rank(self, values: Floats) -> None:
        """Sort as large blocks as a level may take and thin each out at once; less than a block waits for more."""
        taken = 0
        while len(values) - taken >= self._held:
            level = int((len(values) - taken) // self._held).bit_length() - 1
            size = self._held << level
            self._carry(np.sort(values[taken : taken + size]), 0, level)
            taken += size
        self._pending = values[taken:].copy()

    def _carry(self, block: Floats, level: int, thinned: int) -> None:
        """Put a sorted block in its level, thinned out to one value of `2^thinned`, or join it with the one there."""
        while True:
            if thinned:
                step = 2**thinned
                offset = step // 2 - (0 if self._odd else 1)
                self._odd = not self._odd
                block, level, thinned = block[offset::step], level + thinned, 0
            there = self._levels.pop(level, None)
            if there is None:
                self._levels[level] = block
                return
            block, thinned = np.sort(np.concatenate([there, block])), 1


class _Texts:
    """Texts of one column, counted. When there are too many, the rarest are given up: what is left is counted too low
    by at most one in `held` rows (J. Misra, D. Gries: Finding repeated elements, 1982; P. Agarwal and others:
    Mergeable summaries, PODS 2012).
    """

    def __init__(self, held: int) -> None:
        self._held = held
        self._rows = self._missing = 0
        self._counts: dict[str, int] = {}
        self._complete = True

    def add(self, values: NDArray[Any]) -> None:
        codes, texts = pd.factorize(values)
        counts = np.bincount(codes + 1, minlength=len(texts) + 1)
        self._rows += len(values)
        self._missing += int(counts[0])
        for text, count in zip(texts, counts[1:].tolist(), strict=True):
            short = _short(str(text))
            self._counts[short] = self._counts.get(short, 0) + count
        if len(self._counts) > self._held:
            self._give_up_rarest()

    def profile(self, name: str) -> ColumnProfile:
        """The column as taken so far."""
        ordered = sorted(self._counts.items(), key=lambda pair: (-pair[1], pair[0]))
        return ColumnProfile(
            name=name,
            kind="category",
            rows=self._rows,
            missing=self._missing,
            points=np.empty(0),
            weights=np.empty(0),
            minimum=np.nan,
            maximum=np.nan,
            categories=tuple(ordered[:MAX_CATEGORIES]),
            distinct=min(len(ordered), DISTINCT_LIMIT + 1) if self._complete else DISTINCT_LIMIT + 1,
        )

    def _give_up_rarest(self) -> None:
        cut = sorted(self._counts.values(), reverse=True)[self._held]
        self._counts = {text: count - cut for text, count in self._counts.items() if count > cut}
        self._complete = False


def at_even_ranks(values: Floats, weights: Floats, most: int) -> tuple[Floats, Floats]:
    """At most `most` of the weighted values, sorted, that stand for all: all of them where so few are distinct, else
    those in the middle of as many parts of equal weight. The sum of weights stays.
    """
    values, weights = summed(values, weights)
    if len(values) <= most:
        return values, weights
    cumulated = np.cumsum(weights)
    total = cumulated[-1]
    middles = (np.arange(most) + 0.5) / most * total
    chosen = np.minimum(np.searchsorted(cumulated, middles), len(values) - 1)
    return summed(values[chosen], np.full(most, total / most))


def summed(values: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Sorted values, each once, with the sum of its weights."""
    order = np.argsort(values, kind="stable")
    values, weights = values[order], weights[order].astype(np.float64)
    if not len(values):
        return values, weights
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    return values[starts], np.add.reduceat(weights, starts)


def save_profile(path: str | Path, profile: Profile) -> None:
    """Write a profile as a .npz file that is whole or not there, and survives a crash once this returned."""
    columns = list(profile.columns.values())
    header = {
        "rows": profile.rows,
        "columns": [
            [each.name, each.kind, each.rows, each.missing, each.distinct, len(each.points), each.categories]
            for each in columns
        ],
    }
    stream = io.BytesIO()
    np.savez(
        stream,
        header=np.frombuffer(json.dumps(header).encode(), dtype=np.uint8),
        points=_joined([each.points for each in columns]),
        weights=_joined([each.weights for each in columns]),
        bounds=np.array([(each.minimum, each.maximum) for each in columns], dtype=np.float64).reshape(-1, 2),
    )
    write_whole(Path(path), stream.getvalue())


def load_profile(path: str | Path) -> Profile:
    """The profile in a file; raises StateUnusable if it is not there or no profile."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            header = json.loads(stored["header"].tobytes())
            return _profile(header, stored["points"], stored["weights"], stored["bounds"])
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise StateUnusable(
            f"Profile file {path} cannot be read: {error}", "It belongs to the state folder: restore it from a backup."
        ) from error


def _profile(header: dict[str, Any], points: Floats, weights: Floats, bounds: Floats) -> Profile:
    columns = {}
    start = 0
    for at, (name, kind, rows, missing, distinct, size, categories) in enumerate(header["columns"]):
        columns[name] = ColumnProfile(
            name=name,
            kind=cast(Kind, kind),
            rows=rows,
            missing=missing,
            points=points[start : start + size],
            weights=weights[start : start + size],
            minimum=float(bounds[at, 0]),
            maximum=float(bounds[at, 1]),
            categories=tuple((text, count) for text, count in categories),
            distinct=distinct,
        )
        start += size
    return Profile(header["rows"], columns)


def _joined(parts: Sequence[Floats]) -> Floats:
    return np.concatenate([np.empty(0), *parts])


def _seconds(times: NDArray[Any]) -> Floats:
    """Seconds since 1970, NaN where no time is."""
    nanoseconds = times.astype("datetime64[ns]")
    return np.where(np.isnat(nanoseconds), np.nan, nanoseconds.view(np.int64) / 1e9)


def _short(text: str) -> str:
    """A text as a profile names it: long ones by their beginning and a digest, so that different ones stay apart."""
    if len(text) <= _LONGEST_TEXT:
        return text
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{text[: _LONGEST_TEXT - 20]}… {digest}"
