"""Daemon and workers die by SIGKILL once at every point before and after an effect; real workers, a real MLflow.

`python -m pytest tests/acceptance/test_fault_points.py -rP` shows the points by number.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import KILLED
from tests.killed_box import KilledBox, a_story
from tests.mlflow_server import running_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
PARTS = 4


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(tmp_path_factory.mktemp("server")) as uri:
        yield uri


@pytest.mark.parametrize("part", range(PARTS))
def test_killed_at_every_point_of_its_part_the_story_comes_to_the_same_end(
    part: int, server: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    began = time.monotonic()
    box = KilledBox(tmp_path / "box", server, f"shop-{part}", f"{part}:{PARTS}")
    try:
        box.play(a_story(box))
        box.rest()
    finally:
        box.close()
        print(f"{time.monotonic() - began:.0f} s, points by number (* killed):")
        killed = set(box.lines(KILLED))
        print("\n".join(f"{n:3} {'*' if name in killed else ' '} {name}" for n, name in enumerate(box.points(), 1)))
    for name, count in (("points", len(killed)), ("kills", len(killed)), ("violations", len(box.violations))):
        record_property(name, count)
    assert not box.violations, "\n".join(map(str, box.violations))
    states = [attempt.state for attempt in box.attempts(box.model)]
    assert (states[0], states[3], len(states)) == ("promoted", "abandoned", 4)
    assert sorted(states[1:3]) in (["inconclusive", "rejected"], ["rejected", "rejected"])
    assert box.aliases(box.model) == {"champion": 2, "previous_champion": 1}
    assert box.versions(box.model) == [1, 2, 3]
