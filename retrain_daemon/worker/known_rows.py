"""Which rows are known, and with which label: the record of a drop's rows, and the rows of all drops seen so far.

A record holds one 64-bit word for each distinct row: 48 bits of its row key above 16 bits of its label. Two rows share
48 bits with a chance of one in 2.8e14, two labels 16 bits with one in 65,535: the first could hide a new row from the
counts, the second a correction from the report. Neither says who may judge: that is settled by whole keys of units.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrain_daemon.core.policy import DataSpec
from retrain_daemon.worker.labelled import Mask, Rows
from retrain_daemon.worker.rows import Keys, load_keys, unit_keys

#: How the names of these files end. Files of row keys that end otherwise are of an earlier version, without labels.
SUFFIX = ".rows.npy"

_LABEL_BITS = np.uint64(16)
_LABEL = np.uint64(2**16 - 1)


@dataclass(frozen=True)
class RowRecord:
    """The distinct rows of one file. `words` in the order of their keys; `last` is the position of the copy that
    counts, `relabelled` whether it has another label than the row's first copy in the file.
    """

    words: Keys
    last: NDArray[np.int64]
    relabelled: Mask

    def __len__(self) -> int:
        return len(self.words)


def record_rows(rows: Rows, spec: DataSpec) -> RowRecord:
    """What is to be kept of one file's usable rows; the last of equal rows counts."""
    order = np.argsort(rows.row_keys, kind="stable")
    keys = rows.row_keys[order]
    starts = np.flatnonzero(np.append(np.ones(min(len(keys), 1), dtype=np.bool_), keys[1:] != keys[:-1]))
    ends = np.append(starts[1:], len(keys))[: len(starts)] - 1
    labels = _label_bits(rows.target, spec)[order]
    words = (keys[ends] & ~_LABEL) | labels[ends]
    return RowRecord(words, order[ends], labels[starts] != labels[ends])


def label_keys(target: pd.Series | pd.DataFrame) -> Keys:
    """A key for the label of each row, over all target columns."""
    frame = target if isinstance(target, pd.DataFrame) else target.to_frame()
    return unit_keys(frame, [str(name) for name in frame.columns])


class KnownRows:
    """Rows seen so far with their newest label, in sorted pieces of falling size, so that adding files stays cheap."""

    def __init__(self, paths: Sequence[str], newer: Collection[str] = ()) -> None:
        """The rows of record files, oldest first; those of `newer` are known, but their labels are later ones than of
        what is to be compared. Raises StateUnusable like `load_keys`.
        """
        words = [_words(path) & ~_LABEL for path in paths if path in newer]
        words += [_words(path) for path in paths if path not in newer]
        self._pieces = [_newest(np.concatenate(words))] if words else []

    def compare(self, record: RowRecord) -> tuple[Mask, Mask]:
        """Of each row of a record whether it is new, and whether its label is another one than it came with before,
        in an earlier file or, new, further up in this one.
        """
        known = np.zeros(len(record), dtype=np.bool_)
        changed = record.relabelled.copy()
        for piece in reversed(self._pieces):
            found, before = _look_up(piece, record.words)
            found &= ~known
            now = record.words & _LABEL
            changed[found] = ((before != now) & (before != 0) & (now != 0))[found]
            known |= found
        return ~known, changed

    def add(self, record: RowRecord) -> None:
        """Take the rows of a record as seen; its labels are the newest."""
        words = record.words
        while self._pieces and len(self._pieces[-1]) <= len(words):
            words = _newest(np.concatenate([self._pieces.pop(), words]))
        self._pieces.append(words)


def _label_bits(target: pd.Series | pd.DataFrame, spec: DataSpec) -> Keys:
    """16 bits of each label, never 0, which stands for none: where the row key holds the label there is nothing to
    compare.
    """
    columns = spec.target.columns
    if not spec.row_id or set(columns) <= set(spec.row_id):
        return np.zeros(len(target), dtype=np.uint64)
    bits: Keys = np.maximum(label_keys(target) >> np.uint64(48), np.uint64(1))
    return bits


def _words(path: str) -> Keys:
    keys = load_keys([path])
    return keys if path.endswith(SUFFIX) else keys & ~_LABEL


def _newest(words: Keys) -> Keys:
    """Sorted by key, of each key only the word that came last."""
    order = np.argsort(words >> _LABEL_BITS, kind="stable")
    ordered = words[order]
    keys = ordered >> _LABEL_BITS
    newest: Keys = ordered[np.append(keys[1:] != keys[:-1], np.ones(min(len(keys), 1), dtype=np.bool_))]
    return newest


def _look_up(piece: Keys, words: Keys) -> tuple[Mask, Keys]:
    """Whether each row is in a piece, and with which label."""
    if not len(piece):
        return np.zeros(len(words), dtype=np.bool_), words & _LABEL
    places = np.minimum(np.searchsorted(piece, words & ~_LABEL), len(piece) - 1)
    return piece[places] >> _LABEL_BITS == words >> _LABEL_BITS, piece[places] & _LABEL
