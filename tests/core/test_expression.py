"""Rules: what compiles, what is refused and with which words, and that not knowing never holds."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_daemon.core.facts import Champion, ChampionState, DataFacts, Drift, Facts, LastAttempt, Scores
from retrain_daemon.core.policy import DataSpec, Names, Policy, Promotion, Schedule, Target, Upstream
from retrain_daemon.core.rules.expression import (
    FACTS,
    Expression,
    ExpressionProblem,
    Value,
    compile_rule,
    evaluate,
    fact_values,
    readable,
)
from retrain_daemon.core.rules.vocabulary import Kind, facts_of

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
POLICY = Policy(
    model="m",
    data=DataSpec(folder="/drops", pattern="*.csv", target=Target("y")),
    rules=(),
    promote=Promotion(require=()),
)
KNOWN: dict[str, Value] = {
    "data.new_rows": 7312,
    "data.unlearned_rows": 0,
    "data.waiting": timedelta(hours=3, minutes=20),
    "data.quarantined": 0,
    "champion.version": 7,
    "champion.age": timedelta(days=40),
    "registry.champion_moved": False,
    "last.outcome": "rejected",
    "last.age": timedelta(days=2),
    "failures": 0,
    "now": NOW,
    **{name: 0.83 for name, fact in FACTS.items() if fact.kind is Kind.DECIMAL},
    "drift.columns": {"age": 0.5, "zip code": 0.0213},
    **{name: (0.7, 0.9, 0.85, 0.75, 0.83) for name, fact in FACTS.items() if fact.kind is Kind.LIST},
}


def problem_of(source: str) -> ExpressionProblem:
    with pytest.raises(ExpressionProblem) as caught:
        compile_rule(source)
    return caught.value


@pytest.mark.parametrize("name", FACTS)
def test_the_example_of_every_fact_compiles_and_mentions_it(name: str) -> None:
    assert name in compile_rule(FACTS[name].example).names


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ("data.new_rows >= 7312", True),
        ("data.new_rows > 7312", False),
        ("champion.score.roc_auc < 0.84 && champion.baseline.roc_auc > 0.8", True),
        ("champion.scores.roc_auc.last(5).filter(s, s < 0.80).size() >= 2", True),
        ("champion.scores.roc_auc.last(3).filter(s, s < 0.80).size() >= 2", False),
        ("champion.scores.roc_auc.last(100).size() == 5", True),
        ("champion.scores.roc_auc.last(2).all(s, s < champion.baseline.roc_auc)", False),
        ("champion.scores.roc_auc.exists(s, s < 0.71)", True),
        ("champion.scores.roc_auc[0] < 0.71", True),
        ("drift.max > 0.4 && data.new_rows > 7000", True),
        ('drift.columns["age"] > 0.2', True),
        ("drift.columns.age > 0.2", True),
        ('drift.columns["zip code"] > 0.2', False),
        ("drift.columns.exists(c, drift.columns[c] > 0.3)", True),
        ('drift.columns.exists(c, c.startsWith("zip") && drift.columns[c] > 0.3)', False),
        ("drift.columns.filter(c, drift.columns[c] > 0.01).size() >= 2", True),
        ('"income" in drift.columns && drift.columns["income"] > 0.1', False),
        ("data.waiting > hours(3) && data.waiting < hours(4)", True),
        ("data.waiting > minutes(200) || failures > 0", False),
        ("champion.age > days(30)", True),
        ('champion.age > duration("720h")', True),
        ('last.outcome == "rejected" && last.age > days(1)', True),
        ("!registry.champion_moved", True),
        ("registry.champion_moved", False),
        ("champion.version in [6, 7]", True),
        ("now.getDayOfWeek() == 0", True),
        ('now > timestamp("2026-11-22T02:59:59Z")', True),
        ("failures == 0 ? data.new_rows > 1 : false", True),
        ("data.new_rows /* no */ > 1", None),
        ("data.new_rows // rows\n > 1", True),
        ("true", True),
    ],
)
def test_a_rule_is_computed_from_the_facts(source: str, holds: bool | None) -> None:
    if holds is None:
        problem_of(source)
    else:
        assert evaluate(compile_rule(source), KNOWN).holds is holds


@pytest.mark.parametrize("count", ["failures", "failures - 3", "data.new_rows - 1000000"])
def test_the_newest_none_of_a_list_say_nothing(count: str) -> None:
    outcome = evaluate(compile_rule(f"champion.scores.roc_auc.last({count}).all(s, s < 0.01)"), KNOWN)
    assert outcome.holds is None
    assert "is none of the newest" in outcome.problem


@pytest.mark.parametrize(
    ("source", "message", "hint"),
    [
        ("data.new_row > 1", "no fact `data.new_row`", "Did you mean `data.new_rows`"),
        ("new_rows > 1", "no fact `new_rows`", "Did you mean `data.new_rows`"),
        ("Failures > 1", "no fact `Failures`", "Did you mean `failures`"),
        ("xyzzy > 1", "no fact `xyzzy`", "The facts are: data.new_rows"),
        ("last.outcome == promoted", "no fact `promoted`", 'write "promoted"'),
        ("drift.max > 1", "`>` cannot take a decimal number and a whole number", "Write 1.0."),
        ('drift.columns["age"] > 1', "`>` cannot take a decimal number and a whole number", "Write 1.0."),
        ("drift.columns > 0.2", "`>` cannot take a map and a decimal number", 'drift.columns["age"] > 0.2'),
        ("drift.columns[1] > 0.2", "cannot take a map and a whole number", 'drift.columns["age"] > 0.2'),
        ("drift.columns.exists(c, c > 0.2)", "`>` cannot take a text and a decimal number", "drift.columns[c] > 0.2"),
        ("drift.maximum > 0.2", "There is no fact `drift.maximum`", "`drift.max`"),
        ("drift > 0.2", "There is no fact `drift`", "drift.max"),
        ("drift.columns", "`drift.columns` is a decimal number for each column; a rule needs", "drift.columns["),
        ('drift.columns["age"] / drift.max > 0.5', "divided by something that can be zero", "Multiply"),
        ("champion.score.roc_auc < 1", "`<` cannot take a decimal number and a whole number", "Write 1.0"),
        ("champion.scores.mae.filter(s, s < 1).size() > 1", "`<` cannot take a decimal number", "Write 1.0"),
        ("champion.scores.roc_auc < 0.8", "`<` cannot take a list and a decimal number", ".exists(s, s < 0.8)"),
        ("champion.score.rocauc < 0.8", "There is no fact `champion.score.rocauc`", "`champion.score.roc_auc`"),
        ("champion.scores.rocauc.last(3).size() > 1", "no fact `champion.scores.rocauc`", "champion.scores.roc_auc"),
        ("champion.scores.last(3).size() > 1", "There is no fact `champion.scores`", "Name a metric"),
        ("champion.scores.roc_auc.max() < 0.8", "There is no function `max`", ""),
        ("champion.scores.roc_auc.last().size() > 1", "`last` takes how many", "last(5)"),
        ("champion.scores.roc_auc.last(0).size() > 1", "`last` takes how many", "last(5)"),
        ("champion.score.roc_auc.last(3).size() > 1", "`last` cannot take a decimal number", "champion.scores."),
        ("data.new_rows.filter(x, x > 1).size() > 1", "go over a list, here it is a whole number", "Compare"),
        ("champion.scores.roc_auc.exists(now, now < 0.8)", "`now` is the name of facts", "such as s"),
        ("champion.score.mae / champion.baseline.mae > 1.1", "divided by something that can be zero", "Multiply"),
        ("schedule.weekly", "no fact `schedule.weekly`", "The policy has no `schedules`: name it there"),
        ("upstream.a.changed", "no fact `upstream.a.changed`", "The policy has no `upstream`: name it there"),
        ("data.new_rows > 1.0", "a whole number and a decimal number", "Write 1."),
        ("data.new_rows > 1.5", "a whole number and a decimal number", "such as 2"),
        ("data.new_rows >= 1e4", "a whole number and a decimal number", "Write 10000."),
        ("double(failures) > 1", "a decimal number and a whole number", "Write 1.0."),
        ("data.waiting > 3", "a duration and a whole number", "days(3)"),
        ("now > days(3)", "a point in time and a duration", "timestamp("),
        ('failures == "3"', "a whole number and a text", "without quotes"),
        ('registry.champion_moved == "true"', "true or false and a text", "without quotes"),
        ("failures && true", "`&&` joins what is true or false", "comparison"),
        ("data.new_rows", "`data.new_rows` is a whole number; a rule needs a comparison", "data.new_rows >= 10000"),
        ("data.new_rows + 1", "The rule gives a whole number", "needs a comparison"),
        ("days(7)", "The rule gives a duration", "needs a comparison"),
        ("[failures]", "The rule gives a list", "needs a comparison"),
        ("dyn(failures)", "`dyn` hides a type", "one type"),
        ('data.waiting > duration("7d")', '`duration("7d")` cannot be computed', "days(7)"),
        ('now > timestamp("2026-13-01")', "cannot be computed", "2026-01-31T00:00:00Z"),
        ("data.waiting > days(99999999999999)", "cannot be computed", "smaller"),
        ("data.waiting > days(2.0)", "`days` takes one whole number", "days(2)"),
        ("data.waiting > days(1, 2)", "`days` takes one whole number", "days(7)"),
        ("data.waiting > days", "`days` is a function", "days(7)"),
        ("data.waiting > day(7)", "no function `day`", "`days`"),
        ("data.waiting > 7d", "`7d` is not a duration", "days(7)"),
        ("data.new_rows > 10k", "`10k` is not a number", "10000"),
        ("data.new_rows > 10_000", "`10_000` is not a number", "Write 10000."),
        ("data.new_rows > 10,000", "`10,000` is not a number", "without a comma"),
        ("failures = 3", "`=` is not an operator", "Write ==."),
        ("failures => 3", "`=>` is not an operator", "Write >=."),
        ("failures <> 3", "`<>` is not an operator", "Write !=."),
        ("failures > 3 and true", "`and` is not an operator", "Write &&."),
        ("not registry.champion_moved", "`not` is not an operator", "Write !."),
        ("registry.champion_moved == True", "`True` is not known", "Write true."),
        ("failures >", "ends too early", "Finish"),
        ("drift.max > 25%", "no percentages", "Write 0.25."),
        ("champion.scores.roc_auc.size >= 2", "A list has no parts with names.", ".size()"),
        ("", "empty", "data.new_rows >= 10000"),
        ("// nothing", "empty", "data.new_rows >= 10000"),
        ("(failures > 1", "`)` is missing", ""),
        ("failures > 1)", "Nothing was opened that `)` closes", ""),
        ('last.outcome == "x', "quote is not closed", ""),
        ('last.outcome == "promotd"', 'never "promotd"', '"promoted"'),
        ("1 / 0 > failures", "divides by zero", ""),
        ("!(0.0 / 0.0 > 0.2)", "divides by zero", ""),
        ("double(data.new_rows) / double(failures) > 0.5", "something that can be zero", "a * 10 > b"),
        ("double(failures) < 1e999", "too large", "finite"),
        ("failures > 9223372036854775808", "`9223372036854775808` is too large", "9223372036854775807"),
        ('now.getHours("Mars/Base") > 3', "time zone", "Europe/Berlin"),
        ('last.outcome.matches("(")', "search pattern", ""),
        ("(" * 200 + "true" + ")" * 200, "nested too deeply", "several rules"),
        ("failures > 1 && " * 400 + "true", "at most 4,000", ""),
        ("failures > 1 \ud800", "half a character", "UTF-8"),
        ("failures\x00 > 1", "`\\x00` is not expected", ""),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused_in_words(source: str, message: str, hint: str) -> None:
    problem = problem_of(source)
    assert message in str(problem)
    assert hint in str(problem)
    assert "INVALID_ARGUMENT" not in str(problem)


@pytest.mark.parametrize(
    ("source", "line", "column"),
    [
        ("data.new_row > 1", 1, 1),
        ("failures > 1 && data.new_row > 1", 1, 17),
        ("failures > 1 &&\n  data.new_row > 1", 2, 3),
        ("'éé' == 'a' && foo > 1", 1, 16),
        ("data.waiting > duration('7d')", 1, 16),
        ("failures >", 1, 11),
        ("failures > 1.0", 1, 10),
    ],
)
def test_a_problem_has_its_line_and_column(source: str, line: int, column: int) -> None:
    problem = problem_of(source)
    assert (problem.line, problem.column) == (line, column)


@pytest.mark.parametrize("name", FACTS)
def test_an_unknown_fact_never_holds_and_is_named(name: str) -> None:
    for source in (FACTS[name].example, f"!({FACTS[name].example})"):
        outcome = evaluate(compile_rule(source), {**KNOWN, "data.new_rows": 1, name: None})
        assert outcome.holds is None
        assert outcome.missing == (name,)
        assert (name, "unknown") in outcome.values


def test_scores_of_which_one_is_not_a_number_count_as_not_known() -> None:
    rule = compile_rule("champion.scores.roc_auc.exists(s, s < 0.8)")
    assert evaluate(rule, {**KNOWN, "champion.scores.roc_auc": (0.7, math.nan)}).holds is None


def test_a_column_that_was_not_measured_makes_a_rule_unknown_and_is_named() -> None:
    for source in ('drift.columns["agee"] > 0.2', '!(drift.columns["agee"] > 0.2)', "drift.columns.agee > 0.2"):
        outcome = evaluate(compile_rule(source), KNOWN)
        assert (outcome.holds, outcome.missing) == (None, ())
        assert outcome.problem == 'no column "agee" was measured'


def test_how_far_a_column_is_from_its_threshold_is_said() -> None:
    outcome = evaluate(compile_rule('drift.columns["zip code"] > 0.25 && drift.max > 0.1'), KNOWN)
    assert outcome.shortfalls == ('drift.columns["zip code"] is 0.0213, short by 0.2287',)
    assert outcome.values == (("drift.columns", "age 0.5, zip code 0.0213"), ("drift.max", "0.83"))
    assert evaluate(compile_rule("drift.columns.age < 0.25"), KNOWN).shortfalls == (
        "drift.columns.age is 0.5, over by 0.25",
    )


def test_drift_with_a_column_that_is_not_a_number_is_not_known() -> None:
    outcome = evaluate(compile_rule('drift.columns["age"] > 0.2'), {**KNOWN, "drift.columns": {"age": math.nan}})
    assert (outcome.holds, outcome.missing) == (None, ("drift.columns",))


def test_drift_is_its_farthest_column_and_not_known_without_one() -> None:
    champion = Champion(state=ChampionState.FOUND, version=3)
    columns = {"age": 0.1, "income": 0.7}
    values = fact_values(
        POLICY, Facts(model="m", champion=champion, data=DataFacts(), drift=Drift(columns=columns)), NOW
    )
    assert (values["drift.max"], values["drift.columns"]) == (0.7, columns)
    values = fact_values(POLICY, facts(champion), NOW)
    assert (values["drift.max"], values["drift.columns"]) == (None, None)


def test_a_position_that_no_score_has_makes_a_rule_unknown() -> None:
    outcome = evaluate(compile_rule("champion.scores.roc_auc[9] < 0.8"), KNOWN)
    assert outcome.holds is None
    assert "index" in outcome.problem


def test_how_many_scores_are_too_low_is_said_beside_how_many_are_asked_for() -> None:
    source = "champion.scores.roc_auc.last(3).filter(s, s < 0.80).size() >= 2 && data.new_rows > 0"
    outcome = evaluate(compile_rule(source), KNOWN)
    assert outcome.shortfalls == (f"{source.split(' >=')[0]} is 1, short by 1",)
    assert outcome.values[0] == ("champion.scores.roc_auc", "0.7, 0.9, 0.85, 0.75, 0.83")


def test_loops_in_loops_end_soon() -> None:
    inner = "champion.scores.roc_auc.exists(b, a < b)"
    assert evaluate(compile_rule(f"champion.scores.roc_auc.exists(a, {inner})"), KNOWN).holds is True
    problem = problem_of(f"champion.scores.mae.all(x, champion.scores.roc_auc.exists(a, {inner}))")
    assert (problem.message, problem.hint) == ("`exists` stands in 2 others.", "Split the rule.")


def test_without_any_score_every_score_of_them_is_unknown() -> None:
    champion = Champion(state=ChampionState.FOUND, version=3)
    given_facts = Facts(model="m", champion=champion, data=DataFacts(), scores={"rmse": Scores(score=2.0)})
    values = fact_values(POLICY, given_facts, NOW)
    assert values["champion.score.rmse"] == 2.0
    assert evaluate(compile_rule("champion.scores.rmse.all(s, s > 1.0)"), values).holds is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("source", ["data.new_rows > 0", "!(data.new_rows > 0)", "data.new_rows < 5"])
def test_nan_and_infinity_count_as_not_known(value: float, source: str) -> None:
    outcome = evaluate(compile_rule(source), {**KNOWN, "data.new_rows": value})
    assert outcome.holds is None
    assert outcome.missing == ("data.new_rows",)


def test_nothing_known_at_all_holds_nothing() -> None:
    outcome = evaluate(compile_rule("data.new_rows > 0 && failures == 0"), {})
    assert outcome.holds is None
    assert outcome.missing == ("data.new_rows", "failures")


def test_one_true_side_of_an_or_is_enough() -> None:
    rule = compile_rule("data.new_rows > 5 || data.waiting > days(3)")
    assert evaluate(rule, {"data.new_rows": 6}).holds is True
    assert evaluate(rule, {"data.new_rows": 5}).holds is None


def test_one_false_side_of_an_and_is_enough() -> None:
    assert evaluate(compile_rule("failures > 3 && data.new_rows > 5"), {"failures": 0}).holds is False


@pytest.mark.parametrize("value", [2**70, 1.5, "many", timedelta(1)])
def test_a_value_of_another_type_is_no_answer(value: Value) -> None:
    outcome = evaluate(compile_rule("data.new_rows > 0"), {"data.new_rows": value})
    assert outcome.holds is None
    assert "cannot be computed" in outcome.problem


def test_a_division_by_zero_is_no_answer_and_says_why() -> None:
    outcome = evaluate(compile_rule("data.new_rows / failures > 1"), KNOWN)
    assert (outcome.holds, outcome.missing) == (None, ())
    assert "divide by zero" in outcome.problem


def test_the_facts_a_rule_mentions_are_shown_for_people() -> None:
    rule = compile_rule('data.new_rows > 9000 && data.waiting > days(1) && last.outcome != "abandoned"')
    shown = evaluate(rule, KNOWN).values
    assert shown == (("data.new_rows", "7312"), ("data.waiting", "3h 20m"), ("last.outcome", "rejected"))


def test_a_name_inside_a_text_or_comment_is_not_mentioned() -> None:
    rule = compile_rule('last.outcome.contains("data.new_rows") // failures')
    assert rule.names == ("last.outcome",)


@pytest.mark.parametrize(
    ("source", "shortfalls"),
    [
        ("data.new_rows >= 10000", ("data.new_rows is 7,312, short by 2,688",)),
        ("data.new_rows > 7312", ("data.new_rows is 7,312, short by 1",)),
        ("10000 <= data.new_rows", ("data.new_rows is 7,312, short by 2,688",)),
        ("data.new_rows < 7000", ("data.new_rows is 7,312, over by 313",)),
        ("failures == 2", ("failures is 0, not 2",)),
        ("data.waiting >= days(3)", ("data.waiting is 3h 20m, short by 2d 20h",)),
        ("failures == 0 && data.new_rows >= 8000", ("data.new_rows is 7,312, short by 688",)),
        ("data.new_rows >= 2 * 5000", ("data.new_rows is 7,312, short by 2,688",)),
        ("data.new_rows >= 1000", ()),
        ("!(data.new_rows >= 1000)", ()),
        ("failures > 2 ? true : false && failures > 3", ()),
    ],
)
def test_a_missed_threshold_says_by_how_much(source: str, shortfalls: tuple[str, ...]) -> None:
    assert evaluate(compile_rule(source), KNOWN).shortfalls == shortfalls


def facts(champion: Champion, last: LastAttempt | None = None) -> Facts:
    data = DataFacts(new_rows=5, waiting=timedelta(hours=1), quarantined=1)
    return Facts(model="m", champion=champion, data=data, champion_moved=False, last=last, failures=1)


def test_every_fact_gets_its_value() -> None:
    champion = Champion(state=ChampionState.FOUND, version=3, created_at=NOW - timedelta(days=2))
    last = LastAttempt(
        id="m-1",
        outcome="promoted",
        started_at=NOW - timedelta(hours=2),
        ended_at=NOW - timedelta(hours=1),
        policy_digest="",
        champion_after=3,
    )
    values = fact_values(POLICY, facts(champion, last), NOW)
    assert set(values) == set(FACTS)
    assert values["champion.age"] == timedelta(days=2)
    assert (values["last.outcome"], values["last.age"]) == ("promoted", timedelta(hours=1))
    assert (values["data.new_rows"], values["data.unlearned_rows"], values["failures"]) == (5, None, 1)


@pytest.mark.parametrize("state", [state for state in ChampionState if state is not ChampionState.FOUND])
def test_a_champion_that_is_not_found_has_no_known_version_or_age(state: ChampionState) -> None:
    values = fact_values(POLICY, facts(Champion(state=state, version=3, created_at=NOW)), NOW)
    assert values["champion.version"] is None
    assert values["champion.age"] is None
    assert values["last.outcome"] is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "unknown"),
        (True, "true"),
        (7312, "7312"),
        (0.5, "0.5"),
        ("promoted", "promoted"),
        (timedelta(0), "0s"),
        (timedelta(days=2, hours=20, minutes=5), "2d 20h"),
        (timedelta(days=7), "7d"),
        (timedelta(seconds=-90), "-1m 30s"),
        (NOW, "2026-11-22 03:00 UTC"),
        (
            {"a": 0.1, "b": 0.51234, "c": 0.0, "d": 0.2, "e": 0.3, "f": 0.15},
            "b 0.512, e 0.3, d 0.2, f 0.15, a 0.1 and 1 more",
        ),
    ],
)
def test_values_read_like_words(value: Value, text: str) -> None:
    assert readable(value) == text


WORDS = st.sampled_from(
    [*FACTS, "days", "(", ")", "7", "1.5", "&&", "||", "!", ">", ">=", "==", "+", "/", '"promoted"', "'", "[", "]", ",",
     "duration", "timestamp", '"7d"', "?", ":", "true", "null", ".", "{", "}", "drift.max", "in", "\n", "é"]
)  # fmt: skip


def attempted(source: str) -> Expression | ExpressionProblem:
    try:
        return compile_rule(source)
    except ExpressionProblem as problem:
        return problem


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.lists(WORDS, max_size=12).map(" ".join), st.lists(WORDS, max_size=12).map("".join)))
def test_any_text_is_compiled_or_refused_at_a_place_inside_it(source: str) -> None:
    result = attempted(source)
    if isinstance(result, ExpressionProblem):
        lines = source.split("\n")
        assert result.message
        assert 1 <= result.line <= len(lines)
        assert 1 <= result.column <= len(lines[result.line - 1]) + 1
    else:
        assert evaluate(result, {}).holds in (True, False, None)


@settings(max_examples=100, deadline=None)
@given(st.lists(WORDS, max_size=8).map(" ".join), st.sets(st.sampled_from(sorted(FACTS))))
def test_what_holds_without_a_fact_still_holds_when_the_fact_is_known(source: str, hidden: set[str]) -> None:
    rule = attempted(source)
    if isinstance(rule, ExpressionProblem):
        return
    known = {name: value for name, value in KNOWN.items() if name not in hidden}
    if evaluate(rule, known).holds is not None:
        assert evaluate(rule, known).holds == evaluate(rule, KNOWN).holds


GIVEN = Names(schedules=("weekly", "nightly"), upstream=("embeddings",))


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("schedule.wekly", "Did you mean `schedule.weekly`?"),
        ("upstream.embedings.changed", "Did you mean `upstream.embeddings.changed`?"),
        ("schedule.qqq && data.new_rows > 0", "`schedules` names weekly, nightly."),
        ("schedule.weekly && schedule.qqq", "`schedules` names weekly, nightly."),
    ],
)
def test_a_typo_in_a_name_that_the_policy_gives_is_found_when_the_rule_is_read(source: str, hint: str) -> None:
    with pytest.raises(ExpressionProblem, match="There is no fact") as caught:
        compile_rule(source, GIVEN)
    assert caught.value.hint == hint


def test_a_rule_asks_about_the_names_that_its_policy_gives() -> None:
    policy = replace(
        POLICY,
        schedules={"weekly": Schedule("0 3 * * sun"), "nightly": Schedule("0 5 * * *")},
        upstream={"embeddings": Upstream("text-embeddings")},
    )
    values = fact_values(policy, replace(facts(Champion(state=ChampionState.NONE)), upstream={"embeddings": True}), NOW)
    assert set(values) == set(facts_of(policy.names))
    assert evaluate(compile_rule("schedule.weekly && upstream.embeddings.changed", GIVEN), values).holds is True
    assert evaluate(compile_rule("schedule.nightly || !schedule.weekly", GIVEN), values).holds is True
    values = fact_values(policy, facts(Champion(state=ChampionState.NONE)), NOW)
    assert evaluate(compile_rule("!upstream.embeddings.changed", GIVEN), values).missing == (
        "upstream.embeddings.changed",
    )
