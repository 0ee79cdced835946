"""Rules and requirements that are only observed: evaluated and told like the others, and nothing follows from them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from retrain_daemon.core.approval import approval_for
from retrain_daemon.core.budget import relative_lines, spends
from retrain_daemon.core.decide import REQUEST_RULE, Action, decide
from retrain_daemon.core.facts import ChampionState, Offered, RetrainRequest
from retrain_daemon.core.judge import Outcome, judge
from retrain_daemon.core.looks import offer
from retrain_daemon.core.policy import (
    Approval,
    Claim,
    Mode,
    Promotion,
    Recipe,
    Requirement,
    Rule,
    SecondLooks,
    Then,
    Watch,
)
from retrain_daemon.core.watch import terms_of
from tests.made import NOW, a_champion, a_metric, a_policy, some_data, some_evidence, some_facts

OBSERVING = Rule("any row", "data.new_rows > 0", Recipe(mode=Mode.REFIT), observe=True)
ACTING = Rule("enough fresh rows", "data.new_rows >= 1000", Recipe(mode=Mode.INCREMENTAL))
HOLDS = Requirement("accuracy", Claim.NOT_WORSE_BY, 0.01)
FAILS = Requirement("log_loss", Claim.NOT_WORSE_BY, 0.01, observe=True)
HARM = a_metric(low=-0.3, gain=-0.2, high=-0.1, metric="log_loss")


def test_a_rule_that_only_observes_is_passed_by_and_reported() -> None:
    decision = decide(a_policy(rules=(OBSERVING, ACTING)), some_facts(), NOW)
    assert (decision.action, decision.rule) == (Action.TRAIN, "enough fresh rows")
    assert [(report.name, report.holds, report.observe) for report in decision.rules] == [
        ("any row", True, True),
        ("enough fresh rows", True, False),
    ]


def test_a_policy_whose_rules_all_observe_starts_nothing_and_says_which_hold() -> None:
    decision = decide(a_policy(rules=(OBSERVING,)), some_facts(), NOW)
    assert (decision.action, decision.code) == (Action.WAIT, "no_rule_holds")
    assert decision.sentence == "every rule only observes: “any row” holds, and only observes"


def test_a_request_does_not_take_the_recipe_of_a_rule_that_only_observes() -> None:
    policy = a_policy(rules=(OBSERVING,), requested=Recipe(mode=Mode.WARM_START))
    decision = decide(policy, some_facts(request=RetrainRequest("1", "ada", "")), NOW)
    assert (decision.rule, decision.recipe) == (REQUEST_RULE, Recipe(mode=Mode.WARM_START))


def test_what_is_measured_for_a_rule_that_only_observes_keeps_no_rule_after_it_waiting() -> None:
    drifted = replace(OBSERVING, when="drift.max > 0.2")
    facts = some_facts(data=some_data(measuring=("drift.",)))
    assert decide(a_policy(rules=(drifted, ACTING)), facts, NOW).action is Action.TRAIN
    acting = replace(drifted, observe=False)
    assert decide(a_policy(rules=(acting, ACTING)), facts, NOW).code == "measuring"


@pytest.mark.parametrize("order", [(HOLDS, FAILS), (FAILS, HOLDS)], ids=["after", "before"])
def test_a_line_that_is_only_observed_is_told_and_does_not_stop_a_challenger(
    order: tuple[Requirement, ...],
) -> None:
    verdict = judge(Promotion(require=order), some_evidence(a_metric(), HARM))
    assert verdict.outcome is Outcome.PROMOTE
    assert verdict.summary.startswith("accuracy: ")
    observed = {finding.metric: finding for finding in verdict.findings if finding.observed}
    assert observed.keys() == {"log_loss"}
    assert observed["log_loss"].holds is False
    assert observed["log_loss"].sentence.endswith("(only observed)")
    counting = replace(FAILS, observe=False)
    assert judge(Promotion(require=(HOLDS, counting)), some_evidence(a_metric(), HARM)).outcome is Outcome.REJECT


def test_an_observed_line_that_holds_promotes_nothing() -> None:
    missed = Requirement("log_loss", Claim.BETTER_BY, 0.0)
    verdict = judge(Promotion(require=(replace(HOLDS, observe=True), missed)), some_evidence(a_metric(), HARM))
    assert verdict.outcome is Outcome.REJECT
    assert verdict.summary.startswith("log_loss: ")


def test_without_a_line_that_counts_nothing_is_shown() -> None:
    verdict = judge(Promotion(require=(FAILS,)), some_evidence(a_metric(), HARM))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.findings[0].code == "nothing_required"


def test_an_observed_claim_of_improvement_spends_no_budget_and_is_held_to_plain_confidence() -> None:
    claim = Requirement("accuracy", Claim.BETTER_BY, 0.0, observe=True)
    promotion = Promotion(require=(HOLDS, claim))
    assert not spends(promotion)
    assert relative_lines(promotion.require) == (HOLDS,)
    verdict = judge(promotion, some_evidence(a_metric(), comparison=None, strict_confidence=None))
    (seen,) = (finding for finding in verdict.findings if finding.observed)
    assert (seen.holds, seen.strict, seen.comparison) == (True, None, None)
    unshown = judge(promotion, some_evidence(a_metric(low=-0.005)))
    assert [finding.holds for finding in unshown.findings] == [True, None]


def test_what_is_only_observed_is_no_reason_to_watch_a_promotion() -> None:
    absolute = Requirement("accuracy", Claim.AT_LEAST, 0.5)
    promotion = Promotion(require=(absolute, replace(HOLDS, observe=True)), watch=Watch(5000))
    assert terms_of(promotion) is None
    assert terms_of(replace(promotion, require=(absolute, HOLDS))) is not None


def test_an_observed_line_about_a_challenger_alone_makes_no_first_champion() -> None:
    absolute = Requirement("accuracy", Claim.AT_LEAST, 0.5, observe=True)
    promotion = Promotion(require=(HOLDS, absolute))
    facts = some_facts(champion=a_champion(None, ChampionState.NONE), offered=Offered(version=3, judging_rows=900))
    standing = offer(a_policy(promote=promotion), facts)
    assert standing is not None
    assert standing.code == "no_absolute_line"
    verdict = judge(promotion, some_evidence(a_metric(), champion_version=0))
    assert verdict.outcome is Outcome.INCONCLUSIVE


def test_nobody_is_asked_about_a_challenger_of_which_only_an_observed_line_was_looked_at() -> None:
    absolute = Requirement("accuracy", Claim.AT_LEAST, 0.5, observe=True)
    promotion = Promotion(require=(HOLDS, absolute), inconclusive=SecondLooks(then=Then.ASK), approval=Approval())
    verdict = judge(promotion, some_evidence(a_metric(), champion_version=0))
    assert [finding.code for finding in verdict.findings] == ["left_aside", "requirement"]
    assert approval_for(verdict, promotion, 1) is None
