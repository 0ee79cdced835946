"""The checks of `retraind doctor`: each looks at one thing and gives what it found as a value. None changes anything.

How they are shown is in `diagnosing.py`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from retrain_daemon.cli.composition import journal_to_read, known_models, registry_of
from retrain_daemon.core.names import NO_MODELS, Listing
from retrain_daemon.core.policy import Policy
from retrain_daemon.drops.mounts import REMOTE, remote_devices, remote_kind
from retrain_daemon.errors import NotFound, RetrainError
from retrain_daemon.executor.jobs import left_alive
from retrain_daemon.journal import JOURNAL_FILE
from retrain_daemon.journal.copies import BACKUP_FOLDER, copies, flaw, how_to_restore
from retrain_daemon.lock import DAEMON, holder
from retrain_daemon.policies import read_policies
from retrain_daemon.secrets import hide_credentials
from retrain_daemon.settings import Settings

ENOUGH_ROOM = 200 * 2**20
OLD_BACKUP = timedelta(days=2)
SLOW_REGISTRY_SECONDS = 3.0
_LOADING_SECONDS = 10.0  # MLflow itself is loaded first
MOST_SKEW = timedelta(seconds=30)
FRAMEWORKS = {"scikit-learn": "sklearn", "tensorflow": "tensorflow", "torch": "torch"}
_WORKER_SECONDS = 90.0
_MOUNTS = Path("/proc/self/mountinfo")


class Health(StrEnum):
    """What a check came to."""

    OK = "ok"
    PROBLEM = "problem"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line on the screen: what was looked at, how it is, and what to do where it is not well."""

    name: str
    health: Health
    found: str
    remedy: str = ""


def ok(name: str, found: str) -> Finding:
    """It is well."""
    return Finding(name=name, health=Health.OK, found=found)


def problem(name: str, found: str, remedy: str) -> Finding:
    """It is not, and what to do."""
    return Finding(name=name, health=Health.PROBLEM, found=found, remedy=remedy)


def not_checked(name: str, why: str) -> Finding:
    """It could not be looked at, or is not here."""
    return Finding(name=name, health=Health.NOT_CHECKED, found=why)


def settings_read(settings: Settings) -> Finding:
    """Which file they are of; wrong ones end every command with exit code 9."""
    return ok("settings", f"of {settings.file}" if settings.file else "defaults and environment, no file")


def state_folder(settings: Settings) -> Finding:
    """Whether it can be written, lies on a local disk, and has room."""
    state, name = settings.state, "state folder"
    if not state.is_dir():
        return problem(
            name, f"{state} is not there", "The first `retraind run` makes it; or name another with --state."
        )
    if not os.access(state, os.W_OK | os.X_OK, effective_ids=True):
        return problem(name, f"{state} cannot be written by this user", "Run this as the daemon's user, or chown it.")
    kind = file_system(state, _MOUNTS.read_text())
    if kind.startswith(REMOTE):
        return problem(name, f"{state} is on {kind}", "Put it on a local disk: the journal cannot rely on this one.")
    free = shutil.disk_usage(state).free
    if free < ENOUGH_ROOM:
        return problem(name, f"{state} has {free:,} bytes free", "Make room before the disk is full.")
    return ok(name, f"{state}, {kind}, {free // 2**20:,} MiB free")


def file_system(path: Path, mounts: str) -> str:
    """The kind of file system a path is on, given the text of /proc/self/mountinfo; "unknown" if it is not told."""
    place, best, kind = str(path.resolve()), "", "unknown"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        at = before.split()[4].replace("\\040", " ")
        inside = place == at or place.startswith(at.rstrip("/") + "/")
        if inside and len(at) >= len(best):
            best, kind = at, after.split()[0]
    return kind


def lock(settings: Settings) -> Finding:
    """Who holds the state folder."""
    return ok("daemon", holder(settings.state) or "none is running with this state folder")


def journal(settings: Settings) -> Finding:
    """Whether every page and index of it is sound."""
    name, path = "journal", settings.state / JOURNAL_FILE
    try:
        opened = journal_to_read(settings)
    except NotFound:
        return not_checked(name, "no daemon has run yet")
    try:
        said, schema = opened.integrity(), opened.schema()
    finally:
        opened.close()
    if said:
        return problem(name, f"{path} is damaged: {said}", how_to_restore(path))
    return ok(name, f"sound, schema {schema}, {path.stat().st_size // 1024:,} KiB")


