"""What a worker is asked about a policy, so that it can be held against its model: each part with its key.

Pure, but for whether an interpreter is there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from retrain_daemon.cli.one_job import Asked
from retrain_daemon.core.policy import Policy, Recipe, Requirement
from retrain_daemon.core.rules.expression import compile_rule
from retrain_daemon.core.rules.vocabulary import metric_of
from retrain_daemon.worker.job import CheckPolicy, KeyedRecipe, Named, Source


def question_of(policy: Policy, source: Source, untrusted: str, reference: str) -> Asked:
    """The job that holds a policy against a version and a file; by its own interpreter where every recipe has one."""
    recipes = tuple(keyed_recipes(policy))
    job = CheckPolicy(
        source=source,
        untrusted=untrusted,
        data=policy.data,
        recipes=recipes,
        metrics=tuple(_metrics(policy, recipes)),
        slices=tuple(_slices(policy)),
        reference=reference,
        code_folder=str(Path(policy.source).absolute().parent),
    )
    named = [each.recipe.python for each in recipes]
    python = next((each for each in named if _runs(each)), "") if all(named) else ""
    return Asked(job, python)


def keyed_recipes(policy: Policy) -> Iterator[KeyedRecipe]:
    """The policy's own `train`, and those of rules that say something else."""
    own = any(rule.recipe == policy.requested for rule in policy.rules)
    yield KeyedRecipe(key="train", recipe=policy.requested, requests=not own)
    for place, rule in enumerate(policy.rules):
        if rule.recipe != policy.requested:
            changed = tuple(_changed(rule.recipe, policy.requested))
            yield KeyedRecipe(key=f"retrain[{place}].train", recipe=rule.recipe, changed=changed)


def _changed(recipe: Recipe, before: Recipe) -> Iterator[str]:
    yield from (field.name for field in fields(Recipe) if getattr(recipe, field.name) != getattr(before, field.name))
    ours = {**recipe.hyperparameters, **recipe.spaces}
    theirs = {**before.hyperparameters, **before.spaces}
    yield from (name for name, value in ours.items() if name not in theirs or theirs[name] != value)


def require_keys(policy: Policy) -> Iterator[tuple[str, str, Requirement]]:
    """Every line of `require` with its key and the name of the rule it belongs to, "" for the policy's own."""
    for place, line in enumerate(policy.promote.require):
        yield f"promote.require[{place}]", "", line
    for number, rule in enumerate(policy.rules):
        for place, line in enumerate(rule.require):
            yield f"retrain[{number}].require[{place}]", rule.name, line


def _metrics(policy: Policy, recipes: tuple[KeyedRecipe, ...]) -> Iterator[Named]:
    for key, _, line in require_keys(policy):
        yield Named(key=f"{key}.metric", name=line.metric)
    for place, rule in enumerate(policy.rules):
        for name in dict.fromkeys(filter(None, map(metric_of, compile_rule(rule.when, policy.names).names))):
            yield Named(key=f"retrain[{place}].when", name=name)
    for each in recipes:
        if each.recipe.search is not None and (not each.changed or "search" in each.changed):
            yield Named(key=f"{each.key}.search.metric", name=each.recipe.search.metric)


def _slices(policy: Policy) -> Iterator[Named]:
    for key, _, line in require_keys(policy):
        if line.slices:
            yield Named(key=f"{key}.slices", name=line.slices)


def _runs(python: str) -> bool:
    return Path(python).is_file() and os.access(python, os.X_OK)
