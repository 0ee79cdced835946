"""Scores of a champion on single files, put together for rules: which metrics are wanted, and what a series says.

What a version scored is found out by workers; nothing is known here of how.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from retrain_daemon.core.facts import Scores
from retrain_daemon.core.metrics import METRICS
from retrain_daemon.core.policy import Policy
from retrain_daemon.core.rules.expression import compile_rule
from retrain_daemon.core.rules.vocabulary import metric_of

#: Rules see the scores of so many files.
LATEST = 20


@dataclass(frozen=True)
class FileScore:
    """One file's score over `rows` rows; without a value it has none, such as a file of too few rows."""

    rows: int
    value: float | None


def wanted_metrics(policy: Policy) -> tuple[str, ...]:
    """Given a policy, the metrics by which its champion is scored: those it is judged by and those its rules name."""
    named = (metric_of(name) for rule in policy.rules for name in compile_rule(rule.when, policy.names).names)
    required = (line.metric for line in policy.promote.require if line.metric in METRICS)
    return tuple(dict.fromkeys((*required, *filter(None, named))))


def summed(scores: Sequence[FileScore], baseline_rows: int) -> Scores:
    """Given the scores of the files that came since a champion was cut, oldest first, what rules see of them.

    `score` is the mean of the files' values, weighted by their rows; `baseline` the same of the first files that have
    `baseline_rows` rows together, None as long as there are fewer.
    """
    known = [(each.rows, each.value) for each in scores if each.value is not None]
    return Scores(
        score=_mean(known),
        latest=tuple(value for _, value in known[-LATEST:]),
        baseline=_mean(_first(known, baseline_rows)),
    )


def _first(known: list[tuple[int, float]], rows: int) -> list[tuple[int, float]]:
    """The first that have so many rows together; none where all have fewer."""
    total = 0
    for count, (more, _) in enumerate(known, start=1):
        total += more
        if total >= rows:
            return known[:count]
    return []


def _mean(known: list[tuple[int, float]]) -> float | None:
    rows = sum(rows for rows, _ in known)
    return sum(rows * value for rows, value in known) / rows if rows else None
