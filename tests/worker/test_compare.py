from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from retrain_daemon.core.metrics import METRICS
from retrain_daemon.worker.compare import compare
from retrain_daemon.worker.evaluate import Predictions, align, measure_of
from retrain_daemon.worker.paired.bootstrap import drawn_from
from retrain_daemon.worker.paired.estimate import Unknown, share_at_most
from retrain_daemon.worker.resample import alike, blocked, single

ALL_BINARY = [name for name, metric in METRICS.items() if metric.task == "classification"]


def sigmoid(scores):
    return 1 / (1 + np.exp(-scores))


def said(chance, classes=(0, 1)):
    names = np.array(classes)
    return Predictions(names[(chance > 0.5).astype(int)], np.column_stack([1 - chance, chance]), None, names)


def world(seed=0, rows=1000, better=0.3, apart=0.3, classes=(0, 1)):
    """Two related models of one truth; the second sees a little more."""
    random = np.random.default_rng(seed)
    truth = (random.random(rows) < 0.5).astype(int)
    signal = random.normal(size=rows) + 1.5 * truth - 0.75
    other = signal + apart * random.normal(size=rows) + better * (2 * truth - 1)
    return np.array(classes)[truth], said(sigmoid(signal), classes), said(sigmoid(other), classes)


def compared(truth, champion, challenger, metrics=("accuracy",), **more):
    asked = {"positive": 1, "confidence": 0.95, "groups": None, "seed": 3} | more
    found = compare(truth, champion, challenger, metrics=metrics, **asked)
    return found[0] if len(found) == 1 else found


def test_every_metric_gets_an_interval_around_its_gain():
    truth, champion, challenger = world()
    for found in compared(truth, champion, challenger, ALL_BINARY):
        assert found.problem == ""
        assert found.gain_low < found.gain < found.gain_high
        assert found.challenger_low < found.challenger < found.challenger_high
        assert found.gain > 0
        assert found.standard_error > 0


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("accuracy", "McNemar: score interval (Tango), sides by mid-p"),
        ("recall", "McNemar: score interval (Tango), sides by mid-p"),
        ("log_loss", "paired t"),
        ("brier", "paired t"),
        ("roc_auc", "paired DeLong"),
        ("f1", "paired bootstrap, 2,000 resamples of 1,000 rows"),
        ("average_precision", "paired bootstrap, 2,000 resamples of 1,000 rows"),
    ],
)
def test_each_metric_names_the_method_that_fits_it(name, method):
    assert compared(*world(), [name]).method == method


def test_the_rows_are_those_that_the_metric_is_about():
    truth, champion, challenger = world()
    either = (champion.labels == 1) | (challenger.labels == 1)
    asked = {"accuracy": 1000, "recall": (truth == 1).sum(), "precision": either.sum(), "log_loss": 1000}
    for found in compared(truth, champion, challenger, tuple(asked)):
        assert found.rows == asked[found.metric]


@pytest.mark.parametrize("name", ALL_BINARY)
def test_the_strict_bound_is_the_lower_bound_at_its_own_confidence(name):
    truth, champion, challenger = world()
    found = compared(truth, champion, challenger, [name], strict_confidence=0.98)
    assert found.gain_strict == compared(truth, champion, challenger, [name], confidence=0.98).gain_low
    assert found.gain_strict < found.gain_low
    assert compared(truth, champion, challenger, [name]).gain_strict is None


def test_a_smaller_loss_is_a_gain():
    random = np.random.default_rng(0)
    truth = random.normal(10, 2, 500)
    noise = random.normal(size=500)
    champion, challenger = Predictions(values=truth + noise), Predictions(values=truth + noise * 0.8)
    for found in compared(truth, champion, challenger, ("rmse", "mae", "mape", "r2")):
        assert 0 < found.gain_low < found.gain < found.gain_high, found
        assert (found.challenger < found.champion) == (found.metric != "r2")


