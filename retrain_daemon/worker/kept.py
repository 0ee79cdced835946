"""A trained challenger on disk: the model as MLflow stores models, its evidence, and what its run will say.

It is whole before MLflow is asked for anything, and outlives its worker: what was trained is not trained again because
a server was away. How it gets into MLflow is in `challenger_run.py`.
"""

from __future__ import annotations

import math
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow.models import Model
from pydantic import TypeAdapter, ValidationError

from retrain_daemon.core.evidence import Evidence
from retrain_daemon.core.policy import Scalar
from retrain_daemon.errors import StateUnusable
from retrain_daemon.worker.durable import put_whole, write_whole
from retrain_daemon.worker.fresh import SAMPLE_FILE, Sample, read_sample, write_sample
from retrain_daemon.worker.job import KEPT_FILE, Train, is_kept
from retrain_daemon.worker.lesson import Epoch
from retrain_daemon.worker.model_code import refuse_unloadable
from retrain_daemon.worker.model_files import ModelFiles, payload_digest
from retrain_daemon.worker.study import Study
from retrain_daemon.worker.trainable import Trainable

MODEL_FOLDER = "model"


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is known of a kept challenger. `token` is no other's anywhere; `champion_run` is the run its champion came
    from, "" for none. `evidence` has the digest of the stored files. `parameters` by name and `manifest`, the rows of
    each drop, are for the run, `notes` for a reviewer; `unit` is what the keys of its learned rows stand for, `study`
    the search that chose its hyperparameters.
    """

    token: str
    champion_run: str
    flavor: str
    parameters: Mapping[str, Scalar]
    manifest: tuple[Mapping[str, Scalar], ...]
    evidence: Evidence
    epochs: tuple[Epoch, ...]
    notes: tuple[str, ...]
    training_rows: int
    unit: str
    study: Study | None = None


_KEPT: TypeAdapter[Kept] = TypeAdapter(Kept)


def new_token() -> str:
    """A name that no other challenger has."""
    return uuid.uuid4().hex


def keep(
    job: Train, champion: ModelFiles, model: Trainable, record: Kept, scratch: Path, sample: Sample | None
) -> Kept:
    """Store `model` and its `record` in `job.kept_folder`; returns the record with digest and notes of the storing.

    `scratch` takes temporary files. A `sample` of rows is kept beside it, for whoever measures the stored model. Raises
    TrainingFailed when the model cannot be stored, or would not load.
    """
    target = Path(job.kept_folder)
    making = target.with_name(f".{target.name}")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    stored = making / MODEL_FOLDER
    notes = model.store(stored, champion, scratch, job.code_folder)
    if job.recipe.trainer or job.recipe.network:
        refuse_unloadable(stored, record.flavor)
    digest = stored_digest(stored, record.flavor)
    evidence = replace(record.evidence, challenger_digest=digest)
    kept = replace(
        record,
        evidence=evidence,
        notes=(*record.notes, *notes),
        epochs=tuple(map(_finite, record.epochs)),
    )
    if sample is not None:
        write_sample(making / SAMPLE_FILE, sample)
    (making / KEPT_FILE).write_bytes(_KEPT.dump_json(kept, indent=1))
    put_whole(making, target)
    return kept


def keep_record(job: Train, record: Kept) -> Kept:
    """Put `record` in the place of that of the challenger kept in `job.kept_folder`; returns it."""
    write_whole(Path(job.kept_folder) / KEPT_FILE, _KEPT.dump_json(record, indent=1))
    return record


def sample_kept(job: Train) -> Sample | None:
    """The rows kept beside the challenger, None where there are none."""
    try:
        return read_sample(Path(job.kept_folder) / SAMPLE_FILE)
    except FileNotFoundError:
        return None


def read_kept(folder: Path) -> Kept | None:
    """The record of the challenger kept in a folder, None where there is none; raises StateUnusable."""
    if not is_kept(folder):
        return None
    try:
        return _KEPT.validate_json((folder / KEPT_FILE).read_bytes())
    except (OSError, ValidationError) as problem:
        raise StateUnusable(f"The kept challenger in {folder} cannot be read: {problem}.", "Remove it.") from problem


def stored_digest(stored: Path, flavor: str) -> str:
    """The digest of a stored model's files, by what its MLmodel file says they are."""
    return payload_digest(stored, Model.load(str(stored)).flavors[flavor])


def _finite(epoch: Epoch) -> Epoch:
    """An epoch without what is no number: neither MLflow nor JSON has a place for it."""
    return replace(epoch, metrics={name: value for name, value in epoch.metrics.items() if math.isfinite(value)})
