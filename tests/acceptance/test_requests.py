"""People ask: pause, resume, retrain by verb and by tag; and a box without a daemon, worked by hand."""

from __future__ import annotations

import pytest

from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def worked_once(boxes: Boxes) -> tuple[Box, int]:
    """A box on which no daemon runs: `run --once` after a file was dropped, with its exit code."""
    box = boxes()
    box.register()
    box.policy()
    assert box.run("run", "--once").code == 0
    box.drop("monday.csv", buyers(2))
    return box, box.run("run", "--once").code


def test_run_once_does_one_complete_pass_and_ends_with_0(worked_once: tuple[Box, int]) -> None:
    box, code = worked_once
    assert code == 0
    assert [attempt.state for attempt in box.attempts()] == ["promoted"]
    assert box.aliases() == {"champion": 2, "previous_champion": 1}
    assert "daemon: not running" in box.run("status").out


def test_a_retrain_without_a_daemon_is_noted_for_the_next_one(worked_once: tuple[Box, int]) -> None:
    box, _ = worked_once
    said = box.run("retrain", "shop", "--why", "before the weekend")
    assert said.code == 0
    assert "no daemon is running" in said.out
    assert "asked for already" in box.run("retrain", "shop").out


def test_rollback_pause_and_resume_work_without_a_daemon(worked_once: tuple[Box, int]) -> None:
    box, _ = worked_once
    said = box.run("rollback", "shop")
    assert (said.code, said.err) == (0, "")
    assert box.aliases() == {"champion": 1, "previous_champion": 2}
    again = box.run("rollback", "shop")
    assert again.code == 5
    assert "shop is paused since it was rolled back to version 1" in again.err
    assert box.run("resume", "shop").code == 0
    assert box.run("pause", "shop", "--why", "holidays").code == 0
    assert "holidays" in box.run("status").out


@pytest.mark.parametrize("verb", ["pause", "resume", "retrain", "rollback", "plan"])
def test_a_model_that_nobody_watches_is_not_found(worked_once: tuple[Box, int], verb: str) -> None:
    said = worked_once[0].run(verb, "nothing")
    assert said.code == 4
    assert "nothing" in said.err
    assert len(said.err.splitlines()) == 1


@pytest.fixture(scope="module")
def running(boxes: Boxes) -> Box:
    """A daemon with rows on which no rule wants to train; an attempt that is asked for fails at once."""
    box = boxes()
    box.register()
    box.policy("shop", ("mode: refit", "mode: refit\n  limits: {memory: 5MiB}\n  retries: 0"), rows=10**6)
    box.start()
    box.drop("monday.csv", buyers(2))
    box.until(lambda: box.standing() == "no_rule_holds")
    return box


def test_nothing_that_is_asked_for_starts_while_the_model_is_paused(running: Box) -> None:
    box = running
    assert box.run("pause", "shop", "--why", "audit").code == 0
    refused = box.run("retrain", "shop")
    assert refused.code == 5
    assert "audit" in refused.err
    box.client.set_registered_model_tag("shop", "retrain", "now")
    box.until(lambda: box.standing() == "held")
    with pytest.raises(AssertionError):
        box.until(lambda: box.attempts(), patience=3.0)
    assert box.run("resume", "shop").code == 0
    box.ended(1)


def test_a_request_by_verb_or_by_tag_is_honoured_once_and_the_tag_again_when_it_was_gone(running: Box) -> None:
    box = running
    by_tag = box.ended(1)
    assert by_tag.rule == "request"
    assert "tag retrain=now" in box.run("show", by_tag.id).out
    asked = box.run("retrain", "shop", "--why", "to be sure")
    assert (asked.code, asked.err) == (0, "")
    assert "to be sure" in box.run("show", box.ended(2).id).out
    with pytest.raises(AssertionError):
        box.until(lambda: len(box.attempts()) > 2, patience=3.0)
    box.client.delete_registered_model_tag("shop", "retrain")
    box.until(lambda: not tag_taken(box))
    box.client.set_registered_model_tag("shop", "retrain", "now")
    assert box.ended(3).rule == "request"


def tag_taken(box: Box) -> bool:
    with box.journal() as journal:
        row = journal.models.find("shop")
    return row is not None and row.tag_request_taken
