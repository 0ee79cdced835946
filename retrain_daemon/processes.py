"""Processes of one session, read from /proc: who lives, what memory they hold, how to end them all.

A worker leads a session of its own, so whatever it starts is found by that session even after the worker has ended.
Linux only. Nothing here knows what a worker is for.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_BOOT_ID = _PROC / "sys/kernel/random/boot_id"
_PAGE = os.sysconf("SC_PAGE_SIZE")
_DEAD = ("Z", "X")
_SHORT = 0.02


@dataclass(frozen=True)
class Identity:
    """One process for certain: a process id comes again, not with the same start (clock ticks) since the same boot."""

    pid: int
    started: int
    boot: str


def identify(pid: int) -> Identity | None:
    """The identity of a process that exists (a zombie does), else None."""
    stat = _stat(pid)
    return Identity(pid, int(stat[19]), _boot()) if stat else None


def lives(identity: Identity) -> bool:
    """Whether exactly this process still exists."""
    return identify(identity.pid) == identity


def members(session: int) -> tuple[int, ...]:
    """Process ids of a session, the leader included; zombies are dead and do not count."""
    return tuple(pid for pid in _processes() if _session(pid) == session and _alive(pid))


def memory(pids: tuple[int, ...], enough: int) -> int:
    """Bytes of resident memory that processes hold together, exact only above `enough`.

    The plain sum counts pages that forked processes share once for each of them. It is cheap and never too low, so
    only when it is above `enough` the proportional sizes, which share such pages out, are added up instead.
    """
    resident = sum(_resident(pid) for pid in pids)
    return resident if resident <= enough else sum(_proportional(pid) for pid in pids)


def end_session(session: int, grace: float) -> None:
    """Ask every process of a session to end, after `grace` seconds make them, and return when all are gone.

    The leader's end ends the grace for the rest. A process that may not be signalled (it changed its user) is left.
    """
    if grace > 0:
        _signal(members(session), signal.SIGTERM)
        deadline = time.monotonic() + grace
        while session in members(session) and time.monotonic() < deadline:
            time.sleep(_SHORT)
    while _signal(members(session), signal.SIGKILL):
        time.sleep(_SHORT)


def end_left_behind(leader: Identity, marks: frozenset[bytes]) -> None:
    """Kill members of the session of a leader that is gone, as far as their environment holds one of `marks`.

    A process id is not given out again while a session bears it, so members found under it can only be the leader's
    own or those of a later, also ended, leader of the same number: the marks tell these apart.
    """
    while _signal(_left_behind(leader, marks), signal.SIGKILL):
        time.sleep(_SHORT)


def out_of_memory_kills() -> int:
    """How many processes the kernel has ended for lack of memory since boot, 0 where it does not tell."""
    with contextlib.suppress(OSError):
        for line in (_PROC / "vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _left_behind(leader: Identity, marks: frozenset[bytes]) -> tuple[int, ...]:
    if leader.boot != _boot() or identify(leader.pid) is not None:
        return ()
    return tuple(pid for pid in members(leader.pid) if not marks.isdisjoint(_read(pid, "environ").split(b"\0")))


def _signal(pids: tuple[int, ...], number: signal.Signals) -> int:
    """Signal each process; how many took it."""
    taken = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
            taken += 1
    return taken


def _processes() -> tuple[int, ...]:
    return tuple(int(name) for name in os.listdir(_PROC) if name.isdigit())  # noqa: PTH208 (a scan every moment)


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _alive(pid: int) -> bool:
    stat = _stat(pid)
    return bool(stat) and stat[0] not in _DEAD


def _resident(pid: int) -> int:
    fields = _read(pid, "statm").split()
    return int(fields[1]) * _PAGE if fields else 0


def _proportional(pid: int) -> int:
    for line in _read(pid, "smaps_rollup").splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return _resident(pid)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the program's name, which may itself hold spaces and brackets."""
    return _read(pid, "stat").decode(errors="replace").rpartition(")")[2].split()


def _read(pid: int, name: str) -> bytes:
    """A file of a process; empty when the process is gone or may not be looked into."""
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""


def _boot() -> str:
    return _BOOT_ID.read_text().strip()
