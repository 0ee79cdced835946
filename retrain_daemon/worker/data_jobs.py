"""The jobs about data alone, as values: inspecting, scoring, comparing and accounting for drops. Part of the contract
that `job.py` writes and reads; imports no framework and nothing of the daemon.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from retrain_daemon.core.evidence import MetricEvidence
from retrain_daemon.core.policy import DataSpec
from retrain_daemon.core.watch import Look, Terms

#: A side of the holdout; "" for none in particular.
Side = Literal["", "train", "judge"]
#: A file is compared with at most so many drops before it.
COMPARED_WITH = 20


@dataclass(frozen=True, kw_only=True)
class DropFile:
    """One file of rows. An empty `fingerprint` means it is to be computed; else the file must have it (sha256, hex).

    `released`: what is suspect about it passes, as a person said so, or as it counts already.
    """

    drop: int
    path: str
    first_seen: datetime
    fingerprint: str = ""
    released: bool = False


def dated(drop: DropFile, until: datetime | None, now: datetime) -> DropFile:
    """A drop of a time to come was dated by a clock that was wrong: nobody knows that it came after `until`."""
    if until is None or drop.first_seen <= now:
        return drop
    return replace(drop, first_seen=min(drop.first_seen, until))


@dataclass(frozen=True, kw_only=True)
class Source:
    """Which registered version, where. `version` None: the model has no version to look at yet."""

    tracking_uri: str
    registry_uri: str
    model: str
    version: int | None


@dataclass(frozen=True, kw_only=True)
class ProfiledDrop:
    """One inspected file by its profile file, which says how the values of each column are distributed."""

    drop: int
    profile_file: str


@dataclass(frozen=True, kw_only=True)
class InspectDrops:
    """Read each file once: fingerprint, rows, fit with the model's signature, row keys.

    `known_rows` are records of rows that are not new any more, oldest first; files of this job count after one another
    in the order given. `newer_rows` are those of them that are of no older drops than the first file: where files are
    inspected again, what came after them corrected them and not they it. The record of a file's rows is written to
    `rows_folder` as `<fingerprint>.rows.npy` (uint64, one a distinct row), and the keys of the leak check as
    `<fingerprint>.units.npy`. `reference` is an earlier drop, whose columns patterns in `data.features` stand for;
    without one it is the first file. With `needs_framework` a model whose framework is not installed here is refused by
    name before any file is read. `profiles` are drops in use, oldest first: each file is compared with those before it;
    its own is written to `rows_folder` as `<fingerprint>.profile.npz`.
    """

    kind: Literal["inspect_drops"] = "inspect_drops"
    source: Source
    data: DataSpec
    files: tuple[DropFile, ...]
    known_rows: tuple[str, ...]
    rows_folder: str
    reference: str = ""
    needs_framework: bool = False
    newer_rows: tuple[str, ...] = ()
    profiles: tuple[ProfiledDrop, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DropReport:
    """What was found in one file. A `problem` sets the file aside, or, if `temporary`, has it looked at again; what is
    only `suspect` a person may let pass. `notes` are sentences about what was noticed.

    `rows` in the file; `usable` with a target; `new` of those, distinct and not known before. `training` and
    `judging`: distinct rows on each side of the holdout, known or not (with a `newest` holdout each counts in both).
    `corrected`: rows that came with another label than their copy before, which counts from now on.
    `units_file` holds the keys of the leak check, sorted, each once: of groups and of features where rows are grouped;
    also of a file that is only suspect, as its rows were seen. `events_by`: when nine tenths of its usable rows had
    happened, by the policy's event time.
    """

    drop: int
    fingerprint: str = ""
    rows: int = 0
    usable: int = 0
    new: int = 0
    training: int = 0
    judging: int = 0
    corrected: int = 0
    rows_file: str = ""
    units_file: str = ""
    problem: str = ""
    hint: str = ""
    temporary: bool = False
    suspect: bool = False
    profile_file: str = ""
    notes: tuple[str, ...] = ()
    events_by: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class DropsInspected:
    """Result of `InspectDrops`: one report for each file, in the order of the job, and the model's MLflow flavour where
    the job had to look it up.
    """

    kind: Literal["drops_inspected"] = "drops_inspected"
    reports: tuple[DropReport, ...]
    flavor: str = ""


@dataclass(frozen=True, kw_only=True)
class RecordLearned:
    """Read files a champion was trained on and write their row keys for the leak check to `learned_file`."""

    kind: Literal["record_learned"] = "record_learned"
    source: Source
    data: DataSpec
    paths: tuple[str, ...]
    learned_file: str
    reference: str = ""


@dataclass(frozen=True, kw_only=True)
class LearnedRecorded:
    """Result of `RecordLearned`: rows read, distinct keys written, and fingerprints of the files."""

    kind: Literal["learned_recorded"] = "learned_recorded"
    rows: int
    keys: int
    fingerprints: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MeasureDrift:
    """How far the rows of `new` drops are from those of `reference`, together; those named in `alone` also by
    themselves.
    """

    kind: Literal["measure_drift"] = "measure_drift"
    source: Source
    new: tuple[ProfiledDrop, ...]
    reference: tuple[ProfiledDrop, ...]
    alone: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DropDrift:
    """One drop's distance from the reference, by the column that is farthest."""

    drop: int
    worst: str
    value: float


