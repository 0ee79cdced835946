"""A stored model in a process of its own, the way a server loads it: does it load, does it predict, how long does a row
take.

The process gets files and no secrets, and ends with this one. What it does is in `fresh_process.py`, what follows from
its answer in `model_metrics.py`; the values they exchange are here.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from retrain_daemon import processes
from retrain_daemon.secrets import without_secrets
from retrain_daemon.worker.durable import write_whole
from retrain_daemon.worker.lifeline import PARENT_VARIABLE
from retrain_daemon.worker.schema import Tensor

REQUEST_FILE, ANSWER_FILE, SAMPLE_FILE = "request.json", "answer.json", "sample.pickle"
MODULE = "retrain_daemon.worker.fresh_process"
#: Starting, loading two models and calling them may take so long in all.
SECONDS = 300.0
#: Calls of each model, unless more are needed for the bounds, and how long they may take together.
CALLS, SECONDS_OF_CALLS = 200, 10.0

_LOG = "said.txt"
_TAIL = 2000


@dataclass(frozen=True)
class Sample:
    """Some rows as a table of features. `tensor` says how a model that takes no table takes them."""

    rows: pd.DataFrame
    tensor: Tensor | None


@dataclass(frozen=True, kw_only=True)
class Request:
    """Load the challenger, and where `calls` are asked the champion as well, and call them in turn. An empty
    `champion`: there is none. Each is called `calls` times, or at least `least` times and for `seconds`.
    """

    challenger: str
    champion: str
    calls: int = 0
    least: int = 0
    seconds: float = SECONDS_OF_CALLS


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Why a model does not load or predict, "" where it does; milliseconds of each call, both models' in turn."""

    challenger_problem: str = ""
    champion_problem: str = ""
    challenger_ms: tuple[float, ...] = ()
    champion_ms: tuple[float, ...] = ()


@dataclass(frozen=True)
class Unanswered:
    """The process gave no last answer. `ended`: by itself or by a fault, so that it is a model's doing; `loaded`: the
    challenger had been loaded and had predicted a row.
    """

    why: str
    ended: bool
    loaded: bool = False


_REQUEST: TypeAdapter[Request] = TypeAdapter(Request)
_ANSWER: TypeAdapter[Answer] = TypeAdapter(Answer)


def try_afresh(
    request: Request, sample: Sample, folder: Path, code_folder: str = "", seconds: float = SECONDS
) -> Answer | Unanswered:
    """Ask a new process; it and all it starts are gone when this returns. `folder` takes its files. Modules in
    `code_folder`, that of the policy, are not there for it: a server has none of them.
    """
    with tempfile.TemporaryDirectory(dir=folder, prefix="fresh-") as name:
        own = Path(name)
        (own / REQUEST_FILE).write_bytes(_REQUEST.dump_json(request))
        write_sample(own / SAMPLE_FILE, sample)
        try:
            code = _run(own, code_folder, seconds)
        except OSError as problem:
            return Unanswered(f"no process could be started: {problem.strerror}", ended=False)
        return _answer(own, code, seconds)


def write_sample(path: Path, sample: Sample) -> None:
    """Keep a sample in a file."""
    with path.open("wb") as stream:
        pickle.dump(sample, stream)


def read_sample(path: Path) -> Sample:
    """A sample that `write_sample` kept in a file of this project's own; raises OSError."""
    with path.open("rb") as stream:
        sample: Sample = pickle.load(stream)
    return sample


def read_request(folder: Path) -> Request:
    """What is asked."""
    return _REQUEST.validate_json((folder / REQUEST_FILE).read_bytes())


def write_answer(folder: Path, answer: Answer) -> None:
    """What is answered; a later answer takes the place of an earlier one."""
    write_whole(folder / ANSWER_FILE, _ANSWER.dump_json(answer))


def _run(own: Path, code_folder: str, seconds: float) -> int | None:
    """The exit code, None where it took too long."""
    with (own / _LOG).open("wb") as log:
        started = subprocess.Popen(
            (sys.executable, "-P", "-m", MODULE, str(own)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=own,
            env=_environment(os.environ, code_folder),
            start_new_session=True,
        )
    try:
        return started.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        processes.end_session(started.pid, 0)
        started.wait()


def _environment(ours: Mapping[str, str], code_folder: str) -> dict[str, str]:
    """This process's variables without secrets, and without MLflow's servers: stored files are all there is to load."""
    kept = {name: value for name, value in without_secrets(ours).items() if not name.startswith("MLFLOW_")}
    kept.pop("CREDENTIALS_DIRECTORY", None)
    path = [each for each in kept.pop("PYTHONPATH", "").split(os.pathsep) if each and not _same(each, code_folder)]
    if path:
        kept["PYTHONPATH"] = os.pathsep.join(path)
    # The worker may hold all of a GPU's memory.
    return kept | {PARENT_VARIABLE: str(os.getpid()), "CUDA_VISIBLE_DEVICES": ""}


def _same(path: str, code_folder: str) -> bool:
    return bool(code_folder) and Path(path).resolve() == Path(code_folder).resolve()


def _answer(own: Path, code: int | None, seconds: float) -> Answer | Unanswered:
    if code == 0:
        try:
            return _ANSWER.validate_json((own / ANSWER_FILE).read_bytes())
        except (OSError, ValidationError) as problem:
            return Unanswered(f"its answer cannot be read: {problem}", ended=False)
    loaded = (own / ANSWER_FILE).exists()
    if code is None:
        return Unanswered(f"it took more than {seconds:g} seconds", ended=True, loaded=loaded)
    if code == -signal.SIGKILL:
        return Unanswered("it was killed, as for want of memory", ended=False, loaded=loaded)
    with (own / _LOG).open("rb") as log:
        log.seek(max(0, (own / _LOG).stat().st_size - _TAIL))
        said = log.read().decode(errors="replace").strip().splitlines()
    return Unanswered(f"it ended with code {code}{f': {said[-1][:300]}' if said else ''}", ended=True, loaded=loaded)
