"""Names of registered models: patterns over them, which there are, and which may stand in a path.

In a pattern `*` stands for any letters and `?` for one; everything else stands for itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache

#: Linux takes no longer name of a file or folder, in bytes.
_LONGEST_FOLDER = 255
_WILDCARDS = re.compile(r"[*?]")


@dataclass(frozen=True)
class Listing:
    """What a registry said of its models: whichever matches one of `patterns` is among `names`."""

    patterns: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()

    def covers(self, patterns: Collection[str]) -> bool:
        """Whether it tells of every model that matches one of these."""
        return self.patterns.issuperset(patterns)


#: Nothing is known of which models there are.
NO_MODELS = Listing()


def has_wildcards(pattern: str) -> bool:
    """Whether it may match more than one name."""
    return _WILDCARDS.search(pattern) is not None


def matches(name: str, patterns: Collection[str]) -> bool:
    """Whether one of the patterns matches the whole name; upper and lower case are different."""
    names, wild = _compiled(frozenset(patterns))
    return name in names or any(pattern.match(name) for pattern in wild)


@lru_cache(maxsize=1024)
def _compiled(patterns: frozenset[str]) -> tuple[frozenset[str], tuple[re.Pattern[str], ...]]:
    """Names as they are, and expressions for the others."""
    wild = sorted(filter(has_wildcards, patterns))
    # Translated by the standard library, whose expressions do not explode with many wildcards.
    return patterns.difference(wild), tuple(re.compile(translate(pattern.replace("[", "[[]"))) for pattern in wild)


def why_no_folder(name: str) -> str:
    """Why a model's name cannot be that of a folder, as the end of a sentence; "" when it can."""
    if name in (".", "..") or "/" in name:
        return "leads to another folder"
    if not name.isprintable():
        return "holds control characters"
    if name != name.strip():
        return "begins or ends with a space"
    if len(name.encode()) > _LONGEST_FOLDER:
        return f"is longer than {_LONGEST_FOLDER} bytes"
    return ""
