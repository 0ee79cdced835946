"""A first champion by a verdict, and champions whose files are gone: with a real MLflow and real workers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest

from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers

pytestmark = pytest.mark.slow


def why(box: Box, model: str) -> str:
    parsed: Any = box.run("status", "--json").json
    return str({each["model"]: each for each in parsed["models"]}[model]["why"])


def files_of(box: Box, model: str, version: int) -> Path:
    """The folder where MLflow keeps a version's files."""
    with box.as_default_mlflow():
        return Path(mlflow.artifacts.download_artifacts(f"models:/{model}/{version}"))


def test_a_version_put_up_in_a_model_without_champion_is_judged_by_itself_and_becomes_the_first(boxes: Boxes) -> None:
    box = boxes()
    for model, past in (("good", buyers(1, 300)), ("poor", buyers(1, 300, old_world=True))):
        box.register(model, alias=None, rows=past)
        box.policy(model, ("better_by: 0.02", "at_least: 0.7"), ("data.new_rows >= 500", "data.new_rows >= 100000"))
        box.client.set_registered_model_alias(model, "challenger", "1")
    box.start()
    for model in ("good", "poor"):
        box.until(lambda model=model: box.standing(model) == "champion_none")  # type: ignore[misc]
        box.drop("new.csv", buyers(2, 1500), model)
    good, poor = box.ended(1, "good"), box.ended(1, "poor")
    assert (good.state, good.champion_version, good.version) == ("promoted", 0, 1)
    assert good.evidence is not None
    assert 350 < good.evidence.rows < 550
    assert box.aliases("good") == {"champion": 1}
    assert poor.state == "rejected"
    assert box.aliases("poor") == {}
    assert "retraind adopt poor --version N" in why(box, "poor")
    assert "no champion" in box.run("show", good.id).out


def test_a_champion_whose_files_are_gone_is_lost_until_someone_rolls_back(boxes: Boxes) -> None:
    box = boxes()
    box.register()
    box.policy()
    box.start()
    box.drop("new.csv", buyers(2))
    assert box.ended(1).state == "promoted"
    away = files_of(box, "shop", 2).rename(box.folder / "away")
    box.drop("more.csv", buyers(3))
    box.until(lambda: box.standing() == "champion_lost")
    said = why(box, "shop")
    assert said.startswith("version 2 does not load: ")
    assert "`retraind rollback shop`" in said
    planned = box.run("plan", "shop")
    assert "champion_lost" in planned.out
    assert "version 2 does not load: " in planned.out
    assert box.aliases() == {"champion": 2, "previous_champion": 1}
    back = box.run("rollback", "shop", "--why", "its files are gone")
    assert (back.code, back.err) == (0, "")
    assert box.aliases() == {"champion": 1, "previous_champion": 2}
    assert box.run("resume", "shop").code == 0
    box.until(lambda: box.drops()["more.csv"].state == "recorded")
    assert len(box.events("champion.unloadable")) == 1
    shutil.rmtree(away)
