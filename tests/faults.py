"""Fault points: before and after every effect of daemon and worker the process may die there, by SIGKILL.

The product knows nothing of this. In a process that `arm` was called in, each module named in EFFECTS is patched when
it has been imported. A point has a name; the first process that passes a new one dies if the point belongs to the run:
FAULTS is `FOLDER:PART:PARTS`, and the points are shared out among the parts. What was passed, and where a process died,
is written into the folder. A new effect is one line in EFFECTS.

Only the standard library is imported: this is loaded before anything else.
"""

from __future__ import annotations

import fcntl
import functools
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from zlib import crc32

PASSED, KILLED = "passed", "killed"


@dataclass(frozen=True)
class Effect:
    """A function, or Class.method, of a module. `name` gives the effect's name from a call's arguments; "": none."""

    module: str
    attribute: str
    name: Callable[..., str]


def called(name: str) -> Callable[..., str]:
    return lambda *_arguments, **_named: name


#: Of the values of a statement, those that tell what it is about.
_WORDS = frozenset({
    "planned", "training", "trained", "judged", "promoted", "rejected", "inconclusive", "failed", "abandoned",
    "recorded", "quarantined", "duplicate", "superseded", "retracted", "vanished",
    "pause", "resume", "rollback", "retrain", "retract", "release", "train", "judge", "wait",
    "tag run with verdict", "register version", "tag version with what it replaces", "move alias",
    "set previous_champion", "remove alias challenger", "tag version as waiting for approval",
    "tag version with the answer", "approve", "reject",
})  # fmt: skip
_pending: list[str] = []


def committed(database: Any, sql: str, *values: object) -> str:
    """What becomes true for ever by a statement: a change of its own, or a transaction's, by their tables and words."""
    verb, *rest = sql.split()
    if verb == "BEGIN":
        _pending.clear()
    if verb in ("INSERT", "UPDATE", "DELETE"):
        table = next(word for word in rest if word.upper() not in ("INTO", "OR", "REPLACE", "IGNORE", "FROM"))
        # How many files one inspection takes in, and what becomes of each, is a matter of moments.
        words = [value for value in values if value in _WORDS and table != "drops"]
        change = " ".join([verb.lower(), table, *map(str, words[-1:])])
        if database._connection.in_transaction:
            _pending.append(change)
            return ""
        return f"commit of {change}"
    if verb == "COMMIT" and _pending:
        return f"commit of {', '.join(dict.fromkeys(_pending))}"
    return ""


def kind_of(key: str) -> str:
    kinds = {"inspect": "an inspection", "measure": "a measurement", "report": "a report"}
    return kinds.get(key.replace("~", "-").partition("-")[0], "an attempt")


def written(path: Path, *_content: bytes | memoryview) -> str:
    if path.name.endswith(".profile.npz"):
        return "write of a profile"
    if path.parent.name == "reports":
        return "write of what a report shows"
    if path.suffix != ".npy":
        return f"write of {path.name}"
    kind = "learned" if path.parent.name == "learned" else "unit" if path.name.endswith(".units.npy") else "row"
    return f"write of {kind} keys"


