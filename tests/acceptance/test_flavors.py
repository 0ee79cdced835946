"""Every flavour and format through the real daemon and a real MLflow server: one file, one attempt for each model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

from retrain_daemon.core.attempts import Attempt
from tests import networks
from tests.box import Box, buyers
from tests.mlflow_server import running_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATIENCE = 400.0

#: How each model is logged, and what its policy has beside the others'.
LOGGED: dict[str, tuple[Callable[[], Any], tuple[tuple[str, str], ...]]] = {
    "keras": (networks.log_keras, ()),
    "tensorflow": (networks.log_tensorflow, ()),
    "tensorflow-h5": (lambda: networks.log_tensorflow(keras_model_kwargs={"save_format": "h5"}), ()),
    "torch": (networks.log_torch, ()),
    "torchscript": (networks.log_torchscript, ()),
    "torch-pt2": (
        lambda: networks.log_torch(serialization_format="pt2", input_example=networks.old_rows()[0][:4]),
        (("  mode: incremental\n", '  mode: incremental\n  model: "buyer_networks:build"\n'),),
    ),
}
FACTORY = '''"""What builds the network whose weights were exported."""

from torch import nn


def build() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
'''


@pytest.fixture(scope="module")
def server_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(tmp_path_factory.mktemp("server")) as uri:
        yield uri


@pytest.fixture(scope="module")
def box(boxes: Callable[..., Box], server_uri: str) -> Box:
    """A daemon that has carried out one attempt for each model."""
    box = boxes(uri=server_uri)
    (box.folder / "policies" / "buyer_networks.py").write_text(FACTORY)
    (box.folder / "drops" / "all").mkdir()
    for model, (log, changes) in LOGGED.items():
        networks.register(box, model, log)
        box.policy(model, *changes, text=networks.POLICY)
    box.start()
    networks.drop_for_all(box, "monday.csv", buyers(2, 1500))
    box.until(lambda: all(_over(box, model) for model in LOGGED), PATIENCE)
    return box


def _over(box: Box, model: str) -> bool:
    attempts = box.attempts(model)
    return bool(attempts) and attempts[0].ended_at is not None


def attempt_of(box: Box, model: str) -> Attempt:
    return box.attempts(model)[0]


@pytest.mark.parametrize("model", LOGGED)
def test_a_model_goes_on_learning_and_is_promoted_on_evidence(box: Box, model: str) -> None:
    attempt = attempt_of(box, model)
    assert (attempt.state, attempt.reason) == ("promoted", attempt.verdict.summary if attempt.verdict else "")
    assert box.aliases(model) == {"champion": 2, "previous_champion": 1}
    assert attempt.evidence is not None
    [accuracy] = attempt.evidence.metrics
    assert accuracy.challenger is not None
    assert accuracy.challenger > 0.8


@pytest.mark.parametrize("model", LOGGED)
def test_the_promoted_version_is_served_by_mlflow_as_the_one_before_was(box: Box, model: str) -> None:
    rows = buyers(9, 400)
    with box.as_default_mlflow():
        served = mlflow.pyfunc.load_model(f"models:/{model}@champion")
        outputs = served.predict(rows[networks.FEATURES].to_numpy("float32"))
    right = (outputs.argmax(axis=1) == (rows["bought"] == "yes")).mean()
    assert right > 0.75


@pytest.mark.parametrize("model", sorted(LOGGED.keys() - {"torch-pt2"}))
def test_flavour_format_and_signature_are_those_of_the_champion(box: Box, model: str) -> None:
    with box.as_default_mlflow():
        first, second = (mlflow.models.get_model_info(f"models:/{model}/{version}") for version in (1, 2))
    assert first.signature == second.signature
    assert first.flavors.keys() == second.flavors.keys()
    [flavor] = first.flavors.keys() - {"python_function"}
    for key in ("save_format", "serialization_format", "model_type", "save_exported_model"):
        assert first.flavors[flavor].get(key) == second.flavors[flavor].get(key)


@pytest.mark.parametrize("model", LOGGED)
def test_the_run_has_epochs_and_environment(box: Box, model: str) -> None:
    attempt = attempt_of(box, model)
    assert attempt.challenger is not None
    history = box.client.get_metric_history(attempt.challenger.run_id, "epoch_loss")
    assert [entry.step for entry in history] == [1, 2, 3, 4]
    assert history[-1].value < history[0].value
    artifacts = {each.path for each in box.client.list_artifacts(attempt.challenger.run_id)}
    assert {"environment.json", "policy.yaml", "data_manifest.json", "evidence.json"} <= artifacts


STORED = {"keras": "keras", "tensorflow-h5": "h5", "torch": "pickle", "torchscript": "TorchScript"}


@pytest.mark.parametrize(("model", "storage"), STORED.items())
def test_inspect_says_what_the_promoted_version_can_do(box: Box, model: str, storage: str) -> None:
    ended = box.run("inspect", model)
    assert ended.code == 0, ended.err
    assert f"stored as {storage}\n" in ended.out
    assert "incremental: yes" in ended.out
    assert "warm_start: yes" in ended.out


def test_no_model_has_more_versions_than_were_promoted(box: Box) -> None:
    assert {model: box.versions(model) for model in LOGGED} == {model: [1, 2] for model in LOGGED}


def test_the_policies_of_all_models_are_sound(box: Box) -> None:
    ended = box.run("check", str(Path(box.folder) / "policies"))
    assert ended.code == 0, ended.out
