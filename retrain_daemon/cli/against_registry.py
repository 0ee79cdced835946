"""`retraind check --registry`: policies held against MLflow and the data at hand, each in a worker of its own.

Which model a policy is for is asked here; what is wrong with the rest is found in `worker/against_policy.py`.
"""

from __future__ import annotations

import difflib
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from retrain_daemon.cli.composition import clock, journal_to_read, registry_of, trust_of
from retrain_daemon.cli.gates import unsettled
from retrain_daemon.cli.one_job import Asked, all_done
from retrain_daemon.cli.questions import question_of
from retrain_daemon.core.names import Listing
from retrain_daemon.core.policy import Policy
from retrain_daemon.drops import DropFolders, Stamp
from retrain_daemon.errors import NotFound, RegistryUnreachable
from retrain_daemon.executor.limits import Limits
from retrain_daemon.intake import watched_folder
from retrain_daemon.policies import Problem, Reading
from retrain_daemon.policies.folder import read_files
from retrain_daemon.policies.nodes import shown_path
from retrain_daemon.policies.places import find, place_of
from retrain_daemon.registry import Registry, spell_alias
from retrain_daemon.settings import Settings
from retrain_daemon.worker.findings import sentence
from retrain_daemon.worker.job import Failed, Finding, PolicyChecked, Result, Source

LIMITS = Limits(run_for=timedelta(minutes=10), memory=None)
#: A worker a model: of a fleet so many stand for all.
MOST_OF_FLEET = 5


def with_registry(
    reading: Reading, path: Path, settings: Settings
) -> tuple[Reading, RegistryUnreachable | None]:  # fmt: skip
    """What files say, with what registry and data say of it; and why there is nothing more where MLflow is silent. Of
    each fleet some models stand for all.
    """
    try:
        known = _with_members(reading, path, settings)
        fleets = {fleet.source for fleet in known.fleets}
        alone = [policy for policy in known.policies if policy.source not in fleets]
        chosen, left_out = _some_of(fleets, known)
        found = (*against_registry([*alone, *chosen], settings), *left_out)
    except RegistryUnreachable as silence:
        return reading, silence
    wrong = {problem.file for problem in found if not problem.warning}
    return replace(
        known,
        policies=tuple(policy for policy in alone if shown_path(policy.source) not in wrong),
        fleets=tuple(fleet for fleet in known.fleets if shown_path(fleet.source) not in wrong),
        problems=(*known.problems, *(problem for problem in found if not problem.warning)),
        warnings=(*known.warnings, *known.about_models, *(problem for problem in found if problem.warning)),
    ), None


def _with_members(reading: Reading, path: Path, settings: Settings) -> Reading:
    """The same with a policy for each registered model of each fleet."""
    if not reading.fleets:
        return reading
    patterns = frozenset(pattern for fleet in reading.fleets for pattern in fleet.models.match)
    return read_files(path).reading(Listing(patterns, frozenset(registry_of(settings).matching(patterns))))


def _some_of(fleets: Collection[str], known: Reading) -> tuple[list[Policy], list[Problem]]:
    """The first models of each fleet, and a warning where there are more."""
    chosen, left_out = list[Policy](), list[Problem]()
    for file in sorted(fleets):
        members = [policy for policy in known.policies if policy.source == file]
        chosen += members[:MOST_OF_FLEET]
        if len(members) > MOST_OF_FLEET:
            said = f"{MOST_OF_FLEET} of its {len(members):,} models were held against the registry."
            left_out.append(problem_of(members[0], Finding(key="models", message=said, warning=True)))
    return chosen, left_out


def against_registry(policies: Iterable[Policy], settings: Settings) -> tuple[Problem, ...]:
    """Every disagreement of policies with MLflow and with the newest files at hand, at its place in the policy.

    Raises RegistryUnreachable when the registry, or a worker's, does not answer.
    """
    policies = tuple(policies)
    registry = registry_of(settings)
    subjects = list(_subjects(policies, registry, settings))
    results = _asked(subjects, settings)
    problems: list[Problem] = []
    for place, subject in enumerate(subjects):
        findings = (*subject.findings, *_findings_of(results.get(f"check-{place}")))
        problems += [problem_of(subject.policy, each) for each in findings]
    problems += [problem_of(policy, each) for policy, each in unsettled(policies, registry, settings)]
    return tuple(dict.fromkeys(problems))


def problem_of(policy: Policy, finding: Finding) -> Problem:
    """A finding at the place of its key in the policy's file."""
    fleet = find(policy.text, "models")
    of_fleet = fleet is not None and fleet.key is not None
    key = "models" if of_fleet and finding.key == "model" else finding.key
    message = f"{policy.model}: {finding.message}" if of_fleet and finding.key != "models" else finding.message
    line, column = place_of(policy.text, key)
    return Problem(shown_path(policy.source), line, column, message, finding.hint, finding.warning)


