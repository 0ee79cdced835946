"""What is wrong with a rule, said for people: the problem as a value, and CEL's own messages rewritten.

Knows the wording of CEL's compiler, not its API: that is for `expression.py`.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping

from retrain_daemon.core.policy import Names
from retrain_daemon.core.tokens import Sort, Token, is_decimal, line_and_column, offset_of
from retrain_daemon.core.vocabulary import FUNCTIONS, HELPERS, OUTCOMES, TOLD, Fact, Kind, facts_of
from retrain_daemon.errors import PolicyProblems


class ExpressionProblem(PolicyProblems):
    """A rule that cannot be used; `line` and `column` count from 1 inside its text."""

    def __init__(self, message: str, hint: str = "", line: int = 1, column: int = 1) -> None:
        super().__init__(message, hint)
        self.line = line
        self.column = column


_FIRST_ERROR = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
_OVERLOAD = re.compile(r"found no matching overload for '(.+)' applied to '\((.*)\)'")
_BETWEEN_TYPES = re.compile(r", (?![^()]*\))")  # not within map(string, double)
_RANGE = re.compile(r"expression of type '([^']*)' cannot be the range of a comprehension")
_OPERAND = re.compile(r"expression of type '([^']*)' cannot be the operand of a select operation")
_PERCENT_AT_END = re.compile(r"(\d+(?:\.\d+)?)\s*%\s*$")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_TYPES = {
    "int": "a whole number",
    "uint": "an unsigned number",
    "double": "a decimal number",
    "string": "a text",
    "bool": "true or false",
    "google.protobuf.Duration": "a duration",
    "google.protobuf.Timestamp": "a point in time",
    "null_type": "null",
}
# The same types as the result of a whole rule is named.
_RESULTS = {
    "INT": "int",
    "UINT": "uint",
    "DOUBLE": "double",
    "STRING": "string",
    "NULL": "null_type",
    "DURATION": "google.protobuf.Duration",
    "TIMESTAMP": "google.protobuf.Timestamp",
}
# How the names of facts begin that policies give names to.
_GIVEN = ("schedule", "upstream")
_SPAN_HINT = "Write a duration as days(7), hours(12) or minutes(30)."


def problem_at(source: str, offset: int, message: str, hint: str = "") -> ExpressionProblem:
    """A problem at a place in the rule's text."""
    line, column = line_and_column(source, offset)
    return ExpressionProblem(message, hint, line, column)


def type_in_words(name: str) -> str:
    """Given CEL's name of a type, the words for it."""
    name = _RESULTS.get(name, name)
    kind = next((kind for kind in ("list", "map") if name.lower().startswith(kind)), "")
    return _TYPES.get(name, f"a {kind}" if kind else f"a value of type {name.lower()}")


def rewritten(source: str, tokens: tuple[Token, ...], complaint: str, given: Names) -> ExpressionProblem:
    """Given what CEL's compiler said about a rule, the problem in words for people, at its place. `given` are the names
    that the rule's policy gives.
    """
    found = _FIRST_ERROR.search(complaint)
    if not found or int(found[1]) < 1:
        if "recursion" in complaint:
            return ExpressionProblem("The rule is nested too deeply.", "Split it into several rules.")
        return ExpressionProblem(f"The rule is refused: {_short(complaint)}.")
    offset, text = offset_of(source, int(found[1]), int(found[2])), found[3]
    if undeclared := _UNDECLARED.match(text):
        return _undeclared(source, tokens, offset, undeclared[1], given)
    if overload := _OVERLOAD.match(text):
        return _wrong_types(source, tokens, offset, overload[1], _BETWEEN_TYPES.split(overload[2]))
    if no_list := _RANGE.match(text):
        what = f"all, exists, filter and map go over a list, here it is {type_in_words(no_list[1])}."
        return problem_at(source, offset, what, "Compare the value itself.")
    if operand := _OPERAND.match(text):
        what = f"{type_in_words(operand[1]).capitalize()} has no parts with names."
        return problem_at(source, offset, what, "Call what is asked of it with parentheses, such as .size().")
    if text.startswith("Syntax error"):
        return _syntax(source, offset, text)
    return problem_at(source, offset, f"The rule is refused: {_short(text)}.")


