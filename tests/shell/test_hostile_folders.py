"""Drop folders in which everything goes on at once: the daemon stays up, and each file's last bytes count once."""

from __future__ import annotations

import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from retrain_daemon.cli.main import main
from retrain_daemon.daemon import Daemon
from retrain_daemon.worker.job import DropFile, DropReport, InspectDrops
from tests.fake_box import MODEL, FakeBox

FILES = 200


@pytest.fixture
def box(tmp_path: Path) -> FakeBox:
    """A box that records and never trains, so that what counts is what is in the folder."""
    (tmp_path / "box").mkdir()
    box = FakeBox(tmp_path / "box", report=careful)
    box.edit_policy(">= 1000", ">= 1000000000")
    box.record_champion()
    return box


def careful(_job: InspectDrops, file: DropFile) -> DropReport | None:
    """As the worker does it: a file that is gone or changes while it is read is said to be worth another look."""
    path = Path(file.path)
    with suppress(OSError):
        before = path.stat()
        fingerprint = sha256(path.read_bytes()).hexdigest()
        time.sleep(0.001)
        after = path.stat()
        if (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns):
            return None
        return DropReport(drop=file.drop, fingerprint=fingerprint, problem="it changed", temporary=True)
    return DropReport(drop=file.drop, problem="it is gone", temporary=True)


def turns(box: FakeBox, daemon: Daemon, count: int) -> None:
    for _ in range(count):
        daemon.turn()
        box.clock.now += timedelta(seconds=30)


def recorded(box: FakeBox) -> dict[str, str]:
    """Fingerprint by path of the drops whose rows count; each path and each content once."""
    with box.journal() as journal:
        drops = journal.drops.in_use(MODEL)
    assert max(Counter(drop.path for drop in drops).values(), default=1) == 1
    assert max(Counter(drop.fingerprint for drop in drops).values(), default=1) == 1
    return {drop.path: drop.fingerprint for drop in drops}


def in_folder(box: FakeBox) -> dict[str, str]:
    return {str(path): sha256(path.read_bytes()).hexdigest() for path in (box.root / "drops").glob("*.csv")}


def test_two_hundred_files_at_once_while_one_is_replaced_again_and_again(box: FakeBox) -> None:
    folder = box.root / "drops"
    over = threading.Event()

    def replace() -> None:
        """In turn by rename, in place, and by deleting it first."""
        for number in range(10_000):
            text = f"x,churned\n{number:06},yes\n"
            if number % 3 == 0:
                (folder / ".hot.csv").write_text(text)
                (folder / ".hot.csv").rename(folder / "hot.csv")
            elif number % 3 == 1:
                (folder / "hot.csv").write_text(text)
            else:
                (folder / "hot.csv").unlink()
                (folder / "hot.csv").write_text(text)
            time.sleep(random.random() / 200)
            if over.is_set():
                return

    with box.life() as daemon:
        daemon.turn()
        replacing = threading.Thread(target=replace)
        replacing.start()
        for number in range(FILES):
            box.drop(f"{number:03}.csv", f"x,churned\nfile {number},yes\n")
            if number % 20 == 0:
                turns(box, daemon, 1)
        turns(box, daemon, 10)
        over.set()
        replacing.join()
        turns(box, daemon, 6)
    assert recorded(box) == in_folder(box)
    assert len(recorded(box)) == FILES + 1
    with box.journal() as journal:
        states = Counter(drop.state for drop in journal.drops.listing(MODEL) if drop.current)
    assert states == {"recorded": FILES + 1}


def test_a_clock_that_leaps_takes_a_growing_file_early_and_its_last_bytes_in_the_end(box: FakeBox) -> None:
    folder = box.root / "drops"
    with box.life() as daemon:
        with (folder / "a.csv").open("w") as file:
            for number in range(12):
                file.write(f"{number}\n")
                file.flush()
                daemon.turn()
                box.clock.now += timedelta(days=365 if number % 2 else -364)
        turns(box, daemon, 6)
    assert recorded(box) == in_folder(box)


def test_times_of_files_in_any_century_and_a_clock_set_back_lose_nothing(box: FakeBox) -> None:
    with box.life() as daemon:
        for number, when in enumerate((0, 1, 86_400, 4e9, 1.6e10)):
            box.drop(f"{number}.csv", str(number))
            os.utime(box.root / "drops" / f"{number}.csv", (when, when))
        turns(box, daemon, 2)
        box.clock.now -= timedelta(days=700)
        box.drop("later.csv", "later")
        turns(box, daemon, 4)
    assert recorded(box) == in_folder(box)
    assert len(recorded(box)) == 6


def test_a_file_moved_out_before_it_was_recorded_is_forgotten_and_counts_when_it_is_back(box: FakeBox) -> None:
    path = box.root / "drops" / "a.csv"
    box.drop("a.csv", "1")
    with box.life() as daemon:
        daemon.turn()  # it settles
        path.rename(box.root / "a.csv")
        turns(box, daemon, 2)
        assert box.drops() == []
        (box.root / "a.csv").rename(path)
        box.report = lambda _job, file: DropReport(drop=file.drop, problem="away", temporary=True)
        turns(box, daemon, 2)
        assert box.drops() == [("a.csv", "found")]
        path.rename(box.root / "a.csv")
        turns(box, daemon, 2)
        assert box.drops() == []
        box.report = careful
        (box.root / "a.csv").rename(path)
        turns(box, daemon, 3)
    assert recorded(box) == in_folder(box)
    assert box.drops() == [("a.csv", "recorded")]


