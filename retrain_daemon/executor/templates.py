"""Warm templates, the daemon's side: processes that have imported a framework, from which workers are forked.

Which are open, from which one a model's jobs are forked, and when one is of no use any more. What a template does is in
`worker/template.py`; what becomes of a worker is the supervisor's.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import retrain_daemon
from retrain_daemon import processes
from retrain_daemon.executor.launch import CutShort, record, worker_environment
from retrain_daemon.log import get_logger
from retrain_daemon.worker import job as files
from retrain_daemon.worker.job import DropsInspected, ModelInspected, Result
from retrain_daemon.worker.marks import JOB_MARK, template_mark

COMMAND = (sys.executable, "-m", "retrain_daemon.worker.template")
#: The template for each MLflow flavour. A model whose flavour nobody has reported yet has that for tables, which
#: every inspection can use.
_KINDS = {"sklearn": "sklearn", "keras": "keras", "tensorflow": "keras", "pytorch": "torch"}
_UNKNOWN = "sklearn"
#: What MLflow's client imports at the first use of a store that is no server.
OWN_STORES = ("mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store")
#: A template that has not answered for so long will not: it is ended, and its jobs are started by themselves.
_PATIENCE_SECONDS = 120.0
_LOOK_EVERY_MS = 100
#: A template only forks and waits for the dead: one that does not answer for so long is as good as gone.
_ANSWER_SECONDS = 30.0
#: After a template was lost, none of its kind is opened for so long.
_REST = timedelta(minutes=10)
_MOST = 64
_LONGEST = 300

_log = get_logger()


class Forked:
    """A worker that a template forked, which waits at `gate` until it is let go."""

    def __init__(self, pid: int, answer: socket.socket, gate: int) -> None:
        """Raises OSError when there is no descriptor left to watch it by."""
        self.pid = pid
        self.handle = os.pidfd_open(pid)  # its number is its own: nobody waits for it before `wait` says so
        self._answer = answer
        self._gate = gate

    def let_go(self) -> None:
        with suppress(BrokenPipeError):  # it is dead already
            os.write(self._gate, b"1")

    def wait(self) -> int:
        try:
            dead = select.poll()
            dead.register(self.handle, select.POLLIN)
            dead.poll()
            self._answer.settimeout(_ANSWER_SECONDS)
            self._answer.send(b"end")
            said = self._answer.recv(_MOST)
        except OSError:
            said = b""
        finally:
            os.close(self.handle)
            os.close(self._gate)
            self._answer.close()
        if not said:
            raise CutShort
        return int(said)


class Template:
    """One template process, asked for workers from any thread, opened and closed by the one that lives longest."""

    def __init__(
        self, kind: str, command: Sequence[str], also: Sequence[str], folder: Path, stamp: object, now: datetime
    ) -> None:
        """Raises OSError when it cannot be started."""
        self.kind = kind
        self.stamp = stamp
        self.used_at = now
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lent = 0
        self._lock = threading.Lock()
        self._log = folder / f".template-{kind}.log"
        with theirs, self._log.open("wb") as log:
            self._process = subprocess.Popen(
                (*command, kind, str(theirs.fileno()), *also),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=folder,
                env=worker_environment(folder, {JOB_MARK: template_mark(folder)}),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def lent(self) -> bool:
        """Whether a job may still be running on it."""
        return self._lent > 0

    def lend(self) -> Template:
        """For one job, which gives it back."""
        with self._lock:
            self._lent += 1
        return self

    def give_back(self) -> None:
        with self._lock:
            self._lent -= 1

    def fork(self, folder: Path, told: Mapping[str, str], stopping: threading.Event, patience: float) -> Forked | None:
        """A worker; waits for the imports. None when the template ended, took longer than `patience` seconds or hangs,
        or `stopping` was set. Raises OSError when there are no descriptors left to ask with.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        waits_at, gate = os.pipe()
        try:
            with theirs:
                self._order(worker_environment(folder, told), folder, theirs, waits_at)
            pid = self._awaited(ours, stopping, patience)
            worker = Forked(pid, ours, gate) if pid else None
        except OSError:
            worker = None
        finally:
            os.close(waits_at)
        if worker is None:  # what is closed here ends the worker, should one come of it yet
            os.close(gate)
            ours.close()
            return None
        with suppress(OSError):
            record(folder, worker.pid)
        return worker

    def last_words(self) -> str:
        """The last line that it printed."""
        try:
            lines = self._log.read_text(errors="replace").split("\n")
        except OSError:
            return ""
        return next((" ".join(line.split())[:_LONGEST] for line in reversed(lines) if line.strip()), "")

    def close(self) -> None:
        """End it and whatever it forked; it holds nothing that would have to be saved."""
        self._control.close()
        self._process.kill()
        self._process.wait()
        self._log.unlink(missing_ok=True)

    def _awaited(self, answer: socket.socket, stopping: threading.Event, patience: float) -> int | None:
        """The process id that the template answers; None when none came."""
        begun = time.monotonic()
        poll = select.poll()
        poll.register(answer, select.POLLIN)
        while not poll.poll(_LOOK_EVERY_MS):
            waited = time.monotonic() - begun
            if waited > _PATIENCE_SECONDS:
                self._process.kill()
            if stopping.is_set() or waited > min(patience, _PATIENCE_SECONDS):
                return None
        said = answer.recv(_MOST)
        return int(said) if said else None

    def _order(self, environment: Mapping[str, str], folder: Path, answer: socket.socket, gate: int) -> None:
        asked = json.dumps({"folder": str(folder), "environment": environment})
        with (folder / files.LOG_FILE).open("ab") as log:
            socket.send_fds(self._control, [asked.encode()], [answer.fileno(), log.fileno(), gate])