def _undeclared(source: str, tokens: tuple[Token, ...], offset: int, name: str, given: Names) -> ExpressionProblem:
    places = [index for index, token in enumerate(tokens) if token.text == name or token.text.startswith(f"{name}.")]
    if not places and any(token.text.endswith(f".{name}") for token in tokens if token.sort is Sort.NAME):
        return problem_at(source, offset, *_unknown_function(name))
    if not places:
        return problem_at(source, offset, *_unknown_name(name, given))
    index = min(places, key=lambda place: abs(tokens[place].start - offset))
    called = index + 1 < len(tokens) and tokens[index + 1].text == "(" and tokens[index].text == name
    unknown = tokens[index].text if name.split(".")[0] in _GIVEN else name
    return problem_at(
        source, tokens[index].start, *(_unknown_function(name) if called else _unknown_name(unknown, given))
    )


def _unknown_function(name: str) -> tuple[str, str]:
    if name in HELPERS:
        return f"`{name}` takes one whole number.", f"Write {name}(7)."
    if name == "last":
        return "`last` takes how many of a list's newest values.", "Write last(5)."
    close = closest(name, FUNCTIONS)
    return f"There is no function `{name}`.", f"Did you mean `{close}`?" if close else _SPAN_HINT


def _unknown_name(name: str, given: Names) -> tuple[str, str]:
    if name.split(".")[0] in _GIVEN:
        return _unknown_given(name, given)
    if name in HELPERS:
        return f"`{name}` is a function.", f"Write {name}(7)."
    if name in OUTCOMES:
        return f"There is no fact `{name}`.", f'A text stands in quotes: write "{name}".'
    if f"{name}.METRIC" in TOLD:
        return f"There is no fact `{name}`.", f"Name a metric: {name}.accuracy, {name}.roc_auc, and so on."
    facts = tuple(facts_of(given))
    close = closest(name, facts) or next((fact for fact in facts if fact.endswith(f".{name}")), "")
    hint = f"Did you mean `{close}`?" if close else f"The facts are: {', '.join(TOLD)}."
    return f"There is no fact `{name}`.", hint


def _unknown_given(name: str, given: Names) -> tuple[str, str]:
    """A schedule, or a model this one depends on, that the policy does not name."""
    kind = name.split(".")[0]
    section, names = ("schedules", given.schedules) if kind == "schedule" else ("upstream", given.upstream)
    close = closest(name, tuple(fact for fact in facts_of(given) if fact.startswith(f"{kind}.")))
    there = f"`{section}` names {', '.join(names)}." if names else f"The policy has no `{section}`: name it there."
    return f"There is no fact `{name}`.", f"Did you mean `{close}`?" if close else there


def closest(name: str, known: tuple[str, ...]) -> str:
    """The known word that a wrong one was probably meant to be, or nothing."""
    lowered = {word.lower(): word for word in known}
    found = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.7)
    return lowered[found[0]] if found else ""


def _wrong_types(
    source: str, tokens: tuple[Token, ...], offset: int, function: str, types: list[str]
) -> ExpressionProblem:
    if function.isidentifier() and not function.startswith("_"):
        return _wrong_arguments(source, tokens, offset, function, types)
    sign = function.replace("_", "").replace("@", "")
    words = [type_in_words(name) for name in types]
    if sign in ("&&", "||", "!", "?:"):
        message = f"`{sign}` joins what is true or false, here it has {' and '.join(words)}."
        return problem_at(source, offset, message, "Write a comparison, such as data.new_rows > 0.")
    message = f"`{sign}` cannot take {' and '.join(words)}."
    return problem_at(source, offset, message, _type_hint(tokens, offset, types))


