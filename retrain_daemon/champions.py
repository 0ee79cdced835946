"""Champions as they come and go: who is champion is remembered, and a move that was not ours is followed."""

from __future__ import annotations

from datetime import datetime

from retrain_daemon.after_promotion import end_watch
from retrain_daemon.core.attempts import Attempt, Effect, State
from retrain_daemon.core.facts import Champion, ChampionState, Offered
from retrain_daemon.core.policy import PREVIOUS_ALIAS, Policy
from retrain_daemon.errors import NotFound, Refused
from retrain_daemon.journal import Journal
from retrain_daemon.journal.models import Lineage
from retrain_daemon.journal.tenures import How
from retrain_daemon.log import get_logger
from retrain_daemon.registry import Registry
from retrain_daemon.worker.job import Failed

_log = get_logger()


def note_champion(policy: Policy, champion: Champion, journal: Journal, registry: Registry, now: datetime) -> None:
    """Remember the champion; a move that was not ours also moves `previous_champion`.

    Raises RegistryUnreachable; the move is then followed at the next look.
    """
    if champion.state not in (ChampionState.FOUND, ChampionState.UNTRUSTED) or champion.version is None:
        return
    row = journal.models.ensure(policy.model, policy.source, policy.alias, now)
    if row.champion_seen != champion.version:
        if _moving(journal.attempts.open(policy.model)):
            return
        if row.champion_seen is not None:
            _follow(policy.model, row.champion_seen, champion.version, journal, registry)
        how = How.FOUND if row.champion_seen is None else How.MOVED
        journal.see_champion(policy.model, champion.version, how, now)
    if row.adopted_at is not None and journal.models.lineage(policy.model, champion.version) is None:
        assert champion.created_at is not None
        _assume_nothing(journal, policy.model, champion.version, champion.created_at, row.adopted_at, now)


def note_unloadable(model: str, failed: Failed, journal: Journal, now: datetime) -> bool:
    """Whether a worker failed because the present champion's files are gone or do not load; nothing starts then until
    another version is champion or someone resumes the model.
    """
    row = journal.models.find(model)
    version = None if row is None else row.champion_seen
    if version is None or failed.unloadable != f"models:/{model}/{version}":
        return False
    why = (failed.message.partition(" does not load: ")[2] or failed.message).rstrip(". ")
    journal.models.lose(model, why, now)
    _log.error("champion.unloadable", model=model, version=version, reason=why)
    return True


def note_offered(policy: Policy, offered: Offered, created_at: datetime, journal: Journal, now: datetime) -> None:
    """A version that a person put up as challenger: where nobody recorded what it learned, nothing is assumed."""
    row = journal.models.find(policy.model)
    if row is None or row.adopted_at is None or journal.models.lineage(policy.model, offered.version) is not None:
        return
    _assume_nothing(journal, policy.model, offered.version, created_at, row.adopted_at, now)


def note_made_anew(
    policy: Policy, version: int, created_at: datetime, champion: int | None, journal: Journal, now: datetime
) -> bool:
    """Whether this is another version than the one known by its number: nothing recorded or trained counts for it, nor
    that it was champion. `champion` is the present one.
    """
    with journal.transaction():
        if not journal.models.forget_if_made_anew(policy.model, version, created_at):
            return False
        row = journal.models.find(policy.model)
        if row is not None and row.champion_seen == version == champion:
            journal.tenures.begin(policy.model, version, How.MOVED, now)
        elif row is not None and row.champion_seen == version:
            journal.models.see_champion(policy.model, None, now)
        if row is not None and row.adopted_at is not None:
            _assume_nothing(journal, policy.model, version, created_at, row.adopted_at, now)
        watch = journal.watches.open(policy.model)
        if watch is not None and version in (watch.version, watch.previous):
            end_watch(journal, policy.model, f"version {version} was deleted and made anew", now)
        for attempt in journal.attempts.open(policy.model):
            _begin_again(attempt, version, journal, now)
    _log.warning("version.made_anew", model=policy.model, version=version)
    return True


def _begin_again(attempt: Attempt, made_anew: int, journal: Journal, now: datetime) -> None:
    """What an attempt has done with a version that was deleted since does not count, except that it was promoted."""
    if made_anew not in (attempt.champion_version, attempt.offered, attempt.version):
        return
    if Effect.ALIAS in attempt.done:
        reason = f"version {attempt.version} was made champion; it was deleted with its model since"
        journal.attempts.conclude(attempt, State.PROMOTED, reason, attempt.version, now)
        return
    champion = made_anew if made_anew == attempt.version else attempt.champion_version
    why = f"begins again: version {made_anew} was deleted and made anew"
    journal.attempts.begin_again(attempt, champion, why, now)


def _moving(attempts: tuple[Attempt, ...]) -> bool:
    """Whether an alias may have been moved by us without the journal knowing yet."""
    return any(Effect.ALIAS in attempt.begun and Effect.ALIAS not in attempt.done for attempt in attempts)


def _follow(model: str, was: int, version: int, journal: Journal, registry: Registry) -> None:
    _log.warning("champion.moved", model=model, version=version, was=was, by="someone else")
    set_previous(model, was, journal, registry)


def set_previous(model: str, was: int, journal: Journal, registry: Registry) -> None:
    """Point `previous_champion` to the version that was champion, if it is there. In a model that was deleted and made
    anew, its number may be another one's. Raises RegistryUnreachable.
    """
    known = journal.models.lineage(model, was)
    try:
        if known is not None and known.created_at not in (None, registry.version(model, was).created_at):
            raise NotFound(f"version {was} of {model} was deleted, and another one has its number.")
        registry.set_alias(model, PREVIOUS_ALIAS, was)
    except (NotFound, Refused) as error:
        _log.warning("champion.previous_gone", model=model, version=was, reason=str(error))


def _assume_nothing(
    journal: Journal, model: str, version: int, created_at: datetime, adopted_at: datetime, now: datetime
) -> None:
    """Nobody recorded what this version learned: it may have been any row first seen until it was made, or adopted."""
    until = max(created_at, adopted_at)
    lineage = Lineage(
        version=version, continues=None, learned_file=None, unknown_until=until, attempt=None, created_at=created_at
    )
    journal.models.record_lineage(model, lineage, now)
    _log.info("version.unrecorded", model=model, version=version, judged_on_rows_after=until.isoformat("T", "seconds"))
