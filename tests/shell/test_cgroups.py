"""Control groups: what is written where, against plain folders; and what they hold in, against the kernel's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from retrain_daemon.executor.cgroups import JOB, Tree, find_own, is_delegated, own_group, take_over, values
from retrain_daemon.executor.holding import Means
from retrain_daemon.executor.limits import Limits
from retrain_daemon.worker.job import InspectModel, Source, write_job
from tests.shell.test_executor import TEMPLATE

ALL = frozenset({"memory", "pids", "cpu"})
SOME = Limits(timedelta(hours=1), memory=2 * 2**30, processes=64, cpus=1.5)
MOUNTS = (
    "24 1 0:22 / /proc rw,nosuid - proc proc rw\n"
    "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
)


def files_of(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


# What is written, against plain folders.


def test_the_own_group_is_found_below_where_the_tree_is_mounted() -> None:
    found = own_group("0::/system.slice/retraind.service\n", MOUNTS)
    assert found == Path("/sys/fs/cgroup/system.slice/retraind.service")


def test_the_own_group_is_found_where_only_a_part_of_the_tree_is_mounted() -> None:
    mounts = "30 24 0:26 /box /sys/fs/cgroup rw - cgroup2 cgroup rw\n"
    assert own_group("0::/box/retraind\n", mounts) == Path("/sys/fs/cgroup/retraind")
    assert own_group("0::/boxes\n", mounts) is None


def test_without_version_two_there_is_no_group() -> None:
    assert own_group("4:memory:/box\n", MOUNTS) is None
    assert own_group("0::/box\n", "30 24 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n") is None


def test_the_daemon_moves_into_a_leaf_and_hands_down_the_controllers_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu pids")
    (tmp_path / "cgroup.subtree_control").write_text("")
    tree = take_over(tmp_path, 4711)
    assert tree == Tree(tmp_path, frozenset({"cpu", "pids"}))
    assert (tmp_path / "daemon/cgroup.procs").read_text() == "4711"


def test_a_job_gets_a_group_of_its_own_with_all_its_limits(tmp_path: Path) -> None:
    group = Tree(tmp_path, ALL).make("churn-17.0.1", SOME)
    assert group.path == tmp_path / "job-churn-17.0.1"
    assert files_of(group.path) == {
        "memory.max": str(2 * 2**30),
        "pids.max": "64",
        "cpu.weight": "20",
        "cpu.max": "150000 100000",
    }


def test_only_limits_that_were_set_and_whose_controller_is_there_are_written() -> None:
    assert dict(values(SOME, frozenset({"pids"}))) == {"pids.max": "64"}
    assert dict(values(Limits(timedelta(hours=1)), ALL)) == {"cpu.weight": "20"}
    assert values(SOME, frozenset()) == ()


def test_the_name_of_a_group_is_never_too_long_and_still_its_own(tmp_path: Path) -> None:
    names = {Tree(tmp_path, ALL).make("x" * 250 + end, SOME).path.name for end in ("1", "2")}
    assert len(names) == 2


def test_a_group_that_nobody_handed_over_is_not_taken(tmp_path: Path) -> None:
    """Although this process may write there."""
    assert not is_delegated(tmp_path)


def test_what_holds_is_said_by_name() -> None:
    assert Means(Tree(Path("/x"), frozenset({"memory", "cpu"}))).words() == {
        "memory": "cgroup", "processes": "watched", "cpus": "cgroup", "ends": "cgroup",
    }  # fmt: skip
    assert Means(None, pins=True).words() == {
        "memory": "watched", "processes": "watched", "cpus": "affinity", "ends": "session",
    }  # fmt: skip
    assert Means(None, pins=False).words()["cpus"] == "threads"


# The kernel's own.


@pytest.fixture
def delegated() -> Iterator[Path]:
    """A group inside this process's own, marked as systemd marks those it hands over."""
    own = find_own()
    group = own / f"retraind-test-{os.getpid()}" if own else None
    try:
        if group is None:
            raise OSError("cgroup version 2 is not mounted")
        group.mkdir()
        os.setxattr(group, "user.delegate", b"1")
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    yield group
    (group / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + 10
    for path in (*group.glob("*/"), group):
        while path.exists():
            try:
                path.rmdir()
            except OSError:
                assert time.monotonic() < deadline, f"{path} is not empty"
                time.sleep(0.05)


DAEMON = """
import json, os, sys, threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from retrain_daemon.executor.jobs import ProcessExecutor
from retrain_daemon.executor.limits import Limits
from retrain_daemon.executor.holding import find_means
from retrain_daemon.executor.templates import Templates
from retrain_daemon.worker.job import read_job
group, folder, code, limits = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
(group / "cgroup.procs").write_text(str(os.getpid()))
means, ended = find_means(0), threading.Event()
assert means.tree is not None
missing = {"memory": "memory", "processes": "pids", "cpus": "cpu"}
if lacking := [name for name in limits if missing[name] not in means.controllers]:
    print(json.dumps({"lacking": lacking})); sys.exit()
jobs, command = folder / "jobs", (sys.executable, "-c", code)
templates = Templates(jobs, timedelta(minutes=5) if "--forked" in sys.argv else None, command)
executor = ProcessExecutor(jobs, ended.set, command, means=means, templates=templates)
executor.start("j", read_job(folder), Limits(timedelta(seconds=20), **limits), datetime(2026, 11, 22, 3, tzinfo=UTC))
if "--die" in sys.argv:
    while not (folder / "child").exists(): pass
    os.kill(os.getpid(), 9)
ended.wait()
print(json.dumps({"message": executor.look("j").result.message}))
executor.close()
"""
# Leaves the session, the environment and the parent behind, which only a group outlasts.
FUGITIVE = """
import os, sys, time
def run(folder):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execve("/bin/sh", ["sh", "-c", "echo $$ > " + folder + "/new && mv " + folder + "/new " + folder
                                  + "/child && exec sleep 60"], {})
        os._exit(0)
    os.wait()
    while not os.path.exists(folder + "/child"): time.sleep(0.01)
"""


def daemon(group: Path, folder: Path, code: str, limits: dict[str, float], *more: str) -> dict[str, str]:
    """What became of a job of a daemon that lives in `group`."""
    source = Source(tracking_uri="sqlite:///m.db", registry_uri="", model="churn", version=3)
    write_job(folder, InspectModel(source=source))
    arguments = (str(group), str(folder), textwrap.dedent(code), json.dumps(limits), *more)
    done = subprocess.run(
        (sys.executable, "-c", DAEMON, *arguments), capture_output=True, text=True, check=False, timeout=60
    )
    if "--die" not in more:
        assert done.returncode == 0, done.stderr
        found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
        if "lacking" in found:
            pytest.skip(f"this box hands down no controller for {found['lacking']}")
        return found
    return {}


def alive(folder: Path) -> bool:
    try:
        state = Path(f"/proc/{int((folder / 'child').read_text())}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@pytest.mark.slow
def test_a_process_that_left_everything_behind_is_ended_with_its_worker(delegated: Path, tmp_path: Path) -> None:
    code = FUGITIVE + f"run({str(tmp_path)!r}); sys.exit(3)"
    assert daemon(delegated, tmp_path, code, {})["message"] == "the worker ended with exit code 3 without a result"
    assert not alive(tmp_path)
    assert list(delegated.glob(f"{JOB}*")) == []


@pytest.mark.slow
def test_a_forked_worker_is_in_the_group_of_its_job_from_the_first(delegated: Path, tmp_path: Path) -> None:
    code = TEMPLATE.format(code=FUGITIVE + f"print(open('/proc/self/cgroup').read()); run({str(tmp_path)!r})")
    said = daemon(delegated, tmp_path, code, {}, "--forked")["message"]
    assert said.endswith(f"{delegated.name}/{JOB}j")
    assert not alive(tmp_path)
    assert list(delegated.glob(f"{JOB}*")) == []


@pytest.mark.slow
def test_the_next_daemon_ends_what_a_killed_one_left_in_its_groups(delegated: Path, tmp_path: Path) -> None:
    daemon(delegated, tmp_path, FUGITIVE + f"run({str(tmp_path)!r}); sys.exit(3)", {}, "--die")
    (tmp_path / "next").mkdir()
    daemon(delegated, tmp_path / "next", "pass", {})
    assert not alive(tmp_path)
    assert list(delegated.glob(f"{JOB}*")) == []


@pytest.mark.slow
def test_the_kernel_ends_a_worker_at_its_memory_limit_and_the_limit_is_named(delegated: Path, tmp_path: Path) -> None:
    found = daemon(delegated, tmp_path, "hog = b'x' * (200 * 2**20)", {"memory": 64 * 2**20})
    assert found["message"].startswith("the kernel ended the worker for lack of memory: it may hold 64 MiB")


@pytest.mark.slow
def test_the_kernel_starts_no_more_processes_than_allowed(delegated: Path, tmp_path: Path) -> None:
    code = """
        import os, time
        for _ in range(20):
            if os.fork() == 0:
                time.sleep(30)
    """
    assert "Resource temporarily unavailable" in daemon(delegated, tmp_path, code, {"processes": 8})["message"]
