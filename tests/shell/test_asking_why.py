"""What `plan`, `facts` and `show` tell of rules and facts, by the journal of a box and its registry."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from retrain_daemon.cli import explaining, telling
from retrain_daemon.cli.main import main
from retrain_daemon.cli.recipes import recipe_lines
from retrain_daemon.cli.rule_lines import forecast_line, rule_lines
from retrain_daemon.core.decide import RuleReport
from retrain_daemon.core.policy import Mode, Recipe, Schedule, Search, Space, Upstream
from retrain_daemon.core.rules.forecast import Forecast
from retrain_daemon.core.rules.parts import Part
from retrain_daemon.errors import RegistryUnreachable
from retrain_daemon.fact_sources import told_facts
from tests.fake_box import MODEL, FakeBox
from tests.made import NOW, a_policy, some_facts

Ask = Callable[..., str]
RULE = "- {name: enough fresh rows, when: data.new_rows >= 1000}"
RULES = """- name: the world changed
    when: drift.max > 0.25 && (data.new_rows >= 100 || failures > 0)
    train: {mode: refit, hyperparameters: {C: 0.5}}
  - name: enough fresh rows
    when: data.new_rows >= 10000
  - name: getting old
    when: champion.age > days(60)
  - name: getting worse
    when: champion.score.accuracy < champion.baseline.accuracy - 0.05"""


@pytest.fixture
def box(tmp_path: Path) -> FakeBox:
    """Version 7, a month old, with one file of 5,000 rows that no attempt had."""
    box = FakeBox(tmp_path)
    box.edit_policy(RULE, RULES)
    box.record_champion()
    box.drop("a.csv")
    box.live()
    return box


@pytest.fixture
def ask(box: FakeBox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Runs a command on the box, and returns what it printed."""
    monkeypatch.setattr(explaining, "registry_of", lambda _: box.registry)
    for module in (explaining, telling):
        monkeypatch.setattr(module, "clock", box.clock)

    def run(*words: str) -> str:
        capsys.readouterr()
        assert main([*words, "--state", str(box.root / "state"), "--policies", str(box.root / "policies")]) == 0
        return capsys.readouterr().out

    return run


def test_plan_shows_each_part_of_a_rule_with_its_value_or_why_it_is_not_known(ask: Ask) -> None:
    said = ask("plan", MODEL)
    assert "  rule “enough fresh rows”: does not hold\n    no   data.new_rows >= 10000: 5,000, short by 5,000\n" in said
    unknown = "no attempt was judged yet, so there is nothing to compare new rows with"
    assert (
        "  rule “the world changed”: unknown\n"
        f"    ?    drift.max > 0.25: not known: drift.max ({unknown})\n"
        "    yes  one of these\n"
        "      yes  data.new_rows >= 100: 5,000\n"
        "      no   failures > 0: 0, short by 1\n"
    ) in said
    assert (
        "    no   champion.score.accuracy < champion.baseline.accuracy - 0.05: 0.9 against 0.85, over by 0.05\n" in said
    )


def test_plan_says_when_time_alone_makes_a_rule_hold_and_what_others_wait_for(box: FakeBox, ask: Ask) -> None:
    said = ask("plan", MODEL)
    made = box.registry.version(MODEL, 7).created_at
    assert f"    time alone makes it hold from {made + timedelta(days=60):%A %Y-%m-%d %H:%M} UTC\n" in said
    assert "    time alone does not make it hold: it waits for data.new_rows\n" in said
    assert f"  time alone may change this at {made + timedelta(days=60):%A %Y-%m-%d %H:%M} UTC\n" in said


def test_plan_says_what_the_pace_has_against_a_start_at_the_time_that_is_foreseen(box: FakeBox, ask: Ask) -> None:
    box.edit_policy("champion.age > days(60)", "schedule.nightly")
    nightly = "schedules: {nightly: {cron: '0 3 * * *', within: 1h}}"
    quiet = "pace: {quiet_hours: {from: '02:00', to: '05:00'}}"
    box.edit_policy("promote:", f"{nightly}\n{quiet}\npromote:")
    said = ask("plan", MODEL)
    assert (
        "    time alone makes it hold from Monday 2026-03-02 03:00 UTC; quiet hours until 2026-03-02 05:00 UTC\n"
    ) in said
    assert "  time alone may change this at Monday 2026-03-02 03:00 UTC\n" in said


@pytest.mark.parametrize(
    ("pace", "said"),
    [
        ("{quiet_hours: {from: '11:00', to: '18:00'}}", "2026-03-01 18:00"),
        ("{cooldown: 12h, quiet_hours: {from: '22:00', to: '03:00'}}", "2026-03-02 03:00"),
    ],
)
def test_plan_says_when_the_pace_lets_an_attempt_start_whatever_slot_comes_before(
    pace: str, said: str, box: FakeBox, ask: Ask
) -> None:
    box.edit_policy("champion.age > days(60)", "schedule.hourly")
    box.edit_policy("data.new_rows >= 10000", "data.new_rows >= 1000")
    box.live()
    box.drop("b.csv", "x,churned\n2,yes\n")
    box.edit_policy("promote:", f"schedules: {{hourly: {{cron: '0 * * * *', within: 10m}}}}\npace: {pace}\npromote:")
    box.live()
    assert f"UTC\n  not before {'Sunday' if '-01 ' in said else 'Monday'} {said} UTC\n" in ask("plan", MODEL)


