"""A policy as a value: what one file says about one registered model, checked and with every default filled in.

Reading files and saying what is wrong in them lives in `policies/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from enum import StrEnum

Scalar = str | int | float | bool | None
#: What values are compared with: a number, or a moment with a time zone.
Bound = float | datetime
#: What a policy may give a hyperparameter: one value, a list of values, or values by name.
Hyperparameter = Scalar | tuple[Scalar, ...] | Mapping[str, Scalar]

DEFAULT_ALIAS = "champion"
DEFAULT_WITHIN = timedelta(hours=24)
PREVIOUS_ALIAS = "previous_champion"
#: Belongs to people: the version they want to have judged.
CHALLENGER_ALIAS = "challenger"
DEFAULT_MIN_ROWS = 200


class Mode(StrEnum):
    """How training continues from the champion."""

    REFIT = "refit"  #: same recipe, learned anew from the window
    WARM_START = "warm_start"  #: goes on from the champion's learned state, over the window
    INCREMENTAL = "incremental"  #: goes on from the champion's learned state, over rows it has not learned


@dataclass(frozen=True)
class Completion:
    """When a file counts as complete: renamed into place, unchanged for `settle`, or with a marker beside it.

    `marker` is a file name with `{name}` for the data file's name; with a marker only the marker counts.
    """

    settle: timedelta | None = timedelta(seconds=30)
    marker: str | None = None


class Outputs(StrEnum):
    """What the numbers are that a Keras or PyTorch model gives; scikit-learn models say it themselves."""

    LOGITS = "logits"  #: scores of classes before softmax, or before the sigmoid of two classes
    PROBABILITIES = "probabilities"  #: probabilities of classes
    VALUE = "value"  #: the predicted number, or one for each target column


@dataclass(frozen=True)
class Target:
    """The column to predict; `positive` names the class that binary metrics are about.

    `more` are further columns of a regression with several outputs, in their order. `classes` are the labels in the
    order of the model's outputs; empty where the model says them itself. Up to the share `unknown_classes` of the rows
    of a window may have other labels; such rows are set aside.
    """

    column: str
    positive: str | int | float | bool | None = None
    more: tuple[str, ...] = ()
    classes: tuple[str | int | float | bool, ...] = ()
    unknown_classes: float = 0.0

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns to predict, in the order of the model's outputs."""
        return (self.column, *self.more)


@dataclass(frozen=True)
class Window:
    """What training and judging see: at most one of the three is set, none means all rows."""

    age: timedelta | None = None
    rows: int | None = None
    files: int | None = None


@dataclass(frozen=True)
class Holdout:
    """Which rows judge: a `share` of all by stable hash, or those of the `newest` time span. Exactly one is set."""

    share: float | None = None
    newest: timedelta | None = None


@dataclass(frozen=True, kw_only=True)
class Expectation:
    """What every file must show in one column, or in each that a pattern with `*` and `?` stands for: values within the
    bounds, or of the allowed ones; at most the share `missing` of the rows without a value. None, and empty `values`:
    nothing is asked.
    """

    column: str
    at_least: Bound | None = None
    at_most: Bound | None = None
    values: tuple[str | int | float | bool, ...] = ()
    missing: float | None = None


class MissingFiles(StrEnum):
    """What is done while a recorded file is gone from its folder."""

    REFUSE = "refuse"  #: the model waits and names it
    SKIP = "skip"  #: it goes on without its rows


@dataclass(frozen=True, kw_only=True)
class DataSpec:
    """Where labelled rows come from and what they mean. `folder` is absolute, `pattern` a file name pattern in it.

    Empty `features` means the columns of the model's signature, in its order; its entries may be patterns with `*`
    and `?`. Empty `row_id` means all columns. `shape` is that of one row as a tensor, empty: as the signature has it.
    `weight` is a column of row weights for training. Rows younger than `label_delay` by their event time are not used
    yet. With `polling` no file events are asked for; with `follow_links` a symbolic link counts as the file it names.
    """

    folder: str
    pattern: str
    target: Target
    complete: Completion = Completion()
    features: tuple[str, ...] = ()
    group: str | None = None
    row_id: tuple[str, ...] = ()
    event_time: str | None = None
    window: Window = Window()
    holdout: Holdout = Holdout(share=0.2)
    shape: tuple[int, ...] = ()
    weight: str | None = None
    model_outputs: Outputs | None = None
    label_delay: timedelta | None = None
    expect: tuple[Expectation, ...] = ()
    missing: MissingFiles = MissingFiles.REFUSE
    polling: bool = False
    follow_links: bool = False


