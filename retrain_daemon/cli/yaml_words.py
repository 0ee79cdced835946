"""Texts of others as they may stand in a policy: as values, and in comments. No text ends its line or its quotes."""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_MEANT_OTHERWISE = frozenset({"yes", "no", "true", "false", "on", "off", "null", "y", "n"})
_ESCAPED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def word(text: str) -> str:
    """A text as a value: as it is where YAML cannot take it for anything else, otherwise in double quotes."""
    if _PLAIN.fullmatch(text) and text.lower() not in _MEANT_OTHERWISE:
        return text
    return quoted(text)


def quoted(text: str) -> str:
    """A text in double quotes, on one line, with everything escaped that could end it or that no text shows."""
    return f'"{"".join(map(_letter, text))}"'


def value(given: str | int | float | bool) -> str:
    """A class as it is written: a truth value or a number plain, a text as a word."""
    if isinstance(given, bool):
        return str(given).lower()
    return word(given) if isinstance(given, str) else f"{given!r}"


def listed(items: tuple[str | int | float | bool, ...]) -> str:
    """A list on one line."""
    return f"[{', '.join(map(value, items))}]"


def remark(text: str, most: int = 160) -> str:
    """A text for a comment: on one line, of bounded length, and without signs that are not shown."""
    shown = "".join(letter if letter.isprintable() else _letter(letter) for letter in " ".join(text.split(" ")))
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def _letter(letter: str) -> str:
    if letter in _ESCAPED:
        return _ESCAPED[letter]
    if letter.isprintable():
        return letter
    code = ord(letter)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
