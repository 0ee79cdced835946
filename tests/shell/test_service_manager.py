"""What a service manager hears of the daemon, on a plain socket: when it is ready, alive, reloading, ending or hung."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from retrain_daemon.daemon import Daemon
from retrain_daemon.executor.launch import launch
from retrain_daemon.service_manager import VARIABLES, ServiceManager
from retrain_daemon.status_line import StatusLine
from tests.fake_box import FakeBox

PATIENCE = 60.0
MINUTE = "60000000"


@dataclass
class Ear:
    """The service manager's end of the socket."""

    end: socket.socket
    name: str

    def heard(self) -> list[str]:
        """Every message that has arrived, in order."""
        self.end.setblocking(False)
        messages = []
        while True:
            try:
                messages.append(self.end.recv(4096).decode())
            except BlockingIOError:
                return messages

    def next(self, wanted: str) -> str:
        """Wait for a message that begins so, past others."""
        self.end.settimeout(PATIENCE)
        while not (message := self.end.recv(4096).decode()).startswith(wanted):
            continue
        return message

    def speak_to(self, **more: str) -> ServiceManager:
        return ServiceManager({"NOTIFY_SOCKET": self.name, "WATCHDOG_USEC": MINUTE, **more})


@contextmanager
def listening(address: str, name: str) -> Iterator[Ear]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(address)
        yield Ear(end, name)


@pytest.fixture
def ear(tmp_path: Path) -> Iterator[Ear]:
    with listening(str(tmp_path / "notify"), str(tmp_path / "notify")) as found:
        yield found


@pytest.fixture
def box(tmp_path: Path) -> FakeBox:
    (tmp_path / "box").mkdir()
    return FakeBox(tmp_path / "box")


# the protocol


def test_a_socket_without_a_file_is_spoken_to() -> None:
    name = f"retraind-test-{os.getpid()}"
    with listening(f"\0{name}", f"@{name}") as ear:
        ear.speak_to().ready()
        assert ear.heard() == ["READY=1"]


@pytest.mark.parametrize("name", ["", "vsock:2:1234", "/nobody/listens/here", "@nobody-listens-here", "/" + "x" * 300])
def test_nobody_who_listens_is_no_trouble(name: str) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": MINUTE})
    manager.ready()
    manager.turned()
    manager.status("all is well")
    manager.reloading()
    manager.stopping()


