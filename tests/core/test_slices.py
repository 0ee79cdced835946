"""Lines of unless_worse_by in slices: Holm's correction, thin slices and what is not known."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain_daemon.core.evidence import Evidence, MetricEvidence, SliceEvidence
from retrain_daemon.core.judge import Outcome, judge
from retrain_daemon.core.policy import Claim, Promotion, Requirement
from retrain_daemon.core.slices import holm

PROMOTE, REJECT, INCONCLUSIVE = Outcome.PROMOTE, Outcome.REJECT, Outcome.INCONCLUSIVE
LINE = Requirement("recall", Claim.UNLESS_WORSE_BY, 0.05, slices="region", min_rows=100)


def part(value="north", p=0.5, rows=500, problem="", threshold=0.05, column="region", **more):
    numbers = {"champion": 0.80, "challenger": 0.71, "gain": -0.09, "gain_low": -0.13, "gain_high": -0.05}
    measured = MetricEvidence(metric="recall", rows=rows, problem=problem, **(numbers | more))
    return SliceEvidence(column=column, value=value, threshold=threshold, measured=measured, p_harm=p)


def judged(*slices, line=LINE, **more):
    found = Evidence(
        champion_version=7,
        champion_digest="aaa",
        challenger_digest="bbb",
        rows=5000,
        confidence=0.95,
        metrics=(),
        slices=slices,
    )
    return judge(Promotion(require=(line,), **more), found)


def test_a_slice_in_which_harm_is_shown_rejects_by_name():
    verdict = judged(part("south", 0.3), part("north", 0.004), part("west", 0.9), part("east", 0.04, rows=99))
    assert verdict.outcome is REJECT
    assert verdict.summary == (
        "recall where region=north: challenger 0.7100, champion 0.8000, gain -0.0900 (-0.1300 to -0.0500, each end at "
        "95 %) on 500 rows; no shown harm beyond 0.05 was asked: harm is shown, p = 0.004, where 0.017 or less shows "
        "it (Holm, 5 % for 3 slices together); not judged for fewer than 100 rows: east (99 rows)"
    )
    (finding,) = verdict.findings
    assert (finding.slices, finding.slice, finding.p, finding.rows) == ("region", "north", 0.004, 500)
    assert finding.alpha == pytest.approx(0.05 / 3)


def test_every_slice_in_which_harm_is_shown_is_named():
    verdict = judged(part("north", 0.001), part("south", 0.002), part("west", 0.9))
    assert "region=north" in verdict.summary
    assert "; and in south" in verdict.summary
    assert "west" not in verdict.summary


def test_a_p_value_that_one_test_alone_would_take_for_harm_does_not_block_among_many_slices():
    assert judged(part("north", 0.04)).outcome is REJECT
    verdict = judged(part("north", 0.04), part("south", 0.5))
    assert verdict.outcome is PROMOTE
    assert verdict.summary == (
        "recall: no shown harm beyond 0.05 was asked in each slice of region: none is shown in 2 slices; nearest to it "
        "is region=north with p = 0.04, where 0.025 or less would show it"
    )


@pytest.mark.parametrize("p", [0.001, 0.9])
def test_values_from_data_neither_fill_a_sentence_nor_turn_its_letters_around(p):
    verdict = judged(part("\u202egnirts\n", p), part("x" * 500, p, rows=99))
    assert "region=\\u202egnirts\\n" in verdict.summary
    assert f"{'x' * 59}… (99 rows)" in verdict.summary
    assert verdict.findings[0].slice == "\u202egnirts\n"


def test_a_slice_that_is_too_thin_is_named_and_does_not_count():
    verdict = judged(part("north", 0.9), part("south", 1e-9, rows=99), part("", 1e-9, rows=0))
    assert verdict.outcome is PROMOTE
    assert verdict.summary.endswith("not judged for fewer than 100 rows: south (99 rows),  (0 rows)")


def test_where_no_slice_could_be_judged_nothing_is_known():
    verdict = judged(part("north", 0.9, rows=99), part("south", 0.9, rows=1))
    assert verdict.outcome is INCONCLUSIVE
    assert verdict.summary.endswith(
        "not known: no slice could be judged: north (99 rows), south (1 row), and at least 100 are asked"
    )


def test_without_a_number_of_its_own_a_slice_needs_the_rows_that_the_policy_asks_for():
    line = Requirement("recall", Claim.UNLESS_WORSE_BY, 0.05, slices="region")
    assert judged(part(rows=199), line=line).outcome is INCONCLUSIVE
    assert judged(part(rows=200), line=line).outcome is PROMOTE
    assert judged(part(rows=199), line=line, min_rows=150).outcome is PROMOTE


@pytest.mark.parametrize(
    ("slices", "said"),
    [
        ((), "no slice of region is in the evidence"),
        ((part(column="country"),), "no slice of region is in the evidence"),
        ((part(threshold=0.1),), "no slice of region is in the evidence"),
        (
            (part(p=None, problem="recall is undefined"), part("south")),
            "region=north, on 500 rows: recall is undefined",
        ),
        ((part(p=None), part("south"), part("west", None)), "its p-value is missing; nor in west"),
        ((part(p=math.nan),), "its p-value is nan"),
        ((part(p=-0.1),), "its p-value is -0.1"),
        ((part(p=math.inf),), "its p-value is inf"),
        ((part(rows=None),), "of an unknown number of rows"),
        ((part("", None, None, "it has 4,000 values"),), "where region, of an unknown number of rows: it"),
        ((part(), part()), "region=north is in the evidence 2 times"),
    ],
)
def test_a_slice_of_which_nothing_is_known_leaves_it_open_by_name(slices, said):
    verdict = judged(*slices)
    assert verdict.outcome is INCONCLUSIVE
    assert said in verdict.summary


def test_harm_in_one_slice_rejects_though_another_is_not_known():
    assert judged(part("north", 0.001), part("south", None)).outcome is REJECT


def test_a_slice_without_a_p_value_is_known_where_its_lower_bound_rules_harm_out():
    unchanged = part(p=None, gain=0.0, gain_low=-0.01, gain_high=0.01)
    assert judged(unchanged, part("south")).outcome is PROMOTE
    assert judged(part(p=None, gain=0.0, gain_low=-0.05, gain_high=0.01)).outcome is INCONCLUSIVE
    assert judged(part(p=None, gain=0.0, gain_low=-0.01, gain_high=math.nan)).outcome is INCONCLUSIVE


@pytest.mark.parametrize("claim", [claim for claim in Claim if claim is not Claim.UNLESS_WORSE_BY])
def test_no_other_claim_is_judged_in_slices(claim):
    verdict = judged(part(p=0.9), line=Requirement("recall", claim, 0.05, slices="region"))
    assert verdict.outcome is INCONCLUSIVE
    assert "only unless_worse_by can be judged in slices" in verdict.summary


def test_many_slices_do_not_make_an_endless_sentence():
    harmed = [part(f"r{number}", 1e-9) for number in range(1000)]
    thin = [part(f"t{number}", 1e-9, rows=3) for number in range(1000)]
    summary = judged(*harmed, *thin).summary
    assert "and 994 more" in summary
    assert "and 995 more" in summary
    assert len(summary) < 500


def test_holm_compares_the_smallest_with_the_strictest_bound_and_stops_at_the_first_that_fails():
    # Holm 1979: 0.01 <= 0.05/4, 0.013 <= 0.05/3, 0.03 > 0.05/2, and 0.04 is not looked at though it is below 0.05.
    assert [place for place, _ in holm([0.04, 0.013, 0.03, 0.01], 0.05)] == [3, 1]
    assert holm([], 0.05) == ()


p_values = st.lists(st.floats(0, 1), max_size=12)


@given(p_values, st.floats(0.001, 0.5))
def test_whatever_holm_takes_for_harm_a_test_without_correction_takes_too(found, alpha):
    for place, bound in holm(found, alpha):
        assert found[place] <= bound <= alpha


@given(p_values, st.floats(0, 1), st.floats(0, 1))
def test_one_slice_more_never_makes_another_block(found, p, more):
    among_more = dict(holm([p, *found, more], 0.05))
    assert 0 not in among_more or 0 in dict(holm([p, *found], 0.05))


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=6), st.integers(0, 5), st.floats(0, 1))
def test_a_smaller_p_value_or_a_lost_one_never_lets_a_challenger_through(found, place, factor):
    order = {REJECT: 0, INCONCLUSIVE: 1, PROMOTE: 2}
    place %= len(found)

    def outcome(p):
        changed = [*found[:place], p, *found[place + 1 :]]
        return order[judged(*(part(f"r{number}", each) for number, each in enumerate(changed))).outcome]

    if found[place] is not None:
        assert outcome(found[place] * factor) <= outcome(found[place])
        assert outcome(None) < 2
