"""`data.expect` of a policy: what every file must show in single columns.

How files are measured by it is in `worker/expected.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from retrain_daemon.core.policy import Bound, Expectation
from retrain_daemon.policies.nodes import MappingNode, Node, Scalar, Wrong
from retrain_daemon.policies.units import anything, mapping, number, sequence, share, word

Value = str | int | float | bool

_KEYS = ("at_least", "at_most", "values", "missing")
_NO_VALUES: tuple[Value, ...] = ()
_NOTHING: tuple[Expectation, ...] = ()


def read_expectations(node: Node) -> tuple[Expectation, ...]:
    """Given the `data.expect` mapping of columns, its value; what is wrong is noted."""
    section = mapping(node)
    if not section.entries:
        raise Wrong(f"`{node.name}` is empty.", "Write {COLUMN: {at_least: 0}}, or leave it out.")
    for key in section.keys.values():
        key.called(f"a column of {node.name}").read(word, "")
    found = (section.take(column, _reader(column), _NOTHING) for column in section.entries)
    return tuple(each for one in found for each in one)


def _reader(column: str) -> Callable[[Node], tuple[Expectation, ...]]:
    def read(node: Node) -> tuple[Expectation, ...]:
        if not isinstance(node, MappingNode):
            raise Wrong(f"`{node.name}` must say what is expected.", "Write {at_least: 0, at_most: 120, missing: 5%}.")
        return (_expectation(column, node),)

    return read


def _expectation(column: str, section: MappingNode) -> Expectation:
    section.expect(_KEYS)
    if not section.entries.keys() & set(_KEYS):
        section.problem(f"`{section.name}` expects nothing.", f"Write one of {', '.join(_KEYS)}.")
    expected = Expectation(
        column=column,
        at_least=section.take("at_least", _bound, None),
        at_most=section.take("at_most", _bound, None),
        values=section.take("values", _values, _NO_VALUES),
        missing=section.take("missing", share(0.0, 1.0), None),
    )
    _check(section, expected)
    return expected


def _bound(node: Node) -> Bound:
    """A number, or a date or time, which a column of dates is compared with."""
    if isinstance(node, Scalar) and (found := _moment(node.value)) is not None:
        return found
    try:
        return number(node)
    except Wrong as wrong:
        raise Wrong(wrong.message, f"{wrong.hint} A date is written 2026-01-31.".lstrip()) from None


def _moment(written: str) -> datetime | None:
    """A date or time in UTC; None for what is none, and for digits alone, which are a number."""
    if written.isdigit():
        return None
    try:
        found = datetime.fromisoformat(written)
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _values(node: Node) -> tuple[Value, ...]:
    if isinstance(node, Scalar):
        raise Wrong(f"`{node.name}` must be a list of values.", f"Write [{node.value}].")
    values = tuple(_value(item) for item in sequence(node))
    twice = next((value for value in values if [str(each) for each in values].count(str(value)) > 1), None)
    if twice is not None:
        raise Wrong(f"`{node.name}` names `{twice}` twice.", "Name each value once.")
    return values


def _value(node: Node) -> Value:
    value = anything(node)
    if value is None or value == "":
        raise Wrong(f"`{node.name}` names no value as a value.", "How many may be missing is said by `missing: 5%`.")
    return value


def _check(section: MappingNode, expected: Expectation) -> None:
    """Note bounds that no value can be within, and values beside bounds."""
    low, high = expected.at_least, expected.at_most
    if expected.values and (low is not None or high is not None):
        message = f"`{section.name}` has both values and bounds."
        section.entries["values"].problem(message, "Write the values alone, or the bounds.")
    if low is None or high is None:
        return
    if isinstance(low, datetime) is not isinstance(high, datetime):
        section.entries["at_most"].problem(
            f"`{section.name}` has a number and a date as bounds.", "Write two of a kind."
        )
    elif _order(low) > _order(high):
        section.entries["at_most"].problem(f"`{section.name}.at_most` is below at_least.", "No value is within them.")


def _order(bound: Bound) -> float:
    return bound.timestamp() if isinstance(bound, datetime) else bound
