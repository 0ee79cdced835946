"""Continued training of scikit-learn models, on real estimators small enough to fit in milliseconds."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.ensemble import (
    BaggingRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier, SGDRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputRegressor, RegressorChain
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from retrain_daemon.core.metrics import Task
from retrain_daemon.core.policy import Mode
from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.features import Table
from retrain_daemon.worker.frameworks.sklearn import (
    Continued,
    continue_training,
    describe_modes,
    outputs_of,
    predict,
    target_array,
    task_of,
)

CONTINUING = [Mode.WARM_START, Mode.INCREMENTAL]


def rows(count: int = 300, seed: int = 0, shift: float = 0.0) -> pd.DataFrame:
    values = np.random.default_rng(seed).normal(size=(count, 3)) + shift
    return pd.DataFrame(values, columns=["a", "b", "c"])


def labels(features: pd.DataFrame) -> pd.Series:
    return pd.Series(np.where(features["a"] + features["b"] > features["a"].mean(), "yes", "no"))


def numbers(features: pd.DataFrame) -> pd.Series:
    return features["a"] * 2 + features["b"] ** 2


def champion(estimator: Any, truth: Any = labels) -> Any:
    features = rows()
    return estimator.fit(features, truth(features))


def nobody(done: int, total: int) -> None:
    """Nobody watches."""


def go_on(estimator: Any, mode: Mode, features: pd.DataFrame | None = None, target: Any = None, **hyper: Any) -> Any:
    return continued(estimator, mode, features, target, **hyper).estimator


def continued(
    estimator: Any, mode: Mode, features: pd.DataFrame | None = None, target: Any = None, **hyper: Any
) -> Continued:
    features = rows(250, seed=1, shift=1.0) if features is None else features
    target = labels(features) if target is None else target
    return continue_training(estimator, mode, hyper, Table(features), target, seed=7, progress=nobody)


def pipeline() -> Any:
    return champion(Pipeline([("scaler", StandardScaler()), ("classifier", SGDClassifier(random_state=0))]))


@pytest.mark.parametrize("mode", CONTINUING)
def test_going_on_keeps_the_fitted_scaler_and_moves_the_classifier(mode: Mode) -> None:
    old = pipeline()
    new = go_on(old, mode)
    assert np.array_equal(new["scaler"].mean_, old["scaler"].mean_)
    assert not np.array_equal(new["classifier"].coef_, old["classifier"].coef_)


def test_a_refit_learns_the_scaler_anew() -> None:
    old = pipeline()
    assert np.allclose(go_on(old, Mode.REFIT)["scaler"].mean_, old["scaler"].mean_ + 1.0, atol=0.3)


def test_incremental_goes_on_counting_steps_where_a_refit_begins_again() -> None:
    old = champion(SGDClassifier(random_state=0))
    assert go_on(old, Mode.INCREMENTAL).t_ == old.t_ + 250
    assert go_on(old, Mode.REFIT, max_iter=1, tol=None).t_ == 251


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("estimator", [SGDClassifier(random_state=0), SGDRegressor(random_state=0)])
def test_an_estimator_that_learned_from_numbers_of_32_bits_goes_on(estimator: Any, scaled: bool, mode: Mode) -> None:
    features = rows(100)
    target = numbers(features) if isinstance(estimator, SGDRegressor) else labels(features)
    old = make_pipeline(StandardScaler(), clone(estimator)) if scaled else clone(estimator)
    old.fit(features.astype(np.float32), target)
    new = go_on(old, mode, features, target)
    assert np.isfinite((new[-1] if scaled else new).coef_).all()


def test_warm_start_starts_from_the_learned_coefficients() -> None:
    old = champion(LogisticRegression(max_iter=500))
    features = rows()
    new = go_on(old, Mode.WARM_START, features, labels(features))
    assert new.n_iter_[0] < old.n_iter_[0] / 2


@pytest.mark.parametrize("mode", list(Mode))
def test_the_champion_object_stays_as_it_was(mode: Mode) -> None:
    old = pipeline()
    before = pickle.dumps(copy.deepcopy(old))
    go_on(old, mode, classifier__alpha=0.01)
    assert pickle.dumps(copy.deepcopy(old)) == before


def test_training_is_the_same_every_time_even_without_a_random_state() -> None:
    old = champion(RandomForestClassifier(n_estimators=5))
    features = rows(50, seed=3)
    first, second = (go_on(old, Mode.REFIT).predict_proba(features) for _ in range(2))
    assert np.array_equal(first, second)


def test_the_global_random_state_is_left_alone() -> None:
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    go_on(champion(GaussianNB()), Mode.INCREMENTAL)
    assert np.random.random() == expected


def test_gradient_boosting_keeps_its_old_trees_and_gets_a_fifth_more() -> None:
    old = champion(GradientBoostingClassifier(n_estimators=60, max_depth=2, random_state=0))
    outcome = continued(old, Mode.WARM_START)
    new = outcome.estimator
    kept = [tree.tree_.threshold for tree in new.estimators_[:60, 0]]
    assert all(np.array_equal(a, b.tree_.threshold) for a, b in zip(kept, old.estimators_[:, 0], strict=True))
    assert len(new.estimators_) == 72
    assert outcome.notes == ("GradientBoostingClassifier grows from 60 to 72 members (n_estimators).",)


@pytest.mark.parametrize("forest", [RandomForestClassifier, ExtraTreesClassifier])
def test_a_forest_gets_at_least_ten_more_trees(forest: Any) -> None:
    old = champion(forest(n_estimators=8, random_state=0))
    new = go_on(old, Mode.WARM_START)
    assert len(new.estimators_) == 18
    assert new.get_params()["warm_start"] is False


def test_regressing_ensembles_grow_too() -> None:
    features = rows(200, seed=2)
    for estimator in (RandomForestRegressor(n_estimators=5), BaggingRegressor(n_estimators=5)):
        new = go_on(champion(estimator, numbers), Mode.WARM_START, features, numbers(features))
        assert len(new.estimators_) == 15


def test_the_policy_may_name_the_size() -> None:
    old = champion(make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=8)))
    new = go_on(old, Mode.WARM_START, randomforestclassifier__n_estimators=9)
    assert len(new[-1].estimators_) == 9


@pytest.mark.parametrize("size", [8, 5, None])
def test_a_size_not_above_the_present_one_is_refused_with_the_numbers(size: int | None) -> None:
    old = champion(RandomForestClassifier(n_estimators=8))
    with pytest.raises(Refused, match=f"n_estimators: {size} asks for no more than the 8 members"):
        go_on(old, Mode.WARM_START, n_estimators=size)


def test_histogram_boosting_corrects_the_errors_its_old_trees_really_make() -> None:
    old = champion(HistGradientBoostingRegressor(max_iter=40), numbers)
    moved = rows(2000, seed=4, shift=2.0)
    new = go_on(old, Mode.WARM_START, moved, numbers(moved), max_iter=80)
    unpatched = copy.deepcopy(old).set_params(warm_start=True, max_iter=80).fit(moved, numbers(moved))
    error, naive, before = (np.mean((model.predict(moved) - numbers(moved)) ** 2) for model in (new, unpatched, old))
    assert error < naive / 2
    assert error < before / 2
    assert "_bin_data" not in vars(new)


def test_histogram_boosting_that_stopped_early_grows_from_where_it_stopped() -> None:
    old = champion(HistGradientBoostingClassifier(max_iter=500, early_stopping=True, n_iter_no_change=5))
    stopped = old.n_iter_
    new = go_on(old, Mode.WARM_START)
    assert stopped < 500
    assert stopped + 5 <= new.n_iter_ <= stopped + max(10, stopped // 5 + 1)


def test_histogram_boosting_over_categories_is_refused() -> None:
    features = rows().assign(kind=pd.Categorical(np.where(rows()["c"] > 0, "x", "y")))
    old = HistGradientBoostingClassifier(max_iter=5, categorical_features=["kind"]).fit(features, labels(features))
    with pytest.raises(Refused, match="numbers the categories anew"):
        go_on(old, Mode.WARM_START, features, labels(features))


def test_incremental_learns_in_batches_and_says_how_far_it_is() -> None:
    steps: list[tuple[int, int]] = []
    features = rows(2500, seed=5)
    continue_training(
        pipeline(),
        Mode.INCREMENTAL,
        {},
        Table(features),
        labels(features),
        seed=1,
        progress=lambda *step: steps.append(step),
    )
    assert steps == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("mode", CONTINUING)
def test_a_class_the_champion_never_saw_is_refused_by_name(mode: Mode) -> None:
    target = labels(rows(250, seed=1)).where(pd.Series(range(250)) > 3, "maybe")
    with pytest.raises(Refused, match="does not know: 'maybe'; it knows 'no', 'yes'"):
        go_on(pipeline(), mode, rows(250, seed=1), target)


def test_a_class_without_rows_is_refused_for_warm_start_only() -> None:
    features = rows(50, seed=1)
    target = pd.Series(["yes"] * 50)
    with pytest.raises(Refused, match="have no row of 'no'"):
        go_on(pipeline(), Mode.WARM_START, features, target)
    assert list(go_on(pipeline(), Mode.INCREMENTAL, features, target).classes_) == ["no", "yes"]


def test_a_refit_takes_new_classes_and_notes_them() -> None:
    target = labels(rows(250, seed=1)).replace("no", "never")
    outcome = continued(pipeline(), Mode.REFIT, rows(250, seed=1), target)
    assert list(outcome.estimator.classes_) == ["never", "yes"]
    assert "knows classes the champion does not: 'never'" in outcome.notes[0]
    assert "no longer knows classes without training rows: 'no'" in outcome.notes[1]


def test_hyperparameters_are_set_by_their_own_names() -> None:
    assert go_on(pipeline(), Mode.REFIT, classifier__alpha=0.5)["classifier"].alpha == 0.5


@pytest.mark.parametrize(
    ("name", "hint"),
    [("classifier__alpah", "Did you mean 'classifier__alpha'"), ("alpha", "Did you mean 'classifier__alpha'")],
)
def test_an_unknown_hyperparameter_is_refused_with_the_likely_name(name: str, hint: str) -> None:
    with pytest.raises(Refused, match=f"Pipeline has no hyperparameter '{name}'. {hint}"):
        go_on(pipeline(), Mode.REFIT, **{name: 1})


def test_a_whole_step_is_no_hyperparameter() -> None:
    with pytest.raises(Refused, match="'classifier' is a whole estimator"):
        go_on(pipeline(), Mode.REFIT, classifier="passthrough")


def test_a_wrong_value_is_one_sentence() -> None:
    with pytest.raises(TrainingFailed, match=r"The 'alpha' parameter of SGDClassifier must be .* Got -1 instead"):
        go_on(pipeline(), Mode.REFIT, classifier__alpha=-1)


@pytest.mark.parametrize("mode", CONTINUING)
def test_a_hyperparameter_of_the_kept_preprocessing_is_refused_as_it_would_do_nothing(mode: Mode) -> None:
    with pytest.raises(Refused, match="'scaler__with_mean' would change nothing"):
        go_on(pipeline(), mode, scaler__with_mean=False)


def test_a_diverged_model_is_refused() -> None:
    features = rows(200)
    old = champion(SGDRegressor(random_state=0), numbers)
    with pytest.raises(TrainingFailed):
        go_on(old, Mode.INCREMENTAL, features * 1e150, numbers(features), learning_rate="constant", eta0=1e10)


class ForgetsItself(ClassifierMixin, BaseEstimator):
    """A team's own classifier whose second learning ends in NaN without a word."""

    def fit(self, features: Any, target: Any) -> ForgetsItself:
        self.classes_, self.coef_ = np.unique(target), np.ones(3)
        return self

    def partial_fit(self, features: Any, target: Any) -> ForgetsItself:
        self.coef_ = np.full(3, np.nan)
        return self


