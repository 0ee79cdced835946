"""The jobs about policies, as values: one held against its model and its data, and what a first one could say. Part of
the contract that `job.py` writes and reads; imports no framework and nothing of the daemon.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from retrain_daemon.core.policy import DataSpec, Recipe
from retrain_daemon.worker.data_jobs import Source
from retrain_daemon.worker.model_jobs import ModelInspected


@dataclass(frozen=True, kw_only=True)
class KeyedRecipe:
    """A recipe and the policy's key for it, such as `retrain[0].train`; `changed` is what it says otherwise than the
    policy's own `train`: names of fields of `Recipe`, and of hyperparameters; empty for `train` itself. One that is
    only for `requests` by people starts nothing by itself.
    """

    key: str
    recipe: Recipe
    changed: tuple[str, ...] = ()
    requests: bool = False


@dataclass(frozen=True, kw_only=True)
class Named:
    """What a policy names under a key: a metric, or a column."""

    key: str
    name: str


@dataclass(frozen=True, kw_only=True)
class CheckPolicy:
    """Hold a policy against the registered version and against the file `reference` ("": there is none).

    With a reason in `untrusted` nothing of the version is loaded. `metrics` and `slices` are what the policy names
    where; `code_folder` may hold modules that its recipes name.
    """

    kind: Literal["check_policy"] = "check_policy"
    source: Source
    untrusted: str = ""
    data: DataSpec
    recipes: tuple[KeyedRecipe, ...]
    metrics: tuple[Named, ...] = ()
    slices: tuple[Named, ...] = ()
    reference: str = ""
    code_folder: str = ""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One disagreement, at a key of the policy. A `warning` keeps nothing from being done."""

    key: str
    message: str
    hint: str = ""
    warning: bool = False


@dataclass(frozen=True, kw_only=True)
class PolicyChecked:
    """Result of `CheckPolicy`: every disagreement, in the order they were found."""

    kind: Literal["policy_checked"] = "policy_checked"
    findings: tuple[Finding, ...]


@dataclass(frozen=True, kw_only=True)
class SketchPolicy:
    """Find out what a first policy for the registered version could say. `folder` holds the files, "" where nobody
    named one; `target` is the column to predict and `classes` are in the order of a network's outputs, where a person
    said so.
    """

    kind: Literal["sketch_policy"] = "sketch_policy"
    source: Source
    untrusted: str = ""
    folder: str = ""
    pattern: str = ""
    target: str = ""
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FilesSeen:
    """What lies in a data folder: the file name `pattern` of one kind, how many `files`, the `rows` of the newest, and
    of all of them `rows_in_all` by its size. `others` are files of other kinds. `beside` are columns that the model
    does not take, `times` those among them that hold times.
    """

    pattern: str
    files: int
    newest: str
    rows: int
    rows_in_all: int
    others: int = 0
    beside: tuple[str, ...] = ()
    times: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PolicySketched:
    """Result of `SketchPolicy`. `mode` is the one to begin with; `features`, `shape`, `model_outputs` and `classes` are
    empty where the policy need not say them; `columns` is how many features there are. `why_outputs` says by what the
    outputs were told, `agreement` in which share of the first rows the model is right with these classes. `known` are
    the classes that the model says itself. `files` is None where no folder was named.
    """

    kind: Literal["policy_sketched"] = "policy_sketched"
    inspected: ModelInspected
    mode: str
    task: str
    target: str
    network: bool = False
    probabilities: bool = False
    features: tuple[str, ...] = ()
    columns: int = 0
    shape: tuple[int, ...] = ()
    model_outputs: str = ""
    why_outputs: str = ""
    classes: tuple[str | int | float | bool, ...] = ()
    agreement: float | None = None
    known: tuple[str, ...] = ()
    files: FilesSeen | None = None
