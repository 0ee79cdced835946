"""MLflow's filter language: how values are written in it, and how much fits in one request. Only text, no requests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from retrain_daemon.errors import Refused

#: MLflow gives at most so many models a page; a filter of so many characters passes a plain MLflow server.
NAMES_AT_ONCE = 1000
_FILTER_AT_MOST = 30_000
#: Of more patterns than this, one question for every model is the cheaper one.
_PATTERNS_AT_MOST = 20
#: Letters that mean the same to LIKE in every database, or match at least themselves.
_BEGINS = re.compile(r"[A-Za-z0-9_. -]*")
_ENDS = re.compile(r"[A-Za-z0-9_. -]*\Z")


def quoted(value: str) -> str:
    """The value as a string of MLflow's filter language, which knows two kinds of quotes and no escapes.

    Raises Refused for a value that holds both kinds.
    """
    if not quotable(value):
        raise Refused(
            f"{value!r} cannot be searched for: MLflow's filters have no way to write both ' and \" in one value.",
            "Choose a name with at most one kind of quotes.",
        )
    return f'"{value}"' if "'" in value else f"'{value}'"


def quotable(value: str) -> bool:
    """Whether the value can be written in a filter at all."""
    return not ("'" in value and '"' in value)


def listable(name: str) -> bool:
    """Whether the name survives a list in a filter, which MLflow reads as Python literals, backslashes included."""
    return quotable(name) and "\\" not in name and name.isprintable()


def chunks(names: Iterable[str]) -> Iterator[list[str]]:
    """Names in order, in lists that one request can ask for."""
    chunk: list[str] = []
    length = 0
    for name in names:
        # Two quotes and a comma.
        length += len(name) + 3
        if chunk and (len(chunk) == NAMES_AT_ONCE or length > _FILTER_AT_MOST):
            yield chunk
            chunk, length = [], len(name) + 3
        chunk.append(name)
    if chunk:
        yield chunk


def likes(patterns: Iterable[str]) -> tuple[str, ...]:
    """Given patterns with `*` and `?`, values for LIKE that match at least what they match, none within another.

    Only how a pattern begins and ends is used: with several wildcards in one value a database may try for ever.
    """
    ends = sorted({(_begins(pattern), _ends(pattern)) for pattern in patterns}, key=lambda each: len("".join(each)))
    kept: list[tuple[str, str]] = []
    for begin, end in ends:
        if not any(begin.startswith(wider) and end.endswith(tail) for wider, tail in kept):
            kept.append((begin, end))
    return tuple(f"{begin}%{end}" for begin, end in kept) if len(kept) <= _PATTERNS_AT_MOST else ("%",)


def _begins(pattern: str) -> str:
    found = _BEGINS.match(pattern)
    return found[0] if found else ""


def _ends(pattern: str) -> str:
    found = _ENDS.search(pattern)
    return found[0] if found else ""
