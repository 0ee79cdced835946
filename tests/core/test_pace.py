"""What holds an attempt that a rule wants: quiet hours beside cooldown and the number a day; and until when."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from retrain_daemon.core.decide import Action, decide
from retrain_daemon.core.facts import RetrainRequest
from retrain_daemon.core.policy import Pace, Policy, QuietHours, Recipe, Rule, Schedule
from retrain_daemon.core.quiet import quiet_until
from tests.made import a_policy, some_data, some_facts

NIGHT = QuietHours(time(22), time(6), "Europe/Berlin")
MIDNIGHT = datetime(2026, 11, 28, 0, tzinfo=ZoneInfo("Europe/Berlin"))
HOUR = timedelta(hours=1)

ZONES = ["Europe/Berlin", "Australia/Lord_Howe", "America/Santiago", "Africa/Cairo", "UTC"]
CHANGES = ["2026-03-29", "2026-10-25", "2026-04-04", "2026-10-03", "2026-09-06", "2026-04-24", "2026-06-01"]
TIMES = st.builds(time, st.sampled_from([0, 1, 2, 3, 6, 12, 22, 23]), st.sampled_from([0, 15, 30]))
SPANS = st.builds(QuietHours, TIMES, TIMES, st.sampled_from(ZONES)).filter(lambda hours: hours.begin != hours.end)


def reads_quiet(hours: list[QuietHours], moment: datetime) -> bool:
    for each in hours:
        read = moment.astimezone(ZoneInfo(each.timezone)).time()
        over_midnight = each.begin > each.end
        if (read >= each.begin or read < each.end) if over_midnight else each.begin <= read < each.end:
            return True
    return False


@settings(max_examples=100, deadline=None)
@given(
    hours=st.lists(SPANS, min_size=1, max_size=2), day=st.sampled_from(CHANGES), minutes=st.integers(0, 2880)
)  # fmt: skip
def test_quiet_hours_end_when_the_clock_first_reads_another_time(
    hours: list[QuietHours], day: str, minutes: int
) -> None:
    now = datetime.fromisoformat(day).replace(tzinfo=UTC) - timedelta(days=1) + timedelta(minutes=minutes)
    walk = (now + timedelta(minutes=ahead) for ahead in range(60 * 30))
    loud = next((moment for moment in walk if not reads_quiet(hours, moment)), None)
    if loud is not None:
        assert quiet_until(hours, now) == (None if loud == now else loud)


def paced(*quiet: QuietHours, cooldown: timedelta | None = None) -> Policy:
    return a_policy(pace=Pace(cooldown=cooldown, quiet_hours=quiet))


def test_in_quiet_hours_nothing_starts_by_itself_and_the_decision_says_until_when() -> None:
    decision = decide(paced(NIGHT), some_facts(), MIDNIGHT)
    end = datetime(2026, 11, 28, 5, tzinfo=UTC)
    assert (decision.code, decision.until) == ("quiet_hours", end)
    assert decision.sentence == "quiet hours until 2026-11-28 05:00 UTC"
    assert decide(paced(NIGHT), some_facts(), end).action is Action.TRAIN
    assert decide(paced(NIGHT), some_facts(), MIDNIGHT - 2 * HOUR - timedelta(seconds=1)).action is Action.TRAIN


def test_a_person_may_have_it_start_in_quiet_hours() -> None:
    facts = some_facts(request=RetrainRequest("1", "ada", "now"))
    assert decide(paced(NIGHT), facts, MIDNIGHT).code == "requested"


def test_what_holds_the_longest_is_told() -> None:
    started = some_facts(starts=(MIDNIGHT - HOUR,))
    assert decide(paced(NIGHT, cooldown=2 * HOUR), started, MIDNIGHT).code == "quiet_hours"
    assert decide(paced(NIGHT, cooldown=12 * HOUR), started, MIDNIGHT).code == "cooldown"


SUNDAY = datetime(2026, 11, 29, 2, tzinfo=UTC)
SCHEDULES = {"weekly": Schedule("0 3 * * sun", "Europe/Berlin", 6 * HOUR), "unused": Schedule("*/5 * * * *")}


def scheduled(when: str = "schedule.weekly && data.new_rows > 0", pace: Pace = Pace()) -> Policy:  # noqa: B008
    return a_policy(rules=(Rule("weekly", when, Recipe()),), schedules=SCHEDULES, pace=pace)


def test_a_decision_that_waits_names_the_next_slot_of_the_schedules_that_rules_mention() -> None:
    decision = decide(scheduled(), some_facts(), SUNDAY - 20 * HOUR)
    assert (decision.code, decision.until) == ("no_rule_holds", SUNDAY)
    started = decide(scheduled(), some_facts(), SUNDAY)
    assert (started.action, started.rule) == (Action.TRAIN, "weekly")
    assert "schedule.weekly is true" in started.sentence
    again = decide(scheduled(), some_facts(starts=(SUNDAY,)), SUNDAY + HOUR)
    assert (again.code, again.until) == ("no_rule_holds", SUNDAY + timedelta(days=7))


def test_a_slot_that_counts_is_waited_out_where_another_part_of_the_rule_does_not_hold() -> None:
    decision = decide(scheduled(), some_facts(data=some_data(new_rows=0)), SUNDAY + HOUR)
    assert (decision.code, decision.until) == ("no_rule_holds", SUNDAY + 6 * HOUR)
    assert decide(scheduled(), some_facts(), SUNDAY + 6 * HOUR).code == "no_rule_holds"


def test_a_slot_in_quiet_hours_starts_at_their_end_unless_its_time_is_over_before() -> None:
    policy = scheduled(pace=Pace(quiet_hours=(NIGHT,)))
    waits = decide(policy, some_facts(), SUNDAY)
    assert (waits.code, waits.until) == ("quiet_hours", SUNDAY + 3 * HOUR)
    assert decide(policy, some_facts(), SUNDAY + 3 * HOUR).action is Action.TRAIN
    long = scheduled(pace=Pace(quiet_hours=(QuietHours(time(22), time(12), "Europe/Berlin"),)))
    assert decide(long, some_facts(), SUNDAY).until == SUNDAY + 6 * HOUR


def test_a_slot_that_was_used_is_not_used_again_when_the_clock_is_set_back() -> None:
    started = some_facts(starts=(SUNDAY + timedelta(minutes=1),))
    assert decide(scheduled(), started, SUNDAY).code == "no_rule_holds"
    assert decide(scheduled(), some_facts(starts=(SUNDAY + timedelta(days=300),)), SUNDAY).action is Action.TRAIN
