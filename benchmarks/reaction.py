"""The daemon's own share of a reaction: from a rename into a drop folder to the alias moved, where workers and registry
answer at once. The loop, the journal on disk, the file events and the policies are the real ones.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from retrain_daemon.core.policy import unit_of
from retrain_daemon.daemon import Daemon, Gateways, Rhythm
from retrain_daemon.drops import DropFolders
from retrain_daemon.journal import Journal
from retrain_daemon.journal.models import Lineage
from retrain_daemon.policies import PolicyFolder
from retrain_daemon.schedule import WakeUps
from tests.fake_box import POLICY, FakeBox
from tests.fake_executor import FakeExecutor
from tests.fakes import FakeRegistry

PATIENCE = 120.0
_LONG_AGO = datetime(2024, 1, 1, tzinfo=UTC)


def react(folder: Path, models: int, times: int) -> list[float]:
    """Seconds of as many reactions, each of another model, one after the other."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    names = [f"m{number:04}" for number in range(models)]
    box = _box(folder, names)
    seen: list[float] = []
    with _running(box, names) as settled:
        settled()
        for number in range(times):
            seen.append(_one(box, names[number * 7 % models], number))
            settled()
    return seen


def _box(folder: Path, names: list[str]) -> FakeBox:
    box = FakeBox(folder, registry=FakeRegistry(_LONG_AGO))
    (folder / "policies" / "churn.yaml").unlink()
    for name in names:
        (folder / "drops" / name).mkdir()
        text = POLICY.replace("model: churn", f"model: {name}").format(folder=folder / "drops" / name)
        (folder / "policies" / f"{name}.yaml").write_text(text, "utf-8")
        box.registry.create_version_by_hand(name)
        box.registry.move_alias_by_hand(name, "champion", 1)
    return box


@contextmanager
def _running(box: FakeBox, names: list[str]) -> Iterator[object]:
    """The loop in a thread; what is given waits until it sleeps."""
    wake, journal = threading.Event(), Journal.open(box.root / "state")
    _record(box, journal, names)
    journal.close()
    started, stop = threading.Event(), []

    def live() -> None:
        opened = Journal.open(box.root / "state")  # SQLite's connections belong to their thread
        folders, alarms = DropFolders(wake.set), WakeUps(wake.set)
        executor = FakeExecutor(box.work, box.results, True, wake.set)
        gateways = Gateways(
            journal=opened,
            registry=box.registry,
            executor=executor,
            folders=folders,
            policies=PolicyFolder(box.root / "policies"),
            alarms=alarms,
        )
        rhythm = Rhythm(poll_registry=timedelta(hours=1), rescan=timedelta(hours=1))
        daemon = Daemon(gateways, box.root / "state", rhythm, lambda: datetime.now(UTC), wake)
        stop.append(daemon.stop)
        daemon.turn()
        started.set()
        daemon.run()
        for close in (alarms.close, folders.close, opened.close):
            close()

    thread = threading.Thread(target=live, daemon=True)
    thread.start()
    if not started.wait(PATIENCE):
        raise TimeoutError("the loop did not come up")
    try:
        yield lambda: time.sleep(1.0)
    finally:
        stop[0]()
        thread.join()


def _record(box: FakeBox, journal: Journal, names: list[str]) -> None:
    """Each champion's rows are known, so that any row may judge it."""
    policies = {policy.model: policy for policy in PolicyFolder(box.root / "policies").refresh().policies}
    for name in names:
        journal.models.ensure(name, policies[name].source, "champion", _LONG_AGO)
        journal.models.adopt(name, (), _LONG_AGO)
        lineage = Lineage(
            version=1, continues=None, learned_file="/state/adopted.npy", unknown_until=None, attempt=None,
            unit=unit_of(policies[name].data), created_at=_LONG_AGO,
        )  # fmt: skip
        journal.models.record_lineage(name, lineage, _LONG_AGO)


def _one(box: FakeBox, name: str, number: int) -> float:
    upload = box.root / f"upload-{number}"
    upload.write_text(f"x,churned\n{number},yes\n")
    begun = time.perf_counter()
    upload.rename(box.root / "drops" / name / f"{number}.csv")
    while box.registry.models([name])[name].aliases.get("previous_champion") is None:
        if time.perf_counter() - begun > PATIENCE:
            raise TimeoutError(f"{name} was not promoted")
        time.sleep(0.001)
    return time.perf_counter() - begun
