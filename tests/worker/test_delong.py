from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from retrain_daemon.worker.measures import placements
from retrain_daemon.worker.paired.estimate import NotAbove, Unknown, Within
from retrain_daemon.worker.paired.ranking import area_of, difference, own


def world(seed=0, rows=200, positive=0.3, apart=0.5, decimals=1):
    """Scores with many ties."""
    random = np.random.default_rng(seed)
    truth = random.random(rows) < positive
    signal = random.normal(size=rows) + truth
    return truth, signal.round(decimals), (signal + apart * random.normal(size=rows) + 0.2 * truth).round(decimals)


def direct(truth, *models):
    """DeLong, DeLong and Clarke-Pearson (1988), formulas (3) to (6), pair by pair: areas and their covariance."""
    above, below = [], []
    for scores in models:
        kernel = np.array([[float(x > y) + 0.5 * (x == y) for y in scores[~truth]] for x in scores[truth]])
        above.append(kernel.mean(axis=1))
        below.append(kernel.mean(axis=0))
    areas = np.array([one.mean() for one in above])
    return areas, np.cov(above) / truth.sum() + np.cov(below) / (~truth).sum()


@pytest.mark.parametrize(("seed", "decimals"), [(0, 0), (1, 1), (2, 8)])
def test_areas_and_variances_are_those_of_looking_at_every_pair(seed, decimals):
    truth, champion, challenger = world(seed, decimals=decimals)
    areas, covariance = direct(truth, champion, challenger)
    old, new = area_of(champion, truth), area_of(challenger, truth)
    found = difference(old, new, 10)
    assert (old.point, new.point) == pytest.approx(tuple(areas))
    assert old.point == pytest.approx(roc_auc_score(truth, champion))
    assert found.point == pytest.approx(areas[1] - areas[0])
    assert found.standard_error**2 == pytest.approx(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert own(new, 10).standard_error ** 2 == pytest.approx(covariance[1, 1])


def test_bounds_of_many_rows_are_those_of_a_normal_curve_and_on_the_logit_scale_for_one_area():
    truth, champion, challenger = world(rows=4000, decimals=8)
    found, alone = (
        difference(area_of(champion, truth), area_of(challenger, truth), 10),
        own(area_of(challenger, truth), 10),
    )
    assert found.low(0.95) == pytest.approx(found.point - 1.645 * found.standard_error, abs=0.01 * found.standard_error)
    assert found.p_at_least(0.0) == pytest.approx(stats.norm.cdf(found.point / found.standard_error), rel=0.05)
    area = alone.point
    reach = 1.645 * alone.standard_error / (area * (1 - area))
    assert alone.low(0.95) == pytest.approx(1 / (1 + (1 - area) / area * np.exp(reach)), abs=1e-4)


def test_placements_are_shares_of_the_other_class():
    truth = np.array([True, True, False, False, False])
    placed = placements(np.array([0.9, 0.5, 0.5, 0.1, 0.95]), truth)
    assert placed == pytest.approx([2 / 3, 1.5 / 3, 1.5 / 2, 1.0, 0.0])


def test_the_same_ranking_is_not_proved_equal_but_bounded_by_its_pairs():
    truth, champion, _ = world(rows=300, decimals=8)
    found = difference(area_of(champion, truth), area_of(np.exp(champion) * 3, truth), 10)
    assert isinstance(found, Within)
    pairs = min(truth.sum(), (~truth).sum())
    assert found.high(0.95) == -found.low(0.95) == pytest.approx(1 - 0.05 ** (1 / pairs))


def test_a_few_rows_ranked_differently_show_no_gain():
    truth, champion, _ = world(rows=300, decimals=8)
    better = champion.copy()
    better[np.flatnonzero(truth)[:4]] = 9
    found = difference(area_of(champion, truth), area_of(better, truth), 10)
    assert found.point > 0
    assert found.low(0.8) < 0
    # noise on all others does not make it the evidence of many
    noisy = better + 0.02 * np.random.default_rng(0).normal(size=300)
    found = difference(area_of(champion, truth), area_of(noisy, truth), 10)
    assert isinstance(found, NotAbove)
    assert found.low(0.8) <= 0


def test_a_perfect_ranking_is_bounded_by_its_pairs_and_a_constant_one_not_at_all():
    truth = np.arange(120) < 40
    perfect, constant = area_of(truth.astype(float), truth), area_of(np.full(120, 0.5), truth)
    assert own(perfect, 10).low(0.95) == pytest.approx(0.05 ** (1 / 40))
    assert own(perfect, 10).high(0.95) == 1
    assert isinstance(own(constant, 10), Unknown)
    assert isinstance(difference(constant, constant, 10), Within)
    assert isinstance(difference(constant, perfect, 10), Unknown)


def test_an_area_stays_between_0_and_1_however_few_pairs_are_wrong():
    truth, _, challenger = world(rows=80, decimals=8)
    nearly = challenger + 2.2 * truth
    found = own(area_of(nearly, truth), 10)
    assert 0.9 < found.point < 1
    assert 0 < found.low(0.999) < found.low(0.95) < found.point <= found.high(0.95) <= 1


@pytest.mark.parametrize("positive", [0.5, 0.06])
def test_bounds_of_a_gain_are_right_in_about_95_of_100_worlds_even_of_a_thin_class(positive):
    low, high = [], []
    for seed in range(500):
        random = np.random.default_rng(seed)
        truth = np.arange(250) < 250 * positive
        signal = random.normal(size=250) + truth
        models = [signal + 0.5 * random.normal(size=250) for _ in range(2)]
        found = difference(*(area_of(model, truth) for model in models), 10)
        low.append(found.low(0.95) > 0)
        high.append(found.high(0.95) < 0)
    assert max(np.mean(low), np.mean(high)) < 0.08


@pytest.mark.parametrize("strength", [1.0, 2.5])
def test_bounds_of_one_area_are_right_in_about_95_of_100_worlds(strength):
    true, low, high = stats.norm.cdf(strength / np.sqrt(2)), [], []
    for seed in range(500):
        truth = np.arange(150) < 50
        found = own(area_of(np.random.default_rng(seed).normal(size=150) + strength * truth, truth), 10)
        low.append(found.low(0.95) > true)
        high.append(found.high(0.95) < true)
    assert max(np.mean(low), np.mean(high)) < 0.08
