"""Acting: carries out the steps that `core.attempts.next_step` names, each written to the journal before and after.

Decides nothing: what comes next is the core's, what was seen is the registry's and the executor's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from retrain_daemon.core.attempts import (
    AcceptResult,
    Attempt,
    Conclude,
    Effect,
    JudgeAgain,
    JudgeNow,
    Perform,
    Retry,
    StartWorker,
    State,
    Step,
    TakeUpChampion,
    Wait,
    WorkerSeen,
    WorkerState,
    next_step,
)
from retrain_daemon.core.evidence import Challenger
from retrain_daemon.core.facts import Champion, ChampionState
from retrain_daemon.core.judge import Verdict, judge
from retrain_daemon.core.policy import CHALLENGER_ALIAS, PREVIOUS_ALIAS, unit_of
from retrain_daemon.errors import NotFound, Refused, RegistryUnreachable
from retrain_daemon.executor import Ended, Executor, Limits, Running
from retrain_daemon.journal import Journal
from retrain_daemon.journal.models import Lineage, ModelRow
from retrain_daemon.labels import (
    ATTEMPT_TAG,
    KEY_TAG,
    REPLACES_TAG,
    SUMMARY_TAG,
    VERDICT_TAG,
    description,
    detail,
    outcome_pairs,
    run_tags,
    version_tags,
)
from retrain_daemon.log import get_logger
from retrain_daemon.observe import RegistryView
from retrain_daemon.registry import LONGEST_TAG, Registry
from retrain_daemon.worker.job import DropFile, Failed, Source, Train, Trained

_log = get_logger()


@dataclass(frozen=True)
class Pacing:
    """How long after a worker's first failure it is tried again, and how many trainings run side by side."""

    backoff: timedelta = timedelta(minutes=1)
    slots: int = 1


class Overtaken(Exception):
    """Someone moved the alias after the step was decided: it is not taken, and the next one will see why."""


