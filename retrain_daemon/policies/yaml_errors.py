"""What YAML's parser says about a text, in words for people.

Knows the wording of libyaml. What policies do not use of YAML is refused in `nodes.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import yaml

_LONGEST_LINE = 1000
_IN_QUOTES = "Put the whole value in quotes."
# What is said, and what to write; {line} is where the section began that the place belongs to.
_SAID = {
    "mapping values are not allowed": (
        "A `:` stands where no key can be.", "Put a text that holds `: ` in quotes, or check the indentation."),
    "could not find expected ':'": ("A key without `:`.", "Write `key: value`, with a space after the colon."),
    "expected comment or line break": ("Something follows where the value has ended.", _IN_QUOTES),
    "unknown escape character": (
        "In double quotes `\\` begins a sign of its own.", "Write the text in single quotes, or `\\\\` for each `\\`."),
    "expected '-' indicator": (
        "The line is indented like the entries of a list, and is none.",
        "Begin it with `- ` like the entry in line {line}, or indent it as its section is."),
    "sequence entries are not allowed": ("An entry of a list cannot begin here.", "Write `- ` below its key."),
    "unexpected ':'": ("A `:` is not expected here.", "Write a space after the colon of a key; quote other texts."),
    "scanning a directive": ("A line cannot begin with `%`.", "Write `#` for a comment."),
    "expected node content": ("A value is expected here.", _IN_QUOTES),
    "expected <document start>": (
        "The line does not belong to what stands above it.", "Write `key: value`, indented like the first line."),
    "parsing a block mapping": (
        "The line is not indented like the keys it stands among.",
        "Indent it like the key in line {line}; a value that goes on after a quote is quoted as a whole."),
}  # fmt: skip


@dataclass(frozen=True)
class Complaint:
    """Why a text is no YAML, with what to write, and the offset of the place."""

    offset: int
    message: str
    hint: str


def complaint_of(error: yaml.MarkedYAMLError, text: str) -> Complaint:
    """Given what the parser raised and the text, what to tell."""
    said = f"{error.context or ''} {error.problem or ''}"
    mark, begun = error.problem_mark or error.context_mark, error.context_mark
    place = mark.index if mark else 0
    if "flow" in said and begun is not None:
        opened = _opened(text, begun.index)
        message = f"The `{text[opened : opened + 1]}` is not closed, or a comma is missing behind it."
        found = _looks_like(text, opened) or (message, "Check the brackets from here on.")
        return Complaint(opened, *found)
    if "quoted scalar" in said and "end of stream" in said:
        offset = begun.index if begun is not None else place
        return Complaint(offset, "A quote is not closed.", "Write a quote at both ends.")
    found = _looks_like(text, place) or _of_sign(text, place, said) or _known(said, begun.line + 1 if begun else 1)
    return Complaint(place, *found)


def _opened(text: str, place: int) -> int:
    """Where the bracket is that the place is in: the parser names an entry of it where it found none."""
    closed = 0
    for index in range(place, -1, -1):
        sign = text[index : index + 1]
        if sign and sign in "[{":
            if not closed:
                return index
            closed -= 1
        elif sign and sign in "]}" and index < place:
            closed += 1
    return place


def _of_sign(text: str, place: int, said: str) -> tuple[str, str] | None:
    """What the sign at the place says."""
    here = text[place : place + 1]
    if "\t" in here or "'\\t'" in said:
        return "A tab stands where YAML allows spaces only.", "Indent with spaces."
    if "alias" in said or "anchor" in said:
        return f"`{here.strip() or '*'}` has a meaning of its own in YAML here.", _IN_QUOTES
    if here and here in "@`%|>":
        return f"A value cannot begin with `{here}`.", "Put it in quotes."
    return None


def _looks_like(text: str, place: int) -> tuple[str, str] | None:
    """An expression whose first sign YAML takes for something else."""
    first = text.rfind("\n", 0, place) + 1
    line = text[first : first + _LONGEST_LINE].split("\n", 1)[0]
    if re.search(r"[:-] +!", line[: place - first + 1]):
        return "A value that begins with `!` is read as a tag of YAML.", _IN_QUOTES
    if re.search(r"[:-] +[\[{][^#]*[\]}][^,\s\]}]", line):
        return "A value that begins with `[` or `{` is read as a list or mapping.", _IN_QUOTES
    return None


def _known(said: str, line: int) -> tuple[str, str]:
    for part, (message, hint) in _SAID.items():
        if part in said:
            return message, hint.format(line=line)
    return f"This is not YAML: {said.strip()}.", "Check the indentation, and put the value in quotes."
