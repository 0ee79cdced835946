"""The words of a rule's text: names, numbers, quoted texts and signs, each with its place.

A scan, not a grammar: CEL decides what is valid; this says where a name stands and what stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache


class Sort(StrEnum):
    """What a token is."""

    NAME = "name"  #: a word or a dotted chain of words, such as data.new_rows
    NUMBER = "number"  #: a number as written
    QUOTED = "quoted"  #: a text with its quotes
    SIGN = "sign"  #: an operator, a bracket or anything else


@dataclass(frozen=True)
class Token:
    """One token; `text` is as written, with the spaces of a dotted chain left out."""

    sort: Sort
    text: str
    start: int
    end: int


_PATTERN = re.compile(
    r"""
    (?P<space>  \s+ | //[^\n]* )
  | (?P<quoted> [bB]?[rR][bB]? (?: \"{3}.*?\"{3} | '{3}.*?'{3} | "[^"\r\n]*" | '[^'\r\n]*' )
              | [bB]? (?: \"{3}(?:\\.|[^\\])*?\"{3} | '{3}(?:\\.|[^\\])*?'{3}
                        | "(?:\\.|[^"\\\r\n])*" | '(?:\\.|[^'\\\r\n])*' ) )
  | (?P<number> 0[xX][0-9a-fA-F]+[uU]? | \d+\.\d+(?:[eE][+-]?\d+)? | \.\d+(?:[eE][+-]?\d+)?
              | \d+[eE][+-]?\d+ | \d+[uU]? )
  | (?P<name>   [A-Za-z_]\w* (?: \s*\.\s*[A-Za-z_]\w* )* )
  | (?P<sign>   && | \|\| | == | != | <= | >= | => | =< | <> | . )
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)


def is_zero(token: Token) -> bool:
    """Whether the token is a number of value zero."""
    if token.sort is not Sort.NUMBER:
        return False
    digits = token.text.rstrip("uU")
    return (int(digits, 16) if digits.lower().startswith("0x") else float(digits)) == 0


def is_decimal(token: Token) -> bool:
    """Whether the token is a number with a decimal point or an exponent."""
    return (
        token.sort is Sort.NUMBER and not token.text.lower().startswith("0x") and bool(re.search("[.eE]", token.text))
    )


@lru_cache(maxsize=1024)
def tokens_of(source: str) -> tuple[Token, ...]:
    """Given the text of a rule, its tokens in order, without spaces and comments."""
    return tuple(_scan(source))


def _scan(source: str) -> Iterator[Token]:
    for match in _PATTERN.finditer(source):
        sort, text = match.lastgroup, match.group()
        if sort is None or sort == "space":
            continue
        written = re.sub(r"\s+", "", text) if sort == Sort.NAME else text
        yield Token(Sort(sort), written, match.start(), match.end())


def line_and_column(source: str, offset: int) -> tuple[int, int]:
    """Given an offset, its line and column, both counted from 1."""
    return source.count("\n", 0, offset) + 1, offset - source.rfind("\n", 0, offset)


def offset_of(source: str, line: int, column: int) -> int:
    """Given a line and a column counted from 1, the offset; past the end it is the end."""
    lines = source.split("\n")
    before = sum(len(text) + 1 for text in lines[: max(line - 1, 0)])
    return min(before + max(column - 1, 0), len(source))


def closing(tokens: tuple[Token, ...], opening: int) -> int | None:
    """Given the index of an opening bracket, the index of the one that closes it."""
    depth = 0
    for index in range(opening, len(tokens)):
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(tokens[index].text, 0)
        if depth == 0:
            return index
    return None
