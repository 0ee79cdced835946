"""What a process and all its descendants consume, read from /proc: CPU seconds, resident and proportional memory.

Linux only. Nothing here knows what is being measured.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SAMPLE_SECONDS = 0.1


def tree(root: int) -> tuple[int, ...]:
    """The process ids of `root` and of all its descendants."""
    children: dict[int, list[int]] = {}
    for name in os.listdir(_PROC):  # noqa: PTH208 (a scan every moment)
        if name.isdigit() and (stat := _stat(int(name))):
            children.setdefault(int(stat[1]), []).append(int(name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return tuple(found)


def cpu_seconds(root: int) -> float:
    """CPU seconds of `root` and its descendants so far, those included that have ended and were waited for."""
    return sum(_own(pid) + _waited_for(pid) for pid in tree(root))


def proportional_bytes(root: int) -> int:
    """PSS of `root` and its descendants together: pages that several share are counted once."""
    return sum(_pss(pid) for pid in tree(root))


@dataclass
class Peak:
    """The largest resident memory, in bytes, that any single process had at the moments of looking."""

    resident: int = 0


@contextmanager
def watched(root: int) -> Iterator[Peak]:
    """Look at `root` and its descendants ten times a second for as long as the context is open."""
    peak, over = Peak(), threading.Event()

    def look() -> None:
        while not over.wait(_SAMPLE_SECONDS):
            peak.resident = max(peak.resident, *(_resident(pid) for pid in tree(root)))

    thread = threading.Thread(target=look, name="memory", daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def _own(pid: int) -> float:
    """The process's own CPU clock, in nanoseconds where it can be had (Linux: the id of a clock is made of the pid)."""
    try:
        return time.clock_gettime(~pid << 3 | 2)
    except OSError:
        stat = _stat(pid)
        return (int(stat[11]) + int(stat[12])) / _TICKS if stat else 0.0


def _waited_for(pid: int) -> float:
    stat = _stat(pid)
    return (int(stat[13]) + int(stat[14])) / _TICKS if stat else 0.0


def _resident(pid: int) -> int:
    fields = _read(pid, "statm").split()
    return int(fields[1]) * _PAGE if fields else 0


def _pss(pid: int) -> int:
    lines = _read(pid, "smaps_rollup").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the program's name, which may itself hold spaces and brackets."""
    return _read(pid, "stat").rpartition(")")[2].split()


def _read(pid: int, name: str) -> str:
    """A file of a process; empty when the process is gone."""
    try:
        return (_PROC / str(pid) / name).read_text(errors="replace")
    except OSError:
        return ""
