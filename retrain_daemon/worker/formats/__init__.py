"""What the bytes of each kind of file mean, and one clear sentence for each way they can be wrong; a module a kind.

Each reads the wanted columns as Arrow tables of values as written, a piece at a time, and names the columns there are.
What is wrong late in a file is raised late. Which files are there, whole and unchanged is for `files.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from retrain_daemon.worker.formats import csv_text, json_lines, parquet
from retrain_daemon.worker.formats.choosing import MAX_COLUMNS, refuse_many
from retrain_daemon.worker.formats.naming import DROP_AGAIN, shown

__all__ = ["DROP_AGAIN", "FORMATS", "MAX_COLUMNS", "Format", "refuse_many", "shown"]


@dataclass(frozen=True)
class Format:
    """How one kind of file is read: `names` of its columns, and the `read` of some of them as Arrow tables."""

    names: Callable[[str], tuple[str, ...]]
    read: Callable[[str, Collection[str]], Iterator[Any]]


FORMATS = {
    ".csv": Format(csv_text.names, csv_text.read),
    ".csv.gz": Format(csv_text.names, csv_text.read),
    ".parquet": Format(parquet.names, parquet.read),
    ".jsonl": Format(json_lines.names, json_lines.read),
}
