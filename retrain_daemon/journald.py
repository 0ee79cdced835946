"""The systemd journal's own protocol: an entry as fields, by which `journalctl` can be asked for it.

Which fields an event has is not known here.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"

_SEND_SECONDS = 1.0


def send(fields: Mapping[str, str], address: str = SOCKET) -> bool:
    """Hand an entry to the journal; returns whether it took it. One too long for a datagram it does not take."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
            end.settimeout(_SEND_SECONDS)
            end.sendto(written(fields), address)
    except OSError:
        return False
    return True


def written(fields: Mapping[str, str]) -> bytes:
    """An entry as the journal reads it: NAME=value, or with the length where a value has lines of its own."""
    return b"".join(_field(field_name(name), value.encode(errors="replace")) for name, value in fields.items())


def field_name(name: str) -> str:
    """A name as fields may have one: capitals, digits and underscores, the first a letter, 64 at most."""
    return re.sub(r"^[^A-Z]+", "", re.sub(r"[^A-Z0-9]", "_", name.upper()))[:64] or "UNNAMED"


def _field(name: str, value: bytes) -> bytes:
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
