"""Whether a box is sound, told from outside: own SQL on the journal, own calls to MLflow, own hashes and keys.

Nothing of the daemon is imported, so that what it gets wrong it does not get wrong here too. Each invariant has a
number and a sentence; those that hold at rest only are looked at when everything that was begun could end.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from mlflow import MlflowClient

KEY_TAG = "retraind.key"
REPLACES_TAG = "retraind.replaces"
ENDS = ("promoted", "rejected", "inconclusive", "abandoned")
#: What may follow what in the history of an attempt.
FOLLOWS = {
    "planned": {"training", "abandoned"},
    "training": {"trained", "failed", "planned", "abandoned"},
    "failed": {"training", "planned", "abandoned"},
    "trained": {"judged", "planned", "abandoned"},
    "judged": {"planned", "promoted", "rejected", "inconclusive", "abandoned"},
}
SETTLED = ("recorded", "quarantined", "duplicate", "retracted")


@dataclass(frozen=True, kw_only=True)
class SeenVersion:
    """One version. `loadable`: its files are stored whole."""

    number: int
    run_id: str
    tags: Mapping[str, str]
    loadable: bool = True


@dataclass(frozen=True, kw_only=True)
class SeenRegistry:
    """One registered model, and every run that carries the tag of an attempt: (key, status)."""

    aliases: Mapping[str, int]
    versions: Mapping[int, SeenVersion]
    runs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class World:
    """A box with one model as seen from outside.

    `files` lie in the drop folder. `persons` are versions that a person made champion, the first one too; `forgotten`
    are attempts whose versions a person deleted, at last when the history had `deleted_at` lines. `jobs` are names of
    job folders, `workers` those that a living process works in. Not `at_rest`, something may be under way. `holdout`:
    the share of rows that judges, None where nobody wrote keys.
    """

    journal: Path
    model: str
    registry: SeenRegistry
    files: Collection[Path] = ()
    persons: Collection[int] = ()
    forgotten: Collection[str] = ()
    deleted_at: int = 0
    jobs: Collection[str] = ()
    workers: Collection[str] = ()
    at_rest: bool = True
    holdout: float | None = None


@dataclass(frozen=True)
class Violation:
    """What does not hold, and where it was seen."""

    number: int
    sentence: str
    detail: str

    def __str__(self) -> str:
        return f"{self.number}. {self.sentence} {self.detail}"


class Look:
    """A world with its journal open."""

    def __init__(self, world: World, connection: sqlite3.Connection) -> None:
        self.world = world
        self._connection = connection
        self.identity = self.rows("SELECT id FROM identity")[0]["id"]
        self.attempts = self.rows("SELECT * FROM attempt WHERE model = ? ORDER BY number", world.model)
        self.drops = self.rows("SELECT * FROM drops WHERE model = ? ORDER BY id", world.model)

    def rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        return [dict(row) for row in self._connection.execute(sql, values)]

    def history(self, subject: str) -> list[str]:
        return [row["event"] for row in self.rows("SELECT event FROM history WHERE subject = ? ORDER BY id", subject)]

    def ours(self) -> list[tuple[SeenVersion, str]]:
        """Versions that carry the key of an attempt of this journal, with the attempt's name."""
        keys = ((version, version.tags.get(KEY_TAG, "")) for version in self.world.registry.versions.values())
        prefix = f"{self.identity}/"
        return [(version, named(key.removeprefix(prefix))) for version, key in keys if key.startswith(prefix)]

    def kept(self) -> list[dict[str, Any]]:
        """Attempts whose versions nobody deleted."""
        return [attempt for attempt in self.attempts if attempt["id"] not in self.world.forgotten]


Check = Callable[[Look], Iterable[str]]
INVARIANTS: list[tuple[int, str, bool, Check]] = []


def invariant(number: int, sentence: str, *, at_rest: bool = False) -> Callable[[Check], Check]:
    def add(check: Check) -> Check:
        INVARIANTS.append((number, sentence, at_rest, check))
        return check

    return add


