"""Rows that look unlike those the champion's attempt learned from start a retrain of their own."""

from __future__ import annotations

import pandas as pd
import pytest

from retrain_daemon.core.attempts import Attempt
from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers

pytestmark = pytest.mark.slow

RULES = (
    "retrain:\n",
    "retrain:\n  - name: the world changed\n    when: drift.max > 0.25 && data.new_rows >= 1000\n",
)


def older(seed: int, rows: int) -> pd.DataFrame:
    """Customers of whom each is two standard deviations older."""
    return buyers(seed, rows).assign(age=lambda frame: frame["age"] + 2)


@pytest.fixture(scope="module")
def calm(boxes: Boxes) -> Box:
    """A box whose second file is like the first, which an attempt has learned from."""
    box = boxes()
    box.register()
    box.policy("shop", RULES, rows=4000)
    box.start()
    box.drop("monday.csv", buyers(2, 4000))
    box.ended()
    box.drop("tuesday.csv", buyers(3, 1500))
    box.until(lambda: box.events("drift.measured"))
    box.until(lambda: "drift.max > 0.25: 0." in box.run("plan", "shop").out)
    return box


@pytest.fixture(scope="module")
def changed(calm: Box) -> tuple[Box, Attempt]:
    """The same box after a file of other customers."""
    calm.drop("wednesday.csv", older(4, 5500))
    return calm, calm.ended(2)


def test_rows_like_those_learned_from_start_nothing_and_how_near_they_are_is_shown(calm: Box) -> None:
    [line] = calm.events("drift.measured")
    assert (line["model"], line["new_rows"], line["reference_rows"]) == ("shop", 1500, 4000)
    assert line["value"] < 0.1
    plan = calm.run("plan", "shop").out
    assert "rule “the world changed”: does not hold\n    no   drift.max > 0.25: 0.0" in plan
    assert "    yes  data.new_rows >= 1000: 1,500\n" in plan
    assert "time alone does not make it hold: it waits for drift.max" in plan
    assert f"drift: {line['worst']} 0.0" in plan
    told = {fact["name"]: fact for fact in calm.run("facts", "shop", "--json").json}
    assert round(told["drift.max"]["value"], 4) == line["value"]
    assert "1,500 new rows beside 4,000 of the last judged attempt" in told["drift.max"]["source"]
    assert told["data.new_rows"]["source"] == "1 file (tuesday.csv) that no judged attempt had"
    assert told["champion.version"]["value"] == 2
    [model] = calm.run("status", "--json").json["models"]
    assert model["drift_column"] == line["worst"]
    assert len(calm.attempts()) == 1


def test_rows_unlike_them_start_an_attempt_that_names_how_far_they_are(changed: tuple[Box, Attempt]) -> None:
    box, attempt = changed
    assert attempt.rule == "the world changed"
    measured = box.events("drift.measured")[-1]
    assert (measured["worst"], measured["new_rows"]) == ("age", 7000)
    [decided] = [line for line in box.events("decision.train") if line["attempt"] == attempt.id]
    named = decided["reason"].split("drift.max is ")[1].split(",")[0]
    assert float(named) == pytest.approx(measured["value"], abs=1e-3)


def test_people_see_how_far_the_rows_and_each_file_were(changed: tuple[Box, Attempt]) -> None:
    box, _ = changed
    told = [line["detail"] for line in box.run("history", "shop", "--json").json if line["event"] == "drift.measured"]
    assert len(told) == 2
    assert "in age, 7000 new rows against 4000" in told[1]
    drift = {drop["path"].rsplit("/", 1)[-1]: drop["drift"] for drop in box.run("drop", "list", "--json").json}
    assert drift["monday.csv"] is None
    assert drift["tuesday.csv"] < 0.1 < 1 < drift["wednesday.csv"]


def test_after_the_verdict_rows_of_the_changed_world_are_near_again(changed: tuple[Box, Attempt]) -> None:
    box, _ = changed
    box.drop("thursday.csv", older(5, 1500))
    box.until(lambda: len(box.events("drift.measured")) > 2)
    after = box.events("drift.measured")[-1]
    assert (after["new_rows"], after["reference_rows"]) == (1500, 5500)
    assert after["value"] < 0.1
