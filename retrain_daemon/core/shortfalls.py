"""By how much a threshold of a rule is missed, said for people.

Which comparisons a rule makes is found in `expression.py`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from retrain_daemon.core.vocabulary import Value, readable

COMPARE: Mapping[str, Callable[..., bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
}
Limit = int | float | timedelta


@dataclass(frozen=True)
class Comparison:
    """A fact, or what a rule computes of facts, compared with a constant: `data.new_rows >= 10000`."""

    name: str
    sign: str
    limit: Limit


def shortfalls(comparisons: tuple[Comparison, ...], known: Mapping[str, Value]) -> tuple[str, ...]:
    """Given comparisons and the known values by name, a text for each comparison that is not met."""
    texts = (_shortfall(comparison, known.get(comparison.name)) for comparison in comparisons)
    return tuple(text for text in texts if text)


def _shortfall(comparison: Comparison, value: Value) -> str:
    """By how much a comparison is not met, or nothing where it is met or not measurable."""
    gap = _gap(value, comparison)
    if gap is None or COMPARE[comparison.sign](value, comparison.limit):
        return ""
    shown = f"{comparison.name} is {_amount(value)}"
    if comparison.sign == "==":
        return f"{shown}, not {_amount(comparison.limit)}"
    return f"{shown}, {'short' if '>' in comparison.sign else 'over'} by {_amount(gap)}"


def _gap(value: Value, comparison: Comparison) -> Limit | None:
    """How far a value is from the limit; to pass a strict limit, a whole number needs one more."""
    limit = comparison.limit
    if isinstance(value, timedelta) and isinstance(limit, timedelta):
        return abs(value - limit)
    if isinstance(value, int) and isinstance(limit, int):
        return abs(value - limit) + (comparison.sign in "<>")
    if isinstance(value, int | float) and isinstance(limit, int | float):
        return abs(value - limit)
    return None


def _amount(value: Value) -> str:
    return f"{value:,}" if isinstance(value, int) else readable(value)
