from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from retrain_daemon.errors import StateLocked, StateUnusable
from retrain_daemon.lock import DAEMON, StateLock, holder
from tests.made import NOW


def test_a_second_daemon_is_refused_and_told_who_holds_the_folder(tmp_path: Path) -> None:
    with StateLock(tmp_path, DAEMON, NOW):
        with pytest.raises(StateLocked, match=f"process {os.getpid()}"), StateLock(tmp_path, DAEMON, NOW):
            pass
        assert f"process {os.getpid()}" in (holder(tmp_path) or "")
    assert holder(tmp_path) is None


def test_a_short_command_that_holds_the_folder_is_waited_for(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from datetime import datetime, UTC\n"
        "from retrain_daemon.lock import StateLock\n"
        "with StateLock(Path(sys.argv[1]), 'retraind adopt', datetime.now(UTC)):\n"
        "    print('held', flush=True); time.sleep(0.5)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    with StateLock(tmp_path, DAEMON, NOW):
        assert other.wait(timeout=10) == 0
    other.stdout.close()


def test_the_lock_goes_with_the_process_however_it_ends(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from datetime import datetime, UTC\n"
        "from retrain_daemon.lock import DAEMON, StateLock\n"
        "StateLock(Path(sys.argv[1]), DAEMON, datetime.now(UTC)).acquire(); os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert ended.returncode == -9
    assert holder(tmp_path) is None
    with StateLock(tmp_path, DAEMON, NOW):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateUnusable, match="file"), StateLock(tmp_path / "file" / "state", DAEMON, NOW):
        pass
