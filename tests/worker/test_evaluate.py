from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from retrain_daemon.core.metrics import METRICS
from retrain_daemon.worker.evaluate import (
    Predictions,
    align,
    canonical,
    count_not_a_number,
    identical,
    measure_of,
    value_of,
)
from retrain_daemon.worker.resample import single


def binary(seed=0, rows=300, classes=("no", "yes")):
    random = np.random.default_rng(seed)
    chance = random.random(rows).round(2)  # rounded, so that scores are tied
    codes = (random.random(rows) < 0.2 + 0.6 * chance).astype(int)
    names = np.array(classes)
    probabilities = np.column_stack([1 - chance, chance])
    return names[codes], Predictions(names[(chance > 0.5).astype(int)], probabilities, None, names)


def several(seed=1, rows=400, classes=5):
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, rows)
    scores = random.normal(size=(rows, classes)) + 2 * np.eye(classes)[truth]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return truth, Predictions(probabilities.argmax(axis=1), probabilities, None, np.arange(classes))


def value(name, truth, predictions, positive="yes"):
    measure = measure_of(name, align(truth, [predictions], positive)[0])
    assert not isinstance(measure, str), measure
    return value_of(measure)


def problem(name, truth, predictions, positive="yes"):
    measure = measure_of(name, align(truth, [predictions], positive)[0])
    assert isinstance(measure, str), measure
    return measure


BINARY = {
    "accuracy": lambda y, p: reference.accuracy_score(y, p.labels),
    "balanced_accuracy": lambda y, p: reference.balanced_accuracy_score(y, p.labels),
    "f1": lambda y, p: reference.f1_score(y, p.labels, pos_label="yes"),
    "f1_macro": lambda y, p: reference.f1_score(y, p.labels, average="macro"),
    "precision": lambda y, p: reference.precision_score(y, p.labels, pos_label="yes"),
    "recall": lambda y, p: reference.recall_score(y, p.labels, pos_label="yes"),
    "roc_auc": lambda y, p: reference.roc_auc_score(y, p.probabilities[:, 1]),
    "average_precision": lambda y, p: reference.average_precision_score(y, p.probabilities[:, 1], pos_label="yes"),
    "log_loss": lambda y, p: reference.log_loss(y, p.probabilities),
    "brier": lambda y, p: reference.brier_score_loss(y, p.probabilities[:, 1], pos_label="yes"),
}
SEVERAL = {
    "accuracy": lambda y, p: reference.accuracy_score(y, p.labels),
    "balanced_accuracy": lambda y, p: reference.balanced_accuracy_score(y, p.labels),
    "f1_macro": lambda y, p: reference.f1_score(y, p.labels, average="macro"),
    "roc_auc": lambda y, p: reference.roc_auc_score(y, p.probabilities, multi_class="ovr", average="macro"),
    "log_loss": lambda y, p: reference.log_loss(y, p.probabilities),
    "brier": lambda y, p: reference.brier_score_loss(y, p.probabilities),
}
REGRESSION = {
    "rmse": reference.root_mean_squared_error,
    "mae": reference.mean_absolute_error,
    "mape": reference.mean_absolute_percentage_error,
    "r2": reference.r2_score,
}


def test_every_metric_a_policy_may_name_is_checked_here():
    assert set(BINARY) | set(REGRESSION) == set(METRICS)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("seed", range(3))
def test_metrics_of_two_classes_agree_with_scikit_learn(name, seed):
    truth, predictions = binary(seed)
    assert value(name, truth, predictions) == pytest.approx(BINARY[name](truth, predictions), abs=1e-12)


@pytest.mark.parametrize("name", SEVERAL)
def test_metrics_of_several_classes_agree_with_scikit_learn(name):
    truth, predictions = several()
    assert value(name, truth, predictions, None) == pytest.approx(SEVERAL[name](truth, predictions), abs=1e-12)


