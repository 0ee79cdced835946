"""First policies for models in a real MLflow: what is written passes the strict reader and agrees with model and files.

What the worker does is done here in the test's own process; the command is in `tests/acceptance/test_init.py`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.ensemble import BaggingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from retrain_daemon.cli.first_policy import Beginning, first_policy
from retrain_daemon.cli.questions import question_of
from retrain_daemon.core.policy import Mode, Outputs, Policy
from retrain_daemon.errors import NotFound, Refused
from retrain_daemon.policies import read_policy_text
from retrain_daemon.worker.against_policy import check_policy
from retrain_daemon.worker.digits.data import digits
from retrain_daemon.worker.job import CheckPolicy, Finding, PolicySketched, SketchPolicy, Source
from retrain_daemon.worker.sketch import sketch_policy
from tests import networks
from tests.box import Box, buyers

pytestmark = pytest.mark.slow

ROWS = buyers(2, 400)
FEATURES = ROWS.drop(columns="bought")


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Box:
    made = Box(tmp_path_factory.mktemp("box"))
    made.register()
    return made


def folder(path: Path, rows: pd.DataFrame, name: str = "a.csv") -> str:
    path.mkdir(exist_ok=True)
    rows.to_parquet(path / name) if name.endswith("parquet") else rows.to_csv(path / name, index=False)
    return str(path)


def sketched(box: Box, model: str, data: str = "", **more: Any) -> PolicySketched:
    source = Source(tracking_uri=box.uri, registry_uri=box.uri, model=model, version=1)
    with box.as_default_mlflow():
        return sketch_policy(SketchPolicy(source=source, folder=data, **more), lambda _progress: None)


def written(found: PolicySketched, model: str, data: str) -> tuple[str, Policy]:
    """The text of the first policy, and the policy it is read as."""
    pattern = found.files.pattern if found.files else "*.parquet"
    path = f"{data or '/srv/drops/EDIT-THIS'}/{pattern}"
    text = first_policy(Beginning(model=model, version=1, alias="champion", path=path), found)
    reading = read_policy_text(text, "/p/policy.yaml", "/p")
    assert not reading.problems, reading.problems
    assert not reading.warnings
    [policy] = reading.policies
    return text, policy


def against(box: Box, policy: Policy, found: PolicySketched) -> tuple[Finding, ...]:
    """What `check --registry` has against a written policy."""
    source = Source(tracking_uri=box.uri, registry_uri=box.uri, model=policy.model, version=1)
    job = question_of(policy, source, "", found.files.newest if found.files else "").job
    assert isinstance(job, CheckPolicy)
    with box.as_default_mlflow():
        return check_policy(job, lambda _progress: None).findings


def begun(box: Box, model: str, data: str, **more: Any) -> tuple[str, Policy]:
    """A first policy that nothing speaks against."""
    found = sketched(box, model, data, **more)
    text, policy = written(found, model, data)
    assert against(box, policy, found) == ()
    return text, policy


def test_a_classifier_gets_a_policy_by_signature_and_files(box: Box, tmp_path: Path) -> None:
    text, policy = begun(box, "shop", folder(tmp_path, ROWS))
    assert (policy.data.pattern, policy.data.target.column) == ("*.csv", "bought")
    assert policy.requested.mode is Mode.WARM_START
    assert [line.metric for line in policy.promote.require] == ["accuracy"]
    assert "# - not incremental: LogisticRegression has no partial_fit" in text
    assert "#   logisticregression__C: 1.0" in text


def test_a_regression_gets_a_metric_of_values(box: Box, tmp_path: Path) -> None:
    rows = FEATURES.assign(spent=FEATURES["visits"] * 3 + 1.5)
    box.register_regression("spend", rows, "spent", list(FEATURES))
    _, policy = begun(box, "spend", folder(tmp_path, rows, "a.parquet"))
    assert (policy.data.pattern, policy.data.target.column) == ("*.parquet", "spent")
    assert [line.metric for line in policy.promote.require] == ["r2"]


def test_an_ensemble_that_would_grow_begins_with_refit(box: Box, tmp_path: Path) -> None:
    several = BaggingClassifier(LogisticRegression(), n_estimators=3).fit(FEATURES, ROWS["bought"])
    box.log_version("several", several, FEATURES, "champion")
    assert begun(box, "several", folder(tmp_path, ROWS))[1].requested.mode is Mode.REFIT


def test_a_classifier_without_probabilities_is_not_asked_for_them(box: Box, tmp_path: Path) -> None:
    box.log_version("svc", LinearSVC().fit(FEATURES, ROWS["bought"]), FEATURES, "champion")
    text, _ = begun(box, "svc", folder(tmp_path, ROWS))
    assert "log_loss" not in text


def test_columns_beside_the_features_are_named_and_one_must_be_chosen(box: Box, tmp_path: Path) -> None:
    data = folder(tmp_path, ROWS.assign(customer=range(400), at="2026-01-01T10:00:00"))
    with pytest.raises(Refused, match="'bought', 'customer' beside its features") as refusal:
        sketched(box, "shop", data)
    assert "--target" in refusal.value.hint
    text, policy = begun(box, "shop", data, target="bought")
    assert "# event_time: at" in text
    assert "# group: customer" in text
    assert policy.data.group is None


def test_files_without_a_column_to_predict_are_refused(box: Box, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="none is left to predict"):
        sketched(box, "shop", folder(tmp_path, FEATURES))


def test_a_target_that_is_not_in_the_files_or_is_a_feature_is_refused(box: Box, tmp_path: Path) -> None:
    data = folder(tmp_path, ROWS)
    with pytest.raises(Refused, match="has no column 'boght'"):
        sketched(box, "shop", data, target="boght")
    with pytest.raises(Refused, match="takes 'age' as a feature"):
        sketched(box, "shop", data, target="age")


def test_without_files_the_target_must_be_named_and_the_path_is_to_be_filled_in(box: Box) -> None:
    with pytest.raises(Refused, match="its signature does not say"):
        sketched(box, "shop")
    text, policy = begun(box, "shop", "", target="bought")
    assert "EDIT THIS" in text
    assert policy.data.folder == "/srv/drops/EDIT-THIS"


def test_a_folder_without_files_is_not_found(box: Box, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="No file in"):
        sketched(box, "shop", str(tmp_path))


def test_a_model_that_cannot_be_trained_gets_no_policy(box: Box, tmp_path: Path) -> None:
    box.log_version("clusters", KMeans(n_clusters=2, n_init=1).fit(FEATURES), FEATURES, "champion")
    with pytest.raises(Refused, match="clusters cannot be trained further"):
        sketched(box, "clusters", folder(tmp_path, ROWS))


@pytest.mark.parametrize(
    "name",
    ["yes", "a: b", 'q"uote\\', "# no", "x\u2028y", "*all", "{model}", "- item", "ünï 😀", "1e3", "'", "a" * 300],
)
def test_no_name_of_a_column_gets_out_of_its_quotes(box: Box, tmp_path: Path, name: str) -> None:
    found = sketched(box, "shop", folder(tmp_path, ROWS))
    assert found.files is not None
    files = replace(found.files, beside=(name, "t" + name), times=("t" + name,))
    odd = replace(found, target=name, known=(name, "other"), files=files)
    text = first_policy(Beginning(model="shop", version=1, alias="champion", path="/srv/shop/*.csv"), odd)
    reading = read_policy_text(text, "policy.yaml", "/srv")
    for problem in reading.problems:  # a name that no policy may hold is said where it stands, and nothing else is
        assert "data.target" in problem.message
    for policy in reading.policies:
        assert policy.data.target.column == name
        assert policy.data.group is None


def test_a_keras_network_gets_shape_outputs_and_classes(box: Box, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    from retrain_daemon.worker.digits import keras_model

    with box.as_default_mlflow():
        keras_model.register("digits-keras", box.uri)
    _, policy = begun(box, "digits-keras", folder(tmp_path, digits()))
    assert (policy.data.features, policy.data.shape) == (("pixel_*",), (8, 8, 1))
    assert policy.data.model_outputs is Outputs.LOGITS
    assert policy.data.target.classes == tuple(range(10))


def test_a_torch_network_gets_shape_outputs_and_classes(box: Box, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from retrain_daemon.worker.digits import torch_model

    with box.as_default_mlflow():
        torch_model.register("digits-torch", box.uri)
    text, policy = begun(box, "digits-torch", folder(tmp_path, digits()))
    assert (policy.data.features, policy.data.shape) == (("pixel_*",), (1, 8, 8))
    assert policy.data.target.classes == tuple(range(10))
    assert "So the model is right in " in text


def test_a_network_s_classes_without_an_order_must_be_named(box: Box, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    networks.register(box, "buyers", networks.log_torch)
    data = folder(tmp_path, ROWS)
    with pytest.raises(Refused, match="Which column"):
        sketched(box, "buyers", data)
    with pytest.raises(Refused, match="cannot be told") as refusal:
        sketched(box, "buyers", data, target="bought")
    assert refusal.value.hint.endswith("--classes no yes")
    with pytest.raises(Refused, match="--classes names 3 classes"):
        sketched(box, "buyers", data, target="bought", classes=("no", "yes", "perhaps"))
    _, policy = begun(box, "buyers", data, target="bought", classes=("no", "yes"))
    assert policy.data.target.classes == ("no", "yes")
    assert policy.data.features == ("visits", "basket", "age")


def test_a_network_without_files_is_refused(box: Box) -> None:
    pytest.importorskip("torch")
    networks.register(box, "unseen", networks.log_torch)
    with pytest.raises(Refused, match="is a network") as refusal:
        sketched(box, "unseen", "", target="bought")
    assert "--data" in refusal.value.hint


def test_the_threshold_follows_the_rows_of_a_file(box: Box, tmp_path: Path) -> None:
    rows = pd.concat([ROWS] * 8, ignore_index=True)
    text, policy = begun(box, "shop", folder(tmp_path, rows))
    assert policy.rules[0].when == "data.new_rows >= 3000"
    assert "about 3,200 rows" in text
    assert np.isclose(policy.data.holdout.share or 0, 0.2)
