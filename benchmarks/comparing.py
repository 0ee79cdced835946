"""What comparing two models costs on a million judging rows, metric by metric, beside its budget.

`.venv/bin/python benchmarks/comparing.py [--rows 1000000] [--groups 100000]`. CPU seconds of `worker.compare.compare`,
called as a training calls it, with a strict bound, once by rows and once by groups of rows; without reading rows and
without predicting. What is resampled without a shortcut has a budget of its own.
"""

from __future__ import annotations

import argparse
import resource
import sys

import numpy as np

from retrain_daemon.core.evidence import MetricEvidence
from retrain_daemon.worker.compare import compare
from retrain_daemon.worker.evaluate import Predictions

LABELS = ("accuracy", "balanced_accuracy", "f1", "f1_macro", "precision", "recall")
PROBABILITIES = ("log_loss", "brier", "roc_auc", "average_precision")
NUMBERS = ("rmse", "mae", "mape", "r2")
BUDGET, BUDGET_RESAMPLED = 2.0, 20.0
RESAMPLED_BY_GROUPS = frozenset({"balanced_accuracy", "f1", "f1_macro", "precision", "roc_auc", "average_precision"})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="judging rows")
    parser.add_argument("--groups", type=int, default=100_000, help="groups that these rows are of")
    asked = parser.parse_args()
    made = np.random.default_rng(1)
    groups = made.integers(0, asked.groups, asked.rows).astype(np.uint64)
    print(f"{asked.rows:,} rows, {asked.groups:,} groups; CPU s, allowed")
    for name in (*LABELS, *PROBABILITIES, *NUMBERS):
        truth, models = regression(made, asked.rows) if name in NUMBERS else classification(made, asked.rows)
        found = [line(name, truth, models, by) for by in (None, groups)]
        print(f"{name:18} rows {found[0]}   groups {found[1]}", flush=True)
    print(f"largest memory     {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB")
    return 0


def line(name: str, truth: np.ndarray, models: tuple[Predictions, Predictions], groups: np.ndarray | None) -> str:
    """Seconds, budget, verdict, and the method that took them."""
    taken, evidence = cost(name, truth, models, groups)
    plain = name != "average_precision" if groups is None else name not in RESAMPLED_BY_GROUPS
    allowed = BUDGET if plain else BUDGET_RESAMPLED
    verdict = evidence.problem or ("within" if taken <= allowed else "over")
    method = evidence.method.split(":")[0].split(",")[0].split(" over")[0]
    return f"{taken:6.2f} {allowed:5.1f} {verdict} ({method})"


def cost(
    name: str, truth: np.ndarray, models: tuple[Predictions, Predictions], groups: np.ndarray | None
) -> tuple[float, MetricEvidence]:
    """CPU seconds of one comparison, and what it found."""
    before = spent()
    [evidence] = compare(
        truth,
        *models,
        metrics=[name],
        positive="yes",
        confidence=0.95,
        strict_confidence=0.975,
        groups=groups,
        seed=1,
    )
    return spent() - before, evidence


def spent() -> float:
    """CPU seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def classification(made: np.random.Generator, rows: int) -> tuple[np.ndarray, tuple[Predictions, Predictions]]:
    """Two classes, and two models that are right about as often as each other."""
    score = made.normal(size=rows)
    truth = np.where(score + made.logistic(size=rows) > 0, "yes", "no")
    models = []
    for _ in range(2):
        share = 1 / (1 + np.exp(-(score + made.normal(scale=0.3, size=rows))))
        models.append(
            Predictions(
                labels=np.where(share > 0.5, "yes", "no"),
                probabilities=np.column_stack([1 - share, share]),
                classes=np.array(["no", "yes"]),
            )
        )
    return truth, (models[0], models[1])


def regression(made: np.random.Generator, rows: int) -> tuple[np.ndarray, tuple[Predictions, Predictions]]:
    truth = made.normal(5, size=rows)
    first, second = (Predictions(values=truth + made.normal(scale=0.5, size=rows)) for _ in range(2))
    return truth, (first, second)


if __name__ == "__main__":
    sys.exit(main())
