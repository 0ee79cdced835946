"""`retraind data`: what a person is told of every dropped row, and the rows of one side for other programs."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from retrain_daemon.cli.main import main
from retrain_daemon.journal import Journal
from retrain_daemon.journal.drops import Inspected
from retrain_daemon.journal.models import Lineage
from retrain_daemon.policies import read_policies
from retrain_daemon.worker.dataset import read_window
from retrain_daemon.worker.inspection import inspect_drops
from retrain_daemon.worker.job import DropFile, InspectDrops, Source
from retrain_daemon.worker.rows import save_keys
from retrain_daemon.worker.schema import Column, Schema

MODEL = "churn"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
POLICY = """\
model: churn
data:
  path: {folder}/*.csv
  target: y
  features: [n]
  row_id: id
retrain:
  - name: new rows
    when: data.new_rows >= 1000
promote:
  require:
    - {{metric: accuracy, not_worse_by: 0.01}}
"""

pytestmark = pytest.mark.slow


class Box:
    """A state folder with two recorded files and two versions, as a daemon would have left it; no daemon runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("drops", "state/rows", "state/learned", "policies"):
            (root / name).mkdir(parents=True)
        (root / "policies" / "churn.yaml").write_text(POLICY.format(folder=root / "drops"))
        self.write("a.csv", range(300), 0)
        self.write("b.csv", range(200, 500), 1)
        self.spec = read_policies(root / "policies").policies[0].data
        self.journal = Journal.open(root / "state")
        self.journal.models.ensure(MODEL, str(root / "policies" / "churn.yaml"), "champion", NOW)
        for number, name in enumerate(("a.csv", "b.csv"), 1):
            self._record(number, name)
        first = read_window([self.file(1, "a.csv")], self.spec, Schema((Column("n", ""),)), NOW)
        save_keys(root / "state" / "learned" / "1.npy", first.learned_keys)
        self._version(1, None, str(root / "state" / "learned" / "1.npy"))
        self._version(2, 1, None)
        self.journal.close()

    def write(self, name: str, ids: range, label: int) -> None:
        lines = [f"{number},{number},{label}" for number in ids]
        (self.root / "drops" / name).write_text("\n".join(["id,n,y", *lines, ""]))

    def file(self, number: int, name: str) -> DropFile:
        return DropFile(drop=number, path=str(self.root / "drops" / name), first_seen=NOW)

    def _record(self, number: int, name: str) -> None:
        self.journal.drops.add(MODEL, str(self.root / "drops" / name), (number, 2, 3), NOW)
        (drop,) = self.journal.drops.to_inspect(MODEL)
        source = Source(tracking_uri="sqlite://", registry_uri="sqlite://", model=MODEL, version=None)
        job = InspectDrops(
            source=source, data=self.spec, files=(self.file(drop.id, name),),
            known_rows=self.journal.drops.known_rows(MODEL), rows_folder=str(self.root / "state" / "rows"),
        )  # fmt: skip
        [report] = inspect_drops(job, lambda _: None).reports
        assert not report.problem
        found = Inspected(
            fingerprint=report.fingerprint, rows=report.rows, usable=report.usable, new=report.new,
            training=report.training, judging=report.judging, corrected=report.corrected,
            rows_file=report.rows_file, units_file=report.units_file,
        )  # fmt: skip
        self.journal.drops.record(drop, found, "purpose", NOW)

    def _version(self, number: int, continues: int | None, learned: str | None) -> None:
        until = None if learned else NOW - timedelta(days=1)
        lineage = Lineage(
            version=number, continues=continues, learned_file=learned, unknown_until=until, attempt=None,
            unit="features n",
        )  # fmt: skip
        self.journal.models.record_lineage(MODEL, lineage, NOW)

    def say(self, *words: str) -> int:
        return main(["data", *words, "--state", str(self.root / "state"), "--policies", str(self.root / "policies")])


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_each_file_and_each_version_has_a_line_and_the_sums_are_right(
    box: Box, capsys: pytest.CaptureFixture[str]
) -> None:
    assert box.say(MODEL) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "1 a.csv 300 300 100 100 " in said
    assert "2 b.csv 300 300 0 0 " in said
    assert " all 600 600 100 100 " in said
    assert "500 rows count once; those in the window have 500 different rows of features." in said
    assert " 1 - 300 " in said
    assert " 2 1 300 " in said
    assert "The records take 16.9 bytes a row of the drops, and 4.2 for all versions together." in said


def test_programs_get_the_same_as_json(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    assert box.say(MODEL, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert [file["account"]["repeated"] for file in said["files"]] == [100, 0]
    assert {version["account"]["version"]: version["account"]["learned"] for version in said["versions"]} == {
        1: 300, 2: 300
    }  # fmt: skip
    assert said["counted"] == 500


def test_each_side_is_printed_as_csv_with_what_names_a_row(
    box: Box, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    sides = {}
    for side in ("train", "judge"):
        assert box.say(MODEL, "--side", side) == 0
        head, *sides[side] = csv.reader(io.StringIO(capsysbinary.readouterr().out.decode()))
        assert head == ["file", "row", "id"]
    ids = [{int(row[2]) for row in rows} for rows in sides.values()]
    assert not ids[0] & ids[1]
    assert ids[0] | ids[1] == set(range(500))
    assert len(ids[1]) > 50


def test_a_file_that_is_gone_is_named_and_the_others_are_counted(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    (box.root / "drops" / "a.csv").unlink()
    journal = Journal.open(box.root / "state")
    journal.drops.mark_missing(MODEL, frozenset({str(box.root / "drops" / "a.csv")}), NOW)
    journal.close()
    assert box.say(MODEL) == 0
    assert "a.csv (gone)" in capsys.readouterr().out
    assert box.say(MODEL, "--side", "train") == 0
    assert "a.csv is gone: its 300 rows are not in this list." in capsys.readouterr().err


def test_a_file_that_changed_is_refused_by_name(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    box.write("b.csv", range(9), 0)
    assert box.say(MODEL) == 5
    assert "b.csv changed since it was recorded" in capsys.readouterr().err


def test_a_model_that_was_never_watched_is_not_found(box: Box, capsys: pytest.CaptureFixture[str]) -> None:
    assert box.say("other") == 4
    assert "no model other with a policy was ever watched. Watched were: churn." in capsys.readouterr().err


def test_a_signature_that_cannot_be_read_is_one_sentence(
    box: Box, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):  # MLflow leaves them behind in a process that used it
        monkeypatch.delenv(name, raising=False)
    journal = Journal.open(box.root / "state")
    journal.models.see_champion(MODEL, 2, NOW)
    journal.close()
    assert box.say(MODEL, "--tracking-uri", "http://127.0.0.1:9") == 6
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "The model's signature says how its files are read" in said


def test_a_reader_that_has_had_enough_is_no_error(box: Box) -> None:
    box.write("b.csv", range(200, 90_000), 1)
    journal = Journal.open(box.root / "state")
    fingerprint = sha256((box.root / "drops" / "b.csv").read_bytes()).hexdigest()
    journal._database.run("UPDATE drops SET fingerprint = ? WHERE id = 2", fingerprint)
    journal.close()
    where = ["--state", str(box.root / "state"), "--policies", str(box.root / "policies")]
    command = [sys.executable, "-m", "retrain_daemon", "data", MODEL, "--side", "train", *where]
    talker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert talker.stdout is not None
    assert talker.stderr is not None
    assert talker.stdout.readline() == b"file,row,id\n"
    talker.stdout.close()
    assert talker.stderr.read() == b""
    assert talker.wait(timeout=60) == 0
    talker.stderr.close()
