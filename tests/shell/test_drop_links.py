"""Symbolic links in a drop folder whose policy follows them: a link counts as the file it points to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrain_daemon.core.policy import Completion
from retrain_daemon.drops import Scan, Watched
from tests.fake_box import FakeBox
from tests.watching import SETTLE, Watching, known, later, names, without_privileges


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that any user can reach; a test's own temporary folder is closed to others."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def following(place: Path) -> Iterator[Watching]:
    (place / "drops").mkdir()
    (place / "elsewhere").mkdir()
    watching = Watching(place / "drops")
    watching.watched = Watched("churn", str(watching.folder), "*.csv", Completion(SETTLE), follow_links=True)
    yield watching
    watching.drops.close()


def link(watching: Watching, target: Path | str, name: str = "a.csv") -> Path:
    path = watching.folder / name
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    return path


def test_a_link_is_worth_what_its_file_is(following: Watching, place: Path) -> None:
    target = place / "elsewhere" / "rows.csv"
    target.write_text("1\n2\n")
    path = link(following, target)
    assert following.scan().settling == (str(path),), "the file was written just now"
    (found,) = following.scan(now=later(31)).found
    assert (found.path, found.stamp.size, found.stamp.inode) == (str(path), 4, target.stat().st_ino)


def test_a_changed_target_is_a_new_revision_at_the_next_look(following: Watching, place: Path) -> None:
    target = place / "elsewhere" / "rows.csv"
    target.write_text("1\n")
    link(following, target)
    before = known(following.scan(now=later(31)))
    assert following.scan(before, later(31)) == Scan("churn")
    assert following.drops.is_unchanged(following.watched)
    target.write_text("1\n2\n")
    assert not following.drops.is_unchanged(following.watched)
    assert [one.stamp.size for one in following.scan(before, later(31)).found] == [4]


def test_a_link_that_is_pointed_elsewhere_is_a_new_revision_and_a_rename_of_the_link_vouches_for_nothing(
    following: Watching, place: Path
) -> None:
    for name in ("one", "two"):
        (place / "elsewhere" / name).write_text(name)
    path = link(following, place / "elsewhere" / "one")
    before = known(following.scan(now=later(31)))
    following.start()
    link(following, place / "elsewhere" / "two", ".a.csv.tmp").rename(path)
    following.await_change()
    assert following.scan(before).settling == (str(path),)
    assert names(following.scan(before, later(31)).found) == ["a.csv"]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nowhere", "a.csv is a symbolic link to nowhere, which is not there."),
        ("a.csv", "a.csv is a symbolic link to a.csv, and following it comes back to itself."),
        ("/etc/passwd/x", "a.csv is a symbolic link to /etc/passwd/x, which is not there."),
        ("two\nlines", r"a.csv is a symbolic link to two\nlines, which is not there."),
        ("..", "a.csv is a symbolic link to a directory."),
        ("/dev/null", "a.csv is a pipe, socket or device, not a file."),
    ],
    ids=["dangling", "loop", "through a file", "unspeakable", "directory", "device"],
)
def test_a_link_that_leads_to_no_file_is_named_once_with_what_to_do(
    following: Watching, target: str, said: str
) -> None:
    link(following, target)
    scan = following.scan()
    assert [one.reason for one in scan.unusable] == [said]
    assert scan.unusable[0].hint
    assert following.scan(known(scan), later(31)) == Scan("churn")


def test_a_link_into_a_folder_that_may_not_be_entered_is_named_until_it_may(following: Watching, place: Path) -> None:
    target = place / "elsewhere" / "rows.csv"
    target.write_text("1\n")
    link(following, target)
    (place / "elsewhere").chmod(0o700)
    if os.geteuid() != 0:
        (place / "elsewhere").chmod(0)
    with without_privileges():
        scan = following.scan(now=later(31))
    assert [one.reason for one in scan.unusable] == [
        f"a.csv is a symbolic link to {target}, which the user of this process cannot reach."
    ]
    (place / "elsewhere").chmod(0o755)
    target.chmod(0o644)
    with without_privileges():
        assert names(following.scan(known(scan), later(31)).found) == ["a.csv"]


def test_a_link_to_a_file_that_may_not_be_read_is_named(following: Watching, place: Path) -> None:
    target = place / "elsewhere" / "rows.csv"
    target.write_text("1\n")
    target.chmod(0)
    link(following, target)
    with without_privileges():
        assert ["may not be read" in one.reason for one in following.scan(now=later(31)).unusable] == [True]


def test_a_link_whose_file_is_gone_is_gone_and_back_when_the_file_is(following: Watching, place: Path) -> None:
    target = place / "elsewhere" / "rows.csv"
    target.write_text("1\n")
    path = link(following, target)
    before = known(following.scan(now=later(31)))
    target.rename(place / "elsewhere" / "away.csv")
    scan = following.scan(before, later(31))
    assert (scan.gone, scan.found, scan.unusable) == ((str(path),), (), ())
    (place / "elsewhere" / "away.csv").rename(target)
    assert following.scan(before, later(31)) == Scan("churn")


def test_links_are_refused_where_the_policy_does_not_follow_them(following: Watching, place: Path) -> None:
    target = place / "elsewhere" / "rows.csv"
    target.write_text("1\n")
    link(following, target)
    before = known(following.scan(now=later(31)))
    following.watched = Watched("churn", str(following.folder), "*.csv", Completion(SETTLE))
    scan = following.scan(before, later(31))
    assert (scan.found, scan.gone) == ((), ())
    (refused,) = scan.unusable
    assert (refused.reason, "follow_links: true" in refused.hint) == (
        "a.csv is a symbolic link, and links are not followed.",
        True,
    )


def test_a_marker_may_be_a_link_too(following: Watching, place: Path) -> None:
    marked = Completion(None, "{name}.done")
    following.watched = Watched("churn", str(following.folder), "*.csv", marked, follow_links=True)
    (following.folder / "a.csv").write_text("1\n")
    (place / "elsewhere" / "done").touch()
    link(following, "nowhere", "a.csv.done")
    assert following.scan().settling
    link(following, place / "elsewhere" / "done", "a.csv.done")
    assert names(following.scan().found) == ["a.csv"]


def test_a_linked_file_is_recorded_trained_on_and_missed_when_it_is_gone(tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    box = FakeBox(tmp_path / "box")
    box.edit_policy("{settle: 1s}", "{settle: 1s}\n  follow_links: true")
    box.record_champion()
    target = tmp_path / "rows.csv"
    target.write_text("1")
    (box.root / "drops" / "a.csv").symlink_to(target)
    box.live()
    assert box.trained_on() == [["a.csv"]]
    target.unlink()
    box.live()
    assert box.drops() == [("a.csv", "recorded, missing")]
    assert box.standing()[0] == "files_missing"
    target.write_text("2")
    box.live()
    assert box.drops() == [("a.csv", "recorded")]
    assert len(box.trained_on()) == 2
