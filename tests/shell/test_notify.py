"""The command that is told news: what it gets, and that nothing it does can harm or hold up the daemon."""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from retrain_daemon import log
from retrain_daemon.news import News
from retrain_daemon.notify import MOST_WAITING, Hook, Notifier, Tally
from tests.made import NOW

PROMOTED = News(occasion="promoted", at=NOW, model="churn", attempt="churn-1", version=8, was=7, reason="it won")
SHELL = ("/bin/sh", "-c")


@pytest.fixture
def logged() -> io.StringIO:
    stream = io.StringIO()
    log.configure("json", stream, {})
    return stream


@contextmanager
def told(
    *command: str, news: News = PROMOTED, times: int = 1, timeout: float = 10.0, grace: float = 10.0,
    environment: dict[str, str] | None = None,
) -> Iterator[Notifier]:  # fmt: skip
    """A notifier whose command was told, and has ended."""
    hook = Hook(command, ("promoted", "held"), timedelta(seconds=timeout))
    notifier = Notifier(hook, {"PATH": os.environ["PATH"]} if environment is None else environment, grace)
    for _ in range(times):
        notifier.tell(news)
    notifier.close()
    yield notifier


def events(logged: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in logged.getvalue().splitlines()]


def test_the_command_gets_the_news_as_json_and_its_words_as_they_are_written(
    tmp_path: Path, logged: io.StringIO
) -> None:
    script = 'cat > "$1"; printf %s "$2" > "$1.word"'
    with told(*SHELL, script, "sh", str(tmp_path / "got"), "a b'$HOME") as notifier:
        assert notifier.tally == Tally(sent=1)
    assert json.loads((tmp_path / "got").read_text()) == {
        "occasion": "promoted", "at": NOW.isoformat("T", "seconds"), "model": "churn", "attempt": "churn-1",
        "version": 8, "was": 7, "reason": "it won",
    }  # fmt: skip
    assert (tmp_path / "got.word").read_text() == "a b'$HOME"
    assert [event["event"] for event in events(logged)] == ["notify.sent"]


def test_news_that_nobody_asked_for_runs_nothing(tmp_path: Path, logged: io.StringIO) -> None:
    with told("/bin/touch", str(tmp_path / "run"), news=News(occasion="rejected", at=NOW)) as notifier:
        assert notifier.tally == Tally()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (("/no/such/program",), "it could not be started: No such file or directory"),
        (("/etc/passwd",), "it could not be started: Permission denied"),
        ((*SHELL, "echo hello; echo; exit 3"), "exit code 3; the last it said: hello"),
        ((*SHELL, "kill -9 $$"), "it was ended by signal 9"),
    ],
)
def test_a_command_that_fails_is_one_warning(command: tuple[str, ...], reason: str, logged: io.StringIO) -> None:
    with told(*command) as notifier:
        assert notifier.tally == Tally(failed=1)
    [event] = events(logged)
    assert (event["event"], event["level"], event["reason"]) == ("notify.failed", "warning", reason)


def test_a_command_that_hangs_is_ended_with_all_it_started(tmp_path: Path, logged: io.StringIO) -> None:
    script = f"sleep 60 & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/own; wait"
    with told(*SHELL, script, timeout=1.0):
        pass
    [event] = events(logged)
    assert event["reason"] == "it did not end within 1 s"
    for name in ("own", "child"):
        assert not alive(int((tmp_path / name).read_text()))


def test_the_end_of_the_daemon_waits_only_a_short_time(logged: io.StringIO) -> None:
    with told(*SHELL, "sleep 60", times=3, timeout=60.0, grace=0.5) as notifier:
        assert notifier.tally == Tally(failed=3)
    assert [event["event"] for event in events(logged)] == ["notify.failed", "notify.dropped", "notify.dropped"]


def test_telling_returns_at_once_and_what_is_too_much_is_dropped(logged: io.StringIO) -> None:
    with told(*SHELL, "sleep 60", times=MOST_WAITING + 5, timeout=60.0, grace=0.1) as notifier:
        assert notifier.tally == Tally(failed=MOST_WAITING + 5)
    assert any(event["reason"] == "too much news is waiting" for event in events(logged))


def test_a_command_that_reads_nothing_and_prints_without_end_harms_nobody(logged: io.StringIO) -> None:
    with told(*SHELL, "exec yes", timeout=1.0) as notifier:
        assert notifier.tally == Tally(failed=1)
    assert "it did not end within 1 s" in str(events(logged)[0]["reason"])


def test_neither_document_nor_environment_nor_log_hold_a_secret(tmp_path: Path, logged: io.StringIO) -> None:
    environment = {
        "PATH": os.environ["PATH"], "MLFLOW_TRACKING_PASSWORD": "hush-hush-1", "A_TOKEN": "hush-hush-2",
        "NOTIFY_SOCKET": "/run/x", "RETRAIND_TRACKING_STORE": "postgresql://u:hush-hush-3@db/x",
        "HTTPS_PROXY": "http://u:hush-hush-4@proxy", "KEPT": "yes",
    }  # fmt: skip
    news = News(occasion="held", at=NOW, reason="hush-hush-1 at postgresql://u:hush-hush-3@db/x")
    script = f'cat > {tmp_path}/got; env >> {tmp_path}/got; echo "bad word $1 and $2"; exit 1'
    with told(*SHELL, script, "sh", "hush-hush-5", "--key=hush-hush-6", news=news, environment=environment):
        pass
    written = (tmp_path / "got").read_text()
    assert "KEPT=yes" in written
    assert "*** at postgresql://***@db/x" in written
    assert "NOTIFY_SOCKET" not in written
    assert "hush-hush" not in written + logged.getvalue()


def alive(pid: int) -> bool:
    for _ in range(50):
        if not Path(f"/proc/{pid}").exists():
            return False
        time.sleep(0.02)
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:  # it ended at this very moment
        return False
