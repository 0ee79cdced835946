"""Cron lines: five fields as POSIX has them, with steps and names; what other crons add is refused by name.

Pure given the text. When a line fires is computed in `core/slots.py`.
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass

from retrain_daemon.policies.nodes import Node, Wrong
from retrain_daemon.policies.units import shown_text, text

_LONGEST = 500
_SUCH = "Write minute, hour, day of the month, month and day of the week, such as `0 3 * * sun`."
_NICKNAMES = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip


@dataclass(frozen=True)
class _Field:
    """One of the five: what it is called, its bounds, and names that stand for numbers from `first_name` on."""

    name: str
    least: int
    most: int
    names: tuple[str, ...] = ()
    first_name: int = 0


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, tuple(calendar.month_abbr[number].lower() for number in range(1, 13)), 1),
    _Field("day of the week", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)
_HINTS = {
    ("hour", 24): "Midnight is hour 0.",
    ("minute", 60): "The full hour is minute 0.",
    ("month", 0): "January is 1.",
}


def read_cron(node: Node) -> str:
    """A cron line, in lower case and with single spaces; one that never fires is a problem."""
    written = text(node)
    line = " ".join(written.lower().split())
    if line.startswith("@"):
        raise Wrong(f"`{node.name}` is `{shown_text(line)}`, which is no cron line.", _instead_of(line))
    fields = line.split(" ")
    if len(line) > _LONGEST:
        raise Wrong(f"`{node.name}` has more than {_LONGEST} letters.", _SUCH)
    if len(fields) != len(_FIELDS):
        number = "1 field" if len(fields) == 1 else f"{len(fields)} fields"
        raise Wrong(f"`{node.name}` has {number}; a cron line has five.", _count_hint(fields))
    try:
        values = [_values(field, part) for field, part in zip(_FIELDS, fields, strict=True)]
    except Wrong as wrong:
        raise Wrong(f"`{node.name}`: {wrong.message}", wrong.hint) from None
    _refuse_never(node, fields, values)
    return line


def _instead_of(line: str) -> str:
    if line in _NICKNAMES:
        return f'Write "{_NICKNAMES[line]}".'
    return 'Write how often by five fields: "*/15 * * * *" is every quarter of an hour.' if "every" in line else _SUCH


def _count_hint(fields: list[str]) -> str:
    if len(fields) == len(_FIELDS) + 1:
        return f'There are no seconds: "{" ".join(fields[1:])}" leaves the first field out.'
    return _SUCH


def _values(field: _Field, part: str) -> frozenset[int]:
    """The numbers that a field stands for."""
    found: set[int] = set()
    for item in part.split(","):
        base, slash, step = item.partition("/")
        numbers = _numbers(field, base, stepped=bool(slash))
        found.update(numbers[:: _step(field, step)] if slash else numbers)
    return frozenset(found)


def _numbers(field: _Field, base: str, *, stepped: bool) -> range:
    if base == "*":
        return range(field.least, field.most + 1)
    _refuse_foreign(field, base)
    first, dash, last = base.partition("-")
    begin = _number(field, first)
    if stepped and not dash:
        raise Wrong(f"A step needs a range; `{shown_text(base)}` is a single {field.name}.",
                    f"Write `{shown_text(base)}-{field.most}/...`.")  # fmt: skip
    end = _number(field, last) if dash else begin
    if end < begin:
        hint = f"Write two ranges: `{shown_text(first)}-{field.most},{field.least}-{shown_text(last)}`."
        if field.names and first in field.names:
            hint = "Name the days one by one, separated by commas." if field.most == 7 else "Write two ranges."
        raise Wrong(f"The range `{shown_text(base)}` goes backwards.", hint)
    return range(begin, end + 1)


def _number(field: _Field, word: str) -> int:
    if word in field.names:
        return field.names.index(word) + field.first_name
    if not re.fullmatch(r"[0-9]{1,4}", word):
        raise Wrong(f"`{shown_text(word)}` is no {field.name}.", _name_hint(field, word))
    number = int(word)
    if not field.least <= number <= field.most:
        hint = _HINTS.get((field.name, number), f"It goes from {field.least} to {field.most}.")
        raise Wrong(f"{number} is no {field.name}.", hint)
    return number


def _name_hint(field: _Field, word: str) -> str:
    if word[:3] in field.names:
        return f"Write `{word[:3]}`."
    names = f", or {field.names[0]} to {field.names[-1]}" if field.names else ""
    return f"Write numbers from {field.least} to {field.most}{names}."


def _step(field: _Field, word: str) -> int:
    most = field.most - field.least
    if not re.fullmatch(r"[0-9]{1,4}", word) or not 1 <= int(word) <= most:
        hint = f"For the field “{field.name}” write a whole number from 1 to {most} after the `/`."
        raise Wrong(f"The step `{shown_text(word)}` is not possible.", hint)
    return int(word)


def _refuse_foreign(field: _Field, base: str) -> None:
    """What crons beyond POSIX have, each with what says the same here."""
    if "?" in base:
        raise Wrong("`?` belongs to other crons.", "Write `*`.")
    if "#" in base:
        hint = "Write the days of the month, such as 1-7, and ask for the day of the week in the rule:"
        raise Wrong("`#` belongs to other crons.", f"{hint} `now.getDayOfWeek() == 1`.")
    if re.fullmatch(r"l|lw|l-[0-9]+|[0-9]+[lw]|[a-z]{3}l", base) and base not in field.names:
        raise Wrong(f"`{shown_text(base.upper())}` belongs to other crons.",
                    "Write the first day of the month, `0 3 1 * *`, or a day that each month has.")  # fmt: skip


def _refuse_never(node: Node, fields: list[str], values: list[frozenset[int]]) -> None:
    """Where only the day of the month counts, a month must have one of these days."""
    _, _, days, months, _ = values
    either = not fields[2].startswith("*") and not fields[4].startswith("*")
    longest = max(29 if month == 2 else calendar.monthrange(2024, month)[1] for month in months)
    if not either and min(days) > longest:
        message = f"`{node.name}` never fires: none of its months has a day {min(days)}."
        raise Wrong(message, "Write a day that there is.")
