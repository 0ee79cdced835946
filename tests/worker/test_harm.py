from __future__ import annotations

import numpy as np
import pytest

from retrain_daemon.core.metrics import METRICS
from retrain_daemon.worker.compare import compare_metric
from retrain_daemon.worker.evaluate import Predictions, align
from retrain_daemon.worker.harm import harm

BINARY = [name for name, metric in METRICS.items() if metric.task == "classification"]
NUMBERS = [name for name, metric in METRICS.items() if metric.task == "regression"]


def classes(seed=0, rows=400, better=-0.2, apart=0.4):
    """A challenger that sees less than the champion where `better` is negative."""
    random = np.random.default_rng(seed)
    truth = (random.random(rows) < 0.5).astype(int)
    signal = random.normal(size=rows) + 1.5 * truth - 0.75
    other = signal + apart * random.normal(size=rows) + better * (2 * truth - 1)
    models = []
    for scores in (signal, other):
        chance = 1 / (1 + np.exp(-scores))
        models.append(
            Predictions((chance > 0.5).astype(int), np.column_stack([1 - chance, chance]), None, np.array([0, 1]))
        )
    return align(truth, models, 1)


def numbers(seed=0, rows=400, wider=1.1):
    random = np.random.default_rng(seed)
    truth = random.normal(10, 2, rows)
    noise = random.normal(size=rows)
    champion, challenger = truth + noise, truth + wider * noise + 0.3 * random.normal(size=rows)
    return align(truth, [Predictions(values=champion), Predictions(values=challenger)], None)


def asked(name, models, margin, **more):
    return harm(name, *models, margin, **{"groups": None, "seed": 1} | more)


@pytest.mark.parametrize("name", [*BINARY, *NUMBERS])
@pytest.mark.parametrize("groups", [None, np.arange(400, dtype=np.uint64) // 4])
def test_harm_is_shown_exactly_where_the_upper_bound_of_the_gain_shows_it(name, groups):
    models = numbers() if name in NUMBERS else classes()
    for alpha in (0.3, 0.05, 0.02):
        found = compare_metric(name, *models, confidence=1 - alpha, groups=groups, seed=1)
        for beside in (-0.002, 0.002):
            margin = -found.gain_high + beside
            if margin >= 0:
                assert (asked(name, models, margin, groups=groups) < alpha) == (beside < 0)


@pytest.mark.parametrize("name", [*BINARY, *NUMBERS])
def test_the_wider_the_margin_the_less_harm_is_shown(name):
    models = numbers() if name in NUMBERS else classes()
    found = [asked(name, models, margin) for margin in (0.0, 0.01, 0.05, 0.3)]
    assert found == sorted(found)
    assert found[0] < 0.05
    assert found[-1] > 0.5
    assert all(0 <= p <= 1 for p in found)


@pytest.mark.parametrize("name", BINARY)
def test_no_harm_is_shown_of_a_model_that_is_better(name):
    assert asked(name, classes(better=0.3), 0.0) > 0.5


@pytest.mark.parametrize("name", ["accuracy", "log_loss", "roc_auc", "f1"])
def test_equal_models_look_harmful_about_as_often_as_alpha_says(name):
    found = []
    for seed in range(200):
        first, _ = classes(seed, rows=250, better=0.0, apart=0.0)
        random = np.random.default_rng(seed + 1000)
        noisy = []
        for _ in range(2):
            chance = np.clip(first.probabilities[:, 1] + 0.1 * random.normal(size=250), 0.001, 0.999)
            outputs = np.column_stack([1 - chance, chance])
            noisy.append(Predictions((chance > 0.5).astype(int), outputs, None, np.array([0, 1])))
        found.append(asked(name, align(first.truth, noisy, 1), 0.0, resamples=400))
    # 10 of 200 expected, and never more than four standard deviations above
    assert np.mean(np.array(found) < 0.05) <= 0.11
    assert 0.35 < np.mean(found) < 0.7


def test_a_slice_is_judged_by_its_own_rows():
    models = classes(rows=2000, better=0.2)
    chosen = np.flatnonzero(models[0].truth == models[0].truth)[:300]
    hurt = models[1].labels.copy()
    hurt[chosen] = 1 - models[0].truth[chosen]
    challenger = models[1].take(np.arange(2000))
    challenger.labels[:] = hurt
    assert asked("accuracy", (models[0].take(chosen), challenger.take(chosen)), 0.05) < 1e-6
    others = np.arange(2000) >= 300
    assert asked("accuracy", (models[0].take(others), challenger.take(others)), 0.05) > 0.9


def test_a_slice_keeps_the_classes_it_lacks_and_says_what_is_undefined():
    models = [one.take(one.truth == 0) for one in classes()]
    assert models[0].classes == ("0", "1")
    for name in ("recall", "roc_auc", "average_precision"):
        assert asked(name, models, 0.0) is None
        found = compare_metric(name, *models, confidence=0.95, groups=None, seed=1)
        assert found.problem
        assert found.rows == (0 if name == "recall" else len(models[0].truth))


@pytest.mark.parametrize("name", [*BINARY, *NUMBERS])
@pytest.mark.parametrize("rows", [0, 1, 9])
def test_a_handful_of_rows_shows_no_harm(name, rows):
    models = [one.take(np.arange(rows)) for one in (numbers() if name in NUMBERS else classes())]
    assert asked(name, models, 0.0) is None


def test_a_loss_without_variance_shows_no_harm():
    truth = np.arange(100.0)
    shifted = align(truth, [Predictions(values=truth + 1), Predictions(values=truth + 2)], None)
    for name in ("mae", "rmse"):
        assert asked(name, shifted, 0.0) is None
        assert compare_metric(name, *shifted, confidence=0.95, groups=None, seed=1).gain_low is None


@pytest.mark.parametrize("name", BINARY)
def test_equal_predictions_show_no_harm(name):
    champion, _ = classes()
    found = asked(name, (champion, champion), 0.0)
    assert found is None or found == 1


def test_a_margin_below_zero_is_an_error():
    for margin in (-0.01, float("nan")):
        with pytest.raises(ValueError, match="a margin is 0 or more"):
            asked("accuracy", classes(), margin)