@dataclass(frozen=True)
class _Subject:
    """A policy with what the registry alone says against it; `asked` of a worker where there is a version."""

    policy: Policy
    findings: tuple[Finding, ...]
    asked: Asked | None = None


def _subjects(policies: tuple[Policy, ...], registry: Registry, settings: Settings) -> Iterator[_Subject]:
    models = registry.models([policy.model for policy in policies])
    trust = trust_of(settings)
    for policy in policies:
        model = models.get(policy.model)
        if model is None:
            yield _Subject(policy, (_no_model(policy.model, registry),))
            continue
        number = model.aliases.get(policy.alias)
        if number is None:
            yield _Subject(policy, (_no_alias(policy, model.aliases),))
            continue
        try:
            version = registry.version(policy.model, number)
        except NotFound as gone:
            yield _Subject(policy, (Finding(key="alias", message=gone.message, hint=gone.hint),))
            continue
        source = Source(
            tracking_uri=registry.tracking_uri, registry_uri=registry.registry_uri, model=policy.model, version=number
        )
        untrusted = trust.against_champion(registry.author(version), number)
        reference, without = _newest(policy, settings)
        yield _Subject(policy, without, question_of(policy, source, untrusted, reference))


def _no_model(name: str, registry: Registry) -> Finding:
    message = f"No registered model is named {name!r}."
    names = list(registry.matching(("*",)))
    folded = [other for other in names if other.casefold() == name.casefold()]
    close = folded or difflib.get_close_matches(name, names, n=1)
    there = "Register one with mlflow." if not names else f"There are {', '.join(sorted(names)[:12])}."
    return Finding(key="model", message=message, hint=f"Did you mean {close[0]!r}?" if close else there)


def _no_alias(policy: Policy, aliases: Mapping[str, int]) -> Finding:
    message = f"{policy.model} has no alias {policy.alias!r}"
    key = "alias"
    if spelled := spell_alias(aliases, policy.alias):
        return Finding(
            key=key,
            message=f"{message}, and one spelled {spelled!r}: aliases are case-sensitive.",
            hint=f"Write `alias: {spelled}`, or set the alias {policy.alias} in MLflow.",
        )
    there = f" It has {', '.join(sorted(aliases))}." if aliases else ""
    hint = f"Name the first champion: retraind adopt {policy.model} --version N.{there}"
    return Finding(key=key, message=f"{message}, so there is no champion to train from.", hint=hint)


def _newest(policy: Policy, settings: Settings) -> tuple[str, tuple[Finding, ...]]:
    """The newest complete file of the drop folder that the daemon did not refuse, else the newest; or a warning that
    there is none.
    """
    folders = DropFolders(lambda: None)
    try:
        scan = folders.scan(watched_folder(policy), {}, clock())
        good = folders.scan(watched_folder(policy), _refused(policy.model, settings), clock())
    finally:
        folders.close()
    if found := good.found or scan.found:
        return found[-1].path, ()
    why = sentence(scan.problem) and f"{sentence(scan.problem)}."
    why = why or f"No complete file is in {policy.data.folder} that is named {policy.data.pattern}."
    hint = "Columns are compared once one is there."
    return "", (Finding(key="data.path", message=why, hint=hint, warning=True),)


def _refused(model: str, settings: Settings) -> Mapping[str, Stamp]:
    """Files in quarantine, as they were when they were refused; none where no daemon has run yet."""
    try:
        journal = journal_to_read(settings)
    except NotFound:
        return {}
    try:
        return {path: Stamp(*stamp) for path, stamp in journal.drops.quarantined(model).items()}
    finally:
        journal.close()


def _asked(subjects: list[_Subject], settings: Settings) -> Mapping[str, Result]:
    asked = {f"check-{place}": each.asked for place, each in enumerate(subjects) if each.asked is not None}
    if not asked:
        return {}
    with tempfile.TemporaryDirectory(prefix="retraind-check-") as folder:
        return all_done(settings, asked, LIMITS, Path(folder))


def _findings_of(result: Result | None) -> tuple[Finding, ...]:
    """What a worker found; one that died says so of its policy alone."""
    match result:
        case None:
            return ()
        case PolicyChecked(findings=findings):
            return findings
        case Failed(unreachable=True, message=message, hint=hint):
            raise RegistryUnreachable(message, hint)
        case Failed(message=message, hint=hint):
            said = f"It could not be held against its model: {message}"
            return (Finding(key="model", message=said, hint=hint),)
        case other:
            return (Finding(key="model", message=f"The worker answered {other.kind}."),)
