"""Metrics of stored models: what is exact, what has bounds, and the fresh process that loads them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from scipy import stats

from retrain_daemon.core.evidence import Evidence, MetricEvidence
from retrain_daemon.core.policy import Claim, Mode, Recipe, Requirement
from retrain_daemon.errors import RegistryUnreachable
from retrain_daemon.worker import model_metrics, training
from retrain_daemon.worker.evaluate import Predictions
from retrain_daemon.worker.fresh import Answer, Request, Sample, Unanswered, try_afresh
from retrain_daemon.worker.job import Train
from retrain_daemon.worker.kept import read_kept
from retrain_daemon.worker.schema import Tensor
from retrain_daemon.worker.side_by_side import SideBySide, measure_rows
from tests.worker.test_slices import judging
from tests.worker.test_training import Store, run, store, table

__all__ = ["store"]

OF_FILES = ("model_mb", "loadable", "latency_ms_p95")


def of(evidence: Evidence, name: str) -> MetricEvidence:
    [found] = [each for each in evidence.metrics if each.metric == name]
    return found


def job(store: Store, name: str, *metrics: str, **changes: Any) -> Train:
    lines = tuple(Requirement(metric, Claim.AT_MOST, 1.0) for metric in metrics)
    return store.job(name, metrics=metrics, require=lines, recipe=Recipe(mode=Mode.REFIT), **changes)


def flips(tmp_path: Path, ours: Any, theirs: Any, groups: Any = None, kind: str = "labels") -> MetricEvidence:
    made, _ = judging(tmp_path, metrics=("flipped",), require=())
    models = [Predictions(**{kind: np.asarray(each)}) for each in (ours, theirs)]
    both = SideBySide(truth=np.asarray(ours), champion=models[0], challenger=models[1], groups=groups)
    [found] = measure_rows(made, ("flipped",), both)
    return found


def test_the_share_of_flipped_labels_has_exact_bounds(tmp_path: Path) -> None:
    ours = np.arange(200) % 2
    theirs = np.where(np.arange(200) < 7, 1 - ours, ours)
    found = flips(tmp_path, ours, theirs)
    exact = stats.binomtest(7, 200).proportion_ci(0.9, method="exact")
    assert found.challenger == 7 / 200
    assert (found.challenger_low, found.challenger_high) == pytest.approx((exact.low, exact.high))
    assert found.rows == 200
    assert (found.champion, found.gain) == (None, None)


def test_numbers_that_differ_by_rounding_are_not_flipped(tmp_path: Path) -> None:
    ours = np.linspace(1, 100, 400)
    theirs = ours.astype(np.float32).astype(np.float64)
    theirs[:40] += 0.01
    assert flips(tmp_path, ours, theirs, kind="values").challenger == 0.1


def test_where_rows_come_in_groups_flips_are_as_sure_as_the_groups(tmp_path: Path) -> None:
    ours = np.zeros(400, dtype=int)
    groups = np.repeat(np.arange(40), 10).astype(np.uint64)
    whole_groups = np.where(groups < 4, 1, 0)
    found, plain = (flips(tmp_path, ours, whole_groups, each) for each in (groups, None))
    of_groups = stats.binomtest(4, 40).proportion_ci(0.9, method="exact")
    assert found.challenger == plain.challenger == 0.1
    assert found.challenger_low is not None
    assert found.challenger_high is not None
    assert plain.challenger_high is not None
    assert plain.challenger_high < found.challenger_high
    assert found.challenger_low == pytest.approx(of_groups.low, abs=0.01)
    assert found.challenger_high == pytest.approx(of_groups.high, abs=0.01)
    assert "40 groups" in found.method
    none = flips(tmp_path, ours, ours, groups)
    assert none.challenger_high == pytest.approx(stats.binomtest(0, 40).proportion_ci(0.9, method="exact").high)


@pytest.mark.parametrize(("calls", "confidence"), [(60, 0.95), (200, 0.95), (200, 0.99), (500, 0.999)])
def test_the_quantile_of_call_times_is_between_its_bounds_as_often_as_said(calls: int, confidence: float) -> None:
    true = float(stats.expon.ppf(0.95))
    drawn = np.sort(np.random.default_rng(calls).exponential(size=(4000, calls)), axis=1)
    bounds = [model_metrics._bounds_of_quantile(each, confidence) for each in drawn]
    above = np.mean([high is not None and high >= true for _, high in bounds])
    below = np.mean([low is not None and low <= true for low, _ in bounds])
    slack = 4 * np.sqrt(confidence * (1 - confidence) / 4000)
    assert confidence - slack <= above
    assert confidence - slack <= below


def test_too_few_calls_give_no_upper_bound() -> None:
    assert model_metrics._bounds_of_quantile(np.arange(58.0), 0.95)[1] is None
    assert model_metrics._bounds_of_quantile(np.arange(59.0), 0.95)[1] == 58.0


def test_a_process_that_died_is_the_models_fault_unless_it_was_killed_from_outside() -> None:
    crashed, killed = Unanswered("code -11", ended=True), Unanswered("killed", ended=False)
    assert model_metrics._loadable(crashed).challenger == 0.0
    assert model_metrics._loadable(killed).challenger is None
    assert model_metrics._loadable(replace(crashed, loaded=True)).challenger == 1.0
    assert model_metrics._loadable(Answer(challenger_problem="ValueError: no")).challenger_high == 0.0


@pytest.mark.slow
def test_the_size_is_that_of_the_stored_files_and_of_both_models(store: Store, tmp_path: Path) -> None:
    found = run(job(store, "churn", "accuracy", "model_mb"), tmp_path)
    size = of(found.evidence, "model_mb")
    for value, uri in ((size.champion, "models:/churn/1"), (size.challenger, found.challenger.model_uri)):
        stored = Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path)))
        files = [each for each in stored.rglob("*") if each.is_file()]
        counted = sum(each.stat().st_size for each in files if each.name not in ("MLmodel", "registered_model_meta"))
        assert value == counted / 1e6
    assert size.gain == size.gain_low == size.gain_high
    assert [each.metric for each in found.evidence.metrics] == ["accuracy", "model_mb"]


@pytest.mark.slow
def test_a_fresh_process_loads_both_and_times_single_rows(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a secret word")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "someone")
    phases: list[str] = []
    found = run(job(store, "churn", "accuracy", *OF_FILES), tmp_path, phases)
    assert phases[-3:] == ["storing", "measuring the stored models", "logging"]
    assert of(found.evidence, "loadable").challenger_low == 1.0
    latency = of(found.evidence, "latency_ms_p95")
    assert latency.problem == ""
    assert latency.champion is not None
    assert latency.challenger is not None
    assert latency.challenger_low is not None
    assert latency.challenger_high is not None
    assert 0 < latency.challenger_low <= latency.challenger <= latency.challenger_high
    assert latency.gain == pytest.approx(latency.champion - latency.challenger)
    assert "200 calls" in latency.method
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_what_no_line_asks_for_is_not_measured(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_metrics, "try_afresh", lambda *_: pytest.fail("a process was started"))
    found = run(job(store, "churn", "accuracy", "model_mb", "flipped"), tmp_path)
    assert of(found.evidence, "flipped").challenger is not None


@pytest.mark.slow
def test_a_later_worker_measures_what_an_earlier_one_could_not_and_trains_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = job(store, "churn", "accuracy", "model_mb", "loadable", attempt="churn-21", key="test/churn-21")
    with monkeypatch.context() as broken:
        broken.setattr(training, "measure_stored", _away)
        with pytest.raises(RegistryUnreachable, match="waits on disk"):
            run(made, tmp_path)
    phases: list[str] = []
    found = run(made, tmp_path, phases)
    assert phases == ["measuring the stored models", "logging"]
    assert of(found.evidence, "loadable").challenger == 1.0
    kept = read_kept(Path(made.kept_folder))
    assert kept is not None
    assert kept.evidence == found.evidence
    again: list[str] = []
    assert run(made, tmp_path, again).evidence == found.evidence
    assert again == ["logging"]


def _away(*_: object) -> None:
    raise RegistryUnreachable("MLflow at http://mlflow did not answer: connection refused.")


OURS = "from sklearn.linear_model import SGDClassifier\n\nclass Ours(SGDClassifier):\n    pass\n"


@pytest.mark.slow
def test_a_challenger_that_needs_the_policys_folder_is_not_loadable(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The champion was logged without its module: only who has the folder on the path can load it."""
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "our_fresh.py").write_text(OURS)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    from our_fresh import Ours  # type: ignore[import-not-found]

    store.register("pathbound", Ours(random_state=0), serialization_format="cloudpickle")
    work = tmp_path / "work"
    work.mkdir()
    given = run(job(store, "pathbound", "accuracy"), work).challenger
    found = run(job(store, "pathbound", "accuracy", "loadable", challenger=given, code_folder=str(folder)), work)
    loadable = of(found.evidence, "loadable")
    assert (loadable.challenger, loadable.challenger_high) == (0.0, 0.0)
    assert "our_fresh" in loadable.method
    assert found.notes[-1].startswith("The stored challenger is not fit to be served: mlflow.pyfunc in a fresh process")


