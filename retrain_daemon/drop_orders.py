"""Orders about dropped files: taking one out of use, letting one in that was quarantined.

Carried out like the other orders, by whoever holds the state folder's lock; see `orders.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from retrain_daemon.core.attempts import Effect
from retrain_daemon.errors import NotFound, Refused
from retrain_daemon.journal import Journal
from retrain_daemon.journal.drops import DropRow
from retrain_daemon.journal.requests import Request
from retrain_daemon.log import get_logger

_log = get_logger()


class DropOrders:
    """Retracts and releases files; raises NotFound or Refused with the answer for the one who asked."""

    def __init__(self, journal: Journal, clock: Callable[[], datetime]) -> None:
        self._journal = journal
        self._clock = clock

    def retract(self, request: Request) -> str:
        """Take a file out of training, judging and counts; the answer names what learned from it."""
        drop = self._drop(request.model, request.argument("file"))
        if drop.state not in ("recorded", "found", "quarantined", "duplicate"):
            raise Refused(f"{drop.path} is {drop.state} already: {drop.reason}")
        revisions = [each for each in self._journal.drops.listing(request.model) if each.path == drop.path]
        attempts = tuple(dict.fromkeys(name for each in revisions for name in self._journal.drops.attempts_with(each)))
        with self._journal.transaction():
            self._journal.drops.retract(drop, f"{request.by}: {request.why}", self._clock())
            begun_again = [name for name in attempts if self._begin_again(name, drop)]
        versions = self._journal.models.versions_of_attempts(request.model, attempts)
        learned = ", ".join(str(version) for version in versions)
        return (
            f"{drop.path} is retracted: it no longer trains, judges or counts; "
            + (f"versions that learned from it: {learned}" if learned else "no registered version learned from it")
            + "".join(f"; attempt {name} begins again without it" for name in begun_again)
            + "".join(map(self._too_late, attempts))
        )

    def release(self, request: Request) -> str:
        """Let a file in that looked wrong. What cannot be used cannot be let in either, and is inspected again."""
        drop = self._drop(request.model, request.argument("file"))
        if drop.released_at is not None and drop.state in ("found", "recorded"):
            return f"{drop.path} was released by {drop.released_by} already: {drop.released_why}"
        _refuse_unless_quarantined(drop)
        with self._journal.transaction():
            if drop.suspect:
                self._journal.drops.release(drop, request.by, request.why, self._clock())
            elif drop.fingerprint:
                self._journal.drops.look_again(drop, f"{request.by} asked to release it", self._clock())
        if not drop.suspect:
            raise _cannot_be_used(drop)
        _log.info("drop.released", model=drop.model, file=Path(drop.path).name, by=request.by, why=request.why)
        return f"{drop.path} is released: it is inspected once more, and its rows count from then on"

    def _too_late(self, name: str) -> str:
        """Of a promotion that was begun nobody can tell whether it has arrived, so it is not stopped."""
        attempt = self._journal.attempts.get(name)
        if attempt.ended_at is not None or Effect.ALIAS not in attempt.begun:
            return ""
        return (
            f"; attempt {name} is making version {attempt.version} champion already: roll it back once that is done,"
            f" by `retraind rollback {attempt.model}`"
        )

    def _begin_again(self, name: str, drop: DropRow) -> bool:
        """An attempt under way must not promote what learned from the drop. Once the alias moves it is too late."""
        attempt = self._journal.attempts.get(name)
        if attempt.ended_at is not None or Effect.ALIAS in attempt.begun:
            return False
        self._journal.attempts.leave_out(name, drop.id)
        why = f"{Path(drop.path).name} was retracted"
        self._journal.attempts.begin_again(attempt, attempt.champion_version, why, self._clock())
        return True

    def _drop(self, model: str, wanted: str) -> DropRow:
        current = [drop for drop in self._journal.drops.listing(model) if drop.current]
        found = [drop for drop in current if wanted in (drop.path, Path(drop.path).name, str(drop.id))]
        if len(found) == 1:
            return found[0]
        if found:
            raise Refused(f"{wanted} names {len(found)} drops of {model}.", "Give the whole path, or the number.")
        raise NotFound(f"{model} has no drop {wanted}.", f"`retraind drop list {model}` shows them.")


def _refuse_unless_quarantined(drop: DropRow) -> None:
    """Raise Refused, with how the file stands, where there is nothing to let in."""
    if drop.state == "quarantined":
        return
    if drop.state == "recorded":
        raise Refused(f"{drop.path} is not quarantined: its rows count already.")
    if drop.state == "found":
        raise Refused(f"{drop.path} is not quarantined: it waits for its inspection.", "Look at `retraind drop list`.")
    hint = "Drop corrected rows instead." if drop.state == "retracted" else ""
    raise Refused(f"{drop.path} is not quarantined: it is {drop.state}: {drop.reason}.", hint)


def _cannot_be_used(drop: DropRow) -> Refused:
    again = "It is inspected again now, in case that has changed." if drop.fingerprint else ""
    return Refused(
        f"{drop.path} cannot be used as it is, so it cannot be released: {drop.reason}", f"{drop.hint} {again}".strip()
    )
