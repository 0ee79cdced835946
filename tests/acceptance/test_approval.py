"""A winner waits until a person approves or rejects it, with the real command line and a running daemon."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers

pytestmark = pytest.mark.slow


def state(box: Box, model: str) -> str:
    parsed: Any = box.run("status", "--json").json
    return str({each["model"]: each for each in parsed["models"]}[model]["state"])


def test_an_approved_winner_becomes_champion_and_a_rejected_one_does_not(boxes: Boxes) -> None:
    box = boxes()
    for model in ("accepted", "refused"):
        box.register(model)
        box.policy(model, ("promote:\n", "promote:\n  approval: required\n"))
    box.start()
    for model in ("accepted", "refused"):
        box.drop("new.csv", buyers(2), model)
    for model in ("accepted", "refused"):
        box.until(lambda model=model: any(each.awaits_approval for each in box.attempts(model)))  # type: ignore[misc]
    assert state(box, "accepted") == "awaiting approval"
    assert box.aliases("accepted") == {"champion": 1}
    (approved,), (rejected,) = box.attempts("accepted"), box.attempts("refused")
    said = box.run("approve", approved.id, "--why", "looked at the slices")
    assert (said.code, said.err) == (0, "")
    said = box.run("reject", rejected.id, "--why", "the labels are late")
    assert (said.code, said.err) == (0, "")
    assert box.ended(1, "accepted").state == "promoted"
    assert box.aliases("accepted") == {"champion": 2, "previous_champion": 1}
    ended = box.ended(1, "refused")
    assert ended.state == "rejected"
    assert "the labels are late" in ended.reason
    assert box.aliases("refused") == {"champion": 1}
    again = box.run("approve", rejected.id, "--why", "after all")
    assert again.code == 5
    assert "awaits no approval" in again.err
