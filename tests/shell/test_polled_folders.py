"""Folders that other machines write to: no events are asked for, and only what was seen twice counts."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from retrain_daemon.cli.health import _unpolled
from retrain_daemon.core.policy import Completion
from retrain_daemon.drops import DropFolders, Watched
from retrain_daemon.drops.mounts import remote_devices
from retrain_daemon.policies import read_policies
from tests.fake_box import FakeBox
from tests.watching import SETTLE, Watching, later, names


@pytest.fixture
def polled(tmp_path: Path) -> Iterator[Watching]:
    (tmp_path / "drops").mkdir()
    watching = Watching(tmp_path / "drops")
    watching.watched = Watched("churn", str(watching.folder), "*.csv", Completion(SETTLE), polling=True)
    yield watching
    watching.drops.close()


def test_no_event_is_asked_for_and_nothing_is_said_to_be_wrong(polled: Watching) -> None:
    threads = threading.active_count()
    polled.drops.watch([polled.watched])
    assert polled.drops.changed() == {"churn"}, "looked into once, as it is new"
    assert polled.drops.changed() == frozenset()
    assert threading.active_count() == threads, "no thread reads events"
    (polled.folder / "a.csv").write_text("1\n")
    assert not polled.woken.wait(0.2)
    assert polled.drops.watch_problem == ""


def test_a_folder_that_is_not_there_yet_is_no_trouble_of_events(polled: Watching) -> None:
    polled.folder.rmdir()
    polled.start()
    assert "does not exist" in polled.scan().problem
    polled.folder.mkdir()
    assert polled.drops.changed() == frozenset()
    assert polled.scan().problem == ""


def test_a_rename_vouches_for_nothing(polled: Watching, tmp_path: Path) -> None:
    polled.start()
    (tmp_path / "a.csv").write_text("1\n")
    (tmp_path / "a.csv").rename(polled.folder / "a.csv")
    assert polled.scan().settling == (str(polled.folder / "a.csv"),)
    assert names(polled.scan(now=later(31)).found) == ["a.csv"]


def test_times_that_another_clock_wrote_do_not_make_a_growing_file_complete(polled: Watching) -> None:
    path = polled.folder / "a.csv"
    path.write_text("1\n")
    hour_ahead = 3600  # as if the file server's clock were an hour behind
    assert polled.scan(now=later(hour_ahead)).settling
    path.write_text("1\n2\n")
    assert polled.scan(now=later(hour_ahead + 40)).settling, "it grew since"
    assert names(polled.scan(now=later(hour_ahead + 71)).found) == ["a.csv"]


def test_a_marker_counts_as_elsewhere(polled: Watching) -> None:
    polled.watched = Watched("churn", str(polled.folder), "*.csv", Completion(None, "{name}.done"), polling=True)
    (polled.folder / "a.csv").write_text("1\n")
    assert polled.scan(now=later(1000)).settling
    (polled.folder / "a.csv.done").touch()
    assert names(polled.scan().found) == ["a.csv"]


def test_a_folder_that_one_model_polls_still_wakes_the_other(polled: Watching) -> None:
    eager = Watched("eager", str(polled.folder), "*.csv", Completion(SETTLE))
    polled.drops.watch([polled.watched, eager])
    assert polled.drops.changed() == {"churn", "eager"}
    polled.woken.clear()
    (polled.folder / "a.csv").write_text("1\n")
    assert polled.await_change() == {"eager"}


def test_a_policy_that_begins_to_poll_gives_its_watch_back(polled: Watching) -> None:
    polled.drops.watch([Watched("churn", str(polled.folder), "*.csv", Completion(SETTLE))])
    polled.drops.changed()
    polled.drops.watch([polled.watched])
    assert polled.drops.changed() == {"churn"}
    polled.woken.clear()
    (polled.folder / "a.csv").write_text("1\n")
    assert not polled.woken.wait(0.2)


def test_the_daemon_finds_dropped_and_deleted_files_of_it_by_looking_regularly(tmp_path: Path) -> None:
    box = FakeBox(tmp_path)
    box.edit_policy("{settle: 1s}", "{settle: 30s}\n  polling: true")
    box.edit_policy(">= 1000", ">= 1000000")
    with box.life() as daemon:
        daemon.turn()
        box.drop("a.csv", "1")
        for _ in range(8):
            box.clock.now += timedelta(seconds=31)
            daemon.turn()
        assert box.drops() == [("a.csv", "recorded")]
        (box.root / "drops" / "a.csv").unlink()
        (box.root / "drops" / "README").touch()
        for _ in range(3):
            box.clock.now += timedelta(seconds=31)
            daemon.turn()
    assert box.drops() == [("a.csv", "recorded, missing")]


def mounted(folder: Path, kind: str) -> str:
    """A line of mountinfo by which the folder's device is of this kind."""
    device = folder.stat().st_dev
    return f"36 35 {os.major(device)}:{os.minor(device)} / /mnt rw,noatime shared:1 - {kind} server:/export rw\n"


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "smb3", "fuse.sshfs", "9p"])
def test_a_folder_on_a_network_file_system_that_is_not_polled_is_named_with_what_to_write(
    polled: Watching, kind: str
) -> None:
    mounts = mounted(polled.folder, kind)
    polled.drops.watch([polled.watched])
    assert polled.drops.unpolled(mounts) == {}
    polled.drops.watch([Watched("churn", str(polled.folder), "*.csv", Completion(SETTLE))])
    assert polled.drops.unpolled(mounts) == {str(polled.folder): kind}


@pytest.mark.parametrize("kind", ["ext4", "xfs", "tmpfs", "overlay", "fuseblk"])
def test_a_disk_of_this_machine_needs_no_polling(kind: str, tmp_path: Path) -> None:
    assert remote_devices(mounted(tmp_path, kind)) == {}


def test_a_folder_that_is_not_there_is_on_no_network_file_system(polled: Watching, tmp_path: Path) -> None:
    drops = DropFolders(lambda: None)
    drops.watch([Watched("churn", str(tmp_path / "away"), "*.csv", Completion(SETTLE))])
    assert drops.unpolled(mounted(tmp_path, "nfs")) == {}
    drops.close()


def test_doctor_names_such_a_folder_until_its_policy_polls(tmp_path: Path) -> None:
    box = FakeBox(tmp_path)
    mounts = mounted(tmp_path / "drops", "nfs4")
    (found,) = _unpolled(read_policies(tmp_path / "policies").policies, mounts)
    assert (found.found, found.remedy.startswith("Write `polling: true`")) == (f"{tmp_path / 'drops'} is on nfs4", True)
    box.edit_policy("{settle: 1s}", "{settle: 30s}\n  polling: true")
    assert _unpolled(read_policies(tmp_path / "policies").policies, mounts) == []


def test_the_log_names_such_a_folder_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    box = FakeBox(tmp_path)
    (tmp_path / "mountinfo").write_text(mounted(tmp_path / "drops", "nfs4"))
    monkeypatch.setattr("retrain_daemon.folder_looks._MOUNTS", tmp_path / "mountinfo")
    with box.life() as daemon:
        daemon.turn()
        box.edit_policy(">= 1000", ">= 2000")
        box.clock.now += timedelta(minutes=5)
        daemon.turn()
    assert capsys.readouterr().out.count("folder.remote") == 1
