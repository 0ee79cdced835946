"""One metric of two models on the same rows, and what its rows are drawn as: the values every method starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrain_daemon.core.metrics import METRICS, Needs
from retrain_daemon.worker.evaluate import Measure, Scored
from retrain_daemon.worker.measures import Flags, Ranking, Sums, Table
from retrain_daemon.worker.paired.estimate import number_carrying
from retrain_daemon.worker.resample import Array, Codes

#: With fewer units on which the models differ, or fewer of a class, no method sees what these did not show.
FEWEST = 10


@dataclass(frozen=True)
class Trial:
    """What every metric is compared under. `groups` (n,) are codes from 0 without a gap; None where rows are units."""

    rows: int
    groups: Codes | None
    seed: int
    resamples: int

    def count(self, chosen: Flags) -> int:
        """How many units have a chosen row."""
        return int(chosen.sum() if self.groups is None else np.count_nonzero(np.bincount(self.groups[chosen])))

    @property
    def units(self) -> int:
        """How many independent units there are."""
        return self.rows if self.groups is None else int(self.groups.max(initial=-1)) + 1

    @property
    def unit(self) -> str:
        """What a unit is called."""
        return "rows" if self.groups is None else "groups"

    @property
    def largest(self) -> int:
        """How many rows the largest unit has."""
        return 1 if self.groups is None else int(np.bincount(self.groups).max(initial=0))


def trial_of(rows: int, groups: NDArray[np.uint64] | None, seed: int, resamples: int) -> Trial:
    """The trial of so many rows, in `groups` (n,) where given."""
    codes = None if groups is None else np.unique(groups, return_inverse=True)[1].astype(np.intp)
    return Trial(rows, codes, seed, resamples)


@dataclass(frozen=True)
class Pair:
    """A metric's measures and `values` of both models, champion first, with what they were made from."""

    name: str
    champion: Scored
    challenger: Scored
    old: Measure
    new: Measure
    values: tuple[float, float]
    trial: Trial

    @property
    def gain(self) -> float:
        """By how much the challenger is better."""
        return self.sign * (self.values[1] - self.values[0]) + 0.0  # never -0.0

    @property
    def sign(self) -> float:
        """1 where a higher value is better, else -1."""
        return 1.0 if METRICS[self.name].higher_is_better else -1.0

    @property
    def about_labels(self) -> bool:
        """Whether the metric looks at predicted classes only."""
        return METRICS[self.name].needs is Needs.LABELS

    def differing(self) -> int:
        """How many units have a row on which this metric could tell the two models apart."""
        return self.trial.count(self._rows_differing())

    def carrying(self) -> float:
        """So many units carry the difference, as `number_carrying` counts, to first order."""
        values = self._contributions()
        groups = self.trial.groups
        return number_carrying(values if groups is None else np.bincount(groups, weights=values).astype(np.float64))

    def _contributions(self) -> Array:
        """What each row (n,) has to do with the difference, in any unit."""
        old, new = self.old, self.new
        if isinstance(old, Ranking) and isinstance(new, Ranking):
            change = np.asarray(new.first_order().columns[0] - old.first_order().columns[0])
            positive = new.positive[0]
            apart = (self.values[1] - self.values[0]) / positive.sum()  # first order is around what all gain together
            return np.asarray(change + apart * positive) if len(new.positive) == 1 else change
        if isinstance(old, Table) and isinstance(new, Table):
            return np.where(self._rows_differing(), new.effects() - old.effects(), 0.0)
        assert isinstance(old, Sums)
        assert isinstance(new, Sums)
        assert self.champion.values is not None
        outputs = self.champion.values.shape[1]
        before, after = np.stack(old.columns[-outputs:]), np.stack(new.columns[-outputs:])
        total = (before + after).sum(axis=1, keepdims=True)
        return np.asarray(((before - after) / np.where(total > 0, total, 1)).sum(axis=0))

    def _rows_differing(self) -> Flags:
        old, new = self.champion, self.challenger
        if METRICS[self.name].needs is Needs.VALUES:
            assert old.values is not None
            assert new.values is not None
            return np.asarray((old.values != new.values).any(axis=1))
        if METRICS[self.name].needs is Needs.PROBABILITIES:
            assert old.probabilities is not None
            assert new.probabilities is not None
            return np.asarray((old.probabilities != new.probabilities).any(axis=1))
        if self.name == "balanced_accuracy":
            return np.asarray((old.labels == old.truth) != (new.labels == new.truth))
        return np.asarray(old.labels != new.labels)
