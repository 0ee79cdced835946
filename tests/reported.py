"""Reports for tests: jobs and what workers kept for them, of classes and of numbers, friendly or hostile."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd

from retrain_daemon.core.attempts import State
from retrain_daemon.core.decide import RuleReport
from retrain_daemon.core.evidence import AnchorEvidence, Evidence, MetricEvidence, SliceEvidence
from retrain_daemon.core.judge import judge
from retrain_daemon.core.policy import Claim, DataSpec, Mode, Promotion, Recipe, Requirement, Target
from retrain_daemon.worker.evaluate import Predictions
from retrain_daemon.worker.features import Table
from retrain_daemon.worker.job import DropFile, Source, Train
from retrain_daemon.worker.labelled import Rows
from retrain_daemon.worker.report_data import ReportData
from retrain_daemon.worker.report_job import (
    ApprovalSeen,
    Decided,
    DriftSeen,
    EarlierVerdict,
    HistoryEntry,
    ReportedDrop,
    ScoreSeen,
    WriteReport,
)
from retrain_daemon.worker.report_measures import report_data
from tests.made import NOW, a_policy, an_attempt

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> javascript:alert(3) }</style>{{ 7*7 }}"
CHURNED = Target("churned", "yes")
SOURCE = Source(tracking_uri="sqlite:////tmp/none.db", registry_uri="sqlite:////tmp/none.db", model="churn", version=7)


def a_job(target: Target, report_file: str = "") -> Train:
    """A training whose judging rows are `rows`."""
    return Train(
        attempt="churn-42",
        key="test/churn-42",
        source=SOURCE,
        data=DataSpec(folder="/srv/drops/churn", pattern="*.csv", target=target),
        recipe=Recipe(mode=Mode.WARM_START),
        drops=(
            DropFile(drop=1, path="/srv/drops/churn/2026-02-22.csv", first_seen=NOW),
            DropFile(drop=2, path="/srv/drops/churn/2026-03-01.csv", first_seen=NOW),
        ),
        learned=(),
        unknown_until=None,
        learned_file="/state/learned.npy",
        metrics=("accuracy",),
        confidence=0.95,
        min_rows=200,
        now=NOW,
        seed=5,
        policy_text="model: churn",
        experiment="retraind/churn",
        kept_folder="/state/kept/none",
        report_file=report_file,
    )


def rows(target: pd.Series, columns: tuple[str, ...] = ("age", "balance", "region"), seed: int = 1) -> Rows:
    """Judging rows with a number, another one, and a text."""
    rng, count = np.random.default_rng(seed), len(target)
    frame = pd.DataFrame(
        {
            columns[0]: rng.integers(18, 90, count),
            columns[1]: rng.normal(900, 300, count),
            columns[2]: rng.choice(["north", "south", HOSTILE], count),
        }
    )
    times = np.datetime64("2026-02-01T00:00:00", "ns") + np.arange(count) * np.timedelta64(600, "s")
    keys = np.arange(count, dtype=np.uint64)
    return Rows(
        features=Table(frame),
        target=target,
        unit_keys=keys,
        row_keys=keys,
        groups=None,
        drop=rng.integers(1, 3, count),
        first_seen=times,
        event_time=times,
    )


def of_classes(
    count: int = 3000, classes: tuple[str, ...] = ("no", "yes"), seed: int = 2
) -> tuple[Rows, Predictions, Predictions]:
    """Rows and what two models say of them, the second one somewhat better."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, len(classes), count)
    names = np.array(classes, dtype=object)

    def model(skill: float) -> Predictions:
        scores = rng.normal(size=(count, len(classes)))
        scores[np.arange(count), truth] += skill
        probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        return Predictions(labels=names[probabilities.argmax(axis=1)], probabilities=probabilities, classes=names)

    return rows(pd.Series(names[truth])), model(1.3), model(1.8)


def of_numbers(count: int = 2000, seed: int = 3) -> tuple[Rows, Predictions, Predictions]:
    """The same of a regression."""
    rng = np.random.default_rng(seed)
    truth = rng.gamma(2.0, 50.0, count)
    said = [Predictions(values=truth * rng.normal(1, spread, count) + shift) for spread, shift in ((0.3, 6), (0.2, 1))]
    return rows(pd.Series(truth)), said[0], said[1]


def kept_of(made: tuple[Rows, Predictions, Predictions], target: Target = CHURNED) -> ReportData:
    """What a worker keeps of them."""
    judging, ours, theirs = made
    return report_data(a_job(target), judging, judging.target.to_numpy(), ours, theirs)


def a_metric(name: str, champion: float, challenger: float, half: float, *, lower: bool = False) -> MetricEvidence:
    gain = champion - challenger if lower else challenger - champion
    return MetricEvidence(
        metric=name, champion=champion, challenger=challenger, gain=gain, gain_low=gain - half, gain_high=gain + half,
        gain_strict=gain - 1.6 * half, standard_error=half / 1.64, challenger_low=challenger - half,
        challenger_high=challenger + half, rows=3000, method="paired interval",
    )  # fmt: skip


METRICS = (
    a_metric("roc_auc", 0.8321, 0.8494, 0.0071),
    a_metric("log_loss", 0.5412, 0.5377, 0.0061, lower=True),
    a_metric("recall", 0.7012, 0.6721, 0.0201),
)
REQUIRED = (
    Requirement("roc_auc", Claim.NOT_WORSE_BY, 0.005),
    Requirement("log_loss", Claim.BETTER_BY, 0.0),
    Requirement("recall", Claim.AT_LEAST, 0.6),
)


