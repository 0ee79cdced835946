"""Strict reading of YAML: events become nodes with their place, and what a policy may not use is refused by name.

No anchors, merge keys, tags or several documents; scalars stay as written, because the one who asks knows the type.
Knows nothing of policies: their keys are in `file.py`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

import yaml

from retrain_daemon.policies.yaml_errors import complaint_of

MAX_DEPTH = 20
#: So many unknown keys of one mapping are told one by one: to look for what each was meant to be takes time.
_MOST_UNKNOWN = 50
_LONGEST_MESSAGE = 600

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """One thing wrong in a file; `line` and `column` count from 1, line 0 means the file as a whole. A `warning` is
    legal but surely not meant, and keeps no policy out of force.
    """

    file: str
    line: int
    column: int
    message: str
    hint: str = ""
    warning: bool = False

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {'warning: ' if self.warning else ''}{self.message} {self.hint}".rstrip()


def shown_path(file: str) -> str:
    """A path for people: a name may hold line breaks, or bytes that are no text."""
    decoded = os.fsencode(file).decode("utf-8", "backslashreplace")
    return decoded if decoded.isprintable() else decoded.encode("unicode_escape").decode()


class Wrong(Exception):
    """A value is not what it must be; `at` counts lines and columns inside a scalar's text, (0, 0) is its start."""

    def __init__(self, message: str, hint: str = "", at: tuple[int, int] = (0, 0)) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.at = at


@dataclass
class Document:
    """The text being read, how it is called, and what was found wrong in it so far."""

    source: str
    text: str
    problems: list[Problem] = field(default_factory=list)

    @property
    def end(self) -> tuple[int, int]:
        """Line and column behind the last word."""
        written = self.text.rstrip()
        return written.count("\n") + 1, len(written) - written.rfind("\n")

    def problem(self, line: int, column: int, message: str, hint: str = "") -> None:
        """Note a problem at a place counted from 1, or of the file as a whole with line 0."""
        self.problems.append(Problem(self.source, line, column, plain(message), plain(hint)))


@dataclass
class Node:
    """A scalar, a list or a mapping as written. `name` is the dotted key for messages; `start`/`end` are offsets."""

    document: Document
    line: int
    column: int
    start: int
    end: int
    name: str = ""

    def problem(self, message: str, hint: str = "") -> None:
        """Note a problem at this node."""
        self.document.problem(self.line, self.column, message, hint)

    def read(self, reader: Callable[[Node], T], default: T) -> T:
        """What `reader` makes of this node; what it finds wrong is noted, and then the default is given."""
        try:
            return reader(self)
        except Wrong as wrong:
            line, column = self.place_of(*wrong.at)
            self.document.problem(line, column, wrong.message, wrong.hint)
            return default

    def place_of(self, line: int, column: int) -> tuple[int, int]:
        """Given a place inside the node's text (from 1), its line and column in the file."""
        return self.line, self.column

    def called(self, name: str) -> Node:
        """The same node under a name for messages."""
        self.name = name
        return self


@dataclass
class Scalar(Node):
    """A value as written; `style` is its quote or block sign, empty for a plain one."""

    value: str = ""
    style: str = ""

    @property
    def plain(self) -> bool:
        """Whether it is written without quotes."""
        return not self.style

    def place_of(self, line: int, column: int) -> tuple[int, int]:
        """Follow the text letter by letter through quotes, folds and indentation; where that fails, the start."""
        if line < 1:
            return self.line, self.column
        lines = self.value.split("\n")
        wanted = sum(len(text) + 1 for text in lines[: line - 1]) + column - 1
        raw = self.document.text[self.start : self.end]
        position = raw.find("\n") if self.style in ("|", ">") else len(self.style) - 1
        for letter in self.value[: wanted + 1].rstrip():
            if not letter.isspace():
                position = raw.find(letter, position + 1)
                if position < 0:
                    return self.line, self.column
        # A place at the end of the text, or at a space, is one past the last letter.
        offset = self.start + position + (wanted >= len(self.value) or self.value[wanted].isspace())
        return _within(self.document.text, offset)


@dataclass
class Sequence(Node):
    """A list as written."""

    items: list[Node] = field(default_factory=list)


@dataclass
class MappingNode(Node):
    """A mapping as written: keys in order, each once. `key` is what it stands under, where that is known."""

    entries: dict[str, Node] = field(default_factory=dict)
    keys: dict[str, Scalar] = field(default_factory=dict)
    key: Scalar | None = None

    def expect(self, known: tuple[str, ...], elsewhere: Mapping[str, str] | None = None) -> MappingNode:
        """Note every key that is not known; of those `elsewhere` it is known what to do instead."""
        unknown = [key for key in self.keys if key not in known]
        for key in unknown[:_MOST_UNKNOWN]:
            place = self.keys[key]
            hint = (elsewhere or {}).get(key) or _key_hint(key, known)
            place.problem(f"`{key}` is not a key of {self.name or 'a policy'}.", hint)
        if more := unknown[_MOST_UNKNOWN:]:
            message = f"From here on {len(more):,} more keys are none of {self.name or 'a policy'}."
            self.keys[more[0]].problem(message, f"Its keys are: {', '.join(known)}.")
        return self

    def take(self, key: str, reader: Callable[[Node], T], default: T) -> T:
        """What `reader` makes of the value of `key`; the default where the key is absent or its value wrong."""
        node = self.entries.get(key)
        if isinstance(node, MappingNode):
            node.key = self.keys[key]
        return default if node is None else node.called(self._full(key)).read(reader, default)

    def require(self, *keys: str, **such: str) -> None:
        """Note every key that is missing, and where it is known what to write; each of `such` is a key with that."""
        for key in (*keys, *such):
            if key in self.entries:
                continue
            message, hint = f"`{self._full(key)}` is missing.", such.get(key, "")
            if self.name:
                (self.key or self).problem(message, hint)
            else:
                self.document.problem(*self.document.end, message, hint)

    def _full(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key


def plain(text: str) -> str:
    """A message as it may be shown anywhere: on one line, of bounded length, without signs that steer a terminal."""
    text = (
        text
        if text.isprintable()
        else "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    )
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[: _LONGEST_MESSAGE - 3]}..."


def closest(word: str, known: tuple[str, ...]) -> str:
    """The known word that a wrong one was probably meant to be, or nothing."""
    return next(iter(difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)), "")


