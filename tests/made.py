"""Values for tests, each sound by default; a test says only what it is about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from retrain_daemon.core.attempts import Attempt, State
from retrain_daemon.core.evidence import Challenger, Evidence, MetricEvidence
from retrain_daemon.core.facts import Champion, ChampionState, DataFacts, Facts
from retrain_daemon.core.policy import (
    Claim,
    Completion,
    DataSpec,
    Mode,
    Policy,
    Promotion,
    Recipe,
    Requirement,
    Rule,
    Target,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CHAMPION = 7


def a_policy(**changes: object) -> Policy:
    """A policy for `churn` with one rule: 1,000 new rows."""
    policy = Policy(
        model="churn",
        data=DataSpec(
            folder="/srv/drops/churn",
            pattern="*.csv",
            target=Target("churned", "yes"),
            complete=Completion(settle=timedelta(0)),
        ),
        rules=(Rule("enough fresh rows", "data.new_rows >= 1000", Recipe(mode=Mode.WARM_START)),),
        promote=Promotion(require=(Requirement("accuracy", Claim.BETTER_BY, 0.0),)),
        source="/etc/churn.yaml",
        text="model: churn",
        digest="d1",
    )
    return replace(policy, **changes)  # type: ignore[arg-type]


def a_champion(version: int | None = CHAMPION, state: ChampionState = ChampionState.FOUND) -> Champion:
    """Version 7, made a month ago."""
    return Champion(state=state, version=version, created_at=NOW - timedelta(days=30), detail=f"it is {state.value}")


def some_data(**changes: object) -> DataFacts:
    """Plenty of new rows, of which enough may judge."""
    data = DataFacts(
        new_rows=5000,
        unlearned_rows=4000,
        since_last=5000,
        judging_rows=1000,
        waiting=timedelta(hours=2),
        quarantined=0,
        usable_drops=3,
    )
    return replace(data, **changes)  # type: ignore[arg-type]


def some_facts(**changes: object) -> Facts:
    """Facts under which `a_policy` trains."""
    facts = Facts(model="churn", champion=a_champion(), data=some_data(), champion_moved=False)
    return replace(facts, **changes)  # type: ignore[arg-type]


def a_metric(low: float = 0.01, gain: float = 0.02, high: float = 0.03, metric: str = "accuracy") -> MetricEvidence:
    """A metric by which the challenger is shown to be better."""
    return MetricEvidence(
        metric=metric,
        champion=0.80,
        challenger=0.80 + gain,
        gain=gain,
        gain_low=low,
        gain_high=high,
        gain_strict=low,
        rows=1000,
        challenger_low=0.80 + low,
        challenger_high=0.80 + high,
        method="paired bootstrap",
    )


def some_evidence(*metrics: MetricEvidence, **changes: object) -> Evidence:
    """Evidence on 1,000 rows that a better challenger would give."""
    evidence = Evidence(
        champion_version=CHAMPION,
        champion_digest="a",
        challenger_digest="b",
        rows=1000,
        confidence=0.95,
        metrics=metrics or (a_metric(),),
        classes=2,
        comparison=1,
        strict_confidence=0.975,
    )
    return replace(evidence, **changes)  # type: ignore[arg-type]


def a_challenger(attempt: str = "churn-1") -> Challenger:
    """A logged model that is registered nowhere."""
    return Challenger(
        run_id=f"run-of-{attempt}",
        model_uri=f"models:/m-{attempt}",
        digest="b",
        learned_file=f"/state/learned/{attempt}.npy",
        training_rows=4000,
    )


def an_attempt(state: State = State.PLANNED, **changes: object) -> Attempt:
    """An attempt on version 7."""
    policy = a_policy()
    attempt = Attempt(
        id="churn-1",
        number=1,
        model="churn",
        state=state,
        policy=policy,
        recipe=policy.rules[0].recipe,
        rule="enough fresh rows",
        champion_version=CHAMPION,
        started_at=NOW,
        continues=CHAMPION,
    )
    return replace(attempt, **changes)  # type: ignore[arg-type]
