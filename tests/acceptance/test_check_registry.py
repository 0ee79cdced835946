"""`check --registry` by the real command: what MLflow alone says, workers that die, and an MLflow that does not answer.

What a policy's own words are held against is in `tests/worker/test_against_policy.py`.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers

pytestmark = pytest.mark.slow


@pytest.fixture
def box(boxes: Boxes) -> Box:
    made = boxes()
    made.register()
    made.policy()
    made.drop("a.csv", buyers(2, 300))
    return made


def said(box: Box, *more: str) -> dict[str, list[str]]:
    """Messages by the name of the policy file, each with its line and severity."""
    found: dict[str, list[str]] = {}
    for each in box.run("check", "--registry", "--json", *more).json:
        text = f"{each['line']}: {each['severity']}: {each['message']} {each['hint']}".strip()
        found.setdefault(Path(each["file"]).stem, []).append(text)
    return found


def test_each_policy_is_held_against_the_model_it_names(box: Box) -> None:
    box.log_copy("shop", "misspelled", "Champion")
    box.log_copy("shop", "broken", "champion")
    for model in ("Shop", "misspelled", "broken"):
        box.policy(model)
    ruin(box, "broken")
    found = said(box)
    assert found["Shop"] == ["1: error: No registered model is named 'Shop'. Did you mean 'shop'?"]
    [alias] = found["misspelled"]
    assert alias.startswith("1: error: misspelled has no alias 'champion', and one spelled 'Champion'")
    [broken, _] = found["broken"]
    assert broken.startswith("1: error: ")
    assert "broken" in broken
    assert found.keys() == {"Shop", "misspelled", "broken"}
    ended = box.run("check", "--registry")
    assert ended.code == 3
    assert "shop.yaml: ok, model shop" in ended.out


def test_a_file_that_the_daemon_refused_is_not_held_against_the_policy(box: Box) -> None:
    box.drop("b.csv", buyers(3, 300).drop(columns="age"))
    assert any("age" in message for message in said(box)["shop"])
    box.run("run", "--once")
    assert not any("age" in message for message in said(box).get("shop", []))


def ruin(box: Box, model: str) -> None:
    """The champion of this model is a version whose files are nowhere."""
    with box.as_default_mlflow():
        MlflowClient().create_model_version(model, f"{box.folder}/nowhere")
    box.client.set_registered_model_alias(model, "champion", "2")


def test_a_version_by_someone_who_is_not_trusted_is_not_loaded(box: Box) -> None:
    box.write_settings()
    settings = box.folder / "retraind.toml"
    settings.write_text(settings.read_text() + '\n[trust]\nusers = ["nobody-else"]\n')
    box.client.set_tag(str(box.client.get_model_version("shop", "1").run_id), "mlflow.user", "eve")
    [problem] = said(box)["shop"]
    assert problem.startswith("1: error: Nothing of it is loaded: version 1 is by eve")


def test_a_worker_that_dies_is_a_problem_of_its_policy_alone(box: Box) -> None:
    box.log_copy("shop", "deadly", "champion")
    box.policy("deadly", ("mode: refit", 'mode: refit\n  with: "deadly:fit"'))
    (box.folder / "policies" / "deadly.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    found = said(box)
    assert any("It could not be held against its model" in each for each in found["deadly"])
    assert "shop" not in found


def test_without_an_answer_of_mlflow_what_files_say_is_printed_first(box: Box) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        box.policy("typo", ("mode: refit", "mode: refitt"))
        ended = box.run("check", "--registry", "--tracking-uri", uri)
    assert ended.code == 6
    assert "typo.yaml:" in ended.out
    assert "shop.yaml: ok, model shop" in ended.out


def test_a_fleet_is_held_against_its_models(box: Box) -> None:
    text = box.policy().read_text().replace("model: shop", 'models: {match: "shop*"}')
    text = text.replace("/drops/shop/", "/drops/{model}/").replace("column: bought", "column: boght")
    (box.folder / "policies" / "shop.yaml").write_text(text)
    [problem] = said(box)["shop"]
    assert problem.endswith(
        "error: shop: `data.target` names 'boght', which a.csv does not have. Did you mean 'bought'?"
    )


def test_gates_that_the_rows_at_hand_cannot_settle_are_warned_of(box: Box) -> None:
    assert box.run("run", "--once").code == 0
    [warning] = said(box)["shop"]
    assert ": warning: `promote.min_rows` asks for 200 judging rows, and at most 0 may judge now." in warning
