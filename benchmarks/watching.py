"""What watching costs: reaction, idling, polling and scanning, with one folder and with a thousand.

`python benchmarks/watching.py` prints each figure with its budget. See benchmarks/README.md for how to read it.
"""

from __future__ import annotations

import argparse
import json
import logging
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.box import HERE, Box, started
from benchmarks.idle import leave_alone
from benchmarks.reaction import react
from retrain_daemon.core.policy import Completion
from retrain_daemon.drops import DropFolders, Watched
from retrain_daemon.registry import MlflowRegistry

REACTION_BUDGET, IDLE_BUDGET, MEMORY_BUDGET = 0.15, 0.001, 250.0
FOLDERS, FILES = 1000, 100_000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--idle", type=float, default=120, metavar="SECONDS", help="how long each idle daemon is watched"
    )
    parser.add_argument("--reactions", type=int, default=10, help="drops at each scale")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    print(f"{'figure':<58}{'allowed':>10}{'seen':>10}")
    for models in (1, FOLDERS):
        _reaction(models, asked.reactions if models > 1 else 1)
    with tempfile.TemporaryDirectory() as name, _registry(Path(name)) as uri:
        _poll(uri)
        for models in (1, FOLDERS):
            _idle(Path(name), uri, models, asked.idle)
    with tempfile.TemporaryDirectory() as name:
        _scan(Path(name))
    return 0


def _reaction(models: int, times: int) -> None:
    """With one model a second promotion needs no other folder, so it is made in a box of its own each time."""
    seen: list[float] = []
    for _ in range(5 if models == 1 else 1):
        with tempfile.TemporaryDirectory() as name:
            seen += react(Path(name), models, times)
    _row(f"daemon's share of a reaction, s, folders: {models}", REACTION_BUDGET, median(seen), "{:.3f}")
    _row(f"  the slowest of {len(seen)}", REACTION_BUDGET, max(seen), "{:.3f}")


def _poll(uri: str) -> None:
    registry = MlflowRegistry(uri)
    names = [f"idle-{number}" for number in range(FOLDERS)]
    registry.models(names)
    before, cpu = _searches(uri), time.process_time()
    registry.models(names)
    cpu = time.process_time() - cpu
    _row(f"requests for a poll of {FOLDERS} models", 1, _searches(uri) - before, "{:.0f}")
    _row("  CPU ms where nothing changed", None, cpu * 1000, "{:.1f}")


def _idle(folder: Path, uri: str, models: int, seconds: float) -> None:
    seen = leave_alone(Box(folder, uri), [f"idle-{number}" for number in range(models)], seconds)
    _row(f"idle CPU, % of a core, folders: {models}", IDLE_BUDGET * 100, seen.share * 100, "{:.3f}")
    _row(f"idle PSS, MB, folders: {models}", MEMORY_BUDGET, seen.memory / 1e6, "{:.0f}")


def _scan(folder: Path) -> None:
    """Files in a thousand folders: all of them new, then all known, then told by the listing alone."""
    watched = [Watched(f"m{at}", str(folder / f"m{at}"), "*.csv", Completion(timedelta(0))) for at in range(FOLDERS)]
    for one in watched:
        Path(one.folder).mkdir()
        for number in range(FILES // FOLDERS):
            Path(one.folder, f"{number:03}.csv").write_text("1")
    drops, now = DropFolders(lambda: None), datetime.now(UTC)
    drops.watch(watched)
    known = {}
    begun = time.process_time()
    for one in watched:
        known[one.model] = {found.path: found.stamp for found in drops.scan(one, {}, now).found}
    _row(f"CPU s, {FILES} new files found", None, time.process_time() - begun, "{:.2f}")
    assert sum(map(len, known.values())) == FILES
    begun = time.process_time()
    for one in watched:
        drops.scan(one, known[one.model], now)
    _row("  known files compared with the journal's", None, time.process_time() - begun, "{:.2f}")
    begun = time.process_time()
    assert all(map(drops.is_unchanged, watched))
    _row("  folders seen to be unchanged", None, time.process_time() - begun, "{:.2f}")
    drops.close()


@contextmanager
def _registry(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    uri = f"http://127.0.0.1:{port}"
    command = [sys.executable, str(HERE / "registry_server.py"), str(port)]
    with (folder / "registry.log").open("wb") as log, started(command, {}, log):
        _await(uri)
        yield uri


def _await(uri: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            _searches(uri)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _searches(uri: str) -> int:
    with urllib.request.urlopen(f"{uri}/count") as answer:
        return int(json.load(answer)["searches"])


def _row(figure: str, allowed: float | None, seen: float, form: str) -> None:
    verdict = "" if allowed is None else "within" if seen <= allowed else "over"
    limit = "" if allowed is None else form.format(allowed)
    print(f"{figure:<58}{limit:>10}{form.format(seen):>10}  {verdict}".rstrip(), flush=True)


if __name__ == "__main__":
    sys.exit(main())
