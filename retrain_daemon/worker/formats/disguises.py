"""Files that are something else than their names say, told by their first bytes."""

from __future__ import annotations

from retrain_daemon.errors import DataProblem
from retrain_daemon.worker.formats.naming import DROP_AGAIN, shown

PARQUET = b"PAR1"
ARROW = b"ARROW1"
FEATHER_1 = b"FEA1"
ZIP = b"PK\x03\x04"
GZIP = b"\x1f\x8b"

_DISGUISES = {
    ZIP: "a zip archive",
    b"PK\x05\x06": "an empty zip archive",
    GZIP: "a gzip archive",
    PARQUET: "a parquet file",
    ARROW: "an Arrow file",
    FEATHER_1: "a feather file of version 1",
    b"\x93NUMPY": "a single numpy array",
    b"\x89HDF\r\n": "an HDF5 file",
    b"SQLite": "an SQLite database",
    b"%PDF": "a PDF document",
    b"7z\xbc\xaf": "a 7z archive",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


def refuse_disguise(path: str, start: bytes, expected: str) -> None:
    """Raise DataProblem where the first bytes are those of another kind of file, or of no text at all."""
    for magic, kind in _DISGUISES.items():
        if start.startswith(magic):
            hint = "Save it as UTF-8." if kind == "UTF-16 text" else "Unpack it, or give it the name of what it is."
            raise DataProblem(f"{shown(path)} is {kind}, not {expected}.", hint)
    if b"\x00" in start:
        raise DataProblem(f"{shown(path)} is binary, not {expected}.", DROP_AGAIN)


def refuse_other(path: str, start: bytes, expected: str) -> None:
    """Raise DataProblem: the file is not what its name says, and is named for what it is where that is known."""
    refuse_disguise(path, start, expected)
    raise DataProblem(f"{shown(path)} is not {expected}.", "Give it the name of what it is.")
