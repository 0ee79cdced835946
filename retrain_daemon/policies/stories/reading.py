"""Tests of a policy in a `*.test.yaml` file: the file becomes the policy it is about and its tests, or problems with
line and column, all at once. What a single event or expectation says is in `events.py` and `hopes.py`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from retrain_daemon.core.policy import Policy
from retrain_daemon.core.timeline.expectations import At, Expectation, Story
from retrain_daemon.core.timeline.given import Ends, Given, Setting, Was
from retrain_daemon.errors import NotFound
from retrain_daemon.policies.file import MAX_BYTES
from retrain_daemon.policies.folder import Reading, read_policies
from retrain_daemon.policies.nodes import Document, MappingNode, Node, Problem, Scalar, Wrong, read_nodes
from retrain_daemon.policies.stories.events import Names, read_course, read_given
from retrain_daemon.policies.stories.hopes import read_expectation
from retrain_daemon.policies.stories.moments import absolute, moment, span
from retrain_daemon.policies.units import choice, count, mapping, sequence, word

SUFFIXES = (".test.yaml", ".test.yml")
#: Later things happen to no timeline.
MOST_EVENTS = 100_000

_KEYS = ("policy", "model", "start", "defaults", "tests")
_SETTING_KEYS = ("champion", "attempts", "last")
_TEST_KEYS = ("name", "start", "end", *_SETTING_KEYS, "given", "expect")
_NO_STORIES: tuple[Story, ...] = ()
_NOTHING_GIVEN: tuple[Given, ...] = ()
_NOTHING_EXPECTED: tuple[Expectation, ...] = ()
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class StoryFile:
    """What one file of tests says: the policy, its tests, and every problem; with a problem there is nothing to run."""

    source: str
    policy: Policy | None = None
    stories: tuple[Story, ...] = ()
    problems: tuple[Problem, ...] = ()


def story_files(path: Path) -> tuple[Path, ...]:
    """A file of tests, that beside a policy file, or those of a folder, sorted. Raises NotFound where there is none."""
    if not os.path.lexists(path):
        raise NotFound(f"There is no file or folder {path}.", "Name one that exists.")
    if not path.is_dir():
        return (path if path.name.endswith(SUFFIXES) else _beside(path),)
    found = sorted(each for each in path.iterdir() if each.name.endswith(SUFFIXES) and not each.name.startswith("."))
    if not found:
        raise NotFound(f"There is no test file in {path}.", "Names of test files end in .test.yaml.")
    return tuple(found)


def _beside(policy: Path) -> Path:
    names = [f"{policy.stem}{suffix}" for suffix in SUFFIXES]
    found = next((policy.with_name(name) for name in names if policy.with_name(name).is_file()), None)
    if found is None:
        raise NotFound(f"There is no test file {names[0]} beside {policy}.", "Names of test files end in .test.yaml.")
    return found


def read_stories(path: Path) -> StoryFile:
    """Read a file of tests and the policy it is about; never raises for what is in either."""
    source = str(path)
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
        decoded = content.decode("utf-8").removeprefix("\ufeff")
    except (OSError, ValueError) as error:
        return StoryFile(source=source, problems=(Problem(source, 0, 0, f"It cannot be read: {error}."),))
    return read_story_text(decoded, source, path.parent)


def read_story_text(content: str, source: str, folder: Path) -> StoryFile:
    """Given the text of a file of tests that lies in `folder`, what it says."""
    document = Document(source, content)
    root = read_nodes(document)
    if root is None:
        if not document.problems:
            document.problem(1, 1, "The file is empty.", "Write at least one test; docs/policies.md says how.")
        return StoryFile(source=source, problems=tuple(document.problems))
    found = root.called("the test file").read(lambda node: _file(mapping(node), document, folder), None)
    policy, stories = found if found is not None else (None, ())
    return StoryFile(source=source, policy=policy, stories=stories, problems=tuple(document.problems))


def _file(root: MappingNode, document: Document, folder: Path) -> tuple[Policy | None, tuple[Story, ...]]:
    root.expect(_KEYS).called("")
    root.require("start", "tests")
    policy = _policy(root, document, folder)
    start = root.take("start", absolute, _EPOCH)
    names = Names.of(policy)
    setting = root.take("defaults", lambda node: _defaults(node, names), Setting())
    tests = root.take("tests", lambda node: _tests(node, start, setting, names), _NO_STORIES)
    return policy, tests


def _policy(root: MappingNode, document: Document, folder: Path) -> Policy | None:
    """The policy that the file is about; what is wrong with it is a problem here too."""
    model = root.take("model", word, "")
    named = root.take("policy", word, "")
    stem = Path(document.source).name
    for suffix in SUFFIXES:
        stem = stem.removesuffix(suffix)
    path = folder / (named or f"{stem}.yaml")
    key: Node = root.keys.get("policy", root)
    if named.endswith(SUFFIXES):
        key.problem("`policy` names a file of tests.", "Name the file of the policy they are about.")
        return None
    if not path.is_file():
        hint = "" if named else "Name it: `policy: FILE.yaml`, relative to this file."
        key.problem(f"There is no policy file {path}.", hint)
        return None
    reading = read_policies(path)
    document.problems.extend(reading.problems)
    return _chosen(reading, model, root.keys.get("model", key), path) if not reading.problems else None


def _chosen(reading: Reading, model: str, key: Node, path: Path) -> Policy | None:
    """That for the model which is named; a file about one model needs none."""
    if reading.fleets:
        fleet = reading.fleets[0]
        if model and fleet.models.takes(model):
            return fleet.policy_for(model)
        problem = f"is not about the model `{model}`" if model else "is about several models"
        key.problem(f"{path} {problem}.", f"Name one that matches: {fleet.models}.")
        return None
    (policy,) = reading.policies
    if model not in ("", policy.model):
        key.problem(f"{path} is not about the model `{model}`.", f"It is about `{policy.model}`: leave `model` out.")
    return policy


def _tests(node: Node, start: datetime, setting: Setting, names: Names) -> tuple[Story, ...]:
    stories: list[Story] = []
    lines: dict[str, int] = {}
    for item in sequence(node):
        story = item.read(lambda entry: _test(mapping(entry), start, setting, names), None)
        if story is None:
            continue
        if story.name and story.name in lines:
            item.problem(f"Two tests have the name `{story.name}`.", f"The first is in line {lines[story.name]}.")
        lines.setdefault(story.name, story.line)
        stories.append(story)
    return tuple(stories)


def _test(test: MappingNode, start: datetime, setting: Setting, names: Names) -> Story:
    noted = len(test.document.problems)
    test.expect(_TEST_KEYS).require("name", "expect")
    begins = test.take("start", absolute, start)
    at = moment(begins)
    known = names.for_a_test()
    given = test.take("given", lambda node: _all_given(node, begins, known), _NOTHING_GIVEN)
    expected = test.take("expect", lambda node: _all_expected(node, begins, known), _NOTHING_EXPECTED)
    end = test.take("end", at, None)
    last = max((each.at if isinstance(each, At) else each.end for each in expected), default=begins)
    if end is None:
        end = last if not given else max(last, *(each.at for each in given))
    _note_late(test, begins, end)
    sound = len(test.document.problems) == noted
    if sound and not any(_says_something(each) or _is_reached(each, given) for each in expected):
        before = " before what is expected" if given else ""
        message = f"Nothing is given{before}, and nothing is expected to start: this holds for every policy."
        test.problem(message, "Give what must not start an attempt, or expect the `code` of the decision.")
    return Story(
        name=test.take("name", word, ""), line=test.line, start=begins, end=end,
        setting=_setting(test, setting, known), given=given, expected=expected,
    )  # fmt: skip


def _says_something(expected: Expectation) -> bool:
    """Whether it asks for more than that nothing starts."""
    if isinstance(expected, At):
        return bool(expected.code or expected.wanted or expected.rules)
    return expected.starts != 0


def _is_reached(expected: Expectation, given: tuple[Given, ...]) -> bool:
    """Whether something happens by then."""
    if isinstance(expected, At):
        return any(each.at <= expected.at for each in given)
    return any(each.at < expected.end for each in given)


def _note_late(test: MappingNode, start: datetime, end: datetime) -> None:
    """What happens, or is expected, after the end is never looked at."""
    if "end" not in test.entries:
        return
    for key in ("given", "expect"):
        items = getattr(test.entries.get(key), "items", [])
        for item in items:
            place = item.entries.get("at") if isinstance(item, MappingNode) else None
            if isinstance(place, Scalar) and _after(place, start, end):
                place.problem(f"`{place.value}` is after the end of the test.", "Move `end`, or leave it out.")


def _after(place: Scalar, start: datetime, end: datetime) -> bool:
    try:
        return moment(start)(place) > end
    except Wrong:  # noted before
        return False


def _all_given(node: Node, start: datetime, names: Names) -> tuple[Given, ...]:
    found: list[Given] = []
    for item in sequence(node):
        found += item.read(lambda entry: read_given(mapping(entry), start, names), _NOTHING_GIVEN)
        if len(found) > MOST_EVENTS:
            raise Wrong(f"More than {MOST_EVENTS:,} events are given.", "Write fewer `times`.")
    return tuple(found)


def _all_expected(node: Node, start: datetime, names: Names) -> tuple[Expectation, ...]:
    found = (item.read(lambda entry: read_expectation(mapping(entry), start, names), None) for item in sequence(node))
    return tuple(each for each in found if each is not None)


def _defaults(node: Node, names: Names) -> Setting:
    return _setting(mapping(node).expect(_SETTING_KEYS), Setting(), names)


def _setting(section: MappingNode, before: Setting, names: Names) -> Setting:
    version, age = section.take("champion", _champion, (before.version, before.age))
    return Setting(
        version=version,
        age=age,
        course=section.take("attempts", lambda node: read_course(node, before.course), before.course),
        last=section.take("last", _was, before.last),
    )


def _champion(node: Node) -> tuple[int | None, timedelta]:
    if isinstance(node, Scalar) and node.value == "none":
        return None, Setting().age
    if isinstance(node, Scalar):
        return count(1)(node), Setting().age
    section = mapping(node).expect(("version", "age"))
    return section.take("version", count(1), 1), section.take("age", span, Setting().age)


def _was(node: Node) -> Was:
    section = mapping(node).expect(("verdict", "age"))
    section.require("verdict")
    return Was(section.take("verdict", choice(Ends), Ends.REJECTED), section.take("age", span, timedelta(days=7)))


def all_problems(files: Iterable[StoryFile]) -> tuple[Problem, ...]:
    """Those of all files."""
    return tuple(dict.fromkeys(problem for file in files for problem in file.problems))
