"""One machine for all of these tests, the daemon installed by its own command; skipped where none can be booted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.system.machine import Machine, obstacle, root_file_system


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if reason := obstacle():
        pytest.skip(reason)
    machine = Machine(tmp_path_factory.mktemp("machine"))
    try:
        root_file_system()
        machine.boot()
    except RuntimeError as error:
        machine.close()
        pytest.skip(str(error))
    try:
        machine.run("/opt/retraind/bin/retraind", "install", "--yes")
        yield machine
    finally:
        machine.close()
