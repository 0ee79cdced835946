"""By how much a threshold of a rule is missed, said for people.

Which comparisons a rule makes is found in `anatomy.py`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from retrain_daemon.core.rules.vocabulary import readable

COMPARE: Mapping[str, Callable[..., bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
}
#: The same comparison with its sides changed.
MIRRORED: Mapping[str, str] = {">=": "<=", ">": "<", "<=": ">=", "<": ">", "==": "=="}
Limit = int | float | timedelta


def shortfall(value: object, sign: str, limit: object) -> str:
    """By how much `value sign limit` is not met: `short by 2,688`, `over by 313`, `not 2`. Nothing where it is met or
    cannot be measured.
    """
    gap = _gap(value, sign, limit) if sign in COMPARE else None
    if gap is None or COMPARE[sign](value, limit):
        return ""
    if sign == "==":
        return f"not {shown(limit)}"
    return f"{'short' if '>' in sign else 'over'} by {shown(gap)}"


def _gap(value: object, sign: str, limit: object) -> Limit | None:
    """How far a value is from the limit; to pass a strict limit, a whole number needs one more."""
    if isinstance(value, bool) or isinstance(limit, bool):
        return None
    if isinstance(value, timedelta) and isinstance(limit, timedelta):
        return abs(value - limit)
    if isinstance(value, int) and isinstance(limit, int):
        return abs(value - limit) + (sign in "<>")
    if isinstance(value, int | float) and isinstance(limit, int | float):
        return abs(value - limit)
    return None


def shown(value: object) -> str:
    """A computed value for people: whole numbers with commas, texts in quotes."""
    if isinstance(value, bool):
        return readable(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Mapping):
        return readable(value)
    if isinstance(value, Sequence):
        return ", ".join(f"{each:.4g}" if isinstance(each, float) else shown(each) for each in value) or "none"
    return readable(value) if value is None or isinstance(value, float | datetime | timedelta) else str(value)
