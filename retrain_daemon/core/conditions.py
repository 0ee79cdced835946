"""What can be told of rules without knowing any fact: which always or never hold, and which hold whenever another does.

A rule is read as alternatives joined by ||, each of parts joined by &&. What is not understood is never said to be so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from retrain_daemon.core.anatomy import Anatomy, Joint, anatomy_of
from retrain_daemon.core.metrics import METRICS
from retrain_daemon.core.policy import Names
from retrain_daemon.core.ranges import Range, interval, range_of
from retrain_daemon.core.shortfalls import COMPARE
from retrain_daemon.core.tokens import Sort, Token, tokens_of

_MOST_ALTERNATIVES = 32
_MOST_PARTS = 24


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


def alternatives_of(source: str, given: Names) -> tuple[Alternative, ...]:
    """Given the text of a rule that compiles, its alternatives; none where there are too many to tell."""
    tokens = tokens_of(source)
    if sum(token.text in ("&&", "||") for token in tokens) >= _MOST_PARTS:
        return ()
    anatomy = anatomy_of(source, given)
    found = _alternatives(source, anatomy, _places(source, anatomy))
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


def _alternatives(source: str, anatomy: Anatomy, places: Iterator[int]) -> list[Alternative]:
    """Those of a rule that was taken apart; `places` are where its leaves begin, in order."""
    if anatomy.joint not in (Joint.ALL, Joint.ANY):
        first = min([next(places) for _ in anatomy.leaves()])
        # Of a negation the leaf begins behind its sign.
        return [(_part(anatomy, max(source.find(anatomy.text, max(first - len(anatomy.text), 0)), 0)),)]
    each = [_alternatives(source, part, places) for part in anatomy.parts]
    if anatomy.joint is Joint.ANY:
        return [way for ways in each for way in ways]
    together: list[Alternative] = [()]
    for ways in each:
        together = [(*left, *right) for left in together for right in ways][: _MOST_ALTERNATIVES + 1]
    return together


def _places(source: str, anatomy: Anatomy) -> Iterator[int]:
    """Where each leaf begins."""
    behind = 0
    for leaf in anatomy.leaves():
        place = source.find(leaf.text, behind)
        behind = place + len(leaf.text)
        yield place


def _part(anatomy: Anatomy, start: int) -> Part:
    bare = Part(_words(anatomy.text), anatomy.text, start)
    program, sides = anatomy.program, anatomy.sides
    if program is not None and not program.names:
        return replace(bare, constant=program.compute({}).truth)
    limit = sides.right.compute({}).value if sides is not None and sides.limited else None
    if sides is None or not sides.sign or isinstance(limit, bool):
        return bare
    name = _words(sides.left.text)
    if isinstance(limit, str) and sides.sign == "==":
        return replace(bare, name=name, text=limit)
    amount = limit.total_seconds() if isinstance(limit, timedelta) else limit
    if sides.sign not in COMPARE or not isinstance(amount, int | float) or not math.isfinite(amount):
        return bare
    return replace(bare, name=name, values=interval(sides.sign, amount, isinstance(limit, int)))


def _words(text: str) -> str:
    """Without the spaces between words; those inside of texts stay."""
    return "".join(token.text for token in tokens_of(text))


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
