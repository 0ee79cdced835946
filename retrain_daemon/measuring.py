"""Measuring: what rules ask about data and is counted by nobody else, such as scores, is found out by workers.

What is to be measured is an asker's to know, and what the answer means; here is only when it is asked, and what becomes
of questions that get no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from retrain_daemon.core.policy import Policy
from retrain_daemon.executor.jobs import Executor
from retrain_daemon.executor.limits import Limits
from retrain_daemon.executor.supervisor import Ended, Running
from retrain_daemon.log import get_logger
from retrain_daemon.turns import Turns
from retrain_daemon.worker.job import Failed, Job, Result, Source

#: A question that got no answer is asked again after so long, then after twice that, and so on.
ASK_AGAIN = timedelta(seconds=20)
LONGEST = timedelta(minutes=10)
#: One that got none so often is not asked any more as it stands.
LOSSES_TO_GIVE_UP = 3
#: Decisions wait so long at most while one question follows another, as when files come faster than they are measured.
PATIENCE = timedelta(hours=1)
#: How long a measurement may take.
MEASURING_LIMITS = Limits(run_for=timedelta(hours=1), memory=None)
#: How the names of measurements' jobs begin.
_JOB = "measure-"

_log = get_logger()


@dataclass(frozen=True, kw_only=True)
class Question:
    """A job whose result tells facts of a model. `key` is another one whenever another answer can be expected."""

    key: str
    job: Job
    limits: Limits = MEASURING_LIMITS
    python: str = ""


class Asker(Protocol):
    """One kind of measurement."""

    @property
    def name(self) -> str:
        """Its word in log lines."""

    @property
    def facts(self) -> tuple[str, ...]:
        """How the names of its facts begin: none of them is known while it has a question."""

    def question(self, policy: Policy, source: Source, now: datetime) -> Question | None:
        """What is to be measured for the champion, `source`; None when everything is known. Reads the journal only."""

    def take_in(self, policy: Policy, question: Question, result: Result, now: datetime) -> None:
        """Write what a worker answered to a question of this asker; never a failure."""


@dataclass
class _Asked:
    """What is remembered of one asker's questions about one model: since when there is always one, and how the last
    ones ended. A question that was given up is `refused`.
    """

    since: datetime
    losses: int = 0
    not_before: datetime | None = None
    answered: str = ""
    refused: str = ""
    said: str = ""


@dataclass(frozen=True)
class _Measurement:
    """A measurement under way."""

    job_key: str
    asker: Asker
    question: Question


@dataclass
class _OfModel:
    """One model: what is under way, what is remembered by asker, and which facts wait for an answer."""

    under_way: _Measurement | None = None
    asked: dict[str, _Asked] = field(default_factory=dict)
    pending: tuple[str, ...] = ()

    def end_pauses(self, now: datetime | None) -> None:
        """Those that are over by `now`, and those of a clock that was set back since; all of them without `now`."""
        for asked in self.asked.values():
            wait = asked.not_before - now if asked.not_before is not None and now is not None else timedelta(0)
            if not timedelta(0) < wait <= LONGEST:
                asked.not_before = None

    def is_waited_for(self, asker: str, now: datetime) -> bool:
        """Whether its questions began so lately that decisions wait for what it finds."""
        return timedelta(0) <= now - self.asked[asker].since <= PATIENCE

    def is_pausing(self, asker: str) -> bool:
        """Whether its question is to be asked again later, not now."""
        asked = self.asked.get(asker)
        return asked is not None and asked.not_before is not None


class Measuring:
    """Asks each asker in turn: one question of a model at a time, at most `at_most` of all models. Remembers only what
    a restart may forget.
    """

    def __init__(
        self, executor: Executor, askers: Sequence[Asker], at_most: int = 2,
        lost: Callable[[str, Failed, datetime], bool] = lambda _model, _failed, _now: False,
    ) -> None:  # fmt: skip
        """`lost` takes note of a failure that is the champion's own, and says whether it is one."""
        self._lost = lost
        self._executor = executor
        self._askers = tuple(askers)
        self._turns = Turns(at_most)
        self._models: dict[str, _OfModel] = {}
        self._started = 0

    def measure(self, policy: Policy, source: Source, now: datetime, *, start: bool = True) -> bool:
        """Take in what a measurement has found, or begin the next one unless `start` is false; returns whether anything
        changed.
        """
        model = self._models.setdefault(policy.model, _OfModel())
        model.end_pauses(now)
        if model.under_way is not None and self._collect(policy, model, model.under_way, now):
            return True
        due = self._due(policy, source, model, now)
        model.pending = tuple(fact for asker, _ in due if model.is_waited_for(asker.name, now) for fact in asker.facts)
        ready = [(asker, question) for asker, question in due if not model.is_pausing(asker.name)]
        if not ready or not start or model.under_way is not None:
            self._turns.leave(policy.model)
            return False
        busy = len(self._under_way())
        if not self._turns.may_start(policy.model, busy):
            return self._turns.idle_places(busy)
        self._start(model, *ready[0], now)
        return True

    def pending(self, model: str) -> tuple[str, ...]:
        """How the names of the facts begin that are waited for, as a measurement is due or under way."""
        found = self._models.get(model)
        return found.pending if found else ()

    def give_way(self, policy: Policy, now: datetime) -> bool:
        """It has no champion to ask about for now; what is under way is still taken in. Returns whether anything
        changed.
        """
        self._turns.leave(policy.model)
        model = self._models.get(policy.model)
        if model is None:
            return False
        model.pending = ()
        model.end_pauses(None)
        return model.under_way is not None and self._collect(policy, model, model.under_way, now)

    def waiting(self, now: datetime) -> frozenset[str]:
        """Models with a measurement under way, or whose turn it is to begin one, or with a question to be asked again
        by now.
        """
        under_way = self._under_way()
        due = (name for name, moment in self._pauses() if now >= moment)
        return frozenset((*under_way, *self._turns.next(len(under_way)), *due))

    def next_due(self) -> datetime | None:
        """When a question is to be asked again."""
        return min((moment for _, moment in self._pauses()), default=None)

    def busy(self) -> bool:
        """Whether a measurement is under way."""
        return bool(self._under_way())

    def clear_away(self) -> None:
        """Remove measurements of an earlier life: what they had not told is asked anew."""
        for key in self._executor.kept():
            if key.startswith(_JOB) and key.removeprefix(_JOB).isdecimal():
                self._executor.discard(key)

    def forget(self, models: Collection[str]) -> None:
        """These models are watched no more, or are other ones now: what was under way for them is stopped."""
        for name in models:
            self._turns.leave(name)
            model = self._models.pop(name, None)
            if model is not None and model.under_way is not None:
                self._executor.discard(model.under_way.job_key)

    def _under_way(self) -> tuple[str, ...]:
        return tuple(name for name, model in self._models.items() if model.under_way is not None)

    def _pauses(self) -> list[tuple[str, datetime]]:
        return [
            (name, asked.not_before)
            for name, model in self._models.items()
            for asked in model.asked.values()
            if asked.not_before is not None
        ]

    def _due(self, policy: Policy, source: Source, model: _OfModel, now: datetime) -> list[tuple[Asker, Question]]:
        """Questions without an answer, also one that is under way; not those that were given up."""
        due = []
        for asker in self._askers:
            question = asker.question(policy, source, now)
            if question is None:
                model.asked.pop(asker.name, None)
                continue
            asked = model.asked.setdefault(asker.name, _Asked(since=now))
            if asked.refused == question.key:
                asked.since = now
            else:
                due.append((asker, question))
        return due

    def _start(self, model: _OfModel, asker: Asker, question: Question, now: datetime) -> None:
        self._started += 1
        key = f"{_JOB}{self._started}"
        self._executor.start(key, question.job, question.limits, now, python=question.python)
        model.under_way = _Measurement(key, asker, question)

    def _collect(self, policy: Policy, model: _OfModel, measurement: _Measurement, now: datetime) -> bool:
        seen = self._executor.look(measurement.job_key)
        if isinstance(seen, Running):
            return False
        asked = model.asked.setdefault(measurement.asker.name, _Asked(since=now))
        match seen:
            case Ended(result=Failed() as failed) if self._lost(policy.model, failed, now):
                asked.not_before = now + ASK_AGAIN
            case Ended(result=Failed() as failed):
                _note_failure(policy, asked, measurement, failed, now)
            case Ended(result=result):
                measurement.asker.take_in(policy, measurement.question, result, now)
                _note_answer(policy, asked, measurement, now)
            case None:  # cut short, which is nobody's failure
                asked.not_before = now + ASK_AGAIN
        model.under_way = None
        self._executor.discard(measurement.job_key)
        return True