@pytest.mark.parametrize("name", REGRESSION)
def test_regression_metrics_agree_with_scikit_learn(name):
    random = np.random.default_rng(0)
    truth = random.normal(1000, 3, 500)
    predicted = truth + random.normal(size=500)
    assert value(name, truth, Predictions(values=predicted)) == pytest.approx(REGRESSION[name](truth, predicted))


@pytest.mark.parametrize("name", sorted(set(BINARY) - {"f1_macro", "balanced_accuracy"}))
def test_a_weight_is_worth_so_many_copies_of_the_row(name):
    truth, predictions = binary(rows=80)
    weights = np.random.default_rng(5).integers(0, 4, 80)
    copies = np.repeat(np.arange(80), weights)
    measure = measure_of(name, align(truth, [predictions], "yes")[0])
    again = Predictions(predictions.labels[copies], predictions.probabilities[copies], None, predictions.classes)
    weighted = measure.on(single(80))(weights[None].astype(float))[0]
    assert weighted == pytest.approx(BINARY[name](truth[copies], again), abs=1e-12)


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_the_influence_of_a_row_is_the_slope_of_the_metric_in_its_weight(name):
    truth, predictions = binary(rows=60)
    measure = measure_of(name, align(truth, [predictions], "yes")[0])
    exact, linear = measure.on(single(60)), measure.first_order().on(single(60))
    nudged = np.ones((60, 60)) + 1e-6 * np.eye(60)
    slopes = (exact(nudged) - exact(np.ones((1, 60)))) / 1e-6
    assert (linear(nudged) - linear(np.ones((1, 60)))) / 1e-6 == pytest.approx(slopes, abs=1e-6)


@pytest.mark.parametrize(
    ("classes", "positive"),
    [(("no", "yes"), "yes"), ((0, 1), 1), ((0, 1), "1"), ((0.0, 1.0), 1), ((False, True), True), ((False, True), 1),
     ((0, 1), True), (("0", "1"), 1)],
)  # fmt: skip
def test_the_positive_class_is_found_however_it_is_spelled(classes, positive):
    truth, predictions = binary(classes=classes)
    recall = reference.recall_score(truth == np.array(classes)[1], predictions.labels == np.array(classes)[1])
    assert value("recall", truth, predictions, positive) == pytest.approx(recall)


def test_a_positive_that_is_no_class_is_named_with_the_classes_there_are():
    truth, predictions = binary()
    for name in ("recall", "average_precision", "roc_auc"):
        assert "'ja' is not among the classes 'no', 'yes'" in problem(name, truth, predictions, "ja")
    assert "none is named" in problem("f1", truth, predictions, None)
    assert value("roc_auc", truth, predictions, None) == pytest.approx(BINARY["roc_auc"](truth, predictions))


def test_a_binary_metric_over_three_classes_is_refused():
    truth, predictions = several(classes=3)
    assert "two classes and there are 3" in problem("precision", truth, predictions, 1)


def test_a_class_the_model_does_not_know_has_probability_zero():
    truth, predictions = binary(rows=100)
    truth = truth.astype("<U5")
    truth[0] = "maybe"
    known = np.where(truth == "yes", predictions.probabilities[:, 1], predictions.probabilities[:, 0])[1:]
    eps = np.finfo(float).eps
    expected = (-np.log(eps) - np.log(np.clip(known, eps, 1 - eps)).sum()) / 100
    assert value("log_loss", truth, predictions) == pytest.approx(expected)
    assert value("accuracy", truth, predictions) == np.mean(truth == predictions.labels)


def test_rows_of_one_class_leave_ranking_and_recall_undefined():
    _, predictions = binary(rows=50)
    truth = np.full(50, "no")
    assert "no row is of class 'yes'" in problem("roc_auc", truth, predictions)
    assert "no row is of the positive class" in problem("recall", truth, predictions)
    assert "no row is of the positive class" in problem("average_precision", truth, predictions)


