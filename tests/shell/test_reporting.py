"""When reports are written, and what becomes of those that cannot be."""

from __future__ import annotations

from pathlib import Path

from retrain_daemon.core.attempts import State
from retrain_daemon.journal.reports import reported
from retrain_daemon.worker.job import Failed, Train, WriteReport
from tests.fake_box import FakeBox


def a_promotion(root: Path) -> FakeBox:
    box = FakeBox(root)
    box.record_champion()
    box.drop()
    return box


def reports(box: FakeBox) -> list[WriteReport]:
    return [job for job in box.jobs if isinstance(job, WriteReport)]


def test_one_report_is_written_after_an_attempt_has_ended(tmp_path: Path) -> None:
    box = a_promotion(tmp_path)
    box.live()
    box.live()
    (job,) = reports(box)
    assert job.attempt.state is State.PROMOTED
    assert [drop.name for drop in job.drops] == ["a.csv"]
    (attempt,) = box.attempts()
    assert attempt.challenger is not None
    told = reported(attempt)
    assert told is not None
    assert told.run_id == attempt.challenger.run_id


def test_what_was_kept_for_a_report_is_removed_once_it_is_written(tmp_path: Path) -> None:
    box = a_promotion(tmp_path)
    folder = tmp_path / "state" / "reports"
    folder.mkdir()
    (folder / "churn-9.20260301T000000000000.0.json").write_text("{}")
    box.live()
    (training,) = [job for job in box.jobs if isinstance(job, Train)]
    assert Path(training.report_file).parent == folder
    assert list(folder.iterdir()) == []


def test_a_report_that_fails_for_good_is_given_up_and_said(tmp_path: Path) -> None:
    box = a_promotion(tmp_path)
    box.report_result = Failed(message="The run is gone.")
    box.live()
    box.live()
    assert len(reports(box)) == 1
    (attempt,) = box.attempts()
    told = reported(attempt)
    assert told is not None
    assert told.problem == "The run is gone."
    assert attempt.state is State.PROMOTED


def test_an_absent_mlflow_only_delays_a_report(tmp_path: Path) -> None:
    box = a_promotion(tmp_path)
    box.report_result = Failed(message="MLflow did not answer.", temporary=True, unreachable=True)
    for _ in range(5):
        box.live()
    assert len(reports(box)) >= 5
    (attempt,) = box.attempts()
    assert reported(attempt) is None
    box.report_result = None
    box.live()
    (attempt,) = box.attempts()
    assert reported(attempt) is not None
