"""Searches: what is tried and in which order, on which rows, what fails, when it ends, and how one goes on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from retrain_daemon.core.metrics import Task
from retrain_daemon.core.policy import DataSpec, Holdout, Hyperparameter, Mode, Recipe, Scalar, Search, Space, Target
from retrain_daemon.errors import TrainingFailed, UnknownHyperparameter
from retrain_daemon.worker.dataset import Split
from retrain_daemon.worker.frameworks.sklearn_model import SklearnModel
from retrain_daemon.worker.job import DropFile, Progress, Source, Train
from retrain_daemon.worker.judging import Judging
from retrain_daemon.worker.labelled import LabelledRows, Rows
from retrain_daemon.worker.lesson import Lesson
from retrain_daemon.worker.loaded import Loaded
from retrain_daemon.worker.model_files import ModelFiles
from retrain_daemon.worker.proposals import Plan, inside, known_values, propose
from retrain_daemon.worker.rows import save_keys
from retrain_daemon.worker.search import search
from retrain_daemon.worker.stage import Stage
from retrain_daemon.worker.study import Study, Trial, TrialState, read_study, searched, told, write_study
from retrain_daemon.worker.trainable import Trainable
from retrain_daemon.worker.trial_rows import LEAST_ROWS, read_trial_rows
from retrain_daemon.worker.window import JobRows
from tests.worker.network_lessons import rows_of

NOW = datetime(2026, 1, 5, tzinfo=UTC)
TRUE = 3.7
GUESS = {"guess": Space(low=0.0, high=10.0)}


class Guess(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """Predicts the number it is given, whatever it learns."""

    def __init__(self, guess: float = 9.0, shift: float = 0.0) -> None:
        self.guess = guess
        self.shift = shift

    def fit(self, rows: Any, target: Any) -> Guess:
        if self.guess < 0:
            raise ValueError(f"guess must not be negative, got {self.guess}")
        self.n_features_in_ = rows.shape[1]
        return self

    def predict(self, rows: Any) -> Any:
        value = math.nan if self.guess > 9.9 else self.guess + self.shift
        return np.full(len(rows), value)


def rows(count: int = 600, seed: int = 0) -> Rows:
    drawn = pd.DataFrame(np.random.default_rng(seed).normal(size=(count, 2)), columns=["a", "b"])
    return rows_of(drawn, pd.Series(np.full(count, TRUE)))


def a_job(folder: Path, spaces: Mapping[str, Space] = GUESS, trials: int = 30, **changes: Any) -> Train:
    recipe = Recipe(mode=Mode.REFIT, spaces=spaces, search=Search(trials, "rmse"))
    job = Train(
        attempt="guess-1",
        key="test/guess-1",
        source=Source(tracking_uri="", registry_uri="", model="guess", version=1),
        data=DataSpec(folder="/", pattern="*.csv", target=Target("price")),
        recipe=recipe,
        drops=(DropFile(drop=1, path="/new.csv", first_seen=NOW, fingerprint="f"),),
        learned=(),
        unknown_until=None,
        learned_file="",
        metrics=("rmse",),
        confidence=0.95,
        min_rows=20,
        now=NOW,
        seed=3,
        policy_text="",
        experiment="",
        kept_folder=str(folder / "kept"),
        study_folder=str(folder / "study"),
    )
    return replace(job, **changes)


def a_stage(
    job: Train, training: Rows, champion: Any = None, told: list[Progress] | None = None, model: Trainable | None = None
) -> Stage:
    """A `model`, or one around the estimator `champion`."""
    estimator = (champion or Guess()).fit(np.zeros((1, 2)), None)
    files = ModelFiles(card=cast(Any, None), folder=Path(), digest="d", requirements=())
    sides = Split(training=training, judging=training.take(np.arange(0)), excluded=0, too_early=0)
    tell = (lambda progress: None) if told is None else told.append
    return Stage(
        job=job,
        champion=Loaded(files, model or SklearnModel(estimator, Task.REGRESSION, ("a", "b"))),
        schema=cast(Any, None),
        window=JobRows(counts={1: len(training)}, sides=sides, training=training, unit="features a, b"),
        judging=Judging(sides, {}),
        folder=Path(),
        tell=tell,
    )


class Teacher:
    """Trains as the worker does, and remembers what it was asked to."""

    def __init__(self, stage: Stage, ends_at: int = 10**6) -> None:
        self.stage = stage
        self.ends_at = ends_at
        self.asked: list[Mapping[str, Hyperparameter]] = []
        self.rows: list[LabelledRows] = []

    def __call__(self, rows: LabelledRows, values: Mapping[str, Hyperparameter]) -> Trainable:
        self.asked.append(dict(values))
        self.rows.append(rows)
        if len(self.asked) >= self.ends_at:
            raise KeyboardInterrupt
        job = self.stage.job
        wanted = {**job.recipe.hyperparameters, **values}
        lesson = Lesson(mode=job.recipe.mode, hyperparameters=wanted, rows=rows, seed=job.seed, tell=lambda _: None)
        return self.stage.champion.model.continue_training(lesson)[0]


def run(job: Train, clock: Callable[[], float] = lambda: 0.0, **stage: Any) -> tuple[Study, Teacher]:
    set_up = a_stage(job, stage.pop("training", rows()), **stage)
    teacher = Teacher(set_up)
    assert job.recipe.search is not None
    return search(set_up, job.recipe.search, teacher, clock), teacher


def test_the_best_value_is_found(tmp_path: Path) -> None:
    study, _ = run(a_job(tmp_path))
    found = searched(study)
    assert abs(float(cast(float, found.chosen["guess"])) - TRUE) < 0.2
    assert found.score == pytest.approx(abs(float(cast(float, found.chosen["guess"])) - TRUE))
    assert (found.metric, found.trials, found.failed) == ("rmse", 30, 0)
    assert found.rows == study.judging_rows


def test_the_estimator_does_better_than_chance_within_forty_trials() -> None:
    spaces = {"x": Space(low=1e-4, high=1.0, log=True), "y": Space(low=-5.0, high=5.0)}
    best = [loss_of(spaces, 40, seed) for seed in range(5)]
    chance = [loss_of(spaces, 40, seed, random=True) for seed in range(5)]
    assert np.median(best) < np.median(chance) / 2


def loss_of(spaces: Mapping[str, Space], trials: int, seed: int, random: bool = False) -> float:
    plan = Plan(spaces=spaces, trials=trials, higher_is_better=False, seed=seed)
    done: list[Trial] = []
    for number in range(trials):
        values = propose(plan, [replace(trial, score=None) for trial in done] if random else done)
        x, y = cast(float, values["x"]), cast(float, values["y"])
        loss = (math.log10(x) + 2) ** 2 + (y - 1) ** 2
        done.append(Trial(number=number + 1, state=TrialState.COMPLETE, score=loss, values=values, seconds=0.0))
    return min(cast(float, trial.score) for trial in done)


def test_values_keep_their_kind_and_stay_in_their_space() -> None:
    spaces = {
        "whole": Space(low=1, high=9, step=2, whole=True),
        "steps": Space(low=0, high=1, step=0.1),
        "log": Space(low=1e-5, high=1e-1, log=True),
        "choice": Space(choices=(1, True, "1", None, 0.5)),
    }
    plan = Plan(spaces=spaces, trials=40, higher_is_better=True, seed=1)
    done: list[Trial] = []
    chosen = []
    for number in range(40):
        values = propose(plan, done)
        assert all(inside(space, values[name]) for name, space in spaces.items()), values
        assert isinstance(values["whole"], int)
        assert values["whole"] % 2 == 1
        assert len(str(values["steps"])) <= 3
        chosen.append((type(values["choice"]), values["choice"]))
        done.append(Trial(number=number + 1, state=TrialState.COMPLETE, score=number, values=values, seconds=0.0))
    assert {type(each) for each in spaces["choice"].choices} == {kind for kind, _ in chosen}


def test_the_same_inputs_give_the_same_search_and_another_attempt_another_one(tmp_path: Path) -> None:
    first, second = run(a_job(tmp_path / "1"))[0], run(a_job(tmp_path / "2"))[0]
    assert first == second
    other = run(a_job(tmp_path / "3", seed=4))[0]
    assert [trial.values for trial in other.trials[1:]] != [trial.values for trial in first.trials[1:]]


def test_trials_see_rows_of_the_training_side_only_and_all_see_the_same(tmp_path: Path) -> None:
    training = rows(600)
    _, teacher = run(a_job(tmp_path, trials=5), training=training)
    seen = teacher.rows[0].row_keys
    assert all(np.array_equal(each.row_keys, seen) for each in teacher.rows)
    assert set(seen.tolist()) < set(training.row_keys.tolist())


class Scaling(Guess):
    """Changes the rows it is shown, as estimators with copy=False and some functions of teams do."""

    def fit(self, rows: Any, target: Any) -> Guess:
        self.changes(rows)
        return super().fit(rows, target)

    def predict(self, rows: Any) -> Any:
        self.changes(rows)
        return super().predict(rows)

    def changes(self, rows: Any) -> None:
        self.feature_names_in_ = np.array(["a", "b"], dtype=object)  # so it gets a frame
        SHOWN.append(float(np.asarray(rows)[0, 0]))
        rows *= 2.0


SHOWN: list[float] = []


def test_a_model_that_changes_its_rows_changes_them_for_no_other_trial(tmp_path: Path) -> None:
    champion = Scaling()
    job = a_job(tmp_path, trials=4)
    stage = a_stage(job, rows(), champion)
    del SHOWN[:]
    search(stage, cast(Search, job.recipe.search), Teacher(stage))
    assert len(SHOWN) == 8
    assert len(set(SHOWN[::2])) == 1
    assert len(set(SHOWN[1::2])) == 1


def test_a_model_that_scales_in_place_leaves_the_rows_to_the_next_as_they_were() -> None:
    """Champion and challenger are asked about the same rows, one after the other."""
    features = rows(200).features
    as_they_were = features.frame()
    target = np.arange(200.0)
    fitted = make_pipeline(StandardScaler(copy=False), LinearRegression()).fit(features.frame() * 3 + 7, target)
    model = SklearnModel(fitted, Task.REGRESSION, ("a", "b"))
    first, second = model.predict(features).values, model.predict(features).values
    assert np.array_equal(cast(Any, first), cast(Any, second))
    lesson = Lesson(
        mode=Mode.REFIT, hyperparameters={}, rows=replace(rows(200), features=features), seed=1, tell=lambda _: None
    )
    model.continue_training(lesson)
    assert features.frame().equals(as_they_were)


def test_all_rows_of_a_group_are_on_one_side_of_a_trial(tmp_path: Path) -> None:
    training = rows(1000)
    customers = np.arange(1000, dtype=np.uint64) // np.uint64(5)
    training = replace(training, unit_keys=customers, groups=customers)
    sides = read_trial_rows(a_job(tmp_path), training)
    assert not set(sides.training.unit_keys.tolist()) & set(sides.judging.unit_keys.tolist())
    assert len(sides.training) + len(sides.judging) == 1000
    assert 0.1 < len(sides.judging) / 1000 < 0.3


def test_where_the_newest_rows_judge_the_newest_rows_of_the_training_side_judge_trials(tmp_path: Path) -> None:
    days = np.datetime64("2026-01-01", "ns") + np.arange(500) // 5 * np.timedelta64(1, "D")
    job = a_job(tmp_path)
    newest = replace(job, data=replace(job.data, holdout=Holdout(newest=timedelta(days=14))))
    sides = read_trial_rows(newest, replace(rows(500), event_time=days))
    assert sides.training.event_time.max() < sides.judging.event_time.min()
    assert 0.1 < len(sides.judging) / 500 <= 0.2
    at_once = read_trial_rows(newest, rows(500))
    assert "of the same time" in at_once.notes[0]
    assert 0.1 < len(at_once.judging) / 500 < 0.3


def test_a_trial_that_goes_on_from_the_champion_is_not_judged_on_what_that_learned(tmp_path: Path) -> None:
    training = rows(800)
    known = np.sort(training.unit_keys[:400])
    save_keys(tmp_path / "learned.npy", known)
    job = a_job(tmp_path, learned=(str(tmp_path / "learned.npy"),))
    going_on = replace(job, recipe=replace(job.recipe, mode=Mode.WARM_START))
    assert not set(read_trial_rows(going_on, training).judging.unit_keys.tolist()) & set(known.tolist())
    assert set(read_trial_rows(job, training).judging.unit_keys.tolist()) & set(known.tolist())


def test_too_few_rows_to_judge_trials_are_told_with_their_number(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=rf"of 100 training rows \d+ are left .* at least {LEAST_ROWS} are needed"):
        run(a_job(tmp_path), training=rows(100))


def test_a_trial_that_fails_has_its_reason_and_the_search_goes_on(tmp_path: Path) -> None:
    spaces = {"guess": Space(choices=(-1.0, 9.95, 4.0, 3.0))}
    study, _ = run(a_job(tmp_path, spaces, trials=30))
    reasons = {trial.values["guess"]: trial.problem for trial in study.failed}
    assert "guess must not be negative, got -1.0" in reasons[-1.0]
    assert "predicts NaN or infinity" in reasons[9.95]
    assert searched(study).chosen == {"guess": 4.0}
    assert any("trials of the search failed; the first:" in sentence for sentence in told(study))


def test_values_that_were_tried_are_not_trained_again(tmp_path: Path) -> None:
    study, teacher = run(a_job(tmp_path, {"guess": Space(choices=(1.0, 2.0))}, trials=8))
    assert len(study.trials) == 8
    assert len(teacher.asked) == 2
    assert {trial.state for trial in study.trials} == {TrialState.COMPLETE, TrialState.REPEATED}


def test_a_search_of_which_every_trial_fails_ends_the_training_with_the_first_reason(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=r"All 6 trials of the search failed; the first: .*must not be negative"):
        run(a_job(tmp_path, {"guess": Space(low=-9.0, high=-1.0)}, trials=6))


def test_a_metric_that_has_no_value_on_the_rows_fails_with_what_is_wrong(tmp_path: Path) -> None:
    job = a_job(tmp_path, trials=3)
    job = replace(job, recipe=replace(job.recipe, search=Search(3, "r2")))
    with pytest.raises(TrainingFailed, match="r2 is undefined: the true value is the same in every row"):
        run(job)


def test_a_name_that_the_estimator_does_not_have_ends_the_search_at_once(tmp_path: Path) -> None:
    stage = a_stage(a_job(tmp_path, {"gues": GUESS["guess"]}), rows())
    teacher = Teacher(stage)
    with pytest.raises(UnknownHyperparameter, match=r"Guess has no hyperparameter 'gues'. Did you mean 'guess'\?"):
        search(stage, Search(40, "rmse"), teacher)
    assert len(teacher.asked) == 1


class Clock:
    """Each look at it takes a minute."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        self.seconds += 60
        return self.seconds


