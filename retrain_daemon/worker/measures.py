"""How each metric is computed from weights on units of rows: as sums, as a table of classes, or as a ranking.

A measure is one metric of one model. `on(units)` gives a function from weights (b, U) to values (b,); NaN where the
metric is undefined under these weights. Reading predictions and problem sentences live in `evaluate.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrain_daemon.worker.resample import Array, Codes, Units, whole

Flags = NDArray[np.bool_]
Values = Callable[[Array], Array]


@dataclass(frozen=True)
class Sums:
    """A function of weighted sums of row values. `columns` are m arrays (n,); `value` maps sums (b, m) to (b,)."""

    columns: tuple[Array, ...]
    value: Callable[[Array], Array]

    def on(self, units: Units) -> Values:
        """Values under weights on these units."""
        sums = np.stack([units.sums(column) for column in self.columns], axis=1)
        return lambda weights: self.value(weights @ sums)


@dataclass(frozen=True)
class Table:
    """A function of how many rows each class has (support), gets (predicted), and gets rightly (hits): each (b, k)."""

    truth: Codes
    labels: Codes
    classes: int
    value: Callable[[Array, Array, Array], Array]

    def on(self, units: Units) -> Values:
        """Values under weights on these units."""
        support = units.table(self.truth, self.classes)
        hits = units.table(self.truth, self.classes, self.truth == self.labels)
        predicted = units.table(self.labels, self.classes)
        return lambda weights: self.value(weights @ support, weights @ hits, weights @ predicted)

    def largest_step(self) -> float:
        """The largest change of the value when one row's predicted class changes from right to wrong or back."""
        units = whole(len(self.truth))
        support, predicted = units.table(self.truth, self.classes)[0], units.table(self.labels, self.classes)[0]
        hits = units.table(self.truth, self.classes, self.truth == self.labels)[0]
        here = self.value(support[None], hits[None], predicted[None])[0]
        changed = [0.0]
        for sign, possible in ((-1, hits > 0), (1, hits < support)):
            for right in np.flatnonzero(possible):
                changed.append(self._step(here, support, hits, predicted, int(right), sign))
        return max(changed)

    def effects(self) -> Array:
        """By how much the value changes when a row comes once more, for each row (n,)."""
        units, one = whole(len(self.truth)), np.eye(self.classes)
        totals = [units.table(self.truth, self.classes), units.table(self.truth, self.classes, self._right),
                  units.table(self.labels, self.classes)]  # fmt: skip
        kinds, of_row = np.unique(self.truth * self.classes + self.labels, return_inverse=True)
        truth, labels = kinds // self.classes, kinds % self.classes
        more = (one[truth], one[truth] * (truth == labels)[:, None], one[labels])
        changed: Array = self.value(*(total + each for total, each in zip(totals, more, strict=True)))
        return (changed - self.value(*totals))[of_row]

    @property
    def _right(self) -> Flags:
        return np.asarray(self.truth == self.labels)

    def _step(self, here: float, support: Array, hits: Array, predicted: Array, right: int, sign: int) -> float:
        own = np.zeros(self.classes)
        own[right] = sign
        others = np.delete(np.eye(self.classes), right, axis=0)
        got = predicted + own - sign * others
        got = got[(got >= 0).all(axis=1)]
        shape = np.ones((len(got), 1))
        values = self.value(shape * support, shape * (hits + own), got)
        return float(np.nanmax(np.abs(values - here), initial=0.0))


@dataclass(frozen=True)
class Ranking:
    """A mean over one or more rankings. `scores` and `positive` are (r, n): one line a class, or one line in all."""

    scores: Array
    positive: Flags
    kind: Callable[[Array, Array], float]

    def on(self, units: Units) -> Values:
        """Values under weights on these units: sorted once, then counted for each resample."""
        prepared = [_sorted(units.of_row, *line) for line in zip(self.scores, self.positive, strict=True)]

        def values(weights: Array) -> Array:
            return np.array([np.mean([self._one(row, *line) for line in prepared]) for row in weights])

        return values

    def _one(self, weights: Array, of_row: Codes, positive: Array, ends: Codes) -> float:
        drawn = weights[of_row]
        every = np.cumsum(drawn)[ends]
        hits = np.cumsum(drawn * positive)[ends]
        return self.kind(hits, every - hits)

    def first_order(self) -> Sums:
        """The same with each row's influence at equal weights: exact at the data, linear around it.

        For ROC AUC these are the components of DeLong, DeLong and Clarke-Pearson (1988).
        """
        slope = _auc_influence if self.kind is auc else _precision_influence
        rows = [slope(*line) for line in zip(self.scores, self.positive, strict=True)]
        point = self.on(whole(self.scores.shape[1]))(np.ones((1, 1)))[0]
        return Sums((np.mean(rows, axis=0),), lambda sums: point + sums[:, 0])


def mean_of(column: Array) -> Sums:
    """The weighted mean of one value a row."""
    return Sums((np.ones(len(column)), column), lambda sums: _ratio(sums[:, 1], sums[:, 0]))


