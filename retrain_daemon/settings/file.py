"""Settings of the daemon: one TOML file, environment variables, the command line, and defaults that work.

The command line wins over the environment, the environment over the file. What a policy says is not here.
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from retrain_daemon.errors import SettingsProblem
from retrain_daemon.settings.values import (
    DEFAULT_ADDRESS,
    DEFAULT_OCCASIONS,
    Address,
    Given,
    Wrong,
    meant,
    read_address,
    read_count,
    read_devices,
    read_log_format,
    read_names,
    read_nice,
    read_occasions,
    read_path,
    read_size,
    read_span,
    read_span_or_off,
    read_uri,
    read_words,
)

SYSTEM_FILE = Path("/etc/retraind/retraind.toml")

# Set by the daemon for its workers, and the one that names the file: no settings of their own.
_OTHER_VARIABLES = ("RETRAIND_CONFIG", "RETRAIND_PARENT", "RETRAIND_DAEMON", "RETRAIND_JOB",
                    "RETRAIND_TRACKING_STORE", "RETRAIND_REGISTRY_STORE")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything the daemon is told that is not about one model. Paths are absolute; `file` is the file that was read.

    `poll_registry` between two looks at MLflow, `rescan` between two listings of the drop folders; a failed attempt
    is tried again after `retry_backoff`, then after twice that, and so on. `slots` trainings and `inspections` run side
    by side. `memory` in bytes and `processes` hold for workers whose policy says nothing; `gpus` are the names of
    devices to hand out, None where the daemon hands out none. Workers are `nice` to other work of the box. Of the
    journal's daily `backups` so many are kept.
    What workers are forked from stays for `keep_warm` after its last use; None: nothing is kept.

    `web_listen` None: no port is opened. `notify_command`, if there is one, is run for each of `notify_on`.
    """

    tracking_uri: str
    registry_uri: str
    state: Path
    policies: Path
    poll_registry: timedelta = timedelta(seconds=15)
    rescan: timedelta = timedelta(seconds=60)
    retry_backoff: timedelta = timedelta(minutes=1)
    log_format: str = "auto"
    trust_users: tuple[str, ...] = ()
    slots: int = 1
    keep_warm: timedelta | None = timedelta(minutes=5)
    inspections: int = 2
    memory: int | None = None
    processes: int = 512
    gpus: tuple[str, ...] | None = None
    nice: int = 10
    web_listen: Address | None = DEFAULT_ADDRESS
    notify_command: tuple[str, ...] = ()
    notify_on: tuple[str, ...] = DEFAULT_OCCASIONS
    notify_timeout: timedelta = timedelta(seconds=10)
    backups: int = 7
    file: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """What the command line says, as text; None where it says nothing."""

    tracking_uri: str | None = None
    registry_uri: str | None = None
    state: str | None = None
    policies: str | None = None
    log_format: str | None = None


def read_settings(
    path: Path | None,
    environment: Mapping[str, str],
    overrides: Overrides = Overrides(),
    system_file: Path = SYSTEM_FILE,
) -> Settings:
    """Settings from the file at `path`, else the one RETRAIND_CONFIG names, else `system_file` if there is one.

    Relative paths of the file are meant from its folder, others from the working directory. Raises SettingsProblem
    that names every unknown name and every wrong value at once.
    """
    file, content = _read_file(path, environment, system_file)
    problems = [*_unknown_variables(environment), *_unknown_names(file, content)]
    values: dict[str, object] = {}
    for option in _OPTIONS:
        try:
            if given := _given(option, overrides, environment, file, content):
                values[option.name] = option.read(given)
        except Wrong as wrong:
            problems.append(str(wrong))
    if problems:
        raise SettingsProblem("\n".join(problems))
    return Settings(**(_defaults(values, file, environment) | values), file=file)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Option:
    """One setting: its field, the table it stands in, its variable, how it is read, and its key in the file ("": as
    the field). One that `takes_list` is a list of texts in the file, separated by commas elsewhere. An `example` of
    its value is shown to who wrote something else.
    """

    name: str
    table: str
    variable: str
    read: Callable[[Given], object]
    key: str = ""
    takes_list: bool = False
    example: str = ""

    @property
    def written(self) -> str:
        """The key in the file."""
        return self.key or self.name