def test_the_same_seed_gives_the_same_evidence_and_another_seed_another():
    truth, champion, challenger = world()
    once, again = (compared(truth, champion, challenger, ALL_BINARY) for _ in range(2))
    assert once == again
    assert compared(truth, champion, challenger, ALL_BINARY, seed=4) != once
    assert compared(truth, champion, challenger, ["brier"]) == once[ALL_BINARY.index("brier")]


@pytest.mark.parametrize("name", ["accuracy", "roc_auc", "log_loss"])
def test_pairing_makes_the_interval_several_times_narrower(name):
    truth, champion, challenger = world(apart=0.1, better=0.05)
    found = compared(truth, champion, challenger, [name])
    own = found.challenger_high - found.challenger_low
    unpaired = own * np.sqrt(2)
    assert found.gain_high - found.gain_low < unpaired / 3


@pytest.mark.parametrize("name", ["accuracy", "f1", "log_loss", "roc_auc"])
def test_rows_that_repeat_one_another_are_not_more_evidence(name):
    truth, champion, challenger = world(rows=400)
    copies = np.repeat(np.arange(400), 9)
    many = [Predictions(one.labels[copies], one.probabilities[copies], None, one.classes)
            for one in (champion, challenger)]  # fmt: skip
    narrow = compared(truth[copies], *many, [name])
    right = compared(truth[copies], *many, [name], groups=copies.astype(np.uint64))
    plain = compared(truth, champion, challenger, [name])
    width = plain.gain_high - plain.gain_low
    assert right.gain_high - right.gain_low == pytest.approx(width, rel=0.15)
    assert narrow.gain_high - narrow.gain_low < width / 2
    assert "400 groups" in right.method


def few_differ(rows, differing):
    """The challenger is right on `differing` rows where the champion is wrong, and they agree on all others."""
    truth = np.arange(rows) % 2
    chance = np.where(truth == 1, 0.9, 0.1)
    chance[::5] = 1 - chance[::5]
    better = chance.copy()
    better[::5][:differing] = 1 - better[::5][:differing]
    return truth, said(chance), said(better)


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy", "f1", "f1_macro", "precision", "recall"])
def test_equal_labels_do_not_prove_a_difference_of_zero(name):
    found = compared(*few_differ(600, 0), [name])
    assert found.gain == 0
    at_most = 1 - 0.05 ** (1 / 600)
    assert found.gain_low <= -at_most * 0.999
    assert found.gain_high == -found.gain_low
    assert "0 of 600 rows are predicted differently" in found.method or "fewer than 10 rows" in found.method


@pytest.mark.parametrize("name", ["accuracy", "recall", "f1", "log_loss"])
def test_equal_groups_do_not_prove_a_difference_of_zero(name):
    found = compared(*few_differ(600, 0), [name], groups=np.repeat(np.arange(120, dtype=np.uint64), 5))
    assert found.gain == 0
    assert found.gain_low is None or found.gain_low < -2 / 120


def test_the_bound_for_equal_labels_is_the_rule_of_three():
    found = compared(*few_differ(600, 0))
    assert found.gain_high == pytest.approx(3 / 600, rel=0.01)
    assert found.gain_low == pytest.approx(-(1 - 0.05 ** (1 / 600)))


def test_fewer_than_ten_rows_in_favour_show_no_gain_and_more_do():
    assert compared(*few_differ(600, 9)).gain_low <= 0
    assert compared(*few_differ(600, 10)).gain_low > 0


def carried_by(count, rows=400):
    """Two regressions that differ everywhere by noise, and by much on so many rows, where the champion is far off."""
    random = np.random.default_rng(0)
    truth = random.normal(size=rows)
    champion, challenger = (truth + random.normal(scale=0.01, size=rows) for _ in range(2))
    champion[:count] += 5
    return truth, Predictions(values=champion), Predictions(values=challenger)


@pytest.mark.parametrize("name", ["rmse", "r2", "mae"])
@pytest.mark.parametrize("groups", [None, np.arange(400, dtype=np.uint64) % 200])
def test_a_gain_that_fewer_than_ten_rows_make_up_is_not_shown_though_all_rows_differ(name, groups):
    few = compared(*carried_by(9), [name], groups=groups, strict_confidence=0.975)
    assert few.gain > 0
    assert (few.gain_low, few.gain_strict) == (0, 0)
    assert "carried by fewer than 10" in few.method
    assert compared(*carried_by(12), [name], groups=groups).gain_low > 0


