"""Whole training jobs on real MLflow (one SQLite store for the module) and real scikit-learn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import mlflow
import numpy as np
import pandas as pd
import pytest
import sklearn
from mlflow.models import infer_signature
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from retrain_daemon.core.policy import DataSpec, Holdout, Mode, Recipe, Target
from retrain_daemon.errors import NotFound, Refused, RegistryUnreachable, TrainingFailed
from retrain_daemon.worker import stage, training, window
from retrain_daemon.worker.cards import read_version
from retrain_daemon.worker.dataset import Split
from retrain_daemon.worker.frameworks.sklearn_storage import trusted_types
from retrain_daemon.worker.job import DropFile, Progress, Source, Train, Trained, is_kept
from retrain_daemon.worker.labelled import Rows
from retrain_daemon.worker.model_files import fetch
from retrain_daemon.worker.report import write_report
from retrain_daemon.worker.rows import load_keys, save_keys
from retrain_daemon.worker.store import initialise
from retrain_daemon.worker.training import train
from tests.reported import some_report

pytestmark = pytest.mark.slow

SEEN = datetime(2026, 1, 5, tzinfo=UTC)
PINNED = ["scikit-learn==0.24.1", "a-package-nobody-has==3.1"]


def table(count: int, seed: int) -> pd.DataFrame:
    values = np.random.default_rng(seed).normal(size=(count, 3))
    frame = pd.DataFrame(values, columns=["a", "b", "c"])
    return frame.assign(
        churned=np.where(frame["a"] + frame["b"] > 0, "yes", "no"), price=frame["a"] * 2, region=range(count)
    )


class Store:
    """A SQLite registry with a way to register a champion the way people do, and a job about it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = f"sqlite:///{root}/mlflow.db"
        initialise(self.uri)
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
        self.experiment = mlflow.create_experiment("by hand", artifact_location=str(root / "by-hand"))
        table(400, seed=1).to_csv(root / "new.csv", index=False)

    def register(self, name: str, estimator: Any, target: str = "churned", **log: Any) -> int:
        past = table(60, seed=0)
        features = past[["a", "b", "c"]]
        estimator.fit(features, past[target])
        log.setdefault("signature", infer_signature(features, estimator.predict(features)))
        log.setdefault("pip_requirements", PINNED)
        with mlflow.start_run(experiment_id=self.experiment):
            model = mlflow.sklearn.log_model(estimator, name="model", **log)
            return int(mlflow.register_model(model.model_uri, name).version)

    def source(self, name: str, version: int | None = 1) -> Source:
        return Source(tracking_uri=self.uri, registry_uri=self.uri, model=name, version=version)

    def job(self, name: str, target: str = "churned", **changes: Any) -> Train:
        data = DataSpec(folder=str(self.root), pattern="*.csv", target=Target(target, positive="yes"))
        job = Train(
            attempt=f"{name}-1",
            key=f"test/{name}-1",
            source=self.source(name),
            data=data,
            recipe=Recipe(mode=Mode.INCREMENTAL),
            drops=(DropFile(drop=1, path=str(self.root / "new.csv"), first_seen=SEEN),),
            learned=(),
            unknown_until=None,
            learned_file=str(self.root / f"{name}.npy"),
            metrics=("accuracy",) if target == "churned" else ("rmse",),
            confidence=0.95,
            min_rows=20,
            now=SEEN,
            seed=3,
            policy_text=f"model: {name}\n",
            experiment=f"retraind/{name}",
            tags={"retraind.rule": "weekly"},
            kept_folder=str(self.root / "kept" / uuid4().hex),
        )
        return replace(job, **changes)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    store = Store(tmp_path_factory.mktemp("store"))
    store.register("churn", make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=0)))
    yield store
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


def run(job: Train, folder: Path, phases: list[str] | None = None) -> Trained:
    def note(progress: Progress) -> None:
        if phases is not None and (not phases or phases[-1] != progress.phase):
            phases.append(progress.phase)

    return train(job, folder, note)


def versions(name: str) -> int:
    return len(mlflow.MlflowClient().search_model_versions(f"name = '{name}'"))


def test_a_training_goes_on_from_the_champion_and_registers_nothing(store: Store, tmp_path: Path) -> None:
    phases: list[str] = []
    done = run(store.job("churn"), tmp_path, phases)
    old = mlflow.sklearn.load_model("models:/churn/1")
    new = mlflow.sklearn.load_model(done.challenger.model_uri)
    assert new[-1].t_ == old[-1].t_ + done.challenger.training_rows
    assert np.array_equal(new[0].mean_, old[0].mean_)
    assert phases == ["loading the champion", "reading rows", "training", "checking", "comparing", "storing", "logging"]
    assert versions("churn") == 1
    assert list(tmp_path.iterdir()) == []


