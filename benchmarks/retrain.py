"""What a retrain by the daemon costs beside a script written by hand, and what the daemon costs when nothing happens.

`python benchmarks/retrain.py` prints both, with the budgets beside. See benchmarks/README.md for how to read it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.box import BenchmarkFailed, Box
from benchmarks.consumption import tree
from benchmarks.contest import BARE, CONTESTANTS, DAEMON, FIRST, Contest, Measured
from benchmarks.idle import Idle, leave_alone
from tests.mlflow_server import running_server

#: Shares of what the bare script takes.
WALL_BUDGET, CPU_BUDGET = 1 / 3, 1 / 4
#: For an idle daemon with all its processes: share of a core, and bytes.
IDLE_BUDGET, MEMORY_BUDGET = 0.001, 250e6

Line = Sequence[str]


def main() -> int:
    asked = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with tempfile.TemporaryDirectory(prefix="retraind-benchmark-") as name:
            _measure(Path(name), asked)
    except KeyboardInterrupt:
        print("interrupted; everything that was started is ended", file=sys.stderr)
        return 128 + signal.SIGINT
    except BenchmarkFailed as failure:
        print(f"benchmark: {failure}", file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3, help="retrains of each contestant; 0 leaves them out")
    parser.add_argument("--idle", type=float, default=60, metavar="SECONDS",
                        help="how long each idle daemon is watched; 0 leaves this out")  # fmt: skip
    parser.add_argument("--folders", type=int, nargs="+", default=[1, 100], help="scales at which idling is measured")
    asked = parser.parse_args()
    if asked.repeat < 0 or asked.idle < 0 or min(asked.folders) < 1:
        parser.error("--repeat and --idle cannot be below 0, --folders not below 1")
    return asked


def _measure(folder: Path, asked: argparse.Namespace) -> None:
    _say("starting an MLflow server and registering champions")
    before = set(tree(os.getpid()))
    with running_server(folder) as tracking_uri:
        server = next(pid for pid in tree(os.getpid()) if pid not in before)
        box = Box(folder, tracking_uri)
        contest = Contest(box, server, asked.repeat)
        idlers = [f"idle-{number}" for number in range(max(asked.folders) if asked.idle else 0)]
        box.prepare(asked.repeat, [*contest.scripted_models, *idlers], contest.watched_models)
        budgets = _retrain(contest) if asked.repeat else []
        if asked.idle:
            budgets += _idle([_one_idle(box, idlers[:count], asked.idle) for count in asked.folders])
    print()
    _table([("budget", "allowed", "seen", ""), *budgets])


def _retrain(contest: Contest) -> list[Line]:
    """Run the contest, print its table, return the lines about its budgets."""
    _say("adopting the daemon's champions and starting it")
    seen: dict[str, list[Measured]] = {who: [] for who in CONTESTANTS}
    for who, measured in contest.hold():
        seen[who].append(measured)
        _say(f"{who}: {measured.wall:.2f} s, {measured.cpu:.2f} CPU s")
    walls = {who: _ratios([each.wall for each in seen[who]], [each.wall for each in seen[BARE]]) for who in seen}
    cpus = {who: _ratios([each.cpu for each in seen[who]], [each.cpu for each in seen[BARE]]) for who in seen}
    print(f"\nOne retrain, median (min-max) of {contest.repetitions}; ratios are to the bare script, pair by pair\n")
    titles = ("", "wall s", "CPU s", "wall ratio", "CPU ratio", "largest process MB", "MLflow server CPU s")
    _table([titles, *((who, *_cells(seen[who], walls[who], cpus[who])) for who in CONTESTANTS)])
    lines: list[Line] = []
    for who in (DAEMON, FIRST):
        lines.append(_budget(f"wall time, {who} / bare script", WALL_BUDGET, median(walls[who]), "{:.2f}"))
        lines.append(_budget(f"CPU, {who} / bare script", CPU_BUDGET, median(cpus[who]), "{:.2f}"))
    return lines


def _ratios(these: list[float], bare: list[float]) -> list[float]:
    return [this / other for this, other in zip(these, bare, strict=True)]


def _cells(seen: list[Measured], walls: list[float], cpus: list[float]) -> Line:
    return (
        _spread([each.wall for each in seen], "{:.2f}"),
        _spread([each.cpu for each in seen], "{:.2f}"),
        _spread(walls, "{:.2f}"),
        _spread(cpus, "{:.2f}"),
        _spread([each.peak / 1e6 for each in seen], "{:.0f}"),
        _spread([each.server_cpu for each in seen], "{:.2f}"),
    )


def _spread(values: list[float], form: str) -> str:
    middle, low, high = (form.format(value) for value in (median(values), min(values), max(values)))
    return f"{middle} ({low}-{high})"


def _one_idle(box: Box, models: Sequence[str], seconds: float) -> Idle:
    _say(f"a daemon is left alone for {seconds:g} s, watched folders: {len(models)}")
    return leave_alone(box, models, seconds)


def _idle(seen: list[Idle]) -> list[Line]:
    """Print what idling cost, return the lines about its budgets."""
    print("\nAn idle daemon, all its processes\n")
    titles = ("watched folders", "CPU % of a core", "PSS MB", "processes")
    cells = [
        (str(each.folders), f"{each.share:.3%}".rstrip("%"), f"{each.memory / 1e6:.0f}", str(each.processes))
        for each in seen
    ]
    _table([titles, *cells])
    lines: list[Line] = []
    for each in seen:
        lines.append(_budget(f"idle CPU, folders: {each.folders}", IDLE_BUDGET, each.share, "{:.3%}"))
        lines.append(_budget(f"idle PSS MB, folders: {each.folders}", MEMORY_BUDGET / 1e6, each.memory / 1e6, "{:.0f}"))
    return lines


def _budget(name: str, allowed: float, seen: float, form: str) -> Line:
    return (name, form.format(allowed), form.format(seen), "within" if seen <= allowed else "over")


def _table(lines: Sequence[Line]) -> None:
    """Columns as wide as their widest cell; the first line is the titles."""
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _say(what: str) -> None:
    print(f"... {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
