"""What a bootstrap draws: units of rows, integer weights for them.

Nothing here knows a metric or a model. Rows are never copied: a resample is a vector of counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Codes = NDArray[np.intp]

#: above so many units, units are put together at random to so many blocks, which are resampled
BLOCKS = 20_000

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


def grouped(groups: Codes) -> Units:
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
