"""The rows of a search's trials: all of a job's training side, split once more, the same for every trial (law 5).

Who judges the challenger is cut off before, in `window.py`; no trial sees such a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from retrain_daemon.core.policy import Mode
from retrain_daemon.errors import TrainingFailed
from retrain_daemon.worker.dataset import Split, parted
from retrain_daemon.worker.job import Train
from retrain_daemon.worker.labelled import LabelledRows, Mask, Times
from retrain_daemon.worker.rows import Keys, load_keys, tries

TRIED_SHARE = 0.2
#: The newest times that make up the share may be more rows than that, as rows of one time stay together.
_MOST_NEWEST = 0.5
LEAST_ROWS = 50


@dataclass(frozen=True)
class TrialRows:
    """What each trial trains on, the rows of the training side that it is judged on, and sentences for a reviewer."""

    training: LabelledRows
    judging: LabelledRows
    notes: tuple[str, ...] = ()


def read_trial_rows(job: Train, rows: LabelledRows) -> TrialRows:
    """Split what the job trains on: the newest fifth judges the trials where the policy's holdout is the newest rows,
    else a fifth of the units by stable hash.

    A trial that goes on from the champion is not judged on what that may have learned. Raises TrainingFailed when too
    few rows are left to train on or to judge trials.
    """
    side, notes = _side(job, rows)
    sides = parted(rows, side, *_barred(job))
    if len(sides.judging) < LEAST_ROWS or not len(sides.training):
        raise _too_few(rows, sides)
    return TrialRows(sides.training, sides.judging, notes)


def _side(job: Train, rows: LabelledRows) -> tuple[Mask, tuple[str, ...]]:
    if job.data.holdout.newest is None or not len(rows):
        return tries(rows.unit_keys, TRIED_SHARE), ()
    newest = _newest(rows.event_time)
    if newest.any() and newest.mean() <= _MOST_NEWEST:
        return newest, ()
    note = "Too many training rows are of the same time to try values on the newest: a fifth by hash judged the trials."
    return tries(rows.unit_keys, TRIED_SHARE), (note,)


def _newest(times: Times) -> Mask:
    at = int(len(times) * (1 - TRIED_SHARE))
    since = np.partition(times, at)[at]
    after = np.asarray(times > since)
    return after if after.mean() >= TRIED_SHARE / 2 else np.asarray(times >= since)


def _barred(job: Train) -> tuple[Keys, datetime | None, Keys]:
    """What was learned by the champion, for modes that go on from it."""
    if job.recipe.mode is Mode.REFIT:
        nothing = np.empty(0, dtype=np.uint64)
        return nothing, None, nothing
    return load_keys(job.learned), job.unknown_until, load_keys(job.early)


def _too_few(rows: LabelledRows, sides: Split) -> TrainingFailed:
    known = sides.excluded + sides.too_early
    said = f", and {known:,} more that the champion may have learned" if known else ""
    return TrainingFailed(
        f"The search cannot judge its trials: of {len(rows):,} training rows {len(sides.judging):,} are left for that"
        f"{said}; at least {LEAST_ROWS} are needed, and {len(sides.training):,} would train.",
        "Wait for more rows, widen data.window, or give single values instead of a search.",
    )
