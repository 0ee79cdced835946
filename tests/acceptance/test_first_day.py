"""The first day: a champion nobody recorded, and a folder full of history that it may have been trained on."""

from __future__ import annotations

import pandas as pd
import pytest

from retrain_daemon.core.attempts import Attempt
from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers

pytestmark = pytest.mark.slow

UNRECORDED, RECORDED, PRICES = "unrecorded", "recorded", "prices"
PRICES_POLICY = """\
model: {model}
data:
  path: {folder}/drops/{model}/*.parquet
  complete: {{settle: 1s}}
  target: price
  features: [area, rooms]
  row_id: [flat]
  event_time: sold_at
  holdout: {{newest: 2d}}
train:
  mode: refit
retrain:
  - name: enough fresh rows
    when: data.new_rows >= {rows}
promote:
  require:
    - {{metric: mae, better_by: 1}}
"""


def flats(first_day: str, days: int, seed: int, price: float) -> pd.DataFrame:
    """Generated flats that were sold, one each ten minutes, at a price per square metre that moves with the market."""
    made = buyers(seed, days * 144)
    area, rooms = 60 + 10 * made["visits"], 3 + made["basket"].round()
    return pd.DataFrame(
        {
            "flat": range(seed * 10**6, seed * 10**6 + len(made)),
            "sold_at": pd.date_range(first_day, periods=len(made), freq="10min", tz="UTC"),
            "area": area,
            "rooms": rooms.astype(float),
            "price": price * area + 20 * rooms + 5 * made["age"],
        }
    )


@pytest.fixture(scope="module")
def history(boxes: Boxes) -> Box:
    """Two champions that learned what already lies in their folders; of one, a person records it. And a regression."""
    box = boxes()
    past = buyers(1, 1500, old_world=True)
    for model in (UNRECORDED, RECORDED):
        box.register(model, rows=past)
        box.policy(model)
        box.drop("history.csv", past, model)
    box.register_regression(PRICES, flats("2025-01-01", 2, 1, price=2.0), "price", ["area", "rooms"])
    box.policy(PRICES, text=PRICES_POLICY)
    box.start()
    for model in (UNRECORDED, RECORDED):
        box.recorded("history.csv", model)
    box.until(lambda: {box.standing(UNRECORDED), box.standing(RECORDED)} == {"too_few_judging_rows"})
    return box


@pytest.fixture(scope="module")
def grown(history: Box) -> tuple[Box, Attempt, Attempt]:
    """The same box after a person named the history of one model, and both got a file of new rows."""
    box = history
    told = box.run("adopt", RECORDED, "--learned-from", str(box.folder / "drops" / RECORDED / "history.csv"))
    assert (told.code, told.err) == (0, "")
    assert "learned from 1,500 rows" in told.out
    for model in (UNRECORDED, RECORDED):
        box.drop("new.csv", buyers(2, 1500), model)
    box.drop("flats.parquet", flats("2026-01-01", 6, 2, price=3.0), PRICES)
    return box, box.ended(1, UNRECORDED), box.ended(1, RECORDED)


def test_nothing_is_judged_on_history_and_plan_says_what_it_waits_for(history: Box) -> None:
    said = history.run("plan", UNRECORDED)
    assert said.code == 0
    assert "too_few_judging_rows" in said.out
    assert "at most 0 rows may judge version 1" in said.out
    assert "held-out rows that it has not learned from" in said.out


def test_only_rows_that_came_after_the_first_look_judge_an_unrecorded_champion(
    grown: tuple[Box, Attempt, Attempt],
) -> None:
    _, attempt, _ = grown
    assert attempt.evidence is not None
    assert attempt.evidence.too_early > 300
    assert 350 < attempt.evidence.rows < 550
    assert attempt.challenger is not None
    assert attempt.challenger.training_rows > 1500


def test_rows_a_person_said_the_champion_learned_are_left_out_of_judging(
    grown: tuple[Box, Attempt, Attempt],
) -> None:
    box, _, attempt = grown
    assert attempt.evidence is not None
    assert attempt.evidence.too_early == 0
    assert attempt.evidence.excluded > 300
    assert 350 < attempt.evidence.rows < 550
    assert "that a model learned from" in box.run("show", attempt.id).out


def test_a_regression_judged_on_its_newest_days_is_promoted_where_it_is_better(
    grown: tuple[Box, Attempt, Attempt],
) -> None:
    box = grown[0]
    attempt = box.ended(1, PRICES)
    assert attempt.state == "promoted"
    assert attempt.evidence is not None
    assert attempt.evidence.rows in (287, 288)
    assert attempt.evidence.metrics[0].gain is not None
    assert attempt.evidence.metrics[0].gain > 30
    assert box.aliases(PRICES) == {"champion": 2, "previous_champion": 1}
