"""A box whose daemon and workers are killed again and again, each time begun anew at once and checked from outside."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import mlflow

from retrain_daemon.errors import StateUnusable
from tests.box import Box, buyers
from tests.checker import Violation, World, check, seen_in_mlflow, workers_in
from tests.faults import KILLED, PASSED
from tests.lives import Lives

ROOT = Path(__file__).parents[1]
HOLDOUT = 0.3
#: An inspection that fails is repeated, and a worker that was killed waits longer each time: this is for all of them.
STAGE_SECONDS = 120.0
REST_SECONDS = 30.0
#: Nothing dies any more where nothing has died for so long.
QUIET_SECONDS = 3.0
#: The test process has one default MLflow, which boxes that are played side by side share.
_DEFAULT_MLFLOW = threading.Lock()
#: Of random kills, those that hit a worker, if one is at work.
SHARE_OF_WORKERS = 0.3
POLICY_CHANGES = (("mode: refit", "mode: refit\n  retries: 50"),)


@dataclass(frozen=True)
class Stage:
    """What people do, and how it is seen that everything that follows from it is done."""

    name: str
    act: Callable[[], object]
    done: Callable[[], object]


class KilledBox(Box):
    """One box with one model, `persons` being the versions that a person made champion."""

    def __init__(self, folder: Path, uri: str, model: str, faults: str = "") -> None:
        """`faults` is which part of the fault points is armed, such as "0:4"; "" for none."""
        super().__init__(folder, uri)
        settings = folder / "retraind.toml"
        settings.write_text(settings.read_text().replace('retry_backoff = "1s"', 'retry_backoff = "100ms"'))
        self.model = model
        self.faults = faults
        self.kills = 0
        self.seconds = 0.0
        self.lives: Lives | None = None
        self._logged = 0
        self.at_end: tuple[dict[str, int], list[int]] = ({}, [])
        self.violations: list[Violation] = []
        self.persons = {self.register(model)}
        self.policy(model, *POLICY_CHANGES)

    def environment(self) -> dict[str, str]:
        armed = {"FAULTS": f"{self.folder}:{self.faults}"} if self.faults else {}
        return super().environment() | {"PYTHONPATH": f"{ROOT / 'tests' / 'faulty'}:{ROOT}", **armed}

    @contextmanager
    def as_default_mlflow(self) -> Iterator[None]:
        with _DEFAULT_MLFLOW, super().as_default_mlflow():
            yield

    def play(self, stages: list[Stage]) -> None:
        """Begin, and have one stage after the other come to its end, whatever dies meanwhile."""
        self.begin()
        for stage in stages:
            stage.act()
            self.wait(stage)

    def wait(self, stage: Stage, patience: float = STAGE_SECONDS) -> None:
        deadline = time.monotonic() + patience
        while not _seen(stage.done):
            if self.killed():
                deadline = time.monotonic() + patience
            if time.monotonic() > deadline:
                raise AssertionError(f"{stage.name}: not done after {patience} s; the log:\n{self.tail()}")
            time.sleep(0.05)

    def killed(self) -> bool:
        """Whether something died since it was asked last; the box is then checked, and the daemon started anew."""
        assert self.daemon is not None
        died = self.daemon.poll()
        grown = len(self.lines(KILLED)) > self.kills
        if died is None and not grown:
            return False
        if died not in (None, -9):
            raise AssertionError(f"the daemon ended with {died}:\n{self.tail()}")
        self.kills = max(len(self.lines(KILLED)), self.kills)
        self.look(at_rest=False)
        if died is not None:
            self.begin()
        return True

    def kill_something(self, chance: random.Random) -> None:
        """Kill the daemon, or one of its workers; the daemon is begun anew at once."""
        assert self.daemon is not None
        workers = list(workers_in(self.state / "jobs")) if chance.random() < SHARE_OF_WORKERS else []
        for pid in workers:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not workers:
            self.daemon.kill()
            self.daemon.wait()
            self.begin()
        self.kills += 1
        self.look(at_rest=False)

    def begin(self) -> None:
        """Start the daemon, and do not wait for it: it may die while it starts."""
        self._logged = self.log.stat().st_size if self.log.exists() else 0
        self.lives = self.lives or Lives(self.folder / "retraind.toml", self.log, self.environment(), self.folder)
        self.daemon = self.lives.begin()  # type: ignore[assignment]

    def close(self) -> None:
        """End the daemon, and the process that its lives come from."""
        super().close()
        if self.lives is not None:
            self.lives.close()

    def is_up(self) -> bool:
        """Whether the daemon that was begun last has said that it started."""
        with self.log.open("rb") as log:
            log.seek(self._logged)
            return b'"daemon.started"' in log.read()

    def look(self, *, at_rest: bool) -> list[Violation]:
        """What does not hold now; remembered."""
        found = check(self.world(at_rest)) if (self.state / "journal.db").exists() else []
        self.violations += found
        return found

    def world(self, at_rest: bool) -> World:
        jobs = self.state / "jobs"
        return World(
            journal=self.state / "journal.db",
            model=self.model,
            registry=seen_in_mlflow(self.client, self.model),
            files=sorted((self.folder / "drops" / self.model).iterdir()),
            persons=frozenset(self.persons),
            jobs=tuple(path.name for path in jobs.iterdir() if path.is_dir()) if jobs.exists() else (),
            workers=tuple(workers_in(jobs).values()),
            at_rest=at_rest,
            holdout=HOLDOUT,
        )

    def rest(self) -> None:
        """Everything is done: within some seconds all invariants hold, and the champion can be loaded."""
        deadline = time.monotonic() + REST_SECONDS
        quiet = time.monotonic()
        while time.monotonic() < deadline and (time.monotonic() < quiet + QUIET_SECONDS or check(self.world(True))):
            if self.killed():
                quiet, deadline = time.monotonic(), time.monotonic() + REST_SECONDS
            time.sleep(0.1)
        self.look(at_rest=True)
        with self.as_default_mlflow():
            champion = mlflow.sklearn.load_model(f"models:/{self.model}@champion")
        assert len(champion.predict(buyers(99, 10).drop(columns="bought"))) == 10

    # what is seen

    def lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def points(self) -> list[str]:
        """The points that were passed, in the order in which they were passed first."""
        return self.lines(PASSED)

    def ended_attempts(self) -> int:
        return sum(attempt.ended_at is not None for attempt in self.attempts(self.model))

    def settled(self, *names: str) -> bool:
        drops = self.drops(self.model)
        return all(name in drops and drops[name].state not in ("found", "vanished") for name in names)

    def alias(self, name: str) -> int | None:
        return self.aliases(self.model).get(name)

    # what people do

    def put(self, name: str, seed: int, rows: int = 1200, **how: bool) -> Path:
        return self.drop(name, buyers(seed, rows, **how), self.model)

    def move_champion(self, version: int) -> None:
        self.persons.add(version)
        self.client.set_registered_model_alias(self.model, "champion", str(version))

    def order(self, verb: str, **arguments: str) -> int:
        """File an order as the command line does; returns its number."""
        from retrain_daemon.cli.composition import clock
        from retrain_daemon.journal import Journal

        journal = Journal.open(self.state)
        try:
            return journal.requests.ask(self.model, verb, "ada", "as the story goes", clock(), arguments)
        finally:
            journal.close()

    def answered(self) -> bool:
        """Whether every order was answered."""
        with self.journal() as journal:
            return not journal.requests.open()


def _seen(done: Callable[[], object]) -> bool:
    """A journal that is just being made shows nothing."""
    try:
        return bool(done())
    except StateUnusable:
        return False


def a_story(box: KilledBox) -> list[Stage]:
    """A promotion, a rejection, a person's challenger and move, a rollback, a release, a failure for good, a
    retraction.
    """
    folder = box.folder / "drops" / box.model

    def monday() -> None:
        first = box.put("monday.csv", 2)
        (folder / "again.csv").write_bytes(first.read_bytes())
        (folder / "bad.csv").write_text("nothing,of,this\n1,2,3\n")
        (folder / "torn.csv").write_text(buyers(9, 50).to_csv(index=False).rstrip("\n"))

    def tuesday() -> None:
        box.register(box.model, alias="challenger", rows=buyers(7, 300))
        box.put("tuesday.csv", 3, scrambled=True)

    def go_incremental() -> None:
        box.policy(box.model, *POLICY_CHANGES, ("mode: refit", "mode: incremental"))

    def in_force() -> bool:
        return len({event["digest"] for event in box.events("policy.loaded")}) > 1

    return [
        Stage("the first look", lambda: None, box.adopted),
        Stage("a promotion", monday,
              lambda: box.ended_attempts() >= 1 and box.settled("again.csv", "bad.csv", "torn.csv")),
        Stage("a rejection and a person's challenger", tuesday,
              lambda: box.ended_attempts() >= 3 and box.alias("challenger") is None),
        Stage("a person's move", lambda: box.move_champion(1), lambda: box.alias("previous_champion") == 2),
        Stage("a rollback", lambda: box.order("rollback", champion="1"),
              lambda: box.answered() and box.alias("champion") == 2),
        Stage("a resume", lambda: box.order("resume"), box.answered),
        Stage("a release", lambda: box.order("release", file="torn.csv"),
              lambda: box.answered() and box.drops(box.model)["torn.csv"].state == "recorded"),
        Stage("another mode", go_incremental, in_force),
        Stage("a failure for good", lambda: box.order("retrain"), lambda: box.answered() and box.ended_attempts() >= 4),
        Stage("a retraction", lambda: box.order("retract", file="tuesday.csv"), box.answered),
    ]  # fmt: skip
