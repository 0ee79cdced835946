"""What can be told of rules without knowing any fact: which always or never hold, and which hold whenever another does.

A rule is read as alternatives joined by ||, each of parts joined by &&, from its words alone: every policy is looked
through whenever it is read. What is not understood is never said to be so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from retrain_daemon.core.metrics import METRICS
from retrain_daemon.core.rules.programs import NotCompiled, program_of
from retrain_daemon.core.rules.ranges import Range, interval, range_of
from retrain_daemon.core.rules.shortfalls import COMPARE, MIRRORED
from retrain_daemon.core.rules.tokens import Sort, Token, closing, tokens_of
from retrain_daemon.core.rules.vocabulary import HELPERS

_MOST_ALTERNATIVES = 32
_MOST_PARTS = 24
_BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
_CONSTANT = frozenset({"true", "false", *HELPERS})
_Tokens = tuple[Token, ...]


@dataclass(frozen=True)
class Part:
    """One part of a rule: its words without spaces, as written, and where it begins. `name` is what it compares with a
    constant and `values` those for which it is true, or `text` the only one; `constant` is what it says whatever the
    facts are.
    """

    words: str
    written: str
    start: int
    name: str = ""
    values: Range | None = None
    text: str = ""
    constant: bool | None = None


@dataclass(frozen=True)
class Fault:
    """A part that is always, or never, true: which, and why."""

    part: Part
    holds: bool
    why: str


Alternative = tuple[Part, ...]


def alternatives_of(source: str) -> tuple[Alternative, ...]:
    """Given the text of a rule that compiles, its alternatives; none where there are too many to tell."""
    tokens = tokens_of(source)
    if sum(token.text in ("&&", "||") for token in tokens) >= _MOST_PARTS:
        return ()
    found = _alternatives(source, tokens)
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
            texts = part.name == before.name and part.text and before.text and part.text != before.text
            if apart or texts or f"!{part.words}" == before.words or f"!{before.words}" == part.words:
                yield Fault(part, False, f"`{before.written}` is asked for, too")


def _alternatives(source: str, tokens: _Tokens) -> list[Alternative]:
    """Those of the words of a rule, or of what stands in brackets in one."""
    if any(token.text == "?" for token in _outside(tokens)):
        return [(_part(source, tokens),)]
    return [way for side in _split(tokens, "||") for way in _ways(source, side)]


def _ways(source: str, tokens: _Tokens) -> list[Alternative]:
    """What parts joined by && come to, where some are alternatives in brackets."""
    together: list[Alternative] = [()]
    for part in _split(tokens, "&&"):
        inner = len(part) > 2 and part[0].text == "(" and closing(part, 0) == len(part) - 1
        ways = _alternatives(source, part[1:-1]) if inner else [(_part(source, part),)]
        together = [(*left, *right) for left in together for right in ways][: _MOST_ALTERNATIVES + 1]
    return together


def _outside(tokens: _Tokens) -> Iterator[Token]:
    """Those that are in no brackets."""
    depth = 0
    for token in tokens:
        depth += _BRACKETS.get(token.text, 0)
        if depth == 0:
            yield token


def _split(tokens: _Tokens, sign: str) -> Iterator[_Tokens]:
    """What stands between signs that are in no brackets."""
    begin = 0
    for place in [index for index, token in _numbered_outside(tokens) if token.text == sign]:
        yield tokens[begin:place]
        begin = place + 1
    yield tokens[begin:]


def _numbered_outside(tokens: _Tokens) -> Iterator[tuple[int, Token]]:
    depth = 0
    for index, token in enumerate(tokens):
        depth += _BRACKETS.get(token.text, 0)
        if depth == 0:
            yield index, token


def _part(source: str, tokens: _Tokens) -> Part:
    written = source[tokens[0].start : tokens[-1].end]
    bare = Part(_words(tokens), written, tokens[0].start)
    if not any(token.sort is Sort.NAME and token.text not in _CONSTANT for token in tokens):
        return replace(bare, constant=_truth(written))
    signs = [index for index, token in _numbered_outside(tokens) if token.text in (*COMPARE, "!=", "in")]
    if len(signs) != 1 or tokens[signs[0]].text not in COMPARE:
        return bare
    sign, left, right = tokens[signs[0]].text, tokens[: signs[0]], tokens[signs[0] + 1 :]
    if (limit := _literal(left)) is not None:
        return _comparison(bare, right, MIRRORED[sign], limit)
    limit = _literal(right)
    return bare if limit is None else _comparison(bare, left, sign, limit)


def _comparison(bare: Part, subject: _Tokens, sign: str, limit: float | str) -> Part:
    name = _words(subject)
    if isinstance(limit, str):
        return replace(bare, name=name, text=limit) if sign == "==" else bare
    return replace(bare, name=name, values=interval(sign, limit, isinstance(limit, int)))


def _literal(tokens: _Tokens) -> int | float | str | None:
    """The number, text or duration in seconds that is written there; None where it is none."""
    words = [token.text for token in tokens]
    if len(tokens) == 1 and tokens[0].sort is Sort.QUOTED and tokens[0].text[0] in "\"'" and "\\" not in words[0]:
        return words[0][1:-1]
    if len(tokens) == 4 and words[0] in HELPERS and tokens[2].sort is Sort.NUMBER:
        number = _number(words[2])
        return None if number is None else float(number * HELPERS[words[0]].total_seconds())
    minus = words[:1] == ["-"]
    if len(tokens) != 1 + minus or tokens[-1].sort is not Sort.NUMBER:
        return None
    number = _number(words[-1])
    return -number if minus and number is not None else number


def _number(text: str) -> int | float | None:
    if text.isdigit():
        return int(text)
    found = float(text) if re.fullmatch(r"[\d.]+([eE][+-]?\d+)?", text) else math.inf
    return found if math.isfinite(found) else None


def _truth(written: str) -> bool | None:
    try:
        return program_of(written).compute({}).truth
    except NotCompiled:
        return None


def _words(tokens: _Tokens) -> str:
    """Without the spaces between words; those inside of texts stay."""
    return "".join(token.text for token in tokens)


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
