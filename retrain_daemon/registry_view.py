"""The registry as it was polled last: who is champion, what a person put up, and the words for what is amiss with an
alias.

Asks the registry and remembers between polls; reads no journal and changes nothing. Facts are gathered in `observe.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime

from retrain_daemon.core.facts import Champion, ChampionState, Offered
from retrain_daemon.core.names import NO_MODELS, Listing
from retrain_daemon.core.policy import CHALLENGER_ALIAS, Policy, Upstream
from retrain_daemon.core.trust import NOBODY_NAMED, Trust
from retrain_daemon.errors import NotFound, Refused, RegistryUnreachable
from retrain_daemon.journal.models import ModelRow
from retrain_daemon.registry import RegisteredModel, Registry, Version, spell_alias

#: A person asks for a retrain with this tag on the registered model.
REQUEST_TAG, REQUEST_VALUE = "retrain", "now"


class RegistryView:
    """The registry as last polled: one request for all watched models, versions looked up once each."""

    def __init__(self, registry: Registry, trust: Trust = NOBODY_NAMED) -> None:
        self._registry = registry
        self._trust = trust
        self._authors: dict[tuple[str, int], str] = {}
        self._doubted: set[tuple[str, int]] = set()
        self._models: Mapping[str, RegisteredModel] = {}
        self._versions: dict[tuple[str, int], Version] = {}
        self._tags: dict[tuple[str, int], Mapping[str, str]] = {}
        self._outdated: set[str] = set()
        self._changed: set[str] = set()
        self.problem = "the registry was not asked yet"
        self.listing: Listing | None = None

    def poll(self, names: Collection[str], patterns: Collection[str] = ()) -> None:
        """Ask for all watched models, and for those that match. A registry that does not answer leaves every champion
        unknown, and what is known of which models there are as it was: `listing`, None before it was asked at all.

        Authors are asked for once, unless something stood against one: a tag can be put right at any time.
        """
        try:
            self._take(found := self._asked(frozenset(names), patterns))
        except (RegistryUnreachable, Refused) as error:
            self.problem = str(error)
            self.listing = self.listing or NO_MODELS
        else:
            listing = Listing(frozenset(patterns), frozenset(found))
            self.listing = self.listing if listing == self.listing else listing
            self._outdated.clear()
            self._tags.clear()
            self.problem = ""
            for key in self._doubted:
                self._authors.pop(key, None)
            self._doubted.clear()

    def _asked(self, names: frozenset[str], patterns: Collection[str]) -> Mapping[str, RegisteredModel]:
        """Those that match are listed; by name the others are asked for, and those that a list in pages missed."""
        if not patterns:
            return self._registry.models(names)
        found = self._registry.matching(patterns)
        rest = names - found.keys()
        return {**found, **self._registry.models(rest)} if rest else found

    def _take(self, models: Mapping[str, RegisteredModel]) -> None:
        """Versions of a model that is gone, or was deleted and registered anew, are other ones now."""
        self._changed.update(name for name in self._models.keys() - models.keys())
        self._changed.update(name for name, model in models.items() if self._models.get(name) != model)
        for name, before in self._models.items():
            now = models.get(name)
            if now is None or now.created_at != before.created_at:
                self._versions = {key: version for key, version in self._versions.items() if key[0] != name}
                self._authors = {key: author for key, author in self._authors.items() if key[0] != name}
        self._models = models

    def take_changed(self) -> frozenset[str]:
        """Models of which the registry said something else than before, since the last call."""
        changed, self._changed = frozenset(self._changed), set()
        return changed

    def outdate(self, model: str) -> None:
        """An alias of this model is about to be moved by us: what was polled of it does not count any more."""
        self._outdated.add(model)

    def champion(self, policy: Policy, seen: int | None, *, fresh: bool = False) -> Champion:
        """The champion of a policy's model; `seen` is the version it was when last seen. `fresh` asks again."""
        fresh = fresh or policy.model in self._outdated
        if fresh:
            try:
                others = {name: model for name, model in self._models.items() if name != policy.model}
                self._take({**others, **self._registry.models([policy.model])})
            except (RegistryUnreachable, Refused) as error:
                return Champion(state=ChampionState.UNKNOWN, detail=str(error))
            self._outdated.discard(policy.model)
        if self.problem and not fresh:
            return Champion(state=ChampionState.UNKNOWN, detail=self.problem)
        found = self._models.get(policy.model)
        if found is None:
            return _no_model(policy)
        number = found.aliases.get(policy.alias)
        if number is not None:
            champion = self._found(policy, number)
        elif seen is not None and self._is_deleted(policy.model, seen):
            champion = _deleted(policy, seen)
        else:
            champion = _without_alias(policy, found, seen)
        return replace(champion, challenger=found.aliases.get(CHALLENGER_ALIAS))

    def champion_of(self, upstream: Upstream) -> int | str:
        """The version that is champion of a model which another depends on, as last polled; else why it is not known, a
        clause.
        """
        if self.problem:
            return self.problem
        if upstream.model in self._outdated:
            return f"the alias {upstream.alias} of {upstream.model} is being moved"
        found = self._models.get(upstream.model)
        if found is None:
            return f"no registered model is named {upstream.model}"
        spelled = spell_alias(found.aliases, upstream.alias)
        other = f"; there is an alias {spelled}: aliases are case-sensitive" if spelled else ""
        return found.aliases.get(upstream.alias, f"{upstream.model} has no alias {upstream.alias}{other}")

    def offered(self, policy: Policy, champion: Champion) -> Offered | None:
        """The version a person put up as challenger, and what stands against judging it apart from rows.

        Raises RegistryUnreachable.
        """
        found = self._models.get(policy.model)
        if self.problem or found is None or not takes_offers(champion):
            return None
        number = champion.challenger
        if number is None:
            return _misspelled_offer(policy, found)
        if number == champion.version:
            return _obstacle(
                number, "champion_itself", f"the alias challenger is on version {number}, the champion itself"
            )
        try:
            version = self._version(policy.model, number)
        except (NotFound, Refused) as error:
            return _obstacle(number, "not_found", f"the alias challenger is on version {number}: {error}")
        untrusted = self.against_challenger(policy.model, number, champion.version)
        if untrusted:
            return _obstacle(number, "untrusted", untrusted)
        return Offered(version=number, run_id=version.run_id or "")

    def against_challenger(self, model: str, number: int, champion: int | None) -> str:
        """What stands against loading a version that a person put up; "" when its author is trusted. Without a champion
        nobody's is but the daemon's own and those that the settings name.

        Raises RegistryUnreachable.
        """
        champion_author = None if champion is None else self._author(model, champion)
        untrusted = self._trust.against_offered(self._author(model, number), champion_author, number)
        if untrusted:
            self._doubted |= {(model, each) for each in (number, champion) if each is not None}
        return untrusted

    def created_at(self, model: str, number: int) -> datetime:
        """When a version was made; raises RegistryUnreachable, NotFound."""
        return self._version(model, number).created_at

    def tags_of(self, model: str, number: int) -> Mapping[str, str]:
        """The tags of a version, asked for once after each poll; raises RegistryUnreachable, NotFound."""
        key = (model, number)
        if key not in self._tags:
            self._tags[key] = self._registry.version(*key).tags
        return self._tags[key]

    def forget_tags(self, model: str, number: int) -> None:
        """A tag of this version is about to be set by us."""
        self._tags.pop((model, number), None)

    def untrusted(self, model: str, number: int) -> str:
        """What stands against loading a version as champion, as a clause; raises RegistryUnreachable, NotFound."""
        self._version(model, number)
        return self._trust.against_champion(self._author(model, number), number) if self._trust.users else ""

    def _version(self, model: str, number: int) -> Version:
        key = (model, number)
        if key not in self._versions:
            self._versions[key] = self._registry.version(*key)
        return self._versions[key]

    def _author(self, model: str, number: int) -> str:
        """Who made a version; "" when that cannot be found out, which never makes it trusted."""
        key = (model, number)
        if key not in self._authors:
            try:
                self._authors[key] = self._registry.author(self._version(model, number))
            except (NotFound, Refused):
                self._authors[key] = ""
        return self._authors[key]

    def _is_deleted(self, model: str, number: int) -> bool:
        """Asked anew; a registry that does not answer says nothing."""
        try:
            self._registry.version(model, number)
        except NotFound:
            return True
        except (RegistryUnreachable, Refused):
            return False
        return False

    def wants_retrain(self, model: str) -> bool | None:
        """Whether the registered model carries the tag retrain=now; None when the registry does not answer."""
        if self.problem:
            return None
        found = self._models.get(model)
        return found is not None and found.tags.get(REQUEST_TAG) == REQUEST_VALUE

    def _found(self, policy: Policy, number: int) -> Champion:
        try:
            created_at = self._version(policy.model, number).created_at
            untrusted = self.untrusted(policy.model, number)
        except NotFound:
            detail = f"alias {policy.alias} of {policy.model} points to version {number}, which does not exist"
            return Champion(state=ChampionState.LOST, version=number, detail=detail)
        except (RegistryUnreachable, Refused) as error:
            return Champion(state=ChampionState.UNKNOWN, detail=str(error))
        if untrusted:
            self._doubted.add((policy.model, number))
            detail = f"{untrusted}: nothing of it is loaded; add its author to trust.users, or move the alias"
            return Champion(state=ChampionState.UNTRUSTED, version=number, created_at=created_at, detail=detail)
        return Champion(state=ChampionState.FOUND, version=number, created_at=created_at)


