"""Keys of rows: the same value is the same row whatever wrote it; judging sides are nested; key files are whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retrain_daemon.errors import DataProblem, StateUnusable
from retrain_daemon.worker.rows import cast, contains, judges, load_keys, save_keys, unit_keys
from retrain_daemon.worker.schema import Column, Schema


def keys(values: object, dtype: object = None) -> list[int]:
    return [int(key) for key in unit_keys(pd.DataFrame({"a": pd.Series(values, dtype=dtype)}), ["a"])]  # type: ignore[call-overload]


def one(value: object, kind: str) -> object:
    return cast(pd.DataFrame({"a": pd.Series([value], dtype=object)}), Schema((Column("a", kind),)))["a"].iloc[0]


GOLDEN_ROWS = [3416929813089671088, 17390484395583933579]
GOLDEN = {
    "whole": (17, 0x25D41C554FC34306),
    "fraction": (0.1, 0x3C92E494C9C75940),
    "missing": (None, 0xFCF23453A9ECD051),
    "text": ("größe", 0x2FA1C0ED06B03194),
    "truth": (True, 0x7AA0A620BBE800B5),
    "moment": (pd.Timestamp("2026-11-22T08:30:00Z"), 0x12ECAD607B01C737),
}


@pytest.mark.parametrize(("value", "key"), GOLDEN.values(), ids=GOLDEN)
def test_a_value_has_the_key_it_always_had(value: object, key: int) -> None:
    assert keys([value], object) == [key]


def test_a_row_of_two_columns_has_the_key_it_always_had_and_their_order_counts() -> None:
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    assert [int(key) for key in unit_keys(frame, ["a", "b"])] == GOLDEN_ROWS
    assert not set(unit_keys(frame, ["a", "b"])) & set(unit_keys(frame, ["b", "a"]))


@pytest.mark.parametrize(
    "same",
    [
        ["17", 17, 17.0, np.float32(17), "17.0", "1.7e1", "+17"],
        [-0.0, 0.0, 0, "-0.0", "0", "-0"],
        [None, np.nan, float("nan"), pd.NaT, "", "NaN", "NA"],
        [2**53 + 1, str(2**53 + 1)],
        [0.1, "0.1", "1e-1", "0.10"],
        [True, "true", "True", "TRUE"],
        [1e300, "1e300", "1" + "0" * 300],
        [
            pd.Timestamp("2026-01-02T03:00:00Z"),
            "2026-01-02 03:00:00",
            "2026-01-02T04:00+01:00",
            "2026-01-02T03:00:00.000Z",
        ],
    ],
    ids=str,
)
def test_the_same_value_has_one_key_however_it_was_written(same: list[object]) -> None:
    assert len({keys([value], object)[0] for value in same}) == 1


@pytest.mark.parametrize(
    "others",
    [[2**53, 2**53 + 1, str(2**53 + 2)], ["017", 17, "17 kg"], [0.1, np.nextafter(0.1, 1)], [1, True, "a", None]],
    ids=str,
)
def test_different_values_have_different_keys(others: list[object]) -> None:
    assert len({keys([value], object)[0] for value in others}) == len(others)


def test_a_column_of_one_type_has_the_keys_of_its_values_alone() -> None:
    for values in (
        [1, 2, 3],
        [1.5, 2.0, np.nan],
        [True, False, True],
        pd.to_datetime(["2026-01-01 00:00:00", "2026-01-02 01:02:03"]),
    ):
        assert keys(values) == [keys([value], object)[0] for value in values]
    assert keys([0.1, 2.0], "float32") == keys([0.1, 2.0], "float64")
    assert keys(["a", "b", "a"], "category") == keys(["a", "b", "a"])
    assert keys([1, None], "Int64") == keys([1.0, np.nan])


def test_keys_do_not_depend_on_the_process_or_its_hash_seed() -> None:
    code = (
        "import pandas as pd; from retrain_daemon.worker.rows import unit_keys;"
        "print(list(map(int, unit_keys(pd.DataFrame({'a': [1, 2], 'b': ['x', None]}), ['a', 'b']))))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert said.stdout.strip() == str(GOLDEN_ROWS)


def test_who_judges_at_a_tenth_judges_at_a_fifth_and_shares_are_kept() -> None:
    some = unit_keys(pd.DataFrame({"a": range(20_000)}), ["a"])
    tenth, fifth = judges(some, 0.1), judges(some, 0.2)
    assert not (tenth & ~fifth).any()
    assert abs(tenth.mean() - 0.1) < 0.01
    assert abs(fifth.mean() - 0.2) < 0.01
    assert not judges(some, 0.0).any()
    assert judges(some, 1.0).all()


def test_saved_keys_come_back_sorted_and_once(tmp_path: Path) -> None:
    save_keys(tmp_path / "a.npy", np.array([3, 1, 2**64 - 1], dtype=np.uint64))
    save_keys(tmp_path / "b.npy", np.array([3, 2], dtype=np.uint64))
    assert load_keys([tmp_path / "a.npy", tmp_path / "b.npy"]).tolist() == [1, 2, 3, 2**64 - 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npy", "b.npy"]
    assert load_keys([]).tolist() == []


@pytest.mark.parametrize("content", [None, b"", b"\x93NUMPY\x01\x00v", b"other"])
def test_a_lost_or_damaged_key_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.npy"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StateUnusable, match=r"a\.npy"):
        load_keys([path])


def test_contains_finds_members_at_both_ends_and_none_in_nothing() -> None:
    known = np.array([2, 5, 9], dtype=np.uint64)
    assert contains(known, np.array([1, 2, 5, 9, 10], dtype=np.uint64)).tolist() == [False, True, True, True, False]
    assert contains(known[:0], known).tolist() == [False, False, False]


@pytest.mark.parametrize(
    ("value", "kind", "becomes"),
    [
        ("17", "long", 17),
        (" 17.0 ", "integer", 17),
        (str(2**53 + 1), "long", 2**53 + 1),
        ("0.1", "double", 0.1),
        ("0.1", "float", float(np.float32(0.1))),
        ("TRUE", "boolean", True),
        (0, "boolean", False),
        (17, "string", "17"),
        ("017", "string", "017"),
        ("2026-01-02T03:00:00+02:00", "datetime", pd.Timestamp("2026-01-02T01:00:00")),
        ("inf", "double", np.inf),
        ("1.5", "", 1.5),
        ("x", "", "x"),
    ],
)
def test_a_value_becomes_what_the_signature_says(value: object, kind: str, becomes: object) -> None:
    found = one(value, kind)
    assert found == becomes
    assert isinstance(found, str) == isinstance(becomes, str)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("abc", "double"), ("1_0", "double"), ("1.5", "long"), (None, "integer"), ("NA", "long"), (2**40, "integer"),
        ("maybe", "boolean"), (None, "boolean"), (2, "boolean"), ("1e300", "float"), ("soon", "datetime"),
        ("01/02/2026", "datetime"), (1700000000, "datetime"), (pd.Timestamp("2026-01-01"), "double"),
        (pd.Timestamp("2026-01-01"), "string"),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_named_with_its_column_and_row(value: object, kind: str) -> None:
    good = {"boolean": True, "datetime": "2026-01-01"}.get(kind, 1)
    good = value if isinstance(value, pd.Timestamp) else good
    frame = pd.DataFrame({"a": pd.Series([good, value], dtype=object)})
    with pytest.raises(DataProblem) as caught:
        cast(frame, Schema((Column("a", kind),)))
    assert "Column 'a'" in caught.value.message
    assert "in row " in caught.value.message
    assert ("has no value" if value is None else str(value)[:8]) in caught.value.message


def test_missing_numbers_and_texts_stay_missing() -> None:
    frame = pd.DataFrame({"n": pd.Series(["1", None, "NA"]), "s": pd.Series(["NA", None, ""])})
    found = cast(frame, Schema((Column("n", "double"), Column("s", "string"))))
    assert found["n"].isna().tolist() == [False, True, True]
    assert found["s"].tolist() == ["NA", None, ""]
