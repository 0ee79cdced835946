"""A challenger that is stored already: ours once more, or a version that a person offered, beside the champion or,
where there is none, by itself.

Nothing is trained, logged or kept here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from retrain_daemon.core.evidence import Evidence
from retrain_daemon.errors import Refused, TrainingFailed
from retrain_daemon.worker.cards import ModelCard, read_card, read_version
from retrain_daemon.worker.comparable import compared_classes, refuse_other_columns, refuse_other_kind
from retrain_daemon.worker.job import Challenger, Progress, Train
from retrain_daemon.worker.lesson import Tell
from retrain_daemon.worker.loaded import load
from retrain_daemon.worker.model_metrics import (
    StoredModels,
    in_order,
    measure_stored,
    said_of,
    unmeasured,
)
from retrain_daemon.worker.schema import Schema
from retrain_daemon.worker.signature import read_schema
from retrain_daemon.worker.stage import Stage, compared, meaning, reference, set_stage

Judged = tuple[Challenger, Evidence, tuple[str, ...]]


def judge_given(job: Train, challenger: Challenger, folder: Path, tell: Tell) -> Judged:
    """The challenger with its digest, the evidence, and sentences for a reviewer.

    Raises Refused where the two cannot be compared, and where there is no champion and nobody offered it;
    TrainingFailed where its files are other ones by now.
    """
    if job.source.version is None:
        return _alone(job, challenger, folder, tell)
    stage = set_stage(job, job.source, folder, tell)
    stage.tell(Progress(phase="comparing"))
    card, schema = _described(stage, challenger)
    loaded = load(card, meaning(job, schema), folder)
    notes = (*stage.window.notes, *compared_classes(stage.champion, loaded))
    if challenger.digest and loaded.files.digest != challenger.digest:
        raise TrainingFailed(
            f"The files of {card.label} at {challenger.model_uri} are not those that were logged.",
            "Someone changed them; start another attempt.",
        )
    digest = loaded.files.digest
    evidence = compared(stage, stage.champion, loaded.model, digest, challenger.learned_file)
    models = StoredModels(challenger=loaded.files.folder, champion=stage.champion.files.folder)
    return _with_files_measured(stage, replace(challenger, digest=digest), evidence, models, notes)


def _alone(job: Train, challenger: Challenger, folder: Path, tell: Tell) -> Judged:
    """Its own values on the rows that it has not learned."""
    if challenger.offered is None:
        raise Refused(
            f"Model {job.source.model} has no champion to compare the challenger of {job.attempt} with.",
            "Give a version the champion's alias, and start another attempt.",
        )
    stage = set_stage(job, replace(job.source, version=challenger.offered), folder, tell)
    stage.tell(Progress(phase="measuring"))
    loaded = stage.champion
    digest = loaded.files.digest
    evidence = compared(stage, None, loaded.model, digest, challenger.learned_file)
    models = StoredModels(challenger=loaded.files.folder, champion=None, without="there is no champion")
    return _with_files_measured(stage, replace(challenger, digest=digest), evidence, models, stage.window.notes)


def _with_files_measured(
    stage: Stage, challenger: Challenger, evidence: Evidence, models: StoredModels, notes: tuple[str, ...]
) -> Judged:
    names = unmeasured(stage.job, evidence)
    if not names:
        return challenger, evidence, notes
    stage.tell(Progress(phase="measuring the stored models"))
    found = measure_stored(stage.job, names, models, stage.sample, stage.folder)
    evidence = replace(evidence, metrics=in_order(stage.job, (*evidence.metrics, *found)))
    return challenger, evidence, (*notes, *said_of(found))


def _described(stage: Stage, challenger: Challenger) -> tuple[ModelCard, Schema]:
    """The challenger's card and columns; raises Refused where its rows cannot be compared with the champion's."""
    job = stage.job
    if challenger.offered is None:
        if challenger.unit != stage.window.unit:
            raise Refused(
                f"The challenger's record is of {challenger.unit}, version {job.source.version} asks for "
                f"{stage.window.unit}: which rows it learned cannot be told.",
                "Start another attempt.",
            )
        return read_card(job.source, challenger.model_uri, f"the challenger of attempt {job.attempt}"), stage.schema
    source = replace(job.source, version=challenger.offered)
    card = read_version(source)
    refuse_other_kind(stage.champion.files.card, card)
    schema = read_schema(source, job.data, reference(job))
    refuse_other_columns(job.source, source, job, stage.schema, schema)
    return card, schema
