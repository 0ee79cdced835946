"""Which policies are in force, and what is said when that changes. How files are read is in `policies/`."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from pathlib import Path

from retrain_daemon.core.policy import Policy
from retrain_daemon.journal import Journal
from retrain_daemon.log import get_logger
from retrain_daemon.policies import PolicyFolder, PolicySet

_log = get_logger()


class PoliciesInForce:
    """The policy of each model, as files were when they were read last; a wrong file's last good version stays."""

    def __init__(self, folder: PolicyFolder, journal: Journal) -> None:
        self._folder = folder
        self._journal = journal
        self._bad_files: set[str] = set()
        self._unfinished = False
        self.of: dict[str, Policy] = {}

    def find(self, model: str) -> Policy | None:
        """The policy of a model."""
        return self.of.get(model)

    def refresh(self, now: datetime) -> Collection[str] | None:
        """Read files again; returns the models that are watched no more, None when nothing changed.

        Raises StateUnusable, and takes the change up again at the next call.
        """
        found = self._folder.refresh()
        if not (found.changed or self._unfinished):
            return None
        self._unfinished = True
        for policy in found.policies:
            if self.of.get(policy.model) != policy:
                self._journal.models.ensure(policy.model, policy.source, policy.alias, now)
        self._unfinished = False
        self._say_problems(found)
        before, self.of = self.of, {policy.model: policy for policy in found.policies}
        retired = before.keys() - self.of.keys()
        for model in retired:
            _log.info("policy.retired", model=model, file=before[model].source)
        for policy in found.policies:
            if before.get(policy.model) != policy:
                _log.info("policy.loaded", model=policy.model, file=policy.source, digest=policy.digest[:12])
        return retired

    def wrong_files(self) -> tuple[str, ...]:
        """Names of files that have problems."""
        return tuple(sorted(Path(file).name for file in self._bad_files))

    def _say_problems(self, found: PolicySet) -> None:
        bad = {problem.file for problem in found.problems}
        for file in sorted(self._bad_files - bad):
            _log.info("policy.mended", file=file)
        self._bad_files = bad
        for problem in found.problems:
            _log.error("policy.problem", file=problem.file, line=problem.line, column=problem.column,
                       problem=f"{problem.message} {problem.hint}".strip())  # fmt: skip
        for kept in found.kept:
            _log.warning("policy.kept", file=kept, reason="its last good version stays in force")
