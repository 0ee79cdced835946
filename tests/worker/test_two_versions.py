"""A promoted version against the one before it: on which rows, when there is a look, and what stands in its way."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.linear_model import LogisticRegression

from retrain_daemon.core.policy import Claim, IfWorse, Requirement
from retrain_daemon.core.watch import Look, Terms, judge_look
from retrain_daemon.errors import DataProblem, NotFound, Refused
from retrain_daemon.worker.compare import compare
from retrain_daemon.worker.evaluate import Predictions
from retrain_daemon.worker.job import CompareVersions, DropFile, VersionsCompared
from retrain_daemon.worker.two_versions import compare_versions
from tests.box import buyers
from tests.networks import FEATURES, log_torch
from tests.worker.test_scoring import SEEN, Shelf, a_drop, log_sklearn, units

pytestmark = pytest.mark.slow

NEW = buyers(7, 600, old_world=True)[[*FEATURES, "bought"]]
TERMS = Terms(rows=1000, alpha=0.05, lines=(Requirement("accuracy", Claim.BETTER_BY, 0.0),), if_worse=IfWorse.ROLLBACK)
GOOD, BAD = 1, 2


def log_bad() -> Any:
    """Learned another world than the files are of."""
    rows = buyers(4, 300)
    estimator = LogisticRegression(max_iter=500).fit(rows[FEATURES], rows["bought"])
    signature = mlflow.models.infer_signature(rows[FEATURES], rows["bought"])
    return mlflow.sklearn.log_model(estimator, name="model", signature=signature, pip_requirements=["scikit-learn"])


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shelf]:
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    shelf = Shelf(tmp_path_factory.mktemp("shelf"))
    shelf.register("sklearn", log_sklearn)
    shelf.register("sklearn", log_bad)
    yield shelf
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


def job(shelf: Shelf, *drops: DropFile, promoted: int = BAD, previous: int = GOOD, **changes: Any) -> CompareVersions:
    like = shelf.job(*drops, name=changes.pop("name", "sklearn"))
    made = CompareVersions(
        attempt="shop-1", source=replace(like.source, version=promoted), previous=previous, data=like.data, drops=drops,
        learned=(), unknown_until=None, terms=TERMS, seed=1,
    )  # fmt: skip
    return replace(made, **changes)


def done(asked: CompareVersions, folder: Path) -> VersionsCompared:
    return compare_versions(asked, folder, lambda _progress: None)


def test_a_worse_version_is_shown_to_be_worse_by_the_paired_test_over_all_rows(shelf: Shelf, tmp_path: Path) -> None:
    drops = a_drop(tmp_path, NEW.iloc[:250]), a_drop(tmp_path, NEW.iloc[250:], 2)
    found = done(job(shelf, *drops), tmp_path)
    assert found.look is not None
    assert (found.rows, found.look.number, found.look.rows) == (600, 1, 600)
    predicted = [
        Predictions(labels=mlflow.sklearn.load_model(f"models:/sklearn/{version}").predict(NEW[FEATURES]))
        for version in (GOOD, BAD)
    ]
    assert found.metrics == compare(
        NEW["bought"].to_numpy(), *predicted, metrics=("accuracy",), positive="yes", confidence=1 - found.look.alpha,
        groups=None, seed=1,
    )  # fmt: skip
    assert judge_look(TERMS, found.look, BAD, GOOD, found.metrics).worse
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.csv", "2.csv"]


def test_a_better_version_is_not(shelf: Shelf, tmp_path: Path) -> None:
    found = done(job(shelf, a_drop(tmp_path, NEW), promoted=GOOD, previous=BAD), tmp_path)
    assert found.look is not None
    assert not judge_look(TERMS, found.look, GOOD, BAD, found.metrics).worse


def test_rows_that_do_not_suffice_are_counted_and_nothing_is_measured(shelf: Shelf, tmp_path: Path) -> None:
    drop = a_drop(tmp_path, NEW.iloc[:499])
    assert done(job(shelf, drop), tmp_path) == VersionsCompared(rows=499)
    taken = (Look(number=1, rows=500, alpha=0.005),)
    assert done(job(shelf, a_drop(tmp_path, NEW), taken=taken), tmp_path) == VersionsCompared(rows=600)


def test_rows_that_either_version_learned_are_left_out_and_that_is_checked(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop = a_drop(tmp_path, NEW)
    like = shelf.job(drop)
    learned = (
        units(tmp_path / "one.npy", like, drop, slice(0, 40)),
        units(tmp_path / "two.npy", like, drop, slice(40, 90)),
    )
    found = done(job(shelf, drop, learned=learned), tmp_path)
    assert (found.rows, found.checked_keys) == (510, 90)
    early = units(tmp_path / "early.npy", like, drop, slice(90, 100))
    assert done(job(shelf, drop, early=(early,), learned=learned), tmp_path).rows == 500
    assert done(job(shelf, drop, unknown_until=SEEN), tmp_path) == VersionsCompared()

    def nothing_known(keys: Any, units: Any) -> Any:
        return np.zeros(len(units), dtype=np.bool_)

    monkeypatch.setattr("retrain_daemon.worker.two_versions.contains", nothing_known)
    with pytest.raises(Refused, match="90 of 600 judging rows are rows that either version or an ancestor learned"):
        done(job(shelf, drop, learned=learned), tmp_path)


def test_a_row_that_comes_in_two_files_counts_once_by_its_newest_copy(shelf: Shelf, tmp_path: Path) -> None:
    drops = a_drop(tmp_path, NEW), a_drop(tmp_path, NEW.iloc[:200], 2)
    assert done(job(shelf, *drops), tmp_path).rows == 600


def test_a_file_that_cannot_be_used_is_left_out_and_one_that_is_unsettled_is_waited_for(
    shelf: Shelf, tmp_path: Path
) -> None:
    drop, bad = a_drop(tmp_path, NEW), a_drop(tmp_path, NEW.drop(columns="age"), 2)
    assert done(job(shelf, drop, bad), tmp_path).rows == 600
    with pytest.raises(DataProblem) as raised:
        done(job(shelf, drop, replace(drop, drop=3, fingerprint="0" * 64)), tmp_path)
    assert raised.value.temporary


def test_classes_that_one_of_the_two_knows_count_and_others_do_not(shelf: Shelf, tmp_path: Path) -> None:
    rows = NEW.copy()
    rows.loc[rows.index[:30], "bought"] = "maybe"
    assert done(job(shelf, a_drop(tmp_path, rows)), tmp_path).rows == 570


def test_groups_are_compared_as_wholes(shelf: Shelf, tmp_path: Path) -> None:
    rows = NEW.assign(customer=np.arange(len(NEW)) // 20)
    asked = job(shelf, a_drop(tmp_path, rows))
    found = done(replace(asked, data=replace(asked.data, group="customer")), tmp_path)
    assert "groups" in found.metrics[0].method


def test_a_network_is_compared_too(shelf: Shelf, tmp_path: Path) -> None:
    shelf.register("torch", log_torch)
    shelf.register("torch", log_torch)
    found = done(job(shelf, a_drop(tmp_path, NEW), name="torch"), tmp_path)
    assert found.metrics[0].gain is not None
    assert found.checked_keys == 0


def test_a_version_before_that_is_gone_or_does_not_load_is_said(shelf: Shelf, tmp_path: Path) -> None:
    drop = a_drop(tmp_path, NEW)
    assert "version=9" in done(job(shelf, drop, previous=9), tmp_path).obstacle
    with pytest.raises(NotFound):
        done(job(shelf, drop, promoted=9), tmp_path)
    shelf.register("lost", log_sklearn)
    shelf.register("lost", log_bad)
    stored = str(MlflowClient().get_model_version("lost", "1").source).rpartition("/")[2]
    shutil.rmtree(shelf.root / "artifacts" / "models" / stored)
    asked = job(shelf, drop)
    asked = replace(asked, source=replace(asked.source, model="lost"))
    assert done(asked, tmp_path).obstacle.startswith("The files of version 1 of lost are gone")
