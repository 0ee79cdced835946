"""The one hook through which anything else is told: a command, run for each piece of news that was asked for.

At most once each: news is kept in memory only, and a command that fails is not run again. Nothing here can hold up or
harm the loop: news waits in a short queue, and one thread runs the command, one at a time, within a time limit.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta

from retrain_daemon import processes
from retrain_daemon.log import get_logger
from retrain_daemon.news import News
from retrain_daemon.secrets import HIDDEN, SHORTEST, secrets_of, without_secrets
from retrain_daemon.shortage import begin

#: News that waits while the command runs; more is dropped.
MOST_WAITING = 100
#: How long the end of the daemon waits for news that is still to be told, seconds.
GRACE = 5.0
_LONGEST = 2000
_TAIL = 4096
_LOOK_EVERY_MS = 100
#: Of the daemon's own business with systemd, MLflow and workers; nothing for a stranger.
_LEFT_OUT = ("MLFLOW_", "RETRAIND_", "NOTIFY_", "WATCHDOG_", "LISTEN_", "JOURNAL_", "INVOCATION_", "CREDENTIALS_")

_log = get_logger()


@dataclass(frozen=True)
class Hook:
    """What is run (words as they are given), for which occasions, and how long each run may take."""

    command: tuple[str, ...]
    occasions: tuple[str, ...]
    timeout: timedelta


@dataclass(frozen=True)
class Tally:
    """How often the command has ended well and otherwise since the daemon began; news dropped counts as failed."""

    sent: int = 0
    failed: int = 0


class Notifier:
    """Runs the hook's command. The thread begins with the first news."""

    def __init__(self, hook: Hook, environment: Mapping[str, str] = os.environ, grace: float = GRACE) -> None:
        self._hook = hook
        self._environment = environment
        self._grace = grace
        self._waiting: deque[News] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._given_up = threading.Event()
        self.tally = Tally()

    def tell(self, news: News) -> None:
        """Have the command run for news of an occasion that was asked for; returns at once."""
        if news.occasion not in self._hook.occasions:
            return
        with self._changed:
            if self._closing or len(self._waiting) >= MOST_WAITING:
                self._drop(news, "too much news is waiting" if not self._closing else "the daemon is ending")
                return
            self._waiting.append(news)
            self._changed.notify()
            if self._thread is None:
                self._begin()

    def _begin(self) -> None:
        """Where no thread is to be had now, the next news has it tried again."""
        thread = threading.Thread(target=self._work, name="notify", daemon=True)
        with suppress(OSError):
            begin(thread)
            self._thread = thread

    def close(self) -> None:
        """Give what is waiting a short time, then end the command that runs and drop the rest."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(self._grace)
            self._given_up.set()
            self._thread.join(1.0)
        for news in self._waiting:
            self._drop(news, "the daemon is ending")

    def _drop(self, news: News, reason: str) -> None:
        self.tally = replace(self.tally, failed=self.tally.failed + 1)
        _log.warning("notify.dropped", occasion=news.occasion, model=news.model, reason=reason)

    def _work(self) -> None:
        while (news := self._next()) is not None:
            began = time.monotonic()
            problem = self._run(document(news, self._environment))
            pairs = {"occasion": news.occasion, "model": news.model, "attempt": news.attempt}
            pairs = {name: value for name, value in pairs.items() if value}
            if problem:
                self.tally = replace(self.tally, failed=self.tally.failed + 1)
                _log.warning("notify.failed", **pairs, program=self._hook.command[0], reason=problem)
            else:
                self.tally = replace(self.tally, sent=self.tally.sent + 1)
                _log.info("notify.sent", **pairs, seconds=round(time.monotonic() - began, 2))

    def _next(self) -> News | None:
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            return self._waiting.popleft() if self._waiting and not self._given_up.is_set() else None

    def _run(self, text: bytes) -> str:
        """Run the command once; returns what went wrong, "" when nothing did."""
        try:
            process = subprocess.Popen(
                self._hook.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=environment_for_strangers(self._environment),
                start_new_session=True,
            )
        except OSError as error:
            return f"it could not be started: {error.strerror}"
        try:
            in_time, said = self._watch(process, text)
        finally:
            # Not waited for before its session is empty: as a zombie it keeps its number its own.
            processes.end_session(process.pid, 0)
            code = process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    assert pipe is not None
                    pipe.close()
        return self._problem(in_time, code) + self._last_line(said) if not in_time or code else ""

    def _watch(self, process: subprocess.Popen[bytes], text: bytes) -> tuple[bool, bytes]:
        """Whether it ended in time, and the end of what it said. What it left behind is not waited for."""
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(OSError):  # one that does not read need not
            process.stdin.write(text)
            process.stdin.close()
        deadline = time.monotonic() + self._hook.timeout.total_seconds()
        os.set_blocking(process.stdout.fileno(), False)
        ended, said = os.pidfd_open(process.pid), b""
        try:
            poll = select.poll()
            poll.register(ended, select.POLLIN)
            poll.register(process.stdout, select.POLLIN)
            while time.monotonic() < deadline and not self._given_up.is_set():
                events = dict(poll.poll(_LOOK_EVERY_MS))
                piece = process.stdout.read(_TAIL) or b"" if events else b""
                said = (said + piece)[-_TAIL:]
                if ended in events and not piece:
                    return True, said
                if events and not piece:
                    poll.unregister(process.stdout)
        finally:
            os.close(ended)
        return False, said

    def _problem(self, in_time: bool, code: int) -> str:
        if in_time:
            return f"exit code {code}" if code >= 0 else f"it was ended by signal {-code}"
        if self._given_up.is_set():
            return "it was ended, as the daemon is ending"
        return f"it did not end within {self._hook.timeout.total_seconds():g} s"

    def _last_line(self, said: bytes) -> str:
        """Words of the command line are not repeated: one of them may be a secret."""
        lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
        if not lines:
            return ""
        line = "".join(sign if sign.isprintable() else " " for sign in lines[-1])
        for word in sorted(_arguments(self._hook.command), key=len, reverse=True):
            line = line.replace(word, HIDDEN)
        return f"; the last it said: {secrets_of(self._environment).hide(line)[:300]}"


def document(news: News, environment: Mapping[str, str]) -> bytes:
    """What the command reads: one JSON object in one line, short enough for a pipe, without secrets."""
    said = secrets_of(environment).hide(news.reason)[:_LONGEST]
    told = {name: value for name, value in asdict(replace(news, reason=said)).items() if value not in (None, "")}
    return json.dumps(told | {"at": news.at.isoformat("T", "seconds")}).encode() + b"\n"


def environment_for_strangers(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment without secrets and without what is between the daemon and others."""
    kept = without_secrets(environment)
    return {name: value for name, value in kept.items() if not name.startswith(_LEFT_OUT)}


def _arguments(command: tuple[str, ...]) -> set[str]:
    """Words, values of options and words within words, long enough to be told from others."""
    words = {word.partition("=")[2] if word.startswith("-") else word for word in command[1:]}
    return {word for word in words if len(word) >= SHORTEST}
