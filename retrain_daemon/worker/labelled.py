"""Labelled rows in memory or on disk: features, target, keys and times, one entry of each a row.

Values only: reading is in `row_reading.py`, windows and sides in `dataset.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.worker.features import Features, stacked
from retrain_daemon.worker.rows import Keys, contains

Times = NDArray[np.datetime64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Rows:
    """Usable rows, one entry of each field a row; times are datetime64[ns] in UTC.

    `unit_keys`: the group's or, without groups, the features' key; `row_keys`: what makes a row the same row again;
    `groups`: the unit keys where rows are grouped, and `feature_keys` those they would have without; `drop`: the id of
    the drop; `first_seen`: of the earliest drop that had the row, `unit_first_seen` (None: the same) that had any row
    of its unit. `target` has several columns for a regression with several outputs; `weight` is None where all rows
    count the same.
    """

    features: Features
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

    def take(self, mask: Mask | NDArray[np.int64]) -> Rows:
        """The rows where a mask is true, or at positions, in that order."""
        return Rows(
            features=self.features.take(mask),
            target=self.target.iloc[mask].reset_index(drop=True),
            unit_keys=self.unit_keys[mask],
            row_keys=self.row_keys[mask],
            groups=None if self.groups is None else self.groups[mask],
            drop=self.drop[mask],
            first_seen=self.first_seen[mask],
            event_time=self.event_time[mask],
            unit_first_seen=None if self.unit_first_seen is None else self.unit_first_seen[mask],
            weight=None if self.weight is None else self.weight[mask],
            feature_keys=None if self.feature_keys is None else self.feature_keys[mask],
        )

    @property
    def seen_keys(self) -> Keys:
        """What to save of rows that were seen: sorted keys of the units with and without the policy's group, so that
        they can be compared also after a group was added or taken away.
        """
        return np.unique(
            self.unit_keys if self.feature_keys is None else np.concatenate([self.unit_keys, self.feature_keys])
        )

    def seen_in(self, sorted_keys: Keys) -> Mask:
        """Which rows' units are among keys that were saved of rows seen."""
        seen = contains(sorted_keys, self.unit_keys)
        return seen if self.feature_keys is None else seen | contains(sorted_keys, self.feature_keys)

    @property
    def learned_keys(self) -> Keys:
        """What to save for a model trained on these rows: sorted unit keys and, where grouped, row keys as well.

        Units bar rows from judging; a known group's later rows are still unlearned, which row keys tell.
        """
        return np.unique(self.unit_keys if self.groups is None else np.concatenate([self.unit_keys, self.row_keys]))


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
