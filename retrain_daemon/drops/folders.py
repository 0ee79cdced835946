"""The drop folders of all models: events as hints, a scan as the truth, and the little that is kept between scans."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from retrain_daemon.drops.events import FolderEvents
from retrain_daemon.drops.found import UNREADABLE_SIZE, Scan, Stamp, Watched
from retrain_daemon.drops.mounts import remote_devices, remote_kind
from retrain_daemon.drops.scan import (
    Listing,
    Look,
    Matching,
    Sighting,
    folder_problem,
    inside,
    list_folder,
    mark,
    printable,
)


class DropFolders:
    """Watches drop folders for events and scans them. All methods belong to one thread; `wake` is called on others.

    A file is complete when, in this order:

    - the policy names a marker: the marker lies beside it and came after the file's last write. Nothing else counts,
      and a marker left over from older bytes under the same name does not vouch for new ones.
    - it was renamed into place while watched and is the very revision that was renamed (same stamp). The kernel
      reports a rename apart from a create, also for a rename from outside the folder, so no guess from timestamps is
      needed. After a restart, a lost event, or for an empty file, the next rule decides.
    - it has settled: unchanged over two scans `settle` apart, or last touched (mtime and ctime) `settle` before `now`.
      Times in the future count for nothing. Settling cannot tell a stalled copy from a finished one; if the copy goes
      on, the file is found again with its new stamp.

    Inotify sees no writes of other machines on a network file system: such a folder is watched with `polling`. Of it
    no events are asked for, so that renames are not seen, and file times, which another machine's clock may have
    written, do not count: its files settle over two scans, or have a marker.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._events = FolderEvents(wake)
        self._watched: frozenset[Watched] = frozenset()
        self._sightings: dict[str, dict[str, Sighting]] = {}  # by model: files that are not known yet
        self._marks: dict[str, int] = {}  # by model: of the folder when nothing in it was new, open or gone
        self._devices: dict[str, int] = {}  # by folder: where its files were when it was last trusted
        self._fresh: set[str] = set()  # models that poll and are new or changed since the last `changed`

    @property
    def watch_problem(self) -> str:
        """One sentence when some folder that is not polled raises no events; empty when all is well."""
        return self._events.problem

    def unpolled(self, mounts: str) -> dict[str, str]:
        """Given the text of /proc/self/mountinfo: folders that other machines write to, and that are not polled, with
        the kind of file system they are on.
        """
        devices = remote_devices(mounts)
        folders = sorted({one.folder for one in self._watched if not one.polling}) if devices else []
        return {folder: kind for folder in folders if (kind := remote_kind(folder, devices))}

    def watch(self, watched: Sequence[Watched]) -> None:
        """The folders that count from now on. Models with a new or changed entry are in the next `changed`."""
        wanted = frozenset(watched)
        if wanted == self._watched:
            return
        fresh = wanted - self._watched
        self._watched = wanted
        kept = {one.model for one in wanted - fresh}
        self._sightings = {model: seen for model, seen in self._sightings.items() if model in kept}
        self._marks = {model: mark for model, mark in self._marks.items() if model in kept}
        self._fresh = (self._fresh & kept) | {one.model for one in fresh if one.polling}
        self._events.watch(
            {one.model: one.folder for one in wanted if not one.polling},
            changed={one.model for one in fresh if not one.polling},
        )

    def changed(self, *, everywhere: bool = True) -> frozenset[str]:
        """Models whose folder must be scanned again: events, an overflow, a dead or replaced watch since the last call.
        Of a folder that is polled only that it is new.

        Also renews watches that died and tries folders again that were not there; `everywhere` also looks whether
        another folder lies under a watched path, and tries again where a limit stood in the way.
        """
        fresh, self._fresh = frozenset(self._fresh), set()
        return self._events.changed(everywhere=everywhere) | fresh

    def take_overflow(self) -> bool:
        """Whether events were lost since the last call; every watched folder is then in `changed`."""
        return self._events.take_overflow()

    def scan(self, watched: Watched, known: Mapping[str, Stamp], now: datetime) -> Scan:
        """Look into one model's folder: what is there that `known` (path to last recorded stamp) does not hold.

        `known` should hold found and unusable paths alike. `now` must have a time zone. Nothing that is met in the
        folder raises: it is said in the result.
        """
        renamed = self._events.take_renamed(watched.model)
        self._marks.pop(watched.model, None)
        matching = Matching(watched)
        try:
            listing = list_folder(watched.folder, matching, watched.follow_links)
        except OSError as error:
            return Scan(watched.model, problem=folder_problem(watched.folder, error))
        look = Look(watched, known, now, listing, renamed, self._sightings.get(watched.model, {}))
        for name in filter(matching.is_data, listing.states):
            look.take(name)
        self._sightings[watched.model] = look.sightings
        gone, problem = self._missing(watched.folder, known, listing)
        scan = replace(look.result(), gone=gone, problem=problem)
        if scan == Scan(watched.model):
            self._marks[watched.model] = mark(listing)
        return scan

    def is_unchanged(self, watched: Watched) -> bool:
        """Whether a scan with what was known at the last one would again show nothing new, open or gone."""
        before = self._marks.get(watched.model)
        if before is None:
            return False
        try:
            return mark(list_folder(watched.folder, Matching(watched), watched.follow_links)) == before
        except OSError:
            return False

    def close(self) -> None:
        """Stop all watching. May be called twice."""
        self._events.close()

    def _missing(self, folder: str, known: Mapping[str, Stamp], listing: Listing) -> tuple[tuple[str, ...], str]:
        """Known paths that are gone; or none of them and the reason for doubt, when the folder looks unmounted. A link
        is gone when what it pointed to is.

        It does when not one known file is there and the folder is on another device than before, or empty at the
        first look: what is below a mount point is most often an empty folder.
        """
        prefix = inside(folder, "")
        broken = {prefix + printable(name) for name in listing.broken}
        own = [path for path in known if path.startswith(prefix) and "/" not in path[len(prefix) :]]
        present = {prefix + printable(name) for name in listing.names}
        present -= {path for path in own if known[path].size != UNREADABLE_SIZE and path in broken}
        missing = tuple(sorted(path for path in own if path not in present))
        before = self._devices.get(folder)
        elsewhere = listing.device != before and (before is not None or not listing.names)
        if missing and len(missing) == len(own) and elsewhere:
            return (), _unmounted_problem(folder, len(missing))
        self._devices[folder] = listing.device
        return missing, ""


def _unmounted_problem(folder: str, count: int) -> str:
    return (
        f"drop folder {folder} holds none of the {count} files known from it and looks unmounted: mount it again, "
        "or, if they were deleted on purpose, put a file into it and restart"
    )
