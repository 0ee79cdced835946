"""Models that never had a champion: a version that a person puts up is judged by itself and becomes the first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from retrain_daemon.core.attempts import State
from retrain_daemon.core.evidence import Evidence, MetricEvidence
from retrain_daemon.core.trust import Trust
from retrain_daemon.journal.tenures import How
from retrain_daemon.labels import REPLACES_TAG, VERDICT_TAG
from retrain_daemon.worker.job import CompareVersions, InspectDrops, ScoreDrops
from tests.fake_box import MODEL, FakeBox
from tests.made import some_evidence
from tests.shell.test_interruption import Points, cut, live_until_cut

FIRST = 8


def measured(accuracy: float, rows: int = 1000) -> Evidence:
    """What a worker finds of a version by itself."""
    metric = MetricEvidence(
        metric="accuracy", champion=None, challenger=accuracy, challenger_low=accuracy - 0.01,
        challenger_high=accuracy + 0.01,
    )  # fmt: skip
    return replace(some_evidence(), rows=rows, champion_digest="", metrics=(metric,))


def a_box(root: Path, *, accuracy: float = 0.9, line: str = "at_least: 0.8", author: str = "ada") -> FakeBox:
    """No version has the alias of the champion; a person puts a new one up, and rows come after it."""
    root.mkdir(exist_ok=True)
    box = FakeBox(root, evidence=measured(accuracy), trust=Trust(users=frozenset({"ada"})))
    box.registry.delete_alias_by_hand(MODEL, "champion")
    box.edit_policy("better_by: 0", line)
    with box.life() as daemon:
        daemon.turn()
    box.registry.create_version_by_hand(MODEL, source="models:/m-theirs", run_id="run-theirs", user=author)
    box.registry.move_alias_by_hand(MODEL, "challenger", FIRST)
    box.drop()
    return box


def offered_sentence(box: FakeBox) -> str:
    with box.journal() as journal:
        decision = journal.decisions.standing(MODEL)
    return decision.offered if decision else ""


def test_a_version_that_holds_what_is_asked_of_it_alone_becomes_the_first_champion(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.live()
    (attempt,) = [each for each in box.attempts() if each.rule == "challenger"]
    assert (attempt.state, attempt.champion_version, attempt.version) == (State.PROMOTED, 0, FIRST)
    assert box.aliases() == {"champion": FIRST}
    tags = box.registry.version(MODEL, FIRST).tags
    assert tags[VERDICT_TAG] == "promote"
    assert REPLACES_TAG not in tags
    with box.journal() as journal:
        tenure = journal.tenures.open(MODEL)
        assert journal.watches.open(MODEL) is None
    assert tenure is not None
    assert (tenure.version, tenure.how, tenure.anchor) == (FIRST, How.FOUND, FIRST)


def test_drops_are_read_by_the_signature_of_the_version_that_is_put_up(tmp_path: Path) -> None:
    box = a_box(tmp_path, accuracy=0.5)
    box.live()
    inspected = [job.source.version for job in box.jobs if isinstance(job, InspectDrops)]
    (job,) = box.trainings()
    assert inspected == [FIRST]
    assert (job.source.version, job.challenger is not None) == (None, True)
    assert not any(isinstance(each, (ScoreDrops, CompareVersions)) for each in box.jobs)


def test_a_version_below_a_line_is_rejected_and_there_is_still_no_champion(tmp_path: Path) -> None:
    box = a_box(tmp_path, accuracy=0.5)
    box.live()
    (attempt,) = box.attempts()
    assert attempt.state is State.REJECTED
    assert box.aliases() == {}
    assert box.standing()[0] == "champion_none"
    assert "retraind adopt churn --version N" in box.standing()[1]


def test_nothing_trains_while_there_is_no_champion_also_not_on_request(tmp_path: Path) -> None:
    box = a_box(tmp_path, accuracy=0.5)
    box.order("retrain", "now")
    box.live(turns=10)
    assert [attempt.rule for attempt in box.attempts()] == ["challenger"]
    assert [job.challenger is not None for job in box.trainings()] == [True]


def test_a_policy_that_only_compares_says_how_to_get_a_first_champion(tmp_path: Path) -> None:
    box = a_box(tmp_path, line="better_by: 0")
    box.live()
    assert not box.attempts()
    assert box.standing()[0] == "champion_none"
    assert f"`retraind adopt {MODEL} --version {FIRST}`" in offered_sentence(box)
    assert "at_least: 0.8" in offered_sentence(box)


def test_a_version_of_somebody_whom_the_settings_do_not_name_is_not_loaded(tmp_path: Path) -> None:
    box = a_box(tmp_path, author="mallory")
    box.live()
    assert not box.jobs
    assert "version 8 is by mallory, who is not among trust.users" in offered_sentence(box)


def test_too_few_rows_are_waited_for(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.evidence = measured(0.9, rows=100)
    box.live()
    assert [attempt.state for attempt in box.attempts()] == [State.INCONCLUSIVE]
    assert box.aliases() == {"challenger": FIRST}
    box.evidence = measured(0.9)
    box.drop("b.csv", "x,churned\n2,no\n")
    box.live()
    assert box.aliases() == {"champion": FIRST}


def test_a_champion_that_a_person_sets_meanwhile_is_what_it_is_judged_against(tmp_path: Path) -> None:
    box = a_box(tmp_path)

    def adopt_another(name: str) -> None:
        if name == "tag_version" and "champion" not in box.aliases():
            box.registry.move_alias_by_hand(MODEL, "champion", 3)
            box.evidence = some_evidence()

    box.registry.before = adopt_another
    box.edit_policy("at_least: 0.8", "at_least: 0.5")
    box.live(turns=10)
    (attempt,) = [each for each in box.attempts() if each.rule == "challenger"]
    assert (attempt.champion_version, attempt.round) == (3, 1)
    assert [job.source.version for job in box.trainings() if job.challenger][:2] == [None, 3]


def test_a_person_approves_the_first_champion_where_the_policy_asks_for_it(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.edit_policy("promote:\n", "promote:\n  approval: required\n")
    box.live()
    (attempt,) = box.attempts()
    assert attempt.awaits_approval
    assert box.aliases() == {"challenger": FIRST}
    assert attempt.asked is not None
    box.order("approve", "fine", {"attempt": attempt.id, "evidence": attempt.asked.evidence})
    box.live()
    assert box.aliases() == {"champion": FIRST}


def test_the_first_champion_has_nothing_to_be_rolled_back_to(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.live()
    number = box.order("rollback", "bad", {"champion": str(FIRST)})
    box.live(turns=1)
    code, said = box.answer(number)
    assert code == 5
    assert f"it is not known what was champion of {MODEL} before version {FIRST}" in said
    assert box.aliases()["champion"] == FIRST


def test_wherever_it_is_cut_the_version_becomes_the_first_champion_once(tmp_path: Path) -> None:
    number = 0
    while True:
        number += 1
        box = a_box(tmp_path / str(number))
        box.edit_policy("data.new_rows >= 1000", "data.new_rows >= 1000000")
        points = Points(number, cut)
        was_cut = live_until_cut(box, points)
        box.live()
        box.live()
        where = f"cut {number} at {points.names[-1]}"
        (attempt,) = box.attempts()
        assert (attempt.state, attempt.champion_version) == (State.PROMOTED, 0), where
        assert box.aliases() == {"champion": FIRST}, where
        if not was_cut:
            break
    assert number > 20