def _key_hint(key: str, known: tuple[str, ...]) -> str:
    before = key.split(":", 1)[0]
    if ":" in key and before in known:
        return f"Write a space after the colon: `{before}: ...`."
    close = closest(key, known)
    return f"Did you mean `{close}`?" if close else f"Its keys are: {', '.join(known)}."


def read_nodes(document: Document) -> Node | None:
    """Given a document, its root node; None where there is none. What YAML or this reader refuses is noted."""
    try:
        return _compose(document)
    except _Stop:
        return None
    except yaml.MarkedYAMLError as error:
        complaint = complaint_of(error, document.text)
        document.problem(*_within(document.text, complaint.offset), complaint.message, complaint.hint)
    except yaml.YAMLError as error:
        document.problem(1, 1, f"The file cannot be read as YAML: {str(error).splitlines()[0]}.")
    return None


def _within(text: str, offset: int) -> tuple[int, int]:
    """Line and column of an offset, or of the end where that is past it."""
    offset = min(offset, len(text))
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


class _Stop(Exception):
    """A problem was noted after which reading on makes no sense."""


_QUOTE_STAR = "Write the value out; a text that begins with `*` stands in quotes."
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def _compose(document: Document) -> Node | None:
    """Build nodes from events with a stack of our own, so that depth is bounded and nothing is resolved."""
    roots: list[Node] = []
    stack: list[tuple[Node, list[Node]]] = [(Node(document, 1, 1, 0, 0), roots)]
    for event in _events(document):
        if isinstance(event, yaml.ScalarEvent):
            stack[-1][1].append(_scalar(document, event))
        elif isinstance(event, yaml.DocumentStartEvent) and roots:
            _stop(document, event, "The file holds several documents.", "Write one policy a file, without `---`.")
        elif isinstance(event, yaml.CollectionStartEvent):
            if len(stack) > MAX_DEPTH:
                _stop(document, event, "The file is nested too deeply.", "")
            kind = MappingNode if isinstance(event, yaml.MappingStartEvent) else Sequence
            stack.append((kind(document, *_place(event)), []))
        elif isinstance(event, yaml.CollectionEndEvent):
            node, parts = stack.pop()
            stack[-1][1].append(_closed(node, parts))
    return roots[0] if roots else None


def _events(document: Document) -> Iterator[yaml.Event]:
    """The events of the text; anchors, aliases and tags are refused here."""
    for event in yaml.parse(document.text, Loader=_Loader):
        if isinstance(event, yaml.NodeEvent):
            _refuse(document, event)
        yield event


def _refuse(document: Document, event: yaml.NodeEvent) -> None:
    if isinstance(event, yaml.AliasEvent):
        _stop(document, event, f"`*{event.anchor}` is an alias of YAML; policies do not use it.", _QUOTE_STAR)
    if event.anchor:
        _stop(document, event, f"`&{event.anchor}` is an anchor of YAML; policies do not use it.", "Write it out.")
    if tag := str(getattr(event, "tag", None) or ""):
        tag = tag.replace("tag:yaml.org,2002:", "!!")
        hint = "A value that begins with `!` stands in quotes: '!registry.champion_moved'."
        _stop(document, event, f"`{tag}` is read as a tag of YAML; policies do not use it.", hint)


def _stop(document: Document, event: yaml.Event, message: str, hint: str) -> None:
    line, column, _, _ = _place(event)
    document.problem(line, column, message, hint)
    raise _Stop


def _place(event: yaml.Event) -> tuple[int, int, int, int]:
    start, end = cast("yaml.Mark", event.start_mark), cast("yaml.Mark", event.end_mark)
    return start.line + 1, start.column + 1, start.index, end.index


def _scalar(document: Document, event: yaml.ScalarEvent) -> Scalar:
    return Scalar(document, *_place(event), value=event.value, style=event.style or "")


def _closed(node: Node, parts: list[Node]) -> Node:
    if isinstance(node, Sequence):
        node.items = parts
    if isinstance(node, MappingNode):
        for key, value in zip(parts[::2], parts[1::2], strict=True):
            _enter(node, key, value)
    return node


def _enter(mapping: MappingNode, key: Node, value: Node) -> None:
    if not isinstance(key, Scalar):
        key.problem("A key must be a single word.", "Put a text that begins with `{` or `[` in quotes.")
    elif key.value == "<<":
        key.problem("`<<` is a merge key of YAML, which policies do not use.", "Write the keys out.")
    elif key.value in mapping.entries:
        first = mapping.keys[key.value]
        key.problem(f"`{key.value}` is written twice.", f"The first is in line {first.line}; keep one.")
    else:
        mapping.entries[key.value] = value
        mapping.keys[key.value] = key
