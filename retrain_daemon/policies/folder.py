"""Finds, reads and re-reads policy files: policies for the daemon, problems with file:line:column for people.

What a file may say is in `file.py`. A file that went bad never replaces the policy that is in force.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from retrain_daemon.core.names import NO_MODELS, Listing
from retrain_daemon.core.policy import Policy
from retrain_daemon.errors import NotFound
from retrain_daemon.policies.expansion import expand
from retrain_daemon.policies.file import MAX_BYTES, FileReading, read_bytes, read_text
from retrain_daemon.policies.fleet import Fleet
from retrain_daemon.policies.nodes import Problem, shown_path
from retrain_daemon.policies.upstream import warn_of_circle

_SUFFIXES = (".yaml", ".yml")
_TEST_SUFFIXES = (".test.yaml", ".test.yml")


@dataclass(frozen=True)
class Reading:
    """What files say: the policies without problems, every problem, and warnings about policies without problems.

    `fleets` are the files about several models; those of their models that are known have their policies too, and
    `about_models` are warnings that no file can be blamed for.
    """

    policies: tuple[Policy, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    fleets: tuple[Fleet, ...] = ()
    about_models: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class PolicySet:
    """What files say and is in force. `changed` since the last refresh; `kept` are files whose last good version is in
    force. `named` are models that some file is about by name, also one that is wrong: no fleet takes them up.
    """

    policies: tuple[Policy, ...]
    problems: tuple[Problem, ...]
    changed: bool
    kept: tuple[str, ...]
    fleets: tuple[Fleet, ...] = ()
    named: frozenset[str] = frozenset()


def read_policy_text(text: str, source: str, folder: str) -> Reading:
    """Given the text of one policy file, its policy or its problems; relative paths start at `folder`."""
    return PolicyFiles({source: read_text(text, source, folder)}).reading()


def read_policies(path: Path, models: Listing = NO_MODELS) -> Reading:
    """Read a policy file, or the policy files of a folder; of fleets the policies of those of `models` that match.

    Raises NotFound if the path does not exist.
    """
    return read_files(path).reading(models)


def read_files(path: Path, contents: Mapping[str, str] | None = None) -> PolicyFiles:
    """The same before it is known which models there are; `contents` are what files said that are in force, by path: a
    wrong file keeps its own. Raises NotFound if the path does not exist.
    """
    before = _readings_of(contents or {}, path)
    if not os.path.lexists(path):
        raise NotFound(f"There is no policy file or folder {path}.", "Name one that exists.")
    try:
        files = _files(path)
    except OSError as error:
        return PolicyFiles({str(path): FileReading(None, (_unreadable(str(path), error),))})
    said = {file: good for file, reading in before.items() if (good := _said_by(reading)) is not None}
    return PolicyFiles({file: _read(file) for file in files}, said)


class PolicyFiles:
    """Files that were read once, and what was in force before by file."""

    def __init__(self, readings: Mapping[str, FileReading], before: Mapping[str, Policy | Fleet] | None = None) -> None:
        self._readings = readings
        self._said, self._clashes = _settled(readings, before or {})

    @property
    def fleets(self) -> tuple[Fleet, ...]:
        """Files about several models that have no problems."""
        return _fleets(self._said)

    def reading(self, models: Listing = NO_MODELS) -> Reading:
        """What they say, of fleets the policies of those of `models` that match."""
        policies, fleets = _policies(self._said), self.fleets
        warnings = tuple(warning for _, found in sorted(self._readings.items()) for warning in found.warnings)
        of = expand(policies, fleets, _named(self._readings), dict.fromkeys((f.source for f in fleets), models), {}, {})
        problems = (*_problems(self._readings), *self._clashes, *of.problems)
        every = tuple(of.policies.values())
        return Reading(every, problems, (*warnings, *warn_of_circle(every)), fleets, of.warnings)


class PolicyFolder:
    """A folder of policy files, or a single one, read again whenever something in it changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._signatures: dict[str, _Signature] = {}
        self._readings: dict[str, FileReading] = {}
        self._in_force: dict[str, Policy | Fleet] = {}
        self._last: PolicySet | None = None
        self._was_unreachable = False

    @property
    def files(self) -> tuple[str, ...]:
        """The files that were read last."""
        return tuple(self._readings)

    def take_up(self, contents: Mapping[str, str]) -> None:
        """Before the first look: what files said in an earlier life, by path, as if they had been read then."""
        for file, reading in _readings_of(contents, self._path).items():
            said = _said_by(reading)
            if said is not None:
                self._readings[file] = reading
                self._in_force[file] = said

    def refresh(self) -> PolicySet:
        """The policies in force now; never raises for what is wrong with files or folder."""
        unreachable, changed = self._look()
        if self._last is not None and not changed and unreachable is None and not self._was_unreachable:
            return replace(self._last, changed=False)
        self._was_unreachable = unreachable is not None
        self._in_force, clashes = _settled(self._readings, self._in_force)
        problems = (*((unreachable,) if unreachable else ()), *_problems(self._readings), *clashes)
        kept = tuple(file for file, said in self._in_force.items() if _said_by(self._readings[file]) != said)
        found = PolicySet(
            _policies(self._in_force), problems, True, kept, _fleets(self._in_force), _named(self._readings)
        )  # fmt: skip
        self._last, before = found, self._last
        return found if found != before else replace(found, changed=False)

    def _look(self) -> tuple[Problem | None, bool]:
        """Read what changed and forget files that are gone; a folder that cannot be listed leaves all as it was.
        Returns that problem, and whether anything was read or forgotten.
        """
        try:
            files = _files(self._path)
        except OSError as error:
            return _unreadable(str(self._path), error), False
        changed = False
        for gone in self._readings.keys() - files:
            changed = True
            self._readings.pop(gone)
            self._in_force.pop(gone, None)
            self._signatures.pop(gone, None)
        for file in files:
            signature = _signature(file)
            if signature is None or self._signatures.get(file) != signature:
                changed = True
                self._readings[file] = _read(file)
                self._remember(file, signature)
        return None, changed

    def _remember(self, file: str, signature: _Signature | None) -> None:
        """A file that changed while it was read has no signature, so that it is read again next time."""
        if signature is not None and _signature(file) == signature:
            self._signatures[file] = signature
        else:
            self._signatures.pop(file, None)


