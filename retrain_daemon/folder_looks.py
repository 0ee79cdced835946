"""When drop folders are looked into: after an event, when a file may have settled, and all of them at each rescan.

What a look finds is intake's; which models it concerns is told to `attention`.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path

from retrain_daemon.attention import Attention
from retrain_daemon.core.policy import Policy
from retrain_daemon.drops import DropFolders
from retrain_daemon.errors import StateUnusable
from retrain_daemon.intake import Intake, watched_folder
from retrain_daemon.log import get_logger
from retrain_daemon.schedule import WakeUps, is_due

_MOUNTS = Path("/proc/self/mountinfo")

_log = get_logger()


class FolderLooks:
    """Looks into folders that need it, and remembers which hold files that still settle."""

    def __init__(
        self, folders: DropFolders, intake: Intake, attention: Attention, alarms: WakeUps, rescan: timedelta
    ) -> None:
        self._folders = folders
        self._intake = intake
        self._attention = attention
        self._alarms = alarms
        self._rescan = rescan
        self._next_rescan: datetime | None = None
        self._settling: dict[str, datetime] = {}
        self._watch_problem = ""
        self._unpolled: dict[str, str] = {}

    def watch(self, policies: Collection[Policy]) -> None:
        """The policies in force from now on; all their folders are looked into at the next look."""
        models = {policy.model for policy in policies}
        self._settling = {model: due for model, due in self._settling.items() if model in models}
        self._folders.watch([watched_folder(policy) for policy in policies])
        self._note_unpolled()
        self._next_rescan = None

    def look(self, policies: Collection[Policy], now: datetime) -> None:
        """Into the folders of these models, as far as they need it."""
        everything = self._next_rescan is None or is_due(self._next_rescan, self._rescan, now)
        changed = self._folders.changed(everywhere=everything)
        self._note_watching()
        if everything:
            self._next_rescan = now + self._rescan
            self._alarms.at("rescan", self._next_rescan)
        for policy in policies:
            due = self._settling.get(policy.model)
            needed = policy.model in changed or (due is not None and now >= due)
            if needed or (everything and not self._is_same(policy, now)):
                self._try_to_look_into(policy, now)

    def look_everywhere(self) -> None:
        """At the next look, whatever was told."""
        self._next_rescan = None

    def is_unwatched(self) -> bool:
        """Whether some folder is without file events."""
        return bool(self._watch_problem)

    def is_settling(self) -> bool:
        """Whether some file may be complete later on."""
        return bool(self._settling)

    def _is_same(self, policy: Policy, now: datetime) -> bool:
        """Neither journal nor folder say anything else of the model's files than at its last scan."""
        if self._attention.is_everyone_due(now) or not self._attention.is_resting(policy.model):
            return False
        return self._folders.is_unchanged(watched_folder(policy))

    def _note_watching(self) -> None:
        """Without events files are still found, at the next look into all folders."""
        if self._folders.take_overflow():
            _log.warning("folder.overflow", reason="file events were lost: every watched folder is looked into now")
        problem = self._folders.watch_problem
        if problem and problem != self._watch_problem:
            _log.warning("folder.unwatched", problem=problem)
        self._watch_problem = problem

    def _note_unpolled(self) -> None:
        unpolled = self._folders.unpolled(_MOUNTS.read_text())
        for folder, kind in unpolled.items():
            if folder not in self._unpolled:
                _log.warning(
                    "folder.remote", folder=folder, file_system=kind, hint="write `polling: true` in its policy"
                )
        self._unpolled = unpolled

    def _try_to_look_into(self, policy: Policy, now: datetime) -> None:
        """A journal that cannot be written leaves the events of all these folders unused: everything is looked into
        again.
        """
        try:
            self._look_into(policy, now)
        except StateUnusable:
            self.look_everywhere()
            self._attention.call_everyone()
            raise

    def _look_into(self, policy: Policy, now: datetime) -> None:
        due = self._intake.scan(policy, now)
        self._attention.call((policy.model,))
        self._attention.rest(policy.model)
        if due is None:
            self._settling.pop(policy.model, None)
        else:
            self._settling[policy.model] = due
        self._alarms.at("settling", min(self._settling.values(), default=None))
