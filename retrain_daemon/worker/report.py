"""Writes an attempt's report: renders page and decision.json, and puts both into MLflow where people look for them.

What the page says is in `report_page.py`; no model is loaded and no row is read.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, RunTag, ViewType

from retrain_daemon.core.attempts import Attempt
from retrain_daemon.core.evidence import Challenger
from retrain_daemon.errors import NotFound, Refused
from retrain_daemon.worker.attempt_words import version_description
from retrain_daemon.worker.cards import connect
from retrain_daemon.worker.challenger_run import metrics_of
from retrain_daemon.worker.decision_file import decision_json
from retrain_daemon.worker.job import ATTEMPT_TAG, KEY_TAG, Progress, ReportWritten, WriteReport
from retrain_daemon.worker.mlflow_errors import understood
from retrain_daemon.worker.mlflow_story import NOTE_TAG, run_note, version_note
from retrain_daemon.worker.report_data import load_report_data
from retrain_daemon.worker.report_page import render
from retrain_daemon.worker.store import ensure_experiment

PAGE, DECISION = "report.html", "decision.json"
#: On a version that a person put up: which run holds the report about it.
REPORT_TAG = "retraind.report_run"


def write_report(job: WriteReport, folder: Path, progress: Callable[[Progress], None]) -> ReportWritten:
    """Carry out `job`; may be done again without harm. `folder` takes temporary files.

    Raises RegistryUnreachable, and NotFound when someone deleted the challenger's run.
    """
    progress(Progress(phase="writing the report"))
    with tempfile.TemporaryDirectory(dir=folder, prefix="report-") as scratch:
        page, decision = names(job.attempt)
        (Path(scratch) / page).write_text(render(job, load_report_data(job.data_file)), "utf-8")
        (Path(scratch) / decision).write_text(decision_json(job), "utf-8")
        connect(job.source)
        run = _run_of(job)
        with understood(job.source.tracking_uri):
            _put(job, run, Path(scratch), page)
    return ReportWritten(run_id=run)


def names(attempt: Attempt) -> tuple[str, str]:
    """What page and decision are called in the run. One of a second look lies beside that of the first."""
    if attempt.again_of is None:
        return PAGE, DECISION
    return f"report-{attempt.id}.html", f"decision-{attempt.id}.json"


def _run_of(job: WriteReport) -> str:
    made = job.attempt.challenger
    if made is not None and made.offered is None:
        return made.run_id
    return _own_run(job, made)


def _own_run(job: WriteReport, made: Challenger | None) -> str:
    """A run that holds nothing but the report, as nobody trained the version here: found again by its key."""
    uri = job.source.tracking_uri
    experiment = ensure_experiment(uri, job.experiment)
    with understood(uri):
        client = MlflowClient()
        found = client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{job.key}'", ViewType.ACTIVE_ONLY, 1)
        if found:
            return str(found[0].info.run_id)
        tags = {**job.tags, ATTEMPT_TAG: job.attempt.id, KEY_TAG: job.key}
        return str(client.create_run(experiment, tags=tags, run_name=job.attempt.id).info.run_id)


def _put(job: WriteReport, run: str, folder: Path, page: str) -> None:
    """Files first: a description that links to nothing would be worse than none."""
    client = MlflowClient()
    client.log_artifacts(run, str(folder))
    info = client.get_run(run).info
    note = run_note(job.attempt, str(info.experiment_id), run, page)
    client.log_batch(run, metrics=_metrics(job), tags=[RunTag(NOTE_TAG, note)])
    if info.status == "RUNNING" and job.attempt.offered is not None:
        client.set_terminated(run)
    _describe_version(job, client, str(info.experiment_id), run, page)


def _metrics(job: WriteReport) -> list[Metric]:
    """What was measured, where no training has logged it: of a person's version."""
    if job.attempt.offered is None or job.attempt.evidence is None:
        return []
    at = int(time.time() * 1000)
    return [Metric(name, value, at, job.attempt.round) for name, value in metrics_of(job.attempt.evidence).items()]


def _describe_version(job: WriteReport, client: MlflowClient, experiment: str, run: str, page: str) -> None:
    """What a person wrote into a version's description, or took away, stays as it is."""
    attempt = job.attempt
    if attempt.version is None:
        return
    if attempt.offered is not None:
        client.set_model_version_tag(attempt.model, str(attempt.offered), REPORT_TAG, run)
        return
    ours, told = version_description(attempt), version_note(attempt, experiment, run, page)
    try:
        with understood(job.source.registry_uri):
            if client.get_model_version(attempt.model, str(attempt.version)).description == ours:
                client.update_model_version(attempt.model, str(attempt.version), told)
    except (NotFound, Refused) as problem:  # someone deleted it, or may do what we may not
        print(f"the description of version {attempt.version} has no link: {problem}")  # noqa: T201
