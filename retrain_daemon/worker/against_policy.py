"""A policy held against the registered version it is for, and against the newest file of its drop folder.

Every disagreement is a finding at a key of the policy. What is found in the file is in `against_file.py`, what the
model says to recipes and metrics in `against_model.py`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TypeVar

from retrain_daemon.errors import RetrainError
from retrain_daemon.worker.against_file import Head, against_file, read_head
from retrain_daemon.worker.against_model import against_labels, against_loaded, against_names
from retrain_daemon.worker.cards import ModelCard, connect, read_version
from retrain_daemon.worker.custom import find, find_trainer
from retrain_daemon.worker.feature_names import has_patterns
from retrain_daemon.worker.findings import about, key_of
from retrain_daemon.worker.flavors import framework_of
from retrain_daemon.worker.interpreters import against_interpreter
from retrain_daemon.worker.job import CheckPolicy, Finding, PolicyChecked, Progress
from retrain_daemon.worker.model_files import ModelFiles, fetch
from retrain_daemon.worker.schema import NETWORKS, Schema
from retrain_daemon.worker.signature import read_schema
from retrain_daemon.worker.trainable import Framework, Meaning, Trainable

T = TypeVar("T")

_NO_COLUMNS = Schema(())


def check_policy(job: CheckPolicy, progress: Callable[[Progress], None]) -> PolicyChecked:
    """Every disagreement of a policy with its model and its data; raises NotFound when the version is not there."""
    connect(job.source)
    progress(Progress(phase="reading the model's description"))
    card = read_version(job.source)
    findings = [*_references(job), *_interpreters(job, card)]
    schema = _take(findings, _schema(job))
    progress(Progress(phase="reading the newest file"))
    head = _take(findings, read_head(job))
    if head is not None:
        findings += against_file(job, head, schema)
    if job.untrusted:
        hint = "Name its author in trust.users of the settings, if they are to be trusted."
        findings.append(Finding(key="model", message=f"Nothing of it is loaded: {job.untrusted}.", hint=hint))
    else:
        progress(Progress(phase="loading the model"))
        findings += _against_model(job, card, schema, head)
    return PolicyChecked(findings=tuple(dict.fromkeys(findings)))


def _take(findings: list[Finding], found: tuple[T | None, tuple[Finding, ...]]) -> T | None:
    value, said = found
    findings += said
    return value


def _references(job: CheckPolicy) -> Iterator[Finding]:
    """What recipes name of a team's own code and cannot be found."""
    for each in job.recipes:
        named = (("with", each.recipe.trainer, find_trainer), ("model", each.recipe.network, find))
        for key, reference, look in named:
            if not reference:
                continue
            try:
                look(reference, job.code_folder)
            except RetrainError as refusal:
                yield about(refusal, key_of(each, {"with": "trainer", "model": "network"}[key], key))


def _interpreters(job: CheckPolicy, card: ModelCard) -> Iterator[Finding]:
    for each in job.recipes:
        if each.recipe.python and (against := against_interpreter(each.recipe.python, card.flavor)):
            yield Finding(key=key_of(each, "python", "python"), message=against[0], hint=against[1])


def _schema(job: CheckPolicy) -> tuple[Schema | None, tuple[Finding, ...]]:
    """The columns the model takes by this policy. Where only a file could tell what patterns stand for, and there is
    none, the shape says how many they are.
    """
    data = job.data
    if has_patterns(data) and not job.reference:
        if not data.shape:
            return None, ()
        data = replace(data, features=tuple(f"column {place}" for place in range(prod(data.shape))))
    try:
        return read_schema(job.source, data, job.reference), ()
    except RetrainError as refusal:
        if refusal.temporary:
            raise
        return None, (about(refusal, "data.features" if job.data.features else "data"),)


def _against_model(
    job: CheckPolicy, card: ModelCard, schema: Schema | None, head: Head | None
) -> Iterator[Finding]:  # fmt: skip
    try:
        framework = framework_of(card)
    except RetrainError as refusal:
        yield about(refusal, "model")
        return
    if schema is None and card.flavor in NETWORKS:
        yield from against_names(job)
        return
    with tempfile.TemporaryDirectory(prefix="retraind-check-") as scratch:
        files = fetch(card, Path(scratch))
        models: dict[str, Trainable] = {}
        for network in dict.fromkeys(each.recipe.network for each in job.recipes):
            try:
                models[network] = _loaded(framework, files, job, schema or _NO_COLUMNS, network)
            except RetrainError as refusal:
                yield about(refusal, "model", next(each for each in job.recipes if each.recipe.network == network))
        yield from against_loaded(job, models)
        if not models and card.flavor in NETWORKS:
            yield from against_names(job)
        for model in list(models.values())[:1]:
            yield from against_labels(job, model, head)


def _loaded(framework: Framework, files: ModelFiles, job: CheckPolicy, schema: Schema, network: str) -> Trainable:
    meaning = Meaning(data=job.data, schema=schema, network=network, code_folder=job.code_folder)
    return framework.load(files, meaning)
