"""What Keras and TensorFlow raise, as the one line that says what is wrong."""

from __future__ import annotations

import re

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_MISSING_CLASS = re.compile(r"Could not locate (?:class|function) '([^']+)'")
#: Lines that only say where, around the one that says what.
_AROUND = (
    "Exception encountered when calling", "Graph execution error", "Detected at node", "File ", "Arguments received",
    "Stack trace", "<stdin>", "defined at", "[[{{node",
)  # fmt: skip


def said_by(problem: BaseException) -> str:
    """The line of an exception's text that says what is wrong; its name where there is none."""
    text = _COLOURS.sub("", str(problem))
    if missing := _MISSING_CLASS.search(text):
        return missing.group(0)
    lines = [line.strip() for line in text.splitlines()]
    telling = [line for line in lines if line and not line.startswith(_AROUND) and not line.startswith("•")]
    if "Graph execution error" in text:  # what failed stands behind the places it was called from
        telling = [line for line in reversed(telling) if not line.startswith(("[[", "["))]
    return telling[0].rstrip(". ") if telling else type(problem).__name__
