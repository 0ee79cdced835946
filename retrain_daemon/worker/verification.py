"""Law 5 once more, right before two models are compared: no judging row is one that either of them, or an earlier
champion beside them, learned.

Independent of the split: what was learned is read from the key files again, and the units of the judging rows are made
anew, from the features that the models are about to be given or from the dropped files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from retrain_daemon.errors import Refused
from retrain_daemon.worker.features import Counted
from retrain_daemon.worker.job import Train
from retrain_daemon.worker.labelled import LabelledRows, Mask, moment
from retrain_daemon.worker.row_reading import read_rows
from retrain_daemon.worker.rows import Keys, contains, load_keys, unit_keys
from retrain_daemon.worker.schema import Schema

_HINT = "This must not happen: keep the state folder as it is and report it. Nothing was compared."


@dataclass(frozen=True)
class _Record:
    """What versions learned, `whose` they are in words: key files, and what is said of the time before the record."""

    whose: str
    files: tuple[str, ...]
    unknown_until: datetime | None
    early: tuple[str, ...]


def verify_unlearned(
    job: Train, schema: Schema, judging: LabelledRows, challenger_learned: str, anchored: Mask | None = None
) -> int:
    """How many keys of units learned by champion, challenger and ancestors the judging rows were checked against; none
    of them is among the rows.

    `challenger_learned`: the key file of the challenger, "" where nobody recorded what it learned. The rows `anchored`,
    on which the challenger is compared with an earlier champion, are checked against what that one learned, too. Raises
    Refused, with numbers, when a row is among them or may have been learned before there was a record.
    """
    files = tuple(dict.fromkeys((*job.learned, *([challenger_learned] if challenger_learned else []))))
    units = _units(job, schema, judging)
    record = _Record("the champion, the challenger or an ancestor", files, job.unknown_until, job.early)
    _refuse_learned(job, record, judging, units)
    if job.anchor is not None and anchored is not None and anchored.any():
        anchor = job.anchor
        whose = f"version {anchor.version} or an ancestor"
        record = _Record(whose, anchor.learned, anchor.unknown_until, anchor.early)
        _refuse_learned(job, record, judging.take(anchored), units[anchored])
    return len(load_keys(files))


def _refuse_learned(job: Train, record: _Record, judging: LabelledRows, units: Keys) -> None:
    if (known := contains(load_keys(record.files), units)).any():
        raise Refused(
            f"{int(known.sum()):,} of {len(judging):,} judging rows are rows that {record.whose} learned: "
            f"{_where(record.files, units)}.",
            _HINT,
        )
    if (early := _early(job, record, judging, units)).any():
        raise Refused(
            f"{int(early.sum()):,} of {len(judging):,} judging rows may have been learned by {record.whose}: they were "
            f"seen by {record.unknown_until}, and until then it is not recorded what was learned.",
            _HINT,
        )


def _units(job: Train, schema: Schema, judging: LabelledRows) -> Keys:
    """The units of the rows, made anew; raises Refused where they are not those the rows were split by."""
    split_by = judging.unit_keys
    # Columns of no known kind can take another one where files are put together: then only the files can tell.
    if judging.groups is None and schema.tensor is None and np.array_equal(_of_features(judging, schema), split_by):
        return split_by
    units = _read_again(job, schema, judging)
    if (other := units != split_by).any():
        raise Refused(
            f"{int(other.sum()):,} of {len(judging):,} judging rows have other units in their files than they were "
            f"split by.",
            _HINT,
        )
    return units


def _of_features(judging: LabelledRows, schema: Schema) -> Keys:
    """The units as the features say them, where no group does."""
    names = sorted(schema.names)
    made = (unit_keys(piece.features.frame(), names) for piece in judging.pieces())
    return np.concatenate([np.empty(0, dtype=np.uint64), *made])


def _read_again(job: Train, schema: Schema, judging: LabelledRows) -> Keys:
    """The units of the rows as the files have them; a row is known by its drop and its row key."""
    units = ~judging.unit_keys  # what no file has stays another one
    of_drop, row_keys = judging.drop, judging.row_keys
    for drop in job.drops:
        here = np.flatnonzero(of_drop == drop.drop)
        if not len(here):
            continue
        rows = read_rows(drop, job.data, schema, Counted).rows
        order = np.argsort(rows.row_keys, kind="stable")
        places = np.searchsorted(rows.row_keys[order], row_keys[here], side="right") - 1
        copies = order[np.maximum(places, 0)]  # of equal rows the last
        found = rows.row_keys[copies] == row_keys[here]
        units[here[found]] = rows.unit_keys[copies[found]]
    return units


def _early(job: Train, record: _Record, judging: LabelledRows, units: Keys) -> Mask:
    """Rows of drops, or of units, that were there before it was recorded what was learned."""
    if record.unknown_until is None:
        return np.zeros(len(judging), dtype=np.bool_)
    old = [drop.drop for drop in job.drops if moment(drop.first_seen) <= moment(record.unknown_until)]
    early = load_keys(record.early)
    seen = contains(early, units) | np.isin(judging.drop, old)
    return seen if judging.feature_keys is None else seen | contains(early, judging.feature_keys)


def _where(files: Sequence[str], units: Keys) -> str:
    counts = {Path(file).name: int(contains(load_keys([file]), units).sum()) for file in files}
    return ", ".join(f"{count:,} by {name}" for name, count in counts.items() if count)
