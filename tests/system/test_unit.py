"""The installed service under a real systemd: start, crash, hang, reload, stop, credentials, and a retrain of each
framework inside the hardened unit.

The tests share one machine; each leaves the service running.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from tests import networks
from tests.box import POLICY, buyers
from tests.system.machine import Machine

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE = 60.0
TRAINED = 400.0
MLFLOW = "sqlite:////var/lib/retraind/mlflow.db"
T = TypeVar("T")

#: An MLflow whose silence is waited for without end, which the unit's time-outs prevent, and a watchdog that need not
#: be waited for by a test.
HANGS = """\
[Service]
WatchdogSec=3s
Environment=MLFLOW_TRACKING_URI=http://127.0.0.1:5999 MLFLOW_HTTP_REQUEST_TIMEOUT=600 RETRAIND_POLL_REGISTRY=1s
"""


def until(found: Callable[[], T], patience: float = PATIENCE, said: Callable[[], str] = str) -> T:
    deadline = time.monotonic() + patience
    while not (seen := found()):
        assert time.monotonic() < deadline, f"not seen within {patience} s:\n{said()}"
        time.sleep(0.2)
    return seen


def shown(machine: Machine, name: str) -> str:
    return machine.run("systemctl", "show", "retraind", "--property", name, "--value").strip()


def entries(machine: Machine, *matches: str) -> list[dict[str, Any]]:
    """The journal's entries of the service, oldest first."""
    lines = machine.run("journalctl", "--unit=retraind", "--output=json", "--no-pager", "--all", *matches, check=False)
    return [json.loads(line) for line in lines.splitlines() if line.startswith("{")]


def tail(machine: Machine) -> str:
    return machine.run("journalctl", "--unit=retraind", "--no-pager", "--lines=60", check=False)


def drop_in(machine: Machine, name: str, text: str) -> None:
    machine.write(f"/etc/systemd/system/retraind.service.d/{name}.conf", text)
    machine.run("systemctl", "daemon-reload")


#: An MLflow that keeps what it was asked, and knows nothing.
LISTENER = """\
import http.server, time
class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        open("/run/asked", "a").write(str(self.headers))
        time.sleep({seconds})
        self.send_error(404)
    do_GET = do_POST
http.server.HTTPServer(("127.0.0.1", 5998), Listener).serve_forever()
"""


def listen(machine: Machine, seconds: int) -> None:
    """Have the daemon, from its next start on, ask an MLflow that takes so long for each answer."""
    machine.write("/run/listener.py", LISTENER.format(seconds=seconds))
    machine.run("systemd-run", "--unit=listener", "python3", "/run/listener.py")
    drop_in(machine, "elsewhere", "[Service]\nEnvironment=MLFLOW_TRACKING_URI=http://127.0.0.1:5998\n")


def a_policy_for(machine: Machine, model: str) -> None:
    machine.run("mkdir", "-p", f"/srv/drops/{model}")
    machine.write(f"/etc/retraind/policies/{model}.yaml", POLICY.format(model=model, folder="/srv", rows=500))


@pytest.fixture
def service(machine: Machine) -> Iterator[Machine]:
    """The machine with the service freshly started, and afterwards without what a test changed of it."""
    machine.run("systemctl", "reset-failed", "retraind", check=False)
    machine.run("systemctl", "restart", "retraind")
    yield machine
    machine.run("rm", "-rf", "/etc/systemd/system/retraind.service.d")
    machine.run("systemctl", "daemon-reload")


def test_installing_again_changes_nothing_that_is_there(machine: Machine) -> None:
    machine.run("sh", "-c", "echo '# ours' >> /etc/retraind/retraind.toml")
    machine.run("/opt/retraind/bin/retraind", "install", "--yes")
    assert "# ours" in machine.run("cat", "/etc/retraind/retraind.toml")
    assert shown(machine, "UnitFileState") == "enabled"
    assert shown(machine, "ActiveState") == "active"


def test_a_start_returns_when_the_daemon_is_ready(service: Machine) -> None:
    service.run("systemctl", "stop", "retraind")
    service.run("systemctl", "start", "retraind")
    assert shown(service, "ActiveState") == "active"
    assert shown(service, "StatusText").startswith("Watching")


def test_policies_belong_to_the_group_of_their_editors(service: Machine) -> None:
    service.run("useradd", "ada", "--groups=retraind-editors")
    service.run("runuser", "-u", "ada", "--", "sh", "-c", "umask 022; echo 'model: [' > /etc/retraind/policies/a.yaml")
    service.run("systemctl", "reload", "retraind")
    assert "policy problems in a.yaml" in shown(service, "StatusText")
    assert service.run("stat", "-c", "%G", "/etc/retraind/policies/a.yaml").strip() == "retraind-editors"
    service.run("rm", "/etc/retraind/policies/a.yaml")
    service.run("userdel", "ada")


