"""Workers forked from a warm template: the same as workers started by themselves, and no harm to one another."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from retrain_daemon.cli.demo_policies import policy_text
from retrain_daemon.executor import templates as warm
from retrain_daemon.executor.holding import WATCHED
from retrain_daemon.executor.jobs import ProcessExecutor
from retrain_daemon.executor.limits import Limits
from retrain_daemon.executor.supervisor import Ended, Running
from retrain_daemon.executor.templates import OWN_STORES, Template, Templates
from retrain_daemon.policies import read_policies
from retrain_daemon.processes import bearers
from retrain_daemon.worker.job import DropFile, DropsInspected, Failed, InspectDrops, Job, Source, Train, Trained
from tests.shell.test_executor import HOUR, NOW, TEMPLATE, WRITE, alive, eventually, job_for, worker_code, written

KEEP = timedelta(minutes=5)


@dataclass
class Warmth:
    """An executor with templates whose workers run any code, and one life of the daemon."""

    folder: Path
    woken: threading.Event = field(default_factory=threading.Event)
    executors: list[ProcessExecutor] = field(default_factory=list)

    def executor(self, code: str, cold: str = "raise SystemExit('started by itself')") -> ProcessExecutor:
        """Workers run `code` when they are forked, and `cold` when they are not."""
        template = worker_code(TEMPLATE.format(code=WRITE + textwrap.dedent(code)))
        return self.with_template(template, worker_code(WRITE + textwrap.dedent(cold)))

    def with_template(self, template: tuple[str, ...], cold: tuple[str, ...]) -> ProcessExecutor:
        templates = Templates(self.folder, KEEP, template)
        made = ProcessExecutor(self.folder, self.woken.set, cold, grace=0.3, templates=templates)
        self.executors.append(made)
        return made

    def pid(self, key: str, name: str = "pid") -> int:
        return written(self.folder / key / name)


@pytest.fixture
def warmth(tmp_path: Path) -> Iterator[Warmth]:
    made = Warmth(tmp_path / "jobs")
    yield made
    for executor in made.executors:
        executor.close()


def ended(executor: ProcessExecutor, key: str = "j") -> str:
    """The message of the failure that the job ended with."""
    eventually(lambda: not isinstance(executor.look(key), Running))
    look = executor.look(key)
    assert isinstance(look, Ended)
    assert isinstance(look.result, Failed)
    return look.result.message


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def threads_of(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


# What a forked worker is.

# Everything of a process that code in it could notice.
PROBE = """
import json, os, resource, signal, sys
from pathlib import Path
folder = Path(sys.argv[1])
fds = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
       if os.path.exists(f"/proc/self/fd/{fd}")}
