"""Recipes in words for `plan` and `show`: mode, hyperparameters, and what a search chooses or chose."""

from __future__ import annotations

from retrain_daemon.core.attempts import Attempt
from retrain_daemon.core.evidence import Searched
from retrain_daemon.core.policy import Recipe, Scalar, Space


def recipe_line(recipe: Recipe) -> str:
    """A recipe before it is trained."""
    given = "".join(f", {name}={value}" for name, value in recipe.hyperparameters.items())
    if recipe.search is None:
        return f"{recipe.mode.value}{given}"
    spaces = ", ".join(f"{name} {_space(space)}" for name, space in recipe.spaces.items())
    return (
        f"{recipe.mode.value}{given}; a search of {recipe.search.trials} trials by {recipe.search.metric} over {spaces}"
    )


def how_trained(attempt: Attempt) -> str:
    """How an attempt's challenger is trained or, where a search has chosen, was."""
    found = attempt.challenger.searched if attempt.challenger else None
    if found is None:
        return recipe_line(attempt.recipe)
    given = "".join(f", {name}={value}" for name, value in attempt.recipe.hyperparameters.items())
    chosen = "".join(f", {name}={_value(value)}" for name, value in found.chosen.items())
    return f"{attempt.recipe.mode.value}{given}{chosen}; {_searched(found)}"


def _searched(found: Searched) -> str:
    failed = f", {found.failed} of which failed" if found.failed else ""
    names = ", ".join(found.chosen)
    return (f"{names} chosen by a search: {found.metric} {found.score:.6g} on {found.rows:,} rows of the training side,"
            f" the best of {found.trials} trials{failed}")  # fmt: skip


def _space(space: Space) -> str:
    if space.choices:
        return f"of {', '.join(map(_value, space.choices))}"
    step = f" in steps of {space.step:g}" if space.step else ""
    return f"from {space.low:g} to {space.high:g}{step}"


def _value(value: Scalar) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
