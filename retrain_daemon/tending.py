"""One model looked after: who is champion, which drops are there, whether to train, and the attempt that follows.

What is decided is `core.decide`'s. Attempts are moved on elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from retrain_daemon.act import Acting
from retrain_daemon.after_promotion import AfterPromotion
from retrain_daemon.attention import Attention
from retrain_daemon.champions import note_champion, note_made_anew, note_offered
from retrain_daemon.core.decide import UNDER_WAY, Action, Decision, decide
from retrain_daemon.core.evidence import Challenger
from retrain_daemon.core.facts import Champion, ChampionState, DataFacts, Facts, Offered
from retrain_daemon.core.policy import Mode, Policy
from retrain_daemon.errors import NotFound, Refused
from retrain_daemon.intake import Intake
from retrain_daemon.journal import Journal
from retrain_daemon.log import get_logger
from retrain_daemon.measuring import Measuring
from retrain_daemon.news import Announcer, News
from retrain_daemon.observe import gather
from retrain_daemon.registry import Registry
from retrain_daemon.registry_view import RegistryView, as_loaded
from retrain_daemon.schedule import WakeUps
from retrain_daemon.standing import Standing
from retrain_daemon.upstream import champions_to_record, note_first_seen

#: What someone is told when it becomes the reason for waiting, by the code of the decision.
_TOLD = {"too_many_failures": "held", "champion_lost": "champion_lost"}

_log = get_logger()


@dataclass(frozen=True, kw_only=True)
class Around:
    """What looking after a model reads, and whom it tells."""

    journal: Journal
    registry: Registry
    view: RegistryView
    intake: Intake
    measuring: Measuring
    acting: Acting
    attention: Attention
    standing: Standing
    news: Announcer
    alarms: WakeUps
    clock: Callable[[], datetime]


class Tending:
    """Looks after models, one at a time."""

    def __init__(self, around: Around) -> None:
        self._journal = around.journal
        self._registry = around.registry
        self._view = around.view
        self._intake = around.intake
        self._measuring = around.measuring
        self._acting = around.acting
        self._attention = around.attention
        self._standing = around.standing
        self._news = around.news
        self._alarms = around.alarms
        self._clock = around.clock
        self._after_promotion = AfterPromotion(around.journal, around.view, around.news)
        self._told: dict[str, str] = {}
        self._weighed: dict[str, DataFacts] = {}

    def tend(self, policy: Policy) -> bool:
        """One model: who is champion, which drops are there, and whether to train."""
        now = self._clock()
        row = self._journal.models.ensure(policy.model, policy.source, policy.alias, now)
        champion = self._view.champion(policy, row.champion_seen)
        note_first_seen(policy, self._journal, self._view, now)
        note_champion(policy, champion, self._journal, self._registry, now)
        changed = self._after_promotion.follow(policy, champion, now)
        champion = as_loaded(champion, self._journal.models.find(policy.model))
        changed = self._read_drops(policy, champion, now) or changed
        self._note_offered(policy, champion, now)
        problem = self._intake.problems.get(policy.model, "")
        measuring = self._measuring.pending(policy.model)
        facts = gather(policy, self._journal, self._view, now, problem, measuring)
        decision = decide(policy, facts, now)
        self._standing.note(facts, decision, now)
        self._tell_decision(policy.model, decision, now)
        self._attention.settle(policy.model, facts.champion, decision)
        if decision.action is Action.TRAIN and champion.version is not None:
            self._plan(policy, decision, champion.version, now)
            return True
        if decision.again and champion.version is not None:
            self._plan_look(policy, decision, champion.version, now)
            return True
        if decision.action is Action.JUDGE and facts.offered is not None:
            self._plan_offered(policy, decision, champion.version or 0, facts.offered, now)
            return True
        if decision.code not in UNDER_WAY:
            self._note_decision(policy.model, facts, decision, now)
        self._alarms.at(f"decide {policy.model}", decision.until)
        return changed

    def _read_drops(self, policy: Policy, champion: Champion, now: datetime) -> bool:
        """Inspect what has come, then measure what is asked about it; returns whether anything changed."""
        if champion.state is not ChampionState.FOUND:
            first = self._first(policy, champion)
            gave_way = self._measuring.give_way(policy, now)
            if first is None:
                return self._intake.give_way(policy.model, now) or gave_way
            return self._intake.inspect(policy, self._acting.source(policy.model, first), now) or gave_way
        source = self._acting.source(policy.model, champion.version)
        inspected = self._intake.inspect(policy, source, now)
        start = not self._intake.is_inspecting(policy.model)  # what is asked next rests on what it finds
        return self._measuring.measure(policy, source, now, start=start) or inspected

    def _first(self, policy: Policy, champion: Champion) -> int | None:
        """The version that may become the first champion: drops are read by its signature until there is one."""
        if champion.state is not ChampionState.NONE:
            return None
        offered = self._view.offered(policy, champion)
        return None if offered is None or offered.obstacle else offered.version

    def note_made_anew(self, policy: Policy) -> bool:
        """Before any attempt moves on: a version that only has the number of one that is known is nobody's yet."""
        row = self._journal.models.find(policy.model)
        champion = self._view.champion(policy, row.champion_seen if row else None)
        if champion.state not in (ChampionState.FOUND, ChampionState.UNTRUSTED, ChampionState.NONE):
            return False
        changed = False
        for version in (champion.version, champion.challenger):
            if version is None:
                continue
            with suppress(NotFound, Refused):
                made = self._view.created_at(policy.model, version)
                if note_made_anew(policy, version, made, champion.version, self._journal, self._clock()):
                    self._measuring.forget((policy.model,))
                    changed = True
        return changed

    def _note_offered(self, policy: Policy, champion: Champion, now: datetime) -> None:
        """What a person's challenger learned is recorded as unknown before anything is asked about it."""
        if champion.state not in (ChampionState.FOUND, ChampionState.NONE):
            return
        offered = self._view.offered(policy, champion)
        if offered is not None and not offered.obstacle:
            note_offered(policy, offered, self._view.created_at(policy.model, offered.version), self._journal, now)

    def _note_decision(self, model: str, facts: Facts, decision: Decision, now: datetime) -> None:
        """Journaled and logged once for each kind of reason, not at each look. The numbers in it follow the data, so
        that `status` does not tell old ones; what time alone changes is not written.
        """
        before = self._journal.decisions.standing(model)
        weighed = replace(facts.data, waiting=None)
        if self._weighed.get(model) != weighed:
            self._weighed[model] = weighed
            if before is not None and before.sentence != decision.sentence:
                self._journal.decisions.reword(model, decision)
        self._journal.decisions.note(model, decision, now)
        if decision.offered and (before is None or before.offered != decision.offered):
            _log.info("challenger.waiting", model=model, code=decision.offered_code, reason=decision.offered)
        if before is None or before.code != decision.code:
            _log.info("decision.wait", model=model, code=decision.code, reason=decision.sentence)

    def _tell_decision(self, model: str, decision: Decision, now: datetime) -> None:
        """Once for each time it becomes the reason; neither an outage nor a restart in between makes it news again."""
        if decision.code in UNDER_WAY | {"registry_unknown"}:
            return
        occasion = _TOLD.get(decision.code)
        if occasion is not None and model not in self._told:
            standing = self._journal.decisions.standing(model)
            self._told[model] = standing.code if standing else ""
        told, self._told[model] = self._told.get(model), decision.code
        if occasion is not None and told != decision.code:
            self._news.tell(News(occasion=occasion, at=now, model=model, reason=decision.sentence))

    def _plan(self, policy: Policy, decision: Decision, champion: int, now: datetime) -> None:
        """Decision, attempt, frozen champion, frozen drops and the request that is answered: one transaction."""
        journal = self._journal
        assert decision.recipe is not None
        continues = None if decision.recipe.mode is Mode.REFIT else champion
        with journal.transaction():
            drops = _to_use(journal, policy, now)
            upstream = champions_to_record(policy, journal, self._view)
            attempt = journal.attempts.plan(policy, decision, champion, continues, drops, now, upstream=upstream)
            if decision.request == "tag":
                journal.models.mark_tag_request(policy.model, True, now)
            elif decision.request is not None:
                journal.requests.answer(int(decision.request), 0, f"attempt {attempt.id}", now)
        _log.info(
            "decision.train", model=policy.model, attempt=attempt.id, rule=decision.rule, reason=decision.sentence
        )

    def _plan_offered(self, policy: Policy, decision: Decision, champion: int, offered: Offered, now: datetime) -> None:
        """A person's challenger is judged as ours are, by itself where the champion is 0; the frozen drops are those
        whose held-out rows may judge.
        """
        challenger = Challenger(
            run_id=offered.run_id,
            model_uri=f"models:/{policy.model}/{offered.version}",
            digest="",
            learned_file="",
            training_rows=0,
            offered=offered.version,
        )
        journal = self._journal
        with journal.transaction():
            drops = _to_use(journal, policy, now)
            attempt = journal.attempts.plan(policy, decision, champion, None, drops, now, challenger)
        _log.info("decision.judge", model=policy.model, attempt=attempt.id, version=offered.version,
                  reason=decision.sentence)  # fmt: skip

    def _plan_look(self, policy: Policy, decision: Decision, champion: int, now: datetime) -> None:
        """The same challenger on more rows; what it continues from goes with it, as those rows are barred too."""
        journal = self._journal
        with journal.transaction():
            earlier = journal.attempts.get(decision.again)
            drops = _to_use(journal, policy, now)
            attempt = journal.attempts.plan(
                policy, decision, champion, earlier.continues, drops, now, earlier.challenger, earlier
            )
        _log.info("decision.judge", model=policy.model, attempt=attempt.id, again_of=attempt.again_of,
                  look=attempt.look, reason=decision.sentence)  # fmt: skip


def _to_use(journal: Journal, policy: Policy, now: datetime) -> list[int]:
    """The drops that an attempt has: not those that are gone, nor those whose labels are not final."""
    delay = policy.data.label_delay
    in_use = journal.drops.in_use(policy.model)
    return [drop.id for drop in in_use if not drop.missing and (delay is None or drop.final_from(delay) <= now)]
