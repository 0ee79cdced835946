"""The daemon is cut off before and after every effect of one attempt, and a person acts there; the end is the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from retrain_daemon.core.attempts import Attempt, State
from retrain_daemon.core.judge import Outcome
from retrain_daemon.labels import ATTEMPT_TAG, REPLACES_TAG, VERDICT_TAG
from tests.fake_box import MODEL, Cut, FakeBox
from tests.made import CHAMPION

OURS = CHAMPION + 1
PERSONS = 6


class Points:
    """Counts the points of a life; at the chosen one something happens, once."""

    def __init__(self, chosen: int, happens: Callable[[str], None]) -> None:
        self.chosen, self.happens = chosen, happens
        self.names: list[str] = []

    def reached(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) == self.chosen:
            self.happens(name)


def a_box(root: Path, worker_outlives_daemon: bool) -> FakeBox:
    root.mkdir()
    box = FakeBox(root, worker_outlives_daemon=worker_outlives_daemon)
    box.record_champion()
    box.drop()
    return box


def watch(box: FakeBox, points: Points | None) -> None:
    box.reached = points.reached if points else lambda _point: None
    box.registry.before = (lambda call: points.reached(f"before {call}")) if points else None
    box.registry.after = (lambda call: points.reached(f"after {call}")) if points else None


def live_until_cut(box: FakeBox, points: Points) -> bool:
    """One life; whether it was cut off."""
    watch(box, points)
    try:
        box.live()
    except Cut:
        return True
    finally:
        watch(box, None)
    return False


def cut(name: str) -> None:
    raise Cut(name)


def assert_champion_lives_and_was_judged(box: FakeBox, where: str) -> None:
    champion = box.aliases().get("champion")
    assert champion in (CHAMPION, OURS), where
    if champion == OURS:
        version = box.registry.version(MODEL, OURS)
        assert version.tags[VERDICT_TAG] == Outcome.PROMOTE, where
        (attempt,) = box.attempts()
        assert attempt.verdict is not None, where
        assert attempt.verdict.outcome is Outcome.PROMOTE, where


def assert_promoted_once(box: FakeBox, where: str) -> None:
    (attempt,) = box.attempts()
    assert (attempt.state, attempt.version) == (State.PROMOTED, OURS), where
    assert box.aliases() == {"champion": OURS, "previous_champion": CHAMPION}, where
    assert len(box.registry.versions_with_tag(MODEL, ATTEMPT_TAG, attempt.id)) == 1, where
    assert box.registry.version(MODEL, OURS).tags[REPLACES_TAG] == str(CHAMPION), where
    with box.journal() as journal:
        lines = [line.event for line in journal.history_of(attempt.id)]
        assert lines.count("attempt.trained") == 1, where
        assert lines.count("attempt.promoted") == 1, where
        lineage = journal.models.lineage(MODEL, OURS)
        assert lineage is not None, where
        assert lineage.continues == CHAMPION, where
        assert [drop.state for drop in journal.drops.listing(MODEL)] == ["recorded"], where


@pytest.mark.parametrize("outlives", [True, False], ids=["worker ends by itself", "worker is cut short too"])
def test_cut_off_before_and_after_every_effect_a_restart_comes_to_the_same_end(tmp_path: Path, outlives: bool) -> None:
    number, names = 0, list[str]()
    while True:
        number += 1
        box = a_box(tmp_path / str(number), outlives)
        points = Points(number, cut)
        was_cut = live_until_cut(box, points)
        names = points.names
        where = f"cut {number} at {names[-1]}"
        assert_champion_lives_and_was_judged(box, where)
        box.live()
        box.live()
        assert_promoted_once(box, where)
        if not was_cut:
            break
    assert number > 40, "the story has fewer effects than it should have"
    for effect in ("before start", "after create_version", "before set_alias", "after set_alias", "after tag_version"):
        assert any(name.startswith(effect) for name in names), effect


def assert_person_won(box: FakeBox, attempt: Attempt, where: str) -> None:
    champion = box.aliases()["champion"]
    if champion == PERSONS:
        return
    assert champion == OURS, where
    assert attempt.champion_version == PERSONS, f"{where}: promoted without being judged against the person's champion"
    assert attempt.evidence is not None, where
    assert attempt.evidence.champion_version == PERSONS, where
    assert box.registry.version(MODEL, OURS).tags[REPLACES_TAG] == str(PERSONS), where


def test_a_person_who_moves_the_alias_before_any_effect_is_never_overwritten_unjudged(tmp_path: Path) -> None:
    """Not within the very call that sets the alias: MLflow offers no compare-and-set for that instant."""
    number = 0
    while True:
        number += 1
        box = a_box(tmp_path / str(number), True)
        moved: list[str] = []

        def move(name: str, box: FakeBox = box, moved: list[str] = moved) -> None:
            if not name.startswith("before set_alias"):
                moved.append(name)
                box.registry.move_alias_by_hand(MODEL, "champion", PERSONS)

        points = Points(number, move)
        live_until_cut(box, points)
        box.live()
        attempt = box.attempts()[0]
        if moved:
            assert_person_won(box, attempt, f"moved at point {number}, {moved[0]}")
        else:
            assert_promoted_once(box, f"nobody moved at point {number}")
        if len(points.names) < number:
            break
    assert number > 40


def test_a_person_who_moves_the_alias_after_our_promotion_stays_in_force(tmp_path: Path) -> None:
    box = a_box(tmp_path / "box", True)
    box.live()
    box.registry.move_alias_by_hand(MODEL, "champion", PERSONS)
    box.live()
    assert box.aliases() == {"champion": PERSONS, "previous_champion": OURS}
    assert len(box.attempts()) == 1
