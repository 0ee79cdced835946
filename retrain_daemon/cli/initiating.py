"""`retraind init`: a first policy for a registered model. What it can say a worker finds out; its text is written in
`first_policy.py`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.first_policy import Beginning, first_policy
from retrain_daemon.cli.inspecting import source_of, untrusted
from retrain_daemon.cli.one_job import done
from retrain_daemon.core.policy import DEFAULT_ALIAS
from retrain_daemon.errors import NotFound, Refused
from retrain_daemon.executor.limits import Limits
from retrain_daemon.policies import read_policy_text
from retrain_daemon.settings import Settings
from retrain_daemon.worker.job import PolicySketched, SketchPolicy

LIMITS = Limits(run_for=timedelta(minutes=10), memory=None)
_PLACEHOLDER = "/srv/drops/EDIT-THIS"


def init(arguments: Arguments, settings: Settings) -> int:
    """Print a policy that passes `check --registry` as it is, or write it to a new file.

    Raises NotFound for a model, champion or folder that is not there; Refused for a model that cannot be trained, for
    what cannot be told, and for a file that exists.
    """
    model, output = arguments.model or "", Path(arguments.output) if arguments.output else None
    if output is not None and os.path.lexists(output):
        raise Refused(f"{output} is there already, and is never overwritten.", "Name another file with --output.")
    folder, pattern = _data(arguments.data)
    source = source_of(settings, model, arguments.version, DEFAULT_ALIAS)
    assert source.version is not None  # it is found
    job = SketchPolicy(
        source=source, untrusted=untrusted(settings, source), folder=folder, pattern=pattern, target=arguments.target,
        classes=tuple(arguments.classes),
    )  # fmt: skip
    found = _sketched(settings, job)
    path = f"{folder.rstrip('/')}/{found.files.pattern}" if found.files else f"{_PLACEHOLDER}/*.parquet"
    about = Beginning(model=model, version=source.version, alias=DEFAULT_ALIAS, path=path)
    text = first_policy(about, found)
    _refuse_unreadable(text, output)
    _write(text, output)
    return 0


def _data(given: str | None) -> tuple[str, str]:
    """Folder and file name pattern; raises NotFound, and Refused for a single file."""
    if given is None:
        return "", ""
    path = Path(given).absolute()
    if path.is_dir():
        return str(path), ""
    if path.exists():
        raise Refused(f"{given} is a file.", "Name the folder that files are dropped into.")
    if any(sign in path.name for sign in "*?[") and path.parent.is_dir():
        return str(path.parent), path.name
    raise NotFound(f"There is no folder {given}.", "Name the one that files are dropped into.")


def _sketched(settings: Settings, job: SketchPolicy) -> PolicySketched:
    with tempfile.TemporaryDirectory(prefix="retraind-init-") as folder:
        found = done(settings, job, LIMITS, Path(folder))
    assert isinstance(found, PolicySketched)  # what SketchPolicy answers
    return found


def _refuse_unreadable(text: str, output: Path | None) -> None:
    """Some names cannot stand in a policy at all, such as a folder with a wildcard in its name."""
    folder = str((output or Path("policy.yaml")).absolute().parent)
    problems = read_policy_text(text, "policy.yaml", folder).problems
    if problems:
        said = " ".join(f"{each.message} {each.hint}".strip() for each in problems[:3])
        raise Refused(f"No policy can say this: {said}")


def _write(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Refused(f"{output} cannot be written: {error.strerror}.", "Name another file with --output.") from error
    print(f"{output}: written. Next: retraind check --registry {output}")