def test_plan_shows_the_recipe_of_each_rule_once(ask: Ask) -> None:
    said = ask("plan", MODEL)
    assert "    recipe: refit, C=0.5\n      limits: 2h, 2 more tries after a failure\n" in said
    assert "    recipe: warm_start\n" in said
    assert said.count("    recipe: the same as above\n") == 2


def test_plan_of_many_models_is_a_line_for_each_rule(box: FakeBox, ask: Ask) -> None:
    policy = (box.root / "policies" / "churn.yaml").read_text()
    (box.root / "policies" / "other.yaml").write_text(policy.replace("model: churn", "model: other"))
    said = ask("plan")
    assert (
        "  rule “enough fresh rows”: does not hold: time alone does not make it hold: it waits for data.new_rows\n"
        in said
    )
    assert "short by 5,000\n" not in said.replace(said.splitlines()[1], "")
    assert "other: waits (champion_no_model)" in said


def test_a_rule_that_holds_but_may_not_start_shows_its_recipe(box: FakeBox, ask: Ask) -> None:
    box.edit_policy("data.new_rows >= 10000", "data.new_rows >= 1000")
    box.order("pause", "holidays")
    box.live(1)
    said = ask("plan")
    assert f"{MODEL}: waits (held)" in said
    assert "rule “enough fresh rows”: holds\n    yes  data.new_rows >= 1000: 5,000\n    recipe: warm_start\n" in said


def test_plan_and_facts_work_while_the_registry_does_not_answer(box: FakeBox, ask: Ask) -> None:
    box.registry.fail_with = RegistryUnreachable("MLflow at http://mlflow:5000 does not answer.")
    said = ask("plan", MODEL)
    assert "?    champion.age > days(60): not known: champion.age (the registry does not answer)" in said
    assert "MLflow at http://mlflow:5000 does not answer." in said
    assert "MLflow at http://mlflow:5000 does not answer." in ask("facts", MODEL)
    told = facts_by_name(ask("facts", MODEL, "--json"))
    assert told["champion.version"]["value"] is None
    assert "does not answer" in told["champion.version"]["why_unknown"]
    assert told["data.new_rows"]["value"] == 5000


def test_plan_as_json_has_parts_reasons_and_forecasts(ask: Ask) -> None:
    (plan,) = json.loads(ask("plan", MODEL, "--json"))
    drifted, either = plan["decision"]["rules"][0]["parts"]
    assert (drifted["holds"], drifted["missing"]) == (None, ["drift.max"])
    assert [part["gap"] for part in either["parts"]] == ["", "short by 1"]
    assert "nothing to compare" in plan["rules"]["the world changed"]["reasons"]["drift.max"]
    assert plan["rules"]["enough fresh rows"]["forecast"]["waits_for"] == ["data.new_rows"]


def facts_by_name(said: str) -> dict[str, Any]:
    return {fact["name"]: fact for fact in json.loads(said)}


def test_facts_say_where_each_value_comes_from_or_why_there_is_none(box: FakeBox, ask: Ask) -> None:
    told = facts_by_name(ask("facts", MODEL, "--json"))
    assert told["data.new_rows"]["source"] == "1 file (a.csv) that no judged attempt had"
    assert told["champion.version"]["value"] == 7
    assert told["champion.version"]["source"].startswith("the registry's alias champion, asked 20")
    assert told["champion.score.accuracy"]["value"] == 0.9
    assert told["champion.score.accuracy"]["source"] == (
        "version 7 on 1,000 rows of 1 file (a.csv), which came since it was cut"
    )
    assert told["data.waiting"]["source"].startswith("a.csv is the oldest with new rows, since ")
    assert told["last.age"]["why_unknown"] == "no attempt has ended yet"
    assert all(bool(fact["source"]) != bool(fact["why_unknown"]) for fact in told.values())


def test_facts_leave_out_scores_that_nothing_asks_for(ask: Ask) -> None:
    few, many = ask("facts", MODEL), ask("facts", MODEL, "--all")
    assert "champion.score.accuracy" in few
    assert "champion.score.mae" not in few
    assert "are left out; --all shows them." in few
    assert "champion.score.mae" in many
    assert "left out" not in many


def test_facts_name_the_attempt_that_ended_last(box: FakeBox, ask: Ask) -> None:
    box.edit_policy("data.new_rows >= 10000", "data.new_rows >= 1000")
    box.live()
    told = facts_by_name(ask("facts", MODEL, "--json"))
    assert told["last.outcome"]["value"] == "promoted"
    assert told["last.outcome"]["source"].startswith("attempt churn-1, ended ")
    assert told["data.new_rows"]["source"] == "judged attempts had every file"
    assert "version 8 was champion when the last attempt ended" in told["registry.champion_moved"]["source"]


