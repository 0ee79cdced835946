"""The daemon's only door to MLflow: registered models, versions, aliases and tags, as plain values.

Numbers are int, times are aware UTC, whatever the store behind the URI. MLflow is imported at the first request.
Loading, training and logging models is the worker's; no decision is taken here.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from retrain_daemon.errors import NotFound, Refused
from retrain_daemon.filters import NAMES_AT_ONCE, chunks, listable, quotable, quoted
from retrain_daemon.worker.mlflow_errors import understood, unreachable
from retrain_daemon.worker.mlflow_process import load_mlflow, prefer_early_errors, quiet, registering
from retrain_daemon.worker.store import absolute_uri, initialise

if TYPE_CHECKING:
    import mlflow.entities.model_registry as entities
    from mlflow import MlflowClient

#: SQLite takes some ten thousand values in one statement.
_EXPERIMENTS_AT_ONCE = 500


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

    def __init__(self, tracking_uri: str, registry_uri: str | None = None) -> None:
        """Raises Refused for a kind of store that cannot be served; connects only at the first request."""
        self.tracking_uri = absolute_uri(tracking_uri)
        self.registry_uri = absolute_uri(registry_uri) if registry_uri else self.tracking_uri
        self._opened: MlflowClient | None = None
        self._opening = threading.Lock()
        prefer_early_errors()

    def models(self, names: Collection[str]) -> Mapping[str, RegisteredModel]:
        possible = sorted(name for name in set(names) if name.strip() and not {"/", ":"} & set(name))
        searchable = [name for name in possible if listable(name)]
        found = [model for chunk in chunks(searchable) for model in self._search(chunk)]
        found += [model for name in possible if not listable(name) for model in self._get(name)]
        # Some databases compare names without case.
        return {model.name: model for model in found if model.name in possible}

    def version(self, model: str, number: int) -> Version:
        client = self._client()
        with understood(self.registry_uri):
            return _version(client.get_model_version(model, str(number)))

    def versions_with_tag(self, model: str, tag: str, value: str) -> tuple[Version, ...]:
        wanted = f"tags.`{tag}` = {quoted(value)}"
        if quotable(model):
            wanted = f"name = {quoted(model)} AND {wanted}"
        found = [version for version in self._versions(wanted) if version.model == model]
        return tuple(sorted((v for v in found if v.tags.get(tag) == value), key=lambda version: version.number))

    def create_version(
        self, model: str, *, source: str, run_id: str, tags: Mapping[str, str], description: str
    ) -> Version:
        client = self._client()
        model_id = _model_id(source)
        with understood(self.registry_uri), registering(self.tracking_uri):
            if model_id:
                # Absent, MLflow would report it as an internal error, which looks as if trying again could help.
                client.get_logged_model(model_id)
            created = client.create_model_version(
                model, source, run_id, dict(tags), description=description, await_creation_for=0, model_id=model_id
            )
            return _version(created)

    def tag_version(self, model: str, number: int, tag: str, value: str) -> None:
        client = self._client()
        with understood(self.registry_uri):
            client.set_model_version_tag(model, str(number), tag, value)

    def set_alias(self, model: str, alias: str, number: int) -> None:
        client = self._client()
        with understood(self.registry_uri):
            client.set_registered_model_alias(model, alias, str(number))

    def delete_alias(self, model: str, alias: str) -> None:
        client = self._client()
        with understood(self.registry_uri):
            client.delete_registered_model_alias(model, alias)

    def author(self, version: Version) -> str:
        client = self._client()
        if version.user:
            return version.user
        with suppress(NotFound, Refused), understood(self.tracking_uri):
            if version.run_id and (user := client.get_run(version.run_id).data.tags.get(AUTHOR_TAG)):
                return str(user)
        with suppress(NotFound, Refused), understood(self.tracking_uri):
            if version.model_id:
                return str(client.get_logged_model(version.model_id).tags.get(AUTHOR_TAG, ""))
        return ""

    def tag_run(self, run_id: str, tags: Mapping[str, str]) -> None:
        client = self._client()
        with understood(self.tracking_uri):
            for tag, value in tags.items():
                client.set_tag(run_id, tag, value[:LONGEST_TAG])

    def end_runs_of(self, tag: str, value: str) -> tuple[str, ...]:
        client = self._client()
        running = f"attributes.status = 'RUNNING' AND tags.`{tag}` = {quoted(value)}"
        with understood(self.tracking_uri):
            experiments = _experiments(client)
            chunks = [
                experiments[at : at + _EXPERIMENTS_AT_ONCE] for at in range(0, len(experiments), _EXPERIMENTS_AT_ONCE)
            ]
            runs = [run.info.run_id for chunk in chunks for run in client.search_runs(chunk, running)]
            for run_id in runs:
                client.set_terminated(run_id, "KILLED")
        return tuple(runs)

    def _client(self) -> MlflowClient:
        """The one client of this process, opened at the first request; tried anew as long as that fails."""
        with self._opening:
            if self._opened is None:
                _load(self.tracking_uri)
                initialise(self.tracking_uri)
                if self.registry_uri != self.tracking_uri:
                    initialise(self.registry_uri)
                self._opened = _open(self.tracking_uri, self.registry_uri)
            return self._opened

    def _search(self, names: list[str]) -> list[RegisteredModel]:
        client = self._client()
        listed = ",".join(quoted(name) for name in names)
        with understood(self.registry_uri):
            page = client.search_registered_models(f"name IN ({listed})", max_results=NAMES_AT_ONCE)
            return [_registered(model) for model in page]

    def _get(self, name: str) -> list[RegisteredModel]:
        client = self._client()
        with suppress(NotFound), understood(self.registry_uri):
            return [_registered(client.get_registered_model(name))]
        return []

    def _versions(self, wanted: str) -> list[Version]:
        client = self._client()
        with understood(self.registry_uri):
            page = client.search_model_versions(wanted)
            found = list(page)
            while page.token:
                page = client.search_model_versions(wanted, page_token=page.token)
                found += page
            return [_version(version) for version in found]


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