def test_drops_are_read_by_the_rights_of_the_daemons_groups(service: Machine) -> None:
    a_policy_for(service, "shop")
    service.run("sh", "-c", "groupadd data && chgrp data /srv/drops/shop && chmod 0750 /srv/drops/shop")
    service.run("systemctl", "reload", "retraind")
    assert entries(service, "RETRAIND_EVENT=folder.problem", "RETRAIND_MODEL=shop")
    service.run("usermod", "--append", "--groups=data", "retraind")
    service.run("systemctl", "restart", "retraind")
    since = f"_SYSTEMD_INVOCATION_ID={shown(service, 'InvocationID')}"
    assert entries(service, "RETRAIND_EVENT=policy.loaded", "RETRAIND_MODEL=shop", since)
    assert not entries(service, "RETRAIND_EVENT=folder.problem", since)
    service.run("sh", "-c", "chmod 0755 /srv/drops/shop; rm /etc/retraind/policies/shop.yaml")


def test_a_reload_returns_when_the_daemon_has_looked_again(service: Machine) -> None:
    before = shown(service, "MainPID")
    service.write("/etc/retraind/policies/broken.yaml", "model: [")
    service.run("systemctl", "reload", "retraind")
    assert "policy problems in broken.yaml" in shown(service, "StatusText")
    service.run("rm", "/etc/retraind/policies/broken.yaml")
    service.run("systemctl", "reload", "retraind")
    assert "Degraded" not in shown(service, "StatusText")
    assert shown(service, "ActiveState") == "active"
    assert shown(service, "MainPID") == before


def test_a_reload_takes_as_long_as_the_registry(service: Machine) -> None:
    listen(service, seconds=2)
    a_policy_for(service, "shop")
    service.run("systemctl", "restart", "retraind")
    service.write("/etc/retraind/policies/broken.yaml", "model: [")
    service.run("systemctl", "reload", "retraind")
    assert "policy problems in broken.yaml" in shown(service, "StatusText")
    service.run("systemctl", "stop", "listener")
    service.run("rm", "/etc/retraind/policies/broken.yaml", "/etc/retraind/policies/shop.yaml")


def test_a_killed_daemon_comes_back(service: Machine) -> None:
    restarts = int(shown(service, "NRestarts"))
    service.run("systemctl", "kill", "--signal=KILL", "--kill-whom=main", "retraind")
    until(lambda: int(shown(service, "NRestarts")) > restarts and shown(service, "ActiveState") == "active")


def test_a_hung_daemon_is_restarted_and_says_where_it_hung(service: Machine) -> None:
    service.run("systemd-run", "--unit=mlflow", "python3", "-m", "http.server", "--bind=127.0.0.1", "5999")
    a_policy_for(service, "shop")
    drop_in(service, "hangs", HANGS)
    service.run("systemctl", "restart", "retraind")
    pid, restarts = shown(service, "MainPID"), int(shown(service, "NRestarts"))
    time.sleep(5)  # longer than the watchdog waits: a daemon whose registry answers nonsense is alive
    assert shown(service, "MainPID") == pid
    service.run("systemctl", "kill", "--signal=STOP", "mlflow")
    until(lambda: int(shown(service, "NRestarts")) > restarts, said=lambda: tail(service))
    said = [str(entry["MESSAGE"]) for entry in entries(service)]
    assert any("Watchdog timeout" in line for line in said)
    assert any("retrain_daemon/registry.py" in line and "line" in line for line in said), tail(service)
    service.run("systemctl", "kill", "--signal=KILL", "mlflow")
    until(lambda: shown(service, "ActiveState") == "active", said=lambda: tail(service))
    service.run("rm", "/etc/retraind/policies/shop.yaml")


def test_the_service_writes_into_its_own_folders_only(service: Machine) -> None:
    pid = shown(service, "MainPID")
    status = dict(re.findall(r"^(\w+):\t(.*)$", service.run("cat", f"/proc/{pid}/status"), re.MULTILINE))
    assert {name: status[name] for name in ("NoNewPrivs", "Seccomp", "CapBnd")} == {
        "NoNewPrivs": "1", "Seccomp": "2", "CapBnd": "0000000000000000",
    }  # fmt: skip

    def writes(folder: str) -> bool:
        inside = ("nsenter", "-t", pid, "-m", "--", "setpriv", "--reuid=retraind", "--regid=retraind", "--clear-groups")
        return service.try_run(*inside, "touch", f"{folder}/written").returncode == 0

    service.run("chmod", "0777", "/srv/drops")
    ours = ("/var/lib/retraind", "/var/cache/retraind", "/run/retraind", "/tmp", "/var/tmp", "/dev/shm")
    others = ("/srv/drops", "/etc/retraind", "/etc/retraind/policies", "/var/lib", "/opt/retraind", "/home", "/root")
    assert {folder for folder in (*ours, *others) if writes(folder)} == set(ours)
    service.run("chmod", "0755", "/srv/drops")


