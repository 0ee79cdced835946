"""Policies on virtual timelines: what is decided when, and that how one looks changes nothing."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_daemon.core import decide, pace
from retrain_daemon.core.codes import CODES
from retrain_daemon.core.facts import ChampionState
from retrain_daemon.core.policy import Holdout, Pace, Policy, Recipe, Rule, Schedule, Upstream
from retrain_daemon.core.timeline.given import (
    AliasMoved,
    Course,
    Drifted,
    Ends,
    Event,
    File,
    Given,
    Paused,
    PolicyEdited,
    RegistryDown,
    Resumed,
    Scored,
    Setting,
    Stopped,
    UpstreamMoved,
    Was,
)
from retrain_daemon.core.timeline.playing import Timeline, play
from tests.made import NOW, a_policy

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
TICK = timedelta(microseconds=1)
AT_THE_START = Setting()


def a_file(rows: int = 5000, name: str = "a.csv", **more: object) -> File:
    return File(**{"name": name, "rows": rows, "new": rows, **more})  # type: ignore[arg-type]


def played(
    policy: Policy, *events: tuple[timedelta, Event], until: timedelta = 10 * DAY, setting: Setting = AT_THE_START,
    looks: Sequence[timedelta] = (), start: datetime = NOW,
) -> Timeline:  # fmt: skip
    happens = [Given(start + after, event) for after, event in events]
    return play(policy, setting, happens, [start + after for after in looks], start, start + until)


def starts(timeline: Timeline) -> list[timedelta]:
    return [start.at - timeline.start for start in timeline.starts]


def codes(timeline: Timeline) -> list[str]:
    return [look.decision.code if look.decision else "" for look in timeline.looks.values()]


def rule(when: str, **more: object) -> Policy:
    return a_policy(rules=(Rule("only", when, Recipe()),), **more)


def test_a_file_counts_once_it_has_not_changed_for_as_long_as_the_policy_says() -> None:
    policy = a_policy()
    slow = replace(policy, data=replace(policy.data, complete=replace(policy.data.complete, settle=5 * MINUTE)))
    assert starts(played(slow, (HOUR, a_file(grows_for=10 * MINUTE)))) == [HOUR + 15 * MINUTE]
    assert starts(played(slow, (HOUR, a_file()))) == [HOUR]


@pytest.mark.parametrize(
    ("when", "at"),
    [
        ("data.waiting >= days(2)", 2 * DAY),
        ("data.waiting > days(2)", 2 * DAY + TICK),
        ('data.new_rows > 0 && (duration("36h") < data.waiting || failures > 7)', 36 * HOUR + TICK),
        ("champion.age >= days(33) && data.new_rows > 0", 3 * DAY),
        ('now >= timestamp("2026-03-04T07:13:00Z")', 2 * DAY + 19 * HOUR + 13 * MINUTE),
        ("now.getHours() == 5", 17 * HOUR),
        ('now.getHours("Asia/Kathmandu") == 5', 11 * HOUR + 15 * MINUTE),
        ("now.getHours() == 5 && now.getMinutes() == 7", 17 * HOUR + 7 * MINUTE),
        ("data.waiting + data.waiting >= hours(3)", 90 * MINUTE),
    ],
)
def test_time_alone_starts_an_attempt_at_the_moment_its_rule_becomes_true(when: str, at: timedelta) -> None:
    assert starts(played(rule(when), (timedelta(0), a_file())))[:1] == [at]


def test_no_row_waits_where_there_is_none() -> None:
    quiet = played(rule("data.waiting > minutes(1)"), until=300 * DAY)
    assert (quiet.starts, len(quiet.moments)) == ((), 1)


def test_a_slot_in_the_hour_that_is_left_out_comes_an_hour_later_and_one_in_the_hour_that_comes_twice_once() -> None:
    nightly = Schedule("30 2 * * *", "Europe/Berlin", within=2 * HOUR)
    policy = rule("schedule.nightly && data.new_rows > 0", schedules={"nightly": nightly})
    drops = [(DAY * day, a_file(5000, f"{day}.csv")) for day in range(3)]
    spring = played(policy, *drops, start=datetime(2026, 3, 27, 12, tzinfo=UTC), until=3 * DAY)
    assert [f"{start.at:%d %H:%M}" for start in spring.starts] == ["28 01:30", "29 01:30", "30 00:30"]
    autumn = played(policy, *drops, start=datetime(2026, 10, 23, 12, tzinfo=UTC), until=3 * DAY)
    assert [f"{start.at:%d %H:%M}" for start in autumn.starts] == ["24 00:30", "25 00:30", "26 01:30"]


def test_a_slot_that_the_daemon_slept_through_is_caught_up_within_its_time_or_missed() -> None:
    policy = rule("schedule.nightly", schedules={"nightly": Schedule("0 3 * * *", within=2 * HOUR)})
    rows = (timedelta(0), a_file())
    assert starts(played(policy, rows, (14 * HOUR, Stopped(2 * HOUR)), until=DAY)) == [16 * HOUR]
    assert starts(played(policy, rows, (14 * HOUR, Stopped(3 * HOUR)), until=DAY)) == []


def test_labels_that_are_not_final_do_not_count_yet() -> None:
    policy = a_policy()
    late = replace(policy, data=replace(policy.data, label_delay=2 * DAY))
    assert starts(played(late, (HOUR, a_file()))) == [HOUR + 2 * DAY]
    assert starts(played(late, (HOUR, a_file(age=DAY)))) == [HOUR + DAY]


def test_rows_of_a_newest_span_judge_first_and_train_all_the_same() -> None:
    policy = rule("data.unlearned_rows >= 300")
    newest = replace(policy, data=replace(policy.data, holdout=Holdout(newest=14 * DAY)))
    assert starts(played(newest, (HOUR, a_file(300)))) == [HOUR]
    assert starts(played(policy, (HOUR, a_file(300)))) == []


def test_drift_is_known_once_an_attempt_was_judged_and_enough_rows_are_new() -> None:
    policy = rule("drift.max > 0.25")
    far = a_file(drift={"age": 0.4})
    judged = Setting(last=Was(Ends.REJECTED, DAY))
    assert starts(played(policy, (HOUR, far))) == []
    assert starts(played(policy, (HOUR, far), setting=judged)) == [HOUR]
    assert starts(played(policy, (HOUR, a_file(999, drift={"age": 0.4})), setting=judged)) == []
    assert starts(played(policy, (HOUR, a_file()), (2 * HOUR, Drifted({"age": 0.3})), setting=judged)) == [2 * HOUR]


def test_scores_may_be_told_without_a_file() -> None:
    policy = rule("champion.score.accuracy < 0.8")
    happens = ((HOUR, a_file()), (2 * HOUR, Scored({"accuracy": 0.9})), (3 * HOUR, Scored({"accuracy": 0.6})))
    assert starts(played(policy, *happens)) == [3 * HOUR]


def test_a_promoted_version_has_no_score_yet_and_is_new() -> None:
    policy = rule("champion.score.accuracy < 0.8 || (champion.age < hours(1) && champion.version == 2)")
    happens = ((HOUR, a_file(scores={"accuracy": 0.7})), (90 * MINUTE, a_file(10, "b")), (DAY, a_file(10, "c")))
    assert starts(played(policy, *happens)) == [HOUR, 90 * MINUTE]


def test_a_champion_that_changed_upstream_is_seen_until_an_attempt_began_after_it() -> None:
    policy = rule("upstream.words.changed", upstream={"words": Upstream("words")})
    happens = ((HOUR, a_file()), (2 * HOUR, UpstreamMoved("words")), (DAY, a_file(10, "b.csv")))
    assert starts(played(policy, *happens)) == [2 * HOUR]


def test_trainings_that_fail_take_longer_and_at_last_are_abandoned() -> None:
    fails = Course(takes=HOUR, failures=2)
    (start,) = played(a_policy(), (HOUR, fails), (HOUR, a_file())).starts
    assert (start.ends, start.ended) == (Ends.PROMOTED, NOW + 4 * HOUR + 3 * MINUTE)
    start, *_ = played(a_policy(), (HOUR, replace(fails, failures=3)), (HOUR, a_file())).starts
    assert (start.ends, start.ended) == (Ends.ABANDONED, NOW + 4 * HOUR + 3 * MINUTE)


def test_only_the_next_attempts_go_as_the_test_says() -> None:
    files = [(HOUR * hour, a_file(2000, f"{hour}.csv")) for hour in range(1, 5)]
    timeline = played(a_policy(), (HOUR, Course(ends=Ends.REJECTED, next=2)), *files)
    assert [start.ends for start in timeline.starts] == [Ends.REJECTED, Ends.REJECTED, Ends.PROMOTED, Ends.PROMOTED]


def test_while_a_model_is_paused_no_alias_moves() -> None:
    pause = ((HOUR + MINUTE, Paused("ada")), (5 * HOUR, Resumed("ada")))
    timeline = played(a_policy(), (HOUR, a_file()), *pause, until=DAY)
    assert [start.ended for start in timeline.starts] == [NOW + 5 * HOUR]


def test_an_edited_policy_text_is_something_new() -> None:
    happens = ((HOUR, Course(ends=Ends.REJECTED)), (HOUR, a_file()), (5 * HOUR, PolicyEdited()))
    assert starts(played(rule("data.new_rows >= 0"), *happens)) == [HOUR, 5 * HOUR]


def test_without_a_champion_nothing_starts_until_a_person_names_one() -> None:
    happens = ((HOUR, a_file()), (2 * HOUR, AliasMoved(3, "ada")), (3 * HOUR, a_file(name="b.csv")))
    timeline = played(a_policy(), *happens, setting=Setting(version=None), looks=[HOUR, 2 * HOUR])
    assert codes(timeline) == ["champion_none", "too_few_judging_rows"]
    assert starts(timeline) == [3 * HOUR]


def test_a_file_that_was_there_before_anyone_looked_never_judges() -> None:
    timeline = played(a_policy(), (HOUR, a_file(history=True)), looks=[2 * HOUR])
    assert codes(timeline) == ["too_few_judging_rows"]


def test_an_outage_delays_what_needs_the_registry() -> None:
    timeline = played(a_policy(), (HOUR, RegistryDown(2 * HOUR)), (2 * HOUR, a_file()), looks=[2 * HOUR])
    assert (codes(timeline), starts(timeline)) == (["registry_unknown"], [3 * HOUR])


def test_every_code_of_a_decision_is_known_and_no_other() -> None:
    found = {f"champion_{state.value}" for state in ChampionState} - {"champion_found", "champion_unknown"}
    for node in ast.walk(ast.parse(inspect.getsource(decide) + inspect.getsource(pace))):
        values = [word.value for word in getattr(node, "keywords", []) if word.arg == "code"]
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("_Reason", "Hindrance") and node.args:
            values.append(node.args[0])
        found |= {value.value for value in values if isinstance(value, ast.Constant) and value.value}
    assert {code for some in CODES.values() for code in some} == found


AGES = rule("data.new_rows >= 3000 || (data.waiting > hours(20) && data.new_rows > 500)")
BUSY = a_policy(
    rules=(
        Rule("weekly", "schedule.weekly && data.new_rows > 0", Recipe()),
        Rule("fresh", "data.new_rows >= 1500", Recipe()),
        Rule("old", "last.age > days(2) && data.new_rows > 100", Recipe()),
    ),
    pace=Pace(cooldown=5 * HOUR, per_day=3),
    schedules={"weekly": Schedule("0 3 * * sun", "Europe/Berlin")},
)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 240), st.sampled_from([50, 400, 1200, 4000]), st.sampled_from([*Ends]), st.integers(0, 90)
    ),
    min_size=1,
    max_size=12,
)
Steps = Sequence[tuple[int, int, Ends, int]]


def happening(steps: Steps) -> list[tuple[timedelta, Event]]:
    found: list[tuple[timedelta, Event]] = []
    for number, (hour, rows, ends, grows) in enumerate(steps):
        found.append((HOUR * hour, Course(ends=ends, takes=HOUR)))
        found.append((HOUR * hour, a_file(rows, f"{number}.csv", grows_for=MINUTE * grows)))
    return found


def told(timeline: Timeline) -> list[tuple[object, ...]]:
    return [(start.at, start.decision.rule, start.ended, start.ends) for start in timeline.starts]


@given(STEPS, st.lists(st.integers(0, 14400), max_size=8), st.sampled_from([AGES, BUSY]))
@settings(max_examples=40, deadline=None)
def test_a_restart_at_any_time_and_a_look_at_any_time_change_no_decision(
    steps: Steps, minutes: Sequence[int], policy: Policy
) -> None:
    events = happening(steps)
    alone = played(policy, *events)
    restarted = played(policy, *events, *((MINUTE * minute, Stopped()) for minute in minutes))
    looked = played(policy, *events, looks=[MINUTE * minute for minute in minutes])
    assert told(restarted) == told(alone)
    assert told(looked) == told(alone)


@given(STEPS, st.sampled_from([AGES, BUSY]))
@settings(max_examples=10, deadline=None)
def test_deciding_every_few_minutes_finds_no_start_that_the_timeline_misses(steps: Steps, policy: Policy) -> None:
    events = happening(steps)
    every = [MINUTE * minute for minute in range(0, 14400, 31)]
    assert told(played(policy, *events, looks=every)) == told(played(policy, *events))