def backup(settings: Settings, now: datetime) -> Finding:
    """Whether there is a good backup that is not old."""
    name, found = "backups", copies(settings.state / BACKUP_FOLDER)
    if not (settings.state / JOURNAL_FILE).exists() and not found:
        return not_checked(name, "no daemon has run yet")
    if not found:
        return problem(name, "there is none", "The daemon makes one a day: look for journal.backup_failed in its log.")
    if said := flaw(found[0]):
        return problem(name, f"{found[0]} is damaged: {said}", "Move it away; the daemon makes another.")
    age = now - datetime.fromtimestamp(found[0].stat().st_mtime, tz=now.tzinfo)
    text = f"{len(found)}, the newest {found[0].name}, {age.total_seconds() / 3600:.0f} h old"
    if age > OLD_BACKUP:
        return problem(name, text, "Start the daemon, or look for journal.backup_failed in its log.")
    return ok(name, text)


def policies(settings: Settings) -> tuple[Finding, tuple[Policy, ...]]:
    """Whether every policy file can be used; those that can."""
    reading = read_policies(settings.policies, _models(settings))
    if reading.problems:
        first = str(reading.problems[0])
        more = f" (and {len(reading.problems) - 1} more)" if len(reading.problems) > 1 else ""
        return problem("policies", f"{first}{more}", "`retraind check` says all."), reading.policies
    return ok("policies", f"{len(reading.policies)} in {settings.policies}"), reading.policies


def _models(settings: Settings) -> Listing:
    """Those that fleets may have, as far as they are known."""
    try:
        return known_models(settings)
    except RetrainError:
        return NO_MODELS  # what is wrong with the journal is a finding of its own


def drop_folders(found: tuple[Policy, ...]) -> tuple[Finding, ...]:
    """Whether each can be read, and all can be watched."""
    if not found:
        return (not_checked("drop folders", "there are no policies"),)
    wrong = []
    folders = sorted({policy.data.folder for policy in found})
    for folder in folders:
        if not Path(folder).is_dir():
            wrong.append(problem("drop folders", f"{folder} is not there", "Create or mount it, or correct data.path."))
        elif not os.access(folder, os.R_OK | os.X_OK, effective_ids=True):
            wrong.append(
                problem("drop folders", f"{folder} cannot be read by this user", "Give read permission on it.")
            )
    limit = _number(Path("/proc/sys/fs/inotify/max_user_watches"))
    watched = len({policy.data.folder for policy in found if not policy.data.polling})
    if limit is not None and watched > 0.8 * limit:
        wrong.append(problem("drop folders", f"{watched} folders, and this user may watch {limit}",
                             "Raise fs.inotify.max_user_watches."))  # fmt: skip
    wrong += _unpolled(found, _MOUNTS.read_text())
    return tuple(wrong) or (ok("drop folders", f"{len(folders)}, all readable"),)


def _unpolled(found: tuple[Policy, ...], mounts: str) -> list[Finding]:
    """Folders that other machines write to, and that are watched for events of this one."""
    devices = remote_devices(mounts)
    remedy = "Write `polling: true` in the data of its policy: no events come of what other machines write."
    folders = sorted({policy.data.folder for policy in found if not policy.data.polling})
    kinds = ((folder, remote_kind(folder, devices)) for folder in folders)
    return [problem("drop folders", f"{folder} is on {kind}", remedy) for folder, kind in kinds if kind]


def registry(settings: Settings, found: tuple[Policy, ...]) -> tuple[Finding, ...]:
    """Whether MLflow answers, how fast, in which version, and what its clock says."""
    missing = _missing_database(settings)
    if missing is not None:
        return (not_checked("registry", f"there is no {missing} yet, and looking into it would make it"),)
    begun = time.monotonic()
    registry_of(settings).models([policy.model for policy in found] or ["none"])
    seconds = time.monotonic() - begun
    shown = hide_credentials(settings.registry_uri)
    timeout = os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    text = f"{shown} answered in {seconds:.1f} s (an answer is waited for {timeout} s)"
    first = (
        problem("registry", text, "Look at its load, and the network between.")
        if seconds > SLOW_REGISTRY_SECONDS + _LOADING_SECONDS
        else ok("registry", text)
    )
    if not settings.registry_uri.startswith(("http://", "https://")):
        return (first,)
    return (first, *_server(settings.registry_uri))


