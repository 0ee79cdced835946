"""A whole daemon in one process: the real loop, the real journal and real drop folders; registry and workers are fakes.

`lives` of it can be cut off at any effect; a new life on the same journal, registry and job folders goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from retrain_daemon.act import Pacing
from retrain_daemon.core.attempts import Attempt
from retrain_daemon.core.evidence import Evidence, MetricEvidence
from retrain_daemon.core.policy import Promotion, unit_of
from retrain_daemon.core.trust import NOBODY_NAMED, Trust
from retrain_daemon.core.watch import next_look
from retrain_daemon.daemon import NO_SERVICE_MANAGER, Daemon, Gateways, Rhythm
from retrain_daemon.drops import DropFolders
from retrain_daemon.executor.limits import Limits
from retrain_daemon.journal import Journal
from retrain_daemon.journal.backups import Backups
from retrain_daemon.journal.database import Database, Value, open_database
from retrain_daemon.journal.models import Lineage
from retrain_daemon.news import NOBODY, Announcer
from retrain_daemon.policies import PolicyFolder, PolicySet
from retrain_daemon.policy_watch import PolicyWatch
from retrain_daemon.schedule import WakeUps
from retrain_daemon.service_manager import ServiceManager
from retrain_daemon.worker.job import (
    KEY_TAG,
    Challenger,
    CompareVersions,
    DropFile,
    DropReport,
    DropScore,
    DropsInspected,
    DropsScored,
    Failed,
    InspectDrops,
    Job,
    ReportWritten,
    Result,
    ScoreDrops,
    Train,
    Trained,
    VersionsCompared,
    WriteReport,
)
from tests.fake_executor import FakeExecutor
from tests.fakes import FakeRegistry
from tests.made import CHAMPION, NOW, some_evidence

MODEL = "churn"
POLICY = """
model: churn
data:
  path: {folder}/*.csv
  complete: {{settle: 1s}}
  target: {{column: churned, positive: "yes"}}
retrain:
  - {{name: enough fresh rows, when: data.new_rows >= 1000}}
promote:
  require:
    - {{metric: accuracy, better_by: 0}}
"""


def scored(job: ScoreDrops, value: float | None = 0.9, problem: str = "") -> DropsScored:
    """The same score for each of its drops, by each metric."""
    scores = (
        DropScore(drop=drop.drop, metric=metric, rows=1000, value=value, problem=problem)
        for drop in job.drops
        for metric in job.metrics
    )
    return DropsScored(scores=tuple(scores))


def compared(job: CompareVersions, gain: float = 0.0, rows_a_drop: int = 1000) -> VersionsCompared:
    """The promoted version against the one before by each line, on so many rows of each drop; the bounds of the gain
    are 0.01 to both sides.
    """
    rows = rows_a_drop * len(job.drops)
    look = next_look(job.terms, job.taken, rows)
    metrics = [
        MetricEvidence(metric=line.metric, champion=0.8, challenger=0.8 + gain, gain=gain, gain_low=gain - 0.01,
                       gain_high=gain + 0.01)
        for line in job.terms.lines
    ]  # fmt: skip
    return VersionsCompared(rows=rows, look=look, metrics=tuple(metrics) if look else ())


def _written(job: WriteReport) -> ReportWritten:
    made = job.attempt.challenger
    return ReportWritten(run_id=made.run_id if made and made.offered is None else f"run-about-{job.attempt.id}")


class Cut(BaseException):
    """The process ends here."""


@dataclass
class Clock:
    """Each look at it costs ten milliseconds."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=10)
        return self.now


class Skip(threading.Event):
    """Nobody waits: each sleep is over at once, with a second gone by on the clock; an endless loop of them fails."""

    MOST = 500

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._slept = 0

    def wait(self, timeout: float | None = None) -> bool:
        self._slept += 1
        assert self._slept < self.MOST, f"still not at an end after {self._slept} sleeps"
        self._clock.now += timedelta(seconds=1)
        return True


class AdjustedPolicies(PolicyFolder):
    """Policy files, with what they say of promotion changed by `adjust`."""

    def __init__(self, path: Path, adjust: Callable[[Promotion], Promotion]) -> None:
        super().__init__(path)
        self._adjust = adjust

    def refresh(self) -> PolicySet:
        found = super().refresh()
        adjusted = (replace(policy, promote=self._adjust(policy.promote)) for policy in found.policies)
        return replace(found, policies=tuple(adjusted))


class WatchedDatabase(Database):
    """Says before and after each commit that something is about to be, or is, true for ever."""

    reached: Callable[[str], None] = staticmethod(lambda _point: None)

    def run(self, sql: str, *values: Value) -> object:  # type: ignore[override]
        word = sql.split(maxsplit=1)[0]
        writes = word == "COMMIT" or (word in ("INSERT", "UPDATE", "DELETE") and not self._connection.in_transaction)
        if not writes:
            return super().run(sql, *values)
        self.reached(f"before {word} {sql.split()[1:3]}")
        cursor = super().run(sql, *values)
        self.reached(f"after {word} {sql.split()[1:3]}")
        return cursor


@dataclass
class WatchedExecutor(FakeExecutor):
    """Says so before and after a worker is started, and its job folder removed."""

    reached: Callable[[str], None] = lambda _point: None

    def start(self, key: str, job: Job, limits: Limits, now: datetime, python: str = "") -> None:
        self.reached("before start")
        super().start(key, job, limits, now, python)
        self.reached("after start")

    def discard(self, key: str) -> None:
        self.reached("before discard")
        super().discard(key)
        self.reached("after discard")


@dataclass
class FakeBox:
    """A training box. `evidence` is what workers find; `failure`, if set, is what trainings end with.

    `inspection_failure`, if it returns one, is what an inspection ends with; `report`, if it returns one, what an
    inspection says of a file, else it is full of usable rows. `score` is what a scoring ends with, `compare`
    what a comparison of a promoted version with the one before it.
    """

    root: Path
    clock: Clock = field(default_factory=Clock)
    registry: FakeRegistry = field(default_factory=lambda: FakeRegistry(NOW - timedelta(days=30)))
    results: dict[str, Result] = field(default_factory=dict)
    evidence: Evidence = field(default_factory=some_evidence)
    failure: Failed | None = None
    inspection_failure: Callable[[InspectDrops], Failed | None] = lambda _job: None
    report: Callable[[InspectDrops, DropFile], DropReport | None] = lambda _job, _file: None
    report_result: Result | None = None
    score: Callable[[ScoreDrops], Result | None] = lambda job: scored(job)
    compare: Callable[[CompareVersions], Result | None] = lambda job: compared(job)
    worker_outlives_daemon: bool = True
    reached: Callable[[str], None] = lambda _point: None
    obstacle: Callable[[Limits], str] = lambda _limits: ""
    trust: Trust = NOBODY_NAMED
    announcer: Announcer = NOBODY
    adjust: Callable[[Promotion], Promotion] = lambda promotion: promotion
    service_manager: ServiceManager = NO_SERVICE_MANAGER
    jobs: list[Job] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("policies", "drops", "state"):
            (self.root / name).mkdir()
        self.write_policy(POLICY.format(folder=self.root / "drops"))
        self.registry.add_model_by_hand(MODEL)
        for _ in range(CHAMPION):
            self.registry.create_version_by_hand(MODEL)
        self.registry.move_alias_by_hand(MODEL, "champion", CHAMPION)

    def write_policy(self, text: str) -> None:
        (self.root / "policies" / "churn.yaml").write_text(text, "utf-8")

    def edit_policy(self, old: str, new: str) -> None:
        text = (self.root / "policies" / "churn.yaml").read_text("utf-8")
        assert old in text
        self.write_policy(text.replace(old, new))

    def drop(self, name: str = "a.csv", text: str = "x,churned\n1,yes\n") -> None:
        (self.root / "drops" / name).write_text(text, "utf-8")

    def record_champion(self, *, rows_known: bool = True) -> None:
        """The champion's rows are recorded, and the drop folder was looked into once."""
        with self.life() as daemon:
            daemon.turn()
        if rows_known:
            journal = Journal.open(self.root / "state")
            unit = unit_of(PolicyFolder(self.root / "policies").refresh().policies[0].data)
            lineage = Lineage(
                version=CHAMPION, continues=None, learned_file="/state/adopted.npy", unknown_until=None, attempt=None,
                unit=unit,
            )  # fmt: skip
            journal.models.record_lineage(MODEL, lineage, self.clock())
            journal.close()

    @contextmanager
    def life(self) -> Iterator[Daemon]:
        """One life of the daemon."""
        wake = Skip(self.clock)
        database = open_database(self.root / "state" / "journal.db")
        watched = WatchedDatabase(database._connection, database.path)
        watched.reached = self.reached  # type: ignore[method-assign]
        folders, alarms = DropFolders(wake.set), WakeUps(wake.set)
        policy_watch = PolicyWatch(self.root / "policies")
        backups = Backups(self.root / "state", 7)
        executor = WatchedExecutor(
            self.work,
            self.results,
            self.worker_outlives_daemon,
            wake.set,
            self.obstacle,
            jobs=self.jobs,
            expected=self.expected,
            reached=self.reached,
        )
        gateways = Gateways(
            journal=Journal(watched),
            registry=self.registry,
            executor=executor,
            folders=folders,
            policies=AdjustedPolicies(self.root / "policies", self.adjust),
            policy_watch=policy_watch,
            alarms=alarms,
            backups=backups,
        )
        rhythm = Rhythm(pacing=Pacing(backoff=timedelta(seconds=1)))
        try:
            yield Daemon(
                gateways,
                self.root / "state",
                rhythm,
                self.clock,
                wake,
                self.trust,
                self.announcer,
                self.service_manager,
            )
        finally:
            backups.close(self.clock())
            alarms.close()
            folders.close()
            policy_watch.close()
            watched.close()

    def live(self, turns: int = 5) -> None:
        """One life of a few turns, with time enough between them for every wait."""
        with self.life() as daemon:
            for _ in range(turns):
                daemon.turn()
                self.clock.now += timedelta(minutes=5)

    @contextmanager
    def journal(self) -> Iterator[Journal]:
        opened = Journal.open(self.root / "state", read_only=True)
        try:
            yield opened
        finally:
            opened.close()

    def order(self, verb: str, why: str = "", arguments: Mapping[str, str] | None = None) -> int:
        """Ask as the command line does; returns the request's number."""
        journal = Journal.open(self.root / "state")
        try:
            return journal.requests.ask(MODEL, verb, "ada", why, self.clock(), arguments)
        finally:
            journal.close()

    def answer(self, number: int) -> tuple[int | None, str]:
        """Exit code and sentence of a request; None while nobody has answered."""
        with self.journal() as journal:
            found = journal.requests.find(number)
        assert found is not None
        return found.code, found.answer

    def standing(self) -> tuple[str, str]:
        """Code and sentence of the decision that stands."""
        with self.journal() as journal:
            decision = journal.decisions.standing(MODEL)
        assert decision is not None
        return decision.code, decision.sentence

    def drops(self) -> list[tuple[str, str]]:
        """Name and state of each current drop, a missing one's marked, in order of arrival."""
        with self.journal() as journal:
            current = [drop for drop in journal.drops.listing(MODEL) if drop.current]
        return [(Path(drop.path).name, f"{drop.state}{', missing' * drop.missing}") for drop in current]

    def trainings(self) -> list[Train]:
        return [job for job in self.jobs if isinstance(job, Train)]

    def trained_on(self) -> list[list[str]]:
        """The names of the files of each training, in order of their starts."""
        return [[Path(drop.path).name for drop in job.drops] for job in self.trainings()]

    def inspections(self) -> int:
        return sum(isinstance(job, InspectDrops) for job in self.jobs)

    def attempts(self) -> tuple[Attempt, ...]:
        with self.journal() as journal:
            return tuple(reversed(journal.attempts.of_model(MODEL, 100)))

    def aliases(self) -> dict[str, int]:
        return dict(self.registry.models([MODEL])[MODEL].aliases)

    def work(self, job: Job) -> Result | None:
        """What the worker would answer."""
        match job:
            case InspectDrops(files=files):
                reports = tuple(self.report(job, file) or self._report(file) for file in files)
                return self.inspection_failure(job) or DropsInspected(reports=reports)
            case ScoreDrops():
                return self.score(job)
            case CompareVersions():
                return self.compare(job)
            case Train():
                return self.failure or self._changed(job) or self._trained(job)
            case WriteReport():
                return self.report_result or _written(job)
            case other:
                return Failed(message=f"a box without workers cannot do {other.kind}")

    def _report(self, file: DropFile) -> DropReport:
        if not Path(file.path).exists():
            return DropReport(drop=file.drop, problem=f"{file.path} is gone.", temporary=True)
        fingerprint = sha256(Path(file.path).read_bytes()).hexdigest()
        if file.fingerprint and fingerprint != file.fingerprint:
            return DropReport(drop=file.drop, fingerprint=fingerprint, problem="other bytes", temporary=True)
        return DropReport(
            drop=file.drop,
            fingerprint=fingerprint,
            rows=5000,
            usable=5000,
            new=5000,
            training=4000,
            judging=1000,
        )

    def _changed(self, job: Train) -> Failed | None:
        for file in job.drops:
            content = Path(file.path).read_bytes() if Path(file.path).exists() else b""
            if file.fingerprint != sha256(content).hexdigest():
                return Failed(message=f"{Path(file.path).name} changed since it was recorded.", temporary=True)
        return None

    def _trained(self, job: Train) -> Trained:
        run = (
            job.challenger.run_id if job.challenger else self.registry.start_run_by_hand({**job.tags, KEY_TAG: job.key})
        )
        if job.challenger is None:
            self.registry.runs[run] = "FINISHED"
        challenger = job.challenger or Challenger(
            run_id=run, model_uri=f"models:/m-{run}", digest="b", learned_file=job.learned_file, training_rows=4000
        )
        evidence = replace(
            self.evidence,
            champion_version=job.source.version or 0,
            comparison=job.comparison,
            strict_confidence=job.strict_confidence,
        )
        return Trained(challenger=challenger, evidence=evidence, seconds=1.0)