_Signature = tuple[int, int, int, int]


def _signature(file: str) -> _Signature | None:
    """What changes when a file does; None if it cannot be told."""
    try:
        found = os.stat(file)  # noqa: PTH116 (a thousand files at each look)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _files(path: Path) -> list[str]:
    """The policy files at a path, sorted; raises OSError if it is neither a file nor a folder that can be listed."""
    if not stat.S_ISDIR(path.stat().st_mode):
        return [str(path)]
    names = os.listdir(path)  # noqa: PTH208 (a thousand names at each look)
    return sorted(os.path.join(path, name) for name in names if _is_policy_file(name))  # noqa: PTH118 (the same)


def _is_policy_file(name: str) -> bool:
    return name.endswith(_SUFFIXES) and not name.endswith(_TEST_SUFFIXES) and not name.startswith(".")


def _read(file: str) -> FileReading:
    """One file's reading; a file that cannot be read is a problem of it."""
    path = Path(file)
    if not _is_text(file):
        message = "The name of this file, or of its folder, is no text in UTF-8."
        return FileReading(None, (Problem(shown_path(file), 0, 0, message, "Rename it."),))
    try:
        # A pipe or a device would block the reader for ever.
        if not stat.S_ISREG(path.stat().st_mode):
            return FileReading(None, (Problem(shown_path(file), 0, 0, "This is not a file.", "Move it elsewhere."),))
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        return FileReading(None, (_unreadable(file, error),))
    reading = read_bytes(content, shown_path(file), str(path.absolute().parent))
    return _from_file(reading, file)


