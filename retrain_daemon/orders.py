"""Orders: what people ask for through the command line, carried out by whoever holds the state folder's lock.

The daemon takes orders from the journal; without a daemon the command line takes the lock and does the same here.
Those about dropped files are in `drop_orders.py`, answers to verdicts that wait for a person in `approvals.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from retrain_daemon.approvals import ApprovalOrders
from retrain_daemon.champions import note_champion, note_made_anew, set_previous
from retrain_daemon.core.attempts import Effect, State
from retrain_daemon.core.facts import ChampionState
from retrain_daemon.core.policy import PREVIOUS_ALIAS, Policy, unit_of
from retrain_daemon.drop_orders import DropOrders
from retrain_daemon.errors import NotFound, Refused, RegistryUnreachable, RetrainError
from retrain_daemon.journal import Journal
from retrain_daemon.journal.models import Lineage
from retrain_daemon.journal.requests import WATCH, Request
from retrain_daemon.journal.rollbacks import Rollback
from retrain_daemon.journal.tenures import How
from retrain_daemon.labels import REPLACES_TAG, ROLLED_BACK_TAG
from retrain_daemon.log import get_logger
from retrain_daemon.news import NOBODY, Announcer, News
from retrain_daemon.registry import Registry
from retrain_daemon.registry_view import RegistryView

_log = get_logger()


class Orders:
    """Carries orders out; each is journaled before and after, and finished after a crash."""

    def __init__(
        self, journal: Journal, registry: Registry, view: RegistryView, clock: Callable[[], datetime],
        announcer: Announcer = NOBODY,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._registry = registry
        self._view = view
        self._clock = clock
        self._announcer = announcer
        self._drop_orders = DropOrders(journal, clock)
        self._approval_orders = ApprovalOrders(journal, clock)

    def serve(self, request: Request, policy: Policy | None) -> bool:
        """Carry out one request and journal the answer; False when it stays open (a retrain waits to be planned).

        An order the registry does not answer to is refused, so that it is not carried out hours later on another
        champion. What it had begun by then is finished.
        """
        if request.verb == "retrain":
            return False
        code = 0
        try:
            answer = self._carry_out(request, policy)
        except RetrainError as error:
            if isinstance(error, RegistryUnreachable) and WATCH in request.arguments:
                raise  # nobody waits for the answer, and it is about one version only
            code, answer = error.exit_code, str(error)
            if self._journal.rollbacks.open(request.model) is not None:
                answer += " The rollback was begun and is finished as soon as MLflow answers."
        self._journal.requests.answer(request.id, code, answer, self._clock())
        _log.info("order.answered", model=request.model, verb=request.verb, by=request.by, code=code,
                  answer=answer)  # fmt: skip
        if code and WATCH in request.arguments:
            self._tell_not_rolled_back(request, answer)
        return True

    def _carry_out(self, request: Request, policy: Policy | None) -> str:
        match request.verb:
            case "pause":
                return self._pause(request)
            case "resume":
                return self._resume(request)
            case "retract":
                return self._drop_orders.retract(request)
            case "release":
                return self._drop_orders.release(request)
            case "rollback" if WATCH in request.arguments:
                return self._roll_back_worse(request, _needed(policy, request))
            case "approve" | "reject":
                return self._approval_orders.answer(request, policy)
            case "rollback":
                return self._rollback(request, _needed(policy, request))
            case "adopt":
                return self._adopt(request, _needed(policy, request))
            case other:
                raise Refused(f"the journal holds a request “{other}”, which this version does not know.")

    def _pause(self, request: Request) -> str:
        self._watched(request.model)
        self._journal.models.hold(request.model, request.by, request.why, self._clock())
        return f"{request.model} is paused: nothing starts and no alias moves until `retraind resume {request.model}`"

    def _resume(self, request: Request) -> str:
        self._watched(request.model)
        self._journal.models.resume(request.model, self._clock())
        return f"{request.model} is resumed"

    def _watched(self, model: str) -> None:
        if self._journal.models.find(model) is None:
            raise NotFound(f"the daemon has never watched a model {model}.", "`retraind status` lists those it has.")

    def _adopt(self, request: Request, policy: Policy) -> str:
        """Point the alias at a version where there is no champion, and record what the champion learned from."""
        said = []
        if "version" in request.arguments:
            said.append(self._set_first_champion(policy, int(request.argument("version")), request))
        if "learned_file" in request.arguments:
            said.append(self._record_learned(policy, request))
        return "; ".join(said)

    def _set_first_champion(self, policy: Policy, version: int, request: Request) -> str:
        row = self._journal.models.ensure(policy.model, policy.source, policy.alias, self._clock())
        champion = self._view.champion(policy, row.champion_seen, fresh=True)
        if champion.state is ChampionState.UNKNOWN:
            raise RegistryUnreachable(champion.detail)
        loads = champion.version is None or champion.version != row.unloadable
        if champion.state is ChampionState.FOUND and champion.version != version and loads:
            raise Refused(
                f"{policy.model} has a champion, version {champion.version}.",
                "Move the alias in MLflow if you mean to replace it: a person's move always wins.",
            )
        if untrusted := self._view.untrusted(policy.model, version):
            raise Refused(f"{untrusted}.", "Add its author to trust.users, or adopt another version.")
        self._view.outdate(policy.model)
        self._registry.set_alias(policy.model, policy.alias, version)
        if row.champion_seen not in (None, version):
            set_previous(policy.model, row.champion_seen, self._journal, self._registry)
        how = How.FOUND if row.champion_seen is None else How.MOVED
        with self._journal.transaction():
            self._journal.see_champion(policy.model, version, how, self._clock())
            self._journal.models.try_again(policy.model, self._clock())
        _log.info("champion.adopted", model=policy.model, version=version, by=request.by)
        return f"alias {policy.alias} of {policy.model} points to version {version}"

    def _record_learned(self, policy: Policy, request: Request) -> str:
        row = self._journal.models.ensure(policy.model, policy.source, policy.alias, self._clock())
        champion = self._view.champion(policy, row.champion_seen, fresh=True)
        if champion.state is not ChampionState.FOUND or champion.version is None:
            raise Refused(champion.detail or f"{policy.model} has no champion whose learning could be recorded.")
        if champion.version != int(request.argument("champion")):
            raise Refused(f"version {request.arguments['champion']} of {policy.model} is not the champion any more.")
        assert champion.created_at is not None
        note_made_anew(policy, champion.version, champion.created_at, champion.version, self._journal, self._clock())
        known = self._journal.models.lineage(policy.model, champion.version)
        if known is not None and known.attempt is not None:
            raise Refused(
                f"version {champion.version} of {policy.model} was trained by attempt {known.attempt}: what it learned"
                " is recorded already.",
                "Only what others trained can be recorded.",
            )
        lineage = Lineage(
            version=champion.version,
            continues=None,
            learned_file=request.argument("learned_file"),
            unknown_until=None,
            attempt=None,
            fingerprints=tuple(filter(None, request.argument("fingerprints").split(","))),
            unit=unit_of(policy.data),
            created_at=champion.created_at,
        )
        self._journal.models.record_lineage(policy.model, lineage, self._clock())
        rows = int(request.argument("rows"))
        return f"version {champion.version} of {policy.model} is recorded to have learned from {rows:,} rows"

    def _rollback(self, request: Request, policy: Policy) -> str:
        row = self._journal.models.ensure(policy.model, policy.source, policy.alias, self._clock())
        champion = self._view.champion(policy, row.champion_seen, fresh=True)
        if champion.state is ChampionState.UNKNOWN:
            raise RegistryUnreachable(champion.detail)
        # A rollback loads nothing, so it goes back from a version of anybody.
        at_version = champion.state in (ChampionState.FOUND, ChampionState.UNTRUSTED)
        if not at_version or champion.version is None:
            raise Refused(f"there is nothing to roll back from: {champion.detail}.")
        begun = self._journal.rollbacks.open(policy.model)
        if begun is not None:
            return self.finish_rollback(begun, policy)
        if champion.version != int(request.argument("champion")):
            raise Refused(
                f"the champion of {policy.model} is version {champion.version}, not {request.arguments['champion']} any"
                " more.",
                "Ask again if you mean this one.",
            )
        backs = self._journal.rollbacks.of_model(policy.model)
        if row.hold is not None and backs and backs[-1].target == champion.version:
            raise Refused(
                f"{policy.model} is paused since it was rolled back to version {champion.version}.",
                f"To go back one version more, first `retraind resume {policy.model}`.",
            )
        note_champion(policy, champion, self._journal, self._registry, self._clock())
        self._end_promotion(policy, champion.version, request)
        target = self._target(policy, champion.version)
        with self._journal.transaction():
            rollback = self._journal.rollbacks.begin(
                policy.model, policy.alias, champion.version, target, request.by, request.why, self._clock()
            )
            for attempt in self._journal.attempts.open(policy.model):
                why = f"begins again from version {target}, as {champion.version} was rolled back"
                self._journal.attempts.begin_again(attempt, target, why, self._clock())
        return self.finish_rollback(rollback, policy)

    def _roll_back_worse(self, request: Request, policy: Policy) -> str:
        """What the daemon asks for itself. One that was done before a crash, or that a person was faster with, is done;
        a person who paused the model meanwhile decides.
        """
        was = int(request.argument("champion"))
        for back in self._journal.rollbacks.of_model(policy.model):
            if back.was == was and back.begun_at >= request.asked_at and back.ended_at is not None:
                return back.outcome
        row = self._journal.models.find(policy.model)
        if row is not None and row.hold is not None:
            raise Refused(f"{policy.model} was paused by {row.hold.by} meanwhile.")
        return self._rollback(request, policy)

    def _end_promotion(self, policy: Policy, champion: int, request: Request) -> None:
        """A promotion that a crash cut short must not go on after the rollback."""
        for attempt in self._journal.attempts.open(policy.model):
            if Effect.ALIAS not in attempt.begun:
                continue
            moved = attempt.version == champion
            state = State.PROMOTED if moved else State.REJECTED
            reason = attempt.reason if moved else f"rolled back by {request.by} before the alias had moved"
            now = self._clock()
            self._journal.attempts.conclude(attempt, state, reason, champion, now)
            self._announcer.tell(
                News(occasion=state.value, at=now, model=attempt.model, attempt=attempt.id, version=champion,
                     was=attempt.champion_version or None, reason=reason)
            )  # fmt: skip

    def _target(self, policy: Policy, champion: int) -> int:
        """From the journal, else the tag, else `previous_champion`; it must exist."""
        target = self._promoted_over(policy.model, champion)
        version = self._registry.version(policy.model, champion)
        if target is None and version.tags.get(REPLACES_TAG, "").isdecimal():
            target = int(version.tags[REPLACES_TAG])
        if target is None:
            target = self._registry.models([policy.model])[policy.model].aliases.get(PREVIOUS_ALIAS)
        if target is None or target == champion:
            raise Refused(
                f"it is not known what was champion of {policy.model} before version {champion}.",
                "Move the alias in MLflow to the version you want.",
            )
        self._refuse_gone(policy.model, target, champion)
        if self._was_rolled_back(policy.model, target):
            raise Refused(
                f"version {target} of {policy.model} was itself rolled back.",
                "Move the alias in MLflow if you want it all the same.",
            )
        return target

    def _refuse_gone(self, model: str, target: int, champion: int) -> None:
        known = self._journal.models.lineage(model, target)
        made = None if known is None else known.created_at
        try:
            there = made in (None, self._registry.version(model, target).created_at)
        except NotFound:
            there = False
        if not there:
            raise Refused(
                f"version {target} of {model}, which was champion before version {champion}, was deleted.",
                "Move the alias in MLflow to the version you want: a person's move is final.",
            )

    def _was_rolled_back(self, model: str, version: int) -> bool:
        """Whether its last time as champion ended in a rollback: a promotion later than that is a new start."""
        if ROLLED_BACK_TAG not in self._registry.version(model, version).tags:
            return False
        rollbacks = [back.begun_at for back in self._journal.rollbacks.of_model(model) if back.was == version]
        promoted = [
            attempt.ended_at
            for attempt in self._journal.attempts.of_model(model, limit=1000)
            if attempt.state is State.PROMOTED and attempt.version == version and attempt.ended_at is not None
        ]
        return not (rollbacks and promoted and max(promoted) > max(rollbacks))

    def _promoted_over(self, model: str, champion: int) -> int | None:
        """An attempt that ended before this version was recorded promoted another one of the same number."""
        lineage = self._journal.models.lineage(model, champion)
        since = lineage.recorded_at if lineage is not None else None
        for attempt in self._journal.attempts.of_model(model, limit=1000):
            earlier = since is not None and attempt.ended_at is not None and attempt.ended_at < since
            if attempt.state is State.PROMOTED and attempt.version == champion and not earlier:
                return attempt.champion_version or None
        return None

    def finish_rollback(self, rollback: Rollback, policy: Policy) -> str:
        """Do what is left of a rollback that was begun; a person who moved the alias meanwhile wins."""
        row = self._journal.models.find(rollback.model)
        row_seen = row.champion_seen if row is not None else None
        champion = self._view.champion(policy, rollback.was, fresh=True)
        if champion.state is ChampionState.UNKNOWN:
            raise RegistryUnreachable(champion.detail)
        if champion.version not in (rollback.was, rollback.target):
            where = f"to version {champion.version}" if champion.version else "away"
            outcome = f"someone moved the alias {where} meanwhile; it stays so"
            self._end_rollback(rollback, champion.version or row_seen, How.MOVED, outcome)
            raise Refused(outcome)
        try:
            self._go_back(rollback)
        except (Refused, NotFound) as error:
            outcome = f"the rollback to version {rollback.target} was refused: {error}"
            self._end_rollback(rollback, row_seen, How.MOVED, outcome)
            raise Refused(outcome, f"{rollback.model} is paused; move the alias in MLflow.") from error
        outcome = f"version {rollback.target} is champion again, {rollback.was} was"
        self._end_rollback(rollback, rollback.target, How.ROLLED_BACK, outcome)
        _log.info("champion.rolled_back", model=rollback.model, version=rollback.target, was=rollback.was,
                  by=rollback.by)  # fmt: skip
        self._tell_rollback(rollback)
        return f"{outcome}; {rollback.model} is paused until `retraind resume {rollback.model}`"

    def _tell_not_rolled_back(self, request: Request, answer: str) -> None:
        reason = f"worse than the version before, and the rollback was refused: {answer} {request.why}"
        self._announcer.tell(
            News(occasion="champion_worse", at=self._clock(), model=request.model, attempt=request.argument(WATCH),
                 version=int(request.argument("champion")), reason=reason)
        )  # fmt: skip

    def _tell_rollback(self, rollback: Rollback) -> None:
        now = self._clock()
        reason = f"by {rollback.by}: {rollback.why}"
        self._announcer.tell(
            News(occasion="rolled_back", at=now, model=rollback.model, version=rollback.target, was=rollback.was,
                 reason=reason)
        )  # fmt: skip
        self._announcer.tell(News(occasion="held", at=now, model=rollback.model, reason=f"rolled back {reason}"))

    def _go_back(self, rollback: Rollback) -> None:
        self._view.outdate(rollback.model)
        self._registry.set_alias(rollback.model, rollback.alias, rollback.target)
        self._registry.set_alias(rollback.model, PREVIOUS_ALIAS, rollback.was)
        stamp = f"{rollback.begun_at:%Y-%m-%dT%H:%M:%SZ} by {rollback.by}"
        self._registry.tag_version(rollback.model, rollback.was, ROLLED_BACK_TAG, stamp)

    def _end_rollback(self, rollback: Rollback, champion: int | None, how: How, outcome: str) -> None:
        now = self._clock()
        with self._journal.transaction():
            self._journal.models.hold(rollback.model, rollback.by, f"rolled back: {rollback.why}", now)
            self._journal.see_champion(rollback.model, champion, how, now)
            self._journal.rollbacks.end(rollback, outcome, now)


def _needed(policy: Policy | None, request: Request) -> Policy:
    if policy is None:
        raise NotFound(
            f"no policy in force names the model {request.model}.", "`retraind check` shows what is in force."
        )
    return policy
