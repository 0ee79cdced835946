"""Through the real daemon: versions that people put up as challenger, and a network whose worker is killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from retrain_daemon.core.attempts import Attempt
from retrain_daemon.worker.job import read_progress
from tests import networks
from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def box(boxes: Boxes) -> Box:
    """A model whose rules never hold, watched by a daemon."""
    box = boxes()
    box.register()
    box.policy(rows=10**9)
    box.start()
    return box


def offered(box: Box, version: int) -> None:
    box.client.set_registered_model_alias("shop", "challenger", str(version))


@pytest.fixture(scope="module")
def better(box: Box) -> Attempt:
    """A person registers a version that learned the present world; rows come afterwards."""
    offered(box, box.register(alias=None, rows=buyers(11, 600)))
    box.until(lambda: "challenger" in box.run("status").out)
    box.drop("monday.csv", buyers(2, 1500))
    return box.ended()


def test_a_persons_better_version_becomes_champion_without_training(box: Box, better: Attempt) -> None:
    assert (better.state, better.rule, better.version) == ("promoted", "challenger", 2)
    assert box.aliases() == {"champion": 2, "previous_champion": 1}
    tags = box.client.get_model_version("shop", "2").tags
    assert (tags["retraind.verdict"], tags["retraind.replaces"]) == ("promote", "1")
    assert tags["retraind.summary"].startswith("accuracy: challenger 0.")
    assert box.versions() == [1, 2]
    assert box.events("decision.judge")[0]["version"] == 2
    assert "nothing was trained: version 2 is judged as someone registered it" in box.run("show", better.id).out
    assert (len(box.events("attempt.comparing")), box.events("attempt.training")) == (1, [])


def test_a_persons_worse_version_loses_the_alias_and_says_why(box: Box, better: Attempt) -> None:
    worse = box.register(alias=None)
    offered(box, worse)
    waits = f"challenger: version {worse} waits for 200 held-out rows newer than it"
    box.until(lambda: waits in box.run("status", "--json").json["models"][0]["why"])
    assert waits in box.run("plan").out
    box.drop("tuesday.csv", buyers(3, 1500))
    attempt = box.ended(2)
    assert attempt.state == "rejected"
    assert box.aliases() == {"champion": 2, "previous_champion": 1}
    assert box.client.get_model_version("shop", str(worse)).tags["retraind.verdict"] == "reject"


def test_a_version_of_other_columns_is_refused_with_them_and_keeps_the_alias(box: Box, better: Attempt) -> None:
    rows = buyers(12, 600).rename(columns={"age": "years"})
    other = box.register(alias=None, rows=rows)
    offered(box, other)
    box.drop("wednesday.csv", buyers(4, 1500))
    attempt = box.ended(3)
    assert attempt.state == "abandoned"
    assert f"Version {other} of shop takes other columns than the champion, version 2: age, years." in attempt.reason
    assert box.aliases()["challenger"] == other
    assert f"version {other} was not judged" in box.run("status", "--json").json["models"][0]["why"]


def test_a_network_whose_worker_is_killed_in_training_leaves_nothing_and_is_trained_again(boxes: Boxes) -> None:
    box = boxes()
    networks.register(box, "torch", networks.log_torch)
    box.policy("torch", ("epochs: 4", "epochs: 50"), text=networks.POLICY)
    (box.folder / "drops" / "all").mkdir()
    box.start()
    networks.drop_for_all(box, "monday.csv", buyers(2, 1500))

    def at_work() -> int | None:
        for name, pid in box.workers().items():
            progress = read_progress(box.state / "jobs" / name)
            if progress is not None and progress.phase.startswith("training, epoch"):
                return pid
        return None

    pid = box.until(at_work, 60)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    box.until(lambda: box.events("attempt.failed"))
    assert box.versions("torch") == [1]
    experiments = [each.experiment_id for each in box.client.search_experiments()]
    assert [run.info.status for run in box.client.search_runs(experiments)] == ["FINISHED"]
    attempt = box.ended(model="torch", patience=150)
    assert (attempt.state, attempt.starts) == ("promoted", 2)
    assert box.versions("torch") == [1, 2]
    assert Path(attempt.challenger.learned_file if attempt.challenger else "").exists()
