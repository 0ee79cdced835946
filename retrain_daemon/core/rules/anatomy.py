"""A condition taken apart: what && || ! and ?: join, and of what is joined, which sides are compared or which list is
gone over. Structure and compiled texts only; values come in `parts.py`.

Which operator is outermost says the checked tree; where the texts on its sides begin and end say the rule's words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from retrain_daemon.core.policy import Names
from retrain_daemon.core.rules.checked import Node
from retrain_daemon.core.rules.forms import LOOPS
from retrain_daemon.core.rules.programs import NotCompiled, Program, program_of
from retrain_daemon.core.rules.shortfalls import MIRRORED
from retrain_daemon.core.rules.tokens import Sort, Token, closing, tokens_of
from retrain_daemon.core.rules.vocabulary import NO_NAMES


class Joint(StrEnum):
    """How the parts of a condition make its value."""

    ALL = "all"  #: every one must hold
    ANY = "any"  #: one is enough
    NOT = "not"  #: the one part must not hold
    CHOICE = "choice"  #: where the first holds it is the second, else the third
    NONE = "none"  #: it has no parts


@dataclass(frozen=True)
class Sides:
    """What is compared with what. A constant stands on the right where there is one, and the sign is that of this
    order: none where it is not known by a sign in this order.
    """

    left: Program
    sign: str
    right: Program

    @property
    def limited(self) -> bool:
        """Whether the right side is a constant."""
        return not self.right.names


@dataclass(frozen=True)
class Loop:
    """A list or map that is gone over, and those of it that satisfy what is asked; None where nothing is asked."""

    over: Program
    satisfying: Program | None


@dataclass(frozen=True)
class Anatomy:
    """A condition, or a part of one, by its text as written. Only what has no parts has a `program`."""

    text: str
    joint: Joint = Joint.NONE
    parts: tuple[Anatomy, ...] = ()
    program: Program | None = None
    sides: Sides | None = None
    loop: Loop | None = None

    def leaves(self) -> Iterator[Anatomy]:
        """What it is made of in the end."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves()


_JOINTS = {"_&&_": Joint.ALL, "_||_": Joint.ANY, "!_": Joint.NOT, "_?_:_": Joint.CHOICE}
_SIGNS = {"_>=_": ">=", "_>_": ">", "_<=_": "<=", "_<_": "<", "_==_": "==", "_!=_": "!=", "@in": "in"}
_BRACKETS = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}
_Tokens = tuple[Token, ...]


@lru_cache(maxsize=4096)
def anatomy_of(source: str, given: Names = NO_NAMES) -> Anatomy:
    """Given a rule that compiles with the names its policy gives, take it apart.

    What the words do not tell apart as the tree does stays one part.
    """
    program = program_of(source, given)
    try:
        return _Dissection(source, given).apart(program.tree, tokens_of(source))
    except (NotCompiled, _NotSeparable):
        return Anatomy(source, program=program)


class _NotSeparable(Exception):
    """An operator of the tree is not where the words say."""


@dataclass(frozen=True)
class _Dissection:
    source: str
    given: Names

    def apart(self, node: Node, tokens: _Tokens) -> Anatomy:
        joint = _JOINTS.get(node.function)
        if joint is None:
            return self._leaf(node, tokens)
        texts = _split(joint, node, tokens)
        parts = tuple(map(self.apart, node.arguments, texts))
        if joint in (Joint.ALL, Joint.ANY):
            parts = tuple(_flat(joint, parts))
        return Anatomy(self._text(tokens), joint, parts)

    def _leaf(self, node: Node, tokens: _Tokens) -> Anatomy:
        while len(tokens) > 2 and tokens[0].text == "(" and closing(tokens, 0) == len(tokens) - 1:
            tokens = tokens[1:-1]
        program = program_of(self._text(tokens), self.given)
        return Anatomy(program.text, program=program, sides=self._sides(node, tokens), loop=self._loop(tokens))

    def _sides(self, node: Node, tokens: _Tokens) -> Sides | None:
        sign = _SIGNS.get(node.function)
        if sign is None:
            return None
        before, after = _around(node.place, tokens)
        left, right = self._program(before), self._program(after)
        if left is None or right is None:
            return None
        if not left.names and right.names:
            return Sides(right, MIRRORED.get(sign, ""), left)
        return Sides(left, sign, right)

    def _loop(self, tokens: _Tokens) -> Loop | None:
        """The last of those loops that stand in no other; `filter` asks for what satisfies, as the others do."""
        found: Loop | None = None
        depth = 0
        for index, token in enumerate(tokens):
            depth += _BRACKETS.get(token.text, 0)
            word = token.text.rpartition(".")[2]
            if depth == 0 and token.sort is Sort.NAME and word in LOOPS and _called(tokens, index):
                found = self._gone_over(tokens, index, word) or found
        return found

    def _gone_over(self, tokens: _Tokens, index: int, word: str) -> Loop | None:
        dot = self.source.rfind(".", tokens[index - 1].start if index else 0, tokens[index].end)
        over = _compiled(self.source[tokens[_chain(tokens, index)].start : dot].rstrip(), self.given)
        closed = closing(tokens, index + 1)
        if over is None or closed is None:
            return None
        asked = self.source[tokens[index + 1].start : tokens[closed].end]
        satisfying = None if word == "map" else _compiled(f"{over.text}.filter{asked}", self.given)
        return Loop(over, satisfying)

    def _program(self, tokens: _Tokens) -> Program | None:
        """A side that makes no sense alone, such as an empty list, has none."""
        return _compiled(self._text(tokens), self.given) if tokens else None

    def _text(self, tokens: _Tokens) -> str:
        return self.source[tokens[0].start : tokens[-1].end]


