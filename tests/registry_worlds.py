"""A registry together with what people and workers do beside it, the same for the fake and for MLflow."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

from retrain_daemon.registry import MlflowRegistry, Registry
from tests.fakes import FakeRegistry

NUMBERS = itertools.count(1)


class World(Protocol):
    """A registry and the hands of people and workers beside it."""

    registry: Registry

    def add_model(self, name: str) -> None: ...
    def log_model(self) -> tuple[str, str]: ...
    def delete_version(self, model: str, number: int) -> None: ...
    def move_alias(self, model: str, alias: str, number: int) -> None: ...
    def start_run(self, tags: Mapping[str, str]) -> str: ...
    def run_status(self, run_id: str) -> str: ...


class FakeWorld:
    def __init__(self) -> None:
        self.fake = FakeRegistry(now=datetime.now(UTC))
        self.registry: Registry = self.fake
        self.add_model = self.fake.add_model_by_hand
        self.delete_version = self.fake.delete_version_by_hand
        self.move_alias = self.fake.move_alias_by_hand
        self.start_run = self.fake.start_run_by_hand

    def log_model(self) -> tuple[str, str]:
        number = next(NUMBERS)
        return f"models:/m-{number:032x}", f"run-{number}"

    def run_status(self, run_id: str) -> str:
        return self.fake.runs[run_id]


class MlflowWorld:
    def __init__(self, uri: str) -> None:
        from mlflow import MlflowClient

        self.registry: Registry = MlflowRegistry(uri)
        self.registry.models(["opens the store"])
        self.client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        self.experiment = self.client.create_experiment("work")

    def add_model(self, name: str) -> None:
        self.client.create_registered_model(name)

    def log_model(self) -> tuple[str, str]:
        run_id = self.start_run({})
        model = self.client.create_logged_model(self.experiment, name="model", source_run_id=run_id)
        self.client.finalize_logged_model(model.model_id, "READY")
        return f"models:/{model.model_id}", run_id

    def delete_version(self, model: str, number: int) -> None:
        self.client.delete_model_version(model, str(number))

    def move_alias(self, model: str, alias: str, number: int) -> None:
        self.client.set_registered_model_alias(model, alias, str(number))

    def start_run(self, tags: Mapping[str, str]) -> str:
        return str(self.client.create_run(self.experiment, tags=dict(tags)).info.run_id)

    def run_status(self, run_id: str) -> str:
        return str(self.client.get_run(run_id).info.status)
