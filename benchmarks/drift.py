"""How often drift is seen where there is none, how large a shift must be to be seen, and what a refit does to it.

`.venv/bin/python benchmarks/drift.py [--trials 200]`. Profiles and distances are the product's own, and in the last
table also its choice of what is compared with what. Takes less than two minutes on one core.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from retrain_daemon.core.attempts import State
from retrain_daemon.core.decide import Action, Decision
from retrain_daemon.core.policy import Claim, DataSpec, Policy, Promotion, Recipe, Requirement, Rule, Target
from retrain_daemon.drift_watch import DriftAsker
from retrain_daemon.journal import Journal
from retrain_daemon.journal.drift import REFERENCE_ROWS, Measurement
from retrain_daemon.journal.drops import Inspected
from retrain_daemon.log import configure
from retrain_daemon.worker.drift import bins_of, measure_drift
from retrain_daemon.worker.job import MeasureDrift, Source
from retrain_daemon.worker.profile import Profile, Profiler, save_profile
from retrain_daemon.worker.profile_joining import joined
from retrain_daemon.worker.schema import Column, Schema

THRESHOLDS = (0.1, 0.25)
SIZES = (1000, 2000, 5000, 20_000)
FILES = 2
Draw = Callable[[np.random.Generator, int], np.ndarray]


def words(kinds: int, first: int = 0) -> np.ndarray:
    return np.array([f"value {number:05d}" for number in range(first, first + kinds)], dtype=object)


def texts(kinds: int) -> Draw:
    named = words(kinds)
    return lambda made, rows: named[made.integers(0, kinds, rows)]


def long_tail(made: np.random.Generator, rows: int) -> np.ndarray:
    """Texts of which ever new ones come."""
    return np.array([f"value {number}" for number in made.zipf(1.6, rows).tolist()], dtype=object)


def unique(made: np.random.Generator, rows: int) -> np.ndarray:
    """Such as a customer's number as text."""
    return np.array([f"id {number}" for number in made.integers(0, 2**62, rows).tolist()], dtype=object)


def with_gaps(draw: Draw, share: float) -> Draw:
    def drawn(made: np.random.Generator, rows: int) -> np.ndarray:
        values = draw(made, rows)
        return np.where(made.random(rows) < share, np.nan, values)

    return drawn


def normal(made: np.random.Generator, rows: int) -> np.ndarray:
    return made.normal(size=rows)


def zeros(share: float) -> Draw:
    return lambda made, rows: np.where(made.random(rows) < share, 0.0, made.lognormal(0, 1.5, rows))


#: Columns without drift: what they are, and how they are drawn.
CALM: dict[str, Draw] = {
    "normal": normal,
    "heavy tails (Cauchy)": lambda made, rows: made.standard_cauchy(rows),
    "70 % zeros, else lognormal": zeros(0.7),
    "small counts (Poisson 0.5)": lambda made, rows: made.poisson(0.5, rows).astype(float),
    "yes or no, 2 % yes": lambda made, rows: (made.random(rows) < 0.02).astype(float),
    "30 % missing": with_gaps(normal, 0.3),
    "2 texts": texts(2),
    "20 texts": texts(20),
    "500 texts": texts(500),
    "ever new texts (Zipf 1.6)": long_tail,
    "each text once": unique,
}
#: Shifts: what it was, what it is from then on.
SHIFTS: dict[str, tuple[Draw, Draw]] = {
    "mean + 0.1 sd": (normal, lambda made, rows: made.normal(0.1, 1, rows)),
    "mean + 0.3 sd": (normal, lambda made, rows: made.normal(0.3, 1, rows)),
    "mean + 0.5 sd": (normal, lambda made, rows: made.normal(0.5, 1, rows)),
    "mean + 1 sd": (normal, lambda made, rows: made.normal(1, 1, rows)),
    "spread × 1.5": (normal, lambda made, rows: made.normal(0, 1.5, rows)),
    "missing 2 % → 10 %": (with_gaps(normal, 0.02), with_gaps(normal, 0.1)),
    "missing 2 % → 30 %": (with_gaps(normal, 0.02), with_gaps(normal, 0.3)),
    "zeros 70 % → 50 %": (zeros(0.7), zeros(0.5)),
    "a constant, 5 % others": (lambda made, rows: np.ones(rows), lambda made, rows: 1.0 + (made.random(rows) < 0.05)),
    "one of 20 texts 5 % → 15 %": (texts(20), lambda made, rows: mixed(made, rows, texts(20), texts(1), 0.105)),
    "5 % never seen among 20 texts": (texts(20), lambda made, rows: mixed(made, rows, texts(20), unique, 0.05)),
    "5 % never seen among 500 texts": (texts(500), lambda made, rows: mixed(made, rows, texts(500), unique, 0.05)),
    "500 texts, all others": (texts(500), lambda made, rows: words(500, 500)[made.integers(0, 500, rows)]),
}


