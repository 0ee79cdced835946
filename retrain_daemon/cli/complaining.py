"""Problems of policy files as text with excerpts, as JSON, and as annotations of GitHub.

What is wrong with a file is found in `policies/`; here it is only shown.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from retrain_daemon.cli.excerpts import end_of, excerpt
from retrain_daemon.policies import Problem
from retrain_daemon.policies.file import MAX_BYTES
from retrain_daemon.secrets import has_credentials

#: Of one file so many are printed; the rest are counted.
MOST = 100
_COLOURS = {"error": "\x1b[1;31m", "warning": "\x1b[1;33m", "place": "\x1b[1m", "number": "\x1b[2m"}
_PLAIN = "\x1b[0m"


@dataclass(frozen=True)
class Said:
    """A problem with the line it is about, empty where that is not known."""

    problem: Problem
    line: str

    @property
    def severity(self) -> str:
        """As programs read it."""
        return "warning" if self.problem.warning else "error"

    @property
    def end(self) -> int:
        """The column one past the word it is about; 0 where no place is known."""
        return end_of(self.line, self.problem.column) if self.line else self.problem.column


def with_lines(problems: Iterable[Problem]) -> list[Said]:
    """Problems in the order of files and places, with the lines they are about."""
    ordered = sorted(problems, key=lambda each: (each.file, each.line, each.column, each.warning))
    said: list[Said] = []
    for file, group in groupby(ordered, key=lambda each: each.file):
        lines = _lines(file)
        said += [Said(each, lines[each.line - 1] if 0 < each.line <= len(lines) else "") for each in group]
    return said


def _lines(file: str) -> list[str]:
    """The lines of a file as columns are counted in them, empty where one holds credentials: what is printed may be
    kept by CI. None if the file cannot be read again, or holds no text.
    """
    try:
        with Path(file).open("rb") as stream:
            text = stream.read(MAX_BYTES).decode("utf-8", "replace")
    except (OSError, ValueError):
        return []
    lines = (line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n"))
    return ["" if has_credentials(line) else line for line in lines]


def print_problems(said: list[Said], colours: bool) -> None:
    """Print each with the line it is about and a caret under the place."""
    for file, group in groupby(said, key=lambda each: each.problem.file):
        found = list(group)
        for each in found[:MOST]:
            print("\n".join(_as_text(each, colours)))
        if len(found) > MOST:
            print(f"{file}: and {len(found) - MOST:,} more.")


def wants_colours(environment: Mapping[str, str]) -> bool:
    """Whether standard output is a terminal that shows colours, and nobody asked for none."""
    return sys.stdout.isatty() and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"


def _as_text(said: Said, colours: bool) -> Iterator[str]:
    paint = _painted if colours else _unpainted
    problem = said.problem
    place = f"{problem.file}:{problem.line}:{problem.column}:" if problem.line else f"{problem.file}:"
    kind = paint("warning: ", "warning") if problem.warning else ""
    yield f"{paint(place, 'place')} {kind}{problem.message} {problem.hint}".rstrip()
    if said.line.strip():
        shown = excerpt(said.line, problem.column)
        number = f"{problem.line:>6} | "
        yield f"{paint(number, 'number')}{shown.line}"
        yield f"{paint(f'{chr(32) * 6} | ', 'number')}{paint(shown.caret, said.severity)}"


def _painted(text: str, colour: str) -> str:
    return f"{_COLOURS[colour]}{text}{_PLAIN}"


def _unpainted(text: str, colour: str) -> str:
    return text


def print_json(said: list[Said]) -> None:
    """Print a list of objects. Line 0 is the file as a whole; fields may be added in later versions."""
    found = [
        {
            "file": each.problem.file,
            "line": each.problem.line,
            "column": each.problem.column,
            "end_column": each.end,
            "severity": each.severity,
            "message": each.problem.message,
            "hint": each.problem.hint,
        }
        for each in said
    ]
    print(json.dumps(found, indent=2, ensure_ascii=True))


def print_annotations(said: list[Said]) -> None:
    """Print workflow commands that GitHub shows beside the lines of a change."""
    for each in said:
        problem = each.problem
        properties = {"file": _from_here(problem.file), "title": "retraind check"}
        if problem.line:
            properties |= {"line": str(problem.line), "col": str(problem.column), "endColumn": str(each.end)}
        listed = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
        print(f"::{each.severity} {listed}::{_data(f'{problem.message} {problem.hint}'.strip())}")


def _from_here(file: str) -> str:
    """Relative to the working directory where it lies in it, as GitHub takes it."""
    relative = os.path.relpath(file)
    return str(Path(file).absolute()) if relative.startswith("..") else relative


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
