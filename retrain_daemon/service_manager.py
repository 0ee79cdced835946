"""Tells the service manager how the daemon does: systemd's notify protocol, which is text in a datagram.

When something is told is the loop's business. Nothing here may fail or block for long: a message that does not get
through is as good as none.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress

#: What a service manager gives to its main process alone. A child that had them could speak in its name.
VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC")

_SEND_SECONDS = 1.0
_LONGEST_STATUS = 400
#: So many turns fall into one watchdog interval at least.
_TURNS = 3


class ServiceManager:
    """Whoever started this process and wants to know how it does; nobody, where NOTIFY_SOCKET is not set.

    `pause` is for how many seconds the loop may sleep between two turns, infinite without a watchdog.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = _address(environment.get("NOTIFY_SOCKET", ""))
        watchdog = _watchdog_seconds(environment)
        self._watched = math.isfinite(watchdog)
        self.pause = watchdog / _TURNS
        self._status = ""

    def ready(self) -> None:
        """The start, or a reload, is done."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it. May be called from a signal handler."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The end has begun."""
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for people, told when it is another than before."""
        line = " ".join(text.split())[:_LONGEST_STATUS]
        if line != self._status:
            self._status = line
            self._tell(f"STATUS={line}")

    def turned(self) -> None:
        """The loop has finished a turn: a sign of life, where a watchdog waits for one."""
        if self._watched:
            self._tell("WATCHDOG=1")

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
            end.settimeout(_SEND_SECONDS)
            end.sendto(message.encode(errors="replace"), self._address)


def _address(named: str) -> str:
    """The address of a socket; "@" begins the name of an abstract one. "" for one that cannot be spoken to."""
    if named.startswith("@"):
        return "\0" + named[1:]
    return named if named.startswith("/") else ""


def _watchdog_seconds(environment: Mapping[str, str]) -> float:
    """Within how many seconds a sign of life is expected of this process; infinite where none is."""
    meant_for, microseconds = environment.get("WATCHDOG_PID", ""), environment.get("WATCHDOG_USEC", "")
    if meant_for not in ("", str(os.getpid())) or not microseconds.isdecimal() or int(microseconds) == 0:
        return math.inf
    return int(microseconds) / 1e6
