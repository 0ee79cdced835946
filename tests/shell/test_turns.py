"""Who may start next where only so many may be under way."""

from __future__ import annotations

from retrain_daemon.turns import Turns


def test_so_many_start_and_the_others_wait() -> None:
    turns = Turns(2)
    assert [turns.may_start(name, taken) for name, taken in (("a", 0), ("b", 1), ("c", 2))] == [True, True, False]


def test_who_asked_first_starts_first_although_another_asks_when_a_place_is_free() -> None:
    turns = Turns(1)
    assert turns.may_start("a", 0)
    assert not turns.may_start("c", 1)
    assert not turns.may_start("a", 0)  # again, and before c
    assert turns.may_start("c", 0)
    assert not turns.may_start("a", 1)
    assert turns.may_start("a", 0)


def test_who_waits_and_never_asks_again_keeps_nobody_from_starting() -> None:
    turns = Turns(1)
    assert not turns.may_start("gone", 1)
    assert not turns.may_start("b", 0)
    assert turns.idle_places(0)  # so it is asked once more
    assert turns.may_start("b", 0)


def test_who_has_nothing_to_start_any_more_leaves_the_line() -> None:
    turns = Turns(1)
    assert not turns.may_start("done", 1)
    turns.leave("done")
    assert turns.may_start("b", 0)
