"""A training box in a temporary folder: policies, drops, an MLflow, and the real `retraind` run as a process.

People's part is played through the command line and MLflow's client; what happened is read from the journal.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import mlflow
import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from retrain_daemon.core.attempts import Attempt
from retrain_daemon.journal import Journal
from retrain_daemon.journal.drops import DropRow
from retrain_daemon.worker.store import artifact_root, initialise

PATIENCE = 45.0
T = TypeVar("T")

SETTINGS = """\
[mlflow]
tracking_uri = "{uri}"

[daemon]
state = "{folder}/state"
policies = "{folder}/policies"
poll_registry = "1s"
rescan = "2s"
retry_backoff = "1s"
log_format = "json"

[web]
listen = "{listen}"

[workers]
nice = 0
"""

POLICY = """\
model: {model}
data:
  path: {folder}/drops/{model}/*.csv
  complete: {{settle: 1s}}
  target: {{column: bought, positive: "yes"}}
  holdout: 30%
train:
  mode: refit
retrain:
  - name: enough fresh rows
    when: data.new_rows >= {rows}
promote:
  require:
    - {{metric: accuracy, better_by: 0.02}}
"""


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What a reading verb printed with --json."""
        return json.loads(self.out)


def buyers(seed: int, rows: int = 2000, *, old_world: bool = False, scrambled: bool = False) -> pd.DataFrame:
    """Generated customers who bought or not. In the old world other ones bought; `scrambled` labels mean nothing."""
    made = np.random.default_rng(seed)
    features = made.normal(size=(rows, 3)).round(6)
    weights = [-1.0, 3.0, 0.0] if old_world else [3.0, 1.0, -1.0]
    bought = features @ np.array(weights) + made.logistic(size=rows) > 0
    if scrambled:
        bought = made.permutation(bought)
    frame = pd.DataFrame(features, columns=["visits", "basket", "age"])
    return frame.assign(bought=np.where(bought, "yes", "no"))


class Box:
    """One box. `uri` is its MLflow; `start` and `stop` are the daemon's life."""

    def __init__(self, folder: Path, uri: str | None = None) -> None:
        self.folder = folder
        self.uri = uri or f"sqlite:///{folder}/mlflow.db"
        self.state = folder / "state"
        self.log = folder / "daemon.log"
        self.listen = "off"
        self.daemon: subprocess.Popen[bytes] | None = None
        self._more: dict[str, str] = {}
        for name in ("policies", "drops"):
            (folder / name).mkdir(parents=True)
        self.write_settings()

    def write_settings(self) -> None:
        (self.folder / "retraind.toml").write_text(
            SETTINGS.format(uri=self.uri, folder=self.folder, listen=self.listen)
        )

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def environment(self) -> dict[str, str]:
        """Nothing of the person's own MLflow or daemon leaks in; a server that is down is given up on quickly."""
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "RETRAIND_"))}
        return ours | {"MLFLOW_DISABLE_TELEMETRY": "true", "COLUMNS": "400"} | self._more

    def hurry(self) -> None:
        """Workers do not wait long for an MLflow that does not answer."""
        self._more["MLFLOW_HTTP_REQUEST_TIMEOUT"] = "3"
        self._more["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"

    # what people do

    def register(self, model: str = "shop", *, alias: str | None = "champion", rows: pd.DataFrame | None = None) -> int:
        """Train and register a classifier as a person would; it learned the old world unless rows are given."""
        rows = buyers(1, 300, old_world=True) if rows is None else rows
        features = rows.drop(columns="bought")
        pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, rows["bought"])
        return self.log_version(model, pipeline, features, alias)

    def register_regression(self, model: str, rows: pd.DataFrame, target: str, features: list[str]) -> int:
        """The same with a linear regression."""
        pipeline = make_pipeline(StandardScaler(), LinearRegression()).fit(rows[features], rows[target])
        return self.log_version(model, pipeline, rows[features], "champion")

    def log_version(self, model: str, pipeline: Any, features: pd.DataFrame, alias: str | None) -> int:
        """Log and register a fitted pipeline."""
        with self.as_default_mlflow():
            if mlflow.get_experiment_by_name(model) is None:
                mlflow.create_experiment(model, artifact_location=artifact_root(self.uri))
            mlflow.set_experiment(model)
            with mlflow.start_run():
                logged = mlflow.sklearn.log_model(
                    pipeline,
                    name="model",
                    signature=infer_signature(features, pipeline.predict(features)),
                    pip_requirements=["mlflow", "scikit-learn", "skops"],
                    registered_model_name=model,
                )
        version = int(logged.registered_model_version)
        if alias is not None:
            self.client.set_registered_model_alias(model, alias, str(version))
        return version

    def log_copy(self, model: str, to: str, alias: str | None) -> int:
        """Register another model from version 1 of `model`: the same stored files under another name."""
        source = self.client.get_model_version(model, "1")
        if not self.client.search_registered_models(f"name='{to}'"):
            self.client.create_registered_model(to)
        with self.as_default_mlflow():
            version = int(self.client.create_model_version(to, str(source.source), source.run_id).version)
        if alias is not None:
            self.client.set_registered_model_alias(to, alias, str(version))
        return version

    @contextmanager
    def as_default_mlflow(self) -> Iterator[None]:
        """This box's MLflow as the test process's own, and everything as before afterwards."""
        before, environment = (mlflow.get_tracking_uri(), mlflow.get_registry_uri()), dict(os.environ)
        initialise(self.uri)
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        try:
            yield
        finally:
            mlflow.set_tracking_uri(before[0])
            mlflow.set_registry_uri(before[1])
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)

    def policy(self, model: str = "shop", *changes: tuple[str, str], rows: int = 500, text: str = POLICY) -> Path:
        """Write a policy for a model, with pieces of text replaced, and make its drop folder."""
        written = text.format(model=model, folder=self.folder, rows=rows)
        for old, new in changes:
            assert old in written
            written = written.replace(old, new)
        path = self.folder / "policies" / f"{model}.yaml"
        path.write_text(written)
        (self.folder / "drops" / model).mkdir(exist_ok=True)
        return path

    def drop(self, name: str, rows: pd.DataFrame, model: str = "shop") -> Path:
        """Write a file elsewhere and rename it into the drop folder: complete at once."""
        prepared = self.folder / f"prepared-{name}"
        rows.to_parquet(prepared) if name.endswith("parquet") else rows.to_csv(prepared, index=False)
        return prepared.rename(self.folder / "drops" / model / name)

    def run(self, *words: str) -> Ended:
        """Run a `retraind` command to its end."""
        command = [sys.executable, "-m", "retrain_daemon", *words, "--config", str(self.folder / "retraind.toml")]
        ended = subprocess.run(
            command, env=self.environment(), capture_output=True, text=True, check=False, timeout=150, cwd=self.folder
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    # the daemon's life

    def start(self) -> None:
        """Start the daemon; returns when it has looked into the drop folders of all policies."""
        started = len(self.events("daemon.started"))
        self.daemon = self.launch()
        self.until(lambda: len(self.events("daemon.started")) > started)
        watched = len(list((self.folder / "policies").glob("*.yaml")))
        self.until(lambda: (self.state / "journal.db").exists() and self.adopted() >= watched)

    def launch(self) -> subprocess.Popen[bytes]:
        """A daemon that has just been started."""
        command = [sys.executable, "-m", "retrain_daemon", "run", "--config", str(self.folder / "retraind.toml")]
        with self.log.open("ab") as stream:
            return subprocess.Popen(command, stdout=stream, stderr=stream, env=self.environment())

    def adopted(self) -> int:
        with self.journal() as journal:
            return sum(row.adopted_at is not None for row in journal.models.all())

    def end(self, sign: int) -> int:
        """Send the daemon a signal; returns its exit code."""
        assert self.daemon is not None
        self.daemon.send_signal(sign)
        code = self.daemon.wait(30)
        self.daemon = None
        return code

    def ask_to_end(self) -> None:
        """Ask the daemon to end, if it still runs."""
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.terminate()

    def close(self) -> None:
        """End the daemon, if it still runs."""
        self.ask_to_end()
        if self.daemon is not None:
            try:
                self.daemon.wait(20)
            except subprocess.TimeoutExpired:
                self.daemon.kill()
                self.daemon.wait(10)

    # what is seen

    @contextmanager
    def journal(self) -> Iterator[Journal]:
        journal = Journal.open(self.state, read_only=True)
        try:
            yield journal
        finally:
            journal.close()

    def until(self, found: Callable[[], T], patience: float = PATIENCE) -> T:
        """Wait until `found` gives something true; says what the daemon logged when it does not."""
        deadline = time.monotonic() + patience
        while not (seen := found()):
            if self.daemon is not None and self.daemon.poll() is not None:
                raise AssertionError(f"the daemon ended with {self.daemon.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not seen within {patience} s; the daemon's log:\n{self.tail()}")
            time.sleep(0.1)
        return seen

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    def events(self, event: str | None = None) -> list[Mapping[str, Any]]:
        """The daemon's log lines, of one event or all."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        parsed = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [line for line in parsed if event in (None, line["event"])]

    def attempts(self, model: str = "shop") -> list[Attempt]:
        """Every attempt of a model, oldest first."""
        if not (self.state / "journal.db").exists():
            return []
        with self.journal() as journal:
            return list(reversed(journal.attempts.of_model(model, 100)))

    def ended(self, number: int = 1, model: str = "shop", patience: float = PATIENCE) -> Attempt:
        """Wait until a model's n-th attempt has ended; returns it."""

        def found() -> Attempt | None:
            each = self.attempts(model)
            return each[number - 1] if len(each) >= number and each[number - 1].ended_at else None

        done = self.until(found, patience)
        assert done is not None
        return done

    def training(self, number: int = 1, model: str = "shop") -> Attempt:
        """Wait until a model's n-th attempt trains; returns it."""

        def found() -> Attempt | None:
            each = self.attempts(model)
            return each[number - 1] if len(each) >= number and each[number - 1].state == "training" else None

        seen = self.until(found)
        assert seen is not None
        return seen

    def drops(self, model: str = "shop") -> dict[str, DropRow]:
        """The newest revision of each dropped file by name."""
        with self.journal() as journal:
            return {Path(drop.path).name: drop for drop in journal.drops.listing(model)}

    def recorded(self, name: str, model: str = "shop") -> DropRow:
        """Wait until a dropped file was inspected; returns it."""
        return self.until(lambda: (row := self.drops(model).get(name)) and row.state != "found" and row)  # type: ignore[return-value]

    def standing(self, model: str = "shop") -> str:
        """The code of the model's standing decision."""
        with self.journal() as journal:
            decision = journal.decisions.standing(model)
        return decision.code if decision else ""

    def sentence(self, model: str = "shop") -> str:
        """The sentence of the model's standing decision."""
        with self.journal() as journal:
            decision = journal.decisions.standing(model)
        return decision.sentence if decision else ""

    def aliases(self, model: str = "shop") -> dict[str, int]:
        """Where the model's aliases point."""
        found = self.client.get_registered_model(model).aliases
        return {alias: int(version) for alias, version in found.items()}

    def versions(self, model: str = "shop") -> list[int]:
        """Every version of a model."""
        return sorted(int(each.version) for each in self.client.search_model_versions(f"name='{model}'"))

    def workers(self) -> dict[str, int]:
        """The process id of each job folder's worker."""
        found = (self.state / "jobs").glob("*/process.json")
        return {path.parent.name: int(json.loads(path.read_text())["pid"]) for path in found}


def alive(pid: int) -> bool:
    """Whether a process exists and is not only waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False