def test_a_model_that_diverged_silently_is_refused_too() -> None:
    with pytest.raises(TrainingFailed, match="coef_ of ForgetsItself holds NaN"):
        go_on(champion(ForgetsItself()), Mode.INCREMENTAL)


def test_no_convergence_is_a_note_and_no_error() -> None:
    outcome = continued(champion(MLPClassifier((4,), random_state=0)), Mode.WARM_START, max_iter=2)
    assert any("Maximum iterations (2) reached" in note for note in outcome.notes)


def test_missing_values_a_model_cannot_take_are_one_sentence() -> None:
    features = rows(50).assign(a=np.nan)
    with pytest.raises(TrainingFailed, match=r"Pipeline could not be trained on 50 rows: .*NaN"):
        go_on(pipeline(), Mode.REFIT, features, labels(rows(50)))


@pytest.mark.parametrize(
    ("estimator", "possible"),
    [
        (SGDClassifier(), [True, True, True]),
        (LogisticRegression(), [True, True, False]),
        (GaussianNB(), [True, False, True]),
        (KNeighborsClassifier(), [True, False, False]),
        (CalibratedClassifierCV(LinearSVC(), cv=2), [True, False, False]),
        (GridSearchCV(SGDClassifier(), {"alpha": [0.1, 1.0]}, cv=2), [True, False, False]),
        (VotingClassifier([("nb", GaussianNB()), ("sgd", SGDClassifier())]), [True, False, False]),
        (MLPClassifier((2,), max_iter=5, early_stopping=True), [True, True, False]),
        (MLPClassifier((2,), max_iter=5, solver="lbfgs"), [True, True, False]),
        (HistGradientBoostingClassifier(max_iter=3), [True, True, False]),
        (make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), SGDClassifier())), [True, True, True]),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "fit") else "",
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_what_a_model_can_do_is_what_it_then_does(estimator: Any, possible: list[bool]) -> None:
    old = champion(estimator)
    reports = describe_modes(old)
    assert [report.possible for report in reports] == possible
    for report in reports:
        if report.possible:
            go_on(old, Mode(report.mode))
            continue
        assert report.reason
        assert report.remedy
        with pytest.raises(Refused, match=f"Mode {report.mode} is not possible"):
            go_on(old, Mode(report.mode))