def unit_of(data: DataSpec) -> str:
    """What one unit of the leak check is: a group, or a row's features. Another unit's keys cannot be compared."""
    if data.group is not None:
        return f"group {data.group}"
    return f"features {', '.join(sorted(data.features))}" if data.features else "features of the signature"


@dataclass(frozen=True, kw_only=True)
class Space:
    """Values a search may give one hyperparameter: one of `choices`, or a number from `low` to `high`, both included.

    With `log` every order of magnitude is as likely as any other; with `step` only low, low + step, and so on. `whole`:
    both bounds are whole numbers, and so are the values between them.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    whole: bool = False
    choices: tuple[Scalar, ...] = ()


@dataclass(frozen=True)
class Search:
    """Try at most so many `trials`, and start none after `stop_after`; the best by `metric` is trained."""

    trials: int
    metric: str
    stop_after: timedelta | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train: mode, hyperparameters by name, limits of time, memory in bytes, processes and CPUs, GPUs to be
    handed out, tries after the first.

    `trainer` and `network` are "package.module:name" of the team's own training function and of what builds the
    network; `python` is the interpreter the worker runs in. Empty: none, and the daemon's own. `replay`: so many older
    rows, which were learned before, are mixed into an incremental training. `spaces` are hyperparameters by name that a
    `search` chooses; no name is in `hyperparameters` too.
    """

    mode: Mode = Mode.WARM_START
    hyperparameters: Mapping[str, Hyperparameter] = field(default_factory=dict)
    run_for: timedelta = timedelta(hours=2)
    memory: int | None = None
    processes: int | None = None
    cpus: float | None = None
    gpus: int = 0
    retries: int = 2
    trainer: str = ""
    network: str = ""
    python: str = ""
    replay: int = 0
    spaces: Mapping[str, Space] = field(default_factory=dict)
    search: Search | None = None


@dataclass(frozen=True)
class Schedule:
    """A cron line of five fields, as POSIX has them (0 and 7 are Sunday), on the clock of `timezone`. Its fact is true
    from each slot until an attempt starts after it, or `within` has passed.
    """

    cron: str
    timezone: str = "UTC"
    within: timedelta = DEFAULT_WITHIN


@dataclass(frozen=True)
class Upstream:
    """A model this one depends on: who its champion is says its `alias`."""

    model: str
    alias: str = DEFAULT_ALIAS


@dataclass(frozen=True)
class QuietHours:
    """From `begin` until before `end` on the clock of `timezone` nothing starts by itself; over midnight where `end` is
    earlier.
    """

    begin: time
    end: time
    timezone: str = "UTC"


@dataclass(frozen=True)
class Pace:
    """At least `cooldown` between the start of one attempt and the next; at most `per_day` starts in 24 hours; none in
    `quiet_hours`.
    """

    cooldown: timedelta | None = None
    per_day: int | None = None
    quiet_hours: tuple[QuietHours, ...] = ()


class Claim(StrEnum):
    """What a requirement asks of the challenger."""

    BETTER_BY = "better_by"  #: improvement beyond the threshold must be shown
    NOT_WORSE_BY = "not_worse_by"  #: harm beyond the threshold must be ruled out
    UNLESS_WORSE_BY = "unless_worse_by"  #: harm beyond the threshold must not be shown
    AT_LEAST = "at_least"  #: the challenger's own value must be shown to reach the threshold
    AT_MOST = "at_most"  #: the challenger's own value must be shown not to exceed the threshold


