"""Models without a champion, with one that was lost, or with its alias in another spelling."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.conftest import Boxes
from tests.box import Box

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def box(boxes: Boxes) -> Box:
    """A daemon that watches a model of each kind."""
    box = boxes()
    box.register("nameless", alias=None)
    for model, alias in (("lost", "champion"), ("misspelled", "Champion"), ("moved", "champion")):
        box.log_copy("nameless", model, alias)
    for model in ("nameless", "lost", "misspelled", "moved", "unregistered"):
        box.policy(model)
    box.start()
    box.until(lambda: seen(box, "lost") == 1)
    box.client.delete_registered_model_alias("lost", "champion")
    box.until(lambda: box.standing("lost") == "champion_lost")
    return box


def seen(box: Box, model: str) -> int | None:
    with box.journal() as journal:
        row = journal.models.find(model)
    return row.champion_seen if row else None


@pytest.mark.parametrize(
    ("model", "state", "help_wanted"),
    [
        ("nameless", "champion none", "retraind adopt nameless --version N"),
        ("lost", "champion lost", "retraind adopt lost --version 1"),
        ("misspelled", "champion misspelled", "has the alias Champion, the policy says champion"),
        ("unregistered", "champion no model", "no registered model is named unregistered"),
    ],
)
def test_status_says_what_is_wrong_with_a_champion_and_what_helps(
    box: Box, model: str, state: str, help_wanted: str
) -> None:
    parsed: Any = box.run("status", "--json").json
    found = {each["model"]: each for each in parsed["models"]}[model]
    assert found["state"] == state
    assert help_wanted in found["why"]


@pytest.mark.parametrize("model", ["nameless", "lost", "misspelled"])
def test_adopting_a_version_ends_it(box: Box, model: str) -> None:
    said = box.run("adopt", model, "--version", "1")
    assert (said.code, said.err) == (0, "")
    assert box.aliases(model)["champion"] == 1
    box.until(lambda: not box.standing(model).startswith("champion_"))


def test_adopting_what_is_not_there_or_replaces_a_champion_is_refused(box: Box) -> None:
    box.client.create_registered_model("unregistered")
    missing = box.run("adopt", "unregistered", "--version", "7")
    assert missing.code == 4
    assert "unregistered" in missing.err
    assert "7" in missing.err
    box.log_copy("nameless", "moved", None)
    replaced = box.run("adopt", "moved", "--version", "2")
    assert replaced.code == 5
    assert "has a champion, version 1" in replaced.err
    assert box.aliases("moved") == {"champion": 1}


def test_previous_champion_follows_a_person_who_moves_the_alias(box: Box) -> None:
    newest = box.log_copy("nameless", "moved", None)
    box.client.set_registered_model_alias("moved", "champion", str(newest))
    box.until(lambda: box.aliases("moved") == {"champion": newest, "previous_champion": 1})
    assert not box.attempts("moved")
