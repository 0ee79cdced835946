"""The tree of a checked expression: which operator or function stands where, and which names are declared ones.

Decodes cel.expr.CheckedExpr from its protobuf wire format. Only what taking a condition apart needs: calls, their
arguments and places, and the names of references; everything else is passed by. No class for this message is in any
package of the daemon, and the message's field numbers are part of CEL's specification.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

# Field numbers of google.protobuf.Any, CheckedExpr, Reference, SourceInfo, Expr, Expr.Call, and of entries of maps.
_ANY_VALUE = 2
_REFERENCES, _EXPRESSION, _SOURCE_INFO = 2, 4, 5
_REFERENCE_NAME, _OVERLOAD = 1, 3
_POSITIONS = 4
_ID, _CALL = 2, 6
_TARGET, _FUNCTION, _ARGUMENT = 1, 2, 3
_KEY, _VALUE = 1, 2

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


@dataclass(frozen=True)
class Node:
    """A call of an operator such as `_&&_`, or of a function, at a place counted in characters; without a `function` it
    is something else, such as a name or a loop. The receiver of a method is its first argument.
    """

    function: str
    place: int
    arguments: tuple[Node, ...] = ()


def tree_of(checked: bytes) -> Node:
    """Given a serialized CheckedExpr, wrapped in an Any, its outermost node."""
    message = _first(checked, _ANY_VALUE)
    positions = dict(map(_position, _all(_first(message, _SOURCE_INFO), _POSITIONS)))
    return _node(_first(message, _EXPRESSION), positions)


def references_of(checked: bytes) -> frozenset[str]:
    """Given the same, the names that it refers to: declared ones, and variables of its loops."""
    references = (_first(entry, _VALUE) for entry in _all(_first(checked, _ANY_VALUE), _REFERENCES))
    return frozenset(_first(each, _REFERENCE_NAME).decode() for each in references if not _first(each, _OVERLOAD))


def _node(expression: bytes, positions: dict[int, int]) -> Node:
    place = positions.get(_number(expression, _ID), 0)
    call = _first(expression, _CALL)
    if not call:
        return Node("", place)
    inner = (*_all(call, _TARGET), *_all(call, _ARGUMENT))
    return Node(_first(call, _FUNCTION).decode(), place, tuple(_node(each, positions) for each in inner))


def _position(entry: bytes) -> tuple[int, int]:
    return _number(entry, _KEY), _number(entry, _VALUE)


def _all(message: bytes, field: int) -> Iterator[bytes]:
    return (value for number, value in _fields(message) if number == field and isinstance(value, bytes))


def _first(message: bytes, field: int) -> bytes:
    return next(_all(message, field), b"")


def _number(message: bytes, field: int) -> int:
    """Zeros are left out of a message."""
    found = (value for number, value in _fields(message) if number == field and isinstance(value, int))
    return next(found, 0)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        number, sort = tag >> 3, tag & 7
        if sort == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        size, at = _size(message, at, sort)
        yield number, message[at : at + size]
        at += size


def _size(message: bytes, at: int, sort: int) -> tuple[int, int]:
    """How many bytes a value takes, and where it begins; raises ValueError for what the format does not have."""
    if sort == _BYTES:
        return _varint(message, at)
    sizes = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}
    if sort not in sizes:
        raise ValueError(f"wire type {sort} at byte {at}")
    return sizes[sort], at


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message):
            raise ValueError(f"a number ends at byte {at}")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
