"""A year of weekly retrains, many times over: what every gate would have done with models whose truth is known.

Models are given by their true accuracies and by how alike their errors are; a gate sees counts of rows only. Which
figures are printed, and that the gates here are those of the product, is in `verdicts.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.special import bdtrc, ndtr, ndtri

from retrain_daemon.core.budget import alpha_of

ACCURACY, DISCORDANT = 0.90, 0.05
WEEKS = 52
SLICES = 8
ALPHA = 0.05
MARGIN, SLICE_MARGIN = 0.01, 0.05

#: A row is of one of so many equally frequent levels of difficulty, which both models share.
LEVELS = 20
DIFFICULTY = ndtri((np.arange(LEVELS) + 0.5) / LEVELS)
_SKILLS = np.linspace(-4, 8, 20_001)

Accuracies = np.ndarray
Counts = np.ndarray


def right_at(skill: np.ndarray, shared: float) -> np.ndarray:
    """The chance to be right at each level of difficulty (..., LEVELS) for models of a skill (...)."""
    reach = (np.asarray(skill)[..., None] + np.sqrt(shared) * DIFFICULTY) / np.sqrt(1 - shared)
    return np.asarray(ndtr(reach))


@lru_cache
def _accuracies(shared: float) -> np.ndarray:
    return np.asarray(right_at(_SKILLS, shared).mean(axis=-1))


def skill_of(accuracy: np.ndarray, shared: float) -> np.ndarray:
    """The skill with which a model has these accuracies."""
    return np.interp(accuracy, _accuracies(shared), _SKILLS)


def _discordant(shared: float) -> float:
    chance = right_at(skill_of(np.array(ACCURACY), shared), shared)
    return float((2 * chance * (1 - chance)).mean())


#: The share of what decides a row that both models share: 0 where errors are independent, 1 where they are the same.
SHARED = float(brentq(lambda shared: _discordant(shared) - DISCORDANT, 0.2, 0.999))


@dataclass(frozen=True)
class World:
    """A challenger's accuracies in each slice, given those of the champion it was trained beside."""

    name: str
    challenger: Callable[[Accuracies], Accuracies]
    slices: int = 1

    def tables(self) -> tuple[Accuracies, np.ndarray, np.ndarray]:
        """After each number of promotions: the champion's accuracies (T, S), its and the next challenger's chances to
        be right at each level (T, S, LEVELS)."""
        champions = [np.full(self.slices, ACCURACY)]
        for _ in range(WEEKS):
            champions.append(np.clip(self.challenger(champions[-1]), 0.3, 0.995))
        known = np.array(champions)
        chances = right_at(skill_of(known, SHARED), SHARED)
        return known, chances[:-1], chances[1:]


def one_slice(loss: float, others: float) -> Callable[[Accuracies], Accuracies]:
    """The first slice loses, the others gain."""

    def challenger(champion: Accuracies) -> Accuracies:
        return champion + np.where(np.arange(len(champion)) == 0, -loss, others)

    return challenger


EQUAL = World("equal", lambda champion: champion)
BETTER = World("+1 pp", lambda champion: np.full_like(champion, ACCURACY + 0.01))
WORSE = World("worse by just more than 1 pp", lambda champion: champion - MARGIN - 0.0001)
CREEPING = World("each 0.3 pp worse", lambda champion: champion - 0.003)
ONE_SLICE = World("one slice of 8 loses 10 pp", one_slice(0.10, 0.0), SLICES)
HIDDEN = World("the same, the others gain as much", one_slice(0.10, 0.10 / (SLICES - 1)), SLICES)


@dataclass(frozen=True)
class Seen:
    """What a gate may look at, of L comparisons: rows that the challenger alone has right and the other alone has,
    slice by slice (L, S), against champion and anchor; rows in each slice; the number of the comparison (L,)."""

    gained: Counts
    lost: Counts
    gained_on_anchor: Counts
    lost_on_anchor: Counts
    rows: int
    comparison: np.ndarray


Gate = Callable[[Seen], np.ndarray]


def score(gained: Counts, lost: Counts, rows: float, gain: float) -> np.ndarray:
    """How many standard errors a difference of paired shares is above `gain`: the score statistic of Tango (1998)."""
    a, b, c = 2 * rows, (2 * rows - gained + lost) * gain - gained - lost, -lost * gain * (1 - gain)
    other = (np.sqrt(np.maximum(b * b - 4 * a * c, 0)) - b) / (2 * a)
    spread = np.sqrt(np.maximum(rows * (2 * other + gain * (1 - gain)), 0))
    above = gained - lost - rows * gain
    return np.divide(above, spread, out=np.zeros(np.shape(above)), where=spread > 0)


