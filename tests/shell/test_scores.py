"""The champion's scores: every file that came since it was cut is scored, whoever that is and whatever else runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from retrain_daemon.core.facts import Scores
from retrain_daemon.journal.models import Lineage
from retrain_daemon.policies import PolicyFolder
from retrain_daemon.scores import NEWEST, OLDEST, score_facts
from retrain_daemon.worker.job import (
    DropFile,
    DropReport,
    DropScore,
    DropsScored,
    Failed,
    InspectDrops,
    ScoreDrops,
    Train,
)
from tests.fake_box import MODEL, FakeBox, scored
from tests.made import CHAMPION

WORSE = "champion.scores.accuracy.last(5).filter(s, s < 0.80).size() >= 2"


@pytest.fixture
def box(tmp_path: Path) -> FakeBox:
    """A champion whose rows are recorded; no rule holds by itself."""
    root = tmp_path / "box"
    root.mkdir()
    box = FakeBox(root)
    box.edit_policy("data.new_rows >= 1000", "data.new_rows >= 1000000")
    box.record_champion()
    return box


def drop(box: FakeBox, *names: str) -> None:
    for name in names:
        box.drop(f"{name}.csv", f"x,churned\n{name},yes\n")


def arrive(box: FakeBox, *names: str) -> None:
    """One after the other, each taken up before the next."""
    for name in names:
        drop(box, name)
        box.live()


def values(box: FakeBox, version: int = CHAMPION, metric: str = "accuracy") -> dict[str, float | None]:
    """The value of each file that has one, or has none, by name."""
    with box.journal() as journal:
        kept = journal.scores.of_version(MODEL, version)
        found = {Path(drop.path).stem: kept.get((drop.id, metric)) for drop in journal.drops.in_use(MODEL)}
    return {name: row.value for name, row in found.items() if row is not None}


def seen_by_rules(box: FakeBox, version: int = CHAMPION) -> Scores:
    policy = PolicyFolder(box.root / "policies").refresh().policies[0]
    with box.journal() as journal:
        return score_facts(policy, journal, version, box.clock()).get("accuracy", Scores())


def score_jobs(box: FakeBox) -> list[ScoreDrops]:
    return [job for job in box.jobs if isinstance(job, ScoreDrops)]


def by_file(given: dict[str, float]) -> Callable[[ScoreDrops], DropsScored]:
    def score(job: ScoreDrops) -> DropsScored:
        found = [replace(job, drops=(drop,)) for drop in job.drops]
        parts = [scored(each, given[Path(each.drops[0].path).stem]).scores for each in found]
        return DropsScored(scores=tuple(one for part in parts for one in part))

    return score


def history(box: FakeBox) -> list[str]:
    with box.journal() as journal:
        lines = journal.history(MODEL, 1000)
    return [f"{Path(line.subject).name} {line.detail}" for line in lines if line.event == "champion.scored"]


def test_each_file_is_scored_by_the_champion_and_it_is_in_the_history_and_the_log(box: FakeBox) -> None:
    box.score = by_file({"a": 0.9, "b": 0.85})
    with capture_logs() as logs:
        arrive(box, "a", "b")
    assert values(box) == {"a": 0.9, "b": 0.85}
    assert history(box) == [
        "a.csv version 7: accuracy 0.9 on 1000 rows", "b.csv version 7: accuracy 0.85 on 1000 rows",
    ]  # fmt: skip
    said = [line for line in logs if line["event"] == "champion.scored"]
    assert [(line["file"], line["version"], line["accuracy"], line["rows"]) for line in said] == [
        ("a.csv", 7, 0.9, 1000), ("b.csv", 7, 0.85, 1000),
    ]  # fmt: skip
    assert seen_by_rules(box) == Scores(score=pytest.approx(0.875), latest=(0.9, 0.85), baseline=0.9)


def test_files_that_scored_badly_have_the_model_retrained(box: FakeBox) -> None:
    box.edit_policy("data.new_rows >= 1000000", f"'{WORSE}'")
    box.score = by_file({"a": 0.9, "b": 0.7, "c": 0.75})
    arrive(box, "a", "b")
    assert box.standing()[0] == "no_rule_holds"
    assert "size() is 1, short by 1" in box.standing()[1]
    arrive(box, "c")
    assert [attempt.rule for attempt in box.attempts()] == ["enough fresh rows"]
    assert box.aliases()["champion"] == CHAMPION + 1


def test_a_rule_waits_for_the_score_of_a_file_that_has_just_come(box: FakeBox) -> None:
    box.edit_policy("data.new_rows >= 1000000", f"'{WORSE} || data.new_rows > 20000'")
    box.score = lambda _job: None
    arrive(box, "a")
    assert box.standing() == (
        "measuring",
        "rule “enough fresh rows” waits for champion.scores.accuracy: it is being measured",
    )


def test_what_the_champion_had_before_it_was_cut_is_not_scored(box: FakeBox) -> None:
    box.edit_policy("data.new_rows >= 1000000", "data.new_rows >= 1000")
    arrive(box, "a")
    assert box.aliases()["champion"] == CHAMPION + 1
    arrive(box, "b")
    assert values(box, CHAMPION + 1) == {"b": 0.9}


def test_scores_are_filled_in_when_someone_makes_another_version_champion(box: FakeBox) -> None:
    box.registry.create_version_by_hand(MODEL)
    arrive(box, "a", "b", "c")
    box.registry.move_alias_by_hand(MODEL, "champion", CHAMPION + 1)
    box.score = by_file({"a": 0.6, "b": 0.5, "c": 0.4})
    box.live()
    assert values(box, CHAMPION + 1) == {"a": 0.6, "b": 0.5, "c": 0.4}
    assert values(box) == {"a": 0.9, "b": 0.9, "c": 0.9}
    box.registry.move_alias_by_hand(MODEL, "champion", CHAMPION)
    before = len(score_jobs(box))
    box.live()
    assert len(score_jobs(box)) == before
    assert seen_by_rules(box).latest == (0.9, 0.9, 0.9)


def test_a_metric_that_a_rule_begins_to_name_is_scored_on_the_files_that_are_there(box: FakeBox) -> None:
    arrive(box, "a", "b")
    box.edit_policy("data.new_rows >= 1000000", "champion.score.log_loss > 5.0")
    box.live()
    assert values(box, metric="log_loss") == {"a": 0.9, "b": 0.9}
    assert score_jobs(box)[-1].metrics == ("log_loss",)


def test_scoring_goes_on_while_an_attempt_is_open_and_leaves_out_the_same_rows(box: FakeBox) -> None:
    box.edit_policy("data.new_rows >= 1000000", "data.new_rows >= 1000")
    work = box.work
    box.work = lambda job: None if isinstance(job, Train) else work(job)  # type: ignore[method-assign]
    arrive(box, "a")
    assert box.attempts()[0].ended_at is None
    arrive(box, "b")
    assert values(box) == {"a": 0.9, "b": 0.9}
    first, second = score_jobs(box)
    box.work = work  # type: ignore[method-assign]
    box.live()
    assert box.attempts()[-1].ended_at is not None
    box.registry.move_alias_by_hand(MODEL, "champion", CHAMPION)
    box.edit_policy("metric: accuracy", "metric: balanced_accuracy")
    box.live()
    again = next(job for job in score_jobs(box) if "balanced_accuracy" in job.metrics and job.source.version == 7)
    left_out = [(job.learned, job.unknown_until, job.early) for job in (first, second, again)]
    assert left_out == [(("/state/adopted.npy",), None, ())] * 3


def test_a_retracted_file_does_not_count(box: FakeBox) -> None:
    box.score = by_file({"a": 0.9, "b": 0.5})
    arrive(box, "a", "b")
    box.order("retract", "wrong labels", {"file": "b.csv"})
    box.live()
    assert seen_by_rules(box).latest == (0.9,)


def test_rows_that_come_again_under_another_name_are_one_score(box: FakeBox) -> None:
    box.score = by_file({"a": 0.7, "again": 0.7, "corrected": 0.75})
    counts = {"again": (0, 0), "corrected": (0, 40)}

    def report(_: InspectDrops, file: DropFile) -> DropReport | None:
        name = Path(file.path).stem
        if name not in counts:
            return None
        new, corrected = counts[name]
        found = DropReport(
            drop=file.drop, fingerprint=sha256(Path(file.path).read_bytes()).hexdigest(), rows=1000, usable=1000
        )
        return replace(found, new=new, corrected=corrected)

    box.report = report
    arrive(box, "a", "again", "corrected")
    assert values(box) == {"a": 0.7, "corrected": 0.75}
    assert seen_by_rules(box).latest == (0.7, 0.75)
    del counts["again"]
    box.order("retract", "wrong labels", {"file": "a.csv"})
    box.live()
    assert seen_by_rules(box).latest == (0.7, 0.75)
    assert values(box) == {"again": 0.7, "corrected": 0.75}


def test_a_file_that_was_set_aside_is_never_scored(box: FakeBox) -> None:
    (box.root / "drops" / "bad.csv").mkdir()
    arrive(box, "a")
    assert values(box) == {"a": 0.9}


def test_new_data_settings_have_every_file_scored_again(box: FakeBox) -> None:
    arrive(box, "a", "b")
    box.edit_policy('positive: "yes"', 'positive: "no"')
    box.score = by_file({"a": 0.2, "b": 0.3})
    box.live()
    assert values(box) == {"a": 0.2, "b": 0.3}


def test_a_record_of_what_the_champion_learned_has_every_file_scored_again(box: FakeBox) -> None:
    arrive(box, "a")
    with box.life() as daemon:
        journal = daemon._to.journal
        known = journal.models.lineage(MODEL, CHAMPION)
        assert known is not None
        record = Lineage(version=CHAMPION, continues=None, learned_file="/state/other.npy", unknown_until=None,
                         attempt=None, unit=known.unit, created_at=box.registry.now)  # fmt: skip
        journal.models.record_lineage(MODEL, record, box.clock())
    box.score = by_file({"a": 0.6})
    box.live()
    assert values(box) == {"a": 0.6}
    assert score_jobs(box)[-1].learned == ("/state/other.npy",)


def test_a_file_of_too_few_rows_counts_as_scored_and_says_so(box: FakeBox) -> None:
    box.score = lambda job: scored(job, None, "12 of 12 rows can be scored, and 50 are needed.")
    with capture_logs() as logs:
        arrive(box, "a")
    assert values(box) == {"a": None}
    assert len(score_jobs(box)) == 1
    assert [line["reason"] for line in logs if line["event"] == "champion.not_scored"] == [
        "12 of 12 rows can be scored, and 50 are needed."
    ]
    assert seen_by_rules(box) == Scores()


def test_one_file_that_cannot_be_read_just_now_leaves_the_scores_unknown(box: FakeBox) -> None:
    def score(job: ScoreDrops) -> DropsScored:
        return DropsScored(scores=tuple(
            DropScore(drop=drop.drop, metric="accuracy", rows=100, value=0.9)
            for drop in job.drops if not drop.path.endswith("b.csv")
        ))  # fmt: skip

    box.score = score
    drop(box, "a", "b")
    box.live(turns=12)
    assert values(box) == {"a": 0.9}
    assert seen_by_rules(box) == Scores()
    assert box.standing()[0] == "no_rule_holds"
    box.score = by_file({"a": 0.9, "b": 0.8, "c": 0.7})
    arrive(box, "c")
    assert seen_by_rules(box).latest == (0.9, 0.8, 0.7)


def test_scoring_that_crashes_keeps_no_model_from_training(box: FakeBox) -> None:
    box.edit_policy("data.new_rows >= 1000000", "data.new_rows >= 1000")
    box.edit_policy("retrain:", f"retrain:\n  - {{name: getting worse, when: '{WORSE}'}}")
    box.score = lambda _job: Failed(message="the worker was ended by signal 9", temporary=True, lost=True)
    drop(box, "a")
    box.live(turns=2)
    assert box.standing()[0] == "measuring"
    box.live(turns=12)
    assert [attempt.state.value for attempt in box.attempts()] == ["promoted"]


def test_jobs_of_an_earlier_life_are_removed_and_asked_for_anew(box: FakeBox) -> None:
    box.score = lambda _job: None
    arrive(box, "a")
    box.score = scored
    box.results["measure-1"] = scored(score_jobs(box)[0], 0.1)
    box.live()
    assert values(box) == {"a": 0.9}
    assert box.results == {}


def test_labels_that_are_not_final_are_not_scored_yet(box: FakeBox) -> None:
    policy = replace(PolicyFolder(box.root / "policies").refresh().policies[0])
    delayed = replace(policy, data=replace(policy.data, label_delay=timedelta(days=7)))
    arrive(box, "a")
    with box.journal() as journal:
        soon, late = box.clock() + timedelta(days=6), box.clock() + timedelta(days=8)
        assert score_facts(delayed, journal, CHAMPION, soon)["accuracy"] == Scores()
        assert score_facts(delayed, journal, CHAMPION, late)["accuracy"].latest == (0.9,)


def test_of_very_many_files_the_oldest_and_the_newest_count(box: FakeBox) -> None:
    drop(box, *(f"f{number:03}" for number in range(OLDEST + NEWEST + 10)))
    box.live(turns=10)
    found = values(box)
    assert len(found) == OLDEST + NEWEST
    assert not {f"f{number:03}" for number in range(OLDEST, OLDEST + 10)} & found.keys()
    assert all(len(job.drops) <= 20 for job in score_jobs(box))


def test_a_score_by_settings_that_changed_while_it_was_made_is_not_kept(box: FakeBox) -> None:
    box.score = lambda _job: None
    with box.life() as daemon:
        drop(box, "a")
        for _ in range(5):
            daemon.turn()
            box.clock.now += timedelta(minutes=5)
        box.edit_policy('positive: "yes"', 'positive: "no"')
        daemon.turn()
        box.score = lambda job: scored(job, 0.9 if job.data.target.positive == "yes" else 0.2)
        for _ in range(5):
            daemon.turn()
            box.clock.now += timedelta(minutes=5)
    assert values(box) == {"a": 0.2}


def test_a_score_on_rows_that_turned_out_to_be_learned_while_it_was_made_is_not_kept(box: FakeBox) -> None:
    box.score = lambda _job: None
    with box.life() as daemon, capture_logs() as logs:
        drop(box, "a")
        for _ in range(5):
            daemon.turn()
            box.clock.now += timedelta(minutes=5)
        journal = daemon._to.journal
        known = journal.models.lineage(MODEL, CHAMPION)
        assert known is not None
        journal.models.record_lineage(MODEL, replace(known, learned_file="/state/other.npy"), box.clock())
        box.score = lambda job: scored(job, 0.9 if job.learned == ("/state/adopted.npy",) else 0.2)
        for _ in range(5):
            daemon.turn()
            box.clock.now += timedelta(minutes=5)
    assert values(box) == {"a": 0.2}
    assert not [line for line in logs if line["event"] == "measurement.failed"]