def test_stop_after_starts_no_further_trial(tmp_path: Path) -> None:
    job = a_job(tmp_path, trials=100)
    wanted = Search(100, "rmse", timedelta(minutes=10))
    study, _ = run(replace(job, recipe=replace(job.recipe, search=wanted)), Clock())
    assert 1 < len(study.trials) < 10
    assert f"the best of {len(study.trials)} trials of 100 (stop_after)" in told(study)[0]
    once = Search(100, "rmse", timedelta(seconds=1))
    study, _ = run(replace(job, recipe=replace(job.recipe, search=once)), Clock())
    assert len(study.trials) == 1


def test_progress_counts_the_trials(tmp_path: Path) -> None:
    told: list[Progress] = []
    run(a_job(tmp_path, trials=3), told=told)
    assert told == [Progress(phase="searching", done=done, total=3) for done in range(3)]


def test_the_champions_values_are_tried_first_and_then_those_that_earlier_searches_chose(tmp_path: Path) -> None:
    spaces = {**GUESS, "shift": Space(low=0.0, high=1.0)}
    known: tuple[Mapping[str, Scalar], ...] = (
        {"guess": 5.0, "shift": 0.5},
        {"guess": 99.0},
        {"guess": 5.0, "shift": 0.5},
    )
    _, teacher = run(a_job(tmp_path, spaces, trials=10, starts=known), champion=Guess(guess=4.0, shift=7.0))
    assert teacher.asked[0]["guess"] == 4.0
    assert 0 <= cast(float, teacher.asked[0]["shift"]) <= 1  # the champion's lies outside
    assert teacher.asked[1] == {"guess": 5.0, "shift": 0.5}
    assert len({repr(asked) for asked in teacher.asked}) == 10


