"""What one fleet file about a thousand models costs in a turn of the loop, beside a thousand policy files. The loop,
the journal on disk, drop folders and policies are the real ones; the registry is in memory and answers at once.
"""

from __future__ import annotations

import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import structlog

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from retrain_daemon.daemon import Daemon
from tests.fake_box import POLICY, FakeBox

MODELS, TURNS = 1000, 50


def main() -> int:
    """Print CPU milliseconds of turns: one with nothing new, with a poll, and with one model more in the registry."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print(f"CPU ms of a turn, {MODELS} models      nothing new  with a poll  one model more")
    for name, write in (("a file for each", _write_files), ("one fleet", _write_fleet)):
        with tempfile.TemporaryDirectory() as folder:
            box = FakeBox(Path(folder))
            write(box)
            for number in range(MODELS):
                _register(box, number)
            quiet, polled, more = _measured(box)
        print(f"{name:34s}{quiet:11.2f}{polled:13.2f}{more:16.2f}")
    return 0


def _write_files(box: FakeBox) -> None:
    (box.root / "policies" / "churn.yaml").unlink()
    for number in range(MODELS):
        text = POLICY.replace("model: churn", f"model: m{number}").format(folder=box.root / "drops" / f"m{number}")
        (box.root / "policies" / f"m{number}.yaml").write_text(text, "utf-8")


def _write_fleet(box: FakeBox) -> None:
    box.write_policy(POLICY.replace("model: churn", 'models: "m*"').format(folder=box.root / "drops" / "{model}"))


def _register(box: FakeBox, number: int) -> None:
    (box.root / "drops" / f"m{number}").mkdir()
    box.registry.create_version_by_hand(f"m{number}")
    box.registry.move_alias_by_hand(f"m{number}", "champion", 1)


def _measured(box: FakeBox) -> tuple[float, float, float]:
    with box.life() as daemon:
        for _ in range(3):
            daemon.turn()
        quiet = statistics.median(_cpu(daemon.turn) for _ in range(TURNS))
        polled = statistics.median(_cpu(lambda: _poll(daemon)) for _ in range(TURNS))
        _register(box, MODELS)
        return quiet, polled, _cpu(lambda: _poll(daemon))


def _poll(daemon: Daemon) -> None:
    daemon._polling.hurry()
    daemon.turn()


def _cpu(turn: Callable[[], None]) -> float:
    begun = time.process_time()
    turn()
    return 1000 * (time.process_time() - begun)


if __name__ == "__main__":
    sys.exit(main())
