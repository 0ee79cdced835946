"""A challenger of which nothing was shown is judged again on more rows: nothing is trained, and it may win then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from retrain_daemon.core.attempts import Attempt, State
from retrain_daemon.journal import Journal
from retrain_daemon.labels import KEY_TAG, VERDICT_TAG
from retrain_daemon.worker.job import DropFile, DropReport, Failed
from tests.fake_box import MODEL, FakeBox
from tests.made import CHAMPION, a_metric, some_evidence
from tests.shell.test_interruption import Points, cut, live_until_cut

OURS = CHAMPION + 1
PERSONS = 6
BETTER = some_evidence()
UNCLEAR = some_evidence(a_metric(-0.01, 0.01, 0.03))
LOOKS = "{judge_again_every: 600 rows, at_most: 2}"


def a_report(file: DropFile) -> DropReport | None:
    """The first file has enough rows for a training, later ones have not, and 600 of theirs are held out."""
    if Path(file.path).name == "a.csv":
        return None
    fingerprint = sha256(Path(file.path).read_bytes()).hexdigest()
    return DropReport(drop=file.drop, fingerprint=fingerprint, rows=900, usable=900, new=900, training=300, judging=600)


def a_box(root: Path) -> FakeBox:
    """One attempt was inconclusive."""
    root.mkdir(exist_ok=True)
    box = FakeBox(root, evidence=UNCLEAR, report=lambda _job, file: a_report(file))
    box.edit_policy("data.new_rows >= 1000", "data.new_rows >= 5000")
    box.edit_policy("promote:\n", f"promote:\n  inconclusive: {LOOKS}\n")
    box.record_champion()
    box.drop()
    box.live()
    return box


def more_rows(box: FakeBox, name: str = "b.csv") -> None:
    box.drop(name, f"x,churned\n{name},no\n")


def spent(box: FakeBox) -> list[tuple[int, str]]:
    """Number and attempt of each comparison of the open tenure."""
    with box.journal() as journal:
        return [(each.number, each.attempt) for each in journal.tenures.made(MODEL)]


def test_on_more_rows_the_same_challenger_wins_without_any_training(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    more_rows(box)
    box.evidence = BETTER
    box.live()
    first, second = box.attempts()
    assert (first.state, second.state) == (State.INCONCLUSIVE, State.PROMOTED)
    assert (second.again_of, second.look, second.rule) == (first.id, 2, first.rule)
    assert second.continues == first.continues
    training, look = box.trainings()
    assert training.challenger is None
    assert look.challenger == first.challenger
    assert {Path(drop.path).name for drop in look.drops} == {"a.csv", "b.csv"}
    assert box.aliases() == {"champion": OURS, "previous_champion": CHAMPION}


def test_it_says_what_it_waits_for_and_ends_after_its_last_look(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    assert box.standing()[1].endswith("churn-1 waits for 600 more held-out rows for its second look (2 of 3)")
    for name in ("b.csv", "c.csv", "d.csv"):
        more_rows(box, name)
        box.live()
    assert [(each.look, each.state) for each in box.attempts()] == [
        (1, State.INCONCLUSIVE), (2, State.INCONCLUSIVE), (3, State.INCONCLUSIVE),
    ]  # fmt: skip
    assert [each.again_of for each in box.attempts()] == [None, "churn-1", "churn-1"]
    assert "look" not in box.standing()[1]
    assert spent(box) == [(1, "churn-1"), (2, "churn-2"), (3, "churn-3")]


def test_each_look_is_held_to_its_share_of_the_error_budget(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    more_rows(box)
    box.live()
    asked = [(job.comparison, job.strict_confidence) for job in box.trainings()]
    assert asked == [(1, pytest.approx(1 - 0.05 / 2)), (2, pytest.approx(1 - 0.05 / 6))]


def test_a_look_is_no_training_rows_that_only_it_had_are_still_new(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    with box.journal() as journal:
        before = (journal.attempts.last_ended(MODEL), journal.attempts.starts_since(MODEL, box.clock()))
    more_rows(box)
    box.live()
    with box.journal() as journal:
        assert journal.count_rows(MODEL, None, "churn-1").since_last == 900
        assert (journal.attempts.last_ended(MODEL), journal.attempts.starts_since(MODEL, box.clock())) == before


def test_a_look_that_fails_lets_the_challenger_go_and_counts_as_no_failure(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    more_rows(box)
    box.failure = Failed(message="Its model is gone.")
    box.live()
    more_rows(box, "c.csv")
    box.live()
    assert [each.state for each in box.attempts()] == [State.INCONCLUSIVE, State.ABANDONED]
    with box.journal() as journal:
        assert journal.attempts.abandoned_in_a_row(MODEL, None) == 0


def test_the_same_rows_again_are_no_more_rows(tmp_path: Path) -> None:
    box = a_box(tmp_path)

    def known(_job: object, file: DropFile) -> DropReport | None:
        found = a_report(file)
        return replace(found, new=0) if found is not None else None

    box.report = known
    more_rows(box)
    box.live()
    assert len(box.attempts()) == 1


def test_a_person_who_asks_for_a_training_lets_the_challenger_go(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.order("retrain")
    box.live()
    more_rows(box)
    box.live()
    assert [each.again_of for each in box.attempts()] == [None, None, "churn-2"]


def test_a_retracted_file_that_it_learned_from_ends_it(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    more_rows(box)
    box.order("retract", "mislabelled", {"file": "a.csv"})
    box.live()
    assert [each.again_of for each in box.attempts() if each.again_of] == []


def test_a_file_that_is_retracted_while_it_is_looked_at_again_ends_that_look(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    more_rows(box)
    seen: list[str] = []

    def retract(name: str) -> None:
        if name == "after start" and len(box.trainings()) == 2 and not seen:
            seen.append(name)
            box.order("retract", "mislabelled", {"file": "a.csv"})

    box.reached = retract
    box.live()
    look = box.attempts()[1]
    assert look.state is State.ABANDONED
    assert "a.csv was retracted" in look.reason
    assert box.aliases() == {"champion": CHAMPION}


def test_another_champion_ends_it(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.registry.move_alias_by_hand(MODEL, "champion", PERSONS)
    box.live()
    box.registry.move_alias_by_hand(MODEL, "champion", CHAMPION)
    box.live()
    more_rows(box)
    box.live()
    assert [each.again_of for each in box.attempts()] == [None]


def test_its_version_is_scored_only_on_files_that_no_look_had(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    more_rows(box)
    box.evidence = BETTER
    box.live()
    more_rows(box, "c.csv")
    box.live()
    with box.journal() as journal:
        lineage = journal.models.lineage(MODEL, OURS)
        assert lineage is not None
        assert lineage.attempt == "churn-1"
        assert [Path(drop.path).name for drop in journal.scores.drops_since(MODEL, lineage)] == ["c.csv"]


def test_a_version_that_an_earlier_look_registered_is_the_one_that_is_promoted(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    (first,) = box.attempts()
    version = register_by_hand(box, first)
    more_rows(box)
    box.evidence = BETTER
    box.live()
    assert box.aliases()["champion"] == version
    assert len(box.registry.every_version(MODEL)) == OURS


def register_by_hand(box: FakeBox, attempt: Attempt) -> int:
    """As a policy that registers every challenger would have had it."""
    assert attempt.challenger is not None
    identity = Journal.open(box.root / "state")
    key = f"{identity.identity()}/{attempt.id}.{attempt.started_at:%Y%m%dT%H%M%S%f}"
    identity.close()
    uri, run = attempt.challenger.model_uri, attempt.challenger.run_id
    return box.registry.create_version(MODEL, source=uri, run_id=run, tags={KEY_TAG: key}, description="").number


def assert_promoted_once(box: FakeBox, where: str) -> None:
    first, second = box.attempts()
    assert (first.state, second.state, second.version) == (State.INCONCLUSIVE, State.PROMOTED, OURS), where
    assert box.aliases() == {"champion": OURS, "previous_champion": CHAMPION}, where
    assert len(box.registry.every_version(MODEL)) == OURS, where
    assert box.registry.version(MODEL, OURS).tags[VERDICT_TAG] == "promote", where
    with box.journal() as journal:
        tenures = journal.tenures.of_model(MODEL)
        assert [(each.version, each.how.value) for each in tenures] == [(CHAMPION, "found"), (OURS, "better")], where
        made = [(each.number, each.attempt) for each in journal.tenures.comparisons(tenures[0])]
    assert made == [(1, "churn-1"), (2, "churn-2")], where


@pytest.mark.slow
def test_cut_off_before_and_after_every_effect_a_look_comes_to_the_same_end(tmp_path: Path) -> None:
    number = 0
    while True:
        number += 1
        box = a_box(tmp_path / str(number))
        more_rows(box)
        box.evidence = BETTER
        points = Points(number, cut)
        was_cut = live_until_cut(box, points)
        box.live()
        box.live()
        assert_promoted_once(box, f"cut {number} at {points.names[-1]}")
        if not was_cut:
            break
    assert number > 25


def move_champion(box: FakeBox) -> None:
    box.registry.move_alias_by_hand(MODEL, "champion", PERSONS)


@pytest.mark.slow
@pytest.mark.parametrize("act", [move_champion])
def test_whoever_a_person_makes_champion_meanwhile_is_never_replaced_unjudged(
    tmp_path: Path, act: Callable[[FakeBox], None]
) -> None:
    number = 0
    while True:
        number += 1
        box = a_box(tmp_path / str(number))
        more_rows(box)
        box.evidence = BETTER

        def happen(name: str, box: FakeBox = box) -> None:
            if not name.startswith("before set_alias"):
                act(box)

        points = Points(number, happen)
        live_until_cut(box, points)
        box.live()
        attempt = box.attempts()[-1]
        assert all(each.ended_at for each in box.attempts()), f"at point {number}"
        if box.aliases()["champion"] == OURS and PERSONS in box.aliases().values():
            assert attempt.champion_version == PERSONS, f"at point {number}"
        if len(points.names) < number:
            break
    assert number > 25
