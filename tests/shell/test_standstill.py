"""The state folder cannot be written while the daemon runs: it stays alive, says so once, and loses nothing."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from retrain_daemon.core.attempts import State
from retrain_daemon.daemon import Daemon
from retrain_daemon.errors import StateUnusable
from retrain_daemon.executor.jobs import ProcessExecutor
from retrain_daemon.executor.launch import PROCESS_FILE
from retrain_daemon.executor.limits import Limits
from retrain_daemon.journal import Journal
from retrain_daemon.news import News
from retrain_daemon.notify import Hook, Notifier
from retrain_daemon.patience import Requests
from retrain_daemon.registry import RegisteredModel
from retrain_daemon.standstill import LONGEST_WAIT_SECONDS, Standstill
from retrain_daemon.worker.job import Failed, InspectModel, Job, Source, Train
from tests.box import alive
from tests.fake_box import FakeBox, WatchedExecutor
from tests.made import CHAMPION, NOW


@pytest.fixture
def box(tmp_path: Path) -> FakeBox:
    (tmp_path / "box").mkdir()
    made = FakeBox(tmp_path / "box")
    made.record_champion()
    return made


@dataclass
class Disk:
    """A disk that has room for so many commits; then it is full until it is given room again."""

    left: int

    def reached(self, point: str) -> None:
        if not point.startswith("before ") or point == "before start":
            return
        if self.left <= 0:
            raise StateUnusable("the journal cannot be used: database or disk is full.")
        self.left -= 1


def go_on(box: FakeBox, daemon: Daemon, turns: int = 10) -> None:
    for _ in range(turns):
        daemon.turn_or_stand_still()
        box.clock.now += timedelta(minutes=5)


@pytest.fixture(autouse=True)
def nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrain_daemon.daemon.LISTEN_SECONDS", 1e-6)
    monkeypatch.setattr("retrain_daemon.standstill.FIRST_WAIT_SECONDS", 0.0)


def test_a_disk_that_is_full_at_any_commit_costs_nothing_and_nothing_is_done_twice(tmp_path: Path) -> None:
    said = 0
    for room in range(60):
        (tmp_path / str(room)).mkdir()
        box = FakeBox(tmp_path / str(room))
        box.record_champion()
        box.drop()
        disk = Disk(room)
        box.reached = disk.reached
        with box.life() as daemon, capture_logs() as logs:
            go_on(box, daemon, turns=6)
            stands_still, moved = bool(daemon._standstill.problem), len(box.registry.calls)
            go_on(box, daemon, turns=3)
            if stands_still:
                assert len(box.registry.calls) == moved, f"room for {room}: it acted while it stood still"
            stood_still = bool(daemon._standstill.problem)
            disk.left = 10_000
            go_on(box, daemon)
            assert daemon._standstill.problem == ""
        events = [line["event"] for line in logs]
        assert events.count("state.unusable") == events.count("state.recovered") == int(stood_still), f"room {room}"
        (attempt,) = box.attempts()
        assert attempt.state is State.PROMOTED, f"room for {room}"
        assert box.aliases() == {"champion": CHAMPION + 1, "previous_champion": CHAMPION}, f"room for {room}"
        assert [state for _, state in box.drops()] == ["recorded"], f"room for {room}"
        said += stood_still
        if not stood_still:
            break
    assert said > 10


def test_an_attempt_whose_job_folder_cannot_be_written_waits_and_is_never_given_up(
    box: FakeBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = WatchedExecutor.start
    full = [True]

    def refusing(self: WatchedExecutor, key: str, job: Job, limits: Limits, now: datetime, python: str = "") -> None:
        if full[0] and isinstance(job, Train):
            raise StateUnusable("job folder cannot be written: No space left on device.")
        start(self, key, job, limits, now, python)

    monkeypatch.setattr(WatchedExecutor, "start", refusing)
    box.drop()
    with box.life() as daemon:
        go_on(box, daemon, turns=40)
        (attempt,) = box.attempts()
        assert (attempt.state, attempt.starts, attempt.failures) == (State.PLANNED, 0, 0)
        full[0] = False
        go_on(box, daemon)
    assert [each.state for each in box.attempts()] == [State.PROMOTED]


def test_a_policy_that_came_while_the_disk_was_full_is_taken_up_afterwards(box: FakeBox) -> None:
    disk = Disk(10_000)
    box.reached = disk.reached
    with box.life() as daemon:
        go_on(box, daemon, turns=2)
        disk.left = 0
        text = (box.root / "policies" / "churn.yaml").read_text().replace("model: churn", "model: other")
        (box.root / "policies" / "other.yaml").write_text(text)
        go_on(box, daemon, turns=3)
        disk.left = 10_000
        with capture_logs() as logs:
            go_on(box, daemon, turns=2)
    assert [line["model"] for line in logs if line["event"] == "policy.loaded"] == ["other"]


def test_a_journal_that_became_read_only_is_waited_for(box: FakeBox) -> None:
    with box.life() as daemon:
        go_on(box, daemon, turns=2)
        daemon._to.journal._database.run("PRAGMA query_only = ON")
        box.drop()
        with capture_logs() as logs:
            go_on(box, daemon, turns=5)
            assert "readonly" in daemon._standstill.problem
            assert f"write access to the state folder {box.root / 'state'}" in daemon._standstill.problem
            assert box.attempts() == ()
            daemon._to.journal._database.run("PRAGMA query_only = OFF")
            go_on(box, daemon)
    events = [line["event"] for line in logs]
    assert (events.count("state.unusable"), events.count("state.recovered")) == (1, 1)
    assert [attempt.state for attempt in box.attempts()] == [State.PROMOTED]


def test_a_transaction_that_could_not_be_committed_is_not_mistaken_for_one_under_way(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    connection = journal._database._connection
    connection.execute("PRAGMA max_page_count = 60")

    def add_many() -> None:
        for number in range(1000):
            journal.drops.add("churn", f"/srv/drops/{number:0500}.csv", (1, number, number), NOW)

    with pytest.raises(StateUnusable, match="bytes are free"):
        add_many()
    assert not connection.in_transaction
    connection.execute("PRAGMA max_page_count = 10000")
    journal.models.ensure("churn", "churn.yaml", "champion", NOW)
    assert Journal.open(tmp_path, read_only=True).models.find("churn") is not None


def test_the_wait_grows_to_half_a_minute_and_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrain_daemon.standstill.FIRST_WAIT_SECONDS", 1.0)
    standstill = Standstill(tmp_path)
    waits = [standstill.begin(StateUnusable("full."), NOW) for _ in range(8)]
    assert waits == [1, 2, 4, 8, 16, 30, 30, LONGEST_WAIT_SECONDS]
    assert standstill.end(NOW)
    assert standstill.begin(StateUnusable("full."), NOW) == 1


def test_a_shortage_is_told_by_name_with_what_to_do(tmp_path: Path) -> None:
    from retrain_daemon.shortage import unusable

    full = unusable(OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "job.json")), tmp_path)
    assert f"{tmp_path} cannot be written" in full.message
    assert "bytes are free" in full.message
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    none_left = unusable(OSError(errno.EMFILE, "Too many open files"), tmp_path)
    assert f"no file descriptors are left: this process may have {limit}" in none_left.message
    assert "LimitNOFILE" in none_left.hint


# Real disks, real processes


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 3 MiB."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip(f"no small disk can be mounted here: {made.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        while True:
            try:
                stream.write(b"x" * 4096)
            except OSError:
                return ballast


class Process:
    """`retraind run` as a process, its MLflow a file outside the small disk."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.folder, self.state = folder, state
        for name in ("policies", "drops"):
            (folder / name).mkdir(exist_ok=True)
        self.log = folder / "daemon.log"
        (folder / "retraind.toml").write_text(
            f'[mlflow]\ntracking_uri = "sqlite:///{folder}/mlflow.db"\n[daemon]\nstate = "{state}"\n'
            f'policies = "{folder}/policies"\npoll_registry = "1s"\nrescan = "1s"\nlog_format = "json"\n'
        )
        self.running = self._run()

    def _run(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(self.command("run"), stderr=log, env=os.environ | {"RETRAIND_CONFIG": ""})

    def command(self, *verb: str) -> list[str]:
        return [sys.executable, "-m", "retrain_daemon", *verb, "--config", str(self.folder / "retraind.toml")]

    def watch_model(self, name: str) -> None:
        """A policy that makes the daemon write to its journal."""
        (self.folder / "drops" / name).mkdir()
        (self.folder / "policies" / f"{name}.yaml").write_text(
            f"model: {name}\ndata:\n  path: {self.folder}/drops/{name}/*.csv\n  complete: {{settle: 1s}}\n"
            "  target: y\nretrain:\n  - {name: fresh, when: data.new_rows >= 1}\npromote:\n  require:\n"
            "    - {metric: accuracy, better_by: 0}\n"
        )

    def events(self, name: str) -> list[dict[str, object]]:
        lines = self.log.read_text().splitlines()
        return [
            line for line in map(json.loads, filter(lambda text: text.startswith("{"), lines)) if line["event"] == name
        ]

    def wait_for(self, what: Callable[[], object], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not what():
            assert self.running.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    def end(self) -> None:
        self.running.send_signal(signal.SIGTERM)
        assert self.running.wait(60) == 0, self.log.read_text()


@pytest.mark.slow
def test_a_full_disk_stops_the_daemons_work_and_not_the_daemon(tmp_path: Path, small_disk: Path) -> None:
    daemon = Process(tmp_path, small_disk / "state")
    daemon.watch_model("first")
    daemon.wait_for(lambda: daemon.events("policy.loaded"))
    ballast = fill(small_disk)
    number = 0
    while not daemon.events("state.unusable"):  # the journal's log has some room of its own
        number += 1
        assert number < 100
        for drop in range(40):
            (tmp_path / "drops" / "first" / f"{number}-{drop}-{'x' * 150}.csv").write_text("x,y\n1,1\n")
        time.sleep(1.5)
        assert daemon.running.poll() is None, daemon.log.read_text()
    (said,) = daemon.events("state.unusable")
    assert str(small_disk) in str(said["problem"])
    assert "bytes are free" in str(said["problem"])
    shown = subprocess.run(daemon.command("status", "--json"), capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    assert [model["model"] for model in json.loads(shown.stdout)["models"]] == ["first"]
    ballast.unlink()
    daemon.wait_for(lambda: daemon.events("state.recovered"))
    names = {path.name for path in (tmp_path / "drops" / "first").iterdir()}

    def all_seen() -> bool:
        journal = Journal.open(small_disk / "state", read_only=True)
        try:
            return {Path(drop.path).name for drop in journal.drops.listing("first")} == names
        finally:
            journal.close()

    daemon.wait_for(all_seen)
    assert len(daemon.events("state.unusable")) == 1
    daemon.end()


@pytest.mark.slow
def test_a_full_disk_at_the_start_is_refused_with_exit_code_8(tmp_path: Path, small_disk: Path) -> None:
    fill(small_disk)
    daemon = Process(tmp_path, small_disk / "state")
    assert daemon.running.wait(60) == 8
    assert "retraind: " in daemon.log.read_text()
    assert "Traceback" not in daemon.log.read_text()


@pytest.mark.slow
def test_a_daemon_without_file_descriptors_stays_alive_says_so_and_loses_no_drop(tmp_path: Path) -> None:
    daemon = Process(tmp_path, tmp_path / "state")
    daemon.watch_model("first")
    daemon.wait_for(lambda: daemon.events("policy.loaded"))
    time.sleep(2)
    _, hard = resource.prlimit(daemon.running.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.running.pid, resource.RLIMIT_NOFILE, (3, hard))
    (tmp_path / "drops" / "first" / "a.csv").write_text("x,y\n1,1\n")
    time.sleep(4)
    assert daemon.running.poll() is None, daemon.log.read_text()
    said = daemon.log.read_text()
    assert "Too many open files" in said
    resource.prlimit(daemon.running.pid, resource.RLIMIT_NOFILE, (hard, hard))

    def seen() -> bool:
        journal = Journal.open(tmp_path / "state", read_only=True)
        try:
            return [drop.state for drop in journal.drops.listing("first")] == ["found"]
        finally:
            journal.close()

    daemon.wait_for(seen)
    daemon.end()


JOB = InspectModel(source=Source(tracking_uri="sqlite:///x.db", registry_uri="sqlite:///x.db", model="m", version=1))


def test_that_no_worker_can_be_started_for_want_of_descriptors_is_no_failure_of_the_job(tmp_path: Path) -> None:
    executor = ProcessExecutor(tmp_path / "jobs", lambda: None, command=(sys.executable, "-c", "pass"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(each.name) for each in Path("/proc/self/fd").iterdir()) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
    held = []
    try:
        while True:
            try:
                held.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        with pytest.raises(StateUnusable, match="no file descriptors are left"):
            executor.start("j", JOB, Limits(run_for=NOW - NOW), NOW)
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert executor.running() == ()
    assert executor.look("j") is None


def test_that_no_thread_can_be_started_is_no_failure_of_the_job_and_leaves_no_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (sys.executable, "-c", "import time; time.sleep(60)")
    executor = ProcessExecutor(tmp_path / "jobs", lambda: None, command=command)
    with monkeypatch.context() as lacking:
        none_left(lacking)
        with pytest.raises(StateUnusable, match="no further process or thread can be started"):
            executor.start("j", JOB, Limits(run_for=timedelta(minutes=1)), NOW)
    assert executor.running() == ()
    assert not alive(json.loads((tmp_path / "jobs" / "j" / PROCESS_FILE).read_text())["pid"])
    executor.close()


def test_without_a_thread_for_its_requests_the_daemon_stands_still_and_does_not_end(
    box: FakeBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = Requests(5.0)
    ask = box.registry.models

    def models(names: Collection[str]) -> Mapping[str, RegisteredModel]:
        return requests.make(lambda: ask(names))

    monkeypatch.setattr(box.registry, "models", models)
    with box.life() as daemon:
        with monkeypatch.context() as lacking:
            none_left(lacking)
            assert not daemon.turn_or_stand_still()
            assert "no further process or thread can be started" in daemon._standstill.problem
        assert daemon.turn_or_stand_still()
        assert daemon._standstill.problem == ""


def test_news_that_no_thread_could_be_started_for_is_told_with_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    hook = Hook(("sh", "-c", f"cat >> {told}"), ("held",), timedelta(seconds=20))
    notifier = Notifier(hook)
    with monkeypatch.context() as lacking:
        none_left(lacking)
        notifier.tell(News(occasion="held", at=NOW, model="first", reason="r"))
    notifier.tell(News(occasion="held", at=NOW, model="second", reason="r"))
    notifier.close()
    assert "first" in told.read_text()
    assert "second" in told.read_text()


def none_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)


def test_a_result_that_cannot_be_read_for_want_of_descriptors_is_read_later(tmp_path: Path) -> None:
    over = threading.Event()
    write = (
        "import sys, time; from pathlib import Path; from retrain_daemon.worker.job import *;"
        "time.sleep(2); write_result(Path(sys.argv[1]), Failed(message='the real end'))"
    )
    executor = ProcessExecutor(tmp_path / "jobs", over.set, command=(sys.executable, "-c", write))
    executor.start("j", JOB, Limits(run_for=timedelta(minutes=1)), NOW)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        assert not over.wait(8)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert over.wait(30)
    ended = executor.look("j")
    assert getattr(ended, "result", None) == Failed(message="the real end")


@pytest.mark.slow
def test_a_worker_that_meets_a_full_disk_names_it_and_may_be_tried_again(tmp_path: Path, small_disk: Path) -> None:
    over = threading.Event()
    write = (
        "import sys; from pathlib import Path; from retrain_daemon.worker import __main__ as worker;"
        "from retrain_daemon.worker.job import *;"
        "fill = open(Path(sys.argv[1]) / 'fill', 'wb', 0)\n"
        "def full(*_):\n"
        "    while True: fill.write(b'x' * 4096)\n"
        "worker._do = full; sys.exit(worker.main(sys.argv[1:]))"
    )
    executor = ProcessExecutor(small_disk / "jobs", over.set, command=(sys.executable, "-c", write))
    executor.start("j", JOB, Limits(run_for=timedelta(minutes=1)), NOW)
    assert over.wait(60)
    ended = executor.look("j")
    result = getattr(ended, "result", None)
    assert isinstance(result, Failed)
    assert (result.temporary, result.unreachable, result.lost) == (True, True, False), result
    assert str(small_disk) in result.message
    assert "could not write its result" in result.message
