"""Layers of a Keras model by path, also those inside nested models: frozen for a training, or given fresh weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from retrain_daemon.errors import Refused
from retrain_daemon.worker.frameworks.network import frozen_names


def named_layers(model: Any, above: frozenset[int] = frozenset()) -> list[tuple[str, Any]]:
    """Every layer with its path, such as "backbone/norm", parents first; one used in two places stands there twice.

    Input layers hold nothing and are left out, as is the graph that a Sequential model keeps of itself.
    """
    found = []
    for layer in model._flatten_layers(include_self=False, recursive=False):
        if type(layer).__name__ == "InputLayer" or layer is getattr(model, "_functional", None) or id(layer) in above:
            continue
        found.append((layer.name, layer))
        inner = named_layers(layer, above | {id(model)})
        found += [(f"{layer.name}/{path}", part) for path, part in inner]
    return found


@contextmanager
def frozen(model: Any, patterns: Sequence[str]) -> Iterator[None]:
    """With the layers that patterns name, by path or by name alone, frozen to the bit, statistics included.

    Afterwards all flags are as before, as they belong to a training and not to the model. Raises Refused for a pattern
    that names nothing, and where nothing is left to train.
    """
    named = named_layers(model)
    flags = [layer.trainable for _, layer in named]
    names = list(dict.fromkeys([path for path, _ in named] + [layer.name for _, layer in named]))
    chosen = frozen_names(patterns, names, "layers") if patterns else frozenset()
    still = [layer for path, layer in named if path in chosen or layer.name in chosen]
    # Some layers change in every call, such as those that normalise a spectrum, and an optimizer may write averages.
    before = [(variable, variable.numpy()) for layer in still for variable in layer.variables]
    for layer in still:
        layer.trainable = False
    try:
        if not model.trainable_variables:
            raise Refused("Every weight of the model is frozen; nothing would be trained.", "Freeze fewer layers.")
        yield
    finally:
        for variable, value in before:
            variable.assign(value)
        for (_, layer), flag in zip(named, flags, strict=True):
            layer.trainable = flag


def give_fresh_weights(model: Any, built: Callable[[], Any]) -> tuple[str, ...]:
    """Give a model the weights of one that `built` makes alike; returns what was kept, in sentences.

    What layers learned by `adapt` is no weight of a fit and stays, as do layers that were frozen when the model was
    stored: nothing would train them. Raises ValueError when the two are not alike.
    """
    twin = built()
    pairs = zip([("", model), *named_layers(model)], [("", twin), *named_layers(twin)], strict=True)
    adapted, still = [], []
    for (path, layer), (_, other) in pairs:
        own = _own_variables(layer)
        if hasattr(layer, "adapt"):
            adapted.append(path)
        elif not layer.trainable:
            still += [path] if own else []
        else:
            for variable, value in zip(own, _own_variables(other), strict=True):
                variable.assign(value)
    kept = []
    if adapted:
        kept.append(f"What {_listed(adapted)} learned by adapt() was kept.")
    if still:
        kept.append(f"{_listed(still)} {'is' if len(still) == 1 else 'are'} frozen in the champion: their weights were "
                    "kept.")  # fmt: skip
    return tuple(kept)


def _own_variables(layer: Any) -> list[Any]:
    """Without those of the layers inside it."""
    return [*layer._trainable_variables, *layer._non_trainable_variables]


def _listed(names: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct[:8]) + (f" and {len(distinct) - 8} more" if len(distinct) > 8 else "")
