"""The `train` section of a policy, at the top or in a rule: how to train, merged key by key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import TypeVar

from retrain_daemon.core.policy import Hyperparameter, Mode, Recipe, Search, Space
from retrain_daemon.core.policy import Scalar as PolicyScalar
from retrain_daemon.policies.nodes import MappingNode, Node, Scalar, Sequence, Wrong
from retrain_daemon.policies.search import (
    UNREADABLE,
    UNREADABLE_SEARCH,
    check_search,
    check_time,
    is_space,
    read_search,
    read_space,
    refuse_space_within,
)
from retrain_daemon.policies.units import anything, choice, count, duration, mapping, number, size, text, word

_KEYS = ("mode", "hyperparameters", "limits", "retries", "with", "model", "python", "replay", "search")
LEAST_CPUS, MOST_CPUS = 0.1, 4096
T = TypeVar("T")
_YES_OR_NO = frozenset({"yes", "no", "true", "false", "on", "off"})
_ROWS = re.compile(r"([0-9]{1,12}) ?rows?")
_REFERENCE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Bounds:
    """What `train.limits` sets; None leaves what was set before."""

    run_for: timedelta | None = None
    memory: int | None = None
    processes: int | None = None
    cpus: float | None = None
    gpus: int | None = None


NO_BOUNDS = Bounds()
LIMITS = tuple(field.name for field in fields(Bounds))


@dataclass(frozen=True)
class Change:
    """What a `train` mapping sets; None leaves what was set before, an empty text unsets it. A value takes the place of
    a space of the same name, and the other way round.
    """

    mode: Mode | None = None
    hyperparameters: Mapping[str, Hyperparameter] = field(default_factory=dict)
    spaces: Mapping[str, Space] = field(default_factory=dict)
    limits: Bounds = NO_BOUNDS
    retries: int | None = None
    trainer: str | None = None
    network: str | None = None
    python: str | None = None
    replay: int | None = None

    def over(self, recipe: Recipe) -> Recipe:
        """The recipe with this change, merged key by key; replay goes with its mode, so another mode unsets it."""
        mode = self.mode or recipe.mode
        replayed = recipe.replay if mode is Mode.INCREMENTAL else 0
        return Recipe(
            mode=mode,
            hyperparameters={**_without(recipe.hyperparameters, self.spaces), **self.hyperparameters},
            spaces={**_without(recipe.spaces, self.hyperparameters), **self.spaces},
            search=recipe.search,
            run_for=self.limits.run_for or recipe.run_for,
            memory=self.limits.memory or recipe.memory,
            processes=self.limits.processes or recipe.processes,
            cpus=self.limits.cpus or recipe.cpus,
            gpus=recipe.gpus if self.limits.gpus is None else self.limits.gpus,
            retries=recipe.retries if self.retries is None else self.retries,
            trainer=recipe.trainer if self.trainer is None else self.trainer,
            network=recipe.network if self.network is None else self.network,
            python=recipe.python if self.python is None else self.python,
            replay=replayed if self.replay is None else self.replay,
        )


def read_recipe(node: Node, before: Recipe) -> Recipe:
    """The recipe that a `train` mapping makes of the one `before`; what is wrong is noted."""
    section = mapping(node).expect(_KEYS)
    known: Search | None = before.search or UNREADABLE_SEARCH
    read = section.take("search", lambda entry: read_search(entry, before.search), known)
    search = read if "search" in section.entries else before.search
    # Who unsets a search gives up what it would have chosen.
    start = replace(before, search=search, spaces={} if search is None and before.search else before.spaces)
    recipe = _change(section).over(start)
    check_search(section, recipe, before)
    check_time(section, recipe)
    if recipe.replay and recipe.mode is not Mode.INCREMENTAL:
        section.entries["replay"].problem(
            f"`{section.name}.replay` goes with mode incremental, and the mode is {recipe.mode.value}, which trains on "
            "older rows anyway.",
            "Leave it out, or write `mode: incremental`.",
        )
    return recipe


def _without(given: Mapping[str, T], names: Mapping[str, object]) -> Mapping[str, T]:
    return {name: value for name, value in given.items() if name not in names}


def _change(section: MappingNode) -> Change:
    nothing: Mapping[str, Hyperparameter | Space] = {}
    found = section.take("hyperparameters", _hyperparameters, nothing)
    return Change(
        mode=section.take("mode", choice(Mode), None),
        hyperparameters={name: value for name, value in found.items() if not isinstance(value, Space)},
        spaces={name: value for name, value in found.items() if isinstance(value, Space)},
        limits=section.take("limits", _limits, NO_BOUNDS),
        retries=section.take("retries", count(0, 100), None),
        trainer=section.take("with", _or_nothing(_reference), None),
        network=section.take("model", _or_nothing(_reference), None),
        python=section.take("python", _or_nothing(_interpreter), None),
        replay=section.take("replay", _replay, None),
    )


def _limits(node: Node) -> Bounds:
    section = mapping(node).expect(LIMITS)
    return Bounds(
        run_for=section.take("run_for", duration, None),
        memory=section.take("memory", size, None),
        processes=section.take("processes", count(1, 10**6), None),
        cpus=section.take("cpus", _cpus, None),
        gpus=section.take("gpus", count(0, 64), None),
    )


def _replay(node: Node) -> int:
    """A number of rows; null unsets what was set for all rules."""
    if isinstance(node, Scalar) and node.plain and node.value == "null":
        return 0
    value = text(node)
    found = _ROWS.fullmatch(value)
    if not found or not int(found[1]):
        hint = f"Write {value} rows." if value.isdigit() and int(value) else "Write one such as 20000 rows, or null."
        raise Wrong(f"`{node.name}` must be a number of rows, not `{value}`.", hint)
    return int(found[1])


def _cpus(node: Node) -> float:
    value = number(node)
    if not LEAST_CPUS <= value <= MOST_CPUS:
        raise Wrong(f"`{node.name}` is {value:g}; it must be between {LEAST_CPUS:g} and {MOST_CPUS:,}.")
    return value


def _hyperparameters(node: Node) -> Mapping[str, Hyperparameter | Space]:
    section = mapping(node)
    readers = {"early_stopping": _stopping_of_network} if "epochs" in section.entries else {}
    return {
        key: section.take(key, readers.get(key, _hyperparameter), _placeholder(entry))
        for key, entry in section.entries.items()
    }


def _placeholder(node: Node) -> Hyperparameter | Space:
    """In the place of a value that cannot be read."""
    return UNREADABLE if is_space(node) else None


def _stopping_of_network(node: Node) -> Hyperparameter | Space:
    """Models of other kinds take true and false for it; what is trained in epochs is a network."""
    if isinstance(node, Scalar) and node.plain and node.value.lower() in _YES_OR_NO:
        hint = "Write after how many epochs, such as 3, or {patience: 3, share: 10%}; leave it out for none."
        raise Wrong(f"`{node.name}` cannot be `{node.value}` for a network.", hint)
    return _hyperparameter(node)


def _hyperparameter(node: Node) -> Hyperparameter | Space:
    """One value, a list of values, values by name, or a space that a search chooses from."""
    if isinstance(node, Sequence):
        return tuple(_part(item.called(node.name), node.name) for item in node.items)
    if not isinstance(node, MappingNode):
        return anything(node)
    if is_space(node):
        return read_space(node)
    empty: PolicyScalar = None
    return {key: node.take(key, lambda entry: _part(entry, node.name), empty) for key in node.entries}


def _part(node: Node, whole: str) -> PolicyScalar:
    refuse_space_within(node, whole.rpartition(".")[2])
    return anything(node)


def _or_nothing(read: Callable[[Node], str]) -> Callable[[Node], str]:
    """A reader that takes null for nothing: a rule unsets so what `train` has set for all."""
    return lambda node: "" if isinstance(node, Scalar) and node.plain and node.value == "null" else read(node)


def _reference(node: Node) -> str:
    value = word(node)
    if _REFERENCE.fullmatch(value):
        return value
    message = f"`{node.name}` must name a module and what is in it, not `{value}`."
    if "/" in value or ".py" in value:
        raise Wrong(message, "Write it as Python imports it, without folders and .py: our_package.training:fit.")
    raise Wrong(message, 'Write "our_package.training:fit", with one colon.')


def _interpreter(node: Node) -> str:
    value = word(node)
    if not value.startswith("/"):
        raise Wrong(f"`{node.name}` must be the whole path of a Python interpreter.", "Write /opt/envs/x/bin/python.")
    return value
