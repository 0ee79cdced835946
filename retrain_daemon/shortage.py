"""What a process may run out of, told by the error and put into a sentence: room on a disk, write access, descriptors.

Daemon and worker both say it by these words. What is done about it is not known here.
"""

from __future__ import annotations

import errno
import re
import resource
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

from retrain_daemon.errors import StateUnusable

_FULL = (errno.ENOSPC, errno.EDQUOT)
_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_OTHERS = (errno.EROFS, errno.EIO, errno.ENOMEM, errno.EAGAIN)
#: How libraries put a full disk that raise errors of their own.
_SAID = re.compile(
    r"No space left on device|Disk quota exceeded|errno = 28|database or disk is full|file write failed|Errno 24\b"
)
#: A disk with less room than this counts as full.
LEAST_ROOM = 2**20
_PROBE = ".probe"
_PROBE_BYTES = 2**18


def is_shortage(error: BaseException) -> bool:
    """Whether the machine, not what was asked for, is the reason of an error: it passes when room is made."""
    return isinstance(error, OSError) and error.errno in (*_FULL, *_DESCRIPTORS, *_OTHERS)


def speaks_of_shortage(error: BaseException) -> bool:
    """The same for errors of libraries, which may only say so, or hide it in their cause."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if is_shortage(link) or _SAID.search(str(link)):
            return True
        link = link.__cause__ or link.__context__
    return False


def sentence(error: OSError, folder: Path) -> str:
    """What is lacking, without a full stop: for a disk which folder, and how much is free."""
    if error.errno in _DESCRIPTORS:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return f"no file descriptors are left: this process may have {limit} ({error.strerror})"
    if error.errno == errno.EAGAIN:
        return f"no further process or thread can be started ({error.strerror})"
    place = Path(str(error.filename)).parent if error.filename else folder
    return f"{place} cannot be written ({free_room(place)}): {error.strerror}"


def unusable(error: OSError, folder: Path, what: str = "folder") -> StateUnusable:
    """The error for a shortage that was met in `folder`, which is `what`."""
    if is_shortage(error):
        return StateUnusable(f"{sentence(error, folder)}.", _remedy(error))
    return StateUnusable(f"{what} {folder} cannot be written: {error.strerror}.", _remedy(error))


def free_room(folder: Path) -> str:
    """How many bytes are free on a folder's disk, in words."""
    try:
        return f"{shutil.disk_usage(folder).free:,} bytes are free"
    except OSError as error:
        return f"how much is free cannot be told ({error.strerror})"


def full(folders: Iterable[Path]) -> tuple[Path, ...]:
    """Those of the folders whose disk has no room to speak of."""
    return tuple(folder for folder in folders if _is_full(folder))


def probe(folder: Path) -> None:
    """Write and remove a small file; raises OSError while that cannot be done."""
    path = folder / _PROBE
    try:
        path.write_bytes(bytes(_PROBE_BYTES))
    finally:
        path.unlink(missing_ok=True)


def begin(thread: threading.Thread) -> None:
    """Start a thread; raises OSError when there is none to be had, where Python would raise RuntimeError."""
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, str(error)) from error


def made(folder: Path) -> Path:
    """The folder, made if it is not there; raises StateUnusable when that cannot be done."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unusable(error, folder) from error
    return folder


def _is_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < LEAST_ROOM
    except OSError:
        return False


def _remedy(error: OSError) -> str:
    if error.errno in _DESCRIPTORS:
        return "Raise the limit (LimitNOFILE= of the unit, or `prlimit --nofile` on the running process)."
    if error.errno == errno.EAGAIN:
        return "Raise the limit (TasksMax= or LimitNPROC= of the unit), or see what takes them."
    if error.errno == errno.EROFS:
        return "Mount it writable."
    return "Make room, or give the daemon's user write access; nothing is lost."
