"""A rule with a search: values are tried, the best are trained and judged, and everyone who asks is told which."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from retrain_daemon.core.attempts import Attempt
from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

C = "logisticregression__C"
SEARCH = (
    "promote:\n",
    f"    train:\n      hyperparameters: {{{C}: {{low: 1e-6, high: 1e3, log: true}}}}\n"
    "      search: {trials: 12, stop_after: 10m, metric: log_loss}\npromote:\n",
)


@pytest.fixture(scope="module")
def searched(boxes: Boxes) -> tuple[Box, Attempt]:
    """A daemon that has promoted version 2, for which a search chose."""
    box = boxes()
    box.register()
    box.policy("shop", SEARCH)
    box.start()
    box.drop("monday.csv", buyers(2))
    return box, box.ended(patience=150)


def chosen(attempt: Attempt) -> float:
    assert attempt.challenger is not None
    assert attempt.challenger.searched is not None
    return float(str(attempt.challenger.searched.chosen[C]))


def test_a_rule_with_a_search_trains_is_judged_and_promoted(searched: tuple[Box, Attempt]) -> None:
    box, attempt = searched
    assert attempt.state == "promoted"
    assert 1e-4 < chosen(attempt) <= 1e3  # with less it learns next to nothing
    assert attempt.challenger is not None
    run = box.client.get_run(attempt.challenger.run_id)
    assert run.data.params[C] == str(chosen(attempt))
    assert "search_best_log_loss" in run.data.metrics


def test_show_and_the_attempts_files_tell_the_chosen_values(searched: tuple[Box, Attempt], tmp_path: Path) -> None:
    box, attempt = searched
    shown = box.run("show", attempt.id).out
    assert f"recipe: refit, {C}={chosen(attempt):.6g}; {C} chosen by a search: log_loss" in shown
    assert "the best of 12 trials" in shown
    parsed: Any = box.run("show", attempt.id, "--json").json
    assert parsed["attempt"]["challenger"]["searched"]["chosen"] == {C: chosen(attempt)}
    written = box.until(lambda: [line for line in box.events("report.written") if line["attempt"] == attempt.id])[0]
    files = {name: Path(box.client.download_artifacts(written["run"], name, str(tmp_path))).read_text("utf-8")
             for name in ("report.html", "decision.json", "search.json")}  # fmt: skip
    assert json.loads(files["decision.json"])["challenger"]["searched"]["chosen"] == {C: chosen(attempt)}
    assert len(json.loads(files["search.json"])["trials"]) == 12
    assert "12 trials by log_loss" in files["report.html"]


def test_the_next_search_begins_with_the_champions_value_and_goes_on_after_a_kill(
    searched: tuple[Box, Attempt], tmp_path: Path
) -> None:
    box, first = searched
    box.drop("tuesday.csv", buyers(3))
    box.until(lambda: list((box.state / "kept").glob("*-study/search.json")), patience=120)
    box.end(signal.SIGKILL)
    box.start()
    second = box.ended(2, patience=120)
    assert second.challenger is not None
    file = box.client.download_artifacts(second.challenger.run_id, "search.json", str(tmp_path))
    trials = json.loads(Path(file).read_text("utf-8"))["trials"]
    assert trials[0]["values"] == {C: chosen(first)}
    assert [trial["number"] for trial in trials] == list(range(1, 13))
    experiment = box.client.get_run(second.challenger.run_id).info.experiment_id
    finished = f"tags.`retraind.attempt` = '{second.id}' and attributes.status = 'FINISHED'"
    assert len(box.client.search_runs([experiment], finished)) == 1
    assert list((box.state / "kept").iterdir()) == []