def _wrong_arguments(
    source: str, tokens: tuple[Token, ...], offset: int, function: str, types: list[str]
) -> ExpressionProblem:
    start = max((token.start for token in tokens if token.sort is Sort.NAME and token.start <= offset), default=offset)
    if function in HELPERS:
        return problem_at(source, start, f"`{function}` takes one whole number.", f"Write {function}(7).")
    words = " and ".join(type_in_words(name) for name in types) or "nothing"
    hint = "Write champion.scores.METRIC.last(5): of a list, with a whole number." if function == "last" else ""
    return problem_at(source, start, f"`{function}` cannot take {words}.", hint)


def _type_hint(tokens: tuple[Token, ...], offset: int, types: list[str]) -> str:
    """What to write instead, given the two types beside an operator."""
    kinds = set(types)
    if kinds == {"int", "double"}:
        return _number_hint(tokens, offset)
    if "google.protobuf.Timestamp" in kinds:
        return 'Compare with a point in time, such as timestamp("2026-01-31T00:00:00Z"), or subtract two of them.'
    if "google.protobuf.Duration" in kinds:
        return _SPAN_HINT
    if any(kind.startswith("list") for kind in kinds):
        return "Ask about its values: .exists(s, s < 0.8), .all(s, s < 0.8), or .filter(s, s < 0.8).size() >= 2."
    if any(kind.startswith("map") for kind in kinds):
        return 'Name a column as a text: drift.columns["age"] > 0.2; drift.max is that of the farthest.'
    if kinds == {"double", "string"} and any(token.text.startswith("drift.columns.") for token in tokens):
        return "A loop over columns goes over their names: .exists(c, drift.columns[c] > 0.2)."
    if kinds == {"bool", "string"}:
        return "Write true or false without quotes."
    if kinds == {"int", "string"}:
        return "Write a number without quotes, a text with quotes."
    return ""


def _number_hint(tokens: tuple[Token, ...], offset: int) -> str:
    """Which of the two numbers beside an operator to write otherwise, and how."""
    at = next((index for index, token in enumerate(tokens) if token.start == offset), 0)
    for token in tokens[max(at - 1, 0) : at + 2]:
        if token.sort is not Sort.NUMBER:
            continue
        if not is_decimal(token):
            return f"Write {token.text}.0."
        value = float(token.text)
        return f"Write {int(value)}." if value.is_integer() else f"Write a whole number, such as {math.ceil(value)}."
    return "Convert one of them: double(...) or int(...)."


def _syntax(source: str, offset: int, text: str) -> ExpressionProblem:
    if "missing ')'" in text:
        return problem_at(source, offset, "A `)` is missing.")
    if offset >= len(source.rstrip(" \t\r\n")):
        if percent := _PERCENT_AT_END.search(source):
            return problem_at(
                source, percent.start(), "A rule has no percentages.", f"Write {float(percent[1]) / 100:g}."
            )
        return problem_at(source, offset, "The rule ends too early.", "Finish the comparison.")
    near = (source[offset:].split() or [source[offset]])[0][:20]
    near = near if near.isprintable() else ascii(near)[1:-1]
    hint = "Write 10000 without a comma." if near.startswith(",") else "Join comparisons with && or ||."
    return problem_at(source, offset, f"`{near}` is not expected here.", hint)


def not_a_truth(source: str, tokens: tuple[Token, ...], type_name: str, facts: Mapping[str, Fact]) -> ExpressionProblem:
    """The problem of a rule whose result is of another type than true or false."""
    fact = facts.get(tokens[0].text) if len(tokens) == 1 else None
    if fact is not None and fact.kind is not Kind.TRUTH:
        what, example = f"`{tokens[0].text}` is {fact.kind}", fact.example
    else:
        what, example = f"The rule gives {type_in_words(type_name)}", "data.new_rows >= 10000"
    return problem_at(source, tokens[0].start, f"{what}; a rule needs a comparison, for example `{example}`.")


def _short(complaint: str) -> str:
    text = re.sub(r"^[A-Z_]+: |\s*\[[A-Z_]+\]\s*$", "", complaint.strip().split("\n")[0])
    return text[:120].rstrip(".")
