"""What `retraind check` costs, beside an interpreter that does nothing: 200 policies, all of them different.

`.venv/bin/python benchmarks/checking.py [--repeat 5] [--files 200]`. Needs nothing and leaves nothing behind; takes
less than half a minute.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

BUDGET = 1.0
EXAMPLE = Path(__file__).parents[1] / "policies" / "bikes.yaml"
NOTHING = (sys.executable, "-c", "pass")
IMPORTS = (sys.executable, "-c", "import retrain_daemon.cli.main, retrain_daemon.cli.checking")


def main(argv: Sequence[str] | None = None) -> int:
    """Print wall and CPU seconds of the whole process, and both as multiples of an interpreter's start."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--files", type=int, default=200)
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), arguments.files)
        checked = (sys.executable, "-m", "retrain_daemon", "check", "--config", "/dev/null", folder)
        rows = {
            "interpreter alone": NOTHING,
            "imports of check": IMPORTS,
            f"check, {arguments.files} files": checked,
        }
        _print({name: _median([_measured(command) for _ in range(arguments.repeat)]) for name, command in rows.items()})
    return 0


def _write(folder: Path, files: int) -> None:
    """Policies whose rules are all different, so that none is compiled only once."""
    text = EXAMPLE.read_text()
    for number in range(files):
        own = text.replace("model: bikes", f"model: bikes-{number}").replace("5000", str(5000 + number))
        own = own.replace(">= 500\n", f">= {500 + number}\n").replace("> 40.0", f"> {40 + number}.0")
        (folder / f"bikes-{number}.yaml").write_text(own.replace("days(90)", f"days({90 + number})"))


def _measured(command: Sequence[str]) -> tuple[float, float]:
    """Seconds of the clock and of CPU that a command took."""
    before, begun = _children(), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun, _children() - before


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _median(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(wall for wall, _ in pairs), statistics.median(cpu for _, cpu in pairs)


def _print(figures: dict[str, tuple[float, float]]) -> None:
    _, base = next(iter(figures.values()))
    print(f"{'':24}{'wall s':>10}{'CPU s':>10}{'CPU ratio':>12}")
    for name, (wall, cpu) in figures.items():
        print(f"{name:24}{wall:>10.2f}{cpu:>10.2f}{cpu / base:>12.1f}")
    wall = list(figures.values())[-1][0]
    print(f"\nbudget: {BUDGET:.0f} s of the clock; seen: {wall:.2f} s ({'within' if wall <= BUDGET else 'over'})")


if __name__ == "__main__":
    sys.exit(main())
