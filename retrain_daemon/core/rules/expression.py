"""Rules: CEL expressions over the facts of `vocabulary.py`, read strictly and evaluated without clock or I/O.

A rule holds only if its value is of type BOOL and true; what is not known never holds. CEL itself is in `programs.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from retrain_daemon.core.policy import Names
from retrain_daemon.core.rules.complaints import ExpressionProblem, not_a_truth, rewritten
from retrain_daemon.core.rules.constants import UNKNOWN_ZONE, WRONG_PATTERN, check_constants, check_texts
from retrain_daemon.core.rules.parts import Part, missed, parts_of
from retrain_daemon.core.rules.programs import NotCompiled, Program, is_known, program_of
from retrain_daemon.core.rules.tokens import Sort, Token, tokens_of
from retrain_daemon.core.rules.vocabulary import FACTS, NO_NAMES, Fact, Kind, Value, fact_values, facts_of, readable
from retrain_daemon.core.rules.words import check_lists, check_outcomes, check_words

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
# Methods that may be asked for a time zone, or for a search pattern, that is computed.
_TRIED = ("matches", *(f".get{part}" for part in ("Date", "FullYear", "Hours", "Minutes", "Month", "Seconds")),
          *(f".getDayOf{part}" for part in ("Month", "Week", "Year")))  # fmt: skip


@dataclass(frozen=True)
class Expression:
    """A compiled rule: its text, the facts it mentions in order, and the names that its policy gives."""

    source: str
    names: tuple[str, ...]
    program: Program = field(compare=False, repr=False)
    given: Names = NO_NAMES


@dataclass(frozen=True)
class RuleOutcome:
    """What a rule says about values. `holds` None means unknown; then `missing` names facts without a value.

    `values` pairs every fact the rule mentions with a text for people; `problem` says why there is no answer where
    nothing is missing; `shortfalls` say of each comparison that is not met by how much. `condition` is the whole with
    its parts.
    """

    holds: bool | None
    condition: Part
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
    if not program.is_truth:
        raise not_a_truth(source, tokens, program.result, facts)
    check_outcomes(source, tokens)
    check_lists(source, tokens)
    check_constants(source, tokens)
    check_texts(source, tokens)
    if any(token.text.endswith(_TRIED) for token in tokens):
        _try(program, facts)
    return Expression(source, _mentioned(tokens, facts), program, given)


def evaluate(expression: Expression, values: Mapping[str, Value]) -> RuleOutcome:
    """Given values by name, what the rule says; None, NaN and infinite values count as not known."""
    mentioned = expression.program.names & facts_of(expression.given).keys()
    known = {name: values[name] for name in mentioned & values.keys() if is_known(values[name])}
    shown = tuple((name, readable(known.get(name))) for name in expression.names)
    condition = parts_of(expression.source, expression.given, known)
    holds, problem = _whole(expression, condition, known)
    if holds is None:
        missing = tuple(name for name in expression.names if name not in known)
        return RuleOutcome(None, condition, missing, shown, "" if missing else problem)
    return RuleOutcome(holds, condition, (), shown, "", () if holds else tuple(missed(condition)))


def _whole(expression: Expression, condition: Part, known: Mapping[str, Value]) -> tuple[bool | None, str]:
    """What CEL says of the whole, not what follows from the parts."""
    if not condition.parts:
        return condition.holds, condition.problem
    computed = expression.program.compute(known)
    return computed.truth, computed.problem


def _compiled(source: str, tokens: tuple[Token, ...], given: Names) -> Program:
    try:
        return program_of(source, given)
    except NotCompiled as error:
        raise rewritten(source, tokens, str(error), given) from None


def _mentioned(tokens: tuple[Token, ...], facts: Mapping[str, Fact]) -> tuple[str, ...]:
    """The facts mentioned, in order, each once; `now.getHours` mentions `now`."""
    names = (_fact_in(token.text, facts) for token in tokens if token.sort is Sort.NAME)
    return tuple(dict.fromkeys(name for name in names if name))


def _fact_in(chain: str, facts: Mapping[str, Fact]) -> str:
    parts = chain.split(".")
    prefixes = (".".join(parts[:size]) for size in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in facts), "")


def _try(program: Program, facts: Mapping[str, Fact]) -> None:
    """Meet a wrong time zone or search pattern now; other failures may come from the plausible values themselves."""
    problem = program.compute({name: _SAMPLES[fact.kind] for name, fact in facts.items()}).problem
    if "timezone" in problem:
        raise ExpressionProblem(*UNKNOWN_ZONE)
    if "regular expression" in problem:
        raise ExpressionProblem(*WRONG_PATTERN)
