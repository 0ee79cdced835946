"""What is said of a file that is wrong or looks wrong: sentences, and how several become one report.

What is wrong is found in `checks.py` and `expected.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MOST_NAMED = 5


@dataclass(frozen=True)
class Complaint:
    """One thing about one file, as a sentence, and what to do about it."""

    sentence: str
    hint: str = ""


def together(complaints: Sequence[Complaint]) -> Complaint:
    """All of at least one complaint as one; the first few are named, each hint once."""
    named = complaints[:MOST_NAMED]
    more = len(complaints) - len(named)
    said = [each.sentence for each in named] + ([f"And {more} more of such."] if more else [])
    return Complaint(" ".join(said), " ".join(dict.fromkeys(each.hint for each in named if each.hint)))


def rate(part: int, whole: int) -> str:
    """How often something is so: 37 of 5,000 rows (0.74%)."""
    return f"{part:,} of {whole:,} rows ({100 * part / whole:.3g}%)"


def listed(values: Iterable[str]) -> str:
    """Some of the values, in a sentence."""
    every = list(values)
    rest = len(every) - MOST_NAMED
    return ", ".join(every[:MOST_NAMED]) + (f" and {rest} more" if rest > 0 else "")
