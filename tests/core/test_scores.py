"""Scores of single files put together: which metrics are wanted, and what a series says."""

from __future__ import annotations

import pytest

from retrain_daemon.core.facts import Scores
from retrain_daemon.core.policy import Claim, Promotion, Recipe, Requirement, Rule
from retrain_daemon.core.scores import LATEST, FileScore, summed, wanted_metrics
from tests.made import a_policy


def test_a_score_is_the_mean_of_the_files_by_their_rows() -> None:
    found = summed([FileScore(100, 0.9), FileScore(300, 0.7)], 50)
    assert found.score == pytest.approx(0.75)
    assert found.latest == (0.9, 0.7)


def test_files_without_a_score_are_passed_over() -> None:
    assert summed([FileScore(20, None), FileScore(300, 0.7)], 50) == Scores(score=0.7, latest=(0.7,), baseline=0.7)


def test_without_any_score_nothing_is_known() -> None:
    assert summed([], 50) == summed([FileScore(20, None)], 10) == Scores()


def test_only_the_newest_files_are_listed() -> None:
    found = summed([FileScore(100, number / 100) for number in range(30)], 50)
    assert found.latest == tuple(number / 100 for number in range(30 - LATEST, 30))


def test_the_baseline_is_of_the_first_files_with_enough_rows_together() -> None:
    files = [FileScore(100, 0.9), FileScore(100, 0.8), FileScore(1000, 0.1)]
    assert summed(files, 200).baseline == pytest.approx(0.85)
    assert summed(files[:1], 200).baseline is None


def test_metrics_are_wanted_that_judge_or_that_a_rule_names() -> None:
    when = "champion.score.log_loss > 0.5 || champion.scores.accuracy.exists(s, s < champion.baseline.recall)"
    policy = a_policy(rules=(Rule("worse", when, Recipe()),))
    assert wanted_metrics(policy) == ("accuracy", "log_loss", "recall")


def test_no_champion_is_scored_by_what_its_stored_model_takes() -> None:
    latency = Requirement("latency_ms_p95", Claim.AT_MOST, 40)
    promote = Promotion(require=(latency, Requirement("accuracy", Claim.BETTER_BY, 0.0)))
    assert wanted_metrics(a_policy(rules=(), promote=promote)) == ("accuracy",)
