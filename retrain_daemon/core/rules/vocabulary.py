"""The words a rule may use: facts by name with type and meaning, helper functions, and how values read to a person.

Values only. How a rule is compiled lives in `expression.py`; how facts are gathered in `observe.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache

from retrain_daemon.core.facts import ChampionState, Drift, Facts, Scores
from retrain_daemon.core.metrics import METRICS
from retrain_daemon.core.pace import last_start
from retrain_daemon.core.policy import Names, Policy
from retrain_daemon.core.slots import is_due

Value = str | int | float | bool | datetime | timedelta | tuple[float, ...] | Mapping[str, float] | None


class Kind(StrEnum):
    """The type of a fact, in words for people."""

    NUMBER = "a whole number"
    TEXT = "a text"
    TRUTH = "true or false"
    SPAN = "a duration"
    MOMENT = "a point in time"
    DECIMAL = "a decimal number"
    LIST = "a list of decimal numbers"
    MAP = "a decimal number for each column"


@dataclass(frozen=True)
class Fact:
    """One fact: its type, what it means, and a rule that uses it."""

    kind: Kind
    meaning: str
    example: str


#: As they are told to people: METRIC stands for the name of any metric, NAME for one that the policy gives.
TOLD: Mapping[str, Fact] = {
    "data.new_rows": Fact(
        Kind.NUMBER, "distinct usable rows that no judged attempt of this model has had", "data.new_rows >= 10000"
    ),
    "data.unlearned_rows": Fact(
        Kind.NUMBER,
        "at most so many rows of files the champion has not learned from can train",
        "data.unlearned_rows >= 5000",
    ),
    "data.waiting": Fact(Kind.SPAN, "age of the oldest unused drop", "data.waiting > days(7) && data.new_rows > 0"),
    "data.quarantined": Fact(Kind.NUMBER, "files refused and not yet dealt with", "data.quarantined == 0"),
    "drift.max": Fact(
        Kind.DECIMAL,
        "how far new rows are from those the last judged attempt learned from, in the column that is farthest",
        "drift.max > 0.25",
    ),
    "drift.columns": Fact(Kind.MAP, "the same for each column by its name", 'drift.columns["age"] > 0.2'),
    "champion.version": Fact(Kind.NUMBER, "the champion's version", "champion.version == 1"),
    "champion.age": Fact(Kind.SPAN, "time since the champion's version was created", "champion.age > days(30)"),
    "champion.score.METRIC": Fact(
        Kind.DECIMAL, "the champion's score on rows that arrived since it was cut", "champion.score.roc_auc < 0.8"
    ),
    "champion.scores.METRIC": Fact(
        Kind.LIST,
        "the same, file by file, oldest first, the last 20",
        "champion.scores.roc_auc.last(5).filter(s, s < 0.8).size() >= 2",
    ),
    "champion.baseline.METRIC": Fact(
        Kind.DECIMAL,
        "its score on the first rows that arrived since it was cut",
        "champion.score.roc_auc < champion.baseline.roc_auc - 0.05",
    ),
    "schedule.NAME": Fact(
        Kind.TRUTH,
        "from a slot of the schedule until an attempt starts after it, or `within` has passed",
        "schedule.weekly && data.new_rows > 0",
    ),
    "registry.champion_moved": Fact(
        Kind.TRUTH, "someone else moved the alias since the last attempt", "registry.champion_moved"
    ),
    "upstream.NAME.changed": Fact(
        Kind.TRUTH,
        "the champion of a model this one depends on changed since the last attempt",
        "upstream.embeddings.changed",
    ),
    "last.outcome": Fact(
        Kind.TEXT,
        "how the newest ended attempt ended: promoted, rejected, inconclusive or abandoned",
        'last.outcome == "promoted"',
    ),
    "last.age": Fact(Kind.SPAN, "time since the newest ended attempt ended", "last.age > days(7)"),
    "failures": Fact(Kind.NUMBER, "attempts abandoned in a row", "failures == 0"),
    "now": Fact(Kind.MOMENT, "the time of the decision, in UTC", "now.getDayOfWeek() == 0"),
}
_ANY_METRIC = "METRIC"
_ANY_NAME = "NAME"
_NAMED_COLUMNS = 5


def _each_metric() -> Mapping[str, Fact]:
    """A name for each metric, so that a typo in one is found when a rule is read."""
    found: dict[str, Fact] = {}
    for name, fact in TOLD.items():
        if _ANY_NAME in name.split("."):
            continue
        for metric in METRICS if name.endswith(f".{_ANY_METRIC}") else ("",):
            example = fact.example.replace("roc_auc", metric) if metric else fact.example
            found[name.replace(_ANY_METRIC, metric)] = replace(fact, example=example)
    return found


#: Those of every policy.
FACTS: Mapping[str, Fact] = _each_metric()
NO_NAMES = Names()


@lru_cache(maxsize=256)
def facts_of(names: Names) -> Mapping[str, Fact]:
    """Those of a policy that gives these names: one for each name, so that a typo in one is found."""
    schedule, upstream = TOLD["schedule.NAME"], TOLD["upstream.NAME.changed"]
    return {
        **FACTS,
        **{f"schedule.{name}": replace(schedule, example=f"schedule.{name}") for name in names.schedules},
        **{
            f"upstream.{name}.changed": replace(upstream, example=f"upstream.{name}.changed") for name in names.upstream
        },
    }


#: How the names of facts begin that are scores.
SCORES = ("champion.score.", "champion.scores.", "champion.baseline.")

_SCHEDULES = "schedule."

OUTCOMES = ("promoted", "rejected", "inconclusive", "abandoned")
HELPERS: Mapping[str, timedelta] = {
    "days": timedelta(days=1),
    "hours": timedelta(hours=1),
    "minutes": timedelta(minutes=1),
}
# The functions and methods of CEL that a rule over these facts may need, for "did you mean".
FUNCTIONS = (*HELPERS, "duration", "timestamp", "size", "startsWith", "endsWith", "contains", "matches", "last",
             "filter", "exists", "exists_one", "all", "map")  # fmt: skip


def upstream_of(name: str) -> str:
    """Given a fact's name, the policy's name for the upstream model that it is about; "" for any other fact."""
    section, _, rest = name.partition(".")
    return rest.removesuffix(".changed") if section == "upstream" else ""


def passes_with_time(name: str) -> bool:
    """Given a fact's name, whether its value changes while nothing happens, at a time that is not foretold: slots of
    schedules are. Of a fact that is not known here, yes.
    """
    if name.startswith(_SCHEDULES) or upstream_of(name):
        return False
    fact = FACTS.get(name)
    return fact is None or fact.kind in (Kind.SPAN, Kind.MOMENT)


def fact_values(policy: Policy, facts: Facts, now: datetime) -> Mapping[str, Value]:
    """Given facts and the time of the decision (aware), the value of every fact of the policy; None is unknown."""
    champion, data, last = facts.champion, facts.data, facts.last
    found = champion.state is ChampionState.FOUND
    started = last_start(facts.starts, now)
    return {
        "data.new_rows": data.new_rows,
        "data.unlearned_rows": data.unlearned_rows,
        "data.waiting": data.waiting,
        "data.quarantined": data.quarantined,
        "champion.version": champion.version if found else None,
        "champion.age": now - champion.created_at if found and champion.created_at else None,
        **{f"schedule.{name}": is_due(each, started, now) for name, each in policy.schedules.items()},
        **{f"upstream.{name}.changed": facts.upstream.get(name) for name in policy.upstream},
        "registry.champion_moved": facts.champion_moved,
        "last.outcome": last.outcome if last else None,
        "last.age": now - last.ended_at if last else None,
        "failures": facts.failures,
        "now": now,
        **_drift(facts.drift),
        **_scores(facts.scores if found else {}),
    }


def _drift(drift: Drift) -> dict[str, Value]:
    """No column is not known, not a distance of nothing."""
    return {"drift.max": drift.columns.get(drift.worst), "drift.columns": drift.columns or None}


def _scores(scores: Mapping[str, Scores]) -> dict[str, Value]:
    """An empty list is not known: nothing was scored yet, and every score of none is what anybody likes."""
    found: dict[str, Value] = {}
    for metric in METRICS:
        known = scores.get(metric, Scores())
        found |= {
            f"champion.score.{metric}": known.score,
            f"champion.scores.{metric}": known.latest or None,
            f"champion.baseline.{metric}": known.baseline,
        }
    return found


def metric_of(name: str) -> str:
    """Given a fact's name, the metric whose scores it is about; "" for any other fact."""
    return name.rsplit(".", 1)[-1] if name.startswith(SCORES) else ""


def readable(value: Value) -> str:
    """A value as a person reads it: `7312`, `3h 20m`, `2026-11-22 03:00 UTC`, `unknown`."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, timedelta):
        return _span(value)
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    if isinstance(value, tuple):
        return ", ".join(f"{each:.4g}" for each in value)
    if isinstance(value, Mapping):
        return _farthest(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _farthest(columns: Mapping[str, float]) -> str:
    """The largest numbers first."""
    ordered = sorted(columns, key=lambda name: -columns[name])
    more = len(ordered) - _NAMED_COLUMNS
    named = ", ".join(f"{name} {columns[name]:.3g}" for name in ordered[:_NAMED_COLUMNS])
    return f"{named} and {more} more" if more > 0 else named


def _span(value: timedelta) -> str:
    """The two largest units of a duration."""
    if value < timedelta(0):
        return f"-{_span(-value)}"
    left = int(value.total_seconds())
    parts = []
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        parts.append((count, unit))
    first = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count) or "0s"
