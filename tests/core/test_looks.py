"""A challenger of which nothing was shown is judged again when enough more rows have come, and only so often."""

from __future__ import annotations

from dataclasses import replace

import pytest

from retrain_daemon.core.decide import Action, decide
from retrain_daemon.core.facts import Hold, Offered, RetrainRequest, Undecided
from retrain_daemon.core.policy import Promotion, Recipe, Requirement, SecondLooks
from tests.made import CHAMPION, NOW, a_policy, some_data, some_facts

REQUIRE: tuple[Requirement, ...] = a_policy().promote.require
POLICY = a_policy(promote=Promotion(require=REQUIRE, inconclusive=SecondLooks(rows=2000, at_most=2)))
UNDECIDED = Undecided(
    first="churn-42",
    attempt="churn-42",
    look=1,
    rule="enough fresh rows",
    recipe=Recipe(),
    policy_digest="d1",
    champion=CHAMPION,
    rows=1000,
    codes=("requirement",),
    more=2000,
)
NOTHING_ELSE = some_data(new_rows=10, since_last=10)


def test_with_enough_more_rows_the_same_challenger_is_judged_before_any_rule_is_asked() -> None:
    decision = decide(POLICY, some_facts(undecided=UNDECIDED), NOW)
    assert (decision.action, decision.code, decision.again) == (Action.JUDGE, "second_look", "churn-42")
    assert (decision.rule, decision.recipe) == (UNDECIDED.rule, UNDECIDED.recipe)
    assert "second look (2 of 3)" in decision.sentence


def test_until_then_it_is_said_how_many_rows_it_waits_for() -> None:
    facts = some_facts(undecided=replace(UNDECIDED, more=766), data=NOTHING_ELSE)
    decision = decide(POLICY, facts, NOW)
    assert decision.action is Action.WAIT
    said = "attempt churn-42 waits for 1,234 more held-out rows for its second look (2 of 3)"
    assert decision.sentence.endswith(f"; {said}")


def test_a_rule_that_holds_meanwhile_lets_the_challenger_go() -> None:
    decision = decide(POLICY, some_facts(undecided=replace(UNDECIDED, more=766)), NOW)
    assert (decision.action, decision.again) == (Action.TRAIN, "")


def test_one_that_lacked_rows_waits_until_they_could_be_enough() -> None:
    policy = replace(POLICY, promote=replace(POLICY.promote, inconclusive=SecondLooks(rows=10, at_most=2)))
    facts = some_facts(undecided=replace(UNDECIDED, rows=150, more=49), data=NOTHING_ELSE)
    assert "waits for 1 more held-out rows" in decide(policy, facts, NOW).sentence


@pytest.mark.parametrize(
    "change",
    [
        {"look": 3},
        {"policy_digest": "another"},
        {"champion": 6},
        {"stale": True},
        {"codes": ("champion_nan",)},
    ],
    ids=["no look left", "another policy", "another champion", "another record", "more rows do not mend it"],
)
def test_a_challenger_is_let_go_for_good(change: dict[str, object]) -> None:
    facts = some_facts(undecided=replace(UNDECIDED, **change), data=NOTHING_ELSE)  # type: ignore[arg-type]
    decision = decide(POLICY, facts, NOW)
    assert decision.action is Action.WAIT
    assert "look" not in decision.sentence


def test_a_policy_that_asks_for_none_judges_none_again() -> None:
    assert decide(a_policy(), some_facts(undecided=UNDECIDED), NOW).action is Action.TRAIN


def test_not_knowing_how_many_rows_came_is_not_enough() -> None:
    decision = decide(POLICY, some_facts(undecided=replace(UNDECIDED, more=None), data=NOTHING_ELSE), NOW)
    assert decision.action is Action.WAIT
    assert "it is not known how many rows came since" in decision.sentence


def test_a_request_and_a_persons_challenger_come_first_and_a_pause_stops_all() -> None:
    requested = some_facts(undecided=UNDECIDED, request=RetrainRequest("9", "ada", ""))
    assert decide(POLICY, requested, NOW).code == "requested"
    offered = some_facts(undecided=UNDECIDED, offered=Offered(version=9, judging_rows=1000))
    assert decide(POLICY, offered, NOW).code == "challenger_offered"
    held = decide(POLICY, some_facts(undecided=UNDECIDED, hold=Hold(NOW, "bob", "audit")), NOW)
    assert (held.action, held.code) == (Action.WAIT, "held")
