"""`retraind status`: every model on one screen, from the journal, also while a daemon is running."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.composition import clock, journal_to_read
from retrain_daemon.cli.output import moment, print_json, print_table
from retrain_daemon.core.attempts import Attempt, State
from retrain_daemon.core.decide import awaiting
from retrain_daemon.core.names import Listing
from retrain_daemon.errors import NotFound
from retrain_daemon.journal import Journal
from retrain_daemon.journal.decisions import DecisionRow
from retrain_daemon.journal.models import ModelRow
from retrain_daemon.journal.policy_files import PolicyFileRow
from retrain_daemon.journal.row_counts import RowCounts
from retrain_daemon.lock import holder
from retrain_daemon.observe import known_drift
from retrain_daemon.policies import Fleet, Problem, Reading, read_policies
from retrain_daemon.settings import Settings
from retrain_daemon.watch_asker import how_it_stands

_COLUMNS = (
    "model", "champion", "state", "last attempt", "drops", "set aside", "drift", "score", "budget", "since", "why",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ModelStatus:
    """One model on the status screen. `drift` is that of the column that is farthest, None where it is not known;
    `scores` are the champion's on the newest file, by metric; `comparisons` those that the error budget of its tenure
    has paid for; `why` is its standing decision, or what holds it; `watch` says how the watch over its last promotion
    stands.
    """

    model: str
    champion: int | None
    state: str
    last_attempt: str
    last_outcome: str
    drops: int
    quarantined: int
    drift: float | None
    drift_column: str
    scores: Mapping[str, float]
    comparisons: int
    why: str
    watch: str
    as_of: datetime | None


@dataclass(frozen=True, kw_only=True)
class FleetStatus:
    """A file about several models: which, and those of them that are watched by it."""

    file: str
    match: str
    models: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Status:
    """The status screen. `policy_files` are the versions of files that the daemon had in force last."""

    daemon: str | None
    state_folder: str
    models: tuple[ModelStatus, ...]
    policy_problems: tuple[Problem, ...]
    policy_files: tuple[PolicyFileRow, ...]
    fleets: tuple[FleetStatus, ...] = ()


def status(arguments: Arguments, settings: Settings) -> int:
    """Print every model on one screen."""
    journal = journal_to_read(settings)
    rows = journal.models.all()
    policies = _policies(settings.policies, rows)
    shown = Status(
        daemon=holder(settings.state),
        state_folder=str(settings.state),
        models=tuple(_model_status(journal, row) for row in rows),
        policy_problems=policies.problems,
        policy_files=journal.policy_files.all(),
        fleets=tuple(_fleet_status(fleet, rows) for fleet in policies.fleets),
    )
    if arguments.json:
        print_json(shown)
        return 0
    print(f"daemon: {shown.daemon or 'not running'} (state {shown.state_folder})")
    for problem in shown.policy_problems:
        print(f"policy problem: {problem}")
    for fleet in shown.fleets:
        print(f"fleet {fleet.file}: {fleet.match}: {how_many(len(fleet.models))}")
    for file in shown.policy_files:
        if file.wrong:
            print(f"policy kept: {file.file}: version {file.digest[:12]}, in force since {moment(file.since)}, stays in"
                  f" force; the file is wrong since {moment(file.wrong_since)}")  # fmt: skip
    print_table(
        _COLUMNS,
        (
            (
                each.model,
                str(each.champion or "-"),
                each.state,
                f"{each.last_attempt} {each.last_outcome}".strip() or "-",
                str(each.drops),
                str(each.quarantined),
                "-" if each.drift is None else f"{each.drift:.3g} {each.drift_column}",
                "\n".join(f"{metric}={value:.4g}" for metric, value in each.scores.items()) or "-",
                f"1/{each.comparisons + 1}" if each.champion else "-",
                moment(each.as_of),
                f"{each.why}; {each.watch}" if each.watch else each.why,
            )
            for each in shown.models
        ),
    )
    return 0


def _policies(path: Path, rows: tuple[ModelRow, ...]) -> Reading:
    """Also a folder that is not there is one line on the screen, not the end of it."""
    try:
        return read_policies(path, Listing(names=frozenset(row.name for row in rows)))
    except NotFound as error:
        return Reading((), (Problem(file=str(path), line=0, column=0, message=error.message, hint=error.hint),))


def how_many(models: int) -> str:
    """How many models a fleet has; those that it matches may be another file's."""
    return "no model" if not models else "1 model" if models == 1 else f"{models:,} models"


