"""How sure it is that a challenger is worse than its champion by more than a margin, in one metric.

A p-value for `core/judge.py`, which corrects for many of them; the bounds of the same comparison are of `compare.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from retrain_daemon.core.evidence import MetricEvidence
from retrain_daemon.worker.compare import RESAMPLES, pair_of
from retrain_daemon.worker.evaluate import Scored
from retrain_daemon.worker.paired.estimate import Unknown
from retrain_daemon.worker.paired.methods import estimates
from retrain_daemon.worker.paired.pair import trial_of


def harm(
    name: str,
    champion: Scored,
    challenger: Scored,
    margin: float,
    *,
    groups: NDArray[np.uint64] | None,
    seed: int,
    resamples: int = RESAMPLES,
) -> float | None:
    """The one-sided p-value of "the gain is at least -margin": the smaller, the surer is harm beyond the margin.

    `margin` is in the metric's unit, not negative; `groups` (n,) are units of rows, as for `compare`. The method is
    that of the metric's bounds, so p < alpha exactly where the upper bound at 1 - alpha is below -margin. None where
    nothing can be said: an undefined metric, too few rows or groups, no variance. Raises ValueError for a margin that
    is negative or no number.
    """
    if not margin >= 0:
        raise ValueError(f"a margin is 0 or more, not {margin}")
    pair = pair_of(name, champion, challenger, trial_of(len(champion.truth), groups, seed, resamples))
    if isinstance(pair, MetricEvidence):
        return None
    gain, _ = estimates(pair)
    return None if isinstance(gain, Unknown) else gain.p_at_least(-margin)
