"""Streams whose truth moves, and what each gate makes of weekly refits on them. Printed by `verdicts.py`.

SEA concepts (Street and Kim 2001, "A streaming ensemble algorithm for large-scale classification"): three numbers from
0 to 10, of which the third says nothing; yes where the first two add up to at most 8, 9, 7 or 9.5; one label in ten is
wrong. Rotating hyperplane (Hulten, Spencer and Domingos 2001, "Mining time-changing data streams"): ten numbers from 0
to 1, yes where their weighted sum is above half of what it can be; one label in twenty is wrong; the weights of five
move a little each week, and turn round with a chance of one in ten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from tenures import Gate, Seen

WEEKS, ROWS, WINDOW, HOLDOUT, EVERY = 104, 1000, 12, 0.2, 26
NUMBERS, MOVING, STEP = 10, 5, 0.1

Drop = tuple[np.ndarray, np.ndarray]
Stream = Callable[[np.random.Generator], Iterator[Drop]]


def noisy(made: np.random.Generator, yes: np.ndarray, wrong: float) -> np.ndarray:
    return yes ^ (made.random(len(yes)) < wrong)


def sea(made: np.random.Generator) -> Iterator[Drop]:
    """Another concept each half year."""
    week = 0
    while True:
        numbers = made.uniform(0, 10, size=(ROWS, 3))
        most = (8, 9, 7, 9.5)[week // EVERY % 4]
        yield numbers, noisy(made, numbers[:, 0] + numbers[:, 1] <= most, 0.10)
        week += 1


def hyperplane(step: float = 0.0, redrawn: bool = False) -> Stream:
    """Weights that move by `step` each week, or are drawn anew each half year."""

    def drops(made: np.random.Generator) -> Iterator[Drop]:
        weights, way = made.random(NUMBERS), np.where(made.random(NUMBERS) < 0.5, -1.0, 1.0)
        week = 0
        while True:
            numbers = made.random((ROWS, NUMBERS))
            yield numbers, noisy(made, numbers @ weights >= weights.sum() / 2, 0.05)
            week += 1
            way = np.where(made.random(NUMBERS) < 0.1, -way, way)
            weights = weights + step * way * (np.arange(NUMBERS) < MOVING)
            if redrawn and week % EVERY == 0:
                weights = made.random(NUMBERS)

    return drops


STREAMS: dict[str, Stream] = {
    "no drift (hyperplane that stands still)": hyperplane(),
    "gradual (hyperplane that rotates)": hyperplane(STEP),
    "abrupt, small (SEA concepts)": sea,
    "abrupt, large (hyperplane drawn anew)": hyperplane(redrawn=True),
}


@dataclass(frozen=True)
class Followed:
    """The champion's accuracy on the next drop, mean over the weeks, and how often another one was promoted."""

    accuracy: float
    promotions: int


class _Lineage:
    """One gate's champion and anchor, and how many challengers it has compared with this champion."""

    def __init__(self, gate: Gate | None, always: bool, first: LogisticRegression) -> None:
        self.champion = self.anchor = first
        self._gate, self._always = gate, always
        self.comparison, self.promotions = 1, 0
        self.right: list[float] = []

    def judge(self, challenger: LogisticRegression, numbers: np.ndarray, truth: np.ndarray) -> None:
        if self._always or (self._gate is not None and bool(self._gate(self._seen(challenger, numbers, truth))[0])):
            self.champion, self.comparison, self.promotions = challenger, 1, self.promotions + 1
        else:
            self.comparison += 1

    def _seen(self, challenger: LogisticRegression, numbers: np.ndarray, truth: np.ndarray) -> Seen:
        new, old, anchor = (model.predict(numbers) == truth for model in (challenger, self.champion, self.anchor))
        counts = [
            np.array([[int((one & ~other).sum())]])
            for one, other in ((new, old), (old, new), (new, anchor), (anchor, new))
        ]
        return Seen(*counts, len(truth), np.array([self.comparison]))


def follow(stream: Stream, gates: dict[str, Gate | None], seed: int) -> dict[str, Followed]:
    """What becomes of each gate's lineage; None never promotes, and the gate named "always promote" always.

    Each week a drop of ROWS comes, of which a fifth never trains; a refit on the window is judged on those of the
    window, and whoever is champion then answers the next drop.
    """
    made = np.random.default_rng(seed)
    drops = stream(made)
    seen = [_split(made, next(drops)) for _ in range(WINDOW)]
    first = _fitted(seen)
    lineages = {name: _Lineage(gate, name == "always promote", first) for name, gate in gates.items()}
    for _ in range(WEEKS):
        coming = next(drops)
        for lineage in lineages.values():
            lineage.right.append(float((lineage.champion.predict(coming[0]) == coming[1]).mean()))
        seen = [*seen[1:], _split(made, coming)]
        numbers, truth = (np.concatenate([side[1][part] for side in seen]) for part in (0, 1))
        challenger = _fitted(seen)
        for lineage in lineages.values():
            lineage.judge(challenger, numbers, truth)
    return {name: Followed(float(np.mean(one.right)), one.promotions) for name, one in lineages.items()}


def _split(made: np.random.Generator, drop: Drop) -> tuple[Drop, Drop]:
    """Rows that train, rows that judge."""
    judges = made.random(len(drop[1])) < HOLDOUT
    return (drop[0][~judges], drop[1][~judges]), (drop[0][judges], drop[1][judges])


def _fitted(seen: list[tuple[Drop, Drop]]) -> LogisticRegression:
    numbers, truth = (np.concatenate([side[0][part] for side in seen]) for part in (0, 1))
    return LogisticRegression(C=10.0).fit(numbers, truth)