@pytest.mark.parametrize("name", ["balanced_accuracy", "average_precision"])
def test_a_gain_on_few_rows_of_a_rare_class_is_not_shown_though_more_of_the_others_differ(name):
    truth = (np.arange(1000) < 40).astype(int)
    right = np.where(truth == 1, 0.9, 0.1)
    champion, challenger = right.copy(), right.copy()
    champion[:8] = 0.05  # eight of the rare class, which the challenger has right
    champion[500:520], challenger[520:540] = 0.6, 0.6
    found = compared(truth, said(champion), said(challenger), [name], strict_confidence=0.975)
    assert found.gain > 0
    assert (found.gain_low, found.gain_strict) == (0, 0)


def test_a_loss_that_differs_on_few_rows_has_no_bound():
    found = compared(*few_differ(600, 4), ["log_loss"])
    assert found.gain is not None
    assert (found.gain_low, found.gain_high) == (None, None)
    assert "only 4 of 600 rows are predicted differently" in found.problem


def test_a_model_that_is_never_wrong_is_not_shown_to_be_perfect():
    truth, champion, _ = few_differ(300, 0)
    found = compared(truth, champion, said(np.where(truth == 1, 0.9, 0.1)), ["accuracy"])
    assert found.challenger == 1
    assert found.challenger_low == pytest.approx(0.05 ** (1 / 300))


def test_a_ranking_without_a_mistake_is_not_shown_to_be_perfect():
    truth, _, _ = few_differ(300, 0)
    perfect = [said(np.where(truth == 1, high, 1 - high)) for high in (0.8, 0.9)]
    found = compared(truth, *perfect, ["roc_auc", "average_precision"])
    # 150 pairs that share no row, none of them wrong
    assert found[0].challenger_low == pytest.approx(0.05 ** (1 / 150))
    assert found[0].gain_high == -found[0].gain_low == pytest.approx(1 - 0.05 ** (1 / 150))
    assert found[1].gain_low is None
    assert "same in every resample" in found[1].problem


def test_a_precision_without_a_mistake_is_not_shown_to_be_perfect():
    truth = np.arange(400) % 2
    cautious = np.where((truth == 1) & (np.arange(400) % 4 == 1), 0.9, 0.1)
    bolder = np.where((truth == 1) & (np.arange(400) % 8 != 1), 0.9, 0.1)
    found = compared(truth, said(cautious), said(bolder), ["precision"])
    assert found.challenger == 1
    assert found.challenger_low == pytest.approx(0.05 ** (1 / (bolder > 0.5).sum()))
    assert found.gain_low is None


def test_where_only_the_champion_has_no_value_the_challengers_own_is_known():
    truth, _, challenger = world()
    found = compared(truth, said(np.full(1000, 0.1)), challenger, ["precision"])
    assert (found.champion, found.gain, found.gain_low) == (None, None, None)
    assert found.problem.startswith("champion: precision is undefined")
    assert found.challenger_low < found.challenger < found.challenger_high


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_a_handful_of_rows_has_no_bounds(rows):
    truth, champion, challenger = world(rows=rows)
    for found in compared(truth, champion, challenger, ALL_BINARY):
        assert found.gain_low is None
        assert found.problem


def test_a_handful_of_groups_has_no_bounds():
    found = compared(*world(rows=900), groups=np.arange(900, dtype=np.uint64) % 3)
    assert found.gain_low is None
    assert "only 3 groups" in found.problem


def test_rows_of_one_class_bound_no_metric_about_classes():
    truth, champion, challenger = world()
    for found in compared(np.ones_like(truth), champion, challenger, ["roc_auc", "average_precision", "recall"]):
        assert found.gain_low is None or found.metric in {"recall", "average_precision"}
    assert "no row is of class '0'" in compared(np.ones_like(truth), champion, challenger, ["roc_auc"]).problem


