"""`retraind inspect`: how a registered model can be trained further, found out by a worker."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from datetime import timedelta
from itertools import groupby
from pathlib import Path

from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.composition import registry_of, trust_of
from retrain_daemon.cli.one_job import done
from retrain_daemon.cli.output import print_json
from retrain_daemon.core.names import Listing
from retrain_daemon.core.policy import DEFAULT_ALIAS
from retrain_daemon.errors import NotFound
from retrain_daemon.executor.limits import Limits
from retrain_daemon.policies import read_policies
from retrain_daemon.registry import RegisteredModel, spell_alias
from retrain_daemon.settings import Settings
from retrain_daemon.worker.job import InspectModel, ModelInspected, ModeReport, Source

LIMITS = Limits(run_for=timedelta(minutes=10), memory=None)


def inspect(arguments: Arguments, settings: Settings) -> int:
    """Print modes, why not, what to change, and the hyperparameters a policy may set."""
    model = arguments.model or ""
    source = source_of(settings, model, arguments.version, _alias(settings, model))
    report = _run(settings, InspectModel(source=source, untrusted=untrusted(settings, source)))
    if arguments.json:
        print_json(report)
    else:
        _print(model, source.version, report)
    return 0


def source_of(settings: Settings, model: str, version: int | None, alias: str) -> Source:
    """A version of a registered model, by its number or else by an alias; raises NotFound."""
    registry = registry_of(settings)
    found = registry.models([model]).get(model)
    if found is None:
        raise NotFound(f"no registered model is named {model}.", "Register one with mlflow, or mind the spelling.")
    if version is None:
        version = found.aliases.get(alias)
        if version is None:
            raise NotFound(f"{model} has no alias {alias}.", _without_alias(found, alias))
    registry.version(model, version)
    return Source(tracking_uri=registry.tracking_uri, registry_uri=registry.registry_uri, model=model, version=version)


def _without_alias(found: RegisteredModel, alias: str) -> str:
    if spelled := spell_alias(found.aliases, alias):
        return f"It has {spelled}: aliases are case-sensitive."
    there = ", ".join(found.aliases) or "none"
    return f"Name a version with --version, or set it in MLflow; it has {there}."


def untrusted(settings: Settings, source: Source) -> str:
    """Why nothing of the version is loaded: its author is not among those the settings name."""
    assert source.version is not None
    registry = registry_of(settings)
    trust = trust_of(settings)
    return trust.against_champion(registry.author(registry.version(source.model, source.version)), source.version)


def _alias(settings: Settings, model: str) -> str:
    if not settings.policies.exists():
        return DEFAULT_ALIAS
    policies = read_policies(settings.policies, Listing(names=frozenset({model}))).policies
    return next((policy.alias for policy in policies if policy.model == model), DEFAULT_ALIAS)


def _run(settings: Settings, job: InspectModel) -> ModelInspected:
    with tempfile.TemporaryDirectory(prefix="retraind-inspect-") as folder:
        report = done(settings, job, LIMITS, Path(folder))
    assert isinstance(report, ModelInspected)  # what InspectModel answers
    return report


def _print(model: str, version: int | None, report: ModelInspected) -> None:
    print(f"{model} version {version}{': ' if report.estimator else ''}{report.estimator}")
    stored = f"stored as {report.storage}" if report.storage else ""
    print(f"  {', '.join(filter(None, (report.flavor, stored, report.task)))}")
    if report.classes:
        print(f"  classes: {', '.join(report.classes)}")
    if report.features:
        shown = ", ".join(f"{name or 'a tensor'} ({kind})" for name, kind in report.features[:20])
        more = f" and {len(report.features) - 20} more" if len(report.features) > 20 else ""
        print(f"  features: {shown}{more}")
    _print_modes(report.modes)
    for note in report.notes:
        print(f"  note: {note}")
    if report.hyperparameters:
        print("  hyperparameters a policy may set:")
        for name, value in report.hyperparameters:
            print(f"    {name}: {value}")


def _print_modes(modes: Iterable[ModeReport]) -> None:
    """What is the same against several modes is said once."""
    for (reason, remedy), same in groupby(modes, lambda mode: (mode.reason, mode.remedy)):
        against = list(same)
        names = [mode.mode for mode in against]
        for line in names if against[0].possible else [", ".join(names)]:
            print(f"  {line}: {'yes' if against[0].possible else 'no, ' + reason}")
        if remedy:
            print(f"    {remedy}")
