"""One look into a drop folder: every name and state in it, and what each matching name is worth by the policy's rule.

Remembers nothing between looks and never opens a file in the folder.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import stat
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from retrain_daemon.drops.found import UNREADABLE_SIZE, Found, Scan, Stamp, Unusable, Watched

IGNORED_ENDINGS = (".tmp", ".part", "~")
UNSPEAKABLE_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control, surrogate, line and paragraph separators
MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Sighting:
    """A file that is not known with this stamp: since when it is unchanged, and whether it was renamed into place."""

    stamp: Stamp
    since: datetime
    renamed: bool


@dataclass(frozen=True)
class Listing:
    """A folder's device and names, and for those that matter their state: a link's own, or, where links are followed,
    that of what it points to. `broken` are followed links that lead nowhere, with the error number; their state is
    their own.
    """

    device: int
    names: frozenset[str]
    states: Mapping[str, os.stat_result]
    broken: Mapping[str, int] = field(default_factory=dict)


class Matching:
    """Which names in a folder are data of a policy, and which are its markers."""

    def __init__(self, watched: Watched) -> None:
        self._pattern = watched.pattern
        self._marker = (watched.complete.marker or "").partition("{name}")

    def is_marker(self, name: str) -> bool:
        before, placeholder, after = self._marker
        if not placeholder:
            return bool(before) and name == before
        return len(name) > len(before + after) and name.startswith(before) and name.endswith(after)

    def is_data(self, name: str) -> bool:
        return not _is_ignored(name) and fnmatch.fnmatchcase(name, self._pattern) and not self.is_marker(name)

    def matters(self, name: str) -> bool:
        return self.is_marker(name) or self.is_data(name)


class Look:
    """One scan under way: takes the names that match, one by one, and sorts them into the result."""

    def __init__(
        self,
        watched: Watched,
        known: Mapping[str, Stamp],
        now: datetime,
        listing: Listing,
        renamed: Mapping[str, Stamp],
        earlier: Mapping[str, Sighting],
    ) -> None:
        self._watched, self._known, self._now = watched, known, now
        self._listing, self._states, self._renamed, self._earlier = listing, listing.states, renamed, earlier
        self._now_ns = _nanoseconds(now - EPOCH)
        self._found: list[Found] = []
        self._unusable: list[Unusable] = []
        self._settling: dict[str, int | None] = {}
        self.sightings: dict[str, Sighting] = {}

    def take(self, name: str) -> None:
        """Sort one data file's name into the result, unless it is known with the stamp it has now."""
        state = self._states[name]
        stamp = stamp_of(state)
        path = inside(self._watched.folder, printable(name))
        if self._known.get(path) == stamp or self._is_lost(name, path):
            return
        remaining: int | None = 0
        if stat.S_ISREG(state.st_mode):
            self.sightings[path] = self._sight(path, name, stamp)
            remaining = self._remaining_ns(name, state, self.sightings[path])
        if remaining is None or remaining > 0:
            self._settling[path] = remaining
            return
        trouble = _name_trouble(name) or self._trouble(name, state)
        if trouble is not None:
            self._refuse(path, stamp, *trouble)
        else:
            age = timedelta(microseconds=max(0, self._now_ns - state.st_ctime_ns) // 1000)
            self._found.append(Found(path, stamp, self._now - age))

    def result(self) -> Scan:
        """What the names taken so far came to; without `gone` and `problem`."""
        waits = [wait for wait in self._settling.values() if wait is not None]
        return Scan(
            model=self._watched.model,
            found=tuple(sorted(self._found, key=lambda found: (found.stamp.mtime_ns, found.path))),
            unusable=tuple(sorted(self._unusable, key=lambda unusable: unusable.path)),
            settling=tuple(sorted(self._settling)),
            next_look=self._now + timedelta(microseconds=-(-min(waits) // 1000)) if waits else None,
        )

    def _is_lost(self, name: str, path: str) -> bool:
        """A link that pointed to a file and does not any more is gone, as the file is."""
        known = self._known.get(path)
        return name in self._listing.broken and known is not None and known.size != UNREADABLE_SIZE

    def _trouble(self, name: str, state: os.stat_result) -> tuple[str, str] | None:
        folder = self._watched.folder
        if self._watched.follow_links and name in self._listing.broken:
            return _link_trouble(folder, name, self._listing.broken[name])
        return _trouble(folder, name, state)

    def _refuse(self, path: str, stamp: Stamp, reason: str, hint: str) -> None:
        stamp = stamp if stamp.size == 0 else replace(stamp, size=UNREADABLE_SIZE)
        if self._known.get(path) != stamp:
            self._unusable.append(Unusable(path, stamp, reason, hint))

    def _sight(self, path: str, name: str, stamp: Stamp) -> Sighting:
        earlier = self._earlier.get(path)
        renamed = self._renamed.get(name) == stamp
        if earlier is None or earlier.stamp != stamp:
            return Sighting(stamp, self._now, renamed)
        # A clock that was set back must not make a file wait until it has caught up.
        return Sighting(stamp, min(earlier.since, self._now), renamed or earlier.renamed)

    def _remaining_ns(self, name: str, state: os.stat_result, sighting: Sighting) -> int | None:
        """How long until the file is complete, at most 0 if it is; None if no time can tell."""
        if self._watched.complete.marker is not None:
            return 0 if self._is_marked(name, state, self._watched.complete.marker) else None
        if sighting.renamed and state.st_size > 0:
            return 0
        if self._watched.complete.settle is None:
            return None
        seen = _nanoseconds(self._now - sighting.since)
        untouched = self._now_ns - max(state.st_mtime_ns, state.st_ctime_ns)
        age = seen if self._watched.polling else max(seen, untouched)
        return _nanoseconds(self._watched.complete.settle) - age

    def _is_marked(self, name: str, state: os.stat_result, template: str) -> bool:
        marker = self._states.get(template.replace("{name}", name))
        if marker is None or not stat.S_ISREG(marker.st_mode):
            return False
        # A modification time may be copied, even from a clock that is ahead; a change time is always of this machine.
        return marker.st_ctime_ns >= min(state.st_mtime_ns, state.st_ctime_ns)


def list_folder(folder: str, matching: Matching, follow_links: bool) -> Listing:
    """Names and states by way of one open folder, so that a mount in between cannot mix two folders."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with os.scandir(descriptor) as entries:
            listed = list(entries)
        own = ((entry, _state(entry)) for entry in listed if matching.matters(entry.name))
        states = {entry.name: state for entry, state in own if state is not None}
        links = [entry for entry in listed if follow_links and entry.name in states and entry.is_symlink()]
        targets = {entry.name: _target(entry) for entry in links}
        return Listing(
            device=os.fstat(descriptor).st_dev,
            names=frozenset(entry.name for entry in listed),
            states=states | {name: state for name, state in targets.items() if not isinstance(state, int)},
            broken={name: state for name, state in targets.items() if isinstance(state, int)},
        )
    finally:
        os.close(descriptor)


def mark(listing: Listing) -> int:
    """A number that changes when anything does in a folder by which a scan could say something else."""
    states = (
        (name, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
        for name, state in listing.states.items()
    )
    return hash((listing.device, listing.names, frozenset(states), frozenset(listing.broken.items())))


def _state(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # went between listing and looking: the next scan says so
        return None


def _target(link: os.DirEntry[str]) -> os.stat_result | int:
    """The state of what a link points to, or the error number."""
    try:
        return link.stat(follow_symlinks=True)
    except OSError as error:
        return error.errno or 0


def stamp_of(state: os.stat_result) -> Stamp:
    """The stamp of a folder entry; of what is no file only the inode counts, as a directory's times keep changing."""
    if not stat.S_ISREG(state.st_mode):
        return Stamp(UNREADABLE_SIZE, 0, _signed(state.st_ino))
    return Stamp(state.st_size, _signed(state.st_mtime_ns), _signed(state.st_ino))


def _signed(number: int) -> int:
    """The same 64 bits as a number of SQLite: times after 2262 and inodes of some file systems are beyond it."""
    return (number + 2**63) % 2**64 - 2**63


def _name_trouble(name: str) -> tuple[str, str] | None:
    shown = printable(name)
    if shown == name:
        return None
    return f"The name '{shown}' has bytes that are no text, or control characters.", "Rename it to plain text."


def _link_trouble(folder: str, name: str, number: int) -> tuple[str, str]:
    """Why a link that is followed leads to no file."""
    try:
        target = f"{name} is a symbolic link to {printable(os.readlink(inside(folder, name)))}"  # noqa: PTH115 (texts)
    except OSError:
        target = f"{name} is a symbolic link"
    match number:
        case errno.ENOENT | errno.ENOTDIR:
            return f"{target}, which is not there.", "Put the file there, or remove the link."
        case errno.ELOOP:
            return f"{target}, and following it comes back to itself.", "Point it to a file."
        case errno.EACCES:
            return (
                f"{target}, which the user of this process cannot reach.",
                "Give it search permission on each folder on the way, or copy the file itself in.",
            )
        case _:
            return f"{target}, which cannot be read ({os.strerror(number)}).", "Check the disk or mount it is on."


def _trouble(folder: str, name: str, state: os.stat_result) -> tuple[str, str] | None:
    """Why something named like data is none, and what to do; None if it is an ordinary readable file with content."""
    if stat.S_ISLNK(state.st_mode):
        return (
            f"{name} is a symbolic link, and links are not followed.",
            "Copy or rename the file itself in, or write `follow_links: true` in the policy's data.",
        )
    if stat.S_ISDIR(state.st_mode) and os.path.islink(inside(folder, name)):  # noqa: PTH114 (a text, not a file)
        return f"{name} is a symbolic link to a directory.", "Point it to a file."
    if stat.S_ISDIR(state.st_mode):
        return f"{name} is a directory, not a file.", "Move the files in it up into the drop folder, or move it away."
    if not stat.S_ISREG(state.st_mode):
        return f"{name} is a pipe, socket or device, not a file.", "Write a regular file instead."
    if state.st_size == 0:
        return f"{name} is empty (0 bytes).", "Write it again, or delete it."
    if not os.access(inside(folder, name), os.R_OK, effective_ids=True):
        return f"{name} may not be read by the user of this process.", "Give it read permission (chmod a+r)."
    return None


def _is_ignored(name: str) -> bool:
    return name.startswith(".") or name.endswith(IGNORED_ENDINGS)


def printable(name: str) -> str:
    """The name itself; if it holds undecodable bytes, control characters or line breaks, with these as escapes."""
    if (name.isascii() and name.isprintable()) or not _unspeakable(name):
        return name
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c.encode("unicode_escape").decode("ascii") if _unspeakable(c) else c for c in text)


def _unspeakable(text: Iterable[str]) -> bool:
    return any(unicodedata.category(character) in UNSPEAKABLE_CATEGORIES for character in text)


def _nanoseconds(span: timedelta) -> int:
    return span // MICROSECOND * 1000


def folder_problem(folder: str, error: OSError) -> str:
    """One sentence: why a drop folder could not be listed, and what to do."""
    if isinstance(error, FileNotFoundError):
        return f"drop folder {folder} does not exist: create or mount it, or correct data.path in the policy"
    if isinstance(error, NotADirectoryError):
        return f"drop folder {folder} is not a folder: data.path must name a folder and a file name pattern in it"
    if isinstance(error, PermissionError):
        return f"drop folder {folder} may not be read: give the user of this process read and search permission on it"
    return f"drop folder {folder} cannot be read ({error.strerror}): check the disk or network mount it is on"


def inside(folder: str, name: str) -> str:
    """The path of a name in a folder."""
    return f"{folder.rstrip('/')}/{name}"
