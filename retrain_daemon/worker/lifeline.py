"""No worker outlives what started it: the kernel is asked to end this process together with its parent, and to make it
the parent of what is started here and left by its own.

Linux only; elsewhere nothing is asked.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PARENT_VARIABLE = "RETRAIND_PARENT"
#: The exit code of a process that was told to stop, or whose parent is gone.
STOPPED = 143
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent: str) -> None:
    """Have the kernel kill this process when the thread that started it ends. `parent` is a process id; an empty or
    other text asks nothing. Leaves at once when the parent is gone already.
    """
    if not parent.isdigit() or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != int(parent):  # it ended before the kernel was asked
        os._exit(STOPPED)


def adopt_orphans() -> None:
    """Have what is started here and left by its parent become a child of this process, so that it can be traced."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