def test_facts_show_the_slots_of_schedules(box: FakeBox) -> None:
    policy = a_policy(schedules={"weekly": Schedule("0 3 * * sun", "Europe/Berlin")}, upstream={"up": Upstream("base")})
    seen = some_facts(starts=(NOW - timedelta(days=3),), upstream={"up": False})
    with box.journal() as journal:
        told = {fact.name: fact for fact in told_facts(policy, seen, journal, NOW)}
    assert told["schedule.weekly"].value is True
    assert told["schedule.weekly"].source == (
        "0 3 * * sun (Europe/Berlin): newest slot 2026-03-01 02:00 UTC, next 2026-03-08 02:00 UTC;"
        " last start 2026-02-26 12:00 UTC"
    )
    assert told["upstream.up.changed"].source == "the registry's alias champion of base, asked 2026-03-01 12:00 UTC"


def test_show_prints_the_parts_that_the_decision_rested_on(box: FakeBox, ask: Ask) -> None:
    box.edit_policy("data.new_rows >= 10000", "data.new_rows >= 1000")
    box.live()
    assert "    yes  data.new_rows >= 1000: 5,000\n" in ask("show", "churn-1")


def test_a_fact_by_itself_that_is_not_known_is_named_once() -> None:
    part = Part(text="registry.champion_moved", holds=None, missing=("registry.champion_moved",))
    rule = RuleReport(name="moved", when=part.text, holds=None, parts=(part,))
    assert list(rule_lines(rule, {"registry.champion_moved": "the registry does not answer"}))[1] == (
        "  ?    registry.champion_moved: not known: the registry does not answer"
    )


def test_a_decision_that_was_journaled_before_there_were_parts_is_read() -> None:
    journaled = (
        b'[{"name": "old", "when": "failures == 0", "holds": true, "values": [["failures", "0"]], "missing": []}]'
    )
    (rule,) = TypeAdapter(tuple[RuleReport, ...]).validate_json(journaled)
    assert list(rule_lines(rule)) == ["rule “old”: holds: failures == 0", "  failures is 0"]


def test_rules_of_a_journal_without_parts_are_printed_as_they_were() -> None:
    old = RuleReport(
        name="old", when="data.new_rows >= 9 && failures == 0", holds=False,
        shortfalls=("data.new_rows is 7, short by 2",), values=(("data.new_rows", "7"), ("failures", "0")),
    )  # fmt: skip
    assert list(rule_lines(old)) == [
        "rule “old”: does not hold: data.new_rows >= 9 && failures == 0",
        "  failures is 0",
        "  data.new_rows is 7, short by 2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        (Forecast(at=NOW), "time alone makes it hold from Sunday 2026-03-01 12:00 UTC"),
        (
            Forecast(waits_for=("failures",), not_before=NOW),
            "time alone does not make it hold: it waits for failures, and not before Sunday 2026-03-01 12:00 UTC",
        ),
        (Forecast(), "nothing that can be foreseen makes it hold"),
    ],
)
def test_a_forecast_is_one_line(expected: Forecast, said: str) -> None:
    assert forecast_line(expected) == said


def test_a_rule_that_is_only_observed_says_so() -> None:
    rule = RuleReport(name="trial", when="true", holds=True, observe=True)
    assert next(rule_lines(rule)) == "rule “trial”: holds (observed only: it starts nothing): true"


def test_a_recipe_with_a_search_shows_its_spaces_and_limits() -> None:
    recipe = Recipe(
        mode=Mode.REFIT,
        hyperparameters={"epochs": 3, "freeze": ("a.*", "b.*")},
        spaces={
            "rate": Space(low=0.01, high=0.3, log=True),
            "leaves": Space(choices=(15, 31)),
            "depth": Space(low=1, high=9, step=2),
        },
        search=Search(trials=40, metric="log_loss", stop_after=timedelta(hours=1)),
        memory=8 * 2**30,
        gpus=1,
    )
    assert list(recipe_lines(recipe)) == [
        "recipe: refit, epochs=3, freeze=[a.*, b.*]",
        "  searches with 40 trials by log_loss, none is started after 1h:",
        "  rate from 0.01 to 0.3 on a logarithmic scale",
        "  leaves of 15, 31",
        "  depth from 1 to 9 in steps of 2",
        "  limits: 2h, 8 GiB of memory, 1 GPUs, 2 more tries after a failure",
    ]


def test_plan_and_facts_tell_of_the_version_that_is_in_force_while_its_file_is_wrong(
    box: FakeBox, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    box.edit_policy("getting old", "getting older")
    box.edit_policy("champion.age", "champion.aeg")
    box.live()
    for words in (("plan", MODEL), ("plan",), ("facts", MODEL)):
        assert main([*words, "--state", str(box.root / "state"), "--policies", str(box.root / "policies")]) == 0
        told = capsys.readouterr()
        assert "There is no fact `champion.aeg`. Did you mean `champion.age`?" in told.err
        assert "getting older" not in told.out
        assert MODEL in told.out or "champion.age" in told.out
    assert "rule “getting old”" in ask("plan", MODEL)
