from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from retrain_daemon.worker.paired.estimate import Unknown, number_carrying
from retrain_daemon.worker.paired.mean import Mean, freedom, mean_of_rows
from retrain_daemon.worker.resample import grouped


def by(groups):
    return np.unique(groups, return_inverse=True)[1]


def test_of_normal_values_it_is_the_interval_of_students_t():
    values = np.random.default_rng(0).normal(0.1, 1, 5000)
    found = mean_of_rows(values, None)
    expected = stats.t.interval(0.9, 4999, values.mean(), stats.sem(values))
    assert (found.low(0.95), found.high(0.95)) == pytest.approx(expected, abs=1e-3 * stats.sem(values))
    # "it is 0 or more" is doubted by a mean far below 0 only
    assert found.p_at_least(0.0) == pytest.approx(stats.ttest_1samp(values, 0, alternative="less").pvalue, abs=1e-3)


def hall(values, confidence):
    """Hall (1992), Journal of the Royal Statistical Society B 54:221, as written there: both bounds at z."""
    rows, spread, skewness = len(values), values.std(), stats.skew(values)
    bounds = []
    for side in (1, -1):
        inner = 1 + skewness * (side * stats.norm.ppf(confidence) / np.sqrt(rows) - skewness / (6 * rows))
        bounds.append(values.mean() - spread * 3 / skewness * (np.cbrt(inner) - 1))
    return bounds


def test_a_skewed_mean_reaches_as_far_as_halls_correction_on_its_long_side_and_as_t_on_the_other():
    values = np.random.default_rng(0).exponential(size=20_000)
    found, (_, high) = mean_of_rows(values, None), hall(values, 0.95)
    sem = stats.sem(values)
    assert found.high(0.95) == pytest.approx(high, abs=2e-3 * sem)
    assert found.high(0.95) > stats.t.ppf(0.95, 19_999) * sem + values.mean()
    assert found.low(0.95) == pytest.approx(values.mean() - stats.t.ppf(0.95, 19_999) * sem, abs=2e-3 * sem)


def sparse(seed, rows=1000, chance=0.004):
    random = np.random.default_rng(seed)
    return (random.random(rows) < chance) * random.choice([-1.0, 1.0], rows)


HEAVY = {
    "exponential": (lambda random: random.exponential(size=300), 1.0),
    "log-normal": (lambda random: np.exp(random.normal(size=300)), np.exp(0.5)),
    "negative log-normal": (lambda random: -np.exp(random.normal(size=300)), -np.exp(0.5)),
    "t of three degrees": (lambda random: random.standard_t(3, 300), 0.0),
    "few large differences": (
        lambda random: np.exp(2 * random.normal(size=300)) - np.exp(2 * random.normal(size=300)),
        0,
    ),
}


@pytest.mark.parametrize("name", HEAVY)
def test_bounds_are_right_in_about_95_of_100_worlds_with_heavy_tails(name):
    draw, true = HEAVY[name]
    found = [mean_of_rows(draw(np.random.default_rng(seed)), None) for seed in range(600)]
    low = np.mean([one.low(0.95) > true for one in found])
    high = np.mean([one.high(0.95) < true for one in found])
    assert max(low, high) < 0.085  # t alone misses the log-normal mean on one side in 10 of 100


def test_a_mean_of_a_few_rows_is_no_surer_than_a_count_of_them():
    rows = np.zeros(1000)
    rows[:3] = 1
    found = mean_of_rows(rows, None)
    assert found.freedom == pytest.approx(6, rel=0.02)
    assert found.high(0.95) * 1000 > stats.gamma.ppf(0.95, 4) * 0.95  # the exact bound of a Poisson count of 3
    wrongly = [mean_of_rows(values, None).low(0.95) > 0 for values in map(sparse, range(400)) if values.any()]
    assert np.mean(wrongly) < 0.05


