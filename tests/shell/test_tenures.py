"""How long each version was champion, how it became it, what its anchor is, and what was spent of its budget."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from retrain_daemon.journal import Journal
from retrain_daemon.journal.copies import copy_whole
from tests.fake_box import MODEL, Cut, FakeBox
from tests.made import CHAMPION, a_metric, some_evidence

OURS = CHAMPION + 1
PERSONS = 6
UNCLEAR = some_evidence(a_metric(-0.01, 0.01, 0.03))
Told = tuple[int, str, int]


def a_box(root: Path, *, claim: str = "better_by: 0") -> FakeBox:
    box = FakeBox(root)
    box.edit_policy("better_by: 0", claim)
    box.record_champion()
    return box


def promote(box: FakeBox, name: str) -> None:
    box.drop(name, f"x,churned\n{name},no\n")
    box.live()


def tenures(box: FakeBox) -> list[Told]:
    """Version, how it became champion, and anchor, of each tenure; the last one is open, and no other."""
    with box.journal() as journal:
        found = journal.tenures.of_model(MODEL)
    assert [each.closed_at is None for each in found] == [False] * (len(found) - 1) + [True]
    return [(each.version, each.how.value, each.anchor) for each in found]


FOUND = (CHAMPION, "found", CHAMPION)


def test_who_was_shown_to_be_better_is_the_new_anchor(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    promote(box, "a.csv")
    assert tenures(box) == [FOUND, (OURS, "better", OURS)]


def test_refreshes_that_are_not_worse_keep_the_anchor_and_are_compared_with_it(tmp_path: Path) -> None:
    box = a_box(tmp_path, claim="not_worse_by: 0.01")
    for name in ("a.csv", "b.csv", "c.csv"):
        promote(box, name)
    assert tenures(box) == [FOUND, *((OURS + step, "not_worse", CHAMPION) for step in range(3))]
    assert [job.anchor.version if job.anchor else None for job in box.trainings()] == [None, CHAMPION, CHAMPION]
    assert [job.comparison for job in box.trainings()] == [None] * 3
    anchor = box.trainings()[1].anchor
    assert anchor is not None
    assert anchor.learned == ("/state/adopted.npy",)


def test_a_smaller_model_is_no_new_anchor_as_it_may_predict_a_little_worse(tmp_path: Path) -> None:
    box = a_box(tmp_path, claim="not_worse_by: 0.03}\n    - {metric: model_mb, better_by: 0")
    box.evidence = some_evidence(a_metric(-0.02, -0.01, 0.0), a_metric(0.1, 0.1, 0.1, "model_mb"))
    promote(box, "a.csv")
    assert tenures(box) == [FOUND, (OURS, "not_worse", CHAMPION)]


def test_in_the_place_of_an_anchor_that_was_deleted_comes_the_next_champion_after_it(tmp_path: Path) -> None:
    box = a_box(tmp_path, claim="not_worse_by: 0.01")
    promote(box, "a.csv")
    promote(box, "b.csv")
    box.registry.delete_version_by_hand(MODEL, CHAMPION)
    promote(box, "c.csv")
    anchor = box.trainings()[-1].anchor
    assert anchor is not None
    assert anchor.version == OURS


def test_a_persons_move_begins_anew_and_a_rollback_takes_up_the_anchor_that_was(tmp_path: Path) -> None:
    box = a_box(tmp_path, claim="not_worse_by: 0.01")
    promote(box, "a.csv")
    promote(box, "b.csv")
    box.order("rollback", "it is wrong", {"champion": str(OURS + 1)})
    box.live()
    refreshed = [(OURS, "not_worse", CHAMPION), (OURS + 1, "not_worse", CHAMPION)]
    assert tenures(box) == [FOUND, *refreshed, (OURS, "rolled_back", CHAMPION)]
    box.registry.move_alias_by_hand(MODEL, "champion", PERSONS)
    box.live()
    assert tenures(box)[-1] == (PERSONS, "moved", PERSONS)


def test_a_model_made_anew_begins_anew_though_its_champion_has_the_number_of_the_old_one(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.evidence = UNCLEAR
    promote(box, "a.csv")
    box.registry.delete_model_by_hand(MODEL)
    box.registry.now = box.clock()
    for _ in range(CHAMPION):
        box.registry.create_version_by_hand(MODEL)
    box.registry.move_alias_by_hand(MODEL, "champion", CHAMPION)
    lineage_of_champion_has_a_time(box)
    box.live()
    assert tenures(box) == [FOUND, (CHAMPION, "moved", CHAMPION)]
    with box.journal() as journal:
        assert journal.tenures.made(MODEL) == ()


def lineage_of_champion_has_a_time(box: FakeBox) -> None:
    """As it is recorded of every version that the daemon itself has seen."""
    journal = Journal.open(box.root / "state")
    lineage = journal.models.lineage(MODEL, CHAMPION)
    assert lineage is not None
    made = box.registry.now.replace(year=2020)
    journal._database.run("UPDATE lineage SET created_at = ? WHERE version = ?", made.isoformat(), CHAMPION)
    journal.close()


def test_comparisons_count_up_while_one_version_is_champion_and_begin_anew_with_the_next(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.evidence = UNCLEAR
    promote(box, "a.csv")
    promote(box, "b.csv")
    box.evidence = some_evidence()
    promote(box, "c.csv")
    promote(box, "d.csv")
    assert [job.comparison for job in box.trainings()] == [1, 2, 3, 1]


def test_a_worker_that_is_started_again_makes_the_same_comparison(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.worker_outlives_daemon = False

    def cut(name: str) -> None:
        if name == "after start" and 0 < len(box.trainings()) < 3:
            raise Cut(name)

    box.reached = cut
    box.drop()
    for _ in range(2):
        with pytest.raises(Cut):
            box.live()
    box.live()
    assert [job.comparison for job in box.trainings()] == [1, 1, 1]
    with box.journal() as journal:
        assert [each.number for each in journal.tenures.comparisons(journal.tenures.of_model(MODEL)[0])] == [1]


def test_a_comparison_with_another_champion_counts_for_that_one(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    moved: list[str] = []

    def move(name: str) -> None:
        if name == "before start" and not moved and box.trainings() == []:
            moved.append(name)
            box.registry.move_alias_by_hand(MODEL, "champion", PERSONS)

    box.reached = move
    promote(box, "a.csv")
    with box.journal() as journal:
        made = {each.version: len(journal.tenures.comparisons(each)) for each in journal.tenures.of_model(MODEL)}
    assert made[CHAMPION] + made[PERSONS] >= 1
    assert made[PERSONS] == 1


@pytest.mark.parametrize("move", [lambda box: None, lambda box: box.registry.move_alias_by_hand(MODEL, "champion", 6)])
def test_a_restored_copy_goes_on_with_the_tenure_if_the_champion_is_the_same(
    tmp_path: Path, move: Callable[[FakeBox], None]
) -> None:
    box = a_box(tmp_path)
    box.evidence = UNCLEAR
    promote(box, "a.csv")
    newest = tmp_path / "copy.db"
    copy_whole(tmp_path / "state" / "journal.db", newest, box.clock())
    for file in ("journal.db", "journal.db-wal", "journal.db-shm"):
        (tmp_path / "state" / file).unlink(missing_ok=True)
    newest.rename(tmp_path / "state" / "journal.db")
    move(box)
    box.live()
    champion = box.aliases()["champion"]
    assert tenures(box)[-1] == (champion, "found", champion)
    with box.journal() as journal:
        assert len(journal.tenures.made(MODEL)) == (1 if champion == CHAMPION else 0)