REGISTRY, FLUENT, WORKER = "retrain_daemon.registry", "mlflow.tracking.fluent", "retrain_daemon.worker"
JOBS = "retrain_daemon.executor.jobs"
EFFECTS = (
    Effect("retrain_daemon.journal.database", "Database.run", committed),
    Effect("retrain_daemon.journal.drops", "Drops.release", called("release of a file")),
    Effect(JOBS, "ProcessExecutor.start", lambda _self, key, *_, **__: f"start of {kind_of(key)}"),
    Effect(JOBS, "ProcessExecutor.discard", lambda _self, key: f"removal of {kind_of(key)}"),
    Effect("retrain_daemon.executor.launch", "launch", called("launch")),
    Effect("retrain_daemon.executor.launch", "record", called("record of the process")),
    Effect(REGISTRY, "MlflowRegistry.create_version", called("create_version")),
    Effect(REGISTRY, "MlflowRegistry.tag_version", lambda _self, _model, _number, tag, _value: f"tag_version {tag}"),
    Effect(REGISTRY, "MlflowRegistry.set_alias", lambda _self, _model, alias, _number: f"set_alias {alias}"),
    Effect(REGISTRY, "MlflowRegistry.delete_alias", lambda _self, _model, alias: f"delete_alias {alias}"),
    Effect(REGISTRY, "MlflowRegistry.tag_run", called("tag_run")),
    Effect(REGISTRY, "MlflowRegistry.end_runs_of", called("end_runs_of")),
    Effect(f"{WORKER}.durable", "write_whole", written),
    Effect(f"{WORKER}.scoring", "score_drops", called("scoring")),
    Effect(f"{WORKER}.two_versions", "compare_versions", called("comparison of two versions")),
    Effect(f"{WORKER}.window", "read_job_rows", called("reading of rows")),
    Effect(f"{WORKER}.frameworks.sklearn_model", "SklearnModel.continue_training", called("training")),
    Effect(f"{WORKER}.report", "_put", called("putting of a report into MLflow")),
    Effect(f"{WORKER}.judging", "measure", called("comparison")),
    Effect(f"{WORKER}.frameworks.sklearn_storage", "store_estimator", called("storing")),
    Effect(f"{WORKER}.durable", "put_whole", called("keeping")),
    Effect(f"{WORKER}.challenger_run", "log_challenger", called("logging")),
    Effect(f"{WORKER}.challenger_run", "log_stored", called("log_model")),
    Effect(FLUENT, "start_run", called("start_run")),
    Effect(FLUENT, "log_metrics", called("log_metrics")),
    Effect(FLUENT, "end_run", lambda *_, **__: "end_run" if role() == "worker" else ""),  # MLflow ends one at exit
)  # fmt: skip

#: Waits that only cost time here: module, name, and how long instead.
SHORTER = (
    ("retrain_daemon.intake", "LOOK_AGAIN", timedelta(seconds=1)),
    ("retrain_daemon.measuring", "ASK_AGAIN", timedelta(seconds=1)),
)


def arm() -> None:
    """Have every module that has effects patched as soon as it is imported."""
    folder, part, parts = os.environ["FAULTS"].split(":")
    sys.meta_path.insert(0, Patcher(Points(Path(folder), int(part), int(parts))))


class Points:
    """The points of one run, counted by all its processes together."""

    def __init__(self, folder: Path, part: int, parts: int) -> None:
        self._folder, self._part, self._parts = folder, part, parts

    def passed(self, when: str, effect: str) -> None:
        """Note a new point; die there if it belongs to this run."""
        name = f"{role()}: {when} {effect}"
        with (self._folder / PASSED).open("a+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            stream.seek(0)
            if name in stream.read().splitlines():
                return
            stream.write(f"{name}\n")
        if crc32(name.encode()) % self._parts == self._part:
            with (self._folder / KILLED).open("a") as stream:
                stream.write(f"{name}\n")
            os.kill(os.getpid(), signal.SIGKILL)


def role() -> str:
    """Who passes: a worker knows its job folder."""
    return "worker" if os.environ.get("RETRAIND_JOB") else "daemon"


class Patcher(importlib.abc.MetaPathFinder):
    """Finds the modules that have effects as they would be found, and patches them once they have run."""

    def __init__(self, points: Points) -> None:
        self._points = points
        self._modules = {effect.module for effect in EFFECTS} | {module for module, _, _ in SHORTER}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._modules:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_patch(module: ModuleType) -> None:
            run(module)
            self._patch(module)

        spec.loader.exec_module = run_and_patch  # type: ignore[method-assign]
        return spec

    def _patch(self, module: ModuleType) -> None:
        for effect in EFFECTS:
            if effect.module == module.__name__:
                *outer, attribute = effect.attribute.split(".")
                holder = functools.reduce(getattr, outer, module)
                setattr(holder, attribute, self._watched(getattr(holder, attribute), effect.name))
        for name, attribute, value in SHORTER:
            if name == module.__name__:
                assert hasattr(module, attribute), attribute
                setattr(module, attribute, value)

    def _watched(self, function: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        @functools.wraps(function)
        def watched(*arguments: Any, **named: Any) -> Any:
            effect = name(*arguments, **named)
            if not effect:
                return function(*arguments, **named)
            self._points.passed("before", effect)
            result = function(*arguments, **named)
            self._points.passed("after", effect)
            return result

        return watched
