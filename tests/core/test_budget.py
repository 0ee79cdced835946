"""What comparisons may err with, adds up to what a policy allows; and what they can show is what simulation finds."""

from __future__ import annotations

import random
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain_daemon.core.budget import (
    Measured,
    alpha_of,
    detectable_gain,
    left_of,
    prospect,
    relative_lines,
    rows_to_show,
    spends,
)
from retrain_daemon.core.policy import Claim, Promotion, Requirement

BETTER = Requirement("accuracy", Claim.BETTER_BY, 0.01)
NOT_WORSE = Requirement("accuracy", Claim.NOT_WORSE_BY, 0.01)
MEASURED = Measured(
    metric="accuracy", standard_error=0.01, rows=1000, gain=0.02, attempt="churn-1", champion=7
)  # fmt: skip


@given(alpha=st.floats(0.001, 0.5), made=st.integers(0, 500))
def test_however_many_comparisons_are_made_the_budget_is_never_overspent(alpha: float, made: int) -> None:
    spent = sum(alpha_of(alpha, number) for number in range(1, made + 1))
    assert spent + left_of(alpha, made) == pytest.approx(alpha)
    assert alpha_of(alpha, made + 1) <= left_of(alpha, made)


def test_the_first_comparison_may_spend_half() -> None:
    assert [round(alpha_of(0.05, number), 5) for number in (1, 2, 3)] == [0.025, 0.00833, 0.00417]


def test_only_a_claim_of_improvement_spends() -> None:
    assert spends(Promotion(require=(NOT_WORSE, BETTER)))
    assert not spends(Promotion(require=(NOT_WORSE,)))


@pytest.mark.parametrize(("line", "alpha"), [(BETTER, 0.025), (NOT_WORSE, 0.05)])
def test_a_challenger_with_the_smallest_detectable_gain_passes_four_times_in_five(
    line: Requirement, alpha: float
) -> None:
    rows, dice = 4000, random.Random(1)
    gain = detectable_gain(line, MEASURED, rows, alpha)
    error = MEASURED.standard_error * (MEASURED.rows / rows) ** 0.5
    least = line.threshold if line is BETTER else -line.threshold
    reach = NormalDist().inv_cdf(1 - alpha) * error
    shown = sum(dice.gauss(gain, error) - reach > least for _ in range(20_000)) / 20_000
    assert shown == pytest.approx(0.8, abs=0.01)


@pytest.mark.parametrize("line", [BETTER, NOT_WORSE])
def test_by_the_rows_needed_for_a_gain_it_is_just_detectable(line: Requirement) -> None:
    rows = rows_to_show(line, MEASURED, 0.015, 0.025)
    assert rows is not None
    assert detectable_gain(line, MEASURED, rows, 0.025) <= 0.015 < detectable_gain(line, MEASURED, rows - 1, 0.025)


def test_no_number_of_rows_shows_what_is_not_there() -> None:
    assert rows_to_show(BETTER, MEASURED, 0.01, 0.05) is None
    assert rows_to_show(NOT_WORSE, MEASURED, -0.01, 0.05) is None


def test_a_claim_of_improvement_is_held_to_its_share_and_a_refresh_to_the_whole_error() -> None:
    better = prospect(BETTER, MEASURED, 2000, 0.05, 0.00833)
    refresh = prospect(NOT_WORSE, MEASURED, 2000, 0.05, 0.00833)
    assert (better.alpha, refresh.alpha) == (0.00833, 0.05)
    assert (better.gain, refresh.gain) == (0.02, 0.0)
    assert refresh.rows_needed == rows_to_show(NOT_WORSE, MEASURED, 0.0, 0.05)


def test_what_is_not_known_is_said() -> None:
    assert prospect(BETTER, None, 2000, 0.05, 0.025).problem == "accuracy was not compared yet"
    unknown = prospect(BETTER, MEASURED, None, 0.05, 0.025)
    assert (unknown.detectable, unknown.problem) == (None, "it is not known how many rows may judge")
    assert unknown.rows_needed is not None
    assert prospect(BETTER, MEASURED, 0, 0.05, 0.025).problem == "no rows may judge"


def test_lines_about_the_challenger_alone_have_no_power_to_tell() -> None:
    alone = Requirement("accuracy", Claim.AT_LEAST, 0.8)
    assert relative_lines((BETTER, alone, NOT_WORSE)) == (BETTER, NOT_WORSE)
