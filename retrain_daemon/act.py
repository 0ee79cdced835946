"""Acting: carries out the steps that `core.steps.next_step` names, each written to the journal before and after.

Decides nothing: what comes next is the core's, what was seen is the registry's and the executor's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from retrain_daemon.anchors import anchor_of
from retrain_daemon.approvals import Approvals
from retrain_daemon.champions import note_unloadable
from retrain_daemon.core.approval import Answer
from retrain_daemon.core.attempts import Attempt, Effect, State
from retrain_daemon.core.facts import Champion, ChampionState
from retrain_daemon.core.judge import judge
from retrain_daemon.core.policy import Policy, promotion_of, unit_of
from retrain_daemon.core.steps import (
    AcceptResult,
    AskPerson,
    Conclude,
    JudgeAgain,
    JudgeNow,
    Perform,
    Retry,
    StartWorker,
    Step,
    TakeAnswer,
    TakeUpChampion,
    Wait,
    WorkerSeen,
    WorkerState,
    next_step,
)
from retrain_daemon.effects import Effects
from retrain_daemon.errors import NotFound, Refused, RegistryUnreachable, StateUnusable
from retrain_daemon.executor.jobs import Executor
from retrain_daemon.executor.limits import Limits
from retrain_daemon.executor.supervisor import Ended, Running
from retrain_daemon.journal import Journal
from retrain_daemon.journal.drops import DropRow
from retrain_daemon.journal.models import ModelRow
from retrain_daemon.kept import KeptChallengers
from retrain_daemon.labels import (
    outcome_pairs,
    run_tags,
    unique_name,
)
from retrain_daemon.log import get_logger
from retrain_daemon.news import NOBODY, Announcer, News
from retrain_daemon.registry import Registry
from retrain_daemon.registry_view import RegistryView, as_loaded
from retrain_daemon.reporting import data_file
from retrain_daemon.shortage import made
from retrain_daemon.spending import alpha_at, next_comparison, note_tenure, spend
from retrain_daemon.worker.job import Anchor, DropFile, Failed, Source, Train, Trained, dated

_log = get_logger()


@dataclass(frozen=True)
class Pacing:
    """How long after a worker's first failure it is tried again, and how many trainings run side by side."""

    backoff: timedelta = timedelta(minutes=1)
    slots: int = 1


