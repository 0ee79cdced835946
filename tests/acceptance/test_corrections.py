"""A colleague mislabelled rows and drops them again, corrected: it is told, and the new labels count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers

pytestmark = pytest.mark.slow

WRONG = 700


@pytest.fixture(scope="module")
def box(boxes: Boxes) -> Box:
    """Two attempts were made: one on rows of which some have the wrong label, one after these were corrected."""
    box = boxes()
    box.register()
    box.policy("shop", ("holdout: 30%", "holdout: 30%\n  row_id: id"))
    box.start()
    rows = buyers(2).assign(id=range(2000))
    other = np.where(rows["bought"] == "yes", "no", "yes")
    box.drop("monday.csv", rows.assign(bought=np.where(rows["id"] < WRONG, other, rows["bought"])))
    box.ended()
    corrected = rows[rows["id"] < WRONG]
    box.drop("corrected.csv", corrected)
    box.until(lambda: len(box.events("drop.recorded")) == 2)
    box.drop("tuesday.csv", buyers(3).assign(id=range(2000, 4000)))
    box.ended(2)
    return box


def test_corrected_labels_are_told_in_the_log_the_list_and_the_history(box: Box) -> None:
    told = {line["file"]: (line["new"], line["corrected"]) for line in box.events("drop.recorded")}
    assert told == {"monday.csv": (2000, 0), "corrected.csv": (0, WRONG), "tuesday.csv": (2000, 0)}
    listed: Any = box.run("drop", "list", "--json").json
    assert [drop["corrected"] for drop in listed] == [0, WRONG, 0]
    assert f"0 new of {WRONG} rows, {WRONG} with another label than before" in box.run("history", "shop").out


def test_the_corrected_copies_train_and_judge_in_place_of_the_old_ones(box: Box) -> None:
    said: Any = box.run("data", "shop", "--json").json
    files = [file["account"] for file in said["files"]]
    assert [(file["repeated"], file["corrected"]) for file in files] == [(WRONG, WRONG), (0, 0), (0, 0)]
    assert said["counted"] == 4000
    attempt = box.ended(2)
    assert attempt.challenger is not None
    assert attempt.challenger.training_rows == sum(file["training"] for file in files)


def test_a_row_stays_on_its_side_when_its_label_is_corrected(box: Box) -> None:
    first, second = box.ended(1), box.ended(2)
    assert first.challenger is not None
    assert second.evidence is not None
    learned = second.champion_version == first.version
    said: Any = box.run("data", "shop", "--json").json
    corrected, fresh = (said["files"][place]["account"]["judging"] for place in (1, 2))
    held_out = said["files"][0]["account"]["judging"] + corrected
    assert second.evidence.rows == held_out + fresh - second.evidence.excluded - second.evidence.too_early
    assert second.evidence.checked_keys is not None
    assert second.evidence.checked_keys >= (first.challenger.training_rows if learned else 0)
