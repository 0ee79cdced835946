"""Which policies are in force, and what is said when that changes. How files are read is in `policies/`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from retrain_daemon.core.names import NO_MODELS, Listing
from retrain_daemon.core.policy import Policy
from retrain_daemon.journal import Journal
from retrain_daemon.last_good import LastGood
from retrain_daemon.log import get_logger
from retrain_daemon.policies import Expanded, Fleet, PolicyFolder, PolicySet, Problem, expand

_log = get_logger()
_NOTHING = PolicySet((), (), changed=False, kept=())


@dataclass(frozen=True)
class Change:
    """Models that are watched no more, and those with another policy than before. `edited`: files changed, not only the
    models that the registry has.
    """

    retired: frozenset[str]
    loaded: frozenset[str]
    edited: bool


class PoliciesInForce:
    """The policy of each model, as files were when they were read last; a wrong file's last good version stays."""

    def __init__(self, folder: PolicyFolder, journal: Journal) -> None:
        self._folder = folder
        self._journal = journal
        self._bad_files: set[str] = set()
        self._said: tuple[Problem, ...] = ()
        self._unfinished = False
        self._last_good = LastGood(journal)
        folder.take_up(self._last_good.contents())
        self._found = _NOTHING
        self._listing: Listing | None = None
        self.of: dict[str, Policy] = {}

    @property
    def patterns(self) -> frozenset[str]:
        """Names and patterns of the models that fleets may have."""
        return frozenset(pattern for fleet in self._found.fleets for pattern in fleet.models.match)

    def find(self, model: str) -> Policy | None:
        """The policy of a model."""
        return self.of.get(model)

    def refresh(self, now: datetime, listing: Listing | None) -> Change | None:
        """Read files again, and see which models fleets have; None when nothing changed. `listing` is what the registry
        said last, None before it was asked: then no fleet has any models.

        Raises StateUnusable, and takes the change up again at the next call.
        """
        found = self._folder.refresh()
        edited = found.changed or self._unfinished
        if not edited and (listing is self._listing or not found.fleets):
            return None
        self._unfinished = True
        self._found = found
        models = self._models(found.fleets, listing)
        expanded = expand(found.policies, found.fleets, found.named, models, self.of, _files(self._journal))
        loaded = [policy for policy in expanded.policies.values() if self.of.get(policy.model) != policy]
        for policy in loaded:
            self._journal.models.ensure(policy.model, policy.source, policy.alias, now)
        if edited:
            self._last_good.note(found, now)
        if listing is not None or not found.fleets:
            self._journal.models.note_policies(expanded.policies.keys(), now)
        self._unfinished, self._listing = False, listing
        self._say(found, expanded)
        return self._replace(expanded, loaded, edited)

    def wrong_files(self) -> tuple[str, ...]:
        """Names of files that have problems."""
        return tuple(sorted(Path(file).name for file in self._bad_files))

    def _models(self, fleets: Iterable[Fleet], listing: Listing | None) -> dict[str, Listing]:
        """By file what is known of the models there are: as long as the registry did not tell of all that a fleet may
        have, those of before stay.
        """
        if listing is None:
            return {fleet.source: NO_MODELS for fleet in fleets}
        known: dict[str, set[str]] = {}
        for model, file in _files(self._journal).items() if listing is NO_MODELS else ():
            known.setdefault(file, set()).add(model)
        for model, policy in self.of.items():
            known.setdefault(policy.source, set()).add(model)
        return {
            fleet.source: listing
            if listing.covers(fleet.models.match)
            else Listing(names=listing.names.union(known.get(fleet.source, ())))
            for fleet in fleets
        }

    def _replace(self, expanded: Expanded, loaded: list[Policy], edited: bool) -> Change:
        before, self.of = self.of, dict(expanded.policies)
        retired = before.keys() - self.of.keys()
        for model in sorted(retired):
            _log.info("policy.retired", model=model, file=before[model].source)
        for policy in loaded:
            _log.info("policy.loaded", model=policy.model, file=policy.source, digest=policy.digest[:12])
        return Change(frozenset(retired), frozenset(policy.model for policy in loaded), edited)

    def _say(self, found: PolicySet, expanded: Expanded) -> None:
        """Every problem after each edit; without one only what is new about the models of fleets."""
        problems = (*found.problems, *expanded.problems, *expanded.warnings)
        bad = {problem.file for problem in problems if not problem.warning}
        for file in sorted(self._bad_files - bad):
            _log.info("policy.mended", file=file)
        for problem in problems:
            if found.changed or problem not in self._said:
                _say_problem(problem)
        for kept in found.kept if found.changed else ():
            _log.warning("policy.kept", file=kept, reason="its last good version stays in force")
        self._bad_files, self._said = bad, problems


def _files(journal: Journal) -> dict[str, str]:
    """The file that each watched model's policy is in, or was at the end of an earlier life."""
    return {row.name: row.policy_file for row in journal.models.all() if row.retired_at is None}


def _say_problem(problem: Problem) -> None:
    said = {"file": problem.file, "line": problem.line, "column": problem.column}
    text = f"{problem.message} {problem.hint}".strip()
    if problem.warning:
        _log.warning("policy.warning", **said, warning=text)
    else:
        _log.error("policy.problem", **said, problem=text)
