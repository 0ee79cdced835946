"""`retraind install`: the steps that make this installation a service of systemd, shown or done.

Every step is a line of shell: what is shown is what is done. What the files say is in `systemd/`.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import retrain_daemon
from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.errors import Refused, RetrainError
from retrain_daemon.settings import SYSTEM_FILE, Settings

FILES = Path(retrain_daemon.__file__).parent / "systemd"
#: Where the unit expects the installation.
PREFIX = Path("/opt/retraind")
#: What the service does not see: it has no homes, and its own temporary folders.
_HIDDEN = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))
_SYSTEMD_RUNS = Path("/run/systemd/system")
_UNIT = "/etc/systemd/system/retraind.service"

_AFTERWARDS = """\
Then, as you need it (docs/operations.md, "Install under systemd"):
  who edits policies             adduser NAME retraind-editors
  MLflow on another machine      its address in {settings}, and in the unit: systemctl edit retraind
  a token for MLflow             /etc/credstore/retraind.mlflow-token
  graphics cards                 install -D -m 0644 {gpu} {unit}.d/gpu.conf
"""


@dataclass(frozen=True)
class Step:
    """One line of shell, and why it is there."""

    line: str
    why: str


def install(arguments: Arguments, _settings: Settings) -> int:
    """Print the steps; with --yes, do them as root on a machine that runs systemd."""
    prefix = Path(sys.prefix)
    for what, place in (("Python", prefix), ("Python", Path(sys.base_prefix)), ("project", FILES.parent)):
        _refuse_unseen(what, place)
    if arguments.yes:
        _refuse_where_impossible()
    for step in steps(prefix):
        print(f"# {step.why}\n{step.line}", flush=True)
        if arguments.yes:
            _do(step)
    if not arguments.yes:
        print("\nNothing was done. `retraind install --yes` does this, as root.")
    print("\n" + _AFTERWARDS.format(settings=SYSTEM_FILE, gpu=shlex.quote(str(FILES / "gpu.conf")), unit=_UNIT), end="")
    return 0


def steps(prefix: Path) -> tuple[Step, ...]:
    """What makes the installation in `prefix` a service, in order. All of it may be done again, for an upgrade too."""
    return (
        Step(_copy("sysusers.conf", "/etc/sysusers.d/retraind.conf"), "who the daemon runs as, who may edit policies"),
        Step("systemd-sysusers retraind.conf", "make these users and groups"),
        Step(_copy("tmpfiles.conf", "/etc/tmpfiles.d/retraind.conf"), "folders for settings, policies and drops"),
        Step("systemd-tmpfiles --create retraind.conf", "make these folders"),
        Step(
            f"test -e {SYSTEM_FILE} || {_copy('retraind.toml', str(SYSTEM_FILE), '-m 0640 -g retraind')}",
            "settings to begin with; those that are there stay",
        ),
        Step(_copy_unit(prefix), "the service itself; your changes to it belong in drop-ins"),
        Step("systemctl daemon-reload", "have systemd read it"),
        Step("systemctl enable retraind.service", "start it with the machine"),
        Step("systemctl restart retraind.service", "start it now; a training that is cut short is taken up again"),
    )


def _copy(name: str, target: str, how: str = "-m 0644") -> str:
    return f"install -D {how} {shlex.quote(str(FILES / name))} {target}"


def _copy_unit(prefix: Path) -> str:
    copy = _copy("retraind.service", _UNIT)
    if prefix == PREFIX:
        return copy
    return f"{copy} && sed -i {shlex.quote(f's|{PREFIX}/bin/|{prefix}/bin/|')} {_UNIT}"


def _refuse_unseen(what: str, place: Path) -> None:
    """Also a link that leads there is refused: the service would follow it to nothing."""
    for path in {place, place.resolve()}:
        if hidden := next((folder for folder in _HIDDEN if path.is_relative_to(folder)), None):
            raise Refused(
                f"this {what} is in {path}, and the service sees nothing of {hidden} (ProtectHome=, PrivateTmp=).",
                f"Install with a Python of the system, not editable: python3 -m venv {PREFIX}",
            )
    if not re.fullmatch(r"[\w./+-]+", str(place)):
        raise Refused(f"the path {place} cannot be written into a unit as it is.", f"Install into {PREFIX}.")


def _refuse_where_impossible() -> None:
    if not _SYSTEMD_RUNS.is_dir():
        raise Refused(
            "systemd does not run here.", "Run `retraind run` under the service manager there is, as its own user."
        )
    if os.geteuid() != 0:
        raise Refused("installing a service needs root.", f"sudo {sys.prefix}/bin/retraind install --yes")


def _do(step: Step) -> None:
    done = subprocess.run(["sh", "-c", step.line], check=False)
    if done.returncode != 0:
        raise RetrainError(
            f"the step `{step.line}` ended with exit code {done.returncode}.",
            "What it said is above; mend it and run this again.",
        )
