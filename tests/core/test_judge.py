from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from retrain_daemon.core.evidence import Evidence, MetricEvidence
from retrain_daemon.core.judge import Outcome, judge
from retrain_daemon.core.policy import Claim, Promotion, Requirement

PROMOTE, REJECT, INCONCLUSIVE = Outcome.PROMOTE, Outcome.REJECT, Outcome.INCONCLUSIVE
NUMBERS = ("gain", "gain_low", "gain_high", "challenger", "challenger_low", "challenger_high")


def metric(name="roc_auc", low=0.01, high=0.03, **more):
    """A metric whose gain, or with at_least and at_most whose own value, lies between low and high."""
    middle = None if low is None or high is None else (low + high) / 2
    bounds = {"gain_low": low, "gain_high": high, "challenger_low": low, "challenger_high": high}
    return MetricEvidence(metric=name, **({"champion": 0.9, "challenger": middle, "gain": middle} | bounds | more))


def evidence(*metrics, **more):
    found = {"champion_digest": "aaa", "challenger_digest": "bbb", "rows": 1000, "confidence": 0.95, "classes": 2}
    return Evidence(champion_version=7, metrics=metrics or (metric(),), **(found | more))


def ask(*require, **more):
    return Promotion(require=require or (Requirement("roc_auc", Claim.BETTER_BY, 0.005),), **more)


def outcome(claim, threshold, low, high):
    return judge(ask(Requirement("roc_auc", claim, threshold)), evidence(metric(low=low, high=high))).outcome


@pytest.mark.parametrize(
    ("claim", "threshold", "low", "high", "expected"),
    [
        (Claim.BETTER_BY, 0.01, 0.011, 0.02, PROMOTE),
        (Claim.BETTER_BY, 0.01, 0.01, 0.02, INCONCLUSIVE),
        (Claim.BETTER_BY, 0.01, 0.005, 0.011, INCONCLUSIVE),
        (Claim.BETTER_BY, 0.01, 0.005, 0.01, REJECT),
        (Claim.BETTER_BY, 0.01, -0.02, -0.01, REJECT),
        (Claim.BETTER_BY, 0, 0.0, 0.01, INCONCLUSIVE),
        (Claim.BETTER_BY, 0, 1e-9, 0.01, PROMOTE),
        (Claim.BETTER_BY, 0, 0.0, 0.0, REJECT),
        (Claim.NOT_WORSE_BY, 0.01, -0.009, 0.02, PROMOTE),
        (Claim.NOT_WORSE_BY, 0.01, -0.01, 0.02, INCONCLUSIVE),
        (Claim.NOT_WORSE_BY, 0.01, -0.02, -0.009, INCONCLUSIVE),
        (Claim.NOT_WORSE_BY, 0.01, -0.02, -0.01, REJECT),
        (Claim.AT_LEAST, 0.8, 0.8, 0.9, PROMOTE),
        (Claim.AT_LEAST, 0.8, 0.79, 0.9, INCONCLUSIVE),
        (Claim.AT_LEAST, 0.8, 0.7, 0.8, INCONCLUSIVE),
        (Claim.AT_LEAST, 0.8, 0.7, 0.79, REJECT),
        (Claim.AT_MOST, 40, 30, 40, PROMOTE),
        (Claim.AT_MOST, 40, 30, 41, INCONCLUSIVE),
        (Claim.AT_MOST, 40, 40, 50, INCONCLUSIVE),
        (Claim.AT_MOST, 40, 41, 50, REJECT),
    ],
)
def test_the_interval_against_the_threshold_settles_a_requirement(claim, threshold, low, high, expected):
    assert outcome(claim, threshold, low, high) is expected