def test_a_rare_class_bounds_no_metric_about_classes():
    truth, champion, challenger = world()
    rare = np.zeros_like(truth)
    rare[:4] = 1
    for name in ("recall", "roc_auc", "balanced_accuracy"):
        assert "only 4 rows of class '1'" in compared(rare, champion, challenger, [name]).problem
    assert compared(rare, champion, challenger, ["accuracy"]).problem == ""


def test_a_prediction_that_is_no_number_leaves_everything_unknown():
    truth, champion, challenger = world()
    challenger.probabilities[5] = np.nan
    for found in compared(truth, champion, challenger, ALL_BINARY):
        assert (found.challenger, found.gain, found.gain_low) == (None, None, None)
        assert "challenger predicts no number on 1 of 1,000 rows" in found.problem


def test_a_problem_names_the_model_it_is_about():
    truth, champion, challenger = world()
    found = compared(truth, champion, Predictions(challenger.labels), ["roc_auc"])
    assert found.champion is not None
    assert found.challenger is None
    assert found.problem.startswith("challenger: roc_auc is computed from probabilities")


def test_classes_may_be_words_and_a_wrong_positive_is_said():
    words = compared(*world(classes=("no", "yes")), ["f1"], positive="yes")
    numbers = compared(*world(), ["f1"])
    assert words == numbers
    assert "'ja' is not among" in compared(*world(classes=("no", "yes")), ["f1"], positive="ja").problem


def test_more_than_two_classes_are_ranked_one_against_the_rest():
    random = np.random.default_rng(2)
    truth = random.integers(0, 4, 600)
    base = random.normal(size=(600, 4)) + np.eye(4)[truth]
    models = []
    for scores in (base, base + 0.3 * random.normal(size=base.shape) + 0.5 * np.eye(4)[truth]):
        chance = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        models.append(Predictions(chance.argmax(axis=1), chance, None, np.arange(4)))
    for found in compared(truth, *models, ["roc_auc", "f1_macro", "balanced_accuracy", "brier"], positive=None):
        assert 0 < found.gain_low < found.gain < found.gain_high


def test_a_confidence_too_high_for_the_resamples_uses_a_normal_curve_and_says_so():
    found = compared(*world(), ["f1"], confidence=0.999)
    wide = found.gain_high - found.gain_low
    usual = compared(*world(), ["f1"])
    assert found.method.endswith("at 99.9 %: estimate ± 3.1 × bootstrap standard error")
    assert wide / (usual.gain_high - usual.gain_low) == pytest.approx(3.09 / 1.645, rel=0.08)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_a_ranking_to_first_order_spreads_as_the_exact_one(name):
    truth, champion, challenger = world(rows=3000)
    models = [measure_of(name, scored) for scored in align(truth, (champion, challenger), 1)]
    units = single(3000)
    exact, linear = (
        np.concatenate([two(weights) - one(weights) for weights in units.weights(1, 300)])
        for one, two in ([m.on(units) for m in models], [m.first_order().on(units) for m in models])
    )
    assert np.corrcoef(exact, linear)[0, 1] > 0.99
    assert np.quantile(linear, [0.05, 0.95]) == pytest.approx(np.quantile(exact, [0.05, 0.95]), abs=0.2 * exact.std())


def test_a_long_ranking_is_taken_to_first_order_and_the_method_says_so():
    found = compared(*world(rows=50_000), ["average_precision"], resamples=400)
    assert found.method.endswith("20,000 random blocks, first order in the weights")
    assert found.gain_low < found.gain < found.gain_high


def spread(units, values):
    column = np.concatenate([weights @ units.sums(values) for weights in units.weights(1, 2000)])
    return column.std() / len(values)


def test_drawing_cells_or_blocks_spreads_a_mean_as_drawing_rows_does():
    values = np.random.default_rng(0).integers(0, 3, 4000).astype(float)
    expected = values.std() / np.sqrt(4000)
    for units in (single(4000), alike(values.astype(int)), blocked(single(4000), 1, blocks=1000)):
        assert spread(units, values) == pytest.approx(expected, rel=0.08)


