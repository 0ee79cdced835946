from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain_daemon.core.decide import Action, decide
from retrain_daemon.core.facts import (
    ABANDONED_TO_HOLD,
    ChampionState,
    DataFacts,
    Hold,
    LastAttempt,
    Offered,
    RetrainRequest,
    Scores,
)
from retrain_daemon.core.policy import Mode, Pace, Recipe, Rule
from tests.made import CHAMPION, NOW, a_champion, a_policy, some_data, some_facts


def last(outcome: str = "rejected", **changes: object) -> LastAttempt:
    attempt = LastAttempt(
        id="churn-1",
        outcome=outcome,
        started_at=NOW - timedelta(days=2),
        ended_at=NOW - timedelta(days=2),
        policy_digest="d1",
        champion_after=CHAMPION,
    )
    return replace(attempt, **changes)  # type: ignore[arg-type]


def test_a_rule_that_holds_starts_a_training_with_its_recipe_and_its_numbers() -> None:
    decision = decide(a_policy(), some_facts(), NOW)
    assert (decision.action, decision.rule) == (Action.TRAIN, "enough fresh rows")
    assert decision.recipe == a_policy().rules[0].recipe
    assert "data.new_rows is 5,000" in decision.sentence or "data.new_rows is 5000" in decision.sentence


def test_the_first_rule_that_holds_gives_the_recipe() -> None:
    first = Rule("never", "data.new_rows > 1000000", Recipe(mode=Mode.REFIT))
    second = Rule("any", "data.new_rows > 0", Recipe(mode=Mode.INCREMENTAL))
    third = Rule("more", "data.new_rows > 10", Recipe(mode=Mode.REFIT))
    decision = decide(a_policy(rules=(first, second, third)), some_facts(), NOW)
    assert decision.rule == "any"
    assert decision.recipe is not None
    assert decision.recipe.mode is Mode.INCREMENTAL


def test_no_rule_holding_says_which_and_by_how_much() -> None:
    decision = decide(a_policy(), some_facts(data=some_data(new_rows=312)), NOW)
    assert (decision.action, decision.code) == (Action.WAIT, "no_rule_holds")
    assert "enough fresh rows" in decision.sentence
    assert "688" in decision.sentence


def test_an_unknown_fact_never_triggers_and_is_named() -> None:
    decision = decide(a_policy(), some_facts(data=some_data(new_rows=None)), NOW)
    assert decision.action is Action.WAIT
    assert "data.new_rows" in decision.sentence


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (ChampionState.NONE, "champion_none"),
        (ChampionState.LOST, "champion_lost"),
        (ChampionState.MISSPELLED, "champion_misspelled"),
        (ChampionState.NO_MODEL, "champion_no_model"),
        (ChampionState.UNKNOWN, "registry_unknown"),
    ],
)
def test_without_a_champion_nothing_trains_not_even_on_request(state: ChampionState, code: str) -> None:
    champion = a_champion(None, state)
    for request in (None, RetrainRequest("1", "ada", "")):
        decision = decide(a_policy(), some_facts(champion=champion, request=request), NOW)
        assert (decision.action, decision.code) == (Action.WAIT, code)
        assert decision.sentence


@pytest.mark.parametrize("outcome", ["rejected", "inconclusive", "abandoned", "promoted"])
def test_after_an_attempt_has_ended_the_same_rows_start_nothing(outcome: str) -> None:
    facts = some_facts(last=last(outcome), data=some_data(since_last=0))
    decision = decide(a_policy(), facts, NOW)
    assert (decision.action, decision.code) == (Action.WAIT, "nothing_new")
    assert outcome in decision.sentence


@pytest.mark.parametrize(("version", "than"), [(CHAMPION + 1, "it"), (CHAMPION - 1, f"version {CHAMPION}")])
def test_a_challenger_waits_for_rows_newer_than_the_newer_of_the_two(version: int, than: str) -> None:
    facts = some_facts(offered=Offered(version=version, judging_rows=0))
    decision = decide(a_policy(), facts, NOW)
    assert decision.offered == f"version {version} waits for 200 held-out rows newer than {than}"


@pytest.mark.parametrize(("outcome", "action"), [("abandoned", Action.TRAIN), ("rejected", Action.WAIT)])
def test_who_resumes_a_model_has_its_abandoned_attempt_tried_again_on_the_same_rows(
    outcome: str, action: Action
) -> None:
    facts = some_facts(last=last(outcome), data=some_data(since_last=0), resumed_since_last=True)
    assert decide(a_policy(), facts, NOW).action is action


