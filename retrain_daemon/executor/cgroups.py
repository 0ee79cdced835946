"""Control groups (version 2): one for each job, inside the part of the tree that was delegated to this process.

Under systemd a unit with Delegate=yes has such a part. Nothing outside it is ever written to. What a job is for, and
what holds where nothing is delegated, is not known here.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from retrain_daemon.executor.limits import Limits

#: Where the daemon itself moves: a group with members may not hand controllers down to groups inside it.
LEAF = "daemon"
#: What names of groups of jobs begin with.
JOB = "job-"
CONTROLLERS = ("memory", "pids", "cpu")
_PERIOD = 100_000  # microseconds, the kernel's default
_LEAST_QUOTA = 1_000  # below it the kernel refuses
_WEIGHT = 20  # of 100, which is the daemon's own
_LONGEST_NAME = 200
_SECONDS_TO_EMPTY = 5.0
_SHORT = 0.01


@dataclass(frozen=True)
class Tree:
    """A delegated part of the tree, and the controllers that hold for groups inside it."""

    root: Path
    controllers: frozenset[str]

    def make(self, key: str, limits: Limits) -> Group:
        """An empty group for one job, with its limits. Raises OSError."""
        group = Group(self.root / _name(key))
        group.remove()
        group.path.mkdir()
        for name, value in values(limits, self.controllers):
            group.write(name, value)
        if "memory" in self.controllers and limits.memory is not None:
            group.write_if_there("memory.swap.max", "0")  # else a worker over its limit would crawl, not end
            group.write_if_there("memory.oom.group", "1")
        return group

    def sweep(self) -> None:
        """End what an earlier life left in groups of jobs, and remove them."""
        for path in sorted(self.root.glob(f"{JOB}*")):
            Group(path).remove()


@dataclass(frozen=True)
class Group:
    """The group of one job. One that is gone has no processes and can be removed again."""

    path: Path

    def take_in(self, pid: int) -> None:
        """Move a process in, with all it will start; one that has ended is left out. Raises OSError."""
        with contextlib.suppress(ProcessLookupError):
            self.write("cgroup.procs", str(pid))

    def members(self) -> tuple[int, ...]:
        """Processes inside; zombies are not."""
        return tuple(int(line) for line in self._read("cgroup.procs").split())

    def out_of_memory_kills(self) -> int:
        """How many processes the kernel has ended here for lack of memory, as it counts them."""
        return _count(self._read("memory.events"), "oom_kill")

    def kill(self) -> None:
        """Kill everything inside at once, where the kernel can (from Linux 5.14 on)."""
        self.write_if_there("cgroup.kill", "1")

    def remove(self) -> None:
        """Kill what is inside, wait until it is gone, and remove the group. Raises OSError."""
        deadline = time.monotonic() + _SECONDS_TO_EMPTY
        while self.path.is_dir():
            try:
                self.kill()
                self.path.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_SHORT)

    def write(self, name: str, value: str) -> None:
        """Set one of the group's files. Raises OSError."""
        (self.path / name).write_text(value)

    def write_if_there(self, name: str, value: str) -> None:
        """Set one of the group's files that not every kernel has."""
        if (self.path / name).exists():
            self.write(name, value)

    def _read(self, name: str) -> str:
        try:
            return (self.path / name).read_text()
        except OSError:
            return ""


def values(limits: Limits, controllers: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """What goes into which file of a job's group. A worker counts less than the daemon where both want the CPU."""
    found: list[tuple[str, str]] = []
    if "memory" in controllers and limits.memory is not None:
        found.append(("memory.max", str(limits.memory)))
    if "pids" in controllers and limits.processes is not None:
        found.append(("pids.max", str(limits.processes)))
    if "cpu" in controllers:
        found.append(("cpu.weight", str(_WEIGHT)))
        if limits.cpus is not None:
            found.append(("cpu.max", f"{max(round(limits.cpus * _PERIOD), _LEAST_QUOTA)} {_PERIOD}"))
    return tuple(found)


def own_group(membership: str, mounts: str) -> Path | None:
    """The folder of this process's group, from the texts of /proc/self/cgroup and /proc/self/mountinfo."""
    inside = next((line[3:] for line in membership.splitlines() if line.startswith("0::/")), None)
    if inside is None:
        return None
    for line in mounts.splitlines():
        fields, _, kind = line.partition(" - ")
        _, _, _, root, point, *_ = fields.split()
        if kind.startswith("cgroup2 ") and (inside == root or inside.startswith(root.rstrip("/") + "/")):
            return Path(point) / inside.removeprefix(root).lstrip("/")
    return None


def find_own() -> Path | None:
    """The folder of this process's group; None without version 2."""
    try:
        return own_group(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())
    except OSError:
        return None


def is_delegated(group: Path) -> bool:
    """Whether systemd handed a group to its unit (from version 251 on it marks it so for everyone to see).

    That it can be written to is no sign: root may write everywhere.
    """
    for mark in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(group, mark) == b"1":
                return True
    return False


def take_over(group: Path, pid: int) -> Tree | None:
    """Move a process into a leaf of its delegated group and hand the controllers down to the groups of jobs beside it.

    None when that is not permitted. Controllers that are not there, or cannot be handed down, are not in the tree.
    """
    leaf = Group(group / LEAF)
    try:
        leaf.path.mkdir(exist_ok=True)
        leaf.take_in(pid)
    except OSError:
        with contextlib.suppress(OSError):
            leaf.path.rmdir()
        return None
    return Tree(group, frozenset(name for name in CONTROLLERS if _hand_down(group, name)))


def _hand_down(group: Path, controller: str) -> bool:
    """Whether a controller holds for groups inside; one at a time, as one that is refused would refuse all."""
    try:
        if controller not in (group / "cgroup.controllers").read_text().split():
            return False
        (group / "cgroup.subtree_control").write_text(f"+{controller}")
        return controller in (group / "cgroup.subtree_control").read_text().replace("+", "").split()
    except OSError:
        return False


def _name(key: str) -> str:
    """A key may be as long as a file's name may be, and JOB comes before it."""
    return JOB + (key if len(key) <= _LONGEST_NAME else sha256(key.encode()).hexdigest())


def _count(text: str, name: str) -> int:
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} ")), 0)
