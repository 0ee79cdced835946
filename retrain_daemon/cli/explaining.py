"""`retraind plan`: what would be done now and why, by the same function the daemon uses, changing nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from retrain_daemon.askers import due_facts
from retrain_daemon.cli.arguments import Arguments
from retrain_daemon.cli.composition import clock, journal_to_read, policies_in_force, registry_of, trust_of
from retrain_daemon.cli.outlook import outlook_lines
from retrain_daemon.cli.output import print_json
from retrain_daemon.cli.recipes import recipe_lines
from retrain_daemon.cli.rule_lines import forecast_line, rule_headline, rule_lines, weekday
from retrain_daemon.core.decide import Action, Decision, RuleReport, decide
from retrain_daemon.core.facts import ChampionState, Facts
from retrain_daemon.core.pace import hindrance
from retrain_daemon.core.policy import Policy, Recipe, Rule
from retrain_daemon.core.quiet import quiet_until
from retrain_daemon.core.rules.forecast import Forecast, forecast
from retrain_daemon.core.rules.unknown import why_unknown
from retrain_daemon.core.rules.vocabulary import readable
from retrain_daemon.drops import DropFolders
from retrain_daemon.errors import NotFound
from retrain_daemon.intake import watched_folder
from retrain_daemon.journal import Journal
from retrain_daemon.observe import gather
from retrain_daemon.prospects import Outlook, outlook
from retrain_daemon.registry_view import RegistryView, as_loaded
from retrain_daemon.settings import Settings
from retrain_daemon.upstream import watched_models
from retrain_daemon.watch_asker import how_it_stands

#: The codes of decisions that the policy's pace holds back.
_PACE = ("cooldown", "per_day", "quiet_hours")


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a rule would train by, and when: `forecast` is None where it holds now, and `held_back` says what the pace
    would have against a start at the time that is foreseen. `reasons` say by fact why it is not known.
    """

    recipe: Recipe
    forecast: Forecast | None
    held_back: str
    reasons: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One model: its decision now, the facts it rests on, what the next comparison could show (None without a
    champion), how the watch over its last promotion stands, and by name what each rule would do and when. `held_until`:
    when the pace lets an attempt start, where it is what holds one back.
    """

    model: str
    decision: Decision
    facts: Facts
    outlook: Outlook | None
    watch: str = ""
    held_until: datetime | None = None
    rules: Mapping[str, Expected]


def plan(arguments: Arguments, settings: Settings) -> int:
    """Print the decision for one model or for all."""
    policies = chosen(policies_in_force(settings, arguments.model), arguments.model)
    journal = journal_to_read(settings)
    now = clock()
    plans = [_planned(policy, facts, journal, now) for policy, facts in seen(policies, journal, settings, now)]
    if arguments.json:
        print_json(plans)
        return 0
    for each in plans:
        for line in _lines(each) if len(plans) == 1 else _short_lines(each):
            print(line)
    return 0


def seen(
    policies: Sequence[Policy], journal: Journal, settings: Settings, now: datetime
) -> Iterator[tuple[Policy, Facts]]:
    """The facts of each policy's model, as a daemon sees them."""
    view = RegistryView(registry_of(settings), trust_of(settings))
    view.poll(watched_models(policies))
    for policy in policies:
        measuring = _measuring(policy, journal, view, now)
        yield policy, gather(policy, journal, view, now, _folder_problem(policy, now), measuring)


def _planned(policy: Policy, facts: Facts, journal: Journal, now: datetime) -> Plan:
    decision = decide(policy, facts, now)
    watch = journal.watches.open(policy.model)
    return Plan(
        model=policy.model,
        decision=decision,
        facts=facts,
        outlook=_outlook(policy, journal, facts),
        watch=how_it_stands(journal, watch, now) if watch is not None else "",
        held_until=_held_until(policy, facts, now) if decision.code in _PACE else None,
        rules={
            rule.name: _expected(rule, report, policy, facts, now)
            for rule, report in zip(policy.rules, decision.rules, strict=True)
        },
    )


def _held_until(policy: Policy, facts: Facts, now: datetime) -> datetime | None:
    """Past what holds the next start back the longest, and past quiet hours that hold at that moment."""
    slow = hindrance(policy.pace, facts.starts, now)
    if slow is None:
        return None
    return quiet_until(policy.pace.quiet_hours, slow.until) or slow.until


