"""/healthz and /metrics: what they say of the loop, and that neither a client nor a port can harm the daemon."""

from __future__ import annotations

import io
import json
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from retrain_daemon import log
from retrain_daemon.notify import Tally
from retrain_daemon.outage import Outage
from retrain_daemon.settings import Address
from retrain_daemon.standing import Snapshot, Standing
from retrain_daemon.web import Answers, Web, patience
from retrain_daemon.web.health import health
from tests.fake_box import FakeBox
from tests.made import NOW
from tests.shell.test_docs import DOCS, bare, table

LOOPBACK = Address("127.0.0.1", 0)
ALLOWED = patience(timedelta(seconds=15), timedelta(seconds=60))


@dataclass
class Page:
    """Pages that say what they were made with."""

    status: int = 200

    def health(self) -> tuple[int, bytes]:
        return self.status, b"{}"

    def metrics(self, accept: str) -> tuple[str, bytes]:
        return "text/plain", accept.encode()


@pytest.fixture
def logged() -> io.StringIO:
    stream = io.StringIO()
    log.configure("json", stream, {})
    return stream


def until(found: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not found():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def events(logged: io.StringIO) -> list[dict[str, str]]:
    return [json.loads(line) for line in logged.getvalue().splitlines()]


def listening(logged: io.StringIO) -> str:
    until(lambda: "web.listening" in logged.getvalue())
    return next(event["address"] for event in events(logged) if event["event"] == "web.listening")


def asked(address: str, path: str, method: str = "GET") -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(f"http://{address}{path}", method=method), timeout=10) as it:
            return it.status, it.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize("rescan", [timedelta(seconds=60), timedelta(hours=1)])
def test_the_pauses_of_an_outage_are_no_sign_of_a_hung_loop(rescan: timedelta) -> None:
    poll = timedelta(seconds=15)
    outage = Outage()
    for _ in range(10):
        outage = outage.goes_on(NOW)
    longest = min(outage.next_poll(NOW, poll, 1.0) - NOW, rescan)
    standing = Standing(NOW)
    standing.publish(NOW, 0.1, 0, NOW, "connection refused")
    assert health(standing.snapshot, NOW + longest, patience(poll, rescan)).status == 200


def test_two_pages_are_served_to_those_who_read_and_nothing_else(logged: io.StringIO) -> None:
    web = Web(LOOPBACK, lambda: Page(503))
    address = listening(logged)
    try:
        assert asked(address, "/healthz") == (503, b"{}")
        assert asked(address, "/metrics?x=1")[0] == 200
        assert asked(address, "/healthz", "HEAD") == (503, b"")
        assert asked(address, "/")[0] == 404
        assert asked(address, "/../etc/passwd")[0] == 404
        assert asked(address, "/metrics", "POST")[0] == 501
    finally:
        web.close()
    with pytest.raises(OSError, match="refused"):
        asked(address, "/healthz")


def test_a_client_that_says_nothing_keeps_nobody_waiting(logged: io.StringIO) -> None:
    web = Web(LOOPBACK, Page)
    host, _, port = listening(logged).rpartition(":")
    with socket.create_connection((host, int(port))):
        assert asked(f"{host}:{port}", "/healthz")[0] == 200
        web.close()


def test_a_port_that_is_taken_is_said_once_and_tried_again(logged: io.StringIO) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("127.0.0.1", taken.getsockname()[1])
        web = Web(address, Page, retry=0.05)
        until(lambda: "web.unavailable" in logged.getvalue())
        time.sleep(0.3)
        assert [event["event"] for event in events(logged)] == ["web.unavailable"]
    try:
        assert asked(listening(logged), "/healthz")[0] == 200
    finally:
        web.close()


def test_an_address_that_others_can_reach_is_a_warning(logged: io.StringIO) -> None:
    Web(Address("0.0.0.0", 0), Page).close()
    [event] = [event for event in events(logged) if event["event"] == "web.exposed"]
    assert event["level"] == "warning"