def test_rows_either_train_or_judge_and_all_are_accounted_for(store: Store, tmp_path: Path) -> None:
    done = run(store.job("churn"), tmp_path)
    assert done.evidence.rows + done.challenger.training_rows == 400
    assert 40 < done.evidence.rows < 130
    assert len(load_keys([done.challenger.learned_file])) == done.challenger.training_rows
    assert done.evidence.classes == 2
    assert done.evidence.groups is None
    [accuracy] = done.evidence.metrics
    assert accuracy.challenger is not None
    assert accuracy.challenger > 0.8


def test_the_run_tells_all_about_the_attempt(store: Store, tmp_path: Path) -> None:
    job = store.job("churn", recipe=Recipe(mode=Mode.REFIT, hyperparameters={"sgdclassifier__alpha": 0.001}))
    done = run(job, tmp_path)
    found = mlflow.get_run(done.challenger.run_id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "churn-1"
    assert found.info.experiment_id == store.experiment
    assert found.data.tags["retraind.rule"] == "weekly"
    assert found.data.tags["retraind.attempt"] == "churn-1"
    assert found.data.params["mode"] == "refit"
    assert found.data.params["sgdclassifier__alpha"] == "0.001"
    assert found.data.params["training_rows"] == str(done.challenger.training_rows)
    assert found.data.metrics["gain_accuracy"] == done.evidence.metrics[0].gain
    assert "gain_low_accuracy" in found.data.metrics
    text = {name: mlflow.artifacts.load_text(f"{found.info.artifact_uri}/{name}") for name in ARTIFACTS}
    assert text["policy.yaml"] == "model: churn\n"
    assert json.loads(text["data_manifest.json"])[0]["rows"] == 400
    assert json.loads(text["evidence.json"])["challenger_digest"] == done.challenger.digest


ARTIFACTS = ("policy.yaml", "data_manifest.json", "evidence.json")


def test_signature_and_format_are_the_champions_and_requirements_those_installed(store: Store, tmp_path: Path) -> None:
    done = run(store.job("churn"), tmp_path)
    old, new = (mlflow.models.get_model_info(uri) for uri in ("models:/churn/1", done.challenger.model_uri))
    assert new.signature == old.signature
    assert new.flavors["sklearn"]["serialization_format"] == "skops"
    lines = Path(mlflow.artifacts.download_artifacts(done.challenger.model_uri), "requirements.txt").read_text().split()
    assert f"scikit-learn=={sklearn.__version__}" in lines
    assert "a-package-nobody-has==3.1" in lines
    assert any("trained with scikit-learn 0.24, this worker has 1." in note for note in done.notes)
    assert any("'a-package-nobody-has==3.1' is kept" in note for note in done.notes)


def test_the_same_job_gives_the_same_evidence(store: Store, tmp_path: Path) -> None:
    first, second = (run(store.job("churn"), tmp_path).evidence for _ in range(2))
    assert first.metrics == second.metrics


def test_an_open_run_of_a_killed_worker_is_ended(store: Store, tmp_path: Path) -> None:
    left = mlflow.MlflowClient().create_run(store.experiment, tags={"retraind.key": "test/churn-77"})
    other = mlflow.MlflowClient().create_run(store.experiment, tags={"retraind.key": "test/churn-7"})
    run(store.job("churn", attempt="churn-77", key="test/churn-77"), tmp_path)
    assert mlflow.get_run(left.info.run_id).info.status == "KILLED"
    assert mlflow.get_run(other.info.run_id).info.status == "RUNNING"


def test_what_was_trained_outlives_a_worker_that_ends_before_mlflow_has_it(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = store.job("churn", attempt="churn-5", key="test/churn-5")
    with monkeypatch.context() as broken:
        broken.setattr(training, "log_challenger", _away)
        with pytest.raises(RegistryUnreachable, match="waits on disk"):
            run(job, tmp_path)
    assert is_kept(Path(job.kept_folder))
    phases: list[str] = []
    done = run(job, tmp_path, phases)
    assert phases == ["logging"]
    model = mlflow.sklearn.load_model(done.challenger.model_uri)
    assert model[-1].t_ == mlflow.sklearn.load_model("models:/churn/1")[-1].t_ + done.challenger.training_rows
    assert len(load_keys([done.challenger.learned_file])) == done.challenger.training_rows


def test_what_mlflow_has_already_is_not_put_there_again(store: Store, tmp_path: Path) -> None:
    job = store.job("churn", attempt="churn-6", key="test/churn-6")
    first, again = (run(job, tmp_path).challenger for _ in range(2))
    assert again == first
    found = mlflow.search_runs([store.experiment], "tags.`retraind.key` = 'test/churn-6'", output_format="list")
    assert len(found) == 1


def test_half_a_model_in_mlflow_is_not_taken_for_the_challenger(store: Store, tmp_path: Path) -> None:
    job = store.job("churn", attempt="churn-8", key="test/churn-8")
    half = run(job, tmp_path).challenger
    stored = Path(mlflow.artifacts.download_artifacts(half.model_uri), "model.skops")
    stored.write_bytes(b"cut")
    whole = run(job, tmp_path).challenger
    assert (whole.digest, whole.training_rows) == (half.digest, half.training_rows)
    assert whole.model_uri != half.model_uri
    assert mlflow.sklearn.load_model(whole.model_uri)[-1].t_ > 0


def _away(*_: object) -> None:
    raise RegistryUnreachable("MLflow at http://mlflow did not answer: connection refused.")


def test_a_champion_whose_run_was_deleted_gets_the_jobs_own_experiment(store: Store, tmp_path: Path) -> None:
    store.register("orphan", SGDClassifier(random_state=0))
    mlflow.delete_run(mlflow.models.get_model_info("models:/orphan/1").run_id)
    done = run(store.job("orphan"), tmp_path)
    experiment = mlflow.get_experiment_by_name("retraind/orphan")
    assert experiment is not None
    assert mlflow.get_run(done.challenger.run_id).info.experiment_id == experiment.experiment_id
    assert Path(experiment.artifact_location).is_relative_to(store.root)


def test_a_forest_in_skops_keeps_its_trusted_types(store: Store, tmp_path: Path) -> None:
    forest = RandomForestClassifier(n_estimators=5, random_state=0)
    store.register("forest", forest, skops_trusted_types=["sklearn.tree._tree.Tree"])
    job = store.job("forest", recipe=Recipe(mode=Mode.WARM_START))
    done = run(job, tmp_path)
    flavor = mlflow.models.get_model_info(done.challenger.model_uri).flavors["sklearn"]
    assert flavor["skops_trusted_types"] == ["sklearn.tree._tree.Tree"]
    assert len(mlflow.sklearn.load_model(done.challenger.model_uri).estimators_) == 15
    assert "RandomForestClassifier grows from 5 to 15 members (n_estimators)." in done.notes


def test_a_pickled_champion_gives_a_pickled_challenger(store: Store, tmp_path: Path) -> None:
    store.register("pickled", SGDClassifier(random_state=0), serialization_format="cloudpickle")
    done = run(store.job("pickled"), tmp_path)
    assert mlflow.models.get_model_info(done.challenger.model_uri).flavors["sklearn"]["pickled_model"] == "model.pkl"


def test_a_regression_is_trained_and_compared(store: Store, tmp_path: Path) -> None:
    store.register("price", SGDRegressor(random_state=0), target="price")
    done = run(store.job("price", target="price"), tmp_path)
    [rmse] = done.evidence.metrics
    assert rmse.gain is not None
    assert done.evidence.classes is None
    assert not done.evidence.identical_predictions


def test_groups_are_kept_together_and_counted(store: Store, tmp_path: Path) -> None:
    job = store.job("churn")
    done = run(replace(job, data=replace(job.data, group="region")), tmp_path)
    assert done.evidence.groups == done.evidence.rows


def test_rows_an_ancestor_learned_do_not_judge_and_are_not_learned_again(store: Store, tmp_path: Path) -> None:
    first = run(store.job("churn", learned_file=str(tmp_path / "first.npy")), tmp_path)
    flipped = store.job("churn", learned=(str(tmp_path / "first.npy"),))
    with pytest.raises(TrainingFailed, match=f"learned all {first.challenger.training_rows} training rows"):
        run(flipped, tmp_path)
    wider = replace(flipped, data=replace(flipped.data, holdout=Holdout(share=0.5)), recipe=Recipe(mode=Mode.REFIT))
    second = run(wider, tmp_path)
    assert second.evidence.excluded == 400 - second.challenger.training_rows - first.evidence.rows
    assert second.evidence.rows == first.evidence.rows


def test_without_any_judging_row_the_metrics_say_so(store: Store, tmp_path: Path) -> None:
    done = run(
        store.job("churn", unknown_until=datetime(2027, 1, 1, tzinfo=UTC), recipe=Recipe(mode=Mode.REFIT)), tmp_path
    )
    assert done.evidence.rows == 0
    assert done.evidence.too_early > 40
    assert done.evidence.metrics[0].gain is None
    assert done.evidence.metrics[0].problem == "there are no judging rows"


def test_a_given_challenger_is_only_judged_and_not_on_what_it_learned(store: Store, tmp_path: Path) -> None:
    first = run(store.job("churn", learned_file=str(tmp_path / "first.npy")), tmp_path)
    runs = len(mlflow.search_runs([store.experiment]))
    job = store.job("churn", challenger=first.challenger, learned_file=str(tmp_path / "unused.npy"))
    wider = replace(job, data=replace(job.data, holdout=Holdout(share=0.5)))
    again = run(wider, tmp_path)
    assert again.challenger == first.challenger
    assert again.evidence.rows == first.evidence.rows
    assert again.evidence.excluded > 50
    assert again.evidence.challenger_digest == first.challenger.digest != again.evidence.champion_digest
    assert len(mlflow.search_runs([store.experiment])) == runs
    assert not (tmp_path / "unused.npy").exists()


def test_what_is_compared_was_checked_from_the_files_right_before(store: Store, tmp_path: Path) -> None:
    first = run(store.job("churn", learned_file=str(tmp_path / "first.npy")), tmp_path)
    assert first.evidence.checked_keys == first.challenger.training_rows
    again = run(store.job("churn", challenger=first.challenger), tmp_path)
    assert again.evidence.checked_keys == first.challenger.training_rows


@pytest.mark.parametrize("compared", ["trained", "given"])
def test_a_learned_row_that_slipped_through_the_split_ends_the_job_before_anything_is_compared(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compared: str
) -> None:
    job = store.job("churn", learned_file=str(tmp_path / "first.npy"))
    if compared == "given":
        job = replace(job, challenger=run(job, tmp_path).challenger)
    true = window.split

    def leaking(rows: Rows, spec: DataSpec, *others: Any) -> Split:
        sides = true(rows, spec, *others)
        return replace(sides, judging=rows.take(np.arange(len(rows))))

    monkeypatch.setattr(window, "split", leaking)
    monkeypatch.setattr(stage, "measure", lambda *_: pytest.fail("they were compared"))
    with pytest.raises(Refused, match=r"3\d\d of 400 judging rows are rows that the champion, the challenger"):
        run(job, tmp_path)


def test_a_challenger_whose_files_changed_is_not_judged(store: Store, tmp_path: Path) -> None:
    first = run(store.job("churn"), tmp_path)
    changed = replace(first.challenger, digest="0" * 64)
    with pytest.raises(TrainingFailed, match="are not those that were logged"):
        run(store.job("churn", challenger=changed), tmp_path)


def test_without_training_rows_the_counts_are_told(store: Store, tmp_path: Path) -> None:
    job = store.job("churn")
    with pytest.raises(TrainingFailed, match="no rows to train on: of 400 in the window 400 judge"):
        run(replace(job, data=replace(job.data, holdout=Holdout(share=1.0)), recipe=Recipe(mode=Mode.REFIT)), tmp_path)


class ForgetsToPredict(SGDClassifier):
    """A classifier that predicts NaN once it was trained a second time."""

    def partial_fit(self, features: Any, target: Any) -> ForgetsToPredict:
        self.forgot_ = True
        return self

    def predict_proba(self, features: Any) -> Any:
        return np.full((len(features), 2), np.nan if hasattr(self, "forgot_") else 0.5)


def test_a_challenger_that_predicts_nan_is_never_logged(store: Store, tmp_path: Path) -> None:
    store.register("forgets", ForgetsToPredict(), serialization_format="cloudpickle")
    runs = len(mlflow.search_runs([store.experiment]))
    with pytest.raises(TrainingFailed, match=r"NaN or infinity for .* rows of the window"):
        run(store.job("forgets"), tmp_path)
    assert len(mlflow.search_runs([store.experiment])) == runs


class BecomesUnstorable(SGDClassifier):
    """A classifier that holds a generator once it was trained a second time."""

    def partial_fit(self, features: Any, target: Any) -> BecomesUnstorable:
        self.log_ = iter(row for row in ())
        return self


def test_a_challenger_that_cannot_be_stored_leaves_no_run(store: Store, tmp_path: Path) -> None:
    store.register("unstorable", BecomesUnstorable(), serialization_format="cloudpickle")
    with pytest.raises(TrainingFailed, match=r"cloudpickle cannot store the challenger: .*generator"):
        run(store.job("unstorable"), tmp_path)
    wanted = "tags.`retraind.attempt` = 'unstorable-1'"
    assert mlflow.search_runs([store.experiment], wanted, output_format="list") == []


def test_the_champions_input_example_must_be_predicted(store: Store, tmp_path: Path) -> None:
    example = table(3, seed=8)[["a", "b", "c"]]
    store.register("example", SGDClassifier(random_state=0), input_example=example)
    assert run(store.job("example"), tmp_path).challenger.digest


def test_a_type_that_the_champion_does_not_declare_is_not_trusted(store: Store, tmp_path: Path) -> None:
    kind = f"{Quirk.__module__}.{Quirk.__qualname__}"
    store.register("quirk", Quirk(random_state=0), skops_trusted_types=[kind])
    model = fetch(read_version(store.source("quirk")), tmp_path)
    assert trusted_types(model, Quirk()) == [kind]
    strange = Quirk()
    strange.extra_ = Undeclared()
    with pytest.raises(
        TrainingFailed, match=r"types that version 1 of quirk does not declare as trusted: .*Undeclared"
    ):
        trusted_types(model, strange)


class Quirk(SGDClassifier):
    """A team's own classifier, which skops loads only when it is declared as trusted."""


class Undeclared:
    """Something a training may leave in a model."""


def test_models_of_other_frameworks_are_refused_by_name(store: Store, tmp_path: Path) -> None:
    class Echo(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
            return model_input

    with mlflow.start_run(experiment_id=store.experiment):
        mlflow.pyfunc.log_model(
            name="model", python_model=Echo(), pip_requirements=["mlflow"], registered_model_name="echo"
        )
    with pytest.raises(Refused, match=r"Version 1 of echo is a plain python_function model; training .* not built yet"):
        run(store.job("echo"), tmp_path)


def test_a_version_that_is_not_there_is_named(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="version=9"):
        run(store.job("churn", source=store.source("churn", 9)), tmp_path)
    with pytest.raises(Refused, match="has no version"):
        run(store.job("churn", source=store.source("churn", None)), tmp_path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "model.skops").unlink(), "Version 1 of .* does not load: FileNotFoundError"),
        (lambda folder: (folder / "model.skops").write_bytes(b"x"), "Version 1 of .* does not load: BadZipFile"),
        (lambda folder: (folder / "MLmodel").unlink(), "The files of version 1 of .* are gone"),
        (lambda folder: (folder / "MLmodel").write_text("a: ["), "The MLmodel file of version 1 of .* cannot be read"),
        (lambda folder: (folder / "MLmodel").write_text(""), "The MLmodel file of version 1 of .* cannot be read"),
    ],
    ids=["no estimator", "broken estimator", "no MLmodel", "broken MLmodel", "empty MLmodel"],
)
def test_a_version_with_damaged_files_is_refused_in_a_sentence(
    store: Store, tmp_path: Path, damage: Callable[[Path], object], words: str
) -> None:
    version = store.register("damaged", SGDClassifier(random_state=0))
    damage(Path(mlflow.artifacts.download_artifacts(f"models:/damaged/{version}")))
    with pytest.raises(Refused, match=words.replace("1", str(version))):
        run(store.job("damaged", source=store.source("damaged", version)), tmp_path)


