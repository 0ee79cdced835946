"""Drift watched: when new rows are to be compared with what was learned, and what becomes of the answer.

How far two sets of rows are apart is for `worker/drift.py`; which sets are compared, for `journal/drift.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from retrain_daemon.core.policy import Policy
from retrain_daemon.journal import Journal
from retrain_daemon.journal.drift import DropDistance, Measurement, Profiled
from retrain_daemon.log import get_logger
from retrain_daemon.measuring import Question
from retrain_daemon.worker.job import DriftMeasured, MeasureDrift, ProfiledDrop, Result, Source

_log = get_logger()


class DriftAsker:
    """Asks how far the new drops of a model are from what its last judged attempt learned from."""

    name: str = "drift"
    facts: tuple[str, ...] = ("drift.",)

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def question(self, policy: Policy, source: Source, now: datetime) -> Question | None:
        """A measurement when the drops to be compared are others than at the last one, and enough rows are there."""
        sides = self._journal.drift.sides(policy.model)
        last = self._journal.drift.measured(policy.model)
        if sides.obstacle or (last is not None and last.key == sides.key):
            return None
        measured = self._journal.drift.of_drops(policy.model)
        alone = tuple(drop.drop for drop in sides.new if drop.drop not in measured)
        job = MeasureDrift(source=source, new=_named(sides.new), reference=_named(sides.reference), alone=alone)
        return Question(key=sides.key, job=job)

    def take_in(self, policy: Policy, question: Question, result: Result, now: datetime) -> None:
        """Write what was measured of the drops that the question named."""
        assert isinstance(result, DriftMeasured), result
        columns = dict(result.columns)
        worst = max(columns, key=lambda name: columns[name], default="")
        measurement = Measurement(
            at=now,
            key=question.key,
            new_rows=result.new_rows,
            reference_rows=result.reference_rows,
            columns=columns,
            worst=worst,
            value=columns.get(worst),
        )
        drops = [DropDistance(drop=drop.drop, at=now, worst=drop.worst, value=drop.value) for drop in result.drops]
        self._journal.drift.keep(policy.model, measurement, drops)
        if measurement.value is not None:
            _log.info(
                "drift.measured", model=policy.model, worst=worst, value=round(measurement.value, 4),
                new_rows=result.new_rows, reference_rows=result.reference_rows,
            )  # fmt: skip


def _named(drops: Sequence[Profiled]) -> tuple[ProfiledDrop, ...]:
    return tuple(ProfiledDrop(drop=drop.drop, profile_file=drop.profile_file) for drop in drops)
