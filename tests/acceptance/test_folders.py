"""A folder as on a file server: polled, with links in it, and files that come and go under the daemon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers

pytestmark = pytest.mark.slow


@pytest.fixture
def box(boxes: Boxes) -> Box:
    box = boxes()
    box.register()
    box.policy("shop", ("  target:", "  polling: true\n  follow_links: true\n  missing: skip\n  target:"), rows=3000)
    box.start()
    return box


def watches(box: Box) -> int:
    assert box.daemon is not None
    told = Path(f"/proc/{box.daemon.pid}/fdinfo").iterdir()
    return sum(info.read_text().count("inotify wd:") for info in told)


def test_a_linked_file_trains_without_one_that_is_gone_which_counts_when_it_is_back(box: Box) -> None:
    folder, elsewhere = box.folder / "drops" / "shop", box.folder / "elsewhere"
    elsewhere.mkdir()
    box.drop("gone.csv", buyers(2, 1000))
    assert box.recorded("gone.csv").new == 1000
    assert watches(box) == 1, "that of the policy folder"
    (folder / "gone.csv").rename(elsewhere / "gone.csv")
    box.until(lambda: box.drops()["gone.csv"].skipped)
    assert "1 recorded file is gone and left out" in box.run("status", "--json").out
    buyers(3, 3200).to_csv(elsewhere / "rows.csv", index=False)
    (folder / "linked.csv").symlink_to(elsewhere / "rows.csv")
    (folder / "dangling.csv").symlink_to(elsewhere / "nowhere.csv")
    attempt = box.ended()
    assert attempt.state == "promoted", attempt.reason
    with box.journal() as journal:
        drops = map(journal.drops.by_id, journal.attempts.drops_of(attempt.id))
        assert [os.path.basename(drop.path) for drop in drops if drop] == ["linked.csv"]  # noqa: PTH119
        decision = journal.decisions.of_attempt(attempt.id)
    assert decision is not None
    assert decision.sentence.endswith("gone.csv, which is gone")
    assert "nowhere.csv, which is not there." in box.drops()["dangling.csv"].reason
    (elsewhere / "gone.csv").rename(folder / "gone.csv")
    box.until(lambda: (drop := box.drops()["gone.csv"]).state == "recorded" and not drop.missing)
    assert box.drops()["gone.csv"].new == 1000
    with (elsewhere / "rows.csv").open("a") as file:
        file.write("9,9,9,yes\n")
    box.until(lambda: box.drops()["linked.csv"].rows == 3201)
