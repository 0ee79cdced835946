"""Champion against challenger on the same rows: each metric's difference and how sure it is.

Gives evidence, never a verdict; `core/judge.py` says what follows. Metrics live in `evaluate.py`, drawing in
`resample.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain_daemon.core.evidence import MetricEvidence
from retrain_daemon.core.metrics import METRICS, Needs
from retrain_daemon.core.policy import Scalar
from retrain_daemon.worker.evaluate import (
    Measure,
    Predictions,
    Scored,
    align,
    count_not_a_number,
    measure_of,
    rows_about,
    value_of,
)
from retrain_daemon.worker.measures import Flags, Ranking, Sums, Table
from retrain_daemon.worker.resample import (
    BLOCKS,
    Array,
    Codes,
    Interval,
    Units,
    alike,
    blocked,
    grouped,
    interval,
    share_at_most,
    single,
)

RESAMPLES = 2000

#: With fewer units on which the models differ, or fewer of a class, a bootstrap is blind to what it did not see.
FEWEST = 10

#: Rankings over more rows than this (times the number of rankings) are linearised ...
_MOST_RANKED = 40_000
#: ... unless a class has fewer rows than this, where the linear part alone would not do.
_FEWEST_RANKED = 200
_MOST_CLASSES = 100
_BY_CLASS = {"balanced_accuracy", "f1", "f1_macro", "precision", "recall", "roc_auc", "average_precision"}


@dataclass(frozen=True)
class _Trial:
    """What every metric is compared under."""

    rows: int
    groups: NDArray[np.uint64] | None
    confidence: float
    strict: float | None
    seed: int
    resamples: int

    def count(self, chosen: Flags) -> int:
        """How many units have a chosen row."""
        return int(chosen.sum()) if self.groups is None else len(np.unique(self.groups[chosen]))

    @property
    def units(self) -> int:
        """How many independent units there are."""
        return self.rows if self.groups is None else len(np.unique(self.groups))

    @property
    def unit(self) -> str:
        """What a unit is called."""
        return "rows" if self.groups is None else "groups"


def compare(
    truth: NDArray[Any],
    champion: Predictions,
    challenger: Predictions,
    *,
    metrics: Sequence[str],
    positive: Scalar,
    confidence: float,
    groups: NDArray[np.uint64] | None,
    seed: int,
    resamples: int = RESAMPLES,
    strict_confidence: float | None = None,
) -> tuple[MetricEvidence, ...]:
    """Given truth (n,) and both models' predictions of the same n rows, return the evidence for each metric.

    Paired bootstrap (Efron and Tibshirani 1993; for groups Davison and Hinkley 1997, 3.8): rows, or whole `groups`
    (n,), are drawn with replacement, the same ones for both models, and the metric is computed anew from the counts.
    Each of the four bounds is one-sided at `confidence` (0.5 to 1, exclusive); `gain_strict` is the lower bound of the
    gain at `strict_confidence`, None where none is asked. The same seed gives the same result.
    What cannot be known is None, with a sentence in `problem`.

    Where fewer than FEWEST rows (or groups) are predicted differently, the bootstrap would take them for all that can
    happen, and equal labels would "prove" a difference of exactly 0. The gain of a label metric is then bounded
    through the exact (Clopper-Pearson) bound on the share of such rows, so it is never shown to be above 0; for other
    metrics, whose loss on an unseen row has no limit, there is no bound. Raises ValueError when lengths differ.
    """
    _check_confidence(confidence)
    if strict_confidence is not None:
        _check_confidence(strict_confidence)
    trial = _Trial(len(truth), groups, confidence, strict_confidence, seed, resamples)
    refusal = _unusable(truth, champion, challenger)
    if refusal:
        return tuple(MetricEvidence(metric=name, problem=f"{name} is unknown: {refusal}") for name in metrics)
    first, second = align(truth, (champion, challenger), positive)
    return tuple(_evidence(name, first, second, trial) for name in metrics)


def compare_metric(
    name: str,
    champion: Scored,
    challenger: Scored,
    *,
    confidence: float,
    groups: NDArray[np.uint64] | None,
    seed: int,
    resamples: int = RESAMPLES,
    strict_confidence: float | None = None,
) -> MetricEvidence:
    """The same for one metric of models that are aligned already, such as the rows of a slice (`Scored.take`)."""
    trial = _Trial(len(champion.truth), groups, confidence, strict_confidence, seed, resamples)
    if not trial.rows:
        return MetricEvidence(metric=name, problem=f"{name} is unknown: there is no row to judge on")
    return _evidence(name, champion, challenger, trial)


def _check_confidence(confidence: float) -> None:
    if not 0.5 < confidence < 1:
        raise ValueError(f"a confidence is between 0.5 and 1, not {confidence}")


def _unusable(truth: NDArray[Any], champion: Predictions, challenger: Predictions) -> str:
    if not len(truth):
        return "there is no row to judge on"
    outputs = [_outputs_of(model) for model in (champion, challenger)]
    if outputs[0] != outputs[1]:
        return f"the champion predicts {outputs[0]} values a row and the challenger {outputs[1]}"
    for name, model in (("champion", champion), ("challenger", challenger)):
        rows = count_not_a_number(model)
        if rows:
            return f"the {name} predicts no number on {rows:,} of {len(truth):,} rows"
    rows = count_not_a_number(Predictions(labels=truth))
    return f"the true value is missing in {rows:,} rows" if rows else ""


def _outputs_of(model: Predictions) -> int:
    """How many values a row; 0 for classes."""
    return 0 if model.values is None else model.values.size // max(len(model.values), 1)


def _evidence(name: str, champion: Scored, challenger: Scored, trial: _Trial) -> MetricEvidence:
    old, new = measure_of(name, champion), measure_of(name, challenger)
    values = [None if isinstance(measure, str) else value_of(measure) for measure in (old, new)]
    rows = int(rows_about(name, champion, challenger).sum())
    evidence = MetricEvidence(metric=name, champion=values[0], challenger=values[1], rows=rows)
    if isinstance(old, str) or isinstance(new, str) or values[0] is None or values[1] is None:
        return replace(evidence, problem=_missing(name, {"champion": (old, values[0]), "challenger": (new, values[1])}))
    sign = 1.0 if METRICS[name].higher_is_better else -1.0
    evidence = replace(evidence, gain=sign * (values[1] - values[0]))
    problem = _too_thin(name, champion, challenger, trial)
    if problem:
        return replace(evidence, problem=problem)
    return _bounded(evidence, old, new, (champion, challenger), sign, trial)


def _missing(name: str, models: dict[str, tuple[Measure | str, float | None]]) -> str:
    sentences = []
    for model, (measure, value) in models.items():
        if isinstance(measure, str):
            sentences.append(f"{model}: {measure}")
        elif value is None:
            sentences.append(f"{model}: {name} is undefined on these rows{_why(name)}")
    return "; ".join(sentences)


def _why(name: str) -> str:
    return {"precision": ", it predicts no row as positive", "f1": ", no row is or is predicted positive"}.get(name, "")


def _too_thin(name: str, champion: Scored, challenger: Scored, trial: _Trial) -> str:
    """Why these rows cannot bound this metric at all, if they cannot."""
    if trial.units < FEWEST:
        return f"{name} has no bounds: only {trial.units} {trial.unit}, and {FEWEST} are the least"
    if name not in _BY_CLASS:
        return ""
    for code, label in enumerate(champion.classes):
        rows = trial.count(champion.truth == code)
        if 0 < rows < FEWEST:
            return f"{name} has no bounds: only {rows} {trial.unit} of class {label!r}, and {FEWEST} are the least"
    if name != "precision":
        return ""
    least = min(trial.count(np.asarray(model.labels == champion.positive)) for model in (champion, challenger))
    return f"{name} has no bounds: a model predicts only {least} {trial.unit} as positive" if least < FEWEST else ""


def _bounded(
    evidence: MetricEvidence, old: Measure, new: Measure, models: tuple[Scored, Scored], sign: float, trial: _Trial
) -> MetricEvidence:
    """The evidence with both intervals, from one set of resamples."""
    assert evidence.gain is not None
    assert evidence.challenger is not None
    units, pair, how = _units(old, new, trial)
    champion, challenger = _resampled(units, pair, trial)
    differences = sign * (challenger - champion)
    gain = interval(differences, evidence.gain, trial.confidence, units.count)
    strict = None if trial.strict is None else interval(differences, evidence.gain, trial.strict, units.count)
    own = interval(challenger, evidence.challenger, trial.confidence, units.count)
    if isinstance(new, Ranking):
        gain, own = _varied(gain), _varied(own)
    method = f"paired bootstrap, {trial.resamples:,} resamples of {units.name}{how}"
    method += ", bounds from a normal curve" if gain.normal else ""
    gain, method = _widened(evidence.metric, gain, method, old, models, trial)
    own = _own_widened(evidence.metric, evidence.challenger, own, new, models[1], trial)
    if strict is not None:
        sure = replace(trial, confidence=trial.strict or trial.confidence)
        strict, _ = _widened(evidence.metric, strict, "", old, models, sure)
    problems = [f"the {what}: {one.problem}" for what, one in (("gain", gain), ("challenger", own)) if one.problem]
    return replace(
        evidence,
        gain_low=gain.low,
        gain_high=gain.high,
        gain_strict=None if strict is None or gain.low is None else strict.low,
        standard_error=float(np.nanstd(differences, ddof=1)),
        challenger_low=own.low,
        challenger_high=own.high,
        method=method,
        problem=f"{evidence.metric} has no bounds for {'; for '.join(problems)}" if problems else "",
    )


def _units(old: Measure, new: Measure, trial: _Trial) -> tuple[Units, tuple[Measure, Measure], str]:
    """What is drawn, the measures it is drawn for, and words for a method that is not the plain one."""
    units = single(trial.rows) if trial.groups is None else grouped(trial.groups)
    if isinstance(old, Ranking) and isinstance(new, Ranking):
        rarest = int(min(line.sum() for line in old.positive))
        rarest = min(rarest, int(min((~line).sum() for line in old.positive)))
        if old.scores.size <= _MOST_RANKED or rarest < _FEWEST_RANKED:
            return units, (old, new), ""
        return blocked(units, trial.seed), (old.first_order(), new.first_order()), ", first order in the weights"
    cells = _cells(old, new) if trial.groups is None else None
    if cells is not None:
        compact = alike(cells)
        if len(compact.sizes) <= BLOCKS:
            return compact, (old, new), ""
    return blocked(units, trial.seed), (old, new), ""


def _cells(old: Measure, new: Measure) -> Codes | None:
    """A code for each row, equal for rows that no label metric can tell apart; None for other metrics."""
    if isinstance(old, Table) and isinstance(new, Table):
        cells: Codes = (old.truth * old.classes + old.labels) * old.classes + new.labels
        return cells
    if isinstance(old, Sums) and isinstance(new, Sums):
        columns = old.columns[-1], new.columns[-1]
        if all(len(old.columns) == 2 and np.isin(column, (0.0, 1.0)).all() for column in columns):
            return (2 * columns[0] + columns[1]).astype(np.intp)
    return None


def _resampled(units: Units, pair: tuple[Measure, Measure], trial: _Trial) -> tuple[Array, Array]:
    champion, challenger = (measure.on(units) for measure in pair)
    values = [(champion(weights), challenger(weights)) for weights in units.weights(trial.seed, trial.resamples)]
    return np.concatenate([old for old, _ in values]), np.concatenate([new for _, new in values])


def _widened(
    name: str, gain: Interval, method: str, old: Measure, models: tuple[Scored, Scored], trial: _Trial
) -> tuple[Interval, str]:
    """The gain's interval, replaced where too few rows are predicted differently for a bootstrap."""
    differing = trial.count(_differing(name, *models))
    if differing >= FEWEST:
        return gain, method
    what = f"{differing} of {trial.units:,} {trial.unit} are predicted differently"
    share = share_at_most(differing, trial.units, trial.confidence)
    reach = _reach(old, share, trial) if METRICS[name].needs is Needs.LABELS else None
    if reach is None:
        return Interval(problem=f"only {what}, and {FEWEST} are the least"), method
    return Interval(-reach, reach), f"exact bound on the share of {trial.unit} predicted differently, {what}"


