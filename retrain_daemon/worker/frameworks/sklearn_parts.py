"""What a scikit-learn model is made of: fitted preprocessing, the predictor behind it, hyperparameters by name.

Nothing here fits or predicts.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from retrain_daemon.core.policy import Hyperparameter, Scalar
from retrain_daemon.errors import Refused, UnknownHyperparameter
from retrain_daemon.worker.evaluate import canonical


@dataclass(frozen=True)
class Parts:
    """Preprocessing steps in order, by full name, and the predictor; `prefix` leads to the predictor's own names."""

    transformers: tuple[tuple[str, Any], ...]
    predictor: Any
    prefix: str = ""


def parts_of(estimator: Any) -> Parts:
    """Take a model apart without copying. A Pipeline inside a Pipeline's last step is taken apart too."""
    transformers: list[tuple[str, Any]] = []
    prefix = ""
    while isinstance(estimator, Pipeline):
        transformers += [(prefix + name, step) for name, step in estimator.steps[:-1] if not _does_nothing(step)]
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return Parts(tuple(transformers), None if _does_nothing(estimator) else estimator, prefix)


def name_of(estimator: Any) -> str:
    """The class of an estimator in a person's words."""
    return type(estimator).__name__


def transform(parts: Parts, features: Any) -> Any:
    """Send rows through the fitted preprocessing, which learns nothing from them."""
    for _, step in parts.transformers:
        features = step.transform(features)
    return features


def set_hyperparameters(estimator: Any, hyperparameters: Mapping[str, Hyperparameter]) -> None:
    """Set hyperparameters by the names of `get_params`; raises Refused for a name that cannot be set."""
    present = estimator.get_params(deep=True)
    for name in hyperparameters:
        if name not in present:
            raise UnknownHyperparameter(
                f"{name_of(estimator)} has no hyperparameter {name!r}.", _closest(name, present)
            )
        if hasattr(present[name], "get_params") or name == "steps":
            raise UnknownHyperparameter(
                f"The hyperparameter {name!r} is a whole estimator ({name_of(present[name])}).",
                f"Set one of its own hyperparameters, such as {name}__NAME.",
            )
    estimator.set_params(**hyperparameters)


def by_class(hyperparameters: Mapping[str, Hyperparameter], classes: Any) -> Mapping[str, Hyperparameter]:
    """Values by class, such as class_weight, with the model's own classes in place of the policy's words for them.

    Raises Refused for a class the model does not know.
    """
    if classes is None:
        return hyperparameters
    known = {canonical(value): value for value in classes.tolist()}
    return {name: _by_class(name, value, known) for name, value in hyperparameters.items()}


def _by_class(name: str, value: Hyperparameter, known: Mapping[str, Any]) -> Hyperparameter:
    if not isinstance(value, Mapping) or not name.endswith("class_weight"):
        return value
    if strange := [label for label in value if label not in known]:
        raise Refused(f"{name} names the class {strange[0]!r}.", f"The model knows {', '.join(known)}.")
    return {known[label]: factor for label, factor in value.items()}


def single_values(estimator: Any) -> Mapping[str, Scalar]:
    """The hyperparameters that are one text, number or boolean now, or nothing, by name."""
    found = {name: value.item() if isinstance(value, np.generic) else value
             for name, value in sorted(estimator.get_params(deep=True).items())}  # fmt: skip
    return {
        name: value for name, value in found.items() if value is None or isinstance(value, str | int | float | bool)
    }


def hyperparameter_texts(estimator: Any) -> tuple[tuple[str, str], ...]:
    """The hyperparameters a policy can set, by name, with their present values as text.

    These are the ones that are one text, number or boolean now, or nothing.
    """
    return tuple((name, str(value)) for name, value in single_values(estimator).items())


def refuse_preprocessing_names(parts: Parts, mode: str, hyperparameters: Mapping[str, Hyperparameter]) -> None:
    """Raise Refused for a hyperparameter of a step that `mode` leaves as it is: setting it would do nothing."""
    for name in hyperparameters:
        if not name.startswith(parts.prefix):
            raise UnknownHyperparameter(
                f"In mode {mode} the fitted preprocessing stays as it is, so {name!r} would change nothing.",
                "Use mode refit, or leave this hyperparameter out.",
            )


def _does_nothing(step: Any) -> bool:
    return step is None or isinstance(step, str)


def _closest(name: str, known: Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    endings = [candidate for candidate in known if candidate.endswith(f"__{name}")]
    if endings or close:
        return f"Did you mean {(endings or close)[0]!r}?"
    return f"It has: {', '.join(sorted(known)[:12])}."
