"""`retraind plan`: what would be done now and why, by the same function the daemon uses, changing nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from retrain_daemon.askers import due_facts
from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.composition import clock, journal_to_read, policies_in_force, registry_of, trust_of
from retrain_daemon.cli.outlook import outlook_lines
from retrain_daemon.cli.output import print_json
from retrain_daemon.cli.recipes import recipe_line
from retrain_daemon.core.decide import Decision, RuleReport, decide
from retrain_daemon.core.facts import ChampionState, Facts
from retrain_daemon.core.policy import Policy
from retrain_daemon.core.vocabulary import readable
from retrain_daemon.drops import DropFolders
from retrain_daemon.errors import NotFound
from retrain_daemon.intake import watched_folder
from retrain_daemon.journal import Journal
from retrain_daemon.observe import RegistryView, as_loaded, gather
from retrain_daemon.prospects import Outlook, outlook
from retrain_daemon.settings import Settings
from retrain_daemon.watch_asker import how_it_stands


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One model: its decision now, the facts it rests on, what the next comparison could show (None without a
    champion), and how the watch over its last promotion stands.
    """

    model: str
    decision: Decision
    facts: Facts
    outlook: Outlook | None
    watch: str = ""


def plan(arguments: Arguments, settings: Settings) -> int:
    """Print the decision for one model or for all."""
    policies = chosen(policies_in_force(settings, arguments.model), arguments.model)
    journal = journal_to_read(settings)
    view = RegistryView(registry_of(settings), trust_of(settings))
    now = clock()
    view.poll([policy.model for policy in policies])
    plans = []
    for policy in policies:
        facts = gather(policy, journal, view, now, _folder_problem(policy, now), _measuring(policy, journal, view, now))
        decision, expected = decide(policy, facts, now), _outlook(policy, journal, facts)
        watch = journal.watches.open(policy.model)
        stands = how_it_stands(journal, watch, now) if watch is not None else ""
        plans.append(Plan(model=policy.model, decision=decision, facts=facts, outlook=expected, watch=stands))
    if arguments.json:
        print_json(plans)
    else:
        for each in plans:
            _print(each)
    return 0


def _outlook(policy: Policy, journal: Journal, facts: Facts) -> Outlook | None:
    found = facts.champion.state is ChampionState.FOUND and facts.champion.version is not None
    return outlook(policy, journal, facts.champion.version or 0, facts.data.judging_rows) if found else None


def _measuring(policy: Policy, journal: Journal, view: RegistryView, now: datetime) -> tuple[str, ...]:
    """What a daemon would have measured first."""
    row = journal.models.find(policy.model)
    champion = as_loaded(view.champion(policy, row.champion_seen if row else None), row)
    if champion.state is not ChampionState.FOUND or champion.version is None:
        return ()
    return due_facts(policy, journal, champion.version, now)


def _folder_problem(policy: Policy, now: datetime) -> str:
    folders = DropFolders(lambda: None)
    try:
        return folders.scan(watched_folder(policy), {}, now).problem
    finally:
        folders.close()


def chosen(policies: dict[str, Policy], model: str | None) -> list[Policy]:
    """The policy of one model, or all; raises NotFound."""
    if model is None:
        return list(policies.values())
    if model not in policies:
        there = ", ".join(policies) or "none"
        raise NotFound(f"no policy names the model {model}.", f"There are policies for: {there}.")
    return [policies[model]]


def _print(plan: Plan) -> None:
    verb = {"train": "would train", "judge": "would judge"}.get(plan.decision.action, "waits")
    print(f"{plan.model}: {verb} ({plan.decision.code})")
    print(f"  {plan.decision.sentence}")
    if plan.decision.offered:
        print(f"  challenger: {plan.decision.offered}")
    if plan.decision.recipe and plan.decision.action == "train":
        print(f"  recipe: {recipe_line(plan.decision.recipe)}")
    if plan.decision.until:
        print(f"  not before {plan.decision.until:%Y-%m-%d %H:%M:%S} UTC")
    for rule in plan.decision.rules:
        print_rule(rule)
    data = plan.facts.data
    print(f"  rows that may judge the champion: {_at_most(data.judging_rows)}")
    print(f"  rows that can train and it has not learned: {_at_most(data.unlearned_rows)}")
    if plan.outlook is not None:
        for line in outlook_lines(plan.outlook, plan.facts.champion.version or 0):
            print(f"  {line}")
    drift = plan.facts.drift
    print(f"  drift: {readable(drift.columns) if drift.columns else f'not known: {drift.obstacle}'}")
    if plan.watch:
        print(f"  {plan.watch}")
    for metric, scores in plan.facts.scores.items():
        if scores.score is not None:
            print(f"  its {metric} on files since it was cut: {scores.score:.4g} ({readable(scores.latest)})")


def print_rule(rule: RuleReport) -> None:
    """One rule with its values."""
    state = {True: "holds", False: "does not hold", None: "unknown"}[rule.holds]
    print(f"  rule “{rule.name}”: {state}: {rule.when}")
    told = tuple(text.split(" ", 1)[0] for text in rule.shortfalls)
    for name, value in rule.values:
        if name not in told:
            print(f"    {name} is {value}")
    for text in rule.shortfalls:
        print(f"    {text}")
    if rule.problem:
        print(f"    {rule.problem}")


def _at_most(number: int | None) -> str:
    return "not known" if number is None else f"at most {number:,}"
