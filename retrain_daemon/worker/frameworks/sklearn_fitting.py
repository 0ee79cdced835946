"""What surrounds a fit: errors told in a sentence, randomness that repeats, warnings kept as notes.

Knows nothing of modes or models.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from retrain_daemon.errors import RetrainError, TrainingFailed
from retrain_daemon.worker.frameworks.sklearn_parts import name_of

MOST_WARNINGS = 5

#: What estimators, also a team's own, raise on input they cannot take.
ESTIMATOR_ERRORS = (ValueError, TypeError, ArithmeticError, AttributeError, LookupError, RuntimeError)


@contextmanager
def told_in_a_sentence(estimator: Any, rows: int) -> Iterator[None]:
    """Turn what `estimator` raises while it learns `rows` rows into TrainingFailed with the first line of the cause."""
    try:
        yield
    except RetrainError:
        raise
    except ESTIMATOR_ERRORS as problem:
        cause = str(problem).strip().split("\n")[0] or name_of(problem)
        raise TrainingFailed(f"{name_of(estimator)} could not be trained on {rows} rows: {cause}") from problem


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Make estimators whose random_state is None repeatable: they draw from numpy's global generator."""
    before = np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        yield
    finally:
        np.random.set_state(before)


@contextmanager
def warnings_noted() -> Iterator[list[str]]:
    """Collect what estimators warn of (no convergence, say) as sentences, each once."""
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield notes
    for entry in caught:
        note = f"scikit-learn warns: {' '.join(str(entry.message).split())}"
        if not issubclass(entry.category, FutureWarning | DeprecationWarning) and note not in notes:
            notes.append(note)
    del notes[MOST_WARNINGS:]
