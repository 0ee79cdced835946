"""Reading, hashing, splitting and profiling of data, beside the plain readers, and how each grows.

`.venv/bin/python benchmarks/data.py [--rows 40000]`. Everything lies in a temporary folder; one thread, warm cache.
Times are CPU seconds, so that what else runs on the machine counts little.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet

from retrain_daemon.core.policy import DataSpec, Target
from retrain_daemon.worker.columns import cast
from retrain_daemon.worker.features import Counted
from retrain_daemon.worker.files import fingerprint, read_pieces
from retrain_daemon.worker.job import DropFile
from retrain_daemon.worker.row_reading import read_rows
from retrain_daemon.worker.rows import judges, unit_keys
from retrain_daemon.worker.schema import Column, Schema

NUMBERS = 20
NOW = pd.Timestamp("2026-01-01", tz="UTC").to_pydatetime()
SPEC = DataSpec(folder="/drops", pattern="*", target=Target("label"))
KINDS = (".csv", ".csv.gz", ".jsonl", ".parquet", ".arrow", ".feather", ".npz")
PLAIN: dict[str, Callable[[Path, list[str]], object]] = {
    ".csv": lambda path, columns: pd.read_csv(path, usecols=columns),
    ".csv.gz": lambda path, columns: pd.read_csv(path, usecols=columns),
    ".jsonl": lambda path, columns: pd.read_json(path, lines=True)[columns],
    ".parquet": lambda path, columns: pd.read_parquet(path, columns=columns, use_threads=False),
    ".arrow": lambda path, columns: pa.ipc.open_file(pa.OSFile(str(path))).read_all().select(columns).to_pandas(),
    ".feather": lambda path, columns: pd.read_feather(path, columns=columns, use_threads=False),
    ".npz": lambda path, columns: {name: array.copy() for name, array in np.load(path).items()},
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=40_000, help="rows of the smallest data")
    parser.add_argument("--peak", nargs=2, metavar=("FILE", "COLUMNS"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.peak:
        return _print_peak(Path(asked.peak[0]), int(asked.peak[1]))
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} CPUs; CPU seconds, best of 3; ratio: ours / plain reader\n")
    with tempfile.TemporaryDirectory(prefix="retraind-data-") as name:
        folder = Path(name)
        _kinds(folder, asked.rows)
        _steps(folder, asked.rows)
        _growth(folder, asked.rows)
    return 0


def _kinds(folder: Path, rows: int) -> None:
    """Each kind of file: reading and casting the model's columns, as inspections do, beside the plain reader."""
    print(f"{rows:,} rows, {NUMBERS} numbers, 2 texts, label\n")
    print(
        f"{'kind':10} {'MB':>7} {'rows/s':>10} {'MB/s':>7} {'plain rows/s':>13} {'ratio':>6} {'inspection rows/s':>18}"
    )
    frame, schema = _frame(rows, NUMBERS), _schema(NUMBERS)
    columns = [*schema.names, "label"]
    for kind in KINDS:
        path = write(folder / f"kind{kind}", frame)
        plain = _seconds(partial(PLAIN[kind], path, columns))
        read = _seconds(partial(_read, path, schema))
        whole = _seconds(partial(_inspected, path, schema))
        size = path.stat().st_size / 1e6
        print(
            f"{kind:10} {size:7.1f} {rows / read:10,.0f} {size / read:7.0f} {rows / plain:13,.0f} {read / plain:6.2f} "
            f"{rows / whole:18,.0f}",
            flush=True,
        )


def _steps(folder: Path, rows: int) -> None:
    """What is done with a file and its rows besides reading them."""
    frame, schema = _frame(rows, NUMBERS), _schema(NUMBERS)
    path = write(folder / "steps.csv", frame)
    features = cast(frame, schema)
    keys = unit_keys(features, schema.names)
    size = path.stat().st_size / 1e6
    ours, plain = _seconds(lambda: fingerprint(str(path))), _seconds(lambda: hashlib.sha256(path.read_bytes()))
    print(f"\n{'step':26} {'rows/s':>12} {'MB/s':>7} {'ratio':>6}")
    print(f"{'fingerprint of the csv':26} {rows / ours:12,.0f} {size / ours:7.0f} {ours / plain:6.2f}  beside sha256")
    hashed, pandas = _seconds(lambda: unit_keys(features, schema.names)), _seconds(lambda: _pandas_keys(features))
    print(
        f"{'keys of rows':26} {rows / hashed:12,.0f} {'':7} {hashed / pandas:6.2f}  beside pandas' hash_pandas_object"
    )
    print(f"{'sides of the split':26} {rows / _seconds(lambda: judges(keys, 0.2)):12,.0f}")
    print(f"{'profile':26} {rows / _seconds(lambda: _profiled(features, schema)):12,.0f}", flush=True)


