"""Processes, read from /proc: which belong to a worker, what memory they hold, how to end them all.

A worker leads a session of its own and bears a mark in its environment, so whatever it starts is found even after the
worker has ended. Linux only. Nothing here knows what a worker is for.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from retrain_daemon.shortage import is_shortage

_PROC = Path("/proc")
_BOOT_ID = _PROC / "sys/kernel/random/boot_id"
_PAGE = os.sysconf("SC_PAGE_SIZE")
_DEAD = ("Z", "X")
_PARENT, _SESSION, _STARTED = 1, 3, 19  # fields of /proc/PID/stat after the program's name
_SHORT = 0.02
_KERNEL_THREADS = 2  # their parent, where they are seen at all
#: What helpers of multiprocessing and loky are started with that remove shared memory when its users are gone.
_TRACKER = b"resource_tracker"
_SECONDS_TO_TIDY = 1.0


@dataclass(frozen=True)
class Identity:
    """One process for certain: a process id comes again, not with the same start (clock ticks) since the same boot."""

    pid: int
    started: int
    boot: str


def identify(pid: int) -> Identity | None:
    """The identity of a process that exists (a zombie does), else None."""
    stat = _stat(pid)
    return Identity(pid, int(stat[_STARTED]), _boot()) if stat else None


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


class Family:
    """A worker and all that descends from it: its session, those that bear its mark, and whatever these started.

    A process that left the session is known by the mark, which it inherited; one that also dropped its environment by
    its parent, as long as that lives or was seen alive once.
    """

    def __init__(self, leader: int, mark: bytes) -> None:
        self._leader = leader
        self._mark = mark
        self._ours: set[tuple[int, str]] = set()
        self._strangers: set[int] = set()

    def members(self) -> tuple[int, ...]:
        """Process ids of those alive; zombies are dead and do not count."""
        seen = set(_processes())
        # Who was a stranger at the last look stays one: the mark and the session come with birth only.
        self._strangers &= seen
        stats = {pid: stat for pid in seen - self._strangers if (stat := _stat(pid))}
        ours = {pid for pid, stat in stats.items() if self._belongs(pid, stat)}
        grown = True
        while grown:
            children = {pid for pid, stat in stats.items() if int(stat[_PARENT]) in ours} - ours
            ours |= children
            grown = bool(children)
        self._ours = {(pid, stats[pid][_STARTED]) for pid in ours}
        self._strangers |= {pid for pid, stat in stats.items() if pid not in ours and _is_settled(pid, stat)}
        return tuple(sorted(pid for pid in ours if stats[pid][0] not in _DEAD))

    def _belongs(self, pid: int, stat: list[str]) -> bool:
        if self._leader in (pid, int(stat[_SESSION])) or (pid, stat[_STARTED]) in self._ours:
            return True
        return self._mark in _environment(pid)

    def end(self, grace: float) -> None:
        """Ask all to end, after `grace` seconds make them, and return when all are gone."""
        _end(self.members, self._leader, grace)


def bearers(mark: bytes) -> tuple[int, ...]:
    """Live processes, but this one, with `mark` in their environment."""
    marked = (pid for pid in _processes() if mark in _environment(pid))
    return tuple(pid for pid in marked if pid != os.getpid() and _alive(pid))


def kill(find: Callable[[], tuple[int, ...]]) -> None:
    """Kill whoever is found until nobody is. A process that may not be signalled (it changed its user) is left.

    Those that remove shared memory when its users are gone are left a moment to do so.
    """
    deadline = time.monotonic() + _SECONDS_TO_TIDY
    while (found := find()) and time.monotonic() < deadline:
        users = tuple(pid for pid in found if _is_known_user(pid))
        if users and not _signal(users, signal.SIGKILL):
            break
        time.sleep(_SHORT)
    while _signal(find(), signal.SIGKILL):
        time.sleep(_SHORT)


def _is_known_user(pid: int) -> bool:
    """Whether a process is none of those that tidy up; in the middle of an exec there is no telling yet."""
    command = _read(pid, "cmdline")
    return bool(command) and _TRACKER not in command


def end_session(session: int, grace: float) -> None:
    """Ask every process of a session to end, after `grace` seconds make them, and return when all are gone.

    The leader's end ends the grace for the rest.
    """
    _end(lambda: members(session), session, grace)


def _end(find: Callable[[], tuple[int, ...]], leader: int, grace: float) -> None:
    if grace > 0:
        _signal(find(), signal.SIGTERM)
        deadline = time.monotonic() + grace
        while _alive(leader) and time.monotonic() < deadline:
            time.sleep(_SHORT)
    kill(find)


def end_left_behind(leader: Identity, mark: bytes) -> None:
    """Kill what bears the `mark` of a leader that is gone.

    Its session alone says too little by now: the number may have been another leader's since, also of one that ended.
    """
    if leader.boot == _boot() and identify(leader.pid) is None:
        kill(lambda: bearers(mark))


def out_of_memory_kills() -> int:
    """How many processes the kernel has ended for lack of memory since boot, 0 where it does not tell."""
    with contextlib.suppress(OSError):
        for line in (_PROC / "vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


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


def _is_settled(pid: int, stat: list[str]) -> bool:
    """Whether what is read of a stranger will stay so: in the middle of an exec there is no environment to be seen."""
    parent = int(stat[_PARENT])
    return parent == _KERNEL_THREADS or not _may_be_read(pid) or bool(_read(pid, "environ"))


def _may_be_read(pid: int) -> bool:
    return os.access(_PROC / str(pid) / "environ", os.R_OK)


def _environment(pid: int) -> list[bytes]:
    return _read(pid, "environ").split(b"\0")


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the program's name, which may itself hold spaces and brackets."""
    return _read(pid, "stat").decode(errors="replace").rpartition(")")[2].split()


def _read(pid: int, name: str) -> bytes:
    """A file of a process; empty when the process is gone or may not be looked into. Raises OSError when no file can
    be opened: that says nothing of the process.
    """
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except OSError as error:
        if is_shortage(error):
            raise
        return b""


def _boot() -> str:
    return _BOOT_ID.read_text().strip()
