"""`retraind doctor`: every check on one screen, with what to do where something is not well."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

from retrain_daemon.cli import health
from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.composition import clock
from retrain_daemon.cli.health import Finding, Health
from retrain_daemon.cli.output import print_json, print_table
from retrain_daemon.core.policy import Policy
from retrain_daemon.errors import RetrainError
from retrain_daemon.settings import Settings


def doctor(arguments: Arguments, settings: Settings) -> int:
    """Print every check; exit code 1 when one found a problem."""
    findings = tuple(_findings(settings))
    if arguments.json:
        print_json(findings)
    else:
        _print(findings)
    return int(any(each.health is Health.PROBLEM for each in findings))


def _findings(settings: Settings) -> Iterator[Finding]:
    usable: tuple[Policy, ...] = ()

    def read_policies() -> Finding:
        nonlocal usable
        finding, usable = health.policies(settings)
        return finding

    checks: tuple[tuple[str, Callable[[], Finding | tuple[Finding, ...]]], ...] = (
        ("settings", lambda: health.settings_read(settings)),
        ("state folder", lambda: health.state_folder(settings)),
        ("daemon", lambda: health.lock(settings)),
        ("journal", lambda: health.journal(settings)),
        ("backups", lambda: health.backup(settings, clock())),
        ("policies", read_policies),
        ("drop folders", lambda: health.drop_folders(usable)),
        ("registry", lambda: health.registry(settings, usable)),
        ("workers", health.workers),
        ("leftovers", lambda: health.leftovers(settings)),
        ("systemd", health.systemd),
    )
    for name, check in checks:
        found = _looked(name, check)
        yield from found if isinstance(found, tuple) else (found,)


def _looked(name: str, check: Callable[[], Finding | tuple[Finding, ...]]) -> Finding | tuple[Finding, ...]:
    """What a check that could not be made met is its finding."""
    try:
        return check()
    except RetrainError as error:
        return health.problem(name, error.message, error.hint)
    except (OSError, subprocess.SubprocessError) as error:
        return health.problem(name, str(error), "Run this as the daemon's user.")


def _print(findings: tuple[Finding, ...]) -> None:
    print_table(("check", "", "found"), ((each.name, each.health.value, each.found) for each in findings))
    wrong = [each for each in findings if each.health is Health.PROBLEM]
    for each in wrong:
        print(f"{each.name}: {each.remedy}")
    print("all is well" if not wrong else f"{len(wrong)} of {len(findings)} checks found a problem")
