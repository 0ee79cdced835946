"""Daemon and workers die by SIGKILL at random moments, many times in a row, while files arrive and people act.

KILLS=50 SEED=7 in the environment choose how many and which; the seed is printed with -rP, and where a test fails.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.killed_box import KilledBox, Stage
from tests.mlflow_server import running_server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
KILLS = int(os.environ.get("KILLS", "200"))
#: Of all daemons, those that die while they start; the others some seconds later, now and then after a whole training.
DIE_AT_START = 0.25
PAUSES, WEIGHTS = ((0.0, 1.5), (1.5, 8.0)), (3, 1)
MOST_FILES = 12
#: The last one: attempts that were killed more than ten times are given up, and three of these in a row hold the model.
AT_REST = ("nothing_new", "no_rule_holds", "too_few_judging_rows", "no_rows", "too_many_failures")


def test_killed_at_random_many_times_in_a_row_the_box_is_sound_after_each_and_at_the_end(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(10**6))
    chance, began = random.Random(seed), time.monotonic()
    with running_server(tmp_path) as uri:
        box = KilledBox(tmp_path / "box", uri, "shop")
        try:
            box.begin()
            box.wait(Stage("the first look", lambda: None, box.adopted))
            for number in range(KILLS):
                people_act(box, chance, number)
                pause(box, chance)
                box.kill_something(chance)
            box.wait(Stage("rest", lambda: None, lambda: at_rest(box)), patience=300)
            if not judged(box):  # each was killed more than ten times
                box.order("resume")
                resumed = Stage("a person resumed it", lambda: None, lambda: at_rest(box) and judged(box))
                box.wait(resumed, patience=300)
            box.rest()
        finally:
            box.close()
            states = [attempt.state.value for attempt in box.attempts("shop")]
            print(f"seed {seed}: {box.kills} kills in {time.monotonic() - began:.0f} s, attempts {states}")
            record_property("kills", box.kills)
            record_property("violations", len(box.violations))
    assert not box.violations, "\n".join(map(str, box.violations))
    assert judged(box)


def pause(box: KilledBox, chance: random.Random) -> None:
    if chance.random() < DIE_AT_START:
        time.sleep(chance.uniform(0.0, 0.7))
        return
    box.until(box.is_up)
    time.sleep(chance.uniform(*chance.choices(PAUSES, WEIGHTS)[0]))


def people_act(box: KilledBox, chance: random.Random, number: int) -> None:
    """Now and then a file arrives, good or with labels that mean nothing, or the alias is moved."""
    folder = box.folder / "drops" / box.model
    if number % max(KILLS // MOST_FILES, 1) == 0:
        box.put(f"{number}.csv", number + 2, scrambled=chance.random() < 0.3)
        if chance.random() < 0.3:
            (folder / f"{number}-again.csv").write_bytes((folder / f"{number}.csv").read_bytes())
    if chance.random() < 0.03:
        box.move_champion(chance.choice(box.versions(box.model)))


def judged(box: KilledBox) -> bool:
    return any(attempt.state in ("promoted", "rejected") for attempt in box.attempts(box.model))


def at_rest(box: KilledBox) -> bool:
    files = [path.name for path in (box.folder / "drops" / box.model).iterdir()]
    ended = all(attempt.ended_at for attempt in box.attempts(box.model))
    return box.settled(*files) and ended and box.standing(box.model) in AT_REST
