"""How often a watched promotion is rolled back: of good models, of bad ones that slipped through, and while the world
drifts.

`.venv/bin/python benchmarks/after_promotion.py [--trials 1000]`. When it is looked, what a look may err and what it
says are the product's own, and so is the paired comparison. Takes some minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrain_daemon.core.policy import Claim, IfWorse, Promotion, Requirement, Watch
from retrain_daemon.core.watch import Look, Terms, confidence_of, judge_look, next_look, terms_of
from retrain_daemon.worker.compare import compare
from retrain_daemon.worker.evaluate import Predictions

#: So many rows come with a file.
PER_FILE = 500
WATCHED = (2000, 5000)
CONFIDENCE = 0.95
#: Of a file's rows so many are predicted right by one of two equal models only.
DISAGREE = 0.05
RIGHT = 0.90

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """A promoted version as it really is: its gain, and how both fare."""

    name: str
    gain: float
    right: Callable[[float], float]


def steady(_share: float) -> float:
    return RIGHT


def drifting(share: float) -> float:
    """After a third of the rows both are right far less often."""
    return RIGHT if share < 1 / 3 else RIGHT - 0.15


CASES = (
    Case("as good as the one before", 0.0, steady),
    Case("better by 1 pp", 0.01, steady),
    Case("drift that hurts both alike", 0.0, drifting),
    Case("worse by 1 pp", -0.01, steady),
    Case("worse by 2 pp", -0.02, steady),
    Case("worse by 5 pp", -0.05, steady),
    Case("worse by 2 pp, and drift", -0.02, drifting),
)
POLICIES = {
    "accuracy better_by 0": (Requirement("accuracy", Claim.BETTER_BY, 0.0),),
    "accuracy not_worse_by 0.01": (Requirement("accuracy", Claim.NOT_WORSE_BY, 0.01),),
    "accuracy and f1 better_by 0": (
        Requirement("accuracy", Claim.BETTER_BY, 0.0),
        Requirement("f1", Claim.BETTER_BY, 0.0),
    ),
}


@dataclass(frozen=True)
class Rows:
    """Truth, and what both versions predict."""

    truth: Labels
    previous: Labels
    promoted: Labels

    def first(self, count: int) -> Rows:
        return Rows(self.truth[:count], self.previous[:count], self.promoted[:count])

    def __len__(self) -> int:
        return len(self.truth)


def drawn(made: np.random.Generator, case: Case, rows: int) -> Rows:
    """Rows of which exactly one is right in the share DISAGREE, or as many as the gain takes where that is more."""
    starts = range(0, rows, PER_FILE)
    truths, olds, news = [], [], []
    for start in starts:
        gain, right = case.gain, case.right(start / rows)
        disagree = max(DISAGREE, abs(gain))
        chances = [(disagree - gain) / 2, (disagree + gain) / 2, right - disagree / 2 - gain / 2]
        kinds = made.choice(4, size=PER_FILE, p=[*chances, 1 - sum(chances)])
        truth = made.integers(0, 2, PER_FILE)
        truths.append(truth)
        olds.append(np.where((kinds == 0) | (kinds == 2), truth, 1 - truth))
        news.append(np.where((kinds == 1) | (kinds == 2), truth, 1 - truth))
    return Rows(np.concatenate(truths), np.concatenate(olds), np.concatenate(news))


def is_worse(rows: Rows, terms: Terms, look: Look, seed: int) -> bool:
    """By the product's comparison and verdict."""
    metrics = compare(
        rows.truth,
        Predictions(labels=rows.previous),
        Predictions(labels=rows.promoted),
        metrics=tuple(line.metric for line in terms.lines),
        positive=1,
        confidence=confidence_of(terms, look),
        groups=None,
        seed=seed,
    )
    return judge_look(terms, look, 2, 1, metrics).worse


def watched(rows: Rows, terms: Terms, seed: int) -> int:
    """On how many rows the promotion is rolled back; 0: it stays."""
    taken: list[Look] = []
    for there in range(PER_FILE, len(rows) + 1, PER_FILE):
        look = next_look(terms, taken, there)
        if look is None:
            continue
        taken.append(look)
        if is_worse(rows.first(there), terms, look, seed):
            return there
    return 0


def after_each_file(rows: Rows, terms: Terms, seed: int) -> int:
    """The same with a plain test after each file, as often as files come."""
    for there in range(PER_FILE, len(rows) + 1, PER_FILE):
        if is_worse(rows.first(there), terms, Look(number=2, rows=there, alpha=terms.alpha), seed):
            return there
    return 0


def lower(rows: Rows) -> bool:
    """Whether the promoted version has fewer right at the end."""
    return bool((rows.promoted == rows.truth).sum() < (rows.previous == rows.truth).sum())


def table(name: str, lines: tuple[Requirement, ...], rows: int, trials: int) -> None:
    terms = terms_of(Promotion(require=lines, confidence=CONFIDENCE, watch=Watch(rows, IfWorse.ROLLBACK)))
    assert terms is not None
    print(f"\nrequire {name}, watch {rows:,} rows, {trials:,} promotions each\n")
    print(f"{'the promoted version is':32}{'rolled back':>14}{'':8}{'at look 1':>10}{'median rows':>13}"
          f"{'test after each file':>22}{'if lower at the end':>21}")  # fmt: skip
    for number, case in enumerate(CASES):
        made = np.random.default_rng([number, rows])
        worlds = [drawn(made, case, rows) for _ in range(trials)]
        ends = np.array([watched(each, terms, seed) for seed, each in enumerate(worlds)])
        back = ends[ends > 0]
        often = [after_each_file(each, terms, seed) > 0 for seed, each in enumerate(worlds[: max(trials // 5, 1)])]
        allowed = max(line.threshold for line in lines)
        mark = "right" if -case.gain > allowed else "wrong"
        median = f"{np.median(back):,.0f}" if len(back) else "-"
        print(f"{case.name:32}{len(back) / trials:>14.1%} {mark:7}{(back < rows).sum() / trials:>10.1%}{median:>13}"
              f"{np.mean(often):>22.1%}{np.mean([lower(each) for each in worlds]):>21.1%}", flush=True)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=1000, help="how many promotions of each case")
    trials = parser.parse_args().trials
    print(f"Both right in {RIGHT:.0%} of the rows, one of two equal versions alone in {DISAGREE:.0%};"
          f" {PER_FILE} rows a file; {CONFIDENCE:.0%} confidence.")  # fmt: skip
    print("Beside it: a plain test at the same confidence after each file, and rolling back whatever scored lower.")
    for name, lines in POLICIES.items():
        for rows in WATCHED:
            table(name, lines, rows, trials)
    return 0


if __name__ == "__main__":
    sys.exit(main())