def test_precision_of_a_model_that_never_says_positive_is_undefined_not_zero():
    truth, predictions = binary(rows=50)
    never = Predictions(np.full(50, "no"), None, None, predictions.classes)
    assert value("precision", truth, never) is None
    assert value("f1", truth, never) == 0


def test_a_zero_among_the_true_values_leaves_mape_undefined():
    truth = np.array([0.0, 1.0, 2.0])
    assert "0 in 1 rows" in problem("mape", truth, Predictions(values=truth + 1))
    assert "same in every row" in problem("r2", np.full(9, 0.1), Predictions(values=np.arange(9.0)))


def test_scores_that_are_no_probabilities_have_no_log_loss():
    truth, predictions = binary(rows=50)
    wrong = Predictions(predictions.labels, np.ones((50, 2)), None, predictions.classes)
    assert "add up to 1" in problem("log_loss", truth, wrong)
    assert "does not give" in problem("log_loss", truth, Predictions(predictions.labels))


def test_a_metric_of_the_other_task_is_refused():
    truth, predictions = binary(rows=50)
    assert "is about regression" in problem("rmse", truth, predictions)
    assert "is about classification" in problem("accuracy", np.arange(9.0), Predictions(values=np.arange(9.0)))
    assert "not a metric known here" in problem("auc_roc", truth, predictions)


def test_rows_without_a_number_are_counted_once():
    probabilities = np.array([[0.5, np.nan], [np.inf, 0.5], [0.5, 0.5]])
    assert count_not_a_number(Predictions(np.array([1.0, np.nan, 0.0]), probabilities)) == 2
    assert count_not_a_number(Predictions(np.array(["a", None, "b"], dtype=object))) == 1
    assert count_not_a_number(Predictions(values=np.array([1.0, -np.inf]))) == 1
    assert count_not_a_number(Predictions(np.array([1, 2]))) == 0


def test_predictions_are_identical_only_if_every_row_is():
    _, predictions = binary()
    turned = Predictions(predictions.labels, predictions.probabilities[:, ::-1], None, predictions.classes[::-1])
    assert identical(predictions, turned)
    moved = predictions.probabilities.copy()
    moved[7] = moved[7, ::-1]
    assert not identical(predictions, Predictions(predictions.labels, moved, None, predictions.classes))
    assert identical(Predictions(np.array([1, 2])), Predictions(np.array([1.0, 2.0])))
    assert not identical(Predictions(values=np.array([1.0])), Predictions(values=np.array([2.0])))


def test_a_class_is_known_by_its_text():
    assert [canonical(one) for one in (1, 1.0, np.int8(1), "1", 1.5, True, np.bool_(False))] == [
        "1", "1", "1", "1", "1.5", "true", "false"
    ]  # fmt: skip


def test_predictions_for_other_rows_are_an_error():
    with pytest.raises(ValueError, match="3 predictions do not belong to 4 rows"):
        align(np.arange(4), [Predictions(np.arange(3))], None)


def test_metrics_of_several_outputs_are_the_mean_over_them() -> None:
    random = np.random.default_rng(3)
    truth = random.normal(size=(200, 3)) * [1, 10, 100] + [5, 50, 500]
    predicted = truth + random.normal(size=(200, 3)) * [0.1, 5, 20]
    found = {name: value(name, truth, Predictions(values=predicted)) for name in ("rmse", "mae", "mape", "r2")}
    assert found == {
        "rmse": pytest.approx(reference.root_mean_squared_error(truth, predicted)),
        "mae": pytest.approx(reference.mean_absolute_error(truth, predicted)),
        "mape": pytest.approx(reference.mean_absolute_percentage_error(truth, predicted)),
        "r2": pytest.approx(reference.r2_score(truth, predicted)),
    }
    truth[:, 1] = 7
    assert problem("r2", truth, Predictions(values=predicted)).startswith("r2 is undefined")


def test_other_numbers_of_outputs_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match="2 predicted values a row do not belong to 3 true ones"):
        align(np.ones((4, 3)), [Predictions(values=np.ones((4, 2)))], None)
