from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from retrain_daemon.core.evidence import AnchorEvidence, Evidence, MetricEvidence, SliceEvidence
from retrain_daemon.core.judge import Outcome, Verdict, judge
from retrain_daemon.core.policy import RELATIVE, Claim, Promotion, Requirement

PROMOTE, REJECT, INCONCLUSIVE = Outcome.PROMOTE, Outcome.REJECT, Outcome.INCONCLUSIVE
NUMBERS = ("gain", "gain_low", "gain_high", "gain_strict", "challenger", "challenger_low", "challenger_high")


def metric(name="roc_auc", low=0.01, high=0.03, **more):
    """A metric whose gain, or with at_least and at_most whose own value, lies between low and high."""
    middle = None if low is None or high is None else (low + high) / 2
    bounds = {"gain_low": low, "gain_high": high, "challenger_low": low, "challenger_high": high}
    bounds |= {"gain_strict": low, "rows": 1000}
    return MetricEvidence(metric=name, **({"champion": 0.9, "challenger": middle, "gain": middle} | bounds | more))


def evidence(*metrics, **more):
    """The first comparison with version 7, on 1,000 rows."""
    found = {"champion_digest": "aaa", "challenger_digest": "bbb", "rows": 1000, "confidence": 0.95, "classes": 2}
    found |= {"champion_version": 7, "comparison": 1, "strict_confidence": 0.975}
    return Evidence(metrics=metrics or (metric(),), **(found | more))


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
        (Claim.UNLESS_WORSE_BY, 0.01, -0.5, 0.02, PROMOTE),
        (Claim.UNLESS_WORSE_BY, 0.01, -0.02, -0.01, PROMOTE),
        (Claim.UNLESS_WORSE_BY, 0.01, -0.02, -0.011, REJECT),
        (Claim.UNLESS_WORSE_BY, 0, 0.0, 0.0, PROMOTE),
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
    used = field.startswith("gain") == (claim in RELATIVE) and (field != "gain_strict" or claim is Claim.BETTER_BY)
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
        "on 2,412 rows; better by more than 0.005 was asked: shown by the lower bound 0.0153 at 97.5 %, which "
        "comparison 1 with version 7 takes"
    )


def test_numbers_are_rounded_to_their_interval():
    found = metric("rmse", -120.123456, 40.98765, champion=98765.4321, challenger=98800.9876)
    summary = judge(ask(Requirement("rmse", Claim.NOT_WORSE_BY, 50)), evidence(found, groups=80)).summary
    assert "challenger 98801, champion 98765, gain -40 (-120 to 41, each end at 95 %)" in summary
    assert "1,000 rows in 80 groups; not worse by 50 was asked: not shown" in summary


# The error budget


def budget(low, strict, comparison=3, strict_confidence=1 - 0.05 / 12, high=0.03):
    found = metric(low=low, high=high, gain_strict=strict)
    return judge(
        ask(Requirement("roc_auc", Claim.BETTER_BY, 0)),
        evidence(found, comparison=comparison, strict_confidence=strict_confidence),
    )


def test_an_improvement_is_shown_only_at_the_confidence_that_the_comparison_takes():
    assert budget(0.01, 0.001).outcome is PROMOTE
    verdict = budget(0.01, -0.001)
    assert verdict.outcome is INCONCLUSIVE
    assert verdict.summary.endswith(
        "not shown by the lower bound -0.0010 at 99.583333 %, which comparison 3 with version 7 takes"
    )
    assert budget(-0.01, 0.001).outcome is INCONCLUSIVE


def test_that_an_improvement_cannot_be_had_is_said_by_the_plain_upper_bound_whatever_is_left_of_the_budget():
    verdict = budget(-0.02, None, high=-0.01, comparison=None, strict_confidence=None)
    assert verdict.outcome is REJECT
    assert verdict.summary.endswith("better by more than 0 was asked: shown not to hold")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"comparison": None}, "does not say which comparison"),
        ({"comparison": 0}, "does not say which comparison"),
        ({"strict_confidence": None}, "does not say which comparison"),
        ({"comparison": 2}, "comparison 2 with this champion needs a bound at 99.166667 % confidence, and the"),
        ({"strict_confidence": 1.0}, "needs a bound at 97.5 % confidence"),
        ({"strict_confidence": math.nan}, "needs a bound at 97.5 % confidence"),
    ],
)
def test_an_improvement_that_no_budget_accounts_for_is_not_known(more, said):
    verdict = judge(ask(), evidence(**more))
    assert verdict.outcome is INCONCLUSIVE
    assert said in verdict.summary
    assert judge(ask(Requirement("roc_auc", Claim.NOT_WORSE_BY, 0)), evidence(**more)).outcome is PROMOTE


