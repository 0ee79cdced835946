from __future__ import annotations

import io
import json
import logging
import os
import socket
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import pytest
import structlog

from retrain_daemon.log import configure, get_logger

NOW = datetime(2026, 11, 22, 3, 0, 1, 250_000, tzinfo=UTC)
AT = "at=2026-11-22T03:00:01.250Z"

Configure = Callable[..., io.StringIO]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def log_to(monkeypatch: pytest.MonkeyPatch) -> Iterator[Configure]:
    """Configures a stream of this test; afterwards logging is as it was."""
    monkeypatch.setenv("MLFLOW_CONFIGURE_LOGGING", "false")
    root = logging.getLogger()
    before = (list(root.handlers), root.level)

    def to(form: str = "auto", stream: io.StringIO | None = None, **environment: str) -> io.StringIO:
        chosen = stream or io.StringIO()
        configure(form, chosen, environment, lambda: NOW)
        return chosen

    yield to
    root.handlers, root.level = before[0], before[1]
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def test_a_line_is_the_event_then_its_pairs_in_the_order_given(log_to: Configure) -> None:
    stream = log_to()
    get_logger().info("drop.recorded", model="churn", file="2026-11-22.parquet", rows=12480)
    assert stream.getvalue() == f"drop.recorded model=churn file=2026-11-22.parquet rows=12480 {AT}\n"


def test_what_is_not_routine_says_its_level(log_to: Configure) -> None:
    stream = log_to()
    get_logger().warning("registry.unreachable", tries=3)
    get_logger().debug("registry.polled")
    assert stream.getvalue() == f"registry.unreachable tries=3 level=warning {AT}\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("enough fresh rows", '"enough fresh rows"'),
        ("", '""'),
        ('say "no"', '"say \\"no\\""'),
        ("a=b", '"a=b"'),
        ("C:\\x", '"C:\\\\x"'),
        ("two\nlines\r\t\x1b[31m\x7f", '"two\\nlines\\r\\t\\x1b[31m\\x7f"'),
        ("a\u2028b\u202ec", '"a\\u2028b\\u202ec"'),
        ("bad\udcffbyte", '"bad\\udcffbyte"'),
        ("Zürich", "Zürich"),
        (None, "none"),
        (True, "true"),
        (0.0192, "0.0192"),
        (("a", "b"), "a,b"),
        (NOW, "2026-11-22T03:00:01.250Z"),
        (Path("/srv/drops"), "/srv/drops"),
    ],
)
def test_a_value_is_one_word_on_one_line(log_to: Configure, value: object, text: str) -> None:
    stream = log_to()
    get_logger().info("test.said", value=value)
    assert stream.getvalue() == f"test.said value={text} {AT}\n"


def test_json_has_time_level_and_event_first(log_to: Configure) -> None:
    stream = log_to("json")
    get_logger().info("attempt.promoted", attempt="churn-42", gain=0.0192, low=float("nan"), at=NOW, names=("a", "b"))
    assert stream.getvalue() == (
        '{"timestamp": "2026-11-22T03:00:01.250Z", "level": "info", "event": "attempt.promoted", '
        '"attempt": "churn-42", "gain": 0.0192, "low": "nan", "at": "2026-11-22T03:00:01.250Z", "names": ["a", "b"]}\n'
    )


def test_a_file_name_with_a_newline_stays_on_one_json_line(log_to: Configure) -> None:
    stream = log_to("json")
    get_logger().info("drop.recorded", file="a\nb\u2028\udcff")
    [line] = stream.getvalue().splitlines()
    assert json.loads(line)["file"] == "a\nb\u2028\udcff"


def test_a_terminal_gets_colours_unless_it_declines(log_to: Configure) -> None:
    stream = log_to(stream=Terminal())
    get_logger().info("drop.recorded", rows=3)
    assert stream.getvalue().startswith("\x1b[1mdrop.recorded\x1b[0m \x1b[2mrows=\x1b[0m3 ")
    plain = log_to(stream=Terminal(), NO_COLOR="1")
    get_logger().info("drop.recorded", rows=3)
    assert plain.getvalue() == f"drop.recorded rows=3 {AT}\n"


def test_json_asked_for_on_a_terminal_is_json(log_to: Configure) -> None:
    stream = log_to("json", Terminal())
    get_logger().info("drop.recorded")
    assert json.loads(stream.getvalue())["event"] == "drop.recorded"


@dataclass
class Journal:
    """The journal's socket, and the stream that leads to it."""

    end: socket.socket
    stream: IO[str]

    def configure(self, form: str = "auto", *, same: bool = True, listens: bool = True) -> None:
        status = os.fstat(self.stream.fileno())
        named = f"{status.st_dev}:{status.st_ino + (not same)}"
        address = self.end.getsockname() if listens else "/nobody/listens"
        configure(form, self.stream, {"JOURNAL_STREAM": named}, lambda: NOW, journal=address)

    def entries(self) -> list[dict[str, str]]:
        """What was sent, value after value read as the protocol has it."""
        self.end.setblocking(False)
        found = []
        while True:
            try:
                found.append(_read_entry(self.end.recv(2**20)))
            except BlockingIOError:
                return found

    def lines(self) -> str:
        self.stream.seek(0)
        return self.stream.read()


