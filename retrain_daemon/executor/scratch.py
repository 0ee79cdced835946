"""Where a worker's temporary files go: a folder that is removed with the job.

It lies in the job's folder, or, where that has too long a path for sockets, in the system's folder for temporary files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from hashlib import sha256
from pathlib import Path

# The path of a socket has 107 bytes at most; multiprocessing adds such as "/pymp-abcdefgh/listener-abcdefgh", torch and
# ray more.
_LONGEST = 64


def scratch_of(folder: Path) -> Path:
    """The folder for temporary files of the job in `folder`; the same one in every life of the daemon."""
    inside = folder / "tmp"
    if len(os.fsencode(inside)) <= _LONGEST:
        return inside
    return Path(tempfile.gettempdir()) / f"retraind-{os.geteuid()}-{sha256(os.fsencode(folder)).hexdigest()[:12]}"


def make_scratch(folder: Path) -> Path:
    """The job's folder for temporary files, made and empty, for its owner only. Raises OSError, also where someone else
    has put something there.
    """
    scratch = scratch_of(folder)
    remove_scratch(folder)
    scratch.mkdir(mode=0o700)
    return scratch


def remove_scratch(folder: Path) -> None:
    """Remove the job's temporary files. What cannot be removed is left to the system's own care."""
    with contextlib.suppress(OSError):
        shutil.rmtree(scratch_of(folder))
