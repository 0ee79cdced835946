"""Requirements of a challenger: the names of the champion's list, versions as installed in this worker.

Works on lines of a requirements file; reading and writing such files is elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

#: Its models are only meant for the very version they were made with, so that minor versions count as well.
_PROMISES_NOTHING = "scikit-learn"


@dataclass(frozen=True)
class Requirements:
    """Lines for the challenger, and sentences about what differs from the champion's environment."""

    lines: tuple[str, ...]
    notes: tuple[str, ...]


def as_installed(lines: Iterable[str], needed: Iterable[str]) -> Requirements:
    """Pin each name of `lines`, then of `needed` where missing, to the version installed here.

    What is not installed, and lines that are no plain requirement (options, URLs), stay as they are and are noted.
    """
    pinned: dict[str, str] = {}
    notes: list[str] = []
    for line in lines:
        name, text, note = _pin(line)
        pinned.setdefault(name, text)
        notes += [note] if note else []
    for name in needed:
        pinned.setdefault(canonicalize_name(name), f"{name}=={metadata.version(name)}")
    return Requirements(tuple(pinned.values()), tuple(notes))


def differing(lines: Iterable[str]) -> tuple[str, ...]:
    """A sentence for each library that is installed here in another major version than the model was trained with."""
    found = (requirement for line in lines if (requirement := _plain(line)) is not None)
    pairs = ((requirement, _installed(requirement.name)) for requirement in found)
    notes = (_other_major(requirement, installed) for requirement, installed in pairs if installed is not None)
    return tuple(note for note in notes if note)


def _plain(line: str) -> Requirement | None:
    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def _pin(line: str) -> tuple[str, str, str]:
    """One line: its name, the line to write, and a note or ""."""
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return line, line, f"The requirement {line!r} is kept as the champion has it."
    name = canonicalize_name(requirement.name)
    installed = _installed(requirement.name)
    if requirement.url or installed is None:
        return name, line, f"The requirement {line!r} is kept as the champion has it: not installed in this worker."
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    marker = f"; {requirement.marker}" if requirement.marker else ""
    return name, f"{requirement.name}{extras}=={installed}{marker}", ""


def _installed(name: str) -> Version | None:
    try:
        return Version(metadata.version(name))
    except (metadata.PackageNotFoundError, InvalidVersion):
        return None


def _other_major(requirement: Requirement, installed: Version) -> str:
    exact = [specifier.version for specifier in requirement.specifier if specifier.operator == "=="]
    if not exact or exact[0].endswith("*"):
        return ""
    trained = Version(exact[0])
    depth = 2 if canonicalize_name(requirement.name) == _PROMISES_NOTHING else 1
    if trained.release[:depth] == installed.release[:depth]:
        return ""
    was, here = (f"{version.major}.{version.minor}" for version in (trained, installed))
    return f"The champion was trained with {requirement.name} {was}, this worker has {here}."
