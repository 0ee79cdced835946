"""Daemon and workers die by SIGKILL once at every point before and after an effect; real workers, a real MLflow.

`python -m pytest tests/acceptance/test_fault_points.py -rP` shows the points by number.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults import KILLED
from tests.killed_box import KilledBox, a_story
from tests.mlflow_server import running_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
#: Each point belongs to one part. In the story of a part daemon and workers die once at each of its points.
PARTS = 4
#: How many stories are played at the same time.
AT_ONCE = 2
MOST_MISSED, LEAST_POINTS = 4, 110


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> list[Future[KilledBox]]:
    """The box of each part, at its end."""
    folder = tmp_path_factory.mktemp("points")
    with running_server(folder) as uri, ThreadPoolExecutor(AT_ONCE) as pool:
        return [pool.submit(play, folder, uri, part) for part in range(PARTS)]


def play(folder: Path, uri: str, part: int) -> KilledBox:
    began = time.monotonic()
    box = KilledBox(folder / str(part), uri, f"shop-{part}", f"{part}:{PARTS}")
    try:
        box.play(a_story(box))
        box.rest()
        box.at_end = box.aliases(box.model), box.versions(box.model)
    finally:
        box.close()
        box.seconds = time.monotonic() - began
    return box


@pytest.mark.parametrize("part", range(PARTS))
def test_killed_at_every_point_of_its_part_the_story_comes_to_the_same_end(
    part: int, played: list[Future[KilledBox]], record_property: Callable[[str, object], None]
) -> None:
    box = played[part].result()
    killed = box.lines(KILLED)
    print(f"{box.seconds:.0f} s, points by number (* killed here):")
    print("\n".join(f"{n:3} {'*' if name in killed else ' '} {name}" for n, name in enumerate(box.points(), 1)))
    for name, count in (("points", len(set(killed))), ("kills", len(killed)), ("violations", len(box.violations))):
        record_property(name, count)
    assert not box.violations, "\n".join(map(str, box.violations))
    assert len(set(killed)) == len(killed)
    states = [attempt.state.value for attempt in box.attempts(box.model)]
    assert (states[0], states[3:]) == ("promoted", ["abandoned"])
    assert states[1:3] in (["rejected", "inconclusive"], ["inconclusive", "rejected"], ["rejected", "rejected"])
    assert box.at_end == ({"champion": 2, "previous_champion": 1}, [1, 2, 3])


def test_hardly_a_point_is_left_out(played: list[Future[KilledBox]]) -> None:
    """What was passed in any story has killed in that of its part, but for transactions that only some moments make."""
    boxes = [future.result() for future in played]
    passed = {name for box in boxes for name in box.points()}
    killed = {name for box in boxes for name in box.lines(KILLED)}
    print(f"{len(passed)} points passed, {len(killed)} killed at, not met in their part: {sorted(passed - killed)}")
    assert len(passed - killed) <= MOST_MISSED, sorted(passed - killed)
    assert len(killed) >= LEAST_POINTS
