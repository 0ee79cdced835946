"""What the record batches of an Arrow file will need before any is read: a compressed one may unfold to anything.

Arrow's readers unpack a batch whole and say its size afterwards, so the few fields that tell are read here from the
messages themselves, as the columnar format's specification lays them out (flatbuffers).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_CONTINUATION = 0xFFFFFFFF
_METADATA_BYTES = 256 * 2**20
_DICTIONARY, _RECORDS = 2, 3


class Damaged(Exception):
    """The messages are not laid out as they must be."""


@dataclass(frozen=True)
class BatchSize:
    """Rows of one batch, or of a dictionary, and the bytes that its buffers unfold to."""

    rows: int
    unfolded: int
    dictionary: bool


def sizes_in_file(stream: BinaryIO) -> Iterator[BatchSize]:
    """The batches of an Arrow file (feather version 2), as its footer lists them. Raises Damaged."""
    end = stream.seek(0, 2)
    stream.seek(max(end - 10, 0))
    tail = stream.read(10)
    if len(tail) < 10 or tail[4:] != b"ARROW1":
        raise Damaged("the footer is missing")
    length = struct.unpack("<i", tail[:4])[0]
    if not 0 < length <= min(end - 10, _METADATA_BYTES):
        raise Damaged("the footer has no sensible length")
    stream.seek(end - 10 - length)
    footer = _Table.root(stream.read(length))
    for field in (2, 3):
        for place in footer.structs(field, 24):
            offset, metadata, _ = struct.unpack_from("<qi4xq", footer.data, place)
            if not 0 <= offset < end or not 0 < metadata <= _METADATA_BYTES:
                raise Damaged("a block is outside the file")
            stream.seek(offset)
            message = _message(stream)
            if message is None:
                raise Damaged("a block is empty")
            yield from _size(stream, *message)


def sizes_in_stream(stream: BinaryIO) -> Iterator[BatchSize]:
    """The batches of an Arrow stream from its beginning to its end. Raises Damaged."""
    end = stream.seek(0, 2)
    stream.seek(0)
    while message := _message(stream):
        table, body = message
        start = stream.tell()
        yield from _size(stream, table, body)
        if not 0 <= body <= end - start:
            raise Damaged("a batch is cut short")
        stream.seek(start + body)


def _message(stream: BinaryIO) -> tuple[_Table, int] | None:
    """The next message and the length of the body that follows it; None at the end of the stream."""
    head = stream.read(4)
    if head == struct.pack("<I", _CONTINUATION):
        head = stream.read(4)
    if not head:
        return None
    if len(head) < 4:
        raise Damaged("a message is cut short")
    length = struct.unpack("<i", head)[0]
    if length == 0:
        return None
    if not 0 < length <= _METADATA_BYTES:
        raise Damaged("a message has no sensible length")
    data = stream.read(length)
    if len(data) < length:
        raise Damaged("a message is cut short")
    table = _Table.root(data)
    return table, table.number(3, "<q")


def _size(stream: BinaryIO, message: _Table, body: int) -> Iterator[BatchSize]:
    kind = message.number(1, "<B")
    if kind not in (_DICTIONARY, _RECORDS):
        return
    header = message.table(2)
    batch = header.table(1) if kind == _DICTIONARY else header
    rows = batch.number(0, "<q")
    if rows < 0:
        raise Damaged("a batch has fewer than no rows")
    yield BatchSize(rows, _unfolded(stream, batch, body), kind == _DICTIONARY)


def _unfolded(stream: BinaryIO, batch: _Table, body: int) -> int:
    """Bytes of all buffers: of a compressed one those that its first 8 bytes announce."""
    compressed = bool(batch.place(3))
    start, total = stream.tell(), 0
    for place in batch.structs(2, 16):
        offset, length = struct.unpack_from("<qq", batch.data, place)
        if offset < 0 or length < 0 or offset + length > body:
            raise Damaged("a buffer is outside its batch")
        announced = length
        if compressed and length >= 8:
            stream.seek(start + offset)
            announced = max(struct.unpack("<q", stream.read(8).ljust(8, b"\0"))[0], length)
        total += announced
    return total


@dataclass(frozen=True)
class _Table:
    """One table of a flatbuffer: fields by number, absent ones 0. Raises Damaged where a place is outside the data."""

    data: bytes
    at: int

    @classmethod
    def root(cls, data: bytes) -> _Table:
        """The table that a buffer begins with."""
        return cls(data, _number(data, 0, "<I"))

    def place(self, field: int) -> int:
        """Where a field lies; 0 if it is absent."""
        vtable = self.at - _number(self.data, self.at, "<i")
        entry = 4 + 2 * field
        offset = _number(self.data, vtable + entry, "<H") if entry < _number(self.data, vtable, "<H") else 0
        return self.at + offset if offset else 0

    def number(self, field: int, form: str) -> int:
        """The number in a field."""
        place = self.place(field)
        return _number(self.data, place, form) if place else 0

    def table(self, field: int) -> _Table:
        """The table that a field points to."""
        place = self.place(field)
        if not place:
            raise Damaged("a table is missing")
        return _Table(self.data, place + _number(self.data, place, "<I"))

    def structs(self, field: int, size: int) -> range:
        """Where the structs of a vector lie, each of `size` bytes."""
        place = self.place(field)
        if not place:
            return range(0)
        vector = place + _number(self.data, place, "<I")
        count = _number(self.data, vector, "<I")
        if vector + 4 + count * size > len(self.data):
            raise Damaged("a vector is longer than its message")
        return range(vector + 4, vector + 4 + count * size, size)


def _number(data: bytes, place: int, form: str) -> int:
    if place < 0 or place + struct.calcsize(form) > len(data):
        raise Damaged("a message points outside itself")
    return int(struct.unpack_from(form, data, place)[0])