def _growth(folder: Path, rows: int) -> None:
    """Seconds and peak memory of one inspection's reading as rows, columns and files grow."""
    print(f"\n{'grows':8} {'rows':>10} {'columns':>8} {'files':>6} {'seconds':>8} {'ratio':>6} {'peak MB':>8}")
    shapes = [("rows", rows * times, NUMBERS, 1) for times in (1, 4, 16)]
    shapes += [("columns", rows // 4, NUMBERS * times, 1) for times in (1, 4, 16)]
    shapes += [("files", rows // 16, NUMBERS, times) for times in (1, 4, 16)]
    first = {}
    for grows, each, numbers, files in shapes:
        paths = [folder / f"grows-{number}.parquet" for number in range(files)]
        for number, path in enumerate(paths):
            write(path, _frame(each, numbers, number))
        seconds, peak = _reading(folder, numbers)
        ratio = seconds / first.setdefault(grows, seconds)
        print(f"{grows:8} {each * files:10,} {numbers:8} {files:6} {seconds:8.2f} {ratio:6.2f} {peak:8.0f}", flush=True)
        for path in paths:
            path.unlink()


def _reading(folder: Path, numbers: int) -> tuple[float, float]:
    """Seconds and the peak resident memory in MB of a process that reads the growing files as an inspection does."""
    asked = [sys.executable, __file__, "--peak", str(folder), str(numbers)]
    said = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    seconds, peak = json.loads(said)
    return seconds, peak


def _print_peak(folder: Path, numbers: int) -> int:
    schema = _schema(numbers)
    started = time.process_time()
    for path in sorted(folder.glob("grows-*.parquet")):
        _inspected(path, schema)
    seconds = time.process_time() - started
    status = Path("/proc/self/status").read_text()  # ru_maxrss of a child begins with that of its parent
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    print(json.dumps([seconds, int(peak.split()[1]) / 1024]))
    return 0


def _seconds(work: Callable[[], object]) -> float:
    """The best of three."""
    best = float("inf")
    for _ in range(3):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def _read(path: Path, schema: Schema) -> None:
    """All pieces of the columns that the model takes, in its types."""
    for piece in read_pieces(str(path), [*schema.names, "label"]):
        cast(piece, schema)


def _inspected(path: Path, schema: Schema) -> object:
    return read_rows(DropFile(drop=1, path=str(path), first_seen=NOW), SPEC, schema, Counted)


def _pandas_keys(frame: pd.DataFrame) -> object:
    return pd.util.hash_pandas_object(frame, index=False)


def _profiled(features: pd.DataFrame, schema: Schema) -> object:
    from retrain_daemon.worker.profile import Profiler

    profiler = Profiler(schema)
    profiler.add(features)
    return profiler.result()


def _schema(numbers: int) -> Schema:
    kinds = [*((f"x_{place}", "double") for place in range(numbers)), ("city", "string"), ("note", "string")]
    return Schema(tuple(Column(name, kind) for name, kind in kinds), "long")


def _frame(rows: int, numbers: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(size=(rows, numbers)).round(6), columns=[f"x_{n}" for n in range(numbers)])
    cities = np.array(["Berlin", "Paris", "Rome", "Oslo"])[random.integers(0, 4, rows)]
    notes = np.char.add("note ", random.integers(0, rows, rows).astype(str))
    return frame.assign(city=cities, note=notes, label=random.integers(0, 2, rows))


def write(path: Path, frame: pd.DataFrame) -> Path:
    """The frame as the kind of file its name says."""
    match "".join(path.suffixes):
        case ".csv":
            frame.to_csv(path, index=False)
        case ".csv.gz":
            path.write_bytes(gzip.compress(frame.to_csv(index=False).encode(), 6))
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True, double_precision=15)
        case ".parquet":
            frame.to_parquet(path)
        case ".feather":
            pa.feather.write_feather(frame, str(path))
        case ".arrow":
            table = pa.Table.from_pandas(frame, preserve_index=False)
            with pa.ipc.new_file(path, table.schema) as writer:
                writer.write_table(table, max_chunksize=65_536)
        case ".npz":
            texts = {name: frame[name].to_numpy(dtype="U") for name in ("city", "note")}
            np.savez(
                path,
                x=np.ascontiguousarray(frame.filter(like="x_").to_numpy()),
                label=frame["label"].to_numpy(),
                **texts,
            )
    return path


if __name__ == "__main__":
    sys.exit(main())
