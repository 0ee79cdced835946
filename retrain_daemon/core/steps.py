"""The next step of an attempt: a state machine that can be asked again at any moment, also after a crash.

`next_step` takes the journaled attempt and what is seen now, and says the one thing to do; doing it, and writing it
to the journal before and after, is the daemon's part.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from retrain_daemon.core.approval import NOTHING_MEANWHILE, Answer, Meanwhile, approval_for, why_void
from retrain_daemon.core.attempts import CALLED_OFF, Attempt, Effect, State
from retrain_daemon.core.facts import Champion, ChampionState
from retrain_daemon.core.judge import TOO_FEW_ROWS, Outcome
from retrain_daemon.core.policy import Approval, Register

#: Workers of a round that may be cut short by the end of a daemon, beside the failures that `retries` allows.
ALLOWED_CUTS = 10
#: A wait between two tries never grows beyond this.
LONGEST_BACKOFF = timedelta(hours=1)
#: The same where only MLflow is in the way: it may be back at any moment.
LONGEST_OUTAGE_BACKOFF = timedelta(minutes=10)

_DOUBLINGS = 10


class WorkerState(StrEnum):
    """What became of the worker that was started last."""

    RUNNING = "running"  #: it is alive
    SUCCEEDED = "succeeded"  #: its result lies there
    FAILED = "failed"  #: it ended with a reason instead of a result
    GONE = "gone"  #: no process and no result: a restart of the daemon cut it short


@dataclass(frozen=True)
class WorkerSeen:
    """The worker as seen now. `kept`: what an earlier worker of this round trained lies on disk and only has to be put
    into MLflow. The rest belongs to FAILED; `unreachable`: the registry did not answer it.
    """

    state: WorkerState
    message: str = ""
    temporary: bool = False
    unreachable: bool = False
    kept: bool = False


@dataclass(frozen=True)
class StartWorker:
    """Start a worker for this attempt: it trains, or, if there is a challenger already, only compares, or, if one is
    kept on disk, only puts it into MLflow.
    """


@dataclass(frozen=True)
class AcceptResult:
    """Journal the worker's result; from then on it is the only one."""


@dataclass(frozen=True)
class Retry:
    """Journal the failure and try again at `due_at`. What is the registry's fault does not count as a failure."""

    due_at: datetime
    reason: str
    counts: bool = True


@dataclass(frozen=True)
class TakeUpChampion:
    """The alias moved before anything was trained: begin again from version `champion`."""

    champion: int


@dataclass(frozen=True)
class JudgeNow:
    """Turn the evidence into a verdict and journal it."""


@dataclass(frozen=True)
class JudgeAgain:
    """Someone moved the alias to `champion`: compare the same challenger with that version. 0: there is none."""

    champion: int


@dataclass(frozen=True)
class AskPerson:
    """Journal that a person is asked about this evidence, until `expires_at`."""

    expires_at: datetime


@dataclass(frozen=True)
class TakeAnswer:
    """Journal the answer that the version's tag gives."""

    answer: Answer


@dataclass(frozen=True)
class Perform:
    """Journal the effect as begun, do it, journal it as done. With `already`, it needs no doing any more."""

    effect: Effect
    already: bool = False


@dataclass(frozen=True)
class Conclude:
    """The attempt ends in `state`."""

    state: State
    reason: str


@dataclass(frozen=True)
class Wait:
    """Nothing to do now; `until` is when it is worth looking again without any other sign. `for_person`: only a person
    moves it on before that.
    """

    reason: str
    until: datetime | None = None
    for_person: bool = False


Step = (
    StartWorker | TakeUpChampion | AcceptResult | Retry | JudgeNow | JudgeAgain | AskPerson | TakeAnswer | Perform
    | Conclude | Wait
)  # fmt: skip


def next_step(
    attempt: Attempt, worker: WorkerSeen, champion: Champion, now: datetime, backoff: timedelta = timedelta(minutes=1),
    meanwhile: Meanwhile = NOTHING_MEANWHILE,
) -> Step:  # fmt: skip
    """Given the journaled attempt and what is seen now, return the one thing to do next.

    `champion` must have been read after the attempt's last step. `backoff` is the wait after the first failure; it
    doubles with each further one. `meanwhile` is what people did since they were asked for approval.
    """
    match attempt.state:
        case State.PLANNED | State.FAILED:
            return _before_worker(attempt, worker, champion, now, backoff)
        case State.TRAINING:
            return _after_worker(attempt, worker, champion, now, backoff)
        case State.TRAINED:
            return JudgeNow()
        case State.JUDGED:
            return _after_verdict(attempt, champion, meanwhile, now)
        case _:
            return Wait("has ended")