def turned(**changes: object) -> Snapshot:
    """What is seen after a turn that has ended now."""
    standing = Standing(NOW)
    standing.publish(NOW, 0.2, 0, None, "")
    return replace(standing.snapshot, **changes)  # type: ignore[arg-type]


def said(seen: Snapshot, now: datetime) -> tuple[int, dict[str, object]]:
    found = health(seen, now, ALLOWED)
    return found.status, json.loads(found.body)


def test_a_daemon_whose_turns_end_is_healthy() -> None:
    status, body = said(turned(), NOW + ALLOWED)
    assert (status, body["status"], body["registry"]) == (200, "ok", "up")


def test_a_loop_that_hangs_is_unhealthy_with_its_seconds() -> None:
    status, body = said(turned(), NOW + ALLOWED + timedelta(seconds=1))
    assert (status, body["reason"]) == (503, "no turn of the loop has ended for 121 s, 120 s are allowed")


def test_before_the_first_turn_and_with_a_state_folder_that_cannot_be_used_it_is_unhealthy() -> None:
    assert said(Standing(NOW).snapshot, NOW)[0] == 503
    status, body = said(turned(unusable="the disk is full"), NOW)
    assert (status, body["reason"]) == (503, "the disk is full")


def test_a_registry_that_does_not_answer_is_said_and_the_daemon_is_healthy() -> None:
    status, body = said(turned(registry_problem="no answer"), NOW)
    assert (status, body["registry"], body["registry_problem"]) == (200, "down", "no answer")


def metrics(standing: Standing, now: datetime) -> dict[tuple[str, str], float]:
    """Each sample's value by name and labels."""
    page = Answers(standing, lambda: Tally(sent=2, failed=1), lambda: now, ALLOWED).metrics("text/plain")[1]
    return {
        (sample.name, ",".join(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_metrics_tell_how_a_promotion_went_and_do_not_fall_at_a_restart(tmp_path: Path) -> None:
    box = FakeBox(tmp_path)
    box.record_champion()
    box.drop()
    with box.life() as daemon:
        for _ in range(5):
            daemon.turn()
            box.clock.now += timedelta(minutes=5)
        seen = metrics(daemon.standing, box.clock.now)
    assert box.attempts()[0].state == "promoted"
    assert seen["retraind_attempts_total", "churn,promoted"] == 1
    assert seen["retraind_model_champion_version", "churn"] == box.aliases()["champion"]
    assert seen["retraind_models", box.standing()[0]] == 1
    assert seen["retraind_turns_total", ""] == seen["retraind_turn_seconds_count", ""] == 5
    assert seen["retraind_registry_up", ""] == 1
    assert seen["retraind_notifications_failed_total", ""] == 1
    with box.life() as daemon:
        daemon.turn()
        assert metrics(daemon.standing, box.clock.now)["retraind_attempts_total", "churn,promoted"] == 1


def test_an_outage_grows_while_it_lasts_and_ages_are_those_of_the_moment_they_are_asked_for() -> None:
    standing = Standing(NOW)
    standing.publish(NOW, 0.1, 1, NOW, "no answer")
    seen = metrics(standing, NOW + timedelta(seconds=30))
    assert (seen["retraind_registry_up", ""], seen["retraind_registry_outage_seconds", ""]) == (0, 30)
    assert seen["retraind_workers_running", ""] == 1


def test_the_table_of_metrics_is_what_is_exported(tmp_path: Path) -> None:
    box = FakeBox(tmp_path)
    box.record_champion()
    box.drop()
    with box.life() as daemon:
        for number in range(10):
            if number == 5:
                box.edit_policy("data.new_rows >= 1000", "data.new_rows >= 1000000")
                box.drop("b.csv", "x,churned\n2,no\n")
            daemon.turn()
            box.clock.now += timedelta(minutes=5)
        exported = {name for name, _ in metrics(daemon.standing, box.clock.now)}
    exported = {re.sub("(_seconds)_(bucket|count|sum)$", r"\1", name) for name in exported}
    documented = {re.sub(r"\{.*", "", bare(row[0])) for row in table(DOCS / "operations.md", "Metrics")}
    assert documented == exported
