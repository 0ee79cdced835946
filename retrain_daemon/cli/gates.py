"""Lines of `require` that the rows at hand cannot settle, by the journal: warnings for `check --registry`."""

from __future__ import annotations

from collections.abc import Iterator

from retrain_daemon.cli.composition import clock, journal_to_read, trust_of
from retrain_daemon.cli.outlook import power
from retrain_daemon.cli.questions import require_keys
from retrain_daemon.core.budget import Prospect
from retrain_daemon.core.facts import ChampionState
from retrain_daemon.core.policy import Policy
from retrain_daemon.errors import NotFound
from retrain_daemon.journal import Journal
from retrain_daemon.observe import gather
from retrain_daemon.prospects import outlook
from retrain_daemon.registry import Registry
from retrain_daemon.registry_view import RegistryView
from retrain_daemon.settings import Settings
from retrain_daemon.worker.job import Finding


def unsettled(
    policies: tuple[Policy, ...], registry: Registry, settings: Settings
) -> Iterator[tuple[Policy, Finding]]:  # fmt: skip
    """Each gate that cannot be passed by now, with its policy; nothing where no daemon has run yet."""
    try:
        journal = journal_to_read(settings)
    except NotFound:
        return
    try:
        view = RegistryView(registry, trust_of(settings))
        view.poll([policy.model for policy in policies])
        for policy in policies:
            for finding in _of_policy(policy, journal, view):
                yield policy, finding
    finally:
        journal.close()


def _of_policy(policy: Policy, journal: Journal, view: RegistryView) -> Iterator[Finding]:
    facts = gather(policy, journal, view, clock())
    champion, rows = facts.champion, facts.data.judging_rows
    if champion.state is not ChampionState.FOUND or champion.version is None or rows is None:
        return
    least = policy.promote.min_rows
    if rows < least:
        message = f"`promote.min_rows` asks for {least:,} judging rows, and at most {rows:,} may judge now."
        yield Finding(key="promote.min_rows", message=message, hint="Until then nothing is promoted.", warning=True)
        return
    for line in outlook(policy, journal, champion.version, rows).lines:
        if line.rows_needed is not None and line.rows_needed > rows:
            hint = "Drop more rows, or ask for less."
            yield Finding(key=_key(policy, line), message=_sentence(line, champion.version), hint=hint, warning=True)


def _key(policy: Policy, line: Prospect) -> str:
    asked = (line.rule, line.metric, line.claim, line.threshold)
    keys = ((key, (rule, each.metric, each.claim, each.threshold)) for key, rule, each in require_keys(policy))
    return next((key for key, each in keys if each == asked), "promote.require")


def _sentence(line: Prospect, champion: int) -> str:
    return f"The rows at hand can hardly settle {power(line, champion)}."
