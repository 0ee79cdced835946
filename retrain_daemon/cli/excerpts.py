"""The line of a file with a caret under a place in it, safe for a terminal.

Pure: texts in, texts out. Columns count characters from 1, as editors and CI do; what is shown counts cells.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

WIDTH = 100
_BEFORE = 40
_TAB = 4
_UNSHOWABLE = "\N{REPLACEMENT CHARACTER}"
#: What one caret run stands under: a name with its dots, a quoted text, a sign, or a single letter.
_RUN = re.compile(r"""[\w.%]+ | "[^"]*" | '[^']*' | [<>=!&|]+""", re.VERBOSE)


@dataclass(frozen=True)
class Excerpt:
    """A line, or what is around the place in a long one, and what stands under it."""

    line: str
    caret: str


def end_of(line: str, column: int) -> int:
    """Given a line and a column of it, the column one past the word that begins there."""
    found = _RUN.match(line, column - 1)
    return found.end() + 1 if found else min(column + 1, len(line) + 1)


def excerpt(line: str, column: int) -> Excerpt:
    """What to show of a place in a line. Columns past its end point just behind it."""
    start, end = min(max(column - 1, 0), len(line)), max(end_of(line, column) - 1, 0)
    first = max(start - _BEFORE, 0) if len(line) > WIDTH else 0
    last = min(first + WIDTH, len(line))
    cells = [_cells(letter) for letter in line[first:last]]
    lead, tail = "…" if first else "", "…" if last < len(line) else ""
    before = sum(map(_width, cells[: start - first]))
    under = sum(map(_width, cells[start - first : end - first]))
    return Excerpt(f"{lead}{''.join(cells)}{tail}", f"{' ' * (len(lead) + before)}{'^' * max(under, 1)}")


def _cells(letter: str) -> str:
    """A letter as it is shown: nothing that moves the cursor, changes the direction or has no width of its own."""
    if letter == "\t":
        return " " * _TAB
    return letter if letter.isprintable() and not unicodedata.combining(letter) else _UNSHOWABLE


def _width(shown: str) -> int:
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in shown)
