"""What waits for a place: trainings for slots and GPUs, inspections for their turn. Fake workers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from retrain_daemon.core.attempts import State
from retrain_daemon.daemon import Daemon
from retrain_daemon.errors import Refused
from retrain_daemon.executor.limits import Limits
from retrain_daemon.worker.job import InspectDrops, Job, Result, Train
from tests.fake_box import MODEL, FakeBox


@pytest.fixture
def box(tmp_path: Path) -> FakeBox:
    (tmp_path / "box").mkdir()
    made = FakeBox(tmp_path / "box")
    made.record_champion()
    return made


def policy(box: FakeBox) -> str:
    return (box.root / "policies" / "churn.yaml").read_text()


def pass_time(box: FakeBox, daemon: Daemon) -> None:
    for _ in range(3):
        daemon.turn()
        box.clock.now += timedelta(minutes=5)


def test_a_training_waits_for_a_gpu_and_says_so_until_one_is_free(box: FakeBox) -> None:
    said = ["waits for a GPU: 1 asked, 0 of 2 free"]
    box.write_policy(f"{policy(box)}train: {{limits: {{gpus: 1}}}}\n")
    box.obstacle = lambda limits: said[0] if limits.gpus == 1 else ""
    box.drop()
    with box.life() as daemon:
        pass_time(box, daemon)
        [attempt] = box.attempts()
        assert (attempt.state, attempt.reason) == (State.PLANNED, said[0])
        assert box.trainings() == []
        said[0] = ""
        pass_time(box, daemon)
    assert len(box.trainings()) == 1


def test_an_attempt_that_begins_again_does_not_wait_for_the_gpu_of_its_own_outdated_worker(box: FakeBox) -> None:
    box.write_policy(f"{policy(box)}train: {{limits: {{gpus: 1}}}}\n")
    box.worker_outlives_daemon = False
    box.drop()
    box.drop("b.csv", "x,churned\n2,no\n")
    box.work = lambda job: None if isinstance(job, Train) else FakeBox.work(box, job)  # type: ignore[method-assign]
    with box.life() as daemon:
        executor = daemon._to.executor
        box.obstacle = executor.obstacle = lambda limits: (  # type: ignore[attr-defined]
            "waits for a GPU: 1 asked, 0 of 1 free" if limits.gpus and executor.running() else ""
        )
        pass_time(box, daemon)
        assert len(box.trainings()) == 1
        box.order("retract", "wrong labels", {"file": "a.csv"})
        pass_time(box, daemon)
        assert box.trained_on()[1:] == [["b.csv"]]


def test_a_training_that_asks_for_more_gpus_than_there_are_is_abandoned_with_that_reason(box: FakeBox) -> None:
    def refuse(_limits: Limits) -> str:
        raise Refused("train.limits.gpus asks for 3, and the daemon has 2 to hand out.")

    box.obstacle = refuse
    box.drop()
    box.live(3)
    [attempt] = box.attempts()
    assert (attempt.state, attempt.starts) == (State.ABANDONED, 0)
    assert attempt.reason.startswith("train.limits.gpus asks for 3, and the daemon has 2")


def test_no_more_inspections_run_at_a_time_than_allowed_and_all_get_their_turn(
    box: FakeBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five models, two places, and workers that end one after another."""
    models = [MODEL, *(f"model-{number}" for number in range(4))]
    for model in models[1:]:
        text = policy(box).replace(f"model: {MODEL}\n", f"model: {model}\n")
        (box.root / "policies" / f"{model}.yaml").write_text(text)
        box.registry.add_model_by_hand(model)
        box.registry.create_version_by_hand(model)
        box.registry.move_alias_by_hand(model, "champion", 1)
    at_work: list[str] = []
    counts: list[int] = []
    ended: list[str] = []
    answer = box.work

    def work(job: Job) -> Result | None:
        model = job.source.model
        if not isinstance(job, InspectDrops):
            return answer(job)
        if model not in at_work:
            at_work.append(model)
            counts.append(len(at_work))
            return None
        if model != at_work[0]:
            return None
        ended.append(at_work.pop(0))
        return answer(job)

    monkeypatch.setattr(box, "work", work)
    box.drop()
    with box.life() as daemon:
        for _ in range(4):
            pass_time(box, daemon)
    assert max(counts) == 2
    assert sorted(set(ended)) == sorted(models)


def test_files_count_and_are_trained_on_once_their_labels_are_final_and_nothing_fails_meanwhile(box: FakeBox) -> None:
    box.edit_policy("data:\n", "data:\n  event_time: at\n  label_delay: 7d\n")
    box.drop("a.csv")
    box.live(turns=4)
    with box.journal() as journal:
        decision = journal.decisions.standing(MODEL)
    assert decision is not None
    assert decision.sentence.startswith("no usable rows; 1 file has labels that are not final (data.label_delay), the ")
    box.clock.now += timedelta(days=4)
    box.drop("b.csv", "x,churned\n2,no\n")
    box.live(turns=4)
    assert box.attempts() == ()
    box.clock.now += timedelta(days=4)
    with box.life() as daemon:
        daemon.turn()
        box.clock.now += timedelta(days=1)
        pass_time(box, daemon)
    assert box.trained_on() == [["a.csv"]]
    box.clock.now += timedelta(days=4)
    box.live(turns=6)
    assert [attempt.state for attempt in box.attempts()] == [State.PROMOTED, State.PROMOTED]
    assert box.trained_on()[1:] == [["a.csv", "b.csv"]]
