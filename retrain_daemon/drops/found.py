"""What is known of a drop folder as values: what to look for, what one look showed. No reading, no watching."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from retrain_daemon.core.policy import Completion

UNREADABLE_SIZE = -1


@dataclass(frozen=True)
class Stamp:
    """Tells one revision of a file from the next, by its folder entry alone.

    `size` is -1 for what cannot be read as a file (a directory, a link, no permission), so that the same file is a new
    revision once it can be read.
    """

    size: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True)
class Watched:
    """A drop folder as one model's policy names it: absolute `folder`, file name `pattern`, completion rule.

    With `polling` the kernel is asked for no events of it; with `follow_links` a link counts as what it points to.
    """

    model: str
    folder: str
    pattern: str
    complete: Completion
    polling: bool = False
    follow_links: bool = False


@dataclass(frozen=True)
class Found:
    """A complete file that is not known with this stamp.

    `arrived_at` is the last change of its entry on this file system (written, renamed in), never later than the scan:
    a file that came while nobody looked has its true age.
    """

    path: str
    stamp: Stamp
    arrived_at: datetime


@dataclass(frozen=True)
class Unusable:
    """Something named like data that cannot be used as data, and what to do about it; not known with this stamp.

    `path` is printable text: characters of the name that are not are written as escapes.
    """

    path: str
    stamp: Stamp
    reason: str
    hint: str


@dataclass(frozen=True)
class Scan:
    """What one look into a model's drop folder showed.

    `found` is ordered by modification time, then name. `settling` are files that are not complete yet, `gone` known
    paths that are no longer there. `problem` is one sentence when the folder cannot be trusted or read; nothing is
    called gone then. `next_look` is when the first settling file could be complete; None when no time can tell.
    """

    model: str
    found: tuple[Found, ...] = ()
    unusable: tuple[Unusable, ...] = ()
    settling: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    problem: str = ""
    next_look: datetime | None = None