def _read_entry(sent: bytes) -> dict[str, str]:
    fields = {}
    while sent:
        line, _, sent = sent.partition(b"\n")
        name, plain, value = line.partition(b"=")
        if not plain:
            (length,) = struct.unpack("<Q", sent[:8])
            value, sent = sent[8 : 8 + length], sent[9 + length :]
        fields[name.decode()] = value.decode()
    return fields


@pytest.fixture
def journal(log_to: Configure, tmp_path: Path) -> Iterator[Journal]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end, (tmp_path / "stderr").open("w+") as stream:
        end.bind(str(tmp_path / "journal"))
        yield Journal(end, stream)


def test_the_journal_gets_fields_it_can_be_asked_for(journal: Journal) -> None:
    journal.configure()
    get_logger().warning("attempt.promoted", model="churn", version=8, gain=0.5, names=["a", "b c"])
    assert journal.entries() == [
        {
            "MESSAGE": 'attempt.promoted model=churn version=8 gain=0.5 names="a,b c"',
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "retraind",
            "RETRAIND_EVENT": "attempt.promoted",
            "RETRAIND_MODEL": "churn",
            "RETRAIND_VERSION": "8",
            "RETRAIND_GAIN": "0.5",
            "RETRAIND_NAMES": "a,b c",
        }
    ]
    assert journal.lines() == ""


def test_a_value_of_several_lines_and_a_traceback_stay_whole_and_forge_no_field(journal: Journal) -> None:
    journal.configure()
    try:
        raise ValueError("broken\nPRIORITY=0")
    except ValueError:
        get_logger().error("model.trouble", reason="one\nMESSAGE=two", exc_info=True)
    (entry,) = journal.entries()
    assert entry["RETRAIND_REASON"] == "one\nMESSAGE=two"
    assert entry["PRIORITY"] == "3"
    first, *trace = entry["MESSAGE"].splitlines()
    assert first == r'model.trouble reason="one\nMESSAGE=two"'
    assert "ValueError: broken" in "\n".join(trace)


def test_what_the_journal_does_not_take_becomes_a_line(journal: Journal) -> None:
    journal.configure(listens=False)
    get_logger().info("daemon.started")
    journal.configure()
    get_logger().info("model.trouble", reason="x" * 2_000_000)
    assert journal.entries() == []
    assert [json.loads(line)["event"] for line in journal.lines().splitlines()] == ["daemon.started", "model.trouble"]


@pytest.mark.parametrize(("form", "same", "first"), [("auto", False, "d"), ("console", True, "d"), ("json", True, "{")])
def test_only_a_stream_that_leads_to_the_journal_is_not_written_to(
    journal: Journal, form: str, same: bool, first: str
) -> None:
    journal.configure(form, same=same)
    get_logger().info("daemon.started")
    assert journal.entries() == []
    assert journal.lines().startswith(first)


def test_a_logger_carries_its_pairs(log_to: Configure) -> None:
    stream = log_to()
    get_logger(attempt="churn-42").info("attempt.started", rows=3)
    assert stream.getvalue() == f"attempt.started attempt=churn-42 rows=3 {AT}\n"


def test_warnings_of_libraries_are_events_and_their_chatter_is_not(log_to: Configure) -> None:
    stream = log_to()
    logging.getLogger("alembic.runtime").info("Running upgrade")
    logging.getLogger("mlflow.store").warning("lost %s at http://ann:s3cret@host", "it")
    assert stream.getvalue() == (
        f'library.message library=mlflow.store message="lost it at http://***@host" level=warning {AT}\n'
    )


def test_a_library_that_had_handlers_of_its_own_is_routed_too(log_to: Configure) -> None:
    own = io.StringIO()
    mlflow = logging.getLogger("mlflow")
    mlflow.handlers, mlflow.propagate = [logging.StreamHandler(own)], False
    stream = log_to()
    log_to(stream=stream)  # a second time must not double the lines
    mlflow.error("broken %d")
    assert stream.getvalue() == f'library.message library=mlflow message="broken %d" level=error {AT}\n'
    assert own.getvalue() == ""


def test_python_warnings_are_events(log_to: Configure) -> None:
    stream = log_to()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("soon gone", FutureWarning, stacklevel=1)
    assert stream.getvalue().startswith("library.message library=py.warnings message=")
    assert "soon gone" in stream.getvalue()


def test_a_traceback_follows_its_event_set_in(log_to: Configure) -> None:
    stream = log_to()
    try:
        raise KeyError("drop.recorded model=forged\nline")
    except KeyError:
        get_logger().exception("daemon.failed")
    first, second, *rest = stream.getvalue().splitlines()
    assert first == f"daemon.failed level=error {AT}"
    assert second == "    Traceback (most recent call last):"
    assert all(line.startswith("    ") for line in rest)


def test_an_unknown_format_is_refused(log_to: Configure) -> None:
    with pytest.raises(ValueError, match="log format 'xml' is none of auto, json, console"):
        log_to("xml")