def _is_text(path: str) -> bool:
    """Whether it can be written into journal and log; a name on disk is any bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _readings_of(contents: Mapping[str, str], path: Path) -> dict[str, FileReading]:
    """Given what files said, by path, what that means, of those that are at `path` or in it: no others are read now."""
    here = {file: content for file, content in contents.items() if path in (Path(file), Path(file).parent)}
    return {
        file: _from_file(read_text(content, shown_path(file), str(Path(file).absolute().parent)), file)
        for file, content in here.items()
    }


def _from_file(reading: FileReading, file: str) -> FileReading:
    """With the path as it is, which may have no text."""
    if reading.policy:
        return replace(reading, policy=replace(reading.policy, source=file))
    if reading.fleet:
        return replace(reading, fleet=replace(reading.fleet, template=replace(reading.fleet.template, source=file)))
    return reading


def _said_by(reading: FileReading) -> Policy | Fleet | None:
    return reading.policy or reading.fleet


def _policies(said: Mapping[str, Policy | Fleet]) -> tuple[Policy, ...]:
    return tuple(each for each in said.values() if isinstance(each, Policy))


def _fleets(said: Mapping[str, Policy | Fleet]) -> tuple[Fleet, ...]:
    return tuple(each for each in said.values() if isinstance(each, Fleet))


def _named(readings: Mapping[str, FileReading]) -> frozenset[str]:
    return frozenset(found.names for found in readings.values() if found.names)


def _problems(readings: Mapping[str, FileReading]) -> tuple[Problem, ...]:
    return tuple(problem for _, found in sorted(readings.items()) for problem in found.problems)


def _settled(
    readings: Mapping[str, FileReading], before: Mapping[str, Policy | Fleet]
) -> tuple[dict[str, Policy | Fleet], tuple[Problem, ...]]:
    """Given what files say and what was in force, what is in force by file, no two policies for one model.

    A file that says nothing good keeps what it said. Of several files for one model only the one that already had it
    stays; the others keep what they had, and a problem names both places.
    """
    wanted = {file: _said_by(found) or before.get(file) for file, found in sorted(readings.items())}
    settled = {file: said for file, said in wanted.items() if said}
    problems: list[Problem] = []
    # Who falls back to an earlier policy may meet a newcomer for that model, so look again until none clashes.
    while newcomers := _newcomers(settled, before):
        for file, (model, other) in newcomers.items():
            problems.append(_clash(readings[file], model, file, other, readings[other].line))
        for file in newcomers:
            if file in before:
                settled[file] = before[file]
            else:
                del settled[file]
    return settled, tuple(problems)


def _newcomers(said: Mapping[str, Policy | Fleet], before: Mapping[str, Policy | Fleet]) -> dict[str, tuple[str, str]]:
    """Files whose policy is for a model that another file has too, with both; not the one that had it before."""
    models = {file: each.model for file, each in said.items() if isinstance(each, Policy)}
    files: dict[str, list[str]] = {}
    for file, model in models.items():
        files.setdefault(model, []).append(file)
    return {
        file: (model, next(other for other in files[model] if other != file))
        for file, model in models.items()
        if len(files[model]) > 1 and not _had(before.get(file), model)
    }


def _had(before: Policy | Fleet | None, model: str) -> bool:
    return isinstance(before, Policy) and before.model == model


def _clash(reading: FileReading, model: str, file: str, other: str, line: int) -> Problem:
    message = f"The model `{model}` has another policy in {shown_path(other)}:{line}."
    return Problem(shown_path(file), reading.line, reading.column, message, "Keep one of them.")


def _unreadable(file: str, error: OSError) -> Problem:
    return Problem(
        shown_path(file), 0, 0, f"It cannot be read: {error.strerror or error}.", "Check that it is there and readable."
    )
