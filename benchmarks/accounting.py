"""What exact accounting costs: bytes a row of what is kept of drops and versions, and the time of `retraind data`.

`.venv/bin/python benchmarks/accounting.py [--rows 100000 400000 1600000]`. Everything lies in a temporary folder; no
MLflow is needed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from retrain_daemon.core.policy import DataSpec, Target
from retrain_daemon.worker.dataset import read_window, split
from retrain_daemon.worker.inspection import inspect_drops
from retrain_daemon.worker.job import (
    AccountRows,
    DropFile,
    InspectDrops,
    Progress,
    Source,
    VersionRecord,
    read_result,
    write_job,
)
from retrain_daemon.worker.rows import save_keys
from retrain_daemon.worker.schema import Column, Schema

COLUMNS = 10
FILES = 4
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE = Source(tracking_uri="sqlite://", registry_uri="sqlite://", model="bench", version=None)
NAMES = tuple(f"x_{place}" for place in range(COLUMNS))
PLAIN = DataSpec(folder="/drops", pattern="*", target=Target("y"), features=NAMES)
SCHEMA = Schema(tuple(Column(name, "") for name in NAMES))
KINDS: dict[str, DataSpec] = {
    "neither": PLAIN,
    "row_id": DataSpec(**{**vars(PLAIN), "row_id": ("id",)}),
    "group": DataSpec(**{**vars(PLAIN), "group": "customer"}),
    "both": DataSpec(**{**vars(PLAIN), "row_id": ("id",), "group": "customer"}),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 400_000, 1_600_000])
    asked = parser.parse_args()
    names = ("inspect s", "account s", "list s", "peak MB", "rows", "units", "drop", "learned")
    print(f"{'policy names':12} {'rows':>9} " + " ".join(f"{name:>9}" for name in names))
    for rows in asked.rows:
        with tempfile.TemporaryDirectory(prefix="retraind-accounting-") as name:
            drops = _drops(Path(name), rows)
            for kind, spec in KINDS.items():
                folder = Path(name) / kind
                folder.mkdir()
                print(f"{kind:12} {rows:9,} " + _line(folder, spec, drops, rows), flush=True)
    return 0


def _drops(folder: Path, rows: int) -> tuple[DropFile, ...]:
    """Files of equal size; a tenth as many customers as rows."""
    made = []
    for number in range(FILES):
        random = np.random.default_rng(number)
        size = rows // FILES
        frame = pd.DataFrame(random.normal(size=(size, COLUMNS)), columns=list(NAMES))
        frame = frame.assign(y=random.integers(0, 2, size), id=np.arange(size) + number * size)
        frame["customer"] = frame["id"] // 10
        path = folder / f"{number}.parquet"
        frame.to_parquet(path)
        made.append(DropFile(drop=number + 1, path=str(path), first_seen=NOW))
    return tuple(made)


def _line(folder: Path, spec: DataSpec, drops: tuple[DropFile, ...], rows: int) -> str:
    job = InspectDrops(source=SOURCE, data=spec, files=drops, known_rows=(), rows_folder=str(folder))
    inspecting, _ = _timed(lambda: inspect_drops(job, _ignore))
    records, units = (sum(path.stat().st_size for path in folder.glob(f"*.{kind}.npy")) for kind in ("rows", "units"))
    window = read_window(drops, spec, SCHEMA, NOW)
    save_keys(folder / "learned.npy", split(window, spec, np.empty(0, dtype=np.uint64), None).training.learned_keys)
    learned = (folder / "learned.npy").stat().st_size
    versions = (VersionRecord(version=1, learned=(str(folder / "learned.npy"),)),)
    whole = AccountRows(source=SOURCE, data=spec, drops=drops, versions=versions, now=NOW)
    listing = AccountRows(
        source=SOURCE, data=spec, drops=drops, now=NOW, side="train", listing=str(folder / "train.csv")
    )
    accounting, peak = _worked(folder / "account", whole)
    listed, _ = _worked(folder / "list", listing)
    sizes = (records / rows, units / rows, (records + units) / rows, learned / rows)
    seconds = f"{inspecting:9.2f} {accounting:9.2f} {listed:9.2f} {peak:9.0f} "
    return seconds + " ".join(f"{size:9.2f}" for size in sizes)


def _timed(work: Callable[[], object]) -> tuple[float, object]:
    started = time.monotonic()
    done = work()
    return time.monotonic() - started, done


def _worked(folder: Path, job: AccountRows) -> tuple[float, float]:
    """Seconds and peak memory in MB of a worker that does the job, its start and imports included."""
    folder.mkdir()
    write_job(folder, job)
    started = time.monotonic()
    worker = subprocess.Popen([sys.executable, "-m", "retrain_daemon.worker", str(folder)])
    _, _, used = os.wait4(worker.pid, 0)
    result = read_result(folder)
    if result is None or result.kind != "rows_accounted":
        raise SystemExit(f"the account gave {result}")
    return time.monotonic() - started, used.ru_maxrss / 1024


def _ignore(_: Progress) -> None:
    """Nobody watches."""


if __name__ == "__main__":
    sys.exit(main())
