"""Whole training jobs with a search, on real MLflow: what is learned, what the run says, what no trial may see."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from retrain_daemon.core.policy import Holdout, Mode, Recipe, Search, Space
from retrain_daemon.errors import RegistryUnreachable, UnknownHyperparameter
from retrain_daemon.worker import training
from retrain_daemon.worker.job import Progress, Train, Trained
from retrain_daemon.worker.rows import judges, load_keys, unit_keys
from retrain_daemon.worker.study import STUDY_FILE
from retrain_daemon.worker.training import train
from tests.worker.test_training import Store

pytestmark = pytest.mark.slow

RATE = {"sgdclassifier__eta0": Space(low=1e-9, high=1.0, log=True)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    store = Store(tmp_path_factory.mktemp("store"))
    estimator = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=1e-9, random_state=0)
    store.register("churn", make_pipeline(StandardScaler(), estimator))
    yield store
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


def searching(
    store: Store, mode: Mode = Mode.REFIT, spaces: Mapping[str, Space] = RATE, trials: int = 8, **changes: Any
) -> Train:
    recipe = Recipe(mode=mode, spaces=spaces, search=Search(trials, "log_loss"))
    return store.job("churn", recipe=recipe, study_folder=str(store.root / "study"), **changes)


def run(job: Train, folder: Path, phases: list[str] | None = None) -> Trained:
    def note(progress: Progress) -> None:
        if phases is not None:
            phases.append(progress.phase)

    return train(job, folder, note)


@pytest.mark.parametrize("mode", [Mode.REFIT, Mode.WARM_START, Mode.INCREMENTAL])
def test_the_best_value_of_a_search_trains_on_the_whole_training_side(store: Store, tmp_path: Path, mode: Mode) -> None:
    done = run(searching(store, mode), tmp_path)
    found = done.challenger.searched
    assert found is not None
    assert 1e-4 < float(str(found.chosen["sgdclassifier__eta0"])) <= 1  # with less it learns nothing
    trained = mlflow.sklearn.load_model(done.challenger.model_uri)
    assert trained[-1].eta0 == found.chosen["sgdclassifier__eta0"]
    assert done.challenger.training_rows + done.evidence.rows == 400
    assert found.rows < done.challenger.training_rows / 2
    assert len(load_keys([done.challenger.learned_file])) == done.challenger.training_rows


def test_the_run_keeps_every_trial_and_tells_the_score_of_the_search_from_what_was_judged(
    store: Store, tmp_path: Path
) -> None:
    done = run(searching(store), tmp_path)
    found = done.challenger.searched
    assert found is not None
    kept = mlflow.MlflowClient().get_run(done.challenger.run_id)
    file = mlflow.artifacts.download_artifacts(f"runs:/{done.challenger.run_id}/{STUDY_FILE}", dst_path=str(tmp_path))
    study = json.loads(Path(file).read_text())
    assert [trial["number"] for trial in study["trials"]] == list(range(1, 9))
    assert study["trials"][0]["values"] == {"sgdclassifier__eta0": 1e-9}  # the champion's own
    assert all(trial["state"] == "complete" and trial["seconds"] > 0 for trial in study["trials"])
    assert min(trial["score"] for trial in study["trials"]) == found.score
    assert kept.data.params["sgdclassifier__eta0"] == str(found.chosen["sgdclassifier__eta0"])
    assert (kept.data.params["search_trials"], kept.data.params["search_metric"]) == ("8", "log_loss")
    assert kept.data.metrics["search_best_log_loss"] == pytest.approx(found.score)
    assert "challenger_log_loss" not in kept.data.metrics
    assert any("The search chose sgdclassifier__eta0=" in note for note in done.notes)


def test_the_same_job_searches_the_same(store: Store, tmp_path: Path) -> None:
    first, second = (run(replace(searching(store), study_folder=""), tmp_path) for _ in range(2))
    assert first.challenger.searched == second.challenger.searched
    assert first.evidence.metrics == second.evidence.metrics


class Watched(SGDClassifier):  # type: ignore[misc]  # scikit-learn ships no types
    """Notes in which phase it was shown a row that judges; such rows are known by their first column."""

    def fit(self, features: Any, target: Any) -> Watched:
        SHOWN.append((PHASES[-1], "fit", poisoned(features)))
        return super().fit(features, target)

    def predict_proba(self, features: Any) -> Any:
        SHOWN.append((PHASES[-1], "predict", poisoned(features)))
        return super().predict_proba(features)


POISON = 1e6
SHOWN: list[tuple[str, str, bool]] = []
PHASES = ["before"]


def poisoned(features: pd.DataFrame) -> bool:
    return bool((features["a"] == POISON).any())


def with_marked_holdout(folder: Path) -> str:
    """Rows of which exactly those that judge have a mark in column a."""
    drawn = pd.DataFrame(np.random.default_rng(5).normal(size=(4000, 3)), columns=["a", "b", "c"])
    drawn.loc[::2, "a"] = POISON
    side = judges(unit_keys(drawn, sorted(drawn.columns)), 0.2)
    kept = drawn[side == (drawn["a"] == POISON)]
    path = folder / "marked.csv"
    kept.assign(churned=np.where(kept["b"] > 0, "yes", "no")).to_csv(path, index=False)
    return str(path)


def test_no_trial_sees_a_row_that_judges(store: Store, tmp_path: Path) -> None:
    store.register("watched", Watched(loss="log_loss", random_state=0), serialization_format="cloudpickle")
    recipe = Recipe(
        mode=Mode.REFIT, spaces={"alpha": Space(low=1e-6, high=1.0, log=True)}, search=Search(4, "log_loss")
    )
    job = store.job("watched", recipe=recipe)
    job = replace(job, drops=(replace(job.drops[0], path=with_marked_holdout(tmp_path)),))
    del SHOWN[:]
    done = run(job, tmp_path, PHASES)
    searched = [poison for phase, _, poison in SHOWN if phase == "searching"]
    assert len(searched) >= 8
    assert not any(searched)
    assert not any(poison for _, how, poison in SHOWN if how == "fit")
    assert any(poison for phase, how, poison in SHOWN if (phase, how) == ("comparing", "predict"))
    assert done.evidence.rows > 100


def test_a_holdout_of_the_newest_rows_leaves_the_newest_of_the_others_to_the_trials(
    store: Store, tmp_path: Path
) -> None:
    frame = pd.read_csv(store.root / "new.csv").assign(at=pd.date_range("2025-11-01", periods=400, freq="3h"))
    frame.to_csv(tmp_path / "timed.csv", index=False)
    job = searching(store)
    data = replace(job.data, event_time="at", holdout=Holdout(newest=timedelta(days=7)))
    done = run(replace(job, data=data, drops=(replace(job.drops[0], path=str(tmp_path / "timed.csv")),)), tmp_path)
    assert done.challenger.searched is not None
    assert 0.18 < done.challenger.searched.rows / done.challenger.training_rows <= 0.2


def test_a_name_that_the_model_does_not_have_is_refused_before_many_trials(store: Store, tmp_path: Path) -> None:
    spaces = {"sgdclassifier__eta": RATE["sgdclassifier__eta0"]}
    with pytest.raises(UnknownHyperparameter, match="Did you mean 'sgdclassifier__eta0'"):
        run(searching(store, spaces=spaces, trials=500), tmp_path)


def test_a_worker_that_is_started_again_trains_nothing_twice(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = replace(searching(store), seed=11)

    def away(*_: object) -> None:
        raise RegistryUnreachable("MLflow is away.")

    with monkeypatch.context() as patched:
        patched.setattr(training, "log_challenger", away)
        with pytest.raises(RegistryUnreachable):
            run(job, tmp_path)
    phases: list[str] = []
    done = run(job, tmp_path, phases)
    assert "searching" not in phases
    assert "training" not in phases
    assert done.challenger.searched is not None
    assert done.challenger.searched.trials == 8


def test_a_teams_own_function_is_given_what_the_search_tries(store: Store, tmp_path: Path) -> None:
    (tmp_path / "fit_by_rate.py").write_text(
        "def fit(champion, lesson):\n"
        "    champion[-1].set_params(eta0=lesson.hyperparameters['rate'])\n"
        "    return champion.fit(lesson.frame(), lesson.target)\n"
    )
    job = searching(store, spaces={"rate": RATE["sgdclassifier__eta0"]}, code_folder=str(tmp_path))
    done = run(replace(job, recipe=replace(job.recipe, trainer="fit_by_rate:fit")), tmp_path)
    assert done.challenger.searched is not None
    trained = mlflow.sklearn.load_model(done.challenger.model_uri)
    assert trained[-1].eta0 == done.challenger.searched.chosen["rate"]
