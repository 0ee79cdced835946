"""What is wrong with a rule, said for people: the problem as a value, and CEL's own messages rewritten.

Knows the wording of CEL's compiler, not its API: that is for `expression.py`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping

from retrain_daemon.core.policy import Names
from retrain_daemon.core.rules.instead import (
    MOMENT,
    VALUES,
    WEEKDAYS,
    function_hint,
    helper_hint,
    method_hint,
    number_hint,
    part_hint,
    span_hint,
)
from retrain_daemon.core.rules.tokens import Sort, Token, line_and_column, offset_of
from retrain_daemon.core.rules.vocabulary import FUNCTIONS, HELPERS, OUTCOMES, TOLD, Fact, Kind, facts_of
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
_RESERVED = re.compile(r"reserved identifier: (\w+)")
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
        return _no_parts(source, tokens, offset, operand[1])
    if text.startswith("Syntax error"):
        return _syntax(source, offset, text)
    if reserved := _RESERVED.match(text):
        return problem_at(source, offset, f"`{reserved[1]}` is a word that CEL keeps for itself.", "Write another one.")
    return problem_at(source, offset, f"The rule is refused: {_short(text)}.")


def _no_parts(source: str, tokens: tuple[Token, ...], offset: int, of: str) -> ExpressionProblem:
    """`now.hour`: the dot at the offset asks for a part of what has none."""
    chain = next((token for token in tokens if token.start <= offset < token.end), None)
    owner, _, part = chain.text.rpartition(".") if chain and chain.sort is Sort.NAME else ("", "", "")
    place = chain.end - len(part) if chain and part else offset
    return problem_at(
        source, place, f"{type_in_words(of).capitalize()} has no parts with names.", part_hint(owner, part, of)
    )


def _undeclared(source: str, tokens: tuple[Token, ...], offset: int, name: str, given: Names) -> ExpressionProblem:
    places = [index for index, token in enumerate(tokens) if token.text == name or token.text.startswith(f"{name}.")]
    methods = [token for token in tokens if token.sort is Sort.NAME and token.text.endswith(f".{name}")]
    if not places and methods:
        method = min(methods, key=lambda token: abs(token.end - offset))
        return problem_at(source, method.end - len(name), *_unknown_function(name, method=True))
    if not places:
        return problem_at(source, offset, *_unknown_name(name, given))
    index = min(places, key=lambda place: abs(tokens[place].start - offset))
    called = index + 1 < len(tokens) and tokens[index + 1].text == "(" and tokens[index].text == name
    unknown = tokens[index].text if name.split(".")[0] in _GIVEN else name
    said = _unknown_function(name) if called else _in_brackets(tokens, index) or _unknown_name(unknown, given)
    return problem_at(source, tokens[index].start, *said)


def _in_brackets(tokens: tuple[Token, ...], index: int) -> tuple[str, str] | None:
    """`drift.columns[age]` and `data["new_rows"]`: a name where a text stands, and a text where a name does."""
    name, before, after = tokens[index].text, tokens[max(index - 2, 0) : index], tokens[index + 1 : index + 3]
    if [token.text for token in before[1:]] == ["["] and before[0].text == "drift.columns":
        return f"There is no fact `{name}`.", f'A column stands in quotes: write drift.columns["{name}"].'
    if len(after) == 2 and after[0].text == "[" and after[1].sort is Sort.QUOTED:
        return f"`{name}` is no map.", f"Write {name}.{after[1].text[1:-1]}."
    return None


def _unknown_function(name: str, method: bool = False) -> tuple[str, str]:
    if name in HELPERS and not method:
        return f"`{name}` takes one whole number.", f"Write {name}(7)."
    if name == "last":
        return "`last` takes how many of a list's newest values.", "Write last(5)."
    if hint := method_hint(name) if method else function_hint(name):
        return f"There is no function `{name}`.", hint
    close = closest(name, FUNCTIONS)
    hint = f"Did you mean `{close}`?" if close else f"The functions are: {', '.join(FUNCTIONS)}."
    return f"There is no function `{name}`.", hint


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
    if name in facts:
        return f"`{name}` is a fact, not a function.", "Write it without parentheses."
    if parts := [fact for fact in TOLD if fact.startswith(f"{name}.")]:
        return f"There is no fact `{name}`.", f"Its facts are: {', '.join(parts)}."
    close = closest(name, facts) or next((fact for fact in facts if fact.endswith(f".{name}")), "")
    hint = f"Did you mean `{close}`?" if close else f"The facts are: {', '.join(TOLD)}."
    return f"There is no fact `{name}`.", hint


def _unknown_given(name: str, given: Names) -> tuple[str, str]:
    """A schedule, or a model this one depends on, that the policy does not name."""
    kind = name.split(".")[0]
    section, names = ("schedules", given.schedules) if kind == "schedule" else ("upstream", given.upstream)
    facts = tuple(fact for fact in facts_of(given) if fact.startswith(f"{kind}."))
    if name in facts:
        return f"`{name}` is a fact, not a function.", "Write it without parentheses."
    close = closest(name, facts)
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
    if sign == "?:" and types[0] == "bool":
        message = f"Both answers of `?:` are of one type, here they are {' and '.join(words[1:])}."
        return problem_at(source, offset, message, "Write the same type on both sides of the colon.")
    if sign in ("&&", "||", "!", "?:"):
        found = words[:1] if sign == "?:" else words
        message = f"`{sign}` joins what is true or false, here it has {' and '.join(found)}."
        return problem_at(source, offset, message, "Write a comparison, such as data.new_rows > 0.")
    message = f"`{sign}` cannot take {' and '.join(words)}."
    return problem_at(source, offset, message, _type_hint(tokens, offset, sign, types))


def _wrong_arguments(
    source: str, tokens: tuple[Token, ...], offset: int, function: str, types: list[str]
) -> ExpressionProblem:
    named = [index for index, token in enumerate(tokens) if token.sort is Sort.NAME and token.start <= offset]
    chain = tokens[named[-1]] if named else None
    member = chain is not None and chain.text.endswith(f".{function}")
    start = chain.end - len(function) if chain and member else chain.start if chain else offset
    if function in HELPERS and member and chain:
        owner = chain.text.rpartition(".")[0]
        return problem_at(
            source, start, f"`{function}` makes a duration of a number.", f"Write {owner} > {function}(7)."
        )
    if function in HELPERS:
        hint = helper_hint(function, tokens, named[-1]) if named else f"Write {function}(7)."
        return problem_at(source, start, f"`{function}` takes one whole number.", hint)
    words = " and ".join(type_in_words(name) for name in types) or "nothing"
    hint = "Write champion.scores.METRIC.last(5): of a list, with a whole number." if function == "last" else ""
    return problem_at(source, start, f"`{function}` cannot take {words}.", hint)


def _type_hint(tokens: tuple[Token, ...], offset: int, sign: str, types: list[str]) -> str:
    """What to write instead, given the two types beside an operator."""
    kinds = set(types)
    left, right = _beside(tokens, offset)
    beside = tuple(token for token in (left, right) if token is not None)
    quoted = next((token.text[1:-1] for token in beside if token.sort is Sort.QUOTED), "")
    if kinds == {"int", "double"}:
        return number_hint(sign, types, left, right)
    if "google.protobuf.Timestamp" in kinds:
        return MOMENT
    if "google.protobuf.Duration" in kinds:
        return span_hint(sign, beside)
    if any(kind.startswith("list") for kind in kinds):
        return VALUES
    if any(kind.startswith("map") for kind in kinds):
        return 'Name a column as a text: drift.columns["age"] > 0.2; drift.max is that of the farthest.'
    if kinds == {"double", "string"} and any(token.text.startswith("drift.columns.") for token in tokens):
        return "A loop over columns goes over their names: .exists(c, drift.columns[c] > 0.2)."
    if sign == "in":
        return "`in` asks for an entry of a list, such as [1, 2]; compare a single value with ==."
    return _plain_type_hint(kinds, tokens, offset, quoted)


def _plain_type_hint(kinds: set[str], tokens: tuple[Token, ...], offset: int, quoted: str) -> str:
    """The same where only texts, numbers, true and false are mixed up."""
    if "bool" in kinds and len(kinds) > 1:
        without = "Write true or false without quotes, or leave" if kinds == {"bool", "string"} else "Leave"
        return f"{without} the comparison out: it is true or false already."
    if any(token.text.endswith("getDayOfWeek") and token.start < offset for token in tokens) and "string" in kinds:
        return WEEKDAYS
    if "uint" in kinds:
        return "Write the number without u."
    if "string" in kinds and len(kinds) > 1:
        decimal = "double" in kinds and quoted.isdigit()
        number = f"{quoted}.0" if decimal else quoted
        is_number = re.fullmatch(r"-?\d+(\.\d+)?", quoted)
        return f"Write {number} without quotes." if is_number else "Write a number without quotes, a text with quotes."
    return ""


def _beside(tokens: tuple[Token, ...], offset: int) -> tuple[Token | None, Token | None]:
    """The words left and right of the operator at the offset, where each is a whole operand."""
    at = next((index for index, token in enumerate(tokens) if token.start == offset), None)
    if at is None:
        return None, None
    left = tokens[at - 1] if at and tokens[at - 1].sort is not Sort.SIGN else None
    right = tokens[at + 1] if at + 1 < len(tokens) and tokens[at + 1].sort is not Sort.SIGN else None
    called = right is not None and at + 2 < len(tokens) and tokens[at + 2].text in ("(", "[")
    return left, None if called else right


def _syntax(source: str, offset: int, text: str) -> ExpressionProblem:
    if offset >= len(source.rstrip(" \t\r\n")):
        return problem_at(source, offset, "The rule ends too early.", "Finish the comparison.")
    near = (source[offset:].split() or [source[offset]])[0][:20]
    near = near if near.isprintable() else ascii(near)[1:-1]
    operator = near.startswith(("&&", "||", "<", ">", "==", "!=", "*", "/", ")"))
    hint = "Something to compare is missing before it." if operator else "Join comparisons with && or ||."
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
