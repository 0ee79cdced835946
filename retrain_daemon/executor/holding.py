"""Holding workers in: by which means each limit holds on this box, and one worker held by them.

A limit is the kernel's, in a control group of the job, where one is delegated; else it is watched, or as good as the
box allows. What a worker is for is not known here.
"""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from pathlib import Path

from retrain_daemon import processes
from retrain_daemon.executor import cgroups
from retrain_daemon.executor.limits import Limits, in_bytes

_EXPENDABLE = 300  # of 1000: as if a worker held 30 % of the box's memory more than it does
_ROUNDS = 3  # a process that starts another while it is moved is found by the next round


@dataclass(frozen=True)
class Means:
    """What this box offers: a delegated tree of control groups, and whether processes may be pinned to CPUs. Where no
    group says who comes first, workers are `nice` to other work.
    """

    tree: cgroups.Tree | None = None
    pins: bool = False
    nice: int = 10

    @property
    def controllers(self) -> frozenset[str]:
        """Which limits the kernel holds by groups."""
        return self.tree.controllers if self.tree else frozenset()

    def words(self) -> dict[str, str]:
        """By which means each limit holds, for the log."""
        elsewhere = "affinity" if self.pins else "threads"
        return {
            "memory": "cgroup" if "memory" in self.controllers else "watched",
            "processes": "cgroup" if "pids" in self.controllers else "watched",
            "cpus": "cgroup" if "cpu" in self.controllers else elsewhere,
            "ends": "cgroup" if self.tree else "session",
        }


#: Nothing is delegated: limits are watched.
WATCHED = Means()


def find_means(nice: int) -> Means:
    """What this process may use. It moves itself where a part of the tree of control groups is delegated to it, and
    ends what an earlier life left there.
    """
    own = cgroups.find_own()
    tree = cgroups.take_over(own, os.getpid()) if own is not None and cgroups.is_delegated(own) else None
    if tree is not None:
        tree.sweep()
    return Means(tree, may_pin(), nice)


def may_pin() -> bool:
    """Whether processes may be pinned to CPUs; a hardened unit forbids it."""
    try:
        os.sched_setaffinity(0, os.sched_getaffinity(0))
    except OSError:
        return False
    return True


class Held:
    """One worker that was just started, and all that descends from it."""

    def __init__(self, pid: int, mark: bytes, limits: Limits, means: Means, group: cgroups.Group | None) -> None:
        """Raises OSError when it cannot be put into its group."""
        self._family = processes.Family(pid, mark)
        self._limits = limits
        self._controllers = means.controllers
        self._group = group
        self._gather()
        _be_expendable(pid)
        if "cpu" not in self._controllers:
            _be_modest(pid, means.nice, limits.cpus if means.pins else None)

    def excess(self) -> str:
        """Which limit is broken, as a sentence without its end; "" when none is."""
        watched = {"memory": self._limits.memory, "pids": self._limits.processes}
        if all(limit is None or name in self._controllers for name, limit in watched.items()):
            return ""
        pids = self._members()
        return self._too_many(pids) or self._too_much(pids)

    def lack_of_memory(self) -> str:
        """That the kernel ended this very worker for its limit, as a sentence without its end; "" when it did not."""
        limit = self._limits.memory
        if limit is None or self._group is None or self._group.out_of_memory_kills() == 0:  # it counts two for one
            return ""
        return f"the kernel ended the worker for lack of memory: it may hold {in_bytes(limit)}"

    def end(self, grace: float) -> None:
        """Ask all to end, after `grace` seconds make them; returns when all are gone."""
        self._family.end(grace)
        if self._group is not None:
            processes.kill(self._group.members)

    def leave(self) -> None:
        """After the end: remove the group. Raises OSError."""
        if self._group is not None:
            self._group.remove()

    def _gather(self) -> None:
        """Into the group, with what was started meanwhile; what they start from then on is inside from birth."""
        if self._group is None:
            return
        for _ in range(_ROUNDS):
            for pid in set(self._family.members()) - set(self._group.members()):
                self._group.take_in(pid)

    def _members(self) -> tuple[int, ...]:
        inside = self._group.members() if self._group is not None else ()
        return tuple({*self._family.members(), *inside})

    def _too_many(self, pids: tuple[int, ...]) -> str:
        """RLIMIT_NPROC would count all processes of the user, the daemon's and other people's too."""
        limit = self._limits.processes
        if limit is None or "pids" in self._controllers or len(pids) <= limit:
            return ""
        return f"the worker had {len(pids)} processes, its limit is {limit}"

    def _too_much(self, pids: tuple[int, ...]) -> str:
        limit = self._limits.memory
        if limit is None or "memory" in self._controllers or (used := processes.memory(pids, limit)) <= limit:
            return ""
        return f"the worker used {in_bytes(used)} of memory, its limit is {in_bytes(limit)}"


def _be_expendable(pid: int) -> None:
    """Where the box runs out of memory the kernel ends workers before the daemon and its neighbours: they inherited how
    the service is spared, and a training can be started again.
    """
    with contextlib.suppress(OSError):  # it is over already
        inherited = int(Path("/proc/self/oom_score_adj").read_text())
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(max(inherited, _EXPENDABLE)))


def _be_modest(pid: int, nice: int, cpus: float | None) -> None:
    """Behind other work of the box, and on no more CPUs than allowed; what it starts inherits both."""
    with contextlib.suppress(OSError):  # it is over already, or the unit is hardened
        os.setpriority(os.PRIO_PROCESS, pid, nice)
    if cpus is None:
        return
    with contextlib.suppress(OSError):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(pid, pinned(allowed, math.ceil(cpus), pid))


def pinned(allowed: list[int], count: int, offset: int) -> set[int]:
    """`count` of the allowed CPUs. By `offset` workers side by side are not all pinned to the same ones."""
    return {allowed[(offset + each) % len(allowed)] for each in range(min(count, len(allowed)))}
