"""A machine with a real systemd: a container booted from a small Debian, with this checkout under /opt/retraind.

Needs root, systemd-nspawn and debootstrap; `obstacle` says what is missing. The root file system is made once and kept
in `.cache`; each machine runs on a layer in memory above it and leaves nothing behind.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
CACHE = CHECKOUT / ".cache"
#: Where the daemon is installed in the machine, as the documentation has it.
PREFIX = "/opt/retraind"
#: The interpreter of the tests and all it has installed, in the machine.
PYTHON, PACKAGES = "/opt/python", "/opt/packages"
#: Where the tests can be imported from in the machine.
SOURCE = "/opt/source"
#: Where trees of control groups begin: the only one (version 2), or the two that systemd uses beside others.
GROUPS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/systemd"))
INCLUDE = "systemd,systemd-sysv,dbus,python3,procps,util-linux"
BOOTED_WITHIN = 60.0


def obstacle() -> str:
    """Why no machine can be booted here; "" where one can."""
    if os.geteuid() != 0:
        return "booting a machine needs root"
    missing = [name for name in ("systemd-nspawn", "nsenter", "apt-get") if shutil.which(name) is None]
    if not _rootfs().is_dir() and shutil.which("debootstrap") is None:
        missing.append("debootstrap")
    return f"not installed here: {', '.join(missing)}" if missing else ""


def root_file_system() -> Path:
    """The small Debian, made at the first call. Raises RuntimeError with the reason when it cannot be made."""
    made = _rootfs()
    if made.is_dir():
        return made
    CACHE.mkdir(exist_ok=True)
    part = CACHE / f"{made.name}.{os.getpid()}"
    command = ["debootstrap", "--variant=minbase", f"--include={INCLUDE}", _release(), str(part), _mirror()]
    done = subprocess.run(["timeout", "600", *command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        shutil.rmtree(part, ignore_errors=True)
        raise RuntimeError(f"debootstrap failed ({done.returncode}): {(done.stdout + done.stderr).strip()[-300:]}")
    part.rename(made)
    return made


def _rootfs() -> Path:
    return CACHE / f"rootfs-{_release()}"


def _release() -> str:
    """That of the host, so that the interpreter bound into the machine finds the libraries it was linked to."""
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "")


def _mirror() -> str:
    """Where the host itself gets its packages from."""
    listing = ["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"]
    lines = subprocess.run(listing, capture_output=True, text=True, check=False).stdout.splitlines()
    for line in lines:
        codename, component, address = line.split(maxsplit=2)
        if (codename, component) == (_release(), "main"):
            return address
    raise RuntimeError(f"the package sources of this host do not name {_release()} main")


class Machine:
    """A booted machine. `folder` is a directory of the host, seen as /srv/host inside."""

    def __init__(self, folder: Path, name: str = "retraind") -> None:
        self._folder = folder
        self._name = name
        self.shared = folder / "shared"
        self.shared.mkdir(parents=True)
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self._groups = [root / f"{name}-{os.getpid()}" for root in GROUPS if (root / "cgroup.procs").exists()]

    def boot(self) -> None:
        """Boot and return when the machine's systemd says it is ready. Raises RuntimeError when it does not."""
        rootfs = root_file_system()
        prefix = self._write_prefix()
        notify = self._folder / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            ready.bind(str(notify))
            ready.settimeout(BOOTED_WITHIN)
            with (self._folder / "console.log").open("wb") as console:
                self._nspawn = subprocess.Popen(
                    self._apart(self._command(rootfs, prefix)), stdin=subprocess.DEVNULL, stdout=console,
                    stderr=console, env=os.environ | {"NOTIFY_SOCKET": str(notify)}, start_new_session=True,
                )  # fmt: skip
            self._leader = _leader_told(ready, self._folder / "console.log")
        self.run("sh", "-c", f"echo {PYTHON}/lib > /etc/ld.so.conf.d/python.conf && ldconfig")

    def _command(self, rootfs: Path, prefix: Path) -> list[str]:
        bound = {
            prefix: PREFIX,
            Path(sys.base_prefix).resolve(): PYTHON,
            Path(sysconfig.get_path("purelib")): PACKAGES,
            CHECKOUT / "retrain_daemon": f"{_site(PREFIX)}/retrain_daemon",
            CHECKOUT / "tests": f"{SOURCE}/tests",
        }
        return [
            "systemd-nspawn", "--quiet", f"--directory={rootfs}", "--volatile=overlay", "--boot",
            "--notify-ready=yes", "--register=no", "--keep-unit", "--console=pipe", f"--machine={self._name}",
            "--resolv-conf=off", "--timezone=off", "--private-network",
            *(f"--bind-ro={outside}:{inside}" for outside, inside in bound.items()), f"--bind={self.shared}:/srv/host",
        ]  # fmt: skip

    def _apart(self, command: list[str]) -> list[str]:
        """In control groups of its own: the daemons of two machines would take each other's workers for leftovers."""
        for group in self._groups:
            group.mkdir(exist_ok=True)
        entering = "".join(f"echo $$ > {group}/cgroup.procs; " for group in self._groups)
        return ["sh", "-c", f'{entering}exec "$@"', "sh", *command]

    def _write_prefix(self) -> Path:
        """A virtual environment as one would be made under /opt/retraind: its paths are those inside."""
        prefix = self._folder / "prefix"
        site = Path(_site(str(prefix)))
        (site / "retrain_daemon").mkdir(parents=True)
        (prefix / "bin").mkdir()
        (prefix / "bin" / "python").symlink_to(f"{PYTHON}/bin/python{_VERSION}")
        (prefix / "pyvenv.cfg").write_text(f"home = {PYTHON}/bin\ninclude-system-site-packages = false\n")
        (site / "packages.pth").write_text(f"{PACKAGES}\n")
        script = prefix / "bin" / "retraind"
        script.write_text(
            f"#!{PREFIX}/bin/python\nfrom retrain_daemon.__main__ import main\nraise SystemExit(main())\n"
        )
        script.chmod(0o755)
        return prefix

    def run(self, *command: str, check: bool = True, timeout: float = 120.0) -> str:
        """Run a command in the machine as root; returns what it printed. Raises AssertionError when it fails."""
        done = self.try_run(*command, timeout=timeout)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Write a file in the machine, with the folders it needs."""
        (self.shared / "written").write_text(text, "utf-8")
        self.run("install", "-D", "-m", "0644", "/srv/host/written", path)

    def try_run(self, *command: str, timeout: float = 120.0) -> subprocess.CompletedProcess[str]:
        """The same, with exit code and whatever it printed."""
        enter = ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "--", "env", "-i",
                 "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]  # fmt: skip
        return subprocess.run(
            [*enter, *command], capture_output=True, text=True, check=False, timeout=timeout, stdin=subprocess.DEVNULL
        )

    def close(self) -> None:
        """Shut down; nothing of it is left."""
        if self._nspawn is None:
            return
        self._nspawn.terminate()
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            os.kill(self._leader, signal.SIGKILL)
            self._nspawn.wait(10)
        for group in self._groups:
            for folder, _, _ in os.walk(group, topdown=False):
                Path(folder).rmdir()


_VERSION = sysconfig.get_python_version()


def _site(prefix: str) -> str:
    return f"{prefix}/lib/python{_VERSION}/site-packages"


def _leader_told(ready: socket.socket, console: Path) -> int:
    """The process id, seen from here, of the machine's first process, once that is ready."""
    leader, deadline = 0, time.monotonic() + BOOTED_WITHIN
    while time.monotonic() < deadline:
        try:
            lines = ready.recv(4096).decode().splitlines()
        except TimeoutError:
            break
        leader = next(
            (int(line.partition("=")[2]) for line in lines if line.startswith("X_NSPAWN_LEADER_PID=")), leader
        )
        if "READY=1" in lines and leader:
            return leader
    raise RuntimeError(f"the machine did not boot: {console.read_text(errors='replace')[-1000:]}")
