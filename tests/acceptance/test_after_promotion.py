"""A promotion that turns out to be a mistake, with real workers, a real MLflow and the real command line."""

from __future__ import annotations

from typing import Any

import pytest

from retrain_daemon.core.attempts import Attempt
from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers
from tests.checker import World, check, seen_in_mlflow

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WATCH = "promote:\n  after_promotion: {watch: 1500 rows, if_worse: rollback}"


@pytest.fixture(scope="module")
def box(boxes: Boxes) -> Box:
    """The champion knows the present world. A version of the old one is put up, and a file of that world comes late."""
    box = boxes()
    box.register(rows=buyers(11, 600))
    box.policy("shop", ("promote:", WATCH), ("better_by: 0.02", "not_worse_by: 0.02"), rows=10**9)
    box.start()
    box.client.set_registered_model_alias("shop", "challenger", str(box.register(alias=None)))
    box.until(lambda: "challenger" in box.run("status").out)
    return box


@pytest.fixture(scope="module")
def promoted(box: Box) -> Attempt:
    box.drop("monday.csv", buyers(2, 1500, old_world=True))
    return box.ended()


def test_a_version_that_won_on_a_wrong_file_is_rolled_back_on_the_next_ones(box: Box, promoted: Attempt) -> None:
    assert (promoted.state, promoted.version) == ("promoted", 2)
    status: Any = box.run("status", "--json").json
    assert status["models"][0]["watch"] == (
        "version 2 is watched beside version 1: at most 0 of 1,500 rows, next look at 750"
    )
    box.drop("tuesday.csv", buyers(3, 400))
    box.recorded("tuesday.csv")
    assert "at most 400 of 1,500 rows, next look at 750" in box.run("plan", "shop").out
    assert box.aliases()["champion"] == 2
    box.drop("wednesday.csv", buyers(4, 400))
    box.until(lambda: box.aliases() == {"champion": 1, "previous_champion": 2})
    [looked] = box.until(lambda: box.events("watch.looked"))
    assert (looked["look"], looked["rows"], looked["worse"]) == (1, 800, True)
    box.until(lambda: box.events("champion.rolled_back"))
    [back] = box.events("champion.rolled_back")
    assert (back["by"], back["version"], back["was"]) == ("retraind", 1, 2)
    assert "by retraind" in box.client.get_model_version("shop", "2").tags["retraind.rolled_back"]


def test_it_is_told_why_and_nothing_is_promoted_before_a_person_resumes_it(box: Box, promoted: Attempt) -> None:
    status: Any = box.run("status", "--json").json
    assert status["models"][0]["state"] == "paused"
    assert "by retraind: rolled back: look 1 of 2, 800 rows: accuracy" in status["models"][0]["why"]
    assert status["models"][0]["watch"] == ""
    shown = box.run("show", promoted.id).out
    assert "version 2 was watched beside version 1: worse than the version before, to be rolled back" in shown
    said = box.run("history", "shop").out
    for event in ("watch.begun", "watch.looked", "watch.ended", "request.rollback", "rollback.ended"):
        assert event in said
    box.drop("thursday.csv", buyers(5, 1500))
    box.recorded("thursday.csv")
    assert box.run("resume", "shop").code == 0
    box.until(lambda: box.standing() == "no_rule_holds")
    assert len(box.events("watch.looked")) == len(box.events("watch.ended")) == 1
    assert box.aliases()["champion"] == 1


def test_the_box_is_sound_afterwards(box: Box, promoted: Attempt) -> None:
    violations = check(
        World(
            journal=box.state / "journal.db",
            model="shop",
            registry=seen_in_mlflow(box.client, "shop"),
            files=sorted((box.folder / "drops" / "shop").iterdir()),
            persons={1},
        )
    )
    assert [str(each) for each in violations] == []
