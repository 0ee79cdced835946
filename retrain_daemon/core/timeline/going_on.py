"""How the world of a test goes on as the daemon sees it: files are taken in, attempts begin and come to their ends."""

from __future__ import annotations

from datetime import datetime, timedelta

from retrain_daemon.core.decide import Action, Decision
from retrain_daemon.core.facts import ChampionState, LastAttempt
from retrain_daemon.core.policy import Approval, Mode, Policy, Then
from retrain_daemon.core.steps import LONGEST_BACKOFF
from retrain_daemon.core.timeline.files import Cut, Lying, Stands
from retrain_daemon.core.timeline.given import (
    Ends,
)
from retrain_daemon.core.timeline.world import ScoreNote, Try, Version, World

_BACKOFF = timedelta(minutes=1)


def go_on(world: World, now: datetime) -> list[Lying | Try]:
    """What comes to an end by now, as the daemon sees it; returns the files taken in and the attempts moved on."""
    world.moments_pass(now)
    world.files.settle(now)
    if not world.runs(now):
        return []
    looked: list[Lying | Try] = []
    if world.state(now) is ChampionState.FOUND or (world.state(now) is ChampionState.NONE and world.offered):
        looked += _inspect(world, now)
    opened = world.open
    if opened is not None and _move_on(world, opened, now):
        looked.append(opened)
    return looked


def _inspect(world: World, now: datetime) -> list[Lying]:
    taken = world.files.inspect(now)
    for file in taken:
        if file.stands is not Stands.RECORDED:
            continue
        if file.final_at > now:
            world.wake_at(file.final_at)
        if file.new:
            world.note_score(ScoreNote(file.arrived, file.number, file.given.rows, file.given.scores))
        world.drift = file.given.drift or world.drift
    return taken


def begin(world: World, decision: Decision, now: datetime) -> Try:
    """What was decided begins."""
    assert decision.recipe is not None
    world.tries += 1
    course = world.course_of_next()
    again = world.last_of_ours if decision.again else None
    begun = Try(
        number=world.tries,
        id=f"{world.policy.model}-{world.tries}",
        action=decision.action,
        decision=decision,
        rule=decision.rule,
        recipe=decision.recipe,
        started=now,
        files=world.files.to_use(now),
        champion=world.champion or 0,
        course=course,
        ends=course.ends,
        due=now,
        upstream=dict(world.upstream),
        reason=course.reason,
        look=again.look + 1 if again else 1,
        offered=world.offered if decision.action is Action.JUDGE and not again else None,
        first=(again.first or again) if again else None,
        digest=world.policy.digest,
        judged_on=world.files.sums(world.cut(), world.last_files, now).judging,
    )
    world.open = begun
    world.ends_at(begun, now + _span_of(begun))
    if begun.trains:
        world.starts.append(now)
    if decision.request is not None:
        world.request = None
    return begun


def _move_on(world: World, attempt: Try, now: datetime) -> bool:
    """Whether an attempt ends now, or a person is asked."""
    if attempt.asked_until is not None:
        return _after_asking(world, attempt, attempt.asked_until, now)
    if now < attempt.due:
        return False
    if attempt.ends is Ends.ABANDONED:
        return _end(world, attempt, Ends.ABANDONED, now)
    asking = _asking(world.policy, attempt)
    effects = attempt.ends is Ends.PROMOTED or asking is not None
    if not world.answers(now) or (
        effects and (world.hold is not None or (world.champion is None and not attempt.offered))
    ):
        return False
    if asking is not None:
        attempt.asked_until = now + asking.within
        world.wake_at(attempt.asked_until)
        return True
    return _end(world, attempt, attempt.ends, now)


def _after_asking(world: World, attempt: Try, until: datetime, now: datetime) -> bool:
    """Approved, rejected, or not answered in time. While the model is paused no alias moves."""
    if attempt.digest != world.policy.digest or (attempt.answer is None and now >= until):
        attempt.reason = "another policy came into force" if now < until else "nobody approved it in time"
    elif attempt.answer is None:
        return False
    elif attempt.answer.approved:
        return world.hold is None and world.answers(now) and _end(world, attempt, Ends.PROMOTED, now)
    else:
        attempt.reason = f"rejected by {attempt.answer.by}"
    shown = attempt.ends is Ends.PROMOTED or (attempt.answer is not None and not attempt.answer.approved)
    return _end(world, attempt, Ends.REJECTED if shown else Ends.INCONCLUSIVE, now)


def _end(world: World, attempt: Try, ends: Ends, now: datetime) -> bool:
    attempt.ends, attempt.ended, world.open = ends, now, None
    if ends is Ends.PROMOTED:
        _promote(world, attempt, now)
    if attempt.trains or ends is Ends.PROMOTED:
        world.left = world.champion
    if attempt.offered is not None:
        _end_offer(world, attempt, ends)
    else:
        world.last_of_ours = attempt
    if attempt.trains:
        _end_training(world, attempt, ends, now)
    world.files.recount()
    return True


def _end_training(world: World, attempt: Try, ends: Ends, now: datetime) -> None:
    world.failures = world.failures + 1 if ends is Ends.ABANDONED else 0
    world.last = LastAttempt(
        id=attempt.id, outcome=ends.value, started_at=attempt.started, ended_at=now, policy_digest=attempt.digest,
        champion_after=world.champion, reason=attempt.reason,
    )  # fmt: skip
    world.last_files, world.ended_upstream = attempt.files, attempt.upstream
    if ends is not Ends.ABANDONED:
        world.last_upstream = attempt.upstream
        had = world.files.numbered(attempt.files)
        world.learned_rows, world.drift = sum(file.given.rows for file in had), None
        for file in had:
            file.judged = True


def _end_offer(world: World, attempt: Try, ends: Ends) -> None:
    """A person's challenger that was judged is none any more."""
    if attempt.offered != world.offered:
        return
    if ends is Ends.ABANDONED:
        world.offered_refused = attempt.reason or "it could not be judged"
    else:
        world.offered = None


def _promote(world: World, attempt: Try, now: datetime) -> None:
    """The challenger becomes a version and the champion."""
    if attempt.offered is not None:
        world.crown(attempt.offered)
        return
    trained = attempt.first or attempt
    cut = Cut(trained.files)
    if trained.recipe.mode is not Mode.REFIT and trained.champion in world.versions:
        cut = cut.joined(world.versions[trained.champion].cut)
    number = max(world.versions, default=0) + 1
    world.versions[number] = Version(number, now, cut, own=trained.files | attempt.files)
    world.crown(number)


def _asking(policy: Policy, attempt: Try) -> Approval | None:
    """What a person must be asked for, by the rule of `core.approval`."""
    promote = policy.promote
    if attempt.ends is Ends.PROMOTED:
        return promote.approval
    last = attempt.offered is not None or attempt.look > promote.inconclusive.at_most
    if attempt.ends is Ends.INCONCLUSIVE and promote.inconclusive.then is Then.ASK and last:
        return promote.approval or Approval()
    return None


def _span_of(attempt: Try) -> timedelta:
    """How long it takes with the tries that fail; one that fails too often is abandoned."""
    course, retries = attempt.course, attempt.recipe.retries
    failed = min(course.failures, retries + 1)
    if course.failures > retries:
        attempt.ends = Ends.ABANDONED
        attempt.reason = f"gave up after {failed} tries: {course.reason or 'the training failed'}"
        waits, tries = failed - 1, failed
    else:
        waits, tries = failed, failed + 1
    backoff = sum((min(_BACKOFF * 2**count, LONGEST_BACKOFF) for count in range(waits)), timedelta(0))
    return course.takes * tries + backoff
