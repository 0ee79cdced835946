"""Single values of a policy: texts, numbers, durations, sizes, shares, each read by the one who knows what it must be.

A reader takes a node and gives the value or raises Wrong, saying what to write instead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from typing import TypeVar

from retrain_daemon.core.policy import Scalar as PolicyScalar
from retrain_daemon.policies.nodes import MappingNode, Node, Scalar, Sequence, Wrong, closest

Choice = TypeVar("Choice", bound=StrEnum)
T = TypeVar("T")

_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_DURATION = re.compile(r"([0-9]{1,9}) ?(s|m|h|d|w)")
_SIZE = re.compile(r"([0-9]{1,9}) ?(MB|GB|MiB|GiB)")
_PERCENT = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_BYTES = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}
_LONGEST = timedelta(days=36500)
_LONGEST_NUMBER = 300
# What other readers of YAML or Python take for true, false and nothing.
_FOREIGN = {
    "yes": "true", "on": "true", "no": "false", "off": "false",
    "True": "true", "TRUE": "true", "False": "false", "FALSE": "false",
    "None": "null", "NULL": "null", "Null": "null", "~": "null", "": "null",
}  # fmt: skip


def mapping(node: Node) -> MappingNode:
    """The node as a mapping."""
    if isinstance(node, MappingNode):
        return node
    if isinstance(node, Scalar) and not node.value.strip():
        raise Wrong(f"`{node.name}` is empty.", "Write `key: value` lines under it, indented.")
    raise Wrong(f"`{node.name}` must be a mapping of keys, not {_shape(node)}.", "Write `key: value` lines under it.")


def sequence(node: Node) -> list[Node]:
    """The items of a list that is not empty."""
    if not isinstance(node, Sequence):
        raise Wrong(f"`{node.name}` must be a list, not {_shape(node)}.", "Begin each entry with `- `.")
    if not node.items:
        raise Wrong(f"`{node.name}` is an empty list.", "Write at least one entry.")
    return [item.called(node.name) for item in node.items]


def at_most(most: int, items: list[Node]) -> list[Node]:
    """The items of a list that is not too long to be meant."""
    if len(items) > most:
        raise Wrong(f"`{items[0].name}` has {len(items):,} entries; at most {most} are read.", "Write fewer.")
    return items


def scalar(node: Node) -> Scalar:
    """The node as a single value that is not empty."""
    if not isinstance(node, Scalar):
        raise Wrong(f"`{node.name}` must be a single value, not {_shape(node)}.")
    if not node.value.strip():
        raise Wrong(f"`{node.name}` is empty.", "Write a value, or leave the key out.")
    return node


def text(node: Node) -> str:
    """A text as written, whatever YAML would make of it."""
    return scalar(node).value


def word(node: Node) -> str:
    """A text of one line, such as the name of a column."""
    value = text(node)
    if not value.isprintable():
        raise Wrong(f"`{node.name}` must be on one line and hold no control characters.")
    return value


def words(node: Node) -> tuple[str, ...]:
    """A name, or a list of different names."""
    if isinstance(node, Scalar):
        return (word(node),)
    names = tuple(word(item) for item in sequence(node))
    again = twice(names)
    if again is not None:
        raise Wrong(f"`{node.name}` names `{again}` twice.", "Name it once.")
    return names


def twice(names: tuple[str, ...]) -> str | None:
    """The first name that was there before."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def choice(kind: type[Choice]) -> Callable[[Node], Choice]:
    """A reader of one of the values of an enumeration."""

    def read(node: Node) -> Choice:
        value, known = text(node), tuple(member.value for member in kind)
        if value in known:
            return kind(value)
        close = closest(value, known)
        hint = f"Did you mean `{close}`?" if close else f"Write one of: {', '.join(known)}."
        raise Wrong(f"`{node.name}` cannot be `{shown_text(value)}`.", hint)

    return read


def switch(node: Node) -> bool:
    """`true` or `false`, without quotes."""
    value = node.value if isinstance(node, Scalar) and node.plain else None
    if value not in ("true", "false"):
        raise Wrong(f"`{node.name}` must be true or false, not {_shape(node)}.", "Write true or false, without quotes.")
    return value == "true"


def count(least: int, most: int = 10**12) -> Callable[[Node], int]:
    """A reader of a whole number within bounds."""

    def read(node: Node) -> int:
        found = scalar(node)
        value = found.value
        if not found.plain and _INTEGER.fullmatch(value):
            raise Wrong(f"`{node.name}` must be a number, not a text.", f"Write {shown_text(value)} without quotes.")
        if not _INTEGER.fullmatch(value) or len(value) > _LONGEST_NUMBER:
            hint = (
                f"Write {shown_text(re.sub('[_,]', '', value))}."
                if re.fullmatch("[0-9][0-9_,]*", value)
                else _such(least)
            )
            raise Wrong(f"`{node.name}` must be a whole number, not `{shown_text(value)}`.", hint)
        if not least <= int(value) <= most:
            raise Wrong(f"`{node.name}` is {shown_text(value)}; it must be between {least} and {most:,}.")
        return int(value)

    return read


