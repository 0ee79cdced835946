"""What earlier drops showed of each column: a few figures of each profile, which a new file is compared with.

What is made of a difference is in `checks.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from retrain_daemon.worker.data_jobs import COMPARED_WITH, ProfiledDrop
from retrain_daemon.worker.evaluate import canonical
from retrain_daemon.worker.profile import DISTINCT_LIMIT, ColumnProfile, Profile, load_profile

#: So many rows say something about a column.
FEW, MANY = 20, 1000
#: More distinct values are no classes.
MOST_CLASSES = 50


@dataclass(frozen=True)
class Before:
    """One column over the drops before a file, `drops` of them with a value in it.

    `absent`: the share of rows without a value, in the drop where it is highest; `top`: of the most frequent value,
    likewise, None where no drop has a thousand values. `classes` are the distinct values of a target, None where they
    are too many to be classes.
    """

    drops: int
    kinds: frozenset[str]
    absent: float
    top: float | None
    classes: frozenset[str] | None


class Earlier:
    """The columns of drops, oldest first; of each profile only figures are kept in memory."""

    def __init__(self, profiles: Sequence[ProfiledDrop], targets: Collection[str]) -> None:
        """Of the columns `targets` classes are kept too. Raises StateUnusable where a profile cannot be read."""
        self._targets = targets
        self._drops: list[tuple[int, Mapping[str, Before]]] = []
        for each in profiles:
            self.add(each.drop, load_profile(each.profile_file))

    def add(self, drop: int, profile: Profile) -> None:
        """Take a drop as one that others are compared with."""
        columns = {name: _figures(column, name in self._targets) for name, column in profile.columns.items()}
        self._drops.append((drop, columns))

    def before(self, drop: int) -> Mapping[str, Before]:
        """What the newest drops before this one showed, by column."""
        chosen = sorted((number, columns) for number, columns in self._drops if number < drop)[-COMPARED_WITH:]
        found: dict[str, Before] = {}
        for _, columns in chosen:
            for name, column in columns.items():
                found[name] = _joined(found[name], column) if name in found else column
        return found


def top_share(column: ColumnProfile) -> float:
    """The share of the most frequent value among the values of a column; 0 where there are none."""
    values = column.rows - column.missing
    if not values:
        return 0.0
    if column.kind == "category":
        return column.categories[0][1] / values
    return float(column.weights.max() / column.weights.sum())


def classes_of(column: ColumnProfile) -> Mapping[str, float] | None:
    """Distinct values of a column with their rows; None where they are too many, or no classes."""
    if column.kind == "category":
        return dict(column.categories) if column.distinct <= DISTINCT_LIMIT and not column.others else None
    if column.kind != "number" or column.distinct > MOST_CLASSES:
        return None
    return {canonical(point): weight for point, weight in zip(column.points, column.weights, strict=True)}


def _figures(column: ColumnProfile, target: bool) -> Before:
    """Shares are a little higher than seen, as far as few rows say little."""
    values = column.rows - column.missing
    classes = classes_of(column) if target else None
    top = (top_share(column) * values + 1) / (values + 2) if column.distinct > 1 else 1.0
    return Before(
        drops=int(values > 0),
        kinds=frozenset([column.kind] if values else []),
        absent=(column.missing + 1) / (column.rows + 2) if values else 1.0,
        top=top if values >= MANY else None,
        classes=None if classes is None else frozenset(classes),
    )


def _joined(first: Before, second: Before) -> Before:
    tops = [top for top in (first.top, second.top) if top is not None]
    neither = first.classes is None or second.classes is None
    return Before(
        drops=first.drops + second.drops,
        kinds=first.kinds | second.kinds,
        absent=max(first.absent, second.absent),
        top=max(tops, default=None),
        classes=None if neither else (first.classes or frozenset()) | (second.classes or frozenset()),
    )
