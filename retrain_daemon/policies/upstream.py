"""The `upstream` section of a policy: the models that this one depends on, by the names that its rules give them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from retrain_daemon.core.policy import DEFAULT_ALIAS, Policy, Upstream
from retrain_daemon.policies.fleet import Match
from retrain_daemon.policies.names import read_named
from retrain_daemon.policies.nodes import MappingNode, Node, Problem
from retrain_daemon.policies.places import place_of

Reader = Callable[[Node], str]


def read_upstream(node: Node, model: str, read_model: Reader, read_alias: Reader) -> Mapping[str, Upstream]:
    """Given the `upstream` mapping of the policy of `model`, its value; what is wrong is noted."""

    def read(entry: Node) -> Upstream | None:
        one = _upstream(entry, read_model, read_alias)
        if one.model == model:
            entry.problem(f"`{entry.name}` is {model}, the model that the policy is about.", "Name another model.")
        return one if one.model else None

    return read_named(node, "embeddings", read)


def check_fleet(root: MappingNode, match: Match, upstream: Mapping[str, Upstream]) -> None:
    """Note a model that would depend on itself, as it is one of those that the policy is about."""
    section = root.entries.get("upstream")
    for name, one in upstream.items():
        if match.takes(one.model) and isinstance(section, MappingNode):
            message = f"`upstream.{name}` is {one.model}, which `models` matches: it would depend on itself."
            section.entries[name].problem(message, f"Name it in `models.except`: {one.model} gets a policy of its own.")


def _upstream(node: Node, read_model: Reader, read_alias: Reader) -> Upstream:
    if not isinstance(node, MappingNode):
        return Upstream(read_model(node))
    section = node.expect(("model", "alias"))
    section.require(model="Write the name of a registered model, such as text-embeddings.")
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
