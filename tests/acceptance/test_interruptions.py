"""The daemon is stopped or killed while a worker trains; a person moves the alias meanwhile."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

import pytest

from retrain_daemon.core.attempts import Attempt
from tests.acceptance.conftest import Boxes
from tests.box import Box, alive, buyers

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Interrupted:
    """What was seen when the daemon was asked to end, and when it was killed, each while a worker trained."""

    box: Box
    exit_code: int
    seconds_to_end: float
    state_after_end: str
    workers: tuple[int, ...]
    alive_after_kill: tuple[int, ...]
    attempt: Attempt


@pytest.fixture(scope="module")
def interrupted(boxes: Boxes) -> Interrupted:
    """One attempt that was cut short by SIGTERM, then by SIGKILL, then left alone."""
    box = boxes()
    box.register()
    box.register("store")
    box.register("store", rows=buyers(9, 4000), alias=None)
    for model in ("shop", "store"):
        box.policy(model)
    box.start()
    box.drop("monday.csv", buyers(2))
    first = worker_of(box, start=1)
    began = time.monotonic()
    code = box.end(signal.SIGTERM)
    took = time.monotonic() - began
    state = box.attempts()[0].state
    box.start()
    second = worker_of(box, start=2)
    box.end(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while alive(second) and time.monotonic() < deadline:
        time.sleep(0.1)
    left = tuple(pid for pid in (first, second) if alive(pid))
    box.start()
    return Interrupted(box, code, took, state, (first, second), left, box.ended())


def worker_of(box: Box, start: int) -> int:
    """Wait until the n-th worker of the first attempt runs; returns its process id."""
    pid = box.until(lambda: next((pid for key, pid in box.workers().items() if key.endswith(f".{start}")), 0))
    box.training()
    assert alive(pid)
    return pid


def test_a_daemon_asked_to_end_while_a_worker_trains_ends_with_0_within_seconds(interrupted: Interrupted) -> None:
    assert interrupted.exit_code == 0
    assert interrupted.seconds_to_end < 8
    assert interrupted.state_after_end == "training"
    assert interrupted.box.events("daemon.stopped")


def test_no_worker_outlives_its_daemon(interrupted: Interrupted) -> None:
    assert len(set(interrupted.workers)) == 2
    assert interrupted.alive_after_kill == ()


def test_an_attempt_cut_short_twice_leads_to_one_result_one_version_and_one_promotion(
    interrupted: Interrupted,
) -> None:
    box = interrupted.box
    assert interrupted.attempt.state == "promoted"
    assert (interrupted.attempt.starts, interrupted.attempt.failures) == (3, 0)
    assert len(box.attempts()) == 1
    assert box.versions() == [1, 2]
    assert [line["event"] for line in box.events() if line["event"] == "attempt.promoted"] == ["attempt.promoted"]
    with box.journal() as journal:
        events = [line.event for line in journal.history_of(interrupted.attempt.id)]
    assert (events.count("attempt.trained"), events.count("attempt.promoted")) == (1, 1)


def test_a_person_who_moves_the_alias_while_a_challenger_trains_wins(interrupted: Interrupted) -> None:
    box = interrupted.box
    box.drop("monday.csv", buyers(3), "store")
    box.training(1, "store")
    box.client.set_registered_model_alias("store", "champion", "2")
    attempt = box.ended(1, "store")
    assert attempt.state in ("rejected", "inconclusive")
    assert attempt.champion_version == 2
    assert attempt.evidence is not None
    assert attempt.evidence.champion_version == 2
    box.until(lambda: box.aliases("store") == {"champion": 2, "previous_champion": 1})
    assert box.versions("store") == [1, 2]
    moved = [line for line in box.events("champion.moved") if line["model"] == "store"]
    assert [(line["version"], line["was"]) for line in moved] == [(2, 1)]
