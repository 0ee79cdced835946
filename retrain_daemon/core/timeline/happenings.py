"""What an event of a test does to its world, whether the daemon sees it or not."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from retrain_daemon.core.facts import Hold
from retrain_daemon.core.timeline.files import Stands
from retrain_daemon.core.timeline.given import (
    AliasMoved,
    Answered,
    Back,
    Course,
    Drifted,
    Event,
    File,
    Gone,
    Paused,
    PolicyEdited,
    PutUp,
    RegistryDown,
    Release,
    Requested,
    Resumed,
    Retract,
    RolledBack,
    Scored,
    Stopped,
    UpstreamMoved,
)
from retrain_daemon.core.timeline.world import ScoreNote, World


def why_idle(world: World, event: Event) -> str:
    """Why an event would change nothing at all, a clause; "" where it does something. Whoever gives it meant more."""
    asked = world.open is not None and world.open.asked_until is not None
    match event:
        case Answered() if not asked:
            return "nothing awaits approval then"
        case RolledBack() if world.previous is None:
            return "there is no champion before this one"
        case Release(name) if world.files.named(name).stands is not Stands.QUARANTINED:
            return f"“{name}” is not quarantined then, but {world.files.named(name).stands.value}"
        case Back(name) if not world.files.named(name).gone:
            return f"“{name}” is not gone then"
        case Retract(name) | Gone(name) if not world.files.named(name).counts:
            return f"“{name}” is not recorded then, but {world.files.named(name).stands.value}"
    return ""


def happen(world: World, event: Event, now: datetime) -> None:
    """An event changes the world, whether the daemon sees it or not."""
    match event:
        case File():
            world.wake_at(world.files.arrive(event, now).complete_at)
        case Retract() | Release() | Gone() | Back():
            _handle(world, event, now)
        case Scored(scores):
            world.note_score(ScoreNote(now, None, world.policy.promote.min_rows, scores))
        case Drifted(columns):
            world.drift = columns
        case UpstreamMoved(name):
            world.upstream[name] = world.upstream.get(name, 0) + 1
        case PolicyEdited():
            world.edits += 1
            world.policy = replace(world.policy, digest=f"{world.policy.digest}, edited {world.edits} times")
        case Course():
            world.take_course(event)
        case Stopped(span):
            world.down_until = now + span
            world.wake_at(world.down_until)
        case RegistryDown(span):
            world.registry_until = now + span
            world.wake_at(world.registry_until)
        case _:
            _person(world, event, now)


def _handle(world: World, event: Retract | Release | Gone | Back, now: datetime) -> None:
    """A person does something with a file."""
    if isinstance(event, Retract):
        world.retracted.add(world.files.retract(event.name).number)
    elif isinstance(event, Release):
        world.files.release(event.name, now)
    else:
        world.files.go(event.name, gone=isinstance(event, Gone))


def _person(world: World, event: Event, now: datetime) -> None:
    match event:
        case AliasMoved(version):
            _move_alias(world, version, now)
        case PutUp(version):
            _put_up(world, version, now)
        case Paused(by):
            world.hold = world.hold or Hold(now, by, "paused by the test")
        case Resumed():
            world.hold, world.resumed_at, world.failures, world.offered_refused = None, now, 0, ""
        case Requested():
            world.request, world.requests = event, world.requests + 1
        case Answered():
            if world.open is not None and world.open.asked_until is not None:
                world.open.answer = event
        case RolledBack(by):
            _roll_back(world, by, now)


def _move_alias(world: World, version: int | None, now: datetime) -> None:
    if version is not None:
        world.make(version, now)
    judged_against = world.previous if world.champion is None else world.champion
    world.lost = version is None and (world.champion is not None or world.lost)
    world.crown(version)
    moved = version not in (None, judged_against)
    if moved and world.open is not None and world.open.asked_until is not None:
        world.open.asked_until, world.open.answer = None, None
        world.ends_at(world.open, now + world.open.course.takes)


def _put_up(world: World, version: int, now: datetime) -> None:
    world.make(version, now)
    world.offered, world.offered_refused = version, ""


def _roll_back(world: World, by: str, now: datetime) -> None:
    """To the champion before; every rollback pauses the model."""
    if world.previous is None:
        return
    world.crown(world.previous)
    world.left = world.champion if world.left is not None else None
    world.hold = world.hold or Hold(now, by, "rolled back")
