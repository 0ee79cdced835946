"""A file that looks wrong waits for a person, who reads why and lets it in. The folder stays as it was."""

from __future__ import annotations

import shlex
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers

pytestmark = pytest.mark.slow

EXPECTED = ("  holdout: 30%", "  holdout: 30%\n  expect: {age: {at_most: 50, missing: 1%}}")


def photograph(folder: Path) -> dict[str, tuple[str, int, int, int]]:
    """Bytes, time of change, mode and inode of each file, by name."""
    seen = {path.name: (path.stat(), path.read_bytes()) for path in folder.iterdir()}
    return {
        name: (sha256(content).hexdigest(), found.st_mtime_ns, found.st_mode, found.st_ino)
        for name, (found, content) in seen.items()
    }


@pytest.fixture(scope="module")
def box(boxes: Boxes) -> Box:
    """A daemon that has recorded a good file, and quarantined one beyond its bounds and one without ages."""
    box = boxes()
    box.register()
    box.policy("shop", EXPECTED)
    box.start()
    box.adopted()
    box.drop("good.csv", buyers(2))
    box.recorded("good.csv")
    rows = buyers(3)
    rows.loc[6, "age"] = 99.5
    box.drop("old people.csv", rows)
    box.drop("no age.csv", buyers(4).assign(age=np.nan))
    box.until(lambda: len(box.drops()) == 3 and all(drop.state != "found" for drop in box.drops().values()))
    return box


def test_a_person_reads_why_and_what_to_do_and_the_file_is_used(box: Box) -> None:
    folder = box.folder / "drops" / "shop"
    before = photograph(folder)
    listed = {Path(drop["path"]).name: drop for drop in box.run("drop", "list", "--quarantined", "--json").json}
    assert set(listed) == {"old people.csv", "no age.csv"}
    assert listed["old people.csv"]["reason"] == (
        "Column 'age' of old people.csv is outside of anything to 50 in 1 of 2,000 rows (0.05%), first '99.5' in row 7."
    )
    assert "has no value in any of 2,000 rows" in listed["no age.csv"]["reason"]
    command = listed["old people.csv"]["what_to_do"].split("`")[1].replace("TEXT", "'she is that old'")
    released = box.run(*shlex.split(command)[1:])
    assert (released.code, released.err) == (0, "")
    assert box.recorded("old people.csv").released_why == "she is that old"
    assert "Let pass: Column 'age'" in " ".join(box.run("drop", "list").out.split())
    assert "drop.released" in box.run("history", "shop", "--limit", "200").out
    assert box.ended().ended_at is not None
    assert box.drops()["no age.csv"].state == "quarantined"
    assert photograph(folder) == before
