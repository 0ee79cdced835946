"""`retraind check`: every problem of policy files, with its place."""

from __future__ import annotations

from pathlib import Path

from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.output import print_json
from retrain_daemon.errors import NotFound, PolicyProblems
from retrain_daemon.policies import Reading, read_policies
from retrain_daemon.settings import Settings


def check(arguments: Arguments, settings: Settings) -> int:
    """Exit code 0 without problems, 3 with."""
    path = Path(arguments.path) if arguments.path else settings.policies
    reading = read_policies(path)
    if not reading.policies and not reading.fleets and not reading.problems:
        raise NotFound(f"there is no policy file in {path}.", "Policy files end in .yaml or .yml.")
    if arguments.json:
        print_json(reading.problems)
    else:
        _print(reading)
    return PolicyProblems.exit_code if reading.problems else 0


def _print(reading: Reading) -> None:
    for problem in reading.problems:
        print(problem)
    for policy in reading.policies:
        print(f"{policy.source}: ok, model {policy.model}, rules: {', '.join(rule.name for rule in policy.rules)}")
    for fleet in reading.fleets:
        rules = ", ".join(rule.name for rule in fleet.template.rules)
        print(f"{fleet.source}: ok, models: {fleet.models}, rules: {rules}")
    good = len(reading.policies) + len(reading.fleets)
    print(f"policies without problems: {good}, problems: {len(reading.problems)}")