def check(world: World) -> list[Violation]:
    """Every invariant that does not hold, with each place where it does not; none of a journal without tables yet."""
    with closing(sqlite3.connect(f"{world.journal.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
        connection.row_factory = sqlite3.Row
        connection.execute("BEGIN")
        if not connection.execute("PRAGMA user_version").fetchone()[0]:
            return []
        look = Look(world, connection)
        return [
            Violation(number, sentence, detail)
            for number, sentence, at_rest, holds in INVARIANTS
            if world.at_rest or not at_rest
            for detail in holds(look)
        ]


@invariant(1, "No drop is lost: each file in the folder is in the journal once, and settled.", at_rest=True)
def _each_file_once(look: Look) -> Iterator[str]:
    current = Counter(drop["path"] for drop in look.drops if drop["current"])
    states = {drop["path"]: drop for drop in look.drops if drop["current"]}
    for file in look.world.files:
        if current[str(file)] != 1:
            yield f"{file.name} is there {current[str(file)]} times"
        elif states[str(file)]["state"] not in SETTLED or states[str(file)]["missing"]:
            yield f"{file.name} is {states[str(file)]['state']}, missing {states[str(file)]['missing']}"


@invariant(2, "A drop's fingerprint is the sha256 of its file.", at_rest=True)
def _fingerprints(look: Look) -> Iterator[str]:
    known = {drop["path"]: drop for drop in look.drops if drop["current"]}
    for file in look.world.files:
        drop = known.get(str(file))
        if drop is None or (drop["state"] in ("quarantined", "retracted") and not drop["fingerprint"]):
            continue  # never read: unusable at sight, or taken out before
        if drop["fingerprint"] != sha256(file.read_bytes()).hexdigest():
            yield f"{file.name} is {drop['state']} as {drop['fingerprint'][:12]}"


@invariant(3, "The same bytes count once.")
def _bytes_once(look: Look) -> Iterator[str]:
    counted = Counter(drop["fingerprint"] for drop in look.drops if drop["state"] == "recorded")
    for fingerprint, times in counted.items():
        if times > 1 or not fingerprint:
            yield f"{fingerprint[:12]} is recorded {times} times"
    for drop in look.drops:
        twins = [each for each in look.drops if each["fingerprint"] == drop["fingerprint"] and each is not drop]
        if drop["state"] == "duplicate" and not any(each["state"] != "duplicate" for each in twins):
            yield f"{drop['path']} is a duplicate of nothing"


@invariant(4, "One decision has one attempt, and each of its rounds at most one accepted result.")
def _one_result(look: Look) -> Iterator[str]:
    for decision, times in Counter(attempt["decision"] for attempt in look.attempts).items():
        if times > 1:
            yield f"decision {decision} has {times} attempts"
    for attempt in look.attempts:
        events = Counter(look.history(attempt["id"]))
        if events["attempt.trained"] > events["attempt.planned"]:
            yield f"{attempt['id']}: {events['attempt.trained']} results in {events['attempt.planned']} rounds"
        if attempt["state"] in ("trained", "judged", "promoted") and not attempt["challenger"]:
            yield f"{attempt['id']} is {attempt['state']} without a challenger"


@invariant(5, "One decision moves the alias at most once, to a version judged better than the champion it replaces.")
def _one_promotion(look: Look) -> Iterator[str]:
    for attempt in look.attempts:
        done = look.rows(
            "SELECT count(*) AS n FROM effect WHERE subject = ? AND name = 'move alias' AND done_at IS NOT NULL",
            attempt["id"],
        )[0]["n"]
        promoted = look.history(attempt["id"]).count("attempt.promoted")
        if done > 1 or promoted > 1:
            yield f"{attempt['id']}: alias moved {done} times, promoted {promoted} times"
        if promoted and not (_won(attempt) or _approved(look, attempt)):
            yield f"{attempt['id']} is promoted by the verdict {_outcome(attempt)} over {attempt['champion_version']}"


@invariant(6, "Each challenger is registered at most once, and versions and attempts name each other.")
def _registered_once(look: Look) -> Iterator[str]:
    by_id = {attempt["id"]: attempt for attempt in look.attempts}
    for (name, run_id), times in Counter((name, version.run_id) for version, name in look.ours()).items():
        if times > 1:
            yield f"{name}: run {run_id} is registered {times} times"
    for version, name in look.ours():
        attempt = by_id.get(name)
        if attempt is None:
            yield f"version {version.number} names {name}, which is not there"
        elif look.world.at_rest and not _named_by_a_look(look, attempt, version.number):
            yield f"version {version.number} names {name}, which names {attempt['version']}"
    registered = {version.number: name for version, name in look.ours()}
    for attempt in look.kept():
        number, trained = attempt["version"], attempt["again_of"] or attempt["id"]
        if number is not None and attempt["offered"] is None and registered.get(number) != trained:
            yield f"{attempt['id']} names version {number}, which names {registered.get(number)}"


def _named_by_a_look(look: Look, attempt: Mapping[str, Any], version: int) -> bool:
    """Whether the attempt, or a later look at its challenger, says that this is its version; one that began again may
    have left one behind.
    """
    looks = [each for each in look.attempts if attempt["id"] in (each["id"], each["again_of"])]
    return any(each["version"] == version or each["round"] for each in looks)


@invariant(7, "The champion is there, can be loaded, and was judged better or put there by a person.")
def _champion(look: Look) -> Iterator[str]:
    registry = look.world.registry
    champion = registry.aliases.get("champion")
    if champion is None:
        yield "there is none"
    elif champion not in registry.versions or not registry.versions[champion].loadable:
        yield f"version {champion} cannot be loaded"
    elif champion not in look.world.persons and not any(
        attempt["version"] == champion
        and attempt["state"] in ("judged", "promoted")
        and (_won(attempt) or _approved(look, attempt))
        for attempt in look.kept()
    ):
        yield f"version {champion} was not"


@invariant(8, "previous_champion is the version that was champion before.", at_rest=True)
def _previous(look: Look) -> Iterator[str]:
    registry = look.world.registry
    seen = look.rows(
        "SELECT detail FROM history WHERE subject = ? AND event = 'champion.seen' AND id > ? ORDER BY id",
        look.world.model,
        look.world.deleted_at,
    )
    moves = [tuple(row["detail"].removeprefix("version ").split(", was ")) for row in seen]
    moves = [(now, was) for now, was in moves if "none" not in (now, was)]
    if look.world.deleted_at:
        moves = moves[1:]  # what was champion before the first is gone
    if not moves:
        return
    now, was = moves[-1]
    if registry.aliases.get("champion") != int(now):
        yield f"the journal last saw version {now} as champion, it is {registry.aliases.get('champion')}"
    if int(was) in registry.versions and registry.aliases.get("previous_champion") != int(was):
        yield f"version {was} was champion before {now}, the alias is on {registry.aliases.get('previous_champion')}"


@invariant(9, "The history of an attempt is complete: a legal path from planned to where it is.")
def _paths(look: Look) -> Iterator[str]:
    for attempt in look.attempts:
        events = [event for event in look.history(attempt["id"]) if event.startswith("attempt.")]
        states = [event.removeprefix("attempt.") for event in events]
        legal = all(after in FOLLOWS.get(before, ()) for before, after in pairwise(states))
        if states[:1] != ["planned"] or states[-1] != attempt["state"] or not legal:
            yield f"{attempt['id']} is {attempt['state']} by {' > '.join(states)}"


@invariant(10, "An attempt that ended says why: a verdict that fits, or a reason.")
def _ended_with_reason(look: Look) -> Iterator[str]:
    fitting = {
        "promoted": {"promote"},
        "rejected": {"reject", "promote", "inconclusive"},
        "inconclusive": {"inconclusive"},
    }
    for attempt in look.attempts:
        ended = attempt["ended_at"] is not None
        if ended != (attempt["state"] in ENDS):
            yield f"{attempt['id']} is {attempt['state']}, ended at {attempt['ended_at']}"
        elif ended and (not attempt["reason"] or _outcome(attempt) not in fitting.get(attempt["state"], _ANY)):
            yield f"{attempt['id']} is {attempt['state']} by {_outcome(attempt)}, reason “{attempt['reason']}”"


@invariant(11, "No row judges that the challenger, the champion or an ancestor learned or may have learned.")
def _nothing_learned_judges(look: Look) -> Iterator[str]:
    share = look.world.holdout
    if share is None:
        return
    for attempt in look.attempts:
        if attempt["evidence"] is None or attempt["challenger"] is None:
            continue
        learned = _keys([json.loads(attempt["challenger"])["learned_file"]])
        held_out = int(np.sum(_judges(learned, share)))
        if held_out:
            yield f"{attempt['id']} learned {held_out} rows that are held out"
        evidence = json.loads(attempt["evidence"])
        rows, most = evidence["rows"], len(_may_judge(look, attempt, learned, share))
        if rows > most:
            yield f"{attempt['id']} was judged by {rows} rows, {most} may judge it"
        before = [link for link in _chain(look, attempt) if link["changed_at"] < attempt["started_at"]]
        recorded = len(np.union1d(learned, _keys(link["learned_file"] for link in before)))
        if (evidence["checked_keys"] or 0) < recorded:
            yield f"{attempt['id']} was checked against {evidence['checked_keys']} learned keys of {recorded}"


def named(key: str) -> str:
    """A key without the moment of the decision, which tells attempts of one number apart."""
    return key.rpartition(".")[0]


@invariant(12, "No run of an attempt that ended is left RUNNING.", at_rest=True)
def _no_open_runs(look: Look) -> Iterator[str]:
    ended = {f"{look.identity}/{attempt['id']}" for attempt in look.attempts if attempt["ended_at"]}
    for key, status in look.world.registry.runs:
        if named(key) in ended and status == "RUNNING":
            yield f"one of {key}"


@invariant(13, "No worker is left of what has ended.", at_rest=True)
def _no_orphans(look: Look) -> Iterator[str]:
    yield from (f"{job} is at work" for job in look.world.workers)


@invariant(14, "No job folder is left of what has ended.", at_rest=True)
def _no_folders(look: Look) -> Iterator[str]:
    yield from (f"{job} is there" for job in look.world.jobs)


@invariant(15, "Each effect in the registry is in the history as begun, and as done where it is.")
def _effects_in_history(look: Look) -> Iterator[str]:
    for effect in look.rows("SELECT * FROM effect WHERE model = ?", look.world.model):
        written = f"{effect['name']} {effect['detail']}"
        lines = look.rows("SELECT event, detail FROM history WHERE subject = ?", effect["subject"])
        for event, when in (("effect.begun", effect["begun_at"]), ("effect.done", effect["done_at"])):
            if when and not any(line["event"] == event and line["detail"] == written for line in lines):
                yield f"{effect['subject']}: {event} {written}"


@invariant(16, "The journal's file is sound.")
def _sound_file(look: Look) -> Iterator[str]:
    yield from (row["integrity_check"] for row in look.rows("PRAGMA integrity_check") if row["integrity_check"] != "ok")
    yield from (f"{row['table']} refers to nothing" for row in look.rows("PRAGMA foreign_key_check"))


@invariant(17, "A version that was promoted says what it replaces, the first nothing, and what it learned is recorded.")
def _promoted_is_recorded(look: Look) -> Iterator[str]:
    lineage = {row["version"]: row for row in look.rows("SELECT * FROM lineage WHERE model = ?", look.world.model)}
    for attempt in look.kept():
        version = look.world.registry.versions.get(attempt["version"])
        if attempt["state"] != "promoted" or version is None:
            continue
        replaces = version.tags.get(REPLACES_TAG)
        if replaces != (str(attempt["champion_version"]) if attempt["champion_version"] else None):
            yield f"version {version.number} replaces {replaces}, not {attempt['champion_version']}"
        trained = attempt["again_of"] or attempt["id"]
        if attempt["offered"] is None and lineage.get(version.number, {}).get("attempt") != trained:
            yield f"of version {version.number} it is not recorded that it came from {attempt['id']}"


@invariant(18, "Nothing is left half done: attempts, effects, rollbacks and orders.", at_rest=True)
def _nothing_half_done(look: Look) -> Iterator[str]:
    yield from (f"{attempt['id']} is {attempt['state']}" for attempt in look.attempts if not attempt["ended_at"])
    for row in look.rows("SELECT id FROM rollback WHERE model = ? AND ended_at IS NULL", look.world.model):
        yield f"{row['id']} is open"
    for row in look.rows(
        "SELECT * FROM request WHERE model = ? AND code IS NULL AND verb <> 'retrain'", look.world.model
    ):
        yield f"order {row['id']}, {row['verb']}, is not answered"
    for attempt in look.attempts:
        last_round = "SELECT * FROM effect WHERE subject = ? AND round = ? AND done_at IS NULL"
        effects = look.rows(last_round, attempt["id"], attempt["round"])
        if attempt["state"] == "promoted":
            yield from (f"{attempt['id']}: {effect['name']} is begun and not done" for effect in effects)


@invariant(19, "No version is scored on a drop that the attempt that made it had.")
def _nothing_it_had_is_scored(look: Look) -> Iterator[str]:
    for row in look.rows(
        "SELECT score.version, score.drop_id FROM score JOIN lineage ON lineage.model = score.model AND"
        " lineage.version = score.version JOIN attempt_drop ON attempt_drop.attempt = lineage.attempt AND"
        " attempt_drop.drop_id = score.drop_id WHERE score.model = ?", look.world.model,
    ):  # fmt: skip
        yield f"version {row['version']} on drop {row['drop_id']}"


@invariant(20, "Each tenure but the last has ended, and anchors were champions; the last is the champion's at rest.")
def _tenures(look: Look) -> Iterator[str]:
    tenures = look.rows("SELECT * FROM tenure WHERE model = ? ORDER BY id", look.world.model)
    opened = [tenure for tenure in tenures if tenure["closed_at"] is None]
    if tenures and [tenure["id"] for tenure in opened] != [tenures[-1]["id"]]:
        yield f"{len(opened)} of {len(tenures)} are open"
    for number, tenure in enumerate(tenures):
        if tenure["anchor"] not in {each["version"] for each in tenures[: number + 1]}:
            yield f"version {tenure['anchor']}, the anchor of version {tenure['version']}, was never champion"
    champion = look.world.registry.aliases.get("champion")
    if look.world.at_rest and champion != (opened[-1]["version"] if opened else None):
        yield f"the open ones are of {[tenure['version'] for tenure in opened]}, version {champion} is champion"


@invariant(21, "Comparisons of a tenure are counted without a gap and spend at most the error that its policies allow.")
def _budget(look: Look) -> Iterator[str]:
    policies = {attempt["id"]: json.loads(attempt["policy"]) for attempt in look.attempts}
    for tenure in look.rows("SELECT * FROM tenure WHERE model = ?", look.world.model):
        made = look.rows("SELECT * FROM comparison WHERE tenure = ? ORDER BY number", tenure["id"])
        made = [each for each in made if each["attempt"] in policies]
        if [each["number"] for each in made] != list(range(1, len(made) + 1)):
            yield f"version {tenure['version']}: {[each['number'] for each in made]}"
        alphas = [1 - policies[each["attempt"]]["promote"]["confidence"] for each in made]
        if sum(each["alpha"] for each in made) > max(alphas, default=0) + 1e-12:
            yield f"version {tenure['version']}: {sum(each['alpha'] for each in made)} is spent of {alphas}"
        for each, alpha in zip(made, alphas, strict=True):
            if abs(each["alpha"] - alpha / each["number"] / (each["number"] + 1)) > 1e-12:
                yield f"comparison {each['number']} of version {tenure['version']} spent {each['alpha']}"
    for attempt in look.attempts:
        spent = look.rows("SELECT * FROM comparison WHERE attempt = ?", attempt["id"])
        results = look.history(attempt["id"]).count("attempt.trained")
        if len(spent) != (results if _claims_better(attempt) else 0):
            yield f"{attempt['id']} was compared {results} times and spent {len(spent)} times"


@invariant(22, "A challenger that is looked at again is registered at most once, by whichever look was the first to.")
def _one_version_of_a_challenger(look: Look) -> Iterator[str]:
    for run_id, times in Counter(version.run_id for version, _name in look.ours()).items():
        if times > 1:
            yield f"the challenger of run {run_id} is registered {times} times"
    for attempt in look.attempts:
        first = next((each for each in look.attempts if each["id"] == attempt["again_of"]), None)
        if attempt["again_of"] and (first is None or first["again_of"] or first["number"] > attempt["number"]):
            yield f"{attempt['id']} looks again at {attempt['again_of']}"
        elif first and attempt["challenger"] and first["challenger"] and _run(attempt) != _run(first):
            yield f"{attempt['id']} judges {_run(attempt)}, {first['id']} trained {_run(first)}"


def _run(attempt: Mapping[str, Any]) -> str:
    return str(json.loads(attempt["challenger"])["run_id"])


def _claims_better(attempt: Mapping[str, Any]) -> bool:
    """Whether one of the lines that it was judged by claims an improvement."""
    policy = json.loads(attempt["policy"])
    own = next((rule["require"] for rule in policy["rules"] if rule["name"] == attempt["rule"]), [])
    return any(line["claim"] == "better_by" for line in own or policy["promote"]["require"])


@invariant(23, "A watch is over a promotion and ends once; it goes back at most once, for a version shown to be worse.")
def _watched(look: Look) -> Iterator[str]:
    for watch in look.rows("SELECT * FROM watch WHERE model = ?", look.world.model):
        name, events = watch["attempt"], Counter(look.history(watch["attempt"]))
        if events["watch.begun"] - events["watch.ended"] != (watch["ended_at"] is None):
            yield f"{name}: begun {events['watch.begun']} times, ended {events['watch.ended']} times"
        if watch["ended_at"] and not watch["outcome"]:
            yield f"{name}: it ended without saying why"
        moved = look.rows(
            "SELECT 1 FROM effect WHERE subject = ? AND name = 'move alias' AND done_at IS NOT NULL", name
        )
        if not moved:
            yield f"{name} moved no alias"
        if watch["ended_at"] is None and look.world.at_rest:
            champion = look.world.registry.aliases.get("champion")
            if champion != watch["version"]:
                yield f"{name}: version {watch['version']} is watched, and version {champion} is champion"
        looks = look.rows("SELECT * FROM watch_look WHERE attempt = ? ORDER BY look", name)
        asked = look.rows("SELECT 1 FROM request WHERE json_extract(argument, '$.watch') = ?", name)
        if len(asked) > events["watch.begun"] or (asked and not any(each["worse"] for each in looks)):
            yield f"{name}: {len(asked)} rollbacks asked for after {len(looks)} looks"
    ours = look.rows("SELECT 1 FROM rollback WHERE model = ? AND by = 'retraind'", look.world.model)
    asked = look.rows("SELECT 1 FROM request WHERE model = ? AND by = 'retraind'", look.world.model)
    if len(ours) > len(asked):
        yield f"{len(ours)} rollbacks of the daemon's own, {len(asked)} asked for"


_ANY = {"", "promote", "reject", "inconclusive"}


def _outcome(attempt: Mapping[str, Any]) -> str:
    return str(json.loads(attempt["verdict"])["outcome"]) if attempt["verdict"] else ""


def _won(attempt: Mapping[str, Any]) -> bool:
    """Judged better, against the champion that it names."""
    evidence = json.loads(attempt["evidence"]) if attempt["evidence"] else {}
    return _outcome(attempt) == "promote" and evidence.get("champion_version") == attempt["champion_version"]


def _approved(look: Look, attempt: Mapping[str, Any]) -> bool:
    """Whether a person approved the evidence it has, whose sha256 they were asked about."""
    rows = look.rows(
        "SELECT evidence FROM approval WHERE attempt = ? AND round = ? AND answer = 'approve'",
        attempt["id"],
        attempt["round"],
    )
    return bool(rows) and rows[0]["evidence"] == sha256((attempt["evidence"] or "").encode()).hexdigest()


def _keys(files: Iterable[str]) -> NDArray[np.uint64]:
    found = [np.load(file) for file in files if file]
    return np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.uint64)


def _judges(keys: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """The finaliser of splitmix64 after the salt of the holdout, below the share of all numbers."""
    mixed = keys ^ np.uint64(0x0DD5B0A7D5EED5A1)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    return np.asarray(mixed < np.uint64(int(share * 2.0**64)), dtype=np.bool_)


def _chain(look: Look, attempt: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is recorded of the champion that an attempt was judged against, and of all it continued from."""
    lineage = {row["version"]: row for row in look.rows("SELECT * FROM lineage WHERE model = ?", look.world.model)}
    found, version = [], attempt["champion_version"]
    while version in lineage:
        found.append(lineage.pop(version))
        version = found[-1]["continues"]
    return found


def _may_judge(
    look: Look, attempt: Mapping[str, Any], learned: NDArray[np.uint64], share: float
) -> NDArray[np.uint64]:  # fmt: skip
    """Held-out keys of its drops without what either side may have learned."""
    chain = _chain(look, attempt)
    files = [link["learned_file"] for link in chain]
    unknown_until = max((link["unknown_until"] or "" for link in chain), default="")
    used = look.rows(
        "SELECT arrived_at, units_file FROM drops JOIN attempt_drop ON drop_id = id WHERE attempt = ?", attempt["id"]
    )
    keys = _keys(drop["units_file"] for drop in used if drop["arrived_at"] > unknown_until)
    early = _keys(drop["units_file"] for drop in look.drops if drop["arrived_at"] <= unknown_until)
    keys = keys[_judges(keys, share)]
    return keys[~np.isin(keys, np.concatenate([_keys(files), learned, early]))]


def seen_in_mlflow(client: MlflowClient, model: str) -> SeenRegistry:
    """A registered model, its versions, and the runs of its attempts."""
    found = client.get_registered_model(model)
    versions = [
        SeenVersion(
            number=int(version.version),
            run_id=version.run_id or "",
            tags=dict(version.tags),
            loadable=_stored_whole(client, str(version.source)),
        )
        for version in client.search_model_versions(f"name = '{model}'", max_results=1000)
    ]
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, f"tags.`{KEY_TAG}` LIKE '%'", max_results=1000)
    return SeenRegistry(
        aliases={alias: int(number) for alias, number in found.aliases.items()},
        versions={version.number: version for version in versions},
        runs=tuple((run.data.tags[KEY_TAG], run.info.status) for run in runs),
    )


def _stored_whole(client: MlflowClient, source: str) -> bool:
    """Its description is there, and its logged model says that it is complete."""
    model_id = source.removeprefix("models:/")
    logged = client.get_logged_model(model_id)
    names = {Path(each.path).name for each in client.list_logged_model_artifacts(model_id)}
    return str(logged.status) == "READY" and "MLmodel" in names and len(names) > 1


def workers_in(jobs: Path) -> dict[int, str]:
    """The job folder below `jobs` that each living process carries in its environment, by process id. A warm template
    carries no job's, only slashes.
    """
    mark = b"RETRAIND_JOB=" + os.fsencode(jobs) + b"/"
    found = {}
    for process in Path("/proc").iterdir():
        try:
            words = (process / "environ").read_bytes().split(b"\0") if process.name.isdigit() else []
            state = (process / "stat").read_text().rpartition(")")[2].split()[0] if words else "Z"
        except OSError:
            continue
        names = [os.fsdecode(word[len(mark) :]) for word in words if word.startswith(mark)]
        if names and names[0].strip("/") and state not in "ZX":
            found[int(process.name)] = names[0]
    return found
