"""What a loaded model says to a policy: to its recipes, rehearsed without rows, to its classes and to its metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from retrain_daemon.core.metrics import METRICS, Needs, Task
from retrain_daemon.errors import Refused
from retrain_daemon.worker.against_file import Head, labels_of
from retrain_daemon.worker.evaluate import canonical, positive_code
from retrain_daemon.worker.findings import about, as_warning, key_of, sentence
from retrain_daemon.worker.formats import shown
from retrain_daemon.worker.frameworks.hyperparameters import read_hyperparameters
from retrain_daemon.worker.frameworks.objections import Given, Objection, Rehearsal, objections
from retrain_daemon.worker.job import CheckPolicy, Finding, KeyedRecipe
from retrain_daemon.worker.trainable import Trainable

_ONLY_REQUESTS = "Every rule has its own; only a person's request would use this one."


def against_loaded(job: CheckPolicy, models: Mapping[str, Trainable]) -> Iterator[Finding]:
    """Recipes by the models loaded for them, by their `train.model`; classes and metrics by the first."""
    rehearsals = {}
    for each in job.recipes:
        if each.recipe.network in models:
            rehearsals[each.key] = _rehearsal(models[each.recipe.network], each, weighted=job.data.weight is not None)
    yield from _against_recipes(job, rehearsals)
    for model in list(models.values())[:1]:
        yield from _against_positive(job, model)
        yield from _against_metrics(job, model)


def against_names(job: CheckPolicy) -> Iterator[Finding]:
    """Hyperparameters of a network that could not be loaded: their names, and values that none can have."""
    yield from _against_recipes(job, {each.key: _names(each) for each in job.recipes})


def against_labels(job: CheckPolicy, model: Trainable, head: Head | None) -> Iterator[Finding]:
    """Labels of the file that are no classes of the model: a warning, as a refit may learn them."""
    if head is None or model.task is not Task.CLASSIFICATION:
        return
    known = [canonical(value) for value in _classes(model)]
    strange = sorted({canonical(label) for label in labels_of(head, job.data)} - set(known))
    if not known or not strange:
        return
    listed = ", ".join(repr(label) for label in strange[:8]) + (", ..." if len(strange) > 8 else "")
    yield Finding(
        key="data.target.column",
        message=f"The first rows of {shown(head.path)} have labels that are no classes of the model: {listed}.",
        hint=f"It knows {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}. Only a refit of a scikit-learn "
        "model can learn another class.",
        warning=True,
    )


def _rehearsal(model: Trainable, each: KeyedRecipe, *, weighted: bool) -> Rehearsal:
    return lambda given: model.rehearse(each.recipe.mode, given, weighted)


def _names(each: KeyedRecipe) -> Rehearsal:
    def rehearse(given: Given) -> None:
        read_hyperparameters(given, each.recipe.mode)

    return rehearse


def _against_recipes(job: CheckPolicy, rehearsals: Mapping[str, Rehearsal]) -> Iterator[Finding]:
    """A team's own function is told mode and hyperparameters as they are, so that only it knows what it takes."""
    said: set[str] = set()
    for each in sorted(job.recipes, key=lambda each: each.requests):
        if each.recipe.trainer or each.key not in rehearsals:
            continue
        for objection in objections(rehearsals[each.key], each.recipe):
            if objection.message in said:
                continue
            said.add(objection.message)
            found = _finding(each, objection)
            yield as_warning(found, _ONLY_REQUESTS) if each.requests else found


def _finding(each: KeyedRecipe, objection: Objection) -> Finding:
    if not objection.name:
        return about(Refused(objection.message, objection.hint), key_of(each, "mode", "mode"), each)
    key = key_of(each, objection.name, f"hyperparameters.{objection.name}")
    return Finding(key=key, message=sentence(objection.message), hint=sentence(objection.hint))


def _against_positive(job: CheckPolicy, model: Trainable) -> Iterator[Finding]:
    positive = job.data.target.positive
    if positive is None:
        return
    if model.task is not Task.CLASSIFICATION:
        message = "`data.target.positive` names a class, and the model predicts numbers."
        yield Finding(key="data.target.positive", message=message, hint="Leave it out.")
        return
    known = tuple(canonical(value) for value in _classes(model))
    if positive_code(known, positive)[0] is None:
        message = f"`data.target.positive` is {canonical(positive)!r}, which is no class of the model."
        yield Finding(key="data.target.positive", message=message, hint=f"It knows {', '.join(known)}.")


def _against_metrics(job: CheckPolicy, model: Trainable) -> Iterator[Finding]:
    classes = len(_classes(model))
    for each in job.metrics:
        metric = METRICS.get(each.name)
        if metric is None:
            continue
        if metric.task is not model.task:
            fitting = ", ".join(name for name, other in METRICS.items() if other.task is model.task)
            message = f"`{each.name}` is for {metric.task}, and the model is a {model.task}."
            yield Finding(key=each.key, message=message, hint=f"Write one of {fitting}.")
        elif metric.binary_only and classes > 2:
            message = f"`{each.name}` is about one class of two, and the model knows {classes}."
            yield Finding(key=each.key, message=message, hint="Write one such as f1_macro, accuracy or roc_auc.")
        elif metric.needs is Needs.PROBABILITIES and not _gives_probabilities(model):
            name = type(model.estimator).__name__
            message = f"`{each.name}` needs probabilities, and {name} gives none (it has no predict_proba)."
            yield Finding(key=each.key, message=message, hint="Write one such as accuracy or f1_macro.")


def _classes(model: Trainable) -> list[object]:
    found: list[object] = [] if model.classes is None else model.classes.tolist()
    return found


def _gives_probabilities(model: Trainable) -> bool:
    """A network's outputs are what the policy says; others are asked."""
    return not hasattr(model.estimator, "get_params") or hasattr(model.estimator, "predict_proba")