def test_events_are_found_by_their_fields(service: Machine) -> None:
    found = entries(service, "RETRAIND_EVENT=daemon.started")[-1]
    assert found["MESSAGE"].startswith("daemon.started version=")
    assert found["RETRAIND_STATE"] == "/var/lib/retraind"
    assert found["PRIORITY"] == "6"
    assert found["_SYSTEMD_UNIT"] == "retraind.service"


def test_a_token_reaches_mlflow_and_nobody_else(service: Machine) -> None:
    listen(service, seconds=0)
    a_policy_for(service, "shop")
    service.run("sh", "-c", "umask 077; echo s3cret > /etc/credstore/retraind.mlflow-token")
    service.run("systemctl", "restart", "retraind")
    assert "Authorization: Bearer s3cret" in service.run("cat", "/run/asked")
    for command in (("cat", "/etc/credstore/retraind.mlflow-token"), ("ls", "/run/credentials/retraind.service")):
        assert service.try_run("runuser", "-u", "nobody", "--", *command).returncode != 0
    assert service.run("grep", "-rl", "s3cret", "/var/lib/retraind", "/etc/systemd", check=False) == ""
    assert "s3cret" not in service.run("journalctl", "--unit=retraind", "--output=json", "--no-pager")
    service.run("systemctl", "stop", "listener")
    service.run("rm", "/etc/credstore/retraind.mlflow-token", "/etc/retraind/policies/shop.yaml")


@pytest.fixture(scope="module")
def trained(machine: Machine) -> Machine:
    """The service with a champion of each framework and rows for them, when every attempt is over."""
    _as_service(machine, "/opt/retraind/bin/python", "-m", "tests.system.people", MLFLOW, PYTHONPATH="/opt/source")
    a_policy_for(machine, "shop")
    for model in ("keras", "torch"):
        machine.write(f"/etc/retraind/policies/{model}.yaml", networks.POLICY.format(model=model, folder="/srv"))
    machine.run("mkdir", "-p", "/srv/drops/all")
    machine.run("systemctl", "restart", "retraind")
    assert shown(machine, "StatusText").endswith("Watching 3 models; idle")
    for folder in ("shop", "all"):
        _drop(machine, folder, "monday", 2)
    return machine


def _as_service(machine: Machine, *command: str, **environment: str) -> str:
    given = {"HOME": "/var/lib/retraind", "MLFLOW_DISABLE_TELEMETRY": "true", **environment}
    pairs = [f"{name}={value}" for name, value in given.items()]
    return machine.run("runuser", "-u", "retraind", "--", "env", *pairs, *command, timeout=300)


def _drop(machine: Machine, folder: str, name: str, seed: int) -> None:
    """Renamed into place: complete at once."""
    buyers(seed, 1500).to_csv(machine.shared / f"{name}.csv", index=False)
    machine.run("cp", f"/srv/host/{name}.csv", f"/srv/drops/{folder}/.{name}.csv")
    machine.run("mv", f"/srv/drops/{folder}/.{name}.csv", f"/srv/drops/{folder}/{name}.csv")


@pytest.mark.parametrize("model", ["shop", "keras", "torch"])
def test_each_framework_is_retrained_inside_the_hardened_unit(trained: Machine, model: str) -> None:
    over = lambda: entries(trained, f"RETRAIND_MODEL={model}", "RETRAIND_EVENT=attempt.promoted")  # noqa: E731
    until(over, TRAINED, lambda: tail(trained))
    said = json.loads(_as_service(trained, "/opt/retraind/bin/retraind", "status", "--json"))
    assert [each["champion"] for each in said["models"] if each["model"] == model] == [2]


def test_a_stop_while_training_ends_the_worker_and_the_attempt_goes_on_after_the_next_start(trained: Machine) -> None:
    before = {entry["RETRAIND_ATTEMPT"] for entry in entries(trained, "RETRAIND_EVENT=attempt.training")}
    _drop(trained, "all", "tuesday", 3)

    def begun() -> list[str]:
        found = [entry["RETRAIND_ATTEMPT"] for entry in entries(trained, "RETRAIND_EVENT=attempt.training")]
        return [attempt for attempt in found if attempt not in before]

    (attempt,) = until(begun, TRAINED, lambda: tail(trained))
    until(lambda: attempt in shown(trained, "StatusText").partition("under way: ")[2])
    trained.run("systemctl", "stop", "retraind")
    assert shown(trained, "Result") == "success"
    assert trained.run("pgrep", "--euid", "retraind", check=False) == ""
    trained.run("systemctl", "start", "retraind")
    ends = ("promoted", "rejected", "inconclusive")
    matches = [f"RETRAIND_EVENT=attempt.{end}" for end in ends]
    until(lambda: entries(trained, f"RETRAIND_ATTEMPT={attempt}", *matches), TRAINED, lambda: tail(trained))
    assert begun().count(attempt) == 2
