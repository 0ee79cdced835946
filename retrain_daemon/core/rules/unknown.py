"""Why a fact is not known, and what would make it known."""

from __future__ import annotations

from retrain_daemon.core.facts import ChampionState, Facts
from retrain_daemon.core.policy import Policy
from retrain_daemon.core.rules.vocabulary import SCORES, metric_of, upstream_of
from retrain_daemon.core.scores import wanted_metrics

NO_ANSWER = "the registry does not answer"
#: Facts that are about the champion, or counted against it.
_OF_CHAMPION = ("champion.", "registry.", "data.unlearned_rows")


def why_unknown(name: str, policy: Policy, facts: Facts) -> str:
    """Given the name of a fact without a value, why that is so, as a clause."""
    if name.startswith(_OF_CHAMPION) and facts.champion.state is not ChampionState.FOUND:
        return _no_champion(policy, facts)
    if name.startswith(facts.data.measuring):
        return "it is to be measured first, which the daemon does before it decides"
    if name.startswith(SCORES):
        return _no_score(name, policy, facts)
    if name.startswith("drift."):
        return facts.drift.obstacle or "the new rows were not measured yet"
    if name.startswith("last."):
        return "no attempt has ended yet"
    if (upstream := upstream_of(name)) and facts.champion.state is ChampionState.UNKNOWN:
        return NO_ANSWER
    if upstream:
        return facts.upstream_unknown.get(upstream, "the registry was not asked yet")
    return "its value is no finite number"


def _no_champion(policy: Policy, facts: Facts) -> str:
    match facts.champion.state:
        case ChampionState.UNKNOWN:
            return NO_ANSWER
        case ChampionState.NO_MODEL:
            return f"no registered model is named {policy.model}"
        case ChampionState.LOST:
            return "the champion is lost"
        case ChampionState.UNTRUSTED:
            return f"the author of version {facts.champion.version} is not trusted"
        case _:
            return f"no version of {policy.model} has the alias {policy.alias}"


def _no_score(name: str, policy: Policy, facts: Facts) -> str:
    metric, version = metric_of(name), facts.champion.version
    if metric not in wanted_metrics(policy):
        return "it is not measured, as neither a rule nor a line of `require` names the metric"
    scores = facts.scores.get(metric)
    if scores is None:
        return f"not every file that came since version {version} was cut is scored yet"
    if not scores.latest:
        return f"no file that came since version {version} was cut has a score by it"
    return f"the files since version {version} was cut have fewer than {policy.promote.min_rows:,} rows together"
