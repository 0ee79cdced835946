"""A training box for a benchmark: an MLflow server, champions, drop folders, policies, and the real daemon.

Everything lies in one folder and everything started here is ended here. What is measured on it is elsewhere.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from retrain_daemon.journal import Journal

HERE = Path(__file__).resolve().parent
PATIENCE = 300.0
LOOK_SECONDS = 0.02

POLICY = """\
model: {model}
data:
  path: {drops}/*.parquet
  target: label
  holdout: 20%
train: {{mode: warm_start}}
retrain:
  - name: enough fresh rows
    when: data.unlearned_rows >= 5000
promote:
  require:
    - {{metric: accuracy, not_worse_by: 0.05}}
"""

# All other settings as they come: what is measured is what a newcomer gets.
SETTINGS = """\
[mlflow]
tracking_uri = "{tracking_uri}"
[daemon]
state = "{folder}/state"
policies = "{folder}/policies"
"""


class BenchmarkFailed(Exception):
    """Something that should have happened did not."""


@dataclass(frozen=True)
class Box:
    """A folder with the server's database, `mlflow.db`, in it, and the server's URI."""

    folder: Path
    tracking_uri: str

    @property
    def base(self) -> Path:
        """The rows that the champion has learned."""
        return self.folder / "base.parquet"

    def dropped(self, number: int) -> Path:
        """The rows that arrive in a repetition."""
        return self.folder / f"dropped-{number}.parquet"

    def environment(self) -> dict[str, str]:
        """The same for every contestant; nothing of the person's own MLflow or daemon leaks in."""
        ours = {name: text for name, text in os.environ.items() if not name.startswith(("MLFLOW_", "RETRAIND_"))}
        return ours | {"MLFLOW_TRACKING_URI": self.tracking_uri, "MLFLOW_DISABLE_TELEMETRY": "true"}

    def prepare(self, files: int, with_alias: Sequence[str], without_alias: Sequence[str]) -> None:
        """Write the base and the files to drop, and register the first champion under all these names."""
        words = (str(self.folder), self.tracking_uri, str(files), ",".join(with_alias), ",".join(without_alias))
        self.run([sys.executable, str(HERE / "stage.py"), *words], "stage")

    def run(self, command: list[str], name: str) -> None:
        """Run a process to its end; raises BenchmarkFailed with the end of its log."""
        log = self.folder / f"{name}.log"
        with log.open("ab") as stream:
            ended = subprocess.run(command, stdout=stream, stderr=stream, env=self.environment(), check=False)
        if ended.returncode != 0:
            raise BenchmarkFailed(f"{name} ended with {ended.returncode}:\n{tail(log)}")

    def await_alias(self, model: str, version: int, process: subprocess.Popen[bytes], log: Path) -> float:
        """The monotonic time at which `champion` of `model` was first seen at `version`.

        Looks into the server's database: asking the server so often would slow down the contestant.
        """
        database = sqlite3.connect(f"file:{self.folder}/mlflow.db?mode=ro", uri=True, timeout=30)
        query = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = 'champion'"
        with closing(database):
            until(lambda: database.execute(query, (model,)).fetchone() == (version,), process, log)
            return time.monotonic()


@dataclass(frozen=True)
class Watcher:
    """A state folder, policies and drop folders of their own for one daemon; `more` settings than what it must know."""

    box: Box
    folder: Path
    more: str = ""

    def watch(self, models: Sequence[str]) -> None:
        """A policy and a drop folder for each model."""
        (self.folder / "policies").mkdir(parents=True)
        text = SETTINGS.format(folder=self.folder, tracking_uri=self.box.tracking_uri)
        (self.folder / "retraind.toml").write_text(text + self.more, "utf-8")
        for model in models:
            self.drops(model).mkdir(parents=True)
            policy = POLICY.format(model=model, drops=self.drops(model))
            (self.folder / "policies" / f"{model}.yaml").write_text(policy, "utf-8")

    def drops(self, model: str) -> Path:
        """The drop folder of a model."""
        return self.folder / "drops" / model

    def adopt(self, model: str, learned: Path) -> None:
        """What a person does once: version 1 is champion, and this is what it learned from."""
        words = ("adopt", model, "--version", "1", "--learned-from", str(learned))
        self.box.run(self._command(*words), f"adopt-{model}")

    @property
    def log(self) -> Path:
        """The daemon's log lines."""
        return self.folder / "daemon.log"

    @contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        """The real daemon with its default settings; asked to stop at the end, made to if it does not."""
        with self.log.open("wb") as stream, started(self._command("run"), self.box.environment(), stream) as process:
            until(lambda: b"daemon.started" in self.log.read_bytes(), process, self.log)
            yield process

    def journal(self) -> Journal:
        """The journal, to read."""
        return Journal.open(self.folder / "state", read_only=True)

    def _command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "retrain_daemon", *words, "--config", str(self.folder / "retraind.toml")]


@contextmanager
def started(command: list[str], environment: dict[str, str], stream: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, so that Ctrl-C reaches only the benchmark, which then ends it."""
    process = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream, start_new_session=True)
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process and its session to end, after 30 s make them."""
    if process.poll() is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def until(done: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Look until it is so. Raises BenchmarkFailed when the process ended before, or after five minutes."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        if process.poll() is not None and not done():
            raise BenchmarkFailed(f"the process ended with {process.returncode}:\n{tail(log)}")
        if time.monotonic() > deadline:
            raise BenchmarkFailed(f"nothing came of it in {PATIENCE:g} s:\n{tail(log)}")
        time.sleep(LOOK_SECONDS)


def tail(log: Path) -> str:
    """The end of a log."""
    return log.read_text(errors="replace")[-2000:]
