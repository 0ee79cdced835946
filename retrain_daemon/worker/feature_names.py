"""Which columns the patterns in a policy's `data.features` stand for.

Names only: kinds and shapes are for `signature.py`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from retrain_daemon.core.policy import DataSpec
from retrain_daemon.errors import DataProblem, Refused
from retrain_daemon.worker.files import column_names
from retrain_daemon.worker.formats import shown


def is_pattern(name: str) -> bool:
    """Whether an entry of `data.features` stands for several columns."""
    return "*" in name or "?" in name


def has_patterns(spec: DataSpec) -> bool:
    """Whether the policy leaves to a signature or a file which columns are features."""
    return any(is_pattern(name) for name in spec.features)


def read_from(spec: DataSpec, reference: str) -> str:
    """The file that patterns are resolved by, for messages; "" where there is no pattern."""
    return shown(reference) if has_patterns(spec) else ""


def expanded(spec: DataSpec, reference: str) -> tuple[str, ...]:
    """The feature columns by the columns of the file `reference`, each pattern's in natural order.

    The policy's other columns are never features. Raises DataProblem when a pattern stands for none of the file's
    columns, or two entries for the same one; Refused when there is no file to look into.
    """
    if not has_patterns(spec):
        return spec.features
    if not reference or not Path(reference).exists():
        raise Refused(
            "Which columns the patterns in data.features stand for is not known before a file was dropped.",
            "Drop a file, or name the columns.",
        )
    others = {*spec.target.columns, spec.group, spec.weight, spec.event_time}
    found = sorted((name for name in column_names(reference) if name not in others), key=natural)
    names = matched(spec.features, found)
    if isinstance(names, str):
        listed = ", ".join(found[:12]) + (", ..." if len(found) > 12 else "")
        raise DataProblem(f"data.features: {names} in {shown(reference)}.", f"It has {listed}.")
    return names


def matched(features: Sequence[str], columns: Sequence[str]) -> tuple[str, ...] | str:
    """The columns that names and patterns stand for, in the order of both; or what is wrong, as a clause."""
    names: list[str] = []
    for entry in features:
        found = [name for name in columns if fnmatchcase(name, entry)] if is_pattern(entry) else [entry]
        if not found:
            return f"the pattern {entry!r} stands for no column"
        if twice := [name for name in found if name in names]:
            return f"{entry!r} names {twice[0]!r}, which another entry names too,"
        names += found
    return tuple(names)


def natural(name: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key in which numbers count as numbers: pixel_2 comes before pixel_10."""
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part)
