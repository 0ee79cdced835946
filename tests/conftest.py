"""What holds for all tests: logging as it was after each, and what those that kill have counted, in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
import structlog

COUNTED = ("points", "kills", "violations")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A command that was run in this process leaves its log going to a stream that is closed after the test."""
    yield
    structlog.reset_defaults()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [each for group in ("passed", "failed") for each in terminalreporter.getreports(group)]
    counts = Counter[str]()
    for report in reports:
        for name, count in report.user_properties:
            if name in COUNTED and report.when == "call":
                counts[name] += int(count)
    if counts:
        terminalreporter.write_line(", ".join(f"{name} {counts[name]}" for name in COUNTED))
