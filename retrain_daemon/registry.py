"""The daemon's only door to MLflow: registered models, versions, aliases and tags, as plain values.

Numbers are int, times are aware UTC, whatever the store behind the URI. MLflow is imported at the first request.
Loading, training and logging models is the worker's; no decision is taken here.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from retrain_daemon.core.names import has_wildcards, matches
from retrain_daemon.errors import NotFound, Refused
from retrain_daemon.filters import NAMES_AT_ONCE, chunks, likes, listable, quotable, quoted
from retrain_daemon.patience import Requests, Silence
from retrain_daemon.registry_pages import Pages, is_served
from retrain_daemon.worker.credentials import REGISTRY, TRACKING, bare, whole
from retrain_daemon.worker.mlflow_errors import understood, unreachable
from retrain_daemon.worker.mlflow_process import load_mlflow, prefer_early_errors, quiet, registering
from retrain_daemon.worker.store import absolute_uri, initialise

if TYPE_CHECKING:
    import mlflow.entities.model_registry as entities
    from mlflow import MlflowClient

#: The daemon's loop waits no longer for one request (seconds), however slowly the answer drips in.
LONGEST_REQUEST = 20.0
#: SQLite takes some ten thousand values in one statement.
_EXPERIMENTS_AT_ONCE = 500

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a registered model. `user` is empty where the store records no author; `model_id` is None for a
    version whose source is a folder and not a logged model. A version that is not `ready` cannot be loaded yet.
    """

    model: str
    number: int
    created_at: datetime
    source: str
    run_id: str | None
    model_id: str | None
    tags: Mapping[str, str]
    user: str
    ready: bool


@dataclass(frozen=True, kw_only=True)
class RegisteredModel:
    """A registered model: version number by alias, as spelled, and its own tags (not those of versions).

    `created_at` tells it from an earlier one of this name.
    """

    name: str
    aliases: Mapping[str, int] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    created_at: datetime | None = None


#: Who ran what a run or a logged model came from, as MLflow writes it down.
AUTHOR_TAG = "mlflow.user"
#: MLflow refuses longer values of a run's tag.
LONGEST_TAG = 5000


