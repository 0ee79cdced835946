"""Which framework a model needs, and what is said where it is not installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from retrain_daemon.errors import FrameworkMissing, Refused
from retrain_daemon.worker import __main__ as worker
from retrain_daemon.worker import flavors
from retrain_daemon.worker.cards import ModelCard
from retrain_daemon.worker.job import Failed, InspectModel, Source


def card(flavor: str) -> ModelCard:
    info = SimpleNamespace(flavors={})
    return ModelCard(label="version 3 of digits", uri="models:/digits/3", flavor=flavor, info=info)  # type: ignore[arg-type]


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes packages look as if they were not installed."""

    def hide(*packages: str) -> None:
        monkeypatch.setattr(flavors, "find_spec", lambda name: None if name in packages else object())

    return hide


@pytest.mark.parametrize(
    ("flavor", "package", "said"),
    [
        ("pytorch", "torch", "is a PyTorch model, and torch is not installed where the worker runs"),
        ("keras", "tensorflow", "is a Keras model, and tensorflow is not installed"),
        ("tensorflow", "tensorflow", "is a TensorFlow model, and tensorflow is not installed"),
        ("sklearn", "sklearn", "is a scikit-learn model, and sklearn is not installed"),
    ],
)
def test_a_missing_framework_is_named_with_the_extra_that_installs_it(
    without: Callable[..., None], flavor: str, package: str, said: str
) -> None:
    without(package)
    with pytest.raises(FrameworkMissing, match=said) as missing:
        flavors.refuse_missing(card(flavor))
    assert "Install the extra [" in missing.value.hint


def test_models_of_other_frameworks_are_not_affected(without: Callable[..., None]) -> None:
    without("torch", "tensorflow", "keras")
    flavors.refuse_missing(card("sklearn"))
    with pytest.raises(Refused, match="training XGBoost models is not built yet"):
        flavors.refuse_missing(card("xgboost"))


def test_a_worker_says_that_it_was_the_framework(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def missing(*_: Any) -> Any:
        raise FrameworkMissing("Version 3 of digits is a PyTorch model.", "Install it.")

    monkeypatch.setattr(worker, "_do", missing)
    source = Source(tracking_uri="sqlite:///m.db", registry_uri="sqlite:///m.db", model="digits", version=3)
    outcome = worker._outcome(InspectModel(source=source), tmp_path)
    assert isinstance(outcome, Failed)
    assert (outcome.framework_missing, outcome.temporary) == (True, False)
    assert outcome.message == "Version 3 of digits is a PyTorch model."
