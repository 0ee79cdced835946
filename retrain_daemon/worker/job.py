"""The contract between daemon and worker: `job.json` in, `progress.json` meanwhile, `result.json` out.

Written and read by both sides, so it imports no framework and nothing of the daemon. A file becomes true by rename.
A job is for the version of this project that wrote it: another one may take the same words for something else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, TypeAdapter

from retrain_daemon import __version__
from retrain_daemon.core.evidence import Challenger, Evidence
from retrain_daemon.core.policy import DataSpec, Recipe, Requirement, Scalar
from retrain_daemon.worker.data_jobs import (
    AccountRows,
    CompareVersions,
    DriftMeasured,
    DropDrift,
    DropFile,
    DropReport,
    DropScore,
    DropsInspected,
    DropsScored,
    InspectDrops,
    LearnedRecorded,
    MeasureDrift,
    ProfiledDrop,
    RecordLearned,
    RowsAccounted,
    RowsOfDrop,
    RowsOfVersion,
    ScoreDrops,
    Side,
    Source,
    VersionRecord,
    VersionsCompared,
    dated,
)
from retrain_daemon.worker.durable import write_whole
from retrain_daemon.worker.model_jobs import InspectModel, ModelInspected, ModeReport
from retrain_daemon.worker.policy_jobs import (
    CheckPolicy,
    FilesSeen,
    Finding,
    KeyedRecipe,
    Named,
    PolicyChecked,
    PolicySketched,
    SketchPolicy,
)
from retrain_daemon.worker.report_job import ReportWritten, WriteReport

__all__ = [
    "ATTEMPT_TAG",
    "KEY_TAG",
    "AccountRows",
    "Anchor",
    "Challenger",
    "CheckPolicy",
    "CompareVersions",
    "DriftMeasured",
    "DropDrift",
    "DropFile",
    "DropReport",
    "DropScore",
    "DropsInspected",
    "DropsScored",
    "Failed",
    "FilesSeen",
    "Finding",
    "InspectDrops",
    "InspectModel",
    "Job",
    "KeyedRecipe",
    "LearnedRecorded",
    "MeasureDrift",
    "ModeReport",
    "ModelInspected",
    "Named",
    "OtherVersion",
    "PolicyChecked",
    "PolicySketched",
    "ProfiledDrop",
    "Progress",
    "RecordLearned",
    "ReportWritten",
    "Result",
    "RowsAccounted",
    "RowsOfDrop",
    "RowsOfVersion",
    "ScoreDrops",
    "Side",
    "SketchPolicy",
    "Source",
    "Train",
    "Trained",
    "VersionRecord",
    "VersionsCompared",
    "WriteReport",
    "dated",
    "is_kept",
    "read_job",
    "read_progress",
    "read_result",
    "write_job",
    "write_progress",
    "write_result",
]

#: On the run of an attempt, for people.
ATTEMPT_TAG = "retraind.attempt"
#: On the run: how both sides find it again after a crash.
KEY_TAG = "retraind.key"
JOB_FILE = "job.json"
RESULT_FILE = "result.json"
PROGRESS_FILE = "progress.json"
LOG_FILE = "worker.log"
#: The exit code of a worker that had a result and could not write it; the last line of its log says why.
RESULT_NOT_WRITTEN = 74
#: In the folder of a kept challenger: its record. The folder is there wholly or not at all.
KEPT_FILE = "challenger.json"


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """An earlier champion of the same model; the other fields are as those of `Train`, of what it learned."""

    version: int
    learned: tuple[str, ...] = ()
    unknown_until: datetime | None = None
    early: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Train:
    """Continue training of the champion and compare; with a `challenger` given, only compare.

    `attempt` is its name for people; `key`, letters and digits and `/-_.`, is no other attempt's anywhere.

    `learned` are key files of rows the champion or an ancestor it continued from learned; rows first seen up to
    `unknown_until` may have been learned by an ancestor without such a record and never judge, nor do units of the
    key files `early`, which were seen then in files that have other bytes now. The challenger's own keys are written
    to `learned_file`. `tags` go on the run as they are; `now` is the time of the decision. `code_folder` may hold
    modules that the recipe names.

    What was trained is kept in `kept_folder` until it is in MLflow; where it is kept already, nothing is trained again.

    `require` are the lines the challenger is judged by, `metrics` their metrics. `comparison` and `strict_confidence`
    go into the evidence as they are. `anchor` is an earlier champion that it is compared with as well. What a report
    shows beyond the evidence is written to `report_file`.

    A search tries `starts`, values by name that earlier ones chose, before others; what it has tried is kept in
    `study_folder` ("": nowhere), from which a later worker goes on.
    """

    kind: Literal["train"] = "train"
    attempt: str
    key: str
    source: Source
    data: DataSpec
    recipe: Recipe
    drops: tuple[DropFile, ...]
    learned: tuple[str, ...]
    unknown_until: datetime | None
    early: tuple[str, ...] = ()
    learned_file: str
    metrics: tuple[str, ...]
    confidence: float
    min_rows: int
    now: datetime
    seed: int
    policy_text: str
    experiment: str
    tags: Mapping[str, str] = field(default_factory=dict)
    challenger: Challenger | None = None
    code_folder: str = ""
    kept_folder: str
    require: tuple[Requirement, ...] = ()
    comparison: int | None = None
    strict_confidence: float | None = None
    anchor: Anchor | None = None
    report_file: str = ""
    starts: tuple[Mapping[str, Scalar], ...] = ()
    study_folder: str = ""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Result of `Train`: the challenger, the evidence, and sentences a reviewer should read."""

    kind: Literal["trained"] = "trained"
    challenger: Challenger
    evidence: Evidence
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A job that ended without result: one sentence, what to do, and whether another try may help.

    `lost`: the worker said nothing itself; it crashed, was killed or ran past a limit. `unreachable`: MLflow did not
    answer, or the machine had no room left: no fault of the job, so it does not count as a try. `framework_missing`:
    the model's framework is not installed where the worker ran. `unloadable`: the URI of a stored model whose files are
    gone or do not load, "" where that is not the reason.
    """

    kind: Literal["failed"] = "failed"
    message: str
    hint: str = ""
    temporary: bool = False
    lost: bool = False
    unreachable: bool = False
    framework_missing: bool = False
    unloadable: str = ""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a worker is: a phase in plain words and, where it is known, `done` of `total` steps."""

    phase: str
    done: int = 0
    total: int = 0


