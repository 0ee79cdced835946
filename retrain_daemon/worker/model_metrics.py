"""Metrics of a stored model, whatever it predicts: size, loading, latency, and how many predictions flip.

Only what a line asks for is measured. Metrics of predictions are in `compare.py`; the process that loads a model is
asked in `fresh.py`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from retrain_daemon.core.evidence import Evidence, MetricEvidence
from retrain_daemon.worker.evaluate import Scored
from retrain_daemon.worker.fresh import CALLS, Answer, Request, Sample, Unanswered, try_afresh
from retrain_daemon.worker.job import Train

LATENCY, SIZE, LOADABLE, FLIPPED = "latency_ms_p95", "model_mb", "loadable", "flipped"
#: Those that are measured on stored files.
OF_FILES = (SIZE, LOADABLE, LATENCY)
#: So many rows are called with.
SAMPLE_ROWS = 200

#: Two numbers closer than this, relative to the champion's or absolute, are the same prediction.
RELATIVE, ABSOLUTE = 1e-5, 1e-8
_QUANTILE = 0.95
_RESAMPLES = 2000
#: With fewer resamples beyond a bound it is taken from a normal curve.
_FEWEST_IN_TAIL = 20
#: Not of the model: ids of where it is stored.
_NOT_COUNTED = ("MLmodel", "registered_model_meta")

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class StoredModels:
    """Where the files of both models are. Without a `champion`, `without` says why there is none."""

    challenger: Path
    champion: Path | None
    without: str = ""


def unmeasured(job: Train, evidence: Evidence) -> tuple[str, ...]:
    """Which metrics of stored files lines ask for and the evidence does not have."""
    known = {metric.metric for metric in evidence.metrics}
    return tuple(name for name in job.metrics if name in OF_FILES and name not in known)


def needs_sample(job: Train) -> bool:
    """Whether a model will have to predict rows in another process."""
    return LOADABLE in job.metrics or LATENCY in job.metrics


def in_order(job: Train, metrics: Sequence[MetricEvidence]) -> tuple[MetricEvidence, ...]:
    """Metrics in the order they were asked for."""
    return tuple(sorted(metrics, key=lambda metric: job.metrics.index(metric.metric)))


def measure_stored(
    job: Train, names: Sequence[str], models: StoredModels, sample: Sample | None, folder: Path
) -> tuple[MetricEvidence, ...]:
    """The metrics `names` of stored models. `sample`: rows for them to predict, None where there is no row; `folder`
    takes temporary files.
    """
    found = {SIZE: _size(models)} if SIZE in names else {}
    if LOADABLE in names or LATENCY in names:
        if sample is None or not len(sample.rows):
            problem = "there is no row to predict"
            found |= {name: MetricEvidence(metric=name, problem=problem) for name in (LOADABLE, LATENCY)}
        else:
            found |= _afresh(job, LATENCY in names, models, sample, folder)
    return tuple(found[name] for name in names)


def said_of(found: Sequence[MetricEvidence]) -> tuple[str, ...]:
    """A sentence for a reviewer where a model does not load."""
    return tuple(
        f"The stored challenger is not fit to be served: {each.method}."
        for each in found
        if each.metric == LOADABLE and each.challenger == 0.0
    )


def flipped(
    job: Train, champion: Scored | None, challenger: Scored, groups: NDArray[np.uint64] | None
) -> MetricEvidence:
    """The share of rows that the challenger predicts differently: another class, or a number other than by rounding."""
    differ = None if champion is None else _differ(champion, challenger)
    if differ is None:
        why = "there is no champion" if champion is None else "a model gives no labels"
        return MetricEvidence(metric=FLIPPED, problem=f"flipped is unknown: {why}")
    share = float(differ.mean())
    rows, method = _effective(differ, groups)
    low, high = _clopper_pearson(share * rows, rows, job.confidence)
    return MetricEvidence(
        metric=FLIPPED, challenger=share, challenger_low=low, challenger_high=high, rows=len(differ), method=method
    )


def _differ(champion: Scored, challenger: Scored) -> NDArray[np.bool_] | None:
    if champion.values is not None and challenger.values is not None:
        close = np.isclose(challenger.values, champion.values, rtol=RELATIVE, atol=ABSOLUTE)
        return np.asarray(~close.all(axis=1))
    if champion.labels is None or challenger.labels is None:
        return None
    return np.asarray(champion.labels != challenger.labels)


def _effective(differ: NDArray[np.bool_], groups: NDArray[np.uint64] | None) -> tuple[float, str]:
    """As many independent rows as these rows tell as much as, and the name of the bounds.

    Of rows in groups by the variance between groups (Korn and Graubard 1998), each group one where nothing varies.
    """
    if groups is None:
        return float(len(differ)), "exact bounds (Clopper-Pearson)"
    _, of_row, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    count, rows, share = len(sizes), len(differ), float(differ.mean())
    method = f"exact bounds (Clopper-Pearson) on the rows that {count:,} groups are worth (Korn-Graubard)"
    residual = np.bincount(of_row, weights=differ) - share * sizes
    variance = count / max(count - 1, 1) * float((residual**2).sum()) / rows**2
    if count < 2 or not variance > 0:
        return float(count), method
    narrow = special.stdtrit(rows - 1, 0.975) / special.stdtrit(count - 1, 0.975)
    return min(float(rows), share * (1 - share) / variance * float(narrow) ** 2), method


def _clopper_pearson(count: float, rows: float, confidence: float) -> tuple[float, float]:
    """One-sided bounds on a share, each at `confidence`; counts need not be whole."""
    low = 0.0 if count <= 0 else float(special.betaincinv(count, rows - count + 1, 1 - confidence))
    high = 1.0 if count >= rows else float(special.betaincinv(count + 1, rows - count, confidence))
    return low, high


def _size(models: StoredModels) -> MetricEvidence:
    new = _megabytes(models.challenger)
    old = None if models.champion is None else _megabytes(models.champion)
    return _exact(SIZE, old, new, None if old is None else old - new, "size of the stored files, in 1,000,000 bytes")


def _megabytes(folder: Path) -> float:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name not in _NOT_COUNTED)
    return sum(path.stat().st_size for path in files) / 1e6


def _exact(name: str, champion: float | None, challenger: float, gain: float | None, method: str) -> MetricEvidence:
    return MetricEvidence(
        metric=name,
        champion=champion,
        challenger=challenger,
        gain=gain,
        gain_low=gain,
        gain_high=gain,
        gain_strict=gain,
        challenger_low=challenger,
        challenger_high=challenger,
        method=method,
    )


def _afresh(job: Train, timed: bool, models: StoredModels, sample: Sample, folder: Path) -> dict[str, MetricEvidence]:
    """What one process says of both metrics."""
    least = _fewest_calls(job)
    request = Request(
        challenger=str(models.challenger),
        champion=str(models.champion) if models.champion and timed else "",
        calls=max(CALLS, least) if timed else 0,
        least=least,
    )
    answer = try_afresh(request, sample, folder, job.code_folder)
    found = {LOADABLE: _loadable(answer)}
    return found | ({LATENCY: _latency(job, models, answer)} if timed else {})


def _loadable(answer: Answer | Unanswered) -> MetricEvidence:
    how = "mlflow.pyfunc in a fresh process"
    if isinstance(answer, Answer):
        why = answer.challenger_problem
    elif not answer.ended and not answer.loaded:
        return MetricEvidence(
            metric=LOADABLE, problem=f"loadable is unknown: a fresh process gave no answer: {answer.why}"
        )
    else:
        why = "" if answer.loaded else answer.why
    if why:
        return _exact(LOADABLE, None, 0.0, None, f"{how}: it does not load or predict: {why}")
    return _exact(LOADABLE, None, 1.0, None, f"{how}: it loads and predicts a row")


def _latency(job: Train, models: StoredModels, answer: Answer | Unanswered) -> MetricEvidence:
    if isinstance(answer, Unanswered):
        return _no_latency(f"a fresh process gave no answer: {answer.why}")
    if answer.challenger_problem:
        return _no_latency(f"the challenger does not load or predict: {answer.challenger_problem}")
    new, old = np.array(answer.challenger_ms), np.array(answer.champion_ms)
    low, high = _bounds_of_quantile(np.sort(new), job.confidence)
    calls = f"{len(new):,} calls of one row each, on the CPU, after a warm-up"
    evidence = MetricEvidence(
        metric=LATENCY,
        champion=float(_p95(old)) if len(old) else None,
        challenger=float(_p95(new)),
        challenger_low=low,
        challenger_high=high,
        method=f"{calls}; binomial bounds of the quantile",
    )
    if not len(old):
        why = f"the champion does not load or predict: {answer.champion_problem}"
        return replace(evidence, problem=f"there is no gain: {why if answer.champion_problem else models.without}")
    return _with_gain(job, evidence, old, new)


def _no_latency(why: str) -> MetricEvidence:
    return MetricEvidence(metric=LATENCY, problem=f"{LATENCY} is unknown: {why}")


def _with_gain(job: Train, evidence: MetricEvidence, old: Array, new: Array) -> MetricEvidence:
    """Calls that were made one after the other are drawn together: what slows the machine slows both."""
    drawn = np.random.default_rng(job.seed).integers(0, len(new), size=(_RESAMPLES, len(new)))
    gains = _p95(old[drawn]) - _p95(new[drawn])
    gain = float(_p95(old) - _p95(new))
    spread = float(np.std(gains, ddof=1))
    low, high = _bounds(gains, gain, spread, job.confidence)
    return replace(
        evidence,
        gain=gain,
        gain_low=low,
        gain_high=high,
        gain_strict=None if job.strict_confidence is None else _bounds(gains, gain, spread, job.strict_confidence)[0],
        standard_error=spread,
        method=f"{evidence.method}; gain by paired bootstrap, {_RESAMPLES:,} resamples of pairs of calls",
    )


def _p95(times: Array) -> Any:
    return np.quantile(times, _QUANTILE, axis=-1, method="higher")


def _bounds(values: Array, point: float, spread: float, confidence: float) -> tuple[float, float]:
    if (1 - confidence) * len(values) < _FEWEST_IN_TAIL:
        half = float(special.ndtri(confidence)) * spread
        return point - half, point + half
    low, high = np.quantile(values, (1 - confidence, confidence))
    return float(low), float(high)


def _bounds_of_quantile(ordered: Array, confidence: float) -> tuple[float | None, float | None]:
    """Order statistics between which the quantile is, each at `confidence`: how many calls are below it is binomial."""
    fewer = special.bdtr(np.arange(len(ordered) + 1), len(ordered), _QUANTILE)
    below = int(np.searchsorted(fewer, 1 - confidence))
    above = int(np.searchsorted(fewer, confidence)) + 1
    low = float(ordered[below - 1]) if below >= 1 else None
    return low, float(ordered[above - 1]) if above <= len(ordered) else None


def _fewest_calls(job: Train) -> int:
    """With fewer calls not even the slowest of them bounds the quantile."""
    return max(60, math.ceil(math.log(1 - job.confidence) / math.log(_QUANTILE)))
