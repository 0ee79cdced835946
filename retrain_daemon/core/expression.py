"""Rules: CEL expressions over the facts of `vocabulary.py`, compiled with types and evaluated without clock or I/O.

The only module that knows the CEL package. In it an absent fact does not raise but gives a value of type ERROR
whose plain value is a truthy text, so a rule holds only if its value has type BOOL and is true.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial

from cel_expr_python import cel

from retrain_daemon.core.complaints import ExpressionProblem, not_a_truth, problem_at, rewritten
from retrain_daemon.core.policy import Names
from retrain_daemon.core.rule_forms import LOOPS
from retrain_daemon.core.rule_words import check_lists, check_outcomes, check_words
from retrain_daemon.core.shortfalls import COMPARE, Comparison, shortfalls
from retrain_daemon.core.tokens import Sort, Token, closing, tokens_of
from retrain_daemon.core.vocabulary import FACTS, HELPERS, NO_NAMES, Fact, Kind, Value, fact_values, facts_of, readable

__all__ = [
    "FACTS",
    "MAX_LENGTH",
    "Expression",
    "ExpressionProblem",
    "Fact",
    "Kind",
    "RuleOutcome",
    "Value",
    "compile_rule",
    "evaluate",
    "fact_values",
    "readable",
]

MAX_LENGTH = 4000

_TYPES = {
    Kind.NUMBER: cel.Type.INT,
    Kind.TEXT: cel.Type.STRING,
    Kind.TRUTH: cel.Type.BOOL,
    Kind.SPAN: cel.Type.DURATION,
    Kind.MOMENT: cel.Type.TIMESTAMP,
    Kind.DECIMAL: cel.Type.DOUBLE,
    Kind.LIST: cel.Type.List(cel.Type.DOUBLE),
    Kind.MAP: cel.Type.Map(cel.Type.STRING, cel.Type.DOUBLE),
}
# Plausible values: a compiled rule is tried once with them, to meet what CEL checks only while it runs.
_SAMPLES: Mapping[Kind, Value] = {
    Kind.NUMBER: 7,
    Kind.TEXT: "promoted",
    Kind.TRUTH: True,
    Kind.SPAN: timedelta(hours=1),
    Kind.MOMENT: datetime(2026, 1, 31, tzinfo=UTC),
    Kind.DECIMAL: 0.75,
    Kind.LIST: (0.75,) * 20,
    Kind.MAP: {"age": 0.75},
}
_FAILURES = (RuntimeError, TypeError, ValueError, OverflowError)
_BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
_ABSENT = re.compile(r'Key not found in map : (".*")')
_A_MOMENT = 'timestamp("2026-01-31T00:00:00Z")'
_ZONE_HINT = "The time zone is not known.", "Write one such as Europe/Berlin."
_PATTERN_HINT = "The search pattern is not valid.", "Write it in the syntax of RE2, with every bracket closed."
_MIRRORED = {">=": "<=", ">": "<", "<=": ">=", "<": ">", "==": "=="}


@dataclass(frozen=True)
class Expression:
    """A compiled rule: its text, the facts it mentions in order, and its comparisons with a constant. Where what is
    compared is not a fact but computed from facts, it is in `computed` by its text. `given` are the policy's own names.
    """

    source: str
    names: tuple[str, ...]
    given: Names = NO_NAMES
    comparisons: tuple[Comparison, ...] = ()
    computed: Mapping[str, cel.Expression] = field(default_factory=dict, compare=False, repr=False)
    program: cel.Expression = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class RuleOutcome:
    """What a rule says about values. `holds` None means unknown; then `missing` names facts without a value.

    `values` pairs every fact the rule mentions with a text for people; `problem` says why there is no answer where
    nothing is missing; `shortfalls` say of each comparison that is not met by how much.
    """

    holds: bool | None
    missing: tuple[str, ...] = ()
    values: tuple[tuple[str, str], ...] = ()
    problem: str = ""
    shortfalls: tuple[str, ...] = ()


@lru_cache(maxsize=4096)
def compile_rule(source: str, given: Names = NO_NAMES) -> Expression:
    """Given the text of a rule and the names its policy gives, the expression to evaluate; raises ExpressionProblem if
    it cannot be one.
    """
    if len(source) > MAX_LENGTH:
        raise ExpressionProblem(
            f"The rule has {len(source):,} characters; at most {MAX_LENGTH:,} are read.", "Split it."
        )
    if not source.isascii() and any("\ud800" <= letter <= "\udfff" for letter in source):
        raise ExpressionProblem("The rule holds half a character.", "Save the file as UTF-8.")
    tokens = tokens_of(source)
    check_words(source, tokens)
    facts = facts_of(given)
    program = _compiled(source, tokens, given)
    result = str(program.return_type())
    if result != str(cel.Type.BOOL):
        raise not_a_truth(source, tokens, result, facts)
    check_outcomes(source, tokens)
    check_lists(source, tokens)
    _check_constants(source, tokens)
    _check_texts(source, tokens)
    _try(program, facts)
    comparisons = _comparisons(source, tokens)
    computed = {each.name: _environment(given).compile(each.name) for each in comparisons if each.name not in FACTS}
    return Expression(source, _mentioned(tokens, facts), given, comparisons, computed, program)


def evaluate(expression: Expression, values: Mapping[str, Value]) -> RuleOutcome:
    """Given values by name, what the rule says; None, NaN and infinite values count as not known."""
    facts = facts_of(expression.given)
    known = {name: value for name, value in values.items() if name in facts and _is_known(value)}
    shown = tuple((name, readable(known.get(name))) for name in expression.names)
    holds, problem = _answer(expression.program, known)
    if holds is None:
        missing = tuple(name for name in expression.names if name not in known)
        return RuleOutcome(None, missing, shown, "" if missing else problem)
    missed = () if holds else shortfalls(expression.comparisons, {**known, **_computed(expression, known)})
    return RuleOutcome(holds, (), shown, "", missed)


def _computed(expression: Expression, known: Mapping[str, Value]) -> Mapping[str, Value]:
    found = {text: _value(program, known) for text, program in expression.computed.items()}
    return {text: value for text, value in found.items() if isinstance(value, int | float) and _is_known(value)}


def _is_known(value: Value) -> bool:
    if isinstance(value, tuple):
        return all(map(math.isfinite, value))
    if isinstance(value, Mapping):
        return all(map(math.isfinite, value.values()))
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _value(program: cel.Expression, known: Mapping[str, Value]) -> Value:
    """What it gives; None where it cannot be computed."""
    try:
        result = program.eval(data=_plain(known))
        value: Value = result.plain_value()
    except _FAILURES:
        return None
    return None if result.type() == cel.Type.ERROR else value


def _plain(known: Mapping[str, Value]) -> dict[str, object]:
    """As CEL takes it."""
    return {name: _unfrozen(value) for name, value in known.items()}


def _unfrozen(value: Value) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _answer(program: cel.Expression, known: Mapping[str, Value]) -> tuple[bool | None, str]:
    """True or false, else None and why."""
    try:
        result = program.eval(data=_plain(known))
        value = result.plain_value()
    except _FAILURES as error:
        return None, f"it cannot be computed: {error}"
    if result.type() == cel.Type.BOOL and isinstance(value, bool):
        return value, ""
    said = str(value).split(": ", 1)[-1]
    if absent := _ABSENT.search(said):
        return None, f"no column {absent[1]} was measured"
    return None, f"it cannot be computed: {said}"


@lru_cache(maxsize=256)
def _environment(given: Names = NO_NAMES) -> cel.Env:
    """The language of rules: the facts with their types, and the helper functions."""
    functions = [
        cel.FunctionDecl(
            name,
            [cel.Overload(f"{name}_int", cel.Type.DURATION, [cel.Type.INT], impl=partial(operator.mul, unit))],
        )
        for name, unit in HELPERS.items()
    ]
    numbers = _TYPES[Kind.LIST]
    last = cel.Overload("list_last_int", numbers, [numbers, cel.Type.INT], is_member=True, impl=_last)
    functions.append(cel.FunctionDecl("last", [last]))
    variables = {name: _TYPES[fact.kind] for name, fact in facts_of(given).items()}
    return cel.NewEnv(variables=variables, functions=functions)


def _last(values: list[float], count: int) -> list[float]:
    """The newest `count` of a list, or all where they are fewer. Of none every condition would hold."""
    if count < 1:
        raise ValueError(f"last({count}) is none of the newest")
    return values[-count:]


def _compiled(source: str, tokens: tuple[Token, ...], given: Names) -> cel.Expression:
    try:
        return _environment(given).compile(source)
    except _FAILURES as error:
        raise rewritten(source, tokens, str(error), given) from None


def _mentioned(tokens: tuple[Token, ...], facts: Mapping[str, Fact]) -> tuple[str, ...]:
    """The facts mentioned, in order, each once; `now.getHours` mentions `now`."""
    names = (_fact_in(token.text, facts) for token in tokens if token.sort is Sort.NAME)
    return tuple(dict.fromkeys(name for name in names if name))


def _fact_in(chain: str, facts: Mapping[str, Fact] = FACTS) -> str:
    parts = chain.split(".")
    prefixes = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in facts), "")


def _check_constants(source: str, tokens: tuple[Token, ...]) -> None:
    """Compute every call whose arguments hold no fact, so that duration("7d") is found now and not at night."""
    for index, token in enumerate(tokens[:-1]):
        end = closing(tokens, index + 1) if tokens[index + 1].text == "(" else None
        if token.sort is not Sort.NAME or "." in token.text or end is None or not _is_constant(tokens[index : end + 1]):
            continue
        text = source[token.start : tokens[end].end]
        try:
            _constant(text)
        except _NotComputable:
            hint = _constant_hint(token.text)
            raise problem_at(source, token.start, f"`{text}` cannot be computed.", hint) from None


def _check_texts(source: str, tokens: tuple[Token, ...]) -> None:
    """Try time zones and search patterns: CEL reads them only when it comes to them, which may be years from now."""
    for name, bracket, text in zip(tokens, tokens[1:], tokens[2:], strict=False):
        method = name.text.rpartition(".")[2] if name.sort is Sort.NAME else ""
        if bracket.text != "(" or text.sort is not Sort.QUOTED or not method.startswith(("get", "matches")):
            continue
        try:
            _constant(f'"".matches({text.text})' if method == "matches" else f"{_A_MOMENT}.{method}({text.text})")
        except _NotComputable:
            message, hint = _PATTERN_HINT if method == "matches" else _ZONE_HINT
            raise problem_at(source, text.start, message, hint) from None


def _is_constant(tokens: tuple[Token, ...]) -> bool:
    """Whether every name among the tokens is a function being called."""
    following = (*tokens[1:], tokens[-1])
    return all(token.sort is not Sort.NAME or after.text == "(" for token, after in zip(tokens, following, strict=True))


class _NotComputable(Exception):
    """A constant has no value."""


def _constant(text: str) -> Value:
    """The value of a part of a rule that mentions no fact, None if the part makes no sense alone.

    Raises _NotComputable where it makes sense but has no value, such as duration("7d").
    """
    try:
        program = _environment().compile(text)
    except _FAILURES:
        return None
    try:
        result = program.eval(data={})
        value: Value = result.plain_value()
    except _FAILURES as error:
        raise _NotComputable from error
    if result.type() == cel.Type.ERROR:
        raise _NotComputable
    return value


def _constant_hint(function: str) -> str:
    if function == "duration":
        return 'Write days(7), or duration("168h30m") in hours, minutes and seconds.'
    if function == "timestamp":
        return 'Write timestamp("2026-01-31T00:00:00Z").'
    if function in ("int", "double", "uint"):
        return "Write the number itself."
    return "Write smaller numbers." if function in HELPERS else ""


def _try(program: cel.Expression, facts: Mapping[str, Fact]) -> None:
    """Meet a wrong time zone or search pattern now; other failures may come from the plausible values themselves."""
    _, problem = _answer(program, {name: _SAMPLES[fact.kind] for name, fact in facts.items()})
    if "timezone" in problem:
        raise ExpressionProblem(*_ZONE_HINT)
    if "regular expression" in problem:
        raise ExpressionProblem(*_PATTERN_HINT)


def _comparisons(source: str, tokens: tuple[Token, ...]) -> tuple[Comparison, ...]:
    """The comparisons of a fact with a constant that stand at the top level, joined by && or ||."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += _BRACKETS.get(token.text, 0)
        if token.text == "?" and depth == 0:
            return ()
        if token.text in ("&&", "||") and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    found = (_comparison(source, tuple(part)) for part in parts)
    return tuple(comparison for comparison in found if comparison)