#: Claims about the difference between the two models; the others are about the challenger alone.
RELATIVE = frozenset({Claim.BETTER_BY, Claim.NOT_WORSE_BY, Claim.UNLESS_WORSE_BY})


@dataclass(frozen=True)
class Requirement:
    """One line of `promote.require`; the threshold is absolute, in the metric's unit.

    `slices` names a column: the claim, which is unless_worse_by, is about the rows of each of its values by themselves,
    those without a value among them. `min_rows`: so many rows that the metric is about there must be, in each slice
    where there are any. None: in slices and for unless_worse_by as many as the policy asks for at all, for other lines
    no number of their own. One that is only to `observe` is reported, and settles nothing.
    """

    metric: str
    claim: Claim
    threshold: float
    slices: str = ""
    min_rows: int | None = None
    observe: bool = False


@dataclass(frozen=True)
class Rule:
    """One line of `retrain`: when its CEL expression is true, its recipe is used, and `require` instead of the policy's
    own lines where it is not empty. One that is only to `observe` is reported, and starts nothing.
    """

    name: str
    when: str
    recipe: Recipe
    require: tuple[Requirement, ...] = ()
    observe: bool = False


class Then(StrEnum):
    """What becomes of a challenger of which nothing is shown after the last look."""

    KEEP = "keep"  #: the champion stays
    ASK = "ask"  #: a person decides


@dataclass(frozen=True)
class SecondLooks:
    """A challenger of which nothing is shown is judged again on `rows` more rows, `at_most` times; then `then`."""

    rows: int = 0
    at_most: int = 0
    then: Then = Then.KEEP


@dataclass(frozen=True)
class Approval:
    """A person must approve what the evidence would promote, `within` so long."""

    within: timedelta = timedelta(days=7)


class IfWorse(StrEnum):
    """What follows when a promoted version turns out to be worse than the one before it."""

    ROLLBACK = "rollback"  #: the alias goes back, the model is paused and someone is told
    NOTIFY = "notify"  #: someone is told


@dataclass(frozen=True)
class Watch:
    """After a promotion the version before it is compared on the next `rows` rows, at half of them and at all."""

    rows: int
    if_worse: IfWorse = IfWorse.ROLLBACK


class Register(StrEnum):
    """Which challengers become registered versions."""

    WINNERS = "winners"  #: those that are promoted, or wait for approval
    ALL = "all"  #: every one that was judged


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """What must hold before the alias moves, and what follows. `confidence` is one-sided, for each bound. Without
    `approval` nobody is asked, without `watch` nothing is compared afterwards.
    """

    require: tuple[Requirement, ...]
    confidence: float = 0.95
    min_rows: int = DEFAULT_MIN_ROWS
    inconclusive: SecondLooks = SecondLooks()
    approval: Approval | None = None
    watch: Watch | None = None
    register: Register = Register.WINNERS


@dataclass(frozen=True, kw_only=True)
class Policy:
    """Everything one policy file says about one model. `requested` is the recipe of a person's request."""

    model: str
    data: DataSpec
    rules: tuple[Rule, ...]
    promote: Promotion
    alias: str = DEFAULT_ALIAS
    description: str = ""
    requested: Recipe = Recipe()
    pace: Pace = Pace()
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    upstream: Mapping[str, Upstream] = field(default_factory=dict)
    source: str = ""
    text: str = ""
    digest: str = ""

    @property
    def names(self) -> Names:
        """What it names itself, for its rules."""
        return Names(tuple(self.schedules), tuple(self.upstream))


@dataclass(frozen=True)
class Names:
    """What a policy names itself and its rules may ask about: its schedules, and the models it depends on."""

    schedules: tuple[str, ...] = ()
    upstream: tuple[str, ...] = ()


def promotion_of(policy: Policy, rule: str) -> Promotion:
    """What must hold for an attempt that `rule` began: its own lines where it has any."""
    own = next((each.require for each in policy.rules if each.name == rule), ())
    return replace(policy.promote, require=own) if own else policy.promote
