from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binom

from retrain_daemon.worker.paired.estimate import share_at_least, share_at_most
from retrain_daemon.worker.paired.proportion import PairedShare, Share, mcnemar_mid_p, tango_low, tango_z


@pytest.mark.parametrize(
    ("better", "worse", "rows", "low", "high"),
    [
        # airway hyper-responsiveness (Bentur 2009) and consolidation therapy (Cavo 2012), the examples of Fagerland,
        # Lydersen and Laake 2014, as the R package contingencytables gives them
        (1, 7, 21, -0.517, -0.026),
        (6, 16, 161, -0.1240, -0.0054),
        # the R package PropCIs
        (20, 60, 1000, -0.0584, -0.0231),
    ],
)
def test_the_score_interval_is_the_published_one(better, worse, rows, low, high):
    digits = 3 if rows == 21 else 4
    assert round(tango_low(better, worse, rows, 0.975), digits) == low
    assert round(-tango_low(worse, better, rows, 0.975), digits) == high


@pytest.mark.parametrize(("better", "worse", "p"), [(1, 7, 0.0390625), (6, 16, 0.034690)])
def test_the_mid_p_value_is_the_published_one(better, worse, p):
    """Two-sided there, so twice ours: Fagerland, Lydersen and Laake (2013), BMC Medical Research Methodology 13:91."""
    assert 2 * mcnemar_mid_p(worse, better) == pytest.approx(p, abs=5e-7)


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (0, 1), (5, 5), (3, 9), (250, 200), (5000, 4800)])
def test_the_mid_p_value_is_a_sum_of_binomial_chances(better, worse):
    differing = better + worse
    chance = binom.pmf(np.arange(differing + 1), differing, 0.5)
    assert mcnemar_mid_p(better, worse) == pytest.approx(chance[better + 1 :].sum() + chance[better] / 2)
    assert mcnemar_mid_p(better, worse) + mcnemar_mid_p(worse, better) == pytest.approx(1)


def restricted(better, worse, rows, difference):
    """The score statistic with the likelihood maximised by search, not by Tango's formula."""

    def unlikely(only_champion):
        cells = (only_champion + difference, only_champion, 1 - 2 * only_champion - difference)
        counts = (better, worse, rows - better - worse)
        return -sum(count * math.log(cell) for count, cell in zip(counts, cells, strict=True) if count)

    least, most = max(0.0, -difference), (1 - difference) / 2
    found = minimize_scalar(
        unlikely, bounds=(least + 1e-12, most - 1e-12), options={"xatol": 1e-12}, method="bounded"
    ).x
    spread = (2 * found + difference - difference**2) / rows
    return ((better - worse) / rows - difference) / math.sqrt(spread)


@pytest.mark.parametrize(("better", "worse", "rows"), [(3, 2, 50), (12, 2, 50), (1, 9, 40), (30, 25, 600)])
def test_the_score_statistic_is_that_of_the_maximised_likelihood(better, worse, rows):
    for difference in (-0.2, -0.03, 0.01, 0.1):
        expected = restricted(better, worse, rows, difference)
        assert tango_z(better, worse, rows, difference) == pytest.approx(expected, abs=1e-3)


def test_without_a_row_that_differs_the_interval_is_the_rule_of_three():
    found = PairedShare(0, 0, 600)
    assert (found.low(0.95), found.high(0.95)) == (
        pytest.approx(-0.004981, abs=1e-6),
        pytest.approx(0.004981, abs=1e-6),
    )
    assert found.standard_error > 0
    assert found.p_at_least(0.0) == found.p_at_least(-0.001) == 0.5 or found.p_at_least(-0.001) > 0.5


COUNTS = [(b, c) for b, c in itertools.product((0, 1, 2, 5, 9, 30, 200), repeat=2)]


@pytest.mark.parametrize(("better", "worse"), COUNTS)
def test_bounds_surround_the_share_widen_with_confidence_and_mirror(better, worse):
    found, mirrored = PairedShare(better, worse, 500), PairedShare(worse, better, 500)
    lows = [found.low(confidence) for confidence in (0.8, 0.95, 0.99, 0.9999)]
    highs = [found.high(confidence) for confidence in (0.8, 0.95, 0.99, 0.9999)]
    assert lows == sorted(lows, reverse=True)
    assert highs == sorted(highs)
    assert -1 <= lows[0] <= found.point <= highs[0] <= 1
    assert [-high for high in highs] == [mirrored.low(confidence) for confidence in (0.8, 0.95, 0.99, 0.9999)]


@pytest.mark.parametrize(("better", "worse"), COUNTS)
def test_the_p_value_of_harm_says_what_the_upper_bound_says(better, worse):
    found = PairedShare(better, worse, 500)
    for margin, alpha in itertools.product((0.0, 0.004, 0.02, 0.1), (0.2, 0.05, 0.01, 0.0001)):
        assert (found.p_at_least(-margin) < alpha) == (found.high(1 - alpha) < -margin)
    margins = [found.p_at_least(-margin) for margin in (0.0, 0.01, 0.1, 0.5)]
    assert margins == sorted(margins)


def wrong(rows, better, worse, confidence, claim):
    """The chance of a wrong claim with these true shares, over all tables that may come."""
    most = min(rows, 60)
    chance = 0.0
    for b in range(most):
        for c in range(most - b):
            if claim(PairedShare(b, c, rows), confidence):
                log = math.lgamma(rows + 1) - math.lgamma(b + 1) - math.lgamma(c + 1) - math.lgamma(rows - b - c + 1)
                shares = ((b, better), (c, worse), (rows - b - c, 1 - better - worse))
                if all(share or not count for count, share in shares):
                    chance += math.exp(log + sum(count * math.log(share) for count, share in shares if count))
    return chance


@pytest.mark.parametrize("better", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("margin", [1.0, 2.9, 6.0])
def test_a_model_worse_by_just_the_margin_passes_in_about_five_of_a_hundred_trials(better, margin):
    rows = 400
    chance = wrong(
        rows, better / rows, (better + margin) / rows, 0.95, lambda found, sure: found.low(sure) > -margin / rows
    )  # fmt: skip
    assert chance <= 0.055


@pytest.mark.parametrize("differing", [6, 20])
def test_equal_models_differ_by_chance_alone_at_the_rate_allowed(differing):
    for alpha in (0.05, 0.01):
        chance = wrong(400, differing / 800, differing / 800, 1 - alpha, lambda found, sure: found.low(sure) > 0)
        assert chance <= alpha * 1.1


def test_one_share_has_exact_bounds():
    found = Share(9, 200)
    assert binom.sf(8, 200, found.low(0.95)) == pytest.approx(0.05)
    assert binom.cdf(9, 200, found.high(0.95)) == pytest.approx(0.05)
    assert (share_at_least(0, 50, 0.95), share_at_most(50, 50, 0.95)) == (0, 1)
