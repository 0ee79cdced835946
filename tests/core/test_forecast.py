"""When a rule that does not hold could: by time alone, or what it waits for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_daemon.core.decide import report_rules
from retrain_daemon.core.facts import ChampionState, Drift, Facts, LastAttempt, Scores
from retrain_daemon.core.policy import Policy, Recipe, Rule, Schedule, Upstream
from retrain_daemon.core.rules.expression import compile_rule, evaluate
from retrain_daemon.core.rules.forecast import Forecast, forecast, later, values_now
from retrain_daemon.core.rules.unknown import why_unknown
from retrain_daemon.core.rules.vocabulary import Value, fact_values, facts_of
from tests.made import NOW, a_champion, a_policy, some_data, some_facts

# NOW is Sunday 2026-03-01 12:00 UTC.
SCHEDULES = {"weekly": Schedule("0 3 * * sun", "Europe/Berlin"), "daily": Schedule("30 4 * * *")}
LAST = LastAttempt(
    id="churn-4",
    outcome="rejected",
    started_at=NOW - timedelta(days=2, hours=1),
    ended_at=NOW - timedelta(days=2),
    policy_digest="d1",
    champion_after=7,
)
FACTS = some_facts(data=some_data(new_rows=812), last=LAST, starts=(LAST.started_at,))


def foreseen(when: str, facts: Facts = FACTS) -> Forecast:
    policy, rule = asking(when)
    return forecast(rule, policy, facts, NOW)


def asking(when: str) -> tuple[Policy, Rule]:
    rule = Rule("it", when, Recipe())
    upstream = {"embeddings": Upstream("text-embeddings")}
    return a_policy(rules=(rule,), schedules=SCHEDULES, upstream=upstream), rule


@pytest.mark.parametrize(
    ("when", "at"),
    [
        ("schedule.weekly && failures > 0 || last.age >= days(7)", NOW + timedelta(days=5)),
        ("last.age > days(7)", NOW + timedelta(days=5)),
        ("data.waiting > hours(26) && data.new_rows > 0", NOW + timedelta(hours=24)),
        ("champion.age >= days(365)", NOW + timedelta(days=335)),
        ("champion.age - last.age < days(20) || champion.age >= days(31)", NOW + timedelta(days=1)),
        ("now.getDayOfWeek() == 2", datetime(2026, 3, 3, tzinfo=UTC)),
        ('now.getHours("Asia/Kolkata") == 3', datetime(2026, 3, 1, 21, 30, tzinfo=UTC)),
        ("now.getMonth() == 5", datetime(2026, 6, 1, tzinfo=UTC)),
        ('now >= timestamp("2027-01-01T00:00:00Z")', datetime(2027, 1, 1, tzinfo=UTC)),
        ("schedule.daily && now.getDayOfWeek() == 2", datetime(2026, 3, 3, tzinfo=UTC)),
        ("!schedule.weekly", datetime(2026, 3, 2, 2, 0, tzinfo=UTC)),
    ],
)
def test_the_moment_is_found_at_which_time_alone_makes_a_rule_hold(when: str, at: datetime) -> None:
    found = foreseen(when).at
    assert found is not None
    assert at <= found <= at + timedelta(seconds=1)


def test_the_next_slot_of_a_schedule_is_said_in_utc() -> None:
    after_a_start = replace(FACTS, starts=(NOW - timedelta(hours=1),))
    assert foreseen("schedule.weekly", after_a_start) == Forecast(at=datetime(2026, 3, 8, 2, 0, tzinfo=UTC))


@pytest.mark.parametrize(
    ("when", "waits_for"),
    [
        ("data.new_rows >= 1000", ("data.new_rows",)),
        ("data.new_rows >= 1000 && failures == 0", ("data.new_rows",)),
        ("data.new_rows >= 1000 || drift.max > 0.2", ("data.new_rows", "drift.max")),
        ("champion.age < days(1)", ("champion.age",)),
        ("failures == 0 && false", ()),
    ],
)
def test_what_time_alone_does_not_bring_is_waited_for(when: str, waits_for: tuple[str, ...]) -> None:
    assert foreseen(when) == Forecast(waits_for=waits_for)


def test_what_waits_for_a_fact_may_have_to_wait_for_time_as_well() -> None:
    assert foreseen("last.age >= days(7) && data.new_rows >= 1000") == Forecast(
        waits_for=("data.new_rows",), not_before=NOW + timedelta(days=5)
    )


def test_without_new_rows_nothing_waits_longer_and_longer() -> None:
    idle = replace(FACTS, data=some_data(new_rows=0, waiting=timedelta(0)))
    assert foreseen("data.waiting > days(1)", idle) == Forecast(waits_for=("data.waiting",))


def test_an_age_that_is_not_known_is_waited_for() -> None:
    assert foreseen("last.age > days(7)", replace(FACTS, last=None)) == Forecast(waits_for=("last.age",))


def truly_later(policy: Policy, facts: Facts, moment: datetime) -> Mapping[str, Value]:
    """What rules see at a moment when nothing has happened until then."""
    data = facts.data
    if data.waiting is not None and data.new_rows:
        data = replace(data, waiting=data.waiting + (moment - NOW))
    return fact_values(policy, replace(facts, data=data), moment)


@pytest.mark.parametrize("ahead", [timedelta(0), timedelta(hours=13), timedelta(days=400)])
@pytest.mark.parametrize("new_rows", [0, 812])
def test_what_is_foreseen_of_every_fact_is_what_rules_will_see(ahead: timedelta, new_rows: int) -> None:
    policy, _ = asking("failures == 0")
    facts = replace(FACTS, data=some_data(new_rows=new_rows))
    known = {name: value for name, value in truly_later(policy, facts, NOW + ahead).items() if value is not None}
    assert later(facts_of(policy.names), values_now(policy, facts, NOW), policy, facts, NOW + ahead) == known


RULES = st.recursive(
    st.sampled_from(
        ["schedule.weekly", "!schedule.daily", "last.age > days(3)", "data.waiting >= hours(30)", "failures == 0",
         "champion.age > days(31)", "now.getHours() == 5", "data.new_rows > 5000", "drift.max > 0.1"]
    ),
    lambda inner: st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda each: "({} {} {})".format(*each)),
    max_leaves=5,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(RULES)
def test_a_rule_holds_at_the_moment_that_is_foreseen_and_at_no_whole_hour_before(when: str) -> None:
    policy, rule = asking(when)
    compiled = compile_rule(when, policy.names)

    def holds(moment: datetime) -> bool | None:
        return evaluate(compiled, truly_later(policy, FACTS, moment)).holds

    if holds(NOW):
        return
    at = forecast(rule, policy, FACTS, NOW).at
    assert at is None or holds(at)
    until = at or NOW + timedelta(days=9)
    hours = (NOW + timedelta(hours=hour) for hour in range(1, 9 * 24))
    assert not any(holds(moment) for moment in hours if moment < until)


def test_rules_and_forecasts_see_the_same_values() -> None:
    policy, _ = asking("drift.max > 0.2 || data.new_rows > 800")
    measured = replace(FACTS, drift=Drift(columns={"age": 0.3}), data=some_data(new_rows=812, measuring=("drift.",)))
    (report,) = report_rules(policy, measured, NOW)
    assert report.missing == ()
    assert "drift.max" not in values_now(policy, measured, NOW)
    assert [leaf.missing for part in report.parts for leaf in part.leaves()] == [("drift.max",), ()]


@pytest.mark.parametrize(
    ("name", "facts", "why"),
    [
        ("drift.max", replace(FACTS, drift=Drift(obstacle="812 new rows, 1,000 are needed")), "812 new rows, 1,000"),
        ("drift.columns", replace(FACTS, data=some_data(measuring=("drift.",))), "is to be measured first"),
        ("champion.score.accuracy", FACTS, "not every file that came since version 7 was cut is scored yet"),
        ("champion.scores.accuracy", replace(FACTS, scores={"accuracy": Scores()}), "no file that came since"),
        (
            "champion.baseline.accuracy",
            replace(FACTS, scores={"accuracy": Scores(score=0.8, latest=(0.8,))}),
            "have fewer than 200 rows together",
        ),
        ("champion.score.mae", FACTS, "neither a rule nor a line of `require` names the metric"),
        ("champion.version", replace(FACTS, champion=a_champion(None, ChampionState.UNKNOWN)), "does not answer"),
        ("champion.age", replace(FACTS, champion=a_champion(None, ChampionState.NONE)), "no version of churn has the"),
        ("data.unlearned_rows", replace(FACTS, champion=a_champion(None, ChampionState.LOST)), "champion is lost"),
        ("registry.champion_moved", replace(FACTS, champion=a_champion(3, ChampionState.UNTRUSTED)), "is not trusted"),
        ("champion.score.rmse", replace(FACTS, champion=a_champion(None, ChampionState.NO_MODEL)), "named churn"),
        ("last.outcome", replace(FACTS, last=None), "no attempt has ended yet"),
        (
            "upstream.embeddings.changed",
            replace(FACTS, upstream_unknown={"embeddings": "text-embeddings has no alias champion"}),
            "text-embeddings has no alias champion",
        ),
    ],
)  # fmt: skip
def test_a_fact_that_is_not_known_says_why(name: str, facts: Facts, why: str) -> None:
    policy, _ = asking("failures == 0")
    assert why in why_unknown(name, policy, facts)
