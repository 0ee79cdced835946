"""Rows of two models whose truth is known, compared and judged by the product's own functions.

The models are those of `tenures.py`, with probabilities: a row's score is what decides whether it is right, and the
probability is the one that belongs to it. Used by `verdicts.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, ndtr
from tenures import ALPHA, DIFFICULTY, SHARED, skill_of

from retrain_daemon.core.budget import alpha_of
from retrain_daemon.core.evidence import AnchorEvidence, Evidence, SliceEvidence
from retrain_daemon.core.judge import Outcome, judge
from retrain_daemon.core.policy import Claim, Promotion, Requirement
from retrain_daemon.worker.compare import compare, compare_metric
from retrain_daemon.worker.evaluate import Predictions, align, following
from retrain_daemon.worker.harm import harm

METRICS = ("accuracy", "log_loss", "roc_auc")
CLASSES = np.array(["no", "yes"])
CONFIDENCE = 1 - ALPHA


@dataclass(frozen=True)
class Judged:
    """Rows with their truth, and what champion, challenger and, where there is one, anchor say of them; `slices` are
    numbers of slices (n,), all 0 where there are none."""

    truth: np.ndarray
    models: tuple[Predictions, ...]
    slices: np.ndarray

    def apart(self, one: int, other: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows in each slice that only the other has right, and only the one: (1, S) each."""
        right = [np.asarray(self.models[place].labels == self.truth) for place in (one, other)]
        alone = (right[1] & ~right[0], right[0] & ~right[1])
        width = int(self.slices.max()) + 1
        gained, lost = (np.bincount(self.slices[each], minlength=width)[None] for each in alone)
        return gained, lost


def drawn(made: np.random.Generator, rows: int, *accuracies: float) -> Judged:
    """Models of these accuracies on the same new rows."""
    yes = made.random(rows) < 0.5
    shared = np.sqrt(SHARED) * DIFFICULTY[made.integers(0, len(DIFFICULTY), rows)]
    models = []
    for skill in skill_of(np.array(accuracies), SHARED):
        margin = skill + shared + np.sqrt(1 - SHARED) * made.normal(size=rows)
        share = expit(2 * skill * np.where(yes, margin, -margin))
        models.append(
            Predictions(
                labels=CLASSES[(share > 0.5).astype(int)],
                probabilities=np.column_stack([1 - share, share]),
                classes=CLASSES,
            )
        )
    return Judged(CLASSES[yes.astype(int)], tuple(models), np.zeros(rows, dtype=int))


def in_slices(made: np.random.Generator, rows: int, slices: list[tuple[float, ...]]) -> Judged:
    """The same with accuracies that differ from slice to slice, of `rows` each."""
    parts = [drawn(made, rows, *accuracies) for accuracies in slices]
    models = zip(*(part.models for part in parts), strict=True)
    return Judged(
        np.concatenate([part.truth for part in parts]),
        tuple(following(model) for model in models),
        np.repeat(np.arange(len(slices)), rows),
    )


def true_loss(metric: str, better: float, worse: float) -> float:
    """By how much a model of the accuracy `worse` is worse in a metric than one of the accuracy `better`."""
    one, other = (_true(metric, float(skill_of(np.array(each), SHARED))) for each in (better, worse))
    return abs(one - other)


def _true(metric: str, skill: float) -> float:
    if metric == "accuracy":
        return float(ndtr((skill + np.sqrt(SHARED) * DIFFICULTY) / np.sqrt(1 - SHARED)).mean())
    if metric == "roc_auc":
        pairs = np.sqrt(SHARED) * np.add.outer(DIFFICULTY, DIFFICULTY)
        return float(ndtr((2 * skill + pairs) / np.sqrt(2 * (1 - SHARED))).mean())
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    margins = skill + np.sqrt(SHARED) * DIFFICULTY[:, None] + np.sqrt(1 - SHARED) * nodes
    return float((np.logaddexp(0, -2 * skill * margins) @ weights).mean() / weights.sum())


def asked(*lines: tuple[str, Claim, float]) -> Promotion:
    """A policy with lines of metric, claim and threshold; unless_worse_by is asked of the slices."""
    require = tuple(
        Requirement(metric, claim, threshold, slices="slice" if claim is Claim.UNLESS_WORSE_BY else "")
        for metric, claim, threshold in lines
    )
    return Promotion(require=require, confidence=CONFIDENCE)


def evidence_of(judged: Judged, metrics: tuple[str, ...], comparison: int, seed: int) -> Evidence:
    """What a worker hands to the daemon: the second model of the rows as challenger of the first."""
    strict = 1 - alpha_of(ALPHA, comparison)
    champion, challenger = judged.models[:2]
    measured = compare(
        judged.truth, champion, challenger, metrics=metrics, positive="yes", confidence=CONFIDENCE, groups=None,
        seed=seed, strict_confidence=strict,
    )  # fmt: skip
    return Evidence(
        champion_version=2, champion_digest="champion", challenger_digest="challenger", rows=len(judged.truth),
        confidence=CONFIDENCE, metrics=measured, classes=2, comparison=comparison, strict_confidence=strict,
        anchor=_anchored(judged, metrics, seed) if len(judged.models) > 2 else None,
    )  # fmt: skip


def _anchored(judged: Judged, metrics: tuple[str, ...], seed: int) -> AnchorEvidence:
    _, challenger, anchor = judged.models
    measured = compare(
        judged.truth, anchor, challenger, metrics=metrics, positive="yes", confidence=CONFIDENCE, groups=None, seed=seed
    )
    return AnchorEvidence(version=1, rows=len(judged.truth), metrics=measured)


def slices_of(judged: Judged, margin: float, seed: int) -> tuple[SliceEvidence, ...]:
    """What a worker measures of accuracy in each slice."""
    champion, challenger = align(judged.truth, judged.models[:2], "yes")
    found = []
    for number in range(int(judged.slices.max()) + 1):
        rows = np.flatnonzero(judged.slices == number)
        pair = champion.take(rows), challenger.take(rows)
        measured = compare_metric("accuracy", *pair, confidence=CONFIDENCE, groups=None, seed=seed)
        p = harm("accuracy", *pair, margin, groups=None, seed=seed)
        found.append(SliceEvidence(column="slice", value=str(number), threshold=margin, measured=measured, p_harm=p))
    return tuple(found)


def promotes(promotion: Promotion, evidence: Evidence) -> bool:
    return judge(promotion, evidence).outcome is Outcome.PROMOTE
