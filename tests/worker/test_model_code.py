"""A team's own classes in models: stored with them, kept apart where two models have modules of one name."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from retrain_daemon.core.evidence import Challenger
from retrain_daemon.core.policy import Mode, Recipe
from retrain_daemon.errors import Refused, TrainingFailed
from tests.worker.test_training import Store, run, store

pytestmark = pytest.mark.slow
__all__ = ["store"]

SCALING = """
from sklearn.base import BaseEstimator, TransformerMixin

class Scaling(TransformerMixin, BaseEstimator):
    def fit(self, rows, labels=None):
        return self

    def transform(self, rows):
        return rows * {factor}
"""
FITTING = """
import pathlib, sys
from sklearn.pipeline import make_pipeline

def scaled(champion, lesson):
    from our_scaling import Scaling
    return make_pipeline(Scaling(), champion[-1]).fit(lesson.frame(), lesson.target)

def hidden(champion, lesson):
    sys.path.append(str(pathlib.Path(__file__).parent / "elsewhere"))
    from our_hidden import Scaling
    return make_pipeline(Scaling(), champion[-1]).fit(lesson.frame(), lesson.target)
"""


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    """Modules of one test are not those of the next."""
    before = sys.path.copy()
    yield
    sys.path[:] = before
    for name in [name for name in sys.modules if name.startswith("our_")]:
        del sys.modules[name]


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """The folder of a policy with a team's functions and class."""
    folder = tmp_path / "policies"
    (folder / "elsewhere").mkdir(parents=True)
    (folder / "our_fitting.py").write_text(FITTING)
    (folder / "our_scaling.py").write_text(SCALING.format(factor=1))
    (folder / "elsewhere" / "our_hidden.py").write_text(SCALING.format(factor=1))
    return folder


def register_with_code(store: Store, name: str, folder: Path, factor: int) -> int:
    """A version whose Pipeline begins with a class of a module that is stored beside it."""
    folder.mkdir()
    module = folder / "our_scaling.py"
    module.write_text(SCALING.format(factor=factor))
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        scaling = importlib.import_module("our_scaling").Scaling()
        pipeline = make_pipeline(scaling, LogisticRegression())
        return store.register(name, pipeline, serialization_format="cloudpickle", code_paths=[str(module)])
    finally:
        sys.path.remove(str(folder))
        del sys.modules["our_scaling"]
        shutil.rmtree(folder)


def given(store: Store, name: str, version: int) -> Challenger:
    run_id = mlflow.MlflowClient().get_model_version(name, str(version)).run_id
    return Challenger(
        run_id=run_id, model_uri=f"models:/{name}/{version}", digest="", learned_file="", training_rows=0,
        offered=version,
    )  # fmt: skip


def test_models_with_modules_of_one_name_are_each_judged_with_their_own(store: Store, tmp_path: Path) -> None:
    """Both learned the same; the second multiplies by minus one only where it is told to: it is wrong throughout."""
    register_with_code(store, "own-code", tmp_path / "a", 1)
    register_with_code(store, "own-code", tmp_path / "b", 1)
    version = mlflow.MlflowClient().get_model_version("own-code", "2")
    stored = Path(mlflow.artifacts.download_artifacts(version.source)) / "code" / "our_scaling.py"
    stored.write_text(SCALING.format(factor=-1))
    done = run(store.job("own-code", challenger=given(store, "own-code", 2)), tmp_path)
    [accuracy] = done.evidence.metrics
    assert accuracy.champion is not None
    assert accuracy.challenger is not None
    assert accuracy.champion > 0.9
    assert accuracy.challenger < 0.1


def job_with(store: Store, name: str, function: str, policies: Path) -> Any:
    recipe = Recipe(mode=Mode.REFIT, trainer=f"our_fitting:{function}")
    return store.job(name, recipe=recipe, code_folder=str(policies))


def test_classes_that_lie_beside_the_policy_go_with_the_challenger(
    store: Store, policies: Path, tmp_path: Path
) -> None:
    store.register("plain", make_pipeline(LogisticRegression()), serialization_format="cloudpickle")
    done = run(job_with(store, "plain", "scaled", policies), tmp_path)
    code = Path(mlflow.artifacts.download_artifacts(done.challenger.model_uri)) / "code"
    assert [entry.name for entry in code.iterdir() if entry.suffix == ".py"] == ["our_scaling.py"]


def test_a_challenger_that_loads_only_where_it_was_trained_is_refused(
    store: Store, policies: Path, tmp_path: Path
) -> None:
    store.register("hiding", make_pipeline(LogisticRegression()), serialization_format="cloudpickle")
    with pytest.raises(TrainingFailed, match=r"does not load in another process: .*No module named 'our_hidden'"):
        run(job_with(store, "hiding", "hidden", policies), tmp_path)
    wanted = "tags.mlflow.runName = 'hiding-1'"
    assert mlflow.search_runs([store.experiment], wanted, output_format="list") == []


def test_a_module_edited_since_the_champion_was_stored_is_refused_and_not_mixed_up(
    store: Store, policies: Path, tmp_path: Path
) -> None:
    register_with_code(store, "edited", tmp_path / "a", 1)
    (policies / "our_scaling.py").write_text(SCALING.format(factor=2) + "\ndef fit(champion, lesson): ...\n")
    recipe = Recipe(mode=Mode.REFIT, trainer="our_scaling:fit")
    with pytest.raises(Refused, match=r"The champion carries another our_scaling\.py than the one in"):
        run(store.job("edited", recipe=recipe, code_folder=str(policies)), tmp_path)
