"""Looks at watched promotions: when enough rows may have come for one, the question to a worker, and its answer.

What a look may err and says is `core/watch.py`'s, what follows from it `after_promotion.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from retrain_daemon.after_promotion import end_watch, terms_of_watch
from retrain_daemon.core.policy import Policy, unit_of
from retrain_daemon.core.watch import Terms, judge_look, rows_for_next
from retrain_daemon.executor.limits import Limits
from retrain_daemon.journal import Journal
from retrain_daemon.journal.drops import DropRow
from retrain_daemon.journal.watches import WatchRow
from retrain_daemon.log import get_logger
from retrain_daemon.measuring import MEASURING_LIMITS, Question
from retrain_daemon.news import NOBODY, Announcer
from retrain_daemon.scores import recipe_to_load
from retrain_daemon.worker.job import CompareVersions, DropFile, Result, Source, VersionsCompared, dated

_log = get_logger()


class WatchAsker:
    """Asks to compare a promoted version with the one before it, once as many rows may have come as a look needs.

    No rule asks for what it finds, so no decision waits for it.
    """

    name = "watch"
    facts: tuple[str, ...] = ()

    def __init__(self, journal: Journal, announcer: Announcer = NOBODY) -> None:
        self._journal = journal
        self._announcer = announcer

    def question(self, policy: Policy, source: Source, now: datetime) -> Question | None:
        """The next look, where the rows that may be there suffice: how many really do is known by the worker only, and
        where they turn out to be too few it is not asked again before more have come.
        """
        watch = self._journal.watches.open(policy.model)
        if watch is None or watch.version != source.version:
            return None
        terms = terms_of_watch(self._journal, watch)
        taken = self._journal.watches.looks(watch.attempt)
        if terms is None or any(look.worse for look in taken):
            return None
        needed = rows_for_next(terms, [look.look for look in taken])
        drops = drops_to_compare(policy, self._journal, watch, now)
        counted_as = _counted_as(policy, self._journal, watch)
        if needed is None or rows_at_most(watch, drops, counted_as) < needed:
            return None
        job = self._job(policy, source, watch, terms, drops, now)
        recipe = recipe_to_load(policy)
        return Question(
            key=f"{watch.attempt} {len(taken)} {counted_as} {[drop.id for drop in drops]}",
            job=job,
            limits=Limits(MEASURING_LIMITS.run_for, recipe.memory, recipe.processes),
            python=recipe.python,
        )

    def _job(
        self, policy: Policy, source: Source, watch: WatchRow, terms: Terms, drops: Sequence[DropRow], now: datetime
    ) -> CompareVersions:
        barred = self._journal.barred(policy.model, (watch.version, watch.previous), unit_of(policy.data))
        return CompareVersions(
            attempt=watch.attempt,
            source=source,
            previous=watch.previous,
            data=policy.data,
            drops=tuple(dated(self._file(drop), barred.unknown_until, now) for drop in drops),
            learned=barred.learned,
            unknown_until=barred.unknown_until,
            early=barred.early,
            terms=terms,
            taken=tuple(each.look for each in self._journal.watches.looks(watch.attempt)),
            seed=self._journal.attempts.get(watch.attempt).number,
            reference=self._journal.drops.reference(policy.model),
            code_folder=str(Path(policy.source).parent),
            network=recipe_to_load(policy).network,
        )

    def _file(self, drop: DropRow) -> DropFile:
        seen = self._journal.drops.first_seen(drop)
        return DropFile(drop=drop.id, path=drop.path, first_seen=seen, fingerprint=drop.fingerprint)

    def take_in(self, policy: Policy, question: Question, result: Result, now: datetime) -> None:
        """Journal the look, or how many rows there are. Not where settings, or what is recorded of what either version
        learned, became others meanwhile, or where the watch has ended: then nothing of it counts.
        """
        job, watch = question.job, self._journal.watches.open(policy.model)
        if not isinstance(result, VersionsCompared) or not isinstance(job, CompareVersions) or watch is None:
            return
        counted_as = _counted_as(policy, self._journal, watch)
        asked_as = _told_apart(policy, job.learned, job.unknown_until)
        if job.attempt != watch.attempt or job.data != policy.data or asked_as != counted_as:
            return
        if result.obstacle:
            outcome = f"it cannot be compared with version {watch.previous} any more: {result.obstacle}"
            end_watch(self._journal, watch.model, outcome, now, self._announcer, "watch_lost")
            return
        with self._journal.transaction():
            self._journal.watches.count(watch.attempt, result.rows, [drop.drop for drop in job.drops], counted_as, now)
            if result.look is not None:
                self._take_look(watch, job.terms, result, now)

    def _take_look(self, watch: WatchRow, terms: Terms, result: VersionsCompared, now: datetime) -> None:
        assert result.look is not None
        seen = judge_look(terms, result.look, watch.version, watch.previous, result.metrics)
        self._journal.watches.take_look(watch.attempt, result.look, result.metrics, seen.worse, seen.sentence, now)
        _log.info("watch.looked", model=watch.model, attempt=watch.attempt, version=watch.version,
                  look=result.look.number, rows=result.look.rows, worse=seen.worse, reason=seen.sentence)  # fmt: skip


def _counted_as(policy: Policy, journal: Journal, watch: WatchRow) -> str:
    barred = journal.barred(policy.model, (watch.version, watch.previous), unit_of(policy.data))
    return _told_apart(policy, barred.learned, barred.unknown_until)


def _told_apart(policy: Policy, learned: Sequence[str], unknown_until: datetime | None) -> str:
    """What a count of rows rests on beside the drops."""
    said = f"{policy.digest} {learned} {unknown_until}"
    return sha256(said.encode()).hexdigest()


def how_it_stands(journal: Journal, watch: WatchRow, now: datetime) -> str:
    """How a watch stands, one sentence for a person: rows so far, and what was seen last."""
    taken = journal.watches.looks(watch.attempt)
    seen = f"; {taken[-1].sentence}" if taken else ""
    begun = f"version {watch.version} is watched beside version {watch.previous}"
    if watch.ended_at is not None:
        return f"version {watch.version} was watched beside version {watch.previous}: {watch.outcome}"
    terms = terms_of_watch(journal, watch)
    needed = rows_for_next(terms, [each.look for each in taken]) if terms is not None else None
    if terms is None or needed is None:
        return f"{begun}{seen}"
    policy = journal.attempts.get(watch.attempt).policy
    drops = drops_to_compare(policy, journal, watch, now)
    rows = rows_at_most(watch, drops, _counted_as(policy, journal, watch))
    return f"{begun}: at most {rows:,} of {terms.rows:,} rows, next look at {needed:,}{seen}"


def drops_to_compare(policy: Policy, journal: Journal, watch: WatchRow, now: datetime) -> tuple[DropRow, ...]:
    """Drops in use that came since the promoted version was cut and did not judge it, oldest first; not those whose
    labels are not final yet.
    """
    lineage = journal.models.lineage(policy.model, watch.version)
    if lineage is None:
        return ()
    judged = set(journal.attempts.drops_of(watch.attempt))
    delay = policy.data.label_delay
    return tuple(
        drop
        for drop in journal.scores.drops_since(policy.model, lineage)
        if drop.id not in judged and (delay is None or drop.final_from(delay) <= now)
    )


def rows_at_most(watch: WatchRow, drops: Sequence[DropRow], counted_as: str) -> int:
    """How many rows of these drops can be compared at most: of those that were counted as many as were found, of the
    others all that are usable.
    """
    if watch.counted_as != counted_as:
        return sum(drop.usable for drop in drops)
    return watch.rows + sum(drop.usable for drop in drops if drop.id not in watch.counted)
