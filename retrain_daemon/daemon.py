"""The loop: observe, decide, act, until nothing changes; then sleep until something wakes it.

Events only wake it (law 1). What to do is decided in `core`; how it is done lives in `intake`, `act` and `orders`.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from retrain_daemon.act import Acting, Pacing
from retrain_daemon.askers import askers_of
from retrain_daemon.attention import Attention
from retrain_daemon.champions import note_unloadable
from retrain_daemon.core.policy import Policy
from retrain_daemon.core.trust import NOBODY_NAMED, Trust
from retrain_daemon.drops import DropFolders
from retrain_daemon.errors import RegistryUnreachable, RetrainError, StateUnusable
from retrain_daemon.executor.jobs import Executor
from retrain_daemon.folder_looks import FolderLooks
from retrain_daemon.in_force import PoliciesInForce
from retrain_daemon.intake import Intake
from retrain_daemon.journal import Journal
from retrain_daemon.journal.backups import Backups
from retrain_daemon.journal.requests import Request
from retrain_daemon.log import get_logger
from retrain_daemon.measuring import Measuring
from retrain_daemon.news import NOBODY, Announcer, Everyone
from retrain_daemon.orders import Orders
from retrain_daemon.policies import PolicyFolder
from retrain_daemon.policy_watch import PolicyWatch
from retrain_daemon.polling import Polling
from retrain_daemon.registry import Registry
from retrain_daemon.registry_view import RegistryView
from retrain_daemon.reporting import Reporting
from retrain_daemon.schedule import WakeUps
from retrain_daemon.service_manager import ServiceManager
from retrain_daemon.shortage import is_shortage, unusable
from retrain_daemon.standing import Standing
from retrain_daemon.standstill import Standstill
from retrain_daemon.status_line import StatusLine
from retrain_daemon.tending import Around, Tending
from retrain_daemon.upstream import watched_models, with_dependents

#: How often the journal is asked whether the command line wrote to it.
LISTEN_SECONDS = 0.5
#: A turn ends after so many rounds at the latest, so that signals and new events are seen.
ROUNDS_PER_TURN = 200

NO_SERVICE_MANAGER = ServiceManager({})
#: What stands in the place of a model where reports are written.
_REPORTS = "reports"

_log = get_logger()


@dataclass(frozen=True, kw_only=True)
class Gateways:
    """The real things, made by the composition root, or their fakes."""

    journal: Journal
    registry: Registry
    executor: Executor
    folders: DropFolders
    policies: PolicyFolder
    policy_watch: PolicyWatch
    alarms: WakeUps
    backups: Backups


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """How often the registry is polled and all folders are looked into, beside every sign of a change.

    `scatter`, between 0 and 1, spreads the polls of an outage.
    `inspections` run at a time, and as many measurements beside them.
    """

    poll_registry: timedelta = timedelta(seconds=15)
    rescan: timedelta = timedelta(seconds=60)
    pacing: Pacing = field(default_factory=Pacing)
    scatter: Callable[[], float] = random.random
    inspections: int = 2


class Daemon:
    """One daemon for one state folder; its caller holds the lock."""

    def __init__(
        self, gateways: Gateways, state: Path, rhythm: Rhythm, clock: Callable[[], datetime], wake: threading.Event,
        trust: Trust = NOBODY_NAMED, announcer: Announcer = NOBODY,
        service_manager: ServiceManager = NO_SERVICE_MANAGER,
    ) -> None:  # fmt: skip
        self._to = gateways
        self._rhythm = rhythm
        self._clock = clock
        self._wake = wake
        self._service_manager = service_manager
        self._stopping = threading.Event()
        self.standing = Standing(clock(), gateways.journal.attempts.ends())
        self._news = Everyone((self.standing, announcer))
        self._reload_asked = threading.Event()
        self._reloaded = True  # what is in force is what was there at the last reload; the start is one
        self._view = RegistryView(gateways.registry, trust)
        self._intake = Intake(
            gateways.journal, gateways.folders, gateways.executor, state, rhythm.inspections, self._news
        )
        self._measuring = Measuring(
            gateways.executor, askers_of(gateways.journal, self._news), rhythm.inspections,
            lambda model, failed, now: note_unloadable(model, failed, gateways.journal, now),
        )  # fmt: skip
        self._policies = PoliciesInForce(gateways.policies, gateways.journal)
        self._acting = Acting(
            gateways.journal, gateways.registry, self._view, gateways.executor, state, clock, rhythm.pacing, self._news,
            self._policies.find,
        )  # fmt: skip
        self._reporting = Reporting(
            gateways.journal, gateways.executor, state, self._acting.source, self._acting.key, clock
        )
        self._orders = Orders(gateways.journal, gateways.registry, self._view, clock, self._news)
        self._attention = Attention()
        self._looks = FolderLooks(gateways.folders, self._intake, self._attention, gateways.alarms, rhythm.rescan)
        self._tending = Tending(
            Around(
                journal=gateways.journal, registry=gateways.registry, view=self._view, intake=self._intake,
                measuring=self._measuring, acting=self._acting, attention=self._attention, standing=self.standing,
                news=self._news, alarms=gateways.alarms, clock=clock,
            )
        )  # fmt: skip
        self._polling = Polling(self._view, self._news, gateways.alarms, rhythm.poll_registry, rhythm.scatter)
        self._troubles: dict[str, str] = {}
        self._journal_version = -1
        self._begun_at = self._slept_at = clock()
        self._state = state
        self._standstill = Standstill(state)
        self._intake.clear_away()
        self._measuring.clear_away()
        self._acting.clear_away()
        self._reporting.clear_away()

    def run(self) -> None:
        """Turn until `stop` is called, also while the state folder cannot be used."""
        while not self._stopping.is_set():
            taken = self.turn_or_stand_still()
            self._report(whole=taken)
            if taken:
                self._sleep()
        self._service_manager.stopping()

    def run_once(self) -> str:
        """Turn until nothing is under way any more; returns the registry's problem, also one that only workers had; ""
        if it answered.
        """
        while not self._stopping.is_set():
            self.turn()
            self._report()
            if self._idle():
                break
            self._sleep()
        unanswered = filter(self._acting.is_unanswered, self._to.journal.attempts.open())
        return self._polling.problem or next((attempt.reason for attempt in unanswered), "")

    def stop(self) -> None:
        """End `run` after the present step; may be called from a signal handler."""
        self._stopping.set()
        self._wake.set()

    def reload(self) -> None:
        """Read policies, registry and drop folders again at once; may be called from a signal handler."""
        self._service_manager.reloading()
        self._reload_asked.set()
        self._wake.set()

    def turn_or_stand_still(self) -> bool:
        """One turn; whether it could be taken. If not, waits: longer each time, up to half a minute."""
        try:
            self._standstill.check()
            self.turn()
        except (StateUnusable, OSError) as error:
            if isinstance(error, OSError) and not is_shortage(error):
                raise
            self._stand_still(unusable(error, self._state) if isinstance(error, OSError) else error)
            return False
        if self._standstill.end(self._clock()):
            self._look_at_everything()
            self._wake.set()
        return True

    def _stand_still(self, error: StateUnusable) -> None:
        left = self._standstill.begin(error, self._clock())
        while left > 0 and not self._stopping.wait(min(left, LISTEN_SECONDS)):
            left -= LISTEN_SECONDS

    def turn(self) -> None:
        """Observe, decide and act until nothing changes; then publish how things stand."""
        began = self._clock()
        try:
            self._turn()
        except StateUnusable as error:
            self.standing.give_up(str(error))
            raise
        now = self._clock()
        workers = len(self._to.executor.running())
        took, outage, problem = (now - began).total_seconds(), self._polling.outage_since, self._polling.problem
        self.standing.publish(now, took, workers, outage, problem)

    def _turn(self) -> None:
        self._wake.clear()
        self._take_up_reload()
        self._note_writers()
        self._look_around()
        for _ in range(ROUNDS_PER_TURN):
            if self._stopping.is_set() or not self._round():
                return
        self._wake.set()

    def _note_writers(self) -> None:
        """What another process wrote to the journal may concern any model."""
        before, self._journal_version = self._journal_version, self._to.journal.changed_elsewhere()
        if self._journal_version != before:
            self._attention.call_everyone()

    def _take_up_reload(self) -> None:
        if self._reload_asked.is_set():
            self._reload_asked.clear()
            _log.info("daemon.reloading")
            self._reloaded = True
            self._look_at_everything()

    def _report(self, *, whole: bool = True) -> None:
        """A turn is finished: the only sign of life. One that could not be taken as a whole, as the state folder cannot
        be used, is one too. A reload that was asked for meanwhile is not yet done.
        """
        self._service_manager.turned()
        self._service_manager.status(self._status(whole).sentence)
        if whole and self._reloaded and not self._reload_asked.is_set():
            self._reloaded = False
            self._service_manager.ready()

    def _status(self, whole: bool) -> StatusLine:
        attempts = self._to.journal.attempts.open() if whole else ()
        return StatusLine(
            models=len(self._policies.of),
            attempts=tuple(attempt.id for attempt in attempts),
            workers=len(self._to.executor.running()),
            registry=self._polling.problem,
            state=self._standstill.problem,
            policy_files=self._policies.wrong_files(),
            troubles=tuple(self._troubles),
            unwatched=self._looks.is_unwatched(),
        )

    def _look_around(self) -> None:
        """Everything that is read from outside, each when it is due."""
        now = self._clock()
        self._to.backups.tend(now)
        self._take_up_policies(now)
        self._to.alarms.due()
        if self._polling.is_due(now):
            self._poll_registry(now)
            self._take_up_policies(now)  # models of fleets may have come or gone
        self._looks.look(self._policies.of.values(), self._clock())
        self._to.alarms.at("templates", self._to.executor.close_unused(self._clock()))

    def _take_up_policies(self, now: datetime) -> None:
        self._to.policy_watch.look()
        change = self._policies.refresh(now, self._view.listing)
        if change is None:
            return
        self._to.policy_watch.follow(self._to.policies.files)
        self._intake.forget(change.retired)
        self._measuring.forget(change.retired)
        self.standing.forget(change.retired)
        if change.edited:
            self._looks.watch(self._policies.of.values())
            self._look_at_everything()
        elif change.retired or change.loaded:
            self._looks.watch(self._policies.of.values())
            self._attention.call(change.loaded)

    def _look_at_everything(self) -> None:
        """At the next turn, whatever was told: signs of changes may have been lost, or mean something else now."""
        self._polling.hurry()
        self._looks.look_everywhere()
        self._attention.call_everyone()

    def _poll_registry(self, now: datetime) -> None:
        under_way = {attempt.model for attempt in self._to.journal.attempts.open()}
        models = under_way | watched_models(self._policies.of.values())
        if self._polling.poll(models, self._policies.patterns, self._clock):
            self._attention.call_everyone()
        elif not self._polling.problem:
            self._attention.polled()
        self._forget_tag_requests(now)

    def _forget_tag_requests(self, now: datetime) -> None:
        for model in self._to.journal.models.with_tag_request_taken():
            if model in self._policies.of and self._view.wants_retrain(model) is False:
                self._to.journal.models.mark_tag_request(model, False, now)

    def _round(self) -> bool:
        """One pass over orders, attempts and models; returns whether anything changed. What fails for one model never
        keeps the others from their turn; a journal that cannot be used stops everything.
        """
        changed = False
        troubles: dict[str, str] = {}
        for model, step in self._steps():
            try:
                if not step():
                    continue
                changed = True
            except RegistryUnreachable as error:
                self._polling.lost(str(error), self._clock())
            except StateUnusable:
                self._attention.call_everyone()
                raise
            except RetrainError as error:
                troubles.setdefault(model, str(error))
            if model != _REPORTS:
                self._attention.stir(model)
        self._note_troubles(troubles)
        self._polling.round_is_over(self._clock())
        self._attention.call(seen := self._take_changed())
        return changed or bool(seen)

    def _steps(self) -> Iterator[tuple[str, Callable[[], bool]]]:
        """What a pass consists of, each step with its model; each kind is read after the one before it is done."""
        journal = self._to.journal
        called = self._called()
        for policy in called:
            yield policy.model, partial(self._finish_rollback, policy)
        for policy in called:
            yield policy.model, partial(self._tending.note_made_anew, policy)
        for request in journal.requests.open():
            yield request.model, partial(self._serve, request)
        for attempt in journal.attempts.open():
            yield attempt.model, partial(self._advance, attempt.id)
        for policy in called:
            yield policy.model, partial(self._tending.tend, policy)
        yield _REPORTS, self._reporting.step

    def _called(self) -> list[Policy]:
        """Policies of models of which something may have changed."""
        now = self._clock()
        waiting = self._intake.waiting(now) | self._measuring.waiting(now)
        called = self._attention.take(self._policies.of, self._take_changed() | waiting, now)
        return [policy for model, policy in self._policies.of.items() if model in called]

    def _take_changed(self) -> frozenset[str]:
        """Models of which the registry says something new, and those that depend on them."""
        return with_dependents(self._view.take_changed(), self._policies.of.values())

    def _note_troubles(self, troubles: dict[str, str]) -> None:
        """Said once for each reason, not at each look."""
        for model, reason in troubles.items():
            if self._troubles.get(model) != reason:
                _log.error("model.trouble", model=model, reason=reason)
        self._troubles = troubles

    def _serve(self, request: Request) -> bool:
        return self._orders.serve(request, self._policies.of.get(request.model))

    def _finish_rollback(self, policy: Policy) -> bool:
        """What a crash or an outage left of a rollback."""
        rollback = self._to.journal.rollbacks.open(policy.model)
        if rollback is None:
            return False
        try:
            self._orders.finish_rollback(rollback, policy)
        except RegistryUnreachable:
            raise
        except RetrainError as error:
            _log.warning("rollback.overtaken", model=policy.model, reason=str(error))
        return True

    def _advance(self, name: str) -> bool:
        """Read now: an earlier step of the round may have it begin again."""
        attempt = self._to.journal.attempts.get(name)
        after = self._acting.advance(attempt) if attempt.ended_at is None else None
        if after is not None:
            self._to.alarms.at(name, after.due_at)
        elif attempt.awaits_approval and attempt.asked is not None:
            self._to.alarms.at(name, attempt.asked.expires_at)
        return after is not None

    def _idle(self) -> bool:
        """Nothing is under way that this pass could bring to an end."""
        if self._to.executor.running() or self._intake.busy() or self._measuring.busy() or self._reporting.busy():
            return False
        if self._looks.is_settling() and not self._patience_is_over():
            return False
        return self._polling.problem != "" or all(map(self._acting.is_stuck, self._to.journal.attempts.open()))

    def _patience_is_over(self) -> bool:
        """A file that goes on growing does not keep a single pass from ending."""
        longest = max(policy.data.complete.settle or timedelta(0) for policy in self._policies.of.values())
        return self._clock() > self._begun_at + 3 * longest

    def _sleep(self) -> None:
        """Until something wakes the loop; alarms, drops and workers set the event, the command line writes a row. A
        watchdog waits for the next turn: it comes in time for that.
        """
        again = (self._intake.next_due(), self._measuring.next_due(), self._reporting.next_due())
        self._to.alarms.at("look again", min((moment for moment in again if moment), default=None))
        self._slept_at = self._clock()
        latest = time.monotonic() + self._service_manager.pause
        while not self._wake.wait(LISTEN_SECONDS) and time.monotonic() < latest:
            if self._heard():
                return

    def _heard(self) -> bool:
        """Whether the journal was written to by someone else, or cannot be asked: the next turn says why. Also when
        policies may have been edited, and when the clock was set back, as alarms then come late.
        """
        if self._clock() < self._slept_at or self._to.policy_watch.hears():
            return True
        try:
            return self._to.journal.changed_elsewhere() != self._journal_version
        except StateUnusable:
            return True
