"""The models that a model depends on: who is champion of each, and whether that is another than at the last attempt.

Reads registry view and journal; when such a champion was first seen is the one thing that is written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from retrain_daemon.core.policy import Policy, Upstream
from retrain_daemon.journal import Journal
from retrain_daemon.journal.upstream import ChampionsThen


class Champions(Protocol):
    """What the registry said when it was asked last."""

    def champion_of(self, upstream: Upstream) -> int | str:
        """The version that is champion, else why that is not known, a clause."""


@dataclass(frozen=True, kw_only=True)
class UpstreamFacts:
    """By the policy's name for each: whether its champion changed since the last attempt that was not abandoned (None:
    not known, and why). `since_last`: one changed since the last attempt that ended, whatever its end.
    """

    changed: Mapping[str, bool | None] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    since_last: bool = False


NOTHING_UPSTREAM = UpstreamFacts()


def upstream_facts(policy: Policy, journal: Journal, view: Champions) -> UpstreamFacts:
    """What is known of the models that this one depends on."""
    if not policy.upstream:
        return NOTHING_UPSTREAM
    first, ended = journal.upstream.first_seen(policy.model), journal.upstream.at_last_ended(policy.model)
    started = journal.upstream.at_last_start(policy.model)
    champions, unknown = _champions(policy, view)
    return UpstreamFacts(
        changed={name: _differs(policy, name, champions.get(name), (started, first)) for name in policy.upstream},
        unknown=unknown,
        since_last=any(_differs(policy, name, champions.get(name), (ended, first)) for name in policy.upstream),
    )


def champions_to_record(policy: Policy, journal: Journal, view: Champions) -> Mapping[str, int]:
    """What an attempt that is decided now has seen: the champion of each, or the one known before where it is not known
    now, so that the next attempt is compared with that.
    """
    if not policy.upstream:
        return {}
    known, _ = _champions(policy, view)
    earlier = journal.upstream.at_last_start(policy.model), journal.upstream.first_seen(policy.model)
    before = {name: _then(policy, name, earlier) for name in policy.upstream}
    return {**{name: version for name, version in before.items() if version is not None}, **known}


def note_first_seen(policy: Policy, journal: Journal, view: Champions, now: datetime) -> None:
    """Before the first attempt, and for a model that the policy names only now, this is what changes count from."""
    seen = journal.upstream.first_seen(policy.model) if policy.upstream else ChampionsThen()
    known, _ = _champions(policy, view)
    for name, version in known.items():
        if seen.version(name, policy.upstream[name]) is None:
            journal.upstream.note_first_seen(policy.model, name, policy.upstream[name], version, now)
    if seen.models.keys() - policy.upstream.keys():
        journal.upstream.forget_others(policy.model, policy.upstream.keys())


def watched_models(policies: Iterable[Policy]) -> set[str]:
    """The models that the registry is asked for: those of the policies, and those that they depend on."""
    return {name for policy in policies for name in (policy.model, *(each.model for each in policy.upstream.values()))}


def with_dependents(changed: Collection[str], policies: Iterable[Policy]) -> frozenset[str]:
    """Models of which the registry says something new, and those that depend on them."""
    if not changed:
        return frozenset()
    depending = (policy.model for policy in policies if any(each.model in changed for each in policy.upstream.values()))
    return frozenset(changed).union(depending)


def _champions(policy: Policy, view: Champions) -> tuple[dict[str, int], dict[str, str]]:
    """Who is champion of each, and of the others why that is not known."""
    found = {name: view.champion_of(upstream) for name, upstream in policy.upstream.items()}
    return (
        {name: each for name, each in found.items() if isinstance(each, int)},
        {name: each for name, each in found.items() if isinstance(each, str)},
    )


def _differs(policy: Policy, name: str, now: int | None, earlier: Iterable[ChampionsThen]) -> bool | None:
    """Without any earlier champion of the same model there is nothing to be another than."""
    if now is None:
        return None
    before = _then(policy, name, earlier)
    return before is not None and before != now


def _then(policy: Policy, name: str, earlier: Iterable[ChampionsThen]) -> int | None:
    found = (then.version(name, policy.upstream[name]) for then in earlier)
    return next((version for version in found if version is not None), None)
