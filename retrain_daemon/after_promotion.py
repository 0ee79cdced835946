"""After a promotion: when a watch over it begins and ends, and what follows when the promoted version is worse.

When rows suffice for a look, and what a worker says of it, is `watch_asker.py`'s; going back is an order like any
other. All here can be done again at any moment: what follows is told by the journal and by who is champion.
"""

from __future__ import annotations

from datetime import datetime

from retrain_daemon.core.attempts import Attempt
from retrain_daemon.core.facts import Champion, ChampionState
from retrain_daemon.core.policy import IfWorse, Policy, promotion_of
from retrain_daemon.core.watch import LOOKS, Terms, terms_of
from retrain_daemon.errors import NotFound, Refused
from retrain_daemon.journal import Journal
from retrain_daemon.journal.requests import WATCH
from retrain_daemon.journal.watches import LookRow, WatchRow
from retrain_daemon.log import get_logger
from retrain_daemon.news import NOBODY, Announcer, News
from retrain_daemon.registry_view import RegistryView

#: By whom the daemon's own orders are.
OURSELVES = "retraind"

_log = get_logger()


def begin_watch(journal: Journal, attempt: Attempt, now: datetime) -> None:
    """An attempt's alias has moved: watch its promotion, if the policy it began with says so. A watch over an earlier
    promotion has come to its end. Belongs into the transaction that journals the move.
    """
    assert attempt.version is not None
    end_watch(journal, attempt.model, f"version {attempt.version} was promoted", now)
    terms = terms_of(promotion_of(attempt.policy, attempt.rule))
    if terms is None or attempt.champion_version <= 0:
        return
    journal.watches.begin(attempt.id, attempt.model, attempt.version, attempt.champion_version, now)
    _log.info("watch.begun", model=attempt.model, attempt=attempt.id, version=attempt.version,
              was=attempt.champion_version, rows=terms.rows)  # fmt: skip


def end_watch(
    journal: Journal, model: str, outcome: str, now: datetime, announcer: Announcer = NOBODY, occasion: str = ""
) -> bool:
    """End the open watch of a model, if there is one, and tell of it where an `occasion` is named."""
    watch = journal.watches.open(model)
    if watch is None:
        return False
    journal.watches.end(watch.attempt, outcome, now)
    _log.info("watch.ended", model=model, attempt=watch.attempt, version=watch.version, outcome=outcome)
    if occasion:
        announcer.tell(
            News(occasion=occasion, at=now, model=model, attempt=watch.attempt, version=watch.version,
                 was=watch.previous, reason=outcome)
        )  # fmt: skip
    return True


class AfterPromotion:
    """Follows the open watches, one model at a time."""

    def __init__(self, journal: Journal, view: RegistryView, announcer: Announcer) -> None:
        self._journal = journal
        self._view = view
        self._announcer = announcer

    def follow(self, policy: Policy, champion: Champion, now: datetime) -> bool:
        """End the model's watch if it has come to its end; returns whether anything changed.

        The terms are those of the policy the attempt began with. While nobody knows who is champion it waits. Raises
        RegistryUnreachable.
        """
        watch = self._journal.watches.open(policy.model)
        if watch is None or champion.state not in (ChampionState.FOUND, ChampionState.UNTRUSTED):
            return False
        if champion.version != watch.version:
            return end_watch(self._journal, watch.model, self._who_moved(watch, champion), now)
        looks = self._journal.watches.looks(watch.attempt)
        if looks and looks[-1].worse:
            return self._act(watch, terms_of_watch(self._journal, watch), looks[-1].sentence, now)
        if looks and looks[-1].look.number == LOOKS:
            return self._end_looked(watch, looks[-1], now)
        if obstacle := self._against_previous(watch):
            outcome = f"it cannot be compared with version {watch.previous} any more: {obstacle}"
            return end_watch(self._journal, watch.model, outcome, now, self._announcer, "watch_lost")
        return False

    def _end_looked(self, watch: WatchRow, last: LookRow, now: datetime) -> bool:
        """That nothing could be measured, as where a version predicts NaN, is no good news, and is told."""
        if any(each.gain_high is not None for each in last.evidence):
            return end_watch(self._journal, watch.model, f"not shown to be worse: {last.sentence}", now)
        outcome = f"it is not known whether it is worse: {last.sentence}"
        return end_watch(self._journal, watch.model, outcome, now, self._announcer, "watch_lost")

    def _who_moved(self, watch: WatchRow, champion: Champion) -> str:
        backs = [back for back in self._journal.rollbacks.of_model(watch.model) if back.was == watch.version]
        if backs and backs[-1].begun_at >= watch.begun_at and backs[-1].target == champion.version:
            return f"rolled back to version {champion.version} by {backs[-1].by}"
        return f"someone moved the alias to version {champion.version}"

    def _act(self, watch: WatchRow, terms: Terms | None, sentence: str, now: datetime) -> bool:
        """A person who paused the model is told and decides; so does everyone whose policy asks to be told only."""
        row = self._journal.models.find(watch.model)
        back = f"`retraind rollback {watch.model}` goes back to version {watch.previous}"
        if terms is None or terms.if_worse is IfWorse.NOTIFY:
            return self._tell(watch, f"worse than the version before: {sentence}. {back}", now)
        if row is not None and row.hold is not None:
            why = f"not rolled back, as {watch.model} is paused by {row.hold.by}"
            return self._tell(watch, f"worse than the version before, and {why}: {sentence}. {back}", now)
        with self._journal.transaction():
            arguments = {"champion": str(watch.version), WATCH: watch.attempt}
            self._journal.requests.ask(watch.model, "rollback", OURSELVES, sentence, now, arguments)
            end_watch(self._journal, watch.model, f"worse than the version before, to be rolled back: {sentence}", now)
        return True

    def _tell(self, watch: WatchRow, outcome: str, now: datetime) -> bool:
        return end_watch(self._journal, watch.model, outcome, now, self._announcer, "champion_worse")

    def _against_previous(self, watch: WatchRow) -> str:
        """Why the version before must not be, or cannot be, loaded; "" where nothing is known against it."""
        try:
            untrusted = self._view.untrusted(watch.model, watch.previous)
            made = self._view.created_at(watch.model, watch.previous)
        except (NotFound, Refused) as gone:
            return str(gone)
        known = self._journal.models.lineage(watch.model, watch.previous)
        if known is not None and known.created_at not in (None, made):
            return f"version {watch.previous} was deleted and made anew"
        return untrusted


def terms_of_watch(journal: Journal, watch: WatchRow) -> Terms | None:
    """How a promotion is watched: as the policy says that its attempt began with."""
    attempt = journal.attempts.get(watch.attempt)
    return terms_of(promotion_of(attempt.policy, attempt.rule))
