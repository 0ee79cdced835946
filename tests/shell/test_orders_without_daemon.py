"""What people order while no daemon runs is carried out by the command itself, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrain_daemon.cli import asking
from retrain_daemon.cli.main import main
from retrain_daemon.errors import RegistryUnreachable
from retrain_daemon.journal import Journal
from tests.fake_box import MODEL, FakeBox
from tests.made import CHAMPION

#: Nothing listens at this port.
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeBox:
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)  # MLflow leaves it behind in a process that used it
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    (tmp_path / "box").mkdir()
    made = FakeBox(tmp_path / "box")
    made.record_champion()
    return made


def ordered(box: FakeBox, verb: str) -> int:
    where = ["--state", str(box.root / "state"), "--policies", str(box.root / "policies")]
    return main([verb, MODEL, *where, "--tracking-uri", NOWHERE])


def hold(box: FakeBox) -> str:
    with box.journal() as journal:
        row = journal.models.find(MODEL)
    assert row is not None
    return row.hold.by if row.hold else ""


def begin_rollback(box: FakeBox) -> None:
    journal = Journal.open(box.root / "state")
    journal.rollbacks.begin(MODEL, "champion", CHAMPION, CHAMPION - 1, "ada", "worse", box.clock())
    journal.close()


def test_a_model_can_be_paused_while_a_rollback_waits_for_mlflow(
    box: FakeBox, capsys: pytest.CaptureFixture[str]
) -> None:
    begin_rollback(box)
    assert ordered(box, "pause") == 0
    assert hold(box)
    assert "was begun and is not finished: MLflow at" in capsys.readouterr().err


def test_a_wrong_policy_of_another_model_keeps_nobody_from_a_rollback(
    box: FakeBox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(asking, "registry_of", lambda _settings: box.registry)
    journal = Journal.open(box.root / "state")
    journal.models.see_champion(MODEL, CHAMPION, box.clock())
    journal.close()
    box.registry.move_alias_by_hand(MODEL, "previous_champion", CHAMPION - 1)
    (box.root / "policies" / "other.yaml").write_text("model: [")
    assert ordered(box, "rollback") == 0
    assert box.aliases()["champion"] == CHAMPION - 1
    assert "other.yaml" in capsys.readouterr().err


def test_a_wrong_policy_of_the_model_itself_is_said(box: FakeBox, capsys: pytest.CaptureFixture[str]) -> None:
    box.write_policy("model: [")
    assert ordered(box, "rollback") == 3
    assert "churn.yaml:1:8: The `[` is not closed" in capsys.readouterr().err


def test_an_order_that_could_not_be_tried_is_not_carried_out_later(
    box: FakeBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RegistryUnreachable("MLflow cannot be opened.")

    monkeypatch.setattr(asking, "registry_of", fail)
    assert ordered(box, "pause") == 6
    with box.journal() as journal:
        assert journal.requests.open() == ()
    box.live(turns=2)
    assert not hold(box)
