"""What the bytes of each kind of file mean, and one clear sentence for each way they can be wrong; a module a kind.

Each reads the wanted columns as Arrow tables of values as written, a piece at a time, and names the columns there are.
What is wrong late in a file is raised late. Which files are there, whole and unchanged is for `files.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from retrain_daemon.worker.formats import arrow_ipc, csv_text, json_lines, npz, parquet
from retrain_daemon.worker.formats.choosing import MAX_COLUMNS, refuse_many
from retrain_daemon.worker.formats.naming import DROP_AGAIN, shown

__all__ = ["DROP_AGAIN", "FORMATS", "MAX_COLUMNS", "Format", "refuse_many", "shown"]


def _never(path: str) -> None:
    """For the kinds of files whose readers find out: nothing to look for."""


@dataclass(frozen=True)
class Format:
    """How one kind of file is read: `names` of its columns, and the `read` of some of them as Arrow tables.

    `refuse_cut_short` raises SuspectData where a file can be read and yet may not be whole.
    """

    names: Callable[[str], tuple[str, ...]]
    read: Callable[[str, Collection[str]], Iterator[Any]]
    refuse_cut_short: Callable[[str], None] = _never


_CSV = Format(csv_text.names, csv_text.read, csv_text.refuse_cut_short)
_ARROW = Format(arrow_ipc.names, arrow_ipc.read, arrow_ipc.refuse_cut_short)
FORMATS = {
    ".csv": _CSV,
    ".csv.gz": _CSV,
    ".parquet": Format(parquet.names, parquet.read),
    ".jsonl": Format(json_lines.names, json_lines.read),
    ".arrow": _ARROW,
    ".feather": _ARROW,
    ".npz": Format(npz.names, npz.read),
}
