"""Measurements: when workers are asked what rules want to know, and what becomes of questions that get no answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from retrain_daemon.core.policy import Policy
from retrain_daemon.measuring import PATIENCE, Measuring, Question
from retrain_daemon.worker.job import DriftMeasured, Failed, Job, MeasureDrift, Result, Source
from tests.fake_executor import FakeExecutor
from tests.made import NOW, a_policy

ANSWER = DriftMeasured(columns=(), new_rows=1000, reference_rows=5000)
CRASHED = Failed(message="the worker was ended by signal 9", temporary=True, lost=True)


@dataclass
class Curious:
    """Asks for what `keys` says of each model, one after the other; an answer ends the question."""

    name: str = "drift"
    facts: tuple[str, ...] = ("drift.",)
    keys: dict[str, list[str]] = field(default_factory=dict)
    answers: list[tuple[str, Result]] = field(default_factory=list)
    satisfied: bool = True

    def question(self, policy: Policy, source: Source, now: datetime) -> Question | None:
        keys = self.keys.get(policy.model, [])
        return Question(key=keys[0], job=MeasureDrift(source=source, new=(), reference=())) if keys else None

    def take_in(self, policy: Policy, question: Question, result: Result, now: datetime) -> None:
        self.answers.append((question.key, result))
        if self.satisfied:
            self.keys[policy.model].remove(question.key)


class Measured:
    """A runner over a fake executor, and the asker that it asks; `result` is what the next worker answers."""

    def __init__(self, *keys: str, at_most: int = 2) -> None:
        self.result: Result | None = ANSWER
        self.executor = FakeExecutor(self._work)
        self.asker = Curious(keys={"churn": list(keys)})
        self.measuring = Measuring(self.executor, [self.asker], at_most)
        self.now = NOW

    def _work(self, _job: Job) -> Result | None:
        return self.result

    def look(self, model: str = "churn", *, start: bool = True) -> bool:
        source = Source(tracking_uri="", registry_uri="", model=model, version=7)
        return self.measuring.measure(a_policy(model=model), source, self.now, start=start)

    def look_for(self, span: timedelta) -> None:
        until = self.now + span
        while self.now < until:
            self.look()
            self.now += timedelta(seconds=5)

    def starts(self) -> int:
        return sum(verb == "start" for verb, _ in self.executor.calls)


def test_a_question_is_answered_by_a_worker_and_its_facts_are_pending_until_then() -> None:
    box = Measured("one")
    assert box.look()
    assert box.measuring.pending("churn") == ("drift.",)
    assert box.look()
    assert not box.look()
    assert box.asker.answers == [("one", ANSWER)]
    assert box.measuring.pending("churn") == ()
    assert box.executor.kept() == ()


def test_files_that_come_faster_than_they_are_measured_keep_nobody_waiting_for_ever() -> None:
    box = Measured(*(f"drops 1 to {last}" for last in range(1000)))
    box.look_for(PATIENCE - timedelta(minutes=1))
    assert box.measuring.pending("churn") == ("drift.",)
    box.look_for(timedelta(minutes=2))
    assert box.measuring.pending("churn") == ()
    before = len(box.asker.answers)
    box.look_for(timedelta(minutes=1))
    assert len(box.asker.answers) > before
    box.asker.keys["churn"] = []
    box.look_for(timedelta(minutes=1))
    box.asker.keys["churn"] = ["the next file", "and the one after it"]
    box.look()
    assert box.measuring.pending("churn") == ("drift.",)


def test_nothing_is_measured_while_an_inspection_may_change_what_is_asked() -> None:
    box = Measured("one")
    assert not box.look(start=False)
    assert box.starts() == 0
    assert box.measuring.pending("churn") == ("drift.",)


def test_questions_of_one_model_are_asked_one_after_the_other() -> None:
    box = Measured("one", "two")
    box.result = None
    box.look()
    box.look()
    assert box.starts() == 1
    box.result = ANSWER
    while box.look():
        pass
    assert [key for key, _ in box.asker.answers] == ["one", "two"]


def test_no_more_measurements_run_at_a_time_than_there_are_places() -> None:
    box = Measured("one", at_most=1)
    box.asker.keys["fraud"] = ["one"]
    box.result = None
    box.look()
    box.look("fraud")
    assert box.starts() == 1
    assert box.measuring.waiting(NOW) == {"churn"}
    box.result = ANSWER
    box.look()
    assert box.measuring.waiting(NOW) == {"fraud"}
    box.look("fraud")
    assert box.starts() == 2


def test_a_measurement_that_crashes_is_tried_again_later_and_given_up_after_three_times() -> None:
    box = Measured("one")
    box.result = CRASHED
    box.look_for(timedelta(seconds=10))
    assert box.starts() == 1
    due = box.measuring.next_due()
    assert due is not None
    assert due > box.now
    box.look_for(timedelta(hours=1))
    assert box.starts() == 3
    assert box.measuring.pending("churn") == ()
    assert box.measuring.next_due() is None


def test_a_question_that_was_given_up_is_asked_again_when_it_is_another_one() -> None:
    box = Measured("one")
    box.result = CRASHED
    box.look_for(timedelta(hours=1))
    box.asker.keys["churn"] = ["two"]
    box.result = ANSWER
    box.look_for(timedelta(minutes=1))
    assert box.asker.answers == [("two", ANSWER)]


def test_a_failure_that_would_be_the_same_next_time_is_given_up_at_once() -> None:
    box = Measured("one")
    box.result = Failed(message="Version 7 of churn is a LightGBM model.")
    box.look_for(timedelta(hours=1))
    assert box.starts() == 1
    assert box.measuring.pending("churn") == ()


def test_an_outage_of_mlflow_never_makes_a_question_given_up() -> None:
    box = Measured("one")
    box.result = Failed(message="MLflow does not answer.", temporary=True, unreachable=True)
    box.look_for(timedelta(minutes=10))
    assert box.starts() > 3
    box.result = ANSWER
    box.look_for(timedelta(minutes=1))
    assert box.asker.answers == [("one", ANSWER)]


def test_an_answer_that_leaves_the_same_question_open_is_given_up_as_well() -> None:
    box = Measured("one")
    box.asker.satisfied = False
    box.look_for(timedelta(hours=1))
    assert 2 <= box.starts() <= 4
    assert box.measuring.pending("churn") == ()


def test_a_failure_is_said_once_for_each_reason(capsys: pytest.CaptureFixture[str]) -> None:
    box = Measured("one")
    box.result = Failed(message="MLflow does not answer.", temporary=True, unreachable=True)
    box.look_for(timedelta(minutes=10))
    assert capsys.readouterr().out.count("measurement.failed") == 1


def test_a_clock_that_was_set_back_does_not_put_a_question_off() -> None:
    box = Measured("one")
    box.result = CRASHED
    box.look_for(timedelta(seconds=10))
    box.now -= timedelta(days=2)
    box.result = ANSWER
    box.look_for(timedelta(seconds=15))
    assert box.asker.answers == [("one", ANSWER)]


def test_measurements_of_an_earlier_life_are_removed_and_jobs_of_others_stay() -> None:
    box = Measured()
    box.executor.folders.update({"measure-3": ANSWER, "measure-1.5.0.1": ANSWER, "inspect-2": ANSWER})
    box.measuring.clear_away()
    assert box.executor.kept() == ("inspect-2", "measure-1.5.0.1")


def test_what_is_under_way_for_a_model_that_is_watched_no_more_is_stopped() -> None:
    box = Measured("one")
    box.result = None
    box.look()
    box.measuring.forget(["churn"])
    assert box.executor.kept() == ()
    assert not box.measuring.busy()


def test_without_a_champion_nothing_is_asked_and_what_is_under_way_is_taken_in() -> None:
    box = Measured("one")
    box.look()
    assert box.measuring.give_way(a_policy(), box.now)
    assert box.asker.answers == [("one", ANSWER)]
    assert box.measuring.pending("churn") == ()
    assert not box.measuring.give_way(a_policy(), box.now)
