from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest

from retrain_daemon.core.attempts import CALLED_OFF, ENDED, Attempt, Effect, State
from retrain_daemon.core.facts import Champion, ChampionState
from retrain_daemon.core.judge import Outcome, Verdict
from retrain_daemon.core.steps import (
    ALLOWED_CUTS,
    LONGEST_BACKOFF,
    LONGEST_OUTAGE_BACKOFF,
    AcceptResult,
    Conclude,
    JudgeAgain,
    JudgeNow,
    Perform,
    Retry,
    StartWorker,
    Step,
    TakeUpChampion,
    Wait,
    WorkerSeen,
    WorkerState,
    next_step,
)
from tests.made import CHAMPION, NOW, a_challenger, a_champion, an_attempt

RUNNING = WorkerSeen(WorkerState.RUNNING)
SUCCEEDED = WorkerSeen(WorkerState.SUCCEEDED)
GONE = WorkerSeen(WorkerState.GONE)
CRASHED = WorkerSeen(WorkerState.FAILED, "ended by signal 9", temporary=True)
REFUSED = WorkerSeen(WorkerState.FAILED, "no partial_fit", temporary=False)
OURS = 8
BEFORE_ALIAS = frozenset({Effect.VERDICT, Effect.REGISTER, Effect.REPLACES})


def verdict(outcome: Outcome) -> Verdict:
    return Verdict(outcome=outcome, findings=(), summary=f"it is {outcome.value}")


def winner(**changes: object) -> Attempt:
    begun = changes.pop("begun", changes.get("done", frozenset()))
    return an_attempt(State.JUDGED, verdict=verdict(Outcome.PROMOTE), begun=begun, **changes)


def step(attempt: Attempt, worker: WorkerSeen = GONE, champion: Champion | None = None) -> Step:
    return next_step(attempt, worker, champion or a_champion(), NOW)


def test_a_planned_attempt_starts_its_worker() -> None:
    assert step(an_attempt()) == StartWorker()


def test_a_failed_attempt_waits_until_it_is_due() -> None:
    failed = an_attempt(State.FAILED, due_at=NOW + timedelta(minutes=1))
    assert step(failed) == Wait("waits before the next try", NOW + timedelta(minutes=1))
    assert next_step(failed, GONE, a_champion(), NOW + timedelta(minutes=1)) == StartWorker()


@pytest.mark.parametrize(
    ("worker", "expected"), [(RUNNING, Wait("worker is running")), (SUCCEEDED, AcceptResult()), (GONE, StartWorker())]
)
def test_a_training_follows_its_worker(worker: WorkerSeen, expected: Step) -> None:
    assert step(an_attempt(State.TRAINING, starts=1), worker) == expected


def test_a_crash_is_tried_again_with_doubling_waits_then_abandoned_with_the_reason() -> None:
    waits = []
    for failures in (0, 1):
        taken = step(an_attempt(State.TRAINING, starts=failures + 1, failures=failures), CRASHED)
        assert isinstance(taken, Retry)
        waits.append(taken.due_at - NOW)
    assert waits == [timedelta(minutes=1), timedelta(minutes=2)]
    last = step(an_attempt(State.TRAINING, starts=3, failures=2), CRASHED)
    assert isinstance(last, Conclude)
    assert last.state is State.ABANDONED
    assert "3 tries" in last.reason
    assert "signal 9" in last.reason


def test_a_wait_between_tries_has_a_limit() -> None:
    attempt = an_attempt(State.TRAINING, failures=1)
    taken = next_step(attempt, CRASHED, a_champion(), NOW, backoff=timedelta(days=1))
    assert isinstance(taken, Retry)
    assert taken.due_at == NOW + LONGEST_BACKOFF


@pytest.mark.parametrize(("ahead", "waits"), [(timedelta(minutes=1), True), (timedelta(hours=5), False)])
def test_a_try_is_not_put_off_for_longer_than_any_wait_when_the_clock_was_set_back(
    ahead: timedelta, waits: bool
) -> None:
    attempt = an_attempt(State.FAILED, starts=1, failures=1, due_at=NOW + ahead)
    assert isinstance(next_step(attempt, CRASHED, a_champion(), NOW), Wait) is waits


def test_what_would_fail_again_is_abandoned_at_once() -> None:
    assert step(an_attempt(State.TRAINING, starts=1), REFUSED) == Conclude(State.ABANDONED, "no partial_fit")


