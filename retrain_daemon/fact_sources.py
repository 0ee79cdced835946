"""Where the facts of one model come from: registry, files, measurements, attempts or schedules, by name and time.

Reads the journal; the values themselves are those that `observe.py` gathered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from retrain_daemon.core.facts import Facts
from retrain_daemon.core.pace import last_start
from retrain_daemon.core.policy import Policy
from retrain_daemon.core.rules.forecast import values_now
from retrain_daemon.core.rules.unknown import why_unknown
from retrain_daemon.core.rules.vocabulary import SCORES, Value, facts_of, metric_of, upstream_of
from retrain_daemon.core.scores import wanted_metrics
from retrain_daemon.core.slots import newest_slot, next_slot
from retrain_daemon.journal import Journal
from retrain_daemon.journal.drops import DropRow
from retrain_daemon.scores import counted_drops

_NAMED_FILES = 3


@dataclass(frozen=True, kw_only=True)
class FactTold:
    """One fact by its name: its value with where that comes from, or without one (None) why it is not known. `asked`:
    it is no score by a metric that neither a rule nor a line of `require` names.
    """

    name: str
    value: Value
    source: str = ""
    why_unknown: str = ""
    asked: bool = True


@dataclass(frozen=True)
class _Scene:
    policy: Policy
    facts: Facts
    journal: Journal
    now: datetime


def told_facts(policy: Policy, facts: Facts, journal: Journal, now: datetime) -> tuple[FactTold, ...]:
    """Every fact that the policy's rules may use, as they see it now."""
    scene = _Scene(policy, facts, journal, now)
    known, wanted = values_now(policy, facts, now), wanted_metrics(policy)
    return tuple(_told(name, known.get(name), wanted, scene) for name in facts_of(policy.names))


def _told(name: str, value: Value, wanted: tuple[str, ...], scene: _Scene) -> FactTold:
    asked = not name.startswith(SCORES) or metric_of(name) in wanted
    if value is None:
        return FactTold(name=name, value=None, why_unknown=why_unknown(name, scene.policy, scene.facts), asked=asked)
    return FactTold(name=name, value=value, source=_source(name, scene), asked=asked)


def _source(name: str, scene: _Scene) -> str:
    exact = _OF_NAMES.get(name)
    if exact is not None:
        return exact(scene)
    if name.startswith(SCORES):
        return _scored(metric_of(name), scene)
    upstream = upstream_of(name)
    return _upstream(upstream, scene) if upstream else _slots(name.removeprefix("schedule."), scene)


def _new_rows(scene: _Scene) -> str:
    unused = _unused(scene)
    return f"{_files(unused)} that no judged attempt had" if unused else "judged attempts had every file"


def _unlearned(scene: _Scene) -> str:
    return f"files in use that version {scene.facts.champion.version} has not learned from; counted by file"


def _waiting(scene: _Scene) -> str:
    oldest = next((drop for drop in _unused(scene) if drop.new), None)
    if oldest is None:
        return "no file with new rows waits"
    return f"{Path(oldest.path).name} is the oldest with new rows, since {_at(oldest.arrived_at)}"


def _quarantined(scene: _Scene) -> str:
    listing = scene.journal.drops.listing(scene.policy.model)
    return _files([drop for drop in listing if drop.current and drop.state == "quarantined"])


def _drift(scene: _Scene) -> str:
    last = scene.journal.drift.measured(scene.policy.model)
    if last is None:
        return ""
    return (
        f"measured {_at(last.at)}: {last.new_rows:,} new rows beside {last.reference_rows:,} of the last judged"
        f" attempt; farthest is {scene.facts.drift.worst}"
    )


def _version(scene: _Scene) -> str:
    return f"the registry's alias {scene.policy.alias}, asked {_at(scene.now)}"


def _champion_age(scene: _Scene) -> str:
    made = scene.facts.champion.created_at
    return f"the registry: version {scene.facts.champion.version} was made {_at(made) if made else ''}".rstrip()


def _moved(scene: _Scene) -> str:
    left = scene.journal.attempts.last_left_champion(scene.policy.model)
    if left is None:
        return "no attempt has ended yet"
    return f"version {left[0]} was champion when the last attempt ended, {_at(left[1])}"


def _last(scene: _Scene) -> str:
    last = scene.facts.last
    return f"attempt {last.id}, ended {_at(last.ended_at)}" if last else ""


def _failures(scene: _Scene) -> str:
    return "abandoned attempts since one came to a verdict, or someone resumed the model"


def _clock(scene: _Scene) -> str:
    return "this machine's clock"


_OF_NAMES: dict[str, Callable[[_Scene], str]] = {
    "data.new_rows": _new_rows,
    "data.unlearned_rows": _unlearned,
    "data.waiting": _waiting,
    "data.quarantined": _quarantined,
    "drift.max": _drift,
    "drift.columns": _drift,
    "champion.version": _version,
    "champion.age": _champion_age,
    "registry.champion_moved": _moved,
    "last.outcome": _last,
    "last.age": _last,
    "failures": _failures,
    "now": _clock,
}


def _scored(metric: str, scene: _Scene) -> str:
    """Which files the champion's scores are of."""
    version = scene.facts.champion.version or 0
    drops = counted_drops(scene.policy, scene.journal, version, scene.now)
    kept = scene.journal.scores.of_version(scene.policy.model, version)
    scored = [drop for drop in drops if (drop.id, metric) in kept and kept[drop.id, metric].value is not None]
    rows = sum(kept[drop.id, metric].rows for drop in scored)
    return f"version {version} on {rows:,} rows of {_files(scored)}, which came since it was cut"


def _slots(name: str, scene: _Scene) -> str:
    schedule = scene.policy.schedules[name]
    newest, following = newest_slot(schedule, scene.now), next_slot(schedule, scene.now)
    started = last_start(scene.facts.starts, scene.now)
    return (
        f"{schedule.cron} ({schedule.timezone}): newest slot {_at(newest) if newest else 'none'}, next"
        f" {_at(following) if following else 'none'}; last start {_at(started) if started else 'none'}"
    )


def _upstream(name: str, scene: _Scene) -> str:
    upstream = scene.policy.upstream[name]
    return f"the registry's alias {upstream.alias} of {upstream.model}, asked {_at(scene.now)}"


def _unused(scene: _Scene) -> list[DropRow]:
    """Files that no judged attempt had, with labels that are final."""
    delay = scene.policy.data.label_delay
    drops = scene.journal.drops.not_judged(scene.policy.model)
    return [drop for drop in drops if delay is None or drop.final_from(delay) <= scene.now]


def _files(drops: Sequence[DropRow]) -> str:
    """`3 files (a.csv, b.csv, c.csv)`, the newest by name."""
    if not drops:
        return "no file"
    named = ", ".join(Path(drop.path).name for drop in drops[-_NAMED_FILES:])
    more = "the newest " if len(drops) > _NAMED_FILES else ""
    return f"{len(drops):,} {'file' if len(drops) == 1 else 'files'} ({more}{named})"


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