def as_loaded(champion: Champion, row: ModelRow | None) -> Champion:
    """The champion as polled, or lost where the journal says that a worker could not load this very version."""
    if row is None or row.unloadable is None:
        return champion
    if champion.state is not ChampionState.FOUND or champion.version != row.unloadable:
        return champion
    detail = (
        f"version {row.unloadable} does not load: {row.unloadable_why}. Nothing starts, and nothing replaces it by"
        f" itself: run `retraind rollback {row.name}`, or `retraind adopt {row.name} --version N`, or move the alias in"
        f" MLflow; if it loads again, run `retraind resume {row.name}`"
    )
    return replace(champion, state=ChampionState.LOST, detail=detail)


def takes_offers(champion: Champion) -> bool:
    """Whether a version under the alias `challenger` is looked at: there is a champion to compare it with, or never was
    one.
    """
    return champion.state is ChampionState.NONE or champion.version is not None


def _obstacle(number: int, code: str, sentence: str) -> Offered:
    return Offered(version=number, code=code, obstacle=sentence)


def _misspelled_offer(policy: Policy, found: RegisteredModel) -> Offered | None:
    spelled = spell_alias(found.aliases, CHALLENGER_ALIAS)
    if spelled is None:
        return None
    sentence = f"{policy.model} has the alias {spelled}; a version to be judged has the alias {CHALLENGER_ALIAS}"
    return _obstacle(found.aliases[spelled], "misspelled", sentence)


