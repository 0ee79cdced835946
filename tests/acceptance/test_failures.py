"""Workers that fail, an MLflow that does not answer, a state folder that cannot be used."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers
from tests.line import Line
from tests.mlflow_server import running_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def failing(boxes: Boxes) -> Box:
    """A daemon with one model whose recipe scikit-learn refuses, and one whose workers get too little memory."""
    box = boxes()
    box.register("hopeless")
    box.log_copy("hopeless", "hungry", "champion")
    box.policy("hopeless", ("mode: refit", "mode: refit\n  hyperparameters: {logisticregression__C: -1.0}"))
    box.policy("hungry", ("mode: refit", "mode: refit\n  limits: {memory: 5MiB}\n  retries: 1"))
    box.start()
    for model in ("hungry", "hopeless"):
        box.drop("monday.csv", buyers(2), model)
    return box


def test_a_training_that_cannot_work_is_abandoned_at_once_with_its_reason(failing: Box) -> None:
    attempt = failing.ended(1, "hopeless")
    assert (attempt.state, attempt.starts) == ("abandoned", 1)
    assert "The 'C' parameter" in attempt.reason
    assert "Got -1.0" in attempt.reason
    assert failing.aliases("hopeless") == {"champion": 1}
    failing.until(lambda: failing.standing("hopeless") == "nothing_new")


def test_a_worker_over_its_memory_limit_is_tried_again_before_its_attempt_is_abandoned(failing: Box) -> None:
    attempt = failing.ended(1, "hungry")
    assert (attempt.state, attempt.starts) == ("abandoned", 2)
    assert "its limit is 5 MiB" in attempt.reason
    assert [line["attempt"] for line in failing.events("attempt.failed")].count(attempt.id) == 1


def test_three_abandoned_attempts_hold_the_model_until_someone_resumes_it(failing: Box) -> None:
    box = failing
    assert box.run("retrain", "hungry").code == 0
    assert box.ended(2, "hungry").state == "abandoned"
    box.drop("tuesday.csv", buyers(3), "hungry")
    assert box.ended(3, "hungry").state == "abandoned"
    box.until(lambda: box.standing("hungry") == "too_many_failures")
    with pytest.raises(AssertionError):
        box.until(lambda: len(box.attempts("hungry")) > 3, patience=2.0)
    assert box.run("resume", "hungry").code == 0
    box.until(lambda: box.standing("hungry") == "nothing_new")


def test_a_pass_without_mlflow_ends_with_6_and_says_who_did_not_answer(boxes: Boxes) -> None:
    box = boxes("http://127.0.0.1:9")
    box.policy()
    box.drop("monday.csv", buyers(2, 100))
    began = time.monotonic()
    ended = box.run("run", "--once")
    assert ended.code == 6
    assert "127.0.0.1:9" in ended.err
    assert "Traceback" not in ended.err
    assert time.monotonic() - began < 30
    assert box.drops()["monday.csv"].state == "found"
    plan = box.run("plan")
    assert plan.code in (0, 6)
    assert "127.0.0.1:9" in plan.out + plan.err


def test_a_daemon_outlives_an_mlflow_that_is_down_at_start_and_in_the_middle(boxes: Boxes, tmp_path: Path) -> None:
    with running_server(tmp_path) as server, Line(server) as line:
        box = boxes(line.uri)
        line.connect()
        box.register()
        line.cut()
        box.policy()
        box.start()
        box.until(lambda: box.events("registry.unreachable"))
        box.drop("monday.csv", buyers(2))
        box.until(lambda: "monday.csv" in box.drops())
        line.connect()
        box.training()
        line.cut()
        box.until(lambda: len(box.events("registry.unreachable")) == 2)
        line.connect()
        assert box.ended().state == "promoted"
        assert box.aliases() == {"champion": 2, "previous_champion": 1}
        assert box.versions() == [1, 2]
        box.until(lambda: len(box.events("registry.recovered")) == 2)
        box.close()


def test_a_state_folder_that_cannot_be_made_ends_with_8_and_a_sentence(boxes: Boxes) -> None:
    box = boxes()
    (box.folder / "file").write_text("in the way")
    state = str(box.folder / "file" / "state")
    for verb in (("run",), ("run", "--once"), ("pause", "shop")):
        ended = box.run(*verb, "--state", state)
        assert ended.code == 8
        assert state in ended.err
        assert "Traceback" not in ended.err
        assert len(ended.err.splitlines()) == 1
