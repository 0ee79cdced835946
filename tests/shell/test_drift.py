"""Which drops are compared with which, when that is asked again, and what is known of it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from retrain_daemon.core.attempts import State
from retrain_daemon.core.decide import decide
from retrain_daemon.core.facts import Drift
from retrain_daemon.core.policy import Recipe, Rule
from retrain_daemon.drift_watch import DriftAsker
from retrain_daemon.journal import Journal
from retrain_daemon.measuring import Question
from retrain_daemon.observe import gather
from retrain_daemon.registry_view import RegistryView
from retrain_daemon.worker.job import DriftMeasured, DropDrift, MeasureDrift, Source
from tests.fakes import FakeRegistry
from tests.made import CHAMPION, NOW, a_policy, some_facts

SOURCE = Source(tracking_uri="", registry_uri="", model="churn", version=CHAMPION)
POLICY = a_policy(rules=(Rule("the world changed", "drift.max > 0.25", Recipe()),))


class Churn:
    """A model's journal: files are recorded, attempts have them, drift is asked for and answered."""

    def __init__(self, folder: Path) -> None:
        self.journal = Journal.open(folder)
        self.asker = DriftAsker(self.journal)
        self.now = NOW

    def drop(self, rows: int, *, new: int | None = None, profile: bool = True) -> int:
        self.now += timedelta(hours=1)
        database, moment = self.journal._database, self.now.isoformat(timespec="microseconds")
        number = len(database.rows("SELECT id FROM drops")) + 1
        database.run(
            "INSERT INTO drops (model, path, size, mtime_ns, inode, arrived_at, state, fingerprint, rows, usable, new,"
            " profile_file, changed_at) VALUES ('churn', ?, 1, 1, 1, ?, 'recorded', ?, ?, ?, ?, ?, ?)",
            f"/srv/{number}.csv", moment, f"f{number}", rows, rows, rows if new is None else new,
            f"/state/{number}.npz" if profile else "", moment,
        )  # fmt: skip
        return number

    def set(self, drop: int, column: str, value: str) -> None:
        self.journal._database.run(f"UPDATE drops SET {column} = ? WHERE id = ?", value, drop)

    def attempt(self, *drops: int, end: State = State.REJECTED) -> None:
        decision = decide(a_policy(), some_facts(), self.now)
        attempt = self.journal.attempts.plan(a_policy(), decision, CHAMPION, CHAMPION, drops, self.now)
        self.journal.attempts.conclude(attempt, end, "", CHAMPION, self.now)

    def question(self) -> Question | None:
        return self.asker.question(POLICY, SOURCE, self.now)

    def compared(self) -> tuple[list[int], list[int]]:
        question = self.question()
        assert question is not None
        assert isinstance(question.job, MeasureDrift)
        return [drop.drop for drop in question.job.new], [drop.drop for drop in question.job.reference]

    def answer(self, columns: dict[str, float], drops: tuple[DropDrift, ...] = ()) -> None:
        question = self.question()
        assert question is not None
        measured = DriftMeasured(columns=tuple(columns.items()), new_rows=1500, reference_rows=6000, drops=drops)
        self.asker.take_in(POLICY, question, measured, self.now)

    def known(self) -> Drift:
        return gather(POLICY, self.journal, RegistryView(FakeRegistry()), self.now).drift


@pytest.fixture
def churn(tmp_path: Path) -> Churn:
    return Churn(tmp_path)


def test_new_drops_are_compared_with_the_newest_the_last_judged_attempt_had(churn: Churn) -> None:
    old, *learned = (churn.drop(rows) for rows in (9000, 2000, 4000))
    churn.attempt(old, *learned)
    new = [churn.drop(800), churn.drop(700)]
    assert churn.compared() == (new, list(reversed(learned)))


def test_with_many_new_rows_the_reference_is_as_large(churn: Churn) -> None:
    learned = [churn.drop(6000) for _ in range(4)]
    churn.attempt(*learned)
    churn.drop(15_000)
    assert churn.compared()[1] == [4, 3, 2]


def test_without_a_judged_attempt_nothing_is_asked_and_that_is_said(churn: Churn) -> None:
    churn.drop(9000)
    churn.attempt(1, end=State.ABANDONED)
    assert churn.question() is None
    assert churn.known().obstacle == "no attempt was judged yet, so there is nothing to compare new rows with"


def test_below_a_thousand_new_rows_nothing_is_asked_and_that_is_said(churn: Churn) -> None:
    churn.attempt(churn.drop(9000))
    churn.drop(5000, new=400)
    churn.drop(599)
    churn.drop(3000, profile=False)
    assert churn.question() is None
    assert churn.known().obstacle == "999 new rows, 1,000 are needed"