def _comparison(source: str, part: tuple[Token, ...]) -> Comparison | None:
    """A fact, or what is computed from a list, beside a constant."""
    signs = _signs(part)
    if len(signs) != 1 or part[signs[0]].text not in COMPARE:
        return None
    sign, left, right = part[signs[0]].text, part[: signs[0]], part[signs[0] + 1 :]
    if not left or not right:
        return None
    if _is_constant(left):
        sign, left, right = _MIRRORED[sign], right, left
    if not _is_constant(right) or not ((len(left) == 1 and left[0].text in FACTS) or _is_computed(left)):
        return None
    try:
        limit = _constant(_text(source, right))
    except _NotComputable:
        return None
    if isinstance(limit, int | float | timedelta) and not isinstance(limit, bool):
        return Comparison(left[0].text if len(left) == 1 else _text(source, left), sign, limit)
    return None


def _signs(part: tuple[Token, ...]) -> list[int]:
    """Where it compares, outside of brackets."""
    depth, found = 0, []
    for index, token in enumerate(part):
        depth += _BRACKETS.get(token.text, 0)
        if depth == 0 and token.text in (*COMPARE, "!=", "in"):
            found.append(index)
    return found


def _is_computed(part: tuple[Token, ...]) -> bool:
    """Whether it is a column of a fact, or what is computed from a list."""
    return _is_a_column(part) or _goes_over_a_list(part)


def _is_a_column(part: tuple[Token, ...]) -> bool:
    name = _fact_in(part[0].text) if part[0].sort is Sort.NAME else ""
    brackets = [token.text for token in part[1::2]]
    return name in FACTS and FACTS[name].kind is Kind.MAP and brackets in ([], ["[", "]"])


def _goes_over_a_list(part: tuple[Token, ...]) -> bool:
    words = {token.text.rsplit(".", 1)[-1] for token in part if token.sort is Sort.NAME}
    return bool(words & {*LOOPS, "last", "size"}) and part[0].text not in ("!", "-")


def _text(source: str, part: tuple[Token, ...]) -> str:
    return source[part[0].start : part[-1].end]
