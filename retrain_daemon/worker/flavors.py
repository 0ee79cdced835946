"""Which module of `frameworks/` a model's flavour belongs to, and what must be installed for it.

Imports a framework only when one of its models is loaded or described.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import cast

from retrain_daemon.errors import FrameworkMissing, Refused
from retrain_daemon.worker.cards import ModelCard, capital, refuse_exports, spelled
from retrain_daemon.worker.trainable import Framework


@dataclass(frozen=True)
class _Home:
    """The module of a flavour, the packages it imports, and the extra of this project that installs them."""

    module: str
    packages: tuple[str, ...]
    extra: str


_KERAS = _Home("keras", ("tensorflow", "keras"), "tensorflow")
_HOMES = {
    "sklearn": _Home("sklearn_model", ("sklearn",), "sklearn"),
    "keras": _KERAS,
    "tensorflow": _KERAS,
    "pytorch": _Home("torch", ("torch",), "torch"),
}


def framework_of(card: ModelCard) -> Framework:
    """The module for a model's flavour; raises FrameworkMissing, and Refused for one that cannot be trained here."""
    refuse_missing(card)
    refuse_exports(card)
    module = import_module(f"retrain_daemon.worker.frameworks.{_HOMES[card.flavor].module}")
    return cast("Framework", module)


def packages_of(flavor: str) -> tuple[str, ...]:
    """What must be installed for models of a flavour; nothing for one that cannot be trained here."""
    home = _HOMES.get(flavor)
    return home.packages if home else ()


def refuse_missing(card: ModelCard) -> None:
    """Raise Refused for a flavour that is not built, FrameworkMissing for one that is not installed here."""
    home = _HOMES.get(card.flavor)
    if home is None:
        kind = spelled(card.flavor)
        raise Refused(
            f"{capital(card.label)} is a {kind} model; training {kind} models is not built yet.",
            "Models logged with mlflow.sklearn, keras, tensorflow or pytorch can be trained further.",
        )
    missing = [package for package in home.packages if find_spec(package) is None]
    if missing:
        raise FrameworkMissing(
            f"{capital(card.label)} is a {spelled(card.flavor)} model, and {' and '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not installed where the worker runs.",
            f"Install the extra [{home.extra}] there, or name an environment that has it in train.python; then run "
            "`retraind resume MODEL`.",
        )