@dataclass(frozen=True, kw_only=True)
class DriftMeasured:
    """Result of `MeasureDrift`: the distance (PSI) of each column by name; rows on both sides; single drops."""

    kind: Literal["drift_measured"] = "drift_measured"
    columns: tuple[tuple[str, float], ...]
    new_rows: int
    reference_rows: int
    drops: tuple[DropDrift, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ScoreDrops:
    """Score one version on each drop, on the rows that by the record it has not learned from.

    `learned`, `unknown_until` and `early` are as for a training. Patterns in `data.features` stand for the columns of
    `reference`. `network` ("package.module:name") builds a network stored as weights; `code_folder` may hold its
    module.
    """

    kind: Literal["score_drops"] = "score_drops"
    source: Source
    data: DataSpec
    drops: tuple[DropFile, ...]
    learned: tuple[str, ...]
    unknown_until: datetime | None
    early: tuple[str, ...] = ()
    metrics: tuple[str, ...]
    reference: str = ""
    code_folder: str = ""
    network: str = ""


@dataclass(frozen=True, kw_only=True)
class DropScore:
    """One metric on one drop over `rows` rows; without a `value` the `problem` says why."""

    drop: int
    metric: str
    rows: int
    value: float | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class DropsScored:
    """Result of `ScoreDrops`. A drop of which nothing is said could not be read just now."""

    kind: Literal["drops_scored"] = "drops_scored"
    scores: tuple[DropScore, ...]


@dataclass(frozen=True, kw_only=True)
class CompareVersions:
    """Compare a promoted version, `source`, with the one before it on all rows of the drops that neither has learned
    from, if they suffice for the look that is due by `terms` after those that were `taken`.

    The other fields are as those of `ScoreDrops`; what may not judge is what either of the two, or an ancestor, learned
    or may have.
    """

    kind: Literal["compare_versions"] = "compare_versions"
    attempt: str
    source: Source
    previous: int
    data: DataSpec
    drops: tuple[DropFile, ...]
    learned: tuple[str, ...]
    unknown_until: datetime | None
    early: tuple[str, ...] = ()
    terms: Terms
    taken: tuple[Look, ...] = ()
    seed: int
    reference: str = ""
    code_folder: str = ""
    network: str = ""


@dataclass(frozen=True, kw_only=True)
class VersionsCompared:
    """Result of `CompareVersions`: how many rows can be compared, and, where they suffice for a look, that look with
    what was measured; in `metrics` "champion" is the version before. `checked_keys`: as in the evidence of an attempt.
    `obstacle`: why the version before cannot be compared any more; then nothing else is said.
    """

    kind: Literal["versions_compared"] = "versions_compared"
    rows: int = 0
    look: Look | None = None
    metrics: tuple[MetricEvidence, ...] = ()
    checked_keys: int | None = None
    obstacle: str = ""


@dataclass(frozen=True, kw_only=True)
class VersionRecord:
    """What one version and its ancestors learned, as for a training: key files `learned`, and the time up to which a
    part of it is not recorded, with the key files of what was seen by then.
    """

    version: int
    learned: tuple[str, ...]
    unknown_until: datetime | None = None
    early: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AccountRows:
    """Say of each row of the drops what it counts as, and what the versions have of it. With a `side`, the rows of that
    side are written to `listing` as csv: file, row number from 1 without the header, and the columns of `row_id`, else
    of `group`. `source` is the version whose columns are read.
    """

    kind: Literal["account_rows"] = "account_rows"
    source: Source
    data: DataSpec
    drops: tuple[DropFile, ...]
    versions: tuple[VersionRecord, ...] = ()
    now: datetime
    side: Side = ""
    listing: str = ""


@dataclass(frozen=True, kw_only=True)
class RowsOfDrop:
    """What became of one file's rows. Of its `rows`, `usable` have a label; `repeated` of these come again later, in
    this file or in a newer one, `corrected` of them with another label; the others train or judge (`training`,
    `judging`: the side), or are `outside` of the window. `learned` pairs a version with how many of the usable rows it
    or an ancestor learned from.
    """

    drop: int
    rows: int
    usable: int
    repeated: int
    corrected: int
    training: int
    judging: int
    outside: int
    learned: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class RowsOfVersion:
    """What one version has of the rows that count once: how many it or an ancestor `learned` from; how many of the
    judging side may still judge it, are `excluded`, as their unit was learned or trains now, or are `too_early`.
    """

    version: int
    learned: int
    judging: int
    excluded: int
    too_early: int


@dataclass(frozen=True, kw_only=True)
class RowsAccounted:
    """Result of `AccountRows`: one account for each drop and each version, in the order of the job. `units` is how many
    different units the rows in the window have.
    """

    kind: Literal["rows_accounted"] = "rows_accounted"
    drops: tuple[RowsOfDrop, ...]
    versions: tuple[RowsOfVersion, ...] = ()
    units: int = 0
