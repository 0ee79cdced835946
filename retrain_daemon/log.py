"""How log lines look: one line an event, its name first and stable, then pairs.

`configure` is called by the command line. What other libraries log comes out of the same stream, as events. No line
shows what `environment` has of secrets when `configure` is called.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import IO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

from retrain_daemon import journald
from retrain_daemon.secrets import Secrets, secrets_of
from retrain_daemon.settings import LOG_FORMATS

LIBRARY_EVENT = "library.message"

# These get handlers of their own from MLflow when it is imported.
_TAKEN_BY_MLFLOW = ("mlflow", "alembic", "sqlalchemy.engine", "huey")

_RESET, _BOLD, _DIM, _RED, _YELLOW = "\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[1;31m", "\x1b[1;33m"
#: Syslog's numbers.
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_COLOURS = {"warning": _YELLOW, "error": _RED, "critical": _RED}
#: What the journal has fields of its own for, or shows below the line.
_NO_PAIRS = ("event", "level", "timestamp", "exception")
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


def configure(
    format: str,
    stream: IO[str],
    environment: Mapping[str, str] = os.environ,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    level: int = logging.INFO,
    journal: str = journald.SOCKET,
) -> None:
    """Send every event to `stream`, a line each, as `format` says: "auto", "json" or "console" (text).

    "auto" is text, but where the stream leads to the systemd journal an event becomes an entry with fields, sent to the
    socket `journal` (a line of JSON if that does not take it). Text has colours on a terminal, unless NO_COLOR is set.
    `clock` tells the time of an event; events below `level` are left out. Raises ValueError for another format.
    """
    if format not in LOG_FORMATS:
        raise ValueError(f"log format {format!r} is none of {', '.join(LOG_FORMATS)}")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            _stamp(clock),
            structlog.processors.format_exc_info,
            _renderer(format, stream, environment, journal),
            _hidden(secrets_of(environment)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(_Lossy(stream)),  # type: ignore[arg-type]  # all it needs of a stream
        cache_logger_on_first_use=False,
    )
    _route_libraries()


def get_logger(**pairs: object) -> FilteringBoundLogger:
    """A logger whose events all carry `pairs`, such as attempt="churn-42"."""
    logger: FilteringBoundLogger = structlog.get_logger(**pairs)
    return logger


class _Lossy:
    """A stream that drops what cannot be written: a full disk under the log must not end the daemon."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


class _LibraryHandler(logging.Handler):
    """Turns records of the standard logging into our events."""

    def emit(self, record: logging.LogRecord) -> None:
        level = min(max(record.levelno // 10 * 10, logging.WARNING), logging.CRITICAL)
        message = _message(record)
        get_logger().log(level, LIBRARY_EVENT, library=record.name, message=message, exc_info=record.exc_info)


def _route_libraries() -> None:
    """Have warnings and errors of all libraries come to our handler, and nothing below."""
    # MLflow's own switch against handlers that it would add when it is imported after this.
    os.environ.setdefault("MLFLOW_CONFIGURE_LOGGING", "false")
    for name in _TAKEN_BY_MLFLOW:
        taken = logging.getLogger(name)
        taken.handlers = []
        taken.propagate = True
        taken.setLevel(logging.WARNING)
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _LibraryHandler)]
    root.addHandler(_LibraryHandler(logging.WARNING))
    root.setLevel(logging.WARNING)
    logging.captureWarnings(capture=True)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage().strip()
    except (TypeError, ValueError, KeyError):  # a library whose arguments do not fit its own text
        return str(record.msg)


def _stamp(clock: Callable[[], datetime]) -> Processor:
    def add_time(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["timestamp"] = _moment(clock())
        return event

    return add_time


def _hidden(secrets: Secrets) -> Processor:
    """The line as it is written, so that no value can get past, whatever pair it came with."""

    def hide(_logger: WrappedLogger, _method: str, line: EventDict) -> str:
        return secrets.hide(str(line))

    return hide


def _renderer(format: str, stream: IO[str], environment: Mapping[str, str], journal: str) -> Processor:
    if format == "auto" and _is_journal(stream, environment):
        return _to_journal(journal, secrets_of(environment))
    if format == "json":
        return _json_line
    return _text_line if environment.get("NO_COLOR") or not stream.isatty() else _coloured_line


def _is_journal(stream: IO[str], environment: Mapping[str, str]) -> bool:
    """Whether the stream leads to the journal. JOURNAL_STREAM is inherited, so it must name this very stream."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _to_journal(socket: str, secrets: Secrets) -> Processor:
    def hand_over(logger: WrappedLogger, method: str, event: EventDict) -> str:
        if journald.send({name: secrets.hide(value) for name, value in _fields(event).items()}, socket):
            raise structlog.DropEvent
        return _json_line(logger, method, event)

    return hand_over


def _fields(event: EventDict) -> dict[str, str]:
    """The line for people as MESSAGE, and each pair as a field of its own."""
    name, _, trace = _parts(event)
    shown = [f"{key}={_text_value(value)}" for key, value in event.items() if key not in _NO_PAIRS]
    fields = {
        "MESSAGE": " ".join([name, *shown]) + trace,
        "PRIORITY": str(_PRIORITIES.get(event["level"], 6)),
        "SYSLOG_IDENTIFIER": "retraind",
        "RETRAIND_EVENT": str(event["event"]),
    }
    return fields | {f"RETRAIND_{key}": _plain(value) for key, value in event.items() if key not in _NO_PAIRS}


def _json_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    pairs = dict(event)
    first = {name: pairs.pop(name) for name in ("timestamp", "level", "event")}
    return json.dumps(first | {name: _json_value(value) for name, value in pairs.items()})


def _text_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    name, pairs, trace = _parts(event)
    return " ".join([name, *(f"{key}={value}" for key, value in pairs)]) + trace


def _coloured_line(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    colour = _COLOURS.get(event["level"], _BOLD)
    name, pairs, trace = _parts(event)
    return " ".join([f"{colour}{name}{_RESET}", *(f"{_DIM}{key}={_RESET}{value}" for key, value in pairs)]) + trace


def _parts(event: EventDict) -> tuple[str, list[tuple[str, str]], str]:
    """Name, pairs as text, and the lines of a traceback, set in so that none can pass for an event."""
    pairs = dict(event)
    name, level, at = _escaped(pairs.pop("event")), pairs.pop("level"), pairs.pop("timestamp")
    trace = "".join(f"\n    {_escaped(line)}" for line in pairs.pop("exception", "").splitlines())
    if level != "info":
        pairs["level"] = level
    pairs["at"] = at
    return name, [(key, _text_value(value)) for key, value in pairs.items()], trace


def _json_value(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no NaN and no infinity
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_json_value(part) for part in value]
    return _moment(value) if isinstance(value, datetime) else str(value)


def _text_value(value: object) -> str:
    """One word; in quotes where it would not be read as one, with control characters written out."""
    text = _plain(value)
    bare = text and text.isprintable() and not any(character in text for character in ' "=\\')
    return text if bare else f'"{_escaped(text)}"'


def _plain(value: object) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ",".join(_plain(part) for part in value)
    return _moment(value) if isinstance(value, datetime) else str(value)


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character) or _printable(character) for character in text)


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _moment(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
