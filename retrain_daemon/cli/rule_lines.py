"""How commands print a rule: its parts with their values, and when it could hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from retrain_daemon.core.decide import RuleReport
from retrain_daemon.core.rules.anatomy import Joint
from retrain_daemon.core.rules.forecast import Forecast
from retrain_daemon.core.rules.parts import Part

_MARKS: Mapping[bool | None, str] = {True: "yes", False: "no ", None: "?  "}
_STATES: Mapping[bool | None, str] = {True: "holds", False: "does not hold", None: "unknown"}
_JOINED = {Joint.ANY: "one of these", Joint.ALL: "all of these"}
_NO_REASONS: Mapping[str, str] = {}


def rule_lines(rule: RuleReport, reasons: Mapping[str, str] = _NO_REASONS) -> Iterator[str]:
    """One rule with its parts. `reasons` say by fact why it is not known."""
    yield f"{rule_headline(rule)}{'' if rule.parts else f': {rule.when}'}"
    for part in rule.parts:
        yield from _part_lines(part, reasons, "  ")
    if not rule.parts:
        yield from _without_parts(rule)


def rule_headline(rule: RuleReport) -> str:
    """One rule and whether it holds."""
    return f"rule “{rule.name}”: {_STATES[rule.holds]}{' (observed only: it starts nothing)' if rule.observe else ''}"


def _without_parts(rule: RuleReport) -> Iterator[str]:
    """As journals of before parts have it."""
    told = tuple(text.split(" ", 1)[0] for text in rule.shortfalls)
    yield from (f"  {name} is {value}" for name, value in rule.values if name not in told)
    yield from (f"  {text}" for text in rule.shortfalls)
    if rule.problem:
        yield f"  {rule.problem}"


def _part_lines(part: Part, reasons: Mapping[str, str], margin: str) -> Iterator[str]:
    text = _JOINED.get(part.joint) or " ".join(part.text.split())
    said = _said(part, reasons)
    yield f"{margin}{_MARKS[part.holds]}  {text}{f': {said}' if said else ''}"
    for each in part.parts:
        yield from _part_lines(each, reasons, f"{margin}  ")


def _said(part: Part, reasons: Mapping[str, str]) -> str:
    """What a part looks at, or why it is not known."""
    if part.parts:
        return ""
    if part.holds is None and part.missing == (part.text,) and part.text in reasons:
        return f"not known: {reasons[part.text]}"
    if part.holds is None:
        return "not known: " + ("; ".join(_missing(part.missing, reasons)) or part.problem)
    value = f"{part.value} against {part.against}" if part.against else part.value
    compared = ", ".join(filter(None, (value, part.gap)))
    return f"{compared} ({part.detail})" if compared and part.detail else compared or part.detail


def _missing(names: tuple[str, ...], reasons: Mapping[str, str]) -> Iterator[str]:
    """Each reason once, after the facts that it is the reason for."""
    told: dict[str, list[str]] = {}
    for name in names:
        told.setdefault(reasons.get(name, ""), []).append(name)
    for reason, same in told.items():
        yield f"{', '.join(same)}{f' ({reason})' if reason else ''}"


def forecast_line(expected: Forecast) -> str:
    """When a rule that does not hold could."""
    if expected.at is not None:
        return f"time alone makes it hold from {weekday(expected.at)}"
    before = f"not before {weekday(expected.not_before)}" if expected.not_before else ""
    if not expected.waits_for:
        return f"nothing that can be foreseen makes it hold{f', and {before}' if before else ''}"
    waits = f"time alone does not make it hold: it waits for {', '.join(expected.waits_for)}"
    return f"{waits}, and {before}" if before else waits


def weekday(moment: datetime) -> str:
    """A moment in UTC with its day of the week."""
    return f"{moment:%A %Y-%m-%d %H:%M} UTC"
