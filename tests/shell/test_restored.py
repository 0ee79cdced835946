"""What happens after the journal of an earlier day was put back: nothing twice, nothing judged on learned rows."""

from __future__ import annotations

import os
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from retrain_daemon.core.attempts import State
from retrain_daemon.journal import Journal
from retrain_daemon.journal.backups import Backups, superfluous
from retrain_daemon.journal.copies import copy_whole, flaw
from retrain_daemon.journal.database import to_text
from retrain_daemon.labels import KEY_TAG
from tests.fake_box import MODEL, FakeBox
from tests.made import CHAMPION, NOW

OURS = CHAMPION + 1


@pytest.fixture
def box(tmp_path: Path) -> FakeBox:
    (tmp_path / "box").mkdir()
    made = FakeBox(tmp_path / "box")
    made.record_champion()
    return made


def put_back(box: FakeBox, backup: Path) -> None:
    """As docs/operations.md says it can be done by hand."""
    state = box.root / "state"
    for suffix in ("", "-wal", "-shm"):
        (state / f"journal.db{suffix}").unlink(missing_ok=True)
    shutil.copy(backup, state / "journal.db")


def todays_backup(box: FakeBox) -> Path:
    (found,) = (box.root / "state" / "backups").glob(f"journal-{box.clock.now:%Y-%m-%d}.db")
    return found


def test_a_version_that_the_restored_journal_does_not_know_is_judged_only_on_rows_that_come_later(box: FakeBox) -> None:
    backup = todays_backup(box)
    box.registry.now = box.clock.now
    box.drop("a.csv")
    box.live()
    assert box.aliases() == {"champion": OURS, "previous_champion": CHAMPION}
    put_back(box, backup)
    calls = len(box.registry.calls)
    box.clock.now += timedelta(hours=1)
    box.live(turns=10)
    assert box.aliases() == {"champion": OURS, "previous_champion": CHAMPION}
    assert box.registry.calls[calls:] == []
    assert box.attempts() == ()
    assert box.standing()[0] == "too_few_judging_rows"
    with box.journal() as journal:
        lineage = journal.models.lineage(MODEL, OURS)
    assert lineage is not None
    assert lineage.learned_file is None
    assert lineage.unknown_until is not None
    assert lineage.unknown_until >= box.registry.version(MODEL, OURS).created_at


def test_an_attempt_number_that_is_given_again_shares_nothing_with_the_lost_one(box: FakeBox) -> None:
    backup = todays_backup(box)
    box.registry.now = box.clock.now
    box.drop("a.csv")
    box.live()
    put_back(box, backup)
    box.live()
    box.clock.now += timedelta(days=4000)  # the files of the test are of today; the new one is to come after version 8
    box.drop("b.csv", "x,churned\n2,no\n")
    box.live(turns=10)
    lost, again = box.trainings()
    assert lost.attempt == again.attempt == "churn-1"
    assert lost.key != again.key
    assert lost.learned_file != again.learned_file
    assert [attempt.state for attempt in box.attempts()] == [State.PROMOTED]
    keys = [box.registry.version(MODEL, number).tags[KEY_TAG] for number in (OURS, OURS + 1)]
    assert keys == [lost.key, again.key]


@pytest.mark.parametrize("point", range(1, 40, 3))
def test_what_was_under_way_in_the_backup_is_not_done_again(tmp_path: Path, point: int) -> None:
    """Also not when a person moved the alias back after the backup. A new attempt is a new decision."""
    (tmp_path / "box").mkdir()
    box = FakeBox(tmp_path / "box")
    box.record_champion()
    box.registry.now = box.clock.now
    box.drop("a.csv")
    backup, seen = tmp_path / "backup.db", [0]

    def copy(_name: str) -> None:
        seen[0] += 1
        if seen[0] == point:
            copy_whole(box.root / "state" / "journal.db", backup, box.clock.now)

    box.reached = lambda name: copy(name) if name.startswith("before INSERT") or "COMMIT" in name else None
    box.live()
    box.reached = lambda _name: None
    if not backup.exists():
        pytest.skip("the attempt was over before this moment")
    assert box.aliases()["champion"] == OURS
    box.registry.move_alias_by_hand(MODEL, "champion", CHAMPION)
    put_back(box, backup)
    calls = len(box.registry.calls)
    box.live(turns=10)
    since = box.registry.calls[calls:]
    assert f"set_alias({MODEL}, champion, {OURS})" not in since
    lost = box.registry.version(MODEL, OURS)
    assert f"create_version({MODEL}, {lost.source})" not in since
    with box.journal() as journal:
        open_then = [each for each in box.attempts() if each.reason.startswith("the journal is a backup")]
        ended = [each.reason for each in box.attempts() if each.state is State.ABANDONED]
        assert len(journal.attempts.open()) == 0
    assert len(ended) == len(open_then)


# Backups themselves


def a_day(box: FakeBox, backups: Backups, days: float = 1) -> list[str]:
    with capture_logs() as logs:
        backups.tend(box.clock.now)
        backups.close(box.clock.now)
    box.clock.now += timedelta(days=days)
    return [line["event"] for line in logs]


