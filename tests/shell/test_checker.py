"""The checker can fail: each invariant is broken in a sound box, and the checker says so by its number."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrain_daemon.worker.job import DropFile, DropReport, InspectDrops
from retrain_daemon.worker.rows import judges, save_keys
from tests.checker import INVARIANTS, KEY_TAG, SeenRegistry, SeenVersion, World, check
from tests.fake_box import MODEL, FakeBox
from tests.made import CHAMPION

OURS = CHAMPION + 1
SHARE = 0.3
JUDGING = 100


def bad(_job: InspectDrops, file: DropFile) -> DropReport | None:
    return DropReport(drop=file.drop, problem="It is empty.") if Path(file.path).name == "bad.csv" else None


@pytest.fixture
def sound(tmp_path: Path) -> World:
    """A box in which one attempt was promoted; a copy of its file and a bad file lie there too."""
    folder = tmp_path / "box"
    folder.mkdir()
    box = FakeBox(folder, report=bad)
    box.edit_policy("promote:", "promote:\n  after_promotion: {watch: 2000 rows, if_worse: rollback}")
    box.record_champion()
    for name in ("a.csv", "again.csv", "bad.csv"):
        box.drop(name)
    box.live()
    write_keys(folder)
    registry = box.registry
    versions = {
        each.number: SeenVersion(number=each.number, run_id=each.run_id or "", tags=each.tags)
        for each in registry.every_version(MODEL)
    }
    runs = tuple((registry.run_tags(run)[KEY_TAG], status) for run, status in registry.runs.items() if KEY_TAG in
                 registry.run_tags(run))  # fmt: skip
    return World(
        journal=folder / "state" / "journal.db",
        model=MODEL,
        registry=SeenRegistry(aliases=box.aliases(), versions=versions, runs=runs),
        files=sorted((folder / "drops").iterdir()),
        persons={CHAMPION},
        holdout=SHARE,
    )


def write_keys(folder: Path) -> None:
    """What was learned and who judged, as the worker would have left it."""
    keys = np.arange(1000, dtype=np.uint64)
    judging = keys[judges(keys, SHARE)][:JUDGING]
    save_keys(learned_file(folder / "state" / "journal.db"), keys[~judges(keys, SHARE)])
    save_keys(folder / "state" / "units.npy", np.concatenate([keys[~judges(keys, SHARE)], judging]))
    save_keys(folder / "state" / "adopted.npy", np.empty(0, dtype=np.uint64))
    change(folder / "state" / "journal.db",
           f"UPDATE attempt SET evidence = json_set(evidence, '$.rows', {JUDGING}, '$.checked_keys', 1000)",
           f"UPDATE drops SET units_file = '{folder}/state/units.npy' WHERE state = 'recorded'",
           f"UPDATE lineage SET learned_file = '{folder}/state/adopted.npy' WHERE version = {CHAMPION}")  # fmt: skip


def learned_file(journal: Path) -> Path:
    """Where the keys of the rows lie that the challenger learned."""
    with closing(sqlite3.connect(journal)) as connection:
        [file] = connection.execute("SELECT learned_file FROM lineage WHERE attempt = 'churn-1'").fetchone()
    return Path(file)


def change(journal: Path, *statements: str) -> None:
    with closing(sqlite3.connect(journal)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def by_sql(statement: str) -> Callable[[World], World]:
    def broken(world: World) -> World:
        change(world.journal, statement)
        return world

    return broken


def by_aliases(**aliases: int) -> Callable[[World], World]:
    return lambda world: replace(
        world, registry=replace(world.registry, aliases={**world.registry.aliases, **aliases})
    )  # fmt: skip


def by_version(number: int, like: int, **changes: object) -> Callable[[World], World]:
    def broken(world: World) -> World:
        version = replace(world.registry.versions[like], number=number, **changes)  # type: ignore[arg-type]
        return replace(world, registry=replace(world.registry, versions={**world.registry.versions, number: version}))

    return broken


def another_file(world: World) -> World:
    return replace(world, files=[*world.files, world.files[0].with_name("unseen.csv")])


def other_bytes(world: World) -> World:
    next(file for file in world.files if file.name == "a.csv").write_text("x,churned\n2,no\n")
    return world


def no_champion(world: World) -> World:
    return replace(world, registry=replace(world.registry, aliases={}))


def open_run(world: World) -> World:
    runs = tuple((key, "RUNNING") for key, _status in world.registry.runs)
    return replace(world, registry=replace(world.registry, runs=runs))


def learned_judges(world: World) -> World:
    save_keys(learned_file(world.journal), np.load(world.journal.parent / "units.npy"))
    return world


def champion_learned_judges(world: World) -> World:
    save_keys(world.journal.parent / "adopted.npy", np.load(world.journal.parent / "units.npy"))
    return world


ASKED = (
    "INSERT INTO request (model, verb, argument, by, why, asked_at, answered_at, code, changed_at) VALUES ('churn',"
    " 'rollback', '{\"watch\": \"churn-1\"}', 'retraind', '', '', '', 0, '')"
)
ROLLED_BACK = (
    "INSERT INTO rollback (id, model, alias, was, target, by, why, begun_at, ended_at, changed_at) VALUES ("
    " 'rollback-9', 'churn', 'champion', 8, 7, 'retraind', '', '', '', '')"
)
OTHER_HISTORY = "INSERT INTO history (at, model, subject, event) VALUES ('', 'churn', 'churn-1', '{}')"
BREAKS: list[tuple[int, str, Callable[[World], World]]] = [
    (1, "a file was never seen", another_file),
    (1, "a file is not settled", by_sql("UPDATE drops SET state = 'found' WHERE path LIKE '%a.csv'")),
    (1, "a file is forgotten", by_sql("UPDATE drops SET current = 0 WHERE path LIKE '%bad.csv'")),
    (2, "a file has other bytes", other_bytes),
    (3, "a duplicate counts", by_sql("UPDATE drops SET state = 'recorded' WHERE state = 'duplicate'")),
    (3, "a duplicate of nothing", by_sql("UPDATE drops SET state = 'duplicate' WHERE state = 'recorded'")),
    (4, "a second result", by_sql(OTHER_HISTORY.format("attempt.trained"))),
    (4, "a result is lost", by_sql("UPDATE attempt SET challenger = NULL")),
    (5, "promoted twice", by_sql(OTHER_HISTORY.format("attempt.promoted"))),
    (5, "promoted though worse", by_sql("UPDATE attempt SET verdict = json_set(verdict, '$.outcome', 'reject')")),
    (5, "judged against another", by_sql("UPDATE attempt SET champion_version = 3")),
    (6, "registered twice", by_version(9, OURS)),
    (6, "of an attempt that is not there", by_sql("UPDATE attempt SET id = 'churn-2'")),
    (6, "the version is not known", by_sql("UPDATE attempt SET version = NULL")),
    (6, "the version is not ours", by_version(OURS, CHAMPION)),
    (7, "no champion", no_champion),
    (7, "a champion nobody judged", by_aliases(champion=3)),
    (7, "a champion that is not there", by_aliases(champion=30)),
    (7, "a champion that cannot be loaded", by_version(OURS, OURS, loadable=False)),
    (8, "another one was champion before", by_aliases(previous_champion=3)),
    (8, "a move that was not seen", by_aliases(champion=CHAMPION)),
    (9, "a step is missing", by_sql("DELETE FROM history WHERE event = 'attempt.judged'")),
    (9, "another state than the last", by_sql(OTHER_HISTORY.format("attempt.rejected"))),
    (10, "no reason", by_sql("UPDATE attempt SET reason = ''")),
    (10, "an end without a time", by_sql("UPDATE attempt SET ended_at = NULL")),
    (11, "the challenger learned held-out rows", learned_judges),
    (11, "the champion learned rows that judged", champion_learned_judges),
    (11, "more rows than may judge", by_sql("UPDATE attempt SET evidence = json_set(evidence, '$.rows', 101)")),
    (
        11,
        "it was checked against too little",
        by_sql("UPDATE attempt SET evidence = json_set(evidence, '$.checked_keys', 99)"),
    ),
    (11, "it was not checked", by_sql("UPDATE attempt SET evidence = json_set(evidence, '$.checked_keys', NULL)")),
    (12, "a run is left open", open_run),
    (13, "a worker is left", lambda world: replace(world, workers=("churn-1.0.1",))),
    (14, "a job folder is left", lambda world: replace(world, jobs=("churn-1.0.1",))),
    (15, "an effect is not in the history", by_sql("DELETE FROM history WHERE event = 'effect.done'")),
    (16, "a decision is lost", by_sql("DELETE FROM decision")),
    (17, "it does not say what it replaces", by_version(OURS, OURS, tags={})),
    (17, "what it learned is not recorded", by_sql("UPDATE lineage SET attempt = NULL")),
    (18, "an effect is half done", by_sql("UPDATE effect SET done_at = NULL")),
    (18, "an attempt is under way", by_sql("UPDATE attempt SET ended_at = NULL, state = 'judged'")),
    (19, "it is scored on what it had", by_sql(f"UPDATE score SET version = {OURS}")),
    (20, "the open tenure is another version's", by_sql(f"UPDATE tenure SET version = 3 WHERE version = {OURS}")),
    (20, "no tenure is open", by_sql("UPDATE tenure SET closed_at = opened_at")),
    (20, "an anchor that was never champion", by_sql("UPDATE tenure SET anchor = 3")),
    (21, "a comparison is left out", by_sql("UPDATE comparison SET number = 2, alpha = alpha / 3")),
    (21, "too much is spent", by_sql("UPDATE comparison SET alpha = 0.051")),
    (21, "a comparison is not counted", by_sql("DELETE FROM comparison")),
    (22, "it looks again at nothing", by_sql("UPDATE attempt SET again_of = 'churn-1', look = 2")),
    (22, "another look registered it too", by_version(9, OURS)),
    (23, "a watch ends without a word", by_sql("UPDATE watch SET ended_at = '2026-03-02', outcome = ''")),
    (23, "a watch ends twice", by_sql(OTHER_HISTORY.format("watch.ended"))),
    (23, "a watch over no promotion", by_sql("DELETE FROM effect WHERE name = 'move alias'")),
    (23, "a watch over a version that is not champion", by_aliases(champion=CHAMPION)),
    (23, "a rollback without a look", by_sql(ASKED)),
    (23, "a rollback nobody asked for", by_sql(ROLLED_BACK)),
]


def test_a_sound_box_violates_nothing(sound: World) -> None:
    assert check(sound) == []


@pytest.mark.parametrize(("number", "broken"), [(n, b) for n, _, b in BREAKS], ids=[f"{n} {w}" for n, w, _ in BREAKS])
def test_what_does_not_hold_is_said(sound: World, number: int, broken: Callable[[World], World]) -> None:
    assert number in {violation.number for violation in check(broken(sound))}


def test_every_invariant_can_be_broken() -> None:
    assert {number for number, _, _ in BREAKS} == {number for number, *_ in INVARIANTS}
    assert [number for number, *_ in INVARIANTS] == list(range(1, len(INVARIANTS) + 1))
