"""Recipes in words for `plan` and `show`: mode, hyperparameters, and what a search chooses or chose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from retrain_daemon.cli.output import span
from retrain_daemon.core.attempts import Attempt
from retrain_daemon.core.evidence import Searched
from retrain_daemon.core.policy import Hyperparameter, Recipe, Scalar, Search, Space


def recipe_lines(recipe: Recipe) -> Iterator[str]:
    """How would be trained, and within which limits."""
    replayed = f", {recipe.replay:,} older rows replayed" if recipe.replay else ""
    own = "".join(
        f", {word} {name}"
        for word, name in (("by", recipe.trainer), ("network", recipe.network), ("in", recipe.python))
        if name
    )
    yield f"recipe: {recipe.mode.value}{_settings(recipe)}{replayed}{own}"
    if recipe.search is not None:
        yield f"  {_search_line(recipe.search)}"
    for name, space in recipe.spaces.items():
        yield f"  {name} {_space(space)}"
    yield f"  limits: {', '.join(_limits(recipe))}"


def _search_line(search: Search) -> str:
    stop = f", none is started after {span(search.stop_after)}" if search.stop_after else ""
    return f"searches with {search.trials:,} trials by {search.metric}{stop}:"


def _given(value: Hyperparameter) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return (
        f"{{{', '.join(f'{key}: {each}' for key, each in value.items())}}}"
        if isinstance(value, Mapping)
        else str(value)
    )


def _limits(recipe: Recipe) -> Iterator[str]:
    yield f"{span(recipe.run_for)}"
    if recipe.memory is not None:
        yield f"{recipe.memory / 2**30:.3g} GiB of memory"
    if recipe.processes is not None:
        yield f"{recipe.processes:,} processes"
    if recipe.cpus is not None:
        yield f"{recipe.cpus:g} CPUs"
    if recipe.gpus:
        yield f"{recipe.gpus} GPUs"
    yield f"{recipe.retries} more tries after a failure"


def recipe_line(recipe: Recipe) -> str:
    """The same on one line, without limits."""
    if recipe.search is None:
        return f"{recipe.mode.value}{_settings(recipe)}"
    spaces = ", ".join(f"{name} {_space(space)}" for name, space in recipe.spaces.items())
    search = f"a search of {recipe.search.trials} trials by {recipe.search.metric} over {spaces}"
    return f"{recipe.mode.value}{_settings(recipe)}; {search}"


def _settings(recipe: Recipe) -> str:
    return "".join(f", {name}={_given(value)}" for name, value in recipe.hyperparameters.items())


def how_trained(attempt: Attempt) -> str:
    """How an attempt's challenger is trained or, where a search has chosen, was."""
    found = attempt.challenger.searched if attempt.challenger else None
    if found is None:
        return recipe_line(attempt.recipe)
    given = _settings(attempt.recipe)
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
    scale = " on a logarithmic scale" if space.log else ""
    return f"from {space.low:g} to {space.high:g}{scale}{step}"


def _value(value: Scalar) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