def _missing_database(settings: Settings) -> Path | None:
    """The first SQLite file of the two stores that is not there."""
    uris = (urlsplit(uri) for uri in (settings.registry_uri, settings.tracking_uri))
    files = [Path(uri.path.removeprefix("/")) for uri in uris if uri.scheme.startswith("sqlite")]
    return next((file for file in files if not file.exists()), None)


def _server(uri: str) -> tuple[Finding, ...]:
    try:
        with urllib.request.urlopen(f"{uri.rstrip('/')}/version", timeout=5) as answer:
            return (version_skew(answer.read(100).decode(), metadata.version("mlflow-skinny")),
                    clock_skew(answer.headers, datetime.now().astimezone()))  # fmt: skip
    except (OSError, ValueError) as error:
        return (not_checked("registry version", f"the server does not tell it: {error}"),)


def version_skew(server: str, ours: str) -> Finding:
    """MLflow of another major version may not understand us."""
    text = f"server {server.strip()}, here {ours}"
    if server.strip().partition(".")[0] != ours.partition(".")[0]:
        return problem("registry version", text, "Use the same major version on both sides.")
    return ok("registry version", text)


def clock_skew(headers: Mapping[str, str], now: datetime) -> Finding:
    """Times of versions are the server's, times of drops ours: they are compared."""
    said = headers.get("Date")
    if not said:
        return not_checked("registry clock", "the server does not tell its time")
    skew = parsedate_to_datetime(said) - now
    text = f"{abs(skew.total_seconds()):.0f} s {'ahead of' if skew > timedelta(0) else 'behind'} this machine"
    if abs(skew) > MOST_SKEW:
        return problem(
            "registry clock", text, "Keep both machines' clocks by NTP: times of versions and drops are compared."
        )
    return ok("registry clock", text)


def workers() -> tuple[Finding, ...]:
    """Whether a worker can be started, and each installed framework be imported: in processes of their own."""
    started = _import("retrain_daemon.worker.job")
    if started:
        return (problem("workers", f"none can be started: {started}", "Mend the installation."),)
    found = [ok("workers", f"{sys.executable} can be started")]
    for distribution, module in FRAMEWORKS.items():
        try:
            version = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            found.append(not_checked(distribution, "not installed"))
            continue
        said = _import(module)
        remedy = "Install it again: models of this framework cannot be trained."
        found.append(problem(distribution, f"{version}: {said}", remedy) if said else ok(distribution, version))
    return tuple(found)


def _import(module: str) -> str:
    """Why a module cannot be imported by a worker; "" when it can."""
    try:
        ended = subprocess.run(
            [sys.executable, "-c", f"import {module}"], capture_output=True, timeout=_WORKER_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"importing it takes longer than {_WORKER_SECONDS:.0f} s"
    lines = ended.stderr.decode(errors="replace").strip().splitlines()
    return "" if ended.returncode == 0 else (lines[-1] if lines else f"exit code {ended.returncode}")


def leftovers(settings: Settings) -> Finding:
    """Job folders and processes that no daemon looks after."""
    jobs = settings.state / "jobs"
    found = sorted(path for path in jobs.iterdir() if path.is_dir()) if jobs.is_dir() else []
    if (holder(settings.state) or "").startswith(DAEMON):
        return ok("leftovers", f"{len(found)} jobs are the daemon's")
    alive = [path.name for path in found if left_alive(path)]
    if alive:
        return problem("leftovers", f"workers live without a daemon: {', '.join(alive)}", "The next daemon ends them.")
    return ok("leftovers", f"{len(found)} job folders, which the next daemon takes up" if found else "none")


def systemd() -> Finding:
    """Whether the unit is active, where systemd runs this machine."""
    if not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        return not_checked("systemd", "it does not run this machine")
    shown = subprocess.run(
        ["systemctl", "show", "retraind.service", "--property=LoadState,ActiveState,WatchdogUSec"],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    values = dict(line.partition("=")[::2] for line in shown.stdout.splitlines())
    if values.get("LoadState") != "loaded":
        return not_checked("systemd", "there is no unit retraind.service")
    text = f"retraind.service is {values.get('ActiveState')}, watchdog {values.get('WatchdogUSec', 'off')}"
    if values.get("ActiveState") in ("active", "activating", "reloading"):
        return ok("systemd", text)
    return problem("systemd", text, "systemctl status retraind; then systemctl start retraind.")


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
