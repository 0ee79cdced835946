"""Which earlier champion a challenger is compared with as well, so that small losses do not add up.

The journal knows the anchor of each tenure; here it is looked up in MLflow, as versions may be deleted.
"""

from __future__ import annotations

from retrain_daemon.core.attempts import Attempt
from retrain_daemon.core.policy import unit_of
from retrain_daemon.errors import NotFound
from retrain_daemon.journal import Journal
from retrain_daemon.journal.tenures import Tenure
from retrain_daemon.log import get_logger
from retrain_daemon.registry import Registry
from retrain_daemon.registry_view import RegistryView
from retrain_daemon.worker.job import Anchor

_log = get_logger()


def anchor_of(attempt: Attempt, journal: Journal, registry: Registry, view: RegistryView) -> Anchor | None:
    """The anchor of the tenure that the attempt's champion is in; None where that is the champion itself. In the place
    of one that is not there any more, or must not be loaded, comes the next champion after it that is.

    Raises RegistryUnreachable, Refused.
    """
    tenure = journal.tenures.newest_of(attempt.model, attempt.champion_version)
    if tenure is None or tenure.anchor == attempt.champion_version:
        return None
    for version in candidates(journal.tenures.of_model(attempt.model), tenure):
        obstacle = _obstacle(attempt.model, version, journal, registry, view)
        if not obstacle:
            barred = journal.barred(attempt.model, (version,), unit_of(attempt.policy.data))
            return Anchor(
                version=version, learned=barred.learned, unknown_until=barred.unknown_until, early=barred.early
            )
        _log.warning("anchor.gone", attempt=attempt.id, model=attempt.model, version=version, reason=obstacle)
    return None


def candidates(tenures: tuple[Tenure, ...], present: Tenure) -> tuple[int, ...]:
    """The anchor of the present tenure, then the champions between it and the present one, in their order."""
    before = [tenure for tenure in tenures if tenure.id < present.id]
    begun = max((tenure.id for tenure in before if tenure.version == present.anchor), default=present.id)
    later = [tenure.version for tenure in before if tenure.id > begun]
    return tuple(version for version in dict.fromkeys((present.anchor, *later)) if version != present.version)


def _obstacle(model: str, version: int, journal: Journal, registry: Registry, view: RegistryView) -> str:
    """Why this version cannot be compared with; "" where nothing stands against it."""
    known = journal.models.lineage(model, version)
    try:
        found = registry.version(model, version)
    except NotFound as error:
        return str(error)
    if known is not None and known.created_at not in (None, found.created_at):
        return f"version {version} of {model} was deleted, and another one has its number"
    return view.untrusted(model, version)
