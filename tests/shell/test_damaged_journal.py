"""A journal that is damaged, lost, foreign or older: refused with what to do, never repaired and never begun anew."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from retrain_daemon.cli.main import main
from retrain_daemon.core.decide import decide
from retrain_daemon.errors import StateUnusable
from retrain_daemon.journal import Journal
from retrain_daemon.journal.copies import BACKUP_FOLDER, copy_whole, flaw
from retrain_daemon.lock import StateLock
from tests.earlier_schemas import earlier
from tests.made import CHAMPION, NOW, a_policy, some_facts


def a_state(folder: Path, *, backup: bool = True) -> Path:
    """A state folder with a journal of some pages, and a backup of it."""
    folder.mkdir(exist_ok=True)
    journal = Journal.open(folder)
    journal.models.ensure("churn", "churn.yaml", "champion", NOW)
    for number in range(300):
        journal.drops.add("churn", f"/srv/drops/{number:060}.csv", (1, number, number), NOW)
    journal.close()
    if backup:
        copy_whole(folder / "journal.db", folder / BACKUP_FOLDER / "journal-2026-03-01.db", NOW)
    return folder


def drops_in(state: Path) -> int:
    journal = Journal.open(state, thorough=True)
    try:
        return len(journal.drops.listing("churn"))
    finally:
        journal.close()


def flip_pages(state: Path) -> None:
    content = bytearray((state / "journal.db").read_bytes())
    content[12288:20480] = bytes(255 - byte for byte in content[12288:20480])
    (state / "journal.db").write_bytes(content)


def spoil_header(state: Path) -> None:
    with (state / "journal.db").open("r+b") as stream:
        stream.write(b"\xff" * 100)


def cut_in_half(state: Path) -> None:
    os.truncate(state / "journal.db", (state / "journal.db").stat().st_size // 8192 * 4096)


def empty(state: Path) -> None:
    os.truncate(state / "journal.db", 0)


def remove(state: Path) -> None:
    (state / "journal.db").unlink()


def put_a_folder_there(state: Path) -> None:
    remove(state)
    (state / "journal.db").mkdir()


def put_a_foreign_file_there(state: Path) -> None:
    remove(state)
    foreign = sqlite3.connect(state / "journal.db")
    foreign.execute("CREATE TABLE experiments (id INTEGER)")
    foreign.execute("PRAGMA user_version = 3")
    foreign.close()


def mark_as_another_programs(state: Path) -> None:
    foreign = sqlite3.connect(state / "journal.db")
    foreign.execute("PRAGMA application_id = 42")
    foreign.close()


def spoil_the_log(state: Path) -> None:
    (state / "journal.db-wal").write_bytes(b"\x00garbage" * 1000)


DAMAGE: tuple[tuple[Callable[[Path], None], str], ...] = (
    (flip_pages, "damaged|malformed"),
    (spoil_header, "not a database"),
    (cut_in_half, "damaged|malformed"),
    (empty, "is empty"),
    (remove, "is missing"),
    (put_a_folder_there, "not a file"),
    (put_a_foreign_file_there, "no journal of this project: its tables are experiments"),
    (mark_as_another_programs, "application id is 42"),
    (spoil_the_log, "journal.db-wal, which holds what was written last, is damaged"),
)


@pytest.mark.parametrize(("damage", "said"), DAMAGE, ids=[damage.__name__ for damage, _ in DAMAGE])
def test_what_is_no_sound_journal_is_refused_with_the_backup_to_restore_and_left_as_it_is(
    tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    state = a_state(tmp_path / "state")
    damage(state)
    before = {path.name: path.read_bytes() for path in state.iterdir() if path.is_file()}
    with pytest.raises(StateUnusable, match=said) as refused:
        Journal.open(state, thorough=True)
    assert f"`retraind restore {state}/backups/journal-2026-03-01.db`" in refused.value.hint
    after = {path.name: path.read_bytes() for path in state.iterdir() if path.is_file()}
    assert {name: after.get(name) for name in before} == before
    assert "journal.db" not in set(after) - set(before)


@pytest.mark.parametrize("damage", [damage for damage, _ in DAMAGE], ids=[damage.__name__ for damage, _ in DAMAGE])
def test_a_restore_puts_the_backup_in_place_and_keeps_what_was_there(
    tmp_path: Path, damage: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    state = a_state(tmp_path / "state")
    damage(state)
    was_there = (state / "journal.db").exists()
    assert main(["restore", "--state", str(state)]) == 0
    assert drops_in(state) == 300
    kept = list((state / "set-aside").glob("*/journal.db"))
    assert len(kept) == was_there
    assert "pause again" in capsys.readouterr().out


def test_without_a_good_backup_the_refusal_says_so(tmp_path: Path) -> None:
    state = a_state(tmp_path / "state")
    flip_pages(state)
    shutil.copy(state / "journal.db", state / "backups" / "journal-2026-03-01.db")
    with pytest.raises(StateUnusable) as refused:
        Journal.open(state, thorough=True)
    assert "There is no good backup" in refused.value.hint


def test_the_newest_backup_that_is_good_is_named(tmp_path: Path) -> None:
    state = a_state(tmp_path / "state")
    flip_pages(state)
    shutil.copy(state / "journal.db", state / "backups" / "journal-2026-03-02.db")
    assert flaw(state / "backups" / "journal-2026-03-02.db")
    with pytest.raises(StateUnusable, match=r"journal-2026-03-01\.db"):
        Journal.open(state, thorough=True)


def test_key_files_without_a_journal_are_those_of_a_lost_one(tmp_path: Path) -> None:
    state = a_state(tmp_path / "state", backup=False)
    remove(state)
    (state / "learned").mkdir()
    (state / "learned" / "churn-1.npy").write_bytes(b"keys")
    with pytest.raises(StateUnusable, match="is missing, but backups or learned rows of one are beside it"):
        Journal.open(state)
    assert not (state / "journal.db").exists()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_journal_whose_log_is_lost_before_anything_of_it_reached_the_file_is_not_begun_anew(
    tmp_path: Path, read_only: bool
) -> None:
    state = a_state(tmp_path / "state")
    with closing(sqlite3.connect(state / "only-wal.db")) as begun:
        begun.execute("PRAGMA journal_mode = WAL")
    (state / "only-wal.db").replace(state / "journal.db")
    with pytest.raises(StateUnusable, match="holds nothing, but backups or learned rows") as refused:
        Journal.open(state, read_only=read_only)
    assert "retraind restore" in refused.value.hint


def test_a_reading_verb_does_not_take_a_lost_journal_for_one_that_never_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = a_state(tmp_path / "state")
    remove(state)
    assert main(["status", "--state", str(state)]) == 8
    assert "retraind restore" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root restores for another user")
def test_what_root_restores_belongs_to_the_daemons_user_and_to_nobody_else(tmp_path: Path) -> None:
    state = a_state(tmp_path / "state")
    for path in (state, *state.rglob("*")):
        os.chown(path, 12345, 12345)
    assert main(["restore", "--state", str(state)]) == 0
    made = [state / "journal.db", state / "set-aside", *(state / "set-aside").iterdir()]
    assert {(path.stat().st_uid, path.stat().st_mode & 0o077) for path in made} == {(12345, 0)}


def test_a_restore_beside_a_running_daemon_is_refused(tmp_path: Path) -> None:
    state = a_state(tmp_path / "state")
    with StateLock(state, "retraind run", NOW):
        assert main(["restore", "--state", str(state)]) == 7


@pytest.mark.parametrize(("named", "code"), [("absent.db", 4), ("damaged.db", 8), ("newer.db", 8), ("foreign.db", 8)])
def test_what_cannot_be_restored_is_refused_and_the_journal_untouched(tmp_path: Path, named: str, code: int) -> None:
    state = a_state(tmp_path / "state")
    backup = state / "backups" / "journal-2026-03-01.db"
    (tmp_path / "damaged.db").write_bytes(backup.read_bytes()[:20000])
    shutil.copy(backup, tmp_path / "newer.db")
    with sqlite3.connect(tmp_path / "newer.db") as newer:
        newer.execute("PRAGMA user_version = 99")
    with sqlite3.connect(tmp_path / "foreign.db") as foreign:
        foreign.execute("CREATE TABLE experiments (id INTEGER)")
    assert main(["restore", str(tmp_path / named), "--state", str(state)]) == code
    assert not (state / "set-aside").exists()
    assert drops_in(state) == 300


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_journal_that_may_not_be_read_is_refused_with_whose_it_must_be(tmp_path: Path) -> None:
    state = a_state(tmp_path / "state")
    (state / "journal.db").chmod(0o600)
    for folder in (state, tmp_path, *list(tmp_path.parents)[:-2]):
        folder.chmod(0o755)
    code = (
        "import os, sys; from pathlib import Path; from retrain_daemon.journal import Journal; os.setuid(65534)\n"
        f"try: Journal.open(Path({str(state)!r}))\n"
        "except Exception as error: print(error); sys.exit(error.exit_code)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 8, ended.stderr
    assert "may not be read and written by this user" in ended.stdout
    assert "chown" in ended.stdout


def an_older_state(folder: Path) -> tuple[Path, str]:
    state = a_state(folder, backup=False)
    journal = Journal.open(state)
    name = journal.attempts.plan(a_policy(), decide(a_policy(), some_facts(), NOW), CHAMPION, CHAMPION, [], NOW).id
    journal.close()
    connection = sqlite3.connect(state / "journal.db")
    connection.executescript(earlier(2))
    connection.close()
    return state, name


def test_before_an_older_journal_is_brought_up_a_copy_is_kept(tmp_path: Path) -> None:
    state, _ = an_older_state(tmp_path / "state")
    assert drops_in(state) == 300
    copy = state / "backups" / "journal-schema-2.db"
    assert flaw(copy) == ""
    assert sqlite3.connect(copy).execute("PRAGMA user_version").fetchone() == (2,)


KILLED = """
import os, signal
from pathlib import Path
from retrain_daemon.journal import Journal
from retrain_daemon.journal.database import Database
left, run = [{at}], Database.run
def dying(self, sql, *values):
    if self._connection.in_transaction:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return run(self, sql, *values)