def _own_widened(name: str, value: float, own: Interval, new: Measure, model: Scored, trial: _Trial) -> Interval:
    """The challenger's own interval, widened where it is wrong, or right, too rarely for a bootstrap."""
    if own.low is None or own.high is None or METRICS[name].needs is not Needs.LABELS or model.labels is None:
        return own
    chosen = model.truth == model.positive if name == "recall" else np.ones(trial.rows, dtype=np.bool_)
    right = model.labels == model.truth
    rarer = min(trial.count(chosen & right), trial.count(chosen & ~right))
    if rarer >= FEWEST:
        return own
    # Those that were seen are in the value; only what the exact bound allows beyond them is not.
    reach = _reach(new, share_at_most(rarer, trial.units, trial.confidence) - rarer / trial.units, trial)
    if reach is None:
        return Interval(problem=f"only {rarer} {trial.unit} tell right from wrong")
    return Interval(max(0.0, min(own.low, value - reach)), min(1.0, max(own.high, value + reach)))


def _varied(found: Interval) -> Interval:
    """A ranking that is perfect on every resample says nothing about rows that were not seen."""
    same = found.low is not None and found.low == found.high
    return Interval(problem="it is the same in every resample") if same else found


def _differing(name: str, champion: Scored, challenger: Scored) -> Flags:
    """Rows on which this metric could tell the two models apart."""
    if METRICS[name].needs is Needs.VALUES:
        assert champion.values is not None
        assert challenger.values is not None
        return np.asarray((champion.values != challenger.values).any(axis=1))
    if METRICS[name].needs is Needs.PROBABILITIES:
        assert champion.probabilities is not None
        assert challenger.probabilities is not None
        return np.asarray((champion.probabilities != challenger.probabilities).any(axis=1))
    if name in {"accuracy", "balanced_accuracy"}:
        right = [np.asarray(model.labels == model.truth) for model in (champion, challenger)]
        return np.asarray(right[0] != right[1])
    differ: Flags = np.asarray(champion.labels != challenger.labels)
    return differ & (champion.truth == champion.positive) if name == "recall" else differ


def _reach(measure: Measure, share: float, trial: _Trial) -> float | None:
    """The most a label metric can move when `share` of the units change, each row by the largest step of one row."""
    if isinstance(measure, Table):
        step = measure.largest_step() if measure.classes <= _MOST_CLASSES else None
    else:
        step = 1 / trial.rows
    largest = 1 if trial.groups is None else int(np.unique(trial.groups, return_counts=True)[1].max())
    return None if step is None else min(1.0, share * trial.units * largest * step)
