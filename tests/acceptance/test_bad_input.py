"""Files and policies as they come on a bad day: each gets a sentence, and everything else goes on."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.acceptance.conftest import Boxes
from tests.box import Box, buyers

pytestmark = pytest.mark.slow

SHOP_2 = """\
model: shop2
data: {path: drops/*.csv, target: bought, taget: x}
data: {path: drops/*.csv, target: bought}
retrain:
  - {name: always, when: data.new_row > 0}
promote:
  require: [{metric: acuracy, better_by: 0}]
"""


@pytest.fixture(scope="module")
def box(boxes: Boxes) -> Box:
    """A daemon that watches a folder of csv files and one of parquet files, and never trains."""
    box = boxes()
    box.register()
    box.log_copy("shop", "bigshop", "champion")
    box.policy(rows=10**6)
    box.policy("bigshop", ("*.csv", "*.parquet"), rows=10**6)
    box.log_copy("shop", "edited", "champion")
    box.policy("edited", rows=10**6)
    box.start()
    return box


@pytest.fixture(scope="module")
def filled(box: Box) -> dict[str, Any]:
    """Good files among bad ones; every drop as `drop list --json` shows it, by file name."""
    rows = buyers(2, 400)
    folder, big = box.folder / "drops" / "shop", box.folder / "drops" / "bigshop"
    (folder / "empty.csv").write_bytes(b"")
    (folder / "folder.csv").mkdir()
    (folder / "binary.csv").write_bytes(bytes(range(256)) * 50)
    (folder / "new\nline.csv").write_text(rows.head(20).to_csv(index=False))
    box.drop("lacks.csv", rows.drop(columns="basket"))
    box.drop("unlabelled.csv", rows.drop(columns="bought"))
    box.drop("words.csv", rows.assign(visits="many"))
    box.drop("wide.csv", wide(rows.head(20)))
    box.drop("only_wide.csv", wide(rows.head(20)).drop(columns=["visits", "basket", "age"]))
    whole = box.drop("whole.parquet", rows, "bigshop").read_bytes()
    (big / "truncated.parquet").write_bytes(whole[: len(whole) // 2])
    unfit(folder, rows)
    pd.DataFrame(1, index=range(2_000_000), columns=rows.columns).to_parquet(big / "bomb.parquet")
    (big / "zip.parquet").write_bytes(b"PK\x03\x04" + whole)
    box.drop("good.csv", rows)
    box.until(lambda: settled(box, 19, 4))
    listed: Any = box.run("drop", "list", "--json").json
    return {Path(drop["path"]).name: drop for drop in listed}


def unfit(folder: Path, rows: pd.DataFrame) -> None:
    """Files of text that are wrong in ways that people meet, and two that only look so (`bom` and `cells`)."""
    text = rows.to_csv(index=False)
    head = text.splitlines()[0] + "\n"
    (folder / "bom.csv").write_text(text, "utf-8-sig")
    (folder / "cells.csv").write_text(rows.head(3).assign(note="x" * 2**20).to_csv(index=False))
    (folder / "header.csv").write_text(head)
    (folder / "semicolons.csv").write_text(text.replace(",", ";"))
    (folder / "utf16.csv").write_text(text, "utf-16")
    (folder / "mixed.csv").write_bytes(text.replace("visits", "visits,note", 1).encode() + b"1,2,\xe9,4,5\n")
    (folder / "twice.csv").write_text(rows.assign(more=1).rename(columns={"more": "basket"}).to_csv(index=False))
    (folder / "gzip.csv").write_bytes(gzip.compress(text.encode()))


def wide(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([rows, pd.DataFrame(1, index=rows.index, columns=[f"x{i}" for i in range(10_000)])], axis=1)


def settled(box: Box, csv: int, parquet: int) -> bool:
    """Whether so many files of each folder are known and none waits any more."""
    found = [box.drops("shop"), box.drops("bigshop")]
    waits = any(drop.state == "found" for each in found for drop in each.values())
    return not waits and len(found[0]) >= csv - 1 and len(found[1]) >= parquet


@pytest.mark.parametrize("name", ["good.csv", "wide.csv", "whole.parquet", "bom.csv", "cells.csv"])
def test_good_files_are_used_beside_bad_ones(filled: dict[str, Any], name: str) -> None:
    assert filled[name]["state"] == "recorded"
    assert filled[name]["rows"] in (3, 20, 400)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("empty.csv", "empty"),
        ("folder.csv", "folder"),
        ("binary.csv", "binary.csv"),
        ("lacks.csv", "basket"),
        ("unlabelled.csv", "bought"),
        ("words.csv", "visits"),
        ("only_wide.csv", "visits"),
        ("truncated.parquet", "parquet"),
        ("header.csv", "not one row"),
        ("semicolons.csv", "semicolons"),
        ("utf16.csv", "UTF-16"),
        ("mixed.csv", "mixed.csv"),
        ("twice.csv", "basket"),
        ("gzip.csv", "gzip"),
        ("bomb.parquet", "unfolds"),
        ("zip.parquet", "zip archive"),
    ],
)
def test_each_bad_file_is_set_aside_with_a_sentence_about_it(filled: dict[str, Any], name: str, word: str) -> None:
    assert filled[name]["state"] == "quarantined"
    assert word in filled[name]["reason"]
    assert "Traceback" not in filled[name]["reason"]


def test_a_name_with_a_line_break_neither_breaks_the_log_nor_goes_unmentioned(filled: dict[str, Any], box: Box) -> None:
    named = [name for name in filled if "line.csv" in name]
    assert len(named) == 1
    assert "\n" not in named[0]
    assert filled[named[0]]["reason"]
    assert box.events("drop.quarantined")


def test_a_folder_that_is_deleted_and_made_again_is_watched_again(filled: dict[str, Any], box: Box) -> None:
    folder = box.folder / "drops" / "bigshop"
    shutil.rmtree(folder)
    box.until(lambda: box.events("folder.problem"))
    box.until(lambda: box.standing("bigshop") in ("folder_problem", "files_missing"))
    folder.mkdir()
    box.until(lambda: box.events("folder.recovered"))
    box.drop("again.parquet", buyers(5, 300), "bigshop")
    assert box.recorded("again.parquet", "bigshop").state == "recorded"
    assert box.daemon is not None
    assert box.daemon.poll() is None


def test_check_names_every_problem_with_file_line_and_column(boxes: Boxes) -> None:
    box = boxes()
    (box.folder / "policies" / "shop2.yaml").write_text(SHOP_2)
    (box.folder / "policies" / "torn.yaml").write_text("model: [torn\ndata: {")
    said = box.run("check")
    assert said.code == 3
    for place in ("shop2.yaml:2:", "shop2.yaml:3:1", "shop2.yaml:5:", "shop2.yaml:7:", "torn.yaml:1:8"):
        assert place in said.out
    assert "taget" in said.out
    assert "accuracy" in said.out
    assert {problem["line"] for problem in box.run("check", "--json").json} >= {2, 3, 5, 7}
    once = box.run("run", "--once")
    assert "policy.problem" in once.err
    assert "Traceback" not in said.err + once.err


def test_a_bad_edit_keeps_the_last_good_policy_and_a_good_one_takes_effect(box: Box) -> None:
    path = box.folder / "policies" / "edited.yaml"
    box.drop("monday.csv", buyers(2), "edited")
    box.until(lambda: box.standing("edited") == "no_rule_holds")
    good = path.read_text()
    path.write_text(good.replace("1000000", "500").replace("retrain:", "retrian:"))
    box.until(lambda: box.events("policy.kept"))
    assert any("Did you mean `retrain`?" in line["problem"] for line in box.events("policy.problem"))
    assert any("retrian" in str(problem) for problem in box.run("status", "--json").json["policy_problems"])
    assert box.standing("edited") == "no_rule_holds"
    path.write_text(good.replace("1000000", "500"))
    box.until(lambda: box.attempts("edited"))
    assert box.attempts("edited")[0].rule == "enough fresh rows"
