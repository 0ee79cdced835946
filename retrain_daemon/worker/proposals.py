"""Which values a search tries next, by Optuna's Tree-structured Parzen Estimator. Nothing else knows Optuna.

Each proposal follows from the seed, its number and the trials before it alone, so that a search that was cut short goes
on as if it had not been.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from retrain_daemon.core.policy import Scalar, Space
from retrain_daemon.worker.study import Trial

#: Before the estimator has anything to learn from, a quarter of the trials is drawn at random, within these bounds.
_LEAST_RANDOM, _MOST_RANDOM = 5, 10

Values = Mapping[str, Scalar]

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is searched: spaces by name, how many trials, which way is better, a seed, and values to try first, of some
    or all names each.
    """

    spaces: Mapping[str, Space]
    trials: int
    higher_is_better: bool
    seed: int
    starts: tuple[Values, ...] = ()


def propose(plan: Plan, trials: Sequence[Trial]) -> Values:
    """The values to try after `trials`, which are all so far, in their order."""
    number = len(trials)
    drawn = int(np.random.SeedSequence([plan.seed, number]).generate_state(1)[0])
    random = min(max(plan.trials // 4, _LEAST_RANDOM), _MOST_RANDOM)
    study = optuna.create_study(
        direction="maximize" if plan.higher_is_better else "minimize",
        sampler=optuna.samplers.TPESampler(n_startup_trials=random, seed=drawn),
    )
    distributions = {name: _distribution(space) for name, space in plan.spaces.items()}
    study.add_trials([_finished(trial, plan, distributions) for trial in trials])
    if number < len(plan.starts):
        study.enqueue_trial({name: _inner(plan.spaces[name], value) for name, value in plan.starts[number].items()})
    asked = study.ask(distributions).params
    return {name: _outer(space, asked[name]) for name, space in plan.spaces.items()}


def known_values(spaces: Mapping[str, Space], found: Sequence[Values], most: int) -> tuple[Values, ...]:
    """What of values known to be good lies in the spaces: each once, at most so many, in their order."""
    starts: list[Values] = []
    for values in found:
        start = {name: values[name] for name, space in spaces.items() if name in values and inside(space, values[name])}
        if start and start not in starts:
            starts.append(start)
    return tuple(starts[:most])


def inside(space: Space, value: Scalar) -> bool:
    """Whether a search could choose this value."""
    if space.choices:
        return _place(space, value) is not None
    if isinstance(value, bool) or not isinstance(value, int | float) or space.low is None or space.high is None:
        return False
    if not space.low <= value <= space.high or (space.whole and value != int(value)):
        return False
    steps = (value - space.low) / space.step if space.step else 0.0
    return abs(steps - round(steps)) < 1e-9


def _finished(trial: Trial, plan: Plan, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    return optuna.create_trial(
        state=TrialState.FAIL if trial.score is None else TrialState.COMPLETE,
        value=trial.score,
        params={name: _inner(plan.spaces[name], value) for name, value in trial.values.items()},
        distributions=distributions,
    )


def _distribution(space: Space) -> BaseDistribution:
    """Of choices their places: Optuna would take 1 and true for the same."""
    if space.choices:
        return CategoricalDistribution(range(len(space.choices)))
    assert space.low is not None and space.high is not None  # noqa: PT018  the reader has refused otherwise
    if space.whole:
        return IntDistribution(int(space.low), int(space.high), log=space.log, step=int(space.step or 1))
    return FloatDistribution(space.low, space.high, log=space.log, step=space.step)


def _inner(space: Space, value: Scalar) -> Any:
    if space.choices:
        return _place(space, value)
    assert isinstance(value, int | float)
    return int(value) if space.whole else float(value)


def _outer(space: Space, value: Any) -> Scalar:
    """What a model is given; steps without the last digits that adding them up leaves."""
    if space.choices:
        chosen: Scalar = space.choices[value]
        return chosen
    return int(value) if space.whole else float(f"{value:.12g}") if space.step else float(value)


def _place(space: Space, value: Scalar) -> int | None:
    """Where a value is among the choices: 1 and 1.0 are one, 1 and true are not."""
    places = (at for at, choice in enumerate(space.choices)
              if choice == value and isinstance(choice, bool) == isinstance(value, bool))  # fmt: skip
    return next(places, None)