def is_kept(folder: Path) -> bool:
    """Whether a trained challenger lies in `folder` that is not known to be in MLflow."""
    return (folder / KEPT_FILE).exists()


class OtherVersion(Exception):
    """The job was written by another version of this project."""

    def __init__(self, wrote: str) -> None:
        super().__init__(f"the job is of version {wrote}")
        self.wrote = wrote


Job = (
    InspectDrops
    | InspectModel
    | RecordLearned
    | MeasureDrift
    | ScoreDrops
    | CompareVersions
    | AccountRows
    | Train
    | WriteReport
    | CheckPolicy
    | SketchPolicy
)
Result = (
    DropsInspected
    | ModelInspected
    | LearnedRecorded
    | DriftMeasured
    | DropsScored
    | VersionsCompared
    | RowsAccounted
    | Trained
    | ReportWritten
    | PolicyChecked
    | PolicySketched
    | Failed
)

_JOB: TypeAdapter[Job] = TypeAdapter(Annotated[Job, Field(discriminator="kind")])
_ANY: TypeAdapter[dict[str, object]] = TypeAdapter(dict[str, object])
_RESULT: TypeAdapter[Result] = TypeAdapter(Annotated[Result, Field(discriminator="kind")])
_PROGRESS: TypeAdapter[Progress] = TypeAdapter(Progress)

T = TypeVar("T")


def write_job(folder: Path, job: Job) -> None:
    """Write `job` into its folder."""
    # A version that does not know this shape cannot read the job, and so cannot take it for one of its own.
    written = {"version": __version__, "job": _JOB.dump_python(job, mode="json")}
    write_whole(folder / JOB_FILE, _ANY.dump_json(written, indent=1))


def read_job(folder: Path) -> Job:
    """Read the job of a folder; raises ValueError if the file does not follow the contract, OtherVersion."""
    written = _ANY.validate_json((folder / JOB_FILE).read_bytes())
    version = written.get("version")
    if not isinstance(version, str):
        raise ValueError("it names no version")
    if version != __version__:
        raise OtherVersion(version)
    # As JSON again: lists become tuples and texts become times only when read from JSON.
    return _JOB.validate_json(json.dumps(written.get("job")))


def write_result(folder: Path, result: Result) -> None:
    """Write the result; after this returned, it survives a crash."""
    write_whole(folder / RESULT_FILE, _RESULT.dump_json(result, indent=1))


def read_result(folder: Path) -> Result | None:
    """Read the result of a folder, None if there is none; raises ValueError if it does not follow the contract."""
    path = folder / RESULT_FILE
    return _RESULT.validate_json(path.read_bytes()) if path.exists() else None


def write_progress(folder: Path, progress: Progress) -> None:
    """Tell whoever watches how far the job is."""
    temporary = folder / f".{PROGRESS_FILE}"
    temporary.write_bytes(_PROGRESS.dump_json(progress))
    temporary.replace(folder / PROGRESS_FILE)


def read_progress(folder: Path) -> Progress | None:
    """How far the job is, None if it has not said yet."""
    path = folder / PROGRESS_FILE
    return _PROGRESS.validate_json(path.read_bytes()) if path.exists() else None
