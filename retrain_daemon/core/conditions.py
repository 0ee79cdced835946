"""What can be told of rules without knowing any fact: which always or never hold, and which hold whenever another does.

A rule is read as alternatives joined by ||, each of parts joined by &&. What is not understood is never said to be so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from retrain_daemon.core.expression import ExpressionProblem, compile_rule, evaluate
from retrain_daemon.core.metrics import METRICS
from retrain_daemon.core.policy import Names
from retrain_daemon.core.ranges import Range, interval, range_of
from retrain_daemon.core.tokens import Sort, Token, closing, tokens_of

_MOST_ALTERNATIVES = 32
_MOST_PARTS = 24
_CALENDAR = re.compile(r"(now\.get\w+\([^()]*\))(>=|<=|==|<|>)(\d{1,6})")
_OUTCOME = re.compile(r"""last\.outcome==(?:"(\w+)"|'(\w+)')""")
_BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}


@dataclass(frozen=True)
class Part:
    """One part of a rule: its words without spaces, as written, and where it begins. `name` is what it compares with a
    constant and `values` those for which it is true; `constant` is what it says whatever the facts are.
    """

    words: str
    written: str
    start: int
    name: str = ""
    values: Range | None = None
    constant: bool | None = None


@dataclass(frozen=True)
class Fault:
    """A part that is always, or never, true: which, and why."""

    part: Part
    holds: bool
    why: str


Alternative = tuple[Part, ...]


def alternatives_of(source: str, given: Names) -> tuple[Alternative, ...]:
    """Given the text of a rule that compiles, its alternatives; none where there are too many to tell."""
    tokens = tokens_of(source)
    if sum(token.text in ("&&", "||") for token in tokens) >= _MOST_PARTS:
        return ()
    found = _alternatives(source, tokens, given)
    return tuple(found) if len(found) <= _MOST_ALTERNATIVES else ()


def implies(later: tuple[Alternative, ...], earlier: tuple[Alternative, ...]) -> bool:
    """Whether the one rule holds whenever the other does, whatever the facts."""
    return bool(later) and all(any(_covers(sure, one) for sure in earlier) for one in later)


def faults_of(alternatives: tuple[Alternative, ...]) -> Iterator[Fault]:
    """Each part that is always or never true, and each that contradicts one before it."""
    seen: set[int] = set()
    for alternative in alternatives:
        for fault in (*filter(None, map(_fault, alternative)), *_contradictions(alternative)):
            if fault.part.start not in seen:
                seen.add(fault.part.start)
                yield fault


def _covers(sure: Alternative, one: Alternative) -> bool:
    """Whether every part of the first is true where all parts of the second are."""
    return all(part.constant is True or any(_follows(part, other) for other in one) for part in sure)


def _follows(part: Part, other: Part) -> bool:
    if part.words == other.words:
        return True
    same = part.values is not None and other.values is not None and part.name == other.name
    return same and part.values is not None and other.values is not None and part.values.holds(other.values)


def _fault(part: Part) -> Fault | None:
    if part.constant is not None:
        return Fault(part, part.constant, "it asks for no fact")
    known = range_of(part.name)
    if known is None or part.values is None:
        return None
    if part.values.meets(known.values) is None:
        return Fault(part, False, known.why)
    surely = known.always_known or not known.values.touches(part.values)
    return Fault(part, True, known.why) if part.values.holds(known.values) and surely else None


def _contradictions(alternative: Alternative) -> Iterator[Fault]:
    for index, part in enumerate(alternative):
        for before in alternative[:index]:
            apart = (
                part.name == before.name
                and part.values is not None
                and before.values is not None
                and part.values.meets(before.values) is None
            )
            outcomes = {_outcome(part), _outcome(before)}
            if apart or f"!{part.words}" == before.words or f"!{before.words}" == part.words or _two(outcomes):
                yield Fault(part, False, f"`{before.written}` is asked for, too")


def _two(outcomes: set[str]) -> bool:
    return "" not in outcomes and len(outcomes) == 2


def _outcome(part: Part) -> str:
    found = _OUTCOME.fullmatch(part.words)
    return (found[1] or found[2]) if found else ""


def _alternatives(source: str, tokens: tuple[Token, ...], given: Names) -> list[Alternative]:
    """Those of the words of a rule, or of what stands in brackets in one."""
    if any(token.text == "?" for token in _outside(tokens)):
        return [(_part(source, tokens, given),)]
    found: list[Alternative] = []
    for side in _split(tokens, "||"):
        together: list[Alternative] = [()]
        for part in _split(side, "&&"):
            within: list[Alternative] = [(_part(source, part, given),)]
            if part[0].text == "(" and closing(part, 0) == len(part) - 1 and len(part) > 2:
                within = _alternatives(source, part[1:-1], given)
            together = [(*left, *right) for left in together for right in within][: _MOST_ALTERNATIVES + 1]
        found += together
    return found


def _outside(tokens: tuple[Token, ...]) -> Iterator[Token]:
    depth = 0
    for token in tokens:
        depth += _BRACKETS.get(token.text, 0)
        if depth == 0:
            yield token


def _split(tokens: tuple[Token, ...], sign: str) -> Iterator[tuple[Token, ...]]:
    """What stands between signs that are in no brackets."""
    depth, begin = 0, 0
    for index, token in enumerate(tokens):
        depth += _BRACKETS.get(token.text, 0)
        if depth == 0 and token.text == sign:
            yield tokens[begin:index]
            begin = index + 1
    yield tokens[begin:]


def _part(source: str, tokens: tuple[Token, ...], given: Names) -> Part:
    written = source[tokens[0].start : tokens[-1].end]
    bare = Part("".join(token.text for token in tokens), written, tokens[0].start)
    if found := _CALENDAR.fullmatch(bare.words):
        return Part(bare.words, written, bare.start, found[1], interval(found[2], int(found[3]), whole=True))
    if not any(token.text == "failures" or (token.sort is Sort.NAME and "." in token.text) for token in tokens):
        return _constant(bare, given)
    return _comparison(bare, given)


def _constant(bare: Part, given: Names) -> Part:
    """What asks for no fact has the same answer always."""
    try:
        expression = compile_rule(bare.written, given)
    except ExpressionProblem:
        return bare
    holds = None if expression.names else evaluate(expression, {}).holds
    return Part(bare.words, bare.written, bare.start, constant=holds)


def _comparison(bare: Part, given: Names) -> Part:
    try:
        found = compile_rule(bare.written, given).comparisons
    except ExpressionProblem:
        return bare
    if len(found) != 1:
        return bare
    limit = found[0].limit
    whole = isinstance(limit, int)
    amount = limit.total_seconds() if isinstance(limit, timedelta) else float(limit)
    if not math.isfinite(amount):
        return bare
    return Part(bare.words, bare.written, bare.start, found[0].name, interval(found[0].sign, amount, whole))


def shares_in_percent(source: str) -> Iterator[tuple[Token, str]]:
    """Numbers above 1 that a loop over scores compares them with, where the metric lies between 0 and 1."""
    tokens = tokens_of(source)
    for index, token in enumerate(tokens):
        parts = token.text.split(".")
        metric = METRICS.get(parts[2]) if token.sort is Sort.NAME and len(parts) > 2 else None
        if metric is None or not token.text.startswith("champion.scores.") or not metric.is_share:
            continue
        for name, sign, number in zip(tokens[index:], tokens[index + 1 :], tokens[index + 2 :], strict=False):
            looped = name.sort is Sort.NAME and "." not in name.text and number.sort is Sort.NUMBER
            if looped and sign.text in ("<", "<=", ">", ">=") and float(number.text.rstrip("uU")) > 1:
                yield number, metric.name
