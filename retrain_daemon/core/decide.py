"""Whether to retrain now, under which rule, with which recipe, and why not otherwise.

A flat run of questions; the first that settles the matter gives the answer. Pure: `retraind plan` and the daemon
call the very same function.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from retrain_daemon.core.facts import ABANDONED_TO_HOLD, Champion, ChampionState, Facts, Offered, Undecided
from retrain_daemon.core.looks import Standing, offer, second_look
from retrain_daemon.core.pace import hindrance, last_start
from retrain_daemon.core.policy import Policy, Recipe, Rule
from retrain_daemon.core.rules.expression import compile_rule, evaluate, fact_values
from retrain_daemon.core.rules.parts import Part, conjuncts
from retrain_daemon.core.rules.vocabulary import upstream_of
from retrain_daemon.core.slots import first_change

#: The rule that a person's request is journaled under.
REQUEST_RULE = "request"
#: The rule that judging a person's challenger is journaled under.
OFFER_RULE = "challenger"


#: The codes of decisions while an attempt is under way.
UNDER_WAY = frozenset({"attempt_open", "awaiting_approval"})
#: The code of trouble with files that is not theirs: the model's framework is not installed.
FRAMEWORK_MISSING = "framework_missing"
#: What is waited for besides need not be said while one of these is the reason.
_MORE_PRESSING = UNDER_WAY | {"held"}
#: Where the decision is to wait for one of these, what rules say may change it.
_RULES_COUNT = frozenset({"no_rule_holds", "measuring", "cooldown", "per_day", "quiet_hours"})


class Action(StrEnum):
    """What a decision says."""

    TRAIN = "train"
    JUDGE = "judge"  #: compare a challenger that exists already; nothing is trained
    WAIT = "wait"


@dataclass(frozen=True, kw_only=True)
class RuleReport:
    """One rule as it stands: `holds` is None when a fact is missing; `values` are the facts it mentions as text. All of
    its `parts` must hold; older journals have none. With `observe` nothing follows from it, also where it holds.
    """

    name: str
    when: str
    holds: bool | None
    values: tuple[tuple[str, str], ...] = ()
    missing: tuple[str, ...] = ()
    shortfalls: tuple[str, ...] = ()
    problem: str = ""
    parts: tuple[Part, ...] = ()
    observe: bool = False


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do and why. `code` is stable for programs, `sentence` is for people; `until`: when time alone may
    change it. `rule` and `recipe` belong to TRAIN and JUDGE. `again` is the attempt whose challenger is judged once
    more. `offered` says how the version stands that a person put up as challenger, with `offered_code` for programs;
    empty where there is none.
    """

    action: Action
    code: str
    sentence: str
    rules: tuple[RuleReport, ...] = ()
    rule: str = ""
    recipe: Recipe | None = None
    request: str | None = None
    until: datetime | None = None
    again: str = ""
    offered: str = ""
    offered_code: str = ""


@dataclass(frozen=True)
class _Reason:
    code: str
    sentence: str
    until: datetime | None = None


def decide(policy: Policy, facts: Facts, now: datetime) -> Decision:
    """Given a policy, the facts and the time, return whether to train or judge now, by which rule, and why."""
    offered, look = offer(policy, facts), second_look(policy, facts)
    if offered is not None and facts.champion.state is ChampionState.NONE:
        decided = _decide_first(policy, facts, now, offered)
    else:
        decided = _while_a_look_waits(look, _decide(policy, facts, now, offered, look))
    decision = _until_a_slot(policy, facts, _until_labels_are_final(facts, decided), now)
    if offered is None:
        return decision
    return replace(decision, offered=offered.sentence, offered_code=offered.code or "ready")


def _while_a_look_waits(look: Standing | None, decision: Decision) -> Decision:
    """Where nothing starts, the challenger is named that waits to be judged once more."""
    if look is None or decision.action is not Action.WAIT or decision.code in _MORE_PRESSING:
        return decision
    return replace(decision, sentence=f"{decision.sentence}; {look.sentence}")


