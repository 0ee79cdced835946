"""Where a key of a policy stands in its text, for those who find something wrong with it after it was read.

Knows YAML through `nodes.py` only, and no key of a policy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from retrain_daemon.policies.nodes import Document, MappingNode, Node, Scalar, Sequence, read_nodes

_INDEX = re.compile(r"\[([0-9]{1,6})\]")


@dataclass(frozen=True)
class Found:
    """What a text says for a key, or the nearest one above it: the key as written (None for an entry of a list, and for
    the text as a whole) and its value.
    """

    key: Scalar | None
    value: Node


def place_of(text: str, key: str) -> tuple[int, int]:
    """Given the text of a policy and a key such as `retrain[0].when` or `promote.require[2]`, its line and column, both
    counted from 1. Where there is no such key it is the nearest one above it, and at last the beginning.
    """
    found = find(text, key)
    if found is None:
        return 1, 1
    place = found.key or found.value
    return place.line, place.column


def value_place_of(text: str, key: str) -> tuple[int, int]:
    """The same for the value of the key."""
    found = find(text, key)
    return (found.value.line, found.value.column) if found else (1, 1)


def find(text: str, key: str) -> Found | None:
    """What the text says for the key or the nearest one above it; None where it is no YAML that policies may use."""
    root = _root(text.removeprefix("\ufeff"))
    if root is None:
        return None
    found, left = Found(None, root), key
    while left:
        step = _step(found.value, left)
        if step is None:
            return found
        found, left = step
    return found


@lru_cache(maxsize=4)
def _root(text: str) -> Node | None:
    return read_nodes(Document("", text))


def _step(node: Node, key: str) -> tuple[Found, str] | None:
    """One step down, and what is left of the key; None where it leads nowhere."""
    if isinstance(node, Sequence):
        index = _INDEX.match(key)
        if index and int(index[1]) < len(node.items):
            return Found(None, node.items[int(index[1])]), key[index.end() :].removeprefix(".")
    if isinstance(node, MappingNode):
        # A name may hold dots itself, so the longest one that fits is meant.
        for name in sorted(node.entries, key=len, reverse=True):
            rest = key[len(name) :]
            if key.startswith(name) and (not rest or rest[0] in ".["):
                return Found(node.keys[name], node.entries[name]), rest.removeprefix(".")
    return None
