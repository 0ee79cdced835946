"""Labelled rows in memory or on disk: features, target, keys and times, one entry of each a row.

Values only: reading is in `row_reading.py`, windows and sides in `dataset.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.worker.features import Features, Joinable, Positions, stacked
from retrain_daemon.worker.rows import Keys, contains, each_once

__all__ = ["LabelledRows", "Mask", "Positions", "Rows", "Seen", "Times", "joined", "moment"]

Times = NDArray[np.datetime64]
Mask = NDArray[np.bool_]
Seen = Literal["first_seen", "unit_first_seen"]

_PIECE_ROWS = 2**16


class LabelledRows(Protocol):
    """Usable rows, one entry of each field a row; times are datetime64[ns] in UTC.

    `unit_keys`: the group's or, without groups, the features' key; `row_keys`: what makes a row the same row again;
    `groups`: the unit keys where rows are grouped, and `feature_keys` those they would have without; `drop`: the id of
    the drop; `first_seen`: of the earliest drop that had the row, `unit_first_seen` (None: the same) that had any row
    of its unit. `target` has several columns for a regression with several outputs; `weight` is None where all rows
    count the same. What is asked for is in memory, which need not hold of the rest: ask once.
    """

    @property
    def features(self) -> Features: ...
    @property
    def target(self) -> pd.Series | pd.DataFrame: ...
    @property
    def unit_keys(self) -> Keys: ...
    @property
    def row_keys(self) -> Keys: ...
    @property
    def groups(self) -> Keys | None: ...
    @property
    def drop(self) -> NDArray[np.int64]: ...
    @property
    def first_seen(self) -> Times: ...
    @property
    def event_time(self) -> Times: ...
    @property
    def unit_first_seen(self) -> Times | None: ...
    @property
    def weight(self) -> NDArray[np.float64] | None: ...
    @property
    def feature_keys(self) -> Keys | None: ...

    def __len__(self) -> int: ...

    def take(self, chosen: Mask | Positions) -> LabelledRows:
        """The rows where a mask is true, or at positions, in that order."""

    def pieces(self) -> Iterator[LabelledRows]:
        """All rows, some at a time."""

    def seen_first(self, field: Seen, times: Times) -> LabelledRows:
        """The same rows with other times at which they, or their units, were seen first."""

    @property
    def seen_keys(self) -> Keys:
        """What to save of rows that were seen: sorted keys of the units with and without the policy's group, so that
        they can be compared also after a group was added or taken away.
        """

    def seen_in(self, sorted_keys: Keys) -> Mask:
        """Which rows' units are among keys that were saved of rows seen."""

    @property
    def learned_keys(self) -> Keys:
        """What to save for a model trained on these rows: sorted unit keys and, where grouped, row keys as well.

        Units bar rows from judging; a known group's later rows are still unlearned, which row keys tell.
        """


class OfKeys:
    """What follows from the keys of rows, wherever they are kept."""

    def pieces(self: Any) -> Iterator[Any]:
        """All rows, some at a time."""
        for start in range(0, len(self), _PIECE_ROWS):
            yield self.take(np.arange(start, min(start + _PIECE_ROWS, len(self))))

    @property
    def seen_keys(self: LabelledRows) -> Keys:
        """See `LabelledRows`."""
        if self.feature_keys is None:
            return each_once([self.unit_keys])
        return each_once([self.unit_keys, self.feature_keys])

    def seen_in(self: LabelledRows, sorted_keys: Keys) -> Mask:
        """See `LabelledRows`."""
        seen = contains(sorted_keys, self.unit_keys)
        return seen if self.feature_keys is None else seen | contains(sorted_keys, self.feature_keys)

    @property
    def learned_keys(self: LabelledRows) -> Keys:
        """See `LabelledRows`."""
        if self.groups is None:
            return each_once([self.unit_keys])
        return each_once([self.unit_keys, self.row_keys])


@dataclass(frozen=True)
class Rows(OfKeys):
    """Labelled rows in memory; the fields are those of `LabelledRows`."""

    features: Joinable
    target: pd.Series | pd.DataFrame
    unit_keys: Keys
    row_keys: Keys
    groups: Keys | None
    drop: NDArray[np.int64]
    first_seen: Times
    event_time: Times
    unit_first_seen: Times | None = None
    weight: NDArray[np.float64] | None = None
    feature_keys: Keys | None = None

    def __len__(self) -> int:
        return len(self.row_keys)

    def take(self, chosen: Mask | Positions) -> Rows:
        """The rows where a mask is true, or at positions, in that order."""
        return Rows(
            features=self.features.take(chosen),
            target=self.target.iloc[chosen].reset_index(drop=True),
            unit_keys=self.unit_keys[chosen],
            row_keys=self.row_keys[chosen],
            groups=None if self.groups is None else self.groups[chosen],
            drop=self.drop[chosen],
            first_seen=self.first_seen[chosen],
            event_time=self.event_time[chosen],
            unit_first_seen=None if self.unit_first_seen is None else self.unit_first_seen[chosen],
            weight=None if self.weight is None else self.weight[chosen],
            feature_keys=None if self.feature_keys is None else self.feature_keys[chosen],
        )

    def seen_first(self, field: Seen, times: Times) -> Rows:
        """The same rows with other times at which they, or their units, were seen first."""
        return replace(self, first_seen=times) if field == "first_seen" else replace(self, unit_first_seen=times)


def joined(parts: Sequence[Rows]) -> Rows:
    """Rows of several files, or pieces of one, in order; at least one part. Raises like `Features.joined`."""
    first = parts[0]
    return Rows(
        features=type(first.features).joined([part.features for part in parts]),
        target=_stacked_target([part.target for part in parts]),
        unit_keys=np.concatenate([part.unit_keys for part in parts]),
        row_keys=np.concatenate([part.row_keys for part in parts]),
        groups=None if first.groups is None else np.concatenate([part.unit_keys for part in parts]),
        drop=np.concatenate([part.drop for part in parts]),
        first_seen=np.concatenate([part.first_seen for part in parts]),
        event_time=np.concatenate([part.event_time for part in parts]),
        weight=None if first.weight is None else np.concatenate([_weight(part) for part in parts]),
        feature_keys=_feature_keys(parts),
    )


def _stacked_target(parts: Sequence[pd.Series | pd.DataFrame]) -> pd.Series | pd.DataFrame:
    tables = [part for part in parts if isinstance(part, pd.DataFrame)]
    if tables:
        return pd.concat(tables, ignore_index=True)
    return stacked([part for part in parts if isinstance(part, pd.Series)])


def _feature_keys(parts: Sequence[Rows]) -> Keys | None:
    found = [part.feature_keys for part in parts if part.feature_keys is not None]
    return np.concatenate(found) if found else None


def _weight(part: Rows) -> NDArray[np.float64]:
    assert part.weight is not None  # all rows of a job are read alike
    return part.weight


def moment(time: datetime) -> np.datetime64:
    """A moment as datetime64[ns] in UTC."""
    return np.datetime64(time.astimezone(UTC).replace(tzinfo=None), "ns")
