"""Refusals as findings at the key of the policy they are about, which their own words name."""

from __future__ import annotations

import re
from dataclasses import replace

from retrain_daemon.errors import RetrainError
from retrain_daemon.worker.job import Finding, KeyedRecipe

#: A key of a policy as refusals name it.
_KEY = re.compile(r"\b(?:data|train)\.[a-z_]+(?:\.[a-z_]+)*")


def about(refusal: RetrainError, otherwise: str, recipe: KeyedRecipe | None = None) -> Finding:
    """A refusal at the key that it names, in its message or else in its hint, or at another where it names none; keys
    of `train` are those of the recipe.
    """
    found = _KEY.search(refusal.message) or _KEY.search(refusal.hint)
    key = found[0] if found else otherwise
    if recipe is not None and key.startswith("train.") and recipe.changed:
        key = recipe.key + key.removeprefix("train")
    return Finding(key=key, message=sentence(refusal.message), hint=sentence(refusal.hint))


def key_of(recipe: KeyedRecipe, changed: str, name: str) -> str:
    """The key of what a recipe says: its own where it `changed` that, else the one of the policy's `train`."""
    return f"{recipe.key if changed in recipe.changed else 'train'}.{name}"


def as_warning(finding: Finding, hint: str) -> Finding:
    """The same as a warning, for the reason that the hint says."""
    return replace(finding, warning=True, hint=f"{finding.hint} {hint}".strip())


def sentence(said: str) -> str:
    """With a capital at its beginning, unless it begins with a name."""
    first = said.split(" ", 1)[0]
    return said[:1].upper() + said[1:] if first.isalpha() else said
