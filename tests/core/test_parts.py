"""The parts of a rule with their values: they say what is compared, by how much it is missed, and what is not known."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from retrain_daemon.core.rules.anatomy import Joint
from retrain_daemon.core.rules.checked import Node, references_of, tree_of
from retrain_daemon.core.rules.expression import ExpressionProblem, Value, compile_rule, evaluate
from retrain_daemon.core.rules.parts import Part, joined
from retrain_daemon.core.rules.programs import program_of
from retrain_daemon.core.rules.vocabulary import FACTS, Kind
from tests.core.test_expression import KNOWN


def parts(source: str, **more: Value) -> Part:
    return evaluate(compile_rule(source), {**KNOWN, **more}).condition


def told(part: Part) -> tuple[str, bool | None, str]:
    """A leaf as one line."""
    said = ", ".join(filter(None, (part.value, part.against, part.gap, part.detail)))
    return part.text, part.holds, said


@pytest.mark.parametrize(
    ("source", "holds", "said"),
    [
        ("data.new_rows >= 10000", False, "7,312, short by 2,688"),
        ("10000 <= data.new_rows", False, "7,312, short by 2,688"),
        ("data.new_rows >= 1000", True, "7,312"),
        ("failures != 0", False, "0"),
        ('last.outcome == "promoted"', False, '"rejected"'),
        ("champion.version in [8, 9]", False, "7"),
        ('"income" in drift.columns', False, "age 0.5, zip code 0.0213"),
        ("now.getDayOfWeek() == 3", False, "0, not 3"),
        ("data.waiting > days(1)", False, "3h 20m, short by 20h 40m"),
        ("champion.score.roc_auc < champion.baseline.roc_auc - 0.05", False, "0.83, 0.78, over by 0.05"),
        ('drift.columns["age"] > 0.6', False, "0.5, short by 0.1"),
        ("drift.columns.exists(c, drift.columns[c] > 0.3)", True, "1 of 2: age 0.5, zip code 0.0213"),
        ("champion.scores.roc_auc.last(3).all(s, s < 0.8)", False, "1 of 3: 0.85, 0.75, 0.83"),
        (
            "champion.scores.roc_auc.last(3).filter(s, s < 0.8).size() >= 2",
            False,
            "1, short by 1, 1 of 3: 0.85, 0.75, 0.83",
        ),
        ('last.outcome.startsWith("pro")', False, 'last.outcome is "rejected"'),
        ("registry.champion_moved", False, ""),
        ("true", True, ""),
        ("(data.new_rows + failures) * 2 >= 20000", False, "14,624, short by 5,376"),
    ],
)
def test_a_part_tells_what_it_looks_at_and_by_how_much_it_is_missed(source: str, holds: bool, said: str) -> None:
    assert told(parts(source)) == (source, holds, said)


def test_a_condition_is_taken_apart_where_it_is_joined() -> None:
    whole = parts("failures == 0 && (data.new_rows >= 10000 || !(drift.max > 0.25)) && !registry.champion_moved")
    assert whole.joint is Joint.ALL
    first, either, moved = whole.parts
    assert (first.text, first.holds) == ("failures == 0", True)
    assert (either.joint, [each.text for each in either.parts]) == (
        Joint.ANY, ["data.new_rows >= 10000", "!(drift.max > 0.25)"],
    )  # fmt: skip
    assert (moved.joint, moved.holds, moved.parts[0].text) == (Joint.NOT, True, "registry.champion_moved")
    assert [leaf.text for leaf in whole.leaves()][2] == "drift.max > 0.25"


def test_a_choice_has_its_condition_and_both_outcomes_as_parts() -> None:
    whole = parts("failures == 0 ? (data.new_rows > 1 ? true : false) : drift.max > 0.9")
    assert whole.joint is Joint.CHOICE
    assert [part.text for part in whole.parts] == [
        "failures == 0", "(data.new_rows > 1 ? true : false)", "drift.max > 0.9",
    ]  # fmt: skip
    assert [part.holds for part in whole.parts] == [True, True, False]


def test_a_choice_between_numbers_is_one_side_of_a_comparison() -> None:
    part = parts("data.new_rows > (failures == 0 ? 9000 : 20000) + failures")
    assert told(part)[2] == "7,312, 9,000, short by 1,689"


@pytest.mark.parametrize("source", ["!!!registry.champion_moved", "!registry.champion_moved", "!(!!(failures > 0))"])
def test_signs_of_negation_in_a_row_are_one_negation(source: str) -> None:
    whole = parts(source)
    assert (whole.joint, whole.holds, whole.parts[0].holds) == (Joint.NOT, True, False)


def test_a_part_that_is_not_known_names_what_is_missing() -> None:
    whole = parts("data.new_rows > 5 || drift.max > 0.25", **{"drift.max": math.nan})
    assert [(part.holds, part.missing) for part in whole.parts] == [(True, ()), (None, ("drift.max",))]
    column = parts('drift.columns["agee"] > 0.2')
    assert (column.holds, column.missing, column.problem) == (None, (), 'no column "agee" was measured')


def test_a_text_that_looks_like_a_rule_is_not_taken_apart() -> None:
    assert parts('last.outcome.contains("a && b || !c") // && failures > 1').joint is Joint.NONE


@pytest.mark.parametrize(
    ("joint", "held", "whole"),
    [
        (Joint.ALL, (True, None), None), (Joint.ALL, (False, None), False), (Joint.ALL, (True, True), True),
        (Joint.ANY, (True, None), True), (Joint.ANY, (False, None), None), (Joint.ANY, (False, False), False),
        (Joint.NOT, (None,), None), (Joint.NOT, (True,), False),
        (Joint.CHOICE, (None, True, True), None), (Joint.CHOICE, (True, False, None), False),
        (Joint.CHOICE, (False, True, None), None),
    ],
)  # fmt: skip
def test_a_part_that_is_not_known_matters_only_where_the_others_settle_nothing(
    joint: Joint, held: tuple[bool | None, ...], whole: bool | None
) -> None:
    assert joined(joint, held) is whole


def test_parts_come_back_from_json_as_they_were() -> None:
    adapter = TypeAdapter(Part)
    whole = parts("failures == 0 && (data.new_rows >= 10000 || !(drift.max > 0.25))")
    assert adapter.validate_json(adapter.dump_json(whole)) == whole


LEAVES = st.sampled_from(
    [
        "data.new_rows >= 10000", "failures == 0", "drift.max > 0.25", "registry.champion_moved", "true", "false",
        'drift.columns["age"] > 0.2', 'drift.columns["no"] > 0.2', "data.new_rows / failures > 1",
        "champion.score.roc_auc < champion.baseline.roc_auc - 0.05", "data.waiting > days(3)",
        "champion.scores.roc_auc.exists(s, s < 0.8)", "champion.scores.roc_auc.last(failures).all(s, s < 0.8)",
        "champion.version in [1, 7]", 'last.outcome.contains("é && (")', "(now.getHours() == 3)",
        "champion.scores.roc_auc.filter(s, s < 0.8 && s > 0.1).size() >= 2", "(failures == 0 ? 1 : 2) < data.new_rows",
    ]
)  # fmt: skip
RULES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=4).map(lambda each: "(" + " && ".join(each) + ")"),
        st.lists(inner, min_size=2, max_size=4).map(" ||\n".join).map("({})".format),
        inner.map("!({})".format),
        inner.map("!!({})".format),
        st.tuples(inner, inner, inner).map(lambda each: "({} ? {} : {})".format(*each)),
    ),
    max_leaves=10,
)
NUMBERS = st.one_of(st.none(), st.floats(), st.floats(0, 1))
VALUES: dict[Kind, st.SearchStrategy[Value]] = {
    Kind.NUMBER: st.one_of(st.none(), st.integers(0, 3), st.integers(9999, 10001)),
    Kind.TEXT: st.one_of(st.none(), st.sampled_from(["promoted", "rejected"])),
    Kind.TRUTH: st.one_of(st.none(), st.booleans()),
    Kind.SPAN: st.one_of(st.none(), st.timedeltas(timedelta(0), timedelta(days=9))),
    Kind.MOMENT: st.sampled_from([None, KNOWN["now"]]),
    Kind.DECIMAL: NUMBERS,
    Kind.LIST: st.one_of(st.none(), st.lists(st.floats(0, 1), min_size=1, max_size=4).map(tuple)),
    Kind.MAP: st.one_of(st.none(), st.dictionaries(st.sampled_from(["age", "zip"]), st.floats(0, 1), min_size=1)),
}
MENTIONED = [name for name in FACTS if ("score" not in name and "baseline" not in name) or name.endswith("roc_auc")]
WORLDS = st.fixed_dictionaries({name: VALUES[FACTS[name].kind] for name in MENTIONED})


@settings(max_examples=300, deadline=None)
@given(RULES, WORLDS)
def test_the_parts_together_say_what_the_whole_says(source: str, world: dict[str, Value]) -> None:
    try:
        rule = compile_rule(source)
    except ExpressionProblem:
        return
    outcome = evaluate(rule, world)
    assert outcome.condition.holds == outcome.holds
    for leaf in outcome.condition.leaves():
        assert evaluate(compile_rule(leaf.text), world).holds == leaf.holds
        assert leaf.holds is not None or leaf.missing or leaf.problem
    joined_words = any(sign in source for sign in (" && ", " ||\n", " ? ", "!("))
    assert bool(outcome.condition.parts) <= joined_words


@settings(max_examples=100, deadline=None)
@given(st.recursive(LEAVES, lambda inner: st.tuples(inner, inner).map("({0[0]}) && !({0[1]})".format), max_leaves=8))
def test_no_joined_condition_stays_in_one_piece(source: str) -> None:
    try:
        whole = evaluate(compile_rule(source), KNOWN).condition
    except ExpressionProblem:
        return
    pieces = source.count(") && !(") + 1
    assert len(list(whole.leaves())) == pieces


def test_the_tree_of_a_checked_expression_is_decoded_with_places_and_names() -> None:
    compiled = program_of("failures == 0 && now.getHours() > 2").compiled.serialize()
    tree = tree_of(compiled)
    assert (tree.function, tree.place) == ("_&&_", 14)
    assert [(each.function, each.place) for each in tree.arguments] == [("_==_", 9), ("_>_", 32)]
    assert tree.arguments[0].arguments[0] == Node("", 0)
    assert tree.arguments[1].arguments[0].function == "getHours"
    assert references_of(compiled) == {"failures", "now"}


@pytest.mark.parametrize("broken", [b"\x0f", b"\x80", b"\x12\xff"])
def test_bytes_that_are_no_message_are_refused(broken: bytes) -> None:
    with pytest.raises(ValueError, match="at byte"):
        tree_of(broken)