def _before_worker(attempt: Attempt, worker: WorkerSeen, champion: Champion, now: datetime, backoff: timedelta) -> Step:
    """A worker needs the registry and the champion it starts from. What is trained already needs the registry only:
    who is champion by then, and against whom it is judged, is looked at afterwards. A wait longer than any that is
    given was written by a clock that was set back since. A second look whose challenger does not count any more has
    nothing to judge.
    """
    if attempt.again_of is not None and attempt.challenger is None:
        return Conclude(State.ABANDONED, f"{CALLED_OFF}its challenger is not judged any more ({attempt.reason})")
    longest = max(_wait(backoff, attempt.failures), backoff, LONGEST_OUTAGE_BACKOFF)
    if attempt.due_at is not None and timedelta(0) < attempt.due_at - now <= longest:
        return Wait("waits before the next try", attempt.due_at)
    if worker.kept:
        away = champion.state is ChampionState.UNKNOWN
        return Wait("the registry does not answer; what was trained waits on disk") if away else StartWorker()
    against = _against(attempt, champion)
    if champion.state is ChampionState.LOST and champion.version == attempt.champion_version:
        return Conclude(State.ABANDONED, champion.detail)
    if against is None:
        return Wait(f"the champion is {champion.state.value}: nothing is trained until it is found again")
    if reason := _called_off(attempt, champion):
        return Conclude(State.ABANDONED, reason)
    if against == attempt.champion_version:
        return StartWorker()
    return TakeUpChampion(against) if attempt.challenger is None else JudgeAgain(against)


def _against(attempt: Attempt, champion: Champion) -> int | None:
    """The version that it would be judged against now; 0 for a person's challenger where there never was a champion."""
    if champion.state is ChampionState.NONE and attempt.offered is not None:
        return 0
    return champion.version if champion.state is ChampionState.FOUND else None


def _called_off(attempt: Attempt, champion: Champion) -> str:
    """Why a person's challenger is not to be loaded or promoted any more: they changed their mind, or its author is
    not trusted. "" when nothing stands against it.
    """
    if attempt.offered is None:
        return ""
    if champion.version == attempt.offered:
        return f"{CALLED_OFF}someone made version {attempt.offered} the champion before it was judged"
    if champion.challenger != attempt.offered:
        return f"{CALLED_OFF}someone took the alias challenger off version {attempt.offered}"
    return f"{CALLED_OFF}{champion.against_challenger}" if champion.against_challenger else ""


def _after_worker(attempt: Attempt, worker: WorkerSeen, champion: Champion, now: datetime, backoff: timedelta) -> Step:
    """A worker that was cut short is started again only if it would be started now."""
    match worker.state:
        case WorkerState.RUNNING:
            return Wait("worker is running")
        case WorkerState.SUCCEEDED:
            return AcceptResult()
        case WorkerState.FAILED:
            return _after_failure(attempt, worker, now, backoff)
        case WorkerState.GONE:
            if attempt.cuts >= ALLOWED_CUTS:
                return Conclude(State.ABANDONED, f"its worker was cut short {attempt.cuts + 1} times")
            return _before_worker(attempt, worker, champion, now, backoff)


def _after_failure(attempt: Attempt, worker: WorkerSeen, now: datetime, backoff: timedelta) -> Step:
    """Permanent failures would fail the same way again; temporary ones are tried `retries` more times. Only while the
    registry is in the way there is no end to it.
    """
    if worker.unreachable:
        doubled = backoff * 2 ** min(max(attempt.starts - 1, 0), _DOUBLINGS)
        return Retry(now + min(doubled, max(backoff, LONGEST_OUTAGE_BACKOFF)), worker.message, counts=False)
    if not worker.temporary:
        return Conclude(State.ABANDONED, worker.message)
    if attempt.failures >= attempt.recipe.retries:
        tries = attempt.failures + 1
        return Conclude(State.ABANDONED, f"gave up after {tries} {'try' if tries == 1 else 'tries'}: {worker.message}")
    return Retry(now + _wait(backoff, attempt.failures), worker.message)


def _wait(backoff: timedelta, failures: int) -> timedelta:
    doubled: timedelta = backoff * 2**failures
    return min(doubled, LONGEST_BACKOFF)


def _after_verdict(attempt: Attempt, champion: Champion, meanwhile: Meanwhile, now: datetime) -> Step:
    if attempt.verdict is None:
        return JudgeNow()
    outcome = attempt.verdict.outcome
    if outcome is Outcome.PROMOTE or _asking(attempt) is not None:
        return _promote(attempt, champion, meanwhile, now)
    against = _against(attempt, champion)
    if against and against not in (attempt.champion_version, attempt.version):
        return JudgeAgain(against)
    if Effect.VERDICT not in attempt.done:
        return Perform(Effect.VERDICT)
    if attempt.policy.promote.register is Register.ALL and attempt.version is None:
        return Perform(Effect.REGISTER)
    ended = State.REJECTED if outcome is Outcome.REJECT else State.INCONCLUSIVE
    return _unoffer(attempt, champion) or Conclude(ended, attempt.verdict.summary)


