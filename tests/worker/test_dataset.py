"""Reading drops of every kind, good and bad; windows; and the split that lets no learned row judge."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain_daemon.core.policy import DataSpec, Holdout, Target, Window
from retrain_daemon.errors import DataProblem, Refused, TrainingFailed
from retrain_daemon.worker.dataset import is_unlearned, read_window, split
from retrain_daemon.worker.features import Table
from retrain_daemon.worker.files import fingerprint, read_file
from retrain_daemon.worker.job import DropFile, Source
from retrain_daemon.worker.labelled import Rows
from retrain_daemon.worker.row_reading import read_rows, read_units
from retrain_daemon.worker.rows import judges
from retrain_daemon.worker.schema import Column, Schema
from retrain_daemon.worker.signature import read_schema

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SPEC = DataSpec(folder="/drops", pattern="*", target=Target("y"))
SCHEMA = Schema((Column("n", "long"), Column("x", "double"), Column("s", "string")), "long")
FRAME = pd.DataFrame(
    {"n": [1, 2, 3], "x": [0.1, 2.0, np.nan], "s": ["a", "b,c", None], "y": [0, 1, 1], "g": ["u", "u", "v"]}
)


def write(frame: pd.DataFrame, path: Path) -> str:
    """Write a frame as the kind of file its name says."""
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True, double_precision=15)
    else:
        frame.to_csv(path, index=False)
    return str(path)


def drop(path: str | Path, number: int = 1, days_ago: int = 0, recorded: str = "") -> DropFile:
    return DropFile(drop=number, path=str(path), first_seen=NOW - timedelta(days=days_ago), fingerprint=recorded)


def problem(path: Path, columns: list[str] | None = None) -> DataProblem:
    with pytest.raises(DataProblem) as caught:
        read_file(str(path), ["n", "x", "s", "y"] if columns is None else columns)
    assert path.name in caught.value.message
    assert "\n" not in str(caught.value)
    return caught.value


def test_the_same_rows_have_the_same_keys_in_every_kind_of_file_and_any_order(tmp_path: Path) -> None:
    found = [
        read_rows(drop(write(FRAME, tmp_path / f"a{kind}")), SPEC, SCHEMA).rows
        for kind in (".csv", ".csv.gz", ".parquet", ".jsonl")
    ]
    found.append(read_rows(drop(write(FRAME[["y", "s", "x", "n"]], tmp_path / "other.csv")), SPEC, SCHEMA).rows)
    for rows in found:
        assert rows.unit_keys.tolist() == found[0].unit_keys.tolist()
        assert rows.row_keys.tolist() == found[0].row_keys.tolist()
        pd.testing.assert_frame_equal(rows.features.frame(), found[0].features.frame())
        pd.testing.assert_series_equal(rows.target, found[0].target)
    backwards = read_rows(drop(write(FRAME[::-1], tmp_path / "back.csv")), SPEC, SCHEMA).rows
    assert backwards.row_keys.tolist() == found[0].row_keys.tolist()[::-1]


def test_keys_of_rows_of_unknown_kinds_agree_too(tmp_path: Path) -> None:
    schema = Schema(tuple(Column(name, "") for name in ("n", "x", "s", "t")))
    frame = FRAME.assign(t=[True, False, True], y=["no", "yes", "yes"])
    csv, parquet = (
        read_rows(drop(write(frame, tmp_path / name)), SPEC, schema).rows for name in ("a.csv", "a.parquet")
    )
    assert csv.row_keys.tolist() == parquet.row_keys.tolist()
    pd.testing.assert_frame_equal(csv.features.frame(), parquet.features.frame())
    assert csv.target.tolist() == parquet.target.tolist() == ["no", "yes", "yes"]


def test_the_label_is_no_part_of_the_unit_but_of_the_row(tmp_path: Path) -> None:
    rows = read_rows(drop(write(FRAME, tmp_path / "a.csv")), SPEC, SCHEMA).rows
    relabelled = read_rows(drop(write(FRAME.assign(y=[1, 1, 1]), tmp_path / "b.csv")), SPEC, SCHEMA).rows
    assert (rows.unit_keys == relabelled.unit_keys).all()
    assert (rows.row_keys == relabelled.row_keys).tolist() == [False, True, True]


def test_numeric_labels_are_whole_numbers_from_csv_and_from_floats(tmp_path: Path) -> None:
    schema = replace(SCHEMA, target_kind="")
    for name, labels in (("a.csv", [0, 1, 1]), ("a.parquet", [0.0, 1.0, 1.0])):
        rows = read_rows(drop(write(FRAME.assign(y=labels), tmp_path / name)), SPEC, schema).rows
        assert rows.target.dtype == np.int64
        assert rows.target.tolist() == [0, 1, 1]


def test_rows_without_a_finite_target_are_counted_but_not_used(tmp_path: Path) -> None:
    schema = replace(SCHEMA, target_kind="double")
    for name in ("a.csv", "a.parquet"):
        found = read_rows(drop(write(FRAME.assign(y=[np.nan, np.inf, 1.5]), tmp_path / name)), SPEC, schema)
        assert (found.total, found.rows.target.tolist()) == (3, [1.5])
    with pytest.raises(DataProblem, match=r"'y' of none\.csv has no value in any row"):
        read_rows(drop(write(FRAME.assign(y=None), tmp_path / "none.csv")), SPEC, SCHEMA)


def test_a_wrong_value_is_named_with_its_row_in_the_file(tmp_path: Path) -> None:
    text = FRAME.astype({"n": object}).assign(n=[1, 2, "many"], y=[None, 1, 1])
    with pytest.raises(DataProblem, match="Column 'n' holds 'many' in row 3"):
        read_rows(drop(write(text, tmp_path / "a.csv")), SPEC, SCHEMA)


def test_a_file_that_changed_since_it_was_recorded_is_not_trained_on(tmp_path: Path) -> None:
    path = write(FRAME, tmp_path / "a.csv")
    recorded = fingerprint(path)
    assert len(read_rows(drop(path, recorded=recorded), SPEC, SCHEMA).rows) == 3
    write(FRAME.assign(y=1), tmp_path / "a.csv")
    with pytest.raises(DataProblem, match=r"a\.csv changed since it was recorded"):
        read_rows(drop(path, recorded=recorded), SPEC, SCHEMA)


HEAD = b"n,x,s,y\n"
GOOD = HEAD + b"1,0.5,a,0\n" * 50
BAD_FILES: dict[str, tuple[str, bytes, str]] = {
    "empty": ("a.csv", b"", "is empty"),
    "header only": ("a.csv", HEAD, "not one row"),
    "blank lines": ("a.csv", b"\n\n\n", "no header"),
    "semicolons": ("a.csv", GOOD.replace(b",", b";"), "semicolons"),
    "tabs": ("a.csv", GOOD.replace(b",", b"\t"), "tabs"),
    "repeated column": ("a.csv", b"n,x,x,s,y\n1,2,3,4,5\n", "column 'x' 2 times"),
    "missing column": ("a.csv", b"n,X,s,y\n1,2,3,4\n", "lacks the column 'x'"),
    "ragged": ("a.csv", GOOD + b"1,2\n", "Row #52"),
    "latin-1": ("a.csv", GOOD + "1,2,é,0\n".encode("latin-1"), "not UTF-8"),
    "latin-1 header": ("a.csv", "é,n,x,s,y\n1,2,3,4,5\n".encode("latin-1"), "not UTF-8"),
    "utf-16": ("a.csv", GOOD.decode().encode("utf-16"), "UTF-16"),
    "binary": ("a.csv", bytes(range(256)), "binary"),
    "zip": ("a.csv", b"PK\x03\x04rest", "zip archive"),
    "gzip": ("a.csv", gzip.compress(GOOD), "gzip archive"),
    "not gzip": ("a.csv.gz", GOOD, "not gzip"),
    "truncated gzip": ("a.csv.gz", gzip.compress(GOOD * 999)[:-30], "cut short"),
    "damaged gzip": ("a.csv.gz", b"\x1f\x8b\x08\x00garbagegarbage", "cut short or damaged"),
    "zip as parquet": ("a.parquet", b"PK\x03\x04rest", "zip archive"),
    "csv as parquet": ("a.parquet", GOOD, "not a parquet file"),
    "truncated parquet": ("a.parquet", b"PAR1" + b"\x00" * 50, "cut short"),
    "not json": ("a.jsonl", b'{"n": 1}\n{"n": \n', "Line 2 of a.jsonl is not JSON"),
    "json array": ("a.jsonl", b"[1, 2]\n", "Line 1 of a.jsonl is not a JSON object"),
    "nested json": ("a.jsonl", b'{"n": [1], "x": 1, "s": 1, "y": 1}\n', "no single value for 'n'"),
    "json not utf-8": ("a.jsonl", b'{"n": "\xff"}\n', "Line 1 of a.jsonl is not UTF-8"),
    "unknown kind": ("a.xlsx", b"x", "no known kind"),
}


@pytest.mark.parametrize(("name", "content", "said"), BAD_FILES.values(), ids=BAD_FILES)
def test_a_bad_file_gets_one_clear_sentence(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    found = problem(path)
    assert said in found.message
    assert not found.temporary


def test_a_renamed_column_is_recognised(tmp_path: Path) -> None:
    write(FRAME.rename(columns={"s": "age_in_years"}), tmp_path / "a.csv")
    assert "Is 'age_in_years' meant to be 'age_in_year'?" in problem(tmp_path / "a.csv", ["age_in_year"]).hint


def test_a_parquet_file_cut_in_the_middle_or_with_nested_columns_is_refused(tmp_path: Path) -> None:
    path = Path(write(pd.concat([FRAME] * 1000), tmp_path / "a.parquet"))
    path.write_bytes(path.read_bytes()[:-100])
    assert "cut short" in problem(path).message
    write(FRAME.assign(x=[[1], [2], [3]]), path)
    assert "not single values" in problem(path).message


@pytest.mark.parametrize("kind", [".csv", ".parquet", ".jsonl"])
def test_ten_thousand_columns_do_no_harm(tmp_path: Path, kind: str) -> None:
    wide = pd.DataFrame(np.zeros((3, 10_000)), columns=[f"c{number}" for number in range(10_000)])
    path = tmp_path / f"wide{kind}"
    write(wide, path)
    assert list(read_file(str(path), ["c9999", "c0"]).columns) == ["c9999", "c0"]
    assert "lacks the columns 'n'" in problem(path).message
    with pytest.raises(DataProblem, match="10000 columns, more than 5000"):
        read_file(str(path), None)


def test_a_byte_order_mark_quotes_and_crlf_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'\xef\xbb\xbf"n",x,s,y\r\n1,2,"a\nb",0\r\n2,,"",1\r\n')
    found = read_file(str(path), ["n", "s", "x"])
    assert found["n"].tolist() == ["1", "2"]
    assert found["s"].tolist() == ["a\nb", ""]
    assert found["x"].isna().tolist() == [False, True]


def test_rows_are_numbered_by_their_place_whatever_index_pandas_stored(tmp_path: Path) -> None:
    FRAME.set_index(pd.RangeIndex(10, 13)).assign(x=["1", "2", "wide"]).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataProblem, match="Column 'x' holds 'wide' in row 3"):
        read_rows(drop(tmp_path / "a.parquet"), SPEC, SCHEMA)


def test_json_values_of_several_types_and_sizes_become_their_texts(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"n": 1}\n{"n": "a"}\n{"n": 123456789012345678901234567890}\n{}\n')
    found = read_file(str(tmp_path / "a.jsonl"), ["n"])["n"]
    assert found.tolist()[:3] == ["1", "a", "123456789012345678901234567890"]
    assert found.isna().tolist() == [False, False, False, True]


def test_what_may_be_readable_later_is_temporary(tmp_path: Path) -> None:
    assert problem(tmp_path / "gone.csv").temporary
    (tmp_path / "folder.csv").mkdir()
    assert not problem(tmp_path / "folder.csv").temporary


def test_a_name_with_a_newline_is_shown_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a\nb.csv"
    path.write_bytes(b"")
    with pytest.raises(DataProblem, match=r"'a\\nb\.csv' is empty"):
        read_file(str(path), None)


def made(values: list[tuple[int, int, int]], group: bool, days: int = 40) -> Rows:
    """Rows of (feature, group, day seen) as reading would make them, each its own row."""
    features, groups, day = (np.array(column, dtype=np.int64) for column in zip(*values, strict=True))
    seen = np.datetime64("2026-01-01", "ns") + day * np.timedelta64(1, "D").astype("timedelta64[ns]")
    units = (groups if group else features).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return Rows(
        features=Table(pd.DataFrame({"n": features})), target=pd.Series(features), unit_keys=units,
        row_keys=np.arange(len(units), dtype=np.uint64), groups=units if group else None, drop=day,
        first_seen=seen, event_time=seen,
    )  # fmt: skip


MANY = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8), st.integers(0, 40)), min_size=1, max_size=60)
HOLDOUTS = st.one_of(
    st.floats(0.05, 0.95).map(lambda share: Holdout(share=share)),
    st.integers(1, 30).map(lambda days: Holdout(newest=timedelta(days=days))),
)


@given(MANY, HOLDOUTS, st.booleans(), st.sets(st.integers(0, 30)), st.none() | st.integers(0, 40))
def test_no_judging_row_was_learned_trains_now_or_is_too_early(
    values: list[tuple[int, int, int]], holdout: Holdout, group: bool, learned: set[int], day: int | None
) -> None:
    rows = made(values, group)
    known = np.sort(np.array(list(learned), dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    until = None if day is None else datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day)
    found = split(rows, replace(SPEC, holdout=holdout), known, until)
    assert not set(found.judging.unit_keys) & (set(found.training.unit_keys) | set(known))
    assert until is None or (found.judging.drop > day).all()
    assert len(found.training) + len(found.judging) + found.excluded + found.too_early == len(rows)
    if holdout.share is not None:  # the training side is all of it, whatever judges
        assert len(found.training) == int((~judges(rows.unit_keys, holdout.share)).sum())


@given(MANY, HOLDOUTS, st.sets(st.integers(0, 60)))
def test_unlearned_rows_are_those_of_the_training_side_that_are_in_no_record(
    values: list[tuple[int, int, int]], holdout: Holdout, learned: set[int]
) -> None:
    training = split(made(values, group=True), replace(SPEC, holdout=holdout), np.empty(0, np.uint64), None).training
    known = np.array(sorted(learned), dtype=np.uint64)
    fresh = is_unlearned(training, (known,), None)
    assert set(training.row_keys[fresh]) == set(training.row_keys) - set(known)
    assert not is_unlearned(training, (training.learned_keys,), None).any()


def test_rows_of_one_group_in_different_files_stay_on_one_side(tmp_path: Path) -> None:
    spec = replace(SPEC, group="g", holdout=Holdout(share=0.5))
    frame = pd.DataFrame({"n": range(200), "x": 1.0, "s": "a", "y": 1, "g": [f"{i % 20}" for i in range(200)]})
    paths = [write(frame[:100], tmp_path / "a.csv"), write(frame[100:].astype({"g": int}), tmp_path / "b.parquet")]
    rows = read_window([drop(path, number) for number, path in enumerate(paths)], spec, SCHEMA, NOW)
    assert len(np.unique(rows.unit_keys)) == 20
    sides = split(rows, spec, np.empty(0, dtype=np.uint64), None)
    assert len(sides.judging) > 0
    assert not set(sides.training.features.frame()["n"] % 20) & set(sides.judging.features.frame()["n"] % 20)


def test_the_newest_copy_of_a_row_wins_but_it_was_seen_when_the_first_was(tmp_path: Path) -> None:
    spec = replace(SPEC, row_id=("n",))
    old = write(FRAME, tmp_path / "old.csv")
    new = write(FRAME[:1].assign(y=1), tmp_path / "new.csv")
    rows = read_window([drop(old, 1, days_ago=9), drop(new, 2)], spec, SCHEMA, NOW)
    assert sorted(zip(rows.features.frame()["n"], rows.target, rows.drop, strict=True)) == [
        (1, 1, 2),
        (2, 1, 1),
        (3, 1, 1),
    ]
    assert set(rows.first_seen) == {np.datetime64("2026-11-13")}
    assert rows.event_time.max() == np.datetime64("2026-11-22")


def test_history_that_comes_again_under_another_label_does_not_judge(tmp_path: Path) -> None:
    spec = replace(SPEC, holdout=Holdout(newest=timedelta(days=1)))
    history = write(FRAME, tmp_path / "history.csv")
    again = write(FRAME.assign(y=[1, 0, 0]), tmp_path / "again.csv")
    fresh = write(FRAME.assign(n=[7, 8, 9]), tmp_path / "fresh.csv")
    drops = [drop(history, 1, days_ago=30), drop(again, 2), drop(fresh, 3)]
    windowed = replace(spec, window=Window(files=2))  # history itself is out of sight
    found = split(read_window(drops, windowed, SCHEMA, NOW), windowed, np.empty(0, np.uint64), NOW - timedelta(days=10))
    assert sorted(found.judging.features.frame()["n"]) == [7, 8, 9]
    assert found.too_early == 3


@pytest.mark.parametrize(
    ("window", "kept"),
    [
        (Window(), {1, 2, 3, 4}),
        (Window(age=timedelta(days=6)), {3, 4}),
        (Window(rows=5), {3, 4}),
        (Window(files=1), {4}),
        (Window(files=9), {1, 2, 3, 4}),
    ],
)
def test_a_window_keeps_the_newest(tmp_path: Path, window: Window, kept: set[int]) -> None:
    drops = [
        drop(
            write(FRAME.assign(n=FRAME["n"] + 10 * number), tmp_path / f"{number}.csv"),
            number,
            days_ago=5 * (4 - number),
        )
        for number in (1, 2, 3, 4)
    ]
    rows = read_window(drops, replace(SPEC, window=window), SCHEMA, NOW)
    assert set(rows.drop) == kept
    assert len(rows) == (window.rows or 3 * len(kept))


def test_event_times_decide_the_window_and_bad_ones_are_named(tmp_path: Path) -> None:
    spec = replace(SPEC, event_time="at", window=Window(age=timedelta(days=2)))
    frame = FRAME.assign(at=["2026-11-01", "2026-11-21T23:00:00+02:00", "2026-11-22 00:00:00"])
    for name in ("a.csv", "a.jsonl"):
        rows = read_window([drop(write(frame, tmp_path / name))], spec, SCHEMA, NOW)
        assert [str(time)[:16] for time in rows.event_time] == ["2026-11-21T21:00", "2026-11-22T00:00"]
    with pytest.raises(DataProblem, match="Column 'at' holds 'yesterday' in row 2"):
        read_rows(drop(write(frame.assign(at=["2026-11-01", "yesterday", None]), tmp_path / "b.csv")), spec, SCHEMA)


def test_units_are_read_from_files_without_a_target(tmp_path: Path) -> None:
    units = read_units(write(FRAME[["n", "x", "s"]], tmp_path / "a.parquet"), SPEC, SCHEMA)
    assert units.tolist() == read_rows(drop(write(FRAME, tmp_path / "b.csv")), SPEC, SCHEMA).rows.unit_keys.tolist()


def test_drops_that_disagree_about_a_column_of_unknown_kind_are_refused(tmp_path: Path) -> None:
    schema = Schema((Column("s", ""),))
    paths = [write(pd.DataFrame({"s": values, "y": 1}), tmp_path / f"{values[0]}.csv") for values in (["1"], ["a"])]
    with pytest.raises(TrainingFailed, match="'s' holds numbers in some drops and text in others"):
        read_window([drop(path) for path in paths], SPEC, schema, NOW)


def test_a_model_without_version_needs_features_in_the_policy() -> None:
    source = Source(tracking_uri="sqlite://", registry_uri="sqlite://", model="churn", version=None)
    assert read_schema(source, replace(SPEC, features=("b", "a"))) == Schema((Column("b", ""), Column("a", "")))
    with pytest.raises(Refused, match="no version"):
        read_schema(source, SPEC)


@pytest.fixture(scope="module")
def register(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Source]:
    """Registers a tiny model with a signature in a store of its own."""
    import mlflow
    from sklearn.dummy import DummyClassifier

    folder = tmp_path_factory.mktemp("store")
    uri = f"sqlite:///{folder}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    mlflow.create_experiment("e", artifact_location=folder.as_uri())
    mlflow.set_experiment("e")

    def log(signature: object) -> Source:
        model = DummyClassifier().fit([[0], [1]], [0, 1])
        with mlflow.start_run():
            options = {"pip_requirements": [], "serialization_format": "cloudpickle", "signature": signature}
            logged = mlflow.sklearn.log_model(model, name="m", registered_model_name="m", **options)
        return Source(tracking_uri=uri, registry_uri=uri, model="m", version=int(logged.registered_model_version))

    return log


@pytest.mark.slow
def test_a_registered_signature_is_read(register: Callable[..., Source]) -> None:
    from mlflow.models import infer_signature

    source = register(infer_signature(FRAME[["n", "x", "s"]].dropna(), np.array([0, 1])))
    assert read_schema(source, SPEC) == SCHEMA
    assert read_schema(source, replace(SPEC, features=("s", "n"))).names == ("s", "n")
    with pytest.raises(Refused, match="'N', which the signature of m version 1 does not have"):
        read_schema(source, replace(SPEC, features=("N",)))


@pytest.mark.slow
def test_signatures_that_cannot_be_used_are_refused_by_name(register: Callable[..., Source]) -> None:
    from mlflow.models import infer_signature

    with pytest.raises(Refused, match="of a tensor, so the policy must say which columns fill it"):
        read_schema(register(infer_signature(np.zeros((2, 3)), np.array([0, 1]))), SPEC)
    with pytest.raises(Refused, match=r"'l' .* is of type"):
        read_schema(register(infer_signature(pd.DataFrame({"l": [["a"], ["b"]]}))), SPEC)
    bare = register(False)
    with pytest.raises(Refused, match="has no signature") as caught:
        read_schema(bare, SPEC)
    assert "infer_signature(X, y)" in caught.value.hint
    assert read_schema(bare, replace(SPEC, features=("n",))) == Schema((Column("n", ""),))
