"""What the tests that kill have counted, in one line at the end."""

from __future__ import annotations

from collections import Counter

import pytest

COUNTED = ("points", "kills", "violations")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [each for group in ("passed", "failed") for each in terminalreporter.getreports(group)]
    counts = Counter[str]()
    for report in reports:
        for name, count in report.user_properties:
            if name in COUNTED and report.when == "call":
                counts[name] += int(count)
    if counts:
        terminalreporter.write_line(", ".join(f"{name} {counts[name]}" for name in COUNTED))
