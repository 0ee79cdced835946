"""File events of drop folders by watchdog: hints that a folder changed, and which files were renamed into it.

One inotify descriptor and one thread serve all folders: of watchdog the layer below its observers is used, as an
observer starts a thread for each folder. Nothing here decides whether a file counts.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import threading
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
)

from retrain_daemon.drops.found import Stamp
from retrain_daemon.drops.scan import inside, stamp_of

#: Never IN_OPEN or IN_CLOSE_NOWRITE: reading a folder would raise events of its own. The kernel adds unmounting.
EVENTS = Mask(
    reduce(
        or_,
        (
            *(InotifyConstants.IN_CLOSE_WRITE, InotifyConstants.IN_CREATE, InotifyConstants.IN_DELETE),
            *(InotifyConstants.IN_MOVED_FROM, InotifyConstants.IN_MOVED_TO),
            *(InotifyConstants.IN_DELETE_SELF, InotifyConstants.IN_MOVE_SELF, InotifyConstants.IN_ONLYDIR),
        ),
    )
)
#: What a folder's watch costs is one of these; what the reader costs is one instance and three open files.
_WATCHES, _INSTANCES = "fs.inotify.max_user_watches", "fs.inotify.max_user_instances"
_READER_FILES = 3


@dataclass(frozen=True)
class _Watch:
    descriptor: WatchDescriptor
    identity: tuple[int, int]
    callback: _Callback


class FolderEvents:
    """One watch for each distinct folder. Methods belong to one thread; `wake` is called on the reading thread."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()  # guards the next five; never held while calling watchdog, which has its own
        self._models: dict[str, set[str]] = {}
        self._noted: set[str] = set()
        self._renamed: dict[str, dict[str, Stamp]] = {}
        self._doubtful: set[str] = set()
        self._overflowed = False
        self._watches: dict[str, _Watch] = {}
        self._missing: set[str] = set()
        self._problems: dict[str, str] = {}
        self._reader: InotifyFD | None = None
        self._numbers = itertools.count(1)

    @property
    def problem(self) -> str:
        """One sentence when some folder cannot be watched; empty when all is well."""
        if not self._problems:
            return ""
        folder, reason = next(iter(self._problems.items()))
        others = len(self._problems) - 1
        more = f" and {others} more" if others else ""
        return (
            f"no file events for {folder}{more} ({len(self._problems)} of {len(self._models)} folders): {reason}; "
            "files there are found only by the regular rescan"
        )

    def watch(self, folder_of: Mapping[str, str], changed: Set[str]) -> None:
        """Watch the folder of each model from now on; the `changed` models are reported by the next `changed`."""
        models: dict[str, set[str]] = {}
        for model, folder in folder_of.items():
            models.setdefault(folder, set()).add(model)
        with self._lock:
            self._models = models
            self._noted = (self._noted & folder_of.keys()) | changed
            self._renamed = {model: names for model, names in self._renamed.items() if model in folder_of}
            self._doubtful &= models.keys()
        self._problems = {folder: why for folder, why in self._problems.items() if folder in models}
        self._missing &= models.keys()
        for folder in self._watches.keys() - models.keys():
            self._unwatch(folder)
        self._keep_watches(models)

    def changed(self, *, everywhere: bool = True) -> frozenset[str]:
        """Models with an event, an overflow or a renewed watch since the last call.

        Renews watches that need it: of folders that raised events of their own end or had no watch, and `everywhere`
        of those that were replaced without any event, such as by a mount.
        """
        with self._lock:
            doubtful, self._doubtful = self._doubtful, set()
        self._keep_watches(self._models if everywhere or not self._is_reading() else doubtful | self._missing)
        with self._lock:
            noted, self._noted = self._noted, set()
        return frozenset(noted)

    def take_overflow(self) -> bool:
        """Whether the kernel dropped events since the last call; every watched folder is then in `changed`."""
        with self._lock:
            overflowed, self._overflowed = self._overflowed, False
        return overflowed

    def take_renamed(self, model: str) -> dict[str, Stamp]:
        """Names that were renamed into the model's folder since the last call, with their stamp at that moment."""
        with self._lock:
            return self._renamed.pop(model, {})

    def close(self) -> None:
        """Stop all watching. May be called twice."""
        reader, self._reader = self._reader, None
        for held in self._watches.values():
            held.callback.alive = False
        self._watches.clear()
        if reader is not None:
            reader.stop()
            if reader.ident is not None:
                reader.join()

    def _is_reading(self) -> bool:
        return self._reader is not None and self._reader.is_alive()

    def _keep_watches(self, folders: Iterable[str]) -> None:
        if self._watches and not self._is_reading():
            self.close()
            self._note_models(set().union(*self._models.values()))
        for folder in list(folders):
            self._keep_watch(folder)

    def _keep_watch(self, folder: str) -> None:
        held = self._watches.get(folder)
        identity = _identity(folder)
        if held is not None and held.callback.alive and held.identity == identity:
            return
        if held is not None:
            self._unwatch(folder)
        self._problems.pop(folder, None)
        begun = identity is not None and self._begin(folder, identity)
        (self._missing.discard if begun or folder in self._problems else self._missing.add)(folder)
        if held is not None or begun:
            self._note_models(self._models[folder])

    def _begin(self, folder: str, identity: tuple[int, int]) -> bool:
        number = CallbackId(next(self._numbers))
        callback = _Callback(folder, number, self._note, self._doubt, self._note_overflow)
        try:
            descriptor = self._reading().add_callback(os.fsencode(folder), EVENTS, callback, number)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except (OSError, RuntimeError) as error:  # a limit of inotify, of open files, or of threads
            self._problems[folder] = _watch_reason(error)
            return False
        if descriptor < 0:  # watchdog passes over a watch that was denied
            return False
        self._watches[folder] = _Watch(descriptor, identity, callback)
        return True

    def _reading(self) -> InotifyFD:
        """The one reader. One whose thread could not be started is kept, as it holds its descriptor."""
        if self._reader is None:
            _try_descriptors()
            self._reader = InotifyFD()
        if self._reader.ident is None:
            self._reader.start()
        return self._reader

    def _unwatch(self, folder: str) -> None:
        held = self._watches.pop(folder)
        if self._reader is not None and held.callback.alive:
            self._reader.remove_callbacks([(held.descriptor, held.callback.number)])

    def _note(self, folder: str, renamed: str = "", stamp: Stamp | None = None) -> None:
        with self._lock:
            models = self._models.get(folder, set())
            self._noted |= models
            if stamp is not None:
                for model in models:
                    self._renamed.setdefault(model, {})[renamed] = stamp
        self._wake()

    def _doubt(self, folder: str) -> None:
        """The folder itself was moved, deleted or unmounted."""
        with self._lock:
            if folder in self._models:
                self._doubtful.add(folder)
        self._note(folder)

    def _note_overflow(self, folder: str) -> None:
        with self._lock:
            self._overflowed = True
        self._note(folder)

    def _note_models(self, models: Set[str]) -> None:
        with self._lock:
            self._noted |= models