class Registry(Protocol):
    """What the daemon asks of a registry.

    Each method raises RegistryUnreachable when the store did not answer, Refused when it said no, and, where it is
    given a model or version, NotFound when there is none.
    """

    tracking_uri: str
    registry_uri: str

    def models(self, names: Collection[str]) -> Mapping[str, RegisteredModel]:
        """The models of these names, in one request for a thousand; a model that does not exist is left out."""

    def matching(self, patterns: Collection[str]) -> Mapping[str, RegisteredModel]:
        """Every model whose name matches one of the patterns, in one request for each thousand of a pattern's. A model
        that is deleted between two requests may hide another one.
        """

    def version(self, model: str, number: int) -> Version:
        """One version, whatever its state."""

    def versions_with_tag(self, model: str, tag: str, value: str) -> tuple[Version, ...]:
        """Versions of the model whose tag has exactly this value, lowest number first; none of an unknown model."""

    def create_version(
        self, model: str, *, source: str, run_id: str, tags: Mapping[str, str], description: str
    ) -> Version:
        """Register `source` (`models:/m-...` of `run_id`) as the next version.

        Not idempotent: each call makes a version. The request is never repeated on its own, so after
        RegistryUnreachable look with `versions_with_tag` whether it arrived.
        """

    def tag_version(self, model: str, number: int, tag: str, value: str) -> None:
        """Set a tag of a version, replacing its value."""

    def set_alias(self, model: str, alias: str, number: int) -> None:
        """Point the alias at the version, wherever it pointed before: MLflow has no compare-and-set."""

    def delete_alias(self, model: str, alias: str) -> None:
        """Remove an alias; one that is not there is no error."""

    def author(self, version: Version) -> str:
        """Who made a version: as the store says, else the user of its run, else that of its logged model; "" when
        nobody says it. A source that is not there, or refuses to be read, says nothing; the others are still asked.
        """

    def tag_run(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run, replacing their values."""

    def end_runs_of(self, tag: str, value: str) -> tuple[str, ...]:
        """Mark every run that is still RUNNING and carries this tag as KILLED; return their ids."""


class MlflowRegistry:
    """The registry behind an MLflow tracking URI: a SQLite file, another database, or a server."""

    def __init__(
        self, tracking_uri: str, registry_uri: str | None = None, rest: float = 3.0, longest: float = LONGEST_REQUEST
    ) -> None:
        """Raises Refused for a kind of store that cannot be served; connects only at the first request.

        The URIs that others see are bare; their credentials are those lent by the environment.

        For `rest` seconds after a store did not answer nothing is asked of any: who has many things to ask, one after
        another, is told at once and does not wait for each. No request is waited for longer than `longest` seconds.
        """
        self._tracking = whole(absolute_uri(tracking_uri), TRACKING, os.environ)
        self._registry = whole(absolute_uri(registry_uri or tracking_uri), REGISTRY, os.environ)
        self.tracking_uri, self.registry_uri = bare(self._tracking), bare(self._registry)
        self._opened: MlflowClient | None = None
        self._opening = threading.Lock()
        self._silence = Silence(rest)
        self._requests = Requests(longest)
        self._pages = Pages(self._registry, _page_in) if is_served(self._registry) else None
        prefer_early_errors()

    def models(self, names: Collection[str]) -> Mapping[str, RegisteredModel]:
        asked = frozenset(names)
        pages, single = _asked_by(asked)
        found = [model for page in pages for model in self._search(page)]
        found += [model for name in single for model in self._get(name)]
        # Some databases compare names without case.
        return {model.name: model for model in found if model.name in asked}

    def matching(self, patterns: Collection[str]) -> Mapping[str, RegisteredModel]:
        names = [pattern for pattern in patterns if not has_wildcards(pattern)]
        found = dict(self.models(names)) if names else {}
        for like in likes(pattern for pattern in patterns if has_wildcards(pattern)):
            listed = self._list(f"name LIKE {quoted(like)}")
            found.update((model.name, model) for model in listed if matches(model.name, patterns))
        return found

    def version(self, model: str, number: int) -> Version:
        return self._ask_registry(lambda client: _version(client.get_model_version(model, str(number))))

    def versions_with_tag(self, model: str, tag: str, value: str) -> tuple[Version, ...]:
        wanted = f"tags.`{tag}` = {quoted(value)}"
        if quotable(model):
            wanted = f"name = {quoted(model)} AND {wanted}"
        found = self._ask_registry(lambda client: _versions(client, wanted))
        tagged = [version for version in found if version.model == model and version.tags.get(tag) == value]
        return tuple(sorted(tagged, key=lambda version: version.number))

    def create_version(
        self, model: str, *, source: str, run_id: str, tags: Mapping[str, str], description: str
    ) -> Version:
        model_id = _model_id(source)

        def create(client: MlflowClient) -> Version:
            if model_id:
                # Absent, MLflow would report it as an internal error, which looks as if trying again could help.
                client.get_logged_model(model_id)
            created = client.create_model_version(
                model, source, run_id, dict(tags), description=description, await_creation_for=0, model_id=model_id
            )
            return _version(created)

        client = self._client()  # before the time of the request begins to count
        with registering(self._tracking):
            return self._ask_registry(lambda _client: create(client))

    def tag_version(self, model: str, number: int, tag: str, value: str) -> None:
        self._ask_registry(lambda client: client.set_model_version_tag(model, str(number), tag, value))

    def set_alias(self, model: str, alias: str, number: int) -> None:
        self._ask_registry(lambda client: client.set_registered_model_alias(model, alias, str(number)))

    def delete_alias(self, model: str, alias: str) -> None:
        self._ask_registry(lambda client: client.delete_registered_model_alias(model, alias))

    def author(self, version: Version) -> str:
        if version.user:
            return version.user
        with suppress(NotFound, Refused):
            if version.run_id and (user := self._tags_of_run(version.run_id).get(AUTHOR_TAG)):
                return user
        with suppress(NotFound, Refused):
            if version.model_id:
                return self._tags_of_model(version.model_id).get(AUTHOR_TAG, "")
        return ""

    def tag_run(self, run_id: str, tags: Mapping[str, str]) -> None:
        def tag_all(client: MlflowClient) -> None:
            for tag, value in tags.items():
                client.set_tag(run_id, tag, value[:LONGEST_TAG])

        self._ask_tracking(tag_all)

    def end_runs_of(self, tag: str, value: str) -> tuple[str, ...]:
        running = f"attributes.status = 'RUNNING' AND tags.`{tag}` = {quoted(value)}"
        return self._ask_tracking(lambda client: _end_runs(client, running))

    def _ask_registry(self, request: Callable[[MlflowClient], T]) -> T:
        return self._ask(self._registry, request)

    def _ask_tracking(self, request: Callable[[MlflowClient], T]) -> T:
        return self._ask(self._tracking, request)

    def _ask(self, uri: str, request: Callable[[MlflowClient], T]) -> T:
        with self._silence:
            client = self._client()
            with understood(uri):
                return self._requests.make(partial(request, client))

    def _client(self) -> MlflowClient:
        """The one client of this process, opened at the first request; tried anew as long as that fails."""
        with self._opening:
            if self._opened is None:
                _load(self._tracking)
                initialise(self._tracking)
                if self._registry != self._tracking:
                    initialise(self._registry)
                self._opened = _open(self._tracking, self._registry)
            return self._opened

    def _search(self, names: list[str]) -> list[RegisteredModel]:
        listed = ",".join(quoted(name) for name in names)
        return self._page(f"name IN ({listed})", "").models

    def _list(self, wanted: str) -> list[RegisteredModel]:
        """All pages of an answer."""
        found: dict[str, RegisteredModel] = {}
        asked: set[str] = set()
        token = ""
        while token not in asked:
            asked.add(token)
            page = self._page(wanted, token)
            found.update((model.name, model) for model in page.models)
            if not page.token:
                return list(found.values())
            token = page.token
        raise unreachable(self._registry, "its list of models goes round in a circle")

    def _page(self, wanted: str, token: str) -> _Page:
        def search(client: MlflowClient) -> _Page:
            if self._pages is not None:
                return self._pages.search(wanted, token)
            page = client.search_registered_models(wanted, max_results=NAMES_AT_ONCE, page_token=token or None)
            return _Page([_registered(model) for model in page], page.token or "")

        return self._ask_registry(search)

    def _get(self, name: str) -> list[RegisteredModel]:
        with suppress(NotFound):
            return [self._ask_registry(lambda client: _registered(client.get_registered_model(name)))]
        return []

    def _tags_of_run(self, run_id: str) -> dict[str, str]:
        return self._ask_tracking(lambda client: dict(client.get_run(run_id).data.tags))

    def _tags_of_model(self, model_id: str) -> dict[str, str]:
        return self._ask_tracking(lambda client: dict(client.get_logged_model(model_id).tags))


@dataclass(frozen=True)
class _Page:
    """One page of an answer, and what the next one is asked for with; "" after the last."""

    models: list[RegisteredModel]
    token: str


@lru_cache(maxsize=4)
def _asked_by(names: frozenset[str]) -> tuple[tuple[list[str], ...], tuple[str, ...]]:
    """The names that models may have: those to be searched for, request by request, and those to be got one by one."""
    possible = sorted(name for name in names if name.strip() and not {"/", ":"} & set(name))
    return tuple(chunks(filter(listable, possible))), tuple(name for name in possible if not listable(name))


def spell_alias(aliases: Mapping[str, int], alias: str) -> str | None:
    """An alias that differs from the one asked for only in case or in - and _; None when that one exists, or none."""
    if alias in aliases:
        return None
    return next((other for other in sorted(aliases) if _folded(other) == _folded(alias)), None)


def _folded(alias: str) -> str:
    return alias.casefold().replace("-", "_")


def _load(uri: str) -> None:
    """MLflow, loaded at the first request; what keeps it from being loaded may pass."""
    try:
        load_mlflow()
    except OSError:
        raise
    except Exception as error:
        raise unreachable(uri, f"MLflow cannot be loaded here: {type(error).__name__}: {error}") from error


def _open(tracking_uri: str, registry_uri: str) -> MlflowClient:
    from mlflow import MlflowClient

    quiet()
    # The URIs are given to the client alone: set_tracking_uri would change the environment of every later child.
    with understood(registry_uri):
        return MlflowClient(tracking_uri=tracking_uri, registry_uri=registry_uri)


def _versions(client: MlflowClient, wanted: str) -> list[Version]:
    page = client.search_model_versions(wanted)
    found = list(page)
    while page.token:
        page = client.search_model_versions(wanted, page_token=page.token)
        found += page
    return [_version(version) for version in found]


def _end_runs(client: MlflowClient, running: str) -> tuple[str, ...]:
    experiments = _experiments(client)
    chunks = [experiments[at : at + _EXPERIMENTS_AT_ONCE] for at in range(0, len(experiments), _EXPERIMENTS_AT_ONCE)]
    runs = [run.info.run_id for chunk in chunks for run in client.search_runs(chunk, running)]
    for run_id in runs:
        client.set_terminated(run_id, "KILLED")
    return tuple(runs)


def _experiments(client: MlflowClient) -> list[str]:
    page = client.search_experiments()
    found = list(page)
    while page.token:
        page = client.search_experiments(page_token=page.token)
        found += page
    return [experiment.experiment_id for experiment in found]


def _registered(model: entities.RegisteredModel) -> RegisteredModel:
    aliases = {str(alias): int(number) for alias, number in model.aliases.items()}
    return RegisteredModel(
        name=model.name, aliases=aliases, tags=dict(model.tags), created_at=_moment(model.creation_timestamp)
    )


def _page_in(answer: bytes) -> _Page:
    """The models in the text of an answer; raises ValueError when it is none of MLflow."""
    try:
        page = json.loads(answer)
        models = [_model_in(found) for found in page.get("registered_models", ())]
        return _Page(models, str(page.get("next_page_token") or ""))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError("Failed to parse the answer to a search for registered models") from error


def _model_in(found: dict[str, Any]) -> RegisteredModel:
    return RegisteredModel(
        name=found["name"],
        aliases={alias["alias"]: int(alias["version"]) for alias in found.get("aliases", ())},
        tags={tag["key"]: tag.get("value", "") for tag in found.get("tags", ())},
        created_at=_moment(found["creation_timestamp"]),
    )


def _version(version: entities.ModelVersion) -> Version:
    return Version(
        model=version.name,
        number=int(version.version),
        created_at=_moment(version.creation_timestamp),
        source=version.source or "",
        run_id=version.run_id or None,
        model_id=_model_id(version.source or ""),
        tags=dict(version.tags),
        user=version.user_id or "",
        ready=version.status == "READY",
    )


def _moment(milliseconds: int | str) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)


def _model_id(source: str) -> str | None:
    """The logged model that a source names, as the stores do not give it themselves."""
    model_id = source.removeprefix("models:/")
    return model_id if model_id != source and model_id.startswith("m-") else None