def test_one_who_has_stopped_listening_does_not_hold_the_daemon_up(ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrain_daemon.service_manager._SEND_SECONDS", 0.001)
    manager = ear.speak_to()
    more_than_a_socket_holds = 600
    for _ in range(more_than_a_socket_holds):
        manager.turned()
    assert 0 < len(ear.heard()) < more_than_a_socket_holds


def test_the_watchdog_of_another_process_gets_no_sign_of_life(ear: Ear) -> None:
    ear.speak_to(WATCHDOG_PID="1").turned()
    assert ear.heard() == []
    ear.speak_to(WATCHDOG_PID=str(os.getpid())).turned()
    assert ear.heard() == ["WATCHDOG=1"]


@pytest.mark.parametrize("interval", ["", "0", "soon", "-1"])
def test_without_a_watchdog_no_sign_of_life_is_given_and_the_loop_may_sleep_on(ear: Ear, interval: str) -> None:
    manager = ear.speak_to(WATCHDOG_USEC=interval)
    manager.turned()
    assert ear.heard() == []
    assert manager.pause == float("inf")


def test_a_status_is_one_line_and_told_once(ear: Ear) -> None:
    manager = ear.speak_to()
    for text in ("two\nlines READY=1", "two lines READY=1", "x" * 5000):
        manager.status(text)
    first, second = ear.heard()
    assert first == "STATUS=two lines READY=1"
    assert len(second) < 500


# the loop


def test_ready_is_said_after_the_first_look_at_everything_and_once(box: FakeBox, ear: Ear) -> None:
    box.service_manager = ear.speak_to()
    heard: list[list[str]] = []
    with box.life() as daemon:
        one_turn = daemon.turn

        def turn() -> None:
            one_turn()
            heard.append(ear.heard())
            if len(heard) == 3:
                daemon.stop()

        daemon.turn = turn  # type: ignore[method-assign]
        daemon.run()
    assert heard[0] == []
    assert heard[1] == ["WATCHDOG=1", "STATUS=Watching 1 model; idle", "READY=1"]
    assert heard[2][0] == "WATCHDOG=1"
    assert "READY=1" not in heard[2]
    assert ear.heard()[-1] == "STOPPING=1"


def test_a_reload_is_over_when_the_new_policy_is_in_force(box: FakeBox, ear: Ear) -> None:
    box.service_manager = ear.speak_to()
    with box.life() as daemon:
        daemon.turn()
        daemon._report()
        ear.heard()
        box.write_policy("model: [")
        daemon.reload()
        begun = ear.heard()
        daemon.turn()
        daemon._report()
    assert len(begun) == 1
    found = re.fullmatch(r"RELOADING=1\nMONOTONIC_USEC=(\d+)", begun[0])
    assert found
    assert 0 < int(found[1]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    _, status, ready = ear.heard()
    assert "policy problems in churn.yaml" in status
    assert ready == "READY=1"


def test_a_reload_asks_the_registry_and_lists_the_folders_at_once(box: FakeBox) -> None:
    box.record_champion()
    with box.life() as daemon:
        daemon.turn()
        box.registry.move_alias_by_hand("churn", "champion", 3)
        daemon.turn()
        assert _champion_seen(box) == 7
        daemon.reload()
        daemon.turn()
        assert _champion_seen(box) == 3


def _champion_seen(box: FakeBox) -> int | None:
    with box.journal() as journal:
        row = journal.models.find("churn")
    return row.champion_seen if row else None


def test_a_reload_asked_for_during_a_turn_is_done_after_the_next(box: FakeBox, ear: Ear) -> None:
    box.service_manager = ear.speak_to()
    with box.life() as daemon:
        daemon.turn()
        daemon._report()
        ear.heard()
        daemon.turn()
        daemon.reload()
        daemon._report()
        assert "READY=1" not in ear.heard()
        daemon.turn()
        daemon._report()
        assert ear.heard()[-1] == "READY=1"


def test_a_hung_loop_looks_hung(box: FakeBox, ear: Ear, monkeypatch: pytest.MonkeyPatch) -> None:
    box.service_manager = ear.speak_to()
    hung, go_on = threading.Event(), threading.Event()
    models = box.registry.models

    def hang(names: list[str]) -> object:
        hung.set()
        assert go_on.wait(PATIENCE)
        return models(names)

    monkeypatch.setattr(box.registry, "models", hang)
    lives: list[Daemon] = []

    def live() -> None:
        with box.life() as daemon:
            lives.append(daemon)
            daemon.run()

    loop = threading.Thread(target=live)
    loop.start()
    assert hung.wait(PATIENCE)
    assert ear.heard() == []  # neither ready nor alive
    go_on.set()
    assert ear.next("WATCHDOG=1")
    lives[0].stop()
    loop.join(PATIENCE)


# what systemctl status shows


@pytest.mark.parametrize(
    ("standing", "sentence"),
    [
        (StatusLine(models=1), "Watching 1 model; idle"),
        (StatusLine(models=3, attempts=("a-1", "b-2"), workers=1), "Watching 3 models; under way: a-1, b-2 (1 worker)"),
        (StatusLine(models=2, workers=2), "Watching 2 models; inspecting (2 workers)"),
        (
            StatusLine(models=5, attempts=("a-1", "b-1", "c-1", "d-1", "e-1")),
            "Watching 5 models; under way: a-1, b-1, c-1 and 2 more",
        ),
        (
            StatusLine(models=1, registry="It refused.", policy_files=("x.yaml",), troubles=("churn",), unwatched=True),
            "Degraded: policy problems in x.yaml; trouble with churn; drop folders without file events; "
            "the registry does not answer (It refused). Watching 1 model; idle",
        ),
    ],
)
def test_the_status_names_what_is_wrong_and_what_is_done(standing: StatusLine, sentence: str) -> None:
    assert standing.sentence == sentence


# processes


def test_a_worker_cannot_speak_to_the_service_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("KEPT", "1")
    assert launch(tmp_path, ("env",), {}).wait() == 0
    seen = {line.partition("=")[0] for line in (tmp_path / "worker.log").read_text().splitlines()}
    assert "KEPT" in seen
    assert not seen & set(VARIABLES)


@pytest.fixture
def daemon(tmp_path: Path, ear: Ear) -> Iterator[subprocess.Popen[bytes]]:
    """The real command with a watchdog of a second and a half, and nothing to do."""
    (tmp_path / "policies").mkdir()
    variables = {"RETRAIND_STATE": str(tmp_path / "state"), "RETRAIND_POLICIES": str(tmp_path / "policies"),
                 "NOTIFY_SOCKET": ear.name, "WATCHDOG_USEC": "1500000"}  # fmt: skip
    with (tmp_path / "daemon.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "retrain_daemon", "run"], env=_without_settings() | variables, stdout=log, stderr=log
        )
    yield process
    process.kill()
    process.wait()


def _without_settings() -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("RETRAIND_", "MLFLOW_"))}


def _states_until(process: subprocess.Popen[bytes], reached: Callable[[str], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not reached(Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_an_idle_daemon_lives_obeys_signals_and_says_how_it_ends(daemon: subprocess.Popen[bytes], ear: Ear) -> None:
    ear.next("READY=1")
    ear.next("WATCHDOG=1")  # turns go on though nothing wakes the loop
    ear.next("WATCHDOG=1")
    daemon.send_signal(signal.SIGHUP)
    ear.next("RELOADING=1\nMONOTONIC_USEC=")
    ear.next("READY=1")
    daemon.send_signal(signal.SIGSTOP)
    _states_until(daemon, lambda state: state == "T")
    ear.heard()
    time.sleep(1)
    assert ear.heard() == []
    daemon.send_signal(signal.SIGCONT)
    ear.next("WATCHDOG=1")
    daemon.terminate()
    ear.next("STOPPING=1")
    assert daemon.wait(PATIENCE) == 0