def mixed(made: np.random.Generator, rows: int, one: Draw, other: Draw, share: float) -> np.ndarray:
    return np.where(made.random(rows) < share, other(made, rows), one(made, rows))


def profiled(frame: pd.DataFrame) -> Profile:
    profiler = Profiler(Schema(tuple(Column(str(name), "") for name in frame)))
    profiler.add(frame)
    return profiler.result()


def side(made: np.random.Generator, draws: dict[str, Draw], rows: int) -> Profile:
    """So many rows in some files of equal size."""
    sizes = [rows // FILES] * FILES
    return joined(profiled(pd.DataFrame({name: draw(made, size) for name, draw in draws.items()})) for size in sizes)


def distances(reference: Profile, new: Profile) -> dict[str, float]:
    return {name: bins.distance(new.columns[name]) for name, bins in bins_of(reference, new).items()}


def calm(trials: int) -> None:
    """No drift: each column alone, and the largest of 30 columns of all these kinds."""
    columns = {f"{number}": draw for number, draw in zip(range(30), [*CALM.values()] * 3, strict=False)}
    names = [*CALM] * 3
    seen: dict[str, dict[int, list[float]]] = {name: {size: [] for size in SIZES} for name in [*CALM, "30 columns"]}
    for size in SIZES:
        made = np.random.default_rng(size)
        for _ in range(trials if size < SIZES[-1] else trials // 4):
            found = distances(side(made, columns, max(REFERENCE_ROWS, size)), side(made, columns, size))
            for number, value in found.items():
                seen[names[int(number)]][size].append(value)
            seen["30 columns"][size].append(max(found.values()))
    print(
        f"No drift, {trials} times each ({trials // 4} with {SIZES[-1]:,}): mean (largest) distance, by how many rows"
    )
    print(f"are new; compared with as many, at least {REFERENCE_ROWS:,}\n")
    print(f"{'column':32}" + "".join(f"{size:>17,}" for size in SIZES))
    for name, sizes in seen.items():
        shown = (f"{np.mean(values):.3f} ({max(values):.3f})" for values in sizes.values())
        print(f"{name if name in CALM else 'farthest of 30 columns':32}" + "".join(f"{text:>17}" for text in shown))
    print("\nFalse alarms: measurements of 30 columns in which the farthest is above\n")
    for threshold in THRESHOLDS:
        counts = ((sum(each > threshold for each in found), len(found)) for found in seen["30 columns"].values())
        print(f"{threshold:<32}" + "".join(f"{f'{count} of {of}':>17}" for count, of in counts))


def shifted(trials: int) -> None:
    """One column whose values change."""
    made = np.random.default_rng(1)
    print(f"\n\nShifts in one column, {trials} times each: median distance, and how often it is above\n")
    sizes = (1000, 5000)
    limits = "".join(f"{limit:>8}" for limit in THRESHOLDS)
    print(f"{'shift':32}" + "".join(f"{f'{size:,} new rows':>16}{limits}" for size in sizes))
    for name, (before, after) in SHIFTS.items():
        line = ""
        for size in sizes:
            values = np.array([
                distances(side(made, {"a": before}, REFERENCE_ROWS), side(made, {"a": after}, size))["a"]
                for _ in range(trials)
            ])  # fmt: skip
            line += f"{np.median(values):>16.3f}" + "".join(f"{np.mean(values > limit):>8.0%}" for limit in THRESHOLDS)
        print(f"{name:32}{line}")


POLICY = Policy(
    model="stream",
    data=DataSpec(folder="/drops", pattern="*.csv", target=Target("y")),
    rules=(Rule("the world changed", "drift.max > 0.25", Recipe()),),
    promote=Promotion(require=(Requirement("rmse", Claim.BETTER_BY, 0.0),)),
)
SOURCE = Source(tracking_uri="", registry_uri="", model="stream", version=1)
DECIDED = Decision(action=Action.TRAIN, code="rule_holds", sentence="", rule="the world changed", recipe=Recipe())
PER_FILE = 1500
CHANGES = (8, 18)


class Stream:
    """A journal and profiles of files that come one a day; an attempt is judged at once and had all there is."""

    def __init__(self, folder: Path, new_rows: int) -> None:
        self.journal = Journal.open(folder)
        self.asker = DriftAsker(self.journal)
        self.made = np.random.default_rng(3)
        self.folder, self.needed, self.now = folder, new_rows, datetime(2026, 1, 1, tzinfo=UTC)
        self.unjudged = 0

    def days(self, count: int) -> Iterator[str]:
        """What is known at the end of each day, and whether a refit was judged then."""
        for day in range(1, count + 1):
            self.now += timedelta(days=1)
            self._drop(day)
            last = self._measured()
            value = last.value if last is not None and last.value is not None else float("nan")
            due = day == 4 or (value > 0.25 and self.unjudged >= self.needed)
            shown = f"{value:.3f}" if self.unjudged and np.isfinite(value) else "-"
            if due:
                self._refit()
            yield shown + ("*" if due else " ")

    def _drop(self, day: int) -> None:
        level = sum(day >= change for change in CHANGES) * 1.5
        frame = pd.DataFrame({f"c{number}": self.made.normal(size=PER_FILE) for number in range(29)})
        frame["moving"] = self.made.normal(level, 1, PER_FILE)
        path = self.folder / f"{day}.profile.npz"
        save_profile(path, profiled(frame))
        self.journal.drops.add("stream", f"/drops/{day}.csv", (1, 1, day), self.now)
        (drop,) = self.journal.drops.to_inspect("stream")
        found = Inspected(
            fingerprint=str(day), rows=PER_FILE, usable=PER_FILE, new=PER_FILE, training=PER_FILE, judging=PER_FILE,
            rows_file="", units_file="", profile_file=str(path),
        )  # fmt: skip
        self.journal.drops.record(drop, found, "", self.now)
        self.unjudged += PER_FILE

    def _measured(self) -> Measurement | None:
        question = self.asker.question(POLICY, SOURCE, self.now)
        if question is not None:
            assert isinstance(question.job, MeasureDrift)
            self.asker.take_in(POLICY, question, measure_drift(question.job, lambda progress: None), self.now)
        return self.journal.drift.measured("stream")

    def _refit(self) -> None:
        drops = [drop.id for drop in self.journal.drops.in_use("stream")]
        attempt = self.journal.attempts.plan(POLICY, DECIDED, 1, None, drops, self.now)
        self.journal.attempts.conclude(attempt, State.PROMOTED, "", 1, self.now)
        self.unjudged = 0


def regimes() -> None:
    """A column that jumps twice, and a refit whenever the rule holds."""
    print(f"\n\nA stream of 30 columns, a file of {PER_FILE:,} rows a day, of which one column jumps by 1.5 sd on days")
    print(f"{CHANGES[0]} and {CHANGES[1]}. drift.max at the end of each day; *: a refit is judged then\n")
    needs = (1000, 5000)
    print(f"{'day':>4}  " + "".join(f"{f'drift.max > 0.25 && data.new_rows >= {needed}':>48}" for needed in needs))
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        streams = [Stream(Path(folder), needed).days(26) for folder, needed in zip((one, other), needs, strict=True)]
        for day, values in enumerate(zip(*streams, strict=True), start=1):
            print(f"{day:>4}  " + "".join(f"{value:>48}" for value in values).rstrip())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200, help="how often each case is drawn")
    trials = parser.parse_args().trials
    configure("console", sys.stderr, level=logging.ERROR)
    calm(trials)
    shifted(max(20, trials // 3))
    regimes()
    return 0


if __name__ == "__main__":
    sys.exit(main())
