"""The facts of a test's world at one moment: what `observe.gather` would find if registry and journal said all this."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import islice

from retrain_daemon.core.facts import (
    Champion,
    ChampionState,
    DataFacts,
    Drift,
    Facts,
    Offered,
    RetrainRequest,
    Scores,
    Undecided,
)
from retrain_daemon.core.policy import MissingFiles
from retrain_daemon.core.scores import FileScore, summed, wanted_metrics
from retrain_daemon.core.timeline.files import Cut
from retrain_daemon.core.timeline.given import Ends
from retrain_daemon.core.timeline.world import FEWEST_DRIFT_ROWS, ScoreNote, World

#: Of the files that came since a champion was cut, so many of the oldest and of the newest are scored.
OLDEST, NEWEST = 20, 100

_DETAILS = {
    ChampionState.UNKNOWN: "the registry does not answer",
    ChampionState.NONE: "there is no champion",
    ChampionState.LOST: "the champion's alias is gone",
}


def facts_of(world: World, now: datetime) -> Facts:
    """All that `decide` may look at."""
    state = world.state(now)
    known, answers = state is ChampionState.FOUND, world.answers(now)
    opened = world.open
    return Facts(
        model=world.policy.model,
        champion=_champion(world, state),
        data=_data(world, now, known),
        champion_moved=_moved(world) if known else None,
        last=world.last,
        resumed_since_last=bool(world.last and world.resumed_at and world.resumed_at > world.last.ended_at),
        failures=world.failures,
        open_attempt=opened.id if opened else None,
        awaits_until=opened.asked_until if opened else None,
        hold=world.hold,
        request=RetrainRequest(str(world.requests), world.request.by, "") if world.request else None,
        starts=_recent(world, now),
        upstream={name: world.changed_upstream(name) if answers else None for name in world.policy.upstream},
        upstream_since_last=answers and world.upstream_since_last(),
        offered=_offered(world, now) if opened is None and state in (ChampionState.FOUND, ChampionState.NONE) else None,
        undecided=_undecided(world, now) if known and opened is None else None,
        scores=_scores(world, now) if known else {},
        drift=drift_of(world, now),
    )


def _champion(world: World, state: ChampionState) -> Champion:
    if state is not ChampionState.FOUND or world.champion is None:
        return Champion(state=state, detail=_DETAILS[state])
    version = world.versions[world.champion]
    return Champion(state=state, version=version.number, created_at=version.created_at, challenger=world.offered)


def _data(world: World, now: datetime, known: bool) -> DataFacts:
    files = world.files
    sums = files.sums(world.cut() if known else Cut(), world.last_files, now)
    young, gone, last = files.young, files.gone, world.last_files
    skips = world.policy.data.missing is MissingFiles.SKIP
    return DataFacts(
        new_rows=sums.new,
        unlearned_rows=sums.unlearned if known else None,
        since_last=sums.since_last,
        judging_rows=sums.judging if known else None,
        waiting=now - sums.waiting_since if sums.waiting_since else timedelta(0),
        quarantined=files.quarantined,
        usable_drops=sums.usable,
        uninspected=files.uninspected,
        retracted_since=not world.retracted.isdisjoint(last),
        missing_files=() if skips else tuple(file.given.name for file in gone),
        skipped_files=tuple(file.given.name for file in gone) if skips else (),
        skipped_since=skips and any(file.number in last for file in gone),
        young_files=len(young),
        young_until=min((file.final_at for file in young), default=None),
    )


def _moved(world: World) -> bool:
    """Our promotions and rollbacks do not count, nor what was before the first attempt."""
    return world.left is not None and world.champion != world.left


def _recent(world: World, now: datetime) -> tuple[datetime, ...]:
    """Starts of the last 24 hours, and in any case the newest."""
    since = now - timedelta(days=1)
    recent: list[datetime] = []
    for start in reversed(world.starts):
        if start < since and recent:
            break
        recent.append(start)
    return tuple(reversed(recent))


def _offered(world: World, now: datetime) -> Offered | None:
    if world.offered is None:
        return None
    number = world.offered
    if number == world.champion:
        sentence = f"the alias challenger is on version {number}, the champion itself"
        return Offered(version=number, code="champion_itself", obstacle=sentence)
    if world.offered_refused:
        sentence = f"version {number} was not judged: {world.offered_refused}"
        return Offered(version=number, code="refused", obstacle=sentence)
    cut = world.versions[number].cut
    both = cut.joined(world.cut()) if world.champion is not None else cut
    return Offered(version=number, judging_rows=world.files.sums(both, world.last_files, now).judging)


def _undecided(world: World, now: datetime) -> Undecided | None:
    last = world.last_of_ours if world.policy.promote.inconclusive.at_most else None
    if last is None or last.ends is not Ends.INCONCLUSIVE or world.champion is None:
        return None
    first = last.first or last
    both = world.cut()
    if first.champion in world.versions:
        both = both.joined(world.versions[first.champion].cut)
    return Undecided(
        first=first.id,
        attempt=last.id,
        look=last.look,
        rule=last.rule,
        recipe=last.recipe,
        policy_digest=last.digest,
        champion=last.champion,
        rows=last.judged_on,
        more=world.files.sums(both, last.files, now).judging_since,
        stale=not world.retracted.isdisjoint(first.files),
    )


def drift_of(world: World, now: datetime) -> Drift:
    """How far the new rows are, once there is something to compare enough of them with."""
    if world.learned_rows is None:
        return Drift(obstacle="no attempt was judged yet, so there is nothing to compare new rows with")
    new = world.files.sums(world.cut(), world.last_files, now).new
    if new < FEWEST_DRIFT_ROWS:
        return Drift(obstacle=f"{new:,} new rows, {FEWEST_DRIFT_ROWS:,} are needed")
    if world.learned_rows < FEWEST_DRIFT_ROWS:
        return Drift(obstacle=f"{world.learned_rows:,} rows were learned from, {FEWEST_DRIFT_ROWS:,} are needed")
    return Drift(columns=world.drift) if world.drift else Drift(obstacle="the test does not say how far they are")


def _scores(world: World, now: datetime) -> Mapping[str, Scores]:
    """What rules see of the champion's scores. A file of which the test tells no score has none."""
    if not any(note.scores for note in world.live):
        return {}
    counted = _counted(world, now)
    rows = world.policy.promote.min_rows
    return {
        metric: summed([FileScore(note.rows, note.scores.get(metric)) for note in counted], rows)
        for metric in wanted_metrics(world.policy)
    }


def _counted(world: World, now: datetime) -> list[ScoreNote]:
    """Those since the champion was cut, oldest first."""
    live = world.live
    if len(live) <= OLDEST + NEWEST:
        return [note for note in live if _counts(world, note, now)]
    oldest = list(islice((note for note in live if _counts(world, note, now)), OLDEST))
    newest = list(islice((note for note in reversed(live) if _counts(world, note, now)), NEWEST))
    return [*oldest, *reversed(newest)]


def _counts(world: World, note: ScoreNote, now: datetime) -> bool:
    if note.number is None:
        return True
    file = world.files.all[note.number]
    return file.final_at <= now and not file.gone and file.counts
