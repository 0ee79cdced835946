"""What is said of a file that could be read and looks wrong, and of one that is wrong in several places."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retrain_daemon.core.policy import Completion, DataSpec, Expectation, Target
from retrain_daemon.errors import DataProblem, Refused
from retrain_daemon.worker import inspection
from retrain_daemon.worker.inspection import inspect_drops
from retrain_daemon.worker.job import DropFile, DropReport, InspectDrops, ProfiledDrop, Source
from retrain_daemon.worker.schema import Column, Schema

SEEN = datetime(2026, 11, 22, tzinfo=UTC)
SOURCE = Source(tracking_uri="sqlite://", registry_uri="sqlite://", model="churn", version=None)
SPEC = DataSpec(
    folder="/drops",
    pattern="*",
    target=Target("y"),
    features=("age", "city", "dose"),
    complete=Completion(marker="{name}.ok"),
)
ROWS = 2000


def rows(count: int = ROWS, seed: int = 0, **changes: object) -> pd.DataFrame:
    """Rows of people: an age that is missing in one of ten, a city, a dose, and whether they left."""
    random = np.random.default_rng(seed)
    age = random.integers(18, 90, count).astype(float)
    age[::10] = np.nan
    columns = {
        "age": age,
        "city": random.choice(["Bonn", "Wien", "Bern"], count),
        "dose": random.random(count),
        "y": random.integers(0, 2, count),
    }
    return pd.DataFrame(columns).assign(**changes)


class Folder:
    """A drop folder whose files are inspected one after another, as the daemon would."""

    def __init__(self, root: Path, spec: DataSpec = SPEC) -> None:
        self.root, self.spec = root, spec
        self.used: list[ProfiledDrop] = []

    def inspect(self, name: str, frame: pd.DataFrame, released: bool = False) -> DropReport:
        path = self.root / name
        frame.to_csv(path, index=False) if name.endswith(".csv") else frame.to_parquet(path)
        return self.inspect_file(path, released)

    def inspect_file(self, path: Path, released: bool = False) -> DropReport:
        number = len(list(self.root.glob("*.[cp]*")))
        file = DropFile(drop=number, path=str(path), first_seen=SEEN, released=released)
        job = InspectDrops(source=SOURCE, data=self.spec, files=(file,), known_rows=(), rows_folder=str(self.root),
                           profiles=tuple(self.used))  # fmt: skip
        [report] = inspect_drops(job, lambda _: None).reports
        if report.profile_file:
            self.used.append(ProfiledDrop(drop=number, profile_file=report.profile_file))
        return report


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_a_file_like_those_before_it_has_nothing_to_be_said_of(folder: Folder) -> None:
    for name, seed in (("a.csv", 0), ("b.parquet", 1), ("c.csv", 2)):
        report = folder.inspect(name, rows(seed=seed))
        assert (report.problem, report.usable, report.notes) == ("", ROWS, ())
        assert Path(report.profile_file).name == f"{report.fingerprint}.profile.npz"


def test_a_column_that_had_values_and_has_none_is_suspect_until_released(folder: Folder) -> None:
    folder.inspect("a.csv", rows())
    report = folder.inspect("b.csv", rows(500, seed=1, age=np.nan))
    assert report.suspect
    assert report.problem == (
        "Column 'age' of b.csv has no value in any of 500 rows; in each earlier file at least 90% of the rows had one."
    )
    assert report.hint == "Fill it and drop the file again."
    assert not report.profile_file
    released = folder.inspect("b.csv", rows(500, seed=1, age=np.nan), released=True)
    assert (released.problem, released.usable) == ("", 500)
    assert released.notes == (f"Let pass: {report.problem}",)


def test_a_small_file_may_lack_what_is_often_missing(folder: Folder) -> None:
    folder.inspect("a.csv", rows(age=[*range(100), *[np.nan] * (ROWS - 100)]))
    assert not folder.inspect("b.csv", rows(5, seed=1, age=np.nan)).problem


def test_a_column_that_never_had_values_need_not_have_them_later(folder: Folder) -> None:
    first = folder.inspect("a.csv", rows(age=np.nan))
    assert first.suspect
    assert first.problem == "Column 'age' of a.csv has no value in any of 2,000 rows."
    folder.inspect("a.csv", rows(age=np.nan), released=True)
    assert not folder.inspect("b.csv", rows(seed=1, age=np.nan)).problem


@pytest.mark.parametrize("column", ["age", "city", "y"])
def test_a_column_that_always_varied_and_stands_still_is_suspect(folder: Folder, column: str) -> None:
    folder.inspect("a.csv", rows())
    value = {"age": 31.5, "city": "Bonn", "y": 1}[column]
    report = folder.inspect("b.csv", rows(seed=1, **{column: value}))
    assert report.suspect
    assert f"Column '{column}' of b.csv is {value!r} in all of 2,000 rows; in earlier files no value" in report.problem
    assert not folder.inspect("few.csv", rows(900, seed=2, **{column: value})).problem


def test_a_column_that_stands_still_in_each_file_is_not_suspect(folder: Folder) -> None:
    first = folder.inspect("a.csv", rows(age=1.0))
    assert first.notes == ("In every row of a.csv 'age' is 1.",)
    second = folder.inspect("b.csv", rows(seed=1, age=2.0))
    assert (second.problem, second.notes) == ("", ())


def test_a_rare_value_may_be_absent(folder: Folder) -> None:
    folder.inspect("a.csv", rows(age=[1.0] * 3 + [0.0] * (ROWS - 3)))
    assert not folder.inspect("b.csv", rows(seed=1, age=0.0)).problem


def test_infinite_values_in_features_make_a_file_suspect_with_their_count_and_first_row(folder: Folder) -> None:
    odd = rows()
    odd.loc[[3, 41], "age"] = np.inf
    odd.loc[[7, 8, 9], "dose"] = -np.inf
    odd.loc[3, "y"] = np.nan  # does not count anyway
    for name in ("a.csv", "a.parquet"):
        report = folder.inspect(name, odd)
        assert report.suspect
        assert report.problem == (
            f"Column 'age' of {name} is infinite, or too large for its type, in 1 of 1,999 rows (0.05%), first in "
            f"row 42. Column 'dose' of {name} is infinite, or too large for its type, in 3 of 1,999 rows (0.15%), "
            "first in row 8."
        )
        assert "leave a cell empty" in report.hint
    released = folder.inspect("a.csv", odd, released=True)
    assert (released.problem, released.usable) == ("", ROWS - 1)
    assert "Let pass: Column 'age' of a.csv is infinite" in released.notes[0]


def test_a_number_that_is_too_large_for_its_type_is_infinite(folder: Folder) -> None:
    report = folder.inspect("a.csv", rows(10).astype({"dose": object}).assign(dose=["1e400", *["0.5"] * 9]))
    assert report.suspect
    assert "Column 'dose' of a.csv is infinite, or too large for its type, in 1 of 10 rows" in report.problem


def test_a_column_of_another_type_than_before_cannot_be_used_and_its_row_is_named(folder: Folder) -> None:
    folder.inspect("a.csv", rows())
    odd = rows(seed=1).astype({"age": object})
    odd.loc[17, "age"] = "about 40"
    report = folder.inspect("b.csv", odd)
    assert (report.suspect, report.problem) == (
        False,
        "Column 'age' holds 'about 40' in row 18, where a number is expected: it held in earlier files numbers.",
    )
    assert "log the model with a signature" in report.hint
    report = folder.inspect("c.csv", rows(seed=2, city=range(ROWS)))
    assert report.problem == "Column 'city' of c.csv holds numbers, and in earlier files texts."


def test_labels_that_the_policy_does_not_name_make_a_file_suspect_above_the_share_it_allows(tmp_path: Path) -> None:
    labels = ["no", "yes"] * 997 + ["maybe"] * 5 + ["no"]
    target = Target("y", classes=("no", "yes"))
    report = Folder(tmp_path, replace(SPEC, target=target)).inspect("a.csv", rows(y=labels))
    assert report.suspect
    assert report.problem == (
        "Column 'y' of a.csv holds classes that data.target.classes does not name in 5 of 2,000 rows (0.25%): "
        "'maybe' in 5; 0% may have such."
    )
    allowed = Folder(tmp_path, replace(SPEC, target=replace(target, unknown_classes=0.01)))
    report = allowed.inspect("a.csv", rows(y=labels))
    assert not report.problem
    assert report.notes[0].endswith("'maybe' in 5; 1% may have such. They are set aside.")


def test_classes_named_as_numbers_are_those_of_a_column_of_numbers(tmp_path: Path) -> None:
    folder = Folder(tmp_path, replace(SPEC, target=Target("y", classes=(0, 1))))
    assert not folder.inspect("a.csv", rows()).problem
    assert not folder.inspect("b.parquet", rows(seed=1, y=rows().y.astype(float))).problem


def test_a_class_that_no_earlier_file_had_is_noticed(folder: Folder) -> None:
    folder.inspect("a.csv", rows())
    report = folder.inspect("b.csv", rows(seed=1, y=[0, 1] * 990 + [2] * 20))
    assert not report.problem
    assert report.notes == ("Column 'y' of b.csv holds classes that no earlier file has: '2' in 20 rows.",)


def test_a_value_to_predict_is_no_class(folder: Folder) -> None:
    folder.inspect("a.csv", rows(y=np.arange(ROWS)))
    assert folder.inspect("b.csv", rows(seed=1, y=np.arange(ROWS) + 7)).notes == ()


def test_rows_that_repeat_and_rows_without_label_are_noticed(folder: Folder) -> None:
    frame = rows(100, y=[np.nan] * 4 + [0.0, 1.0] * 48)
    report = folder.inspect("a.csv", pd.concat([frame, frame.tail(10)]))
    assert report.notes == (
        "4 of 110 rows (3.64%) of a.csv lack a finite target or an event time and are not used.",
        "10 of 110 rows (9.09%) of a.csv repeat another row of the file.",
    )


def test_everything_suspect_in_a_file_is_said_at_once(folder: Folder) -> None:
    folder.inspect("a.csv", rows())
    folder.spec = replace(SPEC, expect=(Expectation(column="y", at_most=0.0),))
    report = folder.inspect("b.csv", rows(seed=1, age=np.nan, city="Bonn"))
    for part in ("Column 'age'", "Column 'city'", "Column 'y'"):
        assert part in report.problem
    assert report.suspect


def test_a_file_is_compared_with_those_before_it_in_the_same_inspection(folder: Folder) -> None:
    paths = []
    for name, frame in (("a.csv", rows()), ("b.csv", rows(seed=1, age=np.nan)), ("c.csv", rows(seed=2))):
        frame.to_csv(folder.root / name, index=False)
        paths.append(str(folder.root / name))
    files = tuple(DropFile(drop=at, path=path, first_seen=SEEN) for at, path in enumerate(paths, 1))
    job = InspectDrops(source=SOURCE, data=SPEC, files=files, known_rows=(), rows_folder=str(folder.root))
    assert [report.suspect for report in inspect_drops(job, lambda _: None).reports] == [False, True, False]


def test_an_old_file_that_is_inspected_again_is_not_compared_with_newer_ones(folder: Folder) -> None:
    folder.inspect("a.csv", rows(age=np.nan), released=True)
    newer = folder.inspect("b.csv", rows(seed=1))
    folder.used = [ProfiledDrop(drop=99, profile_file=newer.profile_file)]
    assert "in each earlier file" not in folder.inspect("a.csv", rows(age=np.nan)).problem


def test_every_column_that_does_not_fit_the_signature_is_named_with_its_first_row(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = Schema((Column("age", "double"), Column("city", "string"), Column("visits", "long")), "long")
    monkeypatch.setattr(inspection, "read_schema", lambda *_: schema)
    frame = rows(visits=1).astype({"age": object, "visits": object, "y": object})
    frame.loc[[3, 9], "age"] = "old"
    frame.loc[1500, "visits"] = 1.5
    frame.loc[7, "y"] = "yes"
    report = folder.inspect("a.csv", frame)
    assert not report.suspect
    assert report.problem == (
        "Column 'y' holds 'yes' in row 8, where a whole number is expected. "
        "Column 'age' holds 'old' in row 4, where a number is expected. "
        "Column 'visits' holds '1.5' in row 1501, where a whole number is expected."
    )


def test_a_csv_cut_short_is_suspect_unless_a_marker_says_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("age,city,dose,y\n1,Bonn,1,0\n2,Bern,1,1")
    settle = Folder(tmp_path, replace(SPEC, complete=Completion(settle=timedelta(0))))
    report = settle.inspect_file(path)
    assert report.suspect
    assert "may be cut" in report.problem
    assert settle.inspect_file(path, released=True).usable == 2
    assert Folder(tmp_path).inspect_file(path).usable == 2


def test_a_csv_that_is_cut_and_cannot_be_read_cannot_be_released(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("age,city,dose,y\n1,Bonn,1,0\n2,Be")
    report = Folder(tmp_path, replace(SPEC, complete=Completion(settle=timedelta(0)))).inspect_file(path)
    assert not report.suspect
    assert "not well-formed csv" in report.problem
    assert "may be cut" in report.problem


def test_a_file_that_changes_while_it_is_found_wrong_is_looked_at_again(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rewritten(file: DropFile, *_: object) -> None:
        Path(file.path).write_text("age,city,dose,y\n1,Bonn,1,0\n")
        raise DataProblem("It lacks the column 'dose'.")

    monkeypatch.setattr(inspection, "read_rows", rewritten)
    assert folder.inspect("a.csv", rows()).temporary


def test_bounds_that_do_not_go_with_the_signature_are_refused_by_name(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = Schema((Column("age", "double"), Column("city", "string")), "long")
    monkeypatch.setattr(inspection, "read_schema", lambda *_: schema)
    folder.spec = replace(SPEC, expect=(Expectation(column="city", at_least=3.0),))
    with pytest.raises(Refused, match="city has numbers as bounds, and column 'city' is of type string"):
        folder.inspect("a.csv", rows())
