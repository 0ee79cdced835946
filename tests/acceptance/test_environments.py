"""A policy that names another interpreter: the training runs there, and the run says with which libraries."""

from __future__ import annotations

import json
import sys
import venv
from pathlib import Path
from typing import Any

import mlflow
import pytest
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from retrain_daemon.core.attempts import Attempt
from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers

pytestmark = pytest.mark.slow

#: Made by the Makefile: this environment with another scikit-learn.
OTHER = Path(sys.prefix) / "other"
PYTHON = OTHER / "bin" / "python"


def other_version() -> str:
    found = list(OTHER.glob("lib/python*/site-packages/scikit_learn-*.dist-info"))
    assert len(found) == 1, f"{OTHER} has no scikit-learn of its own: run `make {OTHER.name}/.ready` or `make test`"
    return found[0].name.removeprefix("scikit_learn-").removesuffix(".dist-info")


def register_pinned(box: Box, model: str) -> None:
    """A champion whose requirements say with which scikit-learn it was trained."""
    rows = buyers(1, 300, old_world=True)
    features = rows.drop(columns="bought")
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, rows["bought"])
    log = mlflow.sklearn.log_model

    def pinned(estimator: Any, **how: Any) -> Any:
        return log(estimator, **(how | {"pip_requirements": [f"scikit-learn=={sklearn.__version__}", "skops"]}))

    mlflow.sklearn.log_model = pinned
    try:
        box.log_version(model, pipeline, features, "champion")
    finally:
        mlflow.sklearn.log_model = log


def asked_for(box: Box, model: str, python: Path) -> None:
    register_pinned(box, model)
    box.policy(model, ("  mode: refit\n", f"  mode: refit\n  python: {python}\n"))


@pytest.fixture(scope="module")
def box(boxes: Boxes, tmp_path_factory: pytest.TempPathFactory) -> Box:
    """Three models: one trained elsewhere, one whose interpreter is not there, one without the worker there."""
    box = boxes()
    bare = tmp_path_factory.mktemp("bare") / "env"
    venv.create(bare)
    asked_for(box, "elsewhere", PYTHON)
    asked_for(box, "nowhere", Path("/opt/no/such/python"))
    asked_for(box, "empty", bare / "bin" / "python")
    box.start()
    for model in ("elsewhere", "nowhere", "empty"):
        box.drop("monday.csv", buyers(2), model)
    return box


@pytest.fixture(scope="module")
def promoted(box: Box) -> Attempt:
    return box.ended(model="elsewhere")


def test_a_model_is_trained_and_promoted_with_the_libraries_of_the_other_environment(
    box: Box, promoted: Attempt
) -> None:
    assert (promoted.state, box.aliases("elsewhere")["champion"]) == ("promoted", 2)
    assert promoted.challenger is not None
    with box.as_default_mlflow():
        path = mlflow.artifacts.download_artifacts(f"runs:/{promoted.challenger.run_id}/environment.json")
        stored = mlflow.artifacts.download_artifacts(promoted.challenger.model_uri)
    environment = json.loads(Path(path).read_text())
    assert other_version() != sklearn.__version__
    assert environment["packages"]["scikit-learn"] == other_version()
    assert environment["executable"] == str(PYTHON)
    assert f"scikit-learn=={other_version()}" in Path(stored, "requirements.txt").read_text()


def test_a_difference_to_what_the_champion_was_trained_with_is_reported(promoted: Attempt) -> None:
    was, here = (".".join(version.split(".")[:2]) for version in (sklearn.__version__, other_version()))
    assert promoted.notes[0] == f"The champion was trained with scikit-learn {was}, this worker has {here}."


def test_the_run_names_the_interpreter(box: Box, promoted: Attempt) -> None:
    assert promoted.challenger is not None
    assert box.client.get_run(promoted.challenger.run_id).data.params["train_python"] == str(PYTHON)


def test_an_interpreter_that_is_not_there_is_a_sentence_and_not_tried_again(box: Box) -> None:
    attempt = box.ended(model="nowhere")
    assert (attempt.state, attempt.starts) == ("abandoned", 1)
    assert attempt.reason.startswith("train.python names /opt/no/such/python, which does not exist.")


def test_an_environment_without_the_worker_is_a_sentence_and_not_tried_again(box: Box) -> None:
    attempt = box.ended(model="empty")
    assert (attempt.state, attempt.starts) == ("abandoned", 1)
    assert "which train.python names, has no retrain-daemon. Install this project there" in attempt.reason
