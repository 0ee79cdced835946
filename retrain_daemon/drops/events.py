"""File events of drop folders by watchdog: hints that a folder changed, and which files were renamed into it.

watchdog loses events, and watches, without telling its event handlers; what can be noticed is noticed here, and the
rest is left to regular scans. Nothing here decides whether a file counts.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import threading
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import ObservedWatch
from watchdog.observers.inotify import InotifyObserver

from retrain_daemon.drops.found import Stamp
from retrain_daemon.drops.scan import inside, stamp_of

# Without a filter, or with "opened" in it, reading a folder raises events of its own.
EVENTS: list[type[FileSystemEvent]] = [
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileDeletedEvent,
    DirCreatedEvent,
    DirMovedEvent,
    DirDeletedEvent,
]
OVERFLOW_LOGGER = "watchdog.observers.inotify_c"  # the only place where watchdog tells of lost events


@dataclass(frozen=True)
class _Watch:
    observed: ObservedWatch
    identity: tuple[int, int]


class FolderEvents:
    """One watch for each distinct folder. Methods belong to one thread; `wake` is called on watchdog's threads."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()  # guards the next three; never held while calling watchdog, which has its own
        self._models: dict[str, set[str]] = {}
        self._noted: set[str] = set()
        self._renamed: dict[str, dict[str, Stamp]] = {}
        self._watches: dict[str, _Watch] = {}
        self._problems: dict[str, str] = {}
        self._observer: InotifyObserver | None = None
        self._overflow = _OverflowHandler(self._note_all)
        logger = logging.getLogger(OVERFLOW_LOGGER)
        logger.addHandler(self._overflow)
        logger.setLevel(logging.WARNING)  # or a quieter root logger would swallow the record

    @property
    def problem(self) -> str:
        """One sentence when some folder cannot be watched; empty when all is well."""
        if not self._problems:
            return ""
        folder, reason = next(iter(self._problems.items()))
        others = len(self._problems) - 1
        more = f" and {others} more" if others else ""
        return f"no file events for {folder}{more}: {reason}; files there are found only by the regular rescan"

    def watch(self, folder_of: Mapping[str, str], changed: Set[str]) -> None:
        """Watch the folder of each model from now on; the `changed` models are reported by the next `changed`."""
        models: dict[str, set[str]] = {}
        for model, folder in folder_of.items():
            models.setdefault(folder, set()).add(model)
        with self._lock:
            self._models = models
            self._noted = (self._noted & folder_of.keys()) | changed
            self._renamed = {model: names for model, names in self._renamed.items() if model in folder_of}
        self._problems = {folder: why for folder, why in self._problems.items() if folder in models}
        for folder in self._watches.keys() - models.keys():
            self._unschedule(folder)
        self._keep_watches()

    def changed(self) -> frozenset[str]:
        """Models with an event, an overflow or a renewed watch since the last call. Renews watches that need it."""
        self._keep_watches()
        with self._lock:
            noted, self._noted = self._noted, set()
        return frozenset(noted)

    def take_renamed(self, model: str) -> dict[str, Stamp]:
        """Names that were renamed into the model's folder since the last call, with their stamp at that moment."""
        with self._lock:
            return self._renamed.pop(model, {})

    def close(self) -> None:
        """Stop all watching. May be called twice."""
        logging.getLogger(OVERFLOW_LOGGER).removeHandler(self._overflow)
        self._drop_observer()

    def _drop_observer(self) -> None:
        observer, self._observer = self._observer, None
        self._watches.clear()
        if observer is not None:
            observer.stop()
            observer.join()

    def _keep_watches(self) -> None:
        if self._observer is not None and not self._observer.is_alive():
            self._drop_observer()
            self._note_models(set().union(*self._models.values()))
        emitters = self._observer.emitters if self._observer is not None else ()
        alive = {emitter.watch for emitter in emitters if emitter.is_alive()}
        for folder in self._models:
            self._keep_watch(folder, alive)

    def _keep_watch(self, folder: str, alive: set[ObservedWatch]) -> None:
        held = self._watches.get(folder)
        identity = _identity(folder)
        if held is not None and held.observed in alive and held.identity == identity:
            return
        if held is not None:
            self._unschedule(folder)
        self._problems.pop(folder, None)
        scheduled = identity is not None and self._schedule(folder, identity)
        if held is not None or scheduled:
            self._note_models(self._models[folder])

    def _schedule(self, folder: str, identity: tuple[int, int]) -> bool:
        try:
            if self._observer is None:
                self._observer = _started_observer()
            # The folder itself may be a link: without following it, only the link would be watched.
            observed = self._observer.schedule(
                _EventHandler(folder, self._note), folder, event_filter=EVENTS, follow_symlink=True
            )
        except (FileNotFoundError, NotADirectoryError):
            return False
        except (OSError, RuntimeError) as error:  # a limit of inotify, or of threads
            self._problems[folder] = _watch_reason(error)
            return False
        self._watches[folder] = _Watch(observed, identity)
        return True

    def _unschedule(self, folder: str) -> None:
        held = self._watches.pop(folder)
        if self._observer is not None:
            self._observer.unschedule(held.observed)

    def _note(self, folder: str, renamed: str = "", stamp: Stamp | None = None) -> None:
        with self._lock:
            models = self._models.get(folder, set())
            self._noted |= models
            if stamp is not None:
                for model in models:
                    self._renamed.setdefault(model, {})[renamed] = stamp
        self._wake()

    def _note_models(self, models: Set[str]) -> None:
        with self._lock:
            self._noted |= models

    def _note_all(self) -> None:
        with self._lock:
            self._noted = set().union(*self._models.values())
        self._wake()


class _EventHandler(FileSystemEventHandler):
    """Notes the folder of an event; of a file that was renamed into place also its stamp at that moment."""

    def __init__(self, folder: str, note: Callable[[str, str, Stamp | None], None]) -> None:
        self._folder = folder
        self._note = note

    def on_any_event(self, event: FileSystemEvent) -> None:
        target = Path(os.fsdecode(event.dest_path)).name
        stamp = None
        if isinstance(event, FileMovedEvent) and target:
            with contextlib.suppress(OSError):  # moved on already
                stamp = stamp_of(os.lstat(inside(self._folder, target)))
        self._note(self._folder, target, stamp)


class _OverflowHandler(logging.Handler):
    """Hears from watchdog's log that events were lost; its event handlers are not told."""

    def __init__(self, note_all: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._note_all = note_all

    def emit(self, record: logging.LogRecord) -> None:
        if "overflow" in record.getMessage():
            self._note_all()


def _started_observer() -> InotifyObserver:
    # "Full events" report a rename from outside as a move; otherwise it looks like the create of a file to be written.
    observer = InotifyObserver(generate_full_events=True)
    observer.start()
    return observer


def _identity(folder: str) -> tuple[int, int] | None:
    """Device and inode of a folder that can be watched; None for anything else."""
    try:
        state = Path(folder).stat()
    except OSError:
        return None
    # watchdog takes a watch that was denied for a working one, and of a file it watches the parent.
    if not stat.S_ISDIR(state.st_mode) or not os.access(folder, os.R_OK, effective_ids=True):
        return None
    return state.st_dev, state.st_ino


def _watch_reason(error: OSError | RuntimeError) -> str:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if "inotify" in reason:
        return f"{reason} (raise fs.inotify.max_user_watches, max_user_instances or the limit of open files)"
    return reason
