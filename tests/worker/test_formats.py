"""Kinds of files: the same rows are the same in each, cut ones are told, and small ones that unfold do no harm."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

from retrain_daemon.core.policy import DataSpec, Target
from retrain_daemon.errors import DataProblem, SuspectData
from retrain_daemon.worker.columns import cast
from retrain_daemon.worker.files import column_names, read_file, read_pieces, refuse_cut_short
from retrain_daemon.worker.formats import limits, pieces
from retrain_daemon.worker.job import DropFile
from retrain_daemon.worker.row_reading import read_rows
from retrain_daemon.worker.rows import unit_keys
from retrain_daemon.worker.schema import Column, Schema

KINDS = (".csv", ".csv.gz", ".jsonl", ".parquet", ".arrow", ".feather", ".npz")
NOW = datetime(2026, 11, 22, tzinfo=UTC)
BERLIN = "Europe/Berlin"


@dataclass(frozen=True)
class Told:
    """One column in every way it can be written; an array only where numpy has such values."""

    kind: str
    arrow: Any
    text: tuple[str, ...]
    json: tuple[object, ...]
    array: NDArray[Any] | None = None


DAYS = (date(2026, 1, 31), date(1999, 12, 31), date(2026, 3, 1))
MOMENTS = (datetime(2026, 6, 1, 12, 30, tzinfo=UTC), None, datetime(2026, 12, 24, 18, 0, 0, 250_000, tzinfo=UTC))
ZONED = ("2026-06-01T14:30:00+02:00", "", "2026-12-24 19:00:00.250000+01:00")
NAIVE = ("2026-06-01 12:30:00", "NaT", "2026-12-24T18:00:00.25")
COLUMNS = {
    "whole": Told("long", pa.array([1, -5, 2**53 + 1]), ("1", "-5", "9007199254740993"), (1, -5, 2**53 + 1),
                  np.array([1, -5, 2**53 + 1])),
    "tiny": Told("integer", pa.array([1, 2, 3], pa.uint8()), ("1", "2.0", "3"), (1, 2.0, 3), np.array([1, 2, 3], "u1")),
    "gaps": Told("double", pa.array([1, None, 3]), ("1", "", "3.0"), (1, None, 3), np.array([1, np.nan, 3])),
    "endless": Told("double", pa.array([np.inf, np.nan, -np.inf]), ("inf", "NaN", "-inf"),
                    (float("inf"), float("nan"), float("-inf")), np.array([np.inf, np.nan, -np.inf])),
    "truth": Told("boolean", pa.array([True, False, True]), ("True", "false", "TRUE"), (True, False, True),
                  np.array([True, False, True])),
    "counted": Told("double", pa.array([True, False, True]), ("True", "false", "TRUE"), (True, False, True),
                    np.array([True, False, True])),
    "day": Told("datetime", pa.array(DAYS), tuple(map(str, DAYS)), tuple(map(str, DAYS)), np.array(DAYS, "M8[D]")),
    "zoned": Told("datetime", pa.array(MOMENTS, pa.timestamp("ms", BERLIN)), ZONED, (*ZONED[:1], None, *ZONED[2:])),
    "naive": Told("datetime", pa.array([m and m.replace(tzinfo=None) for m in MOMENTS]), NAIVE,
                  (NAIVE[0], None, NAIVE[2]), np.array([NAIVE[0], "NaT", NAIVE[2]], "M8[us]")),
    "city": Told("string", pa.array(["Köln", None, "a,b"]).dictionary_encode(), ("Köln", "", '"a,b"'),
                 ("Köln", None, "a,b")),
    "name": Told("string", pa.array(["x", "größe", "x"], pa.large_string()), ("x", "größe", "x"), ("x", "größe", "x"),
                 np.array(["x", "größe", "x"])),
    "seen": Told("string", pa.array(["x", "y" * 40, None], pa.string_view()), ("x", "y" * 40, ""),
                 ("x", "y" * 40, None)),
    "price": Told("double", pa.array([Decimal("1.50"), None, Decimal("-0.10")]), ("1.50", "", "-0.10"),
                  (1.5, None, -0.1)),
    "ident": Told("long", pa.array([Decimal(2**62 + 1), Decimal(3), Decimal(-4)], pa.decimal128(20, 0)),
                  (str(2**62 + 1), "3", "-4"), (2**62 + 1, 3, -4), np.array([2**62 + 1, 3, -4])),
    "half": Told("double", pa.array(np.array([0.1, 2.5, np.nan], "f2")), ("0.1", "2.5", ""), (0.1, 2.5, None),
                 np.array([0.1, 2.5, np.nan], "f2")),
    "single": Told("double", pa.array([0.1, 2.5, 1e-7], pa.float32()), ("0.1", "2.5", "1e-7"), (0.1, 2.5, 1e-7),
                   np.array([0.1, 2.5, 1e-7], ">f4")),
    "short": Told("float", pa.array([0.1, None, 3e38], pa.float32()), ("0.1", "", "3e38"), (0.1, None, 3e38),
                  np.array([0.1, np.nan, 3e38], "f4")),
    "huge": Told("double", pa.array([2**64 - 1, 0, 2**63], pa.uint64()), (str(2**64 - 1), "0", str(2**63)),
                 (2**64 - 1, 0, 2**63), np.array([2**64 - 1, 0, 2**63], "u8")),
}  # fmt: skip


def write(path: Path, told: dict[str, Told]) -> str:
    """A file of the kind its name says."""
    name = path.name
    if name.endswith((".csv", ".csv.gz")):
        rows = [",".join(told), *(",".join(row) for row in zip(*(one.text for one in told.values()), strict=True))]
        text = ("\n".join(rows) + "\n").encode()
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    elif name.endswith(".jsonl"):
        lines = zip(*(one.json for one in told.values()), strict=True)
        path.write_text("".join(json.dumps(dict(zip(told, line, strict=True))) + "\n" for line in lines))
    elif name.endswith(".npz"):
        np.savez_compressed(path, **{column: one.array for column, one in told.items()})  # type: ignore[arg-type]
    else:
        table(path, pa.table({column: one.arrow for column, one in told.items()}))
    return str(path)


def table(path: Path, rows: Any, **how: Any) -> Path:
    """Arrow's own ways to write a table."""
    if path.suffix == ".parquet":
        pa.parquet.write_table(rows, path, **how)
    elif path.suffix == ".feather":
        pa.feather.write_feather(rows, str(path), **how)
    else:
        with pa.ipc.new_stream(path, rows.schema, options=pa.ipc.IpcWriteOptions(**how)) as writer:
            writer.write_table(rows, max_chunksize=2 if rows.num_rows < 100 else None)
    return path


