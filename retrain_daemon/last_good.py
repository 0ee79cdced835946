"""The last good version of each policy file, kept in the journal so that it outlives the daemon."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from retrain_daemon.journal import Journal
from retrain_daemon.policies import PolicySet
from retrain_daemon.policies.nodes import shown_path


class LastGood:
    """What was in force in an earlier life, and what is now."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def contents(self) -> dict[str, str]:
        """The texts that were in force last, by file."""
        return self._journal.policy_files.contents()

    def note(self, found: PolicySet, now: datetime) -> None:
        """What files say that are in force, and why others are not. Raises StateUnusable."""
        table = self._journal.policy_files
        versions = list(_versions(found))
        wrong = {problem.file: str(problem) for problem in reversed(found.problems)}
        with self._journal.transaction():
            table.forget_others({file for file, *_ in versions})
            for file, model, content, digest in versions:
                table.keep(file, model, content, digest, now)
                table.note_wrong(file, wrong.get(shown_path(file), "") if file in found.kept else "", now)


def _versions(found: PolicySet) -> Iterator[tuple[str, str, str, str]]:
    """File, model or pattern, text and digest."""
    for policy in found.policies:
        yield policy.source, policy.model, policy.text, policy.digest
    for fleet in found.fleets:
        yield fleet.source, str(fleet.models), fleet.template.text, fleet.template.digest
