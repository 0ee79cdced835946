from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retrain_daemon.errors import Refused, StateUnusable
from retrain_daemon.executor.holding import WATCHED, Means, may_pin
from retrain_daemon.executor.jobs import UNLIMITED, Allowance, Executor, ProcessExecutor
from retrain_daemon.executor.limits import Limits
from retrain_daemon.executor.scratch import scratch_of
from retrain_daemon.executor.supervisor import Ended, Running
from retrain_daemon.executor.templates import Templates
from retrain_daemon.worker.job import (
    Failed,
    InspectModel,
    Job,
    ModelInspected,
    Progress,
    Result,
    Source,
    read_job,
    write_job,
)
from tests.fake_executor import FakeExecutor

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
HOUR = Limits(timedelta(hours=1))
GRACE = 0.3

# The worker of the contract suite: keeps to the job files, as the real one does.
DUTIFUL = """
import sys, time
from pathlib import Path
from retrain_daemon.worker.job import Failed, ModelInspected, read_job, write_result
folder = Path(sys.argv[1])
job = read_job(folder)
if job.source.model == "endless":
    time.sleep(60)
if job.source.model == "refused":
    write_result(folder, Failed(message="no such model"))
else:
    write_result(folder, ModelInspected(flavor="sklearn", storage="skops", estimator=job.source.model, task="",
                                        classes=(), features=(), modes=(), hyperparameters=()))
"""
# What other workers do to leave a result, without the cost of loading the package.
WRITE = """
import os, signal, subprocess, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
def write(text, name="result.json"):
    (folder / "new").write_text(text)
    (folder / "new").replace(folder / name)
"""
DONE = '{"kind": "failed", "message": "done"}'


def job_for(model: str = "churn") -> Job:
    return InspectModel(source=Source(tracking_uri="sqlite:///m.db", registry_uri="", model=model, version=3))


def work_of(job: Job) -> Result | None:
    assert isinstance(job, InspectModel)
    if job.source.model == "endless":
        return None
    if job.source.model == "refused":
        return Failed(message="no such model")
    return inspected(job.source.model)


def inspected(name: str) -> ModelInspected:
    return ModelInspected(
        flavor="sklearn",
        storage="skops",
        estimator=name,
        task="",
        classes=(),
        features=(),
        modes=(),
        hyperparameters=(),
    )


# A template whose workers run this code instead of the real worker's.
TEMPLATE = """
import os, socket, sys
from retrain_daemon.worker.lifeline import die_with_parent
from retrain_daemon.worker.template import serve
die_with_parent(os.environ["RETRAIND_PARENT"])
def run(folder):
    sys.argv = ["-c", folder]
    exec({code!r}, {{"__name__": "__main__"}})
serve(socket.socket(fileno=int(sys.argv[2])), run)
"""