class Steady:
    """A clock that only goes on when told to."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 4000.0
        return self.now


def names(box: FakeBox) -> list[str]:
    return sorted(path.name for path in (box.root / "state" / "backups").iterdir())


def test_each_day_has_a_backup_that_is_good_and_the_oldest_goes(box: FakeBox) -> None:
    backups = Backups(box.root / "state", 3, Steady())
    events = [a_day(box, backups) for _ in range(5)]
    assert events[1:] == [["journal.backed_up"]] * 4
    assert names(box) == ["journal-2026-03-03.db", "journal-2026-03-04.db", "journal-2026-03-05.db"]
    assert {flaw(box.root / "state" / "backups" / name) for name in names(box)} == {""}


def test_a_day_has_one_backup_however_often_the_daemon_is_started(box: FakeBox) -> None:
    assert a_day(box, Backups(box.root / "state", 3), days=0) == []
    assert names(box) == ["journal-2026-03-01.db"]


def test_a_clock_set_back_by_a_year_does_not_stop_backups(box: FakeBox) -> None:
    backups = Backups(box.root / "state", 3, Steady())
    for _ in range(4):
        a_day(box, backups)
    box.clock.now -= timedelta(days=365)
    for _ in range(4):
        assert a_day(box, backups) == ["journal.backed_up"]
    assert names(box) == ["journal-2025-03-06.db", "journal-2025-03-07.db", "journal-2025-03-08.db"]


def test_a_clock_set_forward_makes_one_backup_and_does_not_keep_it_for_ever(box: FakeBox) -> None:
    backups = Backups(box.root / "state", 3, Steady())
    box.clock.now += timedelta(days=3650)
    assert a_day(box, backups, days=0) == ["journal.backed_up"]
    assert a_day(box, backups, days=0) == []
    box.clock.now -= timedelta(days=3650)
    for _ in range(4):
        a_day(box, backups)
    assert not any(name.startswith("journal-2036") for name in names(box))


def test_a_clock_that_jumps_from_day_to_day_does_not_have_one_made_at_each_turn(box: FakeBox) -> None:
    backups = Backups(box.root / "state", 300)
    for _ in range(50):
        a_day(box, backups)
    assert len(names(box)) <= 2


def test_copies_made_before_the_journal_was_brought_up_are_not_counted(tmp_path: Path) -> None:
    for name in ("journal-schema-2.db", "journal-2026-02-27.db", "journal-2026-02-28.db", "journal-2026-03-01.db"):
        (tmp_path / name).touch()
    gone = superfluous(tmp_path, 2, tmp_path / "journal-2026-03-01.db", NOW.date())
    assert [path.name for path in gone] == ["journal-2026-02-27.db"]


def test_a_backup_that_fails_is_said_leaves_nothing_and_is_tried_again(
    box: FakeBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(source: Path, folder: Path) -> None:
        raise OSError(28, "a copy needs 200 bytes of room and 100 are free", str(folder))

    backups = Backups(box.root / "state", 3, Steady())
    box.clock.now += timedelta(days=1)
    with monkeypatch.context() as patched:
        patched.setattr("retrain_daemon.journal.copies._room_for", no_room)
        assert a_day(box, backups, days=0) == ["journal.backup_failed"]
    (box.root / "state" / "backups" / ".journal-2026-03-02.db.4711").write_bytes(b"of a daemon that was killed")
    assert a_day(box, backups) == ["journal.backed_up"]
    assert names(box) == ["journal-2026-03-01.db", "journal-2026-03-02.db"]


# Clocks


def test_a_clock_set_back_does_not_stop_the_daemon_from_looking(box: FakeBox) -> None:
    with box.life() as daemon:
        daemon.turn()
        box.clock.now -= timedelta(days=365)
        daemon.turn()
        os.utime(box.root / "drops", None)
        box.drop("late.csv")
        for _ in range(5):
            daemon.turn()
            box.clock.now += timedelta(minutes=2)
    assert [name for name, _ in box.drops()] == ["late.csv"]


def test_a_clock_set_back_while_it_sleeps_wakes_it(box: FakeBox) -> None:
    with box.life() as daemon:
        daemon.turn()
        daemon._slept_at = box.clock.now
        assert not daemon._heard()
        box.clock.now -= timedelta(hours=1)
        assert daemon._heard()


def test_rows_dated_by_a_clock_that_was_ahead_do_not_judge_a_version_made_since(box: FakeBox) -> None:
    """The file looks newer than a version that a person made from it."""
    box.edit_policy("data.new_rows >= 1000", "data.new_rows >= 1000000")
    box.drop("a.csv")
    box.live(turns=2)
    journal = Journal.open(box.root / "state")
    journal._database.run("UPDATE drops SET arrived_at = ?", to_text(NOW + timedelta(days=5000)))
    journal.close()
    box.registry.now = box.clock.now
    theirs = box.registry.create_version_by_hand(MODEL).number
    box.registry.move_alias_by_hand(MODEL, "champion", theirs)
    box.edit_policy("data.new_rows >= 1000000", "data.new_rows >= 1000")
    box.live(turns=3)
    assert box.standing()[0] == "too_few_judging_rows"
    assert box.attempts() == ()
