"""An earlier champion beside the two models of a comparison, so that small losses do not add up: it predicts those
judging rows that it has not learned either, and the challenger is compared with it on these.

It is loaded before anything is trained and gone before that begins: never more than two models are in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrain_daemon.core.evidence import AnchorEvidence
from retrain_daemon.core.metrics import METRICS
from retrain_daemon.core.policy import Claim
from retrain_daemon.errors import NotFound, RegistryUnreachable, RetrainError
from retrain_daemon.worker.cards import read_version
from retrain_daemon.worker.comparable import compared_classes, refuse_other_columns, refuse_other_kind
from retrain_daemon.worker.compare import compare
from retrain_daemon.worker.evaluate import Predictions
from retrain_daemon.worker.flavors import refuse_missing
from retrain_daemon.worker.job import Anchor, Train
from retrain_daemon.worker.labelled import LabelledRows, Mask, moment
from retrain_daemon.worker.loaded import Loaded, load
from retrain_daemon.worker.model_code import modules_put_back
from retrain_daemon.worker.rows import contains, load_keys
from retrain_daemon.worker.side_by_side import SideBySide
from retrain_daemon.worker.signature import read_schema
from retrain_daemon.worker.trainable import Meaning


@dataclass(frozen=True)
class AnchorSeen:
    """What the earlier champion says of the judging rows at `rows`; a `problem` says why it says nothing."""

    version: int
    rows: Mask
    predictions: Predictions | None = None
    problem: str = ""


def see_anchor(
    job: Train, champion: Loaded, meaning: Meaning, judging: LabelledRows, folder: Path
) -> AnchorSeen | None:
    """Have the earlier champion predict the judging rows that it has not learned; None where no line is about it.

    `folder` takes its files. Only an MLflow that does not answer is raised, as RegistryUnreachable.
    """
    if job.anchor is None or not _metrics(job):
        return None
    nothing = np.zeros(len(judging), dtype=np.bool_)
    try:
        rows = _unlearned(job.anchor, judging)
        if not rows.any():
            return AnchorSeen(job.anchor.version, nothing, problem=_no_row(job.anchor, judging))
        copies = folder / "anchor"
        copies.mkdir()
        with modules_put_back():
            predictions = _predicted(job, champion, meaning, judging.take(rows), copies)
        return AnchorSeen(job.anchor.version, rows, predictions)
    except RegistryUnreachable:
        raise
    except NotFound as gone:
        said = f"version {job.anchor.version} is gone: {gone.message.rstrip('.')}"
        return AnchorSeen(job.anchor.version, nothing, problem=said)
    except RetrainError as error:
        return AnchorSeen(job.anchor.version, nothing, problem=error.message.rstrip("."))


def measure_anchor(job: Train, seen: AnchorSeen, both: SideBySide) -> AnchorEvidence:
    """Compare the challenger with the earlier champion, by each metric of which a line rules harm out. `both` is of
    all judging rows.
    """
    if seen.predictions is None:
        return AnchorEvidence(version=seen.version, problem=seen.problem)
    metrics = compare(
        both.truth[seen.rows],
        seen.predictions,
        _taken(both.challenger, seen.rows),
        metrics=_metrics(job),
        positive=job.data.target.positive,
        confidence=job.confidence,
        groups=None if both.groups is None else both.groups[seen.rows],
        seed=job.seed,
    )
    return AnchorEvidence(version=seen.version, rows=int(seen.rows.sum()), metrics=metrics)


def _metrics(job: Train) -> tuple[str, ...]:
    asked = (line.metric for line in job.require if line.claim is Claim.NOT_WORSE_BY and line.metric in METRICS)
    return tuple(dict.fromkeys(asked))


def _unlearned(anchor: Anchor, judging: LabelledRows) -> Mask:
    """Judging rows that by the record neither the earlier champion nor an ancestor of it has learned, nor may have."""
    known = contains(load_keys(anchor.learned), judging.unit_keys) | judging.seen_in(load_keys(anchor.early))
    if anchor.unknown_until is not None:
        seen = judging.first_seen if judging.unit_first_seen is None else judging.unit_first_seen
        known |= seen <= moment(anchor.unknown_until)
    return np.asarray(~known, dtype=np.bool_)


def _no_row(anchor: Anchor, judging: LabelledRows) -> str:
    if not len(judging):
        return "there are no judging rows"
    return f"of {len(judging):,} judging rows there is none that version {anchor.version} has surely not learned"


def _predicted(job: Train, champion: Loaded, meaning: Meaning, rows: LabelledRows, folder: Path) -> Predictions:
    assert job.anchor is not None  # the caller looked
    source = replace(job.source, version=job.anchor.version)
    card = read_version(source)
    refuse_missing(card)
    refuse_other_kind(champion.files.card, card)
    schema = read_schema(source, job.data, job.drops[0].path if job.drops else "")
    refuse_other_columns(job.source, source, job, meaning.schema, schema)
    loaded = load(card, replace(meaning, schema=schema), folder)
    compared_classes(champion, loaded)
    return loaded.model.predict(rows.features)


def _taken(predictions: Predictions, rows: Mask) -> Predictions:
    def of(array: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if array is None else array[rows]

    return replace(
        predictions,
        labels=of(predictions.labels),
        probabilities=of(predictions.probabilities),
        values=of(predictions.values),
    )
