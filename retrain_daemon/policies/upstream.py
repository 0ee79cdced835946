"""The `upstream` section of a policy: the models that this one depends on, by the names that its rules give them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from retrain_daemon.core.policy import DEFAULT_ALIAS, Policy, Upstream
from retrain_daemon.policies.nodes import MappingNode, Node, Problem, Wrong
from retrain_daemon.policies.places import place_of
from retrain_daemon.policies.units import mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# What CEL keeps for itself.
_RESERVED = frozenset(
    (
        "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
        "namespace", "null", "package", "return", "true", "var", "void", "while",
    )
)  # fmt: skip
_SUCH = "{embeddings: text-embeddings}"

Reader = Callable[[Node], str]


def read_upstream(node: Node, model: str, read_model: Reader, read_alias: Reader) -> Mapping[str, Upstream]:
    """Given the `upstream` mapping of the policy of `model`, its value; what is wrong is noted."""
    section = mapping(node)
    if not section.entries:
        raise Wrong(f"`{node.name}` is empty.", f"Write {_SUCH}, or leave it out.")
    found: dict[str, Upstream] = {}
    for name in section.entries:
        if problem := _why_no_name(name):
            section.keys[name].problem(f"`{node.name}.{name}`: {problem}", "Write a name such as embeddings.")
            continue
        one = section.take(name, lambda entry: _upstream(entry, read_model, read_alias), Upstream(""))
        if one.model and one.model == model:
            section.entries[name].problem(
                f"`{node.name}.{name}` is {model}, the model that the policy is about.", "Name another model."
            )
        found[name] = one
    return found


def _why_no_name(name: str) -> str:
    if name in _RESERVED:
        return f"`{name}` is a word of the rules' language."
    return "" if _NAME.fullmatch(name) else "rules need a name of letters, digits and _ that begins with a letter."


def _upstream(node: Node, read_model: Reader, read_alias: Reader) -> Upstream:
    if not isinstance(node, MappingNode):
        return Upstream(read_model(node))
    section = node.expect(("model", "alias"))
    section.require(model=f"Write the name of a registered model, such as {_SUCH}.")
    return Upstream(section.take("model", read_model, ""), section.take("alias", read_alias, DEFAULT_ALIAS))


def warn_of_circle(policies: tuple[Policy, ...]) -> tuple[Problem, ...]:
    """A warning at the first file of models that depend on each other in a circle, where there is one."""
    circle = circle_of(policies)
    if not circle:
        return ()
    policy = next(each for each in policies if each.model == circle[0])
    line, column = place_of(policy.text, "upstream")
    message = f"Models depend on each other in a circle ({' on '.join((*circle, circle[0]))})."
    hint = "Rules that ask whether a champion upstream changed could then train them one after another for ever."
    return (Problem(policy.source, line, column, message, hint, warning=True),)


def circle_of(policies: Iterable[Policy]) -> tuple[str, ...]:
    """Models that depend on each other in a circle, each on the one after it and the last on the first; empty where
    there is none.
    """
    needs = {policy.model: tuple(each.model for each in policy.upstream.values()) for policy in policies}
    done: set[str] = set()
    for start in needs:
        path: list[str] = []
        stack = [(start, 0)]
        while stack:
            model, depth = stack.pop()
            del path[depth:]
            if model in path:
                return tuple(path[path.index(model) :])
            if model not in done:
                path.append(model)
                done.add(model)
                stack.extend((each, depth + 1) for each in needs.get(model, ()))
    return ()
