"""`retraind facts`: every fact that rules see, with its value and where it comes from, or why it is not known."""

from __future__ import annotations

from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.composition import clock, journal_to_read, policies_in_force
from retrain_daemon.cli.explaining import chosen, seen
from retrain_daemon.cli.output import print_json, print_table
from retrain_daemon.core.facts import ChampionState
from retrain_daemon.core.rules.shortfalls import shown
from retrain_daemon.fact_sources import FactTold, told_facts
from retrain_daemon.settings import Settings


def facts(arguments: Arguments, settings: Settings) -> int:
    """Print the facts of one model."""
    policies = chosen(policies_in_force(settings, arguments.model), arguments.model)
    journal = journal_to_read(settings)
    now = clock()
    ((policy, found),) = seen(policies, journal, settings, now)
    told = told_facts(policy, found, journal, now)
    kept = [fact for fact in told if fact.asked or arguments.all]
    if arguments.json:
        print_json(kept)
        return 0
    print_table(("fact", "value", "where it comes from, or why it is not known"), map(_row, kept))
    if found.champion.state is ChampionState.UNKNOWN:
        print(found.champion.detail)
    if len(kept) < len(told):
        print(f"{len(told) - len(kept)} scores by metrics that nothing asks for are left out; --all shows them.")
    return 0


def _row(fact: FactTold) -> tuple[str, str, str]:
    if fact.value is None:
        return fact.name, "?", fact.why_unknown
    return fact.name, shown(fact.value), fact.source