def _until_labels_are_final(facts: Facts, decision: Decision) -> Decision:
    """Where nothing starts, files whose labels are not final yet are named, and time alone changes that."""
    final = facts.data.young_until
    if decision.action is not Action.WAIT or final is None or decision.code in _MORE_PRESSING:
        return decision
    files = "file has" if facts.data.young_files == 1 else "files have"
    sentence = (
        f"{decision.sentence}; {facts.data.young_files:,} {files} labels that are not final (data.label_delay), the "
        f"next count from {final:%Y-%m-%d %H:%M} UTC"
    )
    return replace(decision, sentence=sentence, until=min(decision.until or final, final))


def _decide(
    policy: Policy, facts: Facts, now: datetime, offered: Standing | None, look: Standing | None
) -> Decision:  # fmt: skip
    rules = tuple(report_rules(policy, facts, now))
    for obstacle in (_not_ready(facts), _no_champion(facts.champion), _no_rows(facts)):
        if obstacle:
            return _wait(obstacle, rules)
    if facts.request:
        return _train_on_request(policy, facts, rules)
    judging = _judge_what_exists(policy, facts, offered, look, rules)
    if judging:
        return judging
    for obstacle in (_cannot_settle(policy, facts), _nothing_new(policy, facts)):
        if obstacle:
            return _wait(obstacle, rules)
    open_question = _measuring(facts, rules)
    if open_question:
        return _wait(open_question, rules)
    chosen = _first_that_holds(policy, rules)
    if chosen is None:
        return _wait(_no_rule(facts, rules), rules)
    slow = hindrance(policy.pace, facts.starts, now)
    if slow:
        return _wait(_Reason(slow.code, slow.sentence, slow.until), rules)
    return Decision(
        action=Action.TRAIN,
        code="rule_holds",
        sentence=f"rule “{chosen.name}” holds: {_values_text(rules, chosen)}{_without(facts)}",
        rules=rules,
        rule=chosen.name,
        recipe=chosen.recipe,
    )


def _decide_first(policy: Policy, facts: Facts, now: datetime, offered: Standing) -> Decision:
    """There is no champion yet, and a version is put up: it is judged by itself. Nothing trains, on no request."""
    rules = tuple(report_rules(policy, facts, now))
    if obstacle := _not_ready(facts):
        return _wait(obstacle, rules)
    if (obstacle := _no_rows(facts)) and obstacle.code != "no_rows":
        return _wait(obstacle, rules)
    if obstacle is None and offered.ready and facts.offered is not None:
        return _judge_offered(policy, facts, facts.offered, rules)
    missing = _no_champion(facts.champion)
    assert missing is not None
    return _wait(missing, rules)


def report_rules(policy: Policy, facts: Facts, now: datetime) -> Iterator[RuleReport]:
    """Given a policy and facts, yield how each rule stands, in the policy's order. What is being measured is not known,
    whatever was measured before.
    """
    known = fact_values(policy, facts, now)
    values = {name: None if name.startswith(facts.data.measuring) else value for name, value in known.items()}
    for rule in policy.rules:
        outcome = evaluate(compile_rule(rule.when, policy.names), values)
        yield RuleReport(
            name=rule.name,
            when=rule.when,
            holds=outcome.holds,
            values=outcome.values,
            missing=outcome.missing,
            shortfalls=outcome.shortfalls,
            problem=outcome.problem,
            parts=conjuncts(outcome.condition),
            observe=rule.observe,
        )


def _first_that_holds(policy: Policy, rules: tuple[RuleReport, ...]) -> Rule | None:
    """Rules that are only to observe are passed by."""
    holding = (rule for rule, report in zip(policy.rules, rules, strict=True) if report.holds and not rule.observe)
    return next(holding, None)


def _wait(reason: _Reason, rules: tuple[RuleReport, ...]) -> Decision:
    return Decision(action=Action.WAIT, code=reason.code, sentence=reason.sentence, rules=rules, until=reason.until)


def _train_on_request(policy: Policy, facts: Facts, rules: tuple[RuleReport, ...]) -> Decision:
    """A request takes the recipe of the first rule that holds, else the policy's own `train`."""
    assert facts.request is not None
    holding = _first_that_holds(policy, rules)
    return Decision(
        action=Action.TRAIN,
        code="requested",
        sentence=f"{facts.request.by} asked for it{f': {facts.request.why}' if facts.request.why else ''}"
        f"{_without(facts)}",
        rules=rules,
        rule=holding.name if holding else REQUEST_RULE,
        recipe=holding.recipe if holding else policy.requested,
        request=facts.request.key,
    )


