"""What an attempt keeps on disk while it trains: a challenger, and a search under way."""

from __future__ import annotations

from pathlib import Path

from retrain_daemon.kept import KeptChallengers
from tests.made import an_attempt


def test_a_later_worker_finds_the_search_of_its_round_and_no_other(tmp_path: Path) -> None:
    kept = KeptChallengers(tmp_path / "kept")
    first, second = an_attempt(), an_attempt(round=1)
    kept.make_room(first)
    kept.study_of(first).mkdir()
    kept.make_room(first)
    assert kept.study_of(first).is_dir()
    kept.make_room(second)
    assert not kept.study_of(first).exists()


def test_nothing_of_a_search_is_left_when_its_attempt_is_over(tmp_path: Path) -> None:
    kept = KeptChallengers(tmp_path / "kept")
    attempt = an_attempt()
    for forget in (lambda: kept.discard(attempt), lambda: kept.sweep([])):
        kept.make_room(attempt)
        kept.study_of(attempt).mkdir()
        kept.sweep([attempt])
        assert kept.study_of(attempt).is_dir()
        forget()
        assert list((tmp_path / "kept").iterdir()) == []