def test_a_finding_of_improvement_carries_the_bound_that_settled_it():
    (found,) = judge(ask(), evidence(metric(gain_strict=0.008))).findings
    assert (found.low, found.strict, found.strict_confidence, found.comparison) == (0.01, 0.008, 0.975, 1)


# Rows that a line is about


def test_a_line_may_ask_for_rows_that_its_metric_is_about():
    line = Requirement("recall", Claim.NOT_WORSE_BY, 0.05, min_rows=50)
    few, enough = (evidence(metric("recall", rows=rows)) for rows in (49, 50))
    assert judge(ask(line), enough).outcome is PROMOTE
    verdict = judge(ask(line), few)
    assert verdict.outcome is INCONCLUSIVE
    assert verdict.summary == (
        "recall: not worse by 0.05 was asked, not known: it is about 49 rows of 1,000, and at least 50 are asked"
    )
    assert judge(ask(line), evidence(metric("recall", rows=None))).outcome is INCONCLUSIVE


def test_harm_that_few_rows_could_not_show_is_not_passed_over():
    line = Requirement("recall", Claim.UNLESS_WORSE_BY, 0.05)
    assert judge(ask(line), evidence(metric("recall", rows=199))).outcome is INCONCLUSIVE
    assert judge(ask(line, min_rows=100), evidence(metric("recall", rows=199))).outcome is PROMOTE
    shown_by_itself = Requirement("recall", Claim.NOT_WORSE_BY, 0.05)
    assert judge(ask(shown_by_itself), evidence(metric("recall", rows=199))).outcome is PROMOTE


def test_what_a_stored_model_takes_is_about_no_rows():
    latency = MetricEvidence(metric="latency_ms_p95", champion=20, challenger=24, gain=-4, gain_low=-4, gain_high=-4)
    assert judge(ask(Requirement("latency_ms_p95", Claim.UNLESS_WORSE_BY, 5)), evidence(latency)).outcome is PROMOTE
    assert judge(ask(Requirement("latency_ms_p95", Claim.UNLESS_WORSE_BY, 3)), evidence(latency)).outcome is REJECT


# The anchor


def test_an_exact_number_of_a_stored_model_is_told_without_rows_and_bounds():
    exact = metric("model_mb", challenger=12.0, challenger_low=12.0, challenger_high=12.0)
    flips = metric("flipped", challenger=0.1, challenger_low=0.09, challenger_high=0.11)
    lines = (Requirement("model_mb", Claim.AT_MOST, 50), Requirement("flipped", Claim.AT_MOST, 0.2))
    first, second = judge(ask(*lines), evidence(exact, flips)).findings
    assert first.sentence == "model_mb: challenger 12.0000; at most 50 was asked: shown"
    assert "(0.0900 to 0.1100, each end at 95 %) on 1,000 rows" in second.sentence


def anchored(low, high, claim=Claim.NOT_WORSE_BY, name="roc_auc", **more):
    anchor = AnchorEvidence(**({"version": 3, "rows": 800, "metrics": (metric("roc_auc", low, high),)} | more))
    return judge(ask(Requirement(name, claim, 0.01)), evidence(metric(name, 0.02, 0.03), anchor=anchor))


def test_small_losses_that_add_up_reject():
    verdict = anchored(-0.05, -0.02)
    assert verdict.outcome is REJECT
    assert [finding.holds for finding in verdict.findings] == [True, False]
    assert verdict.findings[1].against == 3
    assert verdict.summary == (
        "roc_auc: small losses add up: against version 3, an earlier champion: challenger -0.0350, version 3 0.9000, "
        "gain -0.0350 (-0.0500 to -0.0200, each end at 95 %) on 800 rows; not worse by 0.01 was asked: "
        "shown not to hold"
    )