def root_mean_of(columns: Array) -> Sums:
    """The square root of the weighted mean of each of the columns (n, k), on average over them."""

    def value(sums: Array) -> Array:
        return np.asarray(np.sqrt(_ratio(sums[:, 1:], sums[:, :1])).mean(axis=1))

    return Sums((np.ones(len(columns)), *columns.T), value)


def explained(truth: Array, predicted: Array) -> Sums:
    """Share of the variance of each column of `truth` (n, k) that the prediction explains (r2), on average."""
    centred = truth - truth.mean(axis=0)  # keeps the sums of squares exact where the mean is far from zero
    columns = (np.ones(len(truth)), *centred.T, *(centred**2).T, *((truth - predicted) ** 2).T)

    def value(sums: Array) -> Array:
        rows = sums[:, :1]
        mean, square, error = np.split(sums[:, 1:], 3, axis=1)
        total = square - _ratio(mean**2, rows)
        return np.asarray((1 - _ratio(error, np.where(total > 1e-12 * square, total, 0.0))).mean(axis=1))

    return Sums(columns, value)


def balanced_accuracy(support: Array, hits: Array, predicted: Array) -> Array:
    """Mean recall over the classes that have rows."""
    present = support > 0
    return _ratio(np.sum(np.where(present, hits / np.maximum(support, 1e-9), 0), axis=1), present.sum(axis=1))


def f1_macro(support: Array, hits: Array, predicted: Array) -> Array:
    """Mean F1 over the classes that have rows or are predicted."""
    both = support + predicted
    present = both > 0
    return _ratio(np.sum(np.where(present, 2 * hits / np.maximum(both, 1e-9), 0), axis=1), present.sum(axis=1))


def about(positive: int, name: str) -> Callable[[Array, Array, Array], Array]:
    """`f1`, `precision` or `recall` of one class; undefined (NaN) where its denominator is zero."""

    def value(support: Array, hits: Array, predicted: Array) -> Array:
        had, right, got = support[:, positive], hits[:, positive], predicted[:, positive]
        below = {"recall": had, "precision": got, "f1": (had + got) / 2}[name]
        return _ratio(right, below)

    return value


def auc(hits: Array, misses: Array) -> float:
    """Area under the ROC curve from counts of positives and negatives down to each distinct score."""
    if hits[-1] <= 0 or misses[-1] <= 0:
        return float("nan")
    positives, negatives = np.diff(hits, prepend=0.0), np.diff(misses, prepend=0.0)
    above = hits - positives / 2  # a tie counts half
    return float((negatives * above).sum() / (hits[-1] * misses[-1]))


def average_precision(hits: Array, misses: Array) -> float:
    """Mean precision at each positive, from counts down to each distinct score."""
    if hits[-1] <= 0:
        return float("nan")
    precision = hits / np.maximum(hits + misses, 1e-9)
    return float((np.diff(hits, prepend=0.0) * precision).sum() / hits[-1])


def _sorted(of_row: Codes, scores: Array, positive: Flags) -> tuple[Codes, Array, Codes]:
    """Units and positives by falling score, and the last place of each distinct score."""
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    ends = np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
    return of_row[order], positive[order].astype(np.float64), ends


def _steps(scores: Array, positive: Flags) -> tuple[Codes, Array, Array]:
    """Each row's place among the distinct scores, highest first, and cumulated positives and negatives there."""
    _, place = np.unique(-scores, return_inverse=True)
    hits: Array = np.cumsum(np.bincount(place, weights=positive), dtype=np.float64)
    return place, hits, np.cumsum(np.bincount(place), dtype=np.float64) - hits


def placements(scores: Array, positive: Flags) -> Array:
    """For each positive row the share of negatives that it is above, and for each negative the share of positives that
    are above it (n,); a tie counts half. Both classes must have rows.
    """
    place, hits, misses = _steps(scores, positive)
    above = (hits - np.diff(hits, prepend=0.0) / 2) / hits[-1]
    below = 1 - (misses - np.diff(misses, prepend=0.0) / 2) / misses[-1]
    placed: Array = np.where(positive, below[place], above[place])
    return placed


def _auc_influence(scores: Array, positive: Flags) -> Array:
    placed = placements(scores, positive)
    positives = np.count_nonzero(positive)
    influence: Array = (placed - placed[positive].mean()) / np.where(positive, positives, len(positive) - positives)
    return influence


def _precision_influence(scores: Array, positive: Flags) -> Array:
    """Derivative of the average precision with respect to each row's weight."""
    place, hits, misses = _steps(scores, positive)
    every = hits + misses
    positives = np.diff(hits, prepend=0.0)
    gained = np.cumsum((positives / every)[::-1])[::-1]
    diluted = np.cumsum((positives * hits / every**2)[::-1])[::-1]
    own = hits / every - average_precision(hits, misses) + gained
    influence: Array = (np.where(positive, own[place], 0.0) - diluted[place]) / hits[-1]
    return influence


def _ratio(above: Array, below: Array) -> Array:
    below = np.broadcast_to(below, np.shape(above))
    ratio: Array = np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
    return ratio
