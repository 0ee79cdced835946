"""Features of many rows, in memory or on disk, which training and judging take in whole or batch by batch.

What the columns mean is for `signature.py`; which rows there are for `dataset.py`. No framework is imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.errors import TrainingFailed

Positions = NDArray[np.integer[Any]]
"""Places of rows, counted from 0."""

Chosen = NDArray[np.bool_] | Positions
"""Which rows: a mask over all, or positions in the wanted order."""


def numbered(rows: int) -> Positions:
    """The places of all of so many rows, in four bytes each where that is enough."""
    return np.arange(rows, dtype=np.int32 if rows < 2**31 else np.int64)


class Features(Protocol):
    """The feature columns of n rows, in the model's order."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""

    def __len__(self) -> int:
        """How many rows."""

    def take(self, chosen: Chosen) -> Self:
        """Some of the rows; nothing is copied where they lie on disk."""

    def frame(self) -> pd.DataFrame:
        """All rows in memory, with an index from 0."""

    def array(self, positions: Positions | slice, dtype: str) -> NDArray[Any]:
        """Rows at `positions` as numbers, (rows, columns); only these are in memory."""


class Joinable(Features, Protocol):
    """Features in memory, of which several may become one."""

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Parts of one kind, at least one, as one."""


class Table:
    """Features in memory, of any column types."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(str(name) for name in self._frame.columns)

    def __len__(self) -> int:
        return len(self._frame)

    def take(self, chosen: Chosen) -> Table:
        """Some of the rows, copied."""
        return Table(self._frame.iloc[chosen].reset_index(drop=True))

    def frame(self) -> pd.DataFrame:
        """A copy, as from disk: a model with copy=False changes what it is given, and another is asked next."""
        return self._frame.copy()

    def array(self, positions: Positions | slice, dtype: str) -> NDArray[Any]:
        """Rows at `positions` as numbers, (rows, columns); raises ValueError where a column holds none."""
        return self._frame.iloc[positions].to_numpy(dtype=dtype)

    @classmethod
    def joined(cls, parts: Sequence[Table]) -> Table:
        """Parts with the same columns as one.

        Raises TrainingFailed when a column without a known kind holds numbers in some and text in others.
        """
        frames = [part._frame for part in parts]
        return cls(pd.DataFrame({name: stacked([frame[name] for frame in frames]) for name in frames[0]}))


class Counted:
    """Features nobody will ask for: only how many rows there are is kept."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._columns = tuple(str(name) for name in frame.columns)
        self._rows = len(frame)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return self._columns

    def __len__(self) -> int:
        return self._rows

    def take(self, chosen: Chosen) -> Counted:
        """Nothing was kept; asking is a bug."""
        raise AssertionError("these features were counted, not kept")

    def frame(self) -> pd.DataFrame:
        """Nothing was kept; asking is a bug."""
        raise AssertionError("these features were counted, not kept")

    def array(self, positions: Positions | slice, dtype: str) -> NDArray[Any]:
        """Nothing was kept; asking is a bug."""
        raise AssertionError("these features were counted, not kept")

    @classmethod
    def joined(cls, parts: Sequence[Counted]) -> Counted:
        """How many rows all parts have."""
        made = cls(pd.DataFrame(columns=list(parts[0].columns)))
        made._rows = sum(len(part) for part in parts)
        return made


def stacked(parts: Sequence[pd.Series]) -> pd.Series:
    """One column of several pieces; raises TrainingFailed when some hold numbers and some text."""
    filled = [part for part in parts if not part.isna().all()]
    kinds = {"text" if part.dtype == object else "times" if part.dtype.kind == "M" else "numbers" for part in filled}
    if len(kinds) > 1:
        raise TrainingFailed(
            f"Column {parts[0].name!r} holds {' in some drops and '.join(sorted(kinds))} in others.",
            "Log the model with a signature, which says what the column holds, or correct the drops.",
        )
    if "text" in kinds:  # a piece without one value of this column does not know that it is text
        parts = [part.astype(object).where(part.notna(), None) for part in parts]
    return pd.concat(parts, ignore_index=True)
