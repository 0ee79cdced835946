"""What a daemon costs that is left alone: nothing is dropped, nobody asks, every champion is in place."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from benchmarks.box import Box, Watcher, until
from benchmarks.consumption import cpu_seconds, proportional_bytes, tree

#: The daemon counts as settled when it spent less than this share of a core over this many seconds.
QUIET_SHARE, QUIET_SECONDS = 0.02, 3.0


@dataclass(frozen=True, kw_only=True)
class Idle:
    """Watched folders, share of a core, PSS of all its processes in bytes, and how many processes these are."""

    folders: int
    share: float
    memory: int
    processes: int


def leave_alone(box: Box, models: Sequence[str], seconds: float) -> Idle:
    """Start a daemon that watches these models, each in a folder of its own, and measure it once it has settled."""
    watcher = Watcher(box, box.folder / f"idle-{len(models)}")
    watcher.watch(models)
    with watcher.daemon() as daemon, closing(watcher.journal()) as journal:
        until(lambda: len(journal.models.all()) == len(models), daemon, watcher.log)
        until(lambda: _share(daemon.pid, QUIET_SECONDS) < QUIET_SHARE, daemon, watcher.log)
        share = _share(daemon.pid, seconds)
        return Idle(
            folders=len(models),
            share=share,
            memory=proportional_bytes(daemon.pid),
            processes=len(tree(daemon.pid)),
        )


def _share(root: int, seconds: float) -> float:
    cpu, begun = cpu_seconds(root), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(root) - cpu) / (time.monotonic() - begun)
