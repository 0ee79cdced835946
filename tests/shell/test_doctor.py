"""`retraind doctor`: what is not well is said with what to do, what is well is said too, and nothing is changed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retrain_daemon.cli import health
from retrain_daemon.cli.health import Finding, Health
from retrain_daemon.cli.main import main
from retrain_daemon.journal import Journal
from retrain_daemon.journal.copies import copy_whole
from retrain_daemon.lock import StateLock
from tests.fake_box import POLICY
from tests.made import NOW

MOUNTS = """\
22 1 0:21 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:30 / /srv/my\\040share rw shared:5 - nfs4 server:/x rw
31 22 0:31 / /srv rw - tmpfs tmpfs rw
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A box where all is well, its workers and registry not looked at."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):  # MLflow leaves them behind in a process that used it
        monkeypatch.delenv(name, raising=False)
    for name in ("state", "policies", "drops"):
        (tmp_path / name).mkdir()
    (tmp_path / "policies" / "churn.yaml").write_text(POLICY.format(folder=tmp_path / "drops"))
    Journal.open(tmp_path / "state").close()
    copy_whole(tmp_path / "state" / "journal.db", tmp_path / "state" / "backups" / "journal-2026-03-01.db", NOW)
    monkeypatch.setattr(health, "workers", lambda: (health.ok("workers", "as in the test"),))
    return tmp_path


def findings(place: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, tuple[str, str]]]:
    code = main(["doctor", "--json", "--state", str(place / "state"), "--policies", str(place / "policies")])
    shown = json.loads(capsys.readouterr().out)
    return code, {each["name"]: (each["health"], f"{each['found']} {each['remedy']}") for each in shown}


def snapshot(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in place.rglob("*") if path.is_file() and "-shm" not in path.name}


def test_all_is_well_and_nothing_is_changed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(place)
    code, found = findings(place, capsys)
    assert {name: each for name, (each, _) in found.items() if each == "problem"} == {}
    assert code == 0
    assert found["registry"][0] == "not checked"
    after = snapshot(place)
    assert {name: after.get(name) for name in before} == before
    assert not (place / "state" / "mlflow.db").exists()


def test_the_screen_names_each_problem_with_what_to_do(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "drops").rmdir()
    assert main(["doctor", "--state", str(place / "state"), "--policies", str(place / "policies")]) == 1
    shown = capsys.readouterr().out
    assert "drop folders: Create or mount it" in shown
    assert "1 of" in shown


def damage_journal(place: Path) -> None:
    with (place / "state" / "journal.db").open("r+b") as stream:
        stream.seek(8192)
        stream.write(b"\xff" * 8192)


def lose_journal(place: Path) -> None:
    (place / "state" / "journal.db").unlink()


def damage_backup(place: Path) -> None:
    os.truncate(place / "state" / "backups" / "journal-2026-03-01.db", 5000)


def age_backup(place: Path) -> None:
    old = (datetime.now(UTC) - timedelta(days=5)).timestamp()
    os.utime(place / "state" / "backups" / "journal-2026-03-01.db", (old, old))


def spoil_policy(place: Path) -> None:
    (place / "policies" / "churn.yaml").write_text("model: churn\nmodle: x\n")


def remove_policies(place: Path) -> None:
    (place / "policies" / "churn.yaml").unlink()
    (place / "policies").rmdir()


@pytest.mark.parametrize(
    ("spoil", "name", "said"),
    [
        (damage_journal, "journal", "retraind restore"),
        (lose_journal, "journal", "is missing.*retraind restore"),
        (damage_backup, "backups", "damaged"),
        (age_backup, "backups", "120 h old.*Start the daemon"),
        (spoil_policy, "policies", "retraind check"),
        (remove_policies, "policies", "no policy file or folder"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_not_well_is_a_problem_of_its_own_check(
    place: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], None], name: str, said: str
) -> None:
    import re

    spoil(place)
    code, found = findings(place, capsys)
    assert code == 1
    assert found[name][0] == "problem"
    assert re.search(said, found[name][1]), found[name]


def test_it_names_the_daemon_that_runs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with StateLock(place / "state", "retraind run", NOW):
        code, found = findings(place, capsys)
    assert code == 0
    assert f"retraind run, process {os.getpid()}" in found["daemon"][1]


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/var/lib", "ext4"), ("/srv/my share/state", "nfs4"), ("/srv/drops", "tmpfs"), ("/srvx", "ext4")],
)
def test_the_file_system_of_a_path_is_that_of_the_mount_it_is_in(path: str, kind: str) -> None:
    assert health.file_system(Path(path), MOUNTS) == kind


@pytest.mark.parametrize(("server", "expected"), [("3.17.2\n", Health.OK), ("2.9.0", Health.PROBLEM)])
def test_a_server_of_another_major_version_is_a_problem(server: str, expected: Health) -> None:
    assert health.version_skew(server, "3.17.2").health is expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Date": "Sun, 01 Mar 2026 12:00:05 GMT"}, Health.OK),
        ({"Date": "Sun, 01 Mar 2026 12:05:00 GMT"}, Health.PROBLEM),
        ({}, Health.NOT_CHECKED),
    ],
)
def test_clocks_that_differ_are_a_problem(headers: dict[str, str], expected: Health) -> None:
    found: Finding = health.clock_skew(headers, NOW)
    assert found.health is expected


@pytest.mark.slow
def test_workers_and_installed_frameworks_are_tried_in_processes_of_their_own() -> None:
    found = {each.name: each for each in health.workers()}
    assert found["workers"].health is Health.OK
    assert found["scikit-learn"].health is Health.OK