@pytest.mark.parametrize(
    "change",
    [
        {"data": some_data(since_last=1)},
        {"last": last(policy_digest="another")},
        {"last": last(champion_after=6)},
        {"upstream_since_last": True},
    ],
    ids=["a new row", "a new policy text", "a new champion", "a new champion upstream"],
)
def test_something_new_lifts_the_bar(change: dict[str, object]) -> None:
    facts = some_facts(**{"last": last(), "data": some_data(since_last=0), **change})
    assert decide(a_policy(), facts, NOW).action is Action.TRAIN


def test_not_knowing_whether_rows_are_new_is_not_new() -> None:
    facts = some_facts(last=last(), data=some_data(since_last=None))
    assert decide(a_policy(), facts, NOW).code == "new_rows_unknown"


def test_a_request_passes_the_pace_and_the_bar_and_trains_with_the_policys_own_recipe() -> None:
    policy = a_policy(pace=Pace(cooldown=timedelta(days=9)), requested=Recipe(mode=Mode.REFIT))
    facts = some_facts(
        last=last(), data=some_data(new_rows=0, since_last=0), starts=(NOW,), request=RetrainRequest("9", "ada", "gut")
    )
    decision = decide(policy, facts, NOW)
    assert (decision.action, decision.code, decision.request) == (Action.TRAIN, "requested", "9")
    assert decision.recipe is not None
    assert decision.recipe.mode is Mode.REFIT
    assert "ada" in decision.sentence


def test_a_request_does_not_pass_a_pause() -> None:
    hold = Hold(NOW, "bob", "audit")
    decision = decide(a_policy(), some_facts(hold=hold, request=RetrainRequest("9", "ada", "")), NOW)
    assert (decision.action, decision.code) == (Action.WAIT, "held")
    assert "bob" in decision.sentence
    assert "audit" in decision.sentence


def test_three_abandoned_attempts_in_a_row_hold_the_model() -> None:
    assert decide(a_policy(), some_facts(failures=ABANDONED_TO_HOLD - 1), NOW).action is Action.TRAIN
    assert decide(a_policy(), some_facts(failures=ABANDONED_TO_HOLD), NOW).code == "too_many_failures"


def test_an_attempt_under_way_keeps_others_from_starting() -> None:
    assert decide(a_policy(), some_facts(open_attempt="churn-3"), NOW).code == "attempt_open"


def test_starts_that_a_wrong_clock_dated_do_not_hold_a_model_for_a_year() -> None:
    policy = a_policy(pace=Pace(cooldown=timedelta(hours=6), per_day=1))
    assert decide(policy, some_facts(starts=(NOW + timedelta(days=365),)), NOW).action is Action.TRAIN
    soon = decide(policy, some_facts(starts=(NOW + timedelta(minutes=30),)), NOW)
    assert soon.code == "per_day"


def test_a_cooldown_says_when_it_ends_and_then_ends() -> None:
    policy = a_policy(pace=Pace(cooldown=timedelta(hours=6)))
    facts = some_facts(starts=(NOW - timedelta(hours=5),))
    decision = decide(policy, facts, NOW)
    assert (decision.code, decision.until) == ("cooldown", NOW + timedelta(hours=1))
    assert decide(policy, facts, NOW + timedelta(hours=1)).action is Action.TRAIN


def test_at_most_so_many_attempts_start_in_a_day() -> None:
    policy = a_policy(pace=Pace(per_day=2))
    starts = (NOW - timedelta(hours=23), NOW - timedelta(hours=3))
    decision = decide(policy, some_facts(starts=starts), NOW)
    assert (decision.code, decision.until) == ("per_day", NOW + timedelta(hours=1))
    assert decide(policy, some_facts(starts=starts), NOW + timedelta(hours=1)).action is Action.TRAIN


def test_training_waits_until_enough_rows_could_judge_it() -> None:
    decision = decide(a_policy(), some_facts(data=some_data(judging_rows=150)), NOW)
    assert decision.code == "too_few_judging_rows"
    assert "150" in decision.sentence
    assert "50 held-out rows" in decision.sentence
    assert decide(a_policy(), some_facts(data=some_data(judging_rows=None)), NOW).code == "judging_rows_unknown"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"usable_drops": 0}, "no_rows"),
        ({"folder_problem": "the folder is gone"}, "folder_problem"),
        ({"missing_files": ("/srv/a.csv", "/srv/b.csv")}, "files_missing"),
        ({"trouble": "no signature"}, "inspection_trouble"),
    ],
)
def test_what_is_wrong_with_the_data_is_said(change: dict[str, object], code: str) -> None:
    decision = decide(a_policy(), some_facts(data=some_data(**change), request=RetrainRequest("1", "a", "")), NOW)
    assert (decision.action, decision.code) == (Action.WAIT, code)