def _such(least: int) -> str:
    return f"Write digits only, such as {max(least, 4)}."


def number(node: Node) -> float:
    """A finite number; 0.001 may be written 1e-3."""
    found = scalar(node)
    value = found.value
    if not found.plain and _NUMBER.fullmatch(value):
        raise Wrong(f"`{node.name}` must be a number, not a text.", f"Write {shown_text(value)} without quotes.")
    if percent := _PERCENT.fullmatch(value):
        raise Wrong(f"`{node.name}` must be a number, not a percentage.", f"Write {float(percent[1]) / 100:g}.")
    if not _NUMBER.fullmatch(value) or len(value) > _LONGEST_NUMBER:
        raise Wrong(f"`{node.name}` must be a number, not `{shown_text(value)}`.", "Write one such as 0.005 or 5e-3.")
    if not math.isfinite(float(value)):
        raise Wrong(f"`{node.name}` is too large.", "Write a finite number.")
    return float(value)


def duration(node: Node) -> timedelta:
    """A duration of at least a second and at most a hundred years."""
    value = text(node)
    found = _DURATION.fullmatch(value)
    if not found:
        hint = "Write a whole number and a unit: 30s, 5m, 2h, 14d or 2w."
        raise Wrong(f"`{node.name}` must be a duration, not `{shown_text(value)}`.", hint)
    seconds = int(found[1]) * _SECONDS[found[2]]
    if not 0 < seconds <= _LONGEST.total_seconds():
        raise Wrong(f"`{node.name}` is {shown_text(value)}; it must be between 1s and {_LONGEST.days}d.")
    return timedelta(seconds=seconds)


def size(node: Node) -> int:
    """A size in bytes."""
    value = text(node)
    found = _SIZE.fullmatch(value)
    if not found:
        hint = "Write a whole number and a unit: 500MB, 8GB, 512MiB or 8GiB."
        raise Wrong(f"`{node.name}` must be a size, not `{shown_text(value)}`.", hint)
    if int(found[1]) == 0:
        raise Wrong(f"`{node.name}` is {shown_text(value)}; it must be more than nothing.")
    return int(found[1]) * _BYTES[found[2]]


def share(least: float, most: float) -> Callable[[Node], float]:
    """A reader of a part of the whole, written 20% or 0.2, within bounds."""

    def read(node: Node) -> float:
        value = text(node)
        found = _PERCENT.fullmatch(value)
        if not found and not (_NUMBER.fullmatch(value) and len(value) < _LONGEST_NUMBER):
            hint = f"Write one between {least * 100:g}% and {most * 100:g}%."
            raise Wrong(f"`{node.name}` must be a percentage, not `{shown_text(value)}`.", hint)
        part = round(float(found[1]) / 100, 10) if found else float(value)
        if not least <= part <= most:
            hint = f"Did you mean {value}%?" if least <= part / 100 <= most and not found else ""
            message = f"`{node.name}` is {shown_text(value)}; it must be between {least * 100:g}% and {most * 100:g}%."
            raise Wrong(message, hint)
        return part

    return read


def anything(node: Node) -> PolicyScalar:
    """A value whose type nobody knows beforehand: quoted it is a text, plain it is what it looks like."""
    if not isinstance(node, Scalar):
        raise Wrong(f"`{node.name}` must be a single value, not {_shape(node)}.")
    if not node.plain:
        return node.value
    plain = {"true": True, "false": False, "null": None}
    if node.value in plain:
        return plain[node.value]
    if node.value in _FOREIGN:
        instead = _FOREIGN[node.value]
        message = (
            f"`{node.name}` is {f'`{node.value}`' if node.value else 'empty'}, which could mean a text or {instead}."
        )
        raise Wrong(message, f'Write {instead}, or "{node.value}" in quotes for the text.')
    if len(node.value) <= _LONGEST_NUMBER and _INTEGER.fullmatch(node.value):
        return int(node.value)
    return _number_or_text(node)


def _number_or_text(node: Scalar) -> float | str:
    if node.value.lower().lstrip("+-.") in ("nan", "inf", "infinity"):
        raise Wrong(f"`{node.name}` must be finite.", f'Write a number, or "{node.value}" in quotes for the text.')
    return number(node) if _NUMBER.fullmatch(node.value) else node.value


def _shape(node: Node) -> str:
    if isinstance(node, MappingNode):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    value = node.value if isinstance(node, Scalar) else ""
    return f"`{shown_text(value)}`" if value.strip() else "nothing"


def shown_text(value: str) -> str:
    """A value inside a message: printable and short."""
    printable = value if value.isprintable() else ascii(value)[1:-1]
    return printable if len(printable) <= 60 else f"{printable[:57]}..."