class Templates:
    """The templates of one daemon. All but `fork` of what is lent is called from one lifelong thread, as templates
    end with it.

    `folder` is that of the jobs, `keep` how long a template stays that no job uses; None: there are none. Whatever its
    kind, each imports `also` these modules.
    """

    def __init__(
        self, folder: Path, keep: timedelta | None, command: Sequence[str] = COMMAND, also: Sequence[str] = ()
    ) -> None:
        self._folder = folder.absolute()
        self._keep = keep
        self._command = tuple(command)
        self._also = tuple(also)
        self._open: dict[str, Template] = {}
        self._kinds: dict[str, str] = {}
        self._not_before: dict[str, datetime] = {}

    def sweep(self) -> None:
        """End templates that an earlier life of the daemon left; nothing is opened yet."""
        mark = os.fsencode(f"{JOB_MARK}={template_mark(self._folder)}")
        processes.kill(lambda: processes.bearers(mark))

    def note(self, model: str, result: Result) -> None:
        """Learn from what a worker reported of which framework a model is."""
        if isinstance(result, DropsInspected | ModelInspected) and result.flavor in _KINDS:
            self._kinds[model] = _KINDS[result.flavor]

    def expect(self, model: str, now: datetime) -> None:
        """A job for this model is likely soon."""
        self._template(model, now)

    def lend(self, model: str, now: datetime) -> Template | None:
        """What a job of a model is to be forked from; None: it is to be started by itself."""
        template = self._template(model, now)
        return template.lend() if template is not None else None

    def close_unused(self, now: datetime) -> datetime | None:
        """Close what no job has used for a while; returns when there could be more of it."""
        due = []
        for template in list(self._open.values()):
            if not template.alive:
                self._lose(template, now)
            elif template.lent:
                template.used_at = now
            elif now >= template.used_at + (self._keep or timedelta()):
                self._close(template, "unused")
            if template.kind in self._open:
                due.append(template.used_at + (self._keep or timedelta()))
        return min(due, default=None)

    def close(self) -> None:
        """End all."""
        for template in self._open.values():
            template.close()
        self._open.clear()

    def _template(self, model: str, now: datetime) -> Template | None:
        """An open one that still stands for what is installed, else a new one."""
        kind = self._kinds.get(model, _UNKNOWN)
        if self._keep is None:
            return None
        template, stamp = self._open.get(kind), installed()
        if template is not None and not template.alive:
            self._lose(template, now)
        elif template is not None and template.stamp != stamp:
            if template.lent:  # what runs on it may end; nothing more is started on it
                return None
            self._close(template, "something was installed")
        elif template is not None:
            template.used_at = now
            return template
        return self._started(kind, stamp, now)

    def _started(self, kind: str, stamp: object, now: datetime) -> Template | None:
        if now < self._not_before.get(kind, now):
            return None
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            template = Template(kind, self._command, self._also, self._folder, stamp, now)
        except OSError as error:
            _log.warning("template.lost", kind=kind, reason=str(error))
            self._not_before[kind] = now + _REST
            return None
        self._open[kind] = template
        _log.info("template.opened", kind=kind)
        return template

    def _close(self, template: Template, reason: str) -> None:
        template.close()
        del self._open[template.kind]
        _log.info("template.closed", kind=template.kind, reason=reason)

    def _lose(self, template: Template, now: datetime) -> None:
        """It ended by itself. Jobs are started by themselves for a while, lest every one of them meets the same end."""
        said = template.last_words()
        template.close()
        del self._open[template.kind]
        self._not_before[template.kind] = now + _REST
        reason = f"it ended unexpectedly; the last line of its log was: {said}" if said else "it ended unexpectedly"
        _log.warning("template.lost", kind=template.kind, reason=reason)


def installed() -> object:
    """Changes when packages are installed, upgraded or removed, or a file of this project is written. What is edited
    inside another installed package is not seen.
    """
    package = Path(retrain_daemon.__file__).parent
    # The first is the working directory or that of the command, where anything may come and go.
    roots = [Path(name) for name in sys.path[0 if sys.flags.safe_path else 1 :] if name]
    return tuple(_changed(path) for path in (*roots, *sorted(package.rglob("*.py"))))


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
