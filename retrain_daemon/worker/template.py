"""A warm template: a process that has imported what jobs need, and forks a worker for each job it is handed.

`python -m retrain_daemon.worker.template KIND FD [MODULE...]`, started by the daemon, which talks to it over the socket
FD. It never *uses* what it imported: a fork after TensorFlow or torch has computed something hangs. It has one Python
thread, and that forks, so a worker's life is bound to the template's.

The talk: one message a job, with a JSON object (folder, environment) and three descriptors: a socket of the job's own,
its log, and a pipe at which the worker waits until the daemon holds it in and lets it go. On the job's socket the
template answers the worker's process id; asked ("end") once the worker is dead, it waits for it and answers its wait
status. Either side's end is the other's end of file.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from importlib import import_module

from retrain_daemon.secrets import secrets_of
from retrain_daemon.worker.lifeline import PARENT_VARIABLE, STOPPED, die_with_parent
from retrain_daemon.worker.marks import JOB_MARK, bear_job_mark
from retrain_daemon.worker.output import Hiding

END = b"end"
#: Every job reads rows and talks to MLflow. What these import only when they are used is named too.
_TABULAR = (
    "pandas", "pyarrow.parquet", "pyarrow.csv", "pyarrow.compute", "mlflow", "mlflow.models",
    "retrain_daemon.worker.inspection", "retrain_daemon.worker.training",
)  # fmt: skip
KINDS: Mapping[str, tuple[str, ...]] = {
    "sklearn": (*_TABULAR, "sklearn", "skops.io", "mlflow.sklearn", "retrain_daemon.worker.frameworks.sklearn_model"),
    "keras": (*_TABULAR, "tensorflow", "keras", "mlflow.keras", "retrain_daemon.worker.frameworks.keras"),
    "torch": (*_TABULAR, "torch", "mlflow.pytorch", "retrain_daemon.worker.frameworks.torch"),
}
_MOST = 2**20


@dataclass(frozen=True)
class Order:
    """A job to fork a worker for: its folder, the worker's whole environment, and the descriptors that came along."""

    folder: str
    environment: Mapping[str, str]
    answer: socket.socket
    log: int
    gate: int

    def close(self) -> None:
        """Give back the descriptors that only the worker needs."""
        os.close(self.log)
        os.close(self.gate)


#: Does the job of a folder; leaves by `sys.exit` or an exception where it has not all gone well.
Run = Callable[[str], None]


def main(arguments: list[str]) -> int:
    """Import, and fork until the daemon hangs up."""
    die_with_parent(os.environ.get(PARENT_VARIABLE, ""))
    secrets = secrets_of(os.environ)
    # Already here: libraries keep the streams that they find when they are imported.
    with redirect_stdout(Hiding(sys.stdout, secrets)), redirect_stderr(Hiding(sys.stderr, secrets)):
        _import_and_serve(*arguments)
    return 0


def _import_and_serve(kind: str, descriptor: str, *also: str) -> None:
    if not sys.flags.safe_path:
        del sys.path[0]  # the working directory, as `-m` puts it there; each worker has its own
    for name in (*KINDS[kind], *also):
        with suppress(ModuleNotFoundError):  # the job itself says what is not installed
            import_module(name)
    serve(socket.socket(fileno=int(descriptor)), run_worker)


def run_worker(folder: str, module: str = "retrain_daemon.worker") -> None:
    """What `python -m MODULE FOLDER` does once it has started in that folder."""
    sys.argv = ["-m", folder]
    if not sys.flags.safe_path:
        sys.path.insert(0, folder)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def serve(control: socket.socket, run: Run) -> None:
    """Fork a worker for each order until `control` is closed at the other end. Whatever still runs then ends with this
    process.
    """
    gc.collect()
    gc.freeze()  # workers share these pages as long as nobody writes to them
    workers: dict[socket.socket, int] = {}
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == control.fileno():
                order = _receive(control)
                if order is None:
                    return
                if _given_up(order):
                    continue
                workers[order.answer] = _fork(order, [control, *workers], run)
                poll.register(order.answer, select.POLLIN)
            else:
                answer = next(each for each in workers if each.fileno() == descriptor)
                poll.unregister(answer)
                _end(answer, workers.pop(answer))


def _receive(control: socket.socket) -> Order | None:
    """The next order; None when the daemon hung up."""
    message, descriptors, _, _ = socket.recv_fds(control, _MOST, 3)
    if not message:
        return None
    asked = json.loads(message)
    answer, log, gate = descriptors
    return Order(asked["folder"], asked["environment"], socket.socket(fileno=answer), log, gate)


def _given_up(order: Order) -> bool:
    """Whether nobody waits for this worker any more, such as after long imports."""
    waiting = select.poll()
    waiting.register(order.answer, 0)
    if not waiting.poll(0):
        return False
    order.answer.close()
    order.close()
    return True


def _fork(order: Order, sockets: list[socket.socket], run: Run) -> int:
    """Fork a worker and answer its process id as soon as it leads a session of its own, by which it can be ended."""
    template = os.getpid()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            bear_job_mark(order.environment[JOB_MARK])
            os.close(reading)
            os.close(writing)
            _become_worker(order, sockets, template)
            _wait_at(order.gate)
            code = _exit_code(run, order.folder)
            _wind_up()
        finally:
            os._exit(code)
    os.close(writing)
    order.close()
    os.read(reading, 1)  # until the worker has closed its end, be it by dying
    os.close(reading)
    with suppress(OSError):  # the daemon has given the job up: the end of file says so again
        order.answer.send(str(pid).encode())
    return pid


def _wait_at(gate: int) -> None:
    """Until the daemon has held this process in; leaves when it never will."""
    if not os.read(gate, 1):
        os._exit(STOPPED)
    os.close(gate)


def _become_worker(order: Order, sockets: list[socket.socket], template: int) -> None:
    """As a worker is that was started by itself, but for its parent, which is the template."""
    for each in (*sockets, order.answer):
        each.close()
    os.dup2(order.log, 1)
    os.dup2(order.log, 2)
    os.close(order.log)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # the worker's own main hides secrets anew
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.environment)
    os.environ[PARENT_VARIABLE] = str(template)
    tempfile.tempdir = None  # what was found at an import is not for this environment
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # else all workers would draw the same; Python's own generator sees to that itself


def _exit_code(run: Run, folder: str) -> int:
    """As the interpreter ends a program."""
    try:
        run(folder)
    except SystemExit as leaving:
        if leaving.code is None or isinstance(leaving.code, int):
            return leaving.code or 0
        print(leaving.code, file=sys.stderr)  # noqa: T201
        return 1
    except BaseException:  # noqa: BLE001  nothing may lead back into the template's loop
        traceback.print_exc()
        return 1
    return 0


def _wind_up() -> None:
    """What an interpreter does at its end, but for taking itself apart."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()


def _end(answer: socket.socket, pid: int) -> None:
    """Wait for a worker that has died; one that nobody watches any more is made to."""
    with answer:
        if answer.recv(len(END)) != END:
            os.killpg(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        with suppress(OSError):
            answer.send(str(os.waitstatus_to_exitcode(status)).encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