def worker_code(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def eventually(condition: Callable[[], object], within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def written(path: Path) -> int:
    """The number that a worker wrote to a file, once it is there."""
    eventually(lambda: path.exists() and path.read_text())
    return int(path.read_text())


@dataclass
class Lab:
    """A jobs folder and the executors of this test, closed at its end. With `forking` workers come from a template."""

    folder: Path
    forking: bool = False
    woken: threading.Event = field(default_factory=threading.Event)
    executors: list[ProcessExecutor] = field(default_factory=list)

    def executor(
        self,
        code: str,
        log_limit: int = 2**20,
        means: Means = WATCHED,
        allowance: Allowance = UNLIMITED,
    ) -> ProcessExecutor:
        code = textwrap.dedent(code)
        keep = timedelta(minutes=5) if self.forking else None
        made = ProcessExecutor(
            self.folder, self.woken.set, worker_code(code), grace=GRACE, log_limit=log_limit,
            means=means, allowance=allowance,
            templates=Templates(self.folder, keep, worker_code(TEMPLATE.format(code=code))),
        )  # fmt: skip
        self.executors.append(made)
        return made

    def end_of(self, code: str, limits: Limits = HOUR, log_limit: int = 2**20) -> Ended:
        """Run a worker with this code as job "j" and wait, woken, for its end."""
        executor = self.executor(WRITE + code, log_limit)
        executor.start("j", job_for(), limits, NOW)
        assert self.woken.wait(20)
        ended = executor.look("j")
        assert isinstance(ended, Ended)
        return ended

    def failure_of(self, code: str, limits: Limits = HOUR) -> Failed:
        result = self.end_of(code, limits).result
        assert isinstance(result, Failed)
        return result

    def earlier_daemon(self, code: str, then: str, *, guard: bool = False) -> None:
        """Let a daemon start job "j" with this worker, wait until `then` is a file in its folder, and be killed.

        Without `guard` its guard is killed before it.
        """
        daemon = f"""
            import os, sys, time
            from datetime import UTC, datetime, timedelta
            from pathlib import Path
            from retrain_daemon.executor.jobs import ProcessExecutor
            from retrain_daemon.executor.limits import Limits
            from retrain_daemon.executor.templates import Templates
            from retrain_daemon.worker.job import read_job
            jobs = Path({str(self.folder)!r})
            command = (sys.executable, "-c", {WRITE + code!r})
            template = (sys.executable, "-c", {TEMPLATE.format(code=WRITE + code)!r})
            keep = timedelta(minutes=5) if {self.forking} else None
            executor = ProcessExecutor(jobs, lambda: None, command, templates=Templates(jobs, keep, template))
            now = datetime(2026, 11, 22, 3, tzinfo=UTC)
            executor.start("j", read_job(jobs.parent), Limits(timedelta(hours=1)), now)
            while not (jobs / "j" / {then!r}).exists():
                time.sleep(0.01)
            if not {guard}:
                for process in map(int, filter(str.isdigit, os.listdir("/proc"))):
                    if (Path("/proc") / str(process) / "cmdline").read_bytes().endswith(b"%d\\0" % os.getpid()):
                        os.kill(process, 9)
            os.kill(os.getpid(), 9)
        """
        write_job(self.folder.parent, job_for())
        subprocess.run(worker_code(textwrap.dedent(daemon)), check=False, timeout=30)


@pytest.fixture(params=["started", "forked"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    made = Lab(tmp_path / "jobs", forking=request.param == "forked")
    yield made
    for executor in made.executors:
        executor.close()


# One contract for the real executor and the fake that other tests use.


@pytest.fixture(params=["started", "forked", "fake"])
def lives(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Executor]]:
    """Makes the executor of one life of the daemon after another, over the same job folders."""
    folders: dict[str, Result] = {}
    lab = Lab(tmp_path / "jobs", forking=request.param == "forked")
    yield lambda: FakeExecutor(work_of, folders) if request.param == "fake" else lab.executor(DUTIFUL)
    for executor in lab.executors:
        executor.close()


def ended(executor: Executor, key: str = "j") -> Ended:
    eventually(lambda: not isinstance(executor.look(key), Running))
    look = executor.look(key)
    assert isinstance(look, Ended)
    return look


def test_a_job_ends_with_the_result_its_worker_wrote(lives: Callable[[], Executor]) -> None:
    executor = lives()
    executor.start("j", job_for("churn"), HOUR, NOW)
    assert ended(executor).result == inspected("churn")
    assert executor.running() == ()


def test_an_expected_failure_is_a_result_like_any_other(lives: Callable[[], Executor]) -> None:
    executor = lives()
    executor.start("j", job_for("refused"), HOUR, NOW)
    assert ended(executor).result == Failed(message="no such model")


def test_a_job_never_started_is_nothing(lives: Callable[[], Executor]) -> None:
    assert lives().look("never") is None


def test_a_result_outlives_the_daemon_until_it_is_discarded(lives: Callable[[], Executor]) -> None:
    first = lives()
    first.start("j", job_for(), HOUR, NOW)
    ended(first)
    second = lives()
    assert ended(second).result == inspected("churn")
    second.discard("j")
    assert second.look("j") is None
    assert lives().look("j") is None


def test_a_running_job_says_since_when_and_is_not_started_twice(lives: Callable[[], Executor]) -> None:
    executor = lives()
    executor.start("j", job_for("endless"), HOUR, NOW)
    assert executor.look("j") == Running(NOW, None)
    assert executor.running() == ("j",)
    with pytest.raises(ValueError, match="running already"):
        executor.start("j", job_for(), HOUR, NOW)


def test_a_stopped_job_is_cut_short_and_can_be_started_again(lives: Callable[[], Executor]) -> None:
    executor = lives()
    executor.start("j", job_for("endless"), HOUR, NOW)
    executor.stop("j")
    assert executor.look("j") is None
    assert executor.running() == ()
    executor.start("j", job_for(), HOUR, NOW)
    assert ended(executor).result == inspected("churn")


def test_a_job_that_a_closed_daemon_left_is_cut_short(lives: Callable[[], Executor]) -> None:
    first = lives()
    first.start("j", job_for("endless"), HOUR, NOW)
    first.close()
    assert lives().look("j") is None


def test_jobs_of_an_earlier_life_are_kept_until_they_are_discarded(lives: Callable[[], Executor]) -> None:
    first = lives()
    assert first.kept() == ()
    for key in ("b", "a"):
        first.start(key, job_for(), HOUR, NOW)
        ended(first, key)
    later = lives()
    assert later.kept() == ("a", "b")
    later.discard("a")
    assert later.kept() == ("b",)


@pytest.mark.parametrize("key", ["", "..", ".hidden", "a/b", "/etc", "a\0b"])
def test_a_key_that_is_no_plain_name_is_refused(lives: Callable[[], Executor], key: str) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        lives().start(key, job_for(), HOUR, NOW)


def test_the_fake_can_have_a_job_cut_short_by_a_restart() -> None:
    folders: dict[str, Result] = {}
    FakeExecutor(work_of, folders, outlives_daemon=False).start("j", job_for(), HOUR, NOW)
    assert FakeExecutor(work_of, folders).look("j") is None


# Ends that are not a result.


def test_a_crash_is_told_with_the_exit_code_and_the_last_line_of_the_log(lab: Lab) -> None:
    failure = lab.failure_of("raise ValueError('no column churned')")
    assert failure.message == (
        "the worker ended with exit code 1 without a result; "
        "the last line of its log was: ValueError: no column churned"
    )
    assert failure.temporary


def test_an_end_without_result_or_word_is_told(lab: Lab) -> None:
    assert lab.failure_of("sys.exit(3)").message == "the worker ended with exit code 3 without a result"


def test_a_killing_signal_is_named(lab: Lab) -> None:
    failure = lab.failure_of("print('epoch 3 of 9'); os.kill(os.getpid(), 9)")
    assert failure.message.startswith("the worker was ended by signal 9 (SIGKILL)")
    assert failure.message.endswith("; the last line of its log was: epoch 3 of 9")
    assert failure.temporary


def test_a_hanging_worker_is_ended_at_its_time_limit(lab: Lab) -> None:
    failure = lab.failure_of("time.sleep(60)", Limits(timedelta(seconds=0.5)))
    assert failure == Failed(message="the worker ran past its time limit of 0.5s", temporary=True, lost=True)


def test_a_worker_over_its_memory_limit_is_ended(lab: Lab) -> None:
    limits = Limits(timedelta(minutes=1), memory=64 * 2**20)
    failure = lab.failure_of("hog = bytearray(os.urandom(1)) * (150 * 2**20); time.sleep(60)", limits)
    assert re.match(r"the worker used \d+(\.\d)? MiB of memory, its limit is 64 MiB", failure.message)
    assert failure.message.endswith(" MiB of memory, its limit is 64 MiB")


def test_memory_of_a_child_counts_and_the_child_is_ended_too(lab: Lab) -> None:
    child = "import os,time; open('child','w').write(str(os.getpid())); hog = b'x' * (150 * 2**20); time.sleep(60)"
    code = f"subprocess.run([sys.executable, '-c', {child!r}])"
    failure = lab.failure_of(code, Limits(timedelta(minutes=1), memory=100 * 2**20))
    assert "its limit is 100 MiB" in failure.message
    assert not alive(written(lab.folder / "j/child"))


def test_memory_shared_by_forked_children_is_counted_once(lab: Lab) -> None:
    code = """
hog = b'x' * (80 * 2**20)
for _ in range(4):
    if os.fork() == 0:
        time.sleep(1.2); os._exit(0)
time.sleep(0.9); write('{"kind": "failed", "message": "done"}')
"""
    ended = lab.end_of(code, Limits(timedelta(minutes=1), memory=200 * 2**20))
    assert ended.result == Failed(message="done")


def test_a_result_that_does_not_follow_the_contract_is_a_failure_that_would_come_again(lab: Lab) -> None:
    failure = lab.failure_of("""write('{"kind": "banana"}')""")
    assert failure.message.startswith("the worker's result does not follow the contract: ")
    assert "banana" in failure.message
    assert "\n" not in failure.message
    assert not failure.temporary


def test_a_result_written_before_a_crash_counts(lab: Lab) -> None:
    assert lab.failure_of(f"write({DONE!r}); os.kill(os.getpid(), 11)") == Failed(message="done")


def test_a_worker_that_cannot_be_started_is_an_end_with_the_reason(lab: Lab) -> None:
    executor = ProcessExecutor(lab.folder, lab.woken.set, ("/no/such/python",))
    executor.start("j", job_for(), HOUR, NOW)
    assert lab.woken.is_set()
    look = executor.look("j")
    assert isinstance(look, Ended)
    assert isinstance(look.result, Failed)
    assert look.result.message.startswith("the worker /no/such/python could not be started: ")


def test_a_jobs_folder_that_cannot_be_made_is_said(lab: Lab) -> None:
    lab.folder.write_text("a file")
    with pytest.raises(StateUnusable, match=r"job folder .*/jobs/j cannot be written"):
        lab.executor("").start("j", job_for(), HOUR, NOW)


# While it runs, and what is left behind.


def test_the_worker_gets_its_job_and_its_parent_and_no_input(lab: Lab) -> None:
    code = """
assert sys.stdin.read() == ''
assert os.getcwd() == str(folder)
assert os.getsid(0) == os.getpid()
assert os.getppid() == int(os.environ['RETRAIND_PARENT'])
print('as it should be')
"""
    message = lab.failure_of(code).message
    assert message.endswith("the last line of its log was: as it should be")
    assert read_job(lab.folder / "j") == job_for()
    assert (lab.folder / "j").stat().st_mode & 0o077 == 0


def test_progress_is_read_while_it_runs_and_garbage_in_it_is_not(lab: Lab) -> None:
    executor = lab.executor(
        WRITE + """write('{"phase": "fit", "done": 2, "total": 5}', "progress.json"); time.sleep(60)"""
    )
    executor.start("j", job_for(), HOUR, NOW)
    eventually(lambda: executor.look("j") == Running(NOW, Progress(phase="fit", done=2, total=5)))
    (lab.folder / "j/progress.json").write_text("{")
    assert executor.look("j") == Running(NOW, None)


def test_a_child_that_its_worker_left_behind_is_killed(lab: Lab) -> None:
    code = (
        """
child = subprocess.Popen(['sleep', '60'])
write(str(child.pid), 'child')
"""
        + f"write({DONE!r})"
    )
    assert lab.failure_of(code) == Failed(message="done")
    assert not alive(written(lab.folder / "j/child"))


def test_a_worker_that_ignores_the_request_to_end_is_made_to(lab: Lab) -> None:
    code = "signal.signal(signal.SIGTERM, signal.SIG_IGN); write(str(os.getpid()), 'pid'); time.sleep(60)"
    executor = lab.executor(WRITE + code)
    executor.start("j", job_for(), HOUR, NOW)
    pid = written(lab.folder / "j/pid")
    executor.stop("j")
    assert not alive(pid)
    assert executor.look("j") is None


def test_a_worker_asked_to_end_may_still_leave_its_result(lab: Lab) -> None:
    code = f"""
def last_words(*_):
    write({DONE!r}); sys.exit(0)
signal.signal(signal.SIGTERM, last_words); write("1", "ready"); time.sleep(60)
"""
    executor = lab.executor(WRITE + code)
    executor.start("j", job_for(), HOUR, NOW)
    written(lab.folder / "j/ready")
    executor.stop("j")
    look = executor.look("j")
    assert isinstance(look, Ended)
    assert look.result == Failed(message="done")


def test_the_log_is_kept_across_tries_and_only_the_last_try_is_quoted(lab: Lab) -> None:
    lab.failure_of("print('first try')")
    lab.woken.clear()
    assert lab.failure_of("sys.exit(2)").message == "the worker ended with exit code 2 without a result"
    assert (lab.folder / "j/worker.log").read_text() == "first try\n"


def test_a_log_that_grows_without_end_is_cut_and_keeps_its_first_and_last_lines(lab: Lab) -> None:
    code = """
print('the first line')
for _ in range(8):
    print('x' * 20_000); time.sleep(0.15)
print('the last line')
"""
    ended = lab.end_of(code, log_limit=50_000)
    log = (lab.folder / "j/worker.log").read_text()
    assert len(log) < 120_000
    assert log.startswith("the first line\n")
    assert "lines are missing here" in log
    assert isinstance(ended.result, Failed)
    assert ended.result.message.endswith("was: the last line")


def failure_with(lab: Lab, python: str) -> Failed:
    """How a job ends whose policy names this interpreter."""
    executor = lab.executor("")
    executor.start("j", job_for(), HOUR, NOW, python=python)
    assert lab.woken.wait(20)
    ended = executor.look("j")
    assert isinstance(ended, Ended)
    assert isinstance(ended.result, Failed)
    return ended.result


def test_a_folder_named_as_interpreter_is_called_a_folder(lab: Lab, tmp_path: Path) -> None:
    failed = failure_with(lab, str(tmp_path))
    assert failed.message == f"train.python names {tmp_path}, which is a folder."
    assert not failed.temporary


def test_a_program_that_is_no_interpreter_is_named_and_not_tried_again(lab: Lab) -> None:
    failed = failure_with(lab, "/bin/true")
    assert failed.message == "/bin/true, which train.python names, ended with exit code 0 and left no result."
    assert not failed.temporary


def test_nothing_is_left_of_a_job_but_its_folder(lab: Lab) -> None:
    threads, handles = threading.active_count(), open_files()
    lab.end_of("write(str(os.getpid()), 'pid')")
    lab.executors[0].close()
    assert threading.active_count() == threads
    assert open_files() == handles
    assert not Path(f"/proc/{written(lab.folder / 'j/pid')}").exists()  # not even a zombie
    lab.executors[0].discard("j")
    assert list(lab.folder.iterdir()) == []


# After the daemon itself was killed.


@pytest.mark.slow
def test_a_result_from_before_a_restart_is_found(lab: Lab) -> None:
    lab.earlier_daemon(f"write({DONE!r})", then="result.json")
    look = lab.executor("").look("j")
    assert isinstance(look, Ended)
    assert look.result == Failed(message="done")
    assert 0 <= look.seconds < 30


@pytest.mark.slow
def test_a_worker_that_outlived_its_daemon_is_ended_and_the_job_was_cut_short(lab: Lab) -> None:
    lab.earlier_daemon("write(str(os.getpid()), 'pid'); time.sleep(60)", then="pid")
    pid = written(lab.folder / "j/pid")
    assert alive(pid) or lab.forking  # a template that sees its daemon hang up may have ended it
    assert scratch_of(lab.folder / "j").exists()
    assert lab.executor("").look("j") is None
    assert not alive(pid)
    assert not scratch_of(lab.folder / "j").exists()


@pytest.mark.slow
def test_nothing_outlives_a_killed_daemon_although_no_other_daemon_comes(lab: Lab) -> None:
    """The worker dies with it; its child, which left the session and lost its environment, by the guard."""
    code = """
child = subprocess.Popen(['sleep', '60'], start_new_session=True, env={})
time.sleep(0.5)
write(str(child.pid), 'child')
time.sleep(60)
"""
    lab.earlier_daemon(code, then="child", guard=True)
    eventually(lambda: not alive(written(lab.folder / "j/child")))
    lab.executor("").discard("j")
    assert not scratch_of(lab.folder / "j").exists()


@pytest.mark.slow
def test_a_child_that_outlived_daemon_and_worker_is_ended(lab: Lab) -> None:
    code = """
child = subprocess.Popen(['sleep', '60'])
write(str(child.pid), 'child')
while os.getppid() == int(os.environ['RETRAIND_PARENT']):
    time.sleep(0.01)
"""
    lab.earlier_daemon(code, then="child")
    pid = written(lab.folder / "j/child")
    worker = json.loads((lab.folder / "j/process.json").read_text())["pid"]
    eventually(lambda: not Path(f"/proc/{worker}").exists())
    assert alive(pid) or lab.forking  # a template that sees its daemon hang up may have ended it
    assert lab.executor("").look("j") is None
    eventually(lambda: not alive(pid))


def test_a_process_that_only_got_the_same_number_is_left_alone(lab: Lab) -> None:
    (lab.folder / "j").mkdir(parents=True)
    stranger = subprocess.Popen(["sleep", "60"], start_new_session=True)
    record = {"pid": stranger.pid, "started": 1, "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip()}
    (lab.folder / "j/process.json").write_text(json.dumps(record))
    try:
        assert lab.executor("").look("j") is None
        assert alive(stranger.pid)
    finally:
        stranger.kill()
        stranger.wait()


def test_a_job_of_an_earlier_life_starts_afresh(lab: Lab) -> None:
    folder = lab.folder / "j"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(DONE)
    (folder / "progress.json").write_text('{"phase": "old"}')
    assert lab.failure_of("print(sorted(p.name for p in folder.iterdir()))").message.endswith(
        "was: ['job.json', 'process.json', 'worker.log']"
    )


# What a worker may take, and what of it is left.


ESCAPE = """
def escape(code):
    # Twice forked, in a session of its own: its parent is gone.
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            write(str(os.getpid()), 'child')
            exec(code)
        os._exit(0)
    os.wait()
    while not (folder / 'child').exists():
        time.sleep(0.01)
"""


def test_a_child_that_left_its_session_is_killed_with_its_worker(lab: Lab) -> None:
    assert lab.failure_of(ESCAPE + f"escape('time.sleep(60)'); write({DONE!r})") == Failed(message="done")
    assert not alive(written(lab.folder / "j/child"))


def test_memory_of_a_child_that_left_its_session_counts(lab: Lab) -> None:
    code = ESCAPE + "escape('hog = bytearray(os.urandom(1)) * (150 * 2**20); time.sleep(60)'); time.sleep(60)"
    failure = lab.failure_of(code, Limits(timedelta(minutes=1), memory=100 * 2**20))
    assert "its limit is 100 MiB" in failure.message
    assert not alive(written(lab.folder / "j/child"))


def test_a_worker_with_too_many_processes_is_ended(lab: Lab) -> None:
    code = "children = [subprocess.Popen(['sleep', '60'], start_new_session=True) for _ in range(12)]; time.sleep(60)"
    failure = lab.failure_of(code, Limits(timedelta(minutes=1), processes=8))
    assert re.match(r"the worker had \d+ processes, its limit is 8", failure.message)


def test_a_worker_leaves_neither_shared_memory_nor_temporary_files(lab: Lab) -> None:
    """Killed in the middle: who would have removed them is dead."""
    code = """
import tempfile
from multiprocessing.shared_memory import SharedMemory
kept = SharedMemory(create=True, size=1000)
handle, path = tempfile.mkstemp()
(folder / 'names').write_text(kept.name + chr(10) + path)
os.kill(os.getpid(), 9)
"""
    lab.failure_of(code)
    segment, path = (lab.folder / "j/names").read_text().splitlines()
    assert not (Path("/dev/shm") / segment).exists()
    assert not Path(path).exists()
    assert not scratch_of(lab.folder / "j").exists()


def test_a_worker_may_use_sockets_however_long_the_path_of_the_state_folder_is(tmp_path: Path) -> None:
    """The path of a socket has at most 107 bytes; multiprocessing puts its sockets among the temporary files."""
    deep = Lab(tmp_path / ("a-rather-long-name-" * 6) / "jobs")
    code = """
from multiprocessing.managers import BaseManager
class Manager(BaseManager): pass
manager = Manager(); manager.start(); manager.shutdown()
"""
    code += f"write({DONE!r})"
    try:
        assert deep.failure_of(code) == Failed(message="done")
    finally:
        deep.executors[0].close()


def test_temporary_files_lie_in_the_job_folder_where_its_path_is_short() -> None:
    job = Path("/var/lib/retraind/jobs/churn-17.1.1")
    assert scratch_of(job) == job / "tmp"


def test_a_worker_runs_behind_other_work_with_as_many_threads_as_it_may_use_cpus(lab: Lab) -> None:
    code = """
while os.nice(0) != 10:
    time.sleep(0.01)
print(os.environ['OMP_NUM_THREADS'], os.environ['OPENBLAS_NUM_THREADS'])
"""
    failure = lab.failure_of(code, Limits(timedelta(seconds=10), cpus=1.5))
    assert failure.message.endswith("the last line of its log was: 2 2")


def test_where_memory_runs_out_the_kernel_ends_a_worker_and_what_it_started_before_the_daemon(lab: Lab) -> None:
    code = """
score = "print(open('/proc/self/oom_score_adj').read().strip(), flush=True)"
inherited = open(f'/proc/{os.getppid()}/oom_score_adj').read()
while open('/proc/self/oom_score_adj').read() == inherited:
    time.sleep(0.01)
subprocess.run([sys.executable, "-c", score])
"""
    said = lab.failure_of(code, Limits(timedelta(seconds=10))).message
    daemons = int(Path("/proc/self/oom_score_adj").read_text())
    assert int(said.rpartition(": ")[2]) > daemons


@pytest.mark.skipif(not may_pin() or len(os.sched_getaffinity(0)) < 2, reason="no CPUs to choose from, or none allowed")
def test_where_pinning_is_permitted_a_worker_and_its_children_use_no_more_cpus_than_allowed(lab: Lab) -> None:
    code = (
        WRITE
        + """
count = "import os; print(len(os.sched_getaffinity(0)), flush=True)"
while len(os.sched_getaffinity(0)) > 1:
    time.sleep(0.01)
subprocess.run([sys.executable, "-c", count])
"""
    )
    executor = lab.executor(code, means=Means(pins=True))
    executor.start("j", job_for(), Limits(timedelta(seconds=10), cpus=1), NOW)
    assert lab.woken.wait(20)
    assert (lab.folder / "j/worker.log").read_text() == "1\n"


def test_memory_counts_of_a_child_that_left_session_environment_and_parent(lab: Lab) -> None:
    """A worker is made the parent of orphans, so as long as it lives none gets lost."""
    hog = "import os,time; hog = bytearray(os.urandom(1)) * (150 * 2**20); time.sleep(60)"
    code = f"""
from retrain_daemon.worker.lifeline import adopt_orphans
adopt_orphans()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        write(str(os.getpid()), 'child')
        os.execve(sys.executable, [sys.executable, '-c', {hog!r}], {{}})
    os._exit(0)
time.sleep(60)
"""
    failure = lab.failure_of(code, Limits(timedelta(minutes=1), memory=100 * 2**20))
    assert failure.message.startswith("the worker used ")
    assert not alive(written(lab.folder / "j/child"))


SHOW_DEVICES = "print('sees', os.environ.get('CUDA_VISIBLE_DEVICES')); sys.stdout.flush(); write('1', 'ready')"


def box_with_gpus(lab: Lab, gpus: tuple[str, ...] | None, code: str = "time.sleep(60)") -> ProcessExecutor:
    return lab.executor(WRITE + SHOW_DEVICES + "\n" + code, allowance=Allowance(gpus=gpus))


def devices_of(lab: Lab, key: str) -> str:
    written(lab.folder / key / "ready")
    return (lab.folder / key / "worker.log").read_text().removeprefix("sees ").strip()


def test_each_training_is_given_devices_of_its_own_and_others_see_none(lab: Lab) -> None:
    executor = box_with_gpus(lab, ("0", "GPU-5ad1"))
    one = Limits(timedelta(hours=1), gpus=1)
    executor.start("a", job_for(), one, NOW)
    executor.start("b", job_for(), one, NOW)
    executor.start("inspect-1", job_for(), HOUR, NOW)
    assert [devices_of(lab, key) for key in ("a", "b", "inspect-1")] == ["0", "GPU-5ad1", ""]
    assert executor.waits_for(one) == "waits for a GPU: 1 asked, 0 of 2 free"
    assert executor.waits_for(HOUR) == ""
    executor.stop("a")
    assert executor.waits_for(one) == ""
    executor.start("c", job_for(), one, NOW)
    assert devices_of(lab, "c") == "0"


def test_without_devices_to_hand_out_workers_see_what_the_daemon_sees(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    box_with_gpus(lab, None).start("a", job_for(), HOUR, NOW)
    assert devices_of(lab, "a") == "5"


@pytest.mark.parametrize(("gpus", "count"), [(None, "none"), ((), "none"), (("0",), "1")])
def test_more_devices_than_there_are_is_refused(lab: Lab, gpus: tuple[str, ...] | None, count: str) -> None:
    with pytest.raises(Refused, match=f"asks for 2, and the daemon has {count} to hand out"):
        box_with_gpus(lab, gpus).waits_for(Limits(timedelta(hours=1), gpus=2))


def test_limits_of_the_daemon_hold_where_a_job_names_none(lab: Lab) -> None:
    hog = "hog = bytearray(os.urandom(1)) * (150 * 2**20); time.sleep(60)"
    executor = lab.executor(WRITE + hog, allowance=Allowance(memory=64 * 2**20))
    executor.start("j", job_for(), HOUR, NOW)
    assert lab.woken.wait(20)
    look = executor.look("j")
    assert isinstance(look, Ended)
    assert isinstance(look.result, Failed)
    assert look.result.message.endswith("its limit is 64 MiB")


@pytest.mark.slow
def test_a_guard_that_was_killed_is_started_with_the_next_worker_and_told_of_those_that_run(lab: Lab) -> None:
    code = f"""
        import os, signal, subprocess, sys, time
        from pathlib import Path
        from retrain_daemon.executor.guard import Guard
        worker = subprocess.Popen(["sleep", "60"], start_new_session=True)
        guard = Guard()
        guard.start()
        guard.tell(worker.pid, True)
        guard._process.kill()
        guard._process.wait()
        guard.start()
        Path({str(lab.folder)!r}, "worker").write_text(str(worker.pid))
        os.kill(os.getpid(), 9)
    """
    lab.folder.mkdir()
    subprocess.run(worker_code(textwrap.dedent(code)), check=False, timeout=30)
    eventually(lambda: not alive(written(lab.folder / "worker")))