def test_code_files_and_metadata_stored_with_the_champion_are_carried_over(store: Store, tmp_path: Path) -> None:
    code, note = tmp_path / "churn_code.py", tmp_path / "note.txt"
    code.write_text("FACTOR = 2\n")
    note.write_text("read me")
    (tmp_path / "job").mkdir()
    estimator = SGDClassifier(loss="log_loss", random_state=0)
    carried = {"code_paths": [str(code)], "extra_files": [str(note)], "metadata": {"team": "crm"}}
    store.register("coded", estimator, pyfunc_predict_fn="predict_proba", **carried)
    done = run(store.job("coded"), tmp_path / "job")
    folder = Path(mlflow.artifacts.download_artifacts(done.challenger.model_uri))
    assert (folder / "code" / "churn_code.py").read_text() == "FACTOR = 2\n"
    assert (folder / "extra_files" / "note.txt").read_text() == "read me"
    info = mlflow.models.get_model_info(done.challenger.model_uri)
    assert info.metadata == {"team": "crm"}
    assert info.flavors["python_function"]["predict_fn"] == "predict_proba"


def test_a_version_with_untrusted_types_does_not_load(store: Store, tmp_path: Path) -> None:
    forest = RandomForestClassifier(n_estimators=2)
    store.register("untrusted", forest, skops_trusted_types=["sklearn.tree._tree.Tree"])
    folder = Path(mlflow.artifacts.download_artifacts("models:/untrusted/1"))
    text = (folder / "MLmodel").read_text().replace("- sklearn.tree._tree.Tree", "- builtins.object")
    (folder / "MLmodel").write_text(text)
    with pytest.raises(Refused, match=r"Untrusted types .* skops_trusted_types="):
        run(store.job("untrusted"), tmp_path)


