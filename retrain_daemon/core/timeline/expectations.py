"""What a test of a policy expects, and how that differs from what was decided on its timeline.

An expectation that cannot be evaluated, as where the daemon does not run, is a difference too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from retrain_daemon.core.decide import Action, Decision, RuleReport
from retrain_daemon.core.policy import Hyperparameter, Mode, Policy
from retrain_daemon.core.timeline.given import Given, Setting
from retrain_daemon.core.timeline.playing import Look, Start, Timeline, play

#: How a rule stands, in the words of tests.
STANDS: Mapping[str, bool | None] = {"holds": True, "does not hold": False, "unknown": None}
_STANDS_AS = {holds: words for words, holds in STANDS.items()}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked of a decision to start: that it trains or judges, its rule, and of its recipe the mode and these
    hyperparameters. Empty and None ask nothing.
    """

    action: Action | None = None
    rule: str = ""
    code: str = ""
    mode: Mode | None = None
    hyperparameters: Mapping[str, Hyperparameter] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class At:
    """At one moment, after all that happens then: nothing starts or is under way, for the reason `code` where it is not
    empty; or an attempt as `wanted` is; and so these rules stand.
    """

    line: int
    at: datetime
    waits: bool = False
    code: str = ""
    wanted: Wanted | None = None
    rules: Mapping[str, bool | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Between:
    """From `begin` until before `end` so many attempts start, of those that are `wanted`; None: at least one."""

    line: int
    begin: datetime
    end: datetime
    starts: int | None
    wanted: Wanted = Wanted()


Expectation = At | Between


@dataclass(frozen=True, kw_only=True)
class Story:
    """One test: its name, the world it begins in, what happens from `start` to `end`, and what is expected."""

    name: str
    line: int
    start: datetime
    end: datetime
    setting: Setting
    given: tuple[Given, ...]
    expected: tuple[Expectation, ...]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """An expectation that is not met: what was `expected` from `begin` to `end`, and what was `found`."""

    line: int
    begin: datetime
    end: datetime
    expected: str
    found: str


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one test came out."""

    story: Story
    timeline: Timeline
    differences: tuple[Difference, ...]

    @property
    def passed(self) -> bool:
        """Whether everything expected is so."""
        return not self.differences


def run(policy: Policy, story: Story) -> Result:
    """Given a policy and a test of it, how it comes out."""
    wanted = [each.at for each in story.expected if isinstance(each, At)]
    timeline = play(policy, story.setting, story.given, wanted, story.start, story.end)
    differences = (*_idle(story, timeline), *_differences(story.expected, timeline))
    return Result(story=story, timeline=timeline, differences=differences)


def _idle(story: Story, timeline: Timeline) -> Iterable[Difference]:
    """What is given and changes nothing does not try what it was meant to."""
    for each in timeline.idle:
        expected = f"given, {each.event} changes something"
        yield Difference(line=story.line, begin=each.at, end=each.at, expected=expected, found=each.why)


def _differences(expected: Iterable[Expectation], timeline: Timeline) -> Iterable[Difference]:
    for each in expected:
        found = _at(each, timeline) if isinstance(each, At) else _between(each, timeline)
        if found is not None:
            yield found


def _at(expected: At, timeline: Timeline) -> Difference | None:
    look = timeline.looks.get(expected.at)
    found = "nothing was decided: the daemon does not run then"
    if look is not None and look.decision is not None:
        found = _decided_otherwise(expected, look, timeline) or _rules_otherwise(expected, look.decision)
    if not found:
        return None
    return Difference(
        line=expected.line, begin=expected.at, end=expected.at, expected=_spoken_at(expected), found=found
    )


def _decided_otherwise(expected: At, look: Look, timeline: Timeline) -> str:
    """What was decided, where it is not what was expected. An attempt under way is what was decided when it began."""
    assert look.decision is not None
    start = _start_of(look.under_way, timeline)
    if expected.waits:
        met = look.decision.code == expected.code if expected.code else start is None
    else:
        met = expected.wanted is None or (start is not None and _is_wanted(start, expected.wanted))
    return "" if met else _spoken_decision(look, timeline)


def _rules_otherwise(expected: At, decision: Decision) -> str:
    reports = {report.name: report for report in decision.rules}
    wrong = [
        f"rule “{name}” {_STANDS_AS[reports[name].holds]}{_why(reports[name])}"
        for name, holds in expected.rules.items()
        if reports[name].holds is not holds
    ]
    return "; ".join(wrong)


def _why(report: RuleReport) -> str:
    missing = ", ".join(f"{name} not known" for name in report.missing)
    values = ", ".join(f"{name} is {value}" for name, value in report.values)
    told = missing or report.problem or values
    return f" ({told})" if told else ""


def _between(expected: Between, timeline: Timeline) -> Difference | None:
    inside = [start for start in timeline.starts if expected.begin <= start.at < expected.end]
    wanted = [start for start in inside if _is_wanted(start, expected.wanted)]
    if len(wanted) == expected.starts or (expected.starts is None and wanted):
        return None
    return Difference(
        line=expected.line, begin=expected.begin, end=expected.end, expected=_spoken_between(expected),
        found=_spoken_starts(inside),
    )  # fmt: skip


def _is_wanted(start: Start, wanted: Wanted) -> bool:
    if wanted.rule not in ("", start.decision.rule) or wanted.code not in ("", start.decision.code):
        return False
    if wanted.mode not in (None, start.recipe.mode) or wanted.action not in (None, start.decision.action):
        return False
    given = start.recipe.hyperparameters
    return all(name in given and given[name] == value for name, value in wanted.hyperparameters.items())


def _start_of(attempt: str, timeline: Timeline) -> Start | None:
    return next((start for start in reversed(timeline.starts) if start.attempt == attempt), None)


# In words.


def _spoken_at(expected: At) -> str:
    parts = [
        f"wait{f' ({expected.code})' if expected.code else ''}" if expected.waits else "",
        _spoken_wanted(expected.wanted) if expected.wanted else "",
        *(f"rule “{name}” {_STANDS_AS[holds]}" for name, holds in expected.rules.items()),
    ]
    return ", ".join(filter(None, parts))


def _spoken_between(expected: Between) -> str:
    count = "at least one attempt starts" if expected.starts is None else _attempts_start(expected.starts)
    return ", ".join(filter(None, (count, _spoken_wanted(expected.wanted))))


def _attempts_start(count: int) -> str:
    return "no attempt starts" if not count else f"{count} attempt starts" if count == 1 else f"{count} attempts start"


def _spoken_wanted(wanted: Wanted) -> str:
    parts = [
        wanted.action.value if wanted.action else "",
        f"rule “{wanted.rule}”" if wanted.rule else "",
        wanted.code,
        f"mode {wanted.mode.value}" if wanted.mode else "",
        *(f"{name} = {value}" for name, value in wanted.hyperparameters.items()),
    ]
    return ", ".join(filter(None, parts))


def _spoken_decision(look: Look, timeline: Timeline) -> str:
    assert look.decision is not None
    start = _start_of(look.under_way, timeline)
    if start is None:
        return f"wait ({look.decision.code}): {look.decision.sentence}"
    return f"attempt {start.attempt} is under way: {_spoken_start(start)}"


def _spoken_starts(starts: list[Start]) -> str:
    if not starts:
        return "no attempt starts"
    told = "; ".join(_spoken_start(start) for start in starts[:3])
    more = f"; and {len(starts) - 3} more" if len(starts) > 3 else ""
    return f"{_attempts_start(len(starts))}: {told}{more}"


def _spoken_start(start: Start) -> str:
    given = "".join(f", {name} = {value}" for name, value in start.recipe.hyperparameters.items())
    rule = start.decision.rule
    how = f"{start.decision.action.value} by rule “{rule}”, mode {start.recipe.mode.value}{given}"
    return f"{how} at {start.at:%Y-%m-%d %H:%M:%S} UTC"
