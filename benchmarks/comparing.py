"""What comparing two models costs on a million judging rows, metric by metric, beside its budget.

`.venv/bin/python benchmarks/comparing.py [--rows 1000000]`. CPU seconds of `worker.compare.compare`, called as a
training calls it; without reading rows and without predicting. Metrics over ranks have the budget of resampled ones.
"""

from __future__ import annotations

import argparse
import resource
import sys

import numpy as np

from retrain_daemon.worker.compare import compare
from retrain_daemon.worker.evaluate import Predictions

LABELS = ("accuracy", "balanced_accuracy", "f1_macro", "precision", "recall")
PROBABILITIES = ("log_loss", "brier", "roc_auc", "average_precision")
NUMBERS = ("rmse", "mae", "r2")
BUDGET, BUDGET_RANKED = 2.0, 20.0
RANKED = frozenset({"roc_auc", "average_precision"})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="judging rows")
    asked = parser.parse_args()
    made = np.random.default_rng(1)
    print(f"metric               CPU s   allowed          ({asked.rows:,} rows)")
    for name in (*LABELS, *PROBABILITIES, *NUMBERS):
        truth, models = regression(made, asked.rows) if name in NUMBERS else classification(made, asked.rows)
        spent, problem = cost(name, truth, models)
        allowed = BUDGET_RANKED if name in RANKED else BUDGET
        verdict = problem or ("within" if spent <= allowed else "over")
        print(f"{name:20} {spent:6.2f}  {allowed:6.1f}  {verdict}", flush=True)
    print(f"largest memory       {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB")
    return 0


def cost(name: str, truth: np.ndarray, models: tuple[Predictions, Predictions]) -> tuple[float, str]:
    """CPU seconds of one comparison, and what kept it from giving bounds."""
    before = spent()
    [evidence] = compare(
        truth, *models, metrics=[name], positive="yes", confidence=0.95, groups=None, seed=1
    )  # fmt: skip
    return spent() - before, evidence.problem


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
    truth = made.normal(size=rows)
    first, second = (Predictions(values=truth + made.normal(scale=0.5, size=rows)) for _ in range(2))
    return truth, (first, second)


if __name__ == "__main__":
    sys.exit(main())
