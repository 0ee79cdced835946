"""Warnings: what is legal in a policy and surely not meant, and what must not be warned of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_daemon.core.policy import Schedule, Upstream
from retrain_daemon.core.rules.conditions import alternatives_of, implies
from retrain_daemon.core.rules.expression import compile_rule, evaluate
from retrain_daemon.policies import Problem, read_policies, read_policy_text
from retrain_daemon.policies.warnings import warnings_of as policies_warnings

POLICY = """\
model: churn
data:
  path: /srv/drops/churn/*.csv
  target: churned
retrain:
  - name: fresh
    when: data.new_rows >= 5000
promote:
  require:
    - {metric: accuracy, better_by: 0}
"""


def warnings_of(text: str) -> tuple[Problem, ...]:
    reading = read_policy_text(text, "churn.yaml", "/")
    assert [str(problem) for problem in reading.problems] == []
    return reading.warnings


def with_rules(*rules: str) -> str:
    lines = [f"  - name: rule {number}\n    when: |\n      {rule}\n" for number, rule in enumerate(rules, 1)]
    return POLICY.replace("  - name: fresh\n    when: data.new_rows >= 5000\n", "".join(lines))


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("data.new_rows >= 1000", "data.new_rows >= 5000"),
        ("data.new_rows > 999", "data.new_rows >= 1000 && drift.max > 0.2"),
        ("data.new_rows >= 1000", "data.new_rows == 1000"),
        ("drift.max > 0.2", "drift.max > 0.2"),
        ("drift.max > 0.2", "drift.max  >  0.20 && last.outcome == 'promoted'"),
        ("champion.age > days(7)", "champion.age > days(30)"),
        ("5000 <= data.new_rows", "data.new_rows > 6000"),
        ("registry.champion_moved", "data.new_rows > 5 && registry.champion_moved"),
        ("drift.max > 0.2 || data.new_rows > 5", "data.new_rows > 10"),
        ("data.new_rows > 5", "(drift.max > 0.2 || last.age > days(1)) && data.new_rows > 10"),
        ("champion.scores.f1_macro.last(3).size() >= 2", "champion.scores.f1_macro.last(3).size() >= 3"),
        ('drift.columns["age"] > 0.2', 'drift.columns["age"] > 0.3'),
    ],
)
def test_a_rule_behind_one_that_holds_whenever_it_does_is_never_reached(earlier: str, later: str) -> None:
    (warning,) = warnings_of(with_rules(earlier, later))

    assert warning.message == "The rule `rule 2` is never reached: `rule 1` before it holds whenever it does."
    assert (warning.line, warning.warning) == (11, True)


@pytest.mark.parametrize(
    "rules",
    [
        ("data.new_rows >= 5000", "data.new_rows >= 1000"),
        ("data.new_rows >= 5000 && drift.max > 0.2", "data.new_rows >= 10000"),
        ("drift.max > 0.25 && data.new_rows >= 5000", "data.new_rows >= 10000 && drift.max > 0.2"),
        ("champion.score.accuracy < 0.8", "champion.scores.accuracy.last(5).exists(s, s < 0.8)"),
        ("data.new_rows > 5 ? drift.max > 0.2 : false", "data.new_rows > 10"),
        ("!(data.new_rows >= 5000)", "data.new_rows >= 10000"),
        ("data.new_rows != 3", "data.new_rows > 10"),
        ("data.waiting > days(7) && data.new_rows > 0", "data.new_rows > 100"),
        ("failures == 0 && data.new_rows > 3", "failures >= 1"),
        ("now.getHours() >= 3 && now.getHours() < 5", "now.getDayOfWeek() == 0"),
        ("champion.score.log_loss > 1.5",),
        ("champion.score.accuracy < 1.0",),
        ("data.new_rows > 0",),
    ],
)
def test_rules_that_may_all_be_meant_are_not_warned_of(rules: tuple[str, ...]) -> None:
    assert warnings_of(with_rules(*rules)) == ()


@pytest.mark.parametrize(
    ("rule", "said", "at"),
    [
        ("1 < 2", "`1 < 2` is always true: it asks for no fact.", "1 < 2"),
        ("data.new_rows > 3 && false", "`false` is never true", "false"),
        ("failures < 0", "`failures < 0` is never true", "failures < 0"),
        ("failures >= 3", "after 3 attempts abandoned in a row the model is held", "failures >= 3"),
        ("data.new_rows >= 0", "`data.new_rows >= 0` is always true: a count is never negative.", "data.new_rows"),
        ("data.new_rows > 5 && data.new_rows < 3", "`data.new_rows > 5` is asked for, too", "data.new_rows < 3"),
        ("champion.score.accuracy > 1.0", "accuracy lies between 0 and 1", "champion.score"),
        ("champion.score.accuracy < 80.0", "is always true: accuracy lies between 0 and 1", "champion.score"),
        ("champion.scores.accuracy.last(3).filter(s, s < 80.0).size() >= 2", "compared with 80.0", "80.0"),
        ("champion.scores.accuracy.last(3).filter(s, s < 0.8).size() >= 4", "at most 3", "champion.scores"),
        ("drift.max < 0.0", "a distance is never negative", "drift.max"),
        ("now.getDayOfWeek() == 7", "from 0, Sunday, to 6", "now."),
        ("now.getHours() == 24 && data.new_rows > 3", "hours go from 0 to 23", "now."),
        ("last.outcome == 'promoted' && last.outcome == 'rejected'", "is never true", "last.outcome == 'rej"),
        ("registry.champion_moved && !registry.champion_moved", "is never true", "!registry"),
    ],
)
def test_what_is_always_or_never_true_is_said_at_its_place(rule: str, said: str, at: str) -> None:
    text = with_rules(rule)

    (warning,) = warnings_of(text)

    assert said in warning.message
    assert text.split("\n")[warning.line - 1][warning.column - 1 :].startswith(at)


def nightly(cron: str, within: str) -> str:
    """A policy that asks for a schedule, with quiet hours from eight to six."""
    head = f"schedules: {{nightly: {{cron: '{cron}', within: {within}}}}}\n"
    pace = "pace: {quiet_hours: {from: '08:00', to: '18:00'}}\n"
    text = POLICY.replace("data.new_rows >= 5000", "schedule.nightly && data.new_rows > 0")
    return head + text + pace


EVENT_TIME = "  target: churned\n  event_time: at\n"


@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        (
            POLICY.replace("  target: churned\n", f"{EVENT_TIME}  window: 90d\n  holdout: 20%\n"),
            "drawn from all times",
            7,
        ),
        (
            with_rules("drift.max > 0.2").replace("  target: churned\n", EVENT_TIME),
            "the policy asks for drift",
            2,
        ),
        (
            POLICY.replace("  target: churned\n", "  target: churned\n  window: 2000 rows\n  holdout: 5%\n").replace(
                "{metric: accuracy, better_by: 0}", "{metric: accuracy, unless_worse_by: 0.01}"
            ),
            "`promote.min_rows` is 200, and of a window of 2,000 rows about 100 judge: no verdict is ever reached.",
            5,
        ),
        (
            POLICY.replace("  target: churned\n", "  target: churned\n  window: 600 rows\n"),
            "`promote.min_rows` is 200, and of a window of 600 rows about 120 judge: no verdict is ever reached.",
            5,
        ),
        (
            POLICY.replace("  target: churned\n", "  target: churned\n  window: 2000 rows\n") + "  min_rows: 600\n",
            "`promote.min_rows` is 600, and of a window of 2,000 rows about 400 judge: no verdict is ever reached.",
            5,
        ),
        (
            POLICY.replace("  target: churned\n", "  target: churned\n  window: 2000 rows\n").replace(
                "better_by: 0}", "better_by: 0, min_rows: 900}"
            ),
            "about 400 judge",
            11,
        ),
        (f"{POLICY}pace: {{cooldown: 6h, per_day: 5}}\n", "at most 4 starts in 24 hours", 11),
        (nightly("0 9 * * *", "2h"), "Each slot of `nightly` counts within quiet hours only", 1),
        (POLICY.replace("better_by: 0", "at_least: 0"), "The line asks for nothing", 10),
        (POLICY.replace("better_by: 0", "at_most: 1"), "accuracy lies between 0 and 1", 10),
    ],
)
def test_what_is_surely_not_meant_is_said_with_its_line(text: str, said: str, line: int) -> None:
    (warning,) = warnings_of(text)

    assert said in warning.message
    assert warning.line == line
    assert warning.hint


@pytest.mark.parametrize(
    "text",
    [
        POLICY,
        POLICY.replace("  target: churned\n", f"{EVENT_TIME}  window: 90d\n  holdout: {{newest: 14d}}\n"),
        POLICY.replace("  target: churned\n", f"{EVENT_TIME}  window: 90d\n  group: customer\n"),
        POLICY.replace("  target: churned\n", EVENT_TIME),
        f"{POLICY}pace: {{cooldown: 6h, per_day: 4}}\n",
        POLICY.replace("  target: churned\n", "  target: churned\n  window: 2000 rows\n"),
        nightly("0 9 * * *", "12h"),
        nightly("0 9,20 * * *", "2h"),
        nightly("* 8-18 * * *", "1m"),
    ],
)
def test_what_may_well_be_meant_is_not_warned_of(text: str) -> None:
    assert warnings_of(text) == ()


def test_a_schedule_and_a_model_that_no_rule_asks_about_start_nothing() -> None:
    policy = read_policy_text(POLICY, "churn.yaml", "/").policies[0]
    named = replace(policy, schedules={"weekly": Schedule("0 3 * * 0")}, upstream={"embeddings": Upstream("emb")})

    schedule, upstream = policies_warnings(named)

    assert schedule.message == "No rule asks about the schedule `weekly`, so it starts nothing."
    assert "`when: schedule.weekly && data.new_rows > 0`" in schedule.hint
    assert "`when: upstream.embeddings.changed`" in upstream.hint


def test_a_rule_that_is_only_observed_hides_none_and_is_hidden_by_none() -> None:
    policy = read_policy_text(with_rules("data.new_rows > 5", "data.new_rows > 10"), "churn.yaml", "/").policies[0]
    first, second = policy.rules

    assert policies_warnings(replace(policy, rules=(replace(first, observe=True), second))) == ()
    assert policies_warnings(replace(policy, rules=(first, replace(second, observe=True)))) == ()


def test_the_examples_have_no_warnings() -> None:
    assert [str(each) for each in read_policies(Path(__file__).parents[2] / "policies").warnings] == []


def test_a_policy_with_warnings_is_in_force() -> None:
    reading = read_policy_text(with_rules("1 < 2"), "churn.yaml", "/")

    assert len(reading.policies) == 1
    assert "churn.yaml:8:7: warning: `1 < 2` is always true" in str(reading.warnings[0])


_COMPARISON = st.tuples(
    st.sampled_from(["data.new_rows", "failures", "data.quarantined"]),
    st.sampled_from(["<", "<=", ">", ">=", "=="]),
    st.integers(0, 3),
).map(lambda each: f"{each[0]} {each[1]} {each[2]}")
_RULE = st.recursive(
    _COMPARISON,
    lambda inner: st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(lambda each: f"({' '.join(each)})"),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(_RULE, _RULE, st.lists(st.integers(0, 4), min_size=3, max_size=3))
def test_a_rule_that_is_said_to_follow_holds_whenever_the_other_does(one: str, other: str, known: list[int]) -> None:
    follows = implies(alternatives_of(one), alternatives_of(other))
    values = dict(zip(("data.new_rows", "failures", "data.quarantined"), known, strict=True))

    holds = [evaluate(compile_rule(rule), values).holds for rule in (one, other)]

    assert not follows or not holds[0] or holds[1]