def _no_model(policy: Policy) -> Champion:
    return Champion(
        state=ChampionState.NO_MODEL,
        detail=f"no registered model is named {policy.model}: register one with mlflow, then run"
        f" `retraind adopt {policy.model} --version N`",
    )


def _deleted(policy: Policy, seen: int) -> Champion:
    detail = (
        f"version {seen}, the champion of {policy.model}, was deleted, and alias {policy.alias} went with it: run"
        f" `retraind adopt {policy.model} --version N` with another version, or set the alias in MLflow"
    )
    return Champion(state=ChampionState.LOST, detail=detail)


def _without_alias(policy: Policy, found: RegisteredModel, seen: int | None) -> Champion:
    spelled = spell_alias(found.aliases, policy.alias)
    if seen is not None:
        other = f" (there is an alias {spelled}: aliases are case-sensitive)" if spelled else ""
        detail = (
            f"alias {policy.alias} of {policy.model} is gone, it was version {seen}{other}: set it again in MLflow, or"
            f" run `retraind adopt {policy.model} --version {seen}`"
        )
        return Champion(state=ChampionState.LOST, detail=detail)
    if spelled is not None:
        detail = f"{policy.model} has the alias {spelled}, the policy says {policy.alias}: aliases are case-sensitive"
        return Champion(state=ChampionState.MISSPELLED, detail=detail)
    detail = (
        f"{policy.model} has no alias {policy.alias}: run `retraind adopt {policy.model} --version N`, or set the"
        f" alias in MLflow (`MlflowClient().set_registered_model_alias('{policy.model}', '{policy.alias}', N)`), or"
        f" give a version the alias {CHALLENGER_ALIAS}: it is judged by what promote.require asks of a challenger alone"
    )
    return Champion(state=ChampionState.NONE, detail=detail)
