"""A team's own training function, network and modules: found, called, identified; what goes wrong is a sentence."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from retrain_daemon.core.policy import Mode, Recipe
from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.custom import find
from tests.worker.test_training import Store, run, store

pytestmark = pytest.mark.slow
__all__ = ["store"]

EXAMPLE = Path(__file__).parents[2] / "policies" / "digits_training.py"
BROKEN = """
raise RuntimeError("the licence has run out")
"""
FUNCTIONS = """
from retrain_daemon.worker.lesson import Lesson

HERE = 3

def alone(champion):
    return champion

def nothing(champion, lesson):
    pass

def other(champion, lesson):
    return {"weights": 1}

def regression(champion, lesson):
    from sklearn.linear_model import LinearRegression
    return LinearRegression().fit(lesson.frame(), lesson.frame()["a"])

def failing(champion, lesson):
    rows = lesson.frame()
    return rows["no such column"]

def spoiling(champion, lesson):
    champion[-1].coef_[:] = float("nan")
    return champion
"""


@pytest.fixture
def code(tmp_path: Path) -> Iterator[Path]:
    """A folder with modules of a team, as beside a policy."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "our_functions.py").write_text(FUNCTIONS)
    (folder / "our_broken.py").write_text(BROKEN)
    shutil.copy(EXAMPLE, folder)
    before = sys.path.copy(), set(sys.modules)
    yield folder
    sys.path[:] = before[0]
    for name in set(sys.modules) - before[1]:
        if name.startswith(("our_", "digits_training")):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("our_missing:fit", "our_missing:fit cannot be imported: there is no module 'our_missing'. Install it where"),
        ("our_broken:fit", "cannot be imported: RuntimeError: the licence has run out (in our_broken.py, line 2)."),
        ("our_functions:alon", "has no 'alon'. Did you mean 'alone'?"),
        ("our_functions:HERE", "our_functions:HERE is a int, which cannot be called."),
    ],
)
def test_what_cannot_be_found_is_a_sentence(code: Path, reference: str, said: str) -> None:
    with pytest.raises(Refused) as refused:
        find(reference, str(code))
    assert said in str(refused.value)


def trained(store: Store, code: Path, tmp_path: Path, function: str, **hyperparameters: Any) -> Any:
    recipe = Recipe(mode=Mode.INCREMENTAL, trainer=function, hyperparameters=hyperparameters)
    scratch = tmp_path / "job"
    scratch.mkdir(exist_ok=True)
    return run(store.job("churn", recipe=recipe, code_folder=str(code)), scratch)


def test_the_example_beside_the_policies_trains_a_challenger_that_is_judged(
    store: Store, code: Path, tmp_path: Path
) -> None:
    name = "weighed"
    store.register(name, make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=0)))
    recipe = Recipe(
        mode=Mode.INCREMENTAL, trainer="digits_training:fit", hyperparameters={"passes": 3, "doubtful": 0.05}
    )
    done = run(store.job(name, recipe=recipe, code_folder=str(code)), tmp_path)
    import mlflow

    old = mlflow.sklearn.load_model(f"models:/{name}/1")
    new = mlflow.sklearn.load_model(done.challenger.model_uri)
    assert new[-1].t_ == old[-1].t_ + 3 * done.challenger.training_rows
    digest = hashlib.sha256(EXAMPLE.read_bytes()).hexdigest()
    assert f"Trained by digits_training:fit; sha256 of its file: {digest}." in done.notes
    params = mlflow.MlflowClient().get_run(done.challenger.run_id).data.params
    assert (params["train_with"], params["train_with_sha256"]) == ("digits_training:fit", digest)
    assert done.evidence.rows > 40


@pytest.mark.parametrize(
    ("function", "kind", "said"),
    [
        ("alone", Refused, "does not take two arguments. Write it as: def fit(champion, lesson)"),
        ("nothing", TrainingFailed, "our_functions:nothing returned nothing. It must return the trained model."),
        ("other", TrainingFailed, "gave a dict, which is no scikit-learn model"),
        ("regression", TrainingFailed, "gave a model for regression, the champion's is classification"),
        ("failing", TrainingFailed, "failing raised KeyError: 'no such column' (in our_functions.py, line 21)"),
        ("spoiling", TrainingFailed, "predicts NaN or infinity for 79 of 79 rows of the window"),
    ],
)
def test_what_a_function_does_wrong_is_a_sentence_and_nothing_is_logged(
    store: Store, code: Path, tmp_path: Path, function: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind) as wrong:
        trained(store, code, tmp_path, f"our_functions:{function}")
    assert said in str(wrong.value)
    assert list((tmp_path / "job").iterdir()) == []
