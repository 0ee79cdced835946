"""When the registry is asked again in an outage, and how long one lasted."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from retrain_daemon.outage import LONGEST_PAUSE, Outage
from tests.made import NOW

INTERVAL = timedelta(seconds=15)


def after(polls: int) -> Outage:
    outage = Outage()
    for poll in range(polls):
        outage = outage.goes_on(NOW + poll * INTERVAL)
    return outage


def test_a_registry_that_answers_is_asked_at_its_interval() -> None:
    assert Outage().next_poll(NOW, INTERVAL, 0.3) == NOW + INTERVAL


def test_an_outage_is_asked_about_ever_more_rarely_up_to_a_limit() -> None:
    pauses = [after(polls).next_poll(NOW, INTERVAL, 1.0) - NOW for polls in range(1, 7)]
    assert pauses == [INTERVAL, 2 * INTERVAL, 4 * INTERVAL, LONGEST_PAUSE, LONGEST_PAUSE, LONGEST_PAUSE]


@given(polls=st.integers(1, 10**6), share=st.floats(0, 1), seconds=st.floats(0.1, 10**4))
def test_polls_of_an_outage_are_scattered_over_the_second_half_of_the_pause(
    polls: int, share: float, seconds: float
) -> None:
    interval = timedelta(seconds=seconds)
    outage = Outage(since=NOW, polls=polls)
    whole = outage.next_poll(NOW, interval, 1.0) - NOW
    assert whole <= max(interval, LONGEST_PAUSE)
    assert whole / 2 <= outage.next_poll(NOW, interval, share) - NOW <= whole


def test_an_outage_lasts_from_the_first_poll_that_was_not_answered() -> None:
    assert after(3).lasted(NOW + timedelta(hours=1)) == timedelta(hours=1)
    assert Outage().lasted(NOW) == timedelta(0)