def some_evidence() -> Evidence:
    return Evidence(
        champion_version=7, champion_digest="a" * 64, challenger_digest="b" * 64, rows=3000, confidence=0.95,
        metrics=METRICS, excluded=12, too_early=3, classes=2, checked_keys=40213, comparison=3,
        strict_confidence=1 - 0.05 / 12,
        slices=tuple(SliceEvidence(column="region", value=value, threshold=0.05,
                                   measured=a_metric("recall", 0.7, 0.7 + gain, 0.03), p_harm=p)
                     for value, gain, p in (("north", 0.01, 0.98), ("south", -0.02, 0.7), (HOSTILE, -0.08, 0.03))),
        anchor=AnchorEvidence(version=4, rows=2871, metrics=METRICS[:2]),
    )  # fmt: skip


def some_report(state: State = State.PROMOTED, **changes: object) -> WriteReport:
    """A report of an attempt that has everything."""
    policy = a_policy(promote=Promotion(require=REQUIRED), text="model: churn\nretrain:\n  - {name: weekly}\n" * 6)
    evidence = some_evidence()
    attempt = replace(
        an_attempt(state), policy=policy, evidence=evidence, verdict=judge(policy.promote, evidence), version=8,
        continues=7, ended_at=NOW + timedelta(seconds=75), starts=1, reason="",
        notes=("scikit-learn 1.8 was used to train version 7, and 1.9 is installed.",),
        recipe=Recipe(mode=Mode.WARM_START, hyperparameters={"classifier__learning_rate": 0.05}),
    )  # fmt: skip
    earlier = tuple(
        EarlierVerdict(attempt=f"churn-{number}", version=number // 5, ended_at=NOW - timedelta(days=60 - number),
                       evidence=replace(evidence, metrics=(a_metric("roc_auc", 0.8, 0.78 + number / 700, 0.01),
                                        a_metric("log_loss", 0.6, 0.62 - number / 600, 0.01, lower=True))))
        for number in range(5, 40, 5)
    )  # fmt: skip
    job = WriteReport(
        source=SOURCE,
        attempt=attempt,
        key="test/churn-42",
        experiment="retraind/churn",
        data_file="",
        now=NOW + timedelta(seconds=80),
        decided=Decided(
            at=NOW, action="train", code="rule_holds", sentence="rule “enough fresh rows” holds: data.new_rows = 12391",
            rules=(RuleReport(name="the world changed", when="drift.max > 0.25", holds=False,
                              values=(("drift.max", "0.11"),), shortfalls=("0.14 more drift.max",)),
                   RuleReport(name="enough fresh rows", when="data.new_rows >= 10000", holds=True,
                              values=(("data.new_rows", "12391"),))),
        ),
        drops=tuple(ReportedDrop(name=f"2026-0{month}-01.csv", path=f"/srv/drops/churn/2026-0{month}-01.csv",
                                 fingerprint=f"{month}" * 64, state="recorded", rows=6000, usable=5990,
                                 arrived_at=NOW - timedelta(days=40 - month), notes=("10 rows without a target",))
                    for month in (1, 2, 3)),
        left_out=(ReportedDrop(name="broken.csv", path="/srv/drops/churn/broken.csv", fingerprint="",
                               state="quarantined",
                               rows=0, usable=0, arrived_at=NOW, reason="it lacks the column balance"),),
        earlier=earlier,
        scores=tuple(ScoreSeen(version=7, file=f"2026-0{month}-01.csv", metric="roc_auc", value=0.84 - month / 100,
                               rows=6000) for month in (1, 2, 3)),
        drift=DriftSeen(at=NOW, new_rows=12391, reference_rows=12000, worst="balance", value=0.11,
                        columns={"balance": 0.11, "age": 0.031, "region": 0.004, "unknown": None}),
        approval=ApprovalSeen(asked_at=NOW, expires_at=NOW + timedelta(days=7), answer="approve", by="ada",
                              why="looks right", answered_at=NOW),
        history=(HistoryEntry(at=NOW, event="attempt.planned", detail="enough fresh rows"),),
    )  # fmt: skip
    return replace(job, **changes)  # type: ignore[arg-type]


def hostile_report() -> WriteReport:
    """The same with words in every place that try to be more than words."""
    job = some_report()
    bad = HOSTILE
    attempt = replace(
        job.attempt, model=bad, rule=bad, notes=(bad,), reason=bad,
        policy=replace(job.attempt.policy, text=f"</pre>{bad}", source=bad, model=bad, alias=bad),
        recipe=replace(job.attempt.recipe, hyperparameters={bad: bad}),
    )  # fmt: skip
    assert job.decided is not None
    assert job.drift is not None
    assert job.approval is not None
    return replace(
        job, attempt=attempt,
        decided=replace(job.decided, sentence=bad,
                        rules=(RuleReport(name=bad, when=bad, holds=None, values=((bad, bad),),
                                                                     missing=(bad,), problem=bad),)),
        drops=tuple(replace(drop, name=bad, notes=(bad,)) for drop in job.drops),
        left_out=tuple(replace(drop, name=bad, reason=bad) for drop in job.left_out),
        scores=tuple(replace(score, file=bad) for score in job.scores),
        drift=replace(job.drift, columns={bad: 0.2}, worst=bad),
        approval=replace(job.approval, by=bad, why=bad),
        history=(HistoryEntry(at=NOW, event=bad, detail=bad),),
    )  # fmt: skip
