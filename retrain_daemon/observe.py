"""Observing: what registry and journal say of a model, as the facts that `core.decide` takes.

Reads, and remembers between polls; changes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from retrain_daemon.core.attempts import Attempt, State
from retrain_daemon.core.facts import (
    Champion,
    ChampionState,
    DataFacts,
    Drift,
    Facts,
    LastLook,
    Offered,
    RetrainRequest,
    Undecided,
)
from retrain_daemon.core.policy import Policy, unit_of
from retrain_daemon.journal import Journal
from retrain_daemon.journal.models import Learned, ModelRow
from retrain_daemon.registry_view import RegistryView, as_loaded
from retrain_daemon.scores import score_facts
from retrain_daemon.upstream import upstream_facts


def gather(
    policy: Policy, journal: Journal, view: RegistryView, now: datetime, folder_problem: str = "",
    measuring: tuple[str, ...] = (),
) -> Facts:  # fmt: skip
    """The facts of one model now, from registry view and journal. `measuring`: how the names of facts begin whose
    measurement is due or under way.
    """
    row = journal.models.find(policy.model)
    champion = as_loaded(view.champion(policy, row.champion_seen if row else None), row)
    last = journal.attempts.last_ended(policy.model)
    opened = journal.attempts.open(policy.model)
    known = champion.state is ChampionState.FOUND
    offers = known or champion.state is ChampionState.NONE
    upstream = upstream_facts(policy, journal, view)
    data = _data_facts(policy, journal, row, champion, last.id if last else None, now, folder_problem)
    return Facts(
        model=policy.model,
        champion=champion,
        data=replace(data, measuring=measuring),
        scores=score_facts(policy, journal, champion.version, now) if known and champion.version is not None else {},
        champion_moved=_moved(journal, policy.model, champion),
        last=last,
        resumed_since_last=bool(last and row and row.resumed_at and row.resumed_at > last.ended_at),
        failures=journal.attempts.abandoned_in_a_row(policy.model, row.resumed_at if row else None),
        open_attempt=opened[0].id if opened else None,
        awaits_until=_awaits_until(opened),
        hold=row.hold if row else None,
        request=_request(journal, row, view),
        starts=journal.attempts.starts_since(policy.model, now - timedelta(days=1)),
        offered=_offered(policy, journal, view, champion, row, now) if offers and not opened else None,
        undecided=_undecided(policy, journal, champion, now) if known and not opened else None,
        drift=known_drift(policy.model, journal),
        upstream=upstream.changed,
        upstream_unknown=upstream.unknown,
        upstream_since_last=upstream.since_last,
    )


def _awaits_until(opened: tuple[Attempt, ...]) -> datetime | None:
    asked = opened[0].asked if opened and opened[0].awaits_approval else None
    return asked.expires_at if asked is not None else None


def _offered(
    policy: Policy, journal: Journal, view: RegistryView, champion: Champion, row: ModelRow | None, now: datetime
) -> Offered | None:
    """A person's challenger, with how many rows may judge it: those that neither of the two may have learned."""
    offered, against = view.offered(policy, champion), champion.version or 0
    if offered is None or offered.obstacle:
        return offered
    refused = journal.attempts.last_refused_offer(
        policy.model, offered.version, against, policy.digest, row.resumed_at if row else None
    )
    if refused:
        return replace(offered, code="refused", obstacle=f"version {offered.version} was not judged: {refused}")
    unit = unit_of(policy.data)
    both = journal.models.learned_by_either(policy.model, against or offered.version, offered.version, unit)
    look = journal.attempts.last_look(policy.model, offered.version, against, policy.digest)
    counts = journal.count_rows(policy.model, both, look.id if look else None, now, policy.data.label_delay)
    return replace(offered, judging_rows=counts.judging, last_look=_last_look(look, counts.judging_since, both))


def _last_look(look: Attempt | None, more: int, learned: Learned) -> LastLook | None:
    """What was recorded since of what either of the two learned makes an earlier look worth nothing."""
    if look is None or look.evidence is None or look.ended_at is None:
        return None
    if learned.recorded_at is not None and learned.recorded_at > look.ended_at:
        return None
    return LastLook(attempt=look.id, rows=look.evidence.rows, more=more, reason=look.reason)


