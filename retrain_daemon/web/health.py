"""/healthz: whether the loop is alive, from the published snapshot and the time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

from retrain_daemon.outage import LONGEST_PAUSE
from retrain_daemon.standing import Snapshot

#: A turn may take so long, beside the longest pause between two: MLflow may keep each of some requests waiting.
TURN_PATIENCE = timedelta(seconds=60)


@dataclass(frozen=True)
class Health:
    """An HTTP status and what is said beside it."""

    status: int
    body: bytes


def patience(poll_registry: timedelta, rescan: timedelta) -> timedelta:
    """How long no turn may end before the loop counts as hung: two of its pauses, or one of an outage of MLflow where
    that is longer, and one turn.
    """
    usual, outage = min(poll_registry, rescan), min(LONGEST_PAUSE, rescan)
    return max(2 * usual, outage) + TURN_PATIENCE


def health(seen: Snapshot, now: datetime, allowed: timedelta) -> Health:
    """200 as long as turns end, 503 with the reason otherwise.

    A registry that does not answer is said, and is no reason: the daemon is doing what it must, it waits and asks
    again. Whoever restarts what answers 503 would end trainings under way and mend nothing.
    """
    last = seen.turns.last_at
    since = now - (last or seen.begun_at)
    reason = seen.unusable
    if not reason and last is None:
        reason = "no turn of the loop has ended yet"
    elif not reason and since > allowed:
        seconds, most = since.total_seconds(), allowed.total_seconds()
        reason = f"no turn of the loop has ended for {seconds:.0f} s, {most:.0f} s are allowed"
    said: dict[str, object] = {"status": "failing" if reason else "ok"}
    if reason:
        said["reason"] = reason
    said["last_turn"] = last.isoformat("T", "seconds") if last else None
    said["registry"] = "down" if seen.registry_problem else "up"
    if seen.registry_problem:
        said["registry_problem"] = seen.registry_problem
    return Health(503 if reason else 200, json.dumps(said).encode() + b"\n")