def test_half_of_the_trials_are_for_values_that_nobody_has_tried() -> None:
    found = [{"guess": float(number)} for number in range(8)]
    assert len(known_values(GUESS, found, 3)) == 3
    assert known_values(GUESS, [{"guess": "4"}, {"guess": True}, {"guess": 11.0}, {"other": 1}], 9) == ()
    choices = {"c": Space(choices=(1, "a", None))}
    assert known_values(choices, [{"c": True}, {"c": 1.0}, {"c": None}, {"c": "b"}], 9) == ({"c": 1.0}, {"c": None})


def test_a_search_that_was_cut_short_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    job = a_job(tmp_path, trials=14)
    whole, _ = run(replace(job, study_folder=""))
    stage = a_stage(job, rows())
    with pytest.raises(KeyboardInterrupt):
        search(stage, cast(Search, job.recipe.search), Teacher(stage, ends_at=8), lambda: 0.0)
    later, teacher = run(job)
    assert len(teacher.asked) == 14 - 7
    assert later == whole


def test_trials_of_other_inputs_do_not_count(tmp_path: Path) -> None:
    job = a_job(tmp_path, trials=4)
    run(job)
    assert len(run(job)[1].asked) == 0
    assert len(run(job, training=rows(seed=1))[1].asked) == 0  # their keys are the same
    for changed in (
        replace(job, seed=9),
        replace(job, recipe=replace(job.recipe, mode=Mode.REFIT, hyperparameters={"shift": 1.0})),
        replace(job, drops=(replace(job.drops[0], fingerprint="other bytes"),)),
        replace(job, data=replace(job.data, target=Target("other"))),
    ):
        assert len(run(changed)[1].asked) == 4
    assert len(run(job, training=rows(700))[1].asked) == 4


def test_a_trial_in_which_the_worker_ended_twice_is_a_failed_one(tmp_path: Path) -> None:
    job = a_job(tmp_path, trials=5)
    for _ in range(2):
        stage = a_stage(job, rows())
        with pytest.raises(KeyboardInterrupt):
            search(stage, cast(Search, job.recipe.search), Teacher(stage, ends_at=1), lambda: 0.0)
    study, teacher = run(job)
    assert "The worker ended in it without a word, twice" in study.trials[0].problem
    assert len(teacher.asked) == 4


def test_a_study_file_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    study, _ = run(a_job(tmp_path, trials=2))
    write_study(tmp_path, study)
    assert read_study(tmp_path, study.inputs) == study
    (tmp_path / "search.json").write_text("{}")
    assert read_study(tmp_path, study.inputs) is None
