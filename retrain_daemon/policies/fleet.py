"""Fleets: one file about every registered model that matches, in which `{model}` is filled with each model's name.

What `models` says and where `{model}` may stand. Which models there are is nothing that a file knows: `expansion.py`
is given it.
"""

from __future__ import annotations

import os.path
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

from retrain_daemon.core.names import has_wildcards, matches
from retrain_daemon.core.policy import Policy
from retrain_daemon.policies.nodes import MappingNode, Node, Scalar, Wrong, closest
from retrain_daemon.policies.units import shown_text, words

#: What stands for the name of the model, and is the model of a fleet's own policy before it is filled.
TEMPLATE = "{model}"
_BRACED = re.compile(r"\{[^{}]*\}|[{}]")
_PATTERN_SIGNS = re.compile(r"[*?\[]")
_MOST_PATTERNS = 100
_LONGEST = 250
_EXAMPLE = 'Write models: {match: "churn-*"}.'


@dataclass(frozen=True)
class Match:
    """Names and patterns of models, without those that are excepted."""

    match: tuple[str, ...]
    excepted: tuple[str, ...] = ()

    def takes(self, model: str) -> bool:
        """Whether a model belongs to it."""
        return matches(model, self._wanted) and not matches(model, self._unwanted)

    @cached_property
    def _wanted(self) -> frozenset[str]:
        return frozenset(self.match)

    @cached_property
    def _unwanted(self) -> frozenset[str]:
        return frozenset(self.excepted)

    def __str__(self) -> str:
        without = f" except {', '.join(self.excepted)}" if self.excepted else ""
        return f"{', '.join(self.match)}{without}"


@dataclass(frozen=True)
class Fleet:
    """What a file says about each model that matches; `line` and `column` are where it says which. `template` is its
    policy with `{model}` in place of the name.
    """

    models: Match
    template: Policy
    line: int = 1
    column: int = 1

    @property
    def source(self) -> str:
        """The file, as its policies name it."""
        return self.template.source

    def policy_for(self, model: str) -> Policy:
        """The policy of one model. In the pattern of its files the name stands for itself, whatever letters it has."""
        data = self.template.data
        escaped = _PATTERN_SIGNS.sub(r"[\g<0>]", model)
        return replace(
            self.template,
            model=model,
            description=self.template.description.replace(TEMPLATE, model),
            data=replace(
                data, folder=data.folder.replace(TEMPLATE, model), pattern=data.pattern.replace(TEMPLATE, escaped)
            ),
        )


def read_match(root: MappingNode) -> Match | None:
    """Given a policy's root, what it says in `models`; None where it is about one model. What is wrong is noted."""
    if "model" in root.entries and "models" in root.entries:
        message = "`model` and `models` cannot stand in one file."
        root.keys["models"].problem(message, "Keep one of them: a model of its own has a file of its own.")
    elif "models" not in root.entries:
        root.require(model="Write the name of the registered model, such as `model: churn`.")
    return root.take("models", _match, None)


def _match(node: Node) -> Match:
    if not isinstance(node, MappingNode):
        return Match(_patterns(node))
    section = node.expect(("match", "except"))
    section.require(match='Write a pattern of names, such as `match: "churn-*"`.')
    found = Match(section.take("match", _patterns, ()), section.take("except", _patterns, ()))
    for pattern in found.match:
        # Standing for several letters, so that a single `?` does not seem to except them all.
        if matches(pattern.replace("*", "****"), found.excepted):
            message = f"`{section.name}.except` leaves nothing of `{shown_text(pattern)}`."
            section.entries["except"].problem(message, "Name fewer models there.")
    return found


def _patterns(node: Node) -> tuple[str, ...]:
    found = words(node)
    for pattern in found:
        if "{" in pattern or "[" in pattern:
            message = f"`{node.name}` has `{shown_text(pattern)}`; its wildcards are `*` and `?`."
            raise Wrong(message, "Write several patterns as a list.")
        if "/" in pattern or ":" in pattern or pattern != pattern.strip() or len(pattern) > _LONGEST:
            message = f"`{node.name}` has `{shown_text(pattern)}`, which no model can be named."
            raise Wrong(message, f"MLflow takes neither `/` nor `:` in a name. {_EXAMPLE}")
    if sum(map(has_wildcards, found)) > _MOST_PATTERNS:
        raise Wrong(f"`{node.name}` has more than {_MOST_PATTERNS} patterns.", "Write names, or wider patterns.")
    return found


def check_templates(root: MappingNode) -> None:
    """Note where `{model}` is missing, misspelled, or stands in the policy of one model."""
    fleet = "models" in root.entries
    if fleet and "model" in root.entries:
        return  # nobody knows which of the two is meant
    data = root.entries.get("data")
    path = data.entries.get("path") if isinstance(data, MappingNode) else None
    for node, name, text in ((path, "data.path", False), (root.entries.get("description"), "description", True)):
        if isinstance(node, Scalar):
            _check_braces(node, name, fleet, text)
    if fleet and isinstance(path, Scalar) and not _BRACED.search(os.path.normpath(os.path.dirname(path.value))):  # noqa: PTH120 (a text, not a file)
        path.problem(
            "`data.path` is one folder for all models.",
            "Give each its own by its name, such as /srv/drops/{model}/*.csv.",
        )


def _check_braces(node: Scalar, name: str, fleet: bool, free_text: bool) -> None:
    """In a free text braces may mean anything, but for what is meant to be the template."""
    for at, found in _braced(node.value):
        meant = closest(found.strip("{}"), ("model",)) != ""
        line, column = node.place_of(*at)
        if found == TEMPLATE and not fleet:
            message, hint = f"`{name}` holds `{{model}}` in the policy of one model.", "Write the name."
        elif found == TEMPLATE or (free_text and not meant):
            continue
        else:
            message = f"`{name}` holds `{found}`, which nothing fills."
            hint = "Did you mean `{model}`?" if meant else "Only `{model}` is filled, in a file with `models`."
        node.document.problem(line, column, message, hint)


def _braced(text: str) -> Iterator[tuple[tuple[int, int], str]]:
    """What stands in braces, each with its line and column in the text, from 1."""
    for found in _BRACED.finditer(text):
        before = text[: found.start()]
        yield (before.count("\n") + 1, found.start() - before.rfind("\n")), found[0]