def _expected(rule: Rule, report: RuleReport, policy: Policy, facts: Facts, now: datetime) -> Expected:
    missing = dict.fromkeys(name for part in report.parts for leaf in part.leaves() for name in leaf.missing)
    expected = None if report.holds else forecast(rule, policy, facts, now)
    slow = hindrance(policy.pace, facts.starts, expected.at) if expected and expected.at else None
    return Expected(
        recipe=rule.recipe,
        forecast=expected,
        held_back=slow.sentence if slow else "",
        reasons={name: why_unknown(name, policy, facts) for name in missing},
    )


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
        there = f"There are policies for: {', '.join(policies)}. " if policies else ""
        raise NotFound(f"no policy is about the model {model}.", f"{there}`retraind check` shows all, fleets too.")
    return [policies[model]]


def _lines(plan: Plan) -> Iterator[str]:
    """All that is known of one model's next step."""
    yield from _headlines(plan)
    before: Recipe | None = None
    for rule in plan.decision.rules:
        told = plan.rules[rule.name]
        yield from _indented(rule_lines(rule, told.reasons))
        if told.forecast is not None:
            yield f"    {_when(told)}"
        lines = iter(("recipe: the same as above",)) if told.recipe == before else recipe_lines(told.recipe)
        yield from (f"    {line}" for line in lines)
        before = told.recipe
    yield from _indented(_data_lines(plan))


def _short_lines(plan: Plan) -> Iterator[str]:
    """What would be done, and of each rule whether it holds or when it could."""
    yield from _headlines(plan)
    for rule in plan.decision.rules:
        told = plan.rules[rule.name]
        yield f"  {rule_headline(rule)}{f': {_when(told)}' if told.forecast is not None else ''}"
        if rule is _first_to_start(plan) and plan.decision.action is not Action.TRAIN:
            yield f"    {next(recipe_lines(told.recipe))}"


def _when(expected: Expected) -> str:
    """When a rule could hold that does not, and what the pace says then."""
    assert expected.forecast is not None
    return f"{forecast_line(expected.forecast)}{f'; {expected.held_back}' if expected.held_back else ''}"


def _first_to_start(plan: Plan) -> RuleReport | None:
    """The rule that holds and would start an attempt, if nothing stood against it."""
    return next((rule for rule in plan.decision.rules if rule.holds and not rule.observe), None)


def _headlines(plan: Plan) -> Iterator[str]:
    decision = plan.decision
    verb = {"train": "would train", "judge": "would judge"}.get(decision.action, "waits")
    yield f"{plan.model}: {verb} ({decision.code})"
    yield f"  {decision.sentence}"
    if decision.offered:
        yield f"  challenger: {decision.offered}"
    if plan.held_until:
        yield f"  not before {weekday(plan.held_until)}"
    elif (change := _next_change(plan)) is not None:
        yield f"  time alone may change this at {weekday(change)}"
    if decision.recipe and decision.action is Action.TRAIN:
        yield from _indented(recipe_lines(decision.recipe))


def _next_change(plan: Plan) -> datetime | None:
    """When time alone may change the decision: also by the age that a rule asks for, where rules are waited for."""
    acting = [plan.rules[rule.name].forecast for rule in plan.decision.rules if not rule.observe]
    foreseen = [each.at for each in acting if each and each.at] if plan.decision.code == "no_rule_holds" else []
    return min((*foreseen, *filter(None, (plan.decision.until,))), default=None)


def _data_lines(plan: Plan) -> Iterator[str]:
    data = plan.facts.data
    yield f"rows that may judge the champion: {_at_most(data.judging_rows)}"
    yield f"rows that can train and it has not learned: {_at_most(data.unlearned_rows)}"
    if plan.outlook is not None:
        yield from outlook_lines(plan.outlook, plan.facts.champion.version or 0)
    drift = plan.facts.drift
    yield f"drift: {readable(drift.columns) if drift.columns else f'not known: {drift.obstacle}'}"
    if plan.watch:
        yield plan.watch
    for metric, scores in plan.facts.scores.items():
        if scores.score is not None:
            yield f"its {metric} on files since it was cut: {scores.score:.4g} ({readable(scores.latest)})"


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _at_most(number: int | None) -> str:
    return "not known" if number is None else f"at most {number:,}"
