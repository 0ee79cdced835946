"""The worker as a process: a result for every job it can read, and an exit code the daemon understands."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from retrain_daemon import __version__
from retrain_daemon.core.policy import DataSpec, Target
from retrain_daemon.worker.__main__ import Reporter, main
from retrain_daemon.worker.job import (
    DropFile,
    DropsInspected,
    Failed,
    InspectDrops,
    Progress,
    RecordLearned,
    Source,
    read_progress,
    read_result,
    write_job,
)

SOURCE = Source(tracking_uri="sqlite://", registry_uri="sqlite://", model="churn", version=None)
SPEC = DataSpec(folder="/drops", pattern="*", target=Target("y"), features=("n",))


def inspection(folder: Path, path: Path, known: tuple[str, ...] = ()) -> InspectDrops:
    file = DropFile(drop=1, path=str(path), first_seen=datetime(2026, 11, 22, tzinfo=UTC))
    return InspectDrops(source=SOURCE, data=SPEC, files=(file,), known_rows=known, rows_folder=str(folder))


def started(folder: Path, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "retrain_daemon.worker", str(folder)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | environment)


@pytest.fixture
def in_process() -> object:
    """`main` sets a signal handler, which the test process must not keep."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
def test_a_job_is_done_in_a_process_of_its_own_without_loading_a_framework(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,y\n1,0\n2,1\n")
    write_job(tmp_path, inspection(tmp_path, tmp_path / "a.csv"))
    worker = started(tmp_path, RETRAIND_PARENT=str(os.getpid()), PYTHONVERBOSE="1")
    said = worker.communicate(timeout=60)[1]
    assert worker.returncode == 0
    result = read_result(tmp_path)
    assert isinstance(result, DropsInspected)
    assert result.reports[0].new == 2
    assert "import 'pandas'" in said
    assert not any(f"import '{framework}'" in said for framework in ("sklearn", "torch", "tensorflow", "mlflow"))


@pytest.mark.slow
def test_a_worker_whose_parent_is_gone_does_nothing(tmp_path: Path) -> None:
    write_job(tmp_path, inspection(tmp_path, tmp_path / "a.csv"))
    worker = started(tmp_path, RETRAIND_PARENT="1")
    worker.communicate(timeout=60)
    assert worker.returncode == 143
    assert read_result(tmp_path) is None


@pytest.mark.slow
@pytest.mark.parametrize(("stop", "code"), [(signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_stopped_worker_leaves_no_result(tmp_path: Path, stop: signal.Signals, code: int) -> None:
    fifo = tmp_path / "known.npy"
    os.mkfifo(fifo)  # reading the known rows waits here
    write_job(tmp_path, inspection(tmp_path, tmp_path / "a.csv", (str(fifo),)))
    worker = started(tmp_path)
    with fifo.open("wb"):  # opens when the worker has begun to read
        worker.send_signal(stop)
        worker.communicate(timeout=60)
    assert worker.returncode == code
    assert read_result(tmp_path) is None


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("content", [None, "", '{"kind": "paint"}', '{"version": "0.1.0", "job": {"kind": "paint"}}'])
def test_a_folder_without_a_readable_job_is_exit_code_2(
    tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "job.json").write_text(content)
    assert main([str(tmp_path)]) == 2
    assert "holds no readable job" in capsys.readouterr().err


@pytest.mark.usefixtures("in_process")
def test_a_job_of_another_version_is_refused_with_both_versions_and_the_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrain_daemon.worker.job.__version__", "9.9")
    write_job(tmp_path, inspection(tmp_path, tmp_path / "a.csv"))
    monkeypatch.undo()
    assert main([str(tmp_path)]) == 0
    result = read_result(tmp_path)
    assert isinstance(result, Failed)
    said = f"{sys.executable} has version {__version__} of retrain-daemon, the daemon is version 9.9."
    assert result.message == said


@pytest.mark.usefixtures("in_process")
def test_an_expected_failure_is_a_result_with_its_hint(tmp_path: Path) -> None:
    gone = RecordLearned(source=SOURCE, data=SPEC, paths=("/nowhere/at/all.csv",), learned_file=str(tmp_path / "l.npy"))
    write_job(tmp_path, gone)
    assert main([str(tmp_path)]) == 0
    result = read_result(tmp_path)
    assert isinstance(result, Failed)
    assert result.message == "There is no file of rows at '/nowhere/at/all.csv'."
    assert "pattern" in result.hint


@pytest.mark.usefixtures("in_process")
def test_an_unexpected_failure_names_the_phase_and_keeps_its_traceback_in_the_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text("n,y\n1,0\n")
    write_job(tmp_path, inspection(tmp_path / "absent", tmp_path / "a.csv"))
    assert main([str(tmp_path)]) == 0
    result = read_result(tmp_path)
    assert isinstance(result, Failed)
    assert result.message.startswith("FileNotFoundError while reading a.csv: ")
    assert re.fullmatch(r"Raised in \w+, /.+\.py line \d+\.", result.hint)
    assert not result.temporary
    assert "Traceback" in capsys.readouterr().err


def test_a_new_phase_is_told_at_once_and_steps_now_and_then(tmp_path: Path) -> None:
    tell = Reporter(tmp_path)
    for done in range(1000):
        tell(Progress(phase="training", done=done, total=1000))
    tell(Progress(phase="judging"))
    assert read_progress(tmp_path) == Progress(phase="judging")