def can(kind: str, one: Told) -> bool:
    if kind == ".npz":
        return one.array is not None
    return not (kind == ".parquet" and pa.types.is_string_view(one.arrow.type))


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_is_the_same_whatever_kind_of_file_it_was_in(tmp_path: Path, name: str) -> None:
    told = COLUMNS[name]
    schema = Schema((Column(name, told.kind),))
    both = {"beside": COLUMNS["whole"], name: told}
    files = [write(tmp_path / f"a{kind}", both) for kind in KINDS if can(kind, told)]
    found = [read_file(path, [name]) for path in files]
    as_kind = [cast(frame, schema) for frame in found]
    for path, frame, raw in zip(files, as_kind, found, strict=True):
        pd.testing.assert_frame_equal(frame, as_kind[0], obj=path)
        assert unit_keys(frame, [name]).tolist() == unit_keys(as_kind[0], [name]).tolist(), path
        if name != "endless":  # infinity as a text is a text while nobody says that the column holds numbers
            assert unit_keys(raw, [name]).tolist() == unit_keys(found[0], [name]).tolist(), path


def test_rows_have_the_same_keys_in_every_kind_of_file(tmp_path: Path) -> None:
    told = {name: one for name, one in COLUMNS.items() if can(".npz", one) and name != "endless"}
    schema = Schema(tuple(Column(name, one.kind) for name, one in told.items() if name != "truth"), "boolean")
    spec = DataSpec(folder="/drops", pattern="*", target=Target("truth"))
    found = [
        read_rows(DropFile(drop=1, path=write(tmp_path / f"a{kind}", told), first_seen=NOW), spec, schema).rows
        for kind in KINDS
    ]
    for rows in found:
        assert rows.row_keys.tolist() == found[0].row_keys.tolist()
        assert rows.unit_keys.tolist() == found[0].unit_keys.tolist()
        assert rows.target.tolist() == [True, False, True]


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet", ".arrow"])
def test_a_whole_number_that_is_missing_is_refused_where_the_model_takes_none(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"a{kind}", {"whole": COLUMNS["whole"], "gaps": COLUMNS["gaps"]})
    with pytest.raises(DataProblem, match="Column 'gaps' has no value in row 2, where a whole number is expected"):
        cast(read_file(path, ["gaps"]), Schema((Column("gaps", "long"),)))