def test_a_mode_the_model_cannot_do_leaves_no_run(store: Store, tmp_path: Path) -> None:
    runs = len(mlflow.search_runs([store.experiment]))
    forest = RandomForestClassifier(n_estimators=2)
    store.register("nope", forest, skops_trusted_types=["sklearn.tree._tree.Tree"])
    with pytest.raises(Refused, match="Mode incremental is not possible: RandomForestClassifier has no partial_fit"):
        run(store.job("nope"), tmp_path)
    assert len(mlflow.search_runs([store.experiment])) == runs + 1


def test_learned_keys_are_on_disk_before_the_model_is_logged(store: Store, tmp_path: Path) -> None:
    save_keys(tmp_path / "known.npy", np.empty(0, dtype=np.uint64))
    store.register("early", SGDClassifier(random_state=0))
    mlflow.delete_run(mlflow.models.get_model_info("models:/early/1").run_id)
    mlflow.delete_experiment(mlflow.create_experiment("retraind/early"))
    job = store.job("early", learned=(str(tmp_path / "known.npy"),))
    with pytest.raises(Refused, match=r"The experiment 'retraind/early' .* is deleted"):
        run(job, tmp_path)
    assert len(load_keys([job.learned_file])) > 200


def test_a_slip_in_a_label_is_named_with_its_file_and_what_to_do(store: Store, tmp_path: Path) -> None:
    slipped = table(300, seed=8)
    slipped.loc[slipped.index[:2], "churned"] = "maybe"
    slipped.to_csv(tmp_path / "slipped.csv", index=False)
    drops = (DropFile(drop=1, path=str(tmp_path / "slipped.csv"), first_seen=SEEN),)
    with pytest.raises(Refused, match=r"class 'maybe' in 2 rows of slipped\.csv.*drop retract"):
        run(store.job("churn", drops=drops), tmp_path)
    refitted = run(store.job("churn", drops=drops, recipe=Recipe(mode=Mode.REFIT)), tmp_path)
    assert any("slipped.csv" in note for note in refitted.notes)


