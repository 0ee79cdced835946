"""The effects of an attempt in the registry, each journaled before and after: verdict, version, aliases.

Which effect comes next is `core.steps`'s to say. Nothing here starts a worker.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from retrain_daemon.after_promotion import begin_watch
from retrain_daemon.core.approval import Answer
from retrain_daemon.core.attempts import Attempt, Effect
from retrain_daemon.core.evidence import Challenger
from retrain_daemon.core.facts import ChampionState
from retrain_daemon.core.judge import Verdict
from retrain_daemon.core.metrics import MODEL_METRICS
from retrain_daemon.core.policy import CHALLENGER_ALIAS, PREVIOUS_ALIAS, Claim, unit_of
from retrain_daemon.errors import NotFound, Refused, RegistryUnreachable
from retrain_daemon.journal import Journal
from retrain_daemon.journal.models import Lineage
from retrain_daemon.journal.tenures import How
from retrain_daemon.labels import (
    APPROVAL_TAG,
    ATTEMPT_TAG,
    KEY_TAG,
    REPLACES_TAG,
    SUMMARY_TAG,
    VERDICT_TAG,
    VOID,
    WAITS,
    answer_text,
    detail,
    unique_name,
    version_description,
    version_tags,
)
from retrain_daemon.log import get_logger
from retrain_daemon.registry import LONGEST_TAG, Registry
from retrain_daemon.registry_view import RegistryView

_log = get_logger()


class Overtaken(Exception):
    """Someone moved the alias after the step was decided: it is not taken, and the next one will see why."""


def _how(attempt: Attempt) -> How:
    """Whether the version it made champion was shown to predict better; neither a person's approval shows that, nor
    that it is smaller or faster. The first champion was compared with none.
    """
    if not attempt.champion_version:
        return How.FOUND
    findings = attempt.verdict.findings if attempt.verdict else ()
    better = [each for each in findings if each.claim == Claim.BETTER_BY and each.holds and not each.observed]
    shown = any(each.metric not in MODEL_METRICS for each in better)
    return How.BETTER if shown else How.NOT_WORSE


class Effects:
    """Carries out single effects; each may be done twice without harm."""

    def __init__(self, journal: Journal, registry: Registry, view: RegistryView, clock: Callable[[], datetime]) -> None:
        self._journal = journal
        self._registry = registry
        self._view = view
        self._clock = clock

    def perform(self, attempt: Attempt, effect: Effect, already: bool) -> None:
        """Before, the effect itself unless it was done already, after. Each effect may be done twice without harm."""
        self._journal.attempts.begin_effect(attempt, effect, detail(attempt, effect), self._clock())
        if effect is Effect.REGISTER:
            self._register(attempt)
            return
        if not already:
            try:
                self._do(attempt, effect)
            except Overtaken:
                self._journal.attempts.undo_effect(attempt, effect)
                return
        with self._journal.transaction():
            if effect is Effect.ALIAS:
                self._journal.see_champion(attempt.model, attempt.version, _how(attempt), self._clock())
                begin_watch(self._journal, attempt, self._clock())
            self._journal.attempts.end_effect(attempt, effect, self._clock())

    def _do(self, attempt: Attempt, effect: Effect) -> None:
        assert attempt.challenger is not None
        assert attempt.verdict is not None
        match effect:
            case Effect.VERDICT:
                self._tag_verdict(attempt, attempt.challenger, attempt.verdict)
            case Effect.WAITING:
                self._tag_approval(attempt, WAITS)
            case Effect.ANSWERED:
                self._tag_approval(attempt, answer_text(attempt))
            case Effect.REPLACES:
                assert attempt.version is not None
                self._registry.tag_version(attempt.model, attempt.version, REPLACES_TAG, str(attempt.champion_version))
            case Effect.ALIAS:
                self._move_alias(attempt)
            case Effect.PREVIOUS:
                self._set_previous(attempt)
            case Effect.UNOFFER:
                self._unoffer(attempt)
            case Effect.REGISTER:
                raise AssertionError("registering has its own way")

    def _tag_verdict(self, attempt: Attempt, challenger: Challenger, verdict: Verdict) -> None:
        """On the run of our challenger, and on the version, where it is one already."""
        tags = {VERDICT_TAG: verdict.outcome.value, SUMMARY_TAG: verdict.summary}
        if attempt.offered is None:
            self._registry.tag_run(challenger.run_id, tags)
        if attempt.version is not None:
            for tag, value in {**tags, ATTEMPT_TAG: attempt.id}.items():
                self._registry.tag_version(attempt.model, attempt.version, tag, value[:LONGEST_TAG])
            self._void_question(attempt, attempt.version)

    def _void_question(self, attempt: Attempt, version: int) -> None:
        """A person may have been asked about evidence that this verdict replaces, and nobody may be asked now."""
        self._view.forget_tags(attempt.model, version)
        if self._view.tags_of(attempt.model, version).get(APPROVAL_TAG) in (WAITS, *Answer):
            self._tag_approval(attempt, VOID)

    def _tag_approval(self, attempt: Attempt, value: str) -> None:
        """What was read of the tag before does not count any more."""
        assert attempt.version is not None
        self._view.forget_tags(attempt.model, attempt.version)
        self._registry.tag_version(attempt.model, attempt.version, APPROVAL_TAG, value[:LONGEST_TAG])

    def _set_previous(self, attempt: Attempt) -> None:
        """The promotion stands, whether or not the version before it is still there to be pointed to."""
        try:
            self._registry.set_alias(attempt.model, PREVIOUS_ALIAS, attempt.champion_version)
        except (Refused, NotFound) as error:
            _log.warning("champion.previous_gone", model=attempt.model, version=attempt.champion_version,
                         reason=str(error))  # fmt: skip

    def _unoffer(self, attempt: Attempt) -> None:
        """The verdict stands, whether or not the alias may be removed."""
        self._view.outdate(attempt.model)
        try:
            self._registry.delete_alias(attempt.model, CHALLENGER_ALIAS)
        except (Refused, NotFound) as error:
            _log.warning("challenger.alias_kept", attempt=attempt.id, model=attempt.model, version=attempt.offered,
                         reason=str(error))  # fmt: skip

    def _move_alias(self, attempt: Attempt) -> None:
        """MLflow has no compare-and-set: the champion is read once more, right before and right after."""
        assert attempt.version is not None
        expected = attempt.champion_version or None
        before = self._view.champion(attempt.policy, expected, fresh=True)
        if before.state is ChampionState.UNKNOWN:
            raise RegistryUnreachable(before.detail)
        if before.version != expected or (expected is None and before.state is not ChampionState.NONE):
            raise Overtaken
        self._view.outdate(attempt.model)
        self._registry.set_alias(attempt.model, attempt.policy.alias, attempt.version)
        self._read_back(attempt)

    def _read_back(self, attempt: Attempt) -> None:
        """Someone who moved the alias in the same moment is only logged: the next poll takes their move up."""
        found = self._view.champion(attempt.policy, attempt.version, fresh=True)
        if found.state is not ChampionState.UNKNOWN and found.version != attempt.version:
            _log.warning("alias.moved_meanwhile", attempt=attempt.id, version=found.version, ours=attempt.version)

    def _register(self, attempt: Attempt) -> None:
        """Look for the version of this very challenger; only if there is none, create it. It carries the key of the
        attempt that trained it, and what it learned is recorded as that one's.
        """
        assert attempt.challenger is not None
        trained = self._trained(attempt)
        key = self.key(trained)
        tagged = self._registry.versions_with_tag(attempt.model, KEY_TAG, key)
        found = [version for version in tagged if version.run_id == attempt.challenger.run_id]
        version = found[0] if found else self._registry.create_version(
            attempt.model,
            source=attempt.challenger.model_uri,
            run_id=attempt.challenger.run_id,
            tags={**version_tags(attempt, self._fingerprints(attempt)), KEY_TAG: key},
            description=version_description(attempt),
        )  # fmt: skip
        lineage = Lineage(
            version=version.number,
            continues=attempt.continues,
            learned_file=attempt.challenger.learned_file,
            unknown_until=None,
            attempt=trained.id,
            unit=unit_of(attempt.policy.data),
            created_at=version.created_at,
        )
        with self._journal.transaction():
            self._journal.models.record_lineage(attempt.model, lineage, self._clock())
            self._journal.attempts.set_version(attempt, version.number)
            self._journal.attempts.end_effect(attempt, Effect.REGISTER, self._clock())
        _log.info("attempt.registered", attempt=attempt.id, model=attempt.model, version=version.number)

    def _trained(self, attempt: Attempt) -> Attempt:
        """The attempt that trained the challenger."""
        return attempt if attempt.again_of is None else self._journal.attempts.get(attempt.again_of)

    def _fingerprints(self, attempt: Attempt) -> list[str]:
        drops = map(self._journal.drops.by_id, self._journal.attempts.drops_of(attempt.id))
        return [drop.fingerprint for drop in drops if drop is not None]

    def key(self, attempt: Attempt) -> str:
        """No other attempt's anywhere: names repeat where a state folder was lost or another daemon is at work."""
        return f"{self._journal.identity()}/{unique_name(attempt)}"

    def end_runs(self, attempt: Attempt) -> None:
        """A worker that crashed leaves its run RUNNING for ever."""
        try:
            self._registry.end_runs_of(KEY_TAG, self.key(attempt))
        except (Refused, NotFound) as error:
            _log.warning("attempt.runs_left_open", attempt=attempt.id, reason=str(error))
