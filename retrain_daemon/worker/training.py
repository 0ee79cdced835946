"""One training job: load the champion, train it further, check and log the challenger, compare both on the same rows.

The order of an attempt's work in the worker; each step's own knowledge lives in the module it calls. What follows from
the evidence is the daemon's to judge.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from retrain_daemon.core.evidence import Evidence
from retrain_daemon.core.policy import Scalar
from retrain_daemon.errors import Refused, RegistryUnreachable, TrainingFailed
from retrain_daemon.worker.cards import ModelCard, capital, connect, read_card, read_version, spelled
from retrain_daemon.worker.challenger_run import log_challenger
from retrain_daemon.worker.custom import train_with
from retrain_daemon.worker.flavors import refuse_missing
from retrain_daemon.worker.job import Challenger, Progress, Source, Train, Trained
from retrain_daemon.worker.judging import check_predicts, compared_classes, measure
from retrain_daemon.worker.kept import Kept, keep, new_token, read_kept
from retrain_daemon.worker.lesson import Lesson, Record, Tell
from retrain_daemon.worker.loaded import Loaded, load
from retrain_daemon.worker.requirements import differing
from retrain_daemon.worker.rows import load_keys, save_keys
from retrain_daemon.worker.schema import NETWORKS, Schema, unit_name
from retrain_daemon.worker.signature import read_schema
from retrain_daemon.worker.trainable import Meaning, Trainable
from retrain_daemon.worker.verification import verify_unlearned
from retrain_daemon.worker.window import JobRows, manifest, read_job_rows, refuse_too_few


@dataclass(frozen=True, kw_only=True)
class _Stage:
    """What every step of a job needs: the champion, the rows, and a folder for temporary files."""

    job: Train
    champion: Loaded
    schema: Schema
    window: JobRows
    folder: Path
    tell: Tell


def train(job: Train, folder: Path, progress: Tell) -> Trained:
    """Carry out `job`: train and log a challenger, or take the one it names, and measure it against the champion.

    `folder` takes temporary files. Everything about rows comes from one split, so that nothing that trained judges.
    Raises Refused for what the model cannot do, TrainingFailed when the training gives nothing usable, and what
    reading rows or the registry may raise. Registers nothing and moves no alias.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(dir=folder, prefix="models-") as scratch:
        if job.challenger is not None:
            connect(job.source)
            stage = _set_stage(job, Path(scratch), progress)
            challenger, evidence, notes = _judge_given(stage, job.challenger)
        else:
            kept = read_kept(Path(job.kept_folder)) or _train_and_keep(job, Path(scratch), progress)
            challenger, evidence, notes = _put_into_mlflow(job, kept, Path(scratch), progress)
    return Trained(challenger=challenger, evidence=evidence, seconds=time.monotonic() - started, notes=notes)


def _set_stage(job: Train, folder: Path, tell: Tell) -> _Stage:
    card = read_version(job.source)
    refuse_missing(card)
    schema = read_schema(job.source, job.data, _reference(job))
    tell(Progress(phase="loading the champion"))
    champion = load(card, _meaning(job, schema), folder)
    differences = differing(champion.files.requirements)
    for sentence in differences:
        print(sentence)  # noqa: T201  in the log before anything is trained
    tell(Progress(phase="reading rows"))
    window = read_job_rows(job, schema, champion.model, folder)
    window = replace(window, notes=(*differences, *window.notes))
    return _Stage(job=job, champion=champion, schema=schema, window=window, folder=folder, tell=tell)


def _reference(job: Train) -> str:
    """The file that patterns in `data.features` are resolved by: the oldest."""
    return job.drops[0].path if job.drops else ""


def _meaning(job: Train, schema: Schema) -> Meaning:
    return Meaning(data=job.data, schema=schema, network=job.recipe.network, code_folder=job.code_folder)


def _train_and_keep(job: Train, folder: Path, tell: Tell) -> Kept:
    connect(job.source)
    stage = _set_stage(job, folder, tell)
    window, champion = stage.window, stage.champion
    refuse_too_few(job, window)
    stage.tell(Progress(phase="training"))
    challenger, record = _trained(stage)
    stage.tell(Progress(phase="checking"))
    rows = window.sides.judging if len(window.sides.judging) else window.training
    notes = (*window.notes, *record.notes, *check_predicts(champion, challenger, rows))
    stage.tell(Progress(phase="comparing"))
    save_keys(job.learned_file, window.training.learned_keys)
    evidence = _compared(stage, challenger, "", job.learned_file)
    stage.tell(Progress(phase="storing"))
    kept = Kept(
        token=new_token(),
        champion_run=champion.files.card.info.run_id or "",
        flavor=champion.files.card.flavor,
        parameters={**_parameters(job, window), **record.parameters},
        manifest=manifest(job, window),
        evidence=evidence,
        epochs=record.epochs,
        notes=notes,
        training_rows=len(window.training),
        unit=window.unit,
    )
    return keep(job, champion.files, challenger, kept, stage.folder)


