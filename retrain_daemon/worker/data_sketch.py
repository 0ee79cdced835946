"""What lies in a data folder, for a first policy: which files, how many rows, which columns hold times."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

import pyarrow.parquet

from retrain_daemon.errors import DataProblem, NotFound, Refused
from retrain_daemon.worker.against_file import Head, first_rows
from retrain_daemon.worker.columns import cast_times, missing
from retrain_daemon.worker.files import available, read_pieces
from retrain_daemon.worker.formats import FORMATS, shown
from retrain_daemon.worker.job import FilesSeen

#: Rows of the newest file are counted so far.
_MOST_ROWS = 2_000_000


def look_into(folder: str, pattern: str) -> tuple[FilesSeen, Head]:
    """The files of the commonest kind, or of the `pattern`, and the newest of them that can be read.

    Raises NotFound for a folder without files, Refused where none of them can be read.
    """
    try:
        listed = available(Path(folder))
    except OSError as error:
        raise NotFound(f"{shown(folder)} cannot be read: {error.strerror}.", "Name the folder with --data.") from error
    chosen, named = _of_one_kind(listed, pattern)
    if not chosen:
        kinds = ", ".join(FORMATS)
        raise NotFound(f"No file in {shown(folder)} is named {pattern or '*'}.", f"Files of rows end in {kinds}.")
    newest_first = sorted(chosen, key=lambda path: Path(path).stat().st_mtime_ns, reverse=True)
    head = _first_readable(newest_first)
    rows = _rows_of(head.path)
    size, whole = Path(head.path).stat().st_size, sum(Path(path).stat().st_size for path in chosen)
    in_all = rows if len(chosen) == 1 else round(rows * whole / max(size, 1))
    seen = FilesSeen(
        pattern=named, files=len(chosen), newest=head.path, rows=rows, rows_in_all=in_all,
        others=len(listed) - len(chosen),
    )  # fmt: skip
    return seen, head


def times_of(head: Head, columns: Iterable[str]) -> tuple[str, ...]:
    """The columns of the first rows that hold moments and no plain numbers."""
    return tuple(name for name in columns if _is_time(head, name))


def _of_one_kind(listed: list[str], pattern: str) -> tuple[list[str], str]:
    """The files of a pattern; else those of the kind there are most of, and what they are named."""
    if pattern:
        return [path for path in listed if fnmatchcase(Path(path).name, pattern)], pattern
    kinds: dict[str, list[str]] = defaultdict(list)
    for path in listed:
        suffix = next(suffix for suffix in FORMATS if path.lower().endswith(suffix))
        kinds[Path(path).name[-len(suffix) :]].append(path)
    if not kinds:
        return [], ""
    suffix = max(kinds, key=lambda suffix: len(kinds[suffix]))
    return kinds[suffix], f"*{suffix}"


def _first_readable(paths: list[str]) -> Head:
    problem: DataProblem | None = None
    for path in paths[:5]:
        try:
            return first_rows(path)
        except DataProblem as error:
            problem = problem or error
    assert problem is not None  # there is at least one path
    raise Refused(problem.message, problem.hint)


def _rows_of(path: str) -> int:
    if path.lower().endswith(".parquet"):
        return int(pyarrow.parquet.read_metadata(path).num_rows)
    rows = 0
    for piece in read_pieces(path, first_rows(path).columns[:1]):
        rows += len(piece)
        if rows >= _MOST_ROWS:
            break
    return rows


def _is_time(head: Head, name: str) -> bool:
    values = head.rows[name]
    present = values[~missing(values, "datetime")]
    if not len(present):
        return False
    try:
        cast_times(present, name)
    except DataProblem:
        return False
    return not _all_digits(present.astype(str).tolist())


def _all_digits(texts: list[str]) -> bool:
    """Numbers such as 2024 are read as years by who reads times, and are meant as numbers."""
    return all(text.replace(".", "", 1).replace("-", "", 1).isdigit() for text in texts)
