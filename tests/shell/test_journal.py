from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from retrain_daemon.core.attempts import State
from retrain_daemon.core.decide import decide
from retrain_daemon.core.evidence import Searched
from retrain_daemon.errors import StateUnusable
from retrain_daemon.journal import Journal
from retrain_daemon.journal.drops import Inspected
from retrain_daemon.journal.models import FOREVER, Lineage
from tests.earlier_schemas import earlier
from tests.made import CHAMPION, NOW, a_challenger, a_policy, some_evidence, some_facts


def planned(journal: Journal) -> str:
    decision = decide(a_policy(), some_facts(), NOW)
    return journal.attempts.plan(a_policy(), decision, CHAMPION, CHAMPION, [], NOW).id


def test_an_attempt_comes_back_from_the_file_as_it_was_written(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    name = planned(journal)
    journal.close()
    attempt = Journal.open(tmp_path).attempts.get(name)
    assert (attempt.policy, attempt.recipe) == (a_policy(), a_policy().rules[0].recipe)
    assert (attempt.state, attempt.champion_version, attempt.started_at) == (State.PLANNED, CHAMPION, NOW)


def trained(journal: Journal, rate: float | None, end: State) -> None:
    """One whole attempt, whose search chose `rate`."""
    name = planned(journal)
    journal.attempts.start(journal.attempts.get(name), NOW)
    chosen = {"rate": rate}
    found = Searched(metric="log_loss", score=0.5, rows=200, trials=9, failed=0, chosen=chosen) if rate else None
    challenger = replace(a_challenger(), searched=found)
    journal.attempts.accept(journal.attempts.get(name), challenger, some_evidence(), (), NOW)
    journal.attempts.conclude(journal.attempts.get(name), end, "as it was", None, NOW)


def test_a_search_begins_with_what_earlier_ones_chose_the_newest_promoted_first(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    for number in range(1, 6):
        trained(journal, number / 10, State.REJECTED)
    trained(journal, 0.8, State.PROMOTED)
    trained(journal, 0.9, State.INCONCLUSIVE)
    trained(journal, None, State.PROMOTED)
    assert [found["rate"] for found in journal.attempts.searched("churn")] == [0.8, 0.9, 0.5, 0.4, 0.3]
    assert journal.attempts.searched("another") == ()


def test_commits_survive_power_loss_and_readers_do_not_block(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    database = journal._database
    settings = [database.row(f"PRAGMA {name}") for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert [row[0] for row in settings if row] == ["wal", 2, 1]


def test_what_fails_within_a_transaction_leaves_nothing_behind(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)

    def cut_off() -> None:
        with journal.transaction():
            planned(journal)
            raise RuntimeError("cut")

    with pytest.raises(RuntimeError):
        cut_off()
    assert journal.attempts.open() == ()
    assert journal.history(None, 10) == ()


def test_a_model_has_at_most_one_open_attempt(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    planned(journal)
    with pytest.raises(sqlite3.IntegrityError):
        planned(journal)


def test_the_history_writes_itself_whoever_changes_a_row(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    name = planned(journal)
    journal._database.run("UPDATE attempt SET state = 'training', changed_at = started_at WHERE id = ?", name)
    assert [line.event for line in journal.history_of(name)] == ["attempt.planned", "attempt.training"]


def test_an_attempt_that_moved_on_cannot_be_moved_on_again(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    attempt = journal.attempts.get(planned(journal))
    journal.attempts.start(attempt, NOW)
    with pytest.raises(AssertionError):
        journal.attempts.start(attempt, NOW)


def test_a_journal_of_a_later_version_is_refused_by_name(tmp_path: Path) -> None:
    Journal.open(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "journal.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StateUnusable, match="schema 99"):
        Journal.open(tmp_path)


@pytest.mark.parametrize("schema", [1, 2, 3, 4, 5, 6])
def test_a_journal_of_an_earlier_version_is_brought_up_and_nothing_is_lost(tmp_path: Path, schema: int) -> None:
    journal = Journal.open(tmp_path)
    name = planned(journal)
    journal.close()
    connection = sqlite3.connect(tmp_path / "journal.db")
    connection.executescript(earlier(schema))
    connection.close()
    with pytest.raises(StateUnusable, match=f"schema {schema}; a daemon of this version brings it to 7"):
        Journal.open(tmp_path, read_only=True)
    journal = Journal.open(tmp_path)
    attempt = journal.attempts.get(name)
    assert attempt.offered is None
    decision = journal.decisions.of_attempt(name)
    assert decision is not None
    assert (decision.action, decision.offered) == ("train", "")
    journal.attempts.start(attempt, NOW)


def test_corrected_labels_are_in_the_history_and_with_the_drop(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    journal.models.ensure("churn", "/policies/churn.yaml", "champion", NOW)
    journal.drops.add("churn", "/drops/a.csv", (1, 2, 3), NOW)
    (drop,) = journal.drops.to_inspect("churn")
    found = Inspected(
        fingerprint="f", rows=9, usable=9, new=2, training=7, judging=2, corrected=3, rows_file="", units_file=""
    )
    journal.drops.record(drop, found, "purpose", NOW)
    assert [line.detail for line in journal.history_of("/drops/a.csv")][-1] == (
        "2 new of 9 rows, 3 with another label than before"
    )
    assert journal.drops.listing("churn")[0].corrected == 3


def test_what_is_known_is_told_oldest_first_and_from_one_drop_on(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path)
    for name in "abc":
        journal.drops.add("churn", f"/drops/{name}.csv", (1, 2, 3), NOW)
    for drop, rows_file in zip(journal.drops.to_inspect("churn"), ("/r/2", "/r/1", "/r/2"), strict=True):
        found = Inspected(
            fingerprint=str(drop.id), rows=9, usable=9, new=9, training=7, judging=2, rows_file=rows_file, units_file=""
        )
        journal.drops.record(drop, found, "purpose", NOW)
    assert journal.drops.known_rows("churn") == ("/r/1", "/r/2")
    assert journal.drops.known_rows("churn", since=3) == ("/r/2",)


def test_a_file_that_is_no_journal_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "journal.db").write_bytes(b"this is not a database, but it is long enough to look like one" * 20)
    with pytest.raises(StateUnusable, match=r"journal\.db"):
        Journal.open(tmp_path)


def test_a_folder_that_cannot_be_written_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StateUnusable, match="state folder"):
        Journal.open(tmp_path / "missing")


def test_two_processes_may_make_the_journal_at_once(tmp_path: Path) -> None:
    code = (
        f"from pathlib import Path; from retrain_daemon.journal import Journal; Journal.open(Path({str(tmp_path)!r}))"
    )
    makers = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(4)]
    for maker in makers:
        _, said = maker.communicate(timeout=60)
        assert maker.returncode == 0, said.decode()


def lineage(version: int, continues: int | None = None, **changes: object) -> Lineage:
    values: dict[str, object] = {
        "learned_file": f"/{version}.npy",
        "unknown_until": None,
        "attempt": f"churn-{version}",
        "unit": "group g",
        **changes,
    }
    return Lineage(version=version, continues=continues, **values)  # type: ignore[arg-type]


def test_what_ancestors_learned_counts_as_learned(tmp_path: Path) -> None:
    models = Journal.open(tmp_path).models
    foreign = lineage(1, learned_file=None, unknown_until=NOW, attempt=None)
    for link in (foreign, lineage(2, continues=1), lineage(3, continues=2), lineage(4)):
        models.record_lineage("churn", link, NOW)
    learned = models.learned("churn", 3, "group g")
    assert learned.files == ("/3.npy", "/2.npy")
    assert learned.unknown_until == NOW
    assert models.learned("churn", 4, "group g").unknown_until is None


def test_a_version_nobody_knows_may_have_learned_anything(tmp_path: Path) -> None:
    assert Journal.open(tmp_path).models.learned("churn", 3, "group g").unknown_until == FOREVER


def test_keys_made_for_another_group_or_feature_set_are_not_compared(tmp_path: Path) -> None:
    models = Journal.open(tmp_path).models
    models.record_lineage("churn", lineage(3), NOW)
    models.record_lineage("churn", lineage(4, attempt=None), NOW)
    changed = models.learned("churn", 3, "features a, b")
    assert (changed.files, changed.unknown_until) == ((), NOW)
    assert models.learned("churn", 4, "features a, b").unknown_until == FOREVER


def test_a_hold_keeps_its_first_reason_until_it_is_lifted(tmp_path: Path) -> None:
    models = Journal.open(tmp_path).models
    models.ensure("churn", "churn.yaml", "champion", NOW)
    models.hold("churn", "ada", "audit", NOW)
    models.hold("churn", "bob", "rollback", NOW + timedelta(hours=1))
    row = models.find("churn")
    assert row is not None
    assert row.hold is not None
    assert (row.hold.by, row.hold.why) == ("ada", "audit")
    models.resume("churn", NOW)
    resumed = models.find("churn")
    assert resumed is not None
    assert resumed.hold is None