class Acting:
    """Moves attempts on, one step at a time."""

    def __init__(
        self, journal: Journal, registry: Registry, view: RegistryView, executor: Executor, state: Path,
        clock: Callable[[], datetime], pacing: Pacing = Pacing(), announcer: Announcer = NOBODY,
        in_force: Callable[[str], Policy | None] = lambda _model: None,
    ) -> None:  # fmt: skip
        """`in_force` gives the policy of a model that is in force at the moment."""
        self._journal = journal
        self._registry = registry
        self._view = view
        self._executor = executor
        self._state = state
        self._learned = state / "learned"
        self._reports = state / "reports"
        self._kept = KeptChallengers(state / "kept")
        self._effects = Effects(journal, registry, view, clock)
        self._clock = clock
        self._pacing = pacing
        self._announcer = announcer
        self._approvals = Approvals(journal, view, clock, in_force, announcer)

    def advance(self, attempt: Attempt) -> Attempt | None:
        """Take the attempt's next step; returns the attempt after it, or None when there is nothing to do now.

        Raises RegistryUnreachable when the step needs the registry and it does not answer: asked again later.
        """
        row = self._journal.models.find(attempt.model)
        step = self._next_step(attempt, row)
        if isinstance(step, Wait) or (row is not None and row.hold is not None and not _harmless(step)):
            return None
        try:
            if isinstance(step, StartWorker):
                self._discard_jobs_of(attempt)  # one of an earlier round holds what this one waits for
                if self._must_wait(attempt):
                    return None
            lost = self._lost_drop(attempt, step)
            if lost is None:
                self._take(attempt, step)
            else:
                reason = f"begins again without {Path(lost.path).name}, which is gone"
                self._journal.attempts.begin_again(attempt, attempt.champion_version, reason, self._clock())
        except (Refused, NotFound) as error:
            self._conclude(attempt, State.ABANDONED, str(error))
        return self._journal.attempts.get(attempt.id)

    def is_unanswered(self, attempt: Attempt) -> bool:
        """Whether the registry has answered none of as many workers as a failure would be tried with."""
        unanswered = attempt.starts - attempt.failures - attempt.cuts
        return attempt.state is State.FAILED and unanswered > attempt.recipe.retries

    def is_stuck(self, attempt: Attempt) -> bool:
        """Whether neither time nor a worker moves it on: it waits for the registry, a champion or a person."""
        if self.is_unanswered(attempt):
            return True
        if attempt.state is State.TRAINING and self._worker(attempt).state is not WorkerState.GONE:
            return False
        row = self._journal.models.find(attempt.model)
        try:
            step = self._next_step(attempt, row)
        except RegistryUnreachable:
            return True
        if row is not None and row.hold is not None and not _harmless(step):
            return True
        return isinstance(step, Wait) and (step.until is None or step.for_person)

    def _next_step(self, attempt: Attempt, row: ModelRow | None) -> Step:
        champion = as_loaded(self._champion(attempt, row.champion_seen if row else None), row)
        meanwhile = self._approvals.meanwhile(attempt)
        return next_step(attempt, self._worker(attempt), champion, self._clock(), self._pacing.backoff, meanwhile)

    def _champion(self, attempt: Attempt, seen: int | None) -> Champion:
        """Read anew before each step of a promotion; for the others what was polled last will do, and while a person
        is awaited.
        """
        promoting = attempt.state is State.JUDGED and not attempt.awaits_approval
        champion = self._view.champion(attempt.policy, seen, fresh=promoting)
        if attempt.offered is None or champion.state not in (ChampionState.FOUND, ChampionState.NONE):
            return champion
        against = self._view.against_challenger(attempt.model, attempt.offered, champion.version)
        return replace(champion, against_challenger=against)

    def _worker(self, attempt: Attempt) -> WorkerSeen:
        kept = self._kept.has(attempt)
        if attempt.state is not State.TRAINING:
            return WorkerSeen(WorkerState.GONE, kept=kept)
        match self._executor.look(job_key(attempt)):
            case Running():
                return WorkerSeen(WorkerState.RUNNING)
            case Ended(result=Trained()):
                return WorkerSeen(WorkerState.SUCCEEDED)
            case Ended(result=Failed() as failed):
                said = f"{failed.message} {failed.hint}".strip()
                return WorkerSeen(WorkerState.FAILED, said, failed.temporary, failed.unreachable)
            case Ended(result=other):
                return WorkerSeen(WorkerState.FAILED, f"the worker answered {other.kind} to a training", False)
            case None:
                return WorkerSeen(WorkerState.GONE, kept=kept)

    def _must_wait(self, attempt: Attempt) -> bool:
        """Whether a worker cannot start now; why is journaled and logged once for each reason. Raises Refused when it
        never can.
        """
        reason = self._no_slot(attempt) or self._executor.waits_for(_limits(attempt))
        if reason and reason != attempt.reason:
            self._journal.attempts.wait(attempt, reason, self._clock())
            _log.info("attempt.waiting", attempt=attempt.id, model=attempt.model, reason=reason)
        return bool(reason)

    def _no_slot(self, attempt: Attempt) -> str:
        others = (key for key in self._executor.running() if _attempt_of(key) != attempt.id)
        trainings = [key for key in others if _attempt_of(key) != key]
        slots = self._pacing.slots
        return f"waits for a slot: {len(trainings)} of {slots} are taken" if len(trainings) >= slots else ""

    def _take(self, attempt: Attempt, step: Step) -> None:
        now = self._clock()
        match step:
            case StartWorker():
                self._start_worker(attempt)
            case AcceptResult():
                self._accept(attempt)
            case TakeUpChampion(champion=version):
                reason = f"begins again: version {version} is champion now"
                self._journal.attempts.begin_again(attempt, version, reason, now)
            case Retry(due_at=due_at, reason=reason, counts=counts):
                self._journal.attempts.retry(attempt, due_at, reason, counts, now)
                _log.warning("attempt.failed", attempt=attempt.id, reason=reason, due=due_at.isoformat("T", "seconds"))
            case JudgeNow():
                self._judge(attempt)
            case JudgeAgain(champion=version):
                self._journal.attempts.judge_again(attempt, version, now)
                _log.warning("attempt.judged_again", attempt=attempt.id, champion=version, was=attempt.champion_version)
            case AskPerson() | TakeAnswer():
                self._approvals.take(attempt, step)
            case Perform(effect=effect, already=already):
                self._effects.perform(attempt, effect, already)
            case Conclude(state=state, reason=reason):
                self._conclude(attempt, state, reason)

    def _lost_drop(self, attempt: Attempt, step: Step) -> DropRow | None:
        """A frozen drop that is gone and to be left out, when a training has failed. One that is under way may have
        read it before.
        """
        failed = isinstance(step, Retry) or (isinstance(step, Conclude) and step.state is State.ABANDONED)
        trained = attempt.challenger is not None or self._kept.has(attempt)
        if not failed or trained or attempt.state is not State.TRAINING:
            return None
        drops = map(self._journal.drops.by_id, self._journal.attempts.drops_of(attempt.id))
        return next((drop for drop in drops if drop is not None and drop.skipped), None)

    def _start_worker(self, attempt: Attempt) -> None:
        """The start is journaled first: its number is part of the job's name, so no result is taken for another's."""
        made(self._learned)
        made(self._reports)
        note_tenure(attempt, self._journal, self._clock())
        anchor = anchor_of(attempt, self._journal, self._registry, self._view)
        drops = self._drops(attempt)
        self._journal.attempts.start(attempt, self._clock())
        started = self._journal.attempts.get(attempt.id)
        self._kept.make_room(started)
        job = self._job(started, drops, anchor)
        try:
            self._executor.start(job_key(started), job, _limits(attempt), self._clock(), python=attempt.recipe.python)
        except StateUnusable:  # it waits: nothing of it was cut short
            self._journal.attempts.take_back_start(started, attempt, self._clock())
            raise
        log = _log.bind(attempt=attempt.id, model=attempt.model, rule=attempt.rule, start=started.starts)
        if self._kept.has(attempt):
            log.info("attempt.logging")
        elif attempt.challenger is None:
            log.info("attempt.training", mode=attempt.recipe.mode.value, champion=attempt.champion_version)
        else:
            log.info("attempt.comparing", champion=attempt.champion_version)

    def _drops(self, attempt: Attempt) -> tuple[DropFile, ...]:
        """The frozen drops. One whose bytes are not there any more stays in the list of what has learned from it."""
        kept = self._kept.has(attempt)
        drops = []
        for number in self._journal.attempts.drops_of(attempt.id):
            drop = self._journal.drops.by_id(number)
            there = drop is not None and drop.state in ("recorded", "found") and not drop.skipped
            if drop is not None and (kept or there):
                seen = self._journal.drops.first_seen(drop)
                drops.append(DropFile(drop=drop.id, path=drop.path, first_seen=seen, fingerprint=drop.fingerprint))
            elif attempt.challenger is None and not kept:
                self._journal.attempts.leave_out(attempt.id, number)
        return tuple(drops)

    def _job(self, attempt: Attempt, drops: tuple[DropFile, ...], anchor: Anchor | None) -> Train:
        """For a challenger that is compared again, the rows of the champion it continued from are out as well."""
        policy, promotion = attempt.policy, promotion_of(attempt.policy, attempt.rule)
        number = next_comparison(attempt, self._journal)
        versions = {attempt.champion_version, attempt.continues or attempt.champion_version}
        versions |= {attempt.offered} if attempt.offered is not None else set()
        barred = self._journal.barred(attempt.model, sorted(versions - {0}), unit_of(policy.data))
        return Train(
            attempt=attempt.id,
            key=self._effects.key(attempt),
            source=self.source(attempt.model, attempt.champion_version or None),
            data=policy.data,
            recipe=attempt.recipe,
            drops=tuple(dated(drop, barred.unknown_until, self._clock()) for drop in drops),
            learned=barred.learned,
            unknown_until=barred.unknown_until,
            early=barred.early,
            learned_file=str(self._learned / f"{unique_name(attempt)}.{attempt.round}.npy"),
            metrics=tuple(dict.fromkeys(line.metric for line in promotion.require)),
            confidence=promotion.confidence,
            min_rows=promotion.min_rows,
            now=attempt.started_at,
            seed=attempt.number,
            policy_text=policy.text,
            experiment=f"retraind/{attempt.model}",
            tags=run_tags(attempt, (drop.fingerprint for drop in drops)),
            challenger=attempt.challenger,
            code_folder=str(Path(policy.source).parent),
            kept_folder=str(self._kept.folder_of(attempt)),
            require=promotion.require,
            comparison=number,
            strict_confidence=None if number is None else 1 - alpha_at(attempt, number),
            anchor=anchor,
            report_file=str(data_file(self._state, attempt)),
            starts=self._journal.attempts.searched(attempt.model) if attempt.recipe.search else (),
            study_folder=str(self._kept.study_of(attempt)),
        )

    def key(self, attempt: Attempt) -> str:
        """What an attempt is called in MLflow."""
        return self._effects.key(attempt)

    def source(self, model: str, version: int | None) -> Source:
        """Where workers find a model's version."""
        return Source(
            tracking_uri=self._registry.tracking_uri,
            registry_uri=self._registry.registry_uri,
            model=model,
            version=version,
        )

    def _accept(self, attempt: Attempt) -> None:
        key = job_key(attempt)
        match self._executor.look(key):
            case Ended(result=Trained() as trained, seconds=seconds):
                with self._journal.transaction():
                    self._journal.attempts.accept(
                        attempt, trained.challenger, trained.evidence, trained.notes, self._clock()
                    )
                    spend(attempt, self._journal, self._clock())
                self._executor.discard(key)
                self._kept.discard(attempt)
                _log.info("attempt.trained", attempt=attempt.id, rows=trained.challenger.training_rows,
                          judging_rows=trained.evidence.rows, seconds=round(seconds, 1))  # fmt: skip
            case other:
                raise AssertionError(f"the result of {key} was there and is {other}")

    def _judge(self, attempt: Attempt) -> None:
        assert attempt.evidence is not None
        verdict = judge(promotion_of(attempt.policy, attempt.rule), attempt.evidence)
        self._journal.attempts.judged(attempt, verdict, self._clock())
        _log.info("attempt.judged", attempt=attempt.id, verdict=verdict.outcome.value, reason=verdict.summary)

    def _conclude(self, attempt: Attempt, state: State, reason: str) -> None:
        now = self._clock()
        if state is State.ABANDONED and attempt.starts:
            self._effects.end_runs(attempt)
            self._note_unloadable(attempt, now)
        was = attempt.champion_version or None
        after = attempt.version if state is State.PROMOTED else was
        self._journal.attempts.conclude(attempt, state, reason, after, now)
        self._discard_jobs_of(attempt)
        self._kept.discard(attempt)
        level = _log.info if state in (State.PROMOTED, State.REJECTED, State.INCONCLUSIVE) else _log.error
        level(f"attempt.{state.value}", attempt=attempt.id, model=attempt.model, **outcome_pairs(attempt, state),
              reason=reason, seconds=round((now - attempt.started_at).total_seconds(), 1))  # fmt: skip
        self._announcer.tell(
            News(occasion=state.value, at=now, model=attempt.model, attempt=attempt.id, version=after,
                 was=was, reason=reason)
        )  # fmt: skip

    def _note_unloadable(self, attempt: Attempt, now: datetime) -> None:
        match self._executor.look(job_key(attempt)):
            case Ended(result=Failed() as failed):
                note_unloadable(attempt.model, failed, self._journal, now)

    def clear_away(self) -> None:
        """Remove what a crash left behind of attempts that have ended or begun again."""
        self._kept.sweep(self._journal.attempts.open())
        for key in self._executor.kept():
            attempt = self._journal.attempts.find(_attempt_of(key))
            if attempt is not None and (attempt.ended_at is not None or key != job_key(attempt)):
                self._executor.discard(key)

    def _discard_jobs_of(self, attempt: Attempt) -> None:
        for key in self._executor.kept():
            if _attempt_of(key) == attempt.id:
                self._executor.discard(key)


def _limits(attempt: Attempt) -> Limits:
    recipe = attempt.recipe
    return Limits(recipe.run_for, recipe.memory, recipe.processes, recipe.cpus, recipe.gpus)


def job_key(attempt: Attempt) -> str:
    """The name of the job of an attempt's present start."""
    return f"{unique_name(attempt)}.{attempt.round}.{attempt.starts}"


def _attempt_of(key: str) -> str:
    """The attempt that a job's key names; for jobs of another kind, whose keys have no dots, the key itself."""
    return key.rsplit(".", 3)[0]


def _harmless(step: Step) -> bool:
    """Steps that may be taken while the model is held: they start nothing and move no alias."""
    match step:
        case StartWorker() | TakeUpChampion() | JudgeAgain():
            return False
        case TakeAnswer(answer=answer):
            return answer is Answer.REJECT
        case Perform(effect=effect, already=already):
            return already or effect not in (Effect.REGISTER, Effect.REPLACES, Effect.ALIAS)
        case _:
            return True
