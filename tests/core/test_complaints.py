"""Mistakes people make in rules: each is placed at the word that is wrong and says what to write instead."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_daemon.core.policy import Names
from retrain_daemon.core.rules.expression import FACTS, ExpressionProblem, compile_rule
from retrain_daemon.core.rules.tokens import offset_of

GIVEN = Names(("weekly",), ("embeddings",))


def problem_of(source: str) -> ExpressionProblem:
    with pytest.raises(ExpressionProblem) as caught:
        compile_rule(source, GIVEN)
    return caught.value


@pytest.mark.parametrize(
    ("source", "at", "hint"),
    [
        # whole and decimal numbers, in both directions and inside arithmetic
        ("drift.max > 1", ">", "Write 1.0."),
        ("1 < drift.max", "<", "Write 1.0."),
        ("data.new_rows >= 1e4", ">=", "Write 10000."),
        ("data.new_rows > 1.5", ">", "Write a whole number, such as 2."),
        ("data.new_rows * 0.5 > 100.0", "*", "Write double(data.new_rows)."),
        ("drift.max * 2 > 1.0", "*", "Write 2.0."),
        ("champion.score.f1 < champion.baseline.f1 - 1", "-", "Write 1.0."),
        ("drift.max > failures", ">", "Write double(failures)."),
        ("champion.scores.f1.all(s, s < 1)", "< 1", "Write 1.0."),
        # numbers as people write them
        ("data.new_rows >= 10,000", "10,000", "Write 10000 without a comma."),
        ("data.new_rows >= 1 000", "1 000", "Write 1000."),
        ("drift.max > 0,2", "0,2", "Write 0.2."),
        ("(failures == 0) && data.new_rows >= 10,000", "10,000", "Write 10000 without a comma."),
        ("drift.max > 5%", "5%", "Write 0.05."),
        ("drift.max > 25% && failures == 0", "25%", "Write 0.25."),
        ("failures > 2.", "2.", "Write 2."),
        ("failures > 2u", ">", "Write the number without u."),
        ('data.new_rows > "10"', ">", "Write 10 without quotes."),
        ("drift.columns['age'] > '2'", ">", "Write 2.0 without quotes."),
        # durations and moments
        ("champion.age > 7d", "7d", "Write days(7)."),
        ("champion.age > 7 days", "7 days", "Write days(7)."),
        ("champion.age > 2 weeks", "2 weeks", "Write days(14)."),
        ("champion.age > days 7", "days 7", "Write days(7)."),
        ("champion.age > 7", ">", "Write days(7), hours(7) or minutes(7)."),
        ("champion.age >= 604800", ">=", 'Write duration("604800s") if these are seconds.'),
        ('champion.age > "7d"', ">", "Write days(7)."),
        ("champion.age > days(7.5)", "days(7.5)", "Write hours(180)."),
        ("champion.age > weeks(2)", "weeks", "Write days(14) for two weeks."),
        ("champion.age.days > 7", "days >", "Compare the whole of it: champion.age > days(7)."),
        ("champion.age > timedelta(days=7)", "timedelta", "Write days(7), hours(12) or minutes(30)."),
        ("now.hour > 3", "hour", "Write now.getHours()."),
        ("now.getHours > 3", "getHours", "Write now.getHours()."),
        ("now.weekday() == 0", "weekday", "Of a point in time write getDayOfWeek()."),
        ('now.getDayOfWeek() == "Sunday"', "==", "0 is Sunday"),
        ('failures == 0 && now.getHours("Berlin") > 3', '"Berlin"', "Write one such as Europe/Berlin."),
        ('failures == 0 && last.age > days(1) || duration("7d") < last.age', "duration", "Write days(7)"),
        # texts, true and false
        ("last.outcome == promoted", "promoted", 'write "promoted".'),
        ('last.outcome in ["promoted", "rejectd"]', '"rejectd"', 'Did you mean "rejected"?'),
        ('last.outcome in ("promoted", "rejected")', '("promoted"', 'Write ["promoted", "rejected"].'),
        ('failures == 0 && last.outcome.matches("(")', '"("', "with every bracket closed"),
        ('schedule.weekly == "true"', "==", "Write true or false without quotes, or leave the comparison out"),
        ("schedule.weekly == 1", "==", "Leave the comparison out"),
        ("drift.max == null", "null", "leave the comparison out"),
        ("has(drift.max)", "has", "does not hold anyway"),
        # operators of other languages
        ("failures == 0 and drift.max > 0.2", "and", "Write &&."),
        ("failures is 0", "is", "Write ==."),
        ("failures not in [1]", "not", "Write !(failures in [1, 2])."),
        ("data.new_rows \u2265 3", "\u2265", "Write >=."),
        ("if data.new_rows > 3", "if", "without `if`"),
        ("failures > 2 # often", "#", "A comment begins with //."),
        # how words stand together
        ("0 < data.new_rows < 5", "< 5", "Write 0 < data.new_rows && data.new_rows < 5."),
        ("drift.max >> 0.1", ">>", "Write >."),
        ("champion.scores.roc_auc[-1] < 0.8", "-1", "The newest is champion.scores.roc_auc.last(1)[0]."),
        ("champion.scores.roc_auc[20] < 0.8", "20", "The newest is"),
        ("(data.new_rows > 3 && (failures == 0)", "(data", "Write `)` where it closes this."),
        ("failures in [1, 2)", ")", "Take it out."),
        ("&& failures > 3", "&&", "Something to compare is missing before it."),
        ("data.new_rows ? true : false", "?", "Write a comparison"),
        ("failures > (true ? 1 : 1.0)", "?", "Write the same type on both sides of the colon."),
        # facts and functions that there are not
        ("champion.score > 0.8", "champion.score", "Name a metric: champion.score.accuracy"),
        ('champion.score["roc_auc"] > 0.8', "champion.score", "Write champion.score.roc_auc."),
        ("champion > 3", "champion", "Its facts are: champion.version, champion.age"),
        ("schedule.weekly()", "schedule.weekly", "Write it without parentheses."),
        ("schedule.wekly", "schedule.wekly", "Did you mean `schedule.weekly`?"),
        ("drift.columns[age] > 0.2", "age", 'write drift.columns["age"].'),
        ("champion.scores.f1.mean() < 0.8", "mean", "champion.score.METRIC is the mean"),
        ("len(champion.scores.f1) > 3", "len", ".size()"),
        ("champion.scores.f1.all(s < 0.8)", "all", "Write .all(s, s < 0.8)."),
        ("frobnicate(failures)", "frobnicate", "The functions are: days, hours"),
    ],
)
def test_a_mistake_is_placed_at_its_word_and_says_what_to_write(source: str, at: str, hint: str) -> None:
    problem = problem_of(source)

    assert hint in problem.hint
    assert source[offset_of(source, problem.line, problem.column) :].startswith(at)


@pytest.mark.parametrize(
    "source",
    [
        "(data.new_rows > 5 || drift.max > 0.2) && now.getDayOfWeek() in [0,6]",
        "[0,6].exists(d, d == now.getDayOfWeek())",
        "champion.scores.roc_auc[19] < 0.8 && champion.scores.roc_auc.last(1)[0] < 0.8",
    ],
)
def test_a_list_of_numbers_needs_no_spaces_wherever_it_stands(source: str) -> None:
    assert compile_rule(source).names


_TERMS = st.sampled_from(
    [*FACTS, "schedule.weekly", "3", "0.5", '"promoted"', "true", "days(2)", "[1, 2]", "now", "-1"]
)
_EXPRESSIONS = st.recursive(
    _TERMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["<", "==", "&&", "||", "+", "*", "/", "in", ">=", "%"]), inner).map(" ".join),
        inner.map("({})".format),
        inner.map("!{}".format),
        st.tuples(inner, st.sampled_from(["size", "last", "getHours", "all", "x"]), inner).map(
            "{0[0]}.{0[1]}({0[2]})".format
        ),
        st.tuples(inner, inner, inner).map("{0[0]} ? {0[1]} : {0[2]}".format),
        st.tuples(inner, inner).map("{0[0]}[{0[1]}]".format),
        st.tuples(inner, inner).map("{0[0]}.exists(s, {0[1]})".format),
    ),
    max_leaves=8,
)


@settings(max_examples=400, deadline=None)
@given(_EXPRESSIONS)
def test_any_expression_of_the_language_compiles_or_is_refused_at_a_place_inside_it(source: str) -> None:
    problem = refusal_of(source)

    if problem is not None:
        lines = source.split("\n")
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1
        assert str(problem)


def refusal_of(source: str) -> ExpressionProblem | None:
    try:
        compile_rule(source, GIVEN)
    except ExpressionProblem as problem:
        return problem
    return None