def _put_into_mlflow(job: Train, kept: Kept, folder: Path, tell: Tell) -> tuple[Challenger, Evidence, tuple[str, ...]]:
    """What was trained stays on disk until MLflow has it: a later worker goes on from here."""
    tell(Progress(phase="logging"))
    load_keys([job.learned_file])  # a version whose record is lost could never be judged
    try:
        connect(job.source)
        logged = log_challenger(job, kept, folder)
    except RegistryUnreachable as away:
        raise RegistryUnreachable(f"{away.message} What was trained waits on disk for it.", away.hint) from away
    made = Challenger(
        run_id=logged.run_id,
        model_uri=logged.model_uri,
        digest=kept.evidence.challenger_digest,
        learned_file=job.learned_file,
        training_rows=kept.training_rows,
        unit=kept.unit,
    )
    return made, kept.evidence, kept.notes


def _trained(stage: _Stage) -> tuple[Trainable, Record]:
    recipe = stage.job.recipe
    lesson = Lesson(
        mode=recipe.mode,
        hyperparameters=recipe.hyperparameters,
        rows=stage.window.training,
        seed=stage.job.seed,
        tell=stage.tell,
    )
    if recipe.trainer:
        return train_with(recipe.trainer, stage.job.code_folder, stage.champion.model, lesson)
    return stage.champion.model.continue_training(lesson)


def _judge_given(stage: _Stage, challenger: Challenger) -> tuple[Challenger, Evidence, tuple[str, ...]]:
    """Compare a challenger that is stored already: ours once more, or one that a person offered."""
    stage.tell(Progress(phase="comparing"))
    card, schema = _described(stage, challenger)
    loaded = load(card, _meaning(stage.job, schema), stage.folder)
    notes = (*stage.window.notes, *compared_classes(stage.champion, loaded))
    if challenger.digest and loaded.files.digest != challenger.digest:
        raise TrainingFailed(
            f"The files of {card.label} at {challenger.model_uri} are not those that were logged.",
            "Someone changed them; start another attempt.",
        )
    digest = loaded.files.digest
    evidence = _compared(stage, loaded.model, digest, challenger.learned_file)
    return replace(challenger, digest=digest), evidence, notes


def _compared(stage: _Stage, challenger: Trainable, digest: str, learned_file: str) -> Evidence:
    """The evidence, after a check from the files that no row judges what either model learned."""
    sides = stage.window.sides
    checked = verify_unlearned(stage.job, stage.schema, sides.judging, learned_file)
    return replace(measure(stage.job, stage.champion, challenger, digest, sides), checked_keys=checked)


def _described(stage: _Stage, challenger: Challenger) -> tuple[ModelCard, Schema]:
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
    _refuse_other_kind(stage.champion.files.card, card)
    schema = read_schema(source, job.data, _reference(job))
    _refuse_other_columns(job.source, source, job, stage.schema, schema)
    return card, schema


def _refuse_other_kind(champion: ModelCard, offered: ModelCard) -> None:
    """What a policy says of a network's tensors and outputs does not go with a model that takes a table."""
    if (champion.flavor in NETWORKS) != (offered.flavor in NETWORKS):
        raise Refused(
            f"{capital(offered.label)} is a {spelled(offered.flavor)} model and the champion, {champion.label}, a "
            f"{spelled(champion.flavor)} model: one policy cannot describe a network and a model that takes a table.",
            "Adopt it under a registered model and a policy of its own.",
        )


def _refuse_other_columns(champion: Source, offered: Source, job: Train, ours: Schema, theirs: Schema) -> None:
    """Both predict the same rows, so they take the same columns; a table's order is its own affair."""
    table = ours.tensor is None and theirs.tensor is None
    same = sorted(ours.names) == sorted(theirs.names) if table else ours.names == theirs.names
    if same and unit_name(job.data, ours) == unit_name(job.data, theirs):
        return
    only = sorted(set(theirs.names) ^ set(ours.names))[:5] or ["the same ones in another order"]
    raise Refused(
        f"Version {offered.version} of {offered.model} takes other columns than the champion, version "
        f"{champion.version}: {', '.join(only)}.",
        "Only models of the same columns can be compared on the same rows.",
    )


def _parameters(job: Train, window: JobRows) -> Mapping[str, Scalar]:
    """What the run is known by. A hyperparameter keeps its own name, so that runs compare in MLflow."""
    recipe = job.recipe
    named = {"train_with": recipe.trainer, "train_model": recipe.network, "train_python": recipe.python}
    return {
        "mode": recipe.mode.value,
        "champion_version": job.source.version,
        "window_rows": len(window),
        "training_rows": len(window.training),
        "judging_rows": len(window.sides.judging),
        "excluded_rows": window.sides.excluded,
        "too_early_rows": window.sides.too_early,
        "seed": job.seed,
        **({"replayed_rows": window.replayed} if recipe.replay else {}),
        **{key: value for key, value in named.items() if value},
        **{name: _shown(value) for name, value in recipe.hyperparameters.items()},
    }


def _shown(value: object) -> Scalar:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
