"""The loop: observe, decide, act, until nothing changes; then sleep until something wakes it.

Events only wake it (law 1). What to do is decided in `core`; how it is done lives in `intake`, `act` and `orders`.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from retrain_daemon.act import Acting, Pacing
from retrain_daemon.attention import Attention
from retrain_daemon.champions import note_champion, note_made_anew, note_offered
from retrain_daemon.core.decide import Action, Decision, decide
from retrain_daemon.core.evidence import Challenger
from retrain_daemon.core.facts import Champion, ChampionState, Offered
from retrain_daemon.core.policy import Mode, Policy
from retrain_daemon.core.trust import NOBODY_NAMED, Trust
from retrain_daemon.drops import DropFolders
from retrain_daemon.errors import NotFound, Refused, RegistryUnreachable, RetrainError, StateUnusable
from retrain_daemon.executor import Executor
from retrain_daemon.folder_looks import FolderLooks
from retrain_daemon.intake import Intake
from retrain_daemon.journal import Journal
from retrain_daemon.journal.backups import Backups
from retrain_daemon.journal.requests import Request
from retrain_daemon.log import get_logger
from retrain_daemon.news import NOBODY, Announcer, Everyone, News
from retrain_daemon.observe import RegistryView, gather
from retrain_daemon.orders import Orders
from retrain_daemon.outage import LONGEST_PAUSE, Outage
from retrain_daemon.policies import PolicyFolder, PolicySet
from retrain_daemon.registry import Registry
from retrain_daemon.schedule import WakeUps, is_due
from retrain_daemon.service_manager import ServiceManager
from retrain_daemon.shortage import is_shortage, unusable
from retrain_daemon.standing import Standing
from retrain_daemon.standstill import Standstill
from retrain_daemon.status_line import StatusLine

#: How often the journal is asked whether the command line wrote to it.
LISTEN_SECONDS = 0.5
#: A turn ends after so many rounds at the latest, so that signals and new events are seen.
ROUNDS_PER_TURN = 200
#: What someone is told when it becomes the reason for waiting, by the code of the decision.
_TOLD = {"too_many_failures": "held", "champion_lost": "champion_lost"}

NO_SERVICE_MANAGER = ServiceManager({})

_log = get_logger()


@dataclass(frozen=True, kw_only=True)
class Gateways:
    """The real things, made by the composition root, or their fakes."""

    journal: Journal
    registry: Registry
    executor: Executor
    folders: DropFolders
    policies: PolicyFolder
    alarms: WakeUps
    backups: Backups


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """How often the registry is polled and all folders are looked into, beside every sign of a change.

    `scatter`, between 0 and 1, spreads the polls of an outage.
    `inspections` run at a time.
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
        self._told: dict[str, str] = {}
        self._reload_asked = threading.Event()
        self._reloaded = True  # what is in force is what was there at the last reload; the start is one
        self._view = RegistryView(gateways.registry, trust)
        self._intake = Intake(
            gateways.journal, gateways.folders, gateways.executor, state, rhythm.inspections, self._news
        )
        self._acting = Acting(
            gateways.journal, gateways.registry, self._view, gateways.executor, state, clock, rhythm.pacing, self._news
        )
        self._orders = Orders(gateways.journal, gateways.registry, self._view, clock, self._news)
        self._attention = Attention()
        self._looks = FolderLooks(gateways.folders, self._intake, self._attention, gateways.alarms, rhythm.rescan)
        self._policies: dict[str, Policy] = {}
        self._next_poll = datetime.min.replace(tzinfo=clock().tzinfo)
        self._outage = Outage()
        self._answers_polls = False  # in an outage that is over if the next round is answered as well
        self._problem = ""
        self._bad_files: set[str] = set()
        self._troubles: dict[str, str] = {}
        self._journal_version = -1
        self._begun_at = self._slept_at = clock()
        self._state = state
        self._standstill = Standstill(state)
        self._reload_due = False
        self._intake.clear_away()
        self._acting.clear_away()

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
        return self._problem or next((attempt.reason for attempt in unanswered), "")

    def stop(self) -> None:
        """End `run` after the present step; may be called from a signal handler."""
        self._stopping.set()
        self._wake.set()

    def reload(self) -> None:
        """Read policies, registry and drop folders again at once; may be called from a signal handler."""
        self._service_manager.reloading()
        self._reload_asked.set()
        self._wake.set()

    @property
    def degraded(self) -> str:
        """Why it does less than it should; "" when all is well."""
        return self._standstill.problem or self._problem

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
            self._next_poll = self._clock()  # signs of changes may have been lost meanwhile
            self._looks.look_everywhere()
            self._attention.call_everyone()
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
        self.standing.publish(now, (now - began).total_seconds(), workers, self._outage.since, self._problem)

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
            self._next_poll = self._clock()
            self._looks.look_everywhere()
            self._attention.call_everyone()

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
            models=len(self._policies),
            attempts=tuple(attempt.id for attempt in attempts),
            workers=len(self._to.executor.running()),
            registry=self._problem,
            state=self._standstill.problem,
            policy_files=tuple(sorted(Path(file).name for file in self._bad_files)),
            troubles=tuple(self._troubles),
            unwatched=self._looks.is_unwatched(),
        )

    def _look_around(self) -> None:
        """Everything that is read from outside, each when it is due."""
        now = self._clock()
        self._to.backups.tend(now)
        self._reload(self._to.policies.refresh(), now)
        self._to.alarms.due()
        if is_due(self._next_poll, max(self._rhythm.poll_registry, LONGEST_PAUSE), now):
            self._poll_registry(now)
        self._looks.look(self._policies.values(), self._clock())
        self._to.alarms.at("templates", self._to.executor.close_unused(self._clock()))

    def _reload(self, found: PolicySet, now: datetime) -> None:
        if not (found.changed or self._reload_due):
            return
        self._reload_due = True
        for policy in found.policies:
            if self._policies.get(policy.model) != policy:
                self._to.journal.models.ensure(policy.model, policy.source, policy.alias, now)
        self._reload_due = False
        bad = {problem.file for problem in found.problems}
        for file in sorted(self._bad_files - bad):
            _log.info("policy.mended", file=file)
        self._bad_files = bad
        for problem in found.problems:
            _log.error("policy.problem", file=problem.file, line=problem.line, column=problem.column,
                       problem=f"{problem.message} {problem.hint}".strip())  # fmt: skip
        for kept in found.kept:
            _log.warning("policy.kept", file=kept, reason="its last good version stays in force")
        before, self._policies = self._policies, {policy.model: policy for policy in found.policies}
        retired = before.keys() - self._policies.keys()
        self._intake.forget(retired)
        self.standing.forget(retired)
        for model in retired:
            _log.info("policy.retired", model=model, file=before[model].source)
        for policy in found.policies:
            if before.get(policy.model) != policy:
                _log.info("policy.loaded", model=policy.model, file=policy.source, digest=policy.digest[:12])
        self._looks.watch(found.policies)
        self._attention.call_everyone()
        self._next_poll = now

    def _poll_registry(self, now: datetime) -> None:
        before = self._view.problem
        under_way = {attempt.model for attempt in self._to.journal.attempts.open()}
        self._view.poll(sorted(under_way | self._policies.keys()))
        self._note_poll(self._view.problem, self._clock())
        if self._view.problem != before:
            self._attention.call_everyone()
        elif not self._view.problem:
            self._attention.polled()
        self._forget_tag_requests(now)

    def _note_poll(self, problem: str, now: datetime) -> None:
        """One that is answered ends no outage by itself: a registry may still answer questions and take nothing in."""
        self._answers_polls = not problem and self._outage.since is not None
        if self._answers_polls:
            self._outage = self._outage.answered()
            self._ask_again(now)
        else:
            self._note_registry(problem, now)

    def _note_registry(self, problem: str, now: datetime) -> None:
        """Whether it answered, and when it is asked again."""
        self._problem = problem
        if problem and self._outage.since is None:
            _log.error("registry.unreachable", problem=problem)
            self._news.tell(News(occasion="registry_lost", at=now, reason=problem))
        elif not problem and self._outage.since is not None:
            _log.info("registry.recovered", seconds=round(self._outage.lasted(now).total_seconds(), 1))
            self._news.tell(News(occasion="registry_back", at=now))
        self._outage = self._outage.goes_on(now) if problem else Outage()
        self._ask_again(now)

    def _ask_again(self, now: datetime) -> None:
        self._next_poll = self._outage.next_poll(now, self._rhythm.poll_registry, self._rhythm.scatter())
        self._to.alarms.at("registry", self._next_poll)

    def _forget_tag_requests(self, now: datetime) -> None:
        for model in self._to.journal.models.with_tag_request_taken():
            if model in self._policies and self._view.wants_retrain(model) is False:
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
                self._lost_registry(error)
            except StateUnusable:
                self._attention.call_everyone()
                raise
            except RetrainError as error:
                troubles.setdefault(model, str(error))
            self._attention.stir(model)
        self._note_troubles(troubles)
        if self._answers_polls:
            self._answers_polls = False
            self._note_registry("", self._clock())
        self._attention.call(seen := self._view.take_changed())
        return changed or bool(seen)

    def _steps(self) -> Iterator[tuple[str, Callable[[], bool]]]:
        """What a pass consists of, each step with its model; each kind is read after the one before it is done."""
        journal = self._to.journal
        called = self._called()
        for policy in called:
            yield policy.model, partial(self._finish_rollback, policy)
        for policy in called:
            yield policy.model, partial(self._note_made_anew, policy)
        for request in journal.requests.open():
            yield request.model, partial(self._serve, request)
        for attempt in journal.attempts.open():
            yield attempt.model, partial(self._advance, attempt.id)
        for policy in called:
            yield policy.model, partial(self._tend, policy)

    def _called(self) -> list[Policy]:
        """Policies of models of which something may have changed."""
        now = self._clock()
        called = self._attention.take(self._policies, self._view.take_changed() | self._intake.waiting(now), now)
        return [policy for model, policy in self._policies.items() if model in called]

    def _note_troubles(self, troubles: dict[str, str]) -> None:
        """Said once for each reason, not at each look."""
        for model, reason in troubles.items():
            if self._troubles.get(model) != reason:
                _log.error("model.trouble", model=model, reason=reason)
        self._troubles = troubles

    def _lost_registry(self, error: RegistryUnreachable) -> None:
        """Asked again at the next poll; everything else goes on meanwhile."""
        self._answers_polls = False
        if not self._problem:
            self._note_registry(str(error), self._clock())

    def _serve(self, request: Request) -> bool:
        return self._orders.serve(request, self._policies.get(request.model))

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
        if after is None:
            return False
        self._to.alarms.at(name, after.due_at)
        return True

    def _tend(self, policy: Policy) -> bool:
        """One model: who is champion, which drops are there, and whether to train."""
        now = self._clock()
        row = self._to.journal.models.ensure(policy.model, policy.source, policy.alias, now)
        champion = self._view.champion(policy, row.champion_seen)
        note_champion(policy, champion, self._to.journal, self._to.registry, now)
        if champion.state is ChampionState.FOUND:
            changed = self._intake.inspect(policy, self._acting.source(policy.model, champion.version), now)
        else:
            changed = self._intake.give_way(policy.model, now)
        self._note_offered(policy, champion, now)
        problem = self._intake.problems.get(policy.model, "")
        facts = gather(policy, self._to.journal, self._view, now, problem)
        decision = decide(policy, facts, now)
        self.standing.note(facts, decision, now)
        self._tell_decision(policy.model, decision, now)
        self._attention.settle(policy.model, facts.champion, decision)
        if decision.action is Action.TRAIN and champion.version is not None:
            self._plan(policy, decision, champion.version, now)
            return True
        if decision.action is Action.JUDGE and champion.version is not None and facts.offered is not None:
            self._plan_offered(policy, decision, champion.version, facts.offered, now)
            return True
        if decision.code != "attempt_open":
            self._note_decision(policy.model, decision, now)
        self._to.alarms.at(f"decide {policy.model}", decision.until)
        return changed

    def _note_made_anew(self, policy: Policy) -> bool:
        """Before any attempt moves on: a version that only has the number of one that is known is nobody's yet."""
        row = self._to.journal.models.find(policy.model)
        champion = self._view.champion(policy, row.champion_seen if row else None)
        if champion.state not in (ChampionState.FOUND, ChampionState.UNTRUSTED):
            return False
        changed = False
        for version in (champion.version, champion.challenger):
            if version is None:
                continue
            with suppress(NotFound, Refused):
                made = self._view.created_at(policy.model, version)
                changed = note_made_anew(policy, version, made, self._to.journal, self._clock()) or changed
        return changed

    def _note_offered(self, policy: Policy, champion: Champion, now: datetime) -> None:
        """What a person's challenger learned is recorded as unknown before anything is asked about it."""
        if champion.state is not ChampionState.FOUND:
            return
        offered = self._view.offered(policy, champion)
        if offered is not None and not offered.obstacle:
            note_offered(policy, offered, self._view.created_at(policy.model, offered.version), self._to.journal, now)

    def _note_decision(self, model: str, decision: Decision, now: datetime) -> None:
        """Journaled and logged once for each kind of reason, not at each look."""
        before = self._to.journal.attempts.standing_decision(model)
        self._to.journal.attempts.note(model, decision, now)
        if decision.offered and (before is None or before.offered != decision.offered):
            _log.info("challenger.waiting", model=model, code=decision.offered_code, reason=decision.offered)
        if before is None or before.code != decision.code:
            _log.info("decision.wait", model=model, code=decision.code, reason=decision.sentence)

    def _tell_decision(self, model: str, decision: Decision, now: datetime) -> None:
        """Once for each time it becomes the reason; neither an outage nor a restart in between makes it news again."""
        if decision.code in ("registry_unknown", "attempt_open"):
            return
        occasion = _TOLD.get(decision.code)
        if occasion is not None and model not in self._told:
            standing = self._to.journal.attempts.standing_decision(model)
            self._told[model] = standing.code if standing else ""
        told, self._told[model] = self._told.get(model), decision.code
        if occasion is not None and told != decision.code:
            self._news.tell(News(occasion=occasion, at=now, model=model, reason=decision.sentence))

    def _plan(self, policy: Policy, decision: Decision, champion: int, now: datetime) -> None:
        """Decision, attempt, frozen champion, frozen drops and the request that is answered: one transaction."""
        journal = self._to.journal
        assert decision.recipe is not None
        continues = None if decision.recipe.mode is Mode.REFIT else champion
        with journal.transaction():
            drops = [drop.id for drop in journal.drops.in_use(policy.model)]
            attempt = journal.attempts.plan(policy, decision, champion, continues, drops, now)
            if decision.request == "tag":
                journal.models.mark_tag_request(policy.model, True, now)
            elif decision.request is not None:
                journal.requests.answer(int(decision.request), 0, f"attempt {attempt.id}", now)
        _log.info(
            "decision.train", model=policy.model, attempt=attempt.id, rule=decision.rule, reason=decision.sentence
        )

    def _plan_offered(self, policy: Policy, decision: Decision, champion: int, offered: Offered, now: datetime) -> None:
        """A person's challenger is judged as ours are; the frozen drops are those whose held-out rows may judge."""
        challenger = Challenger(
            run_id=offered.run_id,
            model_uri=f"models:/{policy.model}/{offered.version}",
            digest="",
            learned_file="",
            training_rows=0,
            offered=offered.version,
        )
        journal = self._to.journal
        with journal.transaction():
            drops = [drop.id for drop in journal.drops.in_use(policy.model)]
            attempt = journal.attempts.plan(policy, decision, champion, None, drops, now, challenger)
        _log.info("decision.judge", model=policy.model, attempt=attempt.id, version=offered.version,
                  reason=decision.sentence)  # fmt: skip

    def _idle(self) -> bool:
        """Nothing is under way that this pass could bring to an end."""
        if self._to.executor.running() or self._intake.busy():
            return False
        if self._looks.is_settling() and not self._patience_is_over():
            return False
        return self._problem != "" or all(map(self._acting.is_stuck, self._to.journal.attempts.open()))

    def _patience_is_over(self) -> bool:
        """A file that goes on growing does not keep a single pass from ending."""
        longest = max(policy.data.complete.settle or timedelta(0) for policy in self._policies.values())
        return self._clock() > self._begun_at + 3 * longest

    def _sleep(self) -> None:
        """Until something wakes the loop; alarms, drops and workers set the event, the command line writes a row. A
        watchdog waits for the next turn: it comes in time for that.
        """
        self._to.alarms.at("look again", self._intake.next_due())
        self._slept_at = self._clock()
        latest = time.monotonic() + self._service_manager.pause
        while not self._wake.wait(LISTEN_SECONDS) and time.monotonic() < latest:
            if self._heard():
                return

    def _heard(self) -> bool:
        """Whether the journal was written to by someone else, or cannot be asked: the next turn says why. Also when the
        clock was set back, as alarms then come late.
        """
        try:
            return self._clock() < self._slept_at or self._to.journal.changed_elsewhere() != self._journal_version
        except StateUnusable:
            return True