Database.run = dying
Journal.open(Path({state!r}))
"""


def test_a_journal_whose_bringing_up_was_killed_anywhere_is_whole_and_brought_up_later(tmp_path: Path) -> None:
    killed = 0
    for at in range(20):
        state, name = an_older_state(tmp_path / str(at))
        ended = subprocess.run([sys.executable, "-c", KILLED.format(at=at, state=str(state))], timeout=60)
        if ended.returncode == 0:
            break
        assert ended.returncode == -signal.SIGKILL
        killed += 1
        before = sqlite3.connect(state / "journal.db")
        columns = {row[1] for row in before.execute("PRAGMA table_info(lineage)")}
        assert before.execute("PRAGMA user_version").fetchone() == (2,), f"killed at {at}"
        assert "created_at" not in columns, f"killed at {at}"
        before.close()
        assert drops_in(state) == 300
        assert Journal.open(state).attempts.get(name).number == 1
    assert killed > 4


def test_what_was_under_way_when_a_backup_was_made_is_not_taken_up_again(tmp_path: Path) -> None:
    state = a_state(tmp_path / "state", backup=False)
    journal = Journal.open(state)
    name = journal.attempts.plan(a_policy(), decide(a_policy(), some_facts(), NOW), CHAMPION, CHAMPION, [], NOW).id
    request = journal.requests.ask("churn", "rollback", "ada", "bad scores", NOW)
    journal.models.adopt("churn", (), NOW)
    journal.close()
    copy_whole(state / "journal.db", state / "backups" / "journal-2026-03-02.db", NOW + timedelta(days=1))
    assert main(["restore", "--state", str(state)]) == 0
    restored = Journal.open(state)
    assert restored.attempts.open() == ()
    assert restored.attempts.get(name).state == "abandoned"
    answered = restored.requests.find(request)
    assert answered is not None
    assert answered.code == 5
    row = restored.models.find("churn")
    assert row is not None
    assert row.adopted_at is None
