"""A promotion that is watched: when a look is due, what it may err, and what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain_daemon.core.evidence import MetricEvidence
from retrain_daemon.core.policy import Claim, IfWorse, Promotion, Requirement, Watch
from retrain_daemon.core.watch import (
    LOOKS,
    Look,
    Seen,
    Terms,
    confidence_of,
    judge_look,
    next_look,
    rows_for_next,
    spent,
    terms_of,
)

BETTER = Requirement("accuracy", Claim.BETTER_BY, 0.0)
NOT_WORSE = Requirement("log_loss", Claim.NOT_WORSE_BY, 0.02)
TERMS = Terms(rows=5000, alpha=0.05, lines=(BETTER,), if_worse=IfWorse.ROLLBACK)
FIRST = Look(number=1, rows=2500, alpha=spent(0.05, 0.5))


def measured(metric: str, gain: float, high: float) -> MetricEvidence:
    return MetricEvidence(
        metric=metric, champion=0.8, challenger=0.8 + gain, gain=gain, gain_low=2 * gain - high, gain_high=high
    )


def look_at(terms: Terms, *metrics: MetricEvidence) -> Seen:
    return judge_look(terms, FIRST, 8, 7, metrics)


@pytest.mark.parametrize(
    ("alpha", "share", "expected"),
    [(0.025, 0.5, 0.00153), (0.025, 0.25, 0.0000074), (0.025, 0.75, 0.00965), (0.05, 0.5, 0.00557), (0.05, 1.0, 0.05)],
)  # published for two-sided 0.05, such as by the R package gsDesign (sfLDOF): 0.00153 at half of the information
def test_the_spending_function_is_that_of_lan_and_demets(alpha: float, share: float, expected: float) -> None:
    assert spent(alpha, share) == pytest.approx(expected, rel=0.02)


def test_no_rows_spend_nothing() -> None:
    assert spent(0.05, 0.0) == 0.0


def test_the_first_look_waits_for_half_of_the_rows_and_the_second_one_for_all() -> None:
    assert rows_for_next(TERMS, ()) == 2500
    assert next_look(TERMS, (), 2499) is None
    assert next_look(TERMS, (), 2500) == FIRST
    assert rows_for_next(TERMS, (FIRST,)) == 5000
    assert next_look(TERMS, (FIRST,), 4999) is None
    second = next_look(TERMS, (FIRST,), 5100)
    assert second == Look(number=2, rows=5100, alpha=0.05 - FIRST.alpha)
    assert rows_for_next(TERMS, (FIRST, second)) is None
    assert next_look(TERMS, (FIRST, second), 10**6) is None


def test_where_all_rows_come_at_once_there_is_one_look_with_the_whole_chance() -> None:
    assert next_look(TERMS, (), 7000) == Look(number=LOOKS, rows=7000, alpha=0.05)


@given(st.integers(2, 10**6), st.integers(0, 2 * 10**6), st.integers(0, 2 * 10**6), st.sampled_from([0.01, 0.05, 0.2]))
def test_all_looks_together_never_spend_more_than_the_whole_chance(rows: int, one: int, two: int, alpha: float) -> None:
    terms = replace(TERMS, rows=rows, alpha=alpha)
    taken: list[Look] = []
    for there in (one, one + two, 10**8, 10**9):
        look = next_look(terms, taken, there)
        taken += [look] if look else []
    assert 1 <= len(taken) <= LOOKS
    assert taken[-1].number == LOOKS
    assert sum(look.alpha for look in taken) == pytest.approx(alpha)
    assert all(look.alpha >= 0 for look in taken)


def test_the_chance_of_an_error_is_shared_by_all_lines() -> None:
    both = replace(TERMS, lines=(BETTER, NOT_WORSE))
    assert confidence_of(TERMS, FIRST) == 1 - FIRST.alpha
    assert confidence_of(both, FIRST) == 1 - FIRST.alpha / 2


def test_a_version_is_worse_when_the_upper_bound_of_its_gain_is_below_zero() -> None:
    seen = look_at(TERMS, measured("accuracy", -0.03, -0.004))
    assert seen.worse
    assert seen.sentence == (
        "look 1 of 2, 2,500 rows: accuracy: version 8 0.7700, version 7 0.8000, gain -0.0300, at most -0.0040 at"
        " 99.44 %; worse: shown"
    )
    assert not look_at(TERMS, measured("accuracy", -0.03, 0.0)).worse


def test_a_line_that_allows_a_loss_is_broken_beyond_it_only() -> None:
    terms = replace(TERMS, lines=(NOT_WORSE,))
    assert not look_at(terms, measured("log_loss", -0.03, -0.004)).worse
    assert look_at(terms, measured("log_loss", -0.05, -0.021)).worse
    assert "worse by more than 0.02: shown" in look_at(terms, measured("log_loss", -0.05, -0.021)).sentence


def test_one_line_suffices_and_is_the_one_that_is_told() -> None:
    terms = replace(TERMS, lines=(BETTER, NOT_WORSE))
    seen = look_at(terms, measured("accuracy", 0.0, 0.01), measured("log_loss", -0.05, -0.03))
    assert seen.worse
    assert "accuracy" not in seen.sentence


@pytest.mark.parametrize(
    "metrics",
    [
        (),
        (MetricEvidence(metric="accuracy", problem="all rows are of one class"),),
        (measured("accuracy", -0.5, float("nan")),),
        (measured("accuracy", float("-inf"), float("-inf")),),
        (replace(measured("accuracy", -0.5, -0.4), gain_high=None, problem="too few rows"),),
    ],
)
def test_what_is_not_known_shows_nothing_and_is_named(metrics: tuple[MetricEvidence, ...]) -> None:
    seen = look_at(TERMS, *metrics)
    assert not seen.worse
    why = metrics[0].problem if metrics and metrics[0].problem else "it was not measured"
    assert seen.sentence.endswith(f"accuracy: not known whether version 8 is worse: {why}")


def test_lines_about_one_model_alone_or_about_slices_are_not_watched() -> None:
    watch = Watch(5000, IfWorse.NOTIFY)
    lines = (
        NOT_WORSE,
        Requirement("accuracy", Claim.AT_LEAST, 0.7),
        Requirement("recall", Claim.NOT_WORSE_BY, 0.05, slices="region"),
        Requirement("latency_ms_p95", Claim.NOT_WORSE_BY, 5.0),
    )
    terms = terms_of(Promotion(require=lines, confidence=0.9, watch=watch))
    assert terms is not None
    assert (terms.rows, terms.lines, terms.if_worse) == (5000, (NOT_WORSE,), IfWorse.NOTIFY)
    assert terms.alpha == pytest.approx(0.1)
    assert terms_of(Promotion(require=lines[1:], watch=watch)) is None
    assert terms_of(Promotion(require=lines)) is None
