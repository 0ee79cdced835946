"""`retraind check`: every problem of policy files, with its place."""

from __future__ import annotations

import gc
import os
from pathlib import Path

from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.complaining import (
    print_annotations,
    print_json,
    print_problems,
    wants_colours,
    with_lines,
)
from retrain_daemon.errors import NotFound, PolicyProblems, RegistryUnreachable
from retrain_daemon.policies import Reading, read_policies
from retrain_daemon.policies.nodes import plain
from retrain_daemon.settings import Settings


def check(arguments: Arguments, settings: Settings) -> int:
    """Exit code 0 without problems, 3 with; warnings count when asked to be strict.

    Raises RegistryUnreachable, once files are told of, where the registry was to be asked and does not answer.
    """
    path = Path(arguments.path) if arguments.path else settings.policies
    # Nothing of what is read refers to itself, and looking for what does takes a third of the time.
    gc.disable()
    try:
        reading = read_policies(path)
    finally:
        gc.enable()
    if not reading.policies and not reading.fleets and not reading.problems:
        raise NotFound(f"there is no policy file in {path}.", "Policy files end in .yaml or .yml.")
    reading, silence = _with_registry(reading, path, settings) if arguments.registry else (reading, None)
    said = with_lines((*reading.problems, *reading.warnings))
    if arguments.json:
        print_json(said)
    elif arguments.github:
        print_annotations(said)
    else:
        print_problems(said, wants_colours(os.environ))
        _print_summary(reading)
    if silence is not None:
        raise silence
    failed = reading.problems or (arguments.strict and reading.warnings)
    return PolicyProblems.exit_code if failed else 0


def _with_registry(
    reading: Reading, path: Path, settings: Settings
) -> tuple[Reading, RegistryUnreachable | None]:  # fmt: skip
    """A check of files alone is over before MLflow's door would be imported."""
    from retrain_daemon.cli.against_registry import with_registry

    return with_registry(reading, path, settings)


def _print_summary(reading: Reading) -> None:
    for policy in reading.policies:
        rules = ", ".join(rule.name for rule in policy.rules)
        print(plain(f"{policy.source}: ok, model {policy.model}, rules: {rules}"))
    for fleet in reading.fleets:
        rules = ", ".join(rule.name for rule in fleet.template.rules)
        print(plain(f"{fleet.source}: ok, models: {fleet.models}, rules: {rules}"))
    counts = {
        "policies without problems": len(reading.policies) + len(reading.fleets),
        "problems": len(reading.problems),
        "warnings": len(reading.warnings),
    }
    print(", ".join(f"{what}: {count}" for what, count in counts.items()))