@pytest.mark.parametrize("claim", Claim)
@pytest.mark.parametrize("field", NUMBERS)
@pytest.mark.parametrize("unknown", [None, math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_known_settles_nothing(claim, field, unknown):
    threshold = 100.0 if claim is Claim.AT_MOST else -1.0 if claim is Claim.AT_LEAST else 0.001
    used = field.startswith("gain") == (claim in (Claim.BETTER_BY, Claim.NOT_WORSE_BY))
    found = replace(metric(), **{field: unknown})
    verdict = judge(ask(Requirement("roc_auc", claim, threshold)), evidence(found))
    assert verdict.outcome is (INCONCLUSIVE if used else PROMOTE)
    if used:
        assert "not known" in verdict.summary
        assert "roc_auc" in verdict.summary


@pytest.mark.parametrize("threshold", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("claim", Claim)
def test_a_threshold_that_is_no_number_settles_nothing(claim, threshold):
    assert outcome(claim, threshold, 0.01, 0.03) is INCONCLUSIVE


@pytest.mark.parametrize(
    ("more", "code", "expected", "words"),
    [
        ({"challenger_digest": "aaa"}, "same_model", REJECT, "version 7"),
        ({"challenger_digest": ""}, "unknown_digest", INCONCLUSIVE, "no digest"),
        ({"champion_digest": "", "challenger_digest": ""}, "unknown_digest", INCONCLUSIVE, "no digest"),
        ({"identical_predictions": True}, "identical", REJECT, "every one of 1,000 judging rows"),
        ({"challenger_not_a_number": 3}, "challenger_nan", REJECT, "3 of 1,000"),
        ({"champion_not_a_number": 3}, "champion_nan", INCONCLUSIVE, "3 of 1,000"),
        ({"rows": 199}, "too_few_rows", INCONCLUSIVE, "199 judging rows, and at least 200"),
        ({"rows": 0, "identical_predictions": True}, "too_few_rows", INCONCLUSIVE, "0 judging rows"),
        ({"groups": 1}, "too_few_groups", INCONCLUSIVE, "1 group"),
        ({"classes": 1}, "one_class", INCONCLUSIVE, "one class"),
        ({"confidence": 0.9}, "confidence", INCONCLUSIVE, "95 % confidence are asked and the evidence has 90 %"),
        ({"confidence": math.nan}, "confidence", INCONCLUSIVE, "nan"),
    ],
)
def test_what_cannot_be_judged_is_refused_by_name(more, code, expected, words):
    verdict = judge(ask(), evidence(**more))
    assert (verdict.outcome, verdict.findings[0].code) == (expected, code)
    assert words in verdict.summary


def test_refusals_come_in_a_fixed_order():
    everything = {"challenger_digest": "aaa", "identical_predictions": True, "challenger_not_a_number": 1, "rows": 5}
    assert judge(ask(), evidence(**everything)).findings[0].code == "same_model"
    del everything["challenger_digest"]
    assert judge(ask(), evidence(**everything)).findings[0].code == "identical"


def test_too_few_rows_says_where_the_others_went():
    summary = judge(ask(), evidence(rows=12, excluded=3400, too_early=56)).summary
    assert "12 judging rows, and at least 200 are asked" in summary
    assert "3,400 were left out because" in summary
    assert "56 are too early" in summary


def test_a_regression_has_no_classes_to_lack():
    assert judge(ask(), evidence(classes=None)).outcome is PROMOTE


def test_a_metric_that_was_not_measured_settles_nothing():
    verdict = judge(ask(Requirement("recall", Claim.BETTER_BY, 0)), evidence())
    assert verdict.outcome is INCONCLUSIVE
    assert "recall" in verdict.summary
    assert "not in the evidence" in verdict.summary


def test_a_metric_measured_twice_settles_nothing():
    assert judge(ask(), evidence(metric(), metric())).outcome is INCONCLUSIVE


def test_bounds_that_contradict_each_other_settle_nothing():
    assert outcome(Claim.BETTER_BY, 0, 0.02, 0.01) is INCONCLUSIVE


def test_requiring_nothing_shows_nothing():
    assert judge(Promotion(require=()), evidence()).outcome is INCONCLUSIVE


def test_the_reason_why_a_metric_is_missing_is_passed_on():
    missing = MetricEvidence(metric="roc_auc", problem="roc_auc is undefined: no row is of class 'yes'")
    assert "no row is of class 'yes'" in judge(ask(), evidence(missing)).summary


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [((0.01, 0.03), (0.01, 0.03), PROMOTE), ((0.01, 0.03), (-0.01, 0.03), INCONCLUSIVE),
     ((0.01, 0.03), (-0.03, -0.01), REJECT), ((-0.01, 0.03), (-0.03, -0.01), REJECT),
     ((-0.01, 0.03), (-0.01, 0.03), INCONCLUSIVE)],
)  # fmt: skip
def test_one_failure_rejects_and_one_doubt_keeps_the_champion(first, second, expected):
    asked = ask(Requirement("roc_auc", Claim.BETTER_BY, 0), Requirement("log_loss", Claim.BETTER_BY, 0))
    for one, other in ((first, second), (second, first)):
        verdict = judge(asked, evidence(metric("roc_auc", *one), metric("log_loss", *other)))
        assert verdict.outcome is expected
        assert len(verdict.findings) == 2


def test_the_summary_has_metric_difference_interval_rows_and_threshold():
    found = metric(
        champion=0.91014, challenger=0.93121, gain=0.02107, low=0.01532, high=0.02704,
        challenger_low=0.92, challenger_high=0.94,
    )  # fmt: skip
    assert judge(ask(), evidence(found, rows=2412)).summary == (
        "roc_auc: challenger 0.9312, champion 0.9101, gain 0.0211 (0.0153 to 0.0270, each end at 95 %) "
        "on 2,412 rows; better by more than 0.005 was asked: shown"
    )


def test_numbers_are_rounded_to_their_interval():
    found = metric("rmse", -120.123456, 40.98765, champion=98765.4321, challenger=98800.9876)
    summary = judge(ask(Requirement("rmse", Claim.NOT_WORSE_BY, 50)), evidence(found, groups=80)).summary
    assert "challenger 98801, champion 98765, gain -40 (-120 to 41, each end at 95 %)" in summary
    assert "1,000 rows in 80 groups; not worse by 50 was asked: not shown" in summary


anything = st.one_of(st.none(), st.floats(), st.sampled_from([0.0, 0.01, -0.01, math.nan, math.inf]))
metrics = st.builds(MetricEvidence, metric=st.sampled_from(["roc_auc", "recall"]), **dict.fromkeys(NUMBERS, anything))
requirements = st.builds(
    Requirement, metric=st.sampled_from(["roc_auc", "recall"]), claim=st.sampled_from(Claim), threshold=st.floats()
)


@given(st.lists(requirements, max_size=3), st.lists(metrics, max_size=3), st.integers(0, 400), st.floats())
def test_judging_never_raises_and_never_promotes_on_what_is_not_known(require, found, rows, confidence):
    verdict = judge(ask(*require), evidence(*found, rows=rows, confidence=confidence))
    assert verdict.summary
    if verdict.outcome is PROMOTE:
        assert rows >= 200
        for finding in verdict.findings:
            assert finding.holds is True
            used = (finding.threshold, finding.value, finding.low, finding.high)
            assert all(number is not None and math.isfinite(number) for number in used)


finite = st.floats(-1, 1)


@given(st.sampled_from([Claim.BETTER_BY, Claim.NOT_WORSE_BY]), finite, finite, finite, st.floats(0, 1))
def test_better_evidence_never_turns_a_promotion_away(claim, threshold, low, high, more):
    assume(low <= high)
    order = {REJECT: 0, INCONCLUSIVE: 1, PROMOTE: 2}
    before = order[outcome(claim, threshold, low, high)]
    assert order[outcome(claim, threshold, low + more, high + more)] >= before
    assert order[outcome(claim, threshold, min(low + more, high), high)] >= before