def test_only_lines_that_rule_out_harm_are_held_against_the_anchor():
    assert anchored(-0.005, 0.03).outcome is PROMOTE
    for claim in (Claim.BETTER_BY, Claim.UNLESS_WORSE_BY):
        assert anchored(-0.05, -0.02, claim).outcome is PROMOTE
    assert anchored(-0.05, -0.02, name="model_mb").outcome is PROMOTE


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"metrics": ()}, "it is not in the evidence"),
        ({"metrics": (metric("roc_auc", math.nan, 0.1),)}, "the gain is nan"),
        ({"metrics": (metric("roc_auc", -0.02, 0.1),)}, "not worse by 0.01 was asked: not shown"),
        ({"rows": 199}, "199 rows can be judged, and at least 200 are asked"),
        ({"problem": "version 3 does not load"}, "version 3 does not load"),
    ],
)
def test_an_anchor_of_which_nothing_is_known_leaves_it_open_by_name(more, said):
    verdict = anchored(0.02, 0.03, **more)
    assert verdict.outcome is INCONCLUSIVE
    assert "against version 3" in verdict.summary
    assert said in verdict.summary


# Without a champion


def first(*require, **more):
    found = metric(low=0.8, high=0.9, champion=None, gain=None, gain_low=None, gain_high=None, gain_strict=None)
    no_champion = {"champion_version": 0, "champion_digest": "", "comparison": None, "strict_confidence": None}
    return judge(ask(*require), evidence(found, **(no_champion | more)))


ABSOLUTE = Requirement("roc_auc", Claim.AT_LEAST, 0.75)


def test_a_first_version_is_judged_by_the_lines_about_itself_and_the_others_are_left_aside_by_name():
    verdict = first(
        Requirement("roc_auc", Claim.BETTER_BY, 0),
        Requirement("flipped", Claim.AT_MOST, 0.1),
        Requirement("recall", Claim.UNLESS_WORSE_BY, 0.05, "region"),
        ABSOLUTE,
    )
    assert verdict.outcome is PROMOTE
    assert [finding.code for finding in verdict.findings] == ["left_aside"] * 3 + ["requirement"]
    assert verdict.findings[1].sentence == ("flipped: at most 0.1 was asked; left aside: no champion to compare with")
    assert verdict.summary.startswith("roc_auc: challenger 0.850 (0.800 to 0.900")
    assert verdict.summary.endswith("at least 0.75 was asked: shown (and 3 left aside, as there is no champion)")


def test_a_first_version_of_which_nothing_is_asked_for_itself_is_not_promoted():
    verdict = first(Requirement("roc_auc", Claim.BETTER_BY, 0), Requirement("roc_auc", Claim.NOT_WORSE_BY, 1))
    assert verdict.outcome is INCONCLUSIVE
    assert "no champion to compare with" in verdict.summary


def test_a_first_version_is_the_same_as_no_other():
    assert first(ABSOLUTE, identical_predictions=True, champion_not_a_number=9, challenger_digest="").outcome is PROMOTE
    assert first(ABSOLUTE, challenger_not_a_number=1).outcome is REJECT
    assert first(ABSOLUTE, rows=199).outcome is INCONCLUSIVE
    assert first(Requirement("roc_auc", Claim.AT_LEAST, 0.95)).outcome is REJECT


# Verdicts of earlier versions


def test_a_verdict_and_evidence_that_an_earlier_version_journaled_are_read():
    stored = (
        '{"outcome":"promote","findings":[{"code":"requirement","holds":true,"sentence":"it is","metric":"roc_auc",'
        '"claim":"better_by","threshold":0.0,"value":0.02,"low":0.01,"high":0.03,"rows":1000}],"summary":"it is"}'
    )
    adapter = TypeAdapter(Verdict)
    verdict = adapter.validate_json(stored)
    assert verdict.outcome is PROMOTE
    assert adapter.validate_json(adapter.dump_json(verdict)) == verdict
    assert judge(ask(), replace(evidence(), comparison=None, strict_confidence=None)).outcome is INCONCLUSIVE