def _compiled(text: str, given: Names) -> Program | None:
    try:
        return program_of(text, given)
    except NotCompiled:
        return None


def _flat(joint: Joint, parts: tuple[Anatomy, ...]) -> Iterator[Anatomy]:
    """`a && b && c` is one list, however CEL groups it."""
    for part in parts:
        yield from part.parts if part.joint is joint else (part,)


def _split(joint: Joint, node: Node, tokens: _Tokens) -> tuple[_Tokens, ...]:
    """The words of each part; raises _NotSeparable."""
    if joint is Joint.NOT:
        return (_after_signs(node.place, tokens),)
    before, after = _around(node.place, tokens)
    if joint is not Joint.CHOICE:
        return before, after
    colon = _colon(after)
    return before, after[:colon], after[colon + 1 :]


def _after_signs(place: int, tokens: _Tokens) -> _Tokens:
    """CEL reads `!!!x` as `!x`."""
    while tokens and tokens[0].start != place:
        tokens = _without_a_layer(tokens)
    bare = tuple(tokens)
    while bare and bare[0].text == "!":
        bare = bare[1:]
    if not bare or len(bare) == len(tokens):
        raise _NotSeparable
    return bare


def _around(place: int, tokens: _Tokens) -> tuple[_Tokens, _Tokens]:
    """What stands before and after the operator at a place, without brackets around them all; raises _NotSeparable."""
    while True:
        depth = 0
        for index, token in enumerate(tokens):
            depth += _BRACKETS.get(token.text, 0)
            if token.start == place and depth == 0 and 0 < index < len(tokens) - 1:
                return tokens[:index], tokens[index + 1 :]
        tokens = _without_a_layer(tokens)


def _without_a_layer(tokens: _Tokens) -> _Tokens:
    """Without the brackets around them all, or the signs of a double negation."""
    if len(tokens) > 2 and tokens[0].text == "(" and closing(tokens, 0) == len(tokens) - 1:
        return tokens[1:-1]
    if len(tokens) > 2 and tokens[0].text == tokens[1].text == "!":
        return tokens[2:]
    raise _NotSeparable


def _colon(tokens: _Tokens) -> int:
    depth = 0
    for index, token in enumerate(tokens):
        depth += _BRACKETS.get(token.text, 0)
        if token.text == ":" and depth == 0:
            return index
    raise _NotSeparable


def _called(tokens: _Tokens, index: int) -> bool:
    return index + 1 < len(tokens) and tokens[index + 1].text == "("


def _chain(tokens: _Tokens, last: int) -> int:
    """The index at which the expression begins that ends at `last`: back over calls, indexes and dots."""
    first = last
    while tokens[first].text in (")", "]"):
        first = _opening(tokens, first)
        called = first > 0 and (tokens[first - 1].sort is Sort.NAME or tokens[first - 1].text in (")", "]"))
        first -= called and tokens[first - 1].text != "in"
    return _chain(tokens, first - 2) if first > 1 and tokens[first - 1].text == "." else first


def _opening(tokens: _Tokens, closed: int) -> int:
    """The index of the bracket that is closed at `closed`; raises _NotSeparable."""
    for index in range(closed - 1, -1, -1):
        if tokens[index].text in ("(", "[", "{") and closing(tokens, index) == closed:
            return index
    raise _NotSeparable
