"""Judging rows by the values of a column: which row is in which slice, and what both models show in each.

The column may be any of the files'; of it only a number a row is kept. What follows from the evidence is for the core.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.core.evidence import MetricEvidence, SliceEvidence
from retrain_daemon.core.metrics import METRICS
from retrain_daemon.core.policy import RELATIVE, Requirement
from retrain_daemon.errors import DataProblem
from retrain_daemon.worker.columns import as_written, missing, to_arrow
from retrain_daemon.worker.compare import compare_metric
from retrain_daemon.worker.evaluate import Scored, canonical
from retrain_daemon.worker.features import Counted
from retrain_daemon.worker.files import column_names
from retrain_daemon.worker.formats import shown
from retrain_daemon.worker.harm import harm
from retrain_daemon.worker.job import Train
from retrain_daemon.worker.labelled import LabelledRows, Positions
from retrain_daemon.worker.row_reading import read_row_pieces
from retrain_daemon.worker.schema import Schema
from retrain_daemon.worker.side_by_side import Aligned, SideBySide, aligned, measure_alone

#: A column with more values is no way to look at a model: nobody reads so many, and none has rows enough.
MOST_SLICES = 100
MISSING = "(missing)"

_MOST_NAMED = 20
_NUMBER = re.compile(r"[-+]?(?:0|[1-9]\d{0,14})(?:\.\d*)?(?:[eE][-+]?\d{1,3})?", re.ASCII)
_TRUTHS = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}


@dataclass(frozen=True)
class Sliced:
    """Which slice each judging row is in: places in `values`, of which each has rows. A `problem` says why none is."""

    values: tuple[str, ...] = ()
    codes: NDArray[np.int32] | None = None
    problem: str = ""


def read_slices(job: Train, schema: Schema, judging: LabelledRows) -> Mapping[str, Sliced]:
    """The slices of the judging rows by each column that a line names, from the files.

    Raises DataProblem where a file with judging rows lacks a column that a line which counts names, and what reading
    a file may raise.
    """
    lines = _by_column(job.require)
    if not lines or not len(judging):
        return {column: Sliced() for column in lines}
    of_drop, row_keys = judging.drop, judging.row_keys
    drops = [drop for drop in job.drops if (of_drop == drop.drop).any()]
    lacking = _lacking([drop.path for drop in drops], lines)
    reading = {column: _Reading(np.full(len(judging), -1, dtype=np.int32)) for column in lines.keys() - lacking}
    for drop in drops if reading else ():
        here = np.flatnonzero(of_drop == drop.drop)
        here = here[np.argsort(row_keys[here], kind="stable")]
        for piece in read_row_pieces(drop, job.data, schema, Counted, tuple(reading)):
            assert piece.beside is not None  # columns were asked for
            places, found = _places(row_keys[here], piece.rows.row_keys)
            for column, each in reading.items():
                each.take(here[places], piece.beside[column].iloc[found])
    return {**{column: each.sliced(column) for column, each in reading.items()}, **lacking}


def _by_column(require: Sequence[Requirement]) -> dict[str, Requirement]:
    """For each column the first line that names it, of those that count where there are such."""
    sliced = [line for line in require if line.slices]
    observed, counting = ([line for line in reversed(sliced) if line.observe is so] for so in (True, False))
    return {line.slices: line for line in (*observed, *counting)}


class _Reading:
    """The slices by one column, while the files are read. Where a file has a row twice, the last copy of it counts."""

    def __init__(self, codes: NDArray[np.int32]) -> None:
        self._codes = codes
        self._numbers: dict[str, int] = {}

    def take(self, rows: Positions, values: pd.Series) -> None:
        """Values of judging rows, in the order of the file."""
        if len(self._numbers) > MOST_SLICES:
            return
        codes, distinct = pd.factorize(_present(values))
        names = [*map(_spelled, distinct), *([MISSING] if (codes < 0).any() else [])]
        numbers = [self._numbers.setdefault(name, len(self._numbers)) for name in names]
        self._codes[rows] = np.array(numbers, dtype=np.int32)[codes]

    def sliced(self, column: str) -> Sliced:
        """All that was read."""
        if len(self._numbers) > MOST_SLICES:
            return Sliced(problem=f"column {column!r} has more than {MOST_SLICES} values among the judging rows: too "
                          "many to be slices")  # fmt: skip
        used = set(np.unique(self._codes).tolist())
        names = [name for name, number in self._numbers.items() if number in used]
        order = sorted(names, key=lambda name: (name == MISSING, _as_number(name), name))
        codes = np.empty(len(self._numbers), dtype=np.int32)
        codes[[self._numbers[name] for name in order]] = np.arange(len(order))
        return Sliced(tuple(order), codes[self._codes])


def _places(wanted: NDArray[np.uint64], keys: NDArray[np.uint64]) -> tuple[Positions, Positions]:
    """Where rows of a piece are among the `wanted` keys, which are sorted and each there once; and which rows these
    are.
    """
    places = np.minimum(np.searchsorted(wanted, keys), len(wanted) - 1)
    found = np.flatnonzero(wanted[places] == keys)
    return places[found], found


def _present(values: pd.Series) -> NDArray[np.object_]:
    """Values as they are, None for those that are missing."""
    data = as_written(to_arrow(values))
    found = np.array(data.to_pylist(), dtype=object)
    found[missing(values, "")] = None
    return found


def _spelled(value: object) -> str:
    """One text for equal values, however a file wrote them."""
    if not isinstance(value, str):
        return canonical(value)
    return canonical(float(value)) if _NUMBER.fullmatch(value) else _TRUTHS.get(value, value)


def _as_number(name: str) -> float:
    return float(name) if _NUMBER.fullmatch(name) else float("inf")


def _lacking(paths: Sequence[str], lines: Mapping[str, Requirement]) -> dict[str, Sliced]:
    """Columns that a file lacks and nothing but observed lines names: these stop no challenger.

    Raises DataProblem where a line that counts names one.
    """
    lacking: dict[str, Sliced] = {}
    for path in paths:
        names = column_names(path)
        for column, line in lines.items():
            if column in names:
                continue
            if not line.observe:
                raise _lack(path, names, line)
            lacking.setdefault(column, Sliced(problem=f"{shown(path)} has no column {column!r}"))
    return lacking


def _lack(path: str, names: Sequence[str], line: Requirement) -> DataProblem:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return DataProblem(
        f"promote.require asks for {line.metric} in slices of {line.slices!r}, a column that {shown(path)} lacks.",
        f"It has {', '.join(names[:_MOST_NAMED])}{more}: correct the line in the policy, or drop files that "
        "have the column.",
    )


def measure_slices(job: Train, both: SideBySide, sliced: Mapping[str, Sliced]) -> tuple[SliceEvidence, ...]:
    """Evidence for each line with slices, in the lines' order, slice by slice. Where the rows of no slice can be told,
    one entry without value says why. Without a champion only the challenger's own values are known.
    """
    lines = _each_once(job.require)
    models = aligned(job, both) if lines else ""
    if isinstance(models, str):
        return without_slices(lines, models)
    return tuple(each for line in lines for each in _of_line(job, line, models, sliced[line.slices]))


def without_slices(require: Sequence[Requirement], problem: str) -> tuple[SliceEvidence, ...]:
    """The same problem for each line with slices."""
    return tuple(_without(line, problem) for line in _each_once(require))


def _each_once(require: Sequence[Requirement]) -> tuple[Requirement, ...]:
    """Lines that ask for the same of the same slices are answered once."""
    return tuple({(line.slices, line.metric, line.threshold): line for line in require if line.slices}.values())


def _of_line(job: Train, line: Requirement, models: Aligned, sliced: Sliced) -> Iterator[SliceEvidence]:
    if line.metric not in METRICS:
        yield _without(line, f"{line.metric} is of all judging rows, or of no row, and has no slices")
        return
    if sliced.codes is None:
        yield _without(line, sliced.problem)
        return
    for place, value in enumerate(sliced.values):
        yield _of_slice(job, line, value, models.take(np.flatnonzero(sliced.codes == place)))


def _of_slice(job: Train, line: Requirement, value: str, models: Aligned) -> SliceEvidence:
    if models.champion is None:
        measured, p_harm = measure_alone(job, line.metric, models), None
    else:
        measured = compare_metric(
            line.metric,
            models.champion,
            models.challenger,
            confidence=job.confidence,
            groups=models.groups,
            seed=job.seed,
            strict_confidence=job.strict_confidence,
        )
        p_harm = _p_harm(job, line, models.champion, models)
    return SliceEvidence(column=line.slices, value=value, threshold=line.threshold, measured=measured, p_harm=p_harm)


def _p_harm(job: Train, line: Requirement, champion: Scored, models: Aligned) -> float | None:
    """None also where the threshold is no margin."""
    if line.claim not in RELATIVE or not line.threshold >= 0:
        return None
    return harm(line.metric, champion, models.challenger, line.threshold, groups=models.groups, seed=job.seed)


def _without(line: Requirement, problem: str) -> SliceEvidence:
    measured = MetricEvidence(metric=line.metric, problem=problem)
    return SliceEvidence(column=line.slices, value="", threshold=line.threshold, measured=measured)