def test_a_mode_that_cannot_be_names_the_reason_and_the_ways_out() -> None:
    _, warm, incremental = describe_modes(champion(KNeighborsClassifier()))
    assert incremental.reason == "KNeighborsClassifier has no partial_fit"
    assert incremental.remedy == "Use mode refit."
    assert warm.reason == "KNeighborsClassifier has no parameter warm_start, its fit always starts anew"
    assert describe_modes(champion(GaussianNB()))[1].remedy == "Use mode refit or incremental."


def test_a_pipeline_that_ends_in_a_passthrough_can_do_nothing() -> None:
    reports = describe_modes(Pipeline([("scaler", StandardScaler()), ("model", "passthrough")]).fit(rows()))
    assert not any(report.possible for report in reports)
    assert "passthrough" in reports[0].reason


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (KMeans(2, n_init=1).fit(rows()), "clusterers such as this KMeans"),
        (IsolationForest(n_estimators=3).fit(rows()), "outlier detectors such as this IsolationForest"),
        (StandardScaler().fit(rows()), "neither classifier nor regressor, such as this StandardScaler"),
        (RandomForestClassifier(3).fit(rows(), rows()[["a", "b"]] > 0), "several targets such as this RandomForest"),
        (make_pipeline(StandardScaler(), "passthrough").fit(rows()), "such as this Pipeline"),
    ],
)
def test_what_is_not_built_is_refused_by_name(estimator: Any, words: str) -> None:
    with pytest.raises(Refused, match=f"{words}.* is not built yet"):
        task_of(estimator)