os.umask(mask := os.umask(0))
main = sys.modules["__main__"]
said = {
    "environment": {name: text for name, text in os.environ.items() if name != "RETRAIND_PARENT"},
    "as children see it": os.popen("env | grep -c .").read(),
    "parent": os.getppid() == int(os.environ["RETRAIND_PARENT"]),
    "leads": os.getsid(0) == os.getpid() == os.getpgid(0),
    "folder": os.getcwd(), "descriptors": fds, "mask": mask, "nice": os.nice(0),
    "arguments": sys.argv, "path": sys.path, "flags": str(sys.flags), "warnings": sys.warnoptions,
    "main": [main.__name__, main.__spec__.name, main.__file__, __name__],
    "signals": {str(each): str(signal.getsignal(each)) for each in signal.valid_signals()},
    "blocked": str(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "limits": [resource.getrlimit(each) for each in range(16)],
    "affinity": sorted(os.sched_getaffinity(0)),
    "streams": [(each.encoding, each.errors, each.line_buffering, each.write_through, each.fileno())
                for each in (sys.stdin, sys.stdout, sys.stderr)],
    "recursion": sys.getrecursionlimit(),
}
(folder / "new").write_text(json.dumps(said))
(folder / "new").replace(folder / "said.json")
print("printed"); print("complained", file=sys.stderr)
sys.exit(3)
"""
PROBING_TEMPLATE = """
import sys
from retrain_daemon.worker import template
template.KINDS = {"sklearn": ("json", "pandas", "no_such_module")}
template.run_worker = lambda folder, run=template.run_worker: run(folder, "probe")
sys.exit(template.main(sys.argv[1:]))
"""


def test_a_forked_worker_is_like_one_that_was_started_by_itself(
    warmth: Warmth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "code"
    (code / "probe").mkdir(parents=True)
    (code / "probe/__init__.py").touch()
    (code / "probe/__main__.py").write_text(PROBE)
    (code / "probing_template.py").write_text(PROBING_TEMPLATE)
    monkeypatch.setenv("PYTHONPATH", str(code))
    monkeypatch.setenv("ONLY_AT_FIRST", "1")
    executor = warmth.with_template((sys.executable, "-m", "probing_template"), (sys.executable, "-m", "probe"))
    executor.expect("churn", NOW)
    monkeypatch.delenv("ONLY_AT_FIRST")
    monkeypatch.setenv("SINCE_THEN", "2")
    said, messages = [], []
    for templates in (executor._templates, Templates(warmth.folder, None)):
        executor._templates, forking = templates, executor._templates
        executor.start("j", job_for(), HOUR, NOW)
        messages.append(ended(executor))
        said.append(json.loads((warmth.folder / "j/said.json").read_text()))
        assert (warmth.folder / "j/worker.log").read_text() == "printed\ncomplained\n"
        executor.discard("j")
        executor._templates = forking if templates is not forking else templates
    forked, started = said
    assert forked == started
    assert messages[0] == messages[1]
    assert "exit code 3" in messages[0]
    assert forked["environment"]["SINCE_THEN"] == "2"
    assert "ONLY_AT_FIRST" not in forked["environment"]


def test_two_jobs_at_once_are_forked_from_one_template(warmth: Warmth) -> None:
    executor = warmth.executor("write(str(os.getpid()), 'pid'); time.sleep(60)")
    executor.start("a", job_for(), HOUR, NOW)
    executor.start("b", job_for(), HOUR, NOW)
    pids = [warmth.pid("a"), warmth.pid("b")]
    assert len(set(pids)) == 2
    assert len({parent_of(pid) for pid in pids} - {os.getpid()}) == 1
    executor.stop("a")
    assert not alive(pids[0])
    assert alive(pids[1])


def test_workers_of_one_template_draw_different_random_numbers(warmth: Warmth) -> None:
    code = f"""
import random, socket, sys, os
import numpy
{TEMPLATE.format(code=WRITE + "import random, numpy; print(random.random(), numpy.random.random())")}"""
    executor = warmth.with_template(worker_code(code), ("/no/such/program",))
    lines = []
    for key in ("a", "b"):
        executor.start(key, job_for(), HOUR, NOW)
        lines.append(ended(executor, key).rpartition(": ")[2].split())
    assert lines[0][0] != lines[1][0]
    assert lines[0][1] != lines[1][1]


# How a forked worker is held in.


def test_a_forked_worker_does_nothing_before_it_is_held_in(warmth: Warmth) -> None:
    """What follows once another process has been started may come too late."""
    executor = warmth.executor("write(str(os.nice(0)), 'nice')")
    executor.start("j", job_for(), HOUR, NOW)
    assert warmth.pid("j", "nice") == WATCHED.nice


def test_a_forked_worker_bears_the_mark_of_its_job_alone(warmth: Warmth) -> None:
    executor = warmth.executor("write(str(os.getpid()), 'pid'); time.sleep(60)")
    for key in ("a", "a-much-longer-name-of-a-job"):
        executor.start(key, job_for(), HOUR, NOW)
    for key in ("a", "a-much-longer-name-of-a-job"):
        pid = warmth.pid(key)
        assert bearers(f"RETRAIND_JOB={warmth.folder / key}".encode()) == (pid,)
    assert warmth.pid("a") in bearers(f"RETRAIND_DAEMON={os.getpid()}".encode())


def test_a_worker_with_a_limit_of_cpus_is_started_by_itself(warmth: Warmth) -> None:
    """What its template imported has read already how many threads it may start."""
    executor = warmth.executor("sys.exit('forked')", cold="sys.exit('started')")
    executor.start("j", job_for(), Limits(timedelta(hours=1), cpus=1), NOW)
    assert ended(executor).endswith("was: started")


def test_temporary_files_of_a_forked_worker_lie_where_its_own_belong(warmth: Warmth) -> None:
    code = WRITE + "import tempfile; print(tempfile.gettempdir() == os.environ['TMPDIR'])"
    template = worker_code("import tempfile; tempfile.gettempdir()\n" + TEMPLATE.format(code=code))
    executor = warmth.with_template(template, ("/no/such/program",))
    executor.start("j", job_for(), HOUR, NOW)
    assert ended(executor).endswith("was: True")


def test_what_a_library_of_the_template_prints_shows_no_secrets(
    warmth: Warmth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handler keeps the stream that it found when it was imported: before there was any worker."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code/talking_library.py").write_text("import logging; logging.basicConfig()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"))
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret-of-the-store")
    code = """
import logging, os, sys
from retrain_daemon.worker import template
template.KINDS = {"sklearn": ("talking_library",)}
template.run_worker = lambda folder: logging.error("password %s", os.environ["MLFLOW_TRACKING_PASSWORD"])
sys.exit(template.main(sys.argv[1:]))
"""
    executor = warmth.with_template(worker_code(code), ("/no/such/program",))
    executor.start("j", job_for(), HOUR, NOW)
    ended(executor)
    log = (warmth.folder / "j/worker.log").read_text()
    assert "password" in log
    assert "s3cret" not in log


# What becomes of the others when one ends.


@pytest.mark.parametrize(
    ("crash", "said"),
    [
        ("raise ValueError('no column churned')", "exit code 1 without a result; the last line of its log was: Value"),
        ("import ctypes; ctypes.string_at(0)", "signal 11 (SIGSEGV)"),
        ("os.kill(os.getpid(), 9)", "signal 9 (SIGKILL)"),
        ("os.abort()", "signal 6 (SIGABRT)"),
        ("sys.exit('no')", "exit code 1 without a result; the last line of its log was: no"),
    ],
)
def test_a_worker_that_crashes_leaves_the_template_to_the_next(warmth: Warmth, crash: str, said: str) -> None:
    executor = warmth.executor(f"print(os.getppid())\nif folder.name == 'bad':\n    {crash}")
    executor.start("first", job_for(), HOUR, NOW)
    template = ended(executor, "first").rpartition(" ")[2]
    executor.start("bad", job_for(), HOUR, NOW)
    assert said in ended(executor, "bad")
    executor.start("last", job_for(), HOUR, NOW)
    assert ended(executor, "last").endswith(f"was: {template}")


def test_a_killed_template_cuts_its_jobs_short_and_the_next_is_started_by_itself(warmth: Warmth) -> None:
    code = """
from retrain_daemon.worker.lifeline import die_with_parent
die_with_parent(os.environ["RETRAIND_PARENT"])
write(str(os.getpid()), 'pid'); time.sleep(60)
"""
    executor = warmth.executor(code)
    executor.start("j", job_for(), HOUR, NOW)
    worker = warmth.pid("j")
    os.kill(parent_of(worker), signal.SIGKILL)
    eventually(lambda: executor.look("j") is None)
    eventually(lambda: not alive(worker))
    executor.start("j", job_for(), HOUR, NOW)
    assert ended(executor).endswith("was: started by itself")


def test_a_result_that_was_there_before_the_template_was_killed_counts(warmth: Warmth) -> None:
    code = """
write('{"kind": "failed", "message": "done"}')
os.kill(os.getppid(), 9)
time.sleep(60)
"""
    executor = warmth.executor(
        "from retrain_daemon.worker.lifeline import die_with_parent; die_with_parent(os.environ['RETRAIND_PARENT'])"
        + code
    )
    executor.start("j", job_for(), HOUR, NOW)
    assert ended(executor) == "done"


def test_a_killed_daemon_takes_its_template_and_the_workers_along(tmp_path: Path) -> None:
    worker = """
import os, time
from pathlib import Path
from retrain_daemon.worker.lifeline import die_with_parent
die_with_parent(os.environ["RETRAIND_PARENT"])
Path("new").write_text(f"{os.getpid()} {os.getppid()}")
Path("new").rename("pids")
time.sleep(60)
"""
    daemon = f"""
import os, sys, time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from retrain_daemon.executor.jobs import ProcessExecutor
from retrain_daemon.executor.limits import Limits
from retrain_daemon.executor.templates import Templates
from tests.shell.test_executor import job_for
jobs = Path({str(tmp_path / "jobs")!r})
templates = Templates(jobs, timedelta(minutes=5), {worker_code(TEMPLATE.format(code=worker))!r})
executor = ProcessExecutor(jobs, lambda: None, ("/no/such/program",), templates=templates)
executor.start("j", job_for(), Limits(timedelta(hours=1)), datetime.now(UTC))
while not (jobs / "j/pids").exists():
    time.sleep(0.01)
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", daemon], check=False, timeout=60, cwd=Path(__file__).parents[2])
    pids = [int(text) for text in (tmp_path / "jobs/j/pids").read_text().split()]
    eventually(lambda: not any(alive(pid) for pid in pids))


def test_a_template_that_an_earlier_daemon_left_is_ended(warmth: Warmth) -> None:
    executor = warmth.executor("write(str(os.getpid()), 'pid'); time.sleep(60)")
    executor.start("j", job_for(), HOUR, NOW)
    assert alive(warmth.pid("j"))
    [template] = executor._templates._open.values()
    other = Templates(warmth.folder.with_name("jobs-of-another"), KEEP)
    other.sweep()
    assert template.alive
    Templates(warmth.folder, None).sweep()
    assert not template.alive


def test_a_template_that_cannot_begin_leaves_jobs_to_start_by_themselves(warmth: Warmth) -> None:
    executor = warmth.with_template(worker_code("raise ImportError('broken')"), worker_code("print('cold')"))
    executor.start("j", job_for(), HOUR, NOW)
    assert ended(executor).endswith("was: cold")
    executor.start("k", job_for(), HOUR, NOW)
    assert ended(executor, "k").endswith("was: cold")


def test_a_job_stopped_while_the_template_imports_never_begins(warmth: Warmth) -> None:
    slow = "import time, pathlib\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)\n"
    code = WRITE + "(folder.parent / ('began-' + folder.name)).touch()"
    executor = warmth.with_template(worker_code(slow + TEMPLATE.format(code=code)), worker_code(""))
    executor.start("j", job_for(), HOUR, NOW)
    executor.stop("j")
    assert executor.look("j") is None
    executor.start("k", job_for(), HOUR, NOW)
    (warmth.folder / "go").touch()
    assert "without a result" in ended(executor, "k")
    assert (warmth.folder / "began-k").exists()
    assert not (warmth.folder / "began-j").exists()


def test_a_time_limit_holds_while_the_template_imports(warmth: Warmth) -> None:
    executor = warmth.with_template(
        worker_code("import time; time.sleep(60)"), worker_code("import time; time.sleep(60)")
    )
    executor.start("j", job_for(), Limits(timedelta(seconds=0.5)), NOW)
    assert ended(executor) == "the worker ran past its time limit of 0.5s"


# How long a template lives, and which one a model gets.


@pytest.fixture
def templates(tmp_path: Path) -> Iterator[Templates]:
    made = Templates(tmp_path / "jobs", KEEP, worker_code(TEMPLATE.format(code="pass")))
    yield made
    made.close()


def lent(templates: Templates, model: str, now: datetime = NOW) -> Template:
    template = templates.lend(model, now)
    assert template is not None
    return template


def reported(flavor: str) -> DropsInspected:
    return DropsInspected(reports=(), flavor=flavor)


def test_a_template_is_closed_when_nothing_used_it_for_a_while(templates: Templates) -> None:
    templates.expect("churn", NOW)
    assert templates.close_unused(NOW) == NOW + KEEP
    assert templates.close_unused(NOW + KEEP / 2) == NOW + KEEP
    template = lent(templates, "churn", NOW)
    assert templates.close_unused(NOW + KEEP * 2) == NOW + KEEP * 3  # a job runs on it
    assert template.alive
    template.give_back()
    assert templates.close_unused(NOW + KEEP * 3) is None
    assert not template.alive


def test_without_keeping_anything_warm_there_is_no_template(tmp_path: Path) -> None:
    templates = Templates(tmp_path, None)
    templates.expect("churn", NOW)
    assert templates.lend("churn", NOW) is None
    assert templates.close_unused(NOW) is None


def test_a_model_gets_the_template_of_its_framework_once_a_worker_reported_it(templates: Templates) -> None:
    assert lent(templates, "digits").kind == "sklearn"
    templates.note("digits", reported("pytorch"))
    templates.note("images", reported("tensorflow"))
    templates.note("other", reported("xgboost"))
    kinds = [lent(templates, model).kind for model in ("digits", "images", "other", "new")]
    assert kinds == ["torch", "keras", "sklearn", "sklearn"]


def test_after_packages_changed_no_worker_is_forked_from_what_was_imported_before(
    templates: Templates, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lent(templates, "churn")
    monkeypatch.setattr(warm, "installed", lambda: "something newer")
    assert templates.lend("churn", NOW) is None  # a job still runs on the old one
    before.give_back()
    after = lent(templates, "churn")
    assert after is not before
    assert not before.alive
    assert after.alive


def test_an_installed_package_and_a_changed_file_of_this_project_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", ["/working/directory", str(tmp_path)])
    monkeypatch.setattr(warm.retrain_daemon, "__file__", str(tmp_path / "project/__init__.py"))
    (tmp_path / "project/worker").mkdir(parents=True)
    (tmp_path / "project/worker/training.py").write_text("old")
    stamps = [warm.installed()]
    assert warm.installed() == stamps[0]
    os.utime(tmp_path / "project/worker/training.py", ns=(1, 1))
    stamps.append(warm.installed())
    os.utime(tmp_path, ns=(1, 1))
    (tmp_path / "something-1.0.dist-info").mkdir()
    stamps.append(warm.installed())
    assert len(set(stamps)) == 3


def test_a_lost_template_is_not_opened_again_at_once(templates: Templates) -> None:
    template = lent(templates, "churn")
    os.kill(template._process.pid, signal.SIGKILL)
    eventually(lambda: not template.alive)
    assert templates.lend("churn", NOW) is None
    assert templates.lend("churn", NOW + timedelta(minutes=11)) is not None


# The real templates and the real worker.


@dataclass
class Digits:
    """The demo's champion of one framework, and jobs for it."""

    folder: Path
    model: str

    def __post_init__(self) -> None:
        self.uri = f"sqlite:///{self.folder}/mlflow.db"
        module = [sys.executable, "-m", "retrain_daemon.worker.digits", str(self.folder), self.uri]
        ours = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        for words in ([], [self.model]):
            subprocess.run([*module, *words], check=True, capture_output=True, timeout=170, env=ours)
        text = policy_text(self.model, self.folder)
        (self.folder / "policy.yaml").write_text(text)
        [self.policy] = read_policies(self.folder / "policy.yaml").policies

    @property
    def source(self) -> Source:
        return Source(tracking_uri=self.uri, registry_uri=self.uri, model=self.model, version=1)

    @property
    def file(self) -> DropFile:
        return DropFile(drop=1, path=str(self.folder / "monday.csv"), first_seen=NOW)

    def inspection(self) -> InspectDrops:
        return InspectDrops(
            source=self.source, data=self.policy.data, files=(self.file,), known_rows=(), needs_framework=True,
            rows_folder=str(self.folder),
        )  # fmt: skip

    def training(self) -> Train:
        return Train(
            attempt=f"{self.model}-1", key="test/1", source=self.source, data=self.policy.data,
            recipe=self.policy.rules[0].recipe, drops=(self.file,), learned=(), unknown_until=None,
            learned_file=str(self.folder / "learned.npy"), kept_folder=str(self.folder / "kept" / uuid4().hex),
            metrics=("accuracy", "log_loss"), confidence=0.95, min_rows=20, now=NOW, seed=3, policy_text="",
            experiment="retraind/digits", tags={},
        )  # fmt: skip


@pytest.fixture(scope="module", params=["sklearn", "keras", "torch"])
def digits(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Digits:
    package = {"keras": "tensorflow"}.get(request.param, request.param)
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return Digits(tmp_path_factory.mktemp("digits"), f"digits-{request.param}")


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[[timedelta | None], ProcessExecutor]]:
    made = []

    def executor(keep: timedelta | None) -> ProcessExecutor:
        jobs = tmp_path / f"jobs-{len(made)}"
        made.append(ProcessExecutor(jobs, lambda: None, templates=Templates(jobs, keep, also=OWN_STORES)))
        return made[-1]

    yield executor
    for each in made:
        each.close()


def result_of(executor: ProcessExecutor, key: str, job: Job) -> Any:
    executor.start(key, job, HOUR, NOW)
    eventually(lambda: not isinstance(executor.look(key), Running), within=160)
    look = executor.look(key)
    assert isinstance(look, Ended)
    return look.result


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_forked_worker_gives_the_same_results_as_a_started_one_time_after_time(
    digits: Digits, running: Callable[[timedelta | None], ProcessExecutor]
) -> None:
    started, forked = running(None), running(KEEP)
    inspected = result_of(forked, "inspect", digits.inspection())
    assert inspected == result_of(started, "inspect", digits.inspection())
    assert inspected.flavor == {"torch": "pytorch"}.get(digits.model.partition("-")[2], digits.model.partition("-")[2])
    expected = _lasting(result_of(started, "train", digits.training()))
    for number in range(3):
        assert _lasting(result_of(forked, f"train-{number}", digits.training())) == expected
    templates = list(forked._templates._open.values())
    assert templates
    assert all(template.alive for template in templates)
    for template in templates:  # the worker's own threads are not counted: these are the libraries', since the import
        assert threads_of(template._process.pid) <= 4


@pytest.mark.slow
def test_two_trainings_at_once_come_to_their_ends(
    digits: Digits, running: Callable[[timedelta | None], ProcessExecutor]
) -> None:
    executor = running(KEEP)
    executor._templates.note(digits.model, reported("keras" if "keras" in digits.model else "pytorch"))
    for key in ("a", "b"):
        executor.start(key, digits.training(), HOUR, NOW)
    for key in ("a", "b"):
        eventually(lambda key=key: not isinstance(executor.look(key), Running), within=160)  # type: ignore[misc]
        look = executor.look(key)
        assert isinstance(look, Ended)
        assert isinstance(look.result, Trained)


@pytest.mark.slow
def test_a_forked_training_is_ended_at_its_limits(
    digits: Digits, running: Callable[[timedelta | None], ProcessExecutor]
) -> None:
    executor = running(KEEP)
    result_of(executor, "inspect", digits.inspection())
    limits = Limits(timedelta(hours=1), memory=2**20)
    executor.start("train", digits.training(), limits, NOW)
    eventually(lambda: not isinstance(executor.look("train"), Running), within=160)
    look = executor.look("train")
    assert isinstance(look, Ended)
    assert isinstance(look.result, Failed)
    assert "its limit is 1 MiB" in look.result.message


def _lasting(result: Any) -> Trained:
    """Without what differs from run to run."""
    assert isinstance(result, Trained), result
    challenger = replace(result.challenger, run_id="", model_uri="", digest="")
    evidence = replace(result.evidence, challenger_digest="", champion_digest="")
    return replace(result, challenger=challenger, evidence=evidence, seconds=0.0)
