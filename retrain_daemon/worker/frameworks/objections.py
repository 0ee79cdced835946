"""What stands against a recipe, found by rehearsing a training: which hyperparameter is to blame, one by one.

Knows no framework: a rehearsal is any function that raises Refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from retrain_daemon.core.policy import Hyperparameter, Recipe, Space
from retrain_daemon.errors import RetrainError

Given = Mapping[str, Hyperparameter]
Rehearsal = Callable[[Given], None]
#: Of more values of a search space than so many the first are tried.
_MOST_CHOICES = 50


@dataclass(frozen=True)
class Objection:
    """What stands against a recipe; `name` is the hyperparameter it is about, "" for none in particular."""

    name: str
    message: str
    hint: str


def objections(rehearse: Rehearsal, recipe: Recipe) -> Iterator[Objection]:
    """Every hyperparameter that is refused among those that are not; values of search spaces each by itself."""
    samples = {name: values for name, space in recipe.spaces.items() if (values := samples_of(space))}
    usual: Given = {**recipe.hyperparameters, **{name: values[0] for name, values in samples.items()}}
    found = list(_to_blame(rehearse, usual))
    yield from found
    blamed = {each.name for each in found}
    accepted = {name: value for name, value in usual.items() if name not in blamed}
    if "" in blamed:
        return
    for name, values in samples.items():
        for value in values[1:] if name not in blamed else ():
            refusal = _refusal(rehearse, {**accepted, name: value})
            if refusal is not None:
                yield Objection(name, refusal.message, refusal.hint)
                break


def samples_of(space: Space) -> tuple[Hyperparameter, ...]:
    """Values of a search space that stand for all: its choices, or its bounds."""
    if space.choices:
        return space.choices[:_MOST_CHOICES]
    bounds = (bound for bound in (space.low, space.high) if bound is not None)
    return tuple(int(bound) if space.whole else bound for bound in bounds)


def _to_blame(rehearse: Rehearsal, given: Given) -> Iterator[Objection]:
    """Names are added one after another, so that each is refused for itself; what is refused without any of them, and
    is not put right by one, is about none in particular.
    """
    if _refusal(rehearse, given) is None:
        return
    accepted: dict[str, Hyperparameter] = {}
    standing = _refusal(rehearse, accepted)
    for name, value in given.items():
        refusal = _refusal(rehearse, {**accepted, name: value})
        if refusal is None or (standing is not None and refusal.message == standing.message):
            accepted[name], standing = value, refusal
        else:
            yield Objection(name, refusal.message, refusal.hint)
    if standing is not None:
        yield Objection("", standing.message, standing.hint)


def _refusal(rehearse: Rehearsal, given: Given) -> RetrainError | None:
    try:
        rehearse(given)
    except RetrainError as refusal:
        return refusal
    return None