def test_what_is_left_out_because_it_is_gone_is_said_and_keeps_nothing_from_starting() -> None:
    data = some_data(skipped_files=("/srv/a.csv", "/srv/b.csv"))
    for facts in (some_facts(data=data), some_facts(data=data, request=RetrainRequest("1", "ada", "audit"))):
        decision = decide(a_policy(), facts, NOW)
        assert decision.action is Action.TRAIN
        assert decision.sentence.endswith("; goes on without /srv/a.csv and 1 more, which is gone")


@pytest.mark.parametrize(("outcome", "action"), [("abandoned", Action.TRAIN), ("rejected", Action.WAIT)])
def test_an_abandoned_attempt_is_tried_again_without_its_files_that_are_gone(outcome: str, action: Action) -> None:
    facts = some_facts(last=last(outcome), data=some_data(since_last=0, skipped_since=True))
    assert decide(a_policy(), facts, NOW).action is action


def test_a_move_by_someone_else_can_be_a_rule() -> None:
    policy = a_policy(rules=(Rule("moved", "registry.champion_moved", Recipe()),))
    assert decide(policy, some_facts(champion_moved=True), NOW).rule == "moved"
    assert decide(policy, some_facts(champion_moved=False), NOW).action is Action.WAIT
    assert decide(policy, some_facts(champion_moved=None), NOW).action is Action.WAIT


counts = st.none() | st.integers(min_value=0, max_value=5000)


@given(new=counts, since=counts, judging=counts, failures=st.integers(0, 4), open_attempt=st.none() | st.just("x-1"))
def test_it_trains_only_when_every_count_it_rests_on_is_known(
    new: int | None, since: int | None, judging: int | None, failures: int, open_attempt: str | None
) -> None:
    data = DataFacts(new_rows=new, since_last=since, judging_rows=judging, usable_drops=1, quarantined=0)
    facts = some_facts(data=data, last=last(), failures=failures, open_attempt=open_attempt)
    decision = decide(a_policy(), facts, NOW)
    if decision.action is Action.TRAIN:
        assert new is not None
        assert new >= 1000
        assert since
        assert judging is not None
        assert judging >= 200
        assert open_attempt is None
        assert failures < ABANDONED_TO_HOLD
    assert decision.sentence


SCORED = Rule(
    "getting worse", "champion.scores.accuracy.last(5).filter(s, s < 0.80).size() >= 2", Recipe(mode=Mode.REFIT)
)
MEASURING = some_data(measuring=("champion.scores.",))
BAD = {"accuracy": Scores(score=0.75, latest=(0.85, 0.7, 0.75))}


def test_a_champion_that_scored_badly_on_new_files_is_retrained() -> None:
    decision = decide(a_policy(rules=(SCORED,)), some_facts(scores=BAD), NOW)
    assert (decision.action, decision.rule) == (Action.TRAIN, "getting worse")
    assert "champion.scores.accuracy is 0.85, 0.7, 0.75" in decision.sentence


def test_what_a_rule_needs_and_is_being_measured_is_waited_for() -> None:
    policy = a_policy(rules=(SCORED, *a_policy().rules))
    decision = decide(policy, some_facts(data=MEASURING, scores=BAD), NOW)
    assert (decision.action, decision.code) == (Action.WAIT, "measuring")
    assert decision.sentence == "rule “getting worse” waits for champion.scores.accuracy: it is being measured"


def test_a_measurement_that_no_rule_needs_delays_nothing() -> None:
    assert decide(a_policy(), some_facts(data=MEASURING), NOW).action is Action.TRAIN


def test_a_rule_that_holds_does_not_wait_for_what_a_later_one_needs() -> None:
    policy = a_policy(rules=(*a_policy().rules, SCORED))
    assert decide(policy, some_facts(data=MEASURING), NOW).rule == "enough fresh rows"


def test_a_request_does_not_wait_for_measurements() -> None:
    request = RetrainRequest("1", "ada", "")
    decision = decide(a_policy(rules=(SCORED,)), some_facts(data=MEASURING, request=request), NOW)
    assert (decision.action, decision.code) == (Action.TRAIN, "requested")