@pytest.mark.slow
def test_a_process_that_takes_too_long_is_ended(store: Store, tmp_path: Path) -> None:
    stored = mlflow.artifacts.download_artifacts("models:/churn/1", dst_path=str(tmp_path))
    sample = Sample(table(3, seed=0)[["a", "b", "c"]], None)
    answer = try_afresh(Request(challenger=stored, champion=""), sample, tmp_path, seconds=0.2)
    assert isinstance(answer, Unanswered)
    assert answer.ended
    assert "0.2 seconds" in answer.why


@pytest.mark.slow
def test_the_process_has_files_and_no_secrets_and_ends_with_all_it_started(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model whose loading tells what it sees, and leaves a process behind."""
    seen = tmp_path / "seen.txt"
    code = tmp_path / "our_curious.py"
    code.write_text(CURIOUS.format(seen=seen))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a secret word")
    monkeypatch.setenv("RETRAIND_JOB", "/jobs/this")
    from our_curious import Curious  # type: ignore[import-not-found]

    stored = tmp_path / "stored"
    mlflow.pyfunc.save_model(stored, python_model=Curious(), code_paths=[str(code)], pip_requirements=["mlflow"])
    seen.unlink(missing_ok=True)
    sample = Sample(table(3, seed=0)[["a", "b", "c"]], None)
    answer = try_afresh(Request(challenger=str(stored), champion=""), sample, tmp_path)
    assert answer == Answer()
    child, marked, variables = seen.read_text().split("\n", 2)
    assert marked == "/jobs/this"
    assert "a secret word" not in variables
    assert "MLFLOW_TRACKING_PASSWORD" not in variables
    assert not Path(f"/proc/{child}").exists()


CURIOUS = """
import os, pathlib, subprocess
import mlflow

class Curious(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        left = subprocess.Popen(["sleep", "600"])
        told = [str(left.pid), os.environ.get("RETRAIND_JOB", ""), *map("=".join, os.environ.items())]
        pathlib.Path("{seen}").write_text(chr(10).join(told))

    def predict(self, context, model_input, params=None):
        return [0] * len(model_input)
"""


@pytest.mark.slow
def test_a_model_that_kills_its_process_is_not_loadable(store: Store, tmp_path: Path) -> None:
    class Deadly(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            import os

            os._exit(3)

    stored = tmp_path / "stored"
    mlflow.pyfunc.save_model(stored, python_model=Deadly(), pip_requirements=["mlflow"])
    sample = Sample(table(3, seed=0)[["a", "b", "c"]], None)
    answer = try_afresh(Request(challenger=str(stored), champion=""), sample, tmp_path)
    assert isinstance(answer, Unanswered)
    assert (answer.ended, answer.loaded) == (True, False)
    assert "code 3" in answer.why


@pytest.mark.slow
@pytest.mark.parametrize("signed", [True, False])
def test_a_keras_model_is_timed_with_the_tensors_it_takes(tmp_path: Path, signed: bool) -> None:
    import keras
    from mlflow.models import infer_signature

    rows = table(20, seed=0)[["a", "b", "c", "price"]]
    tensors = rows.to_numpy("float32").reshape(-1, 1, 2, 2)
    net = keras.Sequential([keras.Input((1, 2, 2)), keras.layers.Flatten(), keras.layers.Dense(2)])
    stored = tmp_path / "stored"
    signature = infer_signature(tensors, net.predict(tensors, verbose=0)) if signed else None
    mlflow.keras.save_model(net, str(stored), signature=signature, pip_requirements=["keras"])
    request = Request(challenger=str(stored), champion=str(stored), calls=12, least=12)
    answer = try_afresh(request, Sample(rows, Tensor((1, 2, 2))), tmp_path)
    assert isinstance(answer, Answer)
    assert (answer.challenger_problem, answer.champion_problem) == ("", "")
    assert len(answer.challenger_ms) == len(answer.champion_ms) == 12


@pytest.mark.slow
def test_a_torch_model_with_columns_is_timed_with_rows_of_them(tmp_path: Path) -> None:
    from mlflow.models import infer_signature
    from torch import nn

    rows = table(20, seed=0)[["a", "b", "c"]]
    stored = tmp_path / "stored"
    mlflow.pytorch.save_model(
        nn.Linear(3, 2), str(stored), serialization_format="pickle", pip_requirements=["torch"],
        signature=infer_signature(rows, rows.to_numpy("float32")[:, :2]),
    )  # fmt: skip
    request = Request(challenger=str(stored), champion="", calls=12, least=12)
    answer = try_afresh(request, Sample(rows, Tensor((3,))), tmp_path)
    assert isinstance(answer, Answer)
    assert answer.challenger_problem == ""
    assert len(answer.challenger_ms) == 12
