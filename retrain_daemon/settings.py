"""Settings of the daemon: one TOML file, environment variables, the command line, and defaults that work.

The command line wins over the environment, the environment over the file. What a policy says is not here.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from retrain_daemon.errors import SettingsProblem

SYSTEM_FILE = Path("/etc/retraind/retraind.toml")
LOG_FORMATS = ("auto", "json", "console")

# Set by the daemon for its workers, and the one that names the file: no settings of their own.
_OTHER_VARIABLES = ("RETRAIND_CONFIG", "RETRAIND_PARENT", "RETRAIND_JOB")
_NOT_BUILT = ("notify",)
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything the daemon is told that is not about one model. Paths are absolute; `file` is the file that was read.

    `poll_registry` between two looks at MLflow, `rescan` between two listings of the drop folders; a failed attempt
    is tried again after `retry_backoff`, then after twice that, and so on.
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
        except _Wrong as wrong:
            problems.append(str(wrong))
    if problems:
        raise SettingsProblem("\n".join(problems))
    return Settings(**(_defaults(values, file, environment) | values), file=file)  # type: ignore[arg-type]


def hide_credentials(text: str) -> str:
    """Text with what stands before the "@" of a URI, and values of its secret-sounding parameters, replaced by ***."""
    hidden = re.sub(r"(\w://)[^\s'\"]*@", r"\1***@", text)
    return re.sub(r"(?i)([?&][\w-]*(?:pass|pwd|token|secret|key|signature)[\w-]*=)[^&#\s'\"]*", r"\1***", hidden)


class _Wrong(Exception):
    """A value that cannot be used, with where it stands."""


@dataclass(frozen=True)
class _Given:
    """A value as it was written, where, and the folder that relative paths in it are meant from."""

    text: str
    where: str
    base: Path
    home: Path

    def wrong(self, why: str) -> _Wrong:
        return _Wrong(f'{self.where} is "{hide_credentials(self.text)}", {why}')


@dataclass(frozen=True)
class _Option:
    """One setting: its field, the table it stands in, its variable, how it is read, and its key in the file ("": as
    the field). One that `takes_list` is a list of texts in the file, separated by commas elsewhere.
    """

    name: str
    table: str
    variable: str
    read: Callable[[_Given], object]
    key: str = ""
    takes_list: bool = False

    @property
    def written(self) -> str:
        """The key in the file."""
        return self.key or self.name


def _path(given: _Given) -> Path:
    if given.text == "~" or given.text.startswith("~/"):
        return given.home / given.text[2:]
    return given.base / given.text


def _uri(given: _Given) -> str:
    """A URI that means the same in every process: a relative SQLite path would follow the working directory."""
    scheme, separator, rest = given.text.partition("://")
    if not separator or scheme == "file":
        raise given.wrong("which MLflow reads as a file store; write sqlite:///PATH, http://HOST or https://HOST")
    if scheme.partition("+")[0] != "sqlite" or rest.startswith("//"):
        return given.text
    if rest in ("", "/") or rest.startswith("/:memory:"):
        raise given.wrong("a database in memory, which workers cannot see; write sqlite:///PATH")
    return f"{scheme}:///{given.base / rest.removeprefix('/')}"


def _span(given: _Given) -> timedelta:
    parts = _SPAN.findall(given.text)
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != given.text or seconds <= 0:
        raise given.wrong('which is no duration above zero; write for example "15s", "5m" or "1h30m"')
    return timedelta(seconds=seconds)


def _log_format(given: _Given) -> str:
    if given.text not in LOG_FORMATS:
        raise given.wrong(f"which is none of {', '.join(LOG_FORMATS)}{_meant(given.text, LOG_FORMATS)}")
    return given.text


def _names(given: _Given) -> tuple[str, ...]:
    names = tuple(name.strip() for name in given.text.split(",") if name.strip())
    if not names:  # nobody named is everybody trusted, which nobody means by an empty list
        raise given.wrong("which names nobody; name those you trust, or leave it out to trust whoever makes a champion")
    return names


_OPTIONS = (
    _Option("tracking_uri", "mlflow", "MLFLOW_TRACKING_URI", _uri),
    _Option("registry_uri", "mlflow", "MLFLOW_REGISTRY_URI", _uri),
    _Option("state", "daemon", "RETRAIND_STATE", _path),
    _Option("policies", "daemon", "RETRAIND_POLICIES", _path),
    _Option("poll_registry", "daemon", "RETRAIND_POLL_REGISTRY", _span),
    _Option("rescan", "daemon", "RETRAIND_RESCAN", _span),
    _Option("retry_backoff", "daemon", "RETRAIND_RETRY_BACKOFF", _span),
    _Option("log_format", "daemon", "RETRAIND_LOG_FORMAT", _log_format),
    _Option("trust_users", "trust", "RETRAIND_TRUST_USERS", _names, "users", takes_list=True),
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
) -> _Given | None:
    """What was written for an option in the place that counts; an empty variable is an unset one."""
    home = _home(environment)
    if (text := getattr(overrides, option.name, None)) is not None:
        return _filled(_Given(text, "--" + option.name.replace("_", "-"), Path.cwd(), home))
    if text := environment.get(option.variable):
        return _Given(text, f"environment variable {option.variable}", Path.cwd(), home)
    table = content.get(option.table)
    if file is None or not isinstance(table, Mapping) or option.written not in table:
        return None
    where, value = f"{file}: [{option.table}] {option.written}", table[option.written]
    if option.takes_list:
        return _Given(_joined(where, value), where, file.parent, home)
    if not isinstance(value, str):
        raise _Wrong(f"{where} is {_toml(value)}, it must be text in quotes{_example(option)}")
    return _filled(_Given(value, where, file.parent, home))


def _joined(where: str, value: object) -> str:
    if not isinstance(value, list) or not all(isinstance(each, str) and each and "," not in each for each in value):
        raise _Wrong(f'{where} is {_toml(value)}, it must be a list of names, for example ["alice", "ci"]')
    return ",".join(value)


def _filled(given: _Given) -> _Given:
    if not given.text:
        raise _Wrong(f"{given.where} is empty")
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
            yield f"environment variable {name} is no setting{_meant(name, [option.variable for option in _OPTIONS])}"


def _unknown_names(file: Path | None, content: Mapping[str, object]) -> Iterable[str]:
    for name, table in content.items():
        if name in _NOT_BUILT:
            yield f"{file}: {_place(name, table)} is not built yet"
        elif name not in _TABLES:
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
    return f"; it belongs in [{table}]" if table else _meant(name, known)


def _meant(name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"


def _example(option: _Option) -> str:
    return ', for example "15s"' if option.read is _span else ""


def _toml(value: object) -> str:
    if isinstance(value, Mapping | list):
        return "a table" if isinstance(value, Mapping) else "a list"
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def _shown(value: object) -> str:
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    return "none" if value is None else hide_credentials(str(value))