def test_the_report_of_a_training_lies_in_its_run_and_the_run_tells_where_it_came_from(
    store: Store, tmp_path: Path
) -> None:
    job = store.job("churn", report_file=str(tmp_path / "reports" / "churn-1.json"))
    (tmp_path / "work").mkdir()
    done = run(job, tmp_path / "work")
    told = some_report()
    attempt = replace(told.attempt, model="churn", challenger=done.challenger, evidence=done.evidence, version=None)
    report = replace(told, source=store.source("churn"), attempt=attempt, data_file=job.report_file)
    for _ in range(2):
        written = write_report(report, tmp_path / "work", lambda _progress: None)
    client = mlflow.MlflowClient()
    found = client.get_run(written.run_id)
    files = {file.path for file in client.list_artifacts(written.run_id)}
    assert {"report.html", "decision.json"} <= files
    assert "/artifacts/report.html)" in found.data.tags["mlflow.note.content"]
    assert {each.dataset.name for each in found.inputs.dataset_inputs} == {"churn training rows", "churn judging rows"}
    model = client.get_logged_model(done.challenger.model_uri.removeprefix("models:/"))
    assert {metric.dataset_name for metric in model.metrics} == {"churn judging rows"}
    page = Path(mlflow.artifacts.download_artifacts(f"runs:/{written.run_id}/report.html", dst_path=str(tmp_path)))
    assert "ROC: class yes" in page.read_text("utf-8")
