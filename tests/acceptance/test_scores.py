"""The champion's scores on each file, with real workers, a real MLflow and the real command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers

pytestmark = pytest.mark.slow

WORSE = "champion.scores.accuracy.last(5).filter(s, s < 0.80).size() >= 3"


@pytest.fixture(scope="module")
def box(boxes: Boxes) -> Box:
    """Versions 1 and 2 know the old world only; the first is champion."""
    box = boxes()
    box.register()
    box.register(alias=None, rows=buyers(5, 300, old_world=True))
    box.policy("shop", ("data.new_rows >= 500", f"'{WORSE}'"))
    box.start()
    return box


def scores(box: Box, version: int) -> dict[str, float | None]:
    with box.journal() as journal:
        kept = journal.scores.of_version("shop", version)
        names = {drop.id: Path(drop.path).stem for drop in journal.drops.listing("shop")}
    return {names[drop]: row.value for (drop, metric), row in kept.items() if metric == "accuracy"}


def test_scores_appear_are_filled_in_and_have_a_model_retrained_that_gets_worse(box: Box) -> None:
    box.drop("1.csv", buyers(11, 1000))
    box.until(lambda: scores(box, 1).keys() == {"1"})
    box.drop("2.csv", buyers(12, 1000))
    box.until(lambda: scores(box, 1).keys() == {"1", "2"})
    assert all(value is not None and value < 0.8 for value in scores(box, 1).values())
    box.until(lambda: box.standing() == "no_rule_holds")  # decided in the same turn, after the scores are kept
    assert "size() is 2, short by 1" in box.sentence()

    box.client.set_registered_model_alias("shop", "champion", "2")
    box.until(lambda: scores(box, 2).keys() == {"1", "2"})
    assert scores(box, 2) != scores(box, 1)
    assert not box.attempts()

    box.drop("3.csv", buyers(13, 1000))
    attempt = box.ended()
    assert attempt.champion_version == 2
    assert (attempt.state, attempt.version) == ("promoted", 3)
    with box.journal() as journal:
        decision = journal.decisions.of_attempt(attempt.id)
    assert decision is not None
    assert "champion.scores.accuracy is 0." in decision.sentence

    box.drop("4.csv", buyers(14, 1000))
    box.until(lambda: scores(box, 3).keys() == {"4"})
    assert (scores(box, 3)["4"] or 0) > 0.8


def test_status_plan_and_history_show_the_scores(box: Box) -> None:
    with box.journal() as journal:
        (newest,) = journal.scores.newest("shop", 3)
    assert newest.value is not None
    status: Any = box.run("status", "--json").json
    assert status["models"][0]["scores"] == {"accuracy": newest.value}
    assert f"accuracy={newest.value:.4g}" in box.run("status").out
    assert "its accuracy on files since it was cut: 0." in box.run("plan", "shop").out
    said = box.run("history", "shop").out
    assert f"champion.scored  4.csv  version 3: accuracy {newest.value:.4g} on 1000 rows" in said
    assert "champion.scored  2.csv  version 2: accuracy 0." in said


def test_what_was_missed_meanwhile_is_filled_in_for_an_earlier_version(box: Box) -> None:
    box.client.set_registered_model_alias("shop", "champion", "1")
    box.until(lambda: scores(box, 1).keys() == {"1", "2", "3", "4"})
