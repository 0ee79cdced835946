"""The metrics a policy may name: which way is better, and which task and model output each needs.

Names and directions only; how a metric is computed lives in `worker/evaluate.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Task(StrEnum):
    """What a model predicts."""

    CLASSIFICATION = "classification"  #: one class of several
    REGRESSION = "regression"  #: one number


class Needs(StrEnum):
    """The model output a metric is computed from."""

    LABELS = "labels"  #: predicted classes
    PROBABILITIES = "probabilities"  #: a probability for each class
    VALUES = "values"  #: predicted numbers


@dataclass(frozen=True)
class Metric:
    """A metric by its usual name; `binary_only` metrics are about the positive class of two."""

    name: str
    task: Task
    needs: Needs
    higher_is_better: bool
    binary_only: bool = False

    @property
    def is_share(self) -> bool:
        """Whether it lies between 0 and 1."""
        return self.task is Task.CLASSIFICATION and self.higher_is_better


@dataclass(frozen=True)
class ModelMetric:
    """A metric of a stored model, whatever it predicts; `unit` completes its name."""

    name: str
    higher_is_better: bool
    unit: str


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", Task.CLASSIFICATION, Needs.LABELS, True),
        Metric("balanced_accuracy", Task.CLASSIFICATION, Needs.LABELS, True),
        Metric("f1", Task.CLASSIFICATION, Needs.LABELS, True, binary_only=True),
        Metric("f1_macro", Task.CLASSIFICATION, Needs.LABELS, True),
        Metric("precision", Task.CLASSIFICATION, Needs.LABELS, True, binary_only=True),
        Metric("recall", Task.CLASSIFICATION, Needs.LABELS, True, binary_only=True),
        Metric("roc_auc", Task.CLASSIFICATION, Needs.PROBABILITIES, True),
        Metric("average_precision", Task.CLASSIFICATION, Needs.PROBABILITIES, True, binary_only=True),
        Metric("log_loss", Task.CLASSIFICATION, Needs.PROBABILITIES, False),
        Metric("brier", Task.CLASSIFICATION, Needs.PROBABILITIES, False),
        Metric("rmse", Task.REGRESSION, Needs.VALUES, False),
        Metric("mae", Task.REGRESSION, Needs.VALUES, False),
        Metric("mape", Task.REGRESSION, Needs.VALUES, False),
        Metric("r2", Task.REGRESSION, Needs.VALUES, True),
    )
}

LATENCY, SIZE, LOADABLE, FLIPPED = "latency_ms_p95", "model_mb", "loadable", "flipped"

MODEL_METRICS: dict[str, ModelMetric] = {
    metric.name: metric
    for metric in (
        ModelMetric(LATENCY, False, "milliseconds for one row, of 95 in 100 calls"),
        ModelMetric(SIZE, False, "MB of its stored files"),
        ModelMetric(LOADABLE, True, "1 where a fresh process loads it and predicts, else 0"),
        ModelMetric(FLIPPED, False, "share of the judging rows that it predicts differently than the champion"),
    )
}