def test_a_file_moved_out_after_it_was_recorded_is_missed_until_it_is_back(box: FakeBox) -> None:
    path = box.root / "drops" / "a.csv"
    box.drop("a.csv", "1")
    box.drop("keep.csv", "2")
    with box.life() as daemon:
        turns(box, daemon, 3)
        path.rename(box.root / "a.csv")
        turns(box, daemon, 2)
        assert box.drops() == [("a.csv", "recorded, missing"), ("keep.csv", "recorded")]
        (box.root / "a.csv").rename(path)
        turns(box, daemon, 2)
    assert box.drops() == [("a.csv", "recorded"), ("keep.csv", "recorded")]


def test_a_folder_deleted_with_its_files_and_filled_again_goes_on_with_what_was_recorded(box: FakeBox) -> None:
    folder = box.root / "drops"
    for number in range(3):
        box.drop(f"{number}.csv", str(number))
    with box.life() as daemon:
        turns(box, daemon, 3)
        shutil.rmtree(folder)
        turns(box, daemon, 2)
        assert box.standing()[0] in ("folder_problem", "files_missing")
        folder.mkdir()
        turns(box, daemon, 2)
        assert box.standing()[0] == "files_missing"
        for number in range(3):
            box.drop(f"{number}.csv", str(number))
        turns(box, daemon, 5)
    assert box.standing()[0] == "no_rule_holds"
    assert recorded(box) == in_folder(box)
    with box.journal() as journal:
        assert journal.count_rows(MODEL, None, None).new == 3 * 5000


def test_what_is_no_file_and_names_that_are_no_text_are_set_aside_and_listed(
    box: FakeBox, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = box.root / "drops"
    names = [b"two\nlines.csv", b"latin-\xe9.csv", b"esc\x1b[31m.csv", b"tab\t.csv"]
    for name in names:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_text("x,churned\n1,yes\n")
    (folder / "folder.csv").mkdir()
    os.mkfifo(folder / "pipe.csv")
    (folder / "link.csv").symlink_to("/etc/passwd")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "s.csv"))
    box.drop("good.csv", "good")
    box.live()
    states = Counter(state for _, state in box.drops())
    assert states == {"quarantined": len(names) + 4, "recorded": 1}
    capsys.readouterr()
    for command in (["drop", "list"], ["drop", "list", "--json"], ["history"], ["status"]):
        assert main([*command, "--state", str(box.root / "state"), "--policies", str(box.root / "policies")]) == 0
        said = capsys.readouterr().out
        said.encode()
        assert "\x1b" not in said
        assert (r"two\nlines.csv" in said.replace("\\\\", "\\")) is (command != ["status"])


def test_a_device_named_like_data_is_set_aside(box: FakeBox) -> None:
    try:
        os.mknod(box.root / "drops" / "null.csv", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("no permission to make a device")
    box.drop("good.csv", "good")
    box.live()
    assert sorted(box.drops()) == [("good.csv", "recorded"), ("null.csv", "quarantined")]


MOUNTS = """
import subprocess, sys
from pathlib import Path
from tests.fake_box import FakeBox
from datetime import timedelta

root = Path(sys.argv[1])
box = FakeBox(root)
box.edit_policy(">= 1000", ">= 1000000000")
if len(sys.argv) > 2:
    box.edit_policy("  target:", f"  missing: {sys.argv[2]}\\n  target:")
box.record_champion()
drops, disk, other = root / "drops", root / "disk", root / "other"
disk.mkdir()
other.mkdir()
if subprocess.run(["mount", "-t", "tmpfs", "none", disk], check=False).returncode:
    sys.exit(77)
(disk / "in").mkdir()

def mount(source):
    subprocess.run(["mount", "--bind", source, drops], check=True)

def unmount():
    subprocess.run(["umount", drops], check=True)

def say(what):
    for _ in range(3):
        daemon.turn()
        box.clock.now += timedelta(seconds=61)
    print(what, box.standing()[0], box.drops())

mount(disk / "in")
with box.life() as daemon:
    box.drop("a.csv", "1")
    box.drop("b.csv", "2")
    say("mounted")
    unmount()
    say("unmounted")
    mount(disk / "in")
    box.drop("c.csv", "3")
    say("again")
    subprocess.run(["mount", "-t", "tmpfs", "none", other], check=True)
    mount(other)
    say("over")
    unmount()
    say("under")
    unmount()
with box.life() as daemon:
    say("restarted without")
    mount(disk / "in")
    say("and with")
"""


@pytest.mark.parametrize("missing", ["refuse", "skip"])
def test_an_unmounted_folder_is_waited_for_and_never_taken_for_an_empty_one(tmp_path: Path, missing: str) -> None:
    """In a mount namespace of its own, over real tmpfs."""
    (tmp_path / "box").mkdir()
    command = ["unshare", "-Urm", sys.executable, "-c", MOUNTS, str(tmp_path / "box"), missing]
    here = Path(__file__).parents[2]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=here)
    if ended.returncode == 77 or "unshare" in ended.stderr:
        pytest.skip("no namespace in which anything may be mounted")
    assert ended.returncode == 0, ended.stderr
    words = ("mounted", "unmounted", "again", "over", "under", "restarted", "and")
    told = {word: line for line in ended.stdout.splitlines() for word in words if line.split()[0] == word}
    two, three = ("[('a.csv', 'recorded'), ('b.csv', 'recorded')]", "('c.csv', 'recorded')]")
    assert told["mounted"] == f"mounted no_rule_holds {two}"
    assert told["unmounted"] == f"unmounted folder_problem {two}"
    for word, code in (("again", "no_rule_holds"), ("over", "folder_problem"), ("under", "no_rule_holds")):
        assert (code in told[word], told[word].endswith(three)) == (True, True), told
    assert ("folder_problem" in told["restarted"], "missing" in told["restarted"]) == (True, False), told
    assert ("no_rule_holds" in told["and"], told["and"].endswith(three)) == (True, True), told