def mid_p(gained: Counts, lost: Counts) -> np.ndarray:
    """McNemar's one-sided mid-p value of "rows gained are not more frequent than rows lost"."""
    differing = gained + lost
    beyond = bdtrc(gained, differing, 0.5)
    return np.asarray((beyond + np.where(gained > 0, bdtrc(gained - 1, differing, 0.5), 1.0)) / 2)


def above(gained: Counts, lost: Counts, rows: float, least: float, alpha: float | np.ndarray) -> np.ndarray:
    """Whether a gain above `least` is shown at the one-sided error `alpha`, as the bounds of accuracy have it: by the
    score interval, and a gain above 0 by McNemar's mid-p value too."""
    shown = score(gained, lost, rows, least) > -ndtri(alpha)
    return shown & (mid_p(gained, lost) < alpha) if least >= 0 else shown


def higher(by: float = 0.0) -> Gate:
    """The point value must be higher: by more than nothing, or by at least `by`."""

    def gate(seen: Seen) -> np.ndarray:
        gain = (seen.gained - seen.lost).sum(axis=1) / (seen.rows * seen.gained.shape[1])
        return gain > 0 if by == 0 else gain >= by

    return gate


_ALPHAS = np.array([np.nan, *(alpha_of(ALPHA, k) for k in range(1, 4 * WEEKS))])


def better(budget: bool) -> Gate:
    """`better_by: 0`, at the confidence that the budget leaves to the comparison, or always at the same."""

    def gate(seen: Seen) -> np.ndarray:
        alpha = _ALPHAS[seen.comparison] if budget else ALPHA
        rows = seen.rows * seen.gained.shape[1]
        return above(seen.gained.sum(axis=1), seen.lost.sum(axis=1), rows, 0.0, alpha)

    return gate


def not_worse(anchor: bool = True, slices: bool = False) -> Gate:
    """`not_worse_by: 0.01`, against the first champion too, and no harm shown in any slice."""

    def gate(seen: Seen) -> np.ndarray:
        rows = seen.rows * seen.gained.shape[1]
        holds = above(seen.gained.sum(axis=1), seen.lost.sum(axis=1), rows, -MARGIN, ALPHA)
        if anchor:
            gained, lost = seen.gained_on_anchor.sum(axis=1), seen.lost_on_anchor.sum(axis=1)
            holds &= above(gained, lost, rows, -MARGIN, ALPHA)
        if slices:
            # Holm finds harm somewhere exactly where its first step does.
            p = ndtr(score(seen.gained, seen.lost, seen.rows, -SLICE_MARGIN))
            holds &= np.maximum(p, mid_p(seen.lost, seen.gained)).min(axis=1) > ALPHA / seen.gained.shape[1]
        return holds

    return gate


GATES: dict[str, Gate] = {
    "better_by 0, budget": better(budget=True),
    "better_by 0, plain 5 % each": better(budget=False),
    "not_worse_by 0.01, anchor": not_worse(),
    "not_worse_by 0.01, no anchor": not_worse(anchor=False),
    "  and slices unless_worse_by 0.05": not_worse(slices=True),
    "promote if higher": higher(),
    "MLflow, min_absolute_change 0.005": higher(0.005),
}


@dataclass(frozen=True)
class Years:
    """What happened: `promoted` (WEEKS, L), and the champions' true accuracies in each slice after the year (L, S)."""

    promoted: np.ndarray
    accuracies: Accuracies


def years(world: World, gate: Gate, rows: int, reused: bool, lineages: int, seed: int) -> Years:
    """`lineages` years from the same first champion. `rows` judge: each week new ones; or, where they are `reused`, the
    same ones again and again, of which there are twice as many after the year."""
    made = np.random.default_rng(seed)
    known, champion, challenger = world.tables()
    joint = _joint(champion)
    source = _Reused(made, joint, rows, lineages) if reused else _Fresh(joint, challenger, rows)
    times, comparison = np.zeros(lineages, dtype=int), np.ones(lineages, dtype=int)
    promoted = np.zeros((WEEKS, lineages), dtype=bool)
    for week in range(WEEKS):
        cells, size = source.drawn(made, week, times, challenger)
        promoted[week] = gate(_seen(cells, size, comparison))
        source.promote(cells, promoted[week])
        times += promoted[week]
        comparison = np.where(promoted[week], 1, comparison + 1)
    return Years(promoted, known[times])