def _unoffer(attempt: Attempt, champion: Champion) -> Step | None:
    """A person's challenger that was judged is no challenger any more; an alias they moved meanwhile is theirs. One
    that only lacked rows keeps the alias and waits for them.
    """
    if attempt.offered is None or Effect.UNOFFER in attempt.done or _lacked_rows(attempt):
        return None
    if champion.state is ChampionState.UNKNOWN:
        return Wait("the registry does not answer; the alias challenger is still to be removed")
    return Perform(Effect.UNOFFER, already=champion.challenger != attempt.offered)


def _lacked_rows(attempt: Attempt) -> bool:
    return attempt.verdict is not None and any(each.code == TOO_FEW_ROWS for each in attempt.verdict.findings)


def _promote(attempt: Attempt, champion: Champion, meanwhile: Meanwhile, now: datetime) -> Step:
    """In the order of the design; the champion must be the frozen one until the alias has moved.

    That a version is to be promoted is tagged only once nothing stands against it.
    """
    if Effect.ALIAS in attempt.done:
        return _complete(attempt, champion)
    if closed := _closed(attempt, champion, meanwhile, now):
        return closed
    against = _against(attempt, champion)
    if against is None:
        return Wait(f"the champion is {champion.state.value}: nothing is promoted until it is found again")
    arrived = attempt.version is not None and against == attempt.version
    if not arrived and against != attempt.champion_version:
        return _after_someone_moved(attempt, against)
    if not arrived and Effect.ALIAS not in attempt.begun and (reason := _called_off(attempt, champion)):
        return Conclude(State.REJECTED, reason)
    if Effect.VERDICT not in attempt.done:
        return Perform(Effect.VERDICT)
    if attempt.version is None:
        return Perform(Effect.REGISTER)
    if not arrived and (asking := _until_approved(attempt, meanwhile, now)):
        return asking
    if Effect.REPLACES not in attempt.done and attempt.champion_version:
        return Perform(Effect.REPLACES)
    return Perform(Effect.ALIAS, already=arrived)


def _until_approved(attempt: Attempt, meanwhile: Meanwhile, now: datetime) -> Step | None:
    """What is to be done until a person has approved; None where that is so, or nobody is asked."""
    asking = _asking(attempt)
    if asking is None:
        return None
    if Effect.WAITING not in attempt.done:
        return Perform(Effect.WAITING)
    if attempt.asked is None:
        return AskPerson(now + asking.within)
    if attempt.asked.is_open and meanwhile.tag is not None:
        return TakeAnswer(meanwhile.tag)
    if attempt.asked.is_open:
        return Wait("awaits approval", attempt.asked.expires_at, for_person=True)
    return None if Effect.ANSWERED in attempt.done else Perform(Effect.ANSWERED)


def _asking(attempt: Attempt) -> Approval | None:
    """What a person must be asked for; their own challenger is not judged again by itself, so each look is its last."""
    assert attempt.verdict is not None
    promotion = attempt.policy.promote
    look = attempt.look if attempt.offered is None else promotion.inconclusive.at_most + 1
    return approval_for(attempt.verdict, promotion, look)


def _closed(attempt: Attempt, champion: Champion, meanwhile: Meanwhile, now: datetime) -> Step | None:
    """The end of what a person rejected, or what their approval was not, or not in time, given for; once the alias
    moves, also by a person's hand, it is too late. A person's challenger stays one under another policy.
    """
    if attempt.asked is None or attempt.verdict is None or Effect.ALIAS in attempt.begun:
        return None
    if attempt.version is not None and champion.version == attempt.version:
        return None
    reason = why_void(attempt.asked, meanwhile, attempt.policy.digest, attempt.version, now)
    if not reason:
        return None
    if Effect.ANSWERED not in attempt.done and not meanwhile.version_gone:
        return Perform(Effect.ANSWERED)
    shown = attempt.verdict.outcome is Outcome.PROMOTE or attempt.asked.answer is Answer.REJECT
    ended = Conclude(State.REJECTED if shown else State.INCONCLUSIVE, f"{reason}; {attempt.verdict.summary}")
    same_policy = meanwhile.policy_digest in ("", attempt.policy.digest)
    return (_unoffer(attempt, champion) if same_policy else None) or ended


def _after_someone_moved(attempt: Attempt, champion: int) -> Step:
    """A person wins. Once our own move was begun nobody can tell whether it came before theirs, so it is not redone."""
    if Effect.ALIAS in attempt.begun:
        moved = f"moved the alias to version {champion}" if champion else "removed the alias"
        return Conclude(State.REJECTED, f"someone {moved} while the promotion was under way")
    return JudgeAgain(champion)


def _complete(attempt: Attempt, champion: Champion) -> Step:
    """The alias has moved; `previous_champion` follows, unless someone has moved the alias on since, or it is the first
    champion.
    """
    if Effect.PREVIOUS not in attempt.done and attempt.champion_version:
        if champion.state is ChampionState.UNKNOWN:
            return Wait("the registry does not answer; previous_champion is still to be set")
        return Perform(Effect.PREVIOUS, already=champion.version != attempt.version)
    return _unoffer(attempt, champion) or Conclude(State.PROMOTED, attempt.verdict.summary if attempt.verdict else "")