def _note_answer(policy: Policy, asked: _Asked, measurement: _Measurement, now: datetime) -> None:
    """The same question once more after its answer: there was nothing new to say, as of a file that cannot be read."""
    key = measurement.question.key
    if asked.answered != key:
        asked.answered, asked.losses, asked.not_before, asked.said = key, 0, None, ""
        return
    failed = Failed(message="What was asked cannot be measured just now.", temporary=True)
    _note_failure(policy, asked, measurement, failed, now)


def _note_failure(policy: Policy, asked: _Asked, measurement: _Measurement, failed: Failed, now: datetime) -> None:
    """That MLflow or the machine is at fault does not count; anything else is given up after some tries, or at once."""
    asked.losses += 0 if failed.unreachable else 1
    given_up = not failed.temporary or asked.losses >= LOSSES_TO_GIVE_UP
    if given_up:
        asked.refused, asked.losses, asked.not_before = measurement.question.key, 0, None
    else:
        asked.not_before = now + min(ASK_AGAIN * 2 ** max(asked.losses - 1, 0), LONGEST)
    reason = f"{failed.message} {failed.hint}".strip()
    if asked.said != (said := f"{given_up} {reason}"):
        asked.said = said
        _log.warning("measurement.failed", model=policy.model, of=measurement.asker.name, reason=reason,
                     temporary=not given_up)  # fmt: skip