def test_degrees_of_freedom_are_those_of_the_variance():
    random = np.random.default_rng(0)
    assert freedom(100, 3.0) == 99
    assert freedom(100, 1.0) == 99
    heavy = random.laplace(size=(4000, 200))
    variances = heavy.var(axis=1, ddof=1)
    found = np.median([freedom(200, one) for one in stats.kurtosis(heavy, axis=1, fisher=False)])
    assert found == pytest.approx(2 * variances.mean() ** 2 / variances.var(), rel=0.25)


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_the_unit_of_a_loss_does_not_matter(scale):
    values = np.random.default_rng(0).exponential(size=500)
    plain, scaled = mean_of_rows(values, None), mean_of_rows(values * scale, None)
    assert scaled.low(0.95) / scale == pytest.approx(plain.low(0.95))
    assert scaled.p_at_least(0.0) == pytest.approx(plain.p_at_least(0.0))


@pytest.mark.parametrize(
    "values", [np.full(50, 0.3), np.zeros(50), np.array([1.0, np.inf] * 10), np.array([1e308] * 9 + [-1e308])]
)
def test_without_a_spread_or_without_numbers_nothing_is_known(values):
    assert isinstance(mean_of_rows(values, None), Unknown)
    assert isinstance(mean_of_rows(values, np.zeros(len(values), dtype=np.intp)), Unknown)


def test_the_p_value_of_harm_says_what_the_upper_bound_says():
    random = np.random.default_rng(3)
    for values in (random.normal(-0.1, 1, 300), random.exponential(size=80) - 1.2, sparse(1) - 0.001):
        found = mean_of_rows(values, None)
        for margin in (0.0, 0.001, 0.05, 0.3):
            for alpha in (0.3, 0.05, 0.001):
                assert (found.p_at_least(-margin) < alpha) == (found.high(1 - alpha) < -margin)


def clustered(seed, groups=60, unequal=True):
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 30, groups) if unequal else np.full(groups, 9)
    of_row = np.repeat(np.arange(groups), sizes)
    return random.normal(0.1, 1, groups)[of_row] + random.normal(size=len(of_row)), of_row


@pytest.mark.parametrize("seed", range(3))
def test_groups_spread_a_mean_as_drawing_groups_does(seed):
    values, groups = clustered(seed)
    found, units = mean_of_rows(values, groups), grouped(groups)
    weights = np.concatenate(list(units.weights(1, 4000)))
    drawn = (weights @ units.sums(values)) / (weights @ units.sums(np.ones(len(values))))
    assert found.point == pytest.approx(values.mean())
    assert found.standard_error == pytest.approx(drawn.std(), rel=0.1)
    assert found.low(0.95) == pytest.approx(np.quantile(drawn, 0.05), abs=0.25 * drawn.std())
    assert found.high(0.95) == pytest.approx(np.quantile(drawn, 0.95), abs=0.25 * drawn.std())


@pytest.mark.parametrize("groups", [15, 100])
def test_bounds_over_groups_are_right_in_about_95_of_100_worlds(groups):
    found = [mean_of_rows(*clustered(seed, groups)) for seed in range(500)]
    assert np.mean([one.low(0.95) > 0.1 for one in found]) < 0.08
    assert np.mean([one.high(0.95) < 0.1 for one in found]) < 0.08


def test_groups_of_one_row_are_rows():
    values = np.random.default_rng(0).exponential(size=200)
    plain, alone = mean_of_rows(values, None), mean_of_rows(values, np.arange(200))
    assert isinstance(alone, Mean)
    assert (alone.low(0.95), alone.high(0.95)) == pytest.approx((plain.low(0.95), plain.high(0.95)))


def test_values_are_carried_by_as_many_rows_as_equal_ones_would_be():
    assert number_carrying(np.array([0.0, 3.0, -3.0, 3.0])) == 3
    assert number_carrying(np.array([1e-9] * 1000 + [1.0])) == pytest.approx(1)
    assert number_carrying(np.zeros(5)) == 0
