"""Labelled rows on disk: a file for the features, one for the target and one for each other column.

In memory is which rows these are: four bytes a row. What a column is for is said in `labelled.py`. The files are a
job's own and go with its folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.worker.features import Features, numbered
from retrain_daemon.worker.labelled import Mask, OfKeys, Positions, Rows, Seen, Times
from retrain_daemon.worker.rows import Keys
from retrain_daemon.worker.schema import Schema
from retrain_daemon.worker.stored import FeatureFile, RecordFile, TableFile


class RowFiles:
    """Takes rows piece by piece into files of `folder` and gives all of them as stored rows."""

    def __init__(self, folder: Path, schema: Schema) -> None:
        self._folder = folder
        tensor = schema.tensor
        self.features = TableFile(folder / "features") if tensor is None else FeatureFile(
            folder / "features", tensor.dtype
        )  # fmt: skip
        self.target = TableFile(folder / "target")
        self._columns: dict[str, RecordFile] = {}
        self._several = self._grouped = False
        self._rows = 0

    def add(self, rows: Rows) -> None:
        """Append rows whose features `features.keep` has taken."""
        self._several, self._grouped = isinstance(rows.target, pd.DataFrame), rows.groups is not None
        self.target.keep(rows.target if isinstance(rows.target, pd.DataFrame) else rows.target.to_frame())
        for name in ("unit_keys", "row_keys", "drop", "first_seen", "event_time", "weight", "feature_keys"):
            values = getattr(rows, name)
            if values is not None:
                file = self._columns.setdefault(name, RecordFile(self._folder / name, values.dtype))
                file.append(np.ascontiguousarray(values))
        self._rows += len(rows)

    def rows(self) -> StoredRows:
        """All rows that were added."""
        return StoredRows(self, self._columns, numbered(self._rows), several=self._several, grouped=self._grouped)

    def column(self, name: str, places: Positions, values: Times) -> RecordFile:
        """A further column, with values at `places`; the others' rows are not asked for any more."""
        path = self._folder / name
        path.unlink(missing_ok=True)
        if len(places) < self._rows:
            every = np.zeros(self._rows, dtype=values.dtype)
            every[places] = values
            values = every
        file = RecordFile(path, values.dtype)
        file.append(values)
        return file


class StoredRows(OfKeys):
    """Labelled rows at `places` of row files, in that order; the properties are those of `LabelledRows`."""

    def __init__(
        self, files: RowFiles, columns: Mapping[str, RecordFile], places: Positions, *, several: bool, grouped: bool
    ) -> None:
        self._files = files
        self._columns = columns
        self._places = places
        self._several = several
        self._grouped = grouped

    def __len__(self) -> int:
        return len(self._places)

    def take(self, chosen: Mask | Positions) -> StoredRows:
        """Some of the rows; nothing is read."""
        places = self._places[chosen]
        return StoredRows(self._files, self._columns, places, several=self._several, grouped=self._grouped)

    def seen_first(self, field: Seen, times: Times) -> StoredRows:
        """The same rows with other times at which they, or their units, were seen first."""
        columns = {**self._columns, field: self._files.column(f"{field}_of_all", self._places, times)}
        return StoredRows(self._files, columns, self._places, several=self._several, grouped=self._grouped)

    @property
    def features(self) -> Features:
        """They stay on disk."""
        return self._files.features.at(self._places)

    @property
    def target(self) -> pd.Series | pd.DataFrame:
        """Read from disk, as everything below."""
        frame = self._files.target.at(self._places).frame()
        return frame if self._several else frame[frame.columns[0]]

    @property
    def unit_keys(self) -> Keys:
        """Keys of the units."""
        return self._column("unit_keys")

    @property
    def row_keys(self) -> Keys:
        """Keys of the rows."""
        return self._column("row_keys")

    @property
    def groups(self) -> Keys | None:
        """The unit keys where rows are grouped."""
        return self.unit_keys if self._grouped else None

    @property
    def drop(self) -> NDArray[np.int64]:
        """Ids of the drops."""
        return self._column("drop")

    @property
    def first_seen(self) -> Times:
        """When a drop had the row first."""
        return self._column("first_seen")

    @property
    def event_time(self) -> Times:
        """When it happened."""
        return self._column("event_time")

    @property
    def unit_first_seen(self) -> Times | None:
        """When a drop had any row of its unit first."""
        return self._optional("unit_first_seen")

    @property
    def weight(self) -> NDArray[np.float64] | None:
        """What it counts in training."""
        return self._optional("weight")

    @property
    def feature_keys(self) -> Keys | None:
        """Keys of the features where rows are grouped."""
        return self._optional("feature_keys")

    def _column(self, name: str) -> NDArray[Any]:
        return self._columns[name].read(self._places)

    def _optional(self, name: str) -> NDArray[Any] | None:
        return self._column(name) if name in self._columns else None