class _Callback:
    """What watchdog calls for one folder, on its reading thread: notes the folder; of a file that was renamed into
    place also its stamp at that moment.
    """

    def __init__(
        self, folder: str, number: CallbackId, note: Callable[[str, str, Stamp | None], None],
        doubt: Callable[[str], None], note_overflow: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._folder = folder
        self._note = note
        self._doubt = doubt
        self._note_overflow = note_overflow
        self.number = number
        self.alive = True

    def on_event(self, event: InotifyEvent) -> None:
        if event.mask & (InotifyConstants.IN_MOVE_SELF | InotifyConstants.IN_UNMOUNT):
            self._doubt(self._folder)
            return
        name, stamp = os.fsdecode(event.name), None
        if event.is_moved_to and not event.is_directory:
            with contextlib.suppress(OSError):  # moved on already
                stamp = stamp_of(os.lstat(inside(self._folder, name)))
        self._note(self._folder, name, stamp)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        if self.alive:
            self.alive = False
            self._doubt(self._folder)

    def on_queue_overflow(self) -> None:
        self._note_overflow(self._folder)


def _try_descriptors() -> None:
    """Raises OSError when a reader would not get all its descriptors: it would lose the first for ever."""
    taken: list[int] = []
    try:
        for _ in range(_READER_FILES):
            taken.append(os.open("/", os.O_PATH | os.O_CLOEXEC))
    finally:
        for descriptor in taken:
            os.close(descriptor)


def _identity(folder: str) -> tuple[int, int] | None:
    """Device and inode of a folder that can be watched; None for anything else."""
    try:
        state = os.stat(folder)  # noqa: PTH116 (a thousand folders at each look)
    except OSError:
        return None
    # watchdog takes a watch that was denied for a working one.
    if not stat.S_ISDIR(state.st_mode) or not os.access(folder, os.R_OK, effective_ids=True):
        return None
    return state.st_dev, state.st_ino


def _watch_reason(error: OSError | RuntimeError) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"{reason} (raise {_WATCHES}{_present(_WATCHES)})"
    if isinstance(error, OSError) and error.errno == errno.EMFILE:
        return f"{reason} (raise {_INSTANCES}{_present(_INSTANCES)} or the limit of open files)"
    return reason


def _present(setting: str) -> str:
    """The value a kernel setting has now, as a clause."""
    try:
        return f", now {Path('/proc/sys', *setting.split('.')).read_text().strip()},"
    except OSError:
        return ""