def test_a_model_that_was_never_fitted_is_refused() -> None:
    with pytest.raises(Refused, match="This SGDClassifier is not fitted"):
        task_of(SGDClassifier())


def test_predictions_of_a_classifier_have_probabilities_where_it_gives_them() -> None:
    features = rows(20, seed=9)
    with_them = predict(champion(GaussianNB()), features)
    assert with_them.probabilities is not None
    assert with_them.probabilities.shape == (20, 2)
    assert with_them.classes is not None
    assert with_them.classes.tolist() == ["no", "yes"]
    without = predict(champion(LinearSVC()), features)
    assert without.probabilities is None
    assert without.labels is not None


def test_predictions_of_a_regressor_are_values() -> None:
    model = champion(LinearRegression(), numbers)
    assert task_of(model) is Task.REGRESSION
    predicted = predict(model, rows(20, seed=9))
    assert predicted.values is not None
    assert predicted.values.shape == (20,)
    assert predicted.labels is None


@pytest.mark.parametrize(
    ("known", "given", "expected"),
    [
        ([0, 1], [1.0, 0.0], [1, 0]),
        ([False, True], [1, 0], [True, False]),
        (["no", "yes"], ["yes", "perhaps"], ["yes", "perhaps"]),
        ([0, 1], ["0", "1"], ["0", "1"]),
        ([0, 1], [0.5, 1.0], [0.5, 1.0]),
    ],
)
def test_labels_take_the_type_of_the_known_classes_only_where_equal(
    known: list[Any], given: list[Any], expected: list[Any]
) -> None:
    model = GaussianNB().fit(np.array([[0.0], [1.0]]), known)
    assert target_array(model, pd.Series(given)).tolist() == expected


