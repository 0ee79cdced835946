"""A version that a person puts up as challenger: judged without training, promoted if it wins, theirs to withdraw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from retrain_daemon.core.attempts import Attempt, State
from retrain_daemon.core.trust import Trust
from retrain_daemon.errors import Refused
from retrain_daemon.labels import KEY_TAG, REPLACES_TAG, SUMMARY_TAG, VERDICT_TAG
from retrain_daemon.registry import Version
from retrain_daemon.worker.job import DropFile, DropReport, Failed
from tests.fake_box import MODEL, Cut, FakeBox
from tests.made import CHAMPION, a_metric, some_evidence
from tests.shell.test_interruption import Points, cut, live_until_cut

OFFERED = CHAMPION + 1
BETTER = some_evidence()
WORSE = replace(
    BETTER,
    metrics=tuple(replace(each, gain=-0.05, gain_low=-0.07, gain_high=-0.03) for each in BETTER.metrics),
)


def a_box(root: Path, *, better: bool = True, user: str = "ada", alias: str = "challenger") -> FakeBox:
    """Rows that may judge are there, no rule asks for training, and a person puts a new version up."""
    root.mkdir(exist_ok=True)
    box = FakeBox(root, evidence=BETTER if better else WORSE)
    box.edit_policy("data.new_rows >= 1000", "data.new_rows >= 1000000")
    box.record_champion()
    box.registry.create_version_by_hand(MODEL, source="models:/m-theirs", run_id="run-theirs", user=user)
    box.registry.move_alias_by_hand(MODEL, alias, OFFERED)
    box.drop()
    return box


def refuse_removal(box: FakeBox) -> None:
    def before(name: str) -> None:
        if name == "delete_alias":
            raise Refused("PERMISSION_DENIED")

    box.registry.before = before


def a_report(file: DropFile, judging: int) -> DropReport:
    fingerprint = sha256(Path(file.path).read_bytes()).hexdigest()
    return DropReport(drop=file.drop, fingerprint=fingerprint, rows=100, usable=100, new=100, judging=judging)


def offered_sentence(box: FakeBox) -> str:
    with box.journal() as journal:
        decision = journal.decisions.standing(MODEL)
    return decision.offered if decision else ""


def test_a_better_challenger_is_promoted_without_any_training(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.live()
    (attempt,) = box.attempts()
    assert (attempt.state, attempt.rule, attempt.version) == (State.PROMOTED, "challenger", OFFERED)
    assert box.aliases() == {"champion": OFFERED, "previous_champion": CHAMPION}
    (job,) = box.trainings()
    assert job.challenger is not None
    assert (job.challenger.offered, job.challenger.model_uri) == (OFFERED, f"models:/{MODEL}/{OFFERED}")
    tags = box.registry.version(MODEL, OFFERED).tags
    assert (tags[VERDICT_TAG], tags[REPLACES_TAG]) == ("promote", str(CHAMPION))
    assert KEY_TAG not in tags
    assert not any(call.startswith("create_version") for call in box.registry.calls)


def test_a_worse_challenger_keeps_its_verdict_and_loses_the_alias(tmp_path: Path) -> None:
    box = a_box(tmp_path, better=False)
    box.live()
    (attempt,) = box.attempts()
    assert attempt.state is State.REJECTED
    assert box.aliases() == {"champion": CHAMPION}
    tags = box.registry.version(MODEL, OFFERED).tags
    assert tags[VERDICT_TAG] == "reject"
    assert tags[SUMMARY_TAG] == attempt.reason


def test_a_person_is_asked_about_their_challenger_too_where_nothing_is_shown_of_it(tmp_path: Path) -> None:
    box = a_box(tmp_path / "box")
    box.evidence = some_evidence(a_metric(-0.01, 0.01, 0.03))
    box.edit_policy("promote:\n", "promote:\n  inconclusive: {judge_again_every: 2000 rows, at_most: 2, then: ask}\n")
    box.live()
    [attempt] = box.attempts()
    assert attempt.awaits_approval
    box.order("approve", "better in the field", {"attempt": attempt.id, "evidence": attempt.asked.evidence})
    box.live()
    assert box.aliases()["champion"] == OFFERED


def test_rows_that_only_judged_are_still_new_for_training(tmp_path: Path) -> None:
    box = a_box(tmp_path, better=False)
    box.live()
    box.edit_policy("data.new_rows >= 1000000", "data.new_rows >= 1000")
    box.live()
    assert [attempt.rule for attempt in box.attempts()][-1] == "enough fresh rows"


def test_promoting_a_persons_challenger_is_no_move_by_someone_else(tmp_path: Path) -> None:
    box = a_box(tmp_path, alias="theirs")
    box.evidence = WORSE
    box.edit_policy("data.new_rows >= 1000000", "registry.champion_moved || data.new_rows >= 1000000")
    box.order("retrain")
    box.live()
    box.evidence = BETTER
    box.registry.move_alias_by_hand(MODEL, "challenger", OFFERED)
    box.live()
    assert [attempt.state for attempt in box.attempts()] == [State.REJECTED, State.PROMOTED]
    assert box.standing()[0] == "no_rule_holds"
    box.evidence = WORSE
    move_champion(box)
    box.live()
    assert [attempt.rule for attempt in box.attempts()] == ["request", "challenger", "enough fresh rows"]


def test_a_promotion_stands_although_the_alias_challenger_may_not_be_removed(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    refuse_removal(box)
    with capture_logs() as lines:
        box.live()
    assert [attempt.state for attempt in box.attempts()] == [State.PROMOTED]
    assert box.aliases()["champion"] == OFFERED
    assert "challenger.alias_kept" in [line["event"] for line in lines]


def test_a_loser_whose_alias_may_not_be_removed_is_judged_again_only_with_more_rows(tmp_path: Path) -> None:
    box = a_box(tmp_path, better=False)
    refuse_removal(box)
    box.live(turns=20)
    (attempt,) = box.attempts()
    assert attempt.state is State.REJECTED
    said = f"version {OFFERED} was judged by attempt {attempt.id} on all held-out rows there are: {attempt.reason}"
    assert offered_sentence(box) == said
    box.drop("b.csv", "x,churned\n2,no\n")
    box.live()
    assert [each.state for each in box.attempts()] == [State.REJECTED] * 2


def test_a_challenger_that_only_lacked_rows_keeps_the_alias_and_is_judged_when_they_have_come(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.evidence = some_evidence(rows=150)
    box.live(turns=20)
    (attempt,) = box.attempts()
    assert attempt.state is State.INCONCLUSIVE
    assert box.aliases()["challenger"] == OFFERED
    said = f"version {OFFERED} waits for more held-out rows: 150 of 200 could judge at the last look"
    assert offered_sentence(box) == said
    box.evidence = BETTER
    box.report = lambda _job, file: a_report(file, judging=49)
    box.drop("few.csv", "x,churned\n2,no\n")
    box.live()
    assert len(box.attempts()) == 1
    box.report = lambda _job, file: a_report(file, judging=1)
    box.drop("one.csv", "x,churned\n3,no\n")
    box.live()
    assert box.attempts()[-1].state is State.PROMOTED
    assert box.aliases() == {"champion": OFFERED, "previous_champion": CHAMPION}


def test_rows_seen_before_it_was_made_do_not_judge_it(tmp_path: Path) -> None:
    box = a_box(tmp_path, alias="theirs")
    box.live()
    box.registry.now = box.clock() + timedelta(days=1)
    newest = box.registry.create_version_by_hand(MODEL).number
    box.registry.move_alias_by_hand(MODEL, "challenger", newest)
    box.live()
    assert box.attempts() == ()
    said = f"version {newest} waits for 200 held-out rows newer than it"
    assert offered_sentence(box) == said
    box.clock.now += timedelta(days=2)
    box.drop("b.csv", "x,churned\n2,no\n")
    box.live()
    assert box.attempts()[0].version == newest
    assert box.trainings()[0].unknown_until == box.registry.version(MODEL, newest).created_at


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (lambda box: box.registry.move_alias_by_hand(MODEL, "challenger", CHAMPION), "the champion itself"),
        (lambda box: box.registry.delete_version_by_hand(MODEL, OFFERED), ""),
    ],
)
def test_an_alias_that_makes_no_sense_is_told_and_nothing_is_judged(
    tmp_path: Path, prepare: Callable[[FakeBox], None], said: str
) -> None:
    box = a_box(tmp_path)
    prepare(box)
    box.live()
    assert box.attempts() == ()
    assert said in offered_sentence(box)


def test_a_misspelled_alias_is_told(tmp_path: Path) -> None:
    box = a_box(tmp_path, alias="Challenger")
    box.live()
    assert offered_sentence(box).startswith(f"{MODEL} has the alias Challenger")


@pytest.mark.parametrize(
    ("user", "trust", "judged"),
    [
        ("ada", Trust(), True),
        ("daemon", Trust(own=frozenset({"daemon"})), True),
        ("eve", Trust(), False),
        ("", Trust(), False),
        ("eve", Trust(users=frozenset({"ada", "eve"})), True),
        ("eve", Trust(users=frozenset({"ada"})), False),
    ],
)
def test_only_versions_of_trusted_people_are_loaded(tmp_path: Path, user: str, trust: Trust, judged: bool) -> None:
    box = a_box(tmp_path, user=user)
    box.trust = trust
    box.live()
    assert bool(box.trainings()) is judged
    if not judged:
        assert "it is not loaded; name its author in trust.users" in offered_sentence(box)


@pytest.mark.parametrize("whose", [CHAMPION, OFFERED])
def test_an_author_whose_name_is_put_right_in_mlflow_is_trusted_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: int
) -> None:
    box = a_box(tmp_path)
    box.trust = Trust(users=frozenset({"ada"}))
    wrong, asked = ["eve"], list[int]()

    def author(version: Version) -> str:
        asked.append(version.number)
        return wrong[0] if wrong and version.number == whose else "ada"

    monkeypatch.setattr(box.registry, "author", author)
    with box.life() as daemon:
        for _ in range(5):
            daemon.turn()
            box.clock.now += timedelta(minutes=5)
        assert box.trainings() == []
        assert asked.count(whose) <= 5
        wrong.clear()
        for _ in range(5):
            daemon.turn()
            box.clock.now += timedelta(minutes=5)
    assert box.aliases()["champion"] == OFFERED


def test_a_champion_of_someone_the_settings_do_not_name_is_left_alone(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.edit_policy("data.new_rows >= 1000000", "data.new_rows >= 1000")
    box.trust = Trust(users=frozenset({"grace"}))
    box.live()
    assert box.attempts() == ()
    code, sentence = box.standing()
    assert code == "champion_untrusted"
    assert f"version {CHAMPION} is by ada, who is not among trust.users" in sentence


def test_an_author_that_the_registry_refuses_to_tell_is_not_known_and_nothing_else_is_held_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = a_box(tmp_path)
    box.edit_policy("data.new_rows >= 1000000", "data.new_rows >= 1000")

    def refuse(_version: Version) -> str:
        raise Refused("Invalid run id: nightly run 7")

    monkeypatch.setattr(box.registry, "author", refuse)
    box.live()
    assert "is by nobody known" in offered_sentence(box)
    assert [attempt.rule for attempt in box.attempts()] == ["enough fresh rows"]


def test_a_challenger_that_does_not_load_is_tried_again_only_under_another_policy_or_champion(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.failure = Failed(message="Version 8 of churn does not load.")
    for _ in range(4):
        box.live()
    (attempt,) = box.attempts()
    assert attempt.state is State.ABANDONED
    assert box.aliases()["challenger"] == OFFERED
    assert offered_sentence(box) == f"version {OFFERED} was not judged: Version 8 of churn does not load."
    box.failure = None
    box.edit_policy("data.new_rows >= 1000000", "data.new_rows >= 1000")
    box.live()
    again = box.attempts()[1]
    assert (again.rule, again.state) == ("challenger", State.PROMOTED)


def test_a_challenger_that_does_not_load_is_tried_again_once_the_model_was_resumed(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.failure = Failed(message="Keras is not installed.", framework_missing=True)
    box.live()
    box.failure = None
    box.live()
    assert [attempt.state for attempt in box.attempts()] == [State.ABANDONED]
    box.order("resume")
    box.live()
    assert box.attempts()[-1].state is State.PROMOTED


def test_a_challenger_that_was_taken_back_before_it_was_judged_may_be_put_up_again(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    cut_short(box)
    withdraw(box)
    box.live()
    assert box.attempts()[0].state is State.ABANDONED
    box.registry.move_alias_by_hand(MODEL, "challenger", OFFERED)
    box.live()
    assert box.attempts()[-1].state is State.PROMOTED


def assert_judged_once(box: FakeBox, better: bool, where: str) -> None:
    (attempt,) = box.attempts()
    assert attempt.state is (State.PROMOTED if better else State.REJECTED), where
    wanted = {"champion": OFFERED, "previous_champion": CHAMPION} if better else {"champion": CHAMPION}
    assert box.aliases() == wanted, where
    assert box.registry.version(MODEL, OFFERED).tags[VERDICT_TAG] == ("promote" if better else "reject"), where


@pytest.mark.parametrize("better", [True, False])
def test_cut_off_before_and_after_every_effect_it_is_judged_once(tmp_path: Path, better: bool) -> None:
    number = 0
    while True:
        number += 1
        box = a_box(tmp_path / str(number), better=better)
        points = Points(number, cut)
        was_cut = live_until_cut(box, points)
        box.live()
        box.live()
        assert_judged_once(box, better, f"cut {number} at {points.names[-1]}")
        if not was_cut:
            break
    assert number > 25


def withdraw(box: FakeBox) -> None:
    box.registry.delete_alias_by_hand(MODEL, "challenger")


def move_champion(box: FakeBox) -> None:
    box.registry.move_alias_by_hand(MODEL, "champion", 6)


def crown(box: FakeBox) -> None:
    box.registry.move_alias_by_hand(MODEL, "champion", OFFERED)


def assert_person_is_right(box: FakeBox, act: Callable[[FakeBox], None], attempt: Attempt | None, where: str) -> None:
    champion = box.aliases()["champion"]
    if act is crown:
        assert champion == OFFERED, where
    elif act is move_champion and champion == OFFERED:
        assert attempt is not None, where
        assert attempt.champion_version == 6, f"{where}: promoted without being judged against the person's champion"
    elif act is withdraw:
        assert champion in (CHAMPION, OFFERED), where


@pytest.mark.parametrize("act", [withdraw, move_champion, crown])
def test_whatever_a_person_does_at_any_point_stays_in_force(tmp_path: Path, act: Callable[[FakeBox], None]) -> None:
    number = 0
    while True:
        number += 1
        box = a_box(tmp_path / str(number))
        acted: list[str] = []

        def happen(name: str, box: FakeBox = box, acted: list[str] = acted) -> None:
            if not name.startswith("before set_alias"):
                acted.append(name)
                act(box)

        points = Points(number, happen)
        live_until_cut(box, points)
        box.live()
        attempts = box.attempts()
        assert all(attempt.ended_at for attempt in attempts), f"at {points.names[number - 1 :][:1]}"
        if acted:
            assert_person_is_right(box, act, attempts[-1] if attempts else None, f"point {number}, {acted[0]}")
        if len(points.names) < number:
            break
    assert number > 25


def test_taking_the_alias_off_before_the_worker_starts_ends_it(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    seen: list[str] = []

    def take_off(name: str) -> None:
        if name == "before start" and not seen:
            seen.append(name)
            withdraw(box)

    box.reached = take_off
    box.live()
    (attempt,) = box.attempts()
    assert attempt.state in (State.REJECTED, State.ABANDONED)
    assert attempt.reason == f"called off: someone took the alias challenger off version {OFFERED}"
    assert box.aliases() == {"champion": CHAMPION}


def make_model_anew(box: FakeBox, versions: int) -> None:
    """A person deletes the registered model and registers as many versions again, the champion among them."""
    box.registry.now = box.clock()
    box.registry.delete_model_by_hand(MODEL)
    for _ in range(versions):
        box.registry.create_version_by_hand(MODEL)
    box.registry.move_alias_by_hand(MODEL, "champion", CHAMPION)


def test_a_version_with_the_number_of_a_deleted_one_is_not_taken_to_have_learned_what_that_one_did(
    tmp_path: Path,
) -> None:
    box = FakeBox(tmp_path)
    box.record_champion()
    box.drop()
    box.live()
    (ours,) = box.attempts()
    assert ours.version == OFFERED
    box.edit_policy("data.new_rows >= 1000", "data.new_rows >= 1000000")
    make_model_anew(box, versions=OFFERED)
    box.registry.move_alias_by_hand(MODEL, "challenger", OFFERED)
    box.live()
    assert box.attempts() == (ours,)
    assert offered_sentence(box) == f"version {OFFERED} waits for 200 held-out rows newer than it"
    box.drop("b.csv", "x,churned\n2,no\n")
    box.live()
    made = box.registry.version(MODEL, OFFERED).created_at
    assert (box.trainings()[-1].unknown_until, box.trainings()[-1].learned) == (made, ())


def test_an_attempt_under_way_begins_again_when_its_champion_is_another_version_of_the_same_number(
    tmp_path: Path,
) -> None:
    box = FakeBox(tmp_path)
    box.record_champion()
    box.drop()
    seen: list[str] = []

    def make_anew(point: str) -> None:
        if point == "after start" and box.trainings() and not seen:
            seen.append(point)
            box.clock.now += timedelta(minutes=5)
            make_model_anew(box, versions=CHAMPION)

    box.reached = make_anew
    box.live(turns=8)
    assert box.trainings()[-1].learned == ()
    assert box.trainings()[-1].unknown_until == box.registry.version(MODEL, CHAMPION).created_at


def test_a_version_that_won_again_after_its_rollback_is_a_target_of_a_later_rollback(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.live()
    box.order("rollback", "bad", {"champion": str(OFFERED)})
    box.live()
    box.order("resume")
    box.registry.move_alias_by_hand(MODEL, "challenger", OFFERED)
    box.drop("later.csv", "x,churned\n7,no\n")
    box.live()
    assert box.aliases()["champion"] == OFFERED
    box.order("retrain")
    box.live()
    assert box.aliases()["champion"] == OFFERED + 1
    number = box.order("rollback", "bad", {"champion": str(OFFERED + 1)})
    box.live()
    assert box.answer(number)[0] == 0
    assert box.aliases()["champion"] == OFFERED


def test_a_champion_of_an_author_who_is_not_trusted_can_be_rolled_back(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.live()
    box.trust = Trust(users=frozenset({"grace"}))
    number = box.order("rollback", "bad", {"champion": str(OFFERED)})
    box.live()
    assert box.answer(number)[0] == 0
    assert box.aliases() == {"champion": CHAMPION, "previous_champion": OFFERED}


def test_a_version_of_an_author_who_is_not_trusted_is_not_adopted(tmp_path: Path) -> None:
    box = a_box(tmp_path, user="eve")
    box.trust = Trust(users=frozenset({"ada"}))
    box.registry.delete_alias_by_hand(MODEL, "champion")
    number = box.order("adopt", arguments={"version": str(OFFERED)})
    box.live()
    code, sentence = box.answer(number)
    assert code == Refused.exit_code
    assert sentence.startswith(f"version {OFFERED} is by eve, who is not among trust.users.")
    assert "champion" not in box.aliases()


def at_first(box: FakeBox, point: str, act: Callable[[FakeBox], None]) -> None:
    """Once the worker of a judging has reached this point, something happens."""
    done: list[str] = []

    def reached(name: str) -> None:
        if name == point and box.attempts() and not done:
            done.append(name)
            act(box)

    box.reached = reached


def cut_short(box: FakeBox) -> None:
    """A life of the daemon that ends while its worker compares, and the worker with it."""
    box.worker_outlives_daemon = False
    at_first(box, "after start", lambda _box: cut("after start"))
    with pytest.raises(Cut):
        box.live()
    box.reached = lambda _point: None
    assert box.attempts()[-1].state is State.TRAINING


def test_a_judging_that_was_cut_short_is_not_started_again_once_the_alias_was_taken_off(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    cut_short(box)
    withdraw(box)
    box.live()
    (attempt,) = box.attempts()
    assert (attempt.state, len(box.trainings())) == (State.ABANDONED, 1)
    assert VERDICT_TAG not in box.registry.version(MODEL, OFFERED).tags


def test_a_judging_that_was_cut_short_goes_on_against_the_champion_a_person_chose_meanwhile(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    cut_short(box)
    move_champion(box)
    box.live()
    assert [job.source.version for job in box.trainings()] == [CHAMPION, 6]


def test_an_attempt_cut_short_waits_where_the_champion_was_lost_and_a_single_pass_ends(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    cut_short(box)
    box.registry.delete_alias_by_hand(MODEL, "champion")
    with box.life() as daemon:
        daemon.run_once()
    assert (box.attempts()[0].state, len(box.trainings())) == (State.TRAINING, 1)


def test_a_challenger_whose_author_is_not_trusted_any_more_is_not_loaded_again(tmp_path: Path) -> None:
    box = a_box(tmp_path, user="eve")
    box.trust = Trust(users=frozenset({"ada", "eve"}))
    cut_short(box)
    box.trust = Trust(users=frozenset({"ada"}))
    box.live()
    (attempt,) = box.attempts()
    assert (attempt.state, len(box.trainings())) == (State.ABANDONED, 1)
    assert attempt.reason.startswith(f"called off: version {OFFERED} is by eve, who is not among trust.users")


def test_a_judged_challenger_whose_author_is_not_trusted_any_more_is_not_promoted(tmp_path: Path) -> None:
    box = a_box(tmp_path, user="eve")
    box.trust = Trust(users=frozenset({"ada", "eve"}))
    box.registry.before = cut
    with pytest.raises(Cut):
        box.live()
    box.registry.before = None
    box.trust = Trust(users=frozenset({"ada"}))
    box.live()
    (attempt,) = box.attempts()
    assert attempt.state is State.REJECTED
    assert attempt.reason.startswith(f"called off: version {OFFERED} is by eve")
    assert box.aliases()["champion"] == CHAMPION


def test_a_winner_that_was_taken_back_is_not_tagged_as_one(tmp_path: Path) -> None:
    box = a_box(tmp_path)
    box.worker_outlives_daemon = False
    at_first(box, "after start", withdraw)
    box.live()
    (attempt,) = box.attempts()
    assert attempt.state is State.REJECTED
    assert VERDICT_TAG not in box.registry.version(MODEL, OFFERED).tags
