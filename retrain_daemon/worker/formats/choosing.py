"""Which of a file's columns are read: each there, each once, each of single values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Any

import pyarrow as pa

from retrain_daemon.errors import DataProblem
from retrain_daemon.worker.formats.naming import listed, shown

MAX_COLUMNS = 5_000
#: Misspellings are looked for among so many columns; the time it takes grows with them.
_COMPARED = 2_000


def choose(path: str, found: Sequence[str], columns: Collection[str]) -> list[str]:
    """The columns to read, all of them in the file and each once; raises DataProblem otherwise."""
    wanted = list(dict.fromkeys(columns))
    counts = dict.fromkeys(wanted, 0)
    for name in found:
        if name in counts:
            counts[name] += 1
    if missing := [name for name, count in counts.items() if count == 0]:
        raise _missing_columns(path, found, missing, wanted)
    if repeated := [name for name, count in counts.items() if count > 1]:
        raise DataProblem(
            f"{shown(path)} has the column {repeated[0]!r} {counts[repeated[0]]} times.",
            "Give each column its own name.",
        )
    return wanted


def refuse_many(path: str, found: Sequence[str]) -> None:
    """Raise DataProblem where all columns of a file are asked for and those are too many."""
    if len(found) > MAX_COLUMNS:
        raise DataProblem(
            f"{shown(path)} has {len(found)} columns, more than {MAX_COLUMNS}.",
            "Name the needed ones in data.features.",
        )


def refuse_nested(path: str, schema: Any, wanted: Collection[str]) -> None:
    """Raise DataProblem where a wanted column of an Arrow schema holds bytes, lists or the like."""
    for name in wanted:
        kind = schema.field(name).type
        if not _single(kind.value_type if pa.types.is_dictionary(kind) else kind):
            raise DataProblem(
                f"Column {name!r} of {shown(path)} holds {str(kind)[:60]}, not single values.",
                "Write one value a row and column.",
            )


def _single(kind: Any) -> bool:
    """Numbers, truth values, texts, moments, and columns without any value."""
    tests = (
        pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal, pa.types.is_string,
        pa.types.is_large_string, pa.types.is_string_view, pa.types.is_date, pa.types.is_time, pa.types.is_timestamp,
        pa.types.is_duration, pa.types.is_null,
    )  # fmt: skip
    return any(test(kind) for test in tests)


def _missing_columns(path: str, found: Sequence[str], missing: list[str], wanted: Sequence[str]) -> DataProblem:
    """A column that is wanted under its own name is not taken for a misspelling of another."""
    if len(found) == 1:
        for delimiter, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars"), (",", "commas")):
            if delimiter in found[0]:
                return DataProblem(
                    f"{shown(path)} has one column only; its header is separated by {name}.", "Separate with commas."
                )
    others = sorted({name[:60] for name in found[:_COMPARED]} - set(wanted))
    close = [(name, match[0]) for name in missing[:5] if (match := get_close_matches(name, others, n=1))]
    meant = "; ".join(f"is {other!r} meant to be {name!r}?" for name, other in close)
    shown_columns = ", ".join(_printable(name) for name in found[:8]) + (", ..." if len(found) > 8 else "")
    plural = "s" if len(missing) > 1 else ""
    header = " The first line must name the columns." * (".csv" in path.lower())
    return DataProblem(
        f"{shown(path)} lacks the column{plural} {listed(missing)}.",
        f"{meant[:1].upper()}{meant[1:]} " * bool(meant) + f"It has {len(found)} columns: {shown_columns}.{header}",
    )


def _printable(name: str) -> str:
    return name[:40] if name[:40].isprintable() else ascii(name[:40])