def _judge_what_exists(
    policy: Policy, facts: Facts, offered: Standing | None, look: Standing | None, rules: tuple[RuleReport, ...]
) -> Decision | None:  # fmt: skip
    """A challenger that needs no training, a person's first."""
    if offered and offered.ready and facts.offered is not None:
        return _judge_offered(policy, facts, facts.offered, rules)
    if look and look.ready and facts.undecided is not None:
        return _judge_again(facts, facts.undecided, look, rules)
    return None


def _judge_offered(policy: Policy, facts: Facts, offered: Offered, rules: tuple[RuleReport, ...]) -> Decision:
    """Judged with the limits and the interpreter of the policy's own `train`."""
    return Decision(
        action=Action.JUDGE,
        code="challenger_offered",
        sentence=f"someone put up version {offered.version} as challenger{_without(facts)}",
        rules=rules,
        rule=OFFER_RULE,
        recipe=policy.requested,
    )


def _judge_again(facts: Facts, undecided: Undecided, look: Standing, rules: tuple[RuleReport, ...]) -> Decision:
    """Under the rule that had it trained, whose requirements it must meet."""
    return Decision(
        action=Action.JUDGE,
        code="second_look",
        sentence=f"{look.sentence}{_without(facts)}",
        rules=rules,
        rule=undecided.rule,
        recipe=undecided.recipe,
        again=undecided.attempt,
    )


def _not_ready(facts: Facts) -> _Reason | None:
    """What stands in the way of everything, also of a request."""
    if facts.open_attempt and facts.awaits_until:
        return _Reason("awaiting_approval", awaiting(facts.open_attempt, facts.awaits_until))
    if facts.open_attempt:
        return _Reason("attempt_open", f"attempt {facts.open_attempt} is under way")
    if facts.hold:
        return _Reason("held", f"held since {facts.hold.since:%Y-%m-%d %H:%M} by {facts.hold.by}: {facts.hold.why}")
    if facts.failures >= ABANDONED_TO_HOLD:
        return _Reason("too_many_failures", f"{facts.failures} attempts in a row were abandoned; resume it when mended")
    return None


def _no_champion(champion: Champion) -> _Reason | None:
    match champion.state:
        case ChampionState.FOUND:
            return None
        case ChampionState.UNKNOWN:
            return _Reason("registry_unknown", champion.detail or "the registry does not answer")
        case state:
            return _Reason(f"champion_{state.value}", champion.detail)


def awaiting(attempt: str, until: datetime) -> str:
    """Given an attempt that awaits approval, return what a person can do."""
    return (
        f"attempt {attempt} awaits approval until {until:%Y-%m-%d %H:%M} UTC:"
        f" `retraind approve {attempt} --why TEXT` or `retraind reject {attempt} --why TEXT`"
    )


def _no_rows(facts: Facts) -> _Reason | None:
    if facts.data.folder_problem:
        return _Reason("folder_problem", facts.data.folder_problem)
    if facts.data.missing_files:
        named = _first_of(facts.data.missing_files)
        return _Reason("files_missing", f"recorded file {named} is gone: put it back, or retract it")
    if facts.data.trouble:
        if facts.data.trouble_code == FRAMEWORK_MISSING:
            return _Reason("framework_missing", facts.data.trouble)
        return _Reason("inspection_trouble", facts.data.trouble)
    if facts.data.usable_drops == 0:
        waiting = facts.data.uninspected
        return _Reason(
            "no_rows",
            f"no usable rows yet ({waiting} files to be inspected)" if waiting else f"no usable rows{_without(facts)}",
        )
    return None


def _without(facts: Facts) -> str:
    """Which recorded files do not count because they are gone, as a clause."""
    skipped = facts.data.skipped_files
    return f"; goes on without {_first_of(skipped)}, which is gone" if skipped else ""


def _first_of(paths: tuple[str, ...]) -> str:
    return f"{paths[0]}{f' and {len(paths) - 1} more' if len(paths) > 1 else ''}"