def second_looks(gain: float, rows: int, at_most: int, lineages: int, seed: int) -> np.ndarray:
    """Weeks in which a tenure of a year first ends by `better_by: 0` with a budget (L,), WEEKS + 1 where it does not.

    Each week brings `rows` new ones. A challenger of which nothing is shown is judged again on them and those before,
    `at_most` times, before the next one is trained; each has the same true `gain`.
    """
    made = np.random.default_rng(seed)
    chance = right_at(skill_of(np.array([ACCURACY, ACCURACY + gain]), SHARED), SHARED)
    alone = [float((chance[1] * (1 - chance[0])).mean()), float((chance[0] * (1 - chance[1])).mean())]
    state, look = np.zeros((2, lineages), dtype=int), np.zeros(lineages, dtype=int)
    ended = np.full(lineages, WEEKS + 1)
    for week in range(1, WEEKS + 1):
        state = state + made.multinomial(rows, [*alone, 1 - sum(alone)], size=lineages).T[:2]
        shown, failed = (
            above(*each, rows, 0.0, alpha) for each, alpha in ((state, alpha_of(ALPHA, week)), (state[::-1], ALPHA))
        )
        ended = np.where(shown & (ended > WEEKS), week, ended)
        over = failed | (look == at_most)
        state, look = np.where(over, 0, state), np.where(over, 0, look + 1)
    return ended


def _joint(champion: np.ndarray) -> np.ndarray:
    """Chances that anchor and champion are right (T, S, LEVELS, 2, 2); the first champion is the anchor."""
    one = np.stack([1 - champion, champion], axis=-1)
    joint = one[0][None, :, :, :, None] * one[:, :, :, None, :]
    joint[0] = one[0][..., None] * np.eye(2)
    return joint


def _seen(cells: Counts, rows: int, comparison: np.ndarray) -> Seen:
    """From how many rows (L, S, anchor, champion, challenger) have right."""
    champion, anchor = cells.sum(axis=2), cells.sum(axis=3)
    return Seen(champion[..., 0, 1], champion[..., 1, 0], anchor[..., 0, 1], anchor[..., 1, 0], rows, comparison)


class _Fresh:
    """New rows each week: only the chances of the eight cells matter."""

    def __init__(self, joint: np.ndarray, challenger: np.ndarray, rows: int) -> None:
        both = np.stack([1 - challenger, challenger], axis=-1)
        self._chances = (joint[..., None] * both[:, :, :, None, None, :]).mean(axis=2)
        self._rows = rows // joint.shape[1]

    def drawn(
        self, made: np.random.Generator, week: int, times: np.ndarray, challenger: np.ndarray
    ) -> tuple[Counts, int]:
        chances = self._chances[times].reshape(len(times), -1, 8)
        return made.multinomial(self._rows, chances).reshape(*chances.shape[:2], 2, 2, 2), self._rows

    def promote(self, cells: Counts, chosen: np.ndarray) -> None:
        pass


class _Reused:
    """The same rows, which remember what anchor and champion said of them; a thirteenth is new each four weeks."""

    def __init__(self, made: np.random.Generator, joint: np.ndarray, rows: int, lineages: int) -> None:
        self._joint = joint.reshape(*joint.shape[:2], -1) / LEVELS
        self._first = self._rows = rows // joint.shape[1]
        self._state = self._new(made, self._rows, np.zeros(lineages, dtype=int))
        self._right = self._state

    def _new(self, made: np.random.Generator, rows: int, times: np.ndarray) -> Counts:
        chances = self._joint[times]
        return made.multinomial(rows, chances).reshape(*chances.shape[:2], LEVELS, 2, 2)

    def drawn(
        self, made: np.random.Generator, week: int, times: np.ndarray, challenger: np.ndarray
    ) -> tuple[Counts, int]:
        if week and week % 4 == 0:
            more = self._first // 13
            self._state = self._state + self._new(made, more, times)
            self._rows += more
        self._right = made.binomial(self._state, challenger[times][..., None, None])
        cells = np.stack([self._state - self._right, self._right], axis=-1)
        return cells.sum(axis=2), self._rows

    def promote(self, cells: Counts, chosen: np.ndarray) -> None:
        after = np.stack([(self._state - self._right).sum(axis=-1), self._right.sum(axis=-1)], axis=-1)
        self._state = np.where(chosen[:, None, None, None, None], after, self._state)
