"""One file of rows, from its bytes to a table: is it there, is it whole, did it change, which bytes are they.

What the bytes of each kind of file mean is in `formats/`, what columns mean in `columns.py`.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pyarrow as pa

from retrain_daemon.errors import DataProblem
from retrain_daemon.worker.formats import DROP_AGAIN, FORMATS, Format, refuse_many, shown


class FileUnsettled(DataProblem):
    """The file could not be read now, or changed meanwhile: it is worth another look."""

    temporary: ClassVar[bool] = True


def fingerprint(path: str) -> str:
    """The sha256 of a file's bytes in hex, read in pieces. Raises DataProblem, temporary if it cannot be opened."""
    with _readable(path), Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def stamp(path: str) -> tuple[int, ...]:
    """Identity, size and time of change of a regular file: equal before and after a reading, it was one file."""
    with _readable(path):
        found = Path(path).stat()
    if not stat.S_ISREG(found.st_mode):
        raise DataProblem(f"{shown(path)} is not a regular file.", "Drop a file, not a folder, pipe or device.")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def read_file(path: str, columns: Collection[str] | None) -> pd.DataFrame:
    """The named columns (None: all, at most `MAX_COLUMNS`) of a file, by its suffix, as Arrow-backed columns.

    Rows are numbered from 0 in the file's order. Raises DataProblem with one sentence on what is wrong with the
    file; it is temporary when the file may be readable later (gone, no permission, an I/O error).
    """
    if columns is None:
        columns = column_names(path)
        refuse_many(path, columns)
    table = pa.concat_tables(_tables(path, columns), promote_options="permissive")
    return table.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)  # type: ignore[no-any-return]


def read_pieces(path: str, columns: Collection[str]) -> Iterator[pd.DataFrame]:
    """The same rows as `read_file` gives, some ten thousand at a time, numbered through. Raises like `read_file`."""
    rows = 0
    for table in _tables(path, columns):
        frame = table.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
        frame.index = pd.RangeIndex(rows, rows + len(frame))
        rows += len(frame)
        yield frame


def column_names(path: str) -> tuple[str, ...]:
    """The names of a file's columns; of JSON lines those of all lines. Raises DataProblem like `read_file`."""
    kind = _format(path)
    with _readable(path):
        return kind.names(path)


def refuse_cut_short(path: str) -> None:
    """Raise SuspectData where a file can be read and yet may be cut: within its last row, or within quotes.

    Other damage is found when the file is read. Raises DataProblem like `read_file`.
    """
    kind = _format(path)
    with _readable(path):
        kind.refuse_cut_short(path)


def _tables(path: str, columns: Collection[str]) -> Iterator[Any]:
    """Tables with rows, at least one; raises DataProblem like `read_file`."""
    kind, empty = _format(path), True
    with _readable(path):
        for table in kind.read(path, columns):
            if table.num_rows:
                empty = False
                yield table
    if empty:
        raise DataProblem(f"{shown(path)} has columns but not one row.", DROP_AGAIN)


def available(folder: Path) -> list[str]:
    """Paths of the files in `folder` whose names end as files of rows do, hidden ones left out, sorted."""
    found = (path for path in folder.iterdir() if not path.name.startswith("."))
    return sorted(str(path) for path in found if path.name.lower().endswith(tuple(FORMATS)))


def _format(path: str) -> Format:
    """How a file that is not empty is read, by its suffix; raises DataProblem."""
    if stamp(path)[2] == 0:
        raise DataProblem(f"{shown(path)} is empty (0 bytes).", DROP_AGAIN)
    for suffix, kind in FORMATS.items():
        if path.lower().endswith(suffix):
            return kind
    raise DataProblem(f"{shown(path)} is of no known kind.", f"Files of rows end in {', '.join(FORMATS)}.")


@contextmanager
def _readable(path: str) -> Iterator[None]:
    """Failures of the file system, which another look may not meet, as FileUnsettled."""
    try:
        yield
    except MemoryError as error:
        raise DataProblem(
            f"{shown(path)} needs more memory than this worker has.",
            "Split it into several files, or raise [workers] memory.",
        ) from error
    except FileNotFoundError as error:
        raise FileUnsettled(f"{shown(path)} is gone.", "Put it back, or retract it.") from error
    except PermissionError as error:
        raise FileUnsettled(f"{shown(path)} may not be read by this user.", f"Run: chmod a+r {shown(path)}") from error
    except OSError as error:
        if error.errno is None:  # Arrow's word for broken contents; each reader says more where it can
            raise DataProblem(f"{shown(path)} cannot be read: {error}", DROP_AGAIN) from error
        raise FileUnsettled(f"{shown(path)} cannot be read: {error.strerror}", "Check the disk.") from error
