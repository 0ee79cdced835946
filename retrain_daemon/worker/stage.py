"""What every way through a training job has in common: the version it starts from, the rows, and two models compared.

Which way is taken is in `training.py`; how a challenger that is stored already is judged in `given.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from retrain_daemon.core.evidence import Evidence
from retrain_daemon.worker.anchor import AnchorSeen, see_anchor
from retrain_daemon.worker.cards import read_version
from retrain_daemon.worker.flavors import refuse_missing
from retrain_daemon.worker.fresh import Sample
from retrain_daemon.worker.job import Progress, Source, Train
from retrain_daemon.worker.judging import Judging, measure
from retrain_daemon.worker.lesson import Tell
from retrain_daemon.worker.loaded import Loaded, load
from retrain_daemon.worker.model_metrics import SAMPLE_ROWS, needs_sample
from retrain_daemon.worker.requirements import differing
from retrain_daemon.worker.schema import Schema
from retrain_daemon.worker.signature import read_schema
from retrain_daemon.worker.slices import read_slices
from retrain_daemon.worker.trainable import Meaning, Trainable
from retrain_daemon.worker.verification import verify_unlearned
from retrain_daemon.worker.window import JobRows, read_job_rows


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The champion, or without one the version that is judged alone; the rows; a folder for temporary files."""

    job: Train
    champion: Loaded
    schema: Schema
    window: JobRows
    judging: Judging
    folder: Path
    tell: Tell

    @property
    def sample(self) -> Sample | None:
        """Some rows for a model to predict elsewhere; None where no line asks for it."""
        if not needs_sample(self.job):
            return None
        sides = self.window.sides
        rows = sides.judging if len(sides.judging) else sides.training
        some = rows.features.take(np.arange(min(len(rows), SAMPLE_ROWS)))
        return Sample(some.frame(), self.schema.tensor)


def set_stage(job: Train, source: Source, folder: Path, tell: Tell) -> Stage:
    """Load the version of `source` and read the rows; whatever else needs MLflow or the files to compare two models is
    had now, before anything is trained.
    """
    card = read_version(source)
    refuse_missing(card)
    schema = read_schema(source, job.data, reference(job))
    tell(Progress(phase="loading the champion"))
    champion = load(card, meaning(job, schema), folder)
    differences = differing(champion.files.requirements)
    for sentence in differences:
        print(sentence)  # noqa: T201  in the log before anything is trained
    tell(Progress(phase="reading rows"))
    window = read_job_rows(job, schema, champion.model, folder)
    window = replace(window, notes=(*differences, *window.notes))
    rows = window.sides.judging
    sliced = read_slices(job, schema, rows)
    anchor = _anchor(job, champion, schema, window, folder, tell)
    judging = Judging(window.sides, sliced, anchor)
    return Stage(job=job, champion=champion, schema=schema, window=window, judging=judging, folder=folder, tell=tell)


def _anchor(
    job: Train, champion: Loaded, schema: Schema, window: JobRows, folder: Path, tell: Tell
) -> AnchorSeen | None:
    if job.anchor is None or job.source.version is None:
        return None
    tell(Progress(phase=f"predicting with version {job.anchor.version}"))
    return see_anchor(job, champion, meaning(job, schema), window.sides.judging, folder)


def reference(job: Train) -> str:
    """The file that patterns in `data.features` are resolved by: the oldest."""
    return job.drops[0].path if job.drops else ""


def meaning(job: Train, schema: Schema) -> Meaning:
    """What the policy says of rows and outputs, for loading a model."""
    return Meaning(data=job.data, schema=schema, network=job.recipe.network, code_folder=job.code_folder)


def compared(stage: Stage, champion: Loaded | None, challenger: Trainable, digest: str, learned_file: str) -> Evidence:
    """The evidence, after a check from the files that no row judges what one of the models learned."""
    judging = stage.judging
    anchored = None if judging.anchor is None else judging.anchor.rows
    checked = verify_unlearned(stage.job, stage.schema, judging.rows, learned_file, anchored)
    return replace(measure(stage.job, champion, challenger, digest, judging), checked_keys=checked)