_OPTIONS = (
    _Option("tracking_uri", "mlflow", "MLFLOW_TRACKING_URI", read_uri),
    _Option("registry_uri", "mlflow", "MLFLOW_REGISTRY_URI", read_uri),
    _Option("state", "daemon", "RETRAIND_STATE", read_path),
    _Option("policies", "daemon", "RETRAIND_POLICIES", read_path),
    _Option("poll_registry", "daemon", "RETRAIND_POLL_REGISTRY", read_span),
    _Option("rescan", "daemon", "RETRAIND_RESCAN", read_span),
    _Option("retry_backoff", "daemon", "RETRAIND_RETRY_BACKOFF", read_span),
    _Option("log_format", "daemon", "RETRAIND_LOG_FORMAT", read_log_format),
    _Option("backups", "daemon", "RETRAIND_BACKUPS", read_count),
    _Option("slots", "workers", "RETRAIND_SLOTS", read_count),
    _Option("keep_warm", "workers", "RETRAIND_KEEP_WARM", read_span_or_off),
    _Option("inspections", "workers", "RETRAIND_INSPECTIONS", read_count),
    _Option("memory", "workers", "RETRAIND_MEMORY", read_size, example='"8GiB"'),
    _Option("processes", "workers", "RETRAIND_PROCESSES", read_count),
    _Option("nice", "workers", "RETRAIND_NICE", read_nice),
    _Option("gpus", "workers", "RETRAIND_GPUS", read_devices, takes_list=True, example='["0", "1"]'),
    _Option(
        "trust_users", "trust", "RETRAIND_TRUST_USERS", read_names, "users", takes_list=True, example='["alice", "ci"]'
    ),
    _Option("web_listen", "web", "RETRAIND_WEB_LISTEN", read_address, "listen"),
    _Option("notify_command", "notify", "RETRAIND_NOTIFY_COMMAND", read_words, "command"),
    _Option("notify_on", "notify", "RETRAIND_NOTIFY_ON", read_occasions, "on", takes_list=True),
    _Option("notify_timeout", "notify", "RETRAIND_NOTIFY_TIMEOUT", read_span, "timeout"),
)
_TABLES = tuple(dict.fromkeys(option.table for option in _OPTIONS))


