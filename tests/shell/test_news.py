"""News: what someone outside is told, and how often."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from retrain_daemon.errors import RegistryUnreachable
from retrain_daemon.news import News
from retrain_daemon.settings import OCCASIONS
from retrain_daemon.worker.job import DropReport, Failed
from tests.fake_box import FakeBox
from tests.made import CHAMPION


@dataclass
class Listener:
    """Keeps what it was told."""

    news: list[News] = field(default_factory=list)

    def tell(self, news: News) -> None:
        assert news.occasion in OCCASIONS
        self.news.append(news)

    @property
    def occasions(self) -> list[str]:
        return [news.occasion for news in self.news]


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def box(tmp_path: Path, listener: Listener) -> FakeBox:
    made = FakeBox(tmp_path, announcer=listener)
    made.record_champion()
    return made


def test_a_promotion_is_told_once_with_both_versions(box: FakeBox, listener: Listener) -> None:
    box.drop()
    box.live()
    box.live()
    [news] = listener.news
    assert (news.occasion, news.model, news.attempt) == ("promoted", "churn", "churn-1")
    assert (news.version, news.was) == (CHAMPION + 1, CHAMPION)
    assert news.reason == box.attempts()[0].reason


def test_a_registry_that_answers_questions_and_takes_nothing_in_is_told_once(box: FakeBox, listener: Listener) -> None:
    def refuse(name: str) -> None:
        raise RegistryUnreachable("MLflow did not answer: HTTP status 500.")

    box.registry.before = refuse
    box.drop()
    with box.life() as daemon:
        for _ in range(30):
            daemon.turn()
            box.clock.now += timedelta(seconds=16)
        assert listener.occasions == ["registry_lost"]
        assert daemon._polling.problem
        box.registry.before = None
        for _ in range(3):
            box.clock.now += timedelta(seconds=16)
            daemon.turn()
    assert listener.occasions == ["registry_lost", "registry_back", "promoted"]


def test_three_abandoned_attempts_are_told_each_and_then_that_the_model_is_held(
    box: FakeBox, listener: Listener
) -> None:
    box.failure = Failed(message="no such column")
    for name in ("a.csv", "b.csv", "c.csv"):
        box.drop(name, f"x,churned\n{name},yes\n")
        box.live()
    box.live()
    assert listener.occasions == ["abandoned"] * 3 + ["held"]
    assert "3 attempts in a row" in listener.news[-1].reason
    box.order("resume")
    for name in ("d.csv", "e.csv", "f.csv"):
        box.drop(name, f"x,churned\n{name},yes\n")
        box.live()
    assert listener.occasions.count("held") == 2


def test_a_lost_champion_is_told_once_whatever_outage_or_restart_follows(box: FakeBox, listener: Listener) -> None:
    box.registry.delete_alias("churn", "champion")
    with box.life() as daemon:
        for down in (False, True, False):
            box.registry.fail_with = RegistryUnreachable("MLflow is away.") if down else None
            daemon.turn()
            box.clock.now += timedelta(minutes=5)
    box.live()
    assert listener.occasions == ["champion_lost", "registry_lost", "registry_back"]


def test_a_rollback_is_told_as_such_and_as_a_model_that_waits_for_a_person(box: FakeBox, listener: Listener) -> None:
    box.drop()
    box.live()
    box.order("rollback", "complaints", {"champion": str(CHAMPION + 1)})
    box.live()
    assert listener.occasions == ["promoted", "rolled_back", "held"]
    assert (listener.news[1].version, listener.news[1].was) == (CHAMPION, CHAMPION + 1)
    assert "complaints" in listener.news[1].reason


def test_a_file_that_is_refused_is_told_by_its_name(box: FakeBox, listener: Listener) -> None:
    box.report = lambda _job, file: DropReport(drop=file.drop, fingerprint="f" * 64, problem="it has no column x")
    box.drop()
    box.live()
    [news] = listener.news
    assert (news.occasion, news.file, news.reason) == ("quarantined", "a.csv", "it has no column x")