class Acting:
    """Moves attempts on, one step at a time."""

    def __init__(
        self, journal: Journal, registry: Registry, view: RegistryView, executor: Executor, state: Path,
        clock: Callable[[], datetime], pacing: Pacing = Pacing(),
    ) -> None:  # fmt: skip
        self._journal = journal
        self._registry = registry
        self._view = view
        self._executor = executor
        self._learned = state / "learned"
        self._clock = clock
        self._pacing = pacing

    def advance(self, attempt: Attempt) -> Attempt | None:
        """Take the attempt's next step; returns the attempt after it, or None when there is nothing to do now.

        Raises RegistryUnreachable when the step needs the registry and it does not answer: asked again later.
        """
        row = self._journal.models.find(attempt.model)
        step = self._next_step(attempt, row)
        if isinstance(step, Wait) or (row is not None and row.hold is not None and not _harmless(step)):
            return None
        if isinstance(step, StartWorker) and not self._free_slot(attempt):
            return None
        try:
            self._take(attempt, step)
        except (Refused, NotFound) as error:
            self._conclude(attempt, State.ABANDONED, str(error))
        return self._journal.attempts.get(attempt.id)

    def is_stuck(self, attempt: Attempt) -> bool:
        """Whether neither time nor a worker moves it on: it waits for the registry, a champion or a person."""
        if attempt.state is State.TRAINING and self._worker(attempt).state is not WorkerState.GONE:
            return False
        row = self._journal.models.find(attempt.model)
        try:
            step = self._next_step(attempt, row)
        except RegistryUnreachable:
            return True
        if row is not None and row.hold is not None and not _harmless(step):
            return True
        return isinstance(step, Wait) and step.until is None

    def _next_step(self, attempt: Attempt, row: ModelRow | None) -> Step:
        champion = self._champion(attempt, row.champion_seen if row else None)
        return next_step(attempt, self._worker(attempt), champion, self._clock(), self._pacing.backoff)

    def _champion(self, attempt: Attempt, seen: int | None) -> Champion:
        """Read anew before each step of a promotion; for the others what was polled last will do."""
        promoting = attempt.state is State.JUDGED
        champion = self._view.champion(attempt.policy, seen, fresh=promoting)
        if attempt.offered is None or champion.state is not ChampionState.FOUND or champion.version is None:
            return champion
        against = self._view.against_challenger(attempt.model, attempt.offered, champion.version)
        return replace(champion, against_challenger=against)

    def _worker(self, attempt: Attempt) -> WorkerSeen:
        if attempt.state is not State.TRAINING:
            return WorkerSeen(WorkerState.GONE)
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
                return WorkerSeen(WorkerState.GONE)

    def _free_slot(self, attempt: Attempt) -> bool:
        trainings = [key for key in self._executor.running() if not key.startswith(("inspect-", f"{attempt.id}."))]
        return len(trainings) < self._pacing.slots

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
            case Perform(effect=effect, already=already):
                self._perform(attempt, effect, already)
            case Conclude(state=state, reason=reason):
                self._conclude(attempt, state, reason)
            case Wait():
                raise AssertionError("a wait is not taken")

    def _start_worker(self, attempt: Attempt) -> None:
        """The start is journaled first: its number is part of the job's name, so no result is taken for another's."""
        self._discard_jobs_of(attempt)
        drops = []
        for number in self._journal.attempts.drops_of(attempt.id):
            drop = self._journal.drops.by_id(number)
            if drop is not None and drop.state in ("recorded", "found"):
                seen = self._journal.drops.first_seen(drop)
                drops.append(DropFile(drop=drop.id, path=drop.path, first_seen=seen, fingerprint=drop.fingerprint))
            elif attempt.challenger is None:
                self._journal.attempts.leave_out(attempt.id, number)
        self._journal.attempts.start(attempt, self._clock())
        started = self._journal.attempts.get(attempt.id)
        limits = Limits(run_for=attempt.recipe.run_for, memory=attempt.recipe.memory)
        job = self._job(started, tuple(drops))
        self._executor.start(job_key(started), job, limits, self._clock(), python=attempt.recipe.python)
        log = _log.bind(attempt=attempt.id, model=attempt.model, rule=attempt.rule, start=started.starts)
        if attempt.challenger is None:
            log.info("attempt.training", mode=attempt.recipe.mode.value, champion=attempt.champion_version)
        else:
            log.info("attempt.comparing", champion=attempt.champion_version)

    def _job(self, attempt: Attempt, drops: tuple[DropFile, ...]) -> Train:
        """For a challenger that is compared again, the rows of the champion it continued from are out as well."""
        self._learned.mkdir(parents=True, exist_ok=True)
        policy = attempt.policy
        unit = unit_of(policy.data)
        versions = {attempt.champion_version, attempt.continues or attempt.champion_version}
        versions |= {attempt.offered} if attempt.offered is not None else set()
        learned = [self._journal.models.learned(attempt.model, version, unit) for version in sorted(versions)]
        unknown_until = max((each.unknown_until for each in learned if each.unknown_until), default=None)
        unlike = self._journal.drops.incomparable_until(attempt.model, unknown_until) if unknown_until else None
        return Train(
            attempt=attempt.id,
            key=self._key(attempt),
            source=self.source(attempt.model, attempt.champion_version),
            data=policy.data,
            recipe=attempt.recipe,
            drops=drops,
            learned=tuple(dict.fromkeys(file for each in learned for file in each.files)),
            unknown_until=max(unknown_until, unlike) if unknown_until and unlike else unknown_until,
            early=self._journal.drops.units_until(attempt.model, unknown_until) if unknown_until else (),
            learned_file=str(self._learned / f"{attempt.id}.npy"),
            metrics=tuple(dict.fromkeys(line.metric for line in policy.promote.require)),
            confidence=policy.promote.confidence,
            min_rows=policy.promote.min_rows,
            now=attempt.started_at,
            seed=attempt.number,
            policy_text=policy.text,
            experiment=f"retraind/{attempt.model}",
            tags=run_tags(attempt, (drop.fingerprint for drop in drops)),
            challenger=attempt.challenger,
            code_folder=str(Path(policy.source).parent),
        )

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
                self._journal.attempts.accept(
                    attempt, trained.challenger, trained.evidence, trained.notes, self._clock()
                )
                self._executor.discard(key)
                _log.info("attempt.trained", attempt=attempt.id, rows=trained.challenger.training_rows,
                          judging_rows=trained.evidence.rows, seconds=round(seconds, 1))  # fmt: skip
            case other:
                raise AssertionError(f"the result of {key} was there and is {other}")

    def _judge(self, attempt: Attempt) -> None:
        assert attempt.evidence is not None
        verdict = judge(attempt.policy.promote, attempt.evidence)
        self._journal.attempts.judged(attempt, verdict, self._clock())
        _log.info("attempt.judged", attempt=attempt.id, verdict=verdict.outcome.value, reason=verdict.summary)

    def _perform(self, attempt: Attempt, effect: Effect, already: bool) -> None:
        """Before, the effect itself unless it was done already, after. Each effect may be done twice without harm."""
        self._journal.attempts.begin_effect(attempt, effect, detail(attempt, effect), self._clock())
        if effect is Effect.REGISTER:
            self._register(attempt)
            return
        if not already:
            try:
                self._do(attempt, effect)
            except Overtaken:
                self._journal.attempts.undo_effect(attempt, effect)
                return
        with self._journal.transaction():
            if effect is Effect.ALIAS:
                self._journal.models.see_champion(attempt.model, attempt.version, self._clock())
            self._journal.attempts.end_effect(attempt, effect, self._clock())

    def _do(self, attempt: Attempt, effect: Effect) -> None:
        assert attempt.challenger is not None
        assert attempt.verdict is not None
        match effect:
            case Effect.VERDICT:
                self._tag_verdict(attempt, attempt.challenger, attempt.verdict)
            case Effect.REPLACES:
                assert attempt.version is not None
                self._registry.tag_version(attempt.model, attempt.version, REPLACES_TAG, str(attempt.champion_version))
            case Effect.ALIAS:
                self._move_alias(attempt)
            case Effect.PREVIOUS:
                self._set_previous(attempt)
            case Effect.UNOFFER:
                self._unoffer(attempt)
            case Effect.REGISTER:
                raise AssertionError("registering has its own way")

    def _tag_verdict(self, attempt: Attempt, challenger: Challenger, verdict: Verdict) -> None:
        """On the run of our challenger; on the version itself where a person brought it."""
        tags = {VERDICT_TAG: verdict.outcome.value, SUMMARY_TAG: verdict.summary}
        if attempt.offered is None:
            self._registry.tag_run(challenger.run_id, tags)
            return
        for tag, value in {**tags, ATTEMPT_TAG: attempt.id}.items():
            self._registry.tag_version(attempt.model, attempt.offered, tag, value[:LONGEST_TAG])

    def _set_previous(self, attempt: Attempt) -> None:
        """The promotion stands, whether or not the version before it is still there to be pointed to."""
        try:
            self._registry.set_alias(attempt.model, PREVIOUS_ALIAS, attempt.champion_version)
        except (Refused, NotFound) as error:
            _log.warning("champion.previous_gone", model=attempt.model, version=attempt.champion_version,
                         reason=str(error))  # fmt: skip

    def _unoffer(self, attempt: Attempt) -> None:
        """The verdict stands, whether or not the alias may be removed."""
        self._view.outdate(attempt.model)
        try:
            self._registry.delete_alias(attempt.model, CHALLENGER_ALIAS)
        except (Refused, NotFound) as error:
            _log.warning("challenger.alias_kept", attempt=attempt.id, model=attempt.model, version=attempt.offered,
                         reason=str(error))  # fmt: skip

    def _move_alias(self, attempt: Attempt) -> None:
        """MLflow has no compare-and-set: the champion is read once more, right before and right after."""
        assert attempt.version is not None
        before = self._view.champion(attempt.policy, attempt.champion_version, fresh=True)
        if before.state is ChampionState.UNKNOWN:
            raise RegistryUnreachable(before.detail)
        if before.version != attempt.champion_version:
            raise Overtaken
        self._view.outdate(attempt.model)
        self._registry.set_alias(attempt.model, attempt.policy.alias, attempt.version)
        self._read_back(attempt)

    def _read_back(self, attempt: Attempt) -> None:
        """Someone who moved the alias in the same moment is only logged: the next poll takes their move up."""
        found = self._view.champion(attempt.policy, attempt.version, fresh=True)
        if found.state is not ChampionState.UNKNOWN and found.version != attempt.version:
            _log.warning("alias.moved_meanwhile", attempt=attempt.id, version=found.version, ours=attempt.version)

    def _register(self, attempt: Attempt) -> None:
        """Look for the version of this very challenger; only if there is none, create it."""
        assert attempt.challenger is not None
        tagged = self._registry.versions_with_tag(attempt.model, KEY_TAG, self._key(attempt))
        found = [version for version in tagged if version.run_id == attempt.challenger.run_id]
        version = found[0] if found else self._registry.create_version(
            attempt.model,
            source=attempt.challenger.model_uri,
            run_id=attempt.challenger.run_id,
            tags={**version_tags(attempt), KEY_TAG: self._key(attempt)},
            description=description(attempt),
        )  # fmt: skip
        lineage = Lineage(
            version=version.number,
            continues=attempt.continues,
            learned_file=attempt.challenger.learned_file,
            unknown_until=None,
            attempt=attempt.id,
            unit=unit_of(attempt.policy.data),
            created_at=version.created_at,
        )
        with self._journal.transaction():
            self._journal.models.record_lineage(attempt.model, lineage, self._clock())
            self._journal.attempts.set_version(attempt, version.number)
            self._journal.attempts.end_effect(attempt, Effect.REGISTER, self._clock())
        _log.info("attempt.registered", attempt=attempt.id, model=attempt.model, version=version.number)

    def _key(self, attempt: Attempt) -> str:
        """No other attempt's anywhere: names repeat where a state folder was lost or another daemon is at work."""
        return f"{self._journal.identity()}/{attempt.id}"

    def _end_runs(self, attempt: Attempt) -> None:
        """A worker that crashed leaves its run RUNNING for ever."""
        try:
            self._registry.end_runs_of(KEY_TAG, self._key(attempt))
        except (Refused, NotFound) as error:
            _log.warning("attempt.runs_left_open", attempt=attempt.id, reason=str(error))

    def _conclude(self, attempt: Attempt, state: State, reason: str) -> None:
        if state is State.ABANDONED and attempt.starts:
            self._end_runs(attempt)
        now = self._clock()
        after = attempt.version if state is State.PROMOTED else attempt.champion_version
        self._journal.attempts.conclude(attempt, state, reason, after, now)
        self._discard_jobs_of(attempt)
        level = _log.info if state in (State.PROMOTED, State.REJECTED, State.INCONCLUSIVE) else _log.error
        level(f"attempt.{state.value}", attempt=attempt.id, model=attempt.model, **outcome_pairs(attempt, state),
              reason=reason, seconds=round((now - attempt.started_at).total_seconds(), 1))  # fmt: skip

    def clear_away(self) -> None:
        """Remove what a crash left behind: jobs of attempts that have ended or begun again."""
        for key in self._executor.kept():
            attempt = self._journal.attempts.find(_attempt_of(key))
            if attempt is not None and (attempt.ended_at is not None or key != job_key(attempt)):
                self._executor.discard(key)

    def _discard_jobs_of(self, attempt: Attempt) -> None:
        for key in self._executor.kept():
            if _attempt_of(key) == attempt.id:
                self._executor.discard(key)


def job_key(attempt: Attempt) -> str:
    """The name of the job of an attempt's present start."""
    return f"{attempt.id}.{attempt.round}.{attempt.starts}"


def _attempt_of(key: str) -> str:
    """The attempt that a job belongs to; "" for another kind of job."""
    name, *numbers = key.rsplit(".", 2)
    return name if len(numbers) == 2 else ""


def _harmless(step: Step) -> bool:
    """Steps that may be taken while the model is held: they start nothing and move no alias."""
    match step:
        case StartWorker() | TakeUpChampion() | JudgeAgain():
            return False
        case Perform(effect=effect, already=already):
            return already or effect in (Effect.VERDICT, Effect.PREVIOUS, Effect.UNOFFER)
        case _:
            return True
