"""Trained challengers on disk that are not known to be in MLflow, a folder for each round of an attempt, and searches
under way, another one.

Written by workers (`worker/kept.py`); here they are only found and removed.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from retrain_daemon.core.attempts import Attempt
from retrain_daemon.errors import StateUnusable
from retrain_daemon.labels import unique_name
from retrain_daemon.worker.job import is_kept


class KeptChallengers:
    """What lies in one folder of the state folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def folder_of(self, attempt: Attempt) -> Path:
        """Where the present round of an attempt keeps what it trained."""
        return self._folder / f"{unique_name(attempt)}.{attempt.round}"

    def study_of(self, attempt: Attempt) -> Path:
        """Where the present round of an attempt keeps what its search has tried."""
        return self._folder / f"{unique_name(attempt)}.{attempt.round}-study"

    def has(self, attempt: Attempt) -> bool:
        """Whether the present round has trained, and its challenger was not accepted yet."""
        return attempt.challenger is None and is_kept(self.folder_of(attempt))

    def make_room(self, attempt: Attempt) -> None:
        """Remove what earlier rounds trained, and see that the present one can keep what it trains."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in self._of(attempt):
            if folder not in (self.folder_of(attempt), self.study_of(attempt)):
                _remove(folder)

    def discard(self, attempt: Attempt) -> None:
        """Remove all that an attempt kept; MLflow has it, or nobody wants it."""
        for folder in self._of(attempt):
            _remove(folder)

    def sweep(self, attempts: Collection[Attempt]) -> None:
        """Remove what belongs to none of these attempts: a crash came between their end and its removal."""
        names = {unique_name(attempt) for attempt in attempts}
        for folder in self._folder.iterdir() if self._folder.is_dir() else ():
            if _attempt_of(folder) not in names:
                _remove(folder)

    def _of(self, attempt: Attempt) -> list[Path]:
        found = self._folder.iterdir() if self._folder.is_dir() else ()
        return [folder for folder in found if _attempt_of(folder) == unique_name(attempt)]


def _attempt_of(folder: Path) -> str:
    """The attempt in a folder's name; one with a point before it is still being written."""
    return folder.name.removeprefix(".").rpartition(".")[0]


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise StateUnusable(f"the folder {folder} cannot be removed: {error.strerror}.") from error
