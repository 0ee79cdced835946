"""How sure it is that a challenger is worse than its champion by more than a margin, in one metric.

A p-value for `core/judge.py`, which corrects for many of them; the bounds of the same comparison are of `compare.py`.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from retrain_daemon.worker.compare import RESAMPLES, compare_metric
from retrain_daemon.worker.evaluate import Scored


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
    found = compare_metric(name, champion, challenger, confidence=0.95, groups=groups, seed=seed, resamples=resamples)
    if found.gain is None or found.gain_high is None or not found.standard_error:
        return None
    return NormalDist().cdf((found.gain + margin) / found.standard_error)
