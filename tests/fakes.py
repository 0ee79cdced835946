"""Hand-written stand-ins for the outside, in memory; they pass the same contract suites as the real things."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from retrain_daemon.core.names import matches
from retrain_daemon.errors import NotFound, Refused, RetrainError
from retrain_daemon.registry import RegisteredModel, Version


@dataclass
class _Model:
    """A registered model; a version that was deleted stays as None, as its number is never given again."""

    created_at: datetime
    versions: dict[int, Version | None] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class FakeRegistry:
    """A registry in memory, for tests of what happens at a cut.

    `calls` holds each changing call the daemon made, as text, in order, once it took effect. While `fail_with` is set
    every call raises it. `before` and `after` are called with a changing call's name, before and after its effect: by
    raising there a test cuts the daemon off at that moment; a person may act there too. What people do
    (`..._by_hand`) is neither counted nor hooked, and works while `fail_with` is set.
    """

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self.tracking_uri = "fake://registry"
        self.registry_uri = "fake://registry"
        self.now = now
        self.calls: list[str] = []
        self.fail_with: RetrainError | None = None
        self.before: Callable[[str], None] | None = None
        self.after: Callable[[str], None] | None = None
        self.runs: dict[str, str] = {}
        self._run_tags: dict[str, dict[str, str]] = {}
        self._models: dict[str, _Model] = {}

    def models(self, names: Collection[str]) -> Mapping[str, RegisteredModel]:
        self._answer()
        return {
            name: RegisteredModel(
                name=name, aliases=dict(model.aliases), tags=dict(model.tags), created_at=model.created_at
            )
            for name, model in self._models.items()
            if name in names
        }

    def matching(self, patterns: Collection[str]) -> Mapping[str, RegisteredModel]:
        return self.models([name for name in self._models if matches(name, patterns)])

    def version(self, model: str, number: int) -> Version:
        self._answer()
        return self._version(model, number)

    def versions_with_tag(self, model: str, tag: str, value: str) -> tuple[Version, ...]:
        self._answer()
        versions = self._models[model].versions.values() if model in self._models else ()
        return tuple(version for version in versions if version and version.tags.get(tag) == value)

    def create_version(
        self, model: str, *, source: str, run_id: str, tags: Mapping[str, str], description: str
    ) -> Version:
        with self._effect("create_version", model, source):
            return self._create(model, source, run_id, tags)

    def tag_version(self, model: str, number: int, tag: str, value: str) -> None:
        with self._effect("tag_version", model, number, tag, value):
            version = self._version(model, number)
            self._models[model].versions[number] = replace(version, tags={**version.tags, tag: value})

    def set_alias(self, model: str, alias: str, number: int) -> None:
        with self._effect("set_alias", model, alias, number):
            self._set_alias(model, alias, number)

    def delete_alias(self, model: str, alias: str) -> None:
        with self._effect("delete_alias", model, alias):
            self._model(model).aliases.pop(alias, None)

    def author(self, version: Version) -> str:
        self._answer()
        return version.user or self._run_tags.get(version.run_id or "", {}).get("mlflow.user", "")

    def tag_run(self, run_id: str, tags: Mapping[str, str]) -> None:
        with self._effect("tag_run", run_id):
            if run_id not in self._run_tags:
                raise NotFound(f"there is no run {run_id}.")
            self._run_tags[run_id].update(tags)

    def run_tags(self, run_id: str) -> Mapping[str, str]:
        return self._run_tags[run_id]

    def every_version(self, model: str) -> tuple[Version, ...]:
        return tuple(version for version in self._models[model].versions.values() if version is not None)

    def end_runs_of(self, tag: str, value: str) -> tuple[str, ...]:
        with self._effect("end_runs_of", tag, value):
            running = (run for run, status in self.runs.items() if status == "RUNNING")
            ended = tuple(run for run in running if self._run_tags[run].get(tag) == value)
            self.runs.update(dict.fromkeys(ended, "KILLED"))
            return ended

    # What people and workers do beside the daemon.

    def models_by_hand(self) -> Collection[str]:
        return frozenset(self._models)

    def add_model_by_hand(self, model: str) -> None:
        self._models.setdefault(model, _Model(self.now))

    def delete_model_by_hand(self, model: str) -> None:
        del self._models[model]

    def start_run_by_hand(self, tags: Mapping[str, str]) -> str:
        run_id = f"run-{len(self.runs) + 1}"
        self.runs[run_id] = "RUNNING"
        self._run_tags[run_id] = dict(tags)
        return run_id

    def create_version_by_hand(
        self, model: str, source: str = "models:/m-by-hand", run_id: str = "run-0", user: str = "ada"
    ) -> Version:
        self.add_model_by_hand(model)
        return self._create(model, source, run_id, {}, user)

    def delete_version_by_hand(self, model: str, number: int) -> None:
        self._version(model, number)
        found = self._models[model]
        found.versions[number] = None
        found.aliases = {alias: to for alias, to in found.aliases.items() if to != number}

    def move_alias_by_hand(self, model: str, alias: str, number: int) -> None:
        self._set_alias(model, alias, number)

    def delete_alias_by_hand(self, model: str, alias: str) -> None:
        self._model(model).aliases.pop(alias, None)

    def set_version_tag_by_hand(self, model: str, number: int, tag: str, value: str) -> None:
        version = self._version(model, number)
        self._models[model].versions[number] = replace(version, tags={**version.tags, tag: value})

    def set_model_tag_by_hand(self, model: str, tag: str, value: str) -> None:
        self._model(model).tags[tag] = value

    def delete_model_tag_by_hand(self, model: str, tag: str) -> None:
        self._model(model).tags.pop(tag, None)

    def end_runs_by_hand(self, tag: str, value: str) -> None:
        for run, status in self.runs.items():
            if status == "RUNNING" and self._run_tags[run].get(tag) == value:
                self.runs[run] = "KILLED"

    def _answer(self) -> None:
        if self.fail_with is not None:
            raise self.fail_with

    @contextmanager
    def _effect(self, name: str, *arguments: object) -> Iterator[None]:
        self._answer()
        if self.before is not None:
            self.before(name)
        yield
        self.calls.append(f"{name}({', '.join(map(str, arguments))})")
        if self.after is not None:
            self.after(name)

    def _model(self, model: str) -> _Model:
        if model not in self._models:
            raise NotFound(f"Registered Model with name={model} not found.")
        return self._models[model]

    def _version(self, model: str, number: int) -> Version:
        version = self._model(model).versions.get(number)
        if version is None:
            raise NotFound(f"Model Version (name={model}, version={number}) not found.")
        return version

    def _create(self, model: str, source: str, run_id: str, tags: Mapping[str, str], user: str = "") -> Version:
        versions = self._model(model).versions
        version = Version(
            model=model,
            number=len(versions) + 1,
            created_at=self.now,
            source=source,
            run_id=run_id,
            model_id=source.removeprefix("models:/"),
            tags=dict(tags),
            user=user,
            ready=True,
        )
        versions[version.number] = version
        return version

    def _set_alias(self, model: str, alias: str, number: int) -> None:
        if not re.fullmatch(r"[\w-]+", alias) or re.fullmatch(r"latest|v\d+", alias, re.IGNORECASE):
            raise Refused(f"{alias!r} is not a name that an alias may have.")
        self._version(model, number)
        self._models[model].aliases[alias] = number