def test_truth_is_read_in_all_its_spellings_where_the_model_says_that_it_is_truth(tmp_path: Path) -> None:
    yes, no = (
        ["true", "T", "yes", "Y", "1", "1.0", "on", " True "],
        ["False", "f", "No", "n", "0", "0.0", "off", "FALSE"],
    )
    (tmp_path / "a.csv").write_text("b\n" + "\n".join([*yes, *no]) + "\n")
    found = read_file(str(tmp_path / "a.csv"), ["b"])
    assert cast(found, Schema((Column("b", "boolean"),)))["b"].tolist() == [True] * 8 + [False] * 8
    words = found.iloc[[2, 10]]
    assert cast(words, Schema((Column("b", ""),)))["b"].tolist() == ["yes", "No"]


# Arrow


def test_both_of_arrows_formats_are_read_with_the_needed_columns_alone(tmp_path: Path) -> None:
    rows = pa.table({"a": range(5), "list": [[1]] * 5, "b": ["x", None, "y", "x", "z"]})
    stream, file = tmp_path / "stream.arrow", tmp_path / "file.arrow"
    table(stream, rows)
    with pa.ipc.new_file(file, rows.schema) as writer:
        writer.write_table(rows, max_chunksize=2)
    for path in (stream, file):
        assert column_names(str(path)) == ("a", "list", "b")
        found = read_file(str(path), ["b", "a"])
        assert list(found.columns) == ["b", "a"]
        assert found["a"].tolist() == [0, 1, 2, 3, 4]
        with pytest.raises(DataProblem, match=r"'list' of .*arrow holds list"):
            read_file(str(path), ["list"])


@pytest.mark.filterwarnings("ignore:Feather V1")
def test_feather_of_version_1_is_refused_by_name(tmp_path: Path) -> None:
    pa.feather.write_feather(pa.table({"a": [1]}), str(tmp_path / "a.feather"), version=1)
    with pytest.raises(DataProblem, match="version 1"):
        read_file(str(tmp_path / "a.feather"), ["a"])


@pytest.mark.parametrize("place", [b"column_name", b"value_in_s"])
def test_damaged_names_and_values_are_one_sentence(tmp_path: Path, place: bytes) -> None:
    for kind in (".parquet", ".arrow", ".feather"):
        path = table(tmp_path / f"a{kind}", pa.table({"column_name": ["value_in_s"] * 3}))
        path.write_bytes(path.read_bytes().replace(place, b"\xff" + place[1:]))
        with pytest.raises(DataProblem, match=f"a{kind}"):
            read_file(str(path), ["column_name"])


def test_texts_that_are_not_utf8_are_refused_in_binary_files_too(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")])
    for kind in (".parquet", ".arrow", ".feather"):
        path = table(tmp_path / f"a{kind}", pa.table({"s": broken}))
        with pytest.raises(DataProblem, match=f"Column 's' of a{kind} holds text that is not UTF-8"):
            read_file(str(path), ["s"])


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "PLAIN"])
def test_parquet_of_every_encoding_of_texts_is_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.parquet"
    cells = [f"{'p' * 5_000}{number}" for number in range(300)]
    pa.parquet.write_table(pa.table({"s": cells}), path, use_dictionary=False, column_encoding={"s": encoding})
    assert [cell for piece in read_pieces(str(path), ["s"]) for cell in piece["s"]] == cells


