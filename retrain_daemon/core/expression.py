"""Rules: CEL expressions over the facts of `vocabulary.py`, compiled with types and evaluated without clock or I/O.

The only module that knows the CEL package. In it an absent fact does not raise but gives a value of type ERROR
whose plain value is a truthy text, so a rule holds only if its value has type BOOL and is true.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache, partial

from cel_expr_python import cel

from retrain_daemon.core.complaints import ExpressionProblem, not_a_truth, problem_at, rewritten
from retrain_daemon.core.rule_words import check_outcomes, check_words
from retrain_daemon.core.shortfalls import COMPARE, Comparison, shortfalls
from retrain_daemon.core.tokens import Sort, Token, closing, tokens_of
from retrain_daemon.core.vocabulary import FACTS, HELPERS, Fact, Kind, Value, fact_values, readable

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
}
# Plausible values: a compiled rule is tried once with them, to meet what CEL checks only while it runs.
_SAMPLES: Mapping[Kind, Value] = {
    Kind.NUMBER: 7,
    Kind.TEXT: "promoted",
    Kind.TRUTH: True,
    Kind.SPAN: timedelta(hours=1),
    Kind.MOMENT: datetime(2026, 1, 31, tzinfo=UTC),
}
_FAILURES = (RuntimeError, TypeError, ValueError, OverflowError)
_MIRRORED = {">=": "<=", ">": "<", "<=": ">=", "<": ">", "==": "=="}


@dataclass(frozen=True)
class Expression:
    """A compiled rule: its text, the facts it mentions in order, and its comparisons of a fact with a constant."""

    source: str
    names: tuple[str, ...]
    comparisons: tuple[Comparison, ...] = ()
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
def compile_rule(source: str) -> Expression:
    """Given the text of a rule, the expression to evaluate; raises ExpressionProblem if it cannot be one."""
    if len(source) > MAX_LENGTH:
        raise ExpressionProblem(
            f"The rule has {len(source):,} characters; at most {MAX_LENGTH:,} are read.", "Split it."
        )
    if not source.isascii() and any("\ud800" <= letter <= "\udfff" for letter in source):
        raise ExpressionProblem("The rule holds half a character.", "Save the file as UTF-8.")
    tokens = tokens_of(source)
    check_words(source, tokens)
    program = _compiled(source, tokens)
    result = str(program.return_type())
    if result != str(cel.Type.BOOL):
        raise not_a_truth(source, tokens, result)
    check_outcomes(source, tokens)
    _check_constants(source, tokens)
    _try(program)
    return Expression(source, _mentioned(tokens), _comparisons(source, tokens), program)


def evaluate(expression: Expression, values: Mapping[str, Value]) -> RuleOutcome:
    """Given values by name, what the rule says; None, NaN and infinite values count as not known."""
    known = {name: value for name, value in values.items() if name in FACTS and _is_known(value)}
    shown = tuple((name, readable(known.get(name))) for name in expression.names)
    holds, problem = _answer(expression.program, known)
    if holds is None:
        missing = tuple(name for name in expression.names if name not in known)
        return RuleOutcome(None, missing, shown, "" if missing else problem)
    missed = () if holds else shortfalls(expression.comparisons, known)
    return RuleOutcome(holds, (), shown, "", missed)


def _is_known(value: Value) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))


def _answer(program: cel.Expression, known: Mapping[str, Value]) -> tuple[bool | None, str]:
    """True or false, else None and why."""
    try:
        result = program.eval(data=dict(known))
        value = result.plain_value()
    except _FAILURES as error:
        return None, f"it cannot be computed: {error}"
    if result.type() == cel.Type.BOOL and isinstance(value, bool):
        return value, ""
    return None, f"it cannot be computed: {str(value).split(': ', 1)[-1]}"


@cache
def _environment() -> cel.Env:
    """The language of rules: the facts with their types, and the helper functions."""
    functions = [
        cel.FunctionDecl(
            name,
            [cel.Overload(f"{name}_int", cel.Type.DURATION, [cel.Type.INT], impl=partial(operator.mul, unit))],
        )
        for name, unit in HELPERS.items()
    ]
    return cel.NewEnv(variables={name: _TYPES[fact.kind] for name, fact in FACTS.items()}, functions=functions)


def _compiled(source: str, tokens: tuple[Token, ...]) -> cel.Expression:
    try:
        return _environment().compile(source)
    except _FAILURES as error:
        raise rewritten(source, tokens, str(error)) from None


def _mentioned(tokens: tuple[Token, ...]) -> tuple[str, ...]:
    """The facts mentioned, in order, each once; `now.getHours` mentions `now`."""
    names = (_fact_in(token.text) for token in tokens if token.sort is Sort.NAME)
    return tuple(dict.fromkeys(name for name in names if name))


def _fact_in(chain: str) -> str:
    parts = chain.split(".")
    prefixes = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in FACTS), "")


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
    return "Write smaller numbers." if function in HELPERS else ""


def _try(program: cel.Expression) -> None:
    """Meet a wrong time zone or search pattern now; other failures may come from the plausible values themselves."""
    _, problem = _answer(program, {name: _SAMPLES[fact.kind] for name, fact in FACTS.items()})
    if "timezone" in problem:
        raise ExpressionProblem("The time zone is not known.", "Write one such as Europe/Berlin.")
    if "regular expression" in problem:
        raise ExpressionProblem(f"The search pattern is not valid: {problem.rsplit(': ', 1)[-1]}.")


def _comparisons(source: str, tokens: tuple[Token, ...]) -> tuple[Comparison, ...]:
    """The comparisons of a fact with a constant that stand at the top level, joined by && or ||."""
    parts: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(token.text, 0)
        if token.text == "?" and depth == 0:
            return ()
        if token.text in ("&&", "||") and depth == 0:
            parts.append([])
        else:
            parts[-1].append(token)
    found = (_comparison(source, tuple(part)) for part in parts)
    return tuple(comparison for comparison in found if comparison)


def _comparison(source: str, part: tuple[Token, ...]) -> Comparison | None:
    if len(part) < 3:
        return None
    if part[0].text in FACTS and part[1].text in COMPARE:
        name, sign, rest = part[0].text, part[1].text, part[2:]
    elif part[-1].text in FACTS and part[-2].text in COMPARE:
        name, sign, rest = part[-1].text, _MIRRORED[part[-2].text], part[:-2]
    else:
        return None
    if not _is_constant(rest) or any(token.text in COMPARE for token in rest):
        return None
    try:
        limit = _constant(source[rest[0].start : rest[-1].end])
    except _NotComputable:
        return None
    if isinstance(limit, int | float | timedelta) and not isinstance(limit, bool):
        return Comparison(name, sign, limit)
    return None
