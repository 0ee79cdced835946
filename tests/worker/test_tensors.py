"""Rows for networks: which columns fill the tensor, features on disk, weights, several targets, unknown classes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mlflow.models import ModelSignature, infer_signature
from mlflow.models.model import Model
from mlflow.types import Schema as TensorSchema
from mlflow.types import TensorSpec

from retrain_daemon.core.policy import DataSpec, Outputs, Target
from retrain_daemon.errors import DataProblem, Refused
from retrain_daemon.worker.dataset import read_window
from retrain_daemon.worker.feature_names import natural
from retrain_daemon.worker.inspection import inspect_drops
from retrain_daemon.worker.job import DropFile, InspectDrops, Source
from retrain_daemon.worker.row_reading import read_rows
from retrain_daemon.worker.schema import Column, Schema, Tensor
from retrain_daemon.worker.signature import read_schema
from retrain_daemon.worker.store import initialise
from retrain_daemon.worker.stored import Stored

NOW = datetime(2026, 11, 22, tzinfo=UTC)
TARGET = Target("label", classes=(0, 1))
SPEC = DataSpec(
    folder="/drops", pattern="*", target=TARGET, features=("pixel_*",), model_outputs=Outputs.LOGITS, shape=(2, 2)
)
FOUR = Schema(tuple(Column(f"pixel_{place}", "float") for place in range(4)), "long", Tensor((2, 2)), read_from="a.csv")


def images(rows: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.integers(0, 17, (rows, 4)), columns=[f"pixel_{place}" for place in range(4)])
    return frame.assign(label=random.integers(0, 2, rows))


def drop(path: Path, frame: pd.DataFrame, number: int = 1) -> DropFile:
    match path.suffix:
        case ".parquet":
            frame.to_parquet(path)
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True)
        case _:
            frame.to_csv(path, index=False)
    return DropFile(drop=number, path=str(path), first_seen=NOW)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Source]]:
    """Registers a model of a flavour with a signature; nothing of it could be loaded."""
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    root = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{root}/mlflow.db"
    initialise(uri)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    client = mlflow.MlflowClient()
    client.create_registered_model("m")

    def register(signature: ModelSignature | None, flavor: str = "pytorch") -> Source:
        folder = root / f"model-{len(list(root.iterdir()))}"
        folder.mkdir()
        model = Model(signature=signature)
        model.add_flavor(flavor, model_data="data", code=None)
        model.save(str(folder / "MLmodel"))
        version = client.create_model_version("m", str(folder))
        return Source(tracking_uri=uri, registry_uri=uri, model="m", version=int(version.version))

    yield register
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


def tensor(*shape: int, kind: str = "float32") -> ModelSignature:
    return ModelSignature(TensorSchema([TensorSpec(np.dtype(kind), (-1, *shape))]))


def test_patterns_stand_for_the_files_columns_in_natural_order(stored: Callable[..., Source], tmp_path: Path) -> None:
    frame = pd.DataFrame([[0] * 12 + [1]], columns=[*(f"pixel_{place}" for place in reversed(range(12))), "label"])
    file = drop(tmp_path / "a.csv", frame)
    schema = read_schema(stored(tensor(12)), replace(SPEC, shape=()), file.path)
    assert schema.names == tuple(f"pixel_{place}" for place in range(12))
    assert schema.tensor == Tensor((12,))
    assert sorted(["b10", "b9", "a", "b"], key=natural) == ["a", "b", "b9", "b10"]


def test_patterns_stand_for_the_signatures_columns_in_its_order(stored: Callable[..., Source]) -> None:
    table = infer_signature(pd.DataFrame({"pixel_2": [0.5], "pixel_1": [0.5], "age": [1.0]}))
    schema = read_schema(stored(table), replace(SPEC, shape=()))
    assert (schema.names, schema.tensor) == (("pixel_2", "pixel_1"), Tensor((2,)))
    assert schema.read_from == ""


@pytest.mark.parametrize(
    ("signature", "change", "said"),
    [
        (tensor(3), {"shape": ()}, r"In a.csv 4 columns are features, and a row of m version \d+ is \[3\]"),
        (tensor(2, 2), {"shape": (4,)}, r"data.shape is \[4\], and m version \d+ takes \[2, 2\]"),
        (tensor(-1, 2), {"shape": ()}, r"leaves the shape of a row open: \[-1, 2\]. Write data.shape"),
        (tensor(2, 2), {"features": ()}, "the policy must say which columns fill it"),
        (tensor(2, 2), {"features": ("picture_*",)}, "the pattern 'picture_\\*' stands for no column in a.csv"),
        (
            tensor(2, 2),
            {"features": ("pixel_*", "pixel_1")},
            "'pixel_1' names 'pixel_1', which another entry names too",
        ),
        (tensor(2, 2), {"model_outputs": None}, "does not say what the model's outputs are"),
        (tensor(2, 2), {"target": Target("label")}, "does not say which class each of the model's outputs is"),
        (tensor(2, 2, kind="object"), {}, "a tensor of numbers is needed"),
        (infer_signature(pd.DataFrame({"pixel_0": ["x"]})), {"shape": ()}, "is string: a network takes numbers"),
        (None, {"features": ()}, "has no signature, so its features are not known"),
    ],
)
def test_what_does_not_say_how_rows_fill_the_tensor_is_refused(
    stored: Callable[..., Source], tmp_path: Path, signature: Any, change: dict[str, Any], said: str
) -> None:
    file = drop(tmp_path / "a.csv", images(3))
    with pytest.raises((Refused, DataProblem)) as refused:
        read_schema(stored(signature), replace(SPEC, **change), file.path)
    assert re.search(said, str(refused.value)), refused.value


def test_several_input_tensors_are_refused_by_name(stored: Callable[..., Source], tmp_path: Path) -> None:
    both = ModelSignature(
        TensorSchema(
            [TensorSpec(np.dtype("float32"), (-1, 2), "left"), TensorSpec(np.dtype("float32"), (-1, 2), "right")]
        )
    )
    file = drop(tmp_path / "a.csv", images(3))
    with pytest.raises(Refused, match=r"takes 2 tensors \(left, right\)"):
        read_schema(stored(both), SPEC, file.path)


def test_a_table_model_with_a_tensor_signature_takes_the_columns_the_policy_names(
    stored: Callable[..., Source], tmp_path: Path
) -> None:
    file = drop(tmp_path / "a.csv", images(3))
    spec = replace(SPEC, shape=(), model_outputs=None)
    schema = read_schema(stored(tensor(4, kind="float64"), "sklearn"), spec, file.path)
    assert (len(schema.features), schema.tensor) == (4, None)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_features_on_disk_are_those_in_memory_with_the_same_keys(tmp_path: Path, suffix: str) -> None:
    drops = [drop(tmp_path / f"{seed}{suffix}", images(300, seed), seed + 1) for seed in range(3)]
    spec = replace(SPEC, row_id=("pixel_0", "pixel_1", "pixel_2"))
    here = read_window(drops, spec, FOUR, NOW)
    there = read_window(drops, spec, FOUR, NOW, tmp_path)
    assert isinstance(there.features, Stored)
    for name in ("row_keys", "unit_keys", "drop", "first_seen"):
        assert np.array_equal(getattr(here, name), getattr(there, name))
    assert here.target.tolist() == there.target.tolist()
    assert np.array_equal(here.features.array(slice(None), "float32"), there.features.array(slice(None), "float32"))
    some = np.array([5, 1, 7])
    assert np.array_equal(here.take(some).features.frame().to_numpy(), there.take(some).features.frame().to_numpy())
    assert there.features.take(np.array([2, 0])).array(np.array([1]), "float64").tolist() == [
        here.features.frame().iloc[0].tolist()
    ]


VALUES = st.one_of(st.integers(-5, 5), st.floats(-2, 2, allow_nan=False).map(lambda x: round(x, 6)), st.none())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(VALUES, st.sampled_from([0, 1, None]), st.sampled_from(["x", "07", "7", "true"])), min_size=1)
)
def test_reading_in_pieces_gives_the_keys_that_reading_at_once_gives(tmp_path: Path, values: list[Any]) -> None:
    frame = pd.DataFrame(values, columns=["a", "label", "who"], dtype=object)
    schema = Schema((Column("a", "double"),), "long", Tensor((1,)))
    spec = replace(SPEC, features=("a",), shape=(), group="who", row_id=("who", "a"))
    found = []
    for name, known in (("a.csv", schema), ("a.jsonl", schema), ("b.csv", replace(schema, target_kind=""))):
        file = drop(tmp_path / name, frame)
        try:
            rows = read_rows(file, spec, known).rows
            found.append((rows.row_keys.tolist(), rows.unit_keys.tolist(), rows.target.tolist()))
        except DataProblem as problem:
            found.append(([], [], [problem.message.split(" of ")[0]]))
    assert found[0] == found[1] == found[2]


def test_large_files_are_read_in_pieces_without_losing_or_repeating_a_row(tmp_path: Path) -> None:
    frame = images(40_000).assign(label=np.arange(40_000) % 2)
    for suffix in (".parquet", ".jsonl", ".csv"):
        read = read_rows(drop(tmp_path / f"a{suffix}", frame), SPEC, FOUR)
        assert (read.total, len(read.rows)) == (40_000, 40_000)
        assert np.array_equal(read.rows.features.array(slice(None), "float64"), frame.iloc[:, :4].to_numpy("float64"))


def test_a_bad_value_late_in_a_file_is_named_with_its_row(tmp_path: Path) -> None:
    frame = images(20_000).astype(object)
    frame.loc[19_998, "pixel_2"] = "dark"
    for suffix in (".csv", ".jsonl"):
        with pytest.raises(DataProblem, match="Column 'pixel_2' holds 'dark' in row 19999"):
            read_rows(drop(tmp_path / f"a{suffix}", frame), SPEC, FOUR)


@pytest.mark.parametrize(("flavor", "dtype"), [("pytorch", "float32"), ("keras", "int64")])
def test_whole_columns_of_a_table_become_the_numbers_mlflow_serves(
    stored: Callable[..., Source], tmp_path: Path, flavor: str, dtype: str
) -> None:
    source = stored(infer_signature(images(5).drop(columns="label")), flavor)
    schema = read_schema(source, replace(SPEC, features=(), shape=()), drop(tmp_path / "a.csv", images(5)).path)
    assert schema.tensor == Tensor((4,), dtype)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("uint8", 256, "holds '256' in row 3, where a whole number from 0 to 255 is expected"),
        ("uint8", 0.5, "holds '0.5' in row 3, where a whole number from 0 to 255 is expected"),
        ("int16", 40_000, "holds '40000' in row 3, where a whole number from -32768 to 32767 is expected"),
        ("uint8", None, "has no value in row 3, where a whole number from 0 to 255 is expected"),
    ],
)
def test_what_a_tensor_of_small_numbers_cannot_hold_is_named_and_not_wrapped_around(
    stored: Callable[..., Source], tmp_path: Path, kind: str, value: Any, said: str
) -> None:
    schema = read_schema(stored(tensor(2, 2, kind=kind)), SPEC, drop(tmp_path / "a.csv", images(5)).path)
    assert (schema.tensor, schema.features[0].kind) == (Tensor((2, 2), kind), kind)
    rows = read_rows(drop(tmp_path / "a.csv", images(5)), SPEC, schema).rows
    assert np.array_equal(rows.features.array(slice(None), kind), images(5).iloc[:, :4].to_numpy(kind))
    with pytest.raises(DataProblem, match=said):
        read_rows(drop(tmp_path / "b.csv", images(5).astype(object).assign(pixel_1=[1, 2, value, 3, 4])), SPEC, schema)


def test_a_file_in_which_patterns_stand_for_other_columns_is_set_aside(
    stored: Callable[..., Source], tmp_path: Path
) -> None:
    first = drop(tmp_path / "a.csv", images(30))
    shifted = images(30, 1).rename(columns={f"pixel_{place}": f"pixel_{place + 1}" for place in range(4)})
    files = (drop(tmp_path / "b.csv", shifted, 2), drop(tmp_path / "c.csv", images(30, 2), 3))
    job = InspectDrops(
        source=stored(tensor(2, 2)), data=SPEC, files=files, known_rows=(), rows_folder=str(tmp_path),
        reference=first.path,
    )  # fmt: skip
    wrong, right = inspect_drops(job, lambda progress: None).reports
    assert wrong.problem == (
        "The patterns in data.features stand for 4 columns in b.csv and for 4 in a.csv: pixel_0, pixel_4 differ."
    )
    assert (right.problem, right.usable) == ("", 30)


def test_the_first_file_of_all_may_be_the_wrong_one(stored: Callable[..., Source], tmp_path: Path) -> None:
    wrong = drop(tmp_path / "a.csv", images(30).drop(columns="pixel_3"))
    right = drop(tmp_path / "b.csv", images(30), 2)
    job = InspectDrops(
        source=stored(tensor(2, 2)), data=SPEC, files=(wrong, right), known_rows=(), rows_folder=str(tmp_path)
    )
    reports = inspect_drops(job, lambda progress: None).reports
    assert reports[0].problem.startswith("The patterns in data.features stand for 3 columns in a.csv")
    assert reports[1].usable == 30
    alone = inspect_drops(replace(job, files=(wrong,)), lambda progress: None).reports
    assert alone[0].problem.startswith("In a.csv 3 columns are features")


def test_weights_are_read_and_a_wrong_one_is_named_with_its_row(tmp_path: Path) -> None:
    spec = replace(SPEC, weight="trust")
    rows = read_rows(drop(tmp_path / "a.csv", images(3).assign(trust=[0, 0.5, 2])), spec, FOUR).rows
    assert rows.weight is not None
    assert rows.weight.tolist() == [0.0, 0.5, 2.0]
    plain = read_rows(drop(tmp_path / "b.csv", images(3)), SPEC, FOUR).rows
    assert np.array_equal(rows.row_keys, plain.row_keys)
    for bad in (-1, np.nan, np.inf):
        with pytest.raises(DataProblem, match=r"Column 'trust'.* in row 2"):
            read_rows(drop(tmp_path / "c.csv", images(3).assign(trust=[1, bad, 1])), spec, FOUR)


def test_several_targets_are_read_as_numbers_and_a_row_without_one_is_not_used(tmp_path: Path) -> None:
    spec = replace(SPEC, target=Target("low", more=("high",)), model_outputs=Outputs.VALUE)
    frame = images(3).drop(columns="label").assign(low=[1, 2, 3], high=[0.5, None, 1.5])
    rows = read_rows(drop(tmp_path / "a.csv", frame), spec, replace(FOUR, target_kind="double")).rows
    assert rows.target.to_numpy().tolist() == [[1.0, 0.5], [3.0, 1.5]]