# npz


def test_tensors_become_columns_in_c_order_however_they_lie_in_the_file(tmp_path: Path) -> None:
    rows = 1_500
    pixel = np.arange(rows * 6, dtype="float32").reshape(rows, 2, 3)
    wanted = ["pixel_5", "label", "pixel_1"]
    for name, save, order in (("c", np.savez, "C"), ("packed", np.savez_compressed, "C"), ("f", np.savez, "F")):
        path = str(tmp_path / f"{name}.npz")
        save(path, pixel=np.asarray(pixel, order=order), label=np.arange(rows), version=3)  # type: ignore[call-overload]
        assert column_names(path) == (*(f"pixel_{place}" for place in range(6)), "label")
        pieces_of = list(read_pieces(path, wanted))
        found = pd.concat(pieces_of)
        assert found["label"].tolist() == list(range(rows))
        assert (found["pixel_5"].to_numpy() == pixel[:, 1, 2]).all()
        assert (found["pixel_1"].to_numpy() == pixel[:, 0, 1]).all()


BAD_ARCHIVES: dict[str, tuple[Callable[[Path], None], str]] = {
    "objects": (lambda path: np.savez(path, a=np.array([1, None], object)), "holds Python objects, which are never"),
    "another length": (lambda path: np.savez(path, a=np.zeros(3), b=np.zeros(4)), "rows in the array 'a' and 4 in 'b'"),
    "complex": (lambda path: np.savez(path, a=np.zeros(3, complex)), "'a' of a.npz is of type complex128"),
    "bytes": (lambda path: np.savez(path, a=np.array([b"x"])), "is of type"),
    "records": (lambda path: np.savez(path, a=np.zeros(3, [("x", "f8")])), "is of type"),
    "packed by column": (
        lambda path: np.savez_compressed(path, a=np.zeros((3, 4), order="F")[:, :2], b=np.zeros((3, 2), order="F")),
        "compressed column by column",
    ),
    "one name twice": (lambda path: np.savez(path, a=np.zeros((3, 2)), a_0=np.zeros(3)), "column 'a_0' 2 times"),
    "a text inside": (lambda path: _zip(path, {"readme.txt": b"x"}), "'readme.txt' of a.npz is no array"),
    "pickle in place of an array": (lambda path: _zip(path, {"a.npy": b"\x80\x04N."}), "no array that numpy wrote"),
    "a header without values": (lambda path: _zip(path, {"a.npy": _npy(1000)[:200]}), "cut short"),
    "a header that claims too much": (lambda path: _zip(path, {"a.npy": _claim((10**12,))}), "cut short"),
    "nothing": (lambda path: _zip(path, {}), "empty zip"),
    "a csv": (lambda path: path.write_bytes(b"a\n1\n") and None, "not a numpy archive"),
}  # fmt: skip


def _npy(rows: int) -> bytes:
    from io import BytesIO

    stream = BytesIO()
    np.save(stream, np.zeros(rows))
    return stream.getvalue()


def _claim(shape: tuple[int, ...]) -> bytes:
    return _npy(3).replace(b"(3,), }", f"{shape}, }}".encode())[:128] + bytes(24)


