"""Marks in the environment, by which processes that belong to a job or a daemon are found from outside.

What they are looked for with is in `processes.py`. Linux only.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

#: In the environment of a worker and of all it starts: its job folder.
JOB_MARK = "RETRAIND_JOB"
#: In the environment of all that a daemon starts for its jobs: the daemon's process id.
DAEMON_MARK = "RETRAIND_DAEMON"

_LONGEST_NAME = 255
_ENVIRONMENT_FROM, _ENVIRONMENT_TO = 47, 48  # fields of /proc/PID/stat after the program's name


def template_mark(jobs: Path) -> str:
    """What a template bears as its job: the folder of all jobs, with room for the name of one."""
    return str(jobs) + "/" * (1 + _LONGEST_NAME)


def bear_job_mark(folder: str) -> None:
    """Show the job to who looks from outside: for a forked process the kernel shows the environment that its program
    was once started with, which is this process's to write to. Raises ValueError where there is no room.
    """
    stat = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(stat[_ENVIRONMENT_FROM]), int(stat[_ENVIRONMENT_TO])
    shown = b"\0" + ctypes.string_at(begin, end - begin)
    label = f"\0{JOB_MARK}=".encode()
    found = shown.find(label)
    place = found + len(label) - 1
    room = shown.find(b"\0", found + 1) - found - len(label)
    text = os.fsencode(folder)
    if found < 0 or room < len(text):
        raise ValueError(f"the environment of this process has no room for the mark of {folder}")
    ctypes.memmove(begin + place, text.ljust(room, b"\0"), room)
