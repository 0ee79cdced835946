"""The files for systemd: sound, hardened, explained, and on board wherever the package is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.installing import FILES, PREFIX, install, steps
from retrain_daemon.errors import Refused
from retrain_daemon.settings import Settings, read_settings
from retrain_daemon.settings.credentials import MLFLOW_CREDENTIALS

ROOT = Path(__file__).parents[2]
NAMES = ("gpu.conf", "retraind.service", "retraind.toml", "sysusers.conf", "tmpfiles.conf")
#: Most exposure that is allowed, in tenths.
THRESHOLD = 11

needs_analyze = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit as it would be installed for this interpreter, so that its command exists."""
    path = tmp_path / "retraind.service"
    path.write_text((FILES / "retraind.service").read_text().replace(f"{PREFIX}/bin/", f"{sys.prefix}/bin/"))
    return path


def analyze(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)


@needs_analyze
@pytest.mark.parametrize("gpu", [False, True])
def test_systemd_has_nothing_to_say_against_the_unit(unit: Path, gpu: bool) -> None:
    if gpu:
        (unit.parent / "retraind.service.d").mkdir()
        shutil.copy(FILES / "gpu.conf", unit.parent / "retraind.service.d")
    said = analyze("verify", "--man=no", str(unit))
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


@needs_analyze
def test_the_unit_exposes_no_more_than_training_needs(unit: Path) -> None:
    said = analyze("security", "--offline=true", f"--threshold={THRESHOLD}", "--no-pager", str(unit))
    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize("name", NAMES)
def test_every_group_of_lines_is_explained(name: str) -> None:
    for group in re.split(r"\n\s*\n", (FILES / name).read_text().strip()):
        first = next(line for line in group.splitlines() if not re.fullmatch(r"\[\w+\]", line))
        assert first.startswith("#"), group


def test_a_unit_waits_for_what_the_daemon_says_and_for_its_turns() -> None:
    lines = (FILES / "retraind.service").read_text().splitlines()
    assert {"Type=notify", "NotifyAccess=main", "ExecReload=kill -HUP $MAINPID", "KillMode=mixed"} <= set(lines)
    assert any(line.startswith("WatchdogSec=") for line in lines)


def test_the_unit_leaves_time_outs_to_the_daemon_which_gives_workers_longer_ones() -> None:
    text = (FILES / "retraind.service").read_text()
    assert not re.search(r"^Environment=.*\bMLFLOW_HTTP", text, re.MULTILINE)


def test_the_credentials_the_unit_hands_over_are_those_the_daemon_reads() -> None:
    named = re.findall(r"^LoadCredential=([\w-]+):", (FILES / "retraind.service").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(MLFLOW_CREDENTIALS)


def test_the_settings_to_begin_with_are_accepted_and_find_the_units_folder() -> None:
    read = read_settings(FILES / "retraind.toml", {"HOME": "/home/ann"})
    assert read.state == Path("/var/lib/retraind")
    assert read.policies == FILES / "policies"


# in packages


def test_the_folder_beside_the_documentation_is_the_one_that_is_installed() -> None:
    assert (ROOT / "systemd").resolve() == FILES.resolve()
    assert sorted(path.name for path in FILES.iterdir()) == sorted(NAMES)


@pytest.mark.slow
def test_a_wheel_carries_the_files(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "retrain_daemon", source / "retrain_daemon", ignore=shutil.ignore_patterns("__pycache__"))
    build = "import setuptools.build_meta as build; build.build_wheel('..')"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("retrain_daemon/systemd/")}
    assert held == {f"retrain_daemon/systemd/{name}" for name in NAMES}


# `retraind install`

SETTINGS = Settings(tracking_uri="", registry_uri="", state=Path("/"), policies=Path("/"))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if this were an installation in /opt/retraind."""
    monkeypatch.setattr("retrain_daemon.cli.installing.FILES", PREFIX / "lib/retrain_daemon/systemd")
    monkeypatch.setattr("sys.prefix", str(PREFIX))
    monkeypatch.setattr("sys.base_prefix", "/usr")


def call(*, yes: bool = False) -> int:
    return install(Arguments(verb=install, yes=yes), SETTINGS)


@pytest.mark.usefixtures("installed")
def test_the_steps_are_shown_in_order_each_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert call() == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    shown = [lines[number + 1] for number, line in enumerate(lines) if line.startswith("# ")]
    assert shown == [step.line for step in steps(PREFIX)]
    order = ["sysusers.d", "systemd-sysusers", "tmpfiles.d", "systemd-tmpfiles", "retraind.toml", "retraind.service",
             "daemon-reload", "enable", "restart"]  # fmt: skip
    assert all(word in line for word, line in zip(order, shown, strict=True))
    assert "Nothing was done" in printed


def test_another_folder_is_written_into_the_unit(tmp_path: Path) -> None:
    (line,) = [step.line for step in steps(tmp_path) if "retraind.service" in step.line and "install" in step.line]
    here = line.replace("/etc/systemd/system/", f"{tmp_path}/")
    subprocess.run(["sh", "-c", here], check=True)
    assert f"ExecStart={tmp_path}/bin/retraind run" in (tmp_path / "retraind.service").read_text().splitlines()


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("place", ["/home/ann/venv", "/root/venv", "/tmp/venv"])
@pytest.mark.parametrize("which", ["prefix", "base_prefix"])
def test_a_python_that_the_service_would_not_see_is_refused(
    monkeypatch: pytest.MonkeyPatch, place: str, which: str
) -> None:
    monkeypatch.setattr(f"sys.{which}", place)
    with pytest.raises(Refused, match=rf"this Python is in {place}, and the service sees nothing of /\w+ .*/opt/retra"):
        call()


@pytest.mark.usefixtures("installed")
def test_a_path_that_a_unit_would_read_otherwise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.prefix", "/opt/my 100% venv")
    with pytest.raises(Refused, match="cannot be written into a unit"):
        call()


@pytest.mark.usefixtures("installed")
def test_nothing_is_done_without_root_or_without_systemd(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("retrain_daemon.cli.installing._SYSTEMD_RUNS", tmp_path / "absent")
    with pytest.raises(Refused, match="systemd does not run here"):
        call(yes=True)
    monkeypatch.setattr("retrain_daemon.cli.installing._SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(Refused, match="needs root"):
        call(yes=True)
    assert capsys.readouterr().out == ""
