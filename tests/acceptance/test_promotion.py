"""The main story: rows arrive, a challenger wins, another one does not, people look at it and go back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from retrain_daemon.core.attempts import Attempt
from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def promoted(boxes: Boxes) -> tuple[Box, Attempt]:
    """A daemon that has promoted version 2 after one file was dropped."""
    box = boxes()
    box.register()
    box.policy()
    box.start()
    box.drop("monday.csv", buyers(2))
    return box, box.ended()


@pytest.fixture(scope="module")
def scrambled(promoted: tuple[Box, Attempt]) -> tuple[Box, Attempt]:
    """The same box after a file with scrambled labels was dropped."""
    box, _ = promoted
    box.drop("tuesday.csv", buyers(3, scrambled=True))
    return box, box.ended(2)


def test_a_dropped_file_moves_the_alias_to_a_challenger_that_was_shown_to_be_better(
    promoted: tuple[Box, Attempt],
) -> None:
    box, attempt = promoted
    assert attempt.state == "promoted"
    assert attempt.version == 2
    assert box.aliases() == {"champion": 2, "previous_champion": 1}
    assert box.versions() == [1, 2]


def test_version_and_run_say_where_they_came_from(promoted: tuple[Box, Attempt]) -> None:
    box, attempt = promoted
    version = box.client.get_model_version("shop", "2")
    run = box.client.get_run(attempt.challenger.run_id if attempt.challenger else "")
    assert version.tags["retraind.attempt"] == run.data.tags["retraind.attempt"] == attempt.id
    assert version.tags["retraind.replaces"] == version.tags["retraind.parent"] == "1"
    assert version.tags["retraind.verdict"] == run.data.tags["retraind.verdict"] == "promote"
    assert version.run_id == run.info.run_id
    assert attempt.id in str(version.description)


def test_the_log_tells_the_story_in_order(promoted: tuple[Box, Attempt]) -> None:
    box, attempt = promoted
    told = [line["event"] for line in box.events() if line.get("attempt") == attempt.id or "drop" in line["event"]]
    wanted = ["drop.recorded", "decision.train", "attempt.training", "attempt.judged", "attempt.promoted"]
    assert [event for event in told if event in wanted][:5] == wanted
    assert box.events("attempt.promoted")[0]["version"] == 2


def test_show_tells_why_with_what_and_what_settled_it(promoted: tuple[Box, Attempt]) -> None:
    box, attempt = promoted
    shown = box.run("show", attempt.id)
    assert shown.code == 0
    for word in ("promoted", "enough fresh rows", "monday.csv", "accuracy", "registered as version 2", "refit",
                 "none is among the judging rows"):  # fmt: skip
        assert word in shown.out
    parsed: Any = box.run("show", attempt.id, "--json").json
    assert parsed["attempt"]["version"] == 2
    assert [drop["rows"] for drop in parsed["drops"]] == [2000]


def test_a_report_lies_in_the_run_and_run_and_version_link_to_it(promoted: tuple[Box, Attempt], tmp_path: Path) -> None:
    box, attempt = promoted
    written = box.until(lambda: [line for line in box.events("report.written") if line["attempt"] == attempt.id])[0]
    run = box.client.get_run(written["run"])
    assert attempt.challenger is not None
    assert run.info.run_id == attempt.challenger.run_id
    link = f"#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts/report.html"
    assert link in run.data.tags["mlflow.note.content"]
    assert link in str(box.client.get_model_version("shop", "2").description)
    page = Path(box.client.download_artifacts(run.info.run_id, "report.html", str(tmp_path))).read_text("utf-8")
    for words in ("Version 2 replaced version 1", "monday.csv", "Rows that flipped", "enough fresh rows"):
        assert words in page
    file = box.client.download_artifacts(run.info.run_id, "decision.json", str(tmp_path))
    decision = json.loads(Path(file).read_text("utf-8"))
    assert (decision["state"], decision["verdict"], decision["versions"]["challenger"]) == ("promoted", "promote", 2)
    assert not list((box.state / "reports").iterdir())
    assert f"in MLflow run {run.info.run_id}" in box.run("show", attempt.id).out


def test_data_says_of_each_row_what_the_attempt_did_with_it(promoted: tuple[Box, Attempt]) -> None:
    box, attempt = promoted
    assert attempt.challenger is not None
    assert attempt.evidence is not None
    said: Any = box.run("data", "shop", "--json").json
    [file] = [each["account"] for each in said["files"]]
    champion = next(each for each in said["versions"] if each["champion"])
    assert (file["rows"], file["usable"], file["repeated"], file["outside"]) == (2000, 2000, 0, 0)
    assert file["training"] == attempt.challenger.training_rows == champion["account"]["learned"]
    assert file["judging"] == attempt.evidence.rows + attempt.evidence.excluded + attempt.evidence.too_early
    assert [2, file["training"]] in file["learned"]
    assert champion["account"]["judging"] == file["judging"]
    assert attempt.evidence.checked_keys == attempt.challenger.training_rows
    judging = box.run("data", "shop", "--side", "judge").out.splitlines()
    assert (judging[0], len(judging) - 1) == ("file,row", file["judging"])


def test_nothing_starts_again_on_the_rows_that_led_to_the_promotion(promoted: tuple[Box, Attempt]) -> None:
    box, attempt = promoted
    polls = 3
    before = len(box.attempts())
    seen = box.client.get_registered_model("shop").last_updated_timestamp
    box.until(lambda: box.standing() in ("nothing_new", "no_rule_holds", "too_few_judging_rows") or before > 1)
    for _ in range(polls):
        with pytest.raises(AssertionError):
            box.until(lambda: len(box.attempts()) > before, patience=1.0)
    assert box.attempts()[0].id == attempt.id
    assert box.client.get_registered_model("shop").last_updated_timestamp == seen
    assert not box.events("champion.moved")


def test_plan_says_why_nothing_starts(promoted: tuple[Box, Attempt]) -> None:
    box, _ = promoted
    parsed: Any = box.run("plan", "shop", "--json").json
    assert parsed[0]["decision"]["action"] == "wait"
    assert parsed[0]["decision"]["sentence"]
    assert parsed[0]["facts"]["champion"]["version"] == 2


def test_status_shows_model_champion_and_daemon(promoted: tuple[Box, Attempt]) -> None:
    box, attempt = promoted
    said = box.run("status")
    assert said.code == 0
    assert "retraind run, process" in said.out
    assert attempt.id in said.out
    parsed: Any = box.run("status", "--json").json
    assert [(each["model"], each["champion"]) for each in parsed["models"]] == [("shop", 2)]
    assert parsed["policy_problems"] == []


def test_history_tells_every_step_with_its_effects(promoted: tuple[Box, Attempt]) -> None:
    box, attempt = promoted
    said = box.run("history", "shop")
    assert said.code == 0
    parsed: Any = box.run("history", "--json").json
    events = [line["event"] for line in parsed if line["subject"] == attempt.id]
    effects = [line["detail"] for line in parsed if line["subject"] == attempt.id and line["event"] == "effect.done"]
    assert events[0] == "attempt.planned"
    assert events[-1] == "attempt.promoted"
    assert [detail.split()[0] for detail in effects] == ["tag", "register", "tag", "move", "set"]
    assert "champion from version 1 to 2" in said.out


def test_a_second_daemon_on_the_same_state_folder_ends_with_7_and_names_the_first(
    promoted: tuple[Box, Attempt],
) -> None:
    box, _ = promoted
    ended = box.run("run")
    assert ended.code == 7
    assert box.daemon is not None
    assert f"process {box.daemon.pid}," in ended.err
    assert "Traceback" not in ended.err


def test_scrambled_labels_do_not_replace_the_champion(scrambled: tuple[Box, Attempt]) -> None:
    box, attempt = scrambled
    assert attempt.state in ("rejected", "inconclusive")
    assert attempt.version is None
    assert box.aliases()["champion"] == 2
    assert box.versions() == [1, 2]
    run = box.client.get_run(attempt.challenger.run_id if attempt.challenger else "")
    assert run.data.tags["retraind.verdict"] in ("reject", "inconclusive")


def test_a_rejected_challenger_is_not_trained_again_on_the_same_rows(scrambled: tuple[Box, Attempt]) -> None:
    box, _ = scrambled
    box.until(lambda: box.standing() != "train")
    with pytest.raises(AssertionError):
        box.until(lambda: len(box.attempts()) > 2, patience=3.0)


def test_retracting_a_drop_names_it_and_takes_it_out_of_use(scrambled: tuple[Box, Attempt]) -> None:
    box, _ = scrambled
    said = box.run("drop", "retract", "tuesday.csv", "--why", "labels were scrambled")
    assert said.code == 0
    assert "tuesday.csv is retracted" in said.out
    assert "no registered version learned from it" in said.out
    assert box.drops()["tuesday.csv"].state == "retracted"
    again = box.run("drop", "retract", "tuesday.csv", "--why", "again")
    assert again.code == 5
    assert "retracted already" in again.err


def test_a_rollback_with_a_running_daemon_goes_back_and_pauses_the_model(scrambled: tuple[Box, Attempt]) -> None:
    box, _ = scrambled
    said = box.run("rollback", "shop", "--why", "scores looked odd")
    assert (said.code, said.err) == (0, "")
    assert "version 1 is champion again" in said.out
    assert box.aliases() == {"champion": 1, "previous_champion": 2}
    assert "retraind.rolled_back" in box.client.get_model_version("shop", "2").tags
    assert box.run("status", "--json").json["models"][0]["state"] == "paused"
    box.drop("wednesday.csv", buyers(4))
    assert box.recorded("wednesday.csv").state == "recorded"
    box.until(lambda: box.standing() == "held")
    assert len(box.attempts()) == 2