def test_a_training_that_is_cut_short_again_and_again_ends() -> None:
    assert step(an_attempt(State.TRAINING, starts=99, cuts=ALLOWED_CUTS - 1)) == StartWorker()
    ended = step(an_attempt(State.TRAINING, starts=99, cuts=ALLOWED_CUTS))
    assert ended == Conclude(State.ABANDONED, f"its worker was cut short {ALLOWED_CUTS + 1} times")


def test_while_the_registry_is_away_a_training_is_tried_again_without_end_and_ever_more_slowly() -> None:
    away = replace(CRASHED, unreachable=True)
    waits = []
    for starts in (1, 2, 3, 50):
        taken = step(an_attempt(State.TRAINING, starts=starts, failures=2), away)
        assert isinstance(taken, Retry)
        assert not taken.counts
        waits.append(taken.due_at - NOW)
    assert waits == [timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=4), LONGEST_OUTAGE_BACKOFF]


@pytest.mark.parametrize("state", [State.FAILED, State.TRAINING])
def test_what_was_trained_is_put_into_the_registry_whoever_is_champion_by_then(state: State) -> None:
    kept = replace(GONE, kept=True)
    attempt = an_attempt(state, starts=1, cuts=ALLOWED_CUTS - 1)
    assert step(attempt, kept) == StartWorker()
    assert step(attempt, kept, a_champion(9)) == StartWorker()
    assert step(attempt, kept, a_champion(None, ChampionState.LOST)) == StartWorker()
    assert isinstance(step(attempt, kept, a_champion(None, ChampionState.UNKNOWN)), Wait)


def test_a_worker_that_was_cut_short_is_started_again_only_on_the_champion_that_is_found() -> None:
    attempt = an_attempt(State.TRAINING, starts=1)
    assert step(attempt, champion=a_champion(9)) == TakeUpChampion(9)
    compared = an_attempt(State.TRAINING, starts=1, challenger=a_challenger())
    assert step(compared, champion=a_champion(9)) == JudgeAgain(9)
    assert isinstance(step(attempt, champion=a_champion(None, ChampionState.LOST)), Wait)


@pytest.mark.parametrize("state", [State.PLANNED, State.FAILED, State.TRAINING])
@pytest.mark.parametrize(("challenger", "against"), [(None, ""), (9, ""), (OURS, "version 8 is by eve")])
def test_a_persons_challenger_is_not_loaded_once_it_is_taken_back_or_not_trusted(
    state: State, challenger: int | None, against: str
) -> None:
    attempt = an_attempt(state, starts=1, offered=OURS, version=OURS)
    champion = replace(a_champion(), challenger=challenger, against_challenger=against)
    taken = step(attempt, champion=champion)
    assert isinstance(taken, Conclude)
    assert taken.state is State.ABANDONED
    assert taken.reason.startswith(CALLED_OFF)
    assert against in taken.reason


@pytest.mark.parametrize("done", [frozenset(), BEFORE_ALIAS])
def test_a_persons_challenger_is_neither_tagged_nor_promoted_once_it_is_not_trusted(done: frozenset[Effect]) -> None:
    attempt = winner(done=done, offered=OURS, version=OURS)
    champion = replace(a_champion(), challenger=OURS, against_challenger="version 8 is by eve")
    assert step(attempt, champion=champion) == Conclude(State.REJECTED, f"{CALLED_OFF}version 8 is by eve")


def test_a_trained_challenger_is_judged() -> None:
    assert step(an_attempt(State.TRAINED)) == JudgeNow()


@pytest.mark.parametrize(
    ("outcome", "state"), [(Outcome.REJECT, State.REJECTED), (Outcome.INCONCLUSIVE, State.INCONCLUSIVE)]
)
def test_a_challenger_that_did_not_win_is_tagged_and_that_is_all(outcome: Outcome, state: State) -> None:
    attempt = an_attempt(State.JUDGED, verdict=verdict(outcome))
    assert step(attempt) == Perform(Effect.VERDICT)
    tagged = an_attempt(State.JUDGED, verdict=verdict(outcome), done=frozenset({Effect.VERDICT}))
    assert step(tagged) == Conclude(state, f"it is {outcome.value}")


