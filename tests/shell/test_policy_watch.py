"""Hints that policy files changed: what is heard, and what is not worth waking for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retrain_daemon.policy_watch import PolicyWatch

Begin = Callable[[Path], PolicyWatch]


@pytest.fixture
def begin() -> Iterator[Begin]:
    made: list[PolicyWatch] = []

    def make(path: Path) -> PolicyWatch:
        watch = PolicyWatch(path)
        made.append(watch)
        watch.look()
        return watch

    yield make
    for watch in made:
        watch.close()


def heard(watch: PolicyWatch) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if watch.hears():
            return True
        time.sleep(0.02)
    return False


def test_writing_into_a_file_and_reading_it_again_is_heard_once(tmp_path: Path, begin: Begin) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("x")
    watch = begin(tmp_path)
    assert not watch.hears()
    with file.open("r+") as stream:
        stream.write("y")
    assert heard(watch)
    watch.look()
    file.read_text()
    assert not watch.hears()


def test_a_folder_that_comes_goes_and_is_replaced_is_heard(tmp_path: Path, begin: Begin) -> None:
    path = tmp_path / "policies"
    watch = begin(path)
    assert not watch.hears()
    path.mkdir()
    assert heard(watch)
    watch.look()
    (path / "a.yaml").write_text("x")
    assert heard(watch)
    path.rename(tmp_path / "before")
    watch.look()
    path.mkdir()
    assert heard(watch)


def test_files_that_links_point_to_are_followed(tmp_path: Path, begin: Begin) -> None:
    policies, checkout = tmp_path / "policies", tmp_path / "checkout"
    policies.mkdir()
    checkout.mkdir()
    real, link = checkout / "a.yaml", policies / "a.yaml"
    real.write_text("x")
    link.symlink_to(real)
    watch = begin(policies)
    watch.follow([str(link)])
    assert not watch.hears()
    real.write_text("y")
    assert heard(watch)


def test_a_single_file_is_watched_whichever_way_it_is_replaced(tmp_path: Path, begin: Begin) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("x")
    watch = begin(file)
    (tmp_path / "new").write_text("y")
    (tmp_path / "new").replace(file)
    assert heard(watch)
