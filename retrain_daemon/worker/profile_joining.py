"""Profiles of several files as one profile, in memory that does not grow with their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from retrain_daemon.worker.profile import ColumnProfile, Floats, Kind, Profile, at_even_ranks

# Points of one column: thinned out to half when there are more. Each time moves a rank by at most 1 / MOST.
_MOST = 2**14


def joined(profiles: Iterable[Profile]) -> Profile:
    """All rows of the files as one profile, with as many points and texts a column as it takes; `distinct` is that of
    the file that has the most.

    A column counts over the files that have it. One that holds numbers in some and text in others is left out: their
    values cannot be compared.
    """
    rows = 0
    columns: dict[str, _Column] = {}
    for profile in profiles:
        rows += profile.rows
        for name, column in profile.columns.items():
            columns.setdefault(name, _Column(name)).add(column)
    return Profile(rows, {name: column.result() for name, column in columns.items() if len(column.kinds) <= 1})


class _Column:
    """One column over the files so far. A file without a value in it does not say what it holds."""

    def __init__(self, name: str) -> None:
        self.kinds: set[Kind] = set()
        self._name = name
        self._rows = self._missing = self._distinct = 0
        self._points: list[Floats] = []
        self._weights: list[Floats] = []
        self._bounds: list[float] = []
        self._texts: Counter[str] = Counter()

    def add(self, column: ColumnProfile) -> None:
        self._rows += column.rows
        self._missing += column.missing
        if column.missing == column.rows:
            return
        self.kinds.add(column.kind)
        self._distinct = max(self._distinct, column.distinct)
        self._texts.update(dict(column.categories))
        self._points.append(column.points)
        self._weights.append(column.weights)
        self._bounds += [column.minimum, column.maximum]
        if sum(map(len, self._points)) > _MOST:
            self._thin_out()

    def result(self) -> ColumnProfile:
        self._thin_out()
        return ColumnProfile(
            name=self._name,
            kind=next(iter(self.kinds), "number"),
            rows=self._rows,
            missing=self._missing,
            points=self._points[0],
            weights=self._weights[0],
            minimum=min(self._bounds, default=np.nan),
            maximum=max(self._bounds, default=np.nan),
            categories=tuple(sorted(self._texts.items(), key=lambda pair: (-pair[1], pair[0]))),
            distinct=self._distinct,
        )

    def _thin_out(self) -> None:
        empty = np.empty(0)
        points, weights = at_even_ranks(
            np.concatenate([empty, *self._points]), np.concatenate([empty, *self._weights]), _MOST // 2
        )
        self._points, self._weights = [points], [weights]