# Whatever the numbers are


anything = st.one_of(st.none(), st.floats(), st.sampled_from([0.0, 0.01, -0.01, math.nan, math.inf]))
names = st.sampled_from(["roc_auc", "recall", "model_mb", "flipped"])
metrics = st.builds(
    MetricEvidence, metric=names, rows=st.one_of(st.none(), st.integers(0, 400)), **dict.fromkeys(NUMBERS, anything)
)
requirements = st.builds(
    Requirement,
    metric=names,
    claim=st.sampled_from(Claim),
    threshold=st.one_of(st.floats(), st.just(0.05)),
    slices=st.sampled_from(["", "", "region"]),
    min_rows=st.one_of(st.none(), st.integers(0, 400)),
)
slices = st.builds(
    SliceEvidence,
    column=st.just("region"),
    value=st.sampled_from(["north", "south", "(missing)"]),
    threshold=st.just(0.05),
    measured=metrics,
    p_harm=anything,
)
anchors = st.builds(
    AnchorEvidence, version=st.just(3), rows=st.integers(0, 400), metrics=st.lists(metrics, max_size=2).map(tuple)
)
whole = st.builds(
    Evidence,
    champion_version=st.sampled_from([0, 7]),
    champion_digest=st.sampled_from(["", "aaa"]),
    challenger_digest=st.sampled_from(["bbb", "aaa"]),
    rows=st.integers(0, 400),
    confidence=st.one_of(st.floats(), st.just(0.95)),
    metrics=st.lists(metrics, max_size=3).map(tuple),
    comparison=st.one_of(st.none(), st.integers(-1, 3)),
    strict_confidence=st.one_of(anything, st.just(0.975), st.just(0.999)),
    slices=st.lists(slices, max_size=3).map(tuple),
    anchor=st.one_of(st.none(), anchors),
)


@given(st.lists(requirements, max_size=3), whole)
def test_judging_never_raises_and_never_promotes_on_what_is_not_known(require, found):
    verdict = judge(ask(*require), found)
    assert verdict.summary
    if verdict.outcome is not PROMOTE:
        return
    assert found.rows >= 200
    held = [finding for finding in verdict.findings if finding.code == "requirement"]
    assert held
    assert held == list(verdict.findings) or found.champion_version == 0
    for finding in held:
        assert finding.holds is True
        if finding.slices:
            assert finding.rows > 0
            assert finding.p is None or 0 <= finding.p <= 1
            continue
        used = [finding.threshold, finding.value, finding.low, finding.high]
        used += [finding.strict, finding.strict_confidence] if finding.claim == Claim.BETTER_BY else []
        assert all(number is not None and math.isfinite(number) for number in used)


ORDER = {REJECT: 0, INCONCLUSIVE: 1, PROMOTE: 2}
finite = st.floats(-1, 1)


def order(claim, threshold, low, high, strict):
    found = evidence(metric(low=low, high=high, gain_strict=strict))
    return ORDER[judge(ask(Requirement("roc_auc", claim, threshold)), found).outcome]


@given(st.sampled_from(sorted(RELATIVE)), finite, finite, finite, st.floats(0, 1), st.floats(0, 1))
def test_better_evidence_never_turns_a_promotion_away(claim, threshold, low, high, less, more):
    assume(low <= high)
    before = order(claim, threshold, low, high, low - less)
    assert order(claim, threshold, low + more, high + more, low - less + more) >= before
    assert order(claim, threshold, min(low + more, high), high, low - less) >= before
    assert order(claim, threshold, low, high, low - less + more) >= before


@given(whole, st.sampled_from(["gain_low", "gain_high", "gain_strict", "gain"]), st.sampled_from([None, math.nan]))
def test_a_number_that_is_lost_never_turns_another_verdict_into_a_promotion(found, field, lost):
    asked = ask(*(Requirement("roc_auc", claim, 0.05, min_rows=0) for claim in RELATIVE))
    fewer = replace(found, metrics=tuple(replace(each, **{field: lost}) for each in found.metrics))
    if judge(asked, fewer).outcome is PROMOTE:
        assert judge(asked, found).outcome is PROMOTE
