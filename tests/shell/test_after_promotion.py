"""After a promotion: the version before goes on being compared, and the alias goes back once the new one is worse."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from retrain_daemon.core.attempts import State
from retrain_daemon.core.evidence import MetricEvidence
from retrain_daemon.core.trust import Trust
from retrain_daemon.errors import RegistryUnreachable
from retrain_daemon.journal.watches import LookRow, WatchRow
from retrain_daemon.worker.job import CompareVersions, Failed, VersionsCompared
from tests.fake_box import MODEL, FakeBox, compared
from tests.made import CHAMPION, some_evidence
from tests.shell.test_interruption import Points, cut, live_until_cut
from tests.shell.test_news import Listener
from tests.shell.test_offered import WORSE

OURS = CHAMPION + 1
ATTEMPT = "churn-1"


def worse(job: CompareVersions) -> VersionsCompared:
    return compared(job, gain=-0.05)


def box_with(root: Path, terms: str, **more: object) -> FakeBox:
    """A promotion that is watched; no rule asks for another training."""
    root.mkdir(exist_ok=True)
    box = FakeBox(root, **more)  # type: ignore[arg-type]
    box.edit_policy("{metric: accuracy, better_by: 0}", "{metric: accuracy, better_by: 0}\n  after_promotion: " + terms)
    box.record_champion()
    drop(box, "a")
    box.live()
    assert box.aliases()["champion"] == OURS
    box.edit_policy("data.new_rows >= 1000", "data.new_rows >= 1000000")
    return box


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def box(tmp_path: Path, listener: Listener) -> FakeBox:
    """Watched for 2,000 rows; 1,000 of each file can be compared."""
    made = box_with(tmp_path / "box", "{watch: 2000 rows, if_worse: rollback}", announcer=listener)
    listener.news.clear()
    return made


def drop(box: FakeBox, *names: str) -> None:
    for name in names:
        box.drop(f"{name}.csv", f"x,churned\n{name},yes\n")


def arrive(box: FakeBox, *names: str) -> None:
    """One after the other, each taken up before the next."""
    for name in names:
        drop(box, name)
        box.live()


def watched(box: FakeBox, attempt: str = ATTEMPT) -> WatchRow:
    with box.journal() as journal:
        found = journal.watches.of_attempt(attempt)
    assert found is not None
    return found


def looks(box: FakeBox) -> tuple[LookRow, ...]:
    with box.journal() as journal:
        return journal.watches.looks(ATTEMPT)


def questions(box: FakeBox) -> list[CompareVersions]:
    return [job for job in box.jobs if isinstance(job, CompareVersions)]


def rollbacks(box: FakeBox) -> list[tuple[int, int, str]]:
    with box.journal() as journal:
        return [(back.was, back.target, back.by) for back in journal.rollbacks.of_model(MODEL)]


def held(box: FakeBox) -> bool:
    with box.journal() as journal:
        row = journal.models.find(MODEL)
    assert row is not None
    return row.hold is not None


def test_a_promotion_is_watched_from_the_moment_the_alias_moved(box: FakeBox) -> None:
    seen = watched(box)
    assert (seen.version, seen.previous, seen.ended_at) == (OURS, CHAMPION, None)
    assert questions(box) == []


def test_an_equal_version_stays_after_two_looks(box: FakeBox, listener: Listener) -> None:
    with capture_logs() as logs:
        arrive(box, "b", "c")
    assert [(look.look.number, look.look.rows, look.worse) for look in looks(box)] == [
        (1, 1000, False),
        (2, 2000, False),
    ]
    assert sum(look.look.alpha for look in looks(box)) == pytest.approx(0.05)
    assert watched(box).outcome.startswith("not shown to be worse: look 2 of 2, 2,000 rows: accuracy")
    assert box.aliases()["champion"] == OURS
    assert listener.occasions == []
    events = [line["event"] for line in logs if line["event"].startswith("watch.")]
    assert events == ["watch.looked", "watch.looked", "watch.ended"]
    arrive(box, "d")
    assert len(questions(box)) == 2


def test_rows_that_neither_version_had_are_compared_together_and_others_are_left_out(box: FakeBox) -> None:
    arrive(box, "b", "c")
    names = [[Path(file.path).stem for file in job.drops] for job in questions(box)]
    assert names == [["b"], ["b", "c"]]
    first, second = questions(box)
    assert (first.source.version, first.previous) == (OURS, CHAMPION)
    challenger = box.attempts()[0].challenger
    assert challenger is not None
    assert set(first.learned) == {"/state/adopted.npy", challenger.learned_file}
    assert second.taken == (looks(box)[0].look,)


def test_a_worse_version_is_rolled_back_and_the_model_paused(box: FakeBox, listener: Listener) -> None:
    box.compare = worse
    arrive(box, "b")
    assert box.aliases() == {"champion": CHAMPION, "previous_champion": OURS}
    assert rollbacks(box) == [(OURS, CHAMPION, "retraind")]
    assert held(box)
    assert watched(box).outcome.startswith("worse than the version before, to be rolled back: look 1 of 2")
    assert listener.occasions == ["rolled_back", "held"]
    assert "worse: shown" in listener.news[0].reason
    arrive(box, "c", "d")
    assert (len(looks(box)), len(rollbacks(box))) == (1, 1)


def test_what_was_not_seen_at_the_first_look_is_seen_at_the_second(box: FakeBox) -> None:
    arrive(box, "b")
    box.compare = worse
    arrive(box, "c")
    assert [look.worse for look in looks(box)] == [False, True]
    assert box.aliases()["champion"] == CHAMPION


def test_who_asks_only_to_be_told_is_told_once_and_the_alias_stays(tmp_path: Path, listener: Listener) -> None:
    box = box_with(tmp_path / "box", "{watch: 2000 rows, if_worse: notify}", announcer=listener)
    listener.news.clear()
    box.compare = worse
    arrive(box, "b", "c")
    [news] = listener.news
    assert (news.occasion, news.version, news.was, news.attempt) == ("champion_worse", OURS, CHAMPION, ATTEMPT)
    assert "worse: shown. `retraind rollback churn` goes back to version 7" in news.reason
    assert box.aliases()["champion"] == OURS
    assert not held(box)
    assert watched(box).outcome == news.reason


def test_a_paused_model_is_watched_on_and_a_person_decides(box: FakeBox, listener: Listener) -> None:
    box.order("pause", "holidays")
    box.compare = worse
    arrive(box, "b")
    assert box.aliases()["champion"] == OURS
    assert listener.occasions == ["champion_worse"]
    assert "not rolled back, as churn is paused by ada" in watched(box).outcome
    box.order("resume")
    box.live()
    assert rollbacks(box) == []


def test_all_rows_at_once_are_one_look(box: FakeBox) -> None:
    drop(box, "b", "c", "d")
    box.live()
    assert [(look.look.number, look.look.rows) for look in looks(box)] == [(2, 3000)]
    assert watched(box).ended_at is not None


def test_rows_that_turn_out_too_few_are_not_asked_about_again_before_more_have_come(box: FakeBox) -> None:
    box.compare = lambda job: compared(job, rows_a_drop=300)
    arrive(box, "b")
    assert (len(questions(box)), looks(box), watched(box).rows) == (1, (), 300)
    box.live(turns=10)
    assert len(questions(box)) == 1
    arrive(box, "c", "d", "e")
    assert [look.look.rows for look in looks(box)] == [1200]


def test_it_goes_on_while_later_attempts_train_on_the_same_rows(box: FakeBox) -> None:
    box.edit_policy("data.new_rows >= 1000000", "data.new_rows >= 1000")
    box.evidence = WORSE
    arrive(box, "b", "c")
    assert [attempt.state for attempt in box.attempts()] == [State.PROMOTED, State.REJECTED, State.REJECTED]
    assert len(looks(box)) == 2
    assert all(len(job.learned) == 2 for job in questions(box))


def test_the_next_promotion_ends_the_watch_and_begins_one_of_its_own(box: FakeBox) -> None:
    box.edit_policy("data.new_rows >= 1000000", "data.new_rows >= 1000")
    arrive(box, "b")
    assert watched(box).outcome == f"version {OURS + 1} was promoted"
    assert (watched(box, "churn-2").version, watched(box, "churn-2").previous) == (OURS + 1, OURS)


def test_a_person_who_moves_the_alias_ends_the_watch(box: FakeBox) -> None:
    box.registry.move_alias_by_hand(MODEL, "champion", 3)
    box.compare = worse
    arrive(box, "b")
    assert watched(box).outcome == "someone moved the alias to version 3"
    assert box.aliases()["champion"] == 3


def test_a_person_who_rolls_back_ends_the_watch(box: FakeBox) -> None:
    box.order("rollback", "it looks odd", {"champion": str(OURS)})
    box.live()
    assert watched(box).outcome == f"rolled back to version {CHAMPION} by ada"
    assert len(rollbacks(box)) == 1


def test_a_previous_version_that_is_gone_ends_the_watch_and_is_told(box: FakeBox, listener: Listener) -> None:
    box.registry.delete_version_by_hand(MODEL, CHAMPION)
    arrive(box, "b")
    [news] = listener.news
    assert news.occasion == "watch_lost"
    assert "cannot be compared with version 7 any more: Model Version (name=churn, version=7) not found" in news.reason
    assert box.aliases()["champion"] == OURS


def test_a_previous_version_that_does_not_load_ends_the_watch_and_is_told(box: FakeBox, listener: Listener) -> None:
    box.compare = lambda _job: VersionsCompared(obstacle="Version 7 of churn does not load.")
    arrive(box, "b", "c")
    assert listener.occasions == ["watch_lost"]
    assert watched(box).outcome.endswith("any more: Version 7 of churn does not load.")
    assert len(questions(box)) == 1


def test_a_version_that_cannot_be_compared_on_the_new_rows_is_told_and_not_called_harmless(
    box: FakeBox, listener: Listener
) -> None:
    problem = "accuracy is unknown: the challenger predicts no number on 3 of 2,000 rows"
    unknown = MetricEvidence(metric="accuracy", problem=problem)
    box.compare = lambda job: replace(compared(job), metrics=(unknown,))
    arrive(box, "b", "c")
    [news] = listener.news
    assert news.occasion == "watch_lost"
    assert news.reason.startswith("it is not known whether it is worse: look 2 of 2, 2,000 rows: accuracy")
    assert news.reason.endswith(problem)


def test_a_previous_version_whose_author_is_not_trusted_any_more_is_never_loaded(
    box: FakeBox, listener: Listener
) -> None:
    box.trust = Trust(users=("eve",), own="eve")
    for run in box.registry.runs:
        box.registry._run_tags[run]["mlflow.user"] = "eve"
    arrive(box, "b")
    assert questions(box) == []
    assert listener.occasions == ["watch_lost"]


def test_a_rollback_to_a_version_that_was_rolled_back_itself_is_refused_and_told_once(
    box: FakeBox, listener: Listener
) -> None:
    box.registry.tag_version(MODEL, CHAMPION, "retraind.rolled_back", "2026-01-01 by ada")
    box.compare = worse
    arrive(box, "b", "c")
    [news] = listener.news
    assert news.occasion == "champion_worse"
    assert "the rollback was refused: version 7 of churn was itself rolled back." in news.reason
    assert box.aliases()["champion"] == OURS
    assert rollbacks(box) == []
    assert not held(box)


def test_a_registry_that_is_away_delays_the_rollback_and_does_not_lose_it(box: FakeBox) -> None:
    def away(call: str) -> None:
        if call == "set_alias":
            raise RegistryUnreachable("MLflow does not answer.")

    box.registry.before = away
    box.compare = worse
    arrive(box, "b")
    assert box.aliases()["champion"] == OURS
    box.registry.before = None
    box.live()
    assert box.aliases()["champion"] == CHAMPION
    with box.journal() as journal:
        assert journal.requests.open() == ()
    assert len(rollbacks(box)) == 1


def test_an_order_to_roll_back_is_refused_and_told_when_a_person_paused_the_model_meanwhile(
    box: FakeBox, listener: Listener
) -> None:
    box.order("pause", "wait")
    box.live()
    number = box.order("rollback", "worse: shown", {"champion": str(OURS), "watch": ATTEMPT})
    box.live()
    code, answer = box.answer(number)
    assert (code, answer) == (5, "churn was paused by ada meanwhile.")
    [news] = listener.news
    assert (news.occasion, news.reason) == (
        "champion_worse",
        "worse than the version before, and the rollback was refused: churn was paused by ada meanwhile. worse: shown",
    )
    assert box.aliases()["champion"] == OURS


def test_the_policy_the_attempt_began_with_says_how_it_is_watched(box: FakeBox) -> None:
    box.edit_policy("\n  after_promotion: {watch: 2000 rows, if_worse: rollback}", "")
    box.compare = worse
    arrive(box, "b")
    assert box.aliases()["champion"] == CHAMPION


def test_without_after_promotion_nothing_is_watched(tmp_path: Path) -> None:
    box = FakeBox(tmp_path)
    box.record_champion()
    drop(box, "a")
    box.live()
    with box.journal() as journal:
        assert journal.watches.of_attempt(ATTEMPT) is None


def test_settings_that_changed_meanwhile_make_an_answer_worth_nothing(box: FakeBox) -> None:
    box.compare = lambda _job: None
    with box.life() as daemon:
        drop(box, "b")
        for _ in range(5):
            daemon.turn()
            box.clock.now += timedelta(minutes=5)
        box.edit_policy('positive: "yes"', 'positive: "no"')
        daemon.turn()
        box.compare = lambda job: worse(job) if job.data.target.positive == "yes" else compared(job)
        for _ in range(5):
            daemon.turn()
            box.clock.now += timedelta(minutes=5)
    assert [look.worse for look in looks(box)] == [False]


def test_a_comparison_that_fails_is_asked_again_and_nothing_is_rolled_back(box: FakeBox) -> None:
    box.compare = lambda _job: Failed(message="the worker was ended by signal 9", temporary=True, lost=True)
    arrive(box, "b")
    assert (looks(box), watched(box).ended_at) == ((), None)
    box.compare = compared
    arrive(box, "c")
    assert [look.look.number for look in looks(box)] == [1, 2]


def test_a_persons_challenger_that_won_is_watched_too(tmp_path: Path) -> None:
    box = FakeBox(tmp_path, evidence=some_evidence())
    box.edit_policy("data.new_rows >= 1000", "data.new_rows >= 1000000")
    box.edit_policy("promote:", "promote:\n  after_promotion: {watch: 2000 rows, if_worse: rollback}")
    box.record_champion()
    box.registry.create_version_by_hand(MODEL, source="models:/m-theirs", run_id="run-theirs")
    box.registry.move_alias_by_hand(MODEL, "challenger", OURS)
    drop(box, "a")
    box.live()
    assert box.aliases()["champion"] == OURS
    box.compare = worse
    arrive(box, "b")
    assert [[Path(file.path).stem for file in job.drops] for job in questions(box)] == [["b"]]
    assert box.aliases()["champion"] == CHAMPION


@pytest.mark.slow
def test_cut_off_anywhere_a_worse_version_is_rolled_back_once(tmp_path: Path) -> None:
    number, names = 0, list[str]()
    while True:
        number += 1
        box = box_with(tmp_path / str(number), "{watch: 2000 rows, if_worse: rollback}")
        box.compare = worse
        drop(box, "b")
        points = Points(number, cut)
        was_cut = live_until_cut(box, points)
        names = points.names
        where = f"cut {number} at {names[-1]}"
        box.live()
        box.live()
        assert box.aliases() == {"champion": CHAMPION, "previous_champion": OURS}, where
        assert len(rollbacks(box)) == 1, where
        with box.journal() as journal:
            events = [line.event for line in journal.history_of(ATTEMPT)]
            assert journal.requests.open() == (), where
        assert [events.count(f"watch.{event}") for event in ("begun", "looked", "ended")] == [1, 1, 1], where
        if not was_cut:
            break
    assert "before set_alias" in names


@pytest.mark.slow
def test_cut_off_anywhere_while_it_is_promoted_a_watch_begins_once(tmp_path: Path) -> None:
    number = 0
    while True:
        number += 1
        root = tmp_path / str(number)
        root.mkdir()
        box = FakeBox(root)
        box.edit_policy("promote:", "promote:\n  after_promotion: {watch: 2000 rows, if_worse: rollback}")
        box.record_champion()
        drop(box, "a")
        was_cut = live_until_cut(box, Points(number, cut))
        box.live()
        box.live()
        with box.journal() as journal:
            events = [line.event for line in journal.history_of(ATTEMPT)]
        assert (events.count("watch.begun"), events.count("watch.ended")) == (1, 0), number
        if not was_cut:
            break
