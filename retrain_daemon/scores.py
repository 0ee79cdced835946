"""Scores of the champion: which drops it is to be scored on, the question to a worker, and what rules see of them.

A drop is scored once for each version, also while an attempt is open or after one has learned from it: what counts is
what this version learned, which is left out, so the score is the same whenever it is made.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from retrain_daemon.core.facts import Scores
from retrain_daemon.core.policy import Policy, Recipe, unit_of
from retrain_daemon.core.rules.vocabulary import SCORES
from retrain_daemon.core.scores import FileScore, summed, wanted_metrics
from retrain_daemon.executor.limits import Limits
from retrain_daemon.journal import Journal
from retrain_daemon.journal.drops import DropRow
from retrain_daemon.journal.scores import ScoreRow
from retrain_daemon.log import get_logger
from retrain_daemon.measuring import MEASURING_LIMITS, Question
from retrain_daemon.worker.job import DropFile, DropScore, DropsScored, Result, ScoreDrops, Source, dated

#: Of the drops that came since a champion was cut, so many of the oldest and of the newest count.
OLDEST, NEWEST = 20, 100
#: So many are scored by one worker.
_AT_ONCE = 20

_log = get_logger()


class ScoreAsker:
    """Asks what the champion scores on each drop that came since it was cut, by each metric the policy mentions."""

    name = "scores"
    facts = SCORES

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def question(self, policy: Policy, source: Source, now: datetime) -> Question | None:
        """The oldest drops without a score, some at a time."""
        if source.version is None:
            return None
        metrics = wanted_metrics(policy)
        kept = self._journal.scores.of_version(policy.model, source.version)
        due = [
            drop
            for drop in counted_drops(policy, self._journal, source.version, now)
            if any((drop.id, metric) not in kept for metric in metrics)
        ][:_AT_ONCE]
        if not due:
            return None
        missing = tuple(metric for metric in metrics if any((drop.id, metric) not in kept for drop in due))
        recipe = recipe_to_load(policy)
        job = self._job(policy, source, due, missing, recipe, now)
        return Question(
            key=f"{source.version} {policy.digest} {missing} {job.learned} {job.unknown_until} {[d.id for d in due]}",
            job=job,
            limits=Limits(MEASURING_LIMITS.run_for, recipe.memory, recipe.processes),
            python=recipe.python,
        )

    def _job(
        self, policy: Policy, source: Source, due: Sequence[DropRow], metrics: tuple[str, ...], recipe: Recipe,
        now: datetime,
    ) -> ScoreDrops:  # fmt: skip
        assert source.version is not None
        barred = self._journal.barred(policy.model, (source.version,), unit_of(policy.data))
        return ScoreDrops(
            source=source,
            data=policy.data,
            drops=tuple(dated(self._file(drop), barred.unknown_until, now) for drop in due),
            learned=barred.learned,
            unknown_until=barred.unknown_until,
            early=barred.early,
            metrics=metrics,
            reference=self._journal.drops.reference(policy.model),
            code_folder=str(Path(policy.source).parent),
            network=recipe.network,
        )

    def _file(self, drop: DropRow) -> DropFile:
        seen = self._journal.drops.first_seen(drop)
        return DropFile(drop=drop.id, path=drop.path, first_seen=seen, fingerprint=drop.fingerprint)

    def take_in(self, policy: Policy, question: Question, result: Result, now: datetime) -> None:
        """Keep the scores, and say them drop by drop. Not where the policy's data, or what is recorded of what the
        version learned, became another meanwhile: then they are of rows, or labels, that do not count.
        """
        job = question.job
        if not isinstance(result, DropsScored) or not isinstance(job, ScoreDrops) or job.source.version is None:
            return
        version = job.source.version
        barred = self._journal.barred(policy.model, (version,), unit_of(policy.data))
        if (job.data, job.learned, job.unknown_until) != (policy.data, barred.learned, barred.unknown_until):
            return
        with self._journal.transaction():
            self._journal.scores.keep(policy.model, version, map(_row, result.scores), now)
        by_drop: dict[int, list[DropScore]] = defaultdict(list)
        for score in result.scores:
            by_drop[score.drop].append(score)
        names = {drop.drop: Path(drop.path).name for drop in job.drops}
        for drop, scores in by_drop.items():
            _tell(policy.model, version, names[drop], scores)


def counted_drops(policy: Policy, journal: Journal, version: int, now: datetime) -> tuple[DropRow, ...]:
    """The drops that a version's scores are about, oldest first. Labels of younger ones are not final yet."""
    lineage = journal.models.lineage(policy.model, version)
    since = journal.scores.drops_since(policy.model, lineage) if lineage is not None else ()
    delay = policy.data.label_delay
    final = [drop for drop in since if delay is None or drop.final_from(delay) <= now]
    return tuple(final if len(final) <= OLDEST + NEWEST else (*final[:OLDEST], *final[-NEWEST:]))


def score_facts(policy: Policy, journal: Journal, version: int, now: datetime) -> Mapping[str, Scores]:
    """What rules see of a champion's scores, by metric. As long as one score is missing nothing is known."""
    drops = counted_drops(policy, journal, version, now)
    kept = journal.scores.of_version(policy.model, version)
    found = {}
    for metric in wanted_metrics(policy):
        scores = [kept[drop.id, metric] for drop in drops if (drop.id, metric) in kept]
        if len(scores) == len(drops):
            series = [FileScore(score.rows, score.value) for score in scores]
            found[metric] = summed(series, policy.promote.min_rows)
    return found


def recipe_to_load(policy: Policy) -> Recipe:
    """By which a version is loaded to predict: one for the daemon's own environment, where it is warm, if there is."""
    recipes = (policy.requested, *(rule.recipe for rule in policy.rules))
    return next((recipe for recipe in recipes if not recipe.python), recipes[0])


def _row(score: DropScore) -> ScoreRow:
    return ScoreRow(drop=score.drop, metric=score.metric, rows=score.rows, value=score.value, problem=score.problem)


def _tell(model: str, version: int, file: str, scores: Sequence[DropScore]) -> None:
    log = _log.bind(model=model, version=version, file=file)
    known = {score.metric: round(score.value, 4) for score in scores if score.value is not None}
    if known:
        log.info("champion.scored", rows=scores[0].rows, **known)
    for problem in dict.fromkeys(score.problem for score in scores if score.value is None):
        log.info("champion.not_scored", reason=problem)