def _zip(path: Path, members: dict[str, bytes]) -> None:
    import zipfile

    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(("make", "said"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES)
def test_an_archive_that_holds_no_rows_gets_one_clear_sentence(
    tmp_path: Path, make: Callable[[Path], None], said: str
) -> None:
    path = tmp_path / "a.npz"
    make(path)
    column = "b_0" if said.startswith("compressed") else "a_0" if "a_0" in said else "a"
    with pytest.raises(DataProblem, match=said) as caught:
        read_file(str(path), [column])
    assert "\n" not in str(caught.value)
    assert not caught.value.temporary


# Files that are cut


def read_whole(path: str) -> pd.DataFrame:
    """As an inspection does."""
    refuse_cut_short(path)
    return read_file(path, ["whole"])


@pytest.mark.parametrize("kind", [".parquet", ".arrow", ".feather", ".npz", ".csv.gz", ".jsonl"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, kind: str) -> None:
    told = {name: one for name, one in COLUMNS.items() if can(".npz", one) and can(kind, one)}
    whole = Path(write(tmp_path / f"whole{kind}", told)).read_bytes()
    cut = tmp_path / f"cut{kind}"
    last = len(whole) - (8 if kind == ".arrow" else 2 if kind == ".jsonl" else 0)
    for size in {1, 5, 9, last // 3, last // 2, *range(last - 24, last)}:
        cut.write_bytes(whole[:size])
        with pytest.raises(DataProblem) as caught:
            read_whole(str(cut))
        assert "\n" not in str(caught.value)
        assert not caught.value.temporary


def test_a_gzip_archive_of_several_members_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    parts = [gzip.compress(text) for text in (b"a\n1\n", b"2\n", b"3\n")]
    path.write_bytes(b"".join(parts))
    assert read_file(str(path), ["a"])["a"].tolist() == ["1", "2", "3"]
    path.write_bytes(b"".join(parts)[:-8])
    with pytest.raises(DataProblem, match="cut short"):
        read_file(str(path), ["a"])


@pytest.mark.parametrize("kind", [".csv", ".csv.gz"])
def test_a_csv_that_ends_within_a_row_is_suspect_until_a_person_lets_it_pass(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a{kind}"

    def filled(text: bytes) -> str:
        path.write_bytes(gzip.compress(text) if kind.endswith("gz") else text)
        return str(path)

    for whole in (b"a,b\n1,2\n", b"a,b\r1,2\r", b'a,b\n1,"x\ny"\r\n'):
        refuse_cut_short(filled(whole))
    with pytest.raises(SuspectData, match="last row") as caught:
        refuse_cut_short(filled(b"a,b\n1,2\n3,40"))
    assert f"retraind drop release a{kind}" in caught.value.hint
    with pytest.raises(SuspectData, match="quoted cell"):
        refuse_cut_short(filled(b'a,b\n1,2\n3,"x\n4,5\n'))


def test_an_arrow_stream_without_its_end_is_suspect(tmp_path: Path) -> None:
    path = table(tmp_path / "a.arrow", pa.table({"a": range(5)}))
    refuse_cut_short(str(path))
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(SuspectData, match="may be cut"):
        refuse_cut_short(str(path))


# Files that unfold


def texts(rows: int, length: int) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, "i4")), pa.array(["x" * length]))


@pytest.mark.parametrize("kind", [".parquet", ".arrow", ".feather"])
def test_long_texts_written_once_for_many_rows_are_read_a_few_at_a_time(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_BYTES", 10_000)
    rows = pa.table({"s": texts(500, 1_000), "a": range(500)})
    path = table(
        tmp_path / f"a{kind}", rows if kind != ".parquet" else rows.cast(pa.schema({"s": "string", "a": "int64"}))
    )
    found = list(read_pieces(str(path), ["s", "a"]))
    assert max(len(piece) for piece in found) <= 10
    assert [value for piece in found for value in piece["a"]] == list(range(500))
    assert set(found[-1]["s"]) == {"x" * 1_000}
    monkeypatch.setattr(limits, "FREE_BYTES", 100_000)
    monkeypatch.setattr(limits, "EXPANSION", 2)
    with pytest.raises(DataProblem, match="unfolds to more than"):
        list(read_pieces(str(path), ["s", "a"]))


def bombs(folder: Path) -> dict[str, Path]:
    """A few kilobytes each, that would fill gigabytes."""
    constant = pa.table({"a": pa.array(np.zeros(1_500_000, "i8"))})
    found = {
        "parquet": table(folder / "bomb.parquet", constant, row_group_size=10**7, compression="zstd"),
        "feather": table(folder / "bomb.feather", constant, compression="zstd"),
        "arrow": table(folder / "nulls.arrow", pa.table({"a": pa.nulls(10**9)})),
        "npz": folder / "bomb.npz",
    }
    np.savez_compressed(found["npz"], a=np.zeros(1_500_000, "i1"))
    return found


def test_a_small_file_of_very_many_rows_is_refused_before_they_are_read(tmp_path: Path) -> None:
    for path in bombs(tmp_path).values():
        assert path.stat().st_size < 60_000
        with pytest.raises(DataProblem, match="rows") as caught:
            next(iter(read_pieces(str(path), ["a"])))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [".parquet", ".arrow", ".feather", ".npz", ".csv.gz"])
def test_a_small_file_that_unfolds_to_very_much_is_refused(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FREE_BYTES", 2**20)
    path = tmp_path / f"bomb{kind}"
    zeros = np.zeros(500_000)
    if kind == ".npz":
        np.savez_compressed(path, a=zeros)
    elif kind == ".csv.gz":
        path.write_bytes(gzip.compress(b"a\n" + (b"0" * 100 + b"\n") * 100_000))
    else:
        how = {"use_dictionary": False} if kind == ".parquet" else {}
        table(path, pa.table({"a": zeros}), compression="zstd", **how)
    if kind == ".arrow":
        with pa.ipc.new_stream(
            path, pa.schema({"a": "float64"}), options=pa.ipc.IpcWriteOptions(compression="zstd")
        ) as to:
            to.write_table(pa.table({"a": zeros}))
    with pytest.raises(DataProblem, match="unfolds to more than"):
        list(read_pieces(str(path), ["a"]))


def test_an_arrow_batch_too_large_for_memory_is_refused_before_it_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retrain_daemon.worker.formats import arrow_ipc

    monkeypatch.setattr(arrow_ipc, "BATCH_BYTES", 1_000)
    path = table(tmp_path / "a.feather", pa.table({"a": np.zeros(1_000)}), compression="lz4")
    with pytest.raises(DataProblem, match="record batch of more than 1,000 bytes") as caught:
        read_file(str(path), ["a"])
    assert "max_chunksize" in caught.value.hint


def test_a_line_of_json_without_end_is_not_taken_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": "' + b"x" * (limits.ROW_BYTES + 1) + b'"}\n')
    with pytest.raises(DataProblem, match=r"Line 1 of a\.jsonl has more than"):
        read_file(str(path), ["a"])


@pytest.mark.parametrize("kind", [".csv", ".jsonl", ".parquet", ".arrow", ".npz"])
def test_cells_of_a_megabyte_are_read_a_few_rows_at_a_time(tmp_path: Path, kind: str) -> None:
    cells = tuple("x" * 2**20 for _ in range(40))
    array = np.array([cell[: 2**18] for cell in cells]) if kind == ".npz" else None
    told = {"s": Told("string", pa.array(cells), cells, cells, array)}
    path = write(tmp_path / f"a{kind}", told)
    sizes = [len(piece) for piece in read_pieces(path, ["s"])]
    assert sum(sizes) == 40
    assert max(sizes) <= 34


def test_files_of_many_columns_are_read_by_name_and_by_pattern(tmp_path: Path) -> None:
    names = tuple(f"pixel_{place}" for place in range(10_000))
    wide = pa.table([pa.array([0.5, 1.5])] * 10_000, names=names)
    np.savez(tmp_path / "a.npz", pixel=np.full((2, 10_000), 0.5))
    for path in (table(tmp_path / "a.parquet", wide), table(tmp_path / "a.arrow", wide), tmp_path / "a.npz"):
        assert column_names(str(path)) == names
        assert list(read_file(str(path), ["pixel_9999", "pixel_0"]).columns) == ["pixel_9999", "pixel_0"]
        with pytest.raises(DataProblem, match="10000 columns, more than 5000"):
            read_file(str(path), None)
