"""An earlier champion beside the two that are compared: on which rows, and what becomes of one that is not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, SGDClassifier

from retrain_daemon.core.evidence import AnchorEvidence
from retrain_daemon.core.policy import Claim, Mode, Recipe, Requirement
from retrain_daemon.errors import Refused, RegistryUnreachable
from retrain_daemon.worker import anchor as anchors
from retrain_daemon.worker.job import Anchor, Train
from retrain_daemon.worker.rows import load_keys, save_keys, unit_keys
from tests.worker.test_training import Store, run, store, table

pytestmark = pytest.mark.slow
__all__ = ["store"]

HARMLESS = (Requirement("accuracy", Claim.NOT_WORSE_BY, 0.02),)


@pytest.fixture
def versions(store: Store, request: pytest.FixtureRequest) -> str:
    """Version 1 is the champion, version 2 an earlier one that is better."""
    name = request.node.originalname
    store.register(name, SGDClassifier(loss="log_loss", random_state=0))
    store.register(name, LogisticRegression())
    return name


def job(store: Store, name: str, **changes: Any) -> Train:
    made = {"require": HARMLESS, "anchor": Anchor(version=2), "recipe": Recipe(mode=Mode.REFIT), **changes}
    return store.job(name, **made)


def anchored(store: Store, name: str, folder: Path, **changes: Any) -> AnchorEvidence:
    found = run(job(store, name, **changes), folder).evidence.anchor
    assert found is not None
    return found


def judging_keys(store: Store, name: str, folder: Path) -> Any:
    """Keys of all rows but those that train."""
    everything = run(job(store, name, anchor=None), folder)
    rows = table(400, seed=1)
    keys = unit_keys(rows, ["a", "b", "c"])
    return keys[~np.isin(keys, load_keys([everything.challenger.learned_file]))]


def test_the_challenger_is_compared_with_the_earlier_champion_on_the_same_rows(
    store: Store, versions: str, tmp_path: Path
) -> None:
    done = run(job(store, versions), tmp_path).evidence
    assert done.anchor is not None
    [accuracy] = done.anchor.metrics
    rows = table(400, seed=1)
    judging = rows[np.isin(unit_keys(rows, ["a", "b", "c"]), judging_keys(store, versions, tmp_path))]
    earlier = mlflow.sklearn.load_model(f"models:/{versions}/2")
    right = earlier.predict(judging[["a", "b", "c"]]) == judging["churned"]
    assert (done.anchor.version, done.anchor.rows) == (2, done.rows) == (2, len(judging))
    assert accuracy.champion == pytest.approx(right.mean())
    assert accuracy.challenger == done.metrics[0].challenger
    assert accuracy.gain_low is not None


def test_rows_that_the_earlier_champion_learned_are_left_out(store: Store, versions: str, tmp_path: Path) -> None:
    keys = np.sort(judging_keys(store, versions, tmp_path))
    save_keys(tmp_path / "earlier.npy", keys[:30])
    found = anchored(store, versions, tmp_path, anchor=Anchor(version=2, learned=(str(tmp_path / "earlier.npy"),)))
    assert found.rows == len(keys) - 30
    save_keys(tmp_path / "earlier.npy", keys)
    none = anchored(store, versions, tmp_path, anchor=Anchor(version=2, learned=(str(tmp_path / "earlier.npy"),)))
    assert none.problem == f"of {len(keys)} judging rows there is none that version 2 has surely not learned"
    assert (none.rows, none.metrics) == (0, ())


def test_a_row_that_it_learned_and_that_slipped_through_ends_the_job(
    store: Store, versions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = np.sort(judging_keys(store, versions, tmp_path))
    save_keys(tmp_path / "earlier.npy", keys[:3])
    monkeypatch.setattr(anchors, "contains", lambda learned, units: np.zeros(len(units), dtype=bool))
    with pytest.raises(Refused, match=f"3 of {len(keys)} judging rows are rows that version 2 or an ancestor learned"):
        run(job(store, versions, anchor=Anchor(version=2, learned=(str(tmp_path / "earlier.npy"),))), tmp_path)


def test_an_earlier_champion_that_is_gone_or_broken_is_told_and_the_rest_is_measured(
    store: Store, versions: str, tmp_path: Path
) -> None:
    gone = run(job(store, versions, anchor=Anchor(version=9)), tmp_path).evidence
    assert gone.anchor is not None
    assert gone.anchor.problem.startswith("version 9 is gone: MLflow at")
    assert gone.metrics[0].gain is not None
    stored = Path(mlflow.artifacts.download_artifacts(f"models:/{versions}/2"))
    (stored / "model.skops").write_bytes(b"cut")
    broken = anchored(store, versions, tmp_path)
    assert broken.problem.startswith(f"Version 2 of {versions} does not load")


def test_an_mlflow_that_is_away_is_noticed_before_anything_is_trained(
    store: Store, versions: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise RegistryUnreachable("MLflow did not answer.")

    monkeypatch.setattr(anchors, "read_version", away)
    phases: list[str] = []
    with pytest.raises(RegistryUnreachable):
        run(job(store, versions), tmp_path, phases)
    assert "training" not in phases


def test_no_other_version_is_loaded_where_no_line_rules_harm_out(store: Store, versions: str, tmp_path: Path) -> None:
    lines = (Requirement("accuracy", Claim.BETTER_BY, 0.0),)
    assert run(job(store, versions, require=lines, anchor=Anchor(version=9)), tmp_path).evidence.anchor is None


def test_a_given_challenger_is_held_against_the_earlier_champion_too(
    store: Store, versions: str, tmp_path: Path
) -> None:
    first = run(job(store, versions), tmp_path)
    again = run(job(store, versions, challenger=first.challenger), tmp_path)
    assert again.evidence.anchor == first.evidence.anchor
    assert replace(again.evidence, metrics=()) == replace(first.evidence, metrics=())