def _cannot_settle(policy: Policy, facts: Facts) -> _Reason | None:
    """Training whose result could not be judged would only burn hours: the count is an upper bound."""
    rows, needed = facts.data.judging_rows, policy.promote.min_rows
    if rows is None:
        return _Reason("judging_rows_unknown", "it is not known how many rows may judge")
    if rows >= needed:
        return None
    return _Reason(
        "too_few_judging_rows",
        f"at most {rows:,} rows may judge version {facts.champion.version}, {needed:,} are needed: waits for "
        f"{needed - rows:,} held-out rows that it has not learned from",
    )


def _nothing_new(policy: Policy, facts: Facts) -> _Reason | None:
    """After an attempt has ended, nothing starts until a new usable row, policy text or champion is there, be it the
    model's own or that of one it depends on: by that the same rows come to mean something else.

    Who resumes a model whose last attempt was abandoned has mended the cause: it is tried once more. So it is when a
    file of that attempt is gone and left out now.
    """
    last = facts.last
    if last is None or last.policy_digest != policy.digest or last.champion_after != facts.champion.version:
        return None
    tried_anew = facts.resumed_since_last or facts.data.skipped_since
    if facts.data.retracted_since or facts.upstream_since_last or (last.outcome == "abandoned" and tried_anew):
        return None
    if facts.data.since_last is None:
        return _Reason("new_rows_unknown", f"it is not known whether rows are new since attempt {last.id}")
    if facts.data.since_last > 0:
        return None
    why = f": {last.reason}" if last.outcome == "abandoned" else ""
    ended = f"{last.id} ({last.outcome}{why})"
    upstream = ", here or upstream," if policy.upstream else ""
    return _Reason("nothing_new", f"no new usable row, policy text or champion{upstream} since attempt {ended}")


def _measuring(facts: Facts, rules: tuple[RuleReport, ...]) -> _Reason | None:
    """A rule that acts and is unknown for want of a measurement is waited for, unless one before it holds."""
    for rule in (each for each in rules if not each.observe):
        if rule.holds:
            return None
        wanted = [name for name in rule.missing if name.startswith(facts.data.measuring)]
        if wanted:
            return _Reason("measuring", f"rule “{rule.name}” waits for {', '.join(wanted)}: it is being measured")
    return None


def _no_rule(facts: Facts, rules: tuple[RuleReport, ...]) -> _Reason:
    none = "every rule only observes" if all(rule.observe for rule in rules) else "no rule holds"
    return _Reason("no_rule_holds", f"{none}: " + "; ".join(_why_not(facts, rule) for rule in rules))


def _why_not(facts: Facts, rule: RuleReport) -> str:
    if rule.observe and rule.holds:
        return f"“{rule.name}” holds, and only observes"
    if rule.holds is None:
        missing = ", ".join(rule.missing)
        why = "".join(f": {facts.upstream_unknown[name]}" for name in map(upstream_of, rule.missing)
                      if name in facts.upstream_unknown)  # fmt: skip
        return f"“{rule.name}” is unknown ({missing + ' not known' + why if missing else rule.problem})"
    found = rule.shortfalls or tuple(f"{name} is {value}" for name, value in rule.values)
    return f"“{rule.name}”: {', '.join(found)}"


def _values_text(rules: tuple[RuleReport, ...], chosen: Rule) -> str:
    report = next(report for report in rules if report.name == chosen.name)
    return ", ".join(f"{name} is {value}" for name, value in report.values) or chosen.when


def _until_a_slot(policy: Policy, facts: Facts, decision: Decision, now: datetime) -> Decision:
    """Where the rules are what is waited for, the next slot of a schedule that one mentions may change the decision,
    and so may the end of the time that a slot counts.
    """
    if decision.code not in _RULES_COUNT:
        return decision
    named = {name for rule in policy.rules for name in compile_rule(rule.when, policy.names).names}
    schedules = {name: each for name, each in policy.schedules.items() if f"schedule.{name}" in named}
    change = first_change(schedules, last_start(facts.starts, now), now)
    return decision if change is None else replace(decision, until=min(decision.until or change, change))
