"""What to write instead of what people try in rules: functions of other languages, parts of times, spans, numbers.

Texts in, texts out; which mistake was made is found in `complaints.py` and its neighbours.
"""

from __future__ import annotations

import math
import re

from retrain_daemon.core.rules.tokens import Sort, Token, is_decimal

SPAN = "Write a duration as days(7), hours(12) or minutes(30)."
MOMENT = 'Compare with a point in time, such as timestamp("2026-01-31T00:00:00Z"), or subtract two of them.'
VALUES = "Ask about its values: .exists(s, s < 0.8), .all(s, s < 0.8), or .filter(s, s < 0.8).size() >= 2."
WEEKDAYS = "Days of the week are numbers: 0 is Sunday, 1 Monday, 6 Saturday."

_UNITS = {
    "d": ("days", 1), "day": ("days", 1), "days": ("days", 1), "w": ("days", 7), "week": ("days", 7),
    "weeks": ("days", 7), "h": ("hours", 1), "hour": ("hours", 1), "hours": ("hours", 1), "m": ("minutes", 1),
    "min": ("minutes", 1), "minute": ("minutes", 1), "minutes": ("minutes", 1),
}  # fmt: skip
_SECONDS = frozenset({"s", "sec", "second", "seconds"})
_FINER = {"days": ("hours", 24), "hours": ("minutes", 60)}
_FUNCTIONS = {
    "len": "Write .size() behind the list: champion.scores.roc_auc.size() >= 3.",
    "count": "Write .filter(s, s < 0.8).size().",
    "max": "Ask for any: .exists(s, s > 0.8), or a > 0.8 || b > 0.8.",
    "min": "Ask for any: .exists(s, s < 0.8), or a < 0.8 || b < 0.8.",
    "abs": "Write both sides: x > 0.1 || x < -0.1.",
    "round": "Compare the number itself.",
    "range": "Write both ends: failures >= 1 && failures < 3.",
    "seconds": 'Write duration("30s").',
    "weeks": "Write days(14) for two weeks.",
    "months": "Write days(30).",
    "years": "Write days(365).",
    "date": 'Write timestamp("2026-01-31T00:00:00Z").',
    "datetime": 'Write timestamp("2026-01-31T00:00:00Z").',
    **dict.fromkeys(("mean", "avg", "average", "sum", "median"),
                    "champion.score.METRIC is the mean; of a list ask .filter(s, s < 0.8).size() >= 2."),
}  # fmt: skip
_PARTS_OF_MOMENTS = {
    **dict.fromkeys(("hour", "hours", "gethour"), "getHours()"),
    **dict.fromkeys(("minute", "minutes"), "getMinutes()"),
    **dict.fromkeys(("weekday", "dayofweek", "isoweekday", "getweekday"), "getDayOfWeek()"),
    **dict.fromkeys(("day", "date", "dayofmonth"), "getDate()"),
    "month": "getMonth()", "year": "getFullYear()",
}  # fmt: skip
_GETTERS = ("getHours", "getMinutes", "getSeconds", "getDayOfWeek", "getDate", "getDayOfMonth", "getDayOfYear",
            "getMonth", "getFullYear")  # fmt: skip


def span_of(number: str, unit: str) -> str:
    """The duration that a number with a unit behind it means, as a rule has it; nothing where it is none."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", number):
        return ""
    if unit in _SECONDS and "." not in number:
        return f'duration("{number}s")'
    name, times = _UNITS.get(unit, ("", 1))
    return _whole(name, float(number) * times) if name else ""


def _whole(name: str, amount: float) -> str:
    """Helper functions take whole numbers, so a part of a day is told in hours."""
    while not amount.is_integer() and name in _FINER:
        name, times = _FINER[name]
        amount = round(amount * times, 6)
    return f"{name}({math.ceil(amount)})"


def function_hint(name: str) -> str:
    """What a rule has for a function of another language; nothing where that is not known."""
    return _FUNCTIONS.get(name.lower(), "")


def part_hint(owner: str, part: str, of: str) -> str:
    """What to write instead of `owner.part`, where the owner is of CEL's type `of`."""
    getter = next((each for each in _GETTERS if each.lower() == part.lower()), "")
    if of == "google.protobuf.Timestamp":
        return f"Write {owner}.{getter + '()' if getter else _PARTS_OF_MOMENTS.get(part.lower(), 'getHours()')}."
    if of == "google.protobuf.Duration":
        unit = _UNITS.get(part.lower(), ("days", 1))[0]
        return f"Compare the whole of it: {owner} > {unit}(7)."
    if part in ("size", "length", "len", "count") and of.startswith(("list", "map", "string")):
        return f"Write {owner}.size()."
    return VALUES if of.startswith("list") else ""


def method_hint(name: str) -> str:
    """The same for a method that there is none of."""
    part = name.lower()
    close = _PARTS_OF_MOMENTS.get(part) or _PARTS_OF_MOMENTS.get(part.removeprefix("get"))
    if hint := function_hint(name):
        return hint
    if part in _UNITS:
        return (
            f"Compare a whole duration, as with {_UNITS[part][0]}(7); of a point in time write {close or 'getHours()'}."
        )
    return f"Of a point in time write {close}." if close else ""


def helper_hint(name: str, tokens: tuple[Token, ...], index: int) -> str:
    """What to write for a call of days, hours or minutes whose name is the token at `index`."""
    argument = tokens[index + 2] if index + 2 < len(tokens) else None
    if argument is None or argument.sort not in (Sort.NUMBER, Sort.QUOTED):
        return f"Write {name}(7)."
    return f"Write {span_of(argument.text.strip(chr(34) + chr(39)), name) or f'{name}(7)'}."


def span_hint(sign: str, beside: tuple[Token, ...]) -> str:
    """What to write for a duration, given an operator and the words beside it."""
    if sign in "*/%":
        return "Durations are added and compared only, such as champion.age > days(14)."
    for token in beside:
        if token.sort is Sort.QUOTED and (found := re.fullmatch(r"([\d.]+) ?([a-z]+)", token.text[1:-1])):
            return f"Write {span}." if (span := span_of(found[1], found[2])) else SPAN
        if token.sort is Sort.NUMBER and token.text.isdigit():
            number = token.text
            return (
                f'Write duration("{number}s") if these are seconds.'
                if len(number) > 3
                else f"Write days({number}), hours({number}) or minutes({number})."
            )
    return SPAN


def number_hint(sign: str, types: list[str], left: Token | None, right: Token | None) -> str:
    """Which of the two numbers beside an operator to write otherwise, and how; None is no single word."""
    for token in (left, right):
        if token is None or token.sort is not Sort.NUMBER:
            continue
        if not is_decimal(token):
            return f"Write {int(token.text, 0)}.0." if token.text[-1] not in "uU" else f"Write {token.text[:-1]}.0."
        if float(token.text).is_integer():
            return f"Write {int(float(token.text))}."
        if sign not in "+-*/%":
            return f"Write a whole number, such as {math.ceil(float(token.text))}."
    whole = left if types[0] == "int" else right
    named = whole.text if whole is not None and whole.sort is Sort.NAME else "..."
    return f"Write double({named})."