def test_many_groups_are_drawn_in_blocks_and_the_method_says_so():
    groups = np.arange(60_000, dtype=np.uint64) // 2
    found = compared(*world(rows=60_000), ["f1"], resamples=400, groups=groups)
    assert found.method == "paired bootstrap, 400 resamples of 30,000 groups in 20,000 random blocks"
    assert found.gain_low < found.gain < found.gain_high


def test_resamples_without_a_value_are_counted():
    values = np.array([0.1] * 970 + [np.nan] * 30)
    assert drawn_from(values, 0.1, 500, "") == Unknown("it is undefined in 30 of 1,000 resamples")
    assert not isinstance(drawn_from(values[:975], 0.1, 500, ""), Unknown)


@pytest.mark.parametrize(("count", "total"), [(0, 100), (3, 50), (9, 1000), (2, 1_000_000), (4, 5)])
def test_the_exact_bound_on_a_share_is_that_of_clopper_and_pearson(count, total):
    assert share_at_most(count, total, 0.95) == pytest.approx(beta.ppf(0.95, count + 1, total - count), rel=1e-6)
    assert share_at_most(total, total, 0.95) == 1


def test_at_the_least_confidence_that_a_policy_may_ask_for_bounds_are_at_the_value_about():
    for found in compared(*world(), ALL_BINARY, confidence=0.5, strict_confidence=0.75):
        assert found.gain_strict <= found.gain_low <= found.gain_high
        assert found.gain_low == pytest.approx(found.gain, abs=0.005)


def test_a_confidence_outside_its_range_is_an_error():
    with pytest.raises(ValueError, match=r"between 0.5 and 1, not 95"):
        compared(*world(), confidence=95)


def coverage(name, rows, true_gain):
    """How often the lower bound is below the true gain, and the upper above, in 200 worlds."""
    low, high = 0, 0
    for seed in range(200):
        truth, champion, challenger = world(seed, rows)
        found = compared(truth, champion, challenger, [name], resamples=400)
        low += found.gain_low <= true_gain
        high += found.gain_high >= true_gain
    return low / 200, high / 200


@pytest.mark.parametrize("name", ["accuracy", "log_loss", "f1", pytest.param("roc_auc", marks=pytest.mark.slow)])
def test_a_bound_at_95_percent_is_right_in_about_95_of_100_worlds(name):
    truth, champion, challenger = world(10**6, 400_000)
    true_gain = compared(truth, champion, challenger, [name], resamples=20).gain
    low, high = coverage(name, 300, true_gain)
    # 190 of 200 expected; four standard deviations of a binomial on either side
    assert 0.885 <= low <= 1
    assert 0.885 <= high <= 1
    assert low + high < 2


def test_a_gain_in_several_outputs_is_shown_and_other_numbers_of_outputs_are_not_compared():
    random = np.random.default_rng(0)
    truth = random.normal(10, 2, (500, 2))
    noise = random.normal(size=(500, 2))
    champion, challenger = Predictions(values=truth + noise), Predictions(values=truth + noise * 0.8)
    for groups in (None, np.repeat(np.arange(100, dtype=np.uint64), 5)):
        for found in compared(truth, champion, challenger, ("rmse", "mae", "mape", "r2"), groups=groups):
            assert 0 < found.gain_low < found.gain < found.gain_high, found
    refused = compared(truth, champion, Predictions(values=truth[:, :1]), ("rmse",))
    assert refused.problem == "rmse is unknown: the champion predicts 2 values a row and the challenger 1"


def test_classes_are_matched_by_their_text_whatever_array_holds_them():
    truth, champion, challenger = world(classes=("no", "yes"))
    objects = Predictions(
        challenger.labels.astype(object), challenger.probabilities, None, challenger.classes.astype(object)
    )
    wanted = compared(truth, champion, challenger, ["accuracy", "log_loss"], positive="yes")
    assert compared(truth.astype(object), champion, objects, ["accuracy", "log_loss"], positive="yes") == wanted