def test_a_model_fitted_without_column_names_goes_on_without() -> None:
    plain = rows().to_numpy()
    old = make_pipeline(StandardScaler(), SGDClassifier(random_state=0)).fit(plain, labels(rows()))
    for mode in Mode:
        outcome = continued(old, mode)
        assert outcome.notes == ()
        assert not hasattr(outcome.estimator, "feature_names_in_")


def two_numbers(features: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"low": features["a"] * 2, "high": features["b"] - features["c"]})


@pytest.mark.parametrize(
    ("estimator", "mode"),
    [
        (LinearRegression(), Mode.REFIT),
        (RandomForestRegressor(4, random_state=0), Mode.WARM_START),
        (MLPRegressor(hidden_layer_sizes=(8,), max_iter=20, random_state=0), Mode.INCREMENTAL),
        (MultiOutputRegressor(SGDRegressor(random_state=0)), Mode.REFIT),
        (make_pipeline(StandardScaler(), RegressorChain(LinearRegression())), Mode.REFIT),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_regression_with_several_outputs_learns_and_predicts_them_all(estimator: Any, mode: Mode) -> None:
    past, new = rows(200), rows(400, seed=1)
    fitted = estimator.fit(past, two_numbers(past))
    assert (task_of(fitted), outputs_of(fitted)) == (Task.REGRESSION, 2)
    continued = continue_training(fitted, mode, {}, Table(new), two_numbers(new), seed=1, progress=nobody)
    values = predict(continued.estimator, new).values
    assert values is not None
    assert values.shape == (400, 2)


def test_an_ensemble_of_single_values_has_one_output() -> None:
    features = rows()
    assert outputs_of(BaggingRegressor(n_estimators=7).fit(features, numbers(features))) == 1


@pytest.mark.parametrize("mode", list(Mode))
@pytest.mark.parametrize("piped", [False, True])
def test_rows_of_weight_zero_teach_nothing(mode: Mode, piped: bool) -> None:
    past, new = rows(200), rows(600, seed=1)
    made = SGDClassifier(loss="log_loss", random_state=0)
    fitted = (make_pipeline(StandardScaler(), made) if piped else made).fit(past, labels(past))
    wrong = labels(new).map({"yes": "no", "no": "yes"})
    told = labels(new).where(new.index < 300, wrong)
    weight = np.where(new.index < 300, 1.0, 0.0)
    continued = continue_training(fitted, mode, {}, Table(new), told, weight=weight, seed=1, progress=nobody)
    assert (predict(continued.estimator, new).labels == labels(new).to_numpy()).mean() > 0.85


def test_a_model_that_takes_no_weights_is_refused_and_so_are_weights_that_are_all_zero() -> None:
    features = rows()
    neighbours = KNeighborsClassifier().fit(features, labels(features))
    ones = np.ones(len(features))
    with pytest.raises(Refused, match="KNeighborsClassifier takes no weights in fit"):
        continue_training(
            neighbours,
            Mode.REFIT,
            {},
            Table(features),
            labels(features),
            weight=ones,
            seed=1,
            progress=nobody,
        )
    linear = SGDClassifier().fit(features, labels(features))
    with pytest.raises(TrainingFailed, match="All training rows have the weight 0"):
        continue_training(
            linear,
            Mode.REFIT,
            {},
            Table(features),
            labels(features),
            weight=ones * 0,
            seed=1,
            progress=nobody,
        )


def test_hyperparameters_may_be_lists_and_factors_by_class() -> None:
    features = rows()
    network = MLPClassifier((4,), max_iter=20, random_state=0).fit(features, labels(features))
    words: dict[str, Any] = {"hidden_layer_sizes": (8, 3)}
    made = continue_training(
        network, Mode.REFIT, words, Table(features), labels(features), seed=1, progress=nobody
    ).estimator
    assert [weights.shape[1] for weights in made.coefs_[:-1]] == [8, 3]
    codes = (features["a"] > 0).astype(int)
    linear = SGDClassifier(random_state=0).fit(features, codes)
    weighted = continue_training(
        linear, Mode.REFIT, {"class_weight": {"1": 50.0}}, Table(features), codes, seed=1, progress=nobody
    ).estimator
    assert weighted.class_weight == {1: 50.0}
    with pytest.raises(Refused, match=r"class_weight names the class '7'. The model knows 0, 1"):
        continue_training(
            linear, Mode.REFIT, {"class_weight": {"7": 2.0}}, Table(features), codes, seed=1, progress=nobody
        )
