from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone

import pytest

from retrain_daemon.schedule import WakeUps


@dataclass
class Clock:
    """Wake-ups together with what they set."""

    woken: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.wake_ups = WakeUps(self.woken.set)

    def next_due(self, within: float = 5.0) -> frozenset[str]:
        assert self.woken.wait(within)
        self.woken.clear()
        return self.wake_ups.due()


@pytest.fixture
def clock() -> Iterator[Clock]:
    made = Clock()
    yield made
    made.wake_ups.close()


def soon(seconds: float = 0.2) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_a_moment_that_comes_wakes_once_with_its_name(clock: Clock) -> None:
    clock.wake_ups.at("settled", soon())
    assert clock.wake_ups.due() == frozenset()
    assert clock.next_due() == {"settled"}
    assert clock.wake_ups.due() == frozenset()


def test_a_moment_in_the_past_wakes_at_once(clock: Clock) -> None:
    clock.wake_ups.at("overdue", datetime(2020, 1, 1, tzinfo=UTC))
    assert clock.next_due() == {"overdue"}


def test_the_same_moment_given_again_does_not_wake_again(clock: Clock) -> None:
    past = datetime(2020, 1, 1, tzinfo=UTC)
    clock.wake_ups.at("overdue", past)
    assert clock.next_due() == {"overdue"}
    clock.wake_ups.at("overdue", past)
    assert not clock.woken.wait(0.2)
    clock.wake_ups.at("overdue", past + timedelta(seconds=1))
    assert clock.next_due() == {"overdue"}


def test_a_later_moment_replaces_the_earlier_one_of_that_name(clock: Clock) -> None:
    clock.wake_ups.at("retry", soon(0.1))
    clock.wake_ups.at("retry", soon(3600))
    assert not clock.woken.wait(0.4)


def test_a_moment_taken_back_does_not_wake(clock: Clock) -> None:
    clock.wake_ups.at("retry", soon(0.1))
    clock.wake_ups.at("retry", None)
    clock.wake_ups.at("never set", None)
    assert not clock.woken.wait(0.4)


def test_a_moment_taken_back_can_be_set_again(clock: Clock) -> None:
    past = datetime(2020, 1, 1, tzinfo=UTC)
    clock.wake_ups.at("retry", past)
    assert clock.next_due() == {"retry"}
    clock.wake_ups.at("retry", None)
    clock.wake_ups.at("retry", past)
    assert clock.next_due() == {"retry"}


def test_a_moment_in_another_time_zone_is_the_same_moment(clock: Clock) -> None:
    clock.wake_ups.at("far", soon(0.1).astimezone(timezone(timedelta(hours=9))))
    assert clock.next_due() == {"far"}


def test_a_time_without_zone_is_refused(clock: Clock) -> None:
    with pytest.raises(ValueError, match="time with its zone"):
        clock.wake_ups.at("retry", datetime(2026, 1, 1))  # noqa: DTZ001 (what is refused)


def test_one_daemon_thread_serves_all_and_ends_with_it() -> None:
    before = set(threading.enumerate())
    clock = Clock()
    clock.wake_ups.at("now", datetime(2020, 1, 1, tzinfo=UTC))
    clock.next_due()
    new = set(threading.enumerate()) - before
    assert len(new) == 1
    assert all(thread.daemon for thread in new)
    clock.wake_ups.close()
    assert set(threading.enumerate()) == before
