"""Between which bounds a fact can lie at all, and sets of numbers from one bound to another.

Durations count as seconds. Pure values.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from retrain_daemon.core.facts import ABANDONED_TO_HOLD
from retrain_daemon.core.metrics import METRICS
from retrain_daemon.core.rules.vocabulary import metric_of

_MOST_SCORES = 20
_SIZE = re.compile(r"champion\.scores\.\w+(?:\.last\((\d{1,6})\))?(?:\.(?:filter|map)\(.*\))?\.size\(\)", re.DOTALL)
_CALENDAR = {
    "getHours": (0, 23, "hours go from 0 to 23"),
    "getMinutes": (0, 59, "minutes go from 0 to 59"),
    "getSeconds": (0, 59, "seconds go from 0 to 59"),
    "getDayOfWeek": (0, 6, "days of the week go from 0, Sunday, to 6, Saturday"),
    "getMonth": (0, 11, "months go from 0, January, to 11, December"),
    "getDate": (1, 31, "days of the month go from 1 to 31"),
    "getDayOfMonth": (0, 30, "days of the month go from 0 to 30 here; getDate() counts from 1"),
    "getDayOfYear": (0, 365, "days of the year go from 0 to 365"),
}


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`; an open end does not belong to them."""

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, other: Range) -> bool:
        """Whether every number of the other is one of these."""
        low = self.low < other.low or (self.low == other.low and (other.open_low or not self.open_low))
        high = self.high > other.high or (self.high == other.high and (other.open_high or not self.open_high))
        return low and high

    def meets(self, other: Range) -> Range | None:
        """The numbers in both; None where there are none."""
        low, high = max(self.low, other.low), min(self.high, other.high)
        open_low = any(each.open_low for each in (self, other) if each.low == low)
        open_high = any(each.open_high for each in (self, other) if each.high == high)
        return (
            None if low > high or (low == high and (open_low or open_high)) else Range(low, high, open_low, open_high)
        )

    def touches(self, other: Range) -> bool:
        """Whether they end at the same number."""
        return (self.low == other.low and math.isfinite(self.low)) or (
            self.high == other.high and math.isfinite(self.high)
        )


@dataclass(frozen=True)
class Known:
    """Where a fact lies, why, and whether it always has a value."""

    values: Range
    why: str
    always_known: bool = False


def interval(sign: str, limit: float, whole: bool) -> Range:
    """The numbers for which a comparison is true; of whole numbers `> 2` says the same as `>= 3`."""
    if sign == "==":
        return Range(limit, limit)
    if sign.startswith(">"):
        if whole and sign == ">":
            return Range(low=limit + 1)
        return Range(low=limit, open_low=sign == ">")
    if whole and sign == "<":
        return Range(high=limit - 1)
    return Range(high=limit, open_high=sign == "<")


def range_of(name: str) -> Known | None:
    """Given the name of a fact, or the text of what is computed of it, where it lies; None where nothing is sure."""
    if name == "failures":
        why = f"after {ABANDONED_TO_HOLD} attempts abandoned in a row the model is held until someone resumes it"
        return Known(Range(0, ABANDONED_TO_HOLD - 1), why, always_known=True)
    if name in ("data.new_rows", "data.unlearned_rows", "data.quarantined"):
        return Known(Range(low=0), "a count is never negative", always_known=True)
    if name == "champion.version":
        return Known(Range(low=1), "versions count from 1", always_known=True)
    if name in ("champion.age", "data.waiting", "last.age"):
        return Known(Range(low=0), "an age is never negative")
    if name.startswith("drift."):
        return Known(Range(low=0), "a distance is never negative")
    return _of_calendar(name) or _of_size(name) or _of_metric(metric_of(name))


def _of_calendar(name: str) -> Known | None:
    found = re.match(r"now\.(get\w+)\(", name)
    bounds = _CALENDAR.get(found[1]) if found else None
    return Known(Range(bounds[0], bounds[1]), bounds[2]) if bounds else None


def _of_size(name: str) -> Known | None:
    found = _SIZE.fullmatch(re.sub(r"\s+", "", name))
    if not found:
        return None
    most = min(int(found[1] or _MOST_SCORES), _MOST_SCORES)
    return Known(Range(0, most), f"of the scores there are at most {most}")


def _of_metric(name: str) -> Known | None:
    metric = METRICS.get(name)
    if metric is None:
        return None
    if metric.is_share:
        return Known(Range(0, 1), f"{name} lies between 0 and 1")
    if name == "r2":
        return Known(Range(high=1), "r2 is at most 1")
    return Known(Range(low=0), f"{name} is never negative")
