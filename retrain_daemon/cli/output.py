"""How commands print: JSON for programs, tables and times for people."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH_WITHOUT_TERMINAL = 160


def print_json(value: object) -> None:
    """Print any value made of dataclasses, tuples and plain values; fields may be added in later versions."""
    print(TypeAdapter(object).dump_json(value, indent=2).decode())


def console() -> Console:
    """A console for standard output: wide enough for whole sentences where it is no terminal."""
    return Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL, highlight=False)


def print_table(titles: Sequence[str], rows: Iterable[Sequence[str]], title: str = "") -> None:
    """Print a table; cells are plain text, never markup."""
    table = Table(*titles, title=title or None, title_justify="left", show_edge=False, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console().print(table)


def moment(when: datetime | None) -> str:
    """A time as people read it, in UTC."""
    return f"{when:%Y-%m-%d %H:%M:%S}" if when else "-"


def span(length: timedelta | None) -> str:
    """A length of time, roughly: two units at most."""
    if length is None:
        return "-"
    seconds = int(length.total_seconds())
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    parts = []
    for name, size in units:
        count, seconds = divmod(seconds, size)
        parts += [f"{count}{name}"] if count else []
    return " ".join(parts[:2]) or "0s"