def test_a_promotion_goes_in_the_order_of_the_design() -> None:
    taken, done, version, champion = [], frozenset[Effect](), None, CHAMPION
    while True:
        now = step(winner(done=done, version=version), champion=a_champion(champion))
        if isinstance(now, Conclude):
            break
        assert isinstance(now, Perform)
        taken.append(now.effect)
        done |= {now.effect}
        version = OURS if Effect.REGISTER in done else None
        champion = OURS if Effect.ALIAS in done else CHAMPION
    assert taken == [Effect.VERDICT, Effect.REGISTER, Effect.REPLACES, Effect.ALIAS, Effect.PREVIOUS]
    assert now.state is State.PROMOTED


@pytest.mark.parametrize("state", [ChampionState.LOST, ChampionState.NONE, ChampionState.UNKNOWN])
@pytest.mark.parametrize("done", [frozenset({Effect.VERDICT}), BEFORE_ALIAS])
def test_nothing_is_promoted_while_the_champion_is_not_found(state: ChampionState, done: frozenset[Effect]) -> None:
    version = OURS if Effect.REGISTER in done else None
    assert isinstance(step(winner(done=done, version=version), champion=a_champion(None, state)), Wait)


@pytest.mark.parametrize("done", [frozenset({Effect.VERDICT}), BEFORE_ALIAS])
def test_a_person_who_moved_the_alias_wins_and_the_challenger_is_judged_again(done: frozenset[Effect]) -> None:
    version = OURS if Effect.REGISTER in done else None
    assert step(winner(done=done, version=version), champion=a_champion(9)) == JudgeAgain(9)


def test_after_our_own_move_was_begun_a_persons_move_ends_the_attempt() -> None:
    attempt = winner(done=BEFORE_ALIAS, begun=BEFORE_ALIAS | {Effect.ALIAS}, version=OURS)
    taken = step(attempt, champion=a_champion(9))
    assert isinstance(taken, Conclude)
    assert taken.state is State.REJECTED
    assert "version 9" in taken.reason


def test_a_move_that_a_crash_hid_is_found_in_the_registry_and_not_done_again() -> None:
    attempt = winner(done=BEFORE_ALIAS, begun=BEFORE_ALIAS | {Effect.ALIAS}, version=OURS)
    assert step(attempt, champion=a_champion(OURS)) == Perform(Effect.ALIAS, already=True)


def test_a_version_that_a_person_made_champion_before_us_is_still_tagged_with_what_it_replaces() -> None:
    registered = frozenset({Effect.VERDICT, Effect.REGISTER})
    attempt = winner(done=registered, version=OURS)
    assert step(attempt, champion=a_champion(OURS)) == Perform(Effect.REPLACES)
    tagged = winner(done=BEFORE_ALIAS, version=OURS)
    assert step(tagged, champion=a_champion(OURS)) == Perform(Effect.ALIAS, already=True)


def test_previous_champion_is_left_alone_once_someone_moved_the_alias_on() -> None:
    moved = winner(done=BEFORE_ALIAS | {Effect.ALIAS}, version=OURS)
    assert step(moved, champion=a_champion(OURS)) == Perform(Effect.PREVIOUS)
    assert step(moved, champion=a_champion(9)) == Perform(Effect.PREVIOUS, already=True)


def test_no_state_of_the_world_leads_an_alias_move_without_a_promoting_verdict_and_the_frozen_champion() -> None:
    """Every combination of state, verdict, effects, worker and champion."""
    sets = [frozenset(chosen) for size in range(6) for chosen in itertools.combinations(Effect, size)]
    champions = [a_champion(version) for version in (CHAMPION, OURS, 9)]
    champions += [a_champion(None, state) for state in ChampionState if state is not ChampionState.FOUND]
    for state, outcome, done, worker, champion, version in itertools.product(
        State, Outcome, sets, (RUNNING, SUCCEEDED, GONE, CRASHED), champions, (None, OURS)
    ):
        attempt = an_attempt(state, verdict=verdict(outcome), done=done, begun=done, version=version, starts=1)
        taken = next_step(attempt, worker, champion, NOW)
        if state in ENDED:
            assert isinstance(taken, Wait)
        if isinstance(taken, Perform) and taken.effect is Effect.ALIAS and not taken.already:
            assert (state, outcome) == (State.JUDGED, Outcome.PROMOTE)
            assert (champion.state, champion.version) == (ChampionState.FOUND, CHAMPION)
            assert version == OURS
            assert done >= {Effect.VERDICT, Effect.REPLACES}