def _undecided(policy: Policy, journal: Journal, champion: Champion, now: datetime) -> Undecided | None:
    """Our newest challenger where nothing was shown of it, if the policy has such judged again."""
    last = journal.attempts.last_of_ours(policy.model) if policy.promote.inconclusive.at_most else None
    if last is None or last.state is not State.INCONCLUSIVE or last.evidence is None or champion.version is None:
        return None
    assert last.verdict is not None
    first = last.again_of or last.id
    origin = last.champion_version if last.continues is None else last.continues
    both = journal.models.learned_by_either(policy.model, champion.version, origin, unit_of(policy.data))
    counts = journal.count_rows(policy.model, both, last.id, now, policy.data.label_delay)
    return Undecided(
        first=first,
        attempt=last.id,
        look=last.look,
        rule=last.rule,
        recipe=last.recipe,
        policy_digest=last.policy.digest,
        champion=last.champion_version,
        rows=last.evidence.rows,
        codes=tuple(finding.code for finding in last.verdict.findings),
        more=counts.judging_since,
        stale=_is_stale(journal, last, first, both),
    )


def _is_stale(journal: Journal, last: Attempt, first: str, learned: Learned) -> bool:
    """Another champion since, also one of the same number; another record of what was learned; or rows it learned from
    were retracted.
    """
    recorded = learned.recorded_at is not None and last.ended_at is not None and learned.recorded_at > last.ended_at
    return recorded or journal.tenures.opened_after(last.model, last.id) or journal.attempts.had_retracted(first)


def _data_facts(
    policy: Policy, journal: Journal, row: ModelRow | None, champion: Champion, last: str | None, now: datetime,
    folder_problem: str,
) -> DataFacts:  # fmt: skip
    known = champion.version is not None and champion.state is ChampionState.FOUND
    learned = journal.models.learned(policy.model, champion.version or 0, unit_of(policy.data)) if known else None
    counts = journal.count_rows(policy.model, learned, last, now, policy.data.label_delay)
    facts = DataFacts(
        new_rows=counts.new,
        since_last=counts.since_last,
        waiting=now - counts.waiting_since if counts.waiting_since else timedelta(0),
        quarantined=counts.quarantined,
        usable_drops=counts.recorded,
        uninspected=counts.uninspected,
        folder_problem=folder_problem,
        retracted_since=counts.retracted_since,
        missing_files=counts.missing,
        skipped_files=counts.skipped,
        skipped_since=counts.skipped_since,
        young_files=counts.young,
        young_until=counts.young_until,
        trouble=row.trouble if row else "",
        trouble_code=row.trouble_code if row else "",
    )
    return replace(facts, unlearned_rows=counts.unlearned, judging_rows=counts.judging) if known else facts


def known_drift(model: str, journal: Journal) -> Drift:
    """How far the new rows of a model are: the newest measurement, if it is of what would be compared now."""
    sides = journal.drift.sides(model)
    if sides.obstacle:
        return Drift(obstacle=sides.obstacle)
    last = journal.drift.measured(model)
    if last is None or last.key != sides.key:
        return Drift(obstacle="the new rows were not measured yet")
    return Drift(columns=last.columns, obstacle="" if last.columns else "no column can be compared")


def _moved(journal: Journal, model: str, champion: Champion) -> bool | None:
    """Whether someone else moved the alias since the last attempt; our promotions and rollbacks do not count."""
    if champion.state is not ChampionState.FOUND:
        return None
    last = journal.attempts.last_left_champion(model)
    if last is None:
        return False
    left, ended_at = last
    rollbacks = [back for back in journal.rollbacks.of_model(model) if back.begun_at > ended_at]
    return champion.version != (rollbacks[-1].target if rollbacks else left)


def _request(journal: Journal, row: ModelRow | None, view: RegistryView) -> RetrainRequest | None:
    for request in journal.requests.open():
        if request.verb == "retrain" and row is not None and request.model == row.name:
            return RetrainRequest(str(request.id), request.by, request.why)
    if row is not None and not row.tag_request_taken and view.wants_retrain(row.name):
        return RetrainRequest("tag", "tag retrain=now", "")
    return None
