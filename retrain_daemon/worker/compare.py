"""Champion against challenger on the same rows: each metric's difference and how sure it is.

Gives evidence, never a verdict; `core/judge.py` says what follows. Metrics live in `evaluate.py`, methods in `paired/`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain_daemon.core.evidence import MetricEvidence
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
from retrain_daemon.worker.paired.estimate import Estimate, Unknown
from retrain_daemon.worker.paired.methods import estimates
from retrain_daemon.worker.paired.pair import Pair, Trial, trial_of

RESAMPLES = 2000


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

    Each metric gets the method that fits it, named in `method` (`paired/methods.py`); rows, or whole `groups` (n,), are
    the independent units. `gain_low`, `gain_high` and the challenger's own bounds are one-sided at `confidence` each
    (from 0.5 on, below 1); `gain_strict` is the lower bound of the gain at `strict_confidence`, None where none is
    asked. The same seed gives the same result. What cannot be known is None, with a sentence in `problem`. Where fewer
    than FEWEST units make up the difference, no gain is ever shown. Raises ValueError when lengths differ.
    """
    _check_confidences(confidence, strict_confidence)
    refusal = _unusable(truth, champion, challenger)
    if refusal:
        return tuple(MetricEvidence(metric=name, problem=f"{name} is unknown: {refusal}") for name in metrics)
    first, second = align(truth, (champion, challenger), positive)
    trial, confidences = trial_of(len(truth), groups, seed, resamples), (confidence, strict_confidence)
    return tuple(_evidence(name, first, second, trial, confidences) for name in metrics)


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
    _check_confidences(confidence, strict_confidence)
    trial = trial_of(len(champion.truth), groups, seed, resamples)
    return _evidence(name, champion, challenger, trial, (confidence, strict_confidence))


def pair_of(name: str, champion: Scored, challenger: Scored, trial: Trial) -> Pair | MetricEvidence:
    """One metric of both models, ready for its method; or the evidence of what is known where it is undefined."""
    rows = int(rows_about(name, champion, challenger).sum())
    if not trial.rows:
        return MetricEvidence(metric=name, problem=f"{name} is unknown: there is no row to judge on", rows=0)
    old, new = measure_of(name, champion), measure_of(name, challenger)
    values = [None if isinstance(measure, str) else value_of(measure) for measure in (old, new)]
    if isinstance(old, str) or isinstance(new, str) or values[0] is None or values[1] is None:
        problem = _missing(name, {"champion": (old, values[0]), "challenger": (new, values[1])})
        return MetricEvidence(metric=name, champion=values[0], challenger=values[1], rows=rows, problem=problem)
    return Pair(name, champion, challenger, old, new, (values[0], values[1]), trial)


def _check_confidences(*confidences: float | None) -> None:
    for confidence in confidences:
        if confidence is not None and not 0.5 <= confidence < 1:
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


def _evidence(
    name: str, champion: Scored, challenger: Scored, trial: Trial, confidences: tuple[float, float | None]
) -> MetricEvidence:
    pair = pair_of(name, champion, challenger, trial)
    if isinstance(pair, MetricEvidence):
        return pair if pair.challenger is None else _own_only(pair, challenger, trial, confidences[0])
    evidence = MetricEvidence(
        metric=name,
        champion=pair.values[0],
        challenger=pair.values[1],
        gain=pair.gain,
        rows=int(rows_about(name, champion, challenger).sum()),
    )
    gain, own = estimates(pair)
    evidence = _with_gain(evidence, gain, *confidences)
    evidence = _with_own(evidence, own, confidences[0])
    return replace(evidence, problem=_problem(name, gain, own))


def _with_gain(
    evidence: MetricEvidence, gain: Estimate | Unknown, confidence: float, strict: float | None
) -> MetricEvidence:
    if isinstance(gain, Unknown):
        return evidence
    asked = (confidence,) if strict is None else (confidence, strict)
    return replace(
        evidence,
        gain_low=gain.low(confidence),
        gain_high=gain.high(confidence),
        gain_strict=None if strict is None else gain.low(strict),
        standard_error=gain.standard_error,
        method="; ".join([gain.method, *dict.fromkeys(filter(None, map(gain.note, asked)))]),
    )


def _with_own(evidence: MetricEvidence, own: Estimate | Unknown, confidence: float) -> MetricEvidence:
    if isinstance(own, Unknown):
        return evidence
    return replace(evidence, challenger_low=own.low(confidence), challenger_high=own.high(confidence))


def _own_only(evidence: MetricEvidence, challenger: Scored, trial: Trial, confidence: float) -> MetricEvidence:
    """A champion without a value, such as one without precision, does not hide what the challenger itself shows."""
    alone = pair_of(evidence.metric, challenger, challenger, trial)
    return evidence if isinstance(alone, MetricEvidence) else _with_own(evidence, estimates(alone)[1], confidence)


def _problem(name: str, gain: Estimate | Unknown, own: Estimate | Unknown) -> str:
    if isinstance(gain, Unknown) and gain == own:
        return f"{name} has no bounds: {gain.problem}"
    known = (("gain", gain), ("challenger", own))
    problems = [f"the {what}: {one.problem}" for what, one in known if isinstance(one, Unknown)]
    return f"{name} has no bounds for {'; for '.join(problems)}" if problems else ""


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
