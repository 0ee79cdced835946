"""`retraind test`: policies tried on virtual timelines, as their `*.test.yaml` files say."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from retrain_daemon.cli import complaining
from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.complaining import print_problems, wants_colours, with_lines
from retrain_daemon.cli.output import print_json
from retrain_daemon.core.timeline.expectations import Difference, Result, run
from retrain_daemon.core.timeline.playing import Moment
from retrain_daemon.errors import PolicyProblems
from retrain_daemon.policies.nodes import plain
from retrain_daemon.policies.stories.reading import StoryFile, all_problems, read_stories, story_files
from retrain_daemon.settings import Settings

#: The exit code where a test does not pass.
FAILED = 1
#: So many lines of the timeline are shown before what is not as expected, and after it.
_BEFORE, _AFTER = 8, 4
_MOST_LINES = 60
#: A decision that follows from the one before it, and one whose sentence tells of all rules.
_UNDER_WAY, _NO_RULE = "attempt_open", "no_rule_holds"


@dataclass(frozen=True, kw_only=True)
class TestReport:
    """One test for programs; `differences` is empty where it passed."""

    file: str
    name: str
    line: int
    passed: bool
    differences: tuple[Difference, ...]


def test(arguments: Arguments, settings: Settings) -> int:
    """Exit code 0 if all pass, 1 if one does not, 3 where a file has problems."""
    path = Path(arguments.path) if arguments.path else settings.policies
    files = [read_stories(each) for each in story_files(path)]
    problems = all_problems(files)
    if problems:
        said = with_lines(problems)
        if arguments.json:
            complaining.print_json(said)
        else:
            print_problems(said, wants_colours(os.environ))
        return PolicyProblems.exit_code
    results = [(file, run(file.policy, story)) for file in files if file.policy for story in file.stories]
    if arguments.json:
        print_json([_report(file, result) for file, result in results])
    else:
        for file, result in results:
            _print(file, result, whole=arguments.verbose)
        failed = sum(not result.passed for _, result in results)
        print(f"tests passed: {len(results) - failed}, failed: {failed}, files: {len(files)}")
    return 0 if all(result.passed for _, result in results) else FAILED


def _report(file: StoryFile, result: Result) -> TestReport:
    story = result.story
    return TestReport(
        file=file.source, name=story.name, line=story.line, passed=result.passed, differences=result.differences
    )


def _print(file: StoryFile, result: Result, *, whole: bool) -> None:
    source = plain(file.source)
    print(f"{'ok    ' if result.passed else 'FAILED'}  {source}: {result.story.name}")
    for difference in result.differences:
        begin, end = difference.begin, difference.end
        print(f"    {source}:{difference.line}: {_when(result, begin, end)}")
        print(f"      expected: {difference.expected}")
        print(f"      but:      {difference.found}")
        if not whole:
            _print_moments(result, _around(result.timeline.moments, begin, end), difference)
    if whole:
        _print_moments(result, result.timeline.moments, None)


def _when(result: Result, begin: datetime, end: datetime) -> str:
    start = result.story.start
    at = f"at {_relative(begin - start)} ({begin:%Y-%m-%d %H:%M:%S} UTC)"
    if begin == end:
        return at
    return f"from {at.removeprefix('at ')} until {_relative(end - start)} ({end:%Y-%m-%d %H:%M:%S} UTC)"


def _around(moments: Sequence[Moment], begin: datetime, end: datetime) -> Sequence[Moment]:
    """What happened shortly before and after; of a long span its beginning and its end."""
    first = next((index for index, each in enumerate(moments) if each.at >= begin), len(moments))
    last = next((index for index, each in enumerate(moments) if each.at > end), len(moments))
    return moments[max(first - _BEFORE, 0) : last + _AFTER]


def _print_moments(result: Result, moments: Sequence[Moment], difference: Difference | None) -> None:
    shown = (moment for moment in moments if moment.decision is None or moment.decision.code != _UNDER_WAY)
    lines = [line for moment in shown for line in _lines(result, moment, difference)]
    if difference is not None and len(lines) > _MOST_LINES:
        half = _MOST_LINES // 2
        lines = [*lines[:half], f"        ... {len(lines) - _MOST_LINES} more lines: retraind test -v", *lines[-half:]]
    for line in lines:
        print(line)


def _lines(result: Result, moment: Moment, difference: Difference | None) -> Iterator[str]:
    """When it was, and what; of a decision also how each rule stands."""
    inside = difference is not None and difference.begin <= moment.at <= difference.end
    after = _relative(moment.at - result.story.start)
    head = f"      {'>' if inside else ' '} {after:>12}  {moment.at:%Y-%m-%d %H:%M:%S}"
    if moment.decision is None:
        yield f"{head}  {moment.happened}"
        return
    decision = moment.decision
    begins = f"{decision.action.value} ({decision.code}), attempt {moment.attempt}" if moment.attempt else ""
    yield f"{head}  decided {begins or f'wait ({decision.code})'}: {decision.sentence}"
    if decision.code == _NO_RULE:
        return
    for rule in decision.rules:
        stands = {True: "holds", False: "does not hold", None: "unknown"}[rule.holds]
        values = ", ".join(f"{name} is {value}" for name, value in rule.values)
        yield f"{'':>39}  “{rule.name}” {stands}: {values or rule.when}"


def _relative(span: timedelta) -> str:
    """A time after the start: `0`, `70m`, `3d 4h 30m`."""
    seconds = int(span.total_seconds())
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        parts += [f"{count}{unit}"] if count else []
    return " ".join(parts) or "0"
