"""A verdict that waits for a person: asked once, answered by an order or a tag, void where it is about other things."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from retrain_daemon.cli import asking
from retrain_daemon.cli.parser import parse
from retrain_daemon.core.attempts import Attempt, State
from retrain_daemon.core.evidence import Evidence
from retrain_daemon.core.policy import Approval, Promotion, SecondLooks, Then
from retrain_daemon.errors import NotFound, Refused
from retrain_daemon.journal import Journal
from retrain_daemon.labels import APPROVAL_TAG, REPLACES_TAG, VERDICT_TAG
from retrain_daemon.news import News
from retrain_daemon.settings import Settings
from tests.fake_box import MODEL, FakeBox
from tests.made import CHAMPION, a_metric, some_evidence
from tests.shell.test_interruption import Points, cut, live_until_cut

OURS = CHAMPION + 1
PERSONS = 6
UNCLEAR = some_evidence(a_metric(low=-0.01, gain=0.01, high=0.03))
ATTEMPT = "churn-1"


def required(promotion: Promotion) -> Promotion:
    return replace(promotion, approval=Approval(timedelta(days=3)))


def asks_at_last(promotion: Promotion) -> Promotion:
    return replace(promotion, inconclusive=SecondLooks(then=Then.ASK))


class Ears:
    """Who is told."""

    def __init__(self) -> None:
        self.heard: list[News] = []

    def tell(self, news: News) -> None:
        self.heard.append(news)


def a_box(root: Path, evidence: Evidence | None = None) -> FakeBox:
    root.mkdir(exist_ok=True)
    box = FakeBox(root, adjust=required if evidence is None else asks_at_last, evidence=evidence or some_evidence())
    box.record_champion()
    box.drop()
    return box


@pytest.fixture
def waiting(tmp_path: Path) -> FakeBox:
    box = a_box(tmp_path / "box")
    box.live()
    assert attempt_of(box).awaits_approval
    return box


def attempt_of(box: FakeBox) -> Attempt:
    return box.attempts()[0]


def answer(box: FakeBox, verb: str = "approve", **changes: str) -> int:
    asked = attempt_of(box).asked
    evidence = asked.evidence if asked is not None else ""
    return box.order(verb, "I looked at it", {"attempt": ATTEMPT, "evidence": evidence, **changes})


def tag(box: FakeBox) -> str:
    return box.registry.version(MODEL, OURS).tags[APPROVAL_TAG]


def test_a_winner_waits_as_a_version_with_its_verdict_and_the_alias_stays(waiting: FakeBox) -> None:
    attempt = attempt_of(waiting)
    assert (attempt.state, attempt.version) == (State.JUDGED, OURS)
    assert waiting.aliases() == {"champion": CHAMPION}
    assert tag(waiting) == "waiting"
    assert waiting.registry.version(MODEL, OURS).tags[VERDICT_TAG] == "promote"


def test_who_is_told_is_told_once(tmp_path: Path) -> None:
    ears = Ears()
    box = a_box(tmp_path / "box")
    box.announcer = ears
    box.live()
    box.live()
    (news,) = [news for news in ears.heard if news.occasion == "awaiting_approval"]
    assert (news.attempt, news.version) == (ATTEMPT, CHAMPION)
    assert f"version {OURS}, until" in news.reason


def test_while_it_waits_mlflow_is_asked_for_its_version_once_a_poll(waiting: FakeBox) -> None:
    asked = list[int]()
    version = waiting.registry.version
    waiting.registry.version = lambda model, number: (asked.append(number), version(model, number))[1]  # type: ignore[method-assign]
    with waiting.life() as daemon:
        for _ in range(5):
            daemon.turn()
    assert asked.count(OURS) == 1


def test_approval_leads_to_the_promotion(waiting: FakeBox) -> None:
    number = answer(waiting)
    waiting.live()
    assert waiting.answer(number)[0] == 0
    assert attempt_of(waiting).state is State.PROMOTED
    assert waiting.aliases() == {"champion": OURS, "previous_champion": CHAMPION}
    assert tag(waiting) == "approved by ada: I looked at it"


def test_an_answer_without_a_daemon_says_that_nothing_happens_yet(
    waiting: FakeBox, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[tuple[object, ...]] = []
    monkeypatch.setattr(asking, "journal_to_write", lambda _: Journal.open(waiting.root / "state"))
    monkeypatch.setattr(asking, "_order", lambda *order: given.append(order) or 0)
    words = parse(["approve", ATTEMPT, "--why", "I looked at it"])
    settings = Settings(tracking_uri="", registry_uri="", state=waiting.root / "nobodys", policies=waiting.root)
    assert words.verb(words, settings) == 0
    assert len(given) == 1
    assert "nothing happens before the next one starts" in capsys.readouterr().out


def test_evidence_that_is_named_is_not_left_empty(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(["approve", ATTEMPT, "--why", "I looked at it", "--evidence", ""])
    assert "--evidence: it is empty" in capsys.readouterr().err


def test_rejection_ends_it_and_the_alias_stays(waiting: FakeBox) -> None:
    number = answer(waiting, "reject")
    waiting.live()
    attempt = attempt_of(waiting)
    assert waiting.answer(number)[0] == 0
    assert (attempt.state, waiting.aliases()) == (State.REJECTED, {"champion": CHAMPION})
    assert attempt.reason.startswith("rejected by ada: I looked at it; ")
    assert tag(waiting) == "rejected by ada: I looked at it"


@pytest.mark.parametrize(
    ("said", "state"), [("approve", State.PROMOTED), ("reject", State.REJECTED), ("Approve ", State.PROMOTED)]
)
def test_a_tag_in_mlflow_answers_too(waiting: FakeBox, said: str, state: State) -> None:
    waiting.registry.set_version_tag_by_hand(MODEL, OURS, APPROVAL_TAG, said)
    waiting.live()
    assert attempt_of(waiting).state is state
    assert "by a tag in MLflow" in tag(waiting)


def test_another_word_in_the_tag_is_said_once_and_nothing_happens(waiting: FakeBox) -> None:
    waiting.registry.set_version_tag_by_hand(MODEL, OURS, APPROVAL_TAG, "yes please")
    with capture_logs() as lines:
        waiting.live()
    assert [line["value"] for line in lines if line["event"] == "approval.not_understood"] == ["yes please"]
    assert attempt_of(waiting).awaits_approval


def test_what_the_daemon_itself_writes_into_the_tag_is_no_misspelt_answer(waiting: FakeBox) -> None:
    with capture_logs() as lines, waiting.life() as daemon:
        daemon.turn()
        waiting.clock.now += timedelta(days=3)
        for _ in range(5):
            daemon.turn()
    assert tag(waiting) == "void"
    assert not [line for line in lines if line["event"] == "approval.not_understood"]


def test_nobodys_answer_is_no_approval_and_the_end_comes_with_its_alarm(waiting: FakeBox) -> None:
    with waiting.life() as daemon:
        daemon.turn()
        waiting.clock.now += timedelta(days=2, hours=23)
        daemon.turn()
        assert attempt_of(waiting).awaits_approval
        waiting.clock.now += timedelta(hours=1)
        daemon.turn()
    attempt = attempt_of(waiting)
    assert (attempt.state, waiting.aliases()) == (State.REJECTED, {"champion": CHAMPION})
    assert attempt.reason.startswith("nobody approved it until ")
    assert tag(waiting) == "void"


def test_an_approval_that_comes_too_late_is_refused(waiting: FakeBox) -> None:
    number = answer(waiting)
    waiting.clock.now += timedelta(days=4)
    waiting.live()
    code, said = waiting.answer(number)
    assert code == Refused.exit_code
    assert "could be answered until" in said
    assert attempt_of(waiting).state is State.REJECTED


def test_approval_of_other_evidence_is_refused(waiting: FakeBox) -> None:
    number = answer(waiting, evidence="0" * 64)
    waiting.live()
    assert waiting.answer(number)[0] == Refused.exit_code
    assert "is not the one you answered to any more" in waiting.answer(number)[1]
    assert attempt_of(waiting).awaits_approval


def test_evidence_that_was_tampered_with_since_cannot_be_approved(waiting: FakeBox) -> None:
    number = answer(waiting)
    journal = Journal.open(waiting.root / "state")
    journal._database.run("UPDATE attempt SET evidence = replace(evidence, '1000', '1001')")
    journal.close()
    waiting.live()
    assert waiting.answer(number)[0] == Refused.exit_code
    assert attempt_of(waiting).awaits_approval


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_what_does_not_wait_cannot_be_answered_to(waiting: FakeBox, verb: str) -> None:
    answer(waiting)
    waiting.live()
    number = answer(waiting, verb)
    missing = answer(waiting, verb, attempt="churn-9")
    waiting.live()
    assert waiting.answer(number) == (
        Refused.exit_code, f"attempt {ATTEMPT} awaits no approval: it is promoted. `retraind show {ATTEMPT}` says why.",
    )  # fmt: skip
    assert waiting.answer(missing)[0] == NotFound.exit_code


def test_the_first_answer_stands(waiting: FakeBox) -> None:
    waiting.order("pause")
    numbers = [answer(waiting, "reject"), answer(waiting, "approve")]
    with waiting.life() as daemon:
        daemon.turn()
    assert [waiting.answer(number)[0] for number in numbers] == [0, Refused.exit_code]
    assert f"attempt {ATTEMPT} was rejected by ada" in waiting.answer(numbers[1])[1]


def test_another_champion_makes_it_void_and_a_person_is_asked_anew(waiting: FakeBox) -> None:
    old = attempt_of(waiting).asked
    waiting.registry.move_alias_by_hand(MODEL, "champion", PERSONS)
    waiting.live()
    attempt = attempt_of(waiting)
    assert (attempt.champion_version, attempt.round, attempt.awaits_approval) == (PERSONS, 1, True)
    assert old is not None
    number = answer(waiting, evidence=old.evidence)
    waiting.live()
    assert waiting.answer(number)[0] == Refused.exit_code
    answer(waiting)
    waiting.live()
    assert waiting.aliases() == {"champion": OURS, "previous_champion": PERSONS}
    assert waiting.registry.version(MODEL, OURS).tags[REPLACES_TAG] == str(PERSONS)


def test_an_answer_in_the_tag_is_not_taken_for_one_about_another_champion(waiting: FakeBox) -> None:
    waiting.order("pause")
    waiting.registry.set_version_tag_by_hand(MODEL, OURS, APPROVAL_TAG, "approve")
    with waiting.life() as daemon:
        daemon.turn()
        waiting.registry.move_alias_by_hand(MODEL, "champion", PERSONS)
        daemon.turn()
        waiting.clock.now += timedelta(minutes=5)
        waiting.order("resume")
        for _ in range(5):
            daemon.turn()
            waiting.clock.now += timedelta(minutes=5)
    assert (attempt_of(waiting).round, tag(waiting)) == (1, "waiting")
    assert waiting.aliases()["champion"] == PERSONS


def test_another_policy_in_force_ends_it(waiting: FakeBox) -> None:
    waiting.edit_policy("data.new_rows >= 1000", "data.new_rows >= 1000000")
    number = answer(waiting)
    waiting.live()
    attempt = attempt_of(waiting)
    assert "was judged by another policy" in waiting.answer(number)[1]
    assert (attempt.state, waiting.aliases()) == (State.REJECTED, {"champion": CHAMPION})
    assert attempt.reason.startswith("another policy came into force")


def test_a_version_that_is_deleted_while_it_waits_ends_it(waiting: FakeBox) -> None:
    waiting.registry.delete_version_by_hand(MODEL, OURS)
    waiting.live()
    assert attempt_of(waiting).reason.startswith(f"version {OURS} was deleted while it awaited approval")


def test_nothing_is_approved_while_paused_and_a_tag_waits_until_it_is_over(waiting: FakeBox) -> None:
    waiting.order("pause", "a holiday")
    number = answer(waiting)
    waiting.registry.set_version_tag_by_hand(MODEL, OURS, APPROVAL_TAG, "approve")
    waiting.live()
    assert waiting.answer(number)[0] == Refused.exit_code
    assert f"First `retraind resume {MODEL}`" in waiting.answer(number)[1]
    assert waiting.aliases() == {"champion": CHAMPION}
    waiting.order("resume")
    waiting.live()
    assert waiting.aliases()["champion"] == OURS


def test_a_retracted_file_makes_it_void(waiting: FakeBox) -> None:
    waiting.drop("good.csv", "x,churned\n2,no\n")
    waiting.order("retract", "mislabelled", {"file": "a.csv"})
    waiting.live()
    attempt = attempt_of(waiting)
    assert (attempt.round, attempt.version) == (1, None) or attempt.version == OURS + 1
    assert waiting.aliases() == {"champion": CHAMPION}


def test_a_single_pass_does_not_wait_for_a_person(waiting: FakeBox) -> None:
    with waiting.life() as daemon:
        assert daemon.run_once() == ""
    assert attempt_of(waiting).awaits_approval


@pytest.mark.parametrize(("verb", "state"), [("approve", State.PROMOTED), ("reject", State.REJECTED)])
def test_a_person_decides_what_is_not_shown_where_the_policy_asks(tmp_path: Path, verb: str, state: State) -> None:
    box = a_box(tmp_path / "box", UNCLEAR)
    box.live()
    assert attempt_of(box).awaits_approval
    assert box.registry.version(MODEL, OURS).tags[VERDICT_TAG] == "inconclusive"
    answer(box, verb)
    box.live()
    assert attempt_of(box).state is state
    assert box.aliases()["champion"] == (OURS if verb == "approve" else CHAMPION)


def test_a_question_that_another_champion_settles_does_not_stay_open_in_mlflow(tmp_path: Path) -> None:
    box = a_box(tmp_path / "box", UNCLEAR)
    box.live()
    box.evidence = some_evidence()
    box.registry.move_alias_by_hand(MODEL, "champion", PERSONS)
    box.live()
    assert (attempt_of(box).state, tag(box)) == (State.PROMOTED, "void")


def test_what_nobody_decides_stays_inconclusive(tmp_path: Path) -> None:
    box = a_box(tmp_path / "box", UNCLEAR)
    box.live()
    box.clock.now += timedelta(days=8)
    box.live()
    assert attempt_of(box).state is State.INCONCLUSIVE
    assert box.aliases() == {"champion": CHAMPION}


@pytest.mark.parametrize(
    "changes", [{"rows": 3}, {"challenger_digest": "a"}, {"identical_predictions": True}, {"champion_not_a_number": 1}]
)
def test_nobody_is_asked_about_models_that_cannot_be_compared(tmp_path: Path, changes: dict[str, object]) -> None:
    box = a_box(tmp_path / "box", some_evidence(a_metric(low=-0.01), **changes))
    box.live()
    assert attempt_of(box).ended_at is not None
    assert attempt_of(box).asked is None


@pytest.mark.parametrize("verb", ["approve", "reject"])
@pytest.mark.parametrize("by_tag", [True, False])
def test_cut_off_before_and_after_every_effect_the_answer_comes_to_the_same_end(
    tmp_path: Path, verb: str, by_tag: bool
) -> None:
    number = 0
    while True:
        number += 1
        box = a_box(tmp_path / str(number))
        points = Points(number, cut)
        was_cut = live_until_cut(box, points)
        box.live()
        if not attempt_of(box).awaits_approval:
            raise AssertionError(f"cut {number} at {points.names[-1]}: {attempt_of(box).state}")
        if by_tag:
            box.registry.set_version_tag_by_hand(MODEL, OURS, APPROVAL_TAG, verb)
        else:
            answer(box, verb)
        was_cut_again = live_until_cut(box, Points(number, cut))
        box.live()
        where = f"cut {number} at {points.names[-1]}"
        assert attempt_of(box).state is (State.PROMOTED if verb == "approve" else State.REJECTED), where
        champions = {"champion": OURS, "previous_champion": CHAMPION}
        assert box.aliases() == (champions if verb == "approve" else {"champion": CHAMPION}), where
        if not was_cut and not was_cut_again:
            break
    assert number > 30