def _read_file(
    path: Path | None, environment: Mapping[str, str], system_file: Path
) -> tuple[Path | None, Mapping[str, object]]:
    """The settings file with its content; only the system's own may be missing."""
    named = path or (Path(environment["RETRAIND_CONFIG"]) if environment.get("RETRAIND_CONFIG") else None)
    file = (named or system_file).absolute()
    try:
        return file, tomllib.loads(file.read_bytes().decode())
    except FileNotFoundError as error:
        if named is None:
            return None, {}
        raise SettingsProblem(f"settings file {file} does not exist.") from error
    except OSError as error:
        raise SettingsProblem(f"settings file {file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise SettingsProblem(f"settings file {file} is no valid TOML: {error}.") from error


def _given(
    option: _Option,
    overrides: Overrides,
    environment: Mapping[str, str],
    file: Path | None,
    content: Mapping[str, object],
) -> Given | None:
    """What was written for an option in the place that counts; an empty variable is an unset one."""
    home = _home(environment)
    if (text := getattr(overrides, option.name, None)) is not None:
        return _filled(Given(text, "--" + option.name.replace("_", "-"), Path.cwd(), home))
    if text := environment.get(option.variable):
        return Given(text, f"environment variable {option.variable}", Path.cwd(), home)
    table = content.get(option.table)
    if file is None or not isinstance(table, Mapping) or option.written not in table:
        return None
    where, value = f"{file}: [{option.table}] {option.written}", table[option.written]
    if option.read is read_words:
        return Given(_quoted(where, value), where, file.parent, home)
    if option.takes_list:
        return Given(_joined(option, where, value), where, file.parent, home)
    if option.read in (read_count, read_nice) and isinstance(value, int) and not isinstance(value, bool):
        return Given(str(value), where, file.parent, home)
    if option.read in (read_count, read_nice):
        raise Wrong(f"{where} is {_toml(value)}, it must be a whole number without quotes")
    if not isinstance(value, str):
        raise Wrong(f"{where} is {_toml(value)}, it must be text in quotes{_example(option)}")
    return _filled(Given(value, where, file.parent, home))


def _quoted(where: str, value: object) -> str:
    """A command as one text; what was written is not shown, as it may hold a secret."""
    if not isinstance(value, list) or not value or not all(isinstance(each, str) and each for each in value):
        raise Wrong(f'{where} must be a list of words, for example ["/usr/local/bin/tell", "--channel", "ml"]')
    return shlex.join(value)


def _joined(option: _Option, where: str, value: object) -> str:
    if not isinstance(value, list) or not all(isinstance(each, str) and each and "," not in each for each in value):
        raise Wrong(f"{where} is {_toml(value)}, it must be a list of names{_example(option)}")
    return ",".join(value)


def _filled(given: Given) -> Given:
    if not given.text:
        raise Wrong(f"{given.where} is empty")
    return given


def _defaults(values: Mapping[str, object], file: Path | None, environment: Mapping[str, str]) -> dict[str, object]:
    """What holds where nothing was said: MLflow in the state folder, policies beside the settings file."""
    state = values.get("state", _default_state(environment))
    tracking_uri = values.get("tracking_uri", f"sqlite:///{state}/mlflow.db")
    return {
        "state": state,
        "policies": (file.parent if file else Path.cwd()) / "policies",
        "tracking_uri": tracking_uri,
        "registry_uri": tracking_uri,
    }


def _default_state(environment: Mapping[str, str]) -> Path:
    """The folder that systemd made for the unit, else the user's own folder for state (XDG base directories)."""
    if folders := environment.get("STATE_DIRECTORY"):
        return Path(folders.split(":")[0])
    folder = Path(environment.get("XDG_STATE_HOME", ""))
    return (folder if folder.is_absolute() else _home(environment) / ".local/state") / "retraind"


def _home(environment: Mapping[str, str]) -> Path:
    return Path(environment["HOME"]) if environment.get("HOME") else Path.home()


def _unknown_variables(environment: Mapping[str, str]) -> Iterable[str]:
    known = [*(option.variable for option in _OPTIONS), *_OTHER_VARIABLES]
    for name in sorted(environment):
        if name.startswith("RETRAIND_") and name not in known:
            yield f"environment variable {name} is no setting{meant(name, [option.variable for option in _OPTIONS])}"


def _unknown_names(file: Path | None, content: Mapping[str, object]) -> Iterable[str]:
    for name, table in content.items():
        if name not in _TABLES:
            yield f"{file}: {_place(name, table)} is no setting{_belongs(name, _TABLES)}"
        elif not isinstance(table, Mapping):
            yield f"{file}: {name} is {_toml(table)}, it must be a table, [{name}]"
        else:
            known = [option.written for option in _OPTIONS if option.table == name]
            for key in table:
                if key not in known:
                    yield f"{file}: [{name}] {key} is no setting{_belongs(key, known)}"


def _place(name: str, value: object) -> str:
    return f"[{name}]" if isinstance(value, Mapping) else name


def _belongs(name: str, known: Iterable[str]) -> str:
    """Where a setting that stands in the wrong table belongs, else what may have been meant."""
    table = next((option.table for option in _OPTIONS if option.written == name), None)
    return f"; it belongs in [{table}]" if table else meant(name, known)


def _example(option: _Option) -> str:
    example = '"15s"' if option.read in (read_span, read_span_or_off) else option.example
    return f", for example {example}" if example else ""


def _toml(value: object) -> str:
    if isinstance(value, Mapping | list):
        return "a table" if isinstance(value, Mapping) else "a list"
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