def _fleet_status(fleet: Fleet, rows: tuple[ModelRow, ...]) -> FleetStatus:
    of_file = (row.name for row in rows if row.policy_file == fleet.source and row.retired_at is None)
    return FleetStatus(
        file=fleet.source, match=str(fleet.models), models=tuple(filter(fleet.models.takes, of_file))
    )  # fmt: skip


def _model_status(journal: Journal, row: ModelRow) -> ModelStatus:
    newest = journal.attempts.of_model(row.name, limit=1)
    opened = journal.attempts.open(row.name)
    decision = journal.decisions.standing(row.name)
    counts = journal.count_rows(row.name, None, None)
    drift = known_drift(row.name, journal)
    return ModelStatus(
        model=row.name,
        champion=row.champion_seen,
        state=_state(row, opened, decision),
        last_attempt=newest[0].id if newest else "",
        last_outcome=newest[0].state.value if newest else "",
        drops=counts.recorded,
        quarantined=counts.quarantined,
        drift=drift.columns.get(drift.worst),
        drift_column=drift.worst,
        scores=_newest_scores(journal, row),
        comparisons=len(journal.tenures.made(row.name)),
        why=f"{_why(row, opened, decision)}{_without(counts)}",
        watch=_watch(journal, row.name),
        as_of=decision.at if decision else None,
    )


def _watch(journal: Journal, model: str) -> str:
    watch = journal.watches.open(model)
    return how_it_stands(journal, watch, clock()) if watch is not None else ""


def _newest_scores(journal: Journal, row: ModelRow) -> Mapping[str, float]:
    found = journal.scores.newest(row.name, row.champion_seen) if row.champion_seen is not None else ()
    return {score.metric: score.value for score in found if score.value is not None}


def _state(row: ModelRow, opened: tuple[Attempt, ...], decision: DecisionRow | None) -> str:
    if row.retired_at and not opened:
        return "retired"
    if row.hold:
        return "paused"
    if opened and opened[0].awaits_approval:
        return "awaiting approval"
    if opened:
        compared = opened[0].challenger is not None and opened[0].state is State.TRAINING
        return "comparing" if compared else opened[0].state.value
    return decision.code.replace("_", " ") if decision else "new"


def _why(row: ModelRow, opened: tuple[Attempt, ...], decision: DecisionRow | None) -> str:
    """The standing reason, and how a version stands that a person put up as challenger."""
    why = _reason(row, opened, decision)
    return f"{why}; challenger: {decision.offered}" if decision and decision.offered and not opened else why


def _without(counts: RowCounts) -> str:
    files = len(counts.skipped)
    return f"; {files} recorded {'file is' if files == 1 else 'files are'} gone and left out" if files else ""


def _reason(row: ModelRow, opened: tuple[Attempt, ...], decision: DecisionRow | None) -> str:
    if row.retired_at and not opened:
        return f"no policy is about it since {moment(row.retired_at)}"
    if row.hold:
        return f"since {moment(row.hold.since)} by {row.hold.by}: {row.hold.why}"
    if opened and opened[0].awaits_approval and opened[0].asked is not None:
        return f"{awaiting(opened[0].id, opened[0].asked.expires_at)}; {opened[0].reason}"
    if opened:
        return opened[0].reason or f"rule “{opened[0].rule}”"
    return decision.sentence if decision else ""
