"""Schedules and quiet hours as policy files say them, and how each mistake is named."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from retrain_daemon.core.policy import Policy, QuietHours, Schedule
from retrain_daemon.policies import read_policy_text
from tests.fake_box import FakeBox

POLICY = """\
model: churn
data: {path: "/srv/drops/churn/*.csv", target: churned}
retrain: [{name: weekly, when: "data.new_rows > 0"}]
promote: {require: [{metric: accuracy, better_by: 0}]}
"""


def said(addition: str) -> list[str]:
    return [str(problem) for problem in read_policy_text(POLICY + addition, "churn.yaml", "/etc").problems]


def read(addition: str, policy: str = POLICY) -> Policy:
    reading = read_policy_text(policy + addition, "churn.yaml", "/etc")
    assert [str(problem) for problem in reading.problems] == []
    return reading.policies[0]


def test_a_schedule_may_be_a_cron_line_or_say_more() -> None:
    policy = read(
        "schedules:\n  nightly: 0 3 * * *\n  weekly: {cron: '0  3 * * SUN', timezone: Europe/Berlin, within: 6h}\n",
        POLICY.replace("data.new_rows > 0", "schedule.weekly && data.new_rows > 0"),
    )
    assert policy.schedules == {
        "nightly": Schedule("0 3 * * *", "UTC", timedelta(hours=24)),
        "weekly": Schedule("0 3 * * sun", "Europe/Berlin", timedelta(hours=6)),
    }


def test_quiet_hours_may_be_one_span_or_several_with_or_without_quotes() -> None:
    night = QuietHours(time(22), time(6), "Europe/Berlin")
    assert read('pace: {quiet_hours: {from: "22:00", to: 6:00, timezone: Europe/Berlin}}\n').pace.quiet_hours == (
        night,
    )
    several = "pace:\n  quiet_hours:\n    - {from: 12:30, to: 13:00}\n    - {from: '17:00', to: '18:00'}\n"
    assert read(several).pace.quiet_hours == (
        QuietHours(time(12, 30), time(13)), QuietHours(time(17), time(18)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 0 3 * * sun", 'has 6 fields; a cron line has five. There are no seconds: "0 3 * * sun"'),
        ("0 3 * *", "has 4 fields"),
        ("@daily", 'Write "0 0 * * *".'),
        ("@weekly", 'Write "0 0 * * 0".'),
        ("@reboot", "no cron line"),
        ("@every 5m", "how often by five fields"),
        ("0 24 * * *", "24 is no hour. Midnight is hour 0."),
        ("60 3 * * *", "60 is no minute"),
        ("0 3 * 0 *", "0 is no month. January is 1."),
        ("0 3 * * 8", "It goes from 0 to 7."),
        ("0 3 * * sunday", "Write `sun`."),
        ("0 3 31 feb *", "never fires: none of its months has a day 31"),
        ("0 3 30 2 */2", "never fires"),
        ("0 3 31 4,6 *", "never fires"),
        ("0 3 L * *", "`L` belongs to other crons"),
        ("0 3 15W * *", "`15W` belongs to other crons"),
        ("0 3 * * mon#1", "`#` belongs to other crons"),
        ("0 3 ? * *", "`?` belongs to other crons. Write `*`."),
        ("*/0 * * * *", "The step `0` is not possible"),
        ("*/90 * * * *", "The step `90` is not possible"),
        ("5/15 * * * *", "Write `5-59/...`."),
        ("0 22-2 * * *", "Write two ranges: `22-23,0-2`."),
        ("0 3 * * sat-sun", "goes backwards"),
        ("0 3 * * ,", "is no day of the week"),
        ("\u0663 3 * * *", "is no minute"),
        ("0," * 300 + "0 3 * * *", "more than 500 letters"),
    ],
)  # fmt: skip
def test_what_is_no_cron_line_is_refused_by_name_with_what_to_write(cron: str, words: str) -> None:
    (problem,) = said(f'schedules: {{weekly: "{cron}"}}\n')
    assert problem.startswith("churn.yaml:5:")
    assert words in problem


@pytest.mark.parametrize(
    "cron", ["0 3 31 2 mon", "0 0 29 2 *", "*/5 1-5 1,15 jan-mar mon-fri", "0 3 * * 5-7", "0 3 * * 0"]
)
def test_a_line_that_fires_is_read(cron: str) -> None:
    assert read(f'schedules: {{weekly: "{cron}"}}\n').schedules["weekly"].cron == cron


@pytest.mark.parametrize(
    ("addition", "words"),
    [
        ("schedules: {in: 0 3 * * *}", "`in` is a word of CEL"),
        ("schedules: {night-run: 0 3 * * *}", "such as `night_run`"),
        ("schedules: {3rd: 0 3 * * *}", "no name that rules can use"),
        ("schedules: {weekly: {within: 2d}}", "`schedules.weekly.cron` is missing"),
        ("schedules: {weekly: {cron: 0 3 * * *, zone: UTC}}", "Did you mean `timezone`?"),
        ("schedules: {weekly: {cron: 0 3 * * *, within: 1 day}}", "must be a duration"),
        ("schedules: {weekly: {cron: 0 3 * * *, timezone: Berlin}}", "Did you mean `Europe/Berlin`?"),
        ("schedules: {weekly: {cron: 0 3 * * *, timezone: europe/berlim}}", "Did you mean `Europe/Berlin`?"),
        ("schedules: {weekly: {cron: 0 3 * * *, timezone: UTC+2}}", "do not know of summer"),
        ("schedules: {weekly: {cron: 0 3 * * *, timezone: ../../etc/passwd}}", "is no time zone"),
        ("pace: {quiet_hours: {from: 22:00, to: 24:00}}", 'Midnight is "00:00".'),
        ("pace: {quiet_hours: {from: 22:00, to: 22:00}}", "begins and ends at 22:00"),
        ("pace: {quiet_hours: {from: 22:00}}", "`pace.quiet_hours.to` is missing"),
        ("pace: {quiet_hours: {from: 10pm, to: 06:00}}", "is no time of the day: `10pm`"),
        ("pace: {quiet_hours: []}", "is an empty list"),
        ("pace: {quiet_hours: [{from: 0:00, to: 12:00}, {from: 11:00, to: 0:00}]}", "leaves no time of the day"),
    ],
)  # fmt: skip
def test_each_mistake_in_schedules_and_quiet_hours_is_named(addition: str, words: str) -> None:
    (problem,) = said(f"{addition}\n")
    assert words in problem


def test_a_schedule_that_is_wrong_does_not_make_the_rules_over_it_wrong_as_well() -> None:
    policy = POLICY.replace("data.new_rows > 0", "schedule.weekly")
    reading = read_policy_text(f"{policy}schedules: {{weekly: 0 24 * * *}}\n", "churn.yaml", "/etc")
    assert [problem.message for problem in reading.problems] == ["`schedules.weekly`: 24 is no hour."]


def test_a_rule_over_a_schedule_that_is_not_there_is_told_which_there_are() -> None:
    policy = POLICY.replace("data.new_rows > 0", "schedule.weakly")
    reading = read_policy_text(f"{policy}schedules: {{weekly: 0 3 * * *}}\n", "churn.yaml", "/etc")
    assert "schedule.weekly" in str(reading.problems[0])


def test_an_attempt_keeps_the_schedules_of_its_policy_as_they_are() -> None:
    policy = read("schedules: {weekly: 0 3 * * sun}\npace: {quiet_hours: {from: 22:00, to: 6:00}}\n")
    stored: TypeAdapter[Policy] = TypeAdapter(Policy)  # as the journal writes it
    assert stored.validate_json(stored.dump_json(policy)) == policy


NIGHTLY = 'schedules: {nightly: {cron: "0 3 * * *", timezone: Europe/Berlin, within: 6h}}\n'


@pytest.fixture
def box(tmp_path: Path) -> FakeBox:
    (tmp_path / "box").mkdir()
    made = FakeBox(tmp_path / "box")
    made.record_champion()
    made.edit_policy("data.new_rows >= 1000", "schedule.nightly && data.new_rows > 0")
    return made


def at(box: FakeBox, hour: int, minute: int = 0, day: int = 3) -> None:
    """Several turns of one life at this time of the clock in UTC."""
    box.clock.now = datetime(2027, 1, day, hour, minute, tzinfo=UTC)
    with box.life() as daemon:
        for _ in range(6):
            daemon.turn()
            box.clock.now += timedelta(seconds=2)


def test_each_slot_starts_one_attempt_and_no_more_though_new_rows_come(box: FakeBox) -> None:
    box.write_policy((box.root / "policies" / "churn.yaml").read_text() + NIGHTLY)
    box.drop()
    at(box, 1)
    assert box.trainings() == []
    assert box.standing()[0] == "no_rule_holds"
    at(box, 2)
    assert len(box.trainings()) == 1
    box.drop("b.csv", "x,churned\n2,no\n")
    at(box, 3)
    at(box, 12)
    assert len(box.trainings()) == 1
    at(box, 4, day=4)
    assert len(box.trainings()) == 2


def test_a_slot_that_passed_while_no_daemon_ran_is_made_up_for_within_its_time(box: FakeBox) -> None:
    box.write_policy((box.root / "policies" / "churn.yaml").read_text() + NIGHTLY)
    box.drop()
    at(box, 1)
    at(box, 9)
    assert box.trainings() == []
    at(box, 6, day=4)
    assert len(box.trainings()) == 1


def test_in_quiet_hours_a_rule_waits_and_a_person_does_not(box: FakeBox) -> None:
    quiet = 'pace: {quiet_hours: {from: "01:00", to: "05:00", timezone: Europe/Berlin}}\n'
    box.write_policy((box.root / "policies" / "churn.yaml").read_text() + NIGHTLY + quiet)
    box.drop()
    at(box, 2)
    assert box.standing() == ("quiet_hours", "quiet hours until 2027-01-03 04:00 UTC")
    box.order("retrain", "cannot wait")
    at(box, 2, 30)
    assert len(box.trainings()) == 1
    box.drop("b.csv", "x,churned\n2,no\n")
    at(box, 2, day=4)
    assert len(box.trainings()) == 1
    at(box, 4, day=4)
    assert len(box.trainings()) == 2
