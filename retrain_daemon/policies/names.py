"""Names that a policy gives to things of its own, for its rules: what may be one in an expression."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from retrain_daemon.policies.nodes import MappingNode, Node, Wrong
from retrain_daemon.policies.units import mapping, shown_text

T = TypeVar("T")

#: CEL keeps these for itself.
_RESERVED = frozenset((
    "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
    "namespace", "null", "package", "return", "true", "var", "void", "while",
))  # fmt: skip
_MOST = 100
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def read_named(node: Node, such: str, reader: Callable[[Node], T | None]) -> dict[str, T]:
    """What `reader` makes of each entry of a mapping, by its name; `such` is a name to show."""
    section = mapping(node)
    if not section.keys:
        raise Wrong(f"`{section.name}` is empty.", f"Write `{such}: ...` under it, or leave the key out.")
    if len(section.keys) > _MOST:
        raise Wrong(f"`{section.name}` has more than {_MOST} entries.")
    found: dict[str, T] = {}
    for name, place in section.keys.items():
        if not _NAME.fullmatch(name):
            hint = f"Write letters, digits and `_`, such as `{_mended(name) or such}`."
            place.problem(f"`{shown_text(name)}` is no name that rules can use.", hint)
        elif name in _RESERVED:
            place.problem(f"`{name}` is a word of CEL and no name.", f"Write another, such as `{such}`.")
        else:
            read = section.take(name, reader, None)
            if read is not None:
                found[name] = read
    return found


def names_in(node: Node | None) -> tuple[str, ...]:
    """The names that a mapping gives, also to entries that are wrong: rules over those are not wrong as well."""
    keys = node.keys if isinstance(node, MappingNode) else {}
    return tuple(name for name in keys if _NAME.fullmatch(name) and name not in _RESERVED)[:_MOST]


def _mended(name: str) -> str:
    mended = re.sub(r"[^A-Za-z0-9_]+", "_", name).strip("_")
    return mended if _NAME.fullmatch(mended) and mended not in _RESERVED else ""
