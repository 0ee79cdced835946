"""One training job: load the champion, train it further, check and log the challenger, compare both on the same rows.

The order of an attempt's work in the worker; each step's own knowledge lives in the module it calls. What follows from
the evidence is the daemon's to judge.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from retrain_daemon.core.evidence import Evidence
from retrain_daemon.core.policy import Hyperparameter, Scalar
from retrain_daemon.errors import NotFound, Refused, RegistryUnreachable
from retrain_daemon.worker.cards import connect, read_version
from retrain_daemon.worker.challenger_run import log_challenger
from retrain_daemon.worker.custom import train_with
from retrain_daemon.worker.given import judge_given
from retrain_daemon.worker.job import Challenger, Progress, Train, Trained
from retrain_daemon.worker.judging import check_predicts
from retrain_daemon.worker.kept import MODEL_FOLDER, Kept, keep, keep_record, new_token, read_kept, sample_kept
from retrain_daemon.worker.labelled import LabelledRows
from retrain_daemon.worker.lesson import Lesson, Record, Tell
from retrain_daemon.worker.model_files import fetch
from retrain_daemon.worker.model_metrics import StoredModels, in_order, measure_stored, said_of, unmeasured
from retrain_daemon.worker.rows import load_keys, save_keys
from retrain_daemon.worker.stage import Stage, compared, set_stage
from retrain_daemon.worker.study import Study, searched, told
from retrain_daemon.worker.trainable import Trainable
from retrain_daemon.worker.window import JobRows, manifest, refuse_too_few


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
            challenger, evidence, notes = judge_given(job, job.challenger, Path(scratch), progress)
        else:
            kept = read_kept(Path(job.kept_folder)) or _train_and_keep(job, Path(scratch), progress)
            challenger, evidence, notes = _put_into_mlflow(job, kept, Path(scratch), progress)
    return Trained(challenger=challenger, evidence=evidence, seconds=time.monotonic() - started, notes=notes)


def _train_and_keep(job: Train, folder: Path, tell: Tell) -> Kept:
    connect(job.source)
    stage = set_stage(job, job.source, folder, tell)
    window, champion = stage.window, stage.champion
    refuse_too_few(job, window)
    study = _searched(stage)
    chosen = searched(study).chosen if study else {}
    stage.tell(Progress(phase="training"))
    challenger, record = _taught(stage, window.training, chosen, stage.tell)
    stage.tell(Progress(phase="checking"))
    rows = window.sides.judging if len(window.sides.judging) else window.training
    notes = (*window.notes, *(told(study) if study else ()), *record.notes, *check_predicts(champion, challenger, rows))
    stage.tell(Progress(phase="comparing"))
    save_keys(job.learned_file, window.training.learned_keys)
    evidence = compared(stage, champion, challenger, "", job.learned_file)
    stage.tell(Progress(phase="storing"))
    kept = Kept(
        token=new_token(),
        champion_run=champion.files.card.info.run_id or "",
        flavor=champion.files.card.flavor,
        parameters={**_parameters(job, window, study), **record.parameters},
        manifest=manifest(job, window),
        evidence=evidence,
        epochs=record.epochs,
        notes=notes,
        training_rows=len(window.training),
        unit=window.unit,
        study=study,
    )
    return keep(job, champion.files, challenger, kept, stage.folder, stage.sample)


def _put_into_mlflow(job: Train, kept: Kept, folder: Path, tell: Tell) -> tuple[Challenger, Evidence, tuple[str, ...]]:
    """What was trained stays on disk until MLflow has it: a later worker goes on from here."""
    load_keys([job.learned_file])  # a version whose record is lost could never be judged
    try:
        connect(job.source)
        kept = _with_files_measured(job, kept, folder, tell)
        tell(Progress(phase="logging"))
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
        searched=searched(kept.study) if kept.study else None,
    )
    return made, kept.evidence, kept.notes


def _with_files_measured(job: Train, kept: Kept, folder: Path, tell: Tell) -> Kept:
    """What lines ask of the stored models, which an earlier worker may have measured."""
    names = unmeasured(job, kept.evidence)
    if not names:
        return kept
    tell(Progress(phase="measuring the stored models"))
    models = _stored(job, folder)
    found = measure_stored(job, names, models, sample_kept(job), folder)
    evidence = replace(kept.evidence, metrics=in_order(job, (*kept.evidence.metrics, *found)))
    return keep_record(job, replace(kept, evidence=evidence, notes=(*kept.notes, *said_of(found))))


def _stored(job: Train, folder: Path) -> StoredModels:
    """The champion's files are asked for again: another worker may have loaded it."""
    challenger, copies = Path(job.kept_folder) / MODEL_FOLDER, folder / "measured"
    copies.mkdir()
    try:
        return StoredModels(challenger=challenger, champion=fetch(read_version(job.source), copies).folder)
    except (Refused, NotFound) as gone:
        return StoredModels(challenger=challenger, champion=None, without=gone.message.rstrip("."))


def _searched(stage: Stage) -> Study | None:
    wanted = stage.job.recipe.search
    if wanted is None:
        return None
    from retrain_daemon.worker.search import search  # with Optuna, which no other training needs

    return search(stage, wanted, lambda rows, values: _taught(stage, rows, values, lambda _: None)[0])


def _taught(
    stage: Stage, rows: LabelledRows, chosen: Mapping[str, Hyperparameter], tell: Tell
) -> tuple[Trainable, Record]:
    """Train as the recipe says, and with what a search chose."""
    recipe = stage.job.recipe
    lesson = Lesson(
        mode=recipe.mode,
        hyperparameters={**recipe.hyperparameters, **chosen},
        rows=rows,
        seed=stage.job.seed,
        tell=tell,
    )
    if recipe.trainer:
        return train_with(recipe.trainer, stage.job.code_folder, stage.champion.model, lesson)
    return stage.champion.model.continue_training(lesson)


def _parameters(job: Train, window: JobRows, study: Study | None) -> Mapping[str, Scalar]:
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
        **(_of_study(study) if study else {}),
    }


def _of_study(study: Study) -> Mapping[str, Scalar]:
    found = searched(study)
    return {
        "search_metric": found.metric,
        "search_trials": found.trials,
        "search_failed_trials": found.failed,
        **found.chosen,
    }


def _shown(value: object) -> Scalar:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
