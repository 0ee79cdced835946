"""What a bootstrap draws, and what it says: units of rows, integer weights for them, one-sided bounds.

Nothing here knows a metric or a model. Rows are never copied: a resample is a vector of counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

#: above so many units, units are put together at random to so many blocks, which are resampled
BLOCKS = 20_000
#: with fewer resamples than this beyond the bound, its place among them is too uncertain to be read off
FEWEST_IN_TAIL = 20
#: a bound is not given when more than this share of resamples has no value
MOST_UNDEFINED = 0.01

_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Units:
    """What is drawn with replacement. `of_row` gives each row's unit (n,).

    `sizes` says how many equal units a column of weights stands for (U,): 1, or the number of rows in a cell of
    rows that are all alike. `count` is the number of independent units, `name` says what was drawn.
    """

    of_row: Codes
    sizes: NDArray[np.int64]
    count: int
    name: str

    def sums(self, values: Array) -> Array:
        """Sum of a value per row (n,) over each unit (U,), for one of a cell's equal rows."""
        return np.bincount(self.of_row, weights=values, minlength=len(self.sizes)) / self.sizes

    def table(self, codes: Codes, width: int, chosen: NDArray[np.bool_] | None = None) -> Array:
        """How many rows of each unit have each code: (U, width); only `chosen` rows count."""
        keys = self.of_row * width + codes
        keys = keys if chosen is None else keys[chosen]
        counts = np.bincount(keys, minlength=len(self.sizes) * width)
        return counts.reshape(len(self.sizes), width) / self.sizes[:, None]

    def weights(self, seed: int, resamples: int) -> Iterator[Array]:
        """Blocks (b, U) of multinomial counts, `resamples` rows in all; the same seed gives the same counts."""
        generator = np.random.default_rng(seed)
        width = len(self.sizes)
        step = max(1, _BYTES // (8 * width))
        for start in range(0, resamples, step):
            yield self._block(generator, min(step, resamples - start))

    def _block(self, generator: np.random.Generator, height: int) -> Array:
        width, total = len(self.sizes), int(self.sizes.sum())
        if width != total:
            return generator.multinomial(total, self.sizes / total, size=height).astype(np.float64)
        block = np.empty((height, width))
        for row in block:  # counting drawn numbers is several times faster than a multinomial of many equal cells
            row[:] = np.bincount(generator.integers(0, width, size=width), minlength=width)
        return block


def whole(rows: int) -> Units:
    """All rows as one unit: a weight of one gives a metric's point value."""
    return Units(np.zeros(rows, dtype=np.intp), np.ones(1, dtype=np.int64), 1, "")


def alike(cells: Codes) -> Units:
    """Rows as units, drawn as counts of cells whose rows are all alike: exactly the same distribution."""
    _, of_row, sizes = np.unique(cells, return_inverse=True, return_counts=True)
    return Units(of_row, sizes.astype(np.int64), len(cells), f"{len(cells):,} rows")


def single(rows: int) -> Units:
    """Every row a unit."""
    return Units(np.arange(rows, dtype=np.intp), np.ones(rows, dtype=np.int64), rows, f"{rows:,} rows")


def grouped(groups: NDArray[np.uint64]) -> Units:
    """Every group a unit, with all its rows."""
    _, of_row = np.unique(groups, return_inverse=True)
    count = int(of_row.max()) + 1 if len(of_row) else 0
    return Units(of_row, np.ones(count, dtype=np.int64), count, f"{count:,} groups")


def blocked(units: Units, seed: int, blocks: int = BLOCKS) -> Units:
    """The same units put together at random to `blocks` blocks of nearly equal size, when there are more.

    Sums over blocks of independent units are independent too and keep mean, variance and skewness of the total, so
    resampling blocks costs the bound a relative error of only about 1/sqrt(2 blocks), half a percent.
    """
    if len(units.sizes) <= blocks:
        return units
    block_of = np.random.default_rng([seed, blocks]).permutation(len(units.sizes)) % blocks
    name = f"{units.name} in {blocks:,} random blocks"
    return Units(block_of[units.of_row], np.ones(blocks, dtype=np.int64), units.count, name)


@dataclass(frozen=True)
class Interval:
    """Two one-sided bounds; None with a `problem` where there are none. `normal` when taken from a normal curve."""

    low: float | None = None
    high: float | None = None
    normal: bool = False
    problem: str = ""


def interval(values: Array, point: float, confidence: float, units: int) -> Interval:
    """One-sided bounds at `confidence` each from resampled `values` around the `point` value.

    Expanded percentile interval (Hesterberg 2015, "What teachers should know about the bootstrap"): plain percentiles
    at a tail that makes up for the narrowness of a bootstrap with few units. Percentiles, not BCa: a paired difference
    is close to symmetric, and BCa is erratic where a difference takes few distinct values.
    """
    known = values[np.isfinite(values)]
    undefined = len(values) - len(known)
    if undefined > MOST_UNDEFINED * len(values):
        return Interval(problem=f"it is undefined in {undefined:,} of {len(values):,} resamples")
    reach = _student(confidence, units - 1) * math.sqrt(units / (units - 1))
    if (1 - confidence) * len(values) < FEWEST_IN_TAIL - 1e-9:
        half = reach * float(np.std(known, ddof=1))
        return Interval(point - half, point + half, normal=True)
    tail = NormalDist().cdf(-reach)
    low, high = np.quantile(known, tail, method="lower"), np.quantile(known, 1 - tail, method="higher")
    return Interval(float(low), float(high))


def share_at_most(count: int, total: int, confidence: float) -> float:
    """Exact upper bound on a share of which `count` of `total` were seen (Clopper and Pearson 1934), by bisection."""
    if count >= total:
        return 1.0
    low, high = count / total, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_most(count, total, middle) > 1 - confidence else (low, middle)
    return high


def _at_most(count: int, total: int, share: float) -> float:
    """Binomial probability of `count` or fewer."""
    if share >= 1:
        return float(count >= total)
    logs = [
        math.lgamma(total + 1)
        - math.lgamma(k + 1)
        - math.lgamma(total - k + 1)
        + _log(k, share)
        + _log(total - k, 1 - share)
        for k in range(count + 1)
    ]
    return math.fsum(math.exp(term) for term in logs)


def _log(times: int, share: float) -> float:
    return times * math.log(share) if times else 0.0


def _student(confidence: float, freedom: int) -> float:
    """Quantile of Student's t by its expansion (Abramowitz and Stegun 26.7.5); within 0.1 % from 9 degrees on."""
    z = NormalDist().inv_cdf(confidence)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