def test_a_reference_without_profiles_is_not_known(churn: Churn) -> None:
    churn.attempt(churn.drop(9000, profile=False), churn.drop(999))
    churn.drop(3000)
    assert churn.question() is None
    assert "999 rows of what attempt churn-1 learned from can be compared with" in churn.known().obstacle


def test_an_attempt_without_a_verdict_does_not_move_the_reference(churn: Churn) -> None:
    churn.attempt(churn.drop(9000))
    new = churn.drop(3000)
    churn.attempt(1, new, end=State.ABANDONED)
    assert churn.compared() == ([new], [1])


def test_after_a_verdict_on_them_rows_are_new_no_more_and_become_the_reference(churn: Churn) -> None:
    churn.attempt(churn.drop(9000))
    changed = churn.drop(6000)
    churn.answer({"age": 0.9})
    assert churn.known().columns == {"age": 0.9}
    churn.attempt(1, changed, end=State.PROMOTED)
    assert churn.known() == Drift(obstacle="0 new rows, 1,000 are needed")
    newer = churn.drop(2000)
    assert churn.compared() == ([newer], [changed])


def test_what_was_measured_counts_until_the_drops_are_others(churn: Churn) -> None:
    churn.attempt(churn.drop(9000))
    churn.drop(3000)
    assert churn.known().obstacle == "the new rows were not measured yet"
    churn.answer({"age": 0.1, "income": 0.4})
    assert churn.question() is None
    assert (churn.known().worst, churn.known().columns) == ("income", {"age": 0.1, "income": 0.4})
    churn.drop(2000)
    assert churn.known().columns == {}
    assert churn.question() is not None


@pytest.mark.parametrize("drop", [1, 2])
def test_a_drop_that_was_inspected_anew_is_measured_anew(churn: Churn, drop: int) -> None:
    churn.attempt(churn.drop(9000))
    churn.drop(3000)
    churn.answer({"age": 0.1})
    churn.set(drop, "inspected_as", "other features")
    assert churn.question() is not None


def test_a_retracted_drop_is_not_among_the_new_ones(churn: Churn) -> None:
    churn.attempt(churn.drop(9000))
    kept, wrong = churn.drop(3000), churn.drop(3000)
    churn.set(wrong, "state", "retracted")
    assert churn.compared()[0] == [kept]


def test_columns_that_cannot_be_compared_are_asked_for_once_and_are_not_known(churn: Churn) -> None:
    churn.attempt(churn.drop(9000))
    churn.drop(3000)
    churn.answer({})
    assert churn.question() is None
    assert churn.known() == Drift(obstacle="no column can be compared")
    assert [line.event for line in churn.journal.history("churn", 5) if line.event == "drift.measured"] == []


def test_the_history_says_how_far_and_each_drop_keeps_its_own_distance(churn: Churn) -> None:
    churn.attempt(churn.drop(9000))
    churn.drop(3000)
    churn.answer({"age": 0.31, "income": 0.02}, (DropDrift(drop=2, worst="age", value=0.31),))
    line = churn.journal.history("churn", 1)[0]
    assert (line.event, line.detail) == ("drift.measured", "0.310 in age, 1500 new rows against 6000")
    churn.drop(3000)
    churn.answer({"age": 0.2}, (DropDrift(drop=3, worst="age", value=0.09),))
    found = churn.journal.drift.of_drops("churn")
    assert {number: (each.worst, each.value) for number, each in found.items()} == {2: ("age", 0.31), 3: ("age", 0.09)}
    assert [(each.worst, each.value) for each in churn.journal.drift.history("churn", 9)] == [
        ("age", 0.31),
        ("age", 0.2),
    ]


def test_a_rule_about_drift_is_unknown_before_anything_is_known_and_names_it(churn: Churn) -> None:
    decision = decide(POLICY, some_facts(drift=churn.known()), NOW)
    assert decision.sentence == "no rule holds: “the world changed” is unknown (drift.max not known)"


def test_a_rule_about_drift_holds_with_its_value_in_the_reason() -> None:
    decision = decide(POLICY, some_facts(drift=Drift(columns={"age": 0.31, "income": 0.1})), NOW)
    assert decision.sentence == "rule “the world changed” holds: drift.max is 0.31"
    waits = decide(POLICY, some_facts(drift=Drift(columns={"age": 0.2})), NOW)
    assert waits.sentence == "no rule holds: “the world changed”: drift.max is 0.2, short by 0.05"
