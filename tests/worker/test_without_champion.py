"""A version that a person offered where there is no champion: its own values, checked by hand."""

from __future__ import annotations

from pathlib import Path

import mlflow
import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression, SGDRegressor
from sklearn.metrics import log_loss, roc_auc_score

from retrain_daemon.core.policy import Claim, Requirement
from retrain_daemon.errors import Refused
from retrain_daemon.worker.job import Trained
from retrain_daemon.worker.rows import save_keys, unit_keys
from tests.worker.test_model_code import given
from tests.worker.test_training import Store, run, store, table

pytestmark = pytest.mark.slow
__all__ = ["store"]

METRICS = ("accuracy", "roc_auc", "log_loss", "flipped", "model_mb", "loadable")


def judged(store: Store, name: str, folder: Path, target: str = "churned", **changes: object) -> Trained:
    made = {"source": store.source(name, None), "challenger": given(store, name, 1), **changes}
    return run(store.job(name, target, **made), folder)


def test_a_first_version_is_measured_by_itself(store: Store, tmp_path: Path) -> None:
    store.register("first", LogisticRegression())
    lines = (Requirement("accuracy", Claim.AT_LEAST, 0.8, slices="region"),)
    done = judged(store, "first", tmp_path, metrics=METRICS, require=lines, comparison=1).evidence
    found = {each.metric: each for each in done.metrics}
    assert (done.champion_version, done.champion_digest, done.identical_predictions) == (0, "", False)
    assert done.rows > 40
    assert list(found) == list(METRICS)
    assert all((each.champion, each.gain, each.gain_low, each.gain_strict) == (None,) * 4 for each in done.metrics)
    assert found["flipped"].problem == "flipped is unknown: there is no champion"
    assert found["loadable"].challenger == 1.0
    assert done.slices[0].measured.problem.startswith("column 'region' has more than") or len(done.slices) == done.rows


def test_its_values_are_those_that_scikit_learn_says_of_the_same_rows(store: Store, tmp_path: Path) -> None:
    store.register("second", LogisticRegression())
    rows = table(400, seed=1)
    keys = unit_keys(rows, ["a", "b", "c"])
    save_keys(tmp_path / "learned.npy", np.sort(keys[:100]))
    data = store.job("second").data
    from dataclasses import replace

    from retrain_daemon.core.policy import Holdout

    done = judged(
        store, "second", tmp_path, metrics=METRICS[:3], learned=(str(tmp_path / "learned.npy"),),
        data=replace(data, holdout=Holdout(share=1.0)),
    ).evidence  # fmt: skip
    model = mlflow.sklearn.load_model("models:/second/1")
    left = rows.iloc[100:]
    said = model.predict_proba(left[["a", "b", "c"]])[:, list(model.classes_).index("yes")]
    truth = (left["churned"] == "yes").to_numpy()
    accuracy, area, loss = done.metrics
    assert (done.rows, done.excluded) == (300, 100)
    assert accuracy.challenger == pytest.approx(((said > 0.5) == truth).mean())
    assert area.challenger == pytest.approx(roc_auc_score(truth, said))
    assert loss.challenger == pytest.approx(log_loss(truth, said))
    right = int(((said > 0.5) == truth).sum())
    bounds = stats.binomtest(right, 300).proportion_ci(0.9, method="wilson")
    assert accuracy.challenger_low == pytest.approx(bounds.low, abs=0.01)
    assert loss.challenger_low is not None
    assert loss.challenger_high is not None
    assert loss.challenger_low < log_loss(truth, said) < loss.challenger_high
    assert all("differ" not in each.method and each.method for each in done.metrics)


def test_a_first_regression_is_measured_too(store: Store, tmp_path: Path) -> None:
    store.register("third", SGDRegressor(random_state=0), target="price")
    [rmse] = judged(store, "third", tmp_path, "price").evidence.metrics
    assert rmse.problem == ""
    assert rmse.challenger_low is not None
    assert rmse.challenger is not None
    assert rmse.challenger_low <= rmse.challenger


def test_our_own_challenger_is_not_judged_without_a_champion(store: Store, tmp_path: Path) -> None:
    mine = run(store.job("churn"), tmp_path).challenger
    with pytest.raises(Refused, match="churn has no champion to compare the challenger of churn-1 with"):
        run(store.job("churn", source=store.source("churn", None), challenger=mine), tmp_path)
